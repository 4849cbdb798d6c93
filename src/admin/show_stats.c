/* SHOW of what was counted, and the periodic log line. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/show.h"
#include "admin/stats_book.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "pool/share.h"
#include "proto/writer.h"

/*	field, in STATS: total, average; in STATS_TOTALS; in STATS_AVERAGES; in TOTALS (as upstream has them) */
#define STATS_NAMES(X)                                                                                               \
	X(server_assignments, total_server_assignment_count, avg_server_assignment_count, server_assignment_count,   \
	  server_assignment_count, "server_assignment_count")                                                        \
	X(xacts, total_xact_count, avg_xact_count, xact_count, xact_count, "xact_count")                             \
	X(queries, total_query_count, avg_query_count, query_count, query_count, "query_count")                      \
	X(client_bytes, total_received, avg_recv, bytes_received, bytes_received, "client_bytes")                    \
	X(server_bytes, total_sent, avg_sent, bytes_sent, bytes_sent, "server_bytes")                                \
	X(xact_usec, total_xact_time, avg_xact_time, xact_time, xact_time, "xact_time")                              \
	X(query_usec, total_query_time, avg_query_time, query_time, query_time, "query_time")                        \
	X(wait_usec, total_wait_time, avg_wait_time, wait_time, wait_time, "wait_time")                              \
	X(client_parses, total_client_parse_count, avg_client_parse_count, client_parse_count,                       \
	  avg_client_parse_count, "ps_client_parse_count")                                                           \
	X(server_parses, total_server_parse_count, avg_server_parse_count, server_parse_count,                       \
	  avg_server_parse_count, "ps_server_parse_count")                                                           \
	X(binds, total_bind_count, avg_bind_count, bind_count, avg_bind_count, "ps_bind_count")                      \
	X(client_logins, total_client_login_count, avg_client_login_count, client_login_count,                       \
	  avg_client_login_count, "client_login_count")

/* One list of columns a table; COL is COLUMN or CELL. */
#define TOTAL_COLUMN(field, total, avg, totals, averages, word) COLUMN(NUMERIC, total, )
#define AVG_COLUMN(field, total, avg, totals, averages, word) COLUMN(NUMERIC, avg, )
#define TOTALS_COLUMN(field, total, avg, totals, averages, word) COLUMN(NUMERIC, totals, )
#define AVERAGES_COLUMN(field, total, avg, totals, averages, word) COLUMN(NUMERIC, averages, )

static const struct column stats_columns[] = {
	{"database", COLUMN_TEXT}, STATS_NAMES(TOTAL_COLUMN) STATS_NAMES(AVG_COLUMN)
};
static const struct column totals_columns[] = {{"database", COLUMN_TEXT}, STATS_NAMES(TOTALS_COLUMN)};
static const struct column averages_columns[] = {{"database", COLUMN_TEXT}, STATS_NAMES(AVERAGES_COLUMN)};

/* The columns of all tables stand in the order of STATS_NAMES, so one function writes their cells. */
static void put_numbers(struct buf *b, const struct stats *s)
{
#define X(field, total, avg, totals, averages, word) cell_NUMERIC(b, s->field);
	STATS_NAMES(X)
#undef X
}

static void put_stats_row(struct buf *b, const struct stats_row *row, const struct stats *average)
{
	size_t at = row_begin(b, ARRAY_LEN(stats_columns));

	cell_TEXT(b, row->database);
	put_numbers(b, &row->stats);
	put_numbers(b, average);
	msg_end(b, at);
}

static void put_totals_row(struct buf *b, const struct stats_row *row, const struct stats *average UNUSED)
{
	size_t at = row_begin(b, ARRAY_LEN(totals_columns));

	cell_TEXT(b, row->database);
	put_numbers(b, &row->stats);
	msg_end(b, at);
}

static void put_averages_row(struct buf *b, const struct stats_row *row, const struct stats *average)
{
	size_t at = row_begin(b, ARRAY_LEN(averages_columns));

	cell_TEXT(b, row->database);
	put_numbers(b, average);
	msg_end(b, at);
}

#define TOTAL_COLUMNS(COL)     \
	COL(TEXT, name, name) \
	COL(NUMERIC, value, value)

static const struct column total_columns[] = {TOTAL_COLUMNS(COLUMN)};

static void put_total(struct buf *b, const char *prefix, const char *word, uint64_t value)
{
	char name[64];
	size_t at;

	snprintf(name, sizeof(name), "%s_%s", prefix, word);
	at = row_begin(b, ARRAY_LEN(total_columns));
	TOTAL_COLUMNS(CELL)
	msg_end(b, at);
}

static void put_all_totals(struct buf *b, const char *prefix, const struct stats *s)
{
#define X(field, total, avg, totals, averages, word) put_total(b, prefix, word, s->field);
	STATS_NAMES(X)
#undef X
}

/* ---- gathering ---- */

