/*
 * admin/command.h - the text of a console command, taken apart.
 *
 *	WORD [WS+ WORD] [;]
 *	set WS+ WORD WS* (= | to) WS* ('STRING' | WORD) [;]
 *
 * A WORD is [0-9A-Za-z_]+ or "..." with "" for a quote; it is never folded.
 * Whether the verb exists is for others to say.
 *
 * Pure and bounded: nothing is allocated, and the text is read once.
 * Rules: console specification, section 4.
 * Tests: test/unit/test_console.c, test/fuzz/fuzz_console.c
 */
#ifndef ADMIN_COMMAND_H
#define ADMIN_COMMAND_H

#include <stdbool.h>

#define COMMAND_VERB_MAX 15
#define COMMAND_ARGUMENT_MAX 63
#define COMMAND_VALUE_MAX 255

struct command {
	bool is_set;	   /* SET: argument is the name of the setting */
	bool has_argument; /* an argument may be "" when it was quoted */
	char verb[COMMAND_VERB_MAX + 1];
	char argument[COMMAND_ARGUMENT_MAX + 1];
	char value[COMMAND_VALUE_MAX + 1]; /* of SET */
};

enum command_verdict {
	COMMAND_OK,
	COMMAND_INVALID,      /* matches neither form */
	COMMAND_BAD_ARGUMENTS /* matches, but a part is too long */
};

/* On anything but COMMAND_OK the command is not to be looked at. */
enum command_verdict command_parse(const char *text, struct command *);

#endif
