#include "admin/show.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/mem.h"
#include "proto/writer.h"

/* ---- fake parameters: what drivers ask for when they connect ---- */

static const struct fake {
	struct column column;
	const char *value;
} fakes[] = {
	{{"client_encoding", COLUMN_TEXT}, "UTF-8"},
	{{"default_transaction_isolation", COLUMN_TEXT}, "read committed"},
	{{"standard_conforming_strings", COLUMN_TEXT}, "on"},
	{{"datestyle", COLUMN_TEXT}, "ISO"},
	{{"timezone", COLUMN_TEXT}, "GMT"},
};

static const struct fake *find_fake(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(fakes); i++)
		if (strcasecmp(fakes[i].column.name, name) == 0)
			return &fakes[i];
	return NULL;
}

bool is_fake_parameter(const char *name)
{
	return find_fake(name);
}

/* ---- small items ---- */

static void run_help(struct ask *a)
{
	put_notice(&a->answer, "00000", "Console usage",
		   "\n\tSHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|USERS|VERSION"
		   "\n\tSHOW PEERS|PEER_POOLS"
		   "\n\tSHOW FDS"
		   "\n\tSHOW SOCKETS|ACTIVE_SOCKETS|LISTS|MEM|STATE"
		   "\n\tSHOW DNS_HOSTS|DNS_ZONES"
		   "\n\tSHOW STATS|STATS_TOTALS|STATS_AVERAGES|TOTALS"
		   "\n\tSHOW STATS_ECDSA|ECDSA_LIMITS"
		   "\n\tSET key = arg"
		   "\n\tRELOAD"
		   "\n\tPAUSE [<db>]"
		   "\n\tRESUME [<db>]"
		   "\n\tDISABLE <db>"
		   "\n\tENABLE <db>"
		   "\n\tRECONNECT [<db>]"
		   "\n\tKILL [<db>]"
		   "\n\tKILL_CLIENT <client_id>"
		   "\n\tKILL_WALLET <address>"
		   "\n\tSUSPEND"
		   "\n\tWAIT_CLOSE [<db>]"
		   "\n\tSHUTDOWN"
		   "\n\tSHUTDOWN WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS");
	ask_done(a, "SHOW");
}

#define VERSION_COLUMNS(COL) COL(TEXT, version, PROGRAM_VERSION_LINE)

static const struct column version_columns[] = {VERSION_COLUMNS(COLUMN)};

static void run_version(struct ask *a)
{
	struct buf *b = &a->answer;
	size_t at = row_begin(b, ARRAY_LEN(version_columns));

	VERSION_COLUMNS(CELL)
	msg_end(b, at);
	ask_done(a, "SHOW");
}

#define STATE_COLUMNS(COL)	\
	COL(TEXT, key, key)	\
	COL(TEXT, value, is_so ? "yes" : "no")

static const struct column state_columns[] = {STATE_COLUMNS(COLUMN)};

static void put_state(struct buf *b, const char *key, bool is_so)
{
	size_t at = row_begin(b, ARRAY_LEN(state_columns));

	STATE_COLUMNS(CELL)
	msg_end(b, at);
}

static void run_state(struct ask *a)
{
	enum pause_mode mode = console_host.ops->pause();

	put_state(&a->answer, "active", mode == RUNNING);
	put_state(&a->answer, "paused", mode == PAUSED);
	put_state(&a->answer, "suspended", mode == SUSPENDED);
	ask_done(a, "SHOW");
}

static const struct show show_help = {"help", NULL, 0, run_help, NULL};
static const struct show show_version = SHOW_RUN("version", version_columns, run_version);
static const struct show show_state = SHOW_RUN("state", state_columns, run_state);

static const struct show *const shows[] = {
	&show_active_sockets, &show_clients,   &show_config,  &show_databases, &show_dns_hosts,
	&show_dns_zones,      &show_ecdsa_limits, &show_fds,  &show_handover, &show_help,      &show_lists,    &show_mem,
	&show_peer_pools,
	&show_peers,	      &show_pools,     &show_servers, &show_sockets,   &show_state,
	&show_stats,	      &show_stats_averages, &show_stats_ecdsa, &show_stats_totals, &show_totals, &show_users,
	&show_version,
};

static const struct show *find_show(const char *word)
{
	for (size_t i = 0; i < ARRAY_LEN(shows); i++)
		if (strcasecmp(shows[i]->word, word) == 0)
			return shows[i];
	return NULL;
}

