/*
 * lib/file_write.h - files that are written anew, whole or not at all.
 *
 * Tests: test/unit/test_lib.c
 */
#ifndef LIB_FILE_WRITE_H
#define LIB_FILE_WRITE_H

#include <sys/types.h>

#include "lib/span.h"
#include "lib/util.h"

/* 0, or -1 with errno: some of it may have been written. */
MUST_CHECK int file_write_all(int fd, struct span bytes);

/* A new name survives a power cut only once its directory is on disk too. 0, or -1 with errno. */
MUST_CHECK int file_sync_directory_of(const char *path);

/* Whom the file will belong to. */
struct file_owner {
	uid_t uid;
	gid_t gid;
};

/*
 * Puts a file with these bytes and exactly this mode in the place of path, by
 * way of path.new in the same directory: who reads path finds the old one or
 * the new one, whole, also after a power cut. It is its owner's alone until
 * all is written. owner: NULL: it stays ours. 0, or an errno; then path is as it
 * was, unless only its directory could not be brought to the disk.
 */
MUST_CHECK int file_replace(const char *path, struct span bytes, mode_t mode, const struct file_owner *owner);

#endif
