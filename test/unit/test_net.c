/*
 * Unit tests of the Worker, the Conn and the crew: real sockets, real loops,
 * real threads, all in this process. A test waits for a condition; GUARD_SEC
 * only keeps one that will never come from hanging.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "net/conn.h"
#include "net/crew.h"
#include "net/handshakes.h"
#include "net/fd_pouch.h"

enum { GUARD_SEC = 30, BIG = 1024 * 1024 };

/* --- a loop that runs until something is so ------------------------------ */

static struct {
	bool (*done)(void *);
	void *arg;
	bool guard_fired;
} waiting;

static void on_guard(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	waiting.guard_fired = true;
	worker_stop(arg);
}

static void stop_when_done(struct worker *w)
{
	if (waiting.done(waiting.arg))
		worker_stop(w);
}

static void deliver_nudge(struct worker *w UNUSED, struct message *m)
{
	free(m);
}

static void run_until(struct worker *w, bool (*done)(void *), void *arg)
{
	struct event *guard = evtimer_new(w->base, on_guard, w);
	struct message *nudge = calloc(1, sizeof(*nudge));
	struct timeval tv = {GUARD_SEC, 0};

	/* What the test posted lies in the outboxes: the first turn may not sleep before it sends them. */
	assert_non_null(nudge);
	nudge->deliver = deliver_nudge;
	worker_post(w, w, nudge);
	waiting.done = done;
	waiting.arg = arg;
	waiting.guard_fired = false;
	w->on_turn = stop_when_done;
	w->wants_stop = done(arg);
	evtimer_add(guard, &tv);
	worker_run(w);
	event_free(guard);
	w->on_turn = NULL;
	assert_false(waiting.guard_fired);
}

struct turns {
	struct message message; /* first */
	int left;
};

static void next_turn(struct worker *w, struct message *m)
{
	struct turns *t = CONTAINER_OF(m, struct turns, message);

	if (--t->left > 0)
		worker_post(w, w, m);
}

static bool turns_are_over(void *arg)
{
	return ((struct turns *)arg)->left == 0;
}

/* Some turns that do not sleep: enough for whatever the sockets have to tell already. */
static void run_turns(struct worker *w)
{
	struct turns t = {.message.deliver = next_turn, .left = 4};

	worker_post(w, w, &t.message);
	run_until(w, turns_are_over, &t);
}

/* --- a Conn with an owner that writes down what he hears ------------------ */

enum callback { NONE, BYTES, DRAINED, ENDED, DEADLINE, CONNECTED };

struct owner {
	struct conn conn;
	int peer;		 /* the other end of the socket pair, non-blocking */
	char heard[512];	 /* "[bytes shown]", "drained", "EOF", ... */
	struct buf taken;	 /* all that was used up */
	size_t takes;		 /* at most so many bytes of a show */
	size_t wants;		 /* unless 0: whole portions of so many */
	bool pauses;		 /* after each show */
	enum callback retires_in;
	struct owner *retires_too; /* that one as well, at the same time */
	int drains, ends;
	usec_t came_due;
	pthread_t thread; /* of the last callback */
	bool is_silent;	  /* keeps no heard */
	bool *freed;
};

static void release_owner(struct retiree *r)
{
	struct owner *o = CONTAINER_OF(CONTAINER_OF(r, struct conn, retiree), struct owner, conn);

	*o->freed = true;
	buf_free(&o->taken);
	close(o->peer);
	free(o);
}

static void retire(struct owner *o)
{
	struct worker *w = o->conn.worker;

	conn_close(&o->conn);
	worker_retire(w, &o->conn.retiree, release_owner);
}

static void hear(struct owner *o, enum callback what, const char *text, size_t n)
{
	size_t have = strlen(o->heard);

	o->thread = pthread_self();
	if (!o->is_silent)
		snprintf(o->heard + have, sizeof(o->heard) - have, "%.*s", (int)n, text);
	if (o->retires_in == what) {
		if (o->retires_too)
			retire(o->retires_too);
		retire(o);
	}
}

static struct owner *owner_of(struct conn *c)
{
	return CONTAINER_OF(c, struct owner, conn);
}

static size_t on_bytes(struct conn *c, const uint8_t *bytes, size_t n)
{
	struct owner *o = owner_of(c);
	char text[200];
	size_t used = o->wants ? n - n % o->wants : n < o->takes ? n : o->takes;

	snprintf(text, sizeof(text), "[%.*s]", (int)(n < 100 ? n : 100), (const char *)bytes);
	buf_put(&o->taken, bytes, used);
	if (o->pauses)
		conn_pause(c);
	hear(o, BYTES, text, strlen(text));
	return used;
}

static void on_drained(struct conn *c)
{
	struct owner *o = owner_of(c);

	o->drains += conn_unsent(c) == 0 ? 1 : 1000;
	hear(o, DRAINED, "drained", 7);
}

static void on_ended(struct conn *c, enum conn_end why, int err UNUSED)
{
	static const char *const names[] = {"EOF", "error", "TLS", "memory"};
	struct owner *o = owner_of(c);

	o->ends++;
	hear(o, ENDED, names[why], strlen(names[why]));
}

static void on_deadline(struct conn *c)
{
	struct owner *o = owner_of(c);

	o->came_due = clock_monotonic();
	hear(o, DEADLINE, "due", 3);
}

static void on_connected(struct conn *c, int err)
{
	const char *text = err == 0 ? "connected" : err == ECONNREFUSED ? "refused" : "another error";

	if (err)
		conn_pause(c); /* there is nothing to read; others would close it here */
	hear(owner_of(c), CONNECTED, text, strlen(text));
}

