/*
 * Unit tests of src/pool/ledger.c: every rule of behaviour section 12 with a
 * clock moved by hand, then the ledger as a model, under random events.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool/ledger.h"

#define SEC USEC_PER_SEC

/* Three pools: b shares the database of a, c shares its user. */
struct stage {
	struct ledger ledger;
	struct tally db, other_db, user, other_user, third_user;
	struct ledger_group db_group, other_db_group, user_group, other_user_group, third_user_group;
	struct ledger_pool a, b, c;
	struct ledger_limits lim;
	struct ledger_pool *victim; /* of the last answer */
	usec_t now, until;
	bool is_in_line;
};

static int set_stage(void **state)
{
	struct stage *s = calloc(1, sizeof(*s));

	if (!s)
		return -1;
	ledger_init(&s->ledger);
	s->a = (struct ledger_pool){.database = &s->db, .user = &s->user};
	s->b = (struct ledger_pool){.database = &s->db, .user = &s->other_user};
	s->c = (struct ledger_pool){.database = &s->other_db, .user = &s->user};
	ledger_group_init(&s->db_group);
	ledger_group_init(&s->other_db_group);
	ledger_group_init(&s->user_group);
	ledger_group_init(&s->other_user_group);
	ledger_group_init(&s->third_user_group);
	ledger_pool_open(&s->a, &s->db_group, &s->user_group);
	ledger_pool_open(&s->b, &s->db_group, &s->other_user_group);
	ledger_pool_open(&s->c, &s->other_db_group, &s->user_group);
	s->lim.login_retry = 15 * SEC;
	s->now = 100 * SEC;
	ledger_set_greeting(&s->ledger, &s->a, true);
	ledger_set_greeting(&s->ledger, &s->b, true);
	ledger_set_greeting(&s->ledger, &s->c, true);
	*state = s;
	return 0;
}

static int clear_stage(void **state)
{
	struct stage *s = *state;

	ledger_destroy(&s->ledger);
	free(s);
	return 0;
}

static enum ledger_answer want_wish(struct stage *s, struct ledger_pool *p, struct ledger_wish wish)
{
	struct ledger_reply reply = {.until = -1};
	enum ledger_answer answer = ledger_want(&s->ledger, p, &s->lim, &wish, s->now, &reply);

	s->until = reply.until;
	s->victim = reply.victim;
	s->is_in_line = reply.is_in_line;
	assert_true((answer == LEDGER_EVICT) == (reply.victim != NULL));
	if (reply.victim)
		reply.victim->refs--;
	return answer;
}

static enum ledger_answer want_since(struct stage *s, struct ledger_pool *p, enum ledger_purpose purpose, usec_t since)
{
	return want_wish(s, p, (struct ledger_wish){.purpose = purpose, .waiting_since = since});
}

/* A replication client, whose pool has that many unused servers. */
static enum ledger_answer want_own(struct stage *s, struct ledger_pool *p, int own_unused)
{
	return want_wish(s, p, (struct ledger_wish){FOR_REPLICATION, s->now, own_unused});
}

static enum ledger_answer want(struct stage *s, struct ledger_pool *p, enum ledger_purpose purpose)
{
	return want_since(s, p, purpose, s->now);
}

static void open_servers(struct stage *s, struct ledger_pool *p, int n)
{
	while (n-- > 0) {
		assert_int_equal(want(s, p, FOR_CLIENT), LEDGER_LAUNCH);
		ledger_login_done(&s->ledger, p);
	}
}

static void has_spare(struct stage *s, struct ledger_pool *p, usec_t since)
{
	ledger_spare(&s->ledger, p, since, since != 0);
}

static struct ledger_pool *nudged(struct stage *s)
{
	struct ledger_pool *p = ledger_take_nudged(&s->ledger);

	if (p)
		p->refs--;
	return p;
}

static void fail_attempt(struct stage *s, struct ledger_pool *p, bool while_connecting, const char *error)
{
	assert_int_equal(want(s, p, FOR_CLIENT), LEDGER_LAUNCH);
	ledger_server_gone(&s->ledger, p, KIND_LOGIN, while_connecting, error);
}

/* --- the rules, one by one ---------------------------------------------- */

static void one_attempt_a_pool_at_a_time(void **state)
{
	struct stage *s = *state;

	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_LAUNCH);
	for (int purpose = FOR_CLIENT; purpose <= FOR_MIN_SIZE; purpose++) {
		assert_int_equal(want(s, &s->a, (enum ledger_purpose)purpose), LEDGER_WAIT);
		assert_int_equal(s->until, 0);
	}
	/* Other pools are not held up, whatever they have in common with it. */
	assert_int_equal(want(s, &s->b, FOR_CLIENT), LEDGER_LAUNCH);
	assert_int_equal(want(s, &s->c, FOR_CLIENT), LEDGER_LAUNCH);
	ledger_login_done(&s->ledger, &s->a);
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_LAUNCH);
}

static void the_login_right_returns_however_the_attempt_ends(void **state)
{
	struct stage *s = *state;

	s->lim.login_retry = 0;
	fail_attempt(s, &s->a, true, "connect failed");
	fail_attempt(s, &s->a, false, "no such role");
	fail_attempt(s, &s->a, false, NULL);
	assert_int_equal(want(s, &s->a, FOR_CANCEL), LEDGER_LAUNCH);
	ledger_login_to_cancel(&s->ledger, &s->a);
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_LAUNCH);
	ledger_login_done(&s->ledger, &s->a);
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_LAUNCH);
}

static void the_retry_pause_counts_from_the_start_of_the_attempt(void **state)
{
	struct stage *s = *state;
	usec_t began = s->now;

	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_LAUNCH);
	s->now += 10 * SEC;
	ledger_server_gone(&s->ledger, &s->a, KIND_LOGIN, true, "connect failed");
	for (int purpose = FOR_CLIENT; purpose <= FOR_MIN_SIZE; purpose++) {
		assert_int_equal(want(s, &s->a, (enum ledger_purpose)purpose), LEDGER_WAIT);
		assert_int_equal(s->until, began + 15 * SEC);
	}
	s->now = began + 15 * SEC - 1;
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_WAIT);
	s->now = began + 15 * SEC;
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_LAUNCH);
}

static void an_attempt_that_outlasts_the_pause_is_repeated_at_once(void **state)
{
	struct stage *s = *state;

	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_LAUNCH);
	s->now += 20 * SEC;
	ledger_server_gone(&s->ledger, &s->a, KIND_LOGIN, false, "connect timeout");
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_LAUNCH);
}

static void no_pause_after_an_attempt_that_was_merely_unneeded(void **state)
{
	struct stage *s = *state;

	fail_attempt(s, &s->a, true, NULL);
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_LAUNCH);
}

static void no_pause_after_a_logged_in_server_has_gone(void **state)
{
	struct stage *s = *state;
	char error[32];

	open_servers(s, &s->a, 1);
	ledger_server_gone(&s->ledger, &s->a, KIND_CONNECTED, false, "server conn crashed?");
	assert_false(ledger_failing(&s->ledger, &s->a, error, sizeof(error)));
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_LAUNCH);
}

static void a_cancel_request_may_use_twice_the_pool_and_ignores_other_limits(void **state)
{
	struct stage *s = *state;

	s->lim.pool_size = 2;
	s->lim.max_db_connections = s->lim.max_user_connections = 2;
	open_servers(s, &s->a, 2);
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_WAIT);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(want(s, &s->a, FOR_CANCEL), LEDGER_LAUNCH);
		ledger_login_to_cancel(&s->ledger, &s->a);
	}
	assert_int_equal(want(s, &s->a, FOR_CANCEL), LEDGER_WAIT);
	assert_int_equal(s->until, 0);
	ledger_server_gone(&s->ledger, &s->a, KIND_CANCEL, false, NULL);
	assert_int_equal(want(s, &s->a, FOR_CANCEL), LEDGER_LAUNCH);
}

static void a_forgotten_failure_pauses_nobody(void **state)
{
	struct stage *s = *state;
	char error[32];

	fail_attempt(s, &s->a, true, "connect failed");
	assert_int_equal(want(s, &s->a, FOR_PEER), LEDGER_WAIT);
	ledger_forget_failure(&s->ledger, &s->a);
	assert_false(ledger_failing(&s->ledger, &s->a, error, sizeof(error)));
	assert_int_equal(want(s, &s->a, FOR_PEER), LEDGER_LAUNCH);
}

static void cancel_connections_are_counted_everywhere_else(void **state)
{
	struct stage *s = *state;

	s->lim.pool_size = 2;
	assert_int_equal(want(s, &s->a, FOR_CANCEL), LEDGER_LAUNCH);
	ledger_login_to_cancel(&s->ledger, &s->a);
	open_servers(s, &s->a, 1);
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_WAIT);
	assert_int_equal(s->db.servers, 2);
	assert_int_equal(s->user.servers, 2);
	assert_int_equal(ledger_connected(&s->ledger, &s->a), 1);
}

static void the_reserve_opens_when_the_first_waiter_has_waited_long_enough(void **state)
{
	struct stage *s = *state;
	usec_t since;

	s->lim.pool_size = 1;
	s->lim.reserve_size = 2;
	s->lim.reserve_timeout = 5 * SEC;
	open_servers(s, &s->a, 1);
	since = s->now;
	s->now += 5 * SEC - 1;
	assert_int_equal(want_since(s, &s->a, FOR_CLIENT, since), LEDGER_WAIT);
	assert_int_equal(s->until, since + 5 * SEC);
	s->now = s->until;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(want_since(s, &s->a, FOR_CLIENT, since), LEDGER_LAUNCH_RESERVE);
		ledger_login_done(&s->ledger, &s->a);
	}
	assert_int_equal(want_since(s, &s->a, FOR_CLIENT, since), LEDGER_WAIT);
	assert_int_equal(s->until, 0);
}

