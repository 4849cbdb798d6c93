/*
 * dir_parts.h - what the files of the directory store share.
 *
 *	DIR_OWN/lock			held while an object is given its name
 *	DIR_OWN/meta/KEY		what x-amz-meta-* would be
 *	DIR_OWN/new/ID			an object that is being written
 *	DIR_OWN/uploads/ID/object	parts, at their offsets
 *	DIR_OWN/uploads/ID/key		whose upload it is
 */
#ifndef BACKUP_DIR_PARTS_H
#define BACKUP_DIR_PARTS_H

#include <sys/stat.h>

#include "backup/loop.h"
#include "backup/storage.h"
#include "lib/list.h"

#define DIR_OWN ".pg-ecdsa-backup"

struct dir_store {
	struct storage base;
	char *path;	     /* owned; for messages */
	int root, own, lock; /* owned */
	struct list works;
};

/* An operation: its step runs on the loop until it says that it has ended. */
struct dir_work {
	struct list link;
	struct dir_store *d;
	struct storage_op *op;
	struct loop_timer timer;
	bool (*step)(struct dir_work *); /* true: ended, op->result is set */
	void (*clean)(struct dir_work *);
	bool is_cancelled;
};

static inline struct dir_store *dir_of(struct storage *st)
{
	return CONTAINER_OF(st, struct dir_store, base);
}

/* size: of the struct that begins with the work, zeroed. */
void *dir_work_new(size_t size, struct dir_store *, struct storage_op *, bool (*step)(struct dir_work *),
		   void (*clean)(struct dir_work *));
/* Both are true, to be returned by a step. failed: by errno. */
bool dir_ended(struct dir_work *, enum storage_result, const char *message);
bool dir_failed(struct dir_work *, const char *doing);
enum storage_result dir_result(int error);

/* What may stand between the slashes of a key. */
bool dir_is_component(const char *s, size_t len);
bool dir_is_key(const char *key);
/* The directory of a key, to be closed by the caller, and the key's last component. -1: errno. */
int dir_open_parent(int root, const char *key, bool makes, const char **last);
/* The etag is of the inode too, which is another one each time a file is replaced as a whole. */
void dir_info_of(const struct stat *, struct object_info *);
/* A directory below another; not through a symbolic link. -1: errno. */
int dir_open_below(int dir, const char *name, bool makes);
int dir_own(struct dir_store *, const char *name);
void dir_random_name(char out[33]);
bool dir_write_all(int fd, struct span, uint64_t offset);
/* Up to 16 MiB of a body to fd, from *at on, which moves; the body begins at offset there. false: errno. */
bool dir_copy_some(const struct storage_body *, uint64_t *at, int fd, uint64_t offset);
/* from/name, flushed by the caller, becomes the object key. false: errno, and the file is still there. */
bool dir_publish(struct dir_store *, int from, const char *name, const char *key, const struct object_meta *,
		 bool replaces);

void dir_list(struct storage *, struct storage_op *, const char *prefix, bool flat, storage_item *, void *ctx);
void dir_upload_begin(struct storage *, struct storage_op *, const char *key, const char *content_type,
		      const struct object_meta *, struct storage_upload **);
void dir_upload_part(struct storage_upload *, struct storage_op *, unsigned number, const struct storage_body *);
void dir_upload_complete(struct storage_upload *, struct storage_op *, uint64_t size);
void dir_upload_abort(struct storage_upload *, struct storage_op *);
const char *dir_upload_id(const struct storage_upload *);
void dir_upload_free(struct storage_upload *);
void dir_list_uploads(struct storage *, struct storage_op *, const char *prefix, storage_upload_item *, void *ctx);
void dir_abort_stale(struct storage *, struct storage_op *, const char *key, const char *upload_id);

#endif
