#include "pool/share.h"

#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "pool/cancel.h"
#include "pool/client.h"
#include "pool/peer.h"
#include "pool/replication.h"
#include "pool/server_login.h"
#include "pool/deadline.h"
#include "pool/evict.h"
#include "pool/wallet_login.h"

/* A reset or check query that takes longer no longer keeps a waiter from a new connection. */
#define TEST_PATIENCE USEC_PER_SEC

struct share *share_new(struct room *r, struct pool *pool)
{
	struct share *sh = calloc(1, sizeof(*sh));

	if (!sh)
		return NULL;
	if (pool->peer_id > 0 && !(sh->own_def = calloc(1, sizeof(*sh->own_def)))) {
		free(sh);
		return NULL;
	}
	sh->room = r;
	sh->pool = pool_ref(&r->pooler->registry, pool);
	list_init(&sh->link);
	list_init(&sh->hungry_link);
	list_init(&sh->spare_link);
	clist_init(&sh->active);
	clist_init(&sh->waiting);
	clist_init(&sh->lookups);
	clist_init(&sh->cancels_active);
	clist_init(&sh->cancels_waiting);
	for (int i = 0; i < SERVER_STATES; i++)
		clist_init(&sh->servers[i]);
	buf_init(&sh->greeting);
	buf_init(&sh->welcome);
	sh->used_at = worker_now(r->worker);
	share_adopt(sh);
	return sh;
}

static void forget_greeting(struct share *sh)
{
	sh->has_greeting = false;
	buf_free(&sh->greeting);
	params_free(&sh->greeting_params);
	buf_free(&sh->welcome);
	params_free(&sh->welcome_params);
	ledger_set_greeting(&sh->room->pooler->registry.ledger, &sh->pool->ledger, false);
}

void share_free(struct share *sh)
{
	struct registry *reg = &sh->room->pooler->registry;

	list_del(&sh->link);
	list_del(&sh->hungry_link);
	evict_adopt(sh, true);
	if (sh->was_nudged)
		ledger_nudge_over(&reg->ledger, &sh->pool->ledger);
	forget_greeting(sh);
	mem_wipe(&sh->keys, sizeof(sh->keys));
	mem_wipe(&sh->derived, sizeof(sh->derived));
	pool_put(reg, sh->pool);
	free(sh->own_def);
	free(sh);
}

static usec_t first_set(usec_t own, usec_t global)
{
	return own > 0 ? own : global;
}

/* Wallets that RELOAD took off the list: their sessions end with it. ecdsa-login.md section 23. */
static void revoke_wallets(struct share *sh)
{
	struct counted_list *lists[] = {&sh->waiting, &sh->active};

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		LIST_FOR_SAFE(node, &lists[i]->head) {
			struct client *c = LIST_ITEM(node, struct client, link);

			if (c->is_wallet && !wallet_still_admitted(c))
				client_fail(c, "admin forced disconnect");
		}
}

const char *share_role(const struct share *sh)
{
	return sh->is_forced ? sh->def->user : sh->pool->account->name;
}

/* Who has the role by a map of his own, and not by the database, must not become the new one. */
static void drop_mapped(struct share *sh)
{
	struct counted_list *lists[] = {&sh->waiting, &sh->active};

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		LIST_FOR_SAFE(node, &lists[i]->head) {
			struct client *c = LIST_ITEM(node, struct client, link);

			if (c->has_mapped_role)
				client_fail(c, "admin forced disconnect");
		}
}

/*
 * The database has another forced user: its clients go on as that one. Where
 * he has a pool already, this one keeps its name and logs in as he does.
 */
static void follow_forced_user(struct share *sh, const char *name)
{
	struct registry *reg = &sh->room->pooler->registry;
	struct user *account = user_get(reg, name);

	drop_mapped(sh);
	mem_wipe(&sh->keys, sizeof(sh->keys));
	mem_wipe(&sh->derived, sizeof(sh->derived));
	if (account)
		pool_set_account(reg, sh->pool, account);
	user_put(reg, account);
}

