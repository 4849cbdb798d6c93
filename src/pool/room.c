#include "pool/room.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "pool/cancel.h"
#include "pool/client.h"
#include "pool/evict.h"
#include "pool/handover.h"
#include "pool/identity.h"
#include "pool/login.h"
#include "pool/peer.h"
#include "pool/route.h"
#include "pool/share.h"
#include "pool/suspend.h"
#include "pool/wallet_login.h"
#include "pool/wallet_query.h"

#define TICK_USEC (USEC_PER_SEC / 3)

static void on_turn(struct worker *w);
static void on_tick(evutil_socket_t fd, short what, void *arg);
static void want_minimum(struct room *r);
static void open_minimum(struct room *r);

static void apply_worker_settings(struct room *r)
{
	const struct settings *s = r->settings;

	/* A pkt_buf below its default caps reads, so that tests can make every message arrive in pieces. */
	r->worker->read_cap = s->pkt_buf < 4096 ? (size_t)s->pkt_buf : WORKER_SCRATCH_BYTES;
	r->worker->idle_read_cap = s->pkt_buf < 4096 ? (size_t)s->pkt_buf : 4096;
	r->worker->loop_reads = s->sbuf_loopcnt;
	send_batch_want(&r->worker->sends, s->io_uring);
	r->worker->sends.is_quiet = r->worker->index > 0;
}

static void start_ticking(struct room *r)
{
	const struct timeval third = {0, TICK_USEC};

	if (!event_pending(r->tick_timer, EV_TIMEOUT, NULL))
		event_add(r->tick_timer, &third);
}

struct room *room_new(struct pooler *pooler, struct worker *w, struct config *config)
{
	struct room *r = xcalloc(1, sizeof(*r));

	r->worker = w;
	r->pooler = pooler;
	r->config = config_ref(config);
	r->settings = config_settings(config);
	list_init(&r->shares);
	list_init(&r->peers);
	list_init(&r->hungry);
	list_init(&r->spare_changed);
	list_init(&r->travellers);
	list_init(&r->orphans);
	clist_init(&r->logins);
	clist_init(&r->consoles);
	hash_init(&r->share_by_pool);
	hash_init(&r->seats);
	r->tick_timer = event_new(w->base, -1, EV_PERSIST, on_tick, r);
	if (!r->tick_timer) {
		config_unref(r->config);
		free(r);
		return NULL;
	}
	w->room = r;
	w->on_turn = on_turn;
	apply_worker_settings(r);
	want_minimum(r);
	return r;
}

void room_free(struct room *r)
{
	if (!r)
		return;
	room_close_all(r, "shutdown");
	LIST_FOR_SAFE(node, &r->shares)
		share_free(LIST_ITEM(node, struct share, link));
	LIST_FOR_SAFE(node, &r->peers)
		share_free(LIST_ITEM(node, struct share, link));
	hash_free(&r->share_by_pool);
	hash_free(&r->seats);
	wallet_answers_forget(r, NULL);
	event_free(r->tick_timer);
	SSL_CTX_free(r->client_tls);
	SSL_CTX_free(r->server_tls);
	config_unref(r->config);
	r->worker->room = NULL;
	r->worker->on_turn = NULL;
	free(r);
}

void room_accept(struct room *r, int fd, const struct peer_addr *from, bool is_unix)
{
	struct client *c = client_new(r, fd, from, is_unix);

	if (!c)
		log_warning("out of memory: connection refused");
}

uint64_t room_next_id(struct room *r)
{
	/* Relaxed: only uniqueness and growth matter. */
	return atomic_fetch_add_explicit(&r->pooler->registry.next_id, 1, memory_order_relaxed);
}

const struct database_def *room_database_def(const struct room *r, const char *name)
{
	const struct database_def *def = config_find_database(r->config, name);

	return def ? def : config_template(r->config);
}

struct share *room_share(struct room *r, struct pool *pool)
{
	struct share *sh = hash_get(&r->share_by_pool, &pool, sizeof(pool));

	if (sh)
		return sh;
	sh = share_new(r, pool);
	if (!sh)
		return NULL;
	if (!hash_put(&r->share_by_pool, &sh->pool, sizeof(sh->pool), sh)) {
		share_free(sh);
		return NULL;
	}
	list_add_tail(share_is_peer(sh) ? &r->peers : &r->shares, &sh->link);
	start_ticking(r);
	return sh;
}

void room_drop_share(struct room *r, struct share *sh)
{
	hash_del(&r->share_by_pool, &sh->pool, sizeof(sh->pool));
	share_free(sh);
}

static bool share_is_empty(const struct share *sh)
{
	return sh->active.count + sh->waiting.count + sh->cancels_active.count + sh->cancels_waiting.count == 0 &&
	       share_server_count(sh) == 0;
}

void room_drop_empty(struct room *r, const struct database *db)
{
	LIST_FOR_SAFE(node, &r->shares) {
		struct share *sh = LIST_ITEM(node, struct share, link);

		if (sh->pool->database == db && share_is_empty(sh))
			room_drop_share(r, sh);
	}
}

