/*
 * lib/ini.h - the grammar of pgbouncer.ini, without its meaning.
 *
 * Every item is handed to the caller as it is read, with the place it stands
 * at. What is wrong with the grammar or a file is logged here, in the words
 * of the configuration specification, section 1; whoever refuses an item has
 * said why himself.
 *
 * Keys may stand in 'single' or "double" quotes, a doubled quote meaning one.
 * A NUL byte is a syntax error, so that no text ends earlier than it looks.
 *
 * Tests: test/unit/test_config.c, test/fuzz/fuzz_ini.c
 */
#ifndef LIB_INI_H
#define LIB_INI_H

#include <stdbool.h>

#include "lib/span.h"
#include "lib/util.h"

#define INI_INCLUDE_DEPTH 10
#define INI_FILES_MAX 10000 /* in one load: includes of includes multiply */
#define INI_FILE_MAX ((size_t)256 << 20)

struct ini_place {
	const char *file; /* borrowed, for the duration of the call */
	int line;
};

/* false stops the load, or with goes_on skips to the next line. All text is borrowed for the duration of the call. */
struct ini_events {
	bool (*section)(void *ctx, const char *name, struct ini_place);
	bool (*key)(void *ctx, const char *key, const char *value, struct ini_place);
	bool (*include)(void *ctx, const char *file, struct ini_place);
	bool goes_on; /* to report every problem of a file, not only the first; the answer is false all the same */
};

/* Reads a byte range; file is its name in messages. false: stopped, and the reason is logged. */
bool ini_parse(struct span text, const char *file, const struct ini_events *, void *ctx);

/* Reads a file and what it includes; events->include is not used. */
bool ini_load(const char *file, const struct ini_events *, void *ctx);

#endif
