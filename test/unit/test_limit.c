/* Unit tests of auth/limit.h: the clock is moved by hand. Attack row 39. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/limit.h"

#define SEC USEC_PER_SEC
#define START (1000 * SEC)

/* ---- an allocator that counts, and fails when told to (room.mk links with --wrap) ---- */

static atomic_int allocations, fail_in;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);

static bool is_refused(void)
{
	atomic_fetch_add(&allocations, 1);
	return fail_in > 0 && --fail_in == 0;
}

void *__wrap_malloc(size_t bytes)
{
	return is_refused() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
	return is_refused() ? NULL : __real_calloc(n, bytes);
}

/* ---- a limiter and its clock ---- */

static const struct limit_rules usual = {10, 60 * SEC, 5 * SEC, 300 * SEC, 2000, 16384};
static struct limiter *l;
static usec_t now;

static int open_limiter(void **state)
{
	(void)state;
	now = START;
	l = limiter_new(&usual, now);
	return l ? 0 : -1;
}

static int close_limiter(void **state)
{
	(void)state;
	limiter_free(l);
	return 0;
}

static void rules(struct limit_rules r)
{
	assert_true(limiter_adopt(l, &r, now));
}

static struct ip_address at(const char *text)
{
	struct network n;

	assert_int_equal(network_parse(text, strlen(text), &n), NETWORK_OK);
	return limit_source(&n.address, 32, 64);
}

static struct ip_address numbered(uint32_t n)
{
	return ip_from_v4((uint8_t[]){10, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n});
}

/* 0: may try; else the seconds to wait. */
static int ask(struct ip_address a)
{
	struct limit_refusal r;

	return limiter_ask(l, &a, now, &r) ? 0 : r.retry_seconds;
}

static void fail_times(struct ip_address a, int n)
{
	while (n-- > 0)
		limiter_failed(l, &a, now);
}

static void pass(struct ip_address a)
{
	limiter_passed(l, &a, now);
}

/* A source's row; score 0 when it has none. */
static struct limit_row row_of(struct ip_address a)
{
	static struct limit_row rows[20000];
	size_t n = limiter_list(l, now, 32, 64, rows, ARRAY_LEN(rows));

	for (size_t i = 0; i < n; i++)
		if (memcmp(&rows[i].source.address, &a, sizeof(a)) == 0)
			return rows[i];
	return (struct limit_row){.success_seconds = -1};
}

#define assert_near(a, b) assert_true(fabs((a) - (b)) < 0.02)

/* ---- the rules, one by one ---- */

static void ten_failures_are_borne_and_the_eleventh_closes_off(void **state)
{
	struct ip_address a = at("203.0.113.7");

	(void)state;
	for (int i = 0; i < 10; i++) {
		assert_int_equal(ask(a), 0);
		fail_times(a, 1);
	}
	assert_int_equal(ask(a), 0);
	assert_int_equal(limiter_blocks(l), 0);
	fail_times(a, 1);
	assert_int_equal(ask(a), 5);
	assert_int_equal(limiter_blocks(l), 1);
	assert_int_equal(ask(at("203.0.113.8")), 0);
}

static void seconds_to_wait_are_rounded_up_and_end(void **state)
{
	struct ip_address a = at("203.0.113.7");

	(void)state;
	fail_times(a, 11);
	now += 100000;
	assert_int_equal(ask(a), 5);
	now += 3 * SEC + SEC / 2;
	assert_int_equal(ask(a), 2);
	now += SEC + SEC / 4;
	assert_int_equal(ask(a), 1);
	now += SEC / 4;
	assert_int_equal(ask(a), 0);
}

static void score_halves_every_halflife(void **state)
{
	struct ip_address a = at("203.0.113.7");

	(void)state;
	fail_times(a, 8);
	assert_near(row_of(a).score, 8);
	now += 60 * SEC;
	assert_near(row_of(a).score, 4);
	now += 30 * SEC;
	assert_near(row_of(a).score, 4 / sqrt(2));
	fail_times(a, 1);
	assert_near(row_of(a).score, 4 / sqrt(2) + 1);
	now += 30 * 60 * SEC;
	assert_near(row_of(a).score, 0);
}

