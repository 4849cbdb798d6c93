/*
 * backup/storage.h - where backups are kept: one small struct of functions.
 *
 * Two members: S3 (backup/s3_*.c) and a directory (backup/dir_store.c, for
 * file:///path). A test hands a job one of its own that fails on the third
 * part.
 *
 * Operations are started and end later, on the loop: op->is_done turns true
 * and op->done, if set, is called. The op, and what is passed by span or
 * body, is borrowed until then. A job that wants to wait says
 * storage_wait(st, &op). Retries, back-off and re-signing happen below.
 *
 * An object becomes visible whole or not at all: by put, or by
 * upload_complete.
 *
 * Rules: backup specification, sections 5.5, 10, 12.  Tests: test/unit/test_backup_store.c
 */
#ifndef BACKUP_STORAGE_H
#define BACKUP_STORAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "backup/outcome.h"
#include "lib/span.h"
#include "lib/util.h"

struct loop;
struct storage;
struct storage_upload;

#define STORAGE_KEY_MAX 1024	/* bytes of an object key */
#define STORAGE_ETAG_MAX 256	/* with its quotes, as the store wrote it; opaque */
#define STORAGE_UPLOAD_ID_MAX 1024

enum storage_result {
	STORAGE_OK,
	STORAGE_NOT_FOUND,   /* no such key, bucket or upload: error.code tells which */
	STORAGE_EXISTS,	     /* the name is taken; nothing was overwritten */
	STORAGE_CHANGED,     /* if_match did not hold */
	STORAGE_DENIED,	     /* credentials, rights, a lock on the object */
	STORAGE_NETWORK,     /* also after all retries */
	STORAGE_TIMED_OUT,
	STORAGE_FULL,	     /* quota, disk */
	STORAGE_INTEGRITY,   /* what arrived is not what was sent */
	STORAGE_TOO_LARGE,   /* of a part, an object, or the number of parts */
	STORAGE_UNSUPPORTED, /* the store does not know this operation */
	STORAGE_CANCELLED,
	STORAGE_FAILED	     /* anything else */
};

struct storage_error {
	int http; /* 0: none */
	char code[64];
	char message[512];   /* for a person; no secrets */
	char request_id[128];
};

struct storage_op {
	enum storage_result result;
	bool is_done;
	struct storage_error error; /* when result is not STORAGE_OK */
	void (*done)(struct storage_op *); /* may be NULL */
	void *owner;			   /* of done; not looked at */
	void *impl;			   /* of the store, while it runs */
};

/* x-amz-meta-*, set when an object is made; "" leaves one out. */
struct object_meta {
	char run_id[40], tool_version[40], format[8], key_id[20], database[64 * 3 + 1];
};

struct object_info {
	uint64_t size;
	time_t modified;
	char etag[STORAGE_ETAG_MAX];
	struct object_meta meta;  /* of head only */
};

/* What is sent: memory, or a range of a file when fd >= 0. */
struct storage_body {
	struct span bytes;
	int fd; /* borrowed */
	uint64_t offset, len;
};

/* Bytes of a get, in order. false ends it with STORAGE_CANCELLED. After a broken connection the rest is fetched from
 * where it stopped; the receiver never sees a byte twice. */
typedef bool storage_sink(void *ctx, struct span bytes);
/* One item of a listing; text is borrowed. false ends the listing with STORAGE_CANCELLED. */
typedef bool storage_item(void *ctx, const char *key, const struct object_info *);
typedef bool storage_upload_item(void *ctx, const char *key, const char *upload_id, time_t begun);

