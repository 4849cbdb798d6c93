#include "backup/loop.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>

#include "lib/mem.h"

/* poll(2) sleeps by a clock that stands still while the machine sleeps, so it looks at ours this often at least. */
#define LONGEST_NAP (10 * USEC_PER_SEC)

struct loop {
	struct list watches, timers;
	struct pollfd *fds;	     /* owned; of the turn under way */
	struct loop_watch **watched; /* owned; beside fds; NULL where one was taken out meanwhile */
	size_t count, cap;	     /* of both */
	bool is_interrupted, is_turning;
	unsigned deaf; /* loop_deafen() without its loop_listen() so far */
};

usec_t loop_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (usec_t)ts.tv_sec * USEC_PER_SEC + ts.tv_nsec / 1000;
}

struct loop *loop_new(void)
{
	struct loop *l = xcalloc(1, sizeof(*l));

	list_init(&l->watches);
	list_init(&l->timers);
	return l;
}

static void unlink_all(struct list *head)
{
	while (!list_empty(head))
		list_del(head->next);
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	assert(!l->is_turning);
	unlink_all(&l->watches);
	unlink_all(&l->timers);
	free(l->fds);
	free(l->watched);
	free(l);
}

/* Zeroed structs are as good as cleared ones. */
static void unlink_node(struct list *n)
{
	if (n->next)
		list_del(n);
	else
		list_init(n);
}

/* What poll() reported for the former descriptor or events is no news of the new ones. */
static void forget_report(struct loop *l, const struct loop_watch *w)
{
	for (size_t i = 0; l->is_turning && i < l->count; i++)
		if (l->watched[i] == w)
			l->watched[i] = NULL;
}

void loop_watch_set(struct loop *l, struct loop_watch *w, int fd, short events)
{
	assert(fd >= 0);
	if (!w->link.next || list_empty(&w->link) || w->fd != fd) {
		loop_watch_clear(l, w);
		list_add_tail(&l->watches, &w->link);
	}
	w->fd = fd;
	w->events = events;
}

void loop_watch_clear(struct loop *l, struct loop_watch *w)
{
	forget_report(l, w);
	unlink_node(&w->link);
	w->fd = -1;
}

void loop_timer_set(struct loop *l, struct loop_timer *t, usec_t due)
{
	unlink_node(&t->link);
	t->due = due;
	if (due)
		list_add_tail(&l->timers, &t->link);
}

void loop_timer_clear(struct loop *l, struct loop_timer *t)
{
	(void)l;
	unlink_node(&t->link);
	t->due = 0;
}

static void collect(struct loop *l)
{
	l->count = 0;
	LIST_FOR(n, &l->watches) {
		struct loop_watch *w = LIST_ITEM(n, struct loop_watch, link);

		if (l->count == l->cap) {
			l->cap = l->cap ? l->cap * 2 : 16;
			l->fds = xrealloc(l->fds, l->cap * sizeof(*l->fds));
			l->watched = xrealloc(l->watched, l->cap * sizeof(struct loop_watch *));
		}
		/* Hang-ups are reported unasked: who asks for nothing now hears of them when he asks again. */
		l->fds[l->count] = (struct pollfd){.fd = w->events ? w->fd : -1, .events = w->events};
		l->watched[l->count++] = w;
	}
}

static struct timespec nap(const struct loop *l, usec_t deadline)
{
	usec_t now = loop_now(), wake = now + LONGEST_NAP;

	if (deadline && deadline < wake)
		wake = deadline;
	LIST_FOR(n, &l->timers) {
		const struct loop_timer *t = LIST_ITEM(n, struct loop_timer, link);

		if (t->due < wake)
			wake = t->due;
	}
	if (wake < now)
		wake = now;
	return (struct timespec){.tv_sec = (wake - now) / USEC_PER_SEC, .tv_nsec = (wake - now) % USEC_PER_SEC * 1000};
}

static void tell_watches(struct loop *l)
{
	for (size_t i = 0; i < l->count; i++) {
		struct loop_watch *w = l->watched[i];
		short revents = l->fds[i].revents;

		/* An earlier callback of this turn may have changed what is wanted. */
		if (w && w->events && (revents & (w->events | POLLERR | POLLHUP | POLLNVAL)))
			w->ready(w, revents);
	}
}

static void fire_timers(struct loop *l)
{
	struct list due;
	usec_t now = loop_now();

	/* Taken out first, so that one that sets itself again is not fired twice in a turn. */
	list_init(&due);
	LIST_FOR_SAFE(n, &l->timers) {
		if (LIST_ITEM(n, struct loop_timer, link)->due > now)
			continue;
		list_del(n);
		list_add_tail(&due, n);
	}
	while (!list_empty(&due)) {
		struct loop_timer *t = LIST_ITEM(due.next, struct loop_timer, link);

		loop_timer_clear(l, t);
		t->fire(t);
	}
}

static void turn(struct loop *l, usec_t deadline)
{
	struct timespec longest;
	int n;

	assert(!l->is_turning); /* a callback waited */
	l->is_turning = true;
	collect(l);
	longest = nap(l, deadline);
	n = ppoll(l->fds, l->count, &longest, NULL);
	assert(n >= 0 || errno == EINTR || errno == ENOMEM);
	if (n > 0)
		tell_watches(l);
	fire_timers(l);
	l->is_turning = false;
}

enum loop_end loop_wait_until(struct loop *l, const bool *done, usec_t deadline)
{
	while (!*done) {
		if (l->is_interrupted && !l->deaf)
			return LOOP_INTERRUPTED;
		if (deadline && loop_now() >= deadline)
			return LOOP_TIMED_OUT;
		turn(l, deadline);
	}
	return LOOP_DONE;
}

bool loop_wait(struct loop *l, const bool *done)
{
	return loop_wait_until(l, done, 0) == LOOP_DONE;
}

bool loop_wait_through(struct loop *l, const bool *done, usec_t deadline)
{
	while (!*done) {
		if (deadline && loop_now() >= deadline)
			return false;
		turn(l, deadline);
	}
	return true;
}

bool loop_breathe(struct loop *l)
{
	turn(l, 1);
	return !l->is_interrupted || l->deaf;
}

void loop_interrupt(struct loop *l)
{
	l->is_interrupted = true;
}

bool loop_is_interrupted(const struct loop *l)
{
	return l->is_interrupted;
}

void loop_resume(struct loop *l)
{
	l->is_interrupted = false;
}

void loop_deafen(struct loop *l)
{
	l->deaf++;
}

void loop_listen(struct loop *l)
{
	assert(l->deaf > 0);
	l->deaf--;
}
