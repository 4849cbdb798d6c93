/*
 * SHOW FDS: every socket with what a successor must know of it. The console of
 * our own Unix user gets the descriptors themselves, one with each row, and
 * the secrets; everybody else sees numbers.
 *
 * What is sent is taken from a pouch, filled while the owner holds the socket:
 * by the time of sending the number may mean another connection.
 *
 * Console specification, section 8.17.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/show.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/net_order.h"
#include "net/conn_fds.h"
#include "net/fd_pouch.h"
#include "pool/client.h"
#include "pool/handover.h"
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
	int worker;
	size_t n; /* rows */
	struct buf rows; /* owned; may hold keys */
};

struct parts { /* of one Worker, in the order of names */
	struct part *at; /* owned */
	size_t n, cap;
	bool with_fds;
	struct fd_pouch pouch; /* with_fds: one a row, in the order of rows */
	struct scram_keys keys; /* of the pool whose rows are written */
	int error; /* errno of a descriptor that could not be had */
};

struct fds_gathering {
	struct ask *ask;
	struct parts listeners;
	struct parts workers[WORKERS_MAX];
};

/* The pouches, and from which the next so many rows take theirs. */
struct fds_answer {
	struct fd_pouch *pouches; /* owned; one a Worker, and that of the listeners */
	int pouch_count;
	struct fds_run {
		int pouch;
		size_t n;
	} *runs; /* owned */
	size_t run_count, at;
};

static struct part *begin_part(struct parts *parts, int worker, const char *database, const char *user, int rank)
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
	p->worker = worker;
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
	if (parts->with_fds && !fd_pouch_put(&parts->pouch, r->fd)) {
		parts->error = errno;
		return;
	}
	p->n++;
	at = row_begin(b, ARRAY_LEN(fd_columns));
	FD_COLUMNS(CELL)
	msg_end(b, at);
}

static void seal(struct parts *parts)
{
	if (parts->with_fds && !parts->error && !fd_pouch_seal(&parts->pouch))
		parts->error = errno;
}

static uint64_t key_number(const uint8_t key[8])
{
	uint64_t n = 0;

	for (int i = 0; i < 8; i++)
		n = n << 8 | key[i];
	return n;
}

/* Those of the account, in whatever pool of it they were learnt. */
static void find_keys(struct parts *parts, const struct share *s)
{
	if (!user_keys(&s->room->pooler->registry, s->pool->account, &parts->keys))
		parts->keys = s->keys;
}

static const struct scram_keys *keys_of(const struct parts *parts, const struct share *s, const char *user)
{
	return parts->with_fds && strcmp(user, s->pool->account->name) == 0 ? &parts->keys : NULL;
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
		if (c->is_seat || !handover_can_go(c, c->server))
			continue;
		r.addr = peer_addr_host(&c->addr, r.addr_text, sizeof(r.addr_text));
		/* A name that is not proven yet could be taken for one that is. */
		if (c->share) {
			r.user = c->user->name;
			r.database = c->database->name;
			r.cancel = key_number(c->key);
			r.link = c->server ? c->server->conn.fd : 0;
			r.keys = keys_of(parts, c->share, c->user->name);
			if (secret && strcmp(c->user->name, c->share->pool->account->name) == 0)
				r.password = secret;
		}
		put_row(parts, &r);
	}
}

