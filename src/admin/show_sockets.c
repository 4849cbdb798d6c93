/* SHOW of single connections: CLIENTS, SERVERS, SOCKETS, ACTIVE_SOCKETS. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "admin/show.h"
#include "lib/net_order.h"
#include "pool/client.h"
#include "pool/login.h"
#include "pool/prepared.h"
#include "pool/share.h"
#include "proto/writer.h"
#include "wallet/address.h"

/* ---- one row, whatever it is about ---- */

struct socket_row {
	const char *type, *user, *database, *state, *addr, *local_addr, *app_name, *identity;
	enum replication replication;
	int port, local_port, pid;
	time_t connect_wall;
	usec_t now, active_at, wait;
	bool wants_close;
	char ptr[24], link[24], tls[128];
	uint64_t id, pass_left;
	size_t prepared;
	const struct conn *conn;
	char addr_text[64], local_text[64];
};

static const char *const replication_shown[] = {
	[REPLICATION_NONE] = "none", [REPLICATION_LOGICAL] = "logical", [REPLICATION_PHYSICAL] = "physical"};

#define SOCKET_COLUMNS(COL)                                                            \
	COL(TEXT, type, r->type)                                                       \
	COL(TEXT, user, r->user)                                                       \
	COL(TEXT, database, r->database)                                               \
	COL(TEXT, replication, replication_shown[r->replication])                      \
	COL(TEXT, state, r->state)                                                     \
	COL(TEXT, addr, r->addr)                                                       \
	COL(INT, port, r->port)                                                        \
	COL(TEXT, local_addr, r->local_addr)                                           \
	COL(INT, local_port, r->local_port)                                            \
	COL(TIME, connect_time, r->connect_wall)                                       \
	COL(TIME, request_time, time(NULL) - (r->now - r->active_at) / USEC_PER_SEC)   \
	COL(INT, wait, r->wait / USEC_PER_SEC)                                         \
	COL(INT, wait_us, r->wait % USEC_PER_SEC)                                      \
	COL(INT, close_needed, r->wants_close)                                         \
	COL(TEXT, ptr, r->ptr)                                                         \
	COL(TEXT, link, r->link)                                                       \
	COL(INT, remote_pid, r->pid)                                                   \
	COL(TEXT, tls, r->tls)                                                         \
	COL(TEXT, application_name, r->app_name)                                       \
	COL(INT, prepared_statements, (int64_t)r->prepared)                            \
	COL(INT, id, (int64_t)r->id)

/* Not PgBouncer's: who the client has proven to be. Last, so that nothing moves. */
#define CLIENT_COLUMNS(COL) SOCKET_COLUMNS(COL) COL(TEXT, identity, r->identity)

static size_t unread(const struct socket_row *r)
{
	return r->conn->in ? buf_len(r->conn->in) : 0;
}

/* Positions are always 0: a connection at rest has no buffer to stand in. */
#define BUFFER_COLUMNS(COL)                                           \
	COL(INT, recv_pos, 0)                                         \
	COL(INT, pkt_pos, 0)                                          \
	COL(INT, pkt_remain, (int64_t)r->pass_left)                   \
	COL(INT, send_pos, 0)                                         \
	COL(INT, send_remain, (int64_t)conn_backlog(r->conn))         \
	COL(INT, pkt_avail, (int64_t)unread(r))                       \
	COL(INT, send_avail, 0)

static const struct column client_columns[] = {CLIENT_COLUMNS(COLUMN)};
static const struct column server_columns[] = {SOCKET_COLUMNS(COLUMN)};
static const struct column socket_columns[] = {SOCKET_COLUMNS(COLUMN) BUFFER_COLUMNS(COLUMN)};

static void put_client_row(struct buf *b, const struct socket_row *r)
{
	size_t at = row_begin(b, ARRAY_LEN(client_columns));

	CLIENT_COLUMNS(CELL)
	msg_end(b, at);
}

