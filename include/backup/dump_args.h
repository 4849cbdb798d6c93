/*
 * backup/dump_args.h - what the configuration may add to a pg_dump command line.
 *
 * Only arguments that leave the dump a whole, restorable archive on standard
 * output; a list, since pg_dump gains options with every version.
 *
 * Rules: backup specification, section 4.  Tests: test/unit/test_backup_config.c
 */
#ifndef BACKUP_DUMP_ARGS_H
#define BACKUP_DUMP_ARGS_H

#include <stdbool.h>
#include <stddef.h>

#define DUMP_ARGS_MAX 64

struct dump_args {
	char *words[DUMP_ARGS_MAX + 1]; /* owned; NULL behind the last */
	size_t count;
};

/*
 * Words apart by blanks; 'single' and "double" quotes keep blanks together.
 * false: why says what is wrong, and nothing is owned.
 */
bool dump_args_parse(const char *text, struct dump_args *, char *why, size_t cap);
void dump_args_free(struct dump_args *);

enum compress_method { COMPRESS_DEFAULT, COMPRESS_NONE, COMPRESS_GZIP, COMPRESS_ZSTD, COMPRESS_LZ4 };
struct compress {
	enum compress_method method;
	int level; /* -1: not said */
};
/* none, gzip, gzip:1..9, zstd, zstd:1..19, lz4 */
bool compress_parse(const char *text, struct compress *);
/* The argument for a pg_dump of that major version. NULL: none, or it cannot do that (method is not COMPRESS_DEFAULT). */
const char *compress_argument(const struct compress *, int major, char out[64]);

#endif
