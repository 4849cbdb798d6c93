#include "admin/waiting.h"

#include <stdlib.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "pool/share.h"
#include "pool/suspend.h"

#define POLL_USEC 50000
#define SUSPEND_POLL_USEC 5000 /* nobody is accepted meanwhile */
#define CLEAN_ROUNDS 2	       /* see pool/suspend.h */
#define HANDOVER_PATIENCE USEC_PER_SEC /* nobody else is served as long */

/* Touched by the control role only. */
static struct {
	struct list asks;
	struct event *timer; /* owned; made when first needed */
	bool is_polling;
	/* SUSPEND: who began it and when, and how often in a row everything was found at rest. */
	uint64_t suspender;
	bool hands_over;
	usec_t suspended_at;
	int clean_rounds;
} waiting;

static struct crew *crew(void)
{
	return console_host.pooler->crew;
}

void waiting_open(void)
{
	list_init(&waiting.asks);
}

void waiting_stop(void)
{
	while (!list_empty(&waiting.asks))
		ask_forget(LIST_ITEM(waiting.asks.next, struct ask, link));
	if (waiting.timer)
		event_free(waiting.timer);
	waiting.timer = NULL;
}

struct poll_row { /* one a share */
	const struct database *database; /* compared only: the share may be gone by now */
	int busy, servers, closing;
};

struct poll_part {
	struct poll_row *rows; /* owned */
	size_t n, cap;
	int restless; /* connections that SUSPEND waits for */
};

struct poll {
	bool suspends;
	struct suspension suspension;
	struct poll_part parts[WORKERS_MAX];
};

static void poll_visit(struct worker *w, void *ctx)
{
	struct poll *p = ctx;
	struct poll_part *part = &p->parts[w->index];

	if (p->suspends)
		part->restless = suspend_step(room_of(w), &p->suspension);
	LIST_FOR(node, &room_of(w)->shares) {
		const struct share *s = LIST_ITEM(node, struct share, link);
		struct poll_row *row;

		if (part->n == part->cap) {
			part->cap = part->cap ? part->cap * 2 : 16;
			part->rows = xrealloc(part->rows, part->cap * sizeof(*part->rows));
		}
		row = &part->rows[part->n++];
		*row = (struct poll_row){s->pool->database, 0, 0, 0};
		row->busy = s->servers[SV_ACTIVE].count + s->servers[SV_TESTED].count;
		for (int state = 0; state < SERVER_STATES; state++) {
			row->servers += s->servers[state].count;
			LIST_FOR(link, &s->servers[state].head)
				row->closing += LIST_ITEM(link, struct server, link)->wants_close;
		}
	}
}

/* The sum over the shares of one database, or of all. */
static struct poll_row poll_sum(const struct poll *p, const struct database *only)
{
	struct poll_row sum = {only, 0, 0, 0};

	for (int i = 0; i < crew()->n; i++)
		for (size_t j = 0; j < p->parts[i].n; j++) {
			const struct poll_row *row = &p->parts[i].rows[j];

			if (only && row->database != only)
				continue;
			sum.busy += row->busy;
			sum.servers += row->servers;
			sum.closing += row->closing;
		}
	return sum;
}

static void resumed_too_early(struct ask *a, const char *word)
{
	/* Saying PAUSE now would make somebody believe that nothing runs. */
	ask_fail(a, CONSOLE_SQLSTATE, "RESUME came before %s was done", word);
}

static void judge_waiting(struct ask *a, const struct poll *p)
{
	struct poll_row sum = poll_sum(p, a->database);

	if (a->is_cancelled) {
		ask_fail(a, CONSOLE_SQLSTATE, "canceling statement due to user request");
		return;
	}
	switch (a->waits_for) {
	case WAITS_NOT:
		break;
	case WAITS_PAUSE:
		if (console_host.ops->pause() != PAUSED)
			resumed_too_early(a, "PAUSE");
		else if (sum.busy == 0)
			ask_done(a, "PAUSE");
		break;
	case WAITS_DATABASE_PAUSE:
		if (!atomic_load_explicit(&a->database->is_paused, memory_order_relaxed))
			resumed_too_early(a, "PAUSE");
		else if (sum.servers == 0)
			ask_done(a, "PAUSE");
		break;
	case WAITS_SUSPEND:
		if (console_host.ops->pause() != SUSPENDED)
			resumed_too_early(a, "SUSPEND");
		else if (waiting.clean_rounds >= CLEAN_ROUNDS)
			ask_done(a, "SUSPEND");
		break;
	case WAITS_CLOSE:
		if (sum.closing == 0)
			ask_done(a, "WAIT_CLOSE");
		break;
	}
}

