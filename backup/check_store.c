/* check: everything that a backup asks of the store, done once with small objects beside the prefix. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backup/commands.h"
#include "backup/part_size.h"
#include "lib/buf.h"
#include "lib/hex.h"
#include "lib/mem.h"

#define CLOCK_MOST 240 /* seconds; signatures are refused from 15 minutes on */
static const char small[] = "pg-ecdsa-backup check\n";

struct check {
	struct command_env *e;
	struct storage *st;
	char key[BACKUP_KEY_MAX];
	struct object_meta meta;
	enum outcome worst;
};

static bool line(struct check *c, const char *name, bool ok, enum outcome otherwise, const char *detail)
{
	fprintf(c->e->out, "%-6s %-22s %s\n", ok ? "ok" : "FAILED", name, detail);
	fflush(c->e->out);
	if (!ok && c->worst == OUTCOME_DONE)
		c->worst = otherwise;
	return ok;
}

/* Waits for op; a failure is a line of its own. */
static bool done(struct check *c, const char *name, struct storage_op *op)
{
	enum storage_result r = storage_wait(c->st, op);
	char detail[800];

	if (r == STORAGE_OK)
		return true;
	snprintf(detail, sizeof(detail), "%s%s%s%s%s", storage_result_word(r), *op->error.code ? ", " : "",
		 op->error.code, *op->error.message ? ", " : "", op->error.message);
	line(c, name, false, storage_outcome(r), detail);
	return false;
}

static bool count_item(void *ctx, const char *key, const struct object_info *info)
{
	(void)key, (void)info;
	++*(uint64_t *)ctx;
	return true;
}

static bool check_list(struct check *c)
{
	struct storage_op op = {0};
	char prefix[BACKUP_KEY_MAX], detail[64];
	uint64_t count = 0;

	snprintf(prefix, sizeof(prefix), "%s/", c->e->prefix);
	c->st->ops->list(c->st, &op, prefix, true, count_item, &count);
	if (!done(c, "list", &op))
		return false;
	snprintf(detail, sizeof(detail), "%llu objects under the prefix", (unsigned long long)count);
	return line(c, "list", true, OUTCOME_DONE, detail);
}

static void check_clock(struct check *c)
{
	char detail[64] = "the store does not tell the time";

	if (c->st->has_clock)
		snprintf(detail, sizeof(detail), "the store's minus ours: %lld s", (long long)c->st->clock_offset);
	line(c, "clock", llabs((long long)c->st->clock_offset) <= CLOCK_MOST, OUTCOME_FAILED, detail);
}

static bool collect(void *ctx, struct span bytes)
{
	struct buf *b = ctx;

	buf_put(b, bytes.ptr, bytes.len);
	return buf_ok(b) && buf_len(b) <= (1 << 16);
}

static bool read_equals(struct check *c, const char *name, uint64_t offset, uint64_t len, struct span wanted)
{
	struct storage_op op = {0};
	struct buf b;
	bool ok;

	buf_init(&b);
	c->st->ops->get(c->st, &op, c->key, NULL, offset, len, NULL, collect, &b);
	ok = done(c, name, &op);
	if (ok) {
		ok = buf_len(&b) == wanted.len && memcmp(buf_span(&b).ptr, wanted.ptr, wanted.len) == 0;
		line(c, name, ok, OUTCOME_INTEGRITY, ok ? "the same bytes" : "other bytes came back than were stored");
	}
	buf_free(&b);
	return ok;
}

static void remove_object(struct check *c)
{
	struct storage_op op = {0};

	c->st->ops->remove(c->st, &op, c->key);
	if (done(c, "delete", &op))
		line(c, "delete", true, OUTCOME_DONE, "done");
}

static void check_object(struct check *c)
{
	const struct storage_body body = {.bytes = span_str(small), .fd = -1, .len = sizeof(small) - 1};
	struct storage_op op = {0}, again = {0};
	enum storage_result r;

	c->st->ops->put(c->st, &op, c->key, "application/octet-stream", &c->meta, &body);
	if (!done(c, "put", &op))
		return;
	line(c, "put", true, OUTCOME_DONE, "done");
	c->st->ops->put(c->st, &again, c->key, "application/octet-stream", &c->meta, &body);
	r = storage_wait(c->st, &again);
	line(c, "no overwriting", r == STORAGE_EXISTS, OUTCOME_STORAGE,
	     r == STORAGE_EXISTS ? "a name that is taken stays"
				 : "a second put under the name of the first was not refused");
	read_equals(c, "get", 0, 0, span_str(small));
	read_equals(c, "get of a range", 3, 5, span_of(small + 3, 5));
	remove_object(c);
}

