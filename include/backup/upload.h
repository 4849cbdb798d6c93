/*
 * backup/upload.h - an object of unknown length, stored while it is made.
 *
 * Bytes are gathered into parts. What fits into one part is one put; else a
 * multipart upload begins with the second part's first byte. Parts are in
 * memory, 32 MiB together at most, or in unlinked files when they are larger
 * than 16 MiB. Nothing is visible before upload_finish() has succeeded.
 *
 * upload_put() waits for a free part (it runs the loop); only a job calls it.
 *
 * Rules: backup specification, 5.5, 6, 7.2, 10.4, 10.8.
 * Tests: test/unit/test_backup_upload.c (a store that fails on the third part)
 */
#ifndef BACKUP_UPLOAD_H
#define BACKUP_UPLOAD_H

#include "backup/storage.h"

struct work;

#define UPLOAD_MEMORY ((uint64_t)32 << 20)
#define UPLOAD_PART_IN_MEMORY ((uint64_t)16 << 20)

struct upload_spec {
	struct storage *store;		/* borrowed */
	const char *key;		/* borrowed */
	const char *content_type;	/* borrowed */
	const struct object_meta *meta; /* borrowed */
	uint64_t part_bytes;		/* of every part but the last; 0: they grow (part_size_growing) */
	unsigned max_parts, concurrency;
	const char *spool_dir; /* for parts that are too large for memory */
	struct work *work;     /* borrowed */
	/* An upload has begun or is over (id NULL): to be remembered where a restart finds it. May be NULL. */
	void (*remember)(void *ctx, const char *key, const char *upload_id);
	void *ctx;
};

struct upload;
/* NULL: why; the spool directory has no room, or cannot be used. */
struct upload *upload_new(const struct upload_spec *, char *why, size_t cap);
/* Also a seal_sink. false: it has failed; see upload_failure(). */
bool upload_put(void *upload, struct span);
/* Sends what is left, waits for all parts, and completes. The object is there, or it is not. */
enum storage_result upload_finish(struct upload *) MUST_CHECK;
/* Ends what is under way and aborts; deaf to interruptions, within 10 s. Harmless after success. */
void upload_abort(struct upload *);
void upload_free(struct upload *); /* NULL is fine */

enum storage_result upload_failure(const struct upload *, const struct storage_error **);
uint64_t upload_size(const struct upload *);	 /* bytes put so far */
unsigned upload_parts(const struct upload *);	 /* sent so far; 1 for a put */
const char *upload_sha256(const struct upload *); /* of all bytes, in hex, after upload_finish() was called */
bool upload_is_out_of_parts(const struct upload *); /* that is why it failed */

#endif