static void put_servers(struct parts *parts, const struct share *s, const struct list *servers)
{
	LIST_FOR(node, servers) {
		const struct server *sv = LIST_ITEM(node, struct server, link);
		struct fd_row r = {.task = "server", .fd = sv->conn.fd, .params = &sv->params};
		struct peer_addr peer;

		if (!handover_can_go(sv->client, sv) || sv->conn.fd < 0 || (sv->client && sv->client->is_seat))
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

static int by_name(const void *pa, const void *pb)
{
	const struct pool *a = (*(const struct share *const *)pa)->pool, *b = (*(const struct share *const *)pb)->pool;
	int order = strcmp(a->database->name, b->database->name);

	return order ? order : strcmp(a->account->name, b->account->name);
}

/* Owned by the caller. */
static const struct share **sorted_shares(const struct room *room, size_t *n)
{
	const struct share **shares;
	size_t total = 0;

	LIST_FOR(node, &room->shares)
		total++;
	shares = xcalloc(total + 1, sizeof(*shares));
	*n = 0;
	LIST_FOR(node, &room->shares)
		shares[(*n)++] = LIST_ITEM(node, struct share, link);
	qsort(shares, *n, sizeof(*shares), by_name);
	return shares;
}

static void visit_fds(struct worker *w, void *ctx)
{
	static const enum server_state order[] = {SV_ACTIVE, SV_IDLE, SV_USED, SV_TESTED, SV_LOGIN};
	struct parts *parts = &((struct fds_gathering *)ctx)->workers[w->index];
	const struct room *room = room_of(w);
	const struct share **shares;
	size_t n;

	begin_part(parts, w->index, "", "", 1);
	put_clients(parts, &room->logins.head, NULL);
	shares = sorted_shares(room, &n);
	for (size_t i = 0; i < n; i++) {
		const struct share *s = shares[i];
		char *secret = NULL;

		begin_part(parts, w->index, share_database_name(s), s->pool->account->name, 1);
		find_keys(parts, s);
		if (parts->with_fds && !config_find_secret(room->config, s->pool->account->name) &&
		    !pool_secret(&room->pooler->registry, s->pool, &secret))
			parts->error = ENOMEM;
		put_clients(parts, &s->active.head, secret);
		put_clients(parts, &s->waiting.head, secret);
		str_wipe_free(secret);
		for (size_t j = 0; j < ARRAY_LEN(order); j++)
			put_servers(parts, s, &s->servers[order[j]].head);
	}
	free(shares);
	mem_wipe(&parts->keys, sizeof(parts->keys));
	seal(parts);
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

void fds_answer_free(struct fds_answer *answer)
{
	if (!answer)
		return;
	for (int i = 0; i < answer->pouch_count; i++)
		fd_pouch_free(&answer->pouches[i]);
	free(answer->pouches);
	free(answer->runs);
	free(answer);
}

static int by_pool(const void *pa, const void *pb)
{
	const struct part *a = *(const struct part *const *)pa, *b = *(const struct part *const *)pb;
	int order = strcmp(a->database, b->database);

	if (order == 0)
		order = strcmp(a->user, b->user);
	if (order == 0)
		order = a->rank - b->rank;
	return order ? order : a->worker - b->worker;
}

static void append_part(struct ask *a, struct part *p)
{
	struct span rows = buf_span(&p->rows);

	if (!buf_ok(&p->rows))
		a->answer.failed = true;
	buf_put(&a->answer, rows.ptr, rows.len);
	if (a->fds)
		a->fds->runs[a->fds->run_count++] = (struct fds_run){p->worker, p->n};
	buf_wipe_free(&p->rows);
}

static size_t count_parts(const struct fds_gathering *g, int workers)
{
	size_t n = g->listeners.n;

	for (int i = 0; i < workers; i++)
		n += g->workers[i].n;
	return n;
}

static void fds_gathered(struct worker *control UNUSED, void *ctx)
{
	struct fds_gathering *g = ctx;
	struct ask *a = g->ask;
	int workers = console_host.pooler->crew->n, error;
	struct part **sorted;
	size_t total, n = 0;

	begin_part(&g->listeners, workers, "", "", 0);
	console_host.ops->each_listener(put_listener, &g->listeners);
	seal(&g->listeners);
	error = g->listeners.error;
	total = count_parts(g, workers);
	if (g->listeners.with_fds) {
		a->fds = xcalloc(1, sizeof(*a->fds));
		a->fds->pouch_count = workers + 1;
		a->fds->pouches = xcalloc((size_t)workers + 1, sizeof(*a->fds->pouches));
		a->fds->runs = xcalloc(total, sizeof(*a->fds->runs));
	}
	sorted = xcalloc(total, sizeof(*sorted));
	for (int i = 0; i <= workers; i++) {
		struct parts *parts = i < workers ? &g->workers[i] : &g->listeners;

		for (size_t j = 0; j < parts->n; j++)
			sorted[n++] = &parts->at[j];
		if (a->fds)
			a->fds->pouches[i] = parts->pouch;
		error = error ? error : parts->error;
	}
	qsort(sorted, n, sizeof(*sorted), by_pool);
	for (size_t i = 0; i < n; i++)
		append_part(a, sorted[i]);
	free(sorted);
	for (int i = 0; i < workers; i++)
		free(g->workers[i].at);
	free(g->listeners.at);
	free(g);
	if (error) {
		ask_fail(a, CONSOLE_SQLSTATE, "SHOW FDS failed: %s", strerror(error));
		return;
	}
	if (a->fds && console_host.ops->pause() == SUSPENDED)
		console_host.ops->handed_over();
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
	g->listeners.with_fds = a->is_own_uid;
	for (int i = 0; i < console_host.pooler->crew->n; i++)
		g->workers[i].with_fds = a->is_own_uid;
	crew_gather(console_host.pooler->crew, visit_fds, fds_gathered, g);
}

const struct show show_fds = SHOW_RUN("fds", fd_columns, run_fds);

/* ---- on the client's Worker ---- */

/* The caller's; -1: errno says why. */
static int take_fd(struct fds_answer *answer)
{
	while (answer->at < answer->run_count && answer->runs[answer->at].n == 0)
		answer->at++;
	if (answer->at == answer->run_count) {
		errno = ENOENT;
		return -1;
	}
	answer->runs[answer->at].n--;
	return fd_pouch_take(&answer->pouches[answer->runs[answer->at].pouch]);
}

static bool send_row(struct conn *c, struct span row, struct fds_answer *fds, usec_t deadline)
{
	int fd = take_fd(fds), error;
	bool ok;

	if (fd < 0)
		return false;
	ok = conn_send_with_fd(c, row, fd, deadline);
	error = errno;
	close(fd);
	errno = error;
	return ok;
}

bool fds_send(struct conn *c, struct ask *a)
{
	usec_t deadline = clock_monotonic() + SEND_PATIENCE;
	struct span rest = buf_span(&a->answer);

	if (!buf_ok(&a->answer)) {
		errno = ENOMEM;
		return false;
	}
	while (rest.len > 0) {
		size_t len = 1 + (size_t)get_u32(rest.ptr + 1);
		struct span message = span_of(rest.ptr, len);

		if (message.ptr[0] != 'D')
			conn_send(c, message.ptr, message.len);
		else if (!send_row(c, message, a->fds, deadline))
			return false;
		rest = span_of(rest.ptr + len, rest.len - len);
	}
	return true;
}
