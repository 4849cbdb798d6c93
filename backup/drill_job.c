/*
 * A drill: the backup is restored for real, into a scratch database that goes
 * away again, and what is in it is looked at.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#include "backup/command.h"
#include "backup/event.h"
#include "backup/facts.h"
#include "backup/jobs.h"
#include "backup/metrics.h"
#include "backup/sql_split.h"
#include "backup/work.h"
#include "cmd_parts.h"
#include "lib/file.h"
#include "lib/hex.h"
#include "lib/mem.h"
#include "restore_parts.h"

#define CONNECT_LIMIT (30 * USEC_PER_SEC)
#define LAST_WORDS 500
#define NAME_CAP 64
#define QUERIES_MAX ((size_t)1 << 20)
#define LEFTOVER_AGE 86400
#define SYNTAX_ERROR "42601"
#define COMMENT_WORDS "pg-ecdsa-backup drill of "

struct drill {
	struct program *p;
	const struct config *c;
	struct chosen_backup *backup;
	struct verify_report *report;
	struct work *work;
	bool is_forced;
	struct pg *pg; /* owned; where databases are made */
	struct pg *inside; /* owned; the scratch database */
	char name[NAME_CAP];
	bool is_made;
};

static enum outcome fail(struct drill *d, enum outcome o, const char *fmt, ...) PRINTF_LIKE(3, 4);
static enum outcome fail(struct drill *d, enum outcome o, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(d->report->why, sizeof(d->report->why), fmt, ap);
	va_end(ap);
	return o;
}

static enum outcome interrupted(struct drill *d)
{
	return fail(d, work_interruption(d->work), "%s", work_interruption_text(d->work));
}

static enum outcome pg_failed(struct drill *d, const struct pg *pg, const char *doing)
{
	if (pg_failure(pg) == PG_INTERRUPTED)
		return interrupted(d);
	return fail(d, OUTCOME_DATABASE, "%s: %s", doing, pg_why(pg));
}

static struct pg_target drill_target(const struct config *c, const char *database)
{
	struct pg_target t = pg_target_of(c, database);

	if (!c->verify_drill_host)
		return t;
	t.host = c->verify_drill_host;
	if (c->verify_drill_port > 0)
		t.port = (int)c->verify_drill_port;
	if (c->verify_drill_user)
		t.user = c->verify_drill_user;
	if (c->verify_drill_password.bytes)
		t.password = &c->verify_drill_password;
	return t;
}

static struct pg *connect_aside(const struct program *p)
{
	const struct pg_target t = drill_target(p->config, "postgres");

	return pg_connect(p->loop, &t, CONNECT_LIMIT);
}

/* ---- the database ---- */

/* Where the server's disk is ours to look at. What it needs: the size that the manifest tells, and a third more. */
static enum outcome check_room(struct drill *d)
{
	char dir[1024];
	struct statvfs fs;
	int64_t size;

	if (!d->backup->manifest || !manifest_number(d->backup->manifest, "database_size", &size) ||
	    !pg_ask_text(d->pg, FACTS_LIMIT, "SELECT CASE WHEN pg_catalog.inet_server_addr() IS NULL OR "
			 "pg_catalog.inet_server_addr() = pg_catalog.inet_client_addr() THEN "
			 "pg_catalog.current_setting('data_directory', true) END", 0, NULL, dir, sizeof(dir)) ||
	    statvfs(dir, &fs) < 0)
		return OUTCOME_DONE;
	if ((uint64_t)fs.f_bavail * fs.f_frsize >= (uint64_t)size + (uint64_t)size / 10 * 3)
		return OUTCOME_DONE;
	return fail(d, OUTCOME_REFUSED, "the server's disk has %" PRIu64 " bytes free, a drill needs %" PRId64,
		    (uint64_t)fs.f_bavail * fs.f_frsize, size + size / 10 * 3);
}

static enum outcome make_scratch(struct drill *d)
{
	uint8_t random[4];
	char digits[9], *quoted, *sql;
	int64_t taken;
	const char *params[] = {d->name};

