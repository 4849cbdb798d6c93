/* Uploads of the directory store: one file, to which parts are written where they belong. */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "backup/part_size.h"
#include "dir_parts.h"
#include "lib/mem.h"

#define OBJECT "object"
#define KEY "key"
#define TORN_AGE 60 /* seconds; a begin takes a moment, also on a slow disk */

struct part {
	uint64_t len;
	bool is_written;
};

struct storage_upload {
	struct dir_store *d;
	char *key; /* owned */
	char id[33];
	struct object_meta meta;
	int dir, fd; /* owned; DIR_OWN/uploads/ID, and the object in it */
	struct part *parts; /* owned; of number i + 1 */
	size_t count;
};

static bool is_id(const char *id)
{
	return strlen(id) == 32 && id[strspn(id, "0123456789abcdef")] == 0;
}

void dir_upload_free(struct storage_upload *u)
{
	if (!u)
		return;
	if (u->fd >= 0)
		close(u->fd);
	if (u->dir >= 0)
		close(u->dir);
	free(u->parts);
	free(u->key);
	free(u);
}

const char *dir_upload_id(const struct storage_upload *u)
{
	return u->id;
}

/* All that is left of an upload. */
static bool remove_upload(struct dir_store *d, const char *id)
{
	int uploads = dir_own(d, "uploads"), dir = uploads < 0 ? -1 : dir_open_below(uploads, id, false);
	bool ok;

	if (dir >= 0) {
		(void)unlinkat(dir, OBJECT, 0);
		(void)unlinkat(dir, KEY, 0);
		close(dir);
	}
	ok = uploads >= 0 && (unlinkat(uploads, id, AT_REMOVEDIR) == 0 || errno == ENOENT);
	if (uploads >= 0)
		close(uploads);
	return ok;
}

/* ---- begin ---- */

struct begin {
	struct dir_work w;
	struct storage_upload **out; /* borrowed */
	struct storage_upload *made; /* owned until it has succeeded */
};