static void failures_far_apart_never_close_off(void **state)
{
	struct ip_address a = at("203.0.113.7");

	(void)state;
	for (int i = 0; i < 2000; i++) {
		assert_int_equal(ask(a), 0);
		fail_times(a, 1);
		now += 10 * SEC; /* the score tends to 9.17 */
	}
	assert_int_equal(limiter_blocks(l), 0);
}

static void each_further_block_is_twice_as_long(void **state)
{
	struct ip_address a = at("203.0.113.7");
	int want = 5;

	(void)state;
	rules((struct limit_rules){10, 3600 * SEC, 5 * SEC, 300 * SEC, 0, 16384});
	fail_times(a, 12); /* so that it has not come down to the burst when the block is over */
	for (int i = 0; i < 10; i++) {
		assert_int_equal(ask(a), want);
		now += want * SEC;
		assert_int_equal(ask(a), 0);
		fail_times(a, 4);
		want = want * 2 < 300 ? want * 2 : 300;
	}
	assert_int_equal(ask(a), 300);
}

static void below_half_the_burst_it_begins_anew(void **state)
{
	struct ip_address a = at("203.0.113.7");

	(void)state;
	fail_times(a, 11);
	now += 5 * SEC;
	fail_times(a, 1);
	assert_int_equal(ask(a), 10);
	assert_int_equal(row_of(a).blocks, 2);
	now += 60 * SEC; /* 11.4 / 2 */
	fail_times(a, 5);
	assert_int_equal(ask(a), 20);
	now += 90 * SEC; /* 10.7 / 2.8 */
	fail_times(a, 7);
	assert_int_equal(ask(a), 5);
}

static void refusals_do_not_extend_the_block(void **state)
{
	struct ip_address a = at("203.0.113.7");

	(void)state;
	fail_times(a, 11);
	for (int i = 5; i > 0; i--) {
		for (int j = 0; j < 1000; j++)
			assert_int_equal(ask(a), i);
		now += SEC;
	}
	assert_int_equal(ask(a), 0);
	assert_near(row_of(a).score, 11 * exp2(-5 / 60.0));
}

static void failures_begun_before_the_block_do_not_double_it(void **state)
{
	struct ip_address a = at("203.0.113.7");

	(void)state;
	fail_times(a, 20);
	assert_int_equal(ask(a), 5);
	assert_int_equal(limiter_blocks(l), 1);
	now += 5 * SEC;
	assert_int_equal(ask(a), 0);
	fail_times(a, 1);
	assert_int_equal(ask(a), 10);
}

static void success_takes_nothing_and_halves_the_score(void **state)
{
	struct ip_address a = at("203.0.113.7");

	(void)state;
	for (int i = 0; i < 5000; i++)
		pass(a);
	assert_int_equal(ask(a), 0);
	assert_near(row_of(a).score, 0);
	fail_times(a, 8);
	pass(a);
	assert_near(row_of(a).score, 4);
	pass(a);
	assert_near(row_of(a).score, 2);
}

static void one_who_mistypes_does_not_shut_out_his_neighbours(void **state)
{
	struct ip_address nat = at("203.0.113.7");

	(void)state;
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(ask(nat), 0);
		fail_times(nat, 1);
		for (int j = 0; j < 5; j++) {
			assert_int_equal(ask(nat), 0);
			pass(nat);
		}
	}
	assert_int_equal(limiter_blocks(l), 0);
}

static void recent_success_is_let_in_once_a_second(void **state)
{
	struct ip_address a = at("203.0.113.7");

	(void)state;
	rules((struct limit_rules){10, 60 * SEC, 100 * SEC, 300 * SEC, 2000, 16384});
	pass(a);
	fail_times(a, 30);
	for (int i = 0; i < 50; i++) {
		assert_int_equal(ask(a), 0);
		for (int j = 0; j < 100; j++)
			assert_int_equal(ask(a), 1);
		fail_times(a, 1);
		now += SEC;
	}
	assert_int_equal(limiter_blocks(l), 1);
}

