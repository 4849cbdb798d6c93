#include "backup/dir_store.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dir_parts.h"
#include "lib/buf.h"
#include "lib/hex.h"
#include "lib/mem.h"

#define CHUNK ((size_t)256 << 10)

/* ---- results ---- */

enum storage_result dir_result(int error)
{
	switch (error) {
	case ENOENT:
	case ENOTDIR:
		return STORAGE_NOT_FOUND;
	case EEXIST:
		return STORAGE_EXISTS;
	case EACCES:
	case EPERM:
	case EROFS:
		return STORAGE_DENIED;
	case ENOSPC:
	case EDQUOT:
		return STORAGE_FULL;
	case EFBIG:
		return STORAGE_TOO_LARGE;
	default:
		return STORAGE_FAILED;
	}
}

bool dir_ended(struct dir_work *w, enum storage_result r, const char *message)
{
	w->op->result = r;
	if (r != STORAGE_OK) {
		snprintf(w->op->error.code, sizeof(w->op->error.code), "file");
		snprintf(w->op->error.message, sizeof(w->op->error.message), "%s", message);
	}
	return true;
}

bool dir_failed(struct dir_work *w, const char *doing)
{
	enum storage_result r = dir_result(errno);
	char text[512];

	snprintf(text, sizeof(text), "%s: %s", doing, strerror(errno));
	return dir_ended(w, r, text);
}

static void run(struct loop_timer *t)
{
	struct dir_work *w = CONTAINER_OF(t, struct dir_work, timer);
	struct storage_op *op = w->op;

	if (w->is_cancelled)
		dir_ended(w, STORAGE_CANCELLED, "cancelled");
	else if (!w->step(w)) {
		loop_timer_set(w->d->base.loop, &w->timer, loop_now());
		return;
	}
	list_del(&w->link);
	if (w->clean)
		w->clean(w);
	free(w);
	op->impl = NULL;
	op->is_done = true;
	if (op->done)
		op->done(op);
}

void *dir_work_new(size_t size, struct dir_store *d, struct storage_op *op, bool (*step)(struct dir_work *),
		      void (*clean)(struct dir_work *))
{
	struct dir_work *w = xcalloc(1, size);

	w->d = d;
	w->op = op;
	w->step = step;
	w->clean = clean;
	w->timer.fire = run;
	op->impl = w;
	op->is_done = false;
	op->error = (struct storage_error){0};
	list_add_tail(&d->works, &w->link);
	loop_timer_set(d->base.loop, &w->timer, loop_now());
	return w;
}

static void dir_cancel(struct storage_op *op)
{
	struct dir_work *w = op->impl;

	if (w)
		w->is_cancelled = true;
}

/* ---- keys and paths ---- */

bool dir_is_component(const char *s, size_t len)
{
	return len > 0 && len <= 255 && !(len == 1 && s[0] == '.') && !(len == 2 && s[0] == '.' && s[1] == '.');
}

bool dir_is_key(const char *key)
{
	size_t len = strlen(key), own = strlen(DIR_OWN);

	if (len == 0 || len > STORAGE_KEY_MAX || (strncmp(key, DIR_OWN, own) == 0 && (key[own] == '/' || !key[own])))
		return false;
	for (const char *p = key;; p++) {
		size_t n = strcspn(p, "/");

		if (!dir_is_component(p, n))
			return false;
		p += n;
		if (!*p)
			return true;
	}
}

/* A directory below dir, made when it is missing and wanted. Not through a symbolic link. */
int dir_open_below(int dir, const char *name, bool makes)
{
	int fd = openat(dir, name, O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);

	if (fd >= 0 || errno != ENOENT || !makes)
		return fd;
	if (mkdirat(dir, name, 0700) < 0 && errno != EEXIST)
		return -1;
	/* The name of a new directory is as much to be kept as that of a file. */
	if (fsync(dir) < 0)
		return -1;
	return openat(dir, name, O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);
}