static bool begin_step(struct dir_work *w)
{
	struct begin *b = CONTAINER_OF(w, struct begin, w);
	struct storage_upload *u = b->made;
	int uploads, key;
	bool ok;

	if (!dir_is_key(u->key))
		return dir_ended(w, STORAGE_FAILED, "not a key that a directory can hold");
	uploads = dir_own(w->d, "uploads");
	u->dir = uploads < 0 ? -1 : dir_open_below(uploads, u->id, true);
	if (uploads >= 0)
		close(uploads);
	if (u->dir < 0)
		return dir_failed(w, "beginning an upload");
	key = openat(u->dir, KEY, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ok = key >= 0 && dir_write_all(key, span_str(u->key), 0) && fsync(key) == 0;
	if (key >= 0)
		close(key);
	if (ok)
		u->fd = openat(u->dir, OBJECT, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (u->fd < 0) {
		dir_failed(w, "beginning an upload");
		(void)remove_upload(w->d, u->id);
		return true;
	}
	*b->out = u;
	b->made = NULL;
	return dir_ended(w, STORAGE_OK, NULL);
}

static void begin_clean(struct dir_work *w)
{
	dir_upload_free(CONTAINER_OF(w, struct begin, w)->made);
}

void dir_upload_begin(struct storage *st, struct storage_op *op, const char *key, const char *content_type,
		      const struct object_meta *meta, struct storage_upload **out)
{
	struct begin *b = dir_work_new(sizeof(*b), dir_of(st), op, begin_step, begin_clean);
	struct storage_upload *u = xcalloc(1, sizeof(*u));

	(void)content_type;
	u->d = dir_of(st);
	u->key = xstrdup(key);
	u->dir = u->fd = -1;
	if (meta)
		u->meta = *meta;
	dir_random_name(u->id);
	b->made = u;
	b->out = out;
	*out = NULL;
}

/* ---- part ---- */

struct write {
	struct dir_work w;
	struct storage_upload *upload;	 /* borrowed */
	const struct storage_body *body; /* borrowed */
	unsigned number;
	uint64_t offset, at;
};

static bool part_step(struct dir_work *w)
{
	struct write *p = CONTAINER_OF(w, struct write, w);

	if (!dir_copy_some(p->body, &p->at, p->upload->fd, p->offset))
		return dir_failed(w, "writing a part");
	if (p->at < p->body->len)
		return false;
	p->upload->parts[p->number - 1].is_written = true;
	return dir_ended(w, STORAGE_OK, NULL);
}

void dir_upload_part(struct storage_upload *u, struct storage_op *op, unsigned number, const struct storage_body *body)
{
	struct write *p = dir_work_new(sizeof(*p), u->d, op, part_step, NULL);

	/* Begun in order: so it is known where each one lies. */
	assert(number >= 1 && number <= PARTS_MAX && number <= u->count + 1);
	if (number > u->count) {
		u->parts = xrealloc(u->parts, number * sizeof(*u->parts));
		u->count = number;
	}
	u->parts[number - 1] = (struct part){.len = body->len};
	p->upload = u;
	p->body = body;
	p->number = number;
	for (unsigned i = 0; i + 1 < number; i++)
		p->offset += u->parts[i].len;
}

/* ---- complete ---- */

struct finish {
	struct dir_work w;
	struct storage_upload *upload; /* borrowed */
	uint64_t size;
};

static bool complete_step(struct dir_work *w)
{
	struct finish *f = CONTAINER_OF(w, struct finish, w);
	struct storage_upload *u = f->upload;
	uint64_t size = 0;

	for (size_t i = 0; i < u->count; i++) {
		if (!u->parts[i].is_written)
			return dir_ended(w, STORAGE_FAILED, "a part of the upload is missing");
		size += u->parts[i].len;
	}
	if (size != f->size || u->count == 0)
		return dir_ended(w, STORAGE_INTEGRITY, "the parts are not as long as the object");
	if (ftruncate(u->fd, (off_t)size) < 0 || fsync(u->fd) < 0)
		return dir_failed(w, "flushing");
	if (!dir_publish(w->d, u->dir, OBJECT, u->key, &u->meta, false))
		return dir_failed(w, "naming the object");
	(void)remove_upload(w->d, u->id);
	return dir_ended(w, STORAGE_OK, NULL);
}

void dir_upload_complete(struct storage_upload *u, struct storage_op *op, uint64_t size)
{
	struct finish *f = dir_work_new(sizeof(*f), u->d, op, complete_step, NULL);

	f->upload = u;
	f->size = size;
}

/* ---- abort ---- */

struct removal {
	struct dir_work w;
	char *id; /* owned */
};

static bool abort_step(struct dir_work *w)
{
	const char *id = CONTAINER_OF(w, struct removal, w)->id;

	/* What is no id of ours cannot be there. */
	if (is_id(id) && !remove_upload(w->d, id))
		return dir_failed(w, "removing an upload");
	return dir_ended(w, STORAGE_OK, NULL);
}

static void abort_clean(struct dir_work *w)
{
	free(CONTAINER_OF(w, struct removal, w)->id);
}

void dir_abort_stale(struct storage *st, struct storage_op *op, const char *key, const char *upload_id)
{
	struct removal *r = dir_work_new(sizeof(*r), dir_of(st), op, abort_step, abort_clean);

	(void)key;
	r->id = xstrdup(upload_id);
}

void dir_upload_abort(struct storage_upload *u, struct storage_op *op)
{
	dir_abort_stale(&u->d->base, op, u->key, u->id);
}

/* ---- list ---- */

struct listing {
	struct dir_work w;
	char *prefix; /* owned */
	storage_upload_item *item;
	void *ctx;
};

/* false: the receiver wants no more. */
static bool tell_upload(struct listing *l, int uploads, const char *id)
{
	char key[STORAGE_KEY_MAX + 1];
	int dir = is_id(id) ? dir_open_below(uploads, id, false) : -1, fd;
	struct stat st;
	ssize_t n = -1;
	bool goes_on = true;

	if (dir < 0)
		return true;
	fd = openat(dir, KEY, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &st) == 0)
		n = read(fd, key, sizeof(key) - 1);
	if (n > 0) {
		key[n] = 0;
		if (strncmp(key, l->prefix, strlen(l->prefix)) == 0)
			goes_on = l->item(l->ctx, key, id, st.st_mtime);
	} else if (fstat(dir, &st) == 0 && time(NULL) - st.st_mtime > TORN_AGE) {
		/* Whoever began it was killed before it had a name: nothing is in it, and nobody will ever ask for it. */
		(void)remove_upload(l->w.d, id);
	}
	if (fd >= 0)
		close(fd);
	close(dir);
	return goes_on;
}

static bool list_step(struct dir_work *w)
{
	struct listing *l = CONTAINER_OF(w, struct listing, w);
	int uploads = dir_own(w->d, "uploads");
	DIR *dir = uploads < 0 ? NULL : fdopendir(uploads);
	struct dirent *e;
	bool goes_on = true;

	if (!dir) {
		dir_failed(w, "listing uploads");
		if (uploads >= 0)
			close(uploads);
		return true;
	}
	while (goes_on && (e = readdir(dir)))
		goes_on = tell_upload(l, uploads, e->d_name);
	closedir(dir);
	return goes_on ? dir_ended(w, STORAGE_OK, NULL) : dir_ended(w, STORAGE_CANCELLED, "cancelled");
}

static void list_clean(struct dir_work *w)
{
	free(CONTAINER_OF(w, struct listing, w)->prefix);
}

void dir_list_uploads(struct storage *st, struct storage_op *op, const char *prefix, storage_upload_item *item,
		      void *ctx)
{
	struct listing *l = dir_work_new(sizeof(*l), dir_of(st), op, list_step, list_clean);

	l->prefix = xstrdup(prefix);
	l->item = item;
	l->ctx = ctx;
}
