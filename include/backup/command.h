/*
 * backup/command.h - the subcommands, and what every one of them is given.
 *
 * A command is a row of the table in backup/main.c. It gets its own arguments
 * (argv[0] is its name), and returns an exit code. It writes its answer to
 * standard output; events go to standard error.
 *
 * Rules: backup specification, section 3.
 */
#ifndef BACKUP_COMMAND_H
#define BACKUP_COMMAND_H

#include <stdbool.h>

#include "backup/config.h"

struct keyring;
struct loop;
struct storage;

enum exit_code {
	EXIT_DONE = 0,
	EXIT_OTHER = 1,
	EXIT_USAGE = 2,	    /* or configuration */
	EXIT_NOTHING = 3,   /* no backup */
	EXIT_INTEGRITY = 4, /* wrong key, tampered, truncated, not an archive */
	EXIT_STORAGE = 5,
	EXIT_DATABASE = 6,  /* or a child program */
	EXIT_LOCKED = 7,    /* by another instance; nothing done */
	EXIT_FOLLOW_UP = 8, /* the main work is done, what follows it failed */
	EXIT_REFUSED = 9,   /* for safety */
	EXIT_TIMED_OUT = 10,
	EXIT_SIGNAL = 128   /* plus its number */
};

struct program {
	struct loop *loop;	 /* owned */
	struct config *config;	 /* owned */
	struct environment *environment; /* owned; for loading the configuration again */
	const struct config_override *overrides;
	struct storage *storage; /* owned; NULL when the command does not need it */
	struct keyring *keys;	 /* owned; the same */
	bool is_quiet;
	int ended_by; /* the signal that interrupts the loop; 0: none */
};

#define NEEDS_STORE 1u	     /* not configured: exit 2 */
#define NEEDS_STORE_OR_ENDS 2u /* not configured: says so, exit 0 */
#define NEEDS_KEYS 4u	     /* encryption must be configured */
#define TAKES_KEYS 8u	     /* uses them if there are any */

struct command {
	const char *name;
	const char *synopsis; /* of its arguments, for --help */
	const char *help;
	unsigned needs;
	int (*run)(struct program *, int argc, char **argv);
};

/* One for each of the other files; main.c lists them. */
int command_usage(const char *command, const char *fmt, ...) PRINTF_LIKE(2, 3); /* says it; EXIT_USAGE */

#endif