int dir_open_parent(int root, const char *key, bool makes, const char **last)
{
	int dir = dup(root);
	const char *slash;

	if (!dir_is_key(key)) {
		close(dir);
		errno = EINVAL;
		return -1;
	}
	fcntl(dir, F_SETFD, FD_CLOEXEC);
	while (dir >= 0 && (slash = strchr(key, '/'))) {
		char *name = xstrndup(key, (size_t)(slash - key));
		int next = dir_open_below(dir, name, makes), error = errno;

		free(name);
		close(dir);
		errno = error;
		dir = next;
		key = slash + 1;
	}
	*last = key;
	return dir;
}

int dir_own(struct dir_store *d, const char *name)
{
	return dir_open_below(d->own, name, true);
}

void dir_random_name(char out[33])
{
	unsigned char bytes[16];

	mem_random(bytes, sizeof(bytes));
	hex_encode(bytes, sizeof(bytes), out);
}

void dir_info_of(const struct stat *st, struct object_info *info)
{
	*info = (struct object_info){.size = (uint64_t)st->st_size, .modified = st->st_mtime};
	snprintf(info->etag, sizeof(info->etag), "\"%llx-%llx-%llx.%lx\"", (unsigned long long)st->st_ino,
		 (unsigned long long)st->st_size, (unsigned long long)st->st_mtim.tv_sec,
		 (unsigned long)st->st_mtim.tv_nsec);
}

/* ---- metadata ---- */

static const struct {
	const char *name;
	size_t offset, size;
} metas[] = {
#define META(field) {#field, offsetof(struct object_meta, field), sizeof(((struct object_meta *)0)->field)}
	META(run_id), META(tool_version), META(format), META(key_id), META(database),
#undef META
};