const struct column *show_columns(const struct command *c, size_t *n)
{
	const struct show *show;
	const struct fake *fake;

	if (c->is_set || (strcasecmp(c->verb, "show") != 0 && strcasecmp(c->verb, "select") != 0))
		return NULL;
	fake = find_fake(c->argument);
	if (fake) {
		*n = 1;
		return &fake->column;
	}
	show = find_show(c->argument);
	if (!show || !show->columns)
		return NULL;
	*n = show->column_count;
	return show->columns;
}

/* ---- rows of every Worker, merged ---- */

struct gathering {
	struct ask *ask; /* the control role's */
	void (*visit)(struct room *, struct chunks *);
	struct chunks workers[WORKERS_MAX];
};

struct buf *chunk_begin(struct chunks *chunks, const struct room *room, const char *database, const char *user)
{
	struct chunk *c;

	if (chunks->n == chunks->cap) {
		chunks->cap = chunks->cap ? chunks->cap * 2 : 16;
		chunks->at = xrealloc(chunks->at, chunks->cap * sizeof(*chunks->at));
	}
	c = &chunks->at[chunks->n];
	memset(c, 0, sizeof(*c));
	strncpy(c->database, database, sizeof(c->database) - 1);
	strncpy(c->user, user, sizeof(c->user) - 1);
	c->worker = room->worker->index;
	c->place = chunks->n++;
	buf_init(&c->rows);
	return &c->rows;
}

struct buf *chunk_begin_peer(struct chunks *chunks, const struct room *room, int peer_id)
{
	struct buf *b = chunk_begin(chunks, room, "", "");

	chunks->at[chunks->n - 1].peer_id = peer_id;
	return b;
}

static void visit_room(struct worker *w, void *ctx)
{
	struct gathering *g = ctx;

	g->visit(room_of(w), &g->workers[w->index]);
}

static int by_pool(const void *pa, const void *pb)
{
	const struct chunk *a = *(const struct chunk *const *)pa, *b = *(const struct chunk *const *)pb;
	int order = a->peer_id - b->peer_id;

	if (order == 0)
		order = strcmp(a->database, b->database);
	if (order == 0)
		order = strcmp(a->user, b->user);
	if (order == 0)
		order = a->worker - b->worker;
	if (order == 0)
		order = a->place < b->place ? -1 : 1;
	return order;
}

void chunks_merge(struct chunks *workers, int n_workers, struct buf *out)
{
	struct chunk **sorted;
	size_t n = 0, total = 0;

	for (int i = 0; i < n_workers; i++)
		total += workers[i].n;
	sorted = xcalloc(total + 1, sizeof(*sorted));
	for (int i = 0; i < n_workers; i++)
		for (size_t j = 0; j < workers[i].n; j++)
			sorted[n++] = &workers[i].at[j];
	qsort(sorted, n, sizeof(*sorted), by_pool);
	for (size_t i = 0; i < n; i++) {
		struct span rows = buf_span(&sorted[i]->rows);

		/* Half a table would be believed; a failed buf ends the connection instead. */
		if (!buf_ok(&sorted[i]->rows))
			out->failed = true;
		buf_put(out, rows.ptr, rows.len);
		buf_free(&sorted[i]->rows);
	}
	free(sorted);
	for (int i = 0; i < n_workers; i++)
		free(workers[i].at);
}

static void merge_rooms(struct worker *control UNUSED, void *ctx)
{
	struct gathering *g = ctx;

	chunks_merge(g->workers, console_host.pooler->crew->n, &g->ask->answer);
	ask_done(g->ask, "SHOW");
	free(g);
}

void show_run(struct ask *a)
{
	const struct fake *fake = find_fake(a->command.argument);
	const struct show *show = find_show(a->command.argument);
	const struct column *columns;
	size_t n;

	columns = show_columns(&a->command, &n);
	if (columns && a->wants_heading)
		put_heading(&a->answer, columns, n);
	if (fake) {
		size_t at = row_begin(&a->answer, 1);

		cell_TEXT(&a->answer, fake->value);
		msg_end(&a->answer, at);
		ask_done(a, "SHOW");
	} else if (!show)
		ask_invalid(a);
	else if (show->run)
		show->run(a);
	else {
		struct gathering *g = xcalloc(1, sizeof(*g));

		g->ask = a;
		g->visit = show->visit;
		crew_gather(console_host.pooler->crew, visit_room, merge_rooms, g);
	}
}
