#include "pool/cancel.h"

#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "pool/replication.h"
#include "pool/share.h"
#include "proto/writer.h"

/*
 * A request that asks around: one message a Worker, answered to where the
 * client waits as an orphan. Whoever finds the key says so and gets the
 * client; the others are not asked again.
 */
struct question {
	struct message message; /* first */
	struct worker *asker;
	uint64_t client_id;
	uint8_t key[8];
	bool found;
};

struct parcel {
	struct message message; /* first */
	struct client *client;
	uint8_t key[8];
};

static struct client *find_in(struct list *head, const uint8_t key[8])
{
	LIST_FOR(node, head) {
		struct client *c = LIST_ITEM(node, struct client, link);

		if (mem_equal_const_time(c->key, key, 8))
			return c;
	}
	return NULL;
}

static struct client *find_key(struct room *r, const uint8_t key[8])
{
	static const uint8_t none[8];
	struct client *c;

	/* Clients without a greeting have no key yet; nobody may cancel them with zeros. */
	if (memcmp(key, none, 8) == 0)
		return NULL;
	c = find_in(&r->consoles.head, key);
	LIST_FOR(node, &r->shares) {
		struct share *sh = LIST_ITEM(node, struct share, link);

		if (!c)
			c = find_in(&sh->active.head, key);
		if (!c)
			c = find_in(&sh->waiting.head, key);
	}
	return c;
}

static struct client *find_orphan(struct room *r, uint64_t id)
{
	LIST_FOR(node, &r->orphans) {
		struct client *c = LIST_ITEM(node, struct client, link);

		if (c->id == id)
			return c;
	}
	return NULL;
}

/* On the Worker of the client that is meant. */
static void attach(struct client *c, const uint8_t key[8])
{
	struct room *r = conn_room(&c->conn);
	struct client *meant = find_key(r, key);
	struct server *sv;

	if (!meant) {
		client_close(c, NULL, NULL, "failed cancel request");
		return;
	}
	if (meant->state == CL_CONSOLE) {
		r->pooler->console->cancelled(meant);
		client_close(c, NULL, NULL, "cancel request for console client");
		return;
	}
	sv = meant->server;
	if (!sv || meant->state != CL_ACTIVE) {
		client_close(c, NULL, NULL, "cancel request for idle client");
		return;
	}
	if (sv->is_setting_params) {
		client_close(c, NULL, NULL, "ignoring cancel request for server that is setting vars");
		return;
	}
	c->share = meant->share;
	c->cancel_target = sv;
	c->wait_start = worker_now(r->worker);
	sv->cancels_queued++;
	client_pause(c, PAUSE_WAITING);
	client_set_state(c, CL_WAITING_CANCEL);
	client_deadline(c);
	share_hunger(c->share);
}

static void deliver_parcel(struct worker *w, struct message *m)
{
	struct parcel *p = CONTAINER_OF(m, struct parcel, message);
	struct room *r = w->room;
	struct client *c = p->client;
	uint8_t key[8];

	memcpy(key, p->key, 8);
	free(p);
	atomic_fetch_add_explicit(&w->client_count, 1, memory_order_relaxed);
	list_add_tail(&r->orphans, &c->link);
	if (conn_attach(&c->conn, w) < 0)
		client_close(c, NULL, NULL, "out of memory");
	else
		attach(c, key);
}

static void deliver_answer(struct worker *w, struct message *m)
{
	struct question *q = CONTAINER_OF(m, struct question, message);
	struct client *c = find_orphan(w->room, q->client_id);
	struct parcel *p;

	if (!c) {
		free(q);
		return;
	}
	if (!q->found) {
		/* wants one answer from each Worker; pass_left counts them down */
		if (--c->pass_left == 0)
			client_close(c, NULL, NULL, "failed cancel request");
		free(q);
		return;
	}
	p = calloc(1, sizeof(*p));
	if (!p) {
		client_close(c, NULL, NULL, "out of memory");
		free(q);
		return;
	}
	memcpy(p->key, q->key, 8);
	p->client = c;
	p->message.deliver = deliver_parcel;
	list_del(&c->link);
	conn_detach(&c->conn);
	atomic_fetch_sub_explicit(&w->client_count, 1, memory_order_relaxed);
	worker_post(w, q->asker, &p->message);
	free(q);
}

