/*
 * backup/reader.h - the plaintext of a backup, and none of it before it may be trusted.
 *
 *	source		for one who can take all back	for anybody else
 *	format 2	streams, segment by segment	two passes
 *	format 1	two passes			two passes
 *	plain		streams, if it is accepted	two passes, if it is accepted
 *
 * Two passes: the first judges the whole file and hands out nothing. It keeps
 * the stored bytes in an unlinked file when there is room (spool), else the
 * SHA-256 of each MiB. The second reads the same bytes again, from that file
 * or from the source, and lets a MiB pass only if its digest is the recorded
 * one. So a store that sends other bytes the second time is caught before any
 * of them is used. Plaintext never touches the disk here.
 *
 * All of it runs the loop while it waits; only a job calls it.
 *
 * Rules: backup specification, 8.1, 8.3, 8.4, 14.1.
 * Tests: test/system/test_backup_files.py, test/system/test_backup_restore.py
 */
#ifndef BACKUP_READER_H
#define BACKUP_READER_H

#include "backup/storage.h"
#include "backup/unseal.h"

struct work;

/*	 id		exit */
#define READ_RESULTS(X) \
	X(OK) \
	X(STOPPED)	/* the sink said no */ \
	X(INTEGRITY)	/* tampered, truncated, wrong bytes */ \
	X(WRONG_KEY)	\
	X(UNENCRYPTED)	/* plain, and not accepted */ \
	X(CHANGED)	/* the object was replaced while it was read */ \
	X(NOT_FOUND) \
	X(STORAGE)	/* the store failed */ \
	X(LOCAL)	/* our own disk did */ \
	X(INTERRUPTED)

enum read_result {
#define X(id) READ_##id,
	READ_RESULTS(X)
#undef X
};
enum outcome read_outcome(enum read_result);

struct reader_spec {
	struct storage *store; /* borrowed; NULL: from fd */
	const char *key;       /* borrowed */
	const char *etag;      /* borrowed; "" or NULL: not compared */
	int fd;		       /* borrowed */
	uint64_t size;
	const struct keyring *keys; /* borrowed */
	bool accept_plain;
	bool streams;		    /* the sink's owner can take all back: see above */
	bool must_hash;		    /* sha256 is wanted: also of what streams */
	bool may_spool;
	const char *spool_dir;
	enum file_format named;	    /* what its name says; decides nothing but the order of tries */
	enum file_content content;  /* that it must be, in format 2; CONTENT_UNSPECIFIED: any */
	int64_t named_at;	    /* the date in its name; -1: not compared with the one in the header */
	const char *expect_sha256;  /* of plain objects, from the manifest; NULL: unknown */
	struct work *work;	    /* borrowed; told of every piece */
};

struct reader;
struct reader *reader_new(const struct reader_spec *);
void reader_free(struct reader *);

/* What must be done before the first byte may be used: format and key, and the first of two passes. */
enum read_result reader_prepare(struct reader *) MUST_CHECK;
/* Then all of it. Of what streams, READ_OK alone says that it was whole; the sink has had part of it before. */
enum read_result reader_pour(struct reader *, seal_sink *, void *ctx) MUST_CHECK;

/* After prepare: all of it has been read and judged already. */
bool reader_is_judged(const struct reader *);
/* For a person. */
const char *reader_why(const struct reader *);
enum file_format reader_format(const struct reader *); /* after prepare */
uint64_t reader_plaintext(const struct reader *);      /* bytes, after a whole pass */
const char *reader_sha256(const struct reader *);      /* of the stored bytes, in hex, after a whole pass; "" before */
const char *reader_key_id(const struct reader *);      /* of the key that fits; "" before */

#endif