static void min_pool_size_opens_connections_but_never_evicts(void **state)
{
	struct stage *s = *state;

	s->lim.min_pool_size = 2;
	assert_true(ledger_below_min(&s->ledger, &s->a, &s->lim));
	s->lim.max_db_connections = 1;
	open_servers(s, &s->b, 1);
	has_spare(s, &s->b, s->now);
	assert_int_equal(want(s, &s->a, FOR_MIN_SIZE), LEDGER_WAIT);
	s->lim.max_db_connections = 0;
	s->lim.max_user_connections = 1;
	open_servers(s, &s->c, 1);
	has_spare(s, &s->c, s->now);
	assert_int_equal(want(s, &s->a, FOR_MIN_SIZE), LEDGER_WAIT);
	s->lim.max_user_connections = 0;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(want(s, &s->a, FOR_MIN_SIZE), LEDGER_LAUNCH);
		ledger_login_done(&s->ledger, &s->a);
	}
	assert_false(ledger_below_min(&s->ledger, &s->a, &s->lim));
	assert_int_equal(want(s, &s->a, FOR_MIN_SIZE), LEDGER_WAIT);
	/* Nor does it stand in line. */
	ledger_server_gone(&s->ledger, &s->b, KIND_CONNECTED, false, NULL);
	assert_null(nudged(s));
}

static enum ledger_answer evicted_for(struct stage *s, struct ledger_pool *victim, struct ledger_pool *asker,
				      struct ledger_wish wish)
{
	struct ledger_reply reply;
	enum ledger_answer answer = ledger_evicted(&s->ledger, victim, asker, &s->lim, &wish, s->now, &reply);

	s->victim = reply.victim;
	if (reply.victim)
		reply.victim->refs--;
	return answer;
}

static enum ledger_answer evicted(struct stage *s, struct ledger_pool *victim, struct ledger_pool *asker)
{
	return evicted_for(s, victim, asker, (struct ledger_wish){.purpose = FOR_CLIENT, .waiting_since = s->now});
}

static void an_eviction_makes_room_for_exactly_one_and_nobody_gets_in_between(void **state)
{
	struct stage *s = *state;

	s->lim.max_db_connections = 2;
	open_servers(s, &s->b, 2);
	has_spare(s, &s->b, s->now - 7);
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_EVICT);
	assert_ptr_equal(s->victim, &s->b);
	assert_int_equal(s->a.count[KIND_LOGIN], 0);
	/* While that is under way the asker does not ask twice. */
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_WAIT);
	assert_int_equal(evicted(s, &s->b, &s->a), LEDGER_LAUNCH);
	assert_int_equal(s->a.count[KIND_LOGIN], 1);
	assert_int_equal(s->b.count[KIND_CONNECTED], 1);
	assert_int_equal(s->db.servers, 2);
	assert_int_equal(s->other_user.servers, 1);
	ledger_login_done(&s->ledger, &s->a);
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_EVICT);
	ledger_not_evicted(&s->ledger, &s->a);
	has_spare(s, &s->b, 0);
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_WAIT);
	assert_int_equal(s->until, 0);
	assert_int_equal(s->db.servers, 2);
}

static void the_longest_unused_server_of_the_group_is_evicted(void **state)
{
	struct stage *s = *state;
	struct ledger_pool d = {.database = &s->db, .user = &s->other_user};

	ledger_pool_open(&d, &s->db_group, &s->other_user_group);
	open_servers(s, &s->a, 1);
	open_servers(s, &s->b, 1);
	open_servers(s, &d, 1);
	s->lim.max_db_connections = 3;
	has_spare(s, &s->b, s->now - 5);
	has_spare(s, &d, s->now - 6);
	has_spare(s, &s->c, s->now - 50); /* of another database */
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_EVICT);
	assert_ptr_equal(s->victim, &d);
	ledger_not_evicted(&s->ledger, &s->a);
	has_spare(s, &d, s->now - 4);
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_EVICT);
	assert_ptr_equal(s->victim, &s->b);
	ledger_pool_close(&s->ledger, &d);
}

static void nothing_is_evicted_for_one_limit_while_the_other_stands_in_the_way(void **state)
{
	struct stage *s = *state;

	open_servers(s, &s->b, 1);
	open_servers(s, &s->c, 1);
	s->lim.max_db_connections = s->lim.max_user_connections = 1;
	has_spare(s, &s->b, s->now);
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_WAIT);
	/* One after the other, once both have something to spare. */
	has_spare(s, &s->c, s->now);
	assert_ptr_equal(nudged(s), &s->a);
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_EVICT);
	assert_ptr_equal(s->victim, &s->b);
	assert_int_equal(evicted(s, &s->b, &s->a), LEDGER_EVICT);
	assert_ptr_equal(s->victim, &s->c);
	assert_int_equal(evicted(s, &s->c, &s->a), LEDGER_LAUNCH);
	assert_int_equal(s->db.servers, 1);
	assert_int_equal(s->user.servers, 1);
}

/* Three pools of one database wait for the one server of a fourth. */
static void line_up(struct stage *s, struct ledger_pool *d, struct ledger_pool *e)
{
	*d = *e = (struct ledger_pool){.database = &s->db, .user = &s->other_user, .has_greeting = true};
	ledger_pool_open(d, &s->db_group, &s->other_user_group);
	ledger_pool_open(e, &s->db_group, &s->other_user_group);
	open_servers(s, &s->b, 1);
	s->lim.max_db_connections = 1;
	assert_int_equal(want_since(s, &s->a, FOR_CLIENT, 50), LEDGER_WAIT);
	assert_int_equal(want_since(s, d, FOR_CLIENT, 20), LEDGER_WAIT);
	assert_int_equal(want_since(s, e, FOR_CLIENT, 30), LEDGER_WAIT);
	assert_int_equal(atomic_load(&s->db_group.blocked_count), 3);
	assert_null(nudged(s));
}

static void who_waits_longest_is_told_of_room_first(void **state)
{
	struct stage *s = *state;
	struct ledger_pool d, e;

	line_up(s, &d, &e);
	has_spare(s, &s->b, s->now);
	assert_ptr_equal(nudged(s), &d);
	assert_null(nudged(s));
	/* The same again is for the next in line. */
	has_spare(s, &s->b, s->now);
	assert_ptr_equal(nudged(s), &e);
	has_spare(s, &s->b, 0);
	ledger_server_gone(&s->ledger, &s->b, KIND_CONNECTED, false, NULL);
	assert_ptr_equal(nudged(s), &s->a);
	assert_int_equal(atomic_load(&s->db_group.blocked_count), 0);
	assert_int_equal(want_since(s, &s->a, FOR_CLIENT, 50), LEDGER_LAUNCH);
	assert_int_equal(want_since(s, &d, FOR_CLIENT, 20), LEDGER_WAIT);
	ledger_nudge_over(&s->ledger, &d);
	assert_null(nudged(s));
	ledger_server_gone(&s->ledger, &s->a, KIND_LOGIN, true, NULL);
	assert_ptr_equal(nudged(s), &d);
}

static void who_was_told_and_wants_nothing_passes_it_on(void **state)
{
	struct stage *s = *state;
	struct ledger_pool d, e;

	line_up(s, &d, &e);
	ledger_server_gone(&s->ledger, &s->b, KIND_CONNECTED, false, NULL);
	assert_ptr_equal(nudged(s), &d);
	ledger_nudge_over(&s->ledger, &d); /* its client has left */
	assert_ptr_equal(nudged(s), &e);
	e.login_taken = true; /* a connection for a cancel request is under way */
	assert_int_equal(want_since(s, &e, FOR_CLIENT, 30), LEDGER_WAIT);
	ledger_nudge_over(&s->ledger, &e);
	assert_ptr_equal(nudged(s), &s->a);
	assert_int_equal(want_since(s, &s->a, FOR_CLIENT, 50), LEDGER_LAUNCH);
	ledger_nudge_over(&s->ledger, &s->a);
	assert_null(nudged(s));
}

static void news_of_one_limit_is_passed_on_by_who_waits_for_another(void **state)
{
	struct stage *s = *state;
	struct ledger_pool d, e;

	line_up(s, &d, &e);
	s->lim.max_user_connections = 1;
	s->user.servers++; /* in a pool that has nothing to spare */
	/* d comes first, then e, then a: whose user has no room even when its database has. */
	ledger_pool_close(&s->ledger, &d);
	ledger_pool_close(&s->ledger, &e);
	d = (struct ledger_pool){.database = &s->db, .user = &s->third_user, .has_greeting = true};
	ledger_pool_open(&d, &s->db_group, &s->third_user_group);
	assert_int_equal(want_since(s, &d, FOR_CLIENT, 60), LEDGER_WAIT);
	has_spare(s, &s->b, s->now);
	assert_ptr_equal(nudged(s), &s->a);
	assert_int_equal(want_since(s, &s->a, FOR_CLIENT, 50), LEDGER_WAIT);
	assert_true(s->is_in_line);
	assert_null(nudged(s));
	ledger_nudge_over(&s->ledger, &s->a);
	assert_ptr_equal(nudged(s), &d);
	assert_int_equal(want_since(s, &d, FOR_CLIENT, 60), LEDGER_EVICT);
	ledger_pool_close(&s->ledger, &d);
}

