/*
 * Unit tests of the send batch: what several connections say in one turn
 * reaches the other ends whole and in order, by io_uring and without.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/conn.h"
#include "net/crew.h"

enum { MANY = SEND_BATCH_ENTRIES * 2 + 3, MAX_BYTES = 1024 * 1024 };

struct talker {
	struct conn conn;
	int peer; /* non-blocking */
	uint8_t *got;
	size_t n;
	bool is_at_end; /* the peer has seen the end of the stream */
	int drains, failures;
};

static size_t on_bytes(struct conn *c UNUSED, const uint8_t *bytes UNUSED, size_t n)
{
	return n;
}

static void on_drained(struct conn *c)
{
	CONTAINER_OF(c, struct talker, conn)->drains++;
}

static void on_ended(struct conn *c, enum conn_end why UNUSED, int err UNUSED)
{
	CONTAINER_OF(c, struct talker, conn)->failures++;
}

static void on_deadline(struct conn *c UNUSED)
{
}

static const struct conn_ops ops = {
	.bytes = on_bytes, .drained = on_drained, .ended = on_ended, .deadline = on_deadline};

static void open_talker(struct talker *t, struct worker *w)
{
	int pair[2];

	memset(t, 0, sizeof(*t));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	t->peer = pair[1];
	t->got = malloc(MAX_BYTES);
	assert_non_null(t->got);
	assert_int_equal(conn_open(&t->conn, w, pair[0], &ops), 0);
}

static void close_talker(struct talker *t)
{
	if (!t->conn.is_retired)
		conn_close(&t->conn);
	if (t->peer >= 0)
		close(t->peer);
	free(t->got);
}

/* All that has arrived by now. */
static size_t arrived(struct talker *t)
{
	ssize_t n;

	while ((n = read(t->peer, t->got + t->n, MAX_BYTES - t->n)) > 0)
		t->n += (size_t)n;
	t->is_at_end |= n == 0;
	return t->n;
}

static void said(struct talker *t, const char *text)
{
	arrived(t);
	assert_int_equal(t->n, strlen(text));
	assert_memory_equal(t->got, text, t->n);
}

static void says(struct talker *t, const char *text)
{
	assert_true(conn_send(&t->conn, text, strlen(text)));
}


static void stop(struct worker *w, struct message *m UNUSED)
{
	worker_stop(w);
}

/* A turn of the loop that does not sleep. */
static void turn(struct worker *w)
{
	struct message m = {.deliver = stop};

	w->wants_stop = false;
	worker_post(w, w, &m);
	worker_run(w);
}

static struct worker *worker_of(void **state)
{
	return ((struct crew *)*state)->control;
}

static int open_plain(void **state)
{
	*state = crew_new(1);
	return *state ? 0 : -1;
}

static int open_with_ring(void **state)
{
	if (open_plain(state) < 0)
		return -1;
	send_batch_want(&worker_of(state)->sends, true);
	return 0;
}

static int close_crew(void **state)
{
	crew_settle(*state);
	crew_free(*state);
	return 0;
}

/* --- cases ------------------------------------------------------------------ */

static void nothing_leaves_before_the_end_of_the_turn(void **state)
{
	struct worker *w = worker_of(state);
	struct talker a, b, c;

	open_talker(&a, w);
	open_talker(&b, w);
	open_talker(&c, w);
	says(&a, "to a, ");
	says(&b, "to b, ");
	says(&a, "more, ");
	says(&c, "to c");
	says(&b, "again");
	says(&a, "and more");
	said(&a, "");
	said(&b, "");
	said(&c, "");
	turn(w);
	said(&a, "to a, more, and more");
	said(&b, "to b, again");
	said(&c, "to c");
	/* The batch is empty again. */
	turn(w);
	says(&a, "!");
	turn(w);
	said(&a, "to a, more, and more!");
	assert_int_equal(a.drains + b.drains + c.drains, 0);
	close_talker(&a);
	close_talker(&b);
	close_talker(&c);
}

