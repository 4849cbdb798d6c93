/* SHOW of the other processes of a group: PEERS, PEER_POOLS. */
#include "admin/show.h"
#include "pool/share.h"
#include "proto/writer.h"

/* ---- PEERS ---- */

#define PEER_COLUMNS(COL)	  \
	COL(INT, peer_id, p->id)  \
	COL(TEXT, host, p->host)  \
	COL(INT, port, p->port)   \
	COL(INT, pool_size, p->pool_size >= 0 ? p->pool_size : default_size)

static const struct column peer_columns[] = {PEER_COLUMNS(COLUMN)};

static void run_peers(struct ask *a)
{
	const struct config *config = console_host.ops->config();
	int default_size = config_settings(config)->default_pool_size;
	struct buf *b = &a->answer;

	for (size_t i = 0; i < config_peer_count(config); i++) {
		const struct peer_def *p = config_peer_at(config, i);
		size_t at = row_begin(b, ARRAY_LEN(peer_columns));

		PEER_COLUMNS(CELL)
		msg_end(b, at);
	}
	ask_done(a, "SHOW");
}

const struct show show_peers = SHOW_RUN("peers", peer_columns, run_peers);

/* ---- PEER_POOLS ---- */

#define PEER_POOL_COLUMNS(COL)                                           \
	COL(INT, peer_id, s->pool->peer_id)                              \
	COL(INT, cl_active_cancel_req, s->cancels_active.count)          \
	COL(INT, cl_waiting_cancel_req, s->cancels_waiting.count)        \
	COL(INT, sv_active_cancel, s->servers[SV_ACTIVE_CANCEL].count)   \
	COL(INT, sv_login, s->servers[SV_LOGIN].count)

static const struct column peer_pool_columns[] = {PEER_POOL_COLUMNS(COLUMN)};

static void visit_peer_pools(struct room *room, struct chunks *out)
{
	LIST_FOR(node, &room->peers) {
		const struct share *s = LIST_ITEM(node, struct share, link);
		struct buf *b = chunk_begin_peer(out, room, s->pool->peer_id);
		size_t at = row_begin(b, ARRAY_LEN(peer_pool_columns));

		PEER_POOL_COLUMNS(CELL)
		msg_end(b, at);
	}
}

const struct show show_peer_pools = SHOW_VISIT("peer_pools", peer_pool_columns, visit_peer_pools);
