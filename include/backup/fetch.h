/*
 * backup/fetch.h - the stored bytes of a backup, in order, piece by piece.
 *
 * From a store in ranges of 8 MiB, one being fetched while the one before is
 * used; or from a file. fetch_next() runs the loop while it waits; only a job
 * calls it.
 *
 * Rules: backup specification, 7.2, 14.8.
 */
#ifndef BACKUP_FETCH_H
#define BACKUP_FETCH_H

#include "backup/storage.h"

#define FETCH_RANGE ((size_t)8 << 20)

struct fetch;

enum fetch_result { FETCH_OK, FETCH_END, FETCH_FAILED };

/* etag may be "": not compared. key and etag are copied. */
struct fetch *fetch_object(struct storage *, const char *key, const char *etag, uint64_t size);
/* fd is borrowed; read by position. */
struct fetch *fetch_file(int fd, uint64_t size);
void fetch_free(struct fetch *); /* ends what is under way; NULL is fine */

/* *piece is valid until the next call. FETCH_END: size bytes have come. */
enum fetch_result fetch_next(struct fetch *, struct span *piece) MUST_CHECK;
/* After FETCH_FAILED. STORAGE_CANCELLED: interrupted. */
enum storage_result fetch_failure(const struct fetch *, const char **why);

#endif