static const struct conn_ops ops = {
	.bytes = on_bytes,
	.drained = on_drained,
	.ended = on_ended,
	.deadline = on_deadline,
	.connected = on_connected,
};

static bool freed[8];

/* The nth owner of a test; not yet with a Conn. Returns our end of its socket pair in *fd. */
static struct owner *owner_new(int nth, int *fd)
{
	struct owner *o = calloc(1, sizeof(*o));
	int pair[2];

	assert_non_null(o);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	o->peer = pair[1];
	o->takes = SIZE_MAX;
	o->freed = &freed[nth];
	freed[nth] = false;
	*fd = pair[0];
	return o;
}

static struct owner *owner_open(struct worker *w, int nth)
{
	int fd;
	struct owner *o = owner_new(nth, &fd);

	assert_int_equal(conn_open(&o->conn, w, fd, &ops), 0);
	return o;
}

static void peer_says(struct owner *o, const char *text)
{
	assert_int_equal(write(o->peer, text, strlen(text)), strlen(text));
}

static void peer_goes(struct owner *o)
{
	assert_int_equal(shutdown(o->peer, SHUT_RDWR), 0);
}

static void heard_so_far(struct owner *o, const char *text)
{
	assert_string_equal(o->heard, text);
	o->heard[0] = 0;
}

static int open_crew(void **state, int workers)
{
	*state = crew_new(workers);
	return *state ? 0 : -1;
}

static int one_worker(void **state)
{
	return open_crew(state, 1);
}

static int close_crew(void **state)
{
	crew_settle(*state);
	crew_free(*state);
	return 0;
}

static struct worker *worker_of(void **state)
{
	return ((struct crew *)*state)->control;
}

/* --- reading -------------------------------------------------------------- */

static void bytes_left_are_shown_again_with_what_follows(void **state)
{
	struct worker *w = worker_of(state);
	struct owner *o = owner_open(w, 0);

	o->takes = 2;
	peer_says(o, "hello");
	run_turns(w);
	heard_so_far(o, "[hello]");
	/* Not shown again before there is anything new. */
	run_turns(w);
	heard_so_far(o, "");
	o->takes = 0;
	peer_says(o, "!");
	run_turns(w);
	heard_so_far(o, "[llo!]");
	o->takes = SIZE_MAX;
	peer_says(o, "?");
	run_turns(w);
	heard_so_far(o, "[llo!?]");
	peer_says(o, "new");
	run_turns(w);
	heard_so_far(o, "[new]");
	assert_null(o->conn.in);
	retire(o);
}

static void a_paused_conn_hears_nothing_until_it_is_resumed(void **state)
{
	struct worker *w = worker_of(state);
	struct owner *o = owner_open(w, 0);

	conn_pause(&o->conn);
	peer_says(o, "one");
	run_turns(w);
	peer_says(o, "two");
	run_turns(w);
	heard_so_far(o, "");
	conn_resume(&o->conn);
	heard_so_far(o, ""); /* not from in here */
	run_turns(w);
	heard_so_far(o, "[onetwo]");
	retire(o);
}

static void resuming_shows_what_was_left_without_new_bytes(void **state)
{
	struct worker *w = worker_of(state);
	struct owner *o = owner_open(w, 0);

	o->takes = 1;
	o->pauses = true;
	peer_says(o, "abc");
	run_turns(w);
	heard_so_far(o, "[abc]");
	conn_resume(&o->conn);
	conn_resume(&o->conn);
	run_turns(w);
	heard_so_far(o, "[bc]");
	/* What came while it was paused stands behind what was left. */
	peer_says(o, "d");
	run_turns(w);
	heard_so_far(o, "");
	o->pauses = false;
	o->takes = SIZE_MAX;
	conn_resume(&o->conn);
	run_turns(w);
	heard_so_far(o, "[c][d]");
	assert_memory_equal(buf_data(&o->taken), "abcd", 4);
	retire(o);
}

static void the_end_comes_after_the_data(void **state)
{
	struct worker *w = worker_of(state);
	struct owner *o = owner_open(w, 0), *paused = owner_open(w, 1), *leaves = owner_open(w, 2);

	peer_says(o, "bye");
	peer_goes(o);
	conn_pause(&paused->conn);
	peer_says(paused, "bye");
	peer_goes(paused);
	leaves->takes = 1;
	leaves->pauses = true;
	peer_says(leaves, "bye");
	peer_goes(leaves);
	run_turns(w);
	heard_so_far(o, "[bye]EOF");
	heard_so_far(paused, "");
	heard_so_far(leaves, "[bye]");
	leaves->pauses = false;
	conn_resume(&paused->conn);
	conn_resume(&leaves->conn);
	run_turns(w);
	heard_so_far(paused, "[bye]EOF");
	heard_so_far(leaves, "[ye]EOF");
	retire(o);
	retire(paused);
	retire(leaves);
}

struct flood {
	struct owner *owner;
	struct turns turns;
	size_t sent, total;
};

static uint8_t pattern(size_t at)
{
	return (uint8_t)(at * 2654435761u >> 13);
}

/* Fills the socket with what is due, every turn. */
static bool flood_is_taken(void *arg)
{
	struct flood *f = arg;
	uint8_t piece[30000];

	for (;;) {
		size_t n = f->total - f->sent < sizeof(piece) ? f->total - f->sent : sizeof(piece);
		ssize_t sent;

		for (size_t i = 0; i < n; i++)
			piece[i] = pattern(f->sent + i);
		sent = n ? write(f->owner->peer, piece, n) : 0;
		if (sent <= 0)
			break;
		f->sent += (size_t)sent;
	}
	if (buf_len(&f->owner->taken) < f->total)
		return false;
	f->turns.left = 1;
	return true;
}

