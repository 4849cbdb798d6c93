/* The control role's side of a command: the queue and the answer. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/ask.h"
#include "admin/show.h"
#include "admin/stats_book.h"
#include "admin/waiting.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "proto/writer.h"

struct console_host console_host;
struct console_counters console_counters;

/* Touched by the control role only. */
static struct {
	struct list queue;   /* asks that have not begun */
	struct ask *running;
	bool is_emptying;
} control;

void console_init(struct pooler *pooler, const struct control_ops *ops)
{
	console_host = (struct console_host){pooler, ops};
	list_init(&control.queue);
	waiting_open();
	stats_book_open(clock_monotonic());
}

void console_stop(void)
{
	while (!list_empty(&control.queue))
		ask_forget(LIST_ITEM(control.queue.next, struct ask, link));
	waiting_stop();
	stats_book_open(0);
	/* Clients that are closed from here on have nobody to tell. */
	console_host.ops = NULL;
}

static struct crew *crew(void)
{
	return console_host.pooler->crew;
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
	a->is_own_uid = client_is_operator(c) && !c->conn.tls;
	a->wants_heading = true;
	a->verdict = command_parse(text, &a->command);
	return a;
}

bool ask_here(const char *text, void (*answered)(struct ask *), void *ctx)
{
	struct ask *a = calloc(1, sizeof(*a));

	if (!a || !(a->text = strdup(text))) {
		free(a);
		return false;
	}
	list_init(&a->link);
	buf_init(&a->answer);
	a->wants_heading = true;
	a->verdict = command_parse(text, &a->command);
	a->answered = answered;
	a->ctx = ctx;
	list_add_tail(&control.queue, &a->link);
	empty_queue();
	return true;
}

void ask_forget(struct ask *a)
{
	list_del(&a->link);
	database_put(&console_host.pooler->registry, a->database);
	ask_free(a);
}

void ask_free(struct ask *a)
{
	fds_answer_free(a->fds);
	buf_wipe_free(&a->answer); /* keys, of SHOW FDS */
	free(a->text);
	free(a->error);
	free(a);
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
	if (control.running == a)
		control.running = NULL;
	if (a->answered)
		a->answered(a);
	else {
		a->message.deliver = console_answer;
		worker_post(crew()->control, crew()->workers[a->worker], &a->message);
	}
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

void ask_step_aside(struct ask *a)
{
	list_del(&a->link);
	if (control.running == a)
		control.running = NULL;
}

void ask_go_on(void)
{
	empty_queue();
}

bool ask_is_running(uint64_t client_id)
{
	return control.running && control.running->client_id == client_id;
}

/* ---- the client is gone ---- */

struct farewell {
	struct message message; /* first */
	uint64_t client_id;
};

static void take_farewell(struct worker *w UNUSED, struct message *m)
{
	struct farewell *f = CONTAINER_OF(m, struct farewell, message);

	/* Its SUSPEND may not have begun yet: then it must not. */
	LIST_FOR(node, &control.queue) {
		struct ask *a = LIST_ITEM(node, struct ask, link);

		a->is_orphan |= a->client_id == f->client_id;
	}
	if (ask_is_running(f->client_id))
		control.running->is_orphan = true;
	waiting_client_gone(f->client_id);
	free(f);
}

void console_client_gone(struct client *c)
{
	struct worker *w = c->conn.worker;
	struct farewell *f;

	if (!console_host.ops)
		return;
	f = xcalloc(1, sizeof(*f));
	f->client_id = c->id;
	f->message.deliver = take_farewell;
	worker_post(w, w->crew->control, &f->message);
}

/* ---- cancel requests ---- */

struct cancellation {
	struct message message; /* first */
	uint64_t client_id;
};

static void take_cancellation(struct worker *w UNUSED, struct message *m)
{
	struct cancellation *k = CONTAINER_OF(m, struct cancellation, message);

	waiting_cancel(k->client_id);
	free(k);
}

void console_cancelled(struct client *c)
{
	struct worker *w = c->conn.worker;
	struct cancellation *k;

	/* Nothing that a reader of tables has begun ever waits; and he may not resume. */
	if (!c->is_admin) {
		log_warning("admin cancel request for non-waiting client?");
		return;
	}
	k = xcalloc(1, sizeof(*k));
	k->client_id = c->id;
	k->message.deliver = take_cancellation;
	worker_post(w, w->crew->control, &k->message);
}