static void a_pool_that_goes_leaves_its_place_in_line(void **state)
{
	struct stage *s = *state;
	struct ledger_pool d, e;

	line_up(s, &d, &e);
	ledger_pool_close(&s->ledger, &d); /* while it waits */
	has_spare(s, &s->b, s->now);
	ledger_pool_close(&s->ledger, &e); /* while it is nudged */
	assert_ptr_equal(nudged(s), &s->a);
	assert_null(nudged(s));
	assert_int_equal(atomic_load(&s->db_group.blocked_count), 0);
	assert_int_equal(atomic_load(&s->ledger.nudged_count), 0);
}

static void a_pool_may_change_its_user(void **state)
{
	struct stage *s = *state;

	s->lim.max_user_connections = 2;
	open_servers(s, &s->a, 2);
	fail_attempt(s, &s->b, false, "wrong password");
	/* c waits for the user of a, and is told when a's servers go to somebody else. */
	assert_int_equal(want(s, &s->c, FOR_CLIENT), LEDGER_WAIT);
	assert_int_equal(s->user.servers, 2);
	pthread_mutex_lock(&s->ledger.lock);
	ledger_pool_move(&s->ledger, &s->a, &s->other_user, &s->other_user_group);
	ledger_pool_move(&s->ledger, &s->b, &s->user, &s->user_group);
	pthread_mutex_unlock(&s->ledger.lock);
	assert_int_equal(s->user.servers, 0);
	assert_int_equal(s->other_user.servers, 2);
	assert_ptr_equal(ledger_take_nudged(&s->ledger), &s->c);
	s->c.refs--;
	assert_int_equal(want(s, &s->c, FOR_CLIENT), LEDGER_LAUNCH);
	/* The limit of the new user holds, and what the old one could not do is forgotten. */
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_WAIT);
	assert_int_equal(want(s, &s->b, FOR_CLIENT), LEDGER_LAUNCH);
	ledger_server_gone(&s->ledger, &s->a, KIND_CONNECTED, false, NULL);
	assert_int_equal(s->other_user.servers, 1);
}

static void a_pool_size_of_zero_is_no_limit(void **state)
{
	struct stage *s = *state;

	open_servers(s, &s->a, 500);
	assert_int_equal(ledger_surplus(&s->ledger, &s->a, &s->lim), 0);
	assert_int_equal(want(s, &s->a, FOR_CANCEL), LEDGER_LAUNCH);
}

static void without_greeting_a_full_pool_can_recover(void **state)
{
	struct stage *s = *state;

	s->lim.pool_size = 1;
	open_servers(s, &s->a, 1);
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_WAIT);
	ledger_set_greeting(&s->ledger, &s->a, false);
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_LAUNCH);
	ledger_login_done(&s->ledger, &s->a);
	ledger_set_greeting(&s->ledger, &s->a, true);
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_WAIT);
	/* The limits over several pools hold even then. */
	ledger_set_greeting(&s->ledger, &s->a, false);
	s->lim.max_db_connections = 2;
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_WAIT);
	has_spare(s, &s->b, s->now);
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_EVICT);
}

static void fast_fail_tells_the_last_error_while_nothing_else_is_there(void **state)
{
	struct stage *s = *state;
	char error[100] = "untouched";

	assert_false(ledger_failing(&s->ledger, &s->a, error, sizeof(error)));
	assert_string_equal(error, "untouched");
	fail_attempt(s, &s->a, true, "connect failed");
	assert_true(ledger_failing(&s->ledger, &s->a, error, sizeof(error)));
	assert_string_equal(error, "connect failed");
	/* Another attempt under way is no reason for hope. */
	s->now += 15 * SEC;
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_LAUNCH);
	assert_true(ledger_failing(&s->ledger, &s->a, error, sizeof(error)));
	ledger_login_done(&s->ledger, &s->a);
	assert_false(ledger_failing(&s->ledger, &s->a, error, sizeof(error)));
	/* One server that works is. */
	fail_attempt(s, &s->a, false, "role gone");
	assert_false(ledger_failing(&s->ledger, &s->a, error, sizeof(error)));
	ledger_server_gone(&s->ledger, &s->a, KIND_CONNECTED, false, NULL);
	assert_true(ledger_failing(&s->ledger, &s->a, error, sizeof(error)));
	assert_string_equal(error, "role gone");
	assert_true(ledger_failing(&s->ledger, &s->a, error, 5));
	assert_string_equal(error, "role");
}

static void an_error_of_any_length_is_kept_as_far_as_it_fits(void **state)
{
	struct stage *s = *state;
	char longest[LEDGER_ERROR_MAX + 200], error[LEDGER_ERROR_MAX + 100];

	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = 0;
	fail_attempt(s, &s->a, false, longest);
	assert_true(ledger_failing(&s->ledger, &s->a, error, sizeof(error)));
	assert_int_equal(strlen(error), sizeof(s->a.error) - 1);
}

/* --- replication -------------------------------------------------------- */

static void a_replication_login_that_fails_is_nothing_to_others(void **state)
{
	struct stage *s = *state;
	char error[100];
	usec_t began = s->now;

	assert_int_equal(want_own(s, &s->a, 0), LEDGER_LAUNCH);
	s->now += 2 * SEC;
	ledger_server_gone(&s->ledger, &s->a, KIND_LOGIN, false, "login failed");
	assert_false(ledger_failing(&s->ledger, &s->a, error, sizeof(error)));
	assert_int_equal(want_own(s, &s->a, 0), LEDGER_WAIT);
	assert_int_equal(s->until, began + 15 * SEC);
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_LAUNCH);
	ledger_login_done(&s->ledger, &s->a);
	/* That others can log in does not help it. */
	assert_int_equal(want_own(s, &s->a, 0), LEDGER_WAIT);
	s->now = began + 15 * SEC;
	assert_int_equal(want_own(s, &s->a, 0), LEDGER_LAUNCH);
	ledger_login_done(&s->ledger, &s->a);
	assert_int_equal(want_own(s, &s->a, 0), LEDGER_LAUNCH);
}

static void that_nobody_listens_is_known_to_all(void **state)
{
	struct stage *s = *state;
	char error[100];
	usec_t began = s->now;

	assert_int_equal(want_own(s, &s->a, 0), LEDGER_LAUNCH);
	s->now += SEC;
	ledger_server_gone(&s->ledger, &s->a, KIND_LOGIN, true, "connect failed");
	assert_true(ledger_failing(&s->ledger, &s->a, error, sizeof(error)));
	assert_string_equal(error, "connect failed");
	for (int purpose = FOR_CLIENT; purpose <= FOR_MIN_SIZE; purpose++) {
		assert_int_equal(want(s, &s->a, (enum ledger_purpose)purpose), LEDGER_WAIT);
		assert_int_equal(s->until, began + 15 * SEC);
	}
	/* And that somebody does, as well. */
	s->now = began + 15 * SEC;
	assert_int_equal(want_own(s, &s->a, 0), LEDGER_LAUNCH);
	ledger_login_done(&s->ledger, &s->a);
	assert_false(ledger_failing(&s->ledger, &s->a, error, sizeof(error)));
	fail_attempt(s, &s->a, true, "connect failed");
	s->now += 15 * SEC;
	assert_int_equal(want_own(s, &s->a, 0), LEDGER_LAUNCH);
	ledger_server_gone(&s->ledger, &s->a, KIND_LOGIN, false, "login failed");
	assert_false(ledger_failing(&s->ledger, &s->a, error, sizeof(error)));
}

static void a_server_of_a_replication_client_gives_nobody_hope(void **state)
{
	struct stage *s = *state;
	char error[100];

	assert_int_equal(want_own(s, &s->a, 0), LEDGER_LAUNCH);
	ledger_login_done(&s->ledger, &s->a);
	assert_int_equal(ledger_connected(&s->ledger, &s->a), 1);
	assert_int_equal(ledger_serving(&s->ledger, &s->a), 0);
	fail_attempt(s, &s->a, false, "role gone");
	assert_true(ledger_failing(&s->ledger, &s->a, error, sizeof(error)));
	/* Nor has its next log-in anything to do with theirs. */
	assert_int_equal(want_own(s, &s->a, 0), LEDGER_LAUNCH);
	ledger_login_done(&s->ledger, &s->a);
	assert_true(ledger_failing(&s->ledger, &s->a, error, sizeof(error)));
	ledger_server_gone(&s->ledger, &s->a, KIND_REPLICATION, false, NULL);
	ledger_server_gone(&s->ledger, &s->a, KIND_REPLICATION, false, NULL);
	assert_int_equal(s->db.servers, 0);
	assert_int_equal(s->user.servers, 0);
}