static void success_is_recent_for_ten_minutes(void **state)
{
	struct ip_address a = at("203.0.113.7");

	(void)state;
	rules((struct limit_rules){10, 3600 * SEC, 3600 * SEC, 3600 * SEC, 2000, 16384});
	pass(a);
	fail_times(a, 30);
	now += 598 * SEC;
	assert_int_equal(row_of(a).success_seconds, 598);
	assert_int_equal(ask(a), 0);
	now += 2 * SEC;
	assert_int_equal(row_of(a).success_seconds, -1);
	assert_int_equal(ask(a), 3000);
}

static void refusals_are_logged_once_a_minute_with_their_number(void **state)
{
	struct ip_address a = at("203.0.113.7"), b = at("203.0.113.8");
	struct limit_refusal r;

	(void)state;
	rules((struct limit_rules){10, 60 * SEC, 300 * SEC, 300 * SEC, 2000, 16384});
	fail_times(a, 11);
	fail_times(b, 11);
	assert_false(limiter_ask(l, &a, now, &r));
	assert_true(r.wants_log && r.suppressed == 0 && !r.is_ceiling);
	for (int i = 0; i < 590; i++) {
		now += SEC / 10;
		assert_false(limiter_ask(l, &a, now, &r));
		assert_false(r.wants_log);
	}
	assert_int_equal(row_of(a).suppressed, 590);
	assert_false(limiter_ask(l, &b, now, &r));
	assert_true(r.wants_log && r.suppressed == 0);
	now += SEC;
	assert_false(limiter_ask(l, &a, now, &r));
	assert_true(r.wants_log && r.suppressed == 590);
	assert_false(limiter_ask(l, &a, now, &r));
	assert_false(r.wants_log);
	/* A far later block says so at once, wherever the second counter stands. */
	for (int i = 1; i < 40; i++) {
		now += 1024 * SEC + SEC;
		fail_times(a, 11);
		assert_false(limiter_ask(l, &a, now, &r));
		assert_true(r.wants_log);
	}
}

static void short_blocks_in_a_row_make_one_line_a_minute(void **state)
{
	struct ip_address a = at("203.0.113.7");
	struct limit_refusal r;
	int lines = 0;

	(void)state;
	rules((struct limit_rules){10, 3600 * SEC, SEC, SEC, 2000, 16384});
	fail_times(a, 30);
	for (int i = 0; i < 240; i++) {
		if (limiter_ask(l, &a, now, &r))
			fail_times(a, 1);
		else
			lines += r.wants_log;
		now += SEC / 2;
	}
	assert_int_equal(lines, 2);
}

static void a_burst_of_zero_turns_it_off(void **state)
{
	struct ip_address a = at("203.0.113.7");
	struct limit_rules off = usual, few = usual;

	(void)state;
	off.burst = 0;
	few.checks_per_second = off.checks_per_second = 1;
	rules(off);
	fail_times(a, 1000);
	assert_int_equal(ask(a), 0);
	rules(few);
	assert_int_equal(ask(a), 0);
	assert_near(row_of(a).score, 0);
}

static void a_block_of_no_length_closes_nobody_off(void **state)
{
	struct ip_address a = at("203.0.113.7");

	(void)state;
	rules((struct limit_rules){10, 60 * SEC, 0, 300 * SEC, 0, 16384});
	fail_times(a, 100);
	assert_int_equal(ask(a), 0);
	assert_int_equal(limiter_blocks(l), 0);
}

/* ---- sources ---- */

