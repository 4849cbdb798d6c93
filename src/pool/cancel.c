#include "pool/cancel.h"

#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "pool/cancel_key.h"
#include "pool/peer.h"
#include "pool/replication.h"
#include "pool/share.h"
#include "proto/writer.h"

/* A key as it came, and as its client was given it; the same two without peering. */
struct wanted {
	uint8_t sent[8], given[8];
};

/*
 * A request that asks around: one message a Worker, answered to where the
 * client waits as an orphan. Whoever finds the key says so and gets the
 * client; the others are not asked again.
 */
struct question {
	struct message message; /* first */
	struct worker *asker;
	uint64_t client_id;
	struct wanted wanted;
	bool found;
};

struct parcel {
	struct message message; /* first */
	struct client *client;
	void (*arrived)(struct client *);
};

/* Is it the client of another process? Without peering nobody's. */
static bool names_other_peer(const struct client *c)
{
	int own = conn_room(&c->conn)->settings->peer_id;

	return own > 0 && cancel_key_peer(c->key) != own;
}

static struct wanted wanted_by(const struct client *c)
{
	const struct room *r = conn_room(&c->conn);
	struct wanted w;

	memcpy(w.sent, c->key, 8);
	memcpy(w.given, c->key, 8);
	/* It may have come through other peers, who have counted it down. */
	if (r->settings->peer_id > 0 || r->had_other_peer_id)
		cancel_key_restore(w.given);
	return w;
}

static struct client *find_in(struct list *head, const struct wanted *w)
{
	LIST_FOR(node, head) {
		struct client *c = LIST_ITEM(node, struct client, link);

		if (mem_equal_const_time(c->key, w->given, 8) | mem_equal_const_time(c->key, w->sent, 8))
			return c;
	}
	return NULL;
}

static struct client *find_key(struct room *r, const struct wanted *key)
{
	static const uint8_t none[8];
	struct client *c;

