/*
 * config/words.h - the words of a line of the HBA and the ident file
 * (configuration specification, section 11).
 *
 * Words are split by white space and commas; # outside quotes begins a
 * comment; "..." with "" for a quote is literal text. A line ends where the
 * file's line ends, quoted or not.
 *
 * Quoting is undone in place, so the bytes must be writable. A word points
 * into them and has no NUL behind it.
 *
 * Tests: test/unit/test_hba.c, test/fuzz/fuzz_hba.c
 */
#ifndef CONFIG_WORDS_H
#define CONFIG_WORDS_H

#include <stdbool.h>
#include <stddef.h>

/* The numbers stand in a warning of section 11. */
enum word_kind {
	WORD_QUOTED,
	WORD_PLAIN,
	WORD_COMMA,
	WORD_BAD, /* a quote without its end, or a NUL byte */
	WORD_END
};

struct words {
	char *at, *end;	     /* what is left of the line */
	enum word_kind kind; /* of the current word */
	char *text;	     /* at WORD_END still the last word's */
	size_t len;
	bool is_file; /* @NAME or @"NAME": text is the NAME */
};

/* Stands before the first word. */
struct words words_over(char *line, size_t len);
enum word_kind words_next(struct words *);
/* The current word is plain and reads so. */
bool words_is(const struct words *, const char *plain);
/* What is left of the line, without its comment and outer white space; the line is used up. */
char *words_rest(struct words *, size_t *len);

/* Walks lines: *at moves on, NULL at the end. The newline is not part of a line. */
char *line_next(char **at, char *end, size_t *len);

#endif
