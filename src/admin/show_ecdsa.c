/* SHOW of wallet logins: STATS_ECDSA, and ECDSA_LIMITS, which stands in front of other methods as well. */
#include <stdio.h>
#include <stdlib.h>

#include "admin/show.h"
#include "auth/limit.h"
#include "auth/replay.h"
#include "lib/mem.h"
#include "pool/wallet_clock.h"
#include "proto/writer.h"

/* ---- ECDSA_LIMITS ---- */

#define LIMIT_ROWS 1000 /* the worst; who needs more looks at the log */

static const char *number_or_null(char *text, size_t cap, int value)
{
	snprintf(text, cap, "%d", value);
	return value >= 0 ? text : NULL;
}

#define LIMIT_COLUMNS(COL)				     \
	COL(TEXT, source, network_text(&r->source, source)) \
	COL(DECIMAL, score, r->score)			     \
	COL(INT, blocks, r->blocks)			     \
	COL(INT, blocked_for, r->blocked_seconds)	     \
	COL(BIGINT, suppressed, r->suppressed)		     \
	COL(NULLABLE, last_success, number_or_null(age, sizeof(age), r->success_seconds))

static const struct column limit_columns[] = {LIMIT_COLUMNS(COLUMN)};

static void put_limit(struct buf *b, const struct limit_row *r)
{
	char source[NETWORK_TEXT_MAX], age[16];
	size_t at = row_begin(b, ARRAY_LEN(limit_columns));

	LIMIT_COLUMNS(CELL)
	msg_end(b, at);
}

/* Here and not on the Workers: the table is the process's. */
static void run_limits(struct ask *a)
{
	const struct settings *s = config_settings(console_host.ops->config());
	struct limit_row *rows = xcalloc(LIMIT_ROWS, sizeof(*rows));
	size_t n = limiter_list(console_host.pooler->limiter, worker_now(console_host.pooler->crew->control),
				s->ecdsa_limit_ipv4_prefix, s->ecdsa_limit_ipv6_prefix, rows, LIMIT_ROWS);

	for (size_t i = 0; i < n; i++)
		put_limit(&a->answer, &rows[i]);
	free(rows);
	ask_done(a, "SHOW");
}

const struct show show_ecdsa_limits = SHOW_RUN("ecdsa_limits", limit_columns, run_limits);

/* ---- STATS_ECDSA ---- */

struct counting {
	struct ask *ask;
	struct login_counts workers[WORKERS_MAX];
};

#define COUNT_COLUMNS(COL)	\
	COL(TEXT, counter, counter) \
	COL(TEXT, kind, kind)	\
	COL(BIGINT, value, (int64_t)value)

static const struct column count_columns[] = {COUNT_COLUMNS(COLUMN)};

static void put_count(struct buf *b, const char *counter, const char *kind, uint64_t value)
{
	size_t at = row_begin(b, ARRAY_LEN(count_columns));

	COUNT_COLUMNS(CELL)
	msg_end(b, at);
}

static void visit_counts(struct worker *w, void *ctx)
{
	((struct counting *)ctx)->workers[w->index] = room_of(w)->login_counts;
}

static struct login_counts sum_of(const struct counting *g)
{
	struct login_counts sum = {0};

	for (int i = 0; i < console_host.pooler->crew->n; i++) {
		const struct login_counts *one = &g->workers[i];

		for (int f = 0; f < ECDSA_FORMATS; f++)
			sum.accepted[f] += one->accepted[f];
		for (int r = 0; r < ECDSA_REASON_COUNT; r++)
			sum.refused[r] += one->refused[r];
		sum.throttled += one->throttled;
		sum.crowded_out += one->crowded_out;
	}
	return sum;
}

static void counts_gathered(struct worker *control UNUSED, void *ctx)
{
	struct counting *g = ctx;
	struct login_counts sum = sum_of(g);
	struct pooler *pooler = console_host.pooler;
	const struct settings *s = config_settings(console_host.ops->config());
	struct buf *b = &g->ask->answer;

	for (int f = 0; f < ECDSA_FORMATS; f++)
		put_count(b, "logins", ecdsa_format_word((enum ecdsa_format)f), sum.accepted[f]);
	for (int r = ECDSA_OK + 1; r < ECDSA_REASON_COUNT; r++)
		put_count(b, "refusals", ecdsa_reason_word((enum ecdsa_reason)r), sum.refused[r]);
	put_count(b, "replay", "entries", replay_count(pooler->replay, wallet_clock(pooler, s)));
	put_count(b, "replay", "capacity", replay_capacity(pooler->replay));
	put_count(b, "throttled", "source", sum.throttled);
	put_count(b, "throttled", "checks_per_second", sum.crowded_out);
	put_count(b, "blocks", "source", limiter_blocks(console_host.pooler->limiter));
	ask_done(g->ask, "SHOW");
	free(g);
}

static void run_counts(struct ask *a)
{
	struct counting *g = xcalloc(1, sizeof(*g));

	g->ask = a;
	crew_gather(console_host.pooler->crew, visit_counts, counts_gathered, g);
}

const struct show show_stats_ecdsa = SHOW_RUN("stats_ecdsa", count_columns, run_counts);
