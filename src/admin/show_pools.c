/* SHOW of pools and of what there is how much of: POOLS, LISTS, MEM. */
#include <stdlib.h>

#include "admin/show.h"
#include "lib/mem.h"
#include "pool/client.h"
#include "pool/share.h"
#include "proto/writer.h"

/* ---- POOLS ---- */

/* How long the first of those that wait has waited. */
static usec_t first_wait(const struct share *s)
{
	const struct client *c;

	if (list_empty(&s->waiting.head))
		return 0;
	c = LIST_ITEM(s->waiting.head.next, struct client, link);
	return c->wait_start ? worker_now(s->room->worker) - c->wait_start : 0;
}

#define POOL_COLUMNS(COL)                                                   \
	COL(TEXT, database, share_database_name(s))                         \
	COL(TEXT, user, s->pool->account->name)                             \
	COL(INT, cl_active, s->active.count)                                \
	COL(INT, cl_waiting, s->waiting.count)                              \
	COL(INT, cl_active_cancel_req, s->cancels_active.count)             \
	COL(INT, cl_waiting_cancel_req, s->cancels_waiting.count)           \
	COL(INT, sv_active, s->servers[SV_ACTIVE].count)                    \
	COL(INT, sv_active_cancel, s->servers[SV_ACTIVE_CANCEL].count)      \
	COL(INT, sv_being_canceled, s->servers[SV_BEING_CANCELED].count)    \
	COL(INT, sv_idle, s->servers[SV_IDLE].count)                        \
	COL(INT, sv_used, s->servers[SV_USED].count)                        \
	COL(INT, sv_tested, s->servers[SV_TESTED].count)                    \
	COL(INT, sv_login, s->servers[SV_LOGIN].count)                      \
	COL(INT, maxwait, waited / USEC_PER_SEC)                            \
	COL(INT, maxwait_us, waited % USEC_PER_SEC)                         \
	COL(TEXT, pool_mode, pool_mode_name(s->mode))                       \
	COL(TEXT, load_balance_hosts, s->def ? balance_name(s->def) : NULL)

static const struct column pool_columns[] = {POOL_COLUMNS(COLUMN)};

static void put_pool(struct buf *b, const struct share *s)
{
	usec_t waited = first_wait(s);
	size_t at = row_begin(b, ARRAY_LEN(pool_columns));

	POOL_COLUMNS(CELL)
	msg_end(b, at);
}

static void visit_pools(struct room *room, struct chunks *out)
{
	LIST_FOR(node, &room->shares) {
		const struct share *s = LIST_ITEM(node, struct share, link);

		put_pool(chunk_begin(out, room, share_database_name(s), s->pool->account->name), s);
	}
}

/*
 * The console's clients are spread over the Workers, but its pool is one row.
 * It is written as a share that has nothing but active clients.
 */
struct pools_gathering {
	struct ask *ask;
	struct chunks workers[WORKERS_MAX];
	int consoles[WORKERS_MAX];
};

static void count_consoles(struct worker *w, void *ctx)
{
	struct pools_gathering *g = ctx;

	g->consoles[w->index] = room_of(w)->consoles.count;
	visit_pools(room_of(w), &g->workers[w->index]);
}

static void put_console_pool(struct chunks *out, struct room *room, int consoles)
{
	struct database database = {.name = CONSOLE_DATABASE};
	struct user account = {.name = CONSOLE_DATABASE};
	struct pool pool = {.database = &database, .account = &account};
	struct share share = {.room = room, .pool = &pool, .mode = POOL_STATEMENT};

	list_init(&share.waiting.head);
	share.active.count = consoles;
	put_pool(chunk_begin(out, room, CONSOLE_DATABASE, CONSOLE_DATABASE), &share);
}

static void pools_done(struct worker *control UNUSED, void *ctx)
{
	struct pools_gathering *g = ctx;
	struct crew *crew = console_host.pooler->crew;
	int consoles = 0;

	for (int i = 0; i < crew->n; i++)
		consoles += g->consoles[i];
	put_console_pool(&g->workers[0], room_of(crew->workers[0]), consoles);
	chunks_merge(g->workers, crew->n, &g->ask->answer);
	ask_done(g->ask, "SHOW");
	free(g);
}

static void run_pools(struct ask *a)
{
	struct pools_gathering *g = xcalloc(1, sizeof(*g));

	g->ask = a;
	crew_gather(console_host.pooler->crew, count_consoles, pools_done, g);
}

const struct show show_pools = SHOW_RUN("pools", pool_columns, run_pools);

/* ---- LISTS and MEM ---- */

struct counts { /* of one Worker */
	int shares, peer_shares, clients, logins, servers;
};

struct count_gathering {
	struct ask *ask;
	struct counts workers[WORKERS_MAX];
	void (*finish)(struct ask *, const struct counts *sum);
};