static void flood(struct worker *w, struct owner *o)
{
	struct flood f = {.owner = o, .total = BIG, .turns = {.message.deliver = next_turn, .left = INT32_MAX}};

	o->is_silent = true;
	worker_post(w, w, &f.turns.message);
	run_until(w, flood_is_taken, &f);
	run_turns(w);
	assert_int_equal(buf_len(&o->taken), BIG);
	for (size_t i = 0; i < BIG; i++)
		if (buf_data(&o->taken)[i] != pattern(i))
			fail_msg("byte %zu is wrong", i);
	assert_null(o->conn.in);
}

static void a_stream_arrives_whole_however_it_is_taken(void **state)
{
	static const struct {
		const char *says;
		size_t wants;
		bool big_reads;
		int loop_reads;
	} rows[] = {
		{"as it comes", 0, false, 0},
		{"in large reads", 0, true, 0},
		{"in few reads a turn", 0, true, 1},
		{"as one message that must be whole", BIG, true, 0},
		{"the same in small reads", BIG, false, 3},
		{"with a remainder as large as the headroom", WORKER_HEADROOM_BYTES, false, 0},
	};
	struct worker *w = worker_of(state);

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct owner *o = owner_open(w, 0);

		o->wants = rows[i].wants;
		o->conn.has_big_reads = rows[i].big_reads;
		w->loop_reads = rows[i].loop_reads;
		flood(w, o);
		retire(o);
	}
}

/* --- writing -------------------------------------------------------------- */

static void make_small(struct owner *o)
{
	const int bytes = 4096;

	assert_int_equal(setsockopt(o->conn.fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
}

struct sink {
	struct owner *owner;
	size_t got, total;
	bool is_wrong;
};

static void drink(struct sink *s)
{
	uint8_t piece[8192];
	ssize_t n;

	while ((n = read(s->owner->peer, piece, sizeof(piece))) > 0)
		for (ssize_t i = 0; i < n; i++)
			s->is_wrong |= piece[i] != pattern(s->got++);
}

static bool sink_is_full(void *arg)
{
	struct sink *s = arg;

	drink(s);
	return s->got >= s->total && s->owner->drains > 0;
}

static uint8_t *make_pattern(size_t n)
{
	uint8_t *p = malloc(n);

	assert_non_null(p);
	for (size_t i = 0; i < n; i++)
		p[i] = pattern(i);
	return p;
}

static void what_the_socket_refuses_is_sent_later_and_told_once(void **state)
{
	struct worker *w = worker_of(state);
	struct owner *o = owner_open(w, 0);
	uint8_t *bytes = make_pattern(BIG);
	struct sink s = {.owner = o, .total = BIG};
	struct iovec pieces[150];
	struct buf b;
	size_t at = 0;

	make_small(o);
	/* More pieces than one call to the kernel takes, some of them empty. */
	for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
		pieces[i] = (struct iovec){bytes + at, i % 7 * 100};
		at += pieces[i].iov_len;
	}
	assert_true(conn_write(&o->conn, pieces, ARRAY_LEN(pieces)));
	assert_true(conn_unsent(&o->conn) > 0);
	buf_init(&b);
	buf_put(&b, bytes + at, 5000);
	at += 5000;
	assert_true(conn_send_buf(&o->conn, &b));
	assert_int_equal(buf_len(&b), 0);
	assert_true(conn_send(&o->conn, bytes + at, BIG - at));
	assert_true(conn_send(&o->conn, NULL, 0));
	assert_int_equal(o->drains, 0);
	run_until(w, sink_is_full, &s);
	run_turns(w);
	assert_int_equal(s.got, BIG);
	assert_false(s.is_wrong);
	assert_int_equal(o->drains, 1);
	assert_null(o->conn.out);
	assert_null(o->conn.write_event);
	/* A write that is taken at once is no news. */
	assert_true(conn_send(&o->conn, "x", 1));
	run_turns(w);
	assert_int_equal(o->drains, 1);
	buf_free(&b);
	free(bytes);
	retire(o);
}

static void a_failed_send_is_told_from_the_ready_list_and_once(void **state)
{
	struct worker *w = worker_of(state);
	struct owner *o = owner_open(w, 0);

	conn_pause(&o->conn);
	peer_goes(o);
	/* Nobody knows before the end of the turn. */
	assert_true(conn_send(&o->conn, "x", 1));
	conn_send_now(&o->conn);
	heard_so_far(o, "");
	assert_false(conn_send(&o->conn, "x", 1));
	run_turns(w);
	heard_so_far(o, "error");
	retire(o);
}

/* --- deadlines ------------------------------------------------------------ */

static bool is_due(void *arg)
{
	return ((struct owner *)arg)->came_due != 0;
}

static void a_deadline_comes_and_not_early(void **state)
{
	struct worker *w = worker_of(state);
	struct owner *o = owner_open(w, 0), *forgets = owner_open(w, 1);
	usec_t due = clock_monotonic() + USEC_PER_SEC / 5;

	conn_set_deadline(&o->conn, due + 100 * USEC_PER_SEC);
	conn_set_deadline(&o->conn, due);
	conn_set_deadline(&o->conn, due + USEC_PER_SEC); /* filed earlier already */
	conn_set_deadline(&forgets->conn, due - USEC_PER_SEC / 10);
	conn_set_deadline(&forgets->conn, 0);
	run_until(w, is_due, o);
	assert_true(o->came_due >= due);
	heard_so_far(o, "due");
	heard_so_far(forgets, "");
	/* Once only, but it can be filed again. */
	o->came_due = 0;
	due = clock_monotonic() + 1;
	conn_set_deadline(&o->conn, due);
	run_until(w, is_due, o);
	assert_true(o->came_due >= due);
	heard_so_far(o, "due");
	retire(o);
	retire(forgets);
}

/* --- connecting, and retiring -------------------------------------------- */

/* A port of the loopback: somebody listens, or just did. */
static struct sockaddr_in a_port(int *listener)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);

	*listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(*listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(*listener, 8), 0);
	assert_int_equal(getsockname(*listener, (struct sockaddr *)&sa, &len), 0);
	return sa;
}