static void sources_are_prefixes(void **state)
{
	static const struct {
		const char *row, *a, *b;
		int v4, v6;
		bool same;
	} rows[] = {
		{"an IPv4 address is itself", "10.0.0.1", "10.0.0.2", 32, 64, false},
		{"an IPv4 network, if so wished", "10.0.0.1", "10.0.0.254", 24, 64, true},
		{"and the next one", "10.0.1.1", "10.0.0.254", 24, 64, false},
		{"a /64 of IPv6 is one", "2001:db8:1:2::1", "2001:db8:1:2:ffff::9", 32, 64, true},
		{"another /64 is another", "2001:db8:1:2::1", "2001:db8:1:3::1", 32, 64, false},
		{"hosts of IPv6, if so wished", "2001:db8:1:2::1", "2001:db8:1:2::2", 32, 128, false},
		{"a prefix inside a byte", "2001:db8::1", "2001:db8:7f::1", 32, 41, true},
		{"IPv4-mapped is IPv4", "::ffff:10.0.0.1", "10.0.0.1", 32, 64, true},
		{"and differs by IPv4's prefix", "::ffff:10.0.0.1", "::ffff:10.0.0.2", 32, 64, false},
		{"all of IPv4 is one", "10.0.0.1", "192.0.2.1", 0, 64, true},
		{"all of IPv6 is one, but not IPv4", "2001:db8::1", "10.0.0.1", 0, 0, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct network a, b;
		struct ip_address sa, sb;

		print_message("%s\n", rows[i].row);
		assert_int_equal(network_parse(rows[i].a, strlen(rows[i].a), &a), NETWORK_OK);
		assert_int_equal(network_parse(rows[i].b, strlen(rows[i].b), &b), NETWORK_OK);
		sa = limit_source(&a.address, rows[i].v4, rows[i].v6);
		sb = limit_source(&b.address, rows[i].v4, rows[i].v6);
		assert_int_equal(memcmp(&sa, &sb, sizeof(sa)) == 0, rows[i].same);
	}
}

static void the_source_of_all_zeros_is_a_source(void **state)
{
	struct ip_address zero = {{0}};

	(void)state;
	fail_times(zero, 11);
	assert_int_equal(ask(zero), 5);
}

/* ---- the table ---- */

static void a_table_full_of_made_up_sources_keeps_the_guilty(void **state)
{
	struct ip_address guilty[20];
	size_t bytes = limiter_memory(l);
	int before;

	(void)state;
	rules((struct limit_rules){10, 60 * SEC, 300 * SEC, 300 * SEC, 0, 16384});
	for (uint32_t i = 0; i < ARRAY_LEN(guilty); i++) {
		guilty[i] = ip_from_v4((uint8_t[]){192, 0, 2, (uint8_t)i});
		fail_times(guilty[i], i % 2 ? 11 : 6);
	}
	before = allocations;
	for (uint32_t i = 0; i < 400000; i++) {
		fail_times(numbered(i), 1);
		now += 100; /* 40 s in all */
	}
	assert_int_equal(allocations, before);
	assert_int_equal(limiter_memory(l), bytes);
	assert_int_equal(bytes, 16384 * 32);
	for (uint32_t i = 0; i < ARRAY_LEN(guilty); i++) {
		struct limit_row row = row_of(guilty[i]);

		assert_near(row.score, (i % 2 ? 11 : 6) * exp2(-40 / 60.0));
		assert_int_equal(row.blocked_seconds, i % 2 ? 260 : 0);
	}
}

static void who_is_closed_off_outlives_a_decayed_score(void **state)
{
	struct ip_address a = at("203.0.113.7");

	(void)state;
	rules((struct limit_rules){10, SEC, 300 * SEC, 300 * SEC, 0, 512});
	fail_times(a, 30);
	now += 60 * SEC;
	for (uint32_t i = 0; i < 20000; i++)
		fail_times(numbered(i), 2);
	assert_int_equal(ask(a), 240);
}

static void successes_do_not_displace_suspects(void **state)
{
	static struct limit_row rows[2000];

	(void)state;
	rules((struct limit_rules){10, 60 * SEC, 5 * SEC, 300 * SEC, 0, 512});
	for (uint32_t i = 0; i < 20000; i++)
		fail_times(numbered(i), 2);
	assert_int_equal(limiter_list(l, now, 32, 64, rows, ARRAY_LEN(rows)), 512);
	for (uint32_t i = 0; i < 20000; i++)
		pass(numbered(1000000 + i));
	assert_int_equal(limiter_list(l, now, 32, 64, rows, ARRAY_LEN(rows)), 512);
}

static void who_has_proven_himself_is_not_displaced_by_a_flood(void **state)
{
	struct ip_address early = at("203.0.113.7"), late = at("203.0.113.8");

	(void)state;
	rules((struct limit_rules){10, 60 * SEC, 5 * SEC, 300 * SEC, 1, 512});
	pass(early);
	for (uint32_t i = 0; i < 20000; i++)
		fail_times(numbered(i), 1);
	/* Neither who was known before nor who comes meanwhile has to wait for the strangers. */
	assert_int_equal(ask(early), 0);
	pass(late);
	for (uint32_t i = 0; i < 20000; i++)
		fail_times(numbered(i), 1);
	assert_int_equal(ask(early), 0);
	assert_int_equal(ask(late), 0);
	assert_true(ask(at("203.0.113.9")) > 0);
}

static void another_size_keeps_the_scores(void **state)
{
	struct ip_address a = at("203.0.113.7");
	struct limit_rules r = usual;

	(void)state;
	r.block = 300 * SEC;
	rules(r);
	fail_times(a, 15);
	for (uint32_t i = 0; i < 300; i++)
		fail_times(numbered(i), 1 + (int)(i % 5));
	r.entries = 100000;
	rules(r);
	assert_int_equal(limiter_memory(l), (100000 + 511) / 512 * 512 * 32);
	assert_near(row_of(a).score, 15);
	for (uint32_t i = 0; i < 300; i++)
		assert_near(row_of(numbered(i)).score, 1 + (int)(i % 5));
	r.entries = 1;
	rules(r);
	assert_int_equal(limiter_memory(l), 512 * 32);
	assert_near(row_of(a).score, 15);
	assert_int_equal(ask(a), 300);
}

static void no_memory_for_another_size_leaves_the_old(void **state)
{
	struct ip_address a = at("203.0.113.7");
	struct limit_rules r = usual;

	(void)state;
	fail_times(a, 11);
	r.entries = 100000;
	r.burst = 20;
	fail_in = 1;
	assert_false(limiter_adopt(l, &r, now));
	assert_int_equal(limiter_memory(l), 16384 * 32);
	assert_near(row_of(a).score, 11);
	now += 5 * SEC;
	fail_times(a, 5);
	assert_int_equal(ask(a), 0); /* the new burst is in force */
	for (int n = 1; n <= 2; n++) {
		fail_in = n;
		assert_null(limiter_new(&r, now));
	}
	fail_in = 0;
}

static void other_numbers_keep_scores_and_blocks(void **state)
{
	struct ip_address a = at("203.0.113.7");
	struct limit_rules r = usual;

	(void)state;
	fail_times(a, 12);
	now += 2 * SEC;
	r.halflife = 600 * SEC;
	r.block = 60 * SEC;
	rules(r);
	assert_near(row_of(a).score, 12 * exp2(-2 / 60.0));
	assert_int_equal(ask(a), 3);
	now += 600 * SEC;
	assert_near(row_of(a).score, 6 * exp2(-2 / 60.0));
	r.halflife = SEC;
	rules(r);
	assert_near(row_of(a).score, 6 * exp2(-2 / 60.0));
	now += SEC;
	assert_near(row_of(a).score, 3 * exp2(-2 / 60.0));
}

static void years_go_by(void **state)
{
	struct ip_address a = at("203.0.113.7");

	(void)state;
	for (int i = 0; i < 200; i++) {
		assert_int_equal(ask(a), 0);
		pass(a);
		assert_near(row_of(a).score, 0);
		fail_times(a, 11);
		assert_near(row_of(a).score, 11);
		now += SEC;
		assert_int_equal(ask(a), 0); /* the one a second */
		assert_int_equal(ask(a), 1);
		now += 60 * SEC - SEC;
		assert_near(row_of(a).score, 5.5);
		assert_int_equal(row_of(a).success_seconds, 60);
		now += (usec_t)(i % 100) * 86400 * SEC + 1237 * SEC;
		fail_times(at("198.51.100.1"), 1);
	}
	now += (usec_t)20 * 365 * 86400 * SEC;
	assert_int_equal(ask(a), 0);
	fail_times(a, 11);
	assert_int_equal(ask(a), 5);
}

static void a_clock_that_is_behind_does_no_harm(void **state)
{
	struct ip_address a = at("203.0.113.7");

	(void)state;
	now += 60 * SEC;
	fail_times(a, 11);
	pass(at("203.0.113.8"));
	now -= SEC / 2;
	assert_int_equal(ask(a), 6);
	fail_times(a, 1);
	assert_int_equal(ask(at("203.0.113.8")), 0);
	now = 0;
	fail_times(a, 1);
	assert_true(ask(a) > 0);
}

/* ---- the ceiling ---- */

static void the_ceiling_holds_for_those_without_recent_success(void **state)
{
	struct ip_address known = at("203.0.113.7");
	struct limit_rules r = usual;
	struct limit_refusal refusal;
	uint32_t from = 0;

	(void)state;
	pass(known);
	now += 10 * SEC;
	r.checks_per_second = 100;
	rules(r);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(ask(numbered(from)), 0);
		fail_times(numbered(from++), 1);
	}
	assert_int_equal(ask(numbered(from)), 1);
	assert_int_equal(ask(known), 0);
	fail_times(known, 1);
	pass(known);
	/* Then so many a second. */
	for (int second = 0; second < 5; second++) {
		int checked = 0;

		for (int i = 0; i < 1000; i++) {
			now += 1000;
			if (ask(numbered(from)) == 0) {
				fail_times(numbered(from++), 1);
				checked++;
			}
		}
		assert_in_range(checked, 99, 101);
	}
	/* One line a minute for all of them. */
	now += 60 * SEC;
	for (int i = 0; i < 200; i++)
		fail_times(numbered(from++), 1);
	for (int i = 0; i < 3; i++) {
		struct ip_address a = numbered(from + (uint32_t)i);

		assert_false(limiter_ask(l, &a, now, &refusal));
		assert_true(refusal.is_ceiling);
		assert_int_equal(refusal.wants_log, i == 0);
		assert_true(refusal.retry_seconds >= 1);
	}
}

