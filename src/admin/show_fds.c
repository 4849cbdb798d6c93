/*
 * SHOW FDS: every socket with what a successor must know of it. The console of
 * our own Unix user gets the descriptors themselves, one with each row, and
 * the secrets; everybody else sees numbers.
 *
 * What is sent is a duplicate, made while its owner holds the socket: by the
 * time of sending the number may mean another connection.
 *
 * Console specification, section 8.17.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/show.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "net/conn_fds.h"
#include "pool/client.h"
#include "pool/share.h"
#include "proto/writer.h"

#define SEND_PATIENCE (10 * USEC_PER_SEC)

struct fd_row {
	const char *task, *user, *database, *addr, *password;
	int fd, port, link;
	uint64_t cancel;
	const struct params *params;	/* NULL: a listener */
	const struct scram_keys *keys;	/* NULL: none, or not for this console */
	char addr_text[64];
};

enum tracked { TRACKED_DATESTYLE, TRACKED_ENCODING, TRACKED_TIMEZONE, TRACKED_STD_STRINGS };

static const char *parameter(const struct fd_row *r, enum tracked which)
{
	static const char *const names[] = {"DateStyle", "client_encoding", "TimeZone", "standard_conforming_strings"};

	return r->params ? params_get(r->params, params_index(names[which])) : NULL;
}

static struct span key(const struct fd_row *r, bool of_client)
{
	if (!r->keys || !r->keys->known)
		return span_of(NULL, 0);
	return span_of(of_client ? r->keys->client_key : r->keys->server_key, sizeof(r->keys->client_key));
}

#define FD_COLUMNS(COL)                                                      \
	COL(INT, fd, r->fd)                                                  \
	COL(TEXT, task, r->task)                                             \
	COL(TEXT, user, r->user)                                             \
	COL(TEXT, database, r->database)                                     \
	COL(TEXT, addr, r->addr)                                             \
	COL(INT, port, r->port)                                              \
	COL(BIGINT, cancel, (int64_t)r->cancel)                              \
	COL(INT, link, r->link)                                              \
	COL(TEXT, client_encoding, parameter(r, TRACKED_ENCODING))           \
	COL(TEXT, std_strings, parameter(r, TRACKED_STD_STRINGS))            \
	COL(TEXT, datestyle, parameter(r, TRACKED_DATESTYLE))                \
	COL(TEXT, timezone, parameter(r, TRACKED_TIMEZONE))                  \
	COL(TEXT, password, r->password)                                     \
	COL(BYTEA, scram_client_key, key(r, true))                           \
	COL(BYTEA, scram_server_key, key(r, false))

static const struct column fd_columns[] = {FD_COLUMNS(COLUMN)};

/* ---- the rows of one pool on one Worker, or of listeners, or of log-ins ---- */

struct part {
	char database[DATABASE_NAME_MAX + 1]; /* "" comes first */
	char user[USER_NAME_MAX + 1];
	int rank; /* what comes before what under the same name */
	struct buf rows; /* owned; may hold keys */
	int *fds;	 /* owned, as are the descriptors: one a row */
	size_t n, cap;
};

struct parts { /* of one Worker */
	struct part *at; /* owned */
	size_t n, cap;
	bool with_fds;
	int error; /* errno of a descriptor that could not be had */
};

struct fds_gathering {
	struct ask *ask;
	struct parts workers[WORKERS_MAX];
};

static struct part *begin_part(struct parts *parts, const char *database, const char *user, int rank)
{
	struct part *p;

	if (parts->n == parts->cap) {
		parts->cap = parts->cap ? parts->cap * 2 : 16;
		parts->at = xrealloc(parts->at, parts->cap * sizeof(*parts->at));
	}
	p = &parts->at[parts->n++];
	memset(p, 0, sizeof(*p));
	strncpy(p->database, database, sizeof(p->database) - 1);
	strncpy(p->user, user, sizeof(p->user) - 1);
	p->rank = rank;
	buf_init(&p->rows);
	return p;
}

