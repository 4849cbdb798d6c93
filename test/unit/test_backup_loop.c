/* Unit tests of backup/loop.h, over pipes and real time of a few milliseconds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "backup/loop.h"

#define MSEC ((usec_t)1000)
#define PATIENCE (20 * USEC_PER_SEC) /* a limit, never waited for */

static struct loop *loop;

static int open_loop(void **state)
{
	(void)state;
	loop = loop_new();
	return 0;
}

static int close_loop(void **state)
{
	(void)state;
	loop_free(loop);
	return 0;
}

/* ---- timers ---- */

struct alarm {
	struct loop_timer timer;
	bool has_fired;
	int fired;
	usec_t again;	     /* not 0: sets itself anew */
	struct alarm *stops; /* may be NULL: an alarm to take out */
	char *trace, mark;   /* may be NULL: where to write the mark */
};

static void fire(struct loop_timer *t)
{
	struct alarm *a = CONTAINER_OF(t, struct alarm, timer);

	a->fired++;
	a->has_fired = true;
	if (a->trace)
		a->trace[strlen(a->trace)] = a->mark;
	if (a->stops)
		loop_timer_clear(loop, &a->stops->timer);
	if (a->again)
		loop_timer_set(loop, &a->timer, loop_now() + a->again);
}

static void set(struct alarm *a, usec_t in)
{
	a->timer.fire = fire;
	loop_timer_set(loop, &a->timer, loop_now() + in);
}

static void timers_fire_once_when_due_and_not_before(void **state)
{
	struct alarm a = {0}, b = {0};
	char trace[8] = "";
	usec_t begun = loop_now();

	(void)state;
	a.trace = b.trace = trace;
	a.mark = 'a';
	b.mark = 'b';
	set(&a, 60 * MSEC);
	set(&b, 20 * MSEC);
	assert_true(loop_wait_through(loop, &a.has_fired, begun + PATIENCE));
	assert_true(loop_now() - begun >= 60 * MSEC);
	assert_string_equal(trace, "ba");
	assert_int_equal(a.fired, 1);
	assert_int_equal(a.timer.due, 0);
}

static void a_timer_may_set_itself_and_lets_the_turn_end(void **state)
{
	struct alarm often = {.again = 1}, last = {0};

	(void)state;
	set(&often, 1);
	set(&last, 30 * MSEC);
	assert_true(loop_wait_through(loop, &last.has_fired, loop_now() + PATIENCE));
	assert_true(often.fired > 1);
	loop_timer_clear(loop, &often.timer);
}

static void a_timer_taken_out_by_another_of_the_same_turn_does_not_fire(void **state)
{
	struct alarm a = {0}, b = {0}, end = {0};

	(void)state;
	a.stops = &b;
	b.stops = &a;
	set(&a, 1);
	set(&b, 1);
	usleep(2000);
	set(&end, 10 * MSEC);
	assert_true(loop_wait_through(loop, &end.has_fired, loop_now() + PATIENCE));
	assert_int_equal(a.fired + b.fired, 1);
}

static void clearing_what_was_never_set_is_harmless(void **state)
{
	struct loop_timer t = {0};
	struct loop_watch w = {0};

	(void)state;
	loop_timer_clear(loop, &t);
	loop_watch_clear(loop, &w);
	loop_timer_clear(loop, &t);
	loop_watch_clear(loop, &w);
	assert_int_equal(w.fd, -1);
}

/* ---- watches ---- */

struct tap {
	struct loop_watch watch;
	int ends[2];
	short seen;
	int calls;
	bool is_called;
	struct tap *stops; /* may be NULL */
};

static void drink(struct loop_watch *w, short revents)
{
	struct tap *t = CONTAINER_OF(w, struct tap, watch);

	t->seen |= revents;
	t->calls++;
	t->is_called = true;
	if (t->stops)
		loop_watch_clear(loop, &t->stops->watch);
}

static void open_tap(struct tap *t)
{
	assert_int_equal(pipe(t->ends), 0);
	t->watch.ready = drink;
	loop_watch_set(loop, &t->watch, t->ends[0], POLLIN);
}

static void close_tap(struct tap *t)
{
	loop_watch_clear(loop, &t->watch);
	close(t->ends[0]);
	close(t->ends[1]);
}