static void checks_that_came_at_once_are_paid_for_later(void **state)
{
	struct limit_rules r = usual;

	(void)state;
	r.checks_per_second = 10;
	rules(r);
	for (uint32_t i = 0; i < 50; i++)
		fail_times(numbered(i), 1);
	assert_int_equal(ask(numbered(99)), 5);
	now += 4 * SEC;
	assert_int_equal(ask(numbered(99)), 1);
	now += SEC;
	assert_int_equal(ask(numbered(99)), 0);
}

static void reasons_are_looked_for_in_calm_times_only(void **state)
{
	struct ip_address a = at("203.0.113.7"), b = at("203.0.113.8");
	struct limit_rules r = usual;

	(void)state;
	r.checks_per_second = 100;
	rules(r);
	assert_true(limiter_may_explain(l, &a, now));
	fail_times(a, 11);
	assert_false(limiter_may_explain(l, &a, now));
	assert_true(limiter_may_explain(l, &b, now)); /* 4 + 11 + 4 of 100 */
	for (uint32_t i = 0; i < 32; i++)
		fail_times(numbered(i), 1);
	assert_false(limiter_may_explain(l, &b, now)); /* 51 */
	assert_int_equal(ask(b), 0);
	now += SEC / 10;
	assert_true(limiter_may_explain(l, &b, now));
	assert_false(limiter_may_explain(l, &a, now));
	r.burst = 0;
	rules(r);
	assert_true(limiter_may_explain(l, &a, now));
}

