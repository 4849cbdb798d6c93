/* pool/prepared.c and the part of pool/outstanding.c it lives with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "pool/outstanding.h"
#include "pool/prepared.h"

static struct statement_store store;

static int set_up(void **state)
{
	(void)state;
	statement_store_init(&store);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	assert_int_equal(statement_store_count(&store), 0);
	statement_store_destroy(&store);
	return 0;
}

static struct statement *get(const char *query)
{
	char text[64];
	size_t n = (size_t)snprintf(text, sizeof(text) - 3, "%s", query) + 1;

	text[n] = text[n + 1] = 0;
	return statement_get(&store, span_of(text, n + 2));
}

/* --- the store ------------------------------------------------------------ */

static void test_one_entry_a_text(void **state)
{
	struct statement *a = get("SELECT 1"), *b = get("SELECT 2"), *again = get("SELECT 1");

	(void)state;
	assert_ptr_equal(a, again);
	assert_ptr_not_equal(a, b);
	assert_string_equal(a->name, "PGBOUNCER_1");
	assert_string_equal(b->name, "PGBOUNCER_2");
	assert_int_equal(a->name_len, 11);
	assert_memory_equal(a->text, "SELECT 1\0\0\0", 11);
	statement_put(a);
	assert_int_equal(statement_store_count(&store), 2);
	statement_put(again);
	assert_int_equal(statement_store_count(&store), 1);
	/* A number is never given twice, so an old name cannot come to mean another text. */
	a = get("SELECT 1");
	assert_string_equal(a->name, "PGBOUNCER_3");
	statement_put(a);
	statement_put(b);
}

static void test_types_make_a_difference(void **state)
{
	struct statement *a = statement_get(&store, span_of("S\0\0\1\0\0\0\27", 8));
	struct statement *b = statement_get(&store, span_of("S\0\0\1\0\0\0\31", 8));

	(void)state;
	assert_ptr_not_equal(a, b);
	statement_put(a);
	statement_put(b);
}

static void *churn(void *arg)
{
	char query[] = "SELECT 0";

	(void)arg;
	for (int i = 0; i < 20000; i++) {
		struct statement *st;

		query[7] = (char)('0' + i % 3);
		st = get(query);
		if (!st || st->text[7] != (uint8_t)query[7])
			return arg;
		statement_put(statement_ref(st));
		statement_put(st);
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[3];
	void *wrong;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, churn, &store), 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
		pthread_join(threads[i], &wrong);
		assert_null(wrong);
	}
}

/* --- what a client calls them ----------------------------------------------- */

static bool keep_it(void *ctx, const struct statement *st)
{
	return st == ctx;
}

static void test_client_map(void **state)
{
	struct client_statements *m = NULL;
	struct client_statement *taken;
	struct statement *b;

	(void)state;
	assert_int_equal(client_statements_count(m), 0);
	assert_null(client_statements_find(m, span_str("a")));
	assert_null(client_statements_take(&m, span_str("a")));
	assert_true(client_statements_add(&m, span_str("a"), get("A"), 1));
	assert_true(client_statements_add(&m, span_str("a2"), get("A"), 1));
	b = get("B");
	assert_true(client_statements_add(&m, span_str("b"), b, 1));
	assert_int_equal(client_statements_count(m), 3);
	assert_ptr_equal(client_statements_find(m, span_str("a"))->statement,
			 client_statements_find(m, span_str("a2"))->statement);

	client_statements_doubt(m, b);
	assert_true(client_statements_find(m, span_str("b"))->is_doubtful);
	assert_false(client_statements_find(m, span_str("a"))->is_doubtful);
	assert_true(client_statements_add(&m, span_str("b"), get("B"), 1));
	assert_false(client_statements_find(m, span_str("b"))->is_doubtful);
	assert_int_equal(client_statements_count(m), 3);

	taken = client_statements_take(&m, span_str("a"));
	assert_null(client_statements_find(m, span_str("a")));
	client_statements_restore(&m, taken);
	assert_non_null(client_statements_find(m, span_str("a")));
	/* A name that was given again meanwhile keeps its new meaning. */
	taken = client_statements_take(&m, span_str("a"));
	assert_true(client_statements_add(&m, span_str("a"), get("C"), 1));
	client_statements_restore(&m, taken);
	assert_memory_equal(client_statements_find(m, span_str("a"))->statement->text, "C", 2);

	client_statements_forget(&m, keep_it, b);
	assert_int_equal(client_statements_count(m), 1);
	assert_non_null(client_statements_find(m, span_str("b")));
	client_statements_forget(&m, NULL, NULL);
	assert_null(m);
}

