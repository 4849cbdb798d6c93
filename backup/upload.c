#include "backup/upload.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "backup/command.h"
#include "backup/event.h"
#include "backup/metrics.h"
#include "backup/part_size.h"
#include "backup/work.h"
#include "lib/hex.h"
#include "lib/mem.h"

#define ABORT_BUDGET (10 * USEC_PER_SEC)
#define SLOTS_MAX 18
#define WARN_AT_PERCENT 80

struct slot { /* one part, being filled or under way */
	struct upload *upload;
	struct storage_op op;
	struct storage_body body;
	uint8_t *bytes; /* owned; NULL: in a file */
	int fd;		/* owned; -1: in memory */
	uint64_t cap, len;
	bool is_under_way;
};

struct upload {
	struct upload_spec spec;
	struct object_meta meta;
	struct storage_upload *multipart; /* owned; NULL: not begun */
	struct slot slots[SLOTS_MAX];
	unsigned slot_count, filling;
	unsigned parts, in_flight;
	uint64_t size;
	EVP_MD_CTX *sha256; /* owned */
	char hex[65];
	enum storage_result failure;
	struct storage_error error;
	bool is_out_of_parts, has_warned, is_whole, slot_is_free;
};

static uint64_t part_bytes(const struct upload *u, unsigned number)
{
	return u->spec.part_bytes ? u->spec.part_bytes : part_size_growing(number);
}

static int open_spool(const char *dir)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char *path;

	if (fd >= 0)
		return fd;
	path = xasprintf("%s/pg-ecdsa-backup-XXXXXX", dir);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	free(path);
	return fd;
}

static bool has_room(const struct upload_spec *spec, unsigned slots, char *why, size_t cap)
{
	struct statvfs fs;
	uint64_t need = slots * spec->part_bytes, have;

	if (statvfs(spec->spool_dir, &fs) < 0) {
		snprintf(why, cap, "%s: %s", spec->spool_dir, strerror(errno));
		return false;
	}
	have = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (have >= need)
		return true;
	snprintf(why, cap, "parts of this size need %" PRIu64 " bytes in %s, which has %" PRIu64, need, spec->spool_dir, have);
	return false;
}

struct upload *upload_new(const struct upload_spec *spec, char *why, size_t cap)
{
	unsigned concurrency = spec->concurrency < SLOTS_MAX - 1 ? spec->concurrency : SLOTS_MAX - 1, slots = concurrency + 1;
	uint64_t first = spec->part_bytes ? spec->part_bytes : part_size_growing(1);
	bool in_memory = first <= UPLOAD_PART_IN_MEMORY && spec->part_bytes;
	struct upload *u;

	if (in_memory && slots > UPLOAD_MEMORY / first)
		slots = (unsigned)(UPLOAD_MEMORY / first);
	if (!in_memory && !has_room(spec, slots, why, cap))
		return NULL;
	u = xcalloc(1, sizeof(*u));
	u->spec = *spec;
	u->meta = *spec->meta;
	u->spec.meta = &u->meta;
	u->slot_count = slots;
	u->sha256 = EVP_MD_CTX_new();
	if (!u->sha256 || EVP_DigestInit_ex(u->sha256, EVP_sha256(), NULL) != 1)
		abort();
	for (unsigned i = 0; i < slots; i++) {
		struct slot *s = &u->slots[i];

		s->upload = u;
		s->fd = -1;
		if (in_memory) {
			s->bytes = xmalloc(first); /* touched only as far as it is filled */
			continue;
		}
		s->fd = open_spool(spec->spool_dir);
		if (s->fd < 0) {
			snprintf(why, cap, "%s: %s", spec->spool_dir, strerror(errno));
			upload_free(u);
			return NULL;
		}
	}
	u->slots[0].cap = part_bytes(u, 1);
	return u;
}

static bool fail(struct upload *u, enum storage_result r, const struct storage_error *e)
{
	if (u->failure != STORAGE_OK)
		return false; /* the first reason counts */
	u->failure = r;
	if (e)
		u->error = *e;
	return false;
}

static bool fail_with(struct upload *u, enum storage_result r, const char *message)
{
	struct storage_error e = {.http = 0};

	snprintf(e.message, sizeof(e.message), "%s", message);
	return fail(u, r, &e);
}

enum storage_result upload_failure(const struct upload *u, const struct storage_error **e)
{
	*e = &u->error;
	return u->failure;
}

uint64_t upload_size(const struct upload *u)
{
	return u->size;
}

