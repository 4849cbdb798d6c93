/* The control role's side of a command: the queue, the answer, and those that wait. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/ask.h"
#include "admin/stats_book.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "pool/share.h"
#include "proto/writer.h"

#define WAIT_POLL_USEC 50000

struct console_host console_host;
struct console_counters console_counters;

/* Touched by the control role only. */
static struct {
	struct list queue;   /* asks that have not begun */
	struct list waiting; /* asks that wait for servers to go */
	struct ask *running;
	bool is_emptying;
	bool is_polling;
	struct event *poll_timer; /* owned; made when first needed */
} control;

void console_init(struct pooler *pooler, const struct control_ops *ops)
{
	console_host = (struct console_host){pooler, ops};
	list_init(&control.queue);
	list_init(&control.waiting);
	stats_book_open(clock_monotonic());
}

static void forget_all(struct list *asks)
{
	while (!list_empty(asks)) {
		struct ask *a = LIST_ITEM(asks->next, struct ask, link);

		list_del(&a->link);
		database_put(&console_host.pooler->registry, a->database);
		ask_free(a);
	}
}

void console_stop(void)
{
	forget_all(&control.queue);
	forget_all(&control.waiting);
	if (control.poll_timer)
		event_free(control.poll_timer);
	control.poll_timer = NULL;
	stats_book_open(0);
}

static struct crew *crew(void)
{
	return console_host.pooler->crew;
}

struct ask *ask_new(struct client *c, const char *text)
{
	struct ask *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->text = strdup(text);
	if (!a->text) {
		free(a);
		return NULL;
	}
	list_init(&a->link);
	buf_init(&a->answer);
	a->worker = c->conn.worker->index;
	a->client_id = c->id;
	a->is_admin = c->is_admin;
	a->wants_heading = true;
	a->verdict = command_parse(text, &a->command);
	return a;
}

void ask_free(struct ask *a)
{
	buf_free(&a->answer);
	free(a->text);
	free(a->error);
	free(a);
}

/* One after the other; a command that is done at once does not nest in the next. */
static void empty_queue(void)
{
	if (control.is_emptying)
		return;
	control.is_emptying = true;
	while (!control.running && !list_empty(&control.queue)) {
		control.running = LIST_ITEM(control.queue.next, struct ask, link);
		list_del(&control.running->link);
		verb_run(control.running);
	}
	control.is_emptying = false;
}

static void take_ask(struct worker *w UNUSED, struct message *m)
{
	struct ask *a = CONTAINER_OF(m, struct ask, message);

	list_add_tail(&control.queue, &a->link);
	empty_queue();
}

void ask_send(struct worker *w, struct ask *a)
{
	a->message.deliver = take_ask;
	worker_post(w, w->crew->control, &a->message);
}

static void send_back(struct ask *a)
{
	database_put(&console_host.pooler->registry, a->database);
	a->database = NULL;
	list_del(&a->link);
	a->message.deliver = console_answer;
	worker_post(crew()->control, crew()->workers[a->worker], &a->message);
	if (control.running == a)
		control.running = NULL;
	empty_queue();
}

void ask_done(struct ask *a, const char *tag)
{
	put_command_complete(&a->answer, tag);
	send_back(a);
}

void ask_fail(struct ask *a, const char *sqlstate, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	if (vasprintf(&a->error, fmt, args) < 0)
		a->error = xstrdup("out of memory");
	va_end(args);
	a->sqlstate = sqlstate;
	log_error("%s", a->error);
	send_back(a);
}

void ask_invalid(struct ask *a)
{
	ask_fail(a, CONSOLE_SQLSTATE, "invalid command '%s', use SHOW HELP;", a->text);
}

void ask_silent(struct ask *a)
{
	a->is_silent = true;
	send_back(a);
}

/* ---- those that wait ---- */

struct poll_row { /* one a share */
	const struct database *database; /* compared only: the share may be gone by now */
	int busy, servers, closing;
};

struct poll_part {
	struct poll_row *rows; /* owned */
	size_t n, cap;
};

struct poll {
	struct poll_part parts[WORKERS_MAX];
};

static void poll_visit(struct worker *w, void *ctx)
{
	struct poll_part *part = &((struct poll *)ctx)->parts[w->index];

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

static void judge_waiting(struct ask *a, const struct poll *p)
{
	struct poll_row sum = poll_sum(p, a->database);

	switch (a->waits_for) {
	case WAITS_NOT:
		break;
	case WAITS_PAUSE:
		/* Saying PAUSE now would make somebody believe that nothing runs. */
		if (console_host.ops->pause() == RUNNING)
			ask_fail(a, CONSOLE_SQLSTATE, "RESUME came before PAUSE was done");
		else if (sum.busy == 0)
			ask_done(a, "PAUSE");
		break;
	case WAITS_DATABASE_PAUSE:
		if (!atomic_load_explicit(&a->database->is_paused, memory_order_relaxed))
			ask_fail(a, CONSOLE_SQLSTATE, "RESUME came before PAUSE was done");
		else if (sum.servers == 0)
			ask_done(a, "PAUSE");
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
	const struct timeval tv = {0, WAIT_POLL_USEC};

	if (!control.poll_timer)
		control.poll_timer = evtimer_new(crew()->control->base, on_poll_timer, NULL);
	if (!control.poll_timer || evtimer_add(control.poll_timer, &tv) < 0)
		log_error("no memory for a timer: waiting console commands wait for the next one");
}

static void poll_done(struct worker *w UNUSED, void *ctx)
{
	struct poll *p = ctx;
	struct list now;

	control.is_polling = false;
	list_init(&now);
	/* An answer lets the queue go on, and what begins to wait there has not been looked at. */
	list_splice_tail(&now, &control.waiting);
	while (!list_empty(&now)) {
		struct ask *a = LIST_ITEM(now.next, struct ask, link);

		list_del(&a->link);
		list_add_tail(&control.waiting, &a->link);
		judge_waiting(a, p);
	}
	for (int i = 0; i < crew()->n; i++)
		free(p->parts[i].rows);
	free(p);
	if (!list_empty(&control.waiting) && !control.is_polling)
		poll_again_later();
}

static void start_poll(void)
{
	if (control.is_polling || list_empty(&control.waiting))
		return;
	control.is_polling = true;
	crew_gather(crew(), poll_visit, poll_done, xcalloc(1, sizeof(struct poll)));
}

void ask_wait(struct ask *a, enum waits_for what)
{
	a->waits_for = what;
	list_del(&a->link);
	list_add_tail(&control.waiting, &a->link);
	start_poll();
	if (control.running == a)
		control.running = NULL;
	empty_queue();
}