static void test_client_map_owns_nothing_when_empty(void **state)
{
	struct client_statements *m = NULL;

	(void)state;
	assert_true(client_statements_add(&m, span_str("a"), get("A"), 1));
	client_statement_free(client_statements_take(&m, span_str("a")));
	assert_null(m);
}

/* --- what a server has ------------------------------------------------------ */

static struct server_statements *map;

static struct server_statement *begin(const char *query, enum statement_request what)
{
	struct statement *st = get(query);
	struct server_statement *e = server_statements_touch(&map, st);

	assert_non_null(e);
	statement_put(st);
	server_statement_begin(map, e, what);
	return e;
}

static void end(struct server_statement *e, enum statement_request what, enum statement_outcome outcome)
{
	server_statement_end(map, e, what, outcome);
}

static struct server_statement *hold(const char *query)
{
	struct server_statement *e = begin(query, STATEMENT_PARSE);

	end(e, STATEMENT_PARSE, STATEMENT_DONE);
	return e;
}

static bool knows(const char *query)
{
	struct statement *st = get(query);
	struct server_statement *e = server_statements_find(map, st);

	statement_put(st);
	return e != NULL;
}

static void test_least_recent_goes_first(void **state)
{
	struct server_statement *a = hold("A"), *b = hold("B"), *c = hold("C");

	(void)state;
	assert_int_equal(server_statements_count(map), 3);
	assert_null(server_statements_surplus(map, 3));
	assert_ptr_equal(server_statements_surplus(map, 2), a);
	end(begin("A", STATEMENT_USE), STATEMENT_USE, STATEMENT_DONE);
	assert_ptr_equal(server_statements_surplus(map, 2), b);
	server_statement_begin(map, b, STATEMENT_CLOSE);
	assert_null(server_statements_surplus(map, 2));
	assert_ptr_equal(server_statements_surplus(map, 1), c);
	end(b, STATEMENT_CLOSE, STATEMENT_DONE);
	assert_false(knows("B"));
	server_statements_free(&map);
	assert_null(map);
}

static void test_a_used_one_is_pinned(void **state)
{
	struct server_statement *a = begin("A", STATEMENT_PARSE), *b = hold("B");

	(void)state;
	server_statement_begin(map, a, STATEMENT_USE);
	assert_ptr_equal(server_statements_surplus(map, 1), b);
	end(a, STATEMENT_PARSE, STATEMENT_DONE);
	assert_ptr_equal(server_statements_surplus(map, 1), b);
	server_statement_begin(map, b, STATEMENT_USE);
	assert_null(server_statements_surplus(map, 0));
	end(a, STATEMENT_USE, STATEMENT_DROPPED);
	assert_ptr_equal(server_statements_surplus(map, 1), a);
	end(b, STATEMENT_USE, STATEMENT_DONE);
	server_statements_free(&map);
}

static void test_a_failed_parse_is_forgotten(void **state)
{
	struct server_statement *a = begin("A", STATEMENT_NAMED);

	(void)state;
	assert_true(a->is_held && a->naming == 1);
	server_statement_begin(map, a, STATEMENT_USE);
	end(a, STATEMENT_NAMED, STATEMENT_DROPPED);
	assert_false(a->is_held);
	assert_int_equal(server_statements_count(map), 0);
	end(a, STATEMENT_USE, STATEMENT_DROPPED);
	assert_false(knows("A"));
	server_statements_free(&map);
}

static void test_a_dropped_close_puts_back(void **state)
{
	struct server_statement *a = hold("A");

	(void)state;
	server_statement_begin(map, a, STATEMENT_CLOSE);
	assert_int_equal(server_statements_count(map), 0);
	end(a, STATEMENT_CLOSE, STATEMENT_DROPPED);
	assert_int_equal(server_statements_count(map), 1);
	assert_true(a->is_held);
	server_statements_free(&map);
}