static struct owner *owner_connect(struct worker *w, int nth, const struct sockaddr_in *sa)
{
	int fd, err;
	struct owner *o = owner_new(nth, &fd);

	close(fd);
	assert_int_equal(conn_connect(&o->conn, w, (const struct sockaddr *)sa, sizeof(*sa), &(struct tcp_options){0}, &ops, &err), 0);
	return o;
}

static bool heard_something(void *arg)
{
	return ((struct owner *)arg)->heard[0] != 0;
}

static void a_connection_is_told_later_and_never_from_within(void **state)
{
	struct worker *w = worker_of(state);
	int listener, accepted;
	struct sockaddr_in sa = a_port(&listener);
	struct owner *o = owner_connect(w, 0, &sa), *refused;

	heard_so_far(o, "");
	run_until(w, heard_something, o);
	heard_so_far(o, "connected");
	accepted = accept(listener, NULL, NULL);
	assert_int_equal(write(accepted, "hi", 2), 2);
	run_until(w, heard_something, o);
	heard_so_far(o, "[hi]");
	close(accepted);
	close(listener);
	refused = owner_connect(w, 1, &sa);
	run_until(w, heard_something, refused);
	heard_so_far(refused, "refused");
	retire(o);
	retire(refused);
}

/* ASan is the judge of these: nobody may touch the owner after his turn. */
static void an_owner_may_retire_in_every_callback(void **state)
{
	struct worker *w = worker_of(state);

	for (enum callback in = BYTES; in <= CONNECTED; in++)
		for (int with_another = 0; with_another < 2; with_another++) {
			struct owner *o, *other = owner_open(w, 1);
			uint8_t *bytes = make_pattern(BIG);
			int listener;
			struct sockaddr_in sa = a_port(&listener);
			usec_t give_up;

			o = in == CONNECTED ? owner_connect(w, 0, &sa) : owner_open(w, 0);
			o->retires_in = in;
			o->takes = 1;
			if (with_another) {
				/* It has the same to tell at the same time, and goes before it can. */
				o->retires_too = other;
				other->retires_in = in;
				other->retires_too = o;
			}
			for (int i = 0; i <= with_another; i++) {
				struct owner *each = i ? other : o;

				switch (in) {
				case BYTES:
					peer_says(each, "some bytes");
					break;
				case DRAINED:
					make_small(each);
					assert_true(conn_send(&each->conn, bytes, 20000));
					assert_true(conn_unsent(&each->conn) > 0);
					break;
				case ENDED:
					peer_goes(each);
					break;
				case DEADLINE:
					conn_set_deadline(&each->conn, clock_monotonic());
					break;
				case CONNECTED:
				case NONE:
					break;
				}
			}
			/* Memory goes at the very end of a turn, after the last question whether it is over. */
			give_up = clock_monotonic() + GUARD_SEC * USEC_PER_SEC;
			while (!freed[0]) {
				if (in == DRAINED) {
					drink(&(struct sink){.owner = o});
					drink(&(struct sink){.owner = other});
				}
				run_turns(w);
				assert_true(clock_monotonic() < give_up);
			}
			assert_int_equal(freed[1], with_another);
			if (!with_another) {
				retire(other);
				run_turns(w);
				assert_true(freed[1]);
			}
			close(listener);
			free(bytes);
		}
}

static void a_retired_owner_lives_to_the_end_of_the_turn(void **state)
{
	struct worker *w = worker_of(state);
	struct owner *o = owner_open(w, 0);

	peer_says(o, "unread");
	retire(o);
	assert_false(freed[0]);
	assert_false(conn_send(&o->conn, "x", 1));
	run_turns(w);
	assert_true(freed[0]);
}

/* --- changing Worker ------------------------------------------------------- */

static void what_was_about_to_be_told_is_told_after_the_move(void **state)
{
	struct worker *w = worker_of(state);
	struct owner *resumed = owner_open(w, 0), *failed = owner_open(w, 1);

	resumed->takes = 1;
	resumed->pauses = true;
	peer_says(resumed, "abc");
	run_turns(w);
	heard_so_far(resumed, "[abc]");
	conn_resume(&resumed->conn);
	conn_detach(&resumed->conn);
	peer_goes(failed);
	assert_true(conn_send(&failed->conn, "x", 1));
	conn_detach(&failed->conn);
	run_turns(w);
	assert_int_equal(conn_attach(&resumed->conn, w), 0);
	assert_int_equal(conn_attach(&failed->conn, w), 0);
	run_turns(w);
	heard_so_far(resumed, "[bc]");
	heard_so_far(failed, "error");
	retire(resumed);
	retire(failed);
}

/* A step of a test that runs on some Worker and then reports to the control role. */
struct errand {
	struct message message; /* first */
	struct crew *crew;
	struct owner *owner;
	struct worker *from; /* where it ran */
	void (*run)(struct worker *, struct errand *);
	struct worker *next; /* where to go on with then; NULL: report */
	void (*then)(struct worker *, struct errand *);
	int result;
	bool is_back;
};