struct stats_gathering {
	struct ask *ask; /* NULL: the tick's */
	void (*put_row)(struct buf *, const struct stats_row *, const struct stats *average); /* NULL: TOTALS */
	struct stats_rows workers[WORKERS_MAX];
};

static void visit_stats(struct worker *w, void *ctx)
{
	struct stats_gathering *g = ctx;

	LIST_FOR(node, &room_of(w)->shares) {
		const struct share *s = LIST_ITEM(node, struct share, link);

		stats_rows_add(&g->workers[w->index], share_database_name(s), &s->stats);
	}
}

/* A console command is a query and a transaction of the console's pool. */
static void add_console(struct stats_rows *rows)
{
	struct stats s = {0};

	s.queries = s.xacts = atomic_load_explicit(&console_counters.commands, memory_order_relaxed);
	s.client_logins = atomic_load_explicit(&console_counters.logins, memory_order_relaxed);
	stats_rows_add(rows, CONSOLE_DATABASE, &s);
}

static struct stats_rows all_rows(struct stats_gathering *g)
{
	struct stats_rows all = {0};

	for (int i = 0; i < console_host.pooler->crew->n; i++) {
		struct stats_rows *part = &g->workers[i];

		for (size_t j = 0; j < part->n; j++)
			stats_rows_add(&all, part->rows[j].database, &part->rows[j].stats);
		stats_rows_free(part);
	}
	add_console(&all);
	stats_rows_finish(&all);
	return all;
}

static void show_gathered(struct worker *control, void *ctx)
{
	struct stats_gathering *g = ctx;
	struct stats_rows all = all_rows(g);
	usec_t now = worker_now(control);
	struct ask *a = g->ask;

	for (size_t i = 0; i < all.n && g->put_row; i++) {
		const struct stats_row *row = &all.rows[i];
		struct stats average = stats_book_average(row->database, &row->stats, now);

		g->put_row(&a->answer, row, &average);
	}
	if (!g->put_row) {
		struct stats sum = stats_rows_sum(&all), average = stats_book_average(NULL, &sum, now);

		put_all_totals(&a->answer, "total", &sum);
		put_all_totals(&a->answer, "avg", &average);
	}
	stats_rows_free(&all);
	free(g);
	ask_done(a, "SHOW");
}

static void run_gather(struct ask *a, void (*put_row)(struct buf *, const struct stats_row *, const struct stats *))
{
	struct stats_gathering *g = xcalloc(1, sizeof(*g));

	g->ask = a;
	g->put_row = put_row;
	crew_gather(console_host.pooler->crew, visit_stats, show_gathered, g);
}

static void run_stats(struct ask *a)
{
	run_gather(a, put_stats_row);
}

static void run_stats_totals(struct ask *a)
{
	run_gather(a, put_totals_row);
}

static void run_stats_averages(struct ask *a)
{
	run_gather(a, put_averages_row);
}

static void run_totals(struct ask *a)
{
	run_gather(a, NULL);
}

const struct show show_stats = SHOW_RUN("stats", stats_columns, run_stats);
const struct show show_stats_totals = SHOW_RUN("stats_totals", totals_columns, run_stats_totals);
const struct show show_stats_averages = SHOW_RUN("stats_averages", averages_columns, run_stats_averages);
const struct show show_totals = SHOW_RUN("totals", total_columns, run_totals);

/* ---- the period ---- */

/* unit: how microseconds are written. */
static void print_period(const struct stats *a, const char *unit, char *out, size_t cap)
{
	snprintf(out, cap, "stats: %" PRIu64 " xacts/s, %" PRIu64 " queries/s, %" PRIu64 " client parses/s, %" PRIu64
		 " server parses/s, %" PRIu64 " binds/s, %" PRIu64 " client logins/s, in %" PRIu64 " B/s, out %" PRIu64
		 " B/s, xact %" PRIu64 " %s, query %" PRIu64 " %s, wait %" PRIu64 " %s",
		 a->xacts, a->queries, a->client_parses, a->server_parses, a->binds, a->client_logins, a->client_bytes,
		 a->server_bytes, a->xact_usec, unit, a->query_usec, unit, a->wait_usec, unit);
}

static void tick_gathered(struct worker *control, void *ctx)
{
	struct stats_gathering *g = ctx;
	struct stats_rows all = all_rows(g);
	struct stats sum = stats_rows_sum(&all), average;
	usec_t now = worker_now(control);
	char text[512];

	/* Turned first: what was the last tick is the one before now, so the line covers one period. */
	stats_book_turn(&all, now);
	average = stats_book_average(NULL, &sum, now);
	if (config_settings(console_host.ops->config())->log_stats) {
		print_period(&average, "us", text, sizeof(text));
		log_info("%s", text);
	}
	print_period(&average, "\u00b5s", text, sizeof(text));
	console_host.ops->status(text);
	free(g);
}

void console_stats_tick(void)
{
	crew_gather(console_host.pooler->crew, visit_stats, tick_gathered, xcalloc(1, sizeof(struct stats_gathering)));
}