/* Close, Close again to be sure, Parse; then the batch fails at each place. */
static void test_closed_and_prepared_again(void **state)
{
	static const enum statement_request requests[] = {STATEMENT_CLOSE, STATEMENT_CLOSE, STATEMENT_PARSE};

	(void)state;
	for (size_t done = 0; done <= 3; done++) {
		struct server_statement *a = hold("A");

		for (size_t i = 0; i < 3; i++)
			server_statement_begin(map, a, requests[i]);
		assert_true(a->is_held);
		for (size_t i = 0; i < 3; i++)
			end(a, requests[i], i < done ? STATEMENT_DONE : STATEMENT_DROPPED);
		assert_int_equal(server_statements_count(map), done == 0 || done == 3);
		server_statements_free(&map);
	}
}

static void test_all_forgotten(void **state)
{
	struct server_statement *closing, *used, *coming;

	(void)state;
	hold("A");
	closing = hold("B");
	server_statement_begin(map, closing, STATEMENT_CLOSE);
	used = hold("C");
	server_statement_begin(map, used, STATEMENT_USE);
	coming = begin("D", STATEMENT_NAMED);
	server_statements_clear(map);
	assert_false(knows("A"));
	/* Sent behind what made the server forget. */
	assert_true(coming->is_held);
	assert_int_equal(server_statements_count(map), 1);
	end(closing, STATEMENT_CLOSE, STATEMENT_DROPPED);
	assert_false(knows("B"));
	end(used, STATEMENT_USE, STATEMENT_DROPPED);
	assert_false(knows("C"));
	end(coming, STATEMENT_NAMED, STATEMENT_DONE);
	assert_true(knows("D"));
	server_statements_free(&map);
}

static void test_an_entry_nothing_came_of(void **state)
{
	struct statement *st = get("A");

	(void)state;
	server_statement_unused(map, server_statements_touch(&map, st));
	assert_null(server_statements_find(map, st));
	statement_put(st);
	server_statements_free(&map);
}

static void test_many(void **state)
{
	char query[32];

	(void)state;
	for (int i = 0; i < 1000; i++) {
		struct server_statement *old;

		snprintf(query, sizeof(query), "SELECT %d", i);
		hold(query);
		while ((old = server_statements_surplus(map, 100))) {
			server_statement_begin(map, old, STATEMENT_CLOSE);
			end(old, STATEMENT_CLOSE, STATEMENT_DONE);
		}
	}
	assert_int_equal(server_statements_count(map), 100);
	assert_int_equal(statement_store_count(&store), 100);
	assert_false(knows("SELECT 899"));
	assert_true(knows("SELECT 900"));
	server_statements_free(&map);
}

/* --- answers made here, in the queue ------------------------------------------ */

static void count_dropped(void *ctx, const struct request *r)
{
	(void)r;
	++*(int *)ctx;
}

static void count_statement(void *ctx, const struct statement *st)
{
	*(uint64_t *)ctx += st->number;
}