static void deliver_errand_back(struct worker *w UNUSED, struct message *m)
{
	CONTAINER_OF(m, struct errand, message)->is_back = true;
}

static void deliver_errand(struct worker *w, struct message *m)
{
	struct errand *e = CONTAINER_OF(m, struct errand, message);
	struct worker *to = e->next ? e->next : e->crew->control;

	e->run(w, e);
	e->from = w;
	e->run = e->then;
	if (!e->next)
		m->deliver = deliver_errand_back;
	e->next = NULL;
	worker_post(w, to, m);
}

static bool errand_is_back(void *arg)
{
	return ((struct errand *)arg)->is_back;
}

static void run_errand(struct crew *crew, struct worker *on, struct errand *e)
{
	e->crew = crew;
	e->message.deliver = deliver_errand;
	e->is_back = false;
	worker_post(crew->control, on, &e->message);
	run_until(crew->control, errand_is_back, e);
}

static int two_threads(void **state)
{
	return open_crew(state, 2) == 0 ? crew_start(*state) : -1;
}

static int stop_threads(void **state)
{
	crew_stop(*state);
	return close_crew(state);
}

static void open_here(struct worker *w, struct errand *e)
{
	e->result = conn_open(&e->owner->conn, w, e->result, &ops);
	make_small(e->owner);
}

static void leave(struct worker *w UNUSED, struct errand *e)
{
	conn_detach(&e->owner->conn);
}

static void arrive(struct worker *w, struct errand *e)
{
	e->result = conn_attach(&e->owner->conn, w);
	conn_resume(&e->owner->conn);
}

static void look(struct worker *w UNUSED, struct errand *e)
{
	e->result = (int)buf_len(&e->owner->taken);
}

static void look_for_drain(struct worker *w UNUSED, struct errand *e)
{
	e->result = e->owner->drains;
}

static void send_much(struct worker *w UNUSED, struct errand *e)
{
	uint8_t *bytes = make_pattern(BIG);

	conn_send(&e->owner->conn, bytes, BIG);
	e->result = (int)conn_unsent(&e->owner->conn);
	free(bytes);
}

static void retire_here(struct worker *w UNUSED, struct errand *e)
{
	retire(e->owner);
}

/* Asks again and again: the answer takes a trip to the other thread each time. */
static void ask_until(struct crew *crew, struct worker *on, struct errand *e,
		      void (*question)(struct worker *, struct errand *), int answer)
{
	usec_t give_up = clock_monotonic() + GUARD_SEC * USEC_PER_SEC;

	do {
		e->run = question;
		run_errand(crew, on, e);
		assert_true(clock_monotonic() < give_up);
	} while (e->result != answer);
}

static void a_conn_takes_its_bytes_along_to_another_worker(void **state)
{
	struct crew *crew = *state;
	struct worker *here = crew->workers[0], *there = crew->workers[1];
	struct errand e = {.run = open_here};
	struct owner *o = owner_new(0, &e.result);
	struct sink s = {.owner = o, .total = BIG};

	o->is_silent = true;
	o->takes = 2;
	o->pauses = true;
	e.owner = o;
	run_errand(crew, here, &e);
	assert_int_equal(e.result, 0);
	peer_says(o, "abcdef");
	ask_until(crew, here, &e, look, 2);
	e.run = send_much;
	run_errand(crew, here, &e);
	assert_true(e.result > 0);
	peer_says(o, "gh");

	o->takes = SIZE_MAX; /* its Worker sleeps: it is paused, and hears of this by the message */
	o->pauses = false;
	e.run = leave;
	e.next = there;
	e.then = arrive;
	run_errand(crew, here, &e);
	assert_ptr_equal(e.from, there);
	assert_int_equal(e.result, 0);
	peer_says(o, "ij");
	ask_until(crew, there, &e, look, 10);
	assert_memory_equal(buf_data(&o->taken), "abcdefghij", 10);
	assert_true(pthread_equal(o->thread, there->thread));

	while (s.got < BIG) {
		drink(&s);
		e.run = look;
		run_errand(crew, there, &e);
	}
	assert_false(s.is_wrong);
	ask_until(crew, there, &e, look_for_drain, 1);
	e.run = retire_here;
	run_errand(crew, there, &e);
}

/* --- messages, gathers, jobs ---------------------------------------------- */

enum { MESSAGES = 5000, A_TURN = 17 };

struct numbered {
	struct message message; /* first */
	int number;
};

static struct {
	struct crew *crew;
	struct numbered all[MESSAGES];
	struct message go_on; /* of the sender to himself */
	int sent;
	int received, out_of_order; /* the receiver's, until `over` came home */
	struct message over;
	bool is_over;
} line;

static void note_over(struct worker *w UNUSED, struct message *m UNUSED)
{
	line.is_over = true;
}

static void take_number(struct worker *w, struct message *m)
{
	line.out_of_order += CONTAINER_OF(m, struct numbered, message)->number != line.received++;
	if (line.received == MESSAGES) {
		line.over.deliver = note_over;
		worker_post(w, w->crew->control, &line.over);
	}
}

static void send_numbers(struct worker *w, struct message *m)
{
	for (int i = 0; i < A_TURN && line.sent < MESSAGES; i++) {
		struct numbered *n = &line.all[line.sent];

		n->number = line.sent++;
		n->message.deliver = take_number;
		worker_post(w, line.crew->workers[1], &n->message);
	}
	if (line.sent < MESSAGES)
		worker_post(w, w, m);
}

static bool line_is_over(void *arg UNUSED)
{
	return line.is_over;
}

