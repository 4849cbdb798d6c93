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

#endif
