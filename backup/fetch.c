#include "backup/fetch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/metrics.h"
#include "lib/mem.h"

#define FILE_PIECE ((size_t)1 << 20)

struct range {
	struct storage_op op;
	uint8_t *buf;	   /* owned; FETCH_RANGE */
	size_t want, have; /* want 0: not under way */
	bool is_overfull;
};

struct fetch {
	uint64_t size, asked, given; /* bytes of the whole, requested, handed out */
	enum storage_result failure;
	char why[640];

	struct storage *store; /* borrowed; NULL: a file */
	char *key, *etag;      /* owned */
	struct range ranges[2];
	unsigned turn; /* the range that is handed out next */

	int fd; /* borrowed */
	uint8_t *buf; /* owned; of a file */
};

struct fetch *fetch_object(struct storage *store, const char *key, const char *etag, uint64_t size)
{
	struct fetch *f = xcalloc(1, sizeof(*f));

	f->store = store;
	f->key = xstrdup(key);
	f->etag = xstrdup(etag);
	f->size = size;
	for (int i = 0; i < 2; i++)
		f->ranges[i].buf = xmalloc(size < FETCH_RANGE ? (size_t)size + 1 : FETCH_RANGE);
	return f;
}

struct fetch *fetch_file(int fd, uint64_t size)
{
	struct fetch *f = xcalloc(1, sizeof(*f));

	f->fd = fd;
	f->size = size;
	f->buf = xmalloc(FILE_PIECE);
	return f;
}

void fetch_free(struct fetch *f)
{
	if (!f)
		return;
	for (int i = 0; i < 2; i++) {
		struct range *r = &f->ranges[i];

		if (r->want && !r->op.is_done) {
			f->store->ops->cancel(&r->op);
			storage_wait_through(f->store, &r->op, 0);
		}
		free(r->buf);
	}
	free(f->key);
	free(f->etag);
	free(f->buf);
	free(f);
}

enum storage_result fetch_failure(const struct fetch *f, const char **why)
{
	*why = f->why;
	return f->failure;
}

static bool take(void *ctx, struct span s)
{
	struct range *r = ctx;

	if (s.len > r->want - r->have) {
		r->is_overfull = true;
		return false;
	}
	memcpy(r->buf + r->have, s.ptr, s.len);
	r->have += s.len;
	metric_add(METRIC_downloaded_bytes_total, NULL, (double)s.len);
	return true;
}

static void ask(struct fetch *f, struct range *r)
{
	uint64_t left = f->size - f->asked;

	r->want = 0;
	if (left == 0)
		return;
	r->want = left < FETCH_RANGE ? (size_t)left : FETCH_RANGE;
	r->have = 0;
	r->op = (struct storage_op){0};
	f->store->ops->get(f->store, &r->op, f->key, f->etag[0] ? f->etag : NULL, f->asked, r->want, NULL, take, r);
	f->asked += r->want;
}

static enum fetch_result fail(struct fetch *f, enum storage_result result, const char *why)
{
	f->failure = result;
	snprintf(f->why, sizeof(f->why), "%s", why);
	return FETCH_FAILED;
}

static enum fetch_result next_of_object(struct fetch *f, struct span *piece)
{
	struct range *r;

	if (f->given == f->size)
		return FETCH_END;
	/* The range that was handed out before is free now, and is used for the one after next. */
	if (f->asked == 0)
		ask(f, &f->ranges[0]);
	ask(f, &f->ranges[(f->turn + 1) % 2]);
	r = &f->ranges[f->turn];
	if (storage_wait(f->store, &r->op) != STORAGE_OK) {
		if (r->is_overfull)
			return fail(f, STORAGE_INTEGRITY, "the store sent more than was asked for");
		return fail(f, r->op.result, r->op.error.message[0] ? r->op.error.message : storage_result_word(r->op.result));
	}
	if (r->have != r->want)
		return fail(f, STORAGE_INTEGRITY, "the store sent less than was asked for");
	*piece = span_of(r->buf, r->have);
	f->given += r->have;
	f->turn = (f->turn + 1) % 2;
	return FETCH_OK;
}

/* Full pieces but for the last: readers count on it. */
static enum fetch_result next_of_file(struct fetch *f, struct span *piece)
{
	uint64_t left = f->size - f->given;
	size_t want = left < FILE_PIECE ? (size_t)left : FILE_PIECE, have = 0;

	if (left == 0)
		return FETCH_END;
	while (have < want) {
		ssize_t n = pread(f->fd, f->buf + have, want - have, (off_t)(f->given + have));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(f, STORAGE_FAILED, strerror(errno));
		if (n == 0)
			return fail(f, STORAGE_INTEGRITY, "the file became shorter while it was read");
		have += (size_t)n;
	}
	f->given += have;
	*piece = span_of(f->buf, have);
	return FETCH_OK;
}

enum fetch_result fetch_next(struct fetch *f, struct span *piece)
{
	return f->store ? next_of_object(f, piece) : next_of_file(f, piece);
}