unsigned upload_parts(const struct upload *u)
{
	return u->parts;
}

const char *upload_sha256(const struct upload *u)
{
	return u->hex;
}

bool upload_is_out_of_parts(const struct upload *u)
{
	return u->is_out_of_parts;
}

/* ---- parts ---- */

static void count(struct upload *u)
{
	u->spec.work->parts = u->parts;
	u->spec.work->parts_in_flight = u->in_flight;
	metric_set(METRIC_parts_in_flight, NULL, u->in_flight);
}

static void on_part(struct storage_op *op)
{
	struct slot *s = op->owner;
	struct upload *u = s->upload;

	s->is_under_way = false;
	u->in_flight--;
	u->slot_is_free = true;
	if (op->result == STORAGE_OK) {
		u->spec.work->stored += s->len;
		metric_add(METRIC_uploaded_bytes_total, NULL, (double)s->len);
		work_moved(u->spec.work);
	} else
		fail(u, op->result, &op->error);
	s->len = 0;
	count(u);
}

static bool begin_multipart(struct upload *u)
{
	struct storage *st = u->spec.store;
	struct storage_op op = {0};
	enum storage_result r;

	st->ops->upload_begin(st, &op, u->spec.key, u->spec.content_type, u->spec.meta, &u->multipart);
	r = storage_wait(st, &op);
	if (r != STORAGE_OK)
		return fail(u, r, &op.error);
	if (u->spec.remember)
		u->spec.remember(u->spec.ctx, u->spec.key, st->ops->upload_id(u->multipart));
	return true;
}

static void fill_body(struct slot *s)
{
	s->body = (struct storage_body){.bytes = span_of(s->bytes, s->bytes ? (size_t)s->len : 0), .fd = s->fd, .len = s->len};
}

static bool send_part(struct upload *u, struct slot *s)
{
	struct storage *st = u->spec.store;
	char text[160];

	if (u->parts == u->spec.max_parts) {
		u->is_out_of_parts = true;
		snprintf(text, sizeof(text), "%u parts of %" PRIu64 " bytes are not enough: the dump is larger than was expected",
			 u->parts, part_bytes(u, 1));
		return fail_with(u, STORAGE_TOO_LARGE, text);
	}
	if (!u->multipart && !begin_multipart(u))
		return false;
	u->parts++;
	if (!u->has_warned && u->parts * 100 >= u->spec.max_parts * WARN_AT_PERCENT) {
		u->has_warned = true;
		EVENT(LEVEL_WARNING, "parts", F_UINT("used", u->parts), F_UINT("of", u->spec.max_parts),
		      F_UINT("ends_at_bytes", u->spec.part_bytes * u->spec.max_parts));
	}
	fill_body(s);
	s->op = (struct storage_op){.done = on_part, .owner = s};
	s->is_under_way = true;
	u->in_flight++;
	count(u);
	st->ops->upload_part(u->multipart, &s->op, u->parts, &s->body);
	return u->failure == STORAGE_OK;
}

/* A slot that is not under way becomes the one to fill. */
static bool next_slot(struct upload *u)
{
	for (;;) {
		for (unsigned i = 0; i < u->slot_count; i++)
			if (!u->slots[i].is_under_way) {
				u->filling = i;
				u->slots[i].len = 0;
				u->slots[i].cap = part_bytes(u, u->parts + 1);
				return u->failure == STORAGE_OK;
			}
		u->slot_is_free = false;
		if (!loop_wait(u->spec.store->loop, &u->slot_is_free))
			return fail_with(u, STORAGE_CANCELLED, work_interruption_text(u->spec.work));
		if (u->failure != STORAGE_OK)
			return false;
	}
}