void share_adopt(struct share *sh)
{
	const struct settings *s = sh->room->settings;
	const struct database_def *d = room_database_def(sh->room, share_database_name(sh));
	const struct user_def *u;

	if (share_is_peer(sh)) {
		peer_adopt(sh);
		return;
	}
	if (d && sh->is_forced && d->user && strcmp(d->user, share_role(sh)) != 0)
		follow_forced_user(sh, d->user);
	u = config_find_user(sh->room->config, sh->pool->account->name);
	sh->def = d;
	sh->account_def = u;
	sh->is_forced = d && d->user && (sh->is_forced || strcmp(d->user, sh->pool->account->name) == 0);
	if (!d)
		return;
	sh->mode = u && u->pool_mode != POOL_MODE_UNSET ? u->pool_mode
		   : d->pool_mode != POOL_MODE_UNSET	? d->pool_mode
							: (enum pool_mode)s->pool_mode;
	sh->max_prepared = sh->mode != POOL_SESSION && s->max_prepared_statements > 0 ? s->max_prepared_statements : 0;
	sh->limits.pool_size = u && u->pool_size >= 0 ? u->pool_size
			       : d->pool_size >= 0    ? d->pool_size
						      : s->default_pool_size;
	sh->limits.reserve_size = u && u->reserve_pool_size >= 0 ? u->reserve_pool_size
				  : d->reserve_pool_size >= 0	 ? d->reserve_pool_size
								 : s->reserve_pool_size;
	sh->limits.min_pool_size = d->min_pool_size >= 0 ? d->min_pool_size : s->min_pool_size;
	sh->limits.max_db_connections = d->max_db_connections > 0 ? d->max_db_connections : s->max_db_connections;
	sh->limits.max_user_connections =
		u && u->max_user_connections > 0 ? u->max_user_connections : s->max_user_connections;
	sh->limits.login_retry = s->server_login_retry;
	sh->limits.reserve_timeout = s->reserve_pool_timeout;
	sh->server_lifetime = first_set(d->server_lifetime, s->server_lifetime);
	sh->query_timeout = first_set(u ? u->query_timeout : 0, s->query_timeout);
	sh->idle_transaction_timeout = first_set(u ? u->idle_transaction_timeout : 0, s->idle_transaction_timeout);
	sh->transaction_timeout = first_set(u ? u->transaction_timeout : 0, s->transaction_timeout);
	evict_adopt(sh, false);
	if (s->ecdsa_revoke_on_reload)
		revoke_wallets(sh);
	for (int i = 0; i < SERVER_STATES; i++)
		LIST_FOR(node, &sh->servers[i].head)
			server_deadline(LIST_ITEM(node, struct server, link));
	LIST_FOR(node, &sh->active.head)
		client_deadline(LIST_ITEM(node, struct client, link));
	LIST_FOR(node, &sh->waiting.head)
		client_deadline(LIST_ITEM(node, struct client, link));
}

void share_hunger(struct share *sh)
{
	if (list_empty(&sh->hungry_link))
		list_add_tail(&sh->room->hungry, &sh->hungry_link);
}

/* Maintenance makes it hungry then; until 0: something else will. */
static void share_retry_at(struct share *sh, usec_t until)
{
	if (until && (!sh->retry_at || until < sh->retry_at))
		sh->retry_at = until;
}

bool share_is_paused(const struct share *sh)
{
	bool is_suspended = sh->room->pause == SUSPENDED && !sh->is_flushing;

	/* The query that a peer is to cancel is none of ours: PAUSE does not hold it up. */
	if (share_is_peer(sh))
		return is_suspended;
	return sh->room->pause == PAUSED || is_suspended ||
	       atomic_load_explicit(&sh->pool->database->is_paused, memory_order_relaxed);
}

int share_server_count(const struct share *sh)
{
	int n = 0;

	for (int i = 0; i < SERVER_STATES; i++)
		n += sh->servers[i].count;
	return n;
}

void share_fill_params(struct share *sh)
{
	struct counted_list *lists[] = {&sh->active, &sh->waiting};

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		LIST_FOR(node, &lists[i]->head) {
			struct client *c = LIST_ITEM(node, struct client, link);

			if (!c->needs_greeting && !c->is_seat)
				params_fill(&c->params, &sh->greeting_params);
		}
}

