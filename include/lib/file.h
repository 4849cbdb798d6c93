/*
 * lib/file.h - read a whole file, and tell whether it changed since.
 *
 * Tests: test/unit/test_config.c
 */
#ifndef LIB_FILE_H
#define LIB_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

#include "lib/util.h"

/* What stat(2) says; two equal ones are taken for the same content. */
struct file_identity {
	dev_t dev;
	ino_t inode;
	mode_t mode;
	uid_t owner;
	gid_t group;
	struct timespec mtime;
	off_t size;
};

bool file_identity_same(const struct file_identity *, const struct file_identity *);

struct file_text {
	char *text; /* owned by the caller; a NUL follows the last byte; NULL when unchanged */
	size_t len;
	struct file_identity identity;
};

/*
 * Reads path whole, at most max bytes of it (EFBIG beyond). known may be
 * NULL; when the file still has that identity, text is NULL and the result 0.
 * -1: errno says why.
 */
MUST_CHECK int file_read(const char *path, size_t max, const struct file_identity *known, struct file_text *out);
/* Wipes and frees the text. */
void file_text_free(struct file_text *);

#define FILE_LINE_MAX 4096 /* bytes, with the newline */
/* A line without its newline and with a NUL in its place; NULL: it is longer than FILE_LINE_MAX. number is from 1. */
typedef void file_line(void *ctx, char *line, size_t len, int number);
/*
 * The same for files that are too large to be held whole: calls line for each, in their order. identity is filled in.
 * 0: read; 1: known, and not read; -1: errno says why.
 */
MUST_CHECK int file_each_line(const char *path, size_t max, const struct file_identity *known,
			      struct file_identity *identity, file_line *line, void *ctx);

#endif