static void messages_between_two_workers_keep_their_order(void **state)
{
	memset(&line, 0, sizeof(line));
	line.crew = *state;
	line.go_on.deliver = send_numbers;
	worker_post(line.crew->control, line.crew->workers[0], &line.go_on);
	run_until(line.crew->control, line_is_over, NULL);
	assert_int_equal(line.received, MESSAGES);
	assert_int_equal(line.out_of_order, 0);
}

static void count_down(struct worker *w UNUSED, struct message *m)
{
	CONTAINER_OF(m, struct turns, message)->left--;
}

static void *post_from_outside(void *arg)
{
	struct turns *t = arg;

	worker_post_foreign(CONTAINER_OF(t->message.link.next, struct worker, inbox), &t->message);
	return NULL;
}

static void a_thread_that_is_no_worker_wakes_a_sleeping_one(void **state)
{
	struct worker *w = worker_of(state);
	struct turns t = {.message = {.deliver = count_down, .link.next = &w->inbox}, .left = 1};
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, post_from_outside, &t), 0);
	run_until(w, turns_are_over, &t);
	pthread_join(thread, NULL);
}

struct round_trip {
	int visits[8];
	pthread_t on[8];
	pthread_t done_on;
	int dones, visited_when_done;
};

static void visit(struct worker *w, void *ctx)
{
	struct round_trip *r = ctx;

	r->visits[w->index]++;
	r->on[w->index] = pthread_self();
}

static void visited(struct worker *control, void *ctx)
{
	struct round_trip *r = ctx;

	r->done_on = pthread_self();
	r->dones++;
	for (int i = 0; i < control->crew->n; i++)
		r->visited_when_done += r->visits[i];
}

static bool trip_is_done(void *arg)
{
	return ((struct round_trip *)arg)->dones > 0;
}

static void a_gather_visits_each_worker_once(void **state)
{
	struct crew *crew = *state;

	for (int i = 0; i < 20; i++) {
		struct round_trip r = {.dones = 0};

		crew_gather(crew, visit, visited, &r);
		assert_int_equal(r.visits[0] + r.dones, 0); /* never from in here */
		run_until(crew->control, trip_is_done, &r);
		assert_int_equal(r.dones, 1);
		assert_int_equal(r.visited_when_done, crew->n);
		assert_true(pthread_equal(r.done_on, pthread_self()));
		for (int j = 0; j < crew->n; j++) {
			assert_int_equal(r.visits[j], 1);
			assert_true(pthread_equal(r.on[j], crew->n > 1 ? crew->workers[j]->thread : pthread_self()));
		}
		for (int j = crew->n; j < 8; j++)
			assert_int_equal(r.visits[j], 0);
	}
}

enum { JOBS = 40 };

struct work {
	struct job job;
	int input, output;
	pthread_t ran_on, done_on;
	struct worker *told;
	struct message report;
	int *left; /* the control role's */
};

static void square(struct job *j)
{
	struct work *k = CONTAINER_OF(j, struct work, job);

	k->ran_on = pthread_self();
	k->output = k->input * k->input;
}

static void report(struct worker *w UNUSED, struct message *m)
{
	--*CONTAINER_OF(m, struct work, report)->left;
}

static void job_is_done(struct worker *w, struct job *j)
{
	struct work *k = CONTAINER_OF(j, struct work, job);

	k->done_on = pthread_self();
	k->told = w;
	k->report.deliver = report;
	worker_post(w, w->crew->control, &k->report);
}

static void submit(struct worker *w, struct message *m)
{
	struct work *k = CONTAINER_OF(m, struct work, report);

	k->job.run = square;
	k->job.done = job_is_done;
	crew_submit(w, LANE_COMPUTE, &k->job);
}

static bool is_zero(void *arg)
{
	return *(int *)arg == 0;
}

static void helper_jobs_return_to_who_asked(void **state)
{
	static struct work jobs[JOBS];
	struct crew *crew = *state;
	int left = JOBS;

	memset(jobs, 0, sizeof(jobs));
	for (int i = 0; i < JOBS; i++) {
		jobs[i].input = i;
		jobs[i].left = &left;
		jobs[i].report.deliver = submit;
		worker_post(crew->control, crew->workers[i % crew->total], &jobs[i].report);
	}
	run_until(crew->control, is_zero, &left);
	for (int i = 0; i < JOBS; i++) {
		struct worker *asker = crew->workers[i % crew->total];

		assert_int_equal(jobs[i].output, i * i);
		assert_ptr_equal(jobs[i].told, asker);
		assert_true(pthread_equal(jobs[i].done_on, asker == crew->control ? pthread_self() : asker->thread));
		assert_false(pthread_equal(jobs[i].ran_on, jobs[i].done_on));
	}
}

static void a_new_socket_goes_where_fewest_clients_are(void **state)
{
	struct crew *crew = *state;

	assert_ptr_equal(crew_least_loaded(crew), crew->workers[0]);
	atomic_store(&crew->workers[0]->client_count, 1);
	assert_ptr_equal(crew_least_loaded(crew), crew->workers[1]);
	atomic_store(&crew->workers[1]->client_count, 2);
	assert_ptr_equal(crew_least_loaded(crew), crew->workers[0]);
}

static void messages_under_way_are_delivered_after_the_threads_have_ended(void **state)
{
	struct crew *crew;
	struct turns a = {.message.deliver = count_down, .left = 1}, b = a;

	assert_int_equal(open_crew(state, 2), 0);
	crew = *state;
	worker_post(crew->workers[0], crew->control, &a.message);
	worker_post(crew->control, crew->workers[1], &b.message);
	crew_settle(crew);
	assert_int_equal(a.left, 0);
	assert_int_equal(b.left, 0);
	crew_free(crew);
}

