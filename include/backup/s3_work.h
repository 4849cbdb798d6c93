/*
 * backup/s3_work.h - an operation of the store as a run of calls. For the
 * files of the store (backup/s3_*.c) only.
 *
 * Each kind of operation has a struct that begins with a s3_work. One call is
 * under way at a time; when it has ended, the kind's function decides what
 * comes next, or ends the work.
 */
#ifndef BACKUP_S3_WORK_H
#define BACKUP_S3_WORK_H

#include "backup/s3_call.h"

struct s3_work {
	struct s3_store *s3;
	struct storage_op *op; /* borrowed */
	struct s3_call *call;  /* owned; under way, or the last one */
	char *key;	       /* owned; NULL: the bucket */
	void (*clean)(struct s3_work *); /* frees what the kind owns besides; may be NULL */
};

static inline struct s3_store *s3_of(struct storage *st)
{
	return CONTAINER_OF(st, struct s3_store, base);
}

/* size: of the kind's struct, zeroed. */
void *s3_work_new(size_t size, struct s3_store *, struct storage_op *, const char *key);
/* The next call of the work; the one before is freed. It is sent with s3_call_go(). */
struct s3_call *s3_work_call(struct s3_work *, const char *what, const char *method, void (*ended)(struct s3_call *));
/* Ends the operation with the last call's error, and frees the work. */
void s3_work_end(struct s3_work *, enum storage_result);
/* With an error of our own. */
void s3_work_fail(struct s3_work *, enum storage_result, const char *code, const char *message);
void s3_work_cancel(struct storage_op *);

/* Headers of an object that is made. meta may be NULL. */
void s3_object_headers(struct s3_call *, const char *content_type, const struct object_meta *);
/* Whether a HEAD has found the object of this run, whole. */
bool s3_is_ours(const struct s3_call *, const char *run_id, uint64_t size);
/* What a store has turned out not to know is said once, and left out from then on. */
void s3_lacks_conditions(struct s3_store *);
void s3_lacks_tags(struct s3_store *);
bool s3_sends_tags(const struct s3_store *);
/* Another write of the name was under way: it is not said which one won. */
bool s3_is_conflict(const struct s3_call *);

/* backup/s3_upload.c */
void s3_upload_begin(struct storage *, struct storage_op *, const char *key, const char *content_type,
		     const struct object_meta *, struct storage_upload **);
void s3_upload_part(struct storage_upload *, struct storage_op *, unsigned number, const struct storage_body *);
void s3_upload_complete(struct storage_upload *, struct storage_op *, uint64_t size);
void s3_upload_abort(struct storage_upload *, struct storage_op *);
const char *s3_upload_id(const struct storage_upload *);
void s3_upload_free(struct storage_upload *);
void s3_list_uploads(struct storage *, struct storage_op *, const char *prefix, storage_upload_item *, void *ctx);
void s3_abort_stale(struct storage *, struct storage_op *, const char *key, const char *upload_id);

/* backup/s3_object.c */
void s3_put(struct storage *, struct storage_op *, const char *key, const char *content_type,
	    const struct object_meta *, const struct storage_body *);
void s3_replace(struct storage *, struct storage_op *, const char *key, const char *content_type,
		const struct storage_body *);
void s3_head(struct storage *, struct storage_op *, const char *key, struct object_info *);
void s3_get(struct storage *, struct storage_op *, const char *key, const char *if_match, uint64_t offset, uint64_t len,
	    struct object_info *, storage_sink *, void *ctx);
void s3_remove(struct storage *, struct storage_op *, const char *key);
void s3_list(struct storage *, struct storage_op *, const char *prefix, bool flat, storage_item *, void *ctx);

#endif