static void replication_takes_the_place_of_one_unused_server(void **state)
{
	struct stage *s = *state;

	s->lim.pool_size = 2;
	s->lim.max_db_connections = 2;
	open_servers(s, &s->a, 2);
	assert_int_equal(want_own(s, &s->a, 2), LEDGER_EVICT);
	assert_ptr_equal(s->victim, &s->a);
	assert_int_equal(evicted_for(s, &s->a, &s->a, (struct ledger_wish){FOR_REPLICATION, s->now, 1}), LEDGER_LAUNCH);
	assert_int_equal(s->db.servers, 2);
	ledger_login_done(&s->ledger, &s->a);
	assert_int_equal(s->a.count[KIND_CONNECTED], 1);
	assert_int_equal(s->a.count[KIND_REPLICATION], 1);
	/* With the reserve in use it is one of the reserve. */
	s->lim.pool_size = s->lim.reserve_size = 1;
	s->lim.max_db_connections = 0;
	assert_int_equal(want_own(s, &s->a, 1), LEDGER_EVICT);
	assert_int_equal(evicted_for(s, &s->a, &s->a, (struct ledger_wish){FOR_REPLICATION, s->now, 0}), LEDGER_LAUNCH);
	ledger_login_done(&s->ledger, &s->a);
	/* Beyond both no slot is handed on. */
	open_servers(s, &s->c, 1);
	ledger_set_greeting(&s->ledger, &s->a, false);
	open_servers(s, &s->a, 1);
	assert_int_equal(want_own(s, &s->a, 1), LEDGER_EVICT);
	assert_int_equal(evicted_for(s, &s->a, &s->a, (struct ledger_wish){FOR_REPLICATION, s->now, 0}), LEDGER_WAIT);
	assert_int_equal(s->a.count[KIND_REPLICATION], 2);
	assert_int_equal(s->a.count[KIND_CONNECTED], 0);
}

static void a_replication_client_stands_in_line_like_others(void **state)
{
	struct stage *s = *state;

	s->lim.max_db_connections = 1;
	open_servers(s, &s->b, 1);
	assert_int_equal(want_own(s, &s->a, 0), LEDGER_WAIT);
	assert_true(s->is_in_line);
	has_spare(s, &s->b, s->now);
	assert_ptr_equal(nudged(s), &s->a);
	assert_int_equal(want_own(s, &s->a, 0), LEDGER_EVICT);
	assert_false(s->is_in_line);
	assert_ptr_equal(s->victim, &s->b);
	assert_int_equal(evicted_for(s, &s->b, &s->a, (struct ledger_wish){FOR_REPLICATION, s->now, 0}), LEDGER_LAUNCH);
	ledger_login_done(&s->ledger, &s->a);
	assert_int_equal(s->a.count[KIND_REPLICATION], 1);
	/* The pool's own size is another matter: nobody else can make room there. */
	s->lim.max_db_connections = 0;
	s->lim.pool_size = 1;
	assert_int_equal(want_own(s, &s->a, 0), LEDGER_WAIT);
	assert_false(s->is_in_line);
}

static void lifetime_closes_are_spread_over_the_lifetime(void **state)
{
	struct stage *s = *state;
	usec_t first = s->now;

	assert_true(ledger_lifetime_close(&s->ledger, &s->a, 100 * SEC, 4, s->now));
	s->now = first + 25 * SEC - 1;
	assert_false(ledger_lifetime_close(&s->ledger, &s->a, 100 * SEC, 4, s->now));
	/* A refusal does not start the wait again; another pool is another matter. */
	assert_true(ledger_lifetime_close(&s->ledger, &s->b, 100 * SEC, 4, s->now));
	s->now = first + 25 * SEC;
	assert_true(ledger_lifetime_close(&s->ledger, &s->a, 100 * SEC, 4, s->now));
	assert_false(ledger_lifetime_close(&s->ledger, &s->a, 100 * SEC, 4, s->now));
	/* Without a size there is nothing to divide by. */
	assert_true(ledger_lifetime_close(&s->ledger, &s->a, 100 * SEC, 0, s->now));
}

static void surplus_is_what_lies_above_size_and_reserve(void **state)
{
	struct stage *s = *state;

	open_servers(s, &s->a, 7);
	s->lim.pool_size = 4;
	assert_int_equal(ledger_surplus(&s->ledger, &s->a, &s->lim), 3);
	s->lim.reserve_size = 2;
	assert_int_equal(ledger_surplus(&s->ledger, &s->a, &s->lim), 1);
	s->lim.reserve_size = 9;
	assert_int_equal(ledger_surplus(&s->ledger, &s->a, &s->lim), 0);
}