static void remove_share(struct room *r, struct share *sh)
{
	share_close_all(sh, "database removed", true);
	room_drop_share(r, sh);
}

void room_kill(struct room *r, const struct database *db)
{
	LIST_FOR_SAFE(node, &r->shares) {
		struct share *sh = LIST_ITEM(node, struct share, link);

		if (db && sh->pool->database != db)
			continue;
		atomic_store_explicit(&sh->pool->database->is_paused, true, memory_order_relaxed);
		remove_share(r, sh);
	}
}

static void on_tick(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct room *r = arg;
	usec_t now = worker_now(r->worker);

	if (r->pause == SUSPENDED)
		return;
	open_minimum(r);
	LIST_FOR_SAFE(node, &r->shares) {
		struct share *sh = LIST_ITEM(node, struct share, link);
		usec_t age = now - sh->used_at;

		share_maintain(sh, now);
		if (!share_is_empty(sh)) {
			sh->used_at = now;
			continue;
		}
		if (sh->def && (r->settings->pool_idle_timeout == 0 || age < r->settings->pool_idle_timeout ||
				(sh->def->user && sh->limits.min_pool_size > 0)))
			continue;
		if (sh->def)
			log_info("cleaning up idle pool for user %s on db %s because: pool idle timeout (age= %llds)",
				 sh->pool->account->name, share_database_name(sh), (long long)(age / USEC_PER_SEC));
		room_drop_share(r, sh);
	}
	/* These stay until a RELOAD that no longer names the peer. */
	LIST_FOR(node, &r->peers)
		share_maintain(LIST_ITEM(node, struct share, link), now);
	if (list_empty(&r->shares) && list_empty(&r->peers))
		event_del(r->tick_timer);
}

/* --- pools that are there without clients -------------------------------------- */

/* At the next maintenance: the threads run then. */
static void want_minimum(struct room *r)
{
	if (r->worker->index != 0)
		return;
	r->wants_minimum = true;
	start_ticking(r);
}

struct new_pool {
	struct message message; /* first */
	struct pool *pool;	/* counted */
};

static void deliver_new_pool(struct worker *w, struct message *m)
{
	struct new_pool *n = CONTAINER_OF(m, struct new_pool, message);
	struct room *r = room_of(w);

	if (!room_share(r, n->pool))
		log_warning("out of memory: no pool for database %s", n->pool->database->name);
	pool_put(&r->pooler->registry, n->pool);
	free(n);
}

/*
 * Databases with a forced user and a min_pool_size have their servers though
 * nobody has asked for them: behaviour specification, section 25. One Worker
 * makes the pools, so that their homes are chosen once; maintenance fills them.
 */
static void open_minimum(struct room *r)
{
	struct registry *reg = &r->pooler->registry;

	if (!r->wants_minimum)
		return;
	r->wants_minimum = false;
	for (size_t i = 0; i < config_database_count(r->config); i++) {
		const struct database_def *d = config_database_at(r->config, i);
		int min = d->min_pool_size >= 0 ? d->min_pool_size : r->settings->min_pool_size;
		struct database *db = d->user && min > 0 ? database_get(reg, d->name) : NULL;
		struct user *account = db ? user_get(reg, d->user) : NULL;
		struct pool *pool = account ? pool_get(reg, db, account) : NULL;
		struct new_pool *n = pool ? calloc(1, sizeof(*n)) : NULL;

		if (n) {
			n->pool = pool;
			n->message.deliver = deliver_new_pool;
			worker_post(r->worker, r->worker->crew->workers[pool->home], &n->message);
		} else
			pool_put(reg, pool);
		user_put(reg, account);
		database_put(reg, db);
	}
}

static void on_turn(struct worker *w)
{
	struct room *r = w->room;
	struct list now;

	/* Shares that get hungry meanwhile wait for the next turn: a failing launch must not spin here. */
	list_init(&now);
	list_splice_tail(&now, &r->hungry);
	while (!list_empty(&now)) {
		struct share *sh = LIST_ITEM(now.next, struct share, hungry_link);

		list_del(&sh->hungry_link);
		share_turn(sh);
	}
	evict_turn(r);
	route_send_travellers(r);
}

void room_adopt(struct room *r, const struct room_adoption *a)
{
	struct config *old = r->config;
	int i = r->worker->index;

	r->config = config_ref(a->config);
	r->settings = config_settings(r->config);
	r->had_other_peer_id |= r->settings->peer_id != config_settings(old)->peer_id;
	if (a->client_tls) {
		SSL_CTX_free(r->client_tls);
		r->client_tls = a->client_tls[i];
	}
	if (a->server_tls) {
		SSL_CTX_free(r->server_tls);
		r->server_tls = a->server_tls[i];
	}
	apply_worker_settings(r);
	wallet_answers_forget(r, NULL);
	LIST_FOR_SAFE(node, &r->shares) {
		struct share *sh = LIST_ITEM(node, struct share, link);
		const struct database_def *was = sh->def;

		share_adopt(sh);
		/* Its own entry is gone, though the template would do for the name. */
		if (!sh->def || (was && !was->is_template && sh->def->is_template)) {
			remove_share(r, sh);
			continue;
		}
		if (a->server_tls_changed || identity_differs(old, r->config) || !was || database_def_needs_reconnect(was, sh->def))
			share_dirty(sh);
		share_hunger(sh);
	}
	peers_adopt(r);
	if (r->settings->ecdsa_revoke_on_reload)
		LIST_FOR_SAFE(node, &r->consoles.head) {
			struct client *c = LIST_ITEM(node, struct client, link);

			if (c->is_wallet && !wallet_still_admitted(c))
				client_fail(c, "admin forced disconnect");
		}
	LIST_FOR(node, &r->consoles.head)
		client_deadline(LIST_ITEM(node, struct client, link));
	login_adopt(r);
	want_minimum(r);
	config_unref(old);
}