struct storage_ops {
	const char *name; /* "s3", "file" */
	/* Never overwrites where the store can be asked not to (If-None-Match: *). */
	void (*put)(struct storage *, struct storage_op *, const char *key, const char *content_type,
		    const struct object_meta *, const struct storage_body *);
	/* The same, but replaces what is there: manifests and markers. */
	void (*replace)(struct storage *, struct storage_op *, const char *key, const char *content_type,
			const struct storage_body *);
	void (*head)(struct storage *, struct storage_op *, const char *key, struct object_info *);
	/* if_match may be NULL; len 0: to the end. info may be NULL. */
	void (*get)(struct storage *, struct storage_op *, const char *key, const char *if_match, uint64_t offset,
		    uint64_t len, struct object_info *, storage_sink *, void *ctx);
	void (*remove)(struct storage *, struct storage_op *, const char *key); /* not there: STORAGE_OK */
	/* Everything under prefix, all pages, in no order that counts; flat: only what has no further '/'. Ends with an
	 * error: incomplete, so neither prune nor a choice may rest on it. A page is told whole or not at all. */
	void (*list)(struct storage *, struct storage_op *, const char *prefix, bool flat, storage_item *, void *ctx);

	/* Parts are numbered from 1 and begun in that order; several may be under way, and the store itself holds back
	 * more than it wants at once. All but the last have the same size. */
	void (*upload_begin)(struct storage *, struct storage_op *, const char *key, const char *content_type,
			     const struct object_meta *, struct storage_upload **);
	void (*upload_part)(struct storage_upload *, struct storage_op *, unsigned number, const struct storage_body *);
	/* size: of the whole object, to tell whether it worked when the answer is lost. */
	void (*upload_complete)(struct storage_upload *, struct storage_op *, uint64_t size);
	/* STORAGE_EXISTS, of this and of abort_stale: the object is there, and the upload may have made it; nothing is done. */
	void (*upload_abort)(struct storage_upload *, struct storage_op *);
	const char *(*upload_id)(const struct storage_upload *);
	void (*upload_free)(struct storage_upload *); /* neither completes nor aborts; no op of it may be under way */
	void (*list_uploads)(struct storage *, struct storage_op *, const char *prefix, storage_upload_item *,
			     void *ctx);
	void (*abort_stale)(struct storage *, struct storage_op *, const char *key, const char *upload_id);

	/* Where it is and how safe the way there is, for a person. */
	void (*describe)(const struct storage *, char *out, size_t size);
	void (*cancel)(struct storage_op *); /* it ends soon, with STORAGE_CANCELLED unless it was quicker */
	void (*free)(struct storage *);
};

/* For logs and metrics; either may be NULL. Called on the loop; text is borrowed for the duration of the call. */
struct storage_watcher {
	/* One request came to its end. op: "put", "part", "list" ...; http: 0 when there was no answer. */
	void (*request)(void *ctx, const char *op, int http, usec_t took, uint64_t sent, uint64_t received);
	/* It will be tried again after wait. reason: a code of the store's or of ours. */
	void (*retry)(void *ctx, const char *op, unsigned attempt, const char *reason, const struct storage_error *,
		      usec_t wait);
	/* Something an operator should know: another region, a clock that is off, a feature that is missing. */
	void (*notice)(void *ctx, const char *text);
	void *ctx;
};

struct storage { /* first member of every store */
	const struct storage_ops *ops;
	struct loop *loop;		 /* borrowed */
	struct storage_watcher watcher;	 /* may be set at any time */
	bool has_clock;			 /* the store has told its time */
	int64_t clock_offset;		 /* its Date minus our clock, seconds, by the last answer */
};

/*
 * Runs the loop until op is done; an interruption of the loop cancels it. Its
 * result. Before each start of an operation: *op = (struct storage_op){0},
 * done and owner set if wanted.
 */
enum storage_result storage_wait(struct storage *, struct storage_op *);
/* The same, deaf to interruptions, for what is done on the way out; cancelled after budget (0: none). */
enum storage_result storage_wait_through(struct storage *, struct storage_op *, usec_t budget);
const char *storage_result_word(enum storage_result);
enum outcome storage_outcome(enum storage_result);

#endif