void share_dirty(struct share *sh)
{
	forget_greeting(sh);
	evict_note(sh);
	for (int i = 0; i < SERVER_STATES; i++) {
		if (i == SV_ACTIVE_CANCEL)
			continue;
		LIST_FOR_SAFE(node, &sh->servers[i].head) {
			struct server *sv = LIST_ITEM(node, struct server, link);

			if (i == SV_LOGIN) {
				sv->login->was_unneeded = true;
				server_close(sv, "connect string changed", false);
			} else
				sv->wants_close = true;
		}
	}
	share_hunger(sh);
}

void share_close_all(struct share *sh, const char *reason, bool tell)
{
	/* Waiting ones first, so that none gets a server now. */
	struct counted_list *clients[] = {&sh->waiting, &sh->active, &sh->cancels_waiting, &sh->cancels_active};

	for (size_t i = 0; i < ARRAY_LEN(clients); i++)
		while (clients[i]->count > 0) {
			struct client *c = LIST_ITEM(clients[i]->head.next, struct client, link);

			client_close(c, NULL, tell && i < 2 ? reason : NULL, reason);
		}
	for (int i = 0; i < SERVER_STATES; i++)
		while (sh->servers[i].count > 0)
			server_close(LIST_ITEM(sh->servers[i].head.next, struct server, link), reason, false);
}

struct server *share_idle_server(struct share *sh)
{
	while (sh->servers[SV_IDLE].count > 0) {
		struct server *sv = LIST_ITEM(sh->servers[SV_IDLE].head.next, struct server, link);

		if (sv->wants_close)
			server_close(sv, "obsolete connection", false);
		else if (!sv->is_ready || !outstanding_empty(&sv->requests) || conn_unsent(&sv->conn))
			server_close(sv, "idle server got dirty", false);
		else
			return sv;
	}
	return NULL;
}

struct client *share_first_waiter(const struct share *sh)
{
	LIST_FOR(node, &sh->waiting.head) {
		struct client *c = LIST_ITEM(node, struct client, link);

		if (!c->server)
			return c;
	}
	return NULL;
}

void share_serve_waiter(struct share *sh)
{
	if (share_is_paused(sh)) {
		share_hunger(sh);
		return;
	}
	LIST_FOR_SAFE(node, &sh->waiting.head) {
		struct client *c = LIST_ITEM(node, struct client, link);
		struct server *sv;

		/* It is a successor's to serve. */
		if (c->conn.is_frozen)
			continue;
		if (c->server)
			continue;
		if (c->replication != REPLICATION_NONE) {
			/* It does not want this server, but maybe its place. */
			share_hunger(sh);
			return;
		}
		if (c->needs_greeting) {
			/* It needs no server any more, only what the server said. */
			if (sh->has_greeting)
				client_welcome(c, NULL);
			continue;
		}
		sv = share_idle_server(sh);
		if (!sv)
			return;
		client_activate(c, sv);
		return;
	}
}

static void launch(struct share *sh, enum ledger_answer answer, const struct ledger_wish *wish, struct server *target)
{
	struct client *own = wish->purpose == FOR_REPLICATION ? replication_next(sh) : NULL;
	struct client *who = own ? own : share_first_waiter(sh);
	char prefix[400];

	/* It is for the first who waits. */
	if (answer == LEDGER_LAUNCH_RESERVE && who)
		log_warning("%staking connection from reserve_pool", client_prefix(who, prefix, sizeof(prefix)));
	server_launch(sh, target, own);
}

/* true: the pool stands in line for it, and can do so for nobody else. */
static bool want_server(struct share *sh, const struct ledger_wish *wish, struct server *target)
{
	struct ledger_reply reply;
	enum ledger_answer answer = ledger_want(&sh->room->pooler->registry.ledger, &sh->pool->ledger, &sh->limits,
						wish, worker_now(sh->room->worker), &reply);

	if (answer == LEDGER_LAUNCH || answer == LEDGER_LAUNCH_RESERVE)
		launch(sh, answer, wish, target);
	else /* A retry for nobody in particular is not worth an eviction. */
		share_take(sh->room, sh->pool, answer, &reply, wish);
	return reply.is_in_line;
}