static void set_pause_of(struct list *shares, enum pause_mode mode)
{
	LIST_FOR(node, shares) {
		struct share *sh = LIST_ITEM(node, struct share, link);

		/* Whoever waits now is still served; the first step will say whether anybody does. */
		sh->is_flushing = mode == SUSPENDED;
		share_hunger(sh);
	}
}

void room_set_pause(struct room *r, enum pause_mode mode)
{
	if (r->pause == SUSPENDED)
		suspend_end(r);
	r->pause = mode;
	set_pause_of(&r->shares, mode);
	set_pause_of(&r->peers, mode);
}

void room_reconnect(struct room *r, const struct database *db)
{
	wallet_answers_forget(r, NULL);
	LIST_FOR(node, &r->shares) {
		struct share *sh = LIST_ITEM(node, struct share, link);

		if (!db || sh->pool->database == db)
			share_dirty(sh);
	}
}

void room_set_shutdown(struct room *r, enum shutdown_mode mode)
{
	r->shutdown = mode;
	if (mode == SHUTDOWN_WAIT_SERVERS)
		r->pause = PAUSED;
	LIST_FOR(node, &r->shares) {
		struct share *sh = LIST_ITEM(node, struct share, link);

		if (mode == SHUTDOWN_WAIT_SERVERS)
			LIST_FOR_SAFE(cnode, &sh->waiting.head)
				client_fail(LIST_ITEM(cnode, struct client, link), "server shutting down");
		share_hunger(sh);
	}
}

static void close_list(struct list *head, const char *reason)
{
	LIST_FOR_SAFE(node, head)
		client_close(LIST_ITEM(node, struct client, link), NULL, NULL, reason);
}

/* With its server: what becomes of that when its client goes is not for this process to say. */
static void abandon_clients(struct list *clients)
{
	LIST_FOR(node, clients) {
		struct client *c = LIST_ITEM(node, struct client, link);
		struct server *sv = c->server;

		if (!handover_can_go(c, sv))
			continue;
		conn_abandon(&c->conn);
		if (!sv)
			continue;
		conn_abandon(&sv->conn);
		sv->client = NULL;
		c->server = NULL;
	}
}

void room_abandon(struct room *r)
{
	abandon_clients(&r->logins.head);
	LIST_FOR(node, &r->shares) {
		struct share *sh = LIST_ITEM(node, struct share, link);

		abandon_clients(&sh->active.head);
		abandon_clients(&sh->waiting.head);
		LIST_FOR(snode, &sh->servers[SV_IDLE].head) {
			struct server *sv = LIST_ITEM(snode, struct server, link);

			if (handover_can_go(NULL, sv))
				conn_abandon(&sv->conn);
		}
	}
}

void room_close_all(struct room *r, const char *reason)
{
	close_list(&r->logins.head, reason);
	close_list(&r->consoles.head, reason);
	close_list(&r->travellers, reason);
	close_list(&r->orphans, reason);
	LIST_FOR_SAFE(node, &r->shares)
		share_close_all(LIST_ITEM(node, struct share, link), reason, false);
	LIST_FOR_SAFE(node, &r->peers)
		share_close_all(LIST_ITEM(node, struct share, link), reason, false);
}

void room_resolved(struct room *r, struct pool *pool, uint64_t server_id, const union sock_addr *addr)
{
	struct share *sh = hash_get(&r->share_by_pool, &pool, sizeof(pool));

	/* The attempt may have timed out meanwhile. */
	if (!sh)
		return;
	LIST_FOR(node, &sh->servers[SV_LOGIN].head) {
		struct server *sv = LIST_ITEM(node, struct server, link);

		if (sv->id == server_id) {
			server_resolved(sv, addr);
			return;
		}
	}
}

void room_address_lost(struct room *r, const char *host, const union sock_addr *addr)
{
	LIST_FOR(node, &r->shares) {
		struct share *sh = LIST_ITEM(node, struct share, link);

		for (int state = 0; state < SERVER_STATES; state++)
			LIST_FOR(snode, &sh->servers[state].head) {
				struct server *sv = LIST_ITEM(snode, struct server, link);
				struct peer_addr have, lost;

				peer_addr_from(&have, &sv->addr);
				peer_addr_from(&lost, addr);
				if (strcasecmp(sv->host, host) == 0 && have.family == lost.family &&
				    memcmp(have.bytes, lost.bytes, sizeof(have.bytes)) == 0)
					sv->wants_close = true;
			}
	}
}
