/*
 * SHOW HANDOVER: what the next process of an online restart must know beside
 * SHOW FDS. For the console of our own Unix user alone; to everybody else
 * there is no such command.
 *
 * A row is a record, by kind and descriptor. Long ones take several rows.
 *
 * pool/facts.h, pool/handover.h
 */
#include <stdlib.h>

#include "admin/show.h"
#include "lib/mem.h"
#include "pool/handover.h"
#include "proto/writer.h"

#define PIECE_BYTES ((size_t)1 << 20)

#define HANDOVER_COLUMNS(COL)         \
	COL(TEXT, kind, kind)         \
	COL(INT, fd, fd)              \
	COL(INT, has_more, has_more)  \
	COL(BYTEA, facts, piece)

static const struct column handover_columns[] = {HANDOVER_COLUMNS(COLUMN)};

struct handover_gathering {
	struct ask *ask;
	struct buf workers[WORKERS_MAX]; /* rows; may hold queries */
};

/* Appends the record, and empties facts for the next. */
static void put_record(struct buf *b, const char *kind, int fd, struct buf *facts)
{
	struct span rest = buf_span(facts);
	bool has_more = true;

	if (!buf_ok(facts))
		b->failed = true;
	while (has_more && buf_ok(b)) {
		struct span piece = span_of(rest.ptr, rest.len < PIECE_BYTES ? rest.len : PIECE_BYTES);
		size_t at;

		rest = span_of(rest.ptr + piece.len, rest.len - piece.len);
		has_more = rest.len > 0;
		at = row_begin(b, ARRAY_LEN(handover_columns));
		HANDOVER_COLUMNS(CELL)
		msg_end(b, at);
	}
	buf_clear(facts);
}

static void put_clients(struct buf *b, const struct list *clients, struct buf *facts)
{
	LIST_FOR(node, clients) {
		const struct client *c = LIST_ITEM(node, struct client, link);

		if (c->is_seat || !handover_can_go(c, c->server))
			continue;
		handover_client(facts, c);
		put_record(b, FACTS_CLIENT, c->conn.fd, facts);
	}
}

static void put_servers(struct buf *b, const struct list *servers, struct buf *facts)
{
	LIST_FOR(node, servers) {
		const struct server *sv = LIST_ITEM(node, struct server, link);

		if ((sv->client && sv->client->is_seat) || !handover_can_go(sv->client, sv))
			continue;
		handover_server(facts, sv);
		put_record(b, FACTS_SERVER, sv->conn.fd, facts);
	}
}

static void visit_handover(struct worker *w, void *ctx)
{
	struct buf *b = &((struct handover_gathering *)ctx)->workers[w->index], facts;
	const struct room *room = room_of(w);

	buf_init(&facts);
	put_clients(b, &room->logins.head, &facts);
	LIST_FOR(node, &room->shares) {
		const struct share *s = LIST_ITEM(node, struct share, link);

		handover_pool(&facts, s);
		put_record(b, FACTS_POOL, 0, &facts);
		put_clients(b, &s->active.head, &facts);
		put_clients(b, &s->waiting.head, &facts);
		put_servers(b, &s->servers[SV_ACTIVE].head, &facts);
		put_servers(b, &s->servers[SV_IDLE].head, &facts);
	}
	buf_wipe_free(&facts);
}

static void put_statement(void *ctx, const struct statement *st)
{
	struct buf facts;

	buf_init(&facts);
	handover_statement(&facts, st);
	put_record(ctx, FACTS_STATEMENT, 0, &facts);
	buf_wipe_free(&facts);
}

/* What is the process's and no Worker's; it comes first, since the others refer to it. */
static void put_shared(struct buf *b)
{
	struct pooler *p = console_host.pooler;
	const struct database *db;
	struct buf facts;
	size_t at = 0;

	buf_init(&facts);
	handover_process(&facts, p);
	put_record(b, FACTS_PROCESS, 0, &facts);
	handover_replay(&facts, p);
	put_record(b, FACTS_REPLAY, 0, &facts);
	pthread_mutex_lock(&p->registry.ledger.lock);
	while ((db = hash_next(&p->registry.databases, &at)))
		if (handover_database(&facts, db))
			put_record(b, FACTS_DATABASE, 0, &facts);
	pthread_mutex_unlock(&p->registry.ledger.lock);
	buf_free(&facts);
	statement_store_each(&p->statements, put_statement, b);
}

static void handover_gathered(struct worker *control UNUSED, void *ctx)
{
	struct handover_gathering *g = ctx;
	struct ask *a = g->ask;

	put_shared(&a->answer);
	for (int i = 0; i < console_host.pooler->crew->n; i++) {
		struct buf *rows = &g->workers[i];
		struct span bytes = buf_span(rows);

		if (!buf_ok(rows))
			a->answer.failed = true;
		buf_put(&a->answer, bytes.ptr, bytes.len);
		buf_wipe_free(rows);
	}
	free(g);
	ask_done(a, "SHOW");
}

static void run_handover(struct ask *a)
{
	struct handover_gathering *g;

	if (!a->is_own_uid)
		ask_invalid(a);
	else if (console_host.ops->pause() != SUSPENDED)
		ask_fail(a, CONSOLE_SQLSTATE, "SHOW HANDOVER needs a SUSPEND");
	else {
		g = xcalloc(1, sizeof(*g));
		g->ask = a;
		for (int i = 0; i < console_host.pooler->crew->n; i++)
			buf_init(&g->workers[i]);
		crew_gather(console_host.pooler->crew, visit_handover, handover_gathered, g);
	}
}

const struct show show_handover = SHOW_RUN("handover", handover_columns, run_handover);