	/* Clients without a greeting have no key yet; nobody may cancel them with zeros. */
	if (mem_equal_const_time(key->sent, none, 8))
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

static void give_up(struct client *c)
{
	client_close(c, NULL, NULL, "failed cancel request");
}

void cancel_enqueue(struct client *c, struct share *sh, struct server *target)
{
	c->share = sh;
	c->cancel_target = target;
	c->wait_start = worker_now(sh->room->worker);
	client_pause(c, PAUSE_WAITING);
	client_set_state(c, CL_WAITING_CANCEL);
	client_deadline(c);
	share_hunger(sh);
}

/* On the Worker of the client that is meant. */
static void attach(struct client *c)
{
	struct room *r = conn_room(&c->conn);
	struct wanted wanted = wanted_by(c);
	struct client *meant = find_key(r, &wanted);
	struct server *sv;

	if (!meant) {
		give_up(c);
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
	sv->cancels_queued++;
	cancel_enqueue(c, meant->share, sv);
}

static void deliver_parcel(struct worker *w, struct message *m)
{
	struct parcel *p = CONTAINER_OF(m, struct parcel, message);
	struct room *r = w->room;
	struct client *c = p->client;
	void (*arrived)(struct client *) = p->arrived;

	free(p);
	atomic_fetch_add_explicit(&w->client_count, 1, memory_order_relaxed);
	list_add_tail(&r->orphans, &c->link);
	if (conn_attach(&c->conn, w) < 0)
		client_close(c, NULL, NULL, "out of memory");
	else
		arrived(c);
}

void cancel_move(struct client *c, struct worker *to, void (*arrived)(struct client *))
{
	struct worker *w = c->conn.worker;
	struct parcel *p;

	if (to == w) {
		arrived(c);
		return;
	}
	p = calloc(1, sizeof(*p));
	if (!p) {
		client_close(c, NULL, NULL, "out of memory");
		return;
	}
	p->client = c;
	p->arrived = arrived;
	p->message.deliver = deliver_parcel;
	list_del(&c->link);
	conn_detach(&c->conn);
	atomic_fetch_sub_explicit(&w->client_count, 1, memory_order_relaxed);
	worker_post(w, to, &p->message);
}

/* No client here has its key. */
static void found_nobody(struct client *c)
{
	if (names_other_peer(c))
		peer_forward(c);
	else
		give_up(c);
}

static void deliver_answer(struct worker *w, struct message *m)
{
	struct question *q = CONTAINER_OF(m, struct question, message);
	struct client *c = find_orphan(w->room, q->client_id);

	if (c && q->found)
		cancel_move(c, q->asker, attach);
	/* wants one answer from each Worker; pass_left counts them down */
	else if (c && --c->pass_left == 0)
		found_nobody(c);
	free(q);
}

static void deliver_question(struct worker *w, struct message *m)
{
	struct question *q = CONTAINER_OF(m, struct question, message);
	struct worker *back = q->asker;

	q->found = find_key(w->room, &q->wanted) != NULL;
	q->asker = w;
	m->deliver = deliver_answer;
	worker_post(w, back, m);
}

/* false: out of memory, and closed. */
static bool ask(struct client *c, struct worker *whom, void (*deliver)(struct worker *, struct message *))
{
	struct worker *w = c->conn.worker;
	struct question *q = calloc(1, sizeof(*q));

	if (!q) {
		client_close(c, NULL, NULL, "out of memory");
		return false;
	}
	q->message.deliver = deliver;
	q->asker = w;
	q->client_id = c->id;
	q->wanted = wanted_by(c);
	c->pass_left++;
	worker_post(w, whom, &q->message);
	return true;
}

static void ask_around(struct client *c)
{
	struct worker *w = c->conn.worker;
	struct crew *crew = w->crew;
	struct wanted wanted = wanted_by(c);

	if (find_key(w->room, &wanted)) {
		attach(c);
		return;
	}
	for (int i = 0; i < crew->n; i++)
		if (crew->workers[i] != w && !ask(c, crew->workers[i], deliver_question))
			return;
	if (c->pass_left == 0)
		found_nobody(c);
}

void cancel_begin(struct client *c, const uint8_t key[8])
{
	memcpy(c->key, key, 8);
	c->pass_left = 0;
	client_set_state(c, CL_ORPHAN_CANCEL);
	/* After a change of peer_id the clients from before have keys that name somebody else. */
	if (!names_other_peer(c) || conn_room(&c->conn)->had_other_peer_id)
		ask_around(c);
	else /* as if the answer were there: the Conn, in the middle of a read, may not change Worker now */
		ask(c, c->conn.worker, deliver_answer);
}

static struct client *first_waiting(struct share *sh)
{
	while (sh->cancels_waiting.count > 0) {
		struct client *c = LIST_ITEM(sh->cancels_waiting.head.next, struct client, link);

		if (c->cancel_target || share_is_peer(sh))
			return c;
		client_close(c, NULL, NULL, "not sending cancel request for client that is now idle");
	}
	return NULL;
}

bool cancel_is_waiting(struct share *sh, struct server **target)
{
	struct client *c = first_waiting(sh);

	*target = c ? c->cancel_target : NULL;
	return c != NULL;
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
	if (target) {
		target->cancels_queued--;
		target->cancels_in_flight++;
		c->cancel_target = NULL;
	}
	client_set_state(c, CL_ACTIVE_CANCEL);
	/* Read on, to notice when it gives up. */
	client_unpause(c, PAUSE_WAITING);
	ledger_login_to_cancel(&sh->room->pooler->registry.ledger, &sh->pool->ledger);
	server_enter(sv, SV_ACTIVE_CANCEL);
	sv->cancel_target = target;
	sv->client = c;
	c->server = sv;
	buf_init(&b);
	put_cancel_request(&b, target ? target->key : c->key);
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
