#include "net/worker.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "lib/oom.h"
#include "net/conn.h"
#include "net/crew.h"

usec_t clock_monotonic(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (usec_t)ts.tv_sec * USEC_PER_SEC + ts.tv_nsec / 1000;
}

static void on_wheel_timer(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct worker *w = arg;

	w->wheel_armed = 0;
}

static void arm_confirm(struct worker *w)
{
	const struct timeval second = {1, 0};

	if (w->confirm_armed)
		return;
	w->confirm_armed = true;
	evtimer_add(&w->confirm_timer, &second);
}

/* Those of the second before last have been silent for a whole one. */
static void on_confirm_timer(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct worker *w = arg;

	w->confirm_armed = false;
	while (!list_empty(&w->unconfirmed_old)) {
		struct list *link = w->unconfirmed_old.next;

		list_del(link);
		conn_confirm(CONTAINER_OF(link, struct conn, confirm_link));
	}
	list_splice_tail(&w->unconfirmed_old, &w->unconfirmed);
	if (!list_empty(&w->unconfirmed_old))
		arm_confirm(w);
}

void worker_confirm_later(struct worker *w, struct list *link)
{
	if (!list_empty(link))
		return;
	list_add_tail(&w->unconfirmed, link);
	arm_confirm(w);
}

/* The eventfd is cleared before the list is taken: a message posted in between rings again. */
static void on_inbox(evutil_socket_t fd, short what UNUSED, void *arg)
{
	struct worker *w = arg;
	uint64_t count;

	while (read(fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	w->inbox_rang = true;
}

static struct event_base *base_with(int flags)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	if (!config)
		return NULL;
	/* No libevent call crosses threads, so its locks would only cost. */
	if (event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | flags) == 0 &&
	    event_config_require_features(config, EV_FEATURE_ET | EV_FEATURE_EARLY_CLOSE) == 0)
		base = event_base_new_with_config(config);
	event_config_free(config);
	return base;
}

static struct event_base *make_base(void)
{
	struct event_base *base = base_with(0);

	if (base)
		return base;
	base = base_with(EVENT_BASE_FLAG_IGNORE_ENV);
	if (base)
		log_warning("EVENT_NOEPOLL is passed over: nothing but epoll will do");
	else
		log_error("no event back end with edge triggers and early close (epoll is needed)");
	return base;
}

struct worker *worker_new(struct crew *crew, int index)
{
	struct worker *w = xcalloc(1, sizeof(*w));

	w->crew = crew;
	w->index = index;
	w->inbox_fd = -1;
	pthread_mutex_init(&w->inbox_lock, NULL);
	list_init(&w->inbox);
	list_init(&w->self_box);
	list_init(&w->ready);
	list_init(&w->retired);
	list_init(&w->unconfirmed);
	list_init(&w->unconfirmed_old);
	buf_init(&w->cipher_out);
	send_batch_init(&w->sends);
	w->read_cap = WORKER_SCRATCH_BYTES;
	w->idle_read_cap = 4096;
	w->outboxes = xcalloc((size_t)crew->total, sizeof(*w->outboxes));
	for (int i = 0; i < crew->total; i++)
		list_init(&w->outboxes[i]);
	w->scratch = xmalloc(WORKER_HEADROOM_BYTES + WORKER_SCRATCH_BYTES);
	w->cipher_scratch = xmalloc(WORKER_SCRATCH_BYTES);
	wheel_init(&w->wheel, clock_monotonic());
	w->base = make_base();
	if (!w->base)
		goto failed;
	w->inbox_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (w->inbox_fd < 0) {
		log_error("eventfd: %s", strerror(errno));
		goto failed;
	}
	evtimer_assign(&w->wheel_timer, w->base, on_wheel_timer, w);
	evtimer_assign(&w->confirm_timer, w->base, on_confirm_timer, w);
	event_assign(&w->inbox_event, w->base, w->inbox_fd, EV_READ | EV_PERSIST, on_inbox, w);
	if (event_add(&w->inbox_event, NULL) < 0)
		goto failed;
	return w;
failed:
	worker_free(w);
	return NULL;
}

static void release_retired(struct worker *w)
{
	/* A release may retire something else. */
	while (!list_empty(&w->retired)) {
		struct list moving;

		list_init(&moving);
		list_splice_tail(&moving, &w->retired);
		LIST_FOR_SAFE(node, &moving) {
			struct retiree *r = LIST_ITEM(node, struct retiree, link);

			list_del(node);
			r->release(r);
		}
	}
}

void worker_free(struct worker *w)
{
	if (!w)
		return;
	release_retired(w);
	if (w->inbox_fd >= 0) {
		if (w->base)
			event_del(&w->inbox_event);
		close(w->inbox_fd);
	}
	if (w->base) {
		event_del(&w->wheel_timer);
		event_del(&w->confirm_timer);
		event_base_free(w->base);
	}
	buf_free(&w->cipher_out);
	while (w->spare_count > 0) {
		struct buf *b = w->spares[--w->spare_count];

		buf_free(b);
		free(b);
	}
	send_batch_free(&w->sends);
	pthread_mutex_destroy(&w->inbox_lock);
	free(w->outboxes);
	free(w->scratch);
	free(w->cipher_scratch);
	free(w);
}