static void put_row(struct parts *parts, const struct fd_row *r)
{
	struct part *p = &parts->at[parts->n - 1];
	struct buf *b = &p->rows;
	size_t at;

	if (parts->error)
		return;
	if (parts->with_fds) {
		int copy = fcntl(r->fd, F_DUPFD_CLOEXEC, 0);

		if (copy < 0) {
			parts->error = errno;
			return;
		}
		if (p->n == p->cap) {
			p->cap = p->cap ? p->cap * 2 : 16;
			p->fds = xrealloc(p->fds, p->cap * sizeof(*p->fds));
		}
		p->fds[p->n++] = copy;
	}
	at = row_begin(b, ARRAY_LEN(fd_columns));
	FD_COLUMNS(CELL)
	msg_end(b, at);
}

static uint64_t key_number(const uint8_t key[8])
{
	uint64_t n = 0;

	for (int i = 0; i < 8; i++)
		n = n << 8 | key[i];
	return n;
}

static const struct scram_keys *keys_of(const struct parts *parts, const struct share *s, const char *user)
{
	return parts->with_fds && s && strcmp(user, s->pool->account->name) == 0 ? &s->keys : NULL;
}

/*
 * TLS cannot be handed over, and half a pair is of no use. No column says that a connection replicates: the next
 * process would give its server to others.
 */
static bool can_go(const struct client *c, const struct server *sv)
{
	return (!c || (!c->conn.tls && c->replication == REPLICATION_NONE)) && (!sv || !sv->conn.tls);
}

/*
 * secret: what auth_query, PAM or LDAP said of the pool's account, NULL for
 * those that auth_file knows: the next process cannot ask for it again.
 */
static void put_clients(struct parts *parts, const struct list *clients, const char *secret)
{
	LIST_FOR(node, clients) {
		const struct client *c = LIST_ITEM(node, struct client, link);
		struct fd_row r = {.task = "client", .fd = c->conn.fd, .port = c->addr.port, .params = &c->params};

		/* What waits for a log-in's secret ends with that log-in. */
		if (c->is_seat || !can_go(c, c->server))
			continue;
		r.user = c->user ? c->user->name : NULL;
		r.database = c->database ? c->database->name : NULL;
		r.addr = peer_addr_host(&c->addr, r.addr_text, sizeof(r.addr_text));
		r.cancel = key_number(c->key);
		r.link = c->server ? c->server->conn.fd : 0;
		r.keys = c->user ? keys_of(parts, c->share, c->user->name) : NULL;
		if (secret && c->user && strcmp(c->user->name, c->share->pool->account->name) == 0)
			r.password = secret;
		put_row(parts, &r);
	}
}

static void put_servers(struct parts *parts, const struct share *s, const struct list *servers)
{
	LIST_FOR(node, servers) {
		const struct server *sv = LIST_ITEM(node, struct server, link);
		struct fd_row r = {.task = "server", .fd = sv->conn.fd, .params = &sv->params};
		struct peer_addr peer;

		if (!can_go(sv->client, sv) || sv->conn.fd < 0 || (sv->client && sv->client->is_seat))
			continue;
		r.user = s->pool->account->name;
		r.database = share_database_name(s);
		peer_addr_from(&peer, &sv->addr);
		r.addr = peer_addr_host(&peer, r.addr_text, sizeof(r.addr_text));
		r.port = peer.family == AF_UNIX ? (s->def ? s->def->port : 0) : peer.port;
		r.cancel = key_number(sv->key);
		r.link = sv->client ? sv->client->conn.fd : 0;
		r.keys = keys_of(parts, s, r.user);
		put_row(parts, &r);
	}
}

static void visit_fds(struct worker *w, void *ctx)
{
	static const enum server_state order[] = {SV_ACTIVE, SV_IDLE, SV_USED, SV_TESTED, SV_LOGIN};
	struct parts *parts = &((struct fds_gathering *)ctx)->workers[w->index];
	const struct room *room = room_of(w);

	begin_part(parts, "", "", 1);
	put_clients(parts, &room->logins.head, NULL);
	LIST_FOR(node, &room->shares) {
		const struct share *s = LIST_ITEM(node, struct share, link);
		char *secret = NULL;

		begin_part(parts, share_database_name(s), s->pool->account->name, 1);
		if (parts->with_fds && !config_find_secret(room->config, s->pool->account->name) &&
		    !pool_secret(&room->pooler->registry, s->pool, &secret))
			parts->error = ENOMEM;
		put_clients(parts, &s->active.head, secret);
		put_clients(parts, &s->waiting.head, secret);
		str_wipe_free(secret);
		for (size_t i = 0; i < ARRAY_LEN(order); i++)
			put_servers(parts, s, &s->servers[order[i]].head);
	}
}