static void the_ring_is_used_where_the_kernel_has_one(void **state)
{
	struct worker *w = worker_of(state);
	struct talker a, b;

	open_talker(&a, w);
	open_talker(&b, w);
	says(&a, "1");
	turn(w);
	assert_true((w->sends.ring != NULL) != w->sends.has_no_ring);
	says(&a, "2");
	says(&b, "3");
	turn(w);
	assert_true((w->sends.ring != NULL) != w->sends.has_no_ring);
	send_batch_want(&w->sends, false); /* RELOAD */
	assert_null(w->sends.ring);
	says(&a, "4");
	says(&b, "5");
	turn(w);
	assert_null(w->sends.ring);
	said(&a, "124");
	said(&b, "35");
	send_batch_want(&w->sends, true);
	says(&a, "6");
	says(&b, "7");
	turn(w);
	assert_true((w->sends.ring != NULL) != w->sends.has_no_ring);
	said(&a, "1246");
	said(&b, "357");
	close_talker(&a);
	close_talker(&b);
}

static uint8_t pattern(size_t who, size_t at)
{
	return (uint8_t)(who * 31 + at * 7 + at / 251);
}

/* The next n bytes of its stream. */
static void streams(struct talker *t, size_t who, size_t *at, size_t n)
{
	uint8_t bytes[3 * SEND_BATCH_PIECE];
	struct iovec pieces[3];

	for (size_t i = 0; i < n; i++)
		bytes[i] = pattern(who, *at + i);
	pieces[0] = (struct iovec){bytes, n / 3};
	pieces[1] = (struct iovec){bytes + n / 3, 0};
	pieces[2] = (struct iovec){bytes + n / 3, n - n / 3};
	assert_true(conn_write(&t->conn, pieces, 3));
	*at += n;
}

static void has_streamed(struct talker *t, size_t who, size_t n)
{
	arrived(t);
	assert_int_equal(t->n, n);
	for (size_t i = 0; i < n; i++)
		if (t->got[i] != pattern(who, i))
			fail_msg("byte %zu of %zu is wrong", i, who);
}

static void more_than_fits_goes_in_several_batches(void **state)
{
	/* Around what may wait, what a batch holds, and what goes out at once. */
	static const size_t sizes[] = {1,    100, SEND_BATCH_PIECE / 2, SEND_BATCH_PIECE - 1, SEND_BATCH_PIECE,
				       1000, 17,  SEND_BATCH_PIECE + 1, 3 * SEND_BATCH_PIECE, 5};
	struct worker *w = worker_of(state);
	struct talker *t = calloc(MANY, sizeof(*t));
	size_t at[MANY] = {0};

	assert_non_null(t);
	for (size_t i = 0; i < MANY; i++)
		open_talker(&t[i], w);
	for (size_t round = 0; round < 40; round++) {
		for (size_t i = 0; i < MANY; i++)
			streams(&t[i], i, &at[i], sizes[(round + i) % ARRAY_LEN(sizes)]);
		if (round % 3 == 0)
			turn(w);
		/* Now and then the sockets are full. */
		if (round % 7 == 6)
			for (size_t i = 0; i < MANY; i++)
				arrived(&t[i]);
	}
	for (int i = 0; i < 20; i++) {
		turn(w);
		for (size_t k = 0; k < MANY; k++)
			arrived(&t[k]);
	}
	for (size_t i = 0; i < MANY; i++) {
		has_streamed(&t[i], i, at[i]);
		assert_int_equal(conn_unsent(&t[i].conn), 0);
		close_talker(&t[i]);
	}
	free(t);
}