/* The order of the rules: each row is a whole situation and one answer. */
static void rules_in_their_order(void **state)
{
	static const struct {
		const char *says;
		enum ledger_purpose purpose;
		int unused; /* own_unused */
		int connected, cancels, replicas, others; /* others: of the same database and user, in other pools */
		bool logging_in, failed, no_greeting;
		int size, min, reserve, max_db, max_user;
		int waited_sec;
		enum ledger_answer answer;
		int until_sec; /* after now */
		char victim;   /* 'd': of the database, 'u': of the user, 'o': its own; else nobody has anything to spare */
	} rows[] = {
		{"an empty pool without limits", .answer = LEDGER_LAUNCH},
		{"room for one more", .connected = 4, .size = 5, .answer = LEDGER_LAUNCH},
		{"full", .connected = 5, .size = 5, .answer = LEDGER_WAIT},
		{"full, by cancels", .connected = 3, .cancels = 2, .size = 5, .answer = LEDGER_WAIT},
		{"above full, after a smaller size was set", .connected = 9, .size = 5, .answer = LEDGER_WAIT},
		{"a log-in under way comes before a failure", .logging_in = true, .failed = true, .answer = LEDGER_WAIT},
		{"a pause comes before room", .failed = true, .size = 5, .answer = LEDGER_WAIT, .until_sec = 15},
		{"a pause holds cancels too", .purpose = FOR_CANCEL, .failed = true, .answer = LEDGER_WAIT, .until_sec = 15},
		{"a cancel in a full pool", .purpose = FOR_CANCEL, .connected = 5, .size = 5, .answer = LEDGER_LAUNCH},
		{"a cancel, one below twice", .purpose = FOR_CANCEL, .connected = 5, .cancels = 4, .size = 5,
		 .answer = LEDGER_LAUNCH},
		{"a cancel at twice", .purpose = FOR_CANCEL, .connected = 5, .cancels = 5, .size = 5, .answer = LEDGER_WAIT},
		{"a cancel at twice, greeting unknown", .purpose = FOR_CANCEL, .connected = 10, .size = 5,
		 .no_greeting = true, .answer = LEDGER_WAIT},
		{"a cancel above max_db", .purpose = FOR_CANCEL, .others = 9, .max_db = 3, .answer = LEDGER_LAUNCH},
		{"a cancel above max_user", .purpose = FOR_CANCEL, .others = 9, .max_user = 3, .answer = LEDGER_LAUNCH},
		{"to a peer", .purpose = FOR_PEER, .cancels = 4, .size = 5, .no_greeting = true, .answer = LEDGER_LAUNCH},
		{"to a peer, at its size", .purpose = FOR_PEER, .cancels = 5, .size = 5, .no_greeting = true,
		 .answer = LEDGER_WAIT},
		{"to a peer without a size", .purpose = FOR_PEER, .cancels = 99, .no_greeting = true, .answer = LEDGER_LAUNCH},
		{"to a peer, one at a time", .purpose = FOR_PEER, .logging_in = true, .size = 5, .no_greeting = true,
		 .answer = LEDGER_WAIT},
		{"to a peer that was not there", .purpose = FOR_PEER, .failed = true, .size = 5, .no_greeting = true,
		 .answer = LEDGER_WAIT, .until_sec = 15},
		{"a reserve without time-out is shut", .connected = 5, .size = 5, .reserve = 1, .waited_sec = -1,
		 .answer = LEDGER_WAIT},
		{"a reserve, too soon", .connected = 5, .size = 5, .reserve = 1, .waited_sec = 4, .answer = LEDGER_WAIT,
		 .until_sec = 1},
		{"a reserve, in time", .connected = 5, .size = 5, .reserve = 1, .waited_sec = 5,
		 .answer = LEDGER_LAUNCH_RESERVE},
		{"a reserve that is used up", .connected = 6, .size = 5, .reserve = 1, .waited_sec = 50,
		 .answer = LEDGER_WAIT},
		{"no reserve is needed with room", .connected = 4, .size = 5, .reserve = 1, .waited_sec = 50,
		 .answer = LEDGER_LAUNCH},
		{"a reserve under a full database", .connected = 5, .size = 5, .reserve = 1, .waited_sec = 5, .max_db = 5,
		 .answer = LEDGER_EVICT, .victim = 'd'},
		{"no reserve for the minimum", .purpose = FOR_MIN_SIZE, .connected = 1, .cancels = 4, .size = 5, .min = 3,
		 .reserve = 3, .waited_sec = 50, .answer = LEDGER_WAIT},
		{"the database before the user", .others = 3, .max_db = 3, .max_user = 3, .answer = LEDGER_EVICT, .victim = 'd'},
		{"a full database with nothing to spare", .others = 3, .max_db = 3, .answer = LEDGER_WAIT},
		{"a full user with nothing to spare", .others = 3, .max_user = 3, .answer = LEDGER_WAIT},
		{"one below both", .others = 2, .max_db = 3, .max_user = 3, .answer = LEDGER_LAUNCH},
		{"the user alone", .others = 3, .max_db = 4, .max_user = 3, .answer = LEDGER_EVICT, .victim = 'u'},
		{"the pool's size before the database's", .connected = 5, .size = 5, .max_db = 5, .answer = LEDGER_WAIT},
		{"without greeting the size does not count", .connected = 5, .size = 5, .no_greeting = true,
		 .answer = LEDGER_LAUNCH},
		{"without greeting the user's limit does", .connected = 5, .size = 5, .no_greeting = true, .max_user = 5,
		 .answer = LEDGER_EVICT, .victim = 'u'},
		{"replication, with room", .purpose = FOR_REPLICATION, .connected = 4, .size = 5, .answer = LEDGER_LAUNCH},
		{"replication in a full pool that is busy", .purpose = FOR_REPLICATION, .connected = 5, .size = 5,
		 .answer = LEDGER_WAIT},
		{"replication in a full pool with one unused", .purpose = FOR_REPLICATION, .connected = 5, .size = 5,
		 .unused = 1, .answer = LEDGER_EVICT, .victim = 'o'},
		{"replication fills a pool as others do", .replicas = 5, .size = 5, .answer = LEDGER_WAIT},
		{"replication full of itself, greeting unknown", .purpose = FOR_REPLICATION, .replicas = 5, .size = 5,
		 .no_greeting = true, .answer = LEDGER_WAIT},
		{"replication does not evict with room", .purpose = FOR_REPLICATION, .connected = 4, .size = 5,
		 .unused = 4, .answer = LEDGER_LAUNCH},
		{"replication: the reserve before an eviction", .purpose = FOR_REPLICATION, .connected = 5, .size = 5,
		 .unused = 1, .reserve = 1, .waited_sec = 5, .answer = LEDGER_LAUNCH_RESERVE},
		{"replication: an eviction before waiting for the reserve", .purpose = FOR_REPLICATION, .connected = 5,
		 .size = 5, .unused = 1, .reserve = 1, .waited_sec = 4, .answer = LEDGER_EVICT, .victim = 'o'},
		{"replication: waiting for the reserve", .purpose = FOR_REPLICATION, .connected = 5, .size = 5,
		 .reserve = 1, .waited_sec = 4, .answer = LEDGER_WAIT, .until_sec = 1},
		{"replication in a full database", .purpose = FOR_REPLICATION, .others = 3, .max_db = 3,
		 .answer = LEDGER_EVICT, .victim = 'd'},
		{"replication in a database full of its own", .purpose = FOR_REPLICATION, .connected = 3, .unused = 3,
		 .max_db = 3, .answer = LEDGER_EVICT, .victim = 'o'},
		{"replication: a failure of others is none of its", .purpose = FOR_REPLICATION, .failed = true,
		 .answer = LEDGER_LAUNCH},
		{"replicas count for the minimum", .purpose = FOR_MIN_SIZE, .replicas = 3, .min = 3, .size = 5,
		 .answer = LEDGER_WAIT},
		{"below the minimum", .purpose = FOR_MIN_SIZE, .connected = 2, .min = 3, .size = 5, .answer = LEDGER_LAUNCH},
		{"at the minimum", .purpose = FOR_MIN_SIZE, .connected = 3, .min = 3, .size = 5, .answer = LEDGER_WAIT},
		{"a minimum above the size stops at the size", .purpose = FOR_MIN_SIZE, .connected = 5, .min = 9, .size = 5,
		 .answer = LEDGER_WAIT},
		{"no minimum", .purpose = FOR_MIN_SIZE, .size = 5, .answer = LEDGER_WAIT},
	};
	struct stage *s = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct tally db = {.servers = rows[i].others}, user = {.servers = rows[i].others};
		int total = rows[i].connected + rows[i].cancels + rows[i].replicas + rows[i].logging_in;
		struct ledger_group db_group, user_group, elsewhere;
		struct ledger_pool p = {.database = &db, .user = &user}, of_db = {.database = &db}, of_user = {.user = &user};
		enum ledger_answer answer;
		bool granted;

		ledger_group_init(&db_group);
		ledger_group_init(&user_group);
		ledger_group_init(&elsewhere);
		ledger_pool_open(&p, &db_group, &user_group);
		ledger_pool_open(&of_db, &db_group, &elsewhere);
		ledger_pool_open(&of_user, &elsewhere, &user_group);
		/* Something to spare in both, unless the row is about there being none. */
		if (rows[i].victim && rows[i].victim != 'o') {
			ledger_spare(&s->ledger, &of_db, 1, 1);
			ledger_spare(&s->ledger, &of_user, 1, 1);
		}
		p.count[KIND_CONNECTED] = rows[i].connected;
		p.count[KIND_CANCEL] = rows[i].cancels;
		p.count[KIND_REPLICATION] = rows[i].replicas;
		p.count[KIND_LOGIN] = p.login_taken = rows[i].logging_in;
		p.last_login_failed = rows[i].failed;
		p.attempt_at = s->now;
		p.has_greeting = !rows[i].no_greeting;
		db.servers += total;
		user.servers += total;
		s->lim = (struct ledger_limits){
			.pool_size = rows[i].size,
			.min_pool_size = rows[i].min,
			.reserve_size = rows[i].reserve,
			.max_db_connections = rows[i].max_db,
			.max_user_connections = rows[i].max_user,
			.login_retry = 15 * SEC,
			.reserve_timeout = rows[i].waited_sec < 0 ? 0 : 5 * SEC,
		};
		answer = want_wish(s, &p, (struct ledger_wish){rows[i].purpose, s->now - rows[i].waited_sec * SEC,
							       rows[i].unused});
		granted = answer == LEDGER_LAUNCH || answer == LEDGER_LAUNCH_RESERVE;
		if (answer != rows[i].answer)
			fail_msg("%s: answer %d, not %d", rows[i].says, answer, rows[i].answer);
		if (s->victim != (rows[i].victim == 'd'	  ? &of_db
				  : rows[i].victim == 'u' ? &of_user
				  : rows[i].victim == 'o' ? &p
							  : NULL))
			fail_msg("%s: another victim", rows[i].says);
		if (s->until != (rows[i].until_sec ? s->now + rows[i].until_sec * SEC : 0))
			fail_msg("%s: asks again at %lld", rows[i].says, (long long)s->until);
		if (db.servers != rows[i].others + total + granted || user.servers != db.servers ||
		    p.count[KIND_LOGIN] != rows[i].logging_in + granted)
			fail_msg("%s: counted wrong", rows[i].says);
	}
}

/* --- from several threads ------------------------------------------------- */

enum { RACERS = 4, RACES = 5000 };

static void *race(void *arg)
{
	struct stage *s = arg;
	const struct ledger_wish wish = {.purpose = FOR_CLIENT, .waiting_since = s->now};
	struct ledger_reply reply;
	long launched = 0;

	for (int i = 0; i < RACES; i++) {
		struct ledger_pool *p = i % 2 ? &s->a : &s->b;

		if (ledger_want(&s->ledger, p, &s->lim, &wish, s->now, &reply) != LEDGER_LAUNCH)
			continue;
		launched++;
		if (i % 3)
			ledger_login_done(&s->ledger, p);
		ledger_server_gone(&s->ledger, p, i % 3 ? KIND_CONNECTED : KIND_LOGIN, false, NULL);
	}
	return (void *)launched;
}

static void threads_that_race_leave_nothing_behind(void **state)
{
	struct stage *s = *state;
	pthread_t threads[RACERS];
	long launched = 0;

	s->lim.pool_size = 2;
	s->lim.max_db_connections = 2;
	for (int i = 0; i < RACERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, race, s), 0);
	for (int i = 0; i < RACERS; i++) {
		void *n;

		pthread_join(threads[i], &n);
		launched += (long)n;
	}
	assert_true(launched > 0);
	assert_int_equal(s->ledger.servers, 0);
	assert_int_equal(s->db.servers, 0);
	assert_int_equal(s->user.servers + s->other_user.servers, 0);
	assert_false(s->a.login_taken || s->b.login_taken);
}

/* --- the ledger as a model ------------------------------------------------- */

/*
 * Pools live on one to four Workers. What crosses them is a message that
 * arrives at any time; what a share has to spare is published when its Worker
 * ends its turn. Nobody ever asks again without a reason.
 */
enum { DBS = 3, USERS = 3, POOLS = DBS * USERS, WORKERS = 4, SERVERS = 24, EVENTS = 200000, DRAIN_EVERY = 2000 };
enum { MESSAGES = 256 };
enum doing { GONE, LOGGING_IN, IDLE, ACTIVE, REPLICATING, CANCELING };

struct model_server {
	enum doing doing;
	bool for_cancel;       /* launched past the limits */
	bool without_greeting; /* launched past the pool's size */
	bool for_replication;
	usec_t used_at;
};

struct model_pool {
	struct ledger_pool ledger;
	struct ledger_limits lim;
	int db, user, home;
	struct model_server servers[SERVERS];
	int waiting, replicas, cancels; /* replicas: replication clients that wait, before all others */
	usec_t since, replica_since;	/* of the first waiter */
	bool has_greeting, is_hungry, is_evicting, was_nudged;
	usec_t retry_at;
	/* what the model believes of the last attempt */
	bool failed, connect_failed, replication_failed;
	usec_t attempt_at, replication_attempt_at;
};

struct model_message {
	enum { TO_EVICT, IS_EVICTED, TO_NUDGE } kind;
	struct model_pool *asker, *victim;
	struct ledger_limits lim;
	struct ledger_wish wish;
	bool is_done;
	enum ledger_answer answer;
	struct ledger_pool *next_victim;
};

static struct model {
	struct ledger ledger;
	struct tally dbs[DBS], users[USERS];
	struct ledger_group db_groups[DBS], user_groups[USERS];
	struct model_pool pools[POOLS];
	bool unfinished[WORKERS]; /* turns that have not come to their end */
	struct model_message messages[MESSAGES];
	int n_messages;
	int workers;
	usec_t now;
	uint64_t random;
	/* that every answer was seen, or the model proves little */
	long answers[LEDGER_WAIT + 1], timed_waits, served, too_late, passed_on, remote, replicated, own_evicted;
} m;