static void a_ceiling_of_zero_is_none(void **state)
{
	struct limit_rules r = usual;

	(void)state;
	r.checks_per_second = 0;
	rules(r);
	for (uint32_t i = 0; i < 10000; i++) {
		assert_int_equal(ask(numbered(i)), 0);
		fail_times(numbered(i), 1);
	}
}

/* ---- display ---- */

static void the_list_is_bounded_and_the_worst_come_first(void **state)
{
	struct limit_row rows[10];
	struct ip_address blocked = at("203.0.113.7"), v6 = at("2001:db8:1:2::9");
	char text[NETWORK_TEXT_MAX];
	size_t n;

	(void)state;
	assert_int_equal(limiter_list(l, now, 32, 64, rows, ARRAY_LEN(rows)), 0);
	fail_times(blocked, 11);
	fail_times(v6, 9);
	for (uint32_t i = 0; i < 500; i++)
		fail_times(numbered(i * 7919 % 500), 1 + (int)(i % 8));
	n = limiter_list(l, now, 32, 64, rows, ARRAY_LEN(rows));
	assert_int_equal(n, 10);
	assert_string_equal(network_text(&rows[0].source, text), "203.0.113.7");
	assert_int_equal(rows[0].blocked_seconds, 5);
	assert_int_equal(rows[0].blocks, 1);
	assert_string_equal(network_text(&rows[1].source, text), "2001:db8:1:2::/64");
	for (size_t i = 2; i < n; i++)
		assert_near(rows[i].score, 8);
	assert_int_equal(limiter_list(l, now, 32, 64, rows, 0), 0);
	now += 3600 * SEC;
	assert_int_equal(limiter_list(l, now, 32, 64, rows, ARRAY_LEN(rows)), 0);
}