/* Five MiB and one byte: the smallest upload of two parts. */
static bool send_parts(struct check *c, struct storage_upload *u, const uint8_t *bytes)
{
	const struct storage_body bodies[] = {
		{.bytes = span_of(bytes, PART_MIN), .fd = -1, .len = PART_MIN},
		{.bytes = span_of(bytes + PART_MIN, 1), .fd = -1, .len = 1},
	};
	struct storage_op op;

	for (unsigned i = 0; i < 2; i++) {
		op = (struct storage_op){0};
		c->st->ops->upload_part(u, &op, i + 1, &bodies[i]);
		if (!done(c, "multipart", &op))
			return false;
	}
	op = (struct storage_op){0};
	c->st->ops->upload_complete(u, &op, PART_MIN + 1);
	return done(c, "multipart", &op);
}

static bool upload(struct check *c, const uint8_t *bytes)
{
	struct storage_op op = {0}, gone = {0};
	struct storage_upload *u = NULL;
	bool ok = false;

	c->st->ops->upload_begin(c->st, &op, c->key, "application/octet-stream", &c->meta, &u);
	if (!done(c, "multipart", &op))
		return false;
	ok = send_parts(c, u, bytes);
	if (!ok) {
		c->st->ops->upload_abort(u, &gone);
		(void)storage_wait_through(c->st, &gone, 10 * USEC_PER_SEC);
	}
	c->st->ops->upload_free(u);
	return ok;
}

static bool count_upload(void *ctx, const char *key, const char *id, time_t begun)
{
	struct check *c = ctx;

	(void)id, (void)begun;
	if (strcmp(key, c->key) == 0 && c->worst == OUTCOME_DONE)
		c->worst = OUTCOME_STORAGE;
	return true;
}

static void check_uploads(struct check *c)
{
	struct storage_op op = {0};
	enum storage_result r;

	c->st->ops->list_uploads(c->st, &op, c->key, count_upload, c);
	r = storage_wait(c->st, &op);
	if (r == STORAGE_UNSUPPORTED)
		line(c, "list of uploads", true, OUTCOME_DONE,
		     "not supported; let a bucket rule expire incomplete uploads after 2 days");
	else
		line(c, "list of uploads", r == STORAGE_OK, storage_outcome(r),
		     r == STORAGE_OK ? "supported" : op.error.message);
}

static void check_multipart(struct check *c)
{
	uint8_t *bytes = xmalloc(PART_MIN + 1);
	struct object_info info;
	struct storage_op op = {0};

	mem_random(bytes, PART_MIN + 1);
	if (upload(c, bytes)) {
		c->st->ops->head(c->st, &op, c->key, &info);
		if (done(c, "multipart", &op)) {
			bool ok = info.size == PART_MIN + 1 && strcmp(info.meta.run_id, c->meta.run_id) == 0;

			line(c, "multipart", ok, OUTCOME_INTEGRITY,
			     ok ? "two parts, size and metadata as sent"
				: "the object has another size or other metadata");
			read_equals(c, "get across parts", PART_MIN - 10, 11, span_of(bytes + PART_MIN - 10, 11));
		}
		remove_object(c);
	}
	check_uploads(c);
	free(bytes);
}

enum outcome command_check_store(struct command_env *e)
{
	struct check c = {.e = e, .st = e->store, .worst = OUTCOME_DONE};
	unsigned char random[8];
	char prefix[BACKUP_KEY_MAX], hex[17], where[600];
	int n;

	mem_random(random, sizeof(random));
	hex_encode(random, sizeof(random), hex);
	marks_prefix_make(e->prefix, prefix);
	/* Not under the prefix itself: earlier tools would take it for a backup. */
	n = snprintf(c.key, sizeof(c.key), "%scheck-%s", prefix, hex);
	if (n < 0 || (size_t)n >= sizeof(c.key))
		return OUTCOME_USAGE;
	snprintf(c.meta.run_id, sizeof(c.meta.run_id), "check-%s", hex);
	/* The listing first: it finds out about the region. */
	if (!check_list(&c))
		return c.worst;
	c.st->ops->describe(c.st, where, sizeof(where));
	line(&c, "endpoint", true, OUTCOME_DONE, where);
	check_clock(&c);
	check_object(&c);
	check_multipart(&c);
	return c.worst;
}