static unsigned roll(unsigned sides)
{
	m.random = m.random * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(m.random >> 33) % sides;
}

static int count_doing(const struct model_pool *p, enum doing doing)
{
	int n = 0;

	for (int i = 0; i < SERVERS; i++)
		n += p->servers[i].doing == doing;
	return n;
}

static int pool_total(const struct model_pool *p)
{
	return SERVERS - count_doing(p, GONE);
}

static int pool_connected(const struct model_pool *p)
{
	return count_doing(p, IDLE) + count_doing(p, ACTIVE) + count_doing(p, REPLICATING);
}

/* Servers of a database (user < 0) or of a user (db < 0); all, or those that had to respect limits. */
static int across(int db, int user, bool limited_only)
{
	int n = 0;

	for (int i = 0; i < POOLS; i++)
		for (int j = 0; j < SERVERS; j++)
			n += (db < 0 || m.pools[i].db == db) && (user < 0 || m.pools[i].user == user) &&
			     m.pools[i].servers[j].doing != GONE && !(limited_only && m.pools[i].servers[j].for_cancel);
	return n;
}

static struct model_server *find_server(struct model_pool *p, enum doing doing)
{
	for (int i = 0; i < SERVERS; i++)
		if (p->servers[i].doing == doing)
			return &p->servers[i];
	return NULL;
}

/* is_own: for a replication client of this pool. */
static struct model_server *longest_idle(struct model_pool *p, bool is_own)
{
	struct model_server *oldest = NULL;

	for (int i = 0; i < SERVERS; i++)
		if (p->servers[i].doing == IDLE && (!oldest || p->servers[i].used_at < oldest->used_at))
			oldest = &p->servers[i];
	return p->waiting == 0 || is_own ? oldest : NULL;
}

static bool somebody_can_spare(int db, int user)
{
	for (int i = 0; i < POOLS; i++)
		if ((db < 0 || m.pools[i].db == db) && (user < 0 || m.pools[i].user == user) &&
		    longest_idle(&m.pools[i], false))
			return true;
	return false;
}

/* Every turn has ended and every message has arrived. */
static bool all_is_quiet(void)
{
	for (int w = 0; w < m.workers; w++)
		if (m.unfinished[w])
			return false;
	return m.n_messages == 0;
}

/* What the rules of section 12 say, told a second time from the naive counts. */
static enum ledger_answer expected(struct model_pool *p, enum ledger_purpose purpose, usec_t since, usec_t *until,
				   bool *is_shared)
{
	const struct ledger_limits *lim = &p->lim;
	bool is_replica = purpose == FOR_REPLICATION;
	bool is_full = lim->pool_size > 0 && pool_total(p) >= lim->pool_size && (p->has_greeting || is_replica);
	bool db_full = lim->max_db_connections > 0 && across(p->db, -1, false) >= lim->max_db_connections;
	bool user_full = lim->max_user_connections > 0 && across(-1, p->user, false) >= lim->max_user_connections;
	bool has_reserve = lim->reserve_size > 0 && lim->reserve_timeout > 0 &&
			   pool_total(p) < lim->pool_size + lim->reserve_size;
	int unused = is_replica ? count_doing(p, IDLE) : 0;
	usec_t pause_of_all = p->attempt_at + lim->login_retry;
	usec_t pause_of_replicas = p->replication_attempt_at + lim->login_retry;

	*until = 0;
	*is_shared = false;
	if (count_doing(p, LOGGING_IN) || p->is_evicting)
		return LEDGER_WAIT;
	if ((is_replica ? p->connect_failed : p->failed) && m.now < pause_of_all) {
		*until = pause_of_all;
		return LEDGER_WAIT;
	}
	if (is_replica && p->replication_failed && m.now < pause_of_replicas) {
		*until = pause_of_replicas;
		return LEDGER_WAIT;
	}
	switch (purpose) {
	case FOR_CANCEL:
		return lim->pool_size > 0 && pool_total(p) >= 2 * lim->pool_size ? LEDGER_WAIT : LEDGER_LAUNCH;
	case FOR_PEER:
		fail_msg("no pool of this model is a peer's");
		break;
	case FOR_MIN_SIZE:
		return pool_connected(p) >= lim->min_pool_size || is_full || db_full || user_full ||
				       (lim->pool_size > 0 && pool_connected(p) >= lim->pool_size)
			       ? LEDGER_WAIT
			       : LEDGER_LAUNCH;
	case FOR_CLIENT:
	case FOR_REPLICATION:
		break;
	}
	if (is_full && unused && !(has_reserve && m.now >= since + lim->reserve_timeout))
		return LEDGER_EVICT;
	if (is_full && !has_reserve)
		return LEDGER_WAIT;
	if (is_full && m.now < since + lim->reserve_timeout) {
		*until = since + lim->reserve_timeout;
		return LEDGER_WAIT;
	}
	if (db_full || user_full) {
		*is_shared = true;
		return unused || ((!db_full || somebody_can_spare(p->db, -1)) &&
				  (!user_full || somebody_can_spare(-1, p->user)))
			       ? LEDGER_EVICT
			       : LEDGER_WAIT;
	}
	return is_full ? LEDGER_LAUNCH_RESERVE : LEDGER_LAUNCH;
}

static void check_everything(void)
{
	bool is_quiet = all_is_quiet();
	int all = 0;

	for (int i = 0; i < POOLS; i++) {
		struct model_pool *p = &m.pools[i];
		int limited = 0, logging_in = count_doing(p, LOGGING_IN);
		usec_t until;
		bool is_shared;

		assert_int_equal(p->ledger.count[KIND_LOGIN], logging_in);
		assert_int_equal(p->ledger.count[KIND_CONNECTED] + p->ledger.count[KIND_REPLICATION], pool_connected(p));
		assert_int_equal(p->ledger.count[KIND_REPLICATION], count_doing(p, REPLICATING));
		assert_int_equal(p->ledger.count[KIND_CANCEL], count_doing(p, CANCELING));
		assert_in_range(logging_in, 0, 1);
		assert_int_equal(p->ledger.login_taken, logging_in || p->is_evicting);
		for (int j = 0; j < SERVERS; j++)
			limited += p->servers[j].doing != GONE && !p->servers[j].for_cancel &&
				   !p->servers[j].without_greeting;
		if (p->lim.pool_size > 0)
			assert_true(limited <= p->lim.pool_size + p->lim.reserve_size);
		/* Nobody waits beside an idle server of his pool, nor for one that another could give up. */
		if (p->waiting && is_quiet) {
			assert_null(find_server(p, IDLE));
			if (p->cancels == 0 && pool_total(p) < SERVERS && !p->retry_at)
				assert_int_equal(expected(p, FOR_CLIENT, p->since, &until, &is_shared), LEDGER_WAIT);
		}
		if (p->replicas && is_quiet && p->cancels == 0 && pool_total(p) < SERVERS && !p->retry_at)
			assert_int_equal(expected(p, FOR_REPLICATION, p->replica_since, &until, &is_shared), LEDGER_WAIT);
		all += pool_total(p);
	}
	for (int i = 0; i < DBS; i++) {
		int max = m.pools[i * USERS].lim.max_db_connections;

		assert_int_equal(m.dbs[i].servers, across(i, -1, false));
		assert_true(max <= 0 || across(i, -1, true) <= max);
	}
	for (int i = 0; i < USERS; i++) {
		int max = m.pools[i].lim.max_user_connections;

		assert_int_equal(m.users[i].servers, across(-1, i, false));
		assert_true(max <= 0 || across(-1, i, true) <= max);
	}
	assert_int_equal(m.ledger.servers, all);
}

static struct model_pool *of_ledger(struct ledger_pool *p)
{
	return CONTAINER_OF(p, struct model_pool, ledger);
}

static void launch(struct model_pool *p, enum ledger_purpose purpose)
{
	*(purpose == FOR_REPLICATION ? &p->replication_attempt_at : &p->attempt_at) = m.now;
	*find_server(p, GONE) = (struct model_server){
		.doing = LOGGING_IN,
		.for_cancel = purpose == FOR_CANCEL,
		.without_greeting = !p->has_greeting && purpose != FOR_REPLICATION,
		.for_replication = purpose == FOR_REPLICATION,
	};
}

static void send(struct model_message msg)
{
	assert_true(m.n_messages < MESSAGES);
	m.messages[m.n_messages++] = msg;
}

static void begin_eviction(struct model_pool *asker, struct ledger_pool *victim, struct ledger_wish wish);

static bool is_wanted(const struct model_pool *p, struct ledger_wish wish)
{
	return wish.purpose == FOR_REPLICATION ? p->replicas : p->waiting;
}

static void take_answer(struct model_pool *p, enum ledger_answer answer, struct ledger_pool *victim,
			struct ledger_wish wish)
{
	m.answers[answer]++;
	if (!is_wanted(p, wish) && answer != LEDGER_WAIT)
		p->is_hungry = true;
	switch (answer) {
	case LEDGER_LAUNCH:
	case LEDGER_LAUNCH_RESERVE:
		if (is_wanted(p, wish) && pool_total(p) < SERVERS)
			launch(p, wish.purpose);
		else
			ledger_server_gone(&m.ledger, &p->ledger, KIND_LOGIN, true, NULL);
		break;
	case LEDGER_EVICT:
		if (is_wanted(p, wish))
			begin_eviction(p, victim, wish);
		else {
			victim->refs--;
			ledger_not_evicted(&m.ledger, &p->ledger);
		}
		break;
	case LEDGER_WAIT:
		break;
	}
}