static void count_room(struct worker *w, void *ctx)
{
	const struct room *room = room_of(w);
	struct counts *c = &((struct count_gathering *)ctx)->workers[w->index];

	c->logins = room->logins.count;
	c->clients = room->logins.count + room->consoles.count;
	LIST_FOR(node, &room->orphans)
		c->clients++;
	LIST_FOR(node, &room->shares) {
		const struct share *s = LIST_ITEM(node, struct share, link);

		c->shares++;
		/* A seat stands for a client that is counted with the log-ins. */
		LIST_FOR(seat, &s->waiting.head)
			c->clients -= LIST_ITEM(seat, struct client, link)->is_seat;
		c->clients += s->active.count + s->waiting.count + s->cancels_active.count + s->cancels_waiting.count;
		c->servers += share_server_count(s);
	}
	LIST_FOR(node, &room->peers) {
		const struct share *s = LIST_ITEM(node, struct share, link);

		c->peer_shares++;
		c->clients += s->cancels_active.count + s->cancels_waiting.count;
		c->servers += share_server_count(s);
	}
}

static void counted(struct worker *control UNUSED, void *ctx)
{
	struct count_gathering *g = ctx;
	struct counts sum = {0};

	for (int i = 0; i < console_host.pooler->crew->n; i++) {
		sum.shares += g->workers[i].shares;
		sum.peer_shares += g->workers[i].peer_shares;
		sum.clients += g->workers[i].clients;
		sum.logins += g->workers[i].logins;
		sum.servers += g->workers[i].servers;
	}
	g->finish(g->ask, &sum);
	free(g);
}

static void run_count(struct ask *a, void (*finish)(struct ask *, const struct counts *))
{
	struct count_gathering *g = xcalloc(1, sizeof(*g));

	g->ask = a;
	g->finish = finish;
	crew_gather(console_host.pooler->crew, count_room, counted, g);
}

#define LIST_COLUMNS(COL)       \
	COL(TEXT, list, name)   \
	COL(INT, items, items)

static const struct column list_columns[] = {LIST_COLUMNS(COLUMN)};

static void put_list(struct buf *b, const char *name, int64_t items)
{
	size_t at = row_begin(b, ARRAY_LEN(list_columns));

	LIST_COLUMNS(CELL)
	msg_end(b, at);
}

static void finish_lists(struct ask *a, const struct counts *sum)
{
	struct dns *dns = console_host.ops->dns();
	struct dns_counts names = {0, 0, 0, 0};
	struct buf *b = &a->answer;
	size_t databases, users;

	if (dns)
		dns_count(dns, &names);
	count_known(&databases, &users);
	put_list(b, "databases", (int64_t)databases);
	put_list(b, "users", (int64_t)users);
	put_list(b, "peers", (int64_t)config_peer_count(console_host.ops->config()));
	put_list(b, "pools", sum->shares + 1); /* and the console's */
	put_list(b, "peer_pools", sum->peer_shares);
	put_list(b, "free_clients", 0); /* objects go back to malloc, nothing is kept */
	put_list(b, "used_clients", sum->clients);
	put_list(b, "login_clients", sum->logins);
	put_list(b, "free_servers", 0);
	put_list(b, "used_servers", sum->servers);
	put_list(b, "dns_names", names.names);
	put_list(b, "dns_zones", names.zones);
	put_list(b, "dns_queries", names.queries);
	put_list(b, "dns_pending", names.pending);
	ask_done(a, "SHOW");
}

static void run_lists(struct ask *a)
{
	run_count(a, finish_lists);
}

const struct show show_lists = SHOW_RUN("lists", list_columns, run_lists);

#define MEM_COLUMNS(COL)         \
	COL(TEXT, name, name)    \
	COL(INT, size, size)     \
	COL(INT, used, used)     \
	COL(INT, free, free_now) \
	COL(INT, memtotal, size * (used + free_now))

static const struct column mem_columns[] = {MEM_COLUMNS(COLUMN)};

static void put_mem(struct buf *b, const char *name, size_t object_bytes, int64_t used, int64_t free_now)
{
	int64_t size = (int64_t)object_bytes;
	size_t at = row_begin(b, ARRAY_LEN(mem_columns));

	MEM_COLUMNS(CELL)
	msg_end(b, at);
}

static void finish_mem(struct ask *a, const struct counts *sum)
{
	struct registry *r = &console_host.pooler->registry;
	struct buf *b = &a->answer;
	int64_t users, databases, pools;

	pthread_mutex_lock(&r->ledger.lock);
	users = (int64_t)r->users.count;
	databases = (int64_t)r->databases.count;
	pools = (int64_t)r->pools.count;
	pthread_mutex_unlock(&r->ledger.lock);
	put_mem(b, "user_cache", sizeof(struct user), users, 0);
	put_mem(b, "db_cache", sizeof(struct database), databases, 0);
	put_mem(b, "peer_cache", sizeof(struct peer_def), (int64_t)config_peer_count(console_host.ops->config()), 0);
	put_mem(b, "peer_pool_cache", sizeof(struct pool) + sizeof(struct share), sum->peer_shares, 0);
	put_mem(b, "pool_cache", sizeof(struct pool) + sizeof(struct share), pools, 0);
	put_mem(b, "server_cache", sizeof(struct server), sum->servers, 0);
	put_mem(b, "client_cache", sizeof(struct client), sum->clients, 0);
	put_mem(b, "iobuf_cache", WORKER_HEADROOM_BYTES + 2 * WORKER_SCRATCH_BYTES, console_host.pooler->crew->total,
		0);
	ask_done(a, "SHOW");
}

static void run_mem(struct ask *a)
{
	run_count(a, finish_mem);
}

const struct show show_mem = SHOW_RUN("mem", mem_columns, run_mem);
