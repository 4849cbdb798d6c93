/*
 * config/setting_types.h - how a value of each type is read and printed
 * (configuration specification, section 2).
 *
 * Nothing here follows the locale: the decimal mark is always a point.
 *
 * Tests: test/unit/test_config.c
 */
#ifndef CONFIG_SETTING_TYPES_H
#define CONFIG_SETTING_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct setting_range {
	int64_t lo, hi; /* of numbers; of times in seconds */
};

struct setting_type {
	const char *name;  /* as the reference page calls it */
	const char **words; /* of an enum: the canonical spellings, then NULL; else NULL */
	size_t size;	   /* of the field */
	bool is_text;
	/* false: not of this type; *in_range tells whether the bounds are to blame. field is then untouched. */
	bool (*parse)(const struct setting_type *, const char *text, struct setting_range, void *field, bool *in_range);
	/* Returns buf, or the text itself. */
	const char *(*print)(const struct setting_type *, const void *field, char *buf, size_t cap);
};

extern const struct setting_type setting_INT, setting_UINT, setting_BOOL, setting_TIME, setting_STRING,
	setting_WORKERS, setting_POOL_MODE, setting_SSLMODE, setting_AUTH_TYPE, setting_REQUIRE_TLS, setting_REPLAY;

/* Index of a word, compared without case; -1 when it is none of them. The list ends with NULL. */
int word_index(const char *const *words, const char *text);

#endif