static void put_server_row(struct buf *b, const struct socket_row *r)
{
	size_t at = row_begin(b, ARRAY_LEN(server_columns));

	SOCKET_COLUMNS(CELL)
	msg_end(b, at);
}

static void put_socket_row(struct buf *b, const struct socket_row *r)
{
	size_t at = row_begin(b, ARRAY_LEN(socket_columns));

	SOCKET_COLUMNS(CELL)
	BUFFER_COLUMNS(CELL)
	msg_end(b, at);
}

/* ---- filling it ---- */

static const char *addr_of(const union sock_addr *sa, char *text, size_t cap, int *port)
{
	struct peer_addr peer;

	peer_addr_from(&peer, sa);
	*port = peer.port;
	return peer_addr_host(&peer, text, cap);
}

static void fill_conn(struct socket_row *r, const struct conn *c)
{
	union sock_addr local;
	socklen_t len = sizeof(local);

	memset(&local, 0, sizeof(local));
	r->conn = c;
	r->now = worker_now(c->worker);
	r->local_addr = "";
	if (c->fd >= 0 && getsockname(c->fd, &local.sa, &len) == 0)
		r->local_addr = addr_of(&local, r->local_text, sizeof(r->local_text), &r->local_port);
	conn_tls_describe(c, r->tls, sizeof(r->tls));
}

static const char *app_name(const struct params *p)
{
	const char *name = params_get(p, PARAM_APPLICATION_NAME);

	return name ? name : "";
}

static void fill_client(struct socket_row *r, const struct client *c, const char *state, char *identity)
{
	memset(r, 0, sizeof(*r));
	fill_conn(r, &c->conn);
	r->type = "C";
	r->user = client_user_name(c);
	r->database = client_database_name(c);
	r->replication = c->replication;
	r->state = state;
	r->addr = peer_addr_host(&c->addr, r->addr_text, sizeof(r->addr_text));
	r->port = c->addr.port;
	if (c->is_unix)
		r->local_port = c->addr.port;
	r->connect_wall = c->connect_wall;
	r->active_at = c->active_at ? c->active_at : r->now;
	if (c->query_start)
		r->wait = r->now - c->query_start;
	else if (c->state == CL_WAITING && c->wait_start)
		r->wait = r->now - c->wait_start;
	snprintf(r->ptr, sizeof(r->ptr), "%p", (const void *)c);
	if (c->server)
		snprintf(r->link, sizeof(r->link), "%p", (const void *)c->server);
	r->pid = c->addr.pid;
	r->app_name = app_name(&c->params);
	r->id = c->id;
	r->prepared = client_statements_count(c->statements);
	r->pass_left = c->pass_left;
	identity[0] = 0;
	if (c->is_wallet)
		wallet_address_eip55(&c->wallet, identity);
	r->identity = identity;
}

static int server_pid(const struct server *sv, bool is_unix)
{
	pid_t pid;
	uid_t uid;

	if (is_unix)
		return sv->conn.fd >= 0 && socket_peer_cred(sv->conn.fd, &pid, &uid) ? (int)pid : 0;
	return (int)get_u32(sv->key);
}

static void fill_server(struct socket_row *r, const struct server *sv, const char *state)
{
	bool is_unix = sv->addr.sa.sa_family == AF_UNIX;

	memset(r, 0, sizeof(*r));
	fill_conn(r, &sv->conn);
	r->type = "S";
	r->user = sv->share->pool->account->name;
	r->database = share_database_name(sv->share);
	r->replication = sv->replication;
	r->state = state;
	r->addr = addr_of(&sv->addr, r->addr_text, sizeof(r->addr_text), &r->port);
	if (is_unix)
		r->port = r->local_port = sv->share->def ? sv->share->def->port : 0;
	r->connect_wall = sv->connect_wall;
	r->active_at = sv->used_at ? sv->used_at : r->now;
	if (sv->client && sv->client->query_start)
		r->wait = r->now - sv->client->query_start;
	r->wants_close = sv->wants_close;
	snprintf(r->ptr, sizeof(r->ptr), "%p", (const void *)sv);
	if (sv->client && !sv->client->is_seat)
		snprintf(r->link, sizeof(r->link), "%p", (const void *)sv->client);
	r->pid = server_pid(sv, is_unix);
	r->app_name = app_name(&sv->params);
	r->id = sv->id;
	r->prepared = server_statements_count(sv->statements);
	r->pass_left = sv->pass_left;
}