static void put_listener(void *arg, int fd, const union sock_addr *addr, int unix_port)
{
	struct fd_row r = {.task = "pooler", .fd = fd};
	struct peer_addr own;

	peer_addr_from(&own, addr);
	r.addr = peer_addr_host(&own, r.addr_text, sizeof(r.addr_text));
	r.port = own.family == AF_UNIX ? unix_port : own.port;
	put_row(arg, &r);
}

/* ---- all of them, in order ---- */

static int by_pool(const void *pa, const void *pb)
{
	const struct part *a = *(const struct part *const *)pa, *b = *(const struct part *const *)pb;
	int order = strcmp(a->database, b->database);

	if (order == 0)
		order = strcmp(a->user, b->user);
	return order ? order : a->rank - b->rank;
}

static void append_part(struct ask *a, struct part *p)
{
	struct span rows = buf_span(&p->rows);

	if (!buf_ok(&p->rows))
		a->answer.failed = true;
	buf_put(&a->answer, rows.ptr, rows.len);
	if (p->n > 0) {
		a->fds = xrealloc(a->fds, (a->fd_count + p->n) * sizeof(*a->fds));
		memcpy(a->fds + a->fd_count, p->fds, p->n * sizeof(*p->fds));
		a->fd_count += p->n;
	}
	buf_wipe_free(&p->rows);
	free(p->fds);
}

static void fds_gathered(struct worker *control UNUSED, void *ctx)
{
	struct fds_gathering *g = ctx;
	struct ask *a = g->ask;
	int workers = console_host.pooler->crew->n, error = 0;
	struct part **sorted;
	size_t total = 0, n = 0;

	begin_part(&g->workers[0], "", "", 0);
	console_host.ops->each_listener(put_listener, &g->workers[0]);
	for (int i = 0; i < workers; i++) {
		total += g->workers[i].n;
		error = error ? error : g->workers[i].error;
	}
	sorted = xcalloc(total + 1, sizeof(*sorted));
	for (int i = 0; i < workers; i++)
		for (size_t j = 0; j < g->workers[i].n; j++)
			sorted[n++] = &g->workers[i].at[j];
	qsort(sorted, n, sizeof(*sorted), by_pool);
	for (size_t i = 0; i < n; i++)
		append_part(a, sorted[i]);
	free(sorted);
	for (int i = 0; i < workers; i++)
		free(g->workers[i].at);
	free(g);
	if (error)
		ask_fail(a, CONSOLE_SQLSTATE, "SHOW FDS failed: %s", strerror(error));
	else
		ask_done(a, "SHOW");
}

static void run_fds(struct ask *a)
{
	struct fds_gathering *g;

	if (!a->is_admin) {
		ask_fail(a, CONSOLE_SQLSTATE, "admin access needed");
		return;
	}
	g = xcalloc(1, sizeof(*g));
	g->ask = a;
	for (int i = 0; i < console_host.pooler->crew->n; i++)
		g->workers[i].with_fds = a->is_own_uid;
	crew_gather(console_host.pooler->crew, visit_fds, fds_gathered, g);
}

const struct show show_fds = SHOW_RUN("fds", fd_columns, run_fds);

/* ---- on the client's Worker ---- */

bool fds_send(struct conn *c, struct ask *a)
{
	usec_t deadline = clock_monotonic() + SEND_PATIENCE;
	struct span rest = buf_span(&a->answer);
	size_t next = 0;

	if (!buf_ok(&a->answer)) {
		errno = ENOMEM;
		return false;
	}
	while (next < a->fd_count) {
		size_t len = 1 + ((size_t)rest.ptr[1] << 24 | (size_t)rest.ptr[2] << 16 | (size_t)rest.ptr[3] << 8 |
				  (size_t)rest.ptr[4]);
		struct span message = span_of(rest.ptr, len);

		if (message.ptr[0] != 'D')
			conn_send(c, message.ptr, message.len);
		else if (!conn_send_with_fd(c, message, a->fds[next++], deadline))
			return false;
		rest = span_of(rest.ptr + len, rest.len - len);
	}
	conn_send(c, rest.ptr, rest.len);
	return true;
}