/* ---- several threads: what the thread sanitizer looks at ---- */

static void *hammer(void *arg)
{
	uint32_t seed = *(uint32_t *)arg;
	struct limit_row rows[16];

	for (uint32_t i = 0; i < 20000; i++) {
		struct ip_address a = numbered(i % 300);
		struct limit_refusal r;

		if (limiter_ask(l, &a, START + i * 100, &r)) {
			if ((i + seed) % 3)
				limiter_failed(l, &a, START + i * 100);
			else
				limiter_passed(l, &a, START + i * 100);
		}
		if (i % 5000 == 0)
			limiter_list(l, START + i * 100, 32, 64, rows, ARRAY_LEN(rows));
	}
	return NULL;
}

static void workers_share_it(void **state)
{
	pthread_t threads[3];
	uint32_t seeds[] = {0, 1, 2};
	struct limit_rules r = usual;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hammer, &seeds[i]), 0);
	for (int i = 0; i < 50; i++) {
		r.entries = i % 2 ? 512 : 4096;
		r.halflife = (10 + i) * SEC;
		rules(r);
	}
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		pthread_join(threads[i], NULL);
	assert_true(limiter_blocks(l) > 0);
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, open_limiter, close_limiter)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ROW(ten_failures_are_borne_and_the_eleventh_closes_off),
		ROW(seconds_to_wait_are_rounded_up_and_end),
		ROW(score_halves_every_halflife),
		ROW(failures_far_apart_never_close_off),
		ROW(each_further_block_is_twice_as_long),
		ROW(below_half_the_burst_it_begins_anew),
		ROW(refusals_do_not_extend_the_block),
		ROW(failures_begun_before_the_block_do_not_double_it),
		ROW(success_takes_nothing_and_halves_the_score),
		ROW(one_who_mistypes_does_not_shut_out_his_neighbours),
		ROW(recent_success_is_let_in_once_a_second),
		ROW(success_is_recent_for_ten_minutes),
		ROW(refusals_are_logged_once_a_minute_with_their_number),
		ROW(short_blocks_in_a_row_make_one_line_a_minute),
		ROW(a_burst_of_zero_turns_it_off),
		ROW(a_block_of_no_length_closes_nobody_off),
		ROW(sources_are_prefixes),
		ROW(the_source_of_all_zeros_is_a_source),
		ROW(a_table_full_of_made_up_sources_keeps_the_guilty),
		ROW(who_is_closed_off_outlives_a_decayed_score),
		ROW(successes_do_not_displace_suspects),
		ROW(who_has_proven_himself_is_not_displaced_by_a_flood),
		ROW(another_size_keeps_the_scores),
		ROW(no_memory_for_another_size_leaves_the_old),
		ROW(other_numbers_keep_scores_and_blocks),
		ROW(years_go_by),
		ROW(a_clock_that_is_behind_does_no_harm),
		ROW(the_ceiling_holds_for_those_without_recent_success),
		ROW(checks_that_came_at_once_are_paid_for_later),
		ROW(reasons_are_looked_for_in_calm_times_only),
		ROW(a_ceiling_of_zero_is_none),
		ROW(the_list_is_bounded_and_the_worst_come_first),
		ROW(workers_share_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
