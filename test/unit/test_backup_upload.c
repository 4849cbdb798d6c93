/*
 * Unit tests of backup/upload.h against a store that lives in this file: it
 * answers on the loop, out of order if it is told to, and fails on the third
 * part.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/command.h"
#include "backup/loop.h"
#include "backup/metrics.h"
#include "backup/upload.h"
#include "backup/work.h"
#include "lib/buf.h"
#include "lib/hex.h"
#include "lib/mem.h"

#define PART 1000
#define PARTS_KEPT 64

/* ---- the store ---- */

struct answer { /* an operation that is still to be answered */
	struct list link;
	struct loop_timer timer;
	struct fake *fake;
	struct storage_op *op;
	enum storage_result result;
};

struct fake {
	struct storage base;
	struct list waiting;
	struct buf parts[PARTS_KEPT], object;
	unsigned part_count, in_flight, most_in_flight;
	bool is_there, is_aborted, is_begun;
	enum storage_result fail_part, fail_put, fail_complete, fail_begin; /* STORAGE_OK: none of them */
	unsigned failing_part;
	bool never_answers;
	usec_t delay, delay_step; /* of the first answer, and how much less each further one takes */
};

struct storage_upload {
	struct fake *fake;
};

static struct fake *fake_of(struct storage *s)
{
	return CONTAINER_OF(s, struct fake, base);
}

static void end(struct answer *a, enum storage_result result)
{
	struct storage_op *op = a->op;

	loop_timer_clear(a->fake->base.loop, &a->timer);
	list_del(&a->link);
	a->fake->in_flight--;
	op->result = result;
	if (result != STORAGE_OK)
		snprintf(op->error.message, sizeof(op->error.message), "so the test wants it");
	op->impl = NULL;
	op->is_done = true;
	free(a);
	if (op->done)
		op->done(op);
}

static void on_answer(struct loop_timer *t)
{
	struct answer *a = CONTAINER_OF(t, struct answer, timer);

	end(a, a->result);
}

static void answer(struct fake *f, struct storage_op *op, enum storage_result result)
{
	struct answer *a = xcalloc(1, sizeof(*a));

	a->fake = f;
	a->op = op;
	a->result = result;
	a->timer.fire = on_answer;
	op->impl = a;
	list_add_tail(&f->waiting, &a->link);
	if (++f->in_flight > f->most_in_flight)
		f->most_in_flight = f->in_flight;
	if (!f->never_answers)
		loop_timer_set(f->base.loop, &a->timer, loop_now() + f->delay + 1);
	if (f->delay > f->delay_step)
		f->delay -= f->delay_step; /* later ones overtake earlier ones */
}

static void take(struct buf *b, const struct storage_body *body)
{
	uint8_t piece[4096];

	if (body->fd < 0) {
		buf_put(b, body->bytes.ptr, body->bytes.len);
		return;
	}
	for (uint64_t at = 0; at < body->len;) {
		size_t want = body->len - at < sizeof(piece) ? (size_t)(body->len - at) : sizeof(piece);

		assert_int_equal(pread(body->fd, piece, want, (off_t)(body->offset + at)), (ssize_t)want);
		buf_put(b, piece, want);
		at += want;
	}
}

static void fake_put(struct storage *s, struct storage_op *op, const char *key, const char *type, const struct object_meta *meta,
		     const struct storage_body *body)
{
	struct fake *f = fake_of(s);

	assert_string_equal(key, "app/x");
	assert_string_equal(type, "application/octet-stream");
	assert_string_equal(meta->run_id, "run");
	if (f->fail_put == STORAGE_OK) {
		take(&f->object, body);
		f->is_there = true;
	}
	answer(f, op, f->fail_put);
}

static void fake_begin(struct storage *s, struct storage_op *op, const char *key, const char *type, const struct object_meta *meta,
		       struct storage_upload **u)
{
	struct fake *f = fake_of(s);

	(void)key;
	(void)type;
	(void)meta;
	if (f->fail_begin == STORAGE_OK) {
		*u = xcalloc(1, sizeof(**u));
		(*u)->fake = f;
		f->is_begun = true;
	}
	answer(f, op, f->fail_begin);
}

static void fake_part(struct storage_upload *u, struct storage_op *op, unsigned number, const struct storage_body *body)
{
	struct fake *f = u->fake;

	assert_int_equal(number, f->part_count + 1);
	assert_true(number < PARTS_KEPT);
	f->part_count = number;
	buf_init(&f->parts[number]);
	take(&f->parts[number], body);
	answer(f, op, number == f->failing_part ? f->fail_part : STORAGE_OK);
}

static void fake_complete(struct storage_upload *u, struct storage_op *op, uint64_t size)
{
	struct fake *f = u->fake;

	assert_int_equal(f->in_flight, 0); /* every part is acknowledged before */
	for (unsigned i = 1; i <= f->part_count && f->fail_complete == STORAGE_OK; i++) {
		assert_int_equal(i == f->part_count ? PART : (int)buf_len(&f->parts[i]), PART);
		buf_put(&f->object, buf_data(&f->parts[i]), buf_len(&f->parts[i]));
	}
	if (f->fail_complete == STORAGE_OK) {
		assert_int_equal(size, buf_len(&f->object));
		f->is_there = true;
	}
	answer(f, op, f->fail_complete);
}