	mem_random(random, sizeof(random));
	hex_encode(random, sizeof(random), digits);
	snprintf(d->name, sizeof(d->name), "%s%s", d->c->verify_drill_database_prefix, digits);
	if (!pg_ask_number(d->pg, FACTS_LIMIT, "SELECT count(*) FROM pg_catalog.pg_database WHERE datname = $1", 1, params, &taken))
		return pg_failed(d, d->pg, "looking for the name");
	if (taken)
		return fail(d, OUTCOME_REFUSED, "there is a database %s already", d->name);
	/* Two: pg_restore, and ourselves. */
	if (!make_database(d->pg, d->name, d->backup->manifest, 2))
		return pg_failed(d, d->pg, "making the scratch database");
	d->is_made = true;
	quoted = pg_quote_name(d->name);
	sql = xasprintf("COMMENT ON DATABASE %s IS '" COMMENT_WORDS "%lld'", quoted, (long long)time(NULL));
	if (!pg_do(d->pg, FACTS_LIMIT, sql))
		EVENT(LEVEL_WARNING, "drill", F_TEXT("error", pg_why(d->pg)));
	free(sql);
	free(quoted);
	return OUTCOME_DONE;
}

static enum outcome pour(struct drill *d, struct reader *r, struct feed *f)
{
	enum read_result result = reader_pour(r, feed_sink, f);
	char fate[96];

	if (result == READ_OK || (result == READ_STOPPED && f->io == CHILD_END)) {
		child_close_stdin(f->child);
		if (!child_wait(f->child))
			return interrupted(d);
		if (child_succeeded(f->child) && result == READ_OK)
			return OUTCOME_DONE;
		/* The archive was read to its end before: so this is about the server, and no verdict on the backup. */
		return fail(d, OUTCOME_DATABASE, "pg_restore %s: %s%s", child_fate(f->child, fate),
			    child_last_words(f->child, LAST_WORDS), restore_advice(f->child));
	}
	feed_kill(f);
	if (result == READ_STOPPED || result == READ_INTERRUPTED)
		return interrupted(d);
	return fail(d, read_outcome(result), "%s", reader_why(r));
}

static enum outcome restore(struct drill *d)
{
	static const char *const args[] = {"--format=custom", "--no-password", "--single-transaction", "--exit-on-error", "--no-owner",
					   "--no-privileges", "--no-publications", "--no-subscriptions", "--no-tablespaces",
					   "--dbname=", NULL};
	const struct pg_target t = drill_target(d->c, d->name);
	struct reader_spec spec = reader_spec_of(d->p, d->backup, d->is_forced);
	struct tool tool;
	struct reader *r;
	struct feed f = {.child = NULL};
	enum read_result result;
	enum outcome o;
	char why[1024];

	if (!find_pg_restore(d->p, d->backup->manifest, &tool, why, sizeof(why)))
		return fail(d, OUTCOME_DATABASE, "%s", why);
	spec.streams = true; /* the scratch database is dropped whatever happens */
	spec.may_spool = true;
	spec.work = d->work;
	r = reader_new(&spec);
	result = reader_prepare(r);
	if (result != READ_OK)
		o = result == READ_INTERRUPTED ? interrupted(d) : fail(d, read_outcome(result), "%s", reader_why(r));
	else if (!feed_start(&f, d->p, &tool, args, &t, 0, 0, why, sizeof(why)))
		o = fail(d, OUTCOME_DATABASE, "%s", why);
	else
		o = pour(d, r, &f);
	feed_free(&f);
	reader_free(r);
	return o;
}

/* ---- what is in it ---- */

static enum outcome check_relations(struct drill *d)
{
	struct facts f = {0};
	int64_t before;

	if (!facts_read(d->inside, &f))
		return pg_failed(d, d->inside, "counting relations");
	if (d->backup->manifest && manifest_number(d->backup->manifest, "relation_count", &before) && f.relations != before &&
	    !d->c->postgres_dump_args)
		return fail(d, OUTCOME_INTEGRITY, "%" PRId64 " relations were restored of %" PRId64, f.relations, before);
	return OUTCOME_DONE;
}

struct rows {
	struct drill *d;
	enum outcome outcome;
};