static void deliver_question(struct worker *w, struct message *m)
{
	struct question *q = CONTAINER_OF(m, struct question, message);
	struct worker *back = q->asker;

	q->found = find_key(w->room, q->key) != NULL;
	q->asker = w;
	m->deliver = deliver_answer;
	worker_post(w, back, m);
}

void cancel_begin(struct client *c, const uint8_t key[8])
{
	struct worker *w = c->conn.worker;
	struct crew *crew = w->crew;

	client_set_state(c, CL_ORPHAN_CANCEL);
	if (find_key(w->room, key)) {
		attach(c, key);
		return;
	}
	c->pass_left = (uint64_t)crew->n - 1;
	if (c->pass_left == 0) {
		client_close(c, NULL, NULL, "failed cancel request");
		return;
	}
	for (int i = 0; i < crew->n; i++) {
		struct question *q;

		if (crew->workers[i] == w)
			continue;
		q = calloc(1, sizeof(*q));
		if (!q) {
			client_close(c, NULL, NULL, "out of memory");
			return;
		}
		q->message.deliver = deliver_question;
		q->asker = w;
		q->client_id = c->id;
		memcpy(q->key, key, 8);
		worker_post(w, crew->workers[i], &q->message);
	}
}

static struct client *first_waiting(struct share *sh)
{
	while (sh->cancels_waiting.count > 0) {
		struct client *c = LIST_ITEM(sh->cancels_waiting.head.next, struct client, link);

		if (c->cancel_target)
			return c;
		client_close(c, NULL, NULL, "not sending cancel request for client that is now idle");
	}
	return NULL;
}

struct server *cancel_next_target(struct share *sh)
{
	struct client *c = first_waiting(sh);

	return c ? c->cancel_target : NULL;
}

bool cancel_use_connection(struct server *sv)
{
	struct share *sh = sv->share;
	struct client *c = first_waiting(sh);
	struct server *target;
	struct buf b;

	if (!c)
		return false;
	replication_part(sv); /* whom it was opened for waits for another */
	target = c->cancel_target;
	target->cancels_queued--;
	target->cancels_in_flight++;
	c->cancel_target = NULL;
	client_set_state(c, CL_ACTIVE_CANCEL);
	/* Read on, to notice when it gives up. */
	client_unpause(c, PAUSE_WAITING);
	ledger_login_to_cancel(&sh->room->pooler->registry.ledger, &sh->pool->ledger);
	server_enter(sv, SV_ACTIVE_CANCEL);
	sv->cancel_target = target;
	sv->client = c;
	c->server = sv;
	buf_init(&b);
	put_cancel_request(&b, target->key);
	conn_send_buf(&sv->conn, &b);
	buf_free(&b);
	if (sh->cancels_waiting.count > 0 || sh->waiting.count > 0)
		share_hunger(sh);
	return true;
}

void cancel_finished(struct server *sv)
{
	struct server *target = sv->cancel_target;

	sv->cancel_target = NULL;
	if (target)
		server_cancel_ended(target);
}

void cancel_detach_target(struct server *target)
{
	struct share *sh = target->share;

	if (target->cancels_queued == 0)
		return;
	LIST_FOR(node, &sh->cancels_waiting.head) {
		struct client *c = LIST_ITEM(node, struct client, link);

		if (c->cancel_target == target)
			c->cancel_target = NULL;
	}
	target->cancels_queued = 0;
	share_hunger(sh);
}

void cancel_target_gone(struct server *target)
{
	cancel_detach_target(target);
	LIST_FOR(node, &target->share->servers[SV_ACTIVE_CANCEL].head) {
		struct server *sv = LIST_ITEM(node, struct server, link);

		if (sv->cancel_target == target)
			sv->cancel_target = NULL;
	}
}