static void fake_abort(struct storage_upload *u, struct storage_op *op)
{
	assert_int_equal(u->fake->in_flight, 0); /* nothing is under way any more */
	u->fake->is_aborted = true;
	answer(u->fake, op, STORAGE_OK);
}

static const char *fake_id(const struct storage_upload *u)
{
	(void)u;
	return "upload-1";
}

static void fake_upload_free(struct storage_upload *u)
{
	free(u);
}

static void fake_cancel(struct storage_op *op)
{
	end(op->impl, STORAGE_CANCELLED);
}

static const struct storage_ops fake_ops = {
	.name = "fake", .put = fake_put, .upload_begin = fake_begin, .upload_part = fake_part, .upload_complete = fake_complete,
	.upload_abort = fake_abort, .upload_id = fake_id, .upload_free = fake_upload_free, .cancel = fake_cancel,
};

/* ---- one upload ---- */

static struct loop *loop;
static struct fake store;
static struct config config;
static struct program program;
static struct work work;
static struct object_meta meta;
static char remembered[256];

static void remember(void *ctx, const char *key, const char *id)
{
	(void)ctx;
	snprintf(remembered, sizeof(remembered), "%s=%s", key, id ? id : "nothing");
}

static int set_up(void **state)
{
	(void)state;
	loop = loop_new();
	store = (struct fake){.base = {.ops = &fake_ops, .loop = loop}};
	list_init(&store.waiting);
	buf_init(&store.object);
	config = (struct config){.schedule_stall = 0};
	program = (struct program){.loop = loop, .config = &config};
	work_begin(&work, &program, "test");
	snprintf(meta.run_id, sizeof(meta.run_id), "run");
	remembered[0] = 0;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	assert_true(list_empty(&store.waiting));
	work_end(&work);
	for (unsigned i = 1; i <= store.part_count; i++)
		buf_free(&store.parts[i]);
	buf_free(&store.object);
	loop_free(loop);
	metrics_forget();
	return 0;
}

static struct upload *open_upload(unsigned max_parts, unsigned concurrency)
{
	struct upload_spec spec = {.store = &store.base, .key = "app/x", .content_type = "application/octet-stream", .meta = &meta,
				   .part_bytes = PART, .max_parts = max_parts, .concurrency = concurrency, .spool_dir = "/tmp",
				   .work = &work, .remember = remember};
	char why[256];
	struct upload *u = upload_new(&spec, why, sizeof(why));

	if (!u)
		fail_msg("%s", why);
	return u;
}

static uint8_t bytes[20 * PART + 1];

static bool put(struct upload *u, size_t len, size_t step)
{
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + i / 256);
	for (size_t at = 0; at < len; at += step)
		if (!upload_put(u, span_of(bytes + at, at + step < len ? step : len - at)))
			return false;
	return true;
}

static void is_stored(struct upload *u, size_t len)
{
	uint8_t digest[32];
	char hex[65];

	assert_true(store.is_there);
	assert_int_equal(buf_len(&store.object), len);
	assert_int_equal(upload_size(u), len);
	if (len > 0)
		assert_memory_equal(buf_data(&store.object), bytes, len);
	SHA256(bytes, len, digest);
	hex_encode(digest, 32, hex);
	assert_string_equal(upload_sha256(u), hex);
}

static void every_length_is_stored_as_it_was_put(void **state)
{
	static const struct {
		size_t len;
		unsigned parts;
	} rows[] = {{0, 1}, {1, 1}, {PART - 1, 1}, {PART, 1}, {PART + 1, 2}, {2 * PART, 2}, {2 * PART + 1, 3}, {20 * PART, 20}};
	static const size_t steps[] = {1, 333, PART, 5000};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		for (size_t k = 0; k < ARRAY_LEN(steps); k++) {
			struct upload *u;

			set_up(state);
			u = open_upload(100, 2);
			assert_true(put(u, rows[i].len, steps[k]));
			assert_false(store.is_there); /* nothing is visible before */
			assert_int_equal(upload_finish(u), STORAGE_OK);
			is_stored(u, rows[i].len);
			assert_int_equal(upload_parts(u), rows[i].parts);
			/* What fits in one part is one put. */
			assert_int_equal(store.is_begun, rows[i].parts > 1);
			assert_string_equal(remembered, rows[i].parts > 1 ? "app/x=nothing" : "");
			upload_abort(u);
			assert_true(store.is_there && !store.is_aborted);
			upload_free(u);
			tear_down(state);
		}
}

