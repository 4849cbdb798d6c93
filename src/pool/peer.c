#include "pool/peer.h"

#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "pool/cancel.h"
#include "pool/cancel_key.h"

static struct share *find(struct room *r, int id)
{
	LIST_FOR(node, &r->peers) {
		struct share *sh = LIST_ITEM(node, struct share, link);

		if (sh->pool->peer_id == id)
			return sh;
	}
	return NULL;
}

/* NULL: out of memory. */
static struct share *find_or_make(struct room *r, int id)
{
	struct share *sh = find(r, id);
	struct pool *pool;

	if (sh)
		return sh;
	pool = pool_new_peer(&r->pooler->registry, id);
	if (!pool)
		return NULL;
	sh = room_share(r, pool);
	pool_put(&r->pooler->registry, pool);
	return sh;
}

/* On the peer's Worker. */
static void queue_up(struct client *c)
{
	struct room *r = conn_room(&c->conn);
	int id = cancel_key_peer(c->key);
	struct share *sh;

	/* Looked at again: a RELOAD may have come in between. */
	if (!config_find_peer(r->config, id)) {
		client_close(c, NULL, NULL, "could not find peer to forward request to");
		return;
	}
	sh = find_or_make(r, id);
	if (!sh)
		client_close(c, NULL, NULL, "out of memory");
	else
		cancel_enqueue(c, sh, NULL);
}

void peer_forward(struct client *c)
{
	struct room *r = conn_room(&c->conn);
	struct crew *crew = r->worker->crew;
	int id = cancel_key_peer(c->key);

	if (!cancel_key_step(c->key))
		client_close(c, NULL, NULL, "failed to forward cancel request because its TTL was exhausted");
	else if (!config_find_peer(r->config, id))
		client_close(c, NULL, NULL, "could not find peer to forward request to");
	else
		cancel_move(c, crew->workers[id % crew->n], queue_up);
}

/* --- definitions ------------------------------------------------------------- */

void peer_adopt(struct share *sh)
{
	const struct settings *s = sh->room->settings;
	const struct peer_def *peer = config_find_peer(sh->room->config, sh->pool->peer_id);

	sh->def = NULL;
	if (!peer)
		return;
	sh->own_def->host = peer->host;
	sh->own_def->port = peer->port;
	sh->def = sh->own_def;
	sh->limits.pool_size = peer->pool_size >= 0 ? peer->pool_size : s->default_pool_size;
	sh->limits.login_retry = s->server_login_retry;
	for (int state = 0; state < SERVER_STATES; state++)
		LIST_FOR(node, &sh->servers[state].head)
			server_deadline(LIST_ITEM(node, struct server, link));
	LIST_FOR(node, &sh->cancels_waiting.head)
		client_deadline(LIST_ITEM(node, struct client, link));
}

static void remove_peer(struct room *r, struct share *sh)
{
	/* The connections first: what they carry ends with them, for the same reason. */
	for (int state = 0; state < SERVER_STATES; state++)
		while (sh->servers[state].count > 0)
			server_close(LIST_ITEM(sh->servers[state].head.next, struct server, link), "peer removed", false);
	share_close_all(sh, "peer removed", false);
	room_drop_share(r, sh);
}

void peers_adopt(struct room *r)
{
	LIST_FOR_SAFE(node, &r->peers) {
		struct share *sh = LIST_ITEM(node, struct share, link);
		/* Its texts are of the old snapshot, which lives until all of this is over. */
		struct database_def was = *sh->own_def;

		share_adopt(sh);
		if (!sh->def) {
			remove_peer(r, sh);
			continue;
		}
		if (strcmp(was.host, sh->def->host) != 0 || was.port != sh->def->port) {
			/* That the old address did not answer says nothing of the new one. */
			share_dirty(sh);
			ledger_forget_failure(&r->pooler->registry.ledger, &sh->pool->ledger);
		}
		share_hunger(sh);
	}
}

void peers_reloaded(const struct config *before, const struct config *now)
{
	for (size_t i = 0; i < config_peer_count(before); i++) {
		int id = config_peer_at(before, i)->id;

		if (!config_find_peer(now, id))
			log_info("dropping peer %d as it does not exist anymore", id);
	}
}