static void check_table(void *ctx, const char *table, int64_t expected)
{
	struct rows *x = ctx;
	struct drill *d = x->d;
	const char *dot = strchr(table, '.');
	char *schema, *name, *a, *b, *sql;
	int64_t rows;

	if (x->outcome != OUTCOME_DONE || !dot)
		return;
	/* With a dot in a name it could be split wrongly: such a table that is not found is left alone. */
	schema = xstrndup(table, (size_t)(dot - table));
	name = xstrdup(dot + 1);
	a = pg_quote_name(schema);
	b = pg_quote_name(name);
	sql = xasprintf("SELECT count(*) FROM %s.%s", a, b);
	if (!pg_ask_number(d->inside, 0, sql, 0, NULL, &rows)) {
		if (strcmp(pg_sqlstate(d->inside), "42P01") != 0 && strcmp(pg_sqlstate(d->inside), "3F000") != 0)
			x->outcome = pg_failed(d, d->inside, "counting rows");
		else if (!strchr(dot + 1, '.'))
			x->outcome = fail(d, OUTCOME_INTEGRITY, "the table %s is missing", table);
	} else if (rows != expected)
		x->outcome = fail(d, OUTCOME_INTEGRITY, "the table %s has %" PRId64 " rows of %" PRId64, table, rows, expected);
	free(schema);
	free(name);
	free(a);
	free(b);
	free(sql);
}

static enum outcome check_rows(struct drill *d)
{
	struct rows x = {d, OUTCOME_DONE};

	if (d->backup->manifest)
		manifest_row_tables(d->backup->manifest, check_table, &x);
	return x.outcome;
}

static enum outcome check_queries(struct drill *d)
{
	struct file_text f;
	const char *at;
	char *query, answer[16];
	enum outcome o = OUTCOME_DONE;
	unsigned n = 0;

	if (!d->c->verify_drill_queries)
		return OUTCOME_DONE;
	if (file_read(d->c->verify_drill_queries, QUERIES_MAX, NULL, &f) < 0)
		return fail(d, OUTCOME_FAILED, "%s could not be read: %m", d->c->verify_drill_queries);
	at = f.text;
	while (o == OUTCOME_DONE && (query = sql_next(&at)) != NULL) {
		n++;
		if (!pg_ask_text(d->inside, 0, query, 0, NULL, answer, sizeof(answer)))
			o = pg_failure(d->inside) == PG_INTERRUPTED ? interrupted(d) :
			    /* A slip of whoever wrote it is no verdict on the backup. */
			    fail(d, strcmp(pg_sqlstate(d->inside), SYNTAX_ERROR) == 0 ? OUTCOME_DATABASE : OUTCOME_INTEGRITY,
				 "query %u of %s: %s", n, d->c->verify_drill_queries, pg_why(d->inside));
		else if (strcmp(answer, "t") != 0)
			o = fail(d, OUTCOME_INTEGRITY, "query %u of %s did not give one true", n, d->c->verify_drill_queries);
		free(query);
	}
	file_text_free(&f);
	return o;
}

/* How old the newest row was when the backup was made. */
static enum outcome check_newest_row(struct drill *d)
{
	char *sql;
	int64_t newest;
	bool ok;

	if (!d->c->verify_drill_newest_row)
		return OUTCOME_DONE;
	sql = xasprintf("SELECT extract(epoch FROM (%s)::timestamptz)::bigint", d->c->verify_drill_newest_row);
	ok = pg_ask_number(d->inside, 0, sql, 0, NULL, &newest);
	free(sql);
	if (!ok)
		return pg_failure(d->inside) == PG_INTERRUPTED ? interrupted(d) :
		       fail(d, OUTCOME_INTEGRITY, "drill_newest_row: %s", pg_why(d->inside));
	if (d->backup->entry.when - newest <= d->c->verify_drill_newest_row_max_age / USEC_PER_SEC)
		return OUTCOME_DONE;
	return fail(d, OUTCOME_INTEGRITY, "the newest row is %" PRId64 " s older than the backup", d->backup->entry.when - newest);
}

static enum outcome look_inside(struct drill *d)
{
	static enum outcome (*const checks[])(struct drill *) = {check_relations, check_rows, check_queries, check_newest_row};
	const struct pg_target t = drill_target(d->c, d->name);
	enum outcome o = OUTCOME_DONE;

