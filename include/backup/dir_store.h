/*
 * backup/dir_store.h - a store in a directory: file:///path.
 *
 * A key is a path below it. What is written is written under .pg-ecdsa-backup/
 * of that directory, flushed, and then linked under its name, which fails when
 * the name is taken; so an object is whole or not there, after a crash, too.
 * Object metadata stand there as well, in meta/.
 *
 * Keys with an empty component, "." or "..", an own dot directory, or through
 * a symbolic link are refused.
 *
 * Tests: test/unit/test_backup_store.c
 */
#ifndef BACKUP_DIR_STORE_H
#define BACKUP_DIR_STORE_H

#include "backup/storage.h"

/* path: absolute; must be a directory. NULL: why. */
struct storage *dir_store_new(struct loop *, const char *path, char *why, size_t why_size);

#endif