/* ---- CLIENTS and SERVERS ---- */

static const char *client_word(const struct client *c)
{
	switch (c->state) {
	case CL_ACTIVE:
	case CL_CONSOLE:
		return c->server ? "active" : "idle";
	case CL_LOGIN:
	case CL_WAITING:
	case CL_LOOKUP:
		return "waiting";
	case CL_ACTIVE_CANCEL:
		return "active_cancel_req";
	case CL_WAITING_CANCEL:
	case CL_ORPHAN_CANCEL:
		return "waiting_cancel_req";
	}
	return "idle";
}

static void put_client(struct buf *b, const struct client *c)
{
	char identity[WALLET_TEXT_LEN + 1];
	struct socket_row r;

	fill_client(&r, c, client_word(c), identity);
	put_client_row(b, &r);
}

static void put_clients(struct buf *b, const struct list *clients)
{
	LIST_FOR(node, clients) {
		const struct client *c = LIST_ITEM(node, struct client, link);

		/* Whom it stands for is shown itself. */
		if (!c->is_seat)
			put_client(b, c);
	}
}

/* Clients whose log-in waits for auth_query, shown with the pool where it runs. */
static void put_lookups(struct room *room, struct chunks *out)
{
	char account[USER_NAME_MAX + 1];

	LIST_FOR(node, &room->logins.head) {
		const struct client *c = LIST_ITEM(node, struct client, link);
		const struct pool *pool = login_lookup_pool(c);

		if (!pool)
			continue;
		/* It may live on another Worker. */
		pool_account_name(&console_host.pooler->registry, pool, account);
		put_client(chunk_begin(out, room, pool->database->name, account), c);
	}
}

static void visit_clients(struct room *room, struct chunks *out)
{
	LIST_FOR(node, &room->shares) {
		const struct share *s = LIST_ITEM(node, struct share, link);
		struct buf *b = chunk_begin(out, room, share_database_name(s), s->pool->account->name);

		put_clients(b, &s->active.head);
		put_clients(b, &s->waiting.head);
		put_clients(b, &s->cancels_active.head);
		put_clients(b, &s->cancels_waiting.head);
	}
	put_lookups(room, out);
	put_clients(chunk_begin(out, room, CONSOLE_DATABASE, CONSOLE_DATABASE), &room->consoles.head);
	LIST_FOR(node, &room->peers) {
		const struct share *s = LIST_ITEM(node, struct share, link);
		struct buf *b = chunk_begin_peer(out, room, s->pool->peer_id);

		put_clients(b, &s->cancels_active.head);
		put_clients(b, &s->cancels_waiting.head);
	}
}

const struct show show_clients = SHOW_VISIT("clients", client_columns, visit_clients);

/* On the active list without a client, it waits for its release. */
static const char *server_word(const struct server *sv)
{
	return sv->state == SV_ACTIVE && !sv->client ? "idle" : server_state_word(sv);
}

static void put_servers(struct buf *b, const struct share *s)
{
	static const enum server_state order[] = {SV_ACTIVE, SV_IDLE,	       SV_USED,		 SV_TESTED,
						  SV_LOGIN,  SV_ACTIVE_CANCEL, SV_BEING_CANCELED};

	for (size_t i = 0; i < ARRAY_LEN(order); i++)
		LIST_FOR(link, &s->servers[order[i]].head) {
			const struct server *sv = LIST_ITEM(link, struct server, link);
			struct socket_row r;

			fill_server(&r, sv, server_word(sv));
			put_server_row(b, &r);
		}
}