static bool somebody_waits_for(const struct share *sh, const struct ledger_wish *wish)
{
	return wish->purpose == FOR_REPLICATION ? replication_next(sh) != NULL
						: sh->waiting.count > sh->replication_waiting;
}

void share_take(struct room *r, struct pool *pool, enum ledger_answer answer, const struct ledger_reply *reply,
		const struct ledger_wish *wish)
{
	struct share *sh = hash_get(&r->share_by_pool, &pool, sizeof(pool));
	struct registry *reg = &r->pooler->registry;
	/* At the end of the program nothing is begun any more. */
	bool is_wanted = sh && sh->def && !share_is_paused(sh) && somebody_waits_for(sh, wish) && !r->worker->wants_stop;

	if (sh && !is_wanted && answer != LEDGER_WAIT)
		share_hunger(sh); /* it may be what others need */
	switch (answer) {
	case LEDGER_LAUNCH:
	case LEDGER_LAUNCH_RESERVE:
		if (is_wanted)
			launch(sh, answer, wish, NULL);
		else /* The slot is for others; that it was not used is no failure. */
			ledger_server_gone(&reg->ledger, &pool->ledger, KIND_LOGIN, true, NULL);
		return;
	case LEDGER_EVICT:
		if (is_wanted)
			evict_begin(sh, reply->victim, wish);
		else {
			ledger_not_evicted(&reg->ledger, &pool->ledger);
			pool_put(reg, CONTAINER_OF(reply->victim, struct pool, ledger));
		}
		return;
	case LEDGER_WAIT:
		if (sh)
			share_retry_at(sh, reply->until);
		return;
	}
}

static void close_unused_while_paused(struct share *sh)
{
	static const enum server_state states[] = {SV_IDLE, SV_USED, SV_LOGIN};

	for (size_t i = 0; i < ARRAY_LEN(states); i++)
		LIST_FOR_SAFE(node, &sh->servers[states[i]].head) {
			struct server *sv = LIST_ITEM(node, struct server, link);

			/* A pause waits for queries, and may wait for one that hangs: that can be cancelled. */
			if (!sv->login || !sv->login->is_for_cancel)
				server_close(sv, "pause mode", false);
		}
}

/* Servers under test that may be expected back: one whose check hangs is waited for by nobody. */
static int soon_tested(struct share *sh)
{
	usec_t now = worker_now(sh->room->worker);
	int n = 0;

	LIST_FOR(node, &sh->servers[SV_TESTED].head) {
		usec_t hopeless_at = LIST_ITEM(node, struct server, link)->tested_at + TEST_PATIENCE;

		if (now >= hopeless_at)
			continue;
		n++;
		share_retry_at(sh, hopeless_at);
	}
	return n;
}

static bool want_own_server(struct share *sh, const struct client *c)
{
	const struct ledger_wish wish = {.purpose = FOR_REPLICATION,
					 .waiting_since = c->active_at,
					 .own_unused = sh->servers[SV_IDLE].count + sh->servers[SV_USED].count};

	return want_server(sh, &wish, NULL);
}

static bool want_for(struct share *sh, enum ledger_purpose purpose, usec_t waiting_since)
{
	const struct ledger_wish wish = {.purpose = purpose, .waiting_since = waiting_since};

	return want_server(sh, &wish, NULL);
}