static void a_watch_tells_of_bytes_and_of_the_end(void **state)
{
	struct tap t = {0};
	bool never = false;

	(void)state;
	open_tap(&t);
	assert_false(loop_wait_through(loop, &never, loop_now() + 5 * MSEC));
	assert_int_equal(t.calls, 0);
	assert_int_equal(write(t.ends[1], "x", 1), 1);
	assert_true(loop_wait_through(loop, &t.is_called, loop_now() + PATIENCE));
	assert_true(t.seen & POLLIN);
	close_tap(&t);
}

static void who_asks_for_nothing_is_not_told_of_a_hang_up_until_he_asks(void **state)
{
	struct tap t = {0};
	bool never = false;

	(void)state;
	open_tap(&t);
	loop_watch_set(loop, &t.watch, t.ends[0], 0);
	close(t.ends[1]);
	t.ends[1] = -1;
	assert_false(loop_wait_through(loop, &never, loop_now() + 5 * MSEC));
	assert_int_equal(t.calls, 0);
	loop_watch_set(loop, &t.watch, t.ends[0], POLLIN);
	assert_true(loop_wait_through(loop, &t.is_called, loop_now() + PATIENCE));
	assert_true(t.seen & POLLHUP);
	close_tap(&t);
}

static void a_watch_taken_out_by_another_of_the_same_turn_is_not_told(void **state)
{
	struct tap a = {0}, b = {0};
	struct alarm end = {0};

	(void)state;
	open_tap(&a);
	open_tap(&b);
	a.stops = &b;
	b.stops = &a;
	assert_int_equal(write(a.ends[1], "x", 1), 1);
	assert_int_equal(write(b.ends[1], "x", 1), 1);
	set(&end, 10 * MSEC);
	assert_true(loop_wait_through(loop, &end.has_fired, loop_now() + PATIENCE));
	assert_true((a.calls == 0) != (b.calls == 0));
	close_tap(&a);
	close_tap(&b);
}

static void a_watch_may_move_to_another_descriptor(void **state)
{
	struct tap a = {0}, other = {0};

	(void)state;
	open_tap(&a);
	assert_int_equal(pipe(other.ends), 0);
	assert_int_equal(write(a.ends[1], "x", 1), 1);
	loop_watch_set(loop, &a.watch, other.ends[0], POLLIN);
	assert_int_equal(write(other.ends[1], "x", 1), 1);
	assert_true(loop_wait_through(loop, &a.is_called, loop_now() + PATIENCE));
	assert_int_equal(a.watch.fd, other.ends[0]);
	close_tap(&a);
	close(other.ends[0]);
	close(other.ends[1]);
}

/* ---- waiting ---- */

static void interrupt(struct loop_timer *t)
{
	fire(t);
	loop_interrupt(loop);
}

static void an_interruption_ends_waiting_and_stays_until_forgotten(void **state)
{
	struct alarm a = {.timer.fire = interrupt}, b = {0};
	bool never = false, already = true;

	(void)state;
	loop_timer_set(loop, &a.timer, loop_now() + MSEC);
	assert_false(loop_wait(loop, &never));
	assert_true(loop_is_interrupted(loop));
	assert_false(loop_wait(loop, &never));
	assert_true(loop_wait(loop, &already)); /* what is done is done */
	set(&b, MSEC);
	assert_true(loop_wait_through(loop, &b.has_fired, loop_now() + PATIENCE));
	loop_resume(loop);
	b.has_fired = false;
	set(&b, MSEC);
	assert_true(loop_wait(loop, &b.has_fired));
}

static void waiting_through_ends_at_the_deadline(void **state)
{
	bool never = false;
	usec_t begun = loop_now();

	(void)state;
	assert_false(loop_wait_through(loop, &never, begun + 20 * MSEC));
	assert_true(loop_now() - begun >= 20 * MSEC);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_loop, close_loop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(timers_fire_once_when_due_and_not_before),
		TEST(a_timer_may_set_itself_and_lets_the_turn_end),
		TEST(a_timer_taken_out_by_another_of_the_same_turn_does_not_fire),
		TEST(clearing_what_was_never_set_is_harmless),
		TEST(a_watch_tells_of_bytes_and_of_the_end),
		TEST(who_asks_for_nothing_is_not_told_of_a_hang_up_until_he_asks),
		TEST(a_watch_taken_out_by_another_of_the_same_turn_is_not_told),
		TEST(a_watch_may_move_to_another_descriptor),
		TEST(an_interruption_ends_waiting_and_stays_until_forgotten),
		TEST(waiting_through_ends_at_the_deadline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