	d->inside = pg_connect(d->p->loop, &t, CONNECT_LIMIT);
	if (pg_failure(d->inside) != PG_FINE)
		return pg_failed(d, d->inside, "connecting to the scratch database");
	for (size_t i = 0; i < ARRAY_LEN(checks) && o == OUTCOME_DONE; i++) {
		work_moved(d->work);
		o = checks[i](d);
	}
	return o;
}

/* ---- */

/* Also when we are being stopped: a database is not left behind for that. */
static void drop_scratch(struct drill *d)
{
	if (!d->is_made)
		return;
	loop_deafen(d->p->loop);
	if (!pg_is_usable(d->pg)) {
		pg_close(d->pg);
		d->pg = connect_aside(d->p);
	}
	if (!drop_database(d->pg, d->name, loop_is_interrupted(d->p->loop) ? DROP_LIMIT_STOPPED : FACTS_LIMIT))
		EVENT(LEVEL_WARNING, "drill", F_TEXT("left_behind", d->name), F_TEXT("error", pg_why(d->pg)));
	loop_listen(d->p->loop);
}

void drill_run(struct program *p, struct chosen_backup *b, bool is_forced, struct work *w, struct verify_report *report)
{
	struct drill d = {.p = p, .c = p->config, .backup = b, .report = report, .work = w, .is_forced = is_forced};
	usec_t begun = loop_now();
	enum outcome o;

	d.pg = connect_aside(p);
	o = pg_failure(d.pg) == PG_FINE ? check_room(&d) : pg_failed(&d, d.pg, "connecting for the drill");
	if (o == OUTCOME_DONE)
		o = make_scratch(&d);
	if (o == OUTCOME_DONE)
		o = restore(&d);
	if (o == OUTCOME_DONE)
		o = look_inside(&d);
	pg_close(d.inside);
	drop_scratch(&d);
	pg_close(d.pg);
	report->outcome = o;
	metric_set(METRIC_drill_duration_seconds, NULL, (double)(loop_now() - begun) / (double)USEC_PER_SEC);
	EVENT(o == OUTCOME_DONE ? LEVEL_LOG : LEVEL_ERROR, "drill", F_TEXT("object", b->key), F_TEXT("database", d.name),
	      F_TEXT("result", o == OUTCOME_DONE ? "ok" : "failed"), F_TEXT("reason", o == OUTCOME_DONE ? NULL : report->why),
	      F_REAL("seconds", (double)(loop_now() - begun) / (double)USEC_PER_SEC));
}

void drill_clean_up(struct program *p)
{
	const struct config *c = p->config;
	const char *params[] = {c->verify_drill_database_prefix};
	struct pg *pg = connect_aside(p);
	PGresult *r = NULL;

	if (pg_failure(pg) == PG_FINE)
		/* Of ours alone: the prefix, eight digits, and nothing behind them. */
		r = pg_ask(pg, FACTS_LIMIT, "SELECT datname, coalesce(pg_catalog.shobj_description(oid, 'pg_database'), '') "
			   "FROM pg_catalog.pg_database WHERE left(datname, length($1)) = $1 "
			   "AND substr(datname, length($1) + 1) ~ '^[0-9a-f]{8}$'", 1, params);
	for (int i = 0; r && i < PQntuples(r); i++) {
		const char *name = PQgetvalue(r, i, 0), *comment = PQgetvalue(r, i, 1);
		int64_t made = strncmp(comment, COMMENT_WORDS, strlen(COMMENT_WORDS)) == 0 ?
			       strtoll(comment + strlen(COMMENT_WORDS), NULL, 10) : 0;

		/* One that does not say so may be somebody's, or has been made just now. */
		if (made == 0)
			EVENT(LEVEL_WARNING, "drill", F_TEXT("database", name), F_TEXT("warning", "is named like a drill's, but does not "
			      "say that it is one: it stays"));
		if (made == 0 || time(NULL) - made < LEFTOVER_AGE)
			continue;
		EVENT(LEVEL_LOG, "drill", F_TEXT("dropped_leftover", name));
		if (!drop_database(pg, name, FACTS_LIMIT))
			EVENT(LEVEL_WARNING, "drill", F_TEXT("left_behind", name), F_TEXT("error", pg_why(pg)));
	}
	PQclear(r);
	pg_close(pg);
}