static void publish(struct model_pool *p)
{
	struct model_server *sv = longest_idle(p, false);

	ledger_spare(&m.ledger, &p->ledger, sv ? sv->used_at : 0, sv ? count_doing(p, IDLE) : 0);
}

static void make_room(struct model_message *e)
{
	bool is_own = e->asker == e->victim && e->wish.purpose == FOR_REPLICATION;
	struct model_server *sv = longest_idle(e->victim, is_own);
	struct ledger_reply reply = {0};

	e->is_done = sv != NULL;
	if (sv) {
		sv->doing = GONE;
		e->wish.own_unused -= is_own;
		m.own_evicted += is_own;
		e->answer = ledger_evicted(&m.ledger, &e->victim->ledger, &e->asker->ledger, &e->lim, &e->wish, m.now,
					   &reply);
		e->next_victim = reply.victim;
		/* The slot is the asker's from here on, though it has not heard of it. */
		if (e->answer == LEDGER_LAUNCH || e->answer == LEDGER_LAUNCH_RESERVE)
			launch(e->asker, e->wish.purpose);
		e->asker->is_evicting = e->answer == LEDGER_EVICT;
		e->victim->is_hungry = true;
	} else {
		m.too_late++;
		publish(e->victim);
		ledger_not_evicted(&m.ledger, &e->asker->ledger);
		e->asker->is_evicting = false;
	}
	m.unfinished[e->victim->home] = true;
}

static void hear_of_eviction(struct model_message *e)
{
	struct model_pool *p = e->asker;

	e->victim->ledger.refs--;
	if (!e->is_done)
		p->is_hungry = true;
	else if (e->answer == LEDGER_EVICT || e->answer == LEDGER_WAIT) {
		p->is_evicting = false;
		take_answer(p, e->answer, e->next_victim, e->wish);
	} else {
		m.answers[e->answer]++;
		if (!is_wanted(p, e->wish)) {
			struct model_server *sv = find_server(p, LOGGING_IN);

			sv->doing = GONE;
			p->is_hungry = true;
			ledger_server_gone(&m.ledger, &p->ledger, KIND_LOGIN, true, NULL);
		}
	}
	m.unfinished[p->home] = true;
}

static void begin_eviction(struct model_pool *asker, struct ledger_pool *victim, struct ledger_wish wish)
{
	struct model_message e = {.kind = TO_EVICT, .asker = asker, .victim = of_ledger(victim), .lim = asker->lim,
				  .wish = wish};

	asker->is_evicting = true;
	if (e.victim->home == asker->home) {
		make_room(&e);
		hear_of_eviction(&e);
		return;
	}
	m.remote++;
	send(e);
}

/* Asks once; the answer is what the rules say. true: it stands in line. */
static bool ask(struct model_pool *p, enum ledger_purpose purpose, usec_t since)
{
	const struct ledger_wish wish = {purpose, since, purpose == FOR_REPLICATION ? count_doing(p, IDLE) : 0};
	struct ledger_reply reply = {.until = -1};
	usec_t until;
	bool is_shared, is_quiet = true;
	enum ledger_answer should = expected(p, purpose, since, &until, &is_shared), answer;

	if (pool_total(p) == SERVERS)
		return false;
	for (int w = 0; w < m.workers; w++)
		is_quiet = is_quiet && !m.unfinished[w];
	answer = ledger_want(&m.ledger, &p->ledger, &p->lim, &wish, m.now, &reply);
	/* What has not been published yet cannot be known. */
	if (!is_shared || is_quiet)
		assert_int_equal(answer, should);
	else
		assert_true(answer == LEDGER_EVICT || answer == LEDGER_WAIT);
	assert_int_equal(reply.until, until);
	assert_true(until == 0 || until > m.now);
	m.timed_waits += until > 0;
	if (until && (!p->retry_at || until < p->retry_at))
		p->retry_at = until;
	if (purpose == FOR_CLIENT || purpose == FOR_REPLICATION)
		take_answer(p, answer, reply.victim, wish);
	else if (answer == LEDGER_LAUNCH)
		launch(p, purpose);
	return reply.is_in_line;
}

/* A share's turn: who waits gets what there is; then somebody asks. */
static void share_turn(struct model_pool *p)
{
	struct model_server *sv;
	bool was_nudged = p->was_nudged, is_in_line = false;

	p->is_hungry = p->was_nudged = false;
	p->retry_at = 0;
	if (p->cancels > 0)
		ask(p, FOR_CANCEL, 0);
	if (p->replicas && p->cancels == 0)
		is_in_line = ask(p, FOR_REPLICATION, p->replica_since);
	while (p->waiting && (sv = find_server(p, IDLE))) {
		sv->doing = ACTIVE;
		p->waiting--;
		p->since = m.now;
		m.served++;
	}
	if (p->waiting && !is_in_line)
		ask(p, FOR_CLIENT, p->since);
	if (was_nudged) {
		m.passed_on += p->ledger.nudges != 0;
		ledger_nudge_over(&m.ledger, &p->ledger);
	}
}

static void end_turn(int w)
{
	struct ledger_pool *nudged;

	m.unfinished[w] = false;
	for (int i = 0; i < POOLS; i++)
		if (m.pools[i].home == w && m.pools[i].is_hungry)
			share_turn(&m.pools[i]);
	for (int i = 0; i < POOLS; i++)
		if (m.pools[i].home == w)
			publish(&m.pools[i]);
	while ((nudged = ledger_take_nudged(&m.ledger)))
		send((struct model_message){.kind = TO_NUDGE, .asker = of_ledger(nudged)});
	for (int i = 0; i < POOLS; i++)
		m.unfinished[w] = m.unfinished[w] || (m.pools[i].home == w && m.pools[i].is_hungry);
}

static void deliver(int i)
{
	struct model_message e = m.messages[i];
	int to = e.kind == TO_EVICT ? e.victim->home : e.asker->home;

	m.messages[i] = m.messages[--m.n_messages];
	if (m.unfinished[to])
		end_turn(to);
	m.unfinished[to] = true;
	switch (e.kind) {
	case TO_EVICT:
		make_room(&e);
		e.kind = IS_EVICTED;
		send(e);
		break;
	case IS_EVICTED:
		hear_of_eviction(&e);
		break;
	case TO_NUDGE:
		e.asker->ledger.refs--;
		e.asker->is_hungry = e.asker->was_nudged = true;
		break;
	}
}

static void somebody_listens(struct model_pool *p)
{
	p->failed = p->failed && !p->connect_failed;
	p->connect_failed = false;
}

static void server_is_gone(struct model_pool *p, struct model_server *sv, const char *error)
{
	enum server_kind kind = sv->doing == LOGGING_IN	   ? KIND_LOGIN
				: sv->doing == CANCELING   ? KIND_CANCEL
				: sv->doing == REPLICATING ? KIND_REPLICATION
							   : KIND_CONNECTED;
	bool is_connecting = roll(2);

	if (sv->doing == LOGGING_IN && error && sv->for_replication && !is_connecting) {
		p->replication_failed = true;
		somebody_listens(p);
	} else if (sv->doing == LOGGING_IN && error) {
		p->failed = true;
		p->connect_failed = is_connecting;
		if (sv->for_replication)
			p->attempt_at = p->replication_attempt_at;
	}
	sv->doing = GONE;
	p->is_hungry = true;
	ledger_server_gone(&m.ledger, &p->ledger, kind, is_connecting, error);
}

static void server_is_free(struct model_pool *p, struct model_server *sv)
{
	sv->doing = IDLE;
	sv->used_at = m.now;
	p->is_hungry = true;
}

/* The server that is logging in has its connection: for a waiting cancel, or all the way. */
static void login_ends(struct model_pool *p)
{
	struct model_server *sv = find_server(p, LOGGING_IN);

	/* One that is promised but not heard of cannot be logged in yet. */
	for (int i = 0; i < m.n_messages; i++)
		if (m.messages[i].kind == IS_EVICTED && m.messages[i].asker == p)
			return;
	if (!sv)
		return;
	p->is_hungry = true;
	if (p->cancels > 0) {
		p->cancels--;
		sv->doing = CANCELING;
		p->connect_failed = false;
		ledger_login_to_cancel(&m.ledger, &p->ledger);
		return;
	}
	if (sv->for_replication && p->replicas == 0) {
		server_is_gone(p, sv, NULL);
		return;
	}
	if (sv->for_replication) {
		sv->doing = REPLICATING;
		p->replicas--;
		p->replica_since = m.now;
		p->replication_failed = false;
		somebody_listens(p);
		m.replicated++;
		ledger_login_done(&m.ledger, &p->ledger);
		return;
	}
	p->failed = p->connect_failed = false;
	p->has_greeting = true;
	ledger_set_greeting(&m.ledger, &p->ledger, true);
	ledger_login_done(&m.ledger, &p->ledger);
	server_is_free(p, sv);
}

static bool is_promised(struct model_pool *p)
{
	for (int i = 0; i < m.n_messages; i++)
		if (m.messages[i].kind == IS_EVICTED && m.messages[i].asker == p)
			return true;
	return false;
}

static void time_passes(usec_t by)
{
	m.now += by;
	for (int i = 0; i < POOLS; i++) {
		struct model_pool *p = &m.pools[i];

		if (p->retry_at && m.now >= p->retry_at) {
			if (m.unfinished[p->home])
				end_turn(p->home);
			p->is_hungry = m.unfinished[p->home] = true;
		}
	}
}