static bool write_slot(struct upload *u, struct slot *s, const uint8_t *bytes, size_t len)
{
	if (s->bytes) {
		memcpy(s->bytes + s->len, bytes, len);
		s->len += len;
		return true;
	}
	while (len > 0) {
		ssize_t n = pwrite(s->fd, bytes, len, (off_t)s->len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return fail_with(u, errno == ENOSPC ? STORAGE_FULL : STORAGE_FAILED, strerror(errno));
		s->len += (uint64_t)n;
		bytes += n;
		len -= (size_t)n;
	}
	return true;
}

bool upload_put(void *ctx, struct span s)
{
	struct upload *u = ctx;

	EVP_DigestUpdate(u->sha256, s.ptr, s.len);
	while (s.len > 0) {
		struct slot *slot = &u->slots[u->filling];
		size_t n;

		if (u->failure != STORAGE_OK)
			return false;
		/* Only now, when more has come, is a full part known not to be the last. */
		if (slot->len == slot->cap) {
			if (!send_part(u, slot) || !next_slot(u))
				return false;
			slot = &u->slots[u->filling];
		}
		n = slot->cap - slot->len < s.len ? (size_t)(slot->cap - slot->len) : s.len;
		if (!write_slot(u, slot, s.ptr, n))
			return false;
		u->size += n;
		s = span_of(s.ptr + n, s.len - n);
	}
	return true;
}

static void wait_for_parts(struct upload *u, usec_t deadline)
{
	for (unsigned i = 0; i < u->slot_count; i++) {
		struct slot *s = &u->slots[i];

		if (!s->is_under_way)
			continue;
		if (deadline == 0 && loop_wait(u->spec.store->loop, &s->op.is_done))
			continue;
		if (deadline == 0) {
			fail_with(u, STORAGE_CANCELLED, work_interruption_text(u->spec.work));
			return;
		}
		u->spec.store->ops->cancel(&s->op);
		/* What the store still reads from must not go away before it has let go. */
		(void)!loop_wait_through(u->spec.store->loop, &s->op.is_done, 0);
	}
}

static enum storage_result put_whole(struct upload *u)
{
	struct storage *st = u->spec.store;
	struct slot *s = &u->slots[u->filling];
	struct storage_op op = {0};
	enum storage_result r;

	fill_body(s);
	st->ops->put(st, &op, u->spec.key, u->spec.content_type, u->spec.meta, &s->body);
	r = storage_wait(st, &op);
	if (r != STORAGE_OK) {
		fail(u, r, &op.error);
		return u->failure;
	}
	u->parts = 1;
	u->spec.work->stored += s->len;
	metric_add(METRIC_uploaded_bytes_total, NULL, (double)s->len);
	u->is_whole = true;
	return STORAGE_OK;
}

enum storage_result upload_finish(struct upload *u)
{
	struct storage *st = u->spec.store;
	struct storage_op op = {0};
	uint8_t digest[32];
	enum storage_result r;

	EVP_DigestFinal_ex(u->sha256, digest, NULL);
	hex_encode(digest, sizeof(digest), u->hex);
	if (u->failure != STORAGE_OK)
		return u->failure;
	if (!u->multipart)
		return put_whole(u);
	if (u->slots[u->filling].len > 0)
		send_part(u, &u->slots[u->filling]);
	wait_for_parts(u, 0);
	if (u->failure != STORAGE_OK)
		return u->failure;
	st->ops->upload_complete(u->multipart, &op, u->size);
	r = storage_wait(st, &op);
	if (r != STORAGE_OK) {
		fail(u, r, &op.error);
		return u->failure;
	}
	u->is_whole = true;
	if (u->spec.remember)
		u->spec.remember(u->spec.ctx, u->spec.key, NULL);
	return STORAGE_OK;
}

void upload_abort(struct upload *u)
{
	struct storage *st = u->spec.store;
	struct storage_op op = {0};
	enum storage_result r;

	if (u->is_whole)
		return;
	wait_for_parts(u, 1);
	if (!u->multipart)
		return;
	st->ops->upload_abort(u->multipart, &op);
	r = storage_wait_through(st, &op, ABORT_BUDGET);
	EVENT(r == STORAGE_OK ? LEVEL_LOG : LEVEL_WARNING, "upload_aborted", F_TEXT("object", u->spec.key),
	      F_TEXT("upload", st->ops->upload_id(u->multipart)), F_TEXT("result", storage_result_word(r)),
	      F_TEXT("error", r == STORAGE_OK ? NULL : op.error.message));
	if (r == STORAGE_OK && u->spec.remember)
		u->spec.remember(u->spec.ctx, u->spec.key, NULL);
	st->ops->upload_free(u->multipart);
	u->multipart = NULL;
}

void upload_free(struct upload *u)
{
	if (!u)
		return;
	for (unsigned i = 0; i < u->slot_count; i++) {
		free(u->slots[i].bytes);
		if (u->slots[i].fd >= 0)
			close(u->slots[i].fd);
	}
	if (u->multipart)
		u->spec.store->ops->upload_free(u->multipart);
	EVP_MD_CTX_free(u->sha256);
	metric_set(METRIC_parts_in_flight, NULL, 0);
	free(u);
}
