#include "pool/evict.h"

#include <stdlib.h>

#include "lib/log.h"
#include "pool/share.h"

/* A slot on its way: to the Worker of the victim, and back with what the asker may do now. */
struct eviction {
	struct message message;	      /* first */
	struct worker *asker_worker;  /* borrowed */
	struct pool *asker, *victim;  /* counted */
	struct ledger_limits limits;  /* of the asker */
	struct ledger_wish wish;      /* of the asker */
	usec_t now;		      /* on the victim's Worker */
	bool is_done;		      /* false: it came too late */
	enum ledger_answer answer;
	struct ledger_reply reply;
};

struct nudge {
	struct message message; /* first */
	struct pool *pool;	/* counted */
};

static struct registry *registry_of(const struct room *r)
{
	return &r->pooler->registry;
}

static struct pool *pool_of(struct ledger_pool *p)
{
	return CONTAINER_OF(p, struct pool, ledger);
}

static struct share *share_of(struct room *r, struct pool *pool)
{
	return hash_get(&r->share_by_pool, &pool, sizeof(pool));
}

/* --- what there is to spare -------------------------------------------------- */

/* Idle servers that nobody waits for; used and tested ones too, when nobody waits at all. Replication clients do not. */
static bool is_to_spare(const struct share *sh, enum server_state state)
{
	bool nobody_waits = sh->waiting.count == sh->replication_waiting;

	switch (state) {
	case SV_IDLE:
		/* Without greeting its idle servers are obsolete. */
		return nobody_waits || !sh->has_greeting;
	case SV_USED:
	case SV_TESTED:
		return nobody_waits;
	case SV_LOGIN:
	case SV_ACTIVE:
	case SV_ACTIVE_CANCEL:
	case SV_BEING_CANCELED:
	case SERVER_STATES:
		break;
	}
	return false;
}

static bool is_unused(int state)
{
	return state == SV_IDLE || state == SV_USED;
}

/* is_own: for a client of this share, whose turn comes before theirs who wait for such a server. */
static struct server *longest_unused(const struct share *sh, bool is_own)
{
	struct server *oldest = NULL;

	for (int state = 0; state < SERVER_STATES; state++) {
		if (!is_to_spare(sh, (enum server_state)state) && !(is_own && is_unused(state)))
			continue;
		LIST_FOR(node, &sh->servers[state].head) {
			struct server *sv = LIST_ITEM(node, struct server, link);

			if (!oldest || sv->used_at < oldest->used_at)
				oldest = sv;
		}
	}
	return oldest;
}

static void publish(struct share *sh)
{
	usec_t since = 0;
	int n = 0;

	list_del(&sh->spare_link);
	for (int state = 0; state < SERVER_STATES; state++) {
		const struct counted_list *l = &sh->servers[state];

		if (l->count == 0 || !is_to_spare(sh, (enum server_state)state))
			continue;
		n += l->count;
		/* These lists are in the order of use, one way or the other: the oldest is at an end. */
		for (int end = 0; end < 2; end++) {
			struct list *node = end ? l->head.prev : l->head.next;
			usec_t used_at = LIST_ITEM(node, struct server, link)->used_at;

			if (since == 0 || used_at < since)
				since = used_at;
		}
	}
	ledger_spare(&registry_of(sh->room)->ledger, &sh->pool->ledger, since, n);
}

void evict_note(struct share *sh)
{
	if (sh->has_shared_limits && list_empty(&sh->spare_link))
		list_add_tail(&sh->room->spare_changed, &sh->spare_link);
}

void evict_adopt(struct share *sh, bool is_going)
{
	bool had = sh->has_shared_limits;

	sh->has_shared_limits =
		!is_going && (sh->limits.max_db_connections > 0 || sh->limits.max_user_connections > 0);
	if (sh->has_shared_limits)
		evict_note(sh);
	else {
		list_del(&sh->spare_link);
		if (had)
			ledger_spare(&registry_of(sh->room)->ledger, &sh->pool->ledger, 0, 0);
	}
}

/* --- making room --------------------------------------------------------------- */

static void deliver_answer(struct worker *w, struct message *m);