/* Lines as the kernel writes them, to port 0xab61; times are in hundredths of a second. */
static void handshakes_are_told_by_port_state_and_age(void **state UNUSED)
{
#define LINE(port, st, timer) \
	"3678: 0100007F:" port " 0100007F:CB68 " st " 00000000:00000000 " timer "     0        0 0 0 000000000b1d3332\n"
	static const struct {
		const char *says, *line;
		int age_ms;
		bool is_one;
	} rows[] = {
		{"just begun, and anything is old", LINE("AB61", "03", "01:00000064 00000000"), 0, true},
		{"just begun", LINE("AB61", "03", "01:00000063 00000000"), 100, false},
		{"half a second old, we look for less", LINE("AB61", "03", "01:00000032 00000000"), 400, true},
		{"half a second old, within what the clock allows", LINE("AB61", "03", "01:00000032 00000000"), 515, true},
		{"half a second old, we look for more", LINE("AB61", "03", "01:00000032 00000000"), 600, false},
		{"about to be answered again", LINE("AB61", "03", "01:00000000 00000000"), 1000, true},
		{"answered again just now", LINE("AB61", "03", "01:000000C8 00000001"), 1400, true},
		{"answered again, and nobody replies", LINE("AB61", "03", "01:00000080 00000001"), 100, false},
		{"answered more often", LINE("AB61", "03", "01:00000190 00000002"), 100, false},
		{"another port", LINE("AB62", "03", "01:00000032 00000000"), 100, false},
		{"a connection", LINE("AB61", "01", "02:00000032 00000000"), 100, false},
		{"a listening socket", LINE("AB61", "0A", "00:00000000 00000000"), 0, false},
		{"one without a clock", LINE("AB61", "03", "00:00000000 00000000"), 0, false},
		{"a clock beyond sense", LINE("AB61", "03", "01:FFFFFFFFFFFFFFFF 00000000"), 0, false},
		{"IPv6", "   0: 00000000000000000000000001000000:AB61 00000000000000000000000001000000:CB68 03 "
			 "00000000:00000000 01:00000032 00000000     0        0 0 0 000000000b1d3332\n", 400, true},
		{"the heading", "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n", 0, false},
		{"a line that ends early", "3678: 0100007F:AB61 0100007F:CB68 03 00000000:00000000 01:0000", 0, false},
		{"nothing", "", 0, false},
	};
#undef LINE

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (handshake_is_older(rows[i].line, 0xab61, (usec_t)rows[i].age_ms * 1000, 100) != rows[i].is_one)
			fail_msg("%s", rows[i].says);
}

static int stop_helpers(void **state UNUSED)
{
	assert_true(crew_helpers_stop());
	return 0;
}

/* --- online restart --------------------------------------------------------- */

static bool has_drained(void *arg)
{
	return ((struct owner *)arg)->drains > 0;
}

static void a_conn_goes_on_where_another_process_stopped(void **state)
{
	struct crew *crew = *state;
	struct worker *w = crew->control;
	struct owner *o = owner_open(w, 0);
	char got[64];

	peer_says(o, "-new");
	assert_true(conn_restore(&o->conn, span_str("old"), span_str("unsent")));
	assert_int_equal(conn_unsent(&o->conn), 6);
	run_until(w, has_drained, o);
	run_turns(w);
	assert_int_equal(buf_len(&o->taken), 7);
	assert_memory_equal(buf_data(&o->taken), "old-new", 7);
	assert_int_equal(read(o->peer, got, sizeof(got)), 6);
	assert_memory_equal(got, "unsent", 6);
	retire(o);
	run_turns(w);
}

static void a_paused_one_is_shown_its_bytes_when_it_is_resumed(void **state)
{
	struct crew *crew = *state;
	struct worker *w = crew->control;
	struct owner *o = owner_open(w, 0);

	assert_true(conn_restore(&o->conn, span_str("old"), span_of(NULL, 0)));
	conn_pause(&o->conn);
	run_turns(w);
	heard_so_far(o, "");
	conn_resume(&o->conn);
	run_turns(w);
	heard_so_far(o, "[old]");
	retire(o);
	run_turns(w);
}

static void a_frozen_conn_says_and_hears_nothing(void **state)
{
	struct crew *crew = *state;
	struct worker *w = crew->control;
	struct owner *o = owner_open(w, 0);
	char *big = calloc(1, BIG), *got = calloc(1, BIG);
	size_t have = 0, unsent;

	assert_true(big && got);
	assert_true(conn_send(&o->conn, big, BIG));
	assert_true(conn_unsent(&o->conn) > 0);
	conn_freeze(&o->conn);
	unsent = conn_unsent(&o->conn);
	assert_true(conn_send(&o->conn, "more", 4));
	assert_int_equal(conn_unsent(&o->conn), unsent + 4);
	peer_says(o, "hello");
	/* There is room again; nobody makes use of it. */
	for (ssize_t n; (n = read(o->peer, got, BIG)) > 0;)
		have += (size_t)n;
	run_turns(w);
	assert_int_equal(conn_unsent(&o->conn), unsent + 4);
	assert_int_equal(have, BIG - unsent);
	heard_so_far(o, "");
	conn_unsuspend(&o->conn);
	run_turns(w);
	assert_non_null(strstr(o->heard, "[hello]"));
	for (ssize_t n; conn_unsent(&o->conn) > 0 || (n = read(o->peer, got, BIG)) > 0;) {
		run_turns(w);
		while ((n = read(o->peer, got, BIG)) > 0)
			have += (size_t)n;
	}
	assert_int_equal(have, BIG + 4);
	retire(o);
	run_turns(w);
	free(big);
	free(got);
}