static void append_inbox(struct worker *to, struct list *messages)
{
	bool was_empty;

	pthread_mutex_lock(&to->inbox_lock);
	was_empty = list_empty(&to->inbox);
	list_splice_tail(&to->inbox, messages);
	pthread_mutex_unlock(&to->inbox_lock);
	if (was_empty) {
		const uint64_t one = 1;

		while (write(to->inbox_fd, &one, sizeof(one)) < 0 && errno == EINTR)
			;
	}
}

void worker_post(struct worker *from, struct worker *to, struct message *m)
{
	list_init(&m->link);
	list_add_tail(from == to ? &from->self_box : &from->outboxes[to->index], &m->link);
}

void worker_post_foreign(struct worker *to, struct message *m)
{
	struct list one;

	list_init(&one);
	list_init(&m->link);
	list_add_tail(&one, &m->link);
	append_inbox(to, &one);
}

void worker_retire(struct worker *w, struct retiree *r, void (*release)(struct retiree *))
{
	r->release = release;
	list_init(&r->link);
	list_add_tail(&w->retired, &r->link);
}

static void run_deadlines(struct worker *w)
{
	struct list due;

	list_init(&due);
	wheel_advance(&w->wheel, worker_now(w), &due);
	while (!list_empty(&due)) {
		struct wheel_node *n = LIST_ITEM(due.next, struct wheel_node, link);

		/* Taken off one by one: a handler may forget a later node of this very list. */
		list_del(&n->link);
		conn_deadline_due(n);
	}
}

static void run_ready(struct worker *w)
{
	struct list now;

	/* What joins meanwhile waits for the next turn, so that sockets get theirs. */
	list_init(&now);
	list_splice_tail(&now, &w->ready);
	w->handshakes_left = WORKER_HANDSHAKES_A_TURN;
	while (!list_empty(&now)) {
		struct conn *c = LIST_ITEM(now.next, struct conn, ready_link);

		list_del(&c->ready_link);
		conn_ready_turn(c);
	}
}

static void run_inbox(struct worker *w)
{
	struct list moving;

	list_init(&moving);
	list_splice_tail(&moving, &w->self_box);
	/* Most turns of the query path have no message from anybody, and take no lock. */
	if (w->inbox_rang) {
		w->inbox_rang = false;
		pthread_mutex_lock(&w->inbox_lock);
		list_splice_tail(&moving, &w->inbox);
		pthread_mutex_unlock(&w->inbox_lock);
	}
	while (!list_empty(&moving)) {
		struct message *m = LIST_ITEM(moving.next, struct message, link);

		list_del(&m->link);
		m->deliver(w, m);
	}
}

static void flush_outboxes(struct worker *w)
{
	for (int i = 0; i < w->crew->total; i++)
		if (!list_empty(&w->outboxes[i]))
			append_inbox(w->crew->workers[i], &w->outboxes[i]);
}

static void arm_wheel(struct worker *w)
{
	usec_t next = wheel_next(&w->wheel), wait;
	struct timeval tv;

	if (next < 0 || (w->wheel_armed && w->wheel_armed <= next))
		return;
	wait = next - worker_now(w);
	if (wait < 1000)
		wait = 1000;
	tv.tv_sec = wait / USEC_PER_SEC;
	tv.tv_usec = wait % USEC_PER_SEC;
	evtimer_add(&w->wheel_timer, &tv);
	w->wheel_armed = next;
}

void worker_run(struct worker *w)
{
	oom_here();
	send_batch_start(&w->sends);
	while (!w->wants_stop) {
		bool busy = !list_empty(&w->ready) || !list_empty(&w->self_box);

		arm_wheel(w);
		w->clock_is_read = false;
		event_base_loop(w->base, EVLOOP_ONCE | (busy ? EVLOOP_NONBLOCK : 0));
		run_deadlines(w);
		run_ready(w);
		run_inbox(w);
		if (w->on_turn)
			w->on_turn(w);
		send_batch_flush(&w->sends);
		flush_outboxes(w);
		release_retired(w);
	}
	send_batch_flush(&w->sends);
	flush_outboxes(w);
}

void worker_stop(struct worker *w)
{
	w->wants_stop = true;
}

bool worker_settle(struct worker *w)
{
	bool busy = !list_empty(&w->self_box);

	pthread_mutex_lock(&w->inbox_lock);
	busy |= !list_empty(&w->inbox);
	pthread_mutex_unlock(&w->inbox_lock);
	w->inbox_rang = true;
	run_inbox(w);
	/* Another thread's hands, which its ring would not take. */
	w->sends.wants_ring = false;
	send_batch_flush(&w->sends);
	flush_outboxes(w);
	return busy;
}