/* What another process told: texts under their old numbers, and what a connection has and is about to have. */
static void test_restored(void **state)
{
	struct server_statements *m = NULL;
	struct client_statements *cm = NULL;
	struct statement *a = statement_restore(&store, 7, span_of("SELECT a\0\0\0", 11));
	struct statement *b = statement_restore(&store, 3, span_of("SELECT b\0\0\0", 11)), *c;
	struct server_statement *e;
	uint64_t sum = 0;

	(void)state;
	assert_string_equal(a->name, "PGBOUNCER_7");
	assert_int_equal(a->name_len, 11);
	/* One text has one name. */
	assert_null(statement_restore(&store, 8, span_of("SELECT a\0\0\0", 11)));
	assert_ptr_equal(get("SELECT a"), a);
	statement_put(a);
	c = get("SELECT c");
	assert_string_equal(c->name, "PGBOUNCER_8");
	statement_put(c);
	statement_store_begin_after(&store, 5);
	c = get("SELECT c");
	assert_string_equal(c->name, "PGBOUNCER_9");
	statement_put(c);
	statement_store_begin_after(&store, 100);
	c = get("SELECT c");
	assert_string_equal(c->name, "PGBOUNCER_101");
	statement_store_each(&store, count_statement, &sum);
	assert_int_equal(sum, 7 + 3 + 101);

	/* It has a and b; b is being closed, c being prepared. */
	assert_true(server_statements_restore(&m, a));
	assert_true(server_statements_restore(&m, b));
	assert_int_equal(server_statements_count(m), 2);
	e = server_statements_touch(&m, b);
	server_statement_begin(m, e, STATEMENT_CLOSE);
	e = server_statements_touch(&m, c);
	server_statement_begin(m, e, STATEMENT_NAMED);
	assert_int_equal(server_statements_count(m), 2);
	assert_false(server_statements_find(m, b)->is_held);
	server_statement_end(m, server_statements_find(m, b), STATEMENT_CLOSE, STATEMENT_DONE);
	assert_null(server_statements_find(m, b));
	server_statement_end(m, e, STATEMENT_NAMED, STATEMENT_DROPPED);
	assert_null(server_statements_find(m, c));
	assert_ptr_equal(server_statements_surplus(m, 0)->statement, a);

	client_statements_restore(&cm, client_statement_new(span_str("x"), statement_ref(b), true));
	assert_ptr_equal(client_statements_find(cm, span_str("x"))->statement, b);
	assert_true(client_statements_find(cm, span_str("x"))->is_doubtful);
	client_statements_forget(&cm, NULL, NULL);
	server_statements_free(&m);
	statement_put(a);
	statement_put(b);
	statement_put(c);
}

static void test_fakes_in_order(void **state)
{
	struct outstanding q;
	struct request r;
	int dropped = 0;

	(void)state;
	outstanding_init(&q);
	assert_false(outstanding_fake_is_next(&q));
	assert_true(outstanding_push(&q, 'P', REQUEST_FORWARD, NULL));
	assert_true(outstanding_push(&q, 'C', REQUEST_FAKE, &q));
	assert_true(outstanding_push(&q, 'S', REQUEST_FORWARD, NULL));
	assert_false(outstanding_take_fake(&q, &r));
	assert_true(outstanding_answer(&q, '1', &r));
	assert_false(outstanding_answer(&q, 'Z', &r));
	assert_true(outstanding_take_fake(&q, &r));
	assert_ptr_equal(r.statement, &q);
	assert_true(outstanding_answer(&q, 'Z', &r));

	/* In a failed batch it is dropped like what was sent. */
	assert_true(outstanding_push(&q, 'P', REQUEST_FORWARD, NULL));
	assert_true(outstanding_push(&q, 'C', REQUEST_FAKE, NULL));
	assert_true(outstanding_push(&q, 'S', REQUEST_FORWARD, NULL));
	outstanding_error(&q, false, count_dropped, &dropped);
	assert_int_equal(dropped, 0);
	outstanding_before_ready(&q, count_dropped, &dropped);
	assert_int_equal(dropped, 2);
	assert_true(outstanding_answer(&q, 'Z', &r));

	/* An error out of the blue fails no batch. */
	outstanding_error(&q, false, count_dropped, &dropped);
	assert_true(outstanding_push(&q, 'P', REQUEST_FAKE, NULL));
	assert_true(outstanding_fake_is_next(&q));
	outstanding_drop_all(&q, count_dropped, &dropped);
	assert_int_equal(dropped, 3);
	outstanding_free(&q);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_one_entry_a_text),
		TEST(test_types_make_a_difference),
		TEST(test_threads),
		TEST(test_client_map),
		TEST(test_client_map_owns_nothing_when_empty),
		TEST(test_least_recent_goes_first),
		TEST(test_a_used_one_is_pinned),
		TEST(test_a_failed_parse_is_forgotten),
		TEST(test_a_dropped_close_puts_back),
		TEST(test_closed_and_prepared_again),
		TEST(test_all_forgotten),
		TEST(test_an_entry_nothing_came_of),
		TEST(test_many),
		TEST(test_restored),
		TEST(test_fakes_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