static void an_abandoned_conn_says_nothing_even_at_its_end(void **state)
{
	struct crew *crew = *state;
	struct worker *w = crew->control;
	struct owner *o = owner_open(w, 0);
	char got[64];
	int peer = dup(o->peer);

	assert_true(conn_restore(&o->conn, span_of(NULL, 0), span_str("unsent")));
	conn_abandon(&o->conn);
	assert_false(conn_send(&o->conn, "last words", 10));
	retire(o);
	run_turns(w);
	assert_int_equal(read(peer, got, sizeof(got)), 0);
	close(peer);
}

/* A file that holds its number, to be read from the start. */
static int numbered_file(uint16_t n)
{
	FILE *f = tmpfile();
	int fd;

	assert_non_null(f);
	fd = fcntl(fileno(f), F_DUPFD_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, &n, sizeof(n), 0), sizeof(n));
	fclose(f);
	return fd;
}

static void put_aside_and_take_out(int count)
{
	enum { FILES = 7 };
	struct fd_pouch p;
	int files[FILES], next;

	for (int i = 0; i < FILES; i++)
		files[i] = numbered_file((uint16_t)i);
	fd_pouch_init(&p);
	for (int n = 0; n < count; n++)
		assert_true(fd_pouch_put(&p, files[n % FILES]));
	assert_true(fd_pouch_seal(&p));
	for (int i = 0; i < FILES; i++)
		close(files[i]);
	for (int n = 0; n < count; n++) {
		int fd = fd_pouch_take(&p);
		uint16_t number;

		assert_true(fd >= 0);
		assert_int_equal(pread(fd, &number, sizeof(number), 0), sizeof(number));
		assert_int_equal(number, n % FILES);
		assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		close(fd);
	}
	next = fd_pouch_take(&p);
	assert_int_equal(next, -1);
	fd_pouch_free(&p);
}

static void a_pouch_gives_back_what_was_put_in_in_that_order(void **state)
{
	/* None, around a full batch, and more than one pair of sockets takes, as far as the limit lets us. */
	int counts[] = {0, 1, 31, 32, 33, 64, 500, 12000};
	struct rlimit limit;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	for (size_t i = 0; i < ARRAY_LEN(counts); i++)
		put_aside_and_take_out((rlim_t)counts[i] < limit.rlim_cur / 2 ? counts[i] : (int)(limit.rlim_cur / 2));
}

static void a_pouch_that_is_not_emptied_closes_what_is_in_it(void **state)
{
	int before = numbered_file(0), after;

	(void)state;
	for (int taken = 0; taken < 3; taken++) {
		struct fd_pouch p;

		fd_pouch_init(&p);
		for (int n = 0; n < 40; n++)
			assert_true(fd_pouch_put(&p, before));
		assert_true(fd_pouch_seal(&p));
		for (int n = 0; n < taken; n++)
			close(fd_pouch_take(&p));
		fd_pouch_free(&p);
	}
	/* The lowest number is free again. */
	after = numbered_file(0);
	assert_int_equal(after, before + 1);
	close(after);
	close(before);
}

#define on_one(test) cmocka_unit_test_setup_teardown(test, one_worker, close_crew)
#define on_two(test) cmocka_unit_test_setup_teardown(test, two_threads, stop_threads)
#define named(name, test, up, down) {name, test, up, down, NULL}

int main(void)
{
	const struct CMUnitTest tests[] = {
		on_one(bytes_left_are_shown_again_with_what_follows),
		on_one(a_paused_conn_hears_nothing_until_it_is_resumed),
		on_one(resuming_shows_what_was_left_without_new_bytes),
		on_one(the_end_comes_after_the_data),
		on_one(a_stream_arrives_whole_however_it_is_taken),
		on_one(what_the_socket_refuses_is_sent_later_and_told_once),
		on_one(a_failed_send_is_told_from_the_ready_list_and_once),
		on_one(a_deadline_comes_and_not_early),
		on_one(a_connection_is_told_later_and_never_from_within),
		on_one(an_owner_may_retire_in_every_callback),
		on_one(a_retired_owner_lives_to_the_end_of_the_turn),
		on_one(what_was_about_to_be_told_is_told_after_the_move),
		on_two(a_conn_takes_its_bytes_along_to_another_worker),
		on_two(messages_between_two_workers_keep_their_order),
		on_one(a_thread_that_is_no_worker_wakes_a_sleeping_one),
		on_two(a_gather_visits_each_worker_once),
		named("a_gather_with_one_worker", a_gather_visits_each_worker_once, one_worker, close_crew),
		on_two(helper_jobs_return_to_who_asked),
		named("helper_jobs_with_one_worker", helper_jobs_return_to_who_asked, one_worker, close_crew),
		on_two(a_new_socket_goes_where_fewest_clients_are),
		on_one(a_conn_goes_on_where_another_process_stopped),
		on_one(a_paused_one_is_shown_its_bytes_when_it_is_resumed),
		on_one(a_frozen_conn_says_and_hears_nothing),
		on_one(an_abandoned_conn_says_nothing_even_at_its_end),
		cmocka_unit_test(a_pouch_gives_back_what_was_put_in_in_that_order),
		cmocka_unit_test(a_pouch_that_is_not_emptied_closes_what_is_in_it),
		cmocka_unit_test(messages_under_way_are_delivered_after_the_threads_have_ended),
		cmocka_unit_test(handshakes_are_told_by_port_state_and_age),
	};

	return cmocka_run_group_tests(tests, NULL, stop_helpers);
}