static void answers_may_come_in_any_order_and_no_more_are_under_way_than_wanted(void **state)
{
	struct upload *u = open_upload(100, 3);

	(void)state;
	store.delay = 20000;
	store.delay_step = 3000;
	assert_true(put(u, 20 * PART, 777));
	assert_int_equal(upload_finish(u), STORAGE_OK);
	is_stored(u, 20 * PART);
	/* One buffer is being filled while the others are sent. */
	assert_in_range(store.most_in_flight, 2, 4);
	assert_int_equal(work.stored, 20 * PART);
	upload_free(u);
}

static void fails(struct upload *u, size_t len, enum storage_result expect)
{
	const struct storage_error *e;
	bool ok = put(u, len, 500);
	enum storage_result r = ok ? upload_finish(u) : upload_failure(u, &e);

	assert_int_equal(r, expect);
	assert_int_equal(upload_failure(u, &e), expect);
	assert_true(e->message[0]);
	upload_abort(u);
	assert_false(store.is_there);
	assert_int_equal(store.is_aborted, store.is_begun);
	upload_free(u);
}

static void a_part_that_fails_ends_it_and_leaves_nothing(void **state)
{
	for (unsigned part = 1; part <= 5; part++) {
		set_up(state);
		store.failing_part = part;
		store.fail_part = STORAGE_NETWORK;
		store.delay = part % 2 ? 0 : 5000;
		fails(open_upload(100, 2), 5 * PART, STORAGE_NETWORK);
		assert_string_equal(remembered, "app/x=nothing");
		tear_down(state);
	}
}

static void so_does_a_begin_a_complete_or_a_put_that_fails(void **state)
{
	set_up(state);
	store.fail_begin = STORAGE_DENIED;
	fails(open_upload(100, 2), 3 * PART, STORAGE_DENIED);
	tear_down(state);
	set_up(state);
	store.fail_complete = STORAGE_EXISTS;
	fails(open_upload(100, 2), 3 * PART, STORAGE_EXISTS);
	tear_down(state);
	set_up(state);
	store.fail_put = STORAGE_FULL;
	fails(open_upload(100, 2), PART, STORAGE_FULL);
	tear_down(state);
}

static void more_parts_than_there_may_be_is_a_clean_failure(void **state)
{
	struct upload *u = open_upload(3, 2);
	const struct storage_error *e;

	(void)state;
	/* The third part is the last one that may be sent: more than it holds is too much. */
	assert_true(put(u, 3 * PART, 500));
	assert_false(upload_is_out_of_parts(u));
	(void)!upload_put(u, span_of(bytes, 1));
	assert_int_equal(upload_finish(u), STORAGE_TOO_LARGE);
	assert_true(upload_is_out_of_parts(u));
	assert_int_equal(upload_failure(u, &e), STORAGE_TOO_LARGE);
	assert_non_null(strstr(e->message, "parts"));
	upload_abort(u);
	assert_true(store.is_aborted && !store.is_there);
	upload_free(u);
}

static void an_interruption_ends_the_wait_and_the_parts(void **state)
{
	struct upload *u = open_upload(100, 2);
	const struct storage_error *e;

	(void)state;
	assert_true(put(u, PART, 500));
	store.never_answers = false;
	assert_true(upload_put(u, span_of(bytes, 1))); /* has begun by now */
	store.never_answers = true;
	loop_interrupt(loop);
	while (upload_put(u, span_of(bytes, PART)))
		;
	assert_int_equal(upload_failure(u, &e), STORAGE_CANCELLED);
	store.never_answers = false;
	upload_abort(u); /* cancels what is under way, then aborts, interrupted or not */
	assert_true(store.is_aborted && !store.is_there);
	upload_free(u);
}

static void parts_too_large_for_memory_are_files(void **state)
{
	struct upload_spec spec = {.store = &store.base, .key = "app/x", .content_type = "application/octet-stream", .meta = &meta,
				   .part_bytes = UPLOAD_PART_IN_MEMORY + 1, .max_parts = 10, .concurrency = 1, .spool_dir = "/tmp",
				   .work = &work};
	char why[256];
	struct upload *u = upload_new(&spec, why, sizeof(why));

	(void)state;
	assert_non_null(u);
	assert_true(put(u, 20 * PART, 777));
	assert_int_equal(upload_finish(u), STORAGE_OK);
	is_stored(u, 20 * PART);
	upload_free(u);
	spec.spool_dir = "/nowhere";
	assert_null(upload_new(&spec, why, sizeof(why)));
	assert_non_null(strstr(why, "/nowhere"));
	spec.spool_dir = "/proc"; /* no room there */
	assert_null(upload_new(&spec, why, sizeof(why)));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_length_is_stored_as_it_was_put),
		TEST(answers_may_come_in_any_order_and_no_more_are_under_way_than_wanted),
		cmocka_unit_test(a_part_that_fails_ends_it_and_leaves_nothing),
		cmocka_unit_test(so_does_a_begin_a_complete_or_a_put_that_fails),
		TEST(more_parts_than_there_may_be_is_a_clean_failure),
		TEST(an_interruption_ends_the_wait_and_the_parts),
		TEST(parts_too_large_for_memory_are_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