static void a_full_socket_gets_the_rest_when_it_has_room(void **state)
{
	const int small = 4096;
	struct worker *w = worker_of(state);
	struct talker a, b;
	size_t at_a = 0, at_b = 0;

	open_talker(&a, w);
	open_talker(&b, w);
	assert_int_equal(setsockopt(a.conn.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	while (conn_backlog(&a.conn) == 0) {
		streams(&a, 1, &at_a, 777);
		streams(&b, 2, &at_b, 3);
		turn(w);
	}
	/* Behind what is left over, and not past it. */
	streams(&a, 1, &at_a, 50);
	turn(w);
	has_streamed(&b, 2, at_b);
	for (int i = 0; i < 20; i++) {
		arrived(&a);
		turn(w);
	}
	has_streamed(&a, 1, at_a);
	assert_int_equal(a.drains, 1);
	close_talker(&a);
	close_talker(&b);
}

static void who_has_gone_takes_nobody_along(void **state)
{
	struct worker *w = worker_of(state);
	struct talker a, b, c;

	open_talker(&a, w);
	open_talker(&b, w);
	open_talker(&c, w);
	conn_pause(&b.conn);
	close(b.peer);
	b.peer = -1;
	says(&a, "one");
	says(&b, "two");
	says(&c, "three");
	turn(w);
	turn(w);
	said(&a, "one");
	said(&c, "three");
	assert_int_equal(b.failures, 1);
	assert_int_equal(a.failures + c.failures, 0);
	assert_false(conn_send(&b.conn, "x", 1));
	close_talker(&a);
	close_talker(&b);
	close_talker(&c);
}

static void last_words_are_said(void **state)
{
	struct worker *w = worker_of(state);
	struct talker a, b, c;

	open_talker(&a, w);
	open_talker(&b, w);
	open_talker(&c, w);
	says(&a, "before");
	says(&b, "FATAL");
	says(&c, "after");
	conn_close(&b.conn);
	said(&b, "FATAL");
	assert_true(b.is_at_end);
	said(&a, "");
	/* Its place in the batch is nobody's. */
	says(&a, " and behind");
	turn(w);
	said(&a, "before and behind");
	said(&c, "after");
	close_talker(&a);
	close_talker(&b);
	close_talker(&c);
}

static void what_asks_for_it_is_sent_first(void **state)
{
	struct worker *w = worker_of(state);
	struct talker a, b;

	open_talker(&a, w);
	open_talker(&b, w);
	says(&a, "unsent");
	says(&b, "waits");
	assert_int_equal(conn_unsent(&a.conn), 0);
	said(&a, "unsent");
	says(&a, ", frozen");
	conn_freeze(&a.conn);
	said(&a, "unsent, frozen");
	says(&a, ", later");
	turn(w);
	said(&a, "unsent, frozen");
	conn_unsuspend(&a.conn);
	turn(w);
	said(&a, "unsent, frozen, later");
	says(&b, ", moves");
	conn_detach(&b.conn);
	said(&b, "waits, moves");
	assert_int_equal(conn_attach(&b.conn, w), 0);
	says(&b, ", stays");
	turn(w);
	said(&b, "waits, moves, stays");
	close_talker(&a);
	close_talker(&b);
}

static void a_cork_keeps_what_comes_behind_it(void **state)
{
	struct worker *w = worker_of(state);
	struct talker a;

	open_talker(&a, w);
	says(&a, "1");
	conn_cork(&a.conn);
	says(&a, "2");
	turn(w);
	said(&a, "1");
	says(&a, "3");
	conn_uncork(&a.conn);
	says(&a, "4");
	turn(w);
	said(&a, "1234");
	close_talker(&a);
}

static void the_abandoned_say_nothing(void **state)
{
	struct worker *w = worker_of(state);
	struct talker a, b;

	open_talker(&a, w);
	open_talker(&b, w);
	says(&a, "x");
	says(&b, "y");
	conn_abandon(&a.conn);
	turn(w);
	said(&a, "");
	said(&b, "y");
	close_talker(&a);
	said(&b, "y");
	close_talker(&b);
}

#define BOTH(f)                                                                                                        \
	{#f, f, open_plain, close_crew, NULL}, {#f ", io_uring", f, open_with_ring, close_crew, NULL}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(nothing_leaves_before_the_end_of_the_turn),
		{"the_ring_is_used_where_the_kernel_has_one", the_ring_is_used_where_the_kernel_has_one, open_with_ring,
		 close_crew, NULL},
		BOTH(more_than_fits_goes_in_several_batches),
		BOTH(a_full_socket_gets_the_rest_when_it_has_room),
		BOTH(who_has_gone_takes_nobody_along),
		BOTH(last_words_are_said),
		BOTH(what_asks_for_it_is_sent_first),
		BOTH(a_cork_keeps_what_comes_behind_it),
		BOTH(the_abandoned_say_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