static void one_event(void)
{
	struct model_pool *p = &m.pools[roll(POOLS)];
	struct model_server *sv;

	if (m.n_messages > 0 && (m.n_messages > MESSAGES / 2 || roll(3) == 0)) {
		deliver((int)roll((unsigned)m.n_messages));
		return;
	}
	if (m.unfinished[p->home])
		end_turn(p->home);
	m.unfinished[p->home] = true;
	switch (roll(20)) {
	case 0:
	case 1:
	case 2:
	case 3:
		if (p->waiting++ == 0)
			p->since = m.now;
		p->is_hungry = true;
		break;
	case 4:
	case 5:
	case 6:
		login_ends(p);
		break;
	case 7:
	case 8:
		if ((sv = find_server(p, ACTIVE)))
			server_is_free(p, sv);
		break;
	case 9:
		if ((sv = find_server(p, LOGGING_IN)) && !is_promised(p))
			server_is_gone(p, sv, roll(3) ? "connect failed" : NULL);
		break;
	case 10:
		sv = &p->servers[roll(SERVERS)];
		if (sv->doing != GONE && (sv->doing != LOGGING_IN || !is_promised(p)))
			server_is_gone(p, sv, "any reason");
		break;
	case 11:
		p->cancels += p->cancels < 5;
		p->is_hungry = true;
		break;
	case 12:
		if ((sv = find_server(p, CANCELING)))
			server_is_gone(p, sv, NULL);
		break;
	case 13:
		if (ledger_below_min(&m.ledger, &p->ledger, &p->lim))
			ask(p, FOR_MIN_SIZE, 0);
		break;
	case 14:
		if (roll(20) == 0) {
			p->has_greeting = false;
			ledger_set_greeting(&m.ledger, &p->ledger, false);
			p->is_hungry = true;
		}
		break;
	case 15:
		time_passes((usec_t)roll(2 * SEC));
		break;
	case 16:
		/* Clients that wait may leave. */
		p->waiting -= p->waiting > 0;
		break;
	case 17:
		if (p->replicas++ == 0)
			p->replica_since = m.now;
		p->is_hungry = true;
		break;
	case 18:
		if ((sv = find_server(p, REPLICATING)))
			server_is_gone(p, sv, NULL);
		break;
	case 19:
		p->replicas -= p->replicas > 0 && roll(2);
		break;
	}
	if (roll(2))
		end_turn(p->home);
}

static void settle(void)
{
	for (int i = 0; !all_is_quiet(); i++) {
		if (i > 100000)
			fail_msg("messages without end");
		for (int w = 0; w < m.workers; w++)
			if (m.unfinished[w])
				end_turn(w);
		if (m.n_messages > 0)
			deliver((int)roll((unsigned)m.n_messages));
	}
}

/* Nothing new comes, no attempt fails, every query ends: then every waiter must be served. */
static void drain(void)
{
	for (int round = 0; round < 3000; round++) {
		int left = 0;

		settle();
		check_everything();
		for (int i = 0; i < POOLS; i++) {
			struct model_pool *p = &m.pools[i];
			struct model_server *sv;

			m.unfinished[p->home] = true;
			login_ends(p);
			while ((sv = find_server(p, CANCELING)))
				server_is_gone(p, sv, NULL);
			if ((sv = find_server(p, ACTIVE)))
				server_is_free(p, sv);
			if ((sv = find_server(p, REPLICATING)))
				server_is_gone(p, sv, NULL);
			/* server_idle_timeout: a pool with its reserve open may have no room for a cancel until then. */
			if ((sv = find_server(p, IDLE)) && m.now - sv->used_at > 20 * SEC)
				server_is_gone(p, sv, NULL);
			settle();
			left += p->waiting + p->replicas + p->cancels;
		}
		time_passes(SEC / 3);
		settle();
		check_everything();
		if (left == 0)
			return;
	}
	fail_msg("somebody waits for ever");
}

static void build_model(int workers, uint64_t seed)
{
	static const int max_db[DBS] = {0, 4, 9}, max_user[USERS] = {7, 0, 3};

	memset(&m, 0, sizeof(m));
	ledger_init(&m.ledger);
	m.workers = workers;
	m.random = seed;
	m.now = 1000 * SEC;
	for (int i = 0; i < DBS; i++)
		ledger_group_init(&m.db_groups[i]);
	for (int i = 0; i < USERS; i++)
		ledger_group_init(&m.user_groups[i]);
	for (int i = 0; i < POOLS; i++) {
		struct model_pool *p = &m.pools[i];

		p->db = i / USERS;
		p->user = i % USERS;
		p->home = i % workers;
		p->ledger.database = &m.dbs[p->db];
		p->ledger.user = &m.users[p->user];
		ledger_pool_open(&p->ledger, &m.db_groups[p->db], &m.user_groups[p->user]);
		p->lim = (struct ledger_limits){
			.pool_size = (int[]){0, 1, 2, 5}[i % 4],
			.min_pool_size = i % 3,
			.reserve_size = i % 2 ? 2 : 0,
			.max_db_connections = max_db[p->db],
			.max_user_connections = max_user[p->user],
			.login_retry = 3 * SEC,
			.reserve_timeout = i % 4 == 3 ? 0 : 5 * SEC,
		};
	}
}

static void random_events_break_no_rule_and_starve_nobody(void **state)
{
	(void)state;
	for (int workers = 1; workers <= WORKERS; workers++) {
		build_model(workers, (uint64_t)workers * 7919);
		for (int i = 1; i <= EVENTS / WORKERS; i++) {
			one_event();
			check_everything();
			if (i % DRAIN_EVERY == 0)
				drain();
		}
		drain();
		for (size_t i = 0; i < ARRAY_LEN(m.answers); i++)
			assert_true(m.answers[i] > 0);
		assert_true(m.timed_waits > 0 && m.served > 0 && m.passed_on > 0);
		assert_true(m.replicated > 0 && m.own_evicted > 0);
		assert_true(workers == 1 || (m.remote > 0 && m.too_late > 0));
		for (int i = 0; i < POOLS; i++)
			assert_int_equal(m.pools[i].ledger.refs, 0);
		ledger_destroy(&m.ledger);
	}
}

/* Taken over from another process: over every limit if need be, and counted like those that were opened here. */
static void a_server_of_another_process_counts_as_one(void **state)
{
	struct stage *s = *state;

	s->lim.pool_size = 1;
	s->lim.max_db_connections = 1;
	for (int i = 0; i < 2; i++)
		ledger_server_inherited(&s->ledger, &s->a);
	assert_int_equal(ledger_connected(&s->ledger, &s->a), 2);
	assert_int_equal(s->db.servers, 2);
	assert_int_equal(s->user.servers, 2);
	assert_int_equal(s->ledger.servers, 2);
	assert_int_equal(ledger_surplus(&s->ledger, &s->a, &s->lim), 1);
	for (int i = 0; i < 2; i++)
		ledger_server_gone(&s->ledger, &s->a, KIND_CONNECTED, false, NULL);
	assert_int_equal(ledger_connected(&s->ledger, &s->a) + s->db.servers + s->user.servers + s->ledger.servers, 0);
}

#define staged(test) cmocka_unit_test_setup_teardown(test, set_stage, clear_stage)

int main(void)
{
	const struct CMUnitTest tests[] = {
		staged(one_attempt_a_pool_at_a_time),
		staged(the_login_right_returns_however_the_attempt_ends),
		staged(the_retry_pause_counts_from_the_start_of_the_attempt),
		staged(an_attempt_that_outlasts_the_pause_is_repeated_at_once),
		staged(no_pause_after_an_attempt_that_was_merely_unneeded),
		staged(no_pause_after_a_logged_in_server_has_gone),
		staged(a_cancel_request_may_use_twice_the_pool_and_ignores_other_limits),
		staged(a_forgotten_failure_pauses_nobody),
		staged(cancel_connections_are_counted_everywhere_else),
		staged(the_reserve_opens_when_the_first_waiter_has_waited_long_enough),
		staged(min_pool_size_opens_connections_but_never_evicts),
		staged(an_eviction_makes_room_for_exactly_one_and_nobody_gets_in_between),
		staged(the_longest_unused_server_of_the_group_is_evicted),
		staged(nothing_is_evicted_for_one_limit_while_the_other_stands_in_the_way),
		staged(who_waits_longest_is_told_of_room_first),
		staged(who_was_told_and_wants_nothing_passes_it_on),
		staged(news_of_one_limit_is_passed_on_by_who_waits_for_another),
		staged(a_pool_that_goes_leaves_its_place_in_line),
		staged(a_pool_may_change_its_user),
		staged(a_pool_size_of_zero_is_no_limit),
		staged(without_greeting_a_full_pool_can_recover),
		staged(fast_fail_tells_the_last_error_while_nothing_else_is_there),
		staged(an_error_of_any_length_is_kept_as_far_as_it_fits),
		staged(a_replication_login_that_fails_is_nothing_to_others),
		staged(that_nobody_listens_is_known_to_all),
		staged(a_server_of_a_replication_client_gives_nobody_hope),
		staged(replication_takes_the_place_of_one_unused_server),
		staged(a_replication_client_stands_in_line_like_others),
		staged(lifetime_closes_are_spread_over_the_lifetime),
		staged(surplus_is_what_lies_above_size_and_reserve),
		staged(a_server_of_another_process_counts_as_one),
		staged(rules_in_their_order),
		staged(threads_that_race_leave_nothing_behind),
		cmocka_unit_test(random_events_break_no_rule_and_starve_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