bool dir_write_all(int fd, struct span s, uint64_t offset)
{
	while (s.len) {
		ssize_t n = pwrite(fd, s.ptr, s.len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		s = span_of(s.ptr + n, s.len - (size_t)n);
		offset += (uint64_t)n;
	}
	return true;
}

/* Lines of name=value; a value with a line end in it would be another line, so it is left out. */
static bool write_meta(struct dir_store *d, const char *key, const struct object_meta *meta)
{
	char temp[33];
	const char *last;
	struct buf b;
	bool ok = false;
	int metadir = dir_own(d, "meta"), dir = metadir < 0 ? -1 : dir_open_parent(metadir, key, true, &last), fd;

	if (metadir >= 0)
		close(metadir);
	if (dir < 0)
		return false;
	buf_init(&b);
	for (size_t i = 0; i < ARRAY_LEN(metas); i++) {
		const char *value = (const char *)meta + metas[i].offset;

		if (*value && !strchr(value, '\n'))
			buf_printf(&b, "%s=%s\n", metas[i].name, value);
	}
	dir_random_name(temp);
	fd = openat(dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd >= 0) {
		ok = buf_ok(&b) && dir_write_all(fd, buf_span(&b), 0) && fsync(fd) == 0 &&
		     renameat(dir, temp, dir, last) == 0 && fsync(dir) == 0;
		close(fd);
	}
	buf_free(&b);
	close(dir);
	return ok;
}

static void read_meta(struct dir_store *d, const char *key, struct object_meta *meta)
{
	char text[1024], *at = text, *line;
	const char *last;
	int metadir = dir_own(d, "meta"), dir = metadir < 0 ? -1 : dir_open_parent(metadir, key, false, &last), fd = -1;
	ssize_t n = -1;

	*meta = (struct object_meta){0};
	if (metadir >= 0)
		close(metadir);
	if (dir >= 0)
		fd = openat(dir, last, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		n = read(fd, text, sizeof(text) - 1);
	text[n < 0 ? 0 : n] = 0;
	while ((line = strsep(&at, "\n"))) {
		char *equals = strchr(line, '=');

		for (size_t i = 0; equals && i < ARRAY_LEN(metas); i++)
			if (strncmp(line, metas[i].name, (size_t)(equals - line)) == 0 &&
			    metas[i].name[equals - line] == 0)
				snprintf((char *)meta + metas[i].offset, metas[i].size, "%s", equals + 1);
	}
	if (fd >= 0)
		close(fd);
	if (dir >= 0)
		close(dir);
}

static void remove_meta(struct dir_store *d, const char *key)
{
	const char *last;
	int metadir = dir_own(d, "meta"), dir = metadir < 0 ? -1 : dir_open_parent(metadir, key, false, &last);

	if (metadir >= 0)
		close(metadir);
	if (dir >= 0) {
		(void)unlinkat(dir, last, 0);
		close(dir);
	}
}

/* ---- giving an object its name ---- */

/*
 * from/name, flushed by the caller, becomes key. The lock is for the metadata:
 * two writers of one name must not leave the loser's beside the winner's.
 * On failure errno says why, and the temporary file is still there.
 */
bool dir_publish(struct dir_store *d, int from, const char *name, const char *key, const struct object_meta *meta,
		    bool replaces)
{
	struct stat st;
	const char *last;
	int dir = dir_open_parent(d->root, key, true, &last), error;
	bool ok = false;

	if (dir < 0)
		return false;
	if (flock(d->lock, LOCK_EX) == 0) {
		if (!replaces && fstatat(dir, last, &st, AT_SYMLINK_NOFOLLOW) == 0)
			errno = EEXIST;
		else if (meta && !write_meta(d, key, meta))
			ok = false;
		else if (replaces)
			ok = renameat(from, name, dir, last) == 0;
		else
			ok = linkat(from, name, dir, last, 0) == 0 && unlinkat(from, name, 0) == 0;
		error = errno;
		flock(d->lock, LOCK_UN);
		errno = error;
	}
	ok = ok && fsync(dir) == 0 && fsync(from) == 0;
	error = errno;
	close(dir);
	errno = error;
	return ok;
}

/* ---- put ---- */

struct put {
	struct dir_work w;
	char *key; /* owned */
	struct object_meta meta;
	const struct storage_body *body; /* borrowed */
	bool replaces;
	int dir, fd; /* owned */
	char temp[33];
	uint64_t at;
};

/* Up to 16 MiB of a body into fd at offset; false: errno. *at moves on. */
bool dir_copy_some(const struct storage_body *b, uint64_t *at, int fd, uint64_t offset)
{
	uint64_t n = b->len - *at < 64 * CHUNK ? b->len - *at : 64 * CHUNK;
	char *block;
	bool ok = true;

	if (b->fd < 0) {
		ok = dir_write_all(fd, span_of(b->bytes.ptr + *at, (size_t)n), offset + *at);
		*at += ok ? n : 0;
		return ok;
	}
	block = xmalloc(CHUNK);
	while (n && ok) {
		ssize_t got = pread(b->fd, block, n < CHUNK ? (size_t)n : CHUNK, (off_t)(b->offset + *at));

		if (got == 0)
			errno = EIO; /* the spool file is shorter than it was said to be */
		ok = got > 0 && dir_write_all(fd, span_of(block, (size_t)got), offset + *at);
		if (ok) {
			*at += (uint64_t)got;
			n -= (uint64_t)got;
		}
	}
	free(block);
	return ok;
}

static bool put_step(struct dir_work *w)
{
	struct put *p = CONTAINER_OF(w, struct put, w);

	if (p->fd < 0) {
		if (!dir_is_key(p->key))
			return dir_ended(w, STORAGE_FAILED, "not a key that a directory can hold");
		p->dir = dir_own(w->d, "new");
		dir_random_name(p->temp);
		if (p->dir >= 0)
			p->fd = openat(p->dir, p->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (p->fd < 0)
			return dir_failed(w, "making a temporary file");
	}
	if (p->at < p->body->len) {
		if (!dir_copy_some(p->body, &p->at, p->fd, 0))
			return dir_failed(w, "writing");
		return false;
	}
	if (fsync(p->fd) < 0)
		return dir_failed(w, "flushing");
	if (!dir_publish(w->d, p->dir, p->temp, p->key, p->replaces ? NULL : &p->meta, p->replaces))
		return dir_failed(w, "naming the object");
	p->temp[0] = 0;
	return dir_ended(w, STORAGE_OK, NULL);
}

static void put_clean(struct dir_work *w)
{
	struct put *p = CONTAINER_OF(w, struct put, w);

	if (p->dir >= 0 && p->fd >= 0 && *p->temp)
		(void)unlinkat(p->dir, p->temp, 0);
	if (p->fd >= 0)
		close(p->fd);
	if (p->dir >= 0)
		close(p->dir);
	free(p->key);
}

static struct put *put_new(struct storage *st, struct storage_op *op, const char *key, const struct storage_body *body)
{
	struct put *p = dir_work_new(sizeof(*p), dir_of(st), op, put_step, put_clean);

	p->key = xstrdup(key);
	p->body = body;
	p->dir = p->fd = -1;
	return p;
}

static void dir_put(struct storage *st, struct storage_op *op, const char *key, const char *content_type,
		    const struct object_meta *meta, const struct storage_body *body)
{
	struct put *p = put_new(st, op, key, body);

	(void)content_type;
	if (meta)
		p->meta = *meta;
}

static void dir_replace(struct storage *st, struct storage_op *op, const char *key, const char *content_type,
			const struct storage_body *body)
{
	(void)content_type;
	put_new(st, op, key, body)->replaces = true;
}

/* ---- head, remove ---- */

struct by_key {
	struct dir_work w;
	char *key; /* owned */
	struct object_info *info; /* borrowed */
};

static bool head_step(struct dir_work *w)
{
	struct by_key *h = CONTAINER_OF(w, struct by_key, w);
	struct stat st;
	const char *last;
	int dir = dir_open_parent(w->d->root, h->key, false, &last);

	if (dir < 0)
		return dir_failed(w, "looking for the object");
	if (fstatat(dir, last, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode)) {
		errno = ENOENT;
		close(dir);
		errno = ENOENT;
		return dir_failed(w, "looking for the object");
	}
	close(dir);
	if (h->info) {
		dir_info_of(&st, h->info);
		read_meta(w->d, h->key, &h->info->meta);
	}
	return dir_ended(w, STORAGE_OK, NULL);
}

static bool remove_step(struct dir_work *w)
{
	struct by_key *r = CONTAINER_OF(w, struct by_key, w);
	const char *last;
	int dir = dir_open_parent(w->d->root, r->key, false, &last);
	bool ok;

	if (dir < 0)
		return dir_result(errno) == STORAGE_NOT_FOUND ? dir_ended(w, STORAGE_OK, NULL)
							      : dir_failed(w, "removing");
	ok = (unlinkat(dir, last, 0) == 0 && fsync(dir) == 0) || errno == ENOENT;
	if (!ok)
		dir_failed(w, "removing");
	close(dir);
	if (!ok)
		return true;
	remove_meta(w->d, r->key);
	return dir_ended(w, STORAGE_OK, NULL);
}

static void by_key_clean(struct dir_work *w)
{
	free(CONTAINER_OF(w, struct by_key, w)->key);
}

static void dir_head(struct storage *st, struct storage_op *op, const char *key, struct object_info *info)
{
	struct by_key *h = dir_work_new(sizeof(*h), dir_of(st), op, head_step, by_key_clean);

	h->key = xstrdup(key);
	h->info = info;
}

static void dir_remove(struct storage *st, struct storage_op *op, const char *key)
{
	struct by_key *r = dir_work_new(sizeof(*r), dir_of(st), op, remove_step, by_key_clean);

	r->key = xstrdup(key);
}

/* ---- get ---- */

struct get {
	struct dir_work w;
	char *key, *if_match, *block; /* owned */
	uint64_t at, end, len;
	struct object_info *info;
	storage_sink *sink;
	void *ctx;
	int fd; /* owned */
};

static bool get_open(struct get *g)
{
	struct object_info info;
	struct stat st;
	const char *last;
	int dir = dir_open_parent(g->w.d->root, g->key, false, &last);

	if (dir >= 0) {
		g->fd = openat(dir, last, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		close(dir);
	}
	if (g->fd < 0)
		return dir_failed(&g->w, "opening the object");
	if (fstat(g->fd, &st) < 0 || !S_ISREG(st.st_mode))
		return dir_ended(&g->w, STORAGE_NOT_FOUND, "not a file");
	dir_info_of(&st, &info);
	if (g->if_match && strcmp(g->if_match, info.etag) != 0)
		return dir_ended(&g->w, STORAGE_CHANGED, "the object is another one now");
	read_meta(g->w.d, g->key, &info.meta);
	if (g->info)
		*g->info = info;
	g->end = info.size;
	if (g->len && g->at < info.size && g->len < info.size - g->at)
		g->end = g->at + g->len;
	return false;
}

static bool get_step(struct dir_work *w)
{
	struct get *g = CONTAINER_OF(w, struct get, w);
	ssize_t n;

	if (g->fd < 0 && get_open(g))
		return true;
	if (g->at >= g->end)
		return dir_ended(w, STORAGE_OK, NULL);
	if (!g->block)
		g->block = xmalloc(CHUNK);
	n = pread(g->fd, g->block, g->end - g->at < CHUNK ? (size_t)(g->end - g->at) : CHUNK, (off_t)g->at);
	if (n < 0)
		return dir_failed(w, "reading");
	if (n == 0)
		return dir_ended(w, STORAGE_INTEGRITY, "the file has become shorter");
	g->at += (uint64_t)n;
	if (!g->sink(g->ctx, span_of(g->block, (size_t)n)))
		return dir_ended(w, STORAGE_CANCELLED, "cancelled");
	return false;
}

static void get_clean(struct dir_work *w)
{
	struct get *g = CONTAINER_OF(w, struct get, w);

	if (g->fd >= 0)
		close(g->fd);
	free(g->key);
	free(g->if_match);
	free(g->block);
}

static void dir_get(struct storage *st, struct storage_op *op, const char *key, const char *if_match, uint64_t offset,
		    uint64_t len, struct object_info *info, storage_sink *sink, void *ctx)
{
	struct get *g = dir_work_new(sizeof(*g), dir_of(st), op, get_step, get_clean);

	g->key = xstrdup(key);
	g->if_match = xstrdup(if_match);
	g->at = offset;
	g->len = len;
	g->info = info;
	g->sink = sink;
	g->ctx = ctx;
	g->fd = -1;
}

/* ---- the store ---- */

static void dir_free(struct storage *st)
{
	struct dir_store *d;

	if (!st)
		return;
	d = dir_of(st);
	assert(list_empty(&d->works));
	if (d->lock >= 0)
		close(d->lock);
	if (d->own >= 0)
		close(d->own);
	if (d->root >= 0)
		close(d->root);
	free(d->path);
	free(d);
}

static void dir_describe(const struct storage *st, char *out, size_t size)
{
	snprintf(out, size, "the directory %s", CONTAINER_OF(st, struct dir_store, base)->path);
}

static const struct storage_ops dir_ops = {
	.name = "file",
	.put = dir_put,
	.replace = dir_replace,
	.head = dir_head,
	.get = dir_get,
	.remove = dir_remove,
	.list = dir_list,
	.upload_begin = dir_upload_begin,
	.upload_part = dir_upload_part,
	.upload_complete = dir_upload_complete,
	.upload_abort = dir_upload_abort,
	.upload_id = dir_upload_id,
	.upload_free = dir_upload_free,
	.list_uploads = dir_list_uploads,
	.abort_stale = dir_abort_stale,
	.describe = dir_describe,
	.cancel = dir_cancel,
	.free = dir_free,
};

/* Left by a process that was killed while it wrote; nobody else can be writing under such a name for so long. */
static void sweep_new(struct dir_store *d)
{
	int fd = dir_own(d, "new");
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	struct stat st;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((e = readdir(dir)))
		if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
		    st.st_mtime < time(NULL) - 86400)
			(void)unlinkat(fd, e->d_name, 0);
	closedir(dir);
}

struct storage *dir_store_new(struct loop *loop, const char *path, char *why, size_t why_size)
{
	struct dir_store *d = xcalloc(1, sizeof(*d));

	d->base.ops = &dir_ops;
	d->base.loop = loop;
	d->path = xstrdup(path);
	list_init(&d->works);
	d->root = d->own = d->lock = -1;
	if (*path != '/')
		errno = EINVAL;
	else
		d->root = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (d->root >= 0)
		d->own = dir_open_below(d->root, DIR_OWN, true);
	if (d->own >= 0)
		d->lock = openat(d->own, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (d->lock < 0) {
		snprintf(why, why_size, "%s: %s", path,
			 *path == '/' ? strerror(errno) : "the directory's path is not absolute");
		dir_free(&d->base);
		return NULL;
	}
	sweep_new(d);
	return &d->base;
}