static void eviction_free(struct room *r, struct eviction *e)
{
	pool_put(registry_of(r), e->asker);
	pool_put(registry_of(r), e->victim);
	free(e);
}

/* On the victim's Worker. */
static void make_room(struct room *r, struct eviction *e)
{
	struct share *sh = share_of(r, e->victim);
	bool is_own = e->asker == e->victim && e->wish.purpose == FOR_REPLICATION;
	struct server *sv = sh ? longest_unused(sh, is_own) : NULL;

	e->now = worker_now(r->worker);
	e->is_done = sv != NULL;
	if (sv) {
		if (is_own && is_unused(sv->state))
			e->wish.own_unused--;
		sv->evicted_for = e;
		server_close(sv, "evicted", false);
		return;
	}
	/* Said again, so that what is asked next is asked of somebody else. */
	if (sh)
		publish(sh);
	ledger_not_evicted(&registry_of(r)->ledger, &e->asker->ledger);
}

void evict_server_gone(struct ledger *l, struct eviction *e)
{
	e->answer = ledger_evicted(l, &e->victim->ledger, &e->asker->ledger, &e->limits, &e->wish, e->now, &e->reply);
}

static void deliver_request(struct worker *w, struct message *m)
{
	struct eviction *e = CONTAINER_OF(m, struct eviction, message);

	make_room(room_of(w), e);
	m->deliver = deliver_answer;
	worker_post(w, e->asker_worker, m);
}

/* Back with the asker. */
static void take_answer(struct room *r, struct eviction *e)
{
	struct share *sh = share_of(r, e->asker);

	if (!e->is_done) {
		if (sh)
			share_hunger(sh);
	} else
		share_take(r, e->asker, e->answer, &e->reply, &e->wish);
	/* A cancel request may have come meanwhile, and found the login right taken. */
	if (sh && sh->cancels_waiting.count > 0)
		share_hunger(sh);
	eviction_free(r, e);
}

static void deliver_answer(struct worker *w, struct message *m)
{
	take_answer(room_of(w), CONTAINER_OF(m, struct eviction, message));
}

void evict_begin(struct share *asker, struct ledger_pool *victim, const struct ledger_wish *wish)
{
	struct room *r = asker->room;
	struct worker *w = r->worker, *home = w->crew->workers[pool_of(victim)->home];
	struct eviction *e = calloc(1, sizeof(*e));

	if (!e) {
		log_error("out of memory: no connection to database %s", share_database_name(asker));
		pool_put(registry_of(r), pool_of(victim));
		ledger_not_evicted(&registry_of(r)->ledger, &asker->pool->ledger);
		return;
	}
	e->asker_worker = w;
	e->asker = pool_ref(registry_of(r), asker->pool);
	e->victim = pool_of(victim);
	e->limits = asker->limits;
	e->wish = *wish;
	if (home == w) {
		make_room(r, e);
		take_answer(r, e);
		return;
	}
	e->message.deliver = deliver_request;
	worker_post(w, home, &e->message);
}

/* --- telling who waits ------------------------------------------------------------ */

static void deliver_nudge(struct worker *w, struct message *m)
{
	struct nudge *n = CONTAINER_OF(m, struct nudge, message);
	struct room *r = room_of(w);
	struct share *sh = share_of(r, n->pool);

	if (sh) {
		sh->was_nudged = true;
		share_hunger(sh);
	} else
		ledger_nudge_over(&registry_of(r)->ledger, &n->pool->ledger);
	pool_put(registry_of(r), n->pool);
	free(n);
}

static void send_nudges(struct room *r)
{
	struct ledger_pool *p;

	while ((p = ledger_take_nudged(&registry_of(r)->ledger))) {
		struct nudge *n = calloc(1, sizeof(*n));

		if (!n) {
			/* It asks again by itself, at maintenance. */
			pool_put(registry_of(r), pool_of(p));
			return;
		}
		n->pool = pool_of(p);
		n->message.deliver = deliver_nudge;
		worker_post(r->worker, r->worker->crew->workers[n->pool->home], &n->message);
	}
}

void evict_turn(struct room *r)
{
	while (!list_empty(&r->spare_changed))
		publish(LIST_ITEM(r->spare_changed.next, struct share, spare_link));
	send_nudges(r);
}
