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
	struct tally db, other_db, user, other_user;
	struct ledger_pool a, b, c;
	struct ledger_limits lim;
	usec_t now, until;
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

static enum ledger_answer want_since(struct stage *s, struct ledger_pool *p, enum ledger_purpose purpose, usec_t since)
{
	s->until = -1;
	return ledger_want(&s->ledger, p, &s->lim, purpose, since, s->now, &s->until);
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
	assert_int_equal(want(s, &s->a, FOR_MIN_SIZE), LEDGER_WAIT);
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_EVICT_DATABASE);
	s->lim.max_db_connections = 0;
	s->lim.max_user_connections = 1;
	open_servers(s, &s->c, 1);
	assert_int_equal(want(s, &s->a, FOR_MIN_SIZE), LEDGER_WAIT);
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_EVICT_USER);
	s->lim.max_user_connections = 0;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(want(s, &s->a, FOR_MIN_SIZE), LEDGER_LAUNCH);
		ledger_login_done(&s->ledger, &s->a);
	}
	assert_false(ledger_below_min(&s->ledger, &s->a, &s->lim));
	assert_int_equal(want(s, &s->a, FOR_MIN_SIZE), LEDGER_WAIT);
}

static void an_eviction_makes_room_for_exactly_one(void **state)
{
	struct stage *s = *state;

	s->lim.max_db_connections = 2;
	open_servers(s, &s->b, 2);
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_EVICT_DATABASE);
	assert_int_equal(s->a.count[KIND_LOGIN], 0);
	ledger_server_gone(&s->ledger, &s->b, KIND_CONNECTED, false, NULL);
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_LAUNCH);
	ledger_login_done(&s->ledger, &s->a);
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_EVICT_DATABASE);
	assert_int_equal(s->db.servers, 2);
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
	assert_int_equal(want(s, &s->a, FOR_CLIENT), LEDGER_EVICT_DATABASE);
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
	char longest[300], error[400];

	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = 0;
	fail_attempt(s, &s->a, false, longest);
	assert_true(ledger_failing(&s->ledger, &s->a, error, sizeof(error)));
	assert_int_equal(strlen(error), sizeof(s->a.error) - 1);
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
		int connected, cancels, others; /* others: of the same database and user, in other pools */
		bool logging_in, failed, no_greeting;
		int size, min, reserve, max_db, max_user;
		int waited_sec;
		enum ledger_answer answer;
		int until_sec; /* after now */
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
		 .answer = LEDGER_EVICT_DATABASE},
		{"no reserve for the minimum", .purpose = FOR_MIN_SIZE, .connected = 1, .cancels = 4, .size = 5, .min = 3,
		 .reserve = 3, .waited_sec = 50, .answer = LEDGER_WAIT},
		{"the database before the user", .others = 3, .max_db = 3, .max_user = 3, .answer = LEDGER_EVICT_DATABASE},
		{"one below both", .others = 2, .max_db = 3, .max_user = 3, .answer = LEDGER_LAUNCH},
		{"the user alone", .others = 3, .max_db = 4, .max_user = 3, .answer = LEDGER_EVICT_USER},
		{"the pool's size before the database's", .connected = 5, .size = 5, .max_db = 5, .answer = LEDGER_WAIT},
		{"without greeting the size does not count", .connected = 5, .size = 5, .no_greeting = true,
		 .answer = LEDGER_LAUNCH},
		{"without greeting the user's limit does", .connected = 5, .size = 5, .no_greeting = true, .max_user = 5,
		 .answer = LEDGER_EVICT_USER},
		{"below the minimum", .purpose = FOR_MIN_SIZE, .connected = 2, .min = 3, .size = 5, .answer = LEDGER_LAUNCH},
		{"at the minimum", .purpose = FOR_MIN_SIZE, .connected = 3, .min = 3, .size = 5, .answer = LEDGER_WAIT},
		{"a minimum above the size stops at the size", .purpose = FOR_MIN_SIZE, .connected = 5, .min = 9, .size = 5,
		 .answer = LEDGER_WAIT},
		{"no minimum", .purpose = FOR_MIN_SIZE, .size = 5, .answer = LEDGER_WAIT},
	};
	struct stage *s = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct tally db = {.servers = rows[i].others}, user = {.servers = rows[i].others};
		int total = rows[i].connected + rows[i].cancels + rows[i].logging_in;
		struct ledger_pool p = {.database = &db, .user = &user};
		enum ledger_answer answer;
		bool granted;

		p.count[KIND_CONNECTED] = rows[i].connected;
		p.count[KIND_CANCEL] = rows[i].cancels;
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
		answer = want_since(s, &p, rows[i].purpose, s->now - rows[i].waited_sec * SEC);
		granted = answer == LEDGER_LAUNCH || answer == LEDGER_LAUNCH_RESERVE;
		if (answer != rows[i].answer)
			fail_msg("%s: answer %d, not %d", rows[i].says, answer, rows[i].answer);
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
	usec_t until;
	long launched = 0;

	for (int i = 0; i < RACES; i++) {
		struct ledger_pool *p = i % 2 ? &s->a : &s->b;

		if (ledger_want(&s->ledger, p, &s->lim, FOR_CLIENT, s->now, s->now, &until) != LEDGER_LAUNCH)
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

enum { DBS = 3, USERS = 3, POOLS = DBS * USERS, SHARES = 4, SERVERS = 48, EVENTS = 200000, DRAIN_EVERY = 2000 };
enum doing { GONE, LOGGING_IN, IDLE, ACTIVE, CANCELING };

struct actor { /* what one share of a pool wants */
	int waiting;
	usec_t since; /* of the first waiter */
};

struct model_server {
	enum doing doing;
	bool for_cancel;       /* launched past the limits */
	bool without_greeting; /* launched past the pool's size */
	usec_t used_at;
};

struct model_pool {
	struct ledger_pool ledger;
	struct ledger_limits lim;
	int db, user;
	struct model_server servers[SERVERS];
	struct actor actors[SHARES];
	int cancels;
	bool has_greeting;
	/* what the model believes of the last attempt */
	bool failed;
	usec_t attempt_at;
};

static struct model {
	struct ledger ledger;
	struct tally dbs[DBS], users[USERS];
	struct model_pool pools[POOLS];
	int shares;
	usec_t now;
	uint64_t random;
	/* that every answer was seen, or the model proves little */
	long answers[LEDGER_WAIT + 1], timed_waits, served;
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
	return count_doing(p, IDLE) + count_doing(p, ACTIVE);
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

static int pool_waiting(const struct model_pool *p)
{
	int n = 0;

	for (int i = 0; i < SHARES; i++)
		n += p->actors[i].waiting;
	return n;
}

static struct model_server *find_server(struct model_pool *p, enum doing doing)
{
	for (int i = 0; i < SERVERS; i++)
		if (p->servers[i].doing == doing)
			return &p->servers[i];
	return NULL;
}

static void check_everything(void)
{
	int all = 0;

	for (int i = 0; i < POOLS; i++) {
		struct model_pool *p = &m.pools[i];
		int limited = 0, logging_in = count_doing(p, LOGGING_IN);

		assert_int_equal(p->ledger.count[KIND_LOGIN], logging_in);
		assert_int_equal(p->ledger.count[KIND_CONNECTED], pool_connected(p));
		assert_int_equal(p->ledger.count[KIND_CANCEL], count_doing(p, CANCELING));
		assert_in_range(logging_in, 0, 1);
		assert_int_equal(p->ledger.login_taken, logging_in);
		for (int j = 0; j < SERVERS; j++)
			limited += p->servers[j].doing != GONE && !p->servers[j].for_cancel &&
				   !p->servers[j].without_greeting;
		if (p->lim.pool_size > 0)
			assert_true(limited <= p->lim.pool_size + p->lim.reserve_size);
		/* Nobody waits beside an idle server of his pool. */
		if (pool_waiting(p))
			assert_null(find_server(p, IDLE));
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

/* What the rules of section 12 say, told a second time from the naive counts. */
static enum ledger_answer expected(const struct model_pool *p, enum ledger_purpose purpose, usec_t since, usec_t *until)
{
	const struct ledger_limits *lim = &p->lim;
	bool is_full = lim->pool_size > 0 && pool_total(p) >= lim->pool_size && p->has_greeting;
	bool db_full = lim->max_db_connections > 0 && across(p->db, -1, false) >= lim->max_db_connections;
	bool user_full = lim->max_user_connections > 0 && across(-1, p->user, false) >= lim->max_user_connections;
	bool has_reserve = lim->reserve_size > 0 && lim->reserve_timeout > 0 &&
			   pool_total(p) < lim->pool_size + lim->reserve_size;

	*until = 0;
	if (count_doing(p, LOGGING_IN))
		return LEDGER_WAIT;
	if (p->failed && m.now < p->attempt_at + lim->login_retry) {
		*until = p->attempt_at + lim->login_retry;
		return LEDGER_WAIT;
	}
	switch (purpose) {
	case FOR_CANCEL:
		return lim->pool_size > 0 && pool_total(p) >= 2 * lim->pool_size ? LEDGER_WAIT : LEDGER_LAUNCH;
	case FOR_MIN_SIZE:
		return pool_connected(p) >= lim->min_pool_size || is_full || db_full || user_full ||
				       (lim->pool_size > 0 && pool_connected(p) >= lim->pool_size)
			       ? LEDGER_WAIT
			       : LEDGER_LAUNCH;
	case FOR_CLIENT:
		break;
	}
	if (is_full && !has_reserve)
		return LEDGER_WAIT;
	if (is_full && m.now < since + lim->reserve_timeout) {
		*until = since + lim->reserve_timeout;
		return LEDGER_WAIT;
	}
	return db_full ? LEDGER_EVICT_DATABASE : user_full ? LEDGER_EVICT_USER
				 : is_full	      ? LEDGER_LAUNCH_RESERVE
						      : LEDGER_LAUNCH;
}

static void server_is_gone(struct model_pool *p, struct model_server *sv, const char *error)
{
	enum server_kind kind = sv->doing == LOGGING_IN	 ? KIND_LOGIN
				: sv->doing == CANCELING ? KIND_CANCEL
							 : KIND_CONNECTED;

	if (sv->doing == LOGGING_IN && error)
		p->failed = true;
	sv->doing = GONE;
	ledger_server_gone(&m.ledger, &p->ledger, kind, roll(2), error);
}

/* As a share does it: its oldest idle server, of a pool where nobody waits. */
static bool evict(const struct model_pool *asker, bool by_user)
{
	struct model_pool *of = NULL;
	struct model_server *oldest = NULL;

	for (int i = 0; i < POOLS; i++) {
		struct model_pool *p = &m.pools[i];

		if (by_user ? p->user != asker->user : p->db != asker->db)
			continue;
		for (int j = 0; j < SERVERS; j++)
			if (p->servers[j].doing == IDLE && (!oldest || p->servers[j].used_at < oldest->used_at)) {
				oldest = &p->servers[j];
				of = p;
			}
	}
	if (oldest)
		server_is_gone(of, oldest, NULL);
	return oldest != NULL;
}

/* The longest waiting of all shares' first waiters gets the server; nobody there: it is idle. */
static void server_is_free(struct model_pool *p, struct model_server *sv)
{
	struct actor *first = NULL;

	for (int i = 0; i < m.shares; i++)
		if (p->actors[i].waiting && (!first || p->actors[i].since < first->since))
			first = &p->actors[i];
	sv->doing = first ? ACTIVE : IDLE;
	sv->used_at = m.now;
	if (first) {
		first->waiting--;
		first->since = m.now;
		m.served++;
	}
}

/* Asks until the answer is final. true: launched. */
static bool ask(struct model_pool *p, enum ledger_purpose purpose, usec_t since)
{
	while (pool_total(p) < SERVERS) {
		usec_t until = -1, expected_until;
		enum ledger_answer should = expected(p, purpose, since, &expected_until);
		enum ledger_answer answer = ledger_want(&m.ledger, &p->ledger, &p->lim, purpose, since, m.now, &until);

		/* With this a WAIT without a time is always explained by a rule that something else must change. */
		assert_int_equal(answer, should);
		assert_int_equal(until, expected_until);
		assert_true(until == 0 || until > m.now);
		m.answers[answer]++;
		m.timed_waits += until > 0;
		switch (answer) {
		case LEDGER_EVICT_DATABASE:
		case LEDGER_EVICT_USER:
			if (!evict(p, answer == LEDGER_EVICT_USER))
				return false;
			break;
		case LEDGER_WAIT:
			return false;
		case LEDGER_LAUNCH:
		case LEDGER_LAUNCH_RESERVE:
			p->attempt_at = m.now;
			*find_server(p, GONE) = (struct model_server){
				.doing = LOGGING_IN,
				.for_cancel = purpose == FOR_CANCEL,
				.without_greeting = !p->has_greeting,
			};
			return true;
		}
	}
	return false;
}

static void share_wants(struct model_pool *p)
{
	struct actor *a = &p->actors[roll((unsigned)m.shares)];
	struct model_server *idle = find_server(p, IDLE);

	if (idle) {
		idle->doing = ACTIVE;
		return;
	}
	if (a->waiting++ == 0)
		a->since = m.now;
	ask(p, FOR_CLIENT, a->since);
}

/* The server that is logging in has its connection: for a waiting cancel, or all the way. */
static void login_ends(struct model_pool *p)
{
	struct model_server *sv = find_server(p, LOGGING_IN);

	if (!sv)
		return;
	if (p->cancels > 0) {
		p->cancels--;
		sv->doing = CANCELING;
		ledger_login_to_cancel(&m.ledger, &p->ledger);
		return;
	}
	p->failed = false;
	p->has_greeting = true;
	ledger_set_greeting(&m.ledger, &p->ledger, true);
	ledger_login_done(&m.ledger, &p->ledger);
	server_is_free(p, sv);
}

static void waiters_ask_again(struct model_pool *p)
{
	if (p->cancels > 0)
		ask(p, FOR_CANCEL, 0);
	for (int i = 0; i < m.shares; i++)
		if (p->actors[i].waiting)
			ask(p, FOR_CLIENT, p->actors[i].since);
}

static void one_event(void)
{
	struct model_pool *p = &m.pools[roll(POOLS)];
	struct model_server *sv;

	switch (roll(16)) {
	case 0:
	case 1:
	case 2:
	case 3:
		share_wants(p);
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
		if ((sv = find_server(p, LOGGING_IN)))
			server_is_gone(p, sv, roll(3) ? "connect failed" : NULL);
		break;
	case 10:
		sv = &p->servers[roll(SERVERS)];
		if (sv->doing != GONE)
			server_is_gone(p, sv, "any reason");
		break;
	case 11:
		if (p->cancels < 5)
			p->cancels++;
		ask(p, FOR_CANCEL, 0);
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
		}
		break;
	case 15:
		m.now += (usec_t)roll(2 * SEC);
		waiters_ask_again(p);
		break;
	}
}

/* Nothing new comes, no attempt fails, every query ends: then every waiter must be served. */
static void drain(void)
{
	for (int round = 0; round < 3000; round++) {
		int left = 0;

		m.now += SEC / 3;
		for (int i = 0; i < POOLS; i++) {
			struct model_server *sv;

			login_ends(&m.pools[i]);
			while ((sv = find_server(&m.pools[i], CANCELING)))
				server_is_gone(&m.pools[i], sv, NULL);
			if ((sv = find_server(&m.pools[i], ACTIVE)))
				server_is_free(&m.pools[i], sv);
			/* server_idle_timeout: a pool with its reserve open may have no room for a cancel until then. */
			if ((sv = find_server(&m.pools[i], IDLE)) && m.now - sv->used_at > 20 * SEC)
				server_is_gone(&m.pools[i], sv, NULL);
			waiters_ask_again(&m.pools[i]);
			left += pool_waiting(&m.pools[i]) + m.pools[i].cancels;
		}
		check_everything();
		if (left == 0)
			return;
	}
	fail_msg("somebody waits for ever");
}

static void build_model(int shares, uint64_t seed)
{
	static const int max_db[DBS] = {0, 4, 9}, max_user[USERS] = {7, 0, 3};

	memset(&m, 0, sizeof(m));
	ledger_init(&m.ledger);
	m.shares = shares;
	m.random = seed;
	m.now = 1000 * SEC;
	for (int i = 0; i < POOLS; i++) {
		struct model_pool *p = &m.pools[i];

		p->db = i / USERS;
		p->user = i % USERS;
		p->ledger.database = &m.dbs[p->db];
		p->ledger.user = &m.users[p->user];
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
	for (int shares = 1; shares <= SHARES; shares++) {
		build_model(shares, (uint64_t)shares * 7919);
		for (int i = 1; i <= EVENTS / SHARES; i++) {
			one_event();
			check_everything();
			if (i % DRAIN_EVERY == 0)
				drain();
		}
		for (size_t i = 0; i < ARRAY_LEN(m.answers); i++)
			assert_true(m.answers[i] > 0);
		assert_true(m.timed_waits > 0 && m.served > 0);
		ledger_destroy(&m.ledger);
	}
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
		staged(cancel_connections_are_counted_everywhere_else),
		staged(the_reserve_opens_when_the_first_waiter_has_waited_long_enough),
		staged(min_pool_size_opens_connections_but_never_evicts),
		staged(an_eviction_makes_room_for_exactly_one),
		staged(a_pool_size_of_zero_is_no_limit),
		staged(without_greeting_a_full_pool_can_recover),
		staged(fast_fail_tells_the_last_error_while_nothing_else_is_there),
		staged(an_error_of_any_length_is_kept_as_far_as_it_fits),
		staged(lifetime_closes_are_spread_over_the_lifetime),
		staged(surplus_is_what_lies_above_size_and_reserve),
		staged(rules_in_their_order),
		staged(threads_that_race_leave_nothing_behind),
		cmocka_unit_test(random_events_break_no_rule_and_starve_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