static void decide(struct share *sh)
{
	struct server *target;
	bool has_asked = false, is_in_line = false;
	int testing;

	sh->retry_at = 0;
	if (!sh->def)
		return;
	if (share_is_paused(sh)) {
		if (sh->room->pause == SUSPENDED)
			return;
		close_unused_while_paused(sh);
	}
	if (cancel_is_waiting(sh, &target)) {
		want_server(sh, &(struct ledger_wish){.purpose = share_is_peer(sh) ? FOR_PEER : FOR_CANCEL}, target);
		return;
	}
	if (share_is_paused(sh))
		return;
	testing = sh->waiting.count > 0 ? soon_tested(sh) : 0;
	LIST_FOR_SAFE(node, &sh->waiting.head) {
		struct client *c = LIST_ITEM(node, struct client, link);
		struct server *sv;

		if (c->conn.is_frozen)
			continue;
		if (c->needs_greeting && sh->has_greeting && (!client_welcome(c, NULL) || c->state == CL_ACTIVE))
			continue;
		/* Its server is its own. What it cannot have yet may do for those behind it. */
		if (c->replication != REPLICATION_NONE) {
			if (!has_asked && replication_wants_server(c)) {
				is_in_line = want_own_server(sh, c);
				has_asked = true;
			}
			continue;
		}
		/* It has asked for nothing yet: no reason to open a connection during SUSPEND. */
		if (c->needs_greeting && sh->is_flushing)
			continue;
		if (!c->needs_greeting && (sv = share_idle_server(sh))) {
			client_activate(c, sv);
			continue;
		}
		/* Servers under test may come back and serve as many waiters. */
		if (!c->needs_greeting && testing-- > 0)
			continue;
		if (!c->needs_greeting && sh->servers[SV_USED].count > 0) {
			server_check(LIST_ITEM(sh->servers[SV_USED].head.next, struct server, link));
			share_hunger(sh);
			return;
		}
		if (!is_in_line)
			want_for(sh, FOR_CLIENT, c->active_at);
		return;
	}
	if (sh->wants_retry && !sh->is_flushing) {
		sh->wants_retry = false;
		want_for(sh, FOR_CLIENT, worker_now(sh->room->worker));
	}
}

void share_turn(struct share *sh)
{
	bool was_nudged = sh->was_nudged;

	sh->was_nudged = false;
	decide(sh);
	if (was_nudged)
		ledger_nudge_over(&sh->room->pooler->registry.ledger, &sh->pool->ledger);
}

void share_maintain(struct share *sh, usec_t now)
{
	struct ledger *ledger = &sh->room->pooler->registry.ledger;
	int surplus;

	if (!sh->def)
		return;
	if ((sh->retry_at && now >= sh->retry_at) || share_is_paused(sh))
		share_hunger(sh);
	/* Every other wait ends by an event; asking again nevertheless is a belt, and the tests take it off. */
	if ((sh->waiting.count > 0 || sh->cancels_waiting.count > 0) && !conn_fault("nobelt"))
		share_hunger(sh);
	for (surplus = ledger_surplus(ledger, &sh->pool->ledger, &sh->limits); surplus > 0; surplus--) {
		enum server_state from = sh->servers[SV_USED].count > 0 ? SV_USED : SV_IDLE;

		if (sh->servers[from].count == 0)
			break;
		server_close(LIST_ITEM(sh->servers[from].head.prev, struct server, link),
			     "too many servers in the pool", false);
	}
	/* Nothing else watches the time of an attempt that has no socket yet. */
	LIST_FOR_SAFE(node, &sh->servers[SV_LOGIN].head) {
		struct server *sv = LIST_ITEM(node, struct server, link);
		const char *late = sv->conn.fd < 0 ? server_is_late(sv, now) : NULL;

		if (late)
			server_close(sv, late, false);
	}
	/* close_needed servers that nobody holds. */
	for (int i = 0; i < SERVER_STATES; i++) {
		if (i != SV_IDLE && i != SV_USED && i != SV_TESTED)
			continue;
		LIST_FOR_SAFE(node, &sh->servers[i].head) {
			struct server *sv = LIST_ITEM(node, struct server, link);

			if (sv->wants_close)
				server_close(sv, "database configuration changed", false);
		}
	}
	LIST_FOR_SAFE(node, &sh->servers[SV_ACTIVE].head) {
		struct server *sv = LIST_ITEM(node, struct server, link);

		if (sv->wants_close && (sv->replication != REPLICATION_NONE ||
					(sv->is_ready && sh->mode == POOL_SESSION && sh->room->settings->server_fast_close)))
			server_close(sv, "database configuration changed", true);
	}
	if (sh->limits.min_pool_size > 0 && !share_is_paused(sh) && sh->room->shutdown == SHUTDOWN_NONE &&
	    (sh->def->user || sh->active.count + sh->waiting.count > 0) &&
	    ledger_below_min(ledger, &sh->pool->ledger, &sh->limits))
		want_for(sh, FOR_MIN_SIZE, 0);
}