static void visit_servers(struct room *room, struct chunks *out)
{
	LIST_FOR(node, &room->shares) {
		const struct share *s = LIST_ITEM(node, struct share, link);

		put_servers(chunk_begin(out, room, share_database_name(s), s->pool->account->name), s);
	}
	LIST_FOR(node, &room->peers) {
		const struct share *s = LIST_ITEM(node, struct share, link);

		put_servers(chunk_begin_peer(out, room, s->pool->peer_id), s);
	}
}

const struct show show_servers = SHOW_VISIT("servers", server_columns, visit_servers);

/* ---- SOCKETS ---- */

static bool has_buffered(const struct conn *c)
{
	return c->in || c->out;
}

static void put_client_sockets(struct buf *b, const struct list *clients, const char *state, bool only_buffered)
{
	LIST_FOR(node, clients) {
		const struct client *c = LIST_ITEM(node, struct client, link);
		char identity[WALLET_TEXT_LEN + 1];
		struct socket_row r;

		if (c->is_seat || (only_buffered && !has_buffered(&c->conn)))
			continue;
		fill_client(&r, c, state, identity);
		put_socket_row(b, &r);
	}
}

static void put_server_sockets(struct buf *b, const struct list *servers, const char *state, bool only_buffered)
{
	LIST_FOR(node, servers) {
		const struct server *sv = LIST_ITEM(node, struct server, link);
		struct socket_row r;

		if (only_buffered && !has_buffered(&sv->conn))
			continue;
		fill_server(&r, sv, state);
		put_socket_row(b, &r);
	}
}

static void put_sockets(struct room *room, struct chunks *out, bool only_buffered)
{
	static const struct {
		enum server_state state;
		const char *word;
	} shown[] = {{SV_ACTIVE, "sv_active"}, {SV_IDLE, "sv_idle"},   {SV_USED, "sv_used"},
		     {SV_TESTED, "sv_tested"}, {SV_LOGIN, "sv_login"}};
	struct buf *b;

	LIST_FOR(node, &room->shares) {
		const struct share *s = LIST_ITEM(node, struct share, link);

		b = chunk_begin(out, room, share_database_name(s), s->pool->account->name);
		put_client_sockets(b, &s->active.head, "cl_active", only_buffered);
		put_client_sockets(b, &s->waiting.head, "cl_waiting", only_buffered);
		for (size_t i = 0; i < ARRAY_LEN(shown); i++)
			put_server_sockets(b, &s->servers[shown[i].state].head, shown[i].word, only_buffered);
	}
	b = chunk_begin(out, room, CONSOLE_DATABASE, CONSOLE_DATABASE);
	put_client_sockets(b, &room->consoles.head, "cl_active", only_buffered);
	/* Those without a pool stand first. */
	b = chunk_begin(out, room, "", "");
	put_client_sockets(b, &room->logins.head, "cl_login", only_buffered);
	LIST_FOR(node, &room->peers) {
		const struct share *s = LIST_ITEM(node, struct share, link);

		b = chunk_begin_peer(out, room, s->pool->peer_id);
		put_client_sockets(b, &s->cancels_active.head, "cl_active_cancel_req", only_buffered);
		put_client_sockets(b, &s->cancels_waiting.head, "cl_waiting_cancel_req", only_buffered);
		put_server_sockets(b, &s->servers[SV_ACTIVE_CANCEL].head, "sv_active_cancel", only_buffered);
		put_server_sockets(b, &s->servers[SV_LOGIN].head, "sv_login", only_buffered);
	}
}

static void visit_sockets(struct room *room, struct chunks *out)
{
	put_sockets(room, out, false);
}

static void visit_active_sockets(struct room *room, struct chunks *out)
{
	put_sockets(room, out, true);
}

const struct show show_sockets = SHOW_VISIT("sockets", socket_columns, visit_sockets);
const struct show show_active_sockets = SHOW_VISIT("active_sockets", socket_columns, visit_active_sockets);