static void start_poll(void);

static void on_poll_timer(evutil_socket_t fd UNUSED, short what UNUSED, void *arg UNUSED)
{
	start_poll();
}

static void poll_again_later(void)
{
	const struct timeval tv = {0, console_host.ops->pause() == SUSPENDED ? SUSPEND_POLL_USEC : POLL_USEC};

	if (!waiting.timer)
		waiting.timer = evtimer_new(crew()->control->base, on_poll_timer, NULL);
	if (!waiting.timer || evtimer_add(waiting.timer, &tv) < 0)
		log_error("no memory for a timer: waiting console commands wait for the next one");
}

static void poll_done(struct worker *w UNUSED, void *ctx)
{
	struct poll *p = ctx;
	struct list now;

	waiting.is_polling = false;
	if (p->suspends) {
		int restless = 0;

		for (int i = 0; i < crew()->n; i++)
			restless += p->parts[i].restless;
		waiting.clean_rounds = restless ? 0 : waiting.clean_rounds + 1;
	}
	list_init(&now);
	/* An answer lets the queue go on, and what begins to wait there has not been looked at. */
	list_splice_tail(&now, &waiting.asks);
	while (!list_empty(&now)) {
		struct ask *a = LIST_ITEM(now.next, struct ask, link);

		list_del(&a->link);
		list_add_tail(&waiting.asks, &a->link);
		judge_waiting(a, p);
	}
	for (int i = 0; i < crew()->n; i++)
		free(p->parts[i].rows);
	free(p);
	if (!list_empty(&waiting.asks) && !waiting.is_polling)
		poll_again_later();
}

static void start_poll(void)
{
	struct poll *p;

	if (waiting.is_polling || list_empty(&waiting.asks))
		return;
	waiting.is_polling = true;
	p = xcalloc(1, sizeof(*p));
	if (console_host.ops->pause() == SUSPENDED) {
		usec_t timeout = config_settings(console_host.ops->config())->suspend_timeout;
		usec_t age = clock_monotonic() - waiting.suspended_at;

		p->suspends = true;
		p->suspension.hands_over = waiting.hands_over;
		p->suspension.is_patient = age < HANDOVER_PATIENCE;
		p->suspension.closes_rest = timeout > 0 && age >= timeout;
	}
	crew_gather(crew(), poll_visit, poll_done, p);
}

void ask_wait(struct ask *a, enum waits_for what)
{
	a->waits_for = what;
	ask_step_aside(a);
	list_add_tail(&waiting.asks, &a->link);
	start_poll();
	ask_go_on();
}

/* ---- SUSPEND ---- */

void waiting_begin_suspend(const struct ask *a, bool hands_over)
{
	waiting.suspender = a->client_id;
	waiting.hands_over = hands_over;
	waiting.suspended_at = clock_monotonic();
	/* A round that is under way may have begun before an earlier SUSPEND ended: it does not count. */
	waiting.clean_rounds = waiting.is_polling ? -1 : 0;
}

void waiting_client_gone(uint64_t client_id)
{
	if (console_host.ops->pause() != SUSPENDED || waiting.suspender != client_id)
		return;
	log_info("admin disappeared when suspended, doing RESUME");
	console_host.ops->set_pause(RUNNING, NULL, NULL);
}

/* ---- a cancel request for a console ---- */

static struct ask *find_waiting(uint64_t client_id)
{
	LIST_FOR(node, &waiting.asks) {
		struct ask *a = LIST_ITEM(node, struct ask, link);

		if (a->client_id == client_id)
			return a;
	}
	return NULL;
}

void waiting_cancel(uint64_t client_id)
{
	struct ask *a = find_waiting(client_id);

	if (!a && !ask_is_running(client_id))
		log_warning("admin cancel request for non-waiting client?");
	if (console_host.ops->pause() != RUNNING && console_host.ops->shutdown_mode() == SHUTDOWN_NONE) {
		log_info("cancel request for a console, doing RESUME");
		console_host.ops->set_pause(RUNNING, NULL, NULL);
	}
	if (!a)
		return;
	a->is_cancelled = true;
	if (a->waits_for == WAITS_DATABASE_PAUSE)
		verb_end_pause(a->database);
	start_poll();
}
