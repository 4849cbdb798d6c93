/*
 * One restore. Nothing of the target changes before the first authenticated
 * bytes reach pg_restore, and by default all of it happens in one transaction.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backup/command.h"
#include "backup/event.h"
#include "backup/facts.h"
#include "backup/jobs.h"
#include "backup/lock.h"
#include "backup/metrics.h"
#include "backup/work.h"
#include "cmd_parts.h"
#include "lib/mem.h"
#include "restore_parts.h"

#define CONNECT_LIMIT (30 * USEC_PER_SEC)
#define LAST_WORDS 1000
#define SWAP_TRIES 10

/* What went wrong decides whether an older backup may be better. */
enum blame { BLAME_NOBODY, BLAME_BACKUP, BLAME_OTHERS };

struct job {
	struct program *p;
	const struct config *c;
	const struct restore_request *request;
	struct restore_report *report;
	const char *target; /* database */
	struct work work;
	enum blame blame;
	struct lock *lock; /* owned; NULL: none is needed */
	struct pg *pg;	   /* owned; to the target, or to where databases are made from */
	struct catalog catalog;
	struct chosen_backup backup;
	struct tool tool;
	char made[64]; /* a database of ours that is not yet the target; "": none */
	int tries;
	bool was_changed; /* the object was replaced while it was read */
};

static enum outcome fail(struct job *j, enum outcome o, const char *fmt, ...) PRINTF_LIKE(3, 4);
static enum outcome fail(struct job *j, enum outcome o, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(j->report->why, sizeof(j->report->why), fmt, ap);
	va_end(ap);
	if (j->blame == BLAME_NOBODY)
		j->blame = BLAME_OTHERS;
	return o;
}

static enum outcome interrupted(struct job *j)
{
	return fail(j, work_interruption(&j->work), "%s", work_interruption_text(&j->work));
}

static enum outcome pg_failed(struct job *j, const char *doing)
{
	if (pg_failure(j->pg) == PG_INTERRUPTED)
		return interrupted(j);
	return fail(j, OUTCOME_DATABASE, "%s: %s", doing, pg_why(j->pg));
}

static enum outcome read_failed(struct job *j, enum read_result r, const char *why)
{
	if (r == READ_INTERRUPTED)
		return interrupted(j);
	if (r == READ_INTEGRITY || r == READ_UNENCRYPTED)
		j->blame = BLAME_BACKUP;
	j->was_changed = r == READ_CHANGED;
	return fail(j, read_outcome(r), "%s: %s", j->backup.key, why);
}

/* ---- the target ---- */

static enum outcome take_lock(struct job *j)
{
	usec_t patience = j->request->if_empty ? j->c->restore_wait : 0;

	j->lock = lock_new(j->p, "restore", j->target);
	switch (lock_take(j->lock, j->request->if_empty ? j->c->restore_connect_wait : CONNECT_LIMIT, patience)) {
	case LOCK_HELD:
		return OUTCOME_DONE;
	case LOCK_ELSEWHERE:
		EVENT(LEVEL_LOG, "lock_held_elsewhere", F_TEXT("lock", "restore"));
		return fail(j, OUTCOME_LOCKED, "another instance is restoring");
	case LOCK_INTERRUPTED:
		return interrupted(j);
	case LOCK_UNREACHABLE:
		break;
	}
	return fail(j, OUTCOME_DATABASE, "connecting to the database: %s", lock_why(j->lock));
}

static enum outcome drop_ignored(struct job *j)
{
	char *patterns = patterns_array(j->c->restore_ignore_tables);
	const char *const params[] = {patterns};
	PGresult *r = pg_ask(j->pg, FACTS_LIMIT,
		"SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' "
		"WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END, n.nspname, c.relname FROM pg_catalog.pg_class c "
		"JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r','p','v','m','S','f') "
		"AND (n.nspname || '.' || c.relname) LIKE ANY ($1::text[]) AND n.nspname !~ '^pg_' "
		"AND n.nspname <> 'information_schema' ORDER BY c.relkind <> 'v'", 1, params);
	bool ok = r != NULL;

	free(patterns);
	for (int i = 0; ok && i < PQntuples(r); i++) {
		char *schema = pg_quote_name(PQgetvalue(r, i, 1)), *name = pg_quote_name(PQgetvalue(r, i, 2));
		char *sql = xasprintf("DROP %s IF EXISTS %s.%s", PQgetvalue(r, i, 0), schema, name);

		EVENT(LEVEL_LOG, "restore_drop", F_TEXT("relation", name), F_TEXT("because", "ignore_tables_drop"));
		ok = pg_do(j->pg, FACTS_LIMIT, sql);
		free(sql);
		free(schema);
		free(name);
	}
	PQclear(r);
	return ok ? OUTCOME_DONE : pg_failed(j, "dropping what ignore_tables names");
}

static enum outcome judge_target(struct job *j)
{
	const struct pg_target t = pg_target_of(j->c, j->target);
	struct contents k;
	char recovery[8];

	j->pg = pg_connect(j->p->loop, &t, CONNECT_LIMIT);
	if (pg_failure(j->pg) != PG_FINE)
		return pg_failed(j, "connecting to the database");
	if (!pg_ask_text(j->pg, FACTS_LIMIT, "SELECT pg_catalog.pg_is_in_recovery()", 0, NULL, recovery, sizeof(recovery)))
		return pg_failed(j, "asking the database");
	if (recovery[0] == 't') {
		j->report->end = RESTORE_STANDBY;
		return fail(j, OUTCOME_REFUSED, "the server is a standby, into which nothing can be restored");
	}
	if (!contents_count(j->pg, j->c, &k))
		return pg_failed(j, "looking whether the database is empty");
	EVENT(LEVEL_LOG, "restore_check", F_TEXT("database", j->target), F_BOOL("empty", contents_are_none(&k, j->c)),
	      F_INT("relations", k.relations), F_INT("large_objects", k.large_objects), F_INT("ignored", k.ignored));
	if (!contents_are_none(&k, j->c)) {
		j->report->end = RESTORE_NOT_EMPTY;
		if (!j->request->cleans && !j->request->is_forced && j->request->jobs < 2)
			return fail(j, OUTCOME_REFUSED, "the database %s is not empty; --clean replaces what is in the way, --force "
				    "adds to it", j->target);
		if (j->request->jobs > 1 && !j->request->is_forced)
			return fail(j, OUTCOME_REFUSED, "the database %s is not empty; with --jobs it is replaced by a new one, which "
				    "--force permits", j->target);
	}
	return OUTCOME_DONE;
}

/* Databases are made from another one than the target. */
static enum outcome connect_aside(struct job *j)
{
	const char *aside = strcmp(j->target, "postgres") == 0 ? "template1" : "postgres";
	const struct pg_target t = pg_target_of(j->c, aside);

	pg_close(j->pg);
	j->pg = pg_connect(j->p->loop, &t, CONNECT_LIMIT);
	return pg_failure(j->pg) == PG_FINE ? OUTCOME_DONE : pg_failed(j, "connecting to make a database");
}

static enum outcome prepare_target(struct job *j)
{
	enum outcome o = OUTCOME_DONE;

	/* A new database is nobody's yet. */
	if (!j->request->creates)
		o = take_lock(j);
	if (o == OUTCOME_DONE)
		o = j->request->creates ? connect_aside(j) : judge_target(j);
	return o;
}

/* ---- the backup ---- */

static enum outcome choose(struct job *j)
{
	const struct backup_entry *e = NULL;
	enum outcome o = load_catalog(j->p, j->request->prefix, &j->catalog);
	char why[512] = "no backup is that old";
	enum storage_result r;
	int64_t plain;

	if (o != OUTCOME_DONE)
		return loop_is_interrupted(j->p->loop) ? interrupted(j) : fail(j, o, "the backups could not be listed");
	if (j->request->at >= 0)
		r = catalog_choose_at(&j->catalog, j->request->at, &e);
	else
		r = catalog_choose(&j->catalog, j->request->what ? j->request->what : "latest", &e, why, sizeof(why));
	if (r == STORAGE_NOT_FOUND) {
		j->report->end = RESTORE_NO_BACKUP;
		return fail(j, OUTCOME_NO_BACKUP, "%s", why);
	}
	if (r != STORAGE_OK)
		return r == STORAGE_CANCELLED ? interrupted(j) : fail(j, storage_outcome(r), "%s", j->catalog.error.message);
	o = look_at_backup(j->p, &j->catalog, e, &j->backup);
	if (o != OUTCOME_DONE) {
		if (o == OUTCOME_INTEGRITY)
			j->blame = BLAME_BACKUP;
		return fail(j, o, "%s: see above", j->backup.key);
	}
	if (j->report->last_plain == 0)
		j->report->last_plain = j->backup.manifest && manifest_number(j->backup.manifest, "plaintext_size", &plain) ?
					(uint64_t)plain : j->backup.info.size;
	return OUTCOME_DONE;
}

/* The next older good one. */
static enum outcome choose_older(struct job *j)
{
	const struct backup_entry *older = NULL;
	enum storage_result r = catalog_choose_older(&j->catalog, j->backup.listed, &older);

	chosen_free(&j->backup);
	if (r != STORAGE_OK)
		return fail(j, OUTCOME_NO_BACKUP, "there is no older backup");
	return look_at_backup(j->p, &j->catalog, older, &j->backup);
}

/* ---- pg_restore ---- */

static void make_args(const struct job *j, const char *args[RESTORE_ARGS_MAX + 1], char jobs[32], char transaction_size[64])
{
	const struct restore_request *q = j->request;
	size_t n = 0;

	args[n++] = "--format=custom";
	args[n++] = "--no-password";
	args[n++] = "--exit-on-error";
	if (q->jobs > 1) {
		snprintf(jobs, 32, "--jobs=%d", q->jobs);
		args[n++] = jobs;
	} else if (j->c->restore_transaction_size > 0 && !q->if_empty && j->tool.major >= 17) {
		snprintf(transaction_size, 64, "--transaction-size=%" PRId64, j->c->restore_transaction_size);
		args[n++] = transaction_size;
	} else if (j->c->restore_single_transaction || q->if_empty)
		args[n++] = "--single-transaction";
	if (!q->with_owner)
		args[n++] = "--no-owner";
	if (!q->with_privileges)
		args[n++] = "--no-privileges";
	if (q->cleans) {
		args[n++] = "--clean";
		args[n++] = "--if-exists";
	}
	/* Empty means PGDATABASE; a name here could be taken for a connection string. */
	args[n++] = "--dbname=";
	args[n] = NULL;
}

/* May what pg_restore has done be undone by killing it? */
static bool is_one_transaction(const struct job *j)
{
	return j->request->jobs < 2 && (j->request->if_empty ||
	       (j->c->restore_single_transaction && !(j->c->restore_transaction_size > 0 && j->tool.major >= 17)));
}

/* The whole archive without a database: says whether the archive or the target is to blame. */
static bool archive_is_sound(struct job *j)
{
	struct verify_report v;

	EVENT(LEVEL_LOG, "restore_check", F_TEXT("text", "is the archive broken, or the target to blame?"));
	verify_run(j->p, j->request->prefix, &j->backup, VERIFY_ARCHIVE, j->request->is_forced, &v);
	return v.outcome != OUTCOME_INTEGRITY;
}

static enum outcome child_failed(struct job *j, struct feed *f)
{
	char fate[96], words[LAST_WORDS + 1];

	snprintf(words, sizeof(words), "%s", child_last_words(f->child, LAST_WORDS));
	fail(j, OUTCOME_DATABASE, "pg_restore %s: %s%s", child_fate(f->child, fate), words, restore_advice(f->child));
	if (!j->request->if_empty || loop_is_interrupted(j->p->loop))
		return OUTCOME_DATABASE;
	if (archive_is_sound(j))
		return OUTCOME_DATABASE;
	j->blame = BLAME_BACKUP;
	return OUTCOME_INTEGRITY;
}

static enum outcome pour(struct job *j, struct reader *r, struct feed *f)
{
	enum read_result result = reader_pour(r, feed_sink, f);
	char fate[96];

	if (result == READ_OK) {
		child_close_stdin(f->child);
		if (!child_wait(f->child)) {
			feed_kill(f);
			return interrupted(j);
		}
		return child_succeeded(f->child) ? OUTCOME_DONE : child_failed(j, f);
	}
	if (result == READ_STOPPED && f->io == CHILD_END) {
		/* It reads no more although there is more: let it say why. */
		if (!child_wait(f->child)) {
			feed_kill(f);
			return interrupted(j);
		}
		if (!child_succeeded(f->child))
			return child_failed(j, f);
		return fail(j, OUTCOME_DATABASE, "pg_restore %s without having read all of the archive", child_fate(f->child, fate));
	}
	/* Not by closing its input: what has come so far could look whole to it, and would be committed. */
	feed_kill(f);
	if (result == READ_STOPPED)
		return interrupted(j);
	return read_failed(j, result, reader_why(r));
}

/* ---- with several jobs: a file, a new database, a swap ---- */

static bool spool_write(void *ctx, struct span s)
{
	const int *fd = ctx;

	while (s.len > 0) {
		ssize_t n = write(*fd, s.ptr, s.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		s = span_of(s.ptr + n, s.len - (size_t)n);
	}
	return true;
}

static enum outcome restore_by_file(struct job *j, struct reader *r, const struct pg_target *t, const char *const *args)
{
	const char *dir = config_spool_dir(j->c), *with_file[RESTORE_ARGS_MAX + 2];
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	enum read_result result;
	char path[64], why[1024];
	struct feed f;
	enum outcome o;
	size_t n = 0;

	/* Parallel workers open the archive by its name again, which /proc gives to a file that has none. */
	if (fd < 0)
		return fail(j, OUTCOME_FAILED, "%s: %s", dir, strerror(errno));
	result = reader_pour(r, spool_write, &fd);
	if (result != READ_OK) {
		o = result == READ_STOPPED ? fail(j, OUTCOME_FAILED, "%s: %s", dir, strerror(errno)) :
		    read_failed(j, result, reader_why(r));
		close(fd);
		return o;
	}
	for (; args[n]; n++)
		with_file[n] = args[n];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	with_file[n++] = path;
	with_file[n] = NULL;
	if (!feed_start(&f, j->p, &j->tool, with_file, t, -1, fd, why, sizeof(why)))
		o = fail(j, OUTCOME_DATABASE, "%s", why);
	else if (!child_wait(f.child)) {
		child_kill(f.child, CHILD_GRACE);
		o = interrupted(j);
	} else
		o = child_succeeded(f.child) ? OUTCOME_DONE : child_failed(j, &f);
	feed_free(&f);
	close(fd);
	return o;
}

static bool rename_database(struct job *j, const char *from, const char *to)
{
	char *a = pg_quote_name(from), *b = pg_quote_name(to), *sql = xasprintf("ALTER DATABASE %s RENAME TO %s", a, b);
	const char *const params[] = {from};
	const bool never = false;
	bool ok = false;

	/* Sessions that come in between keep it from us for a moment. */
	for (int i = 0; i < SWAP_TRIES && !ok; i++) {
		if (i > 0)
			(void)!loop_wait_through(j->p->loop, &never, loop_now() + USEC_PER_SEC / 2);
		PQclear(pg_ask(j->pg, FACTS_LIMIT, "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity "
			       "WHERE datname = $1 AND pid <> pg_catalog.pg_backend_pid()", 1, params));
		ok = pg_do(j->pg, FACTS_LIMIT, sql);
	}
	free(a);
	free(b);
	free(sql);
	return ok;
}

/* The new database takes the name; the old one goes if it was empty, else it is kept beside. */
static enum outcome swap_names(struct job *j)
{
	char old[80];
	bool was_empty = j->report->end != RESTORE_NOT_EMPTY;

	snprintf(old, sizeof(old), "%.40s_before_%lld", j->target, (long long)time(NULL));
	/* Our own sessions are in the way, too. */
	lock_release(j->lock);
	if (!rename_database(j, j->target, old))
		return pg_failed(j, "moving the old database aside");
	if (!rename_database(j, j->made, j->target)) {
		enum outcome o = pg_failed(j, "giving the new database its name");

		if (!rename_database(j, old, j->target))
			EVENT(LEVEL_ERROR, "restore_failed", F_TEXT("warning", "the old database is now called"), F_TEXT("name", old));
		return o;
	}
	j->made[0] = 0;
	if (!was_empty)
		EVENT(LEVEL_WARNING, "restore_swap", F_TEXT("old_database", old), F_TEXT("text", "kept; drop it when it is not needed"));
	else if (!drop_database(j->pg, old, FACTS_LIMIT))
		EVENT(LEVEL_WARNING, "restore_swap", F_TEXT("old_database", old), F_TEXT("error", pg_why(j->pg)));
	return OUTCOME_DONE;
}

/* Between its two steps there is no database of that name: a signal has to wait. */
static enum outcome swap(struct job *j)
{
	enum outcome o;

	loop_deafen(j->p->loop);
	o = swap_names(j);
	loop_listen(j->p->loop);
	return o;
}

/* Also when we are being stopped: half a database is not left behind for that. */
static void drop_made(struct job *j)
{
	loop_deafen(j->p->loop);
	if (!pg_is_usable(j->pg))
		(void)connect_aside(j);
	if (!drop_database(j->pg, j->made, loop_is_interrupted(j->p->loop) ? DROP_LIMIT_STOPPED : FACTS_LIMIT))
		EVENT(LEVEL_WARNING, "restore_failed", F_TEXT("left_behind", j->made), F_TEXT("error", pg_why(j->pg)));
	loop_listen(j->p->loop);
}

static enum outcome make_new(struct job *j)
{
	char run[RUN_ID_TEXT];

	make_run_id(run);
	if (j->request->creates)
		snprintf(j->made, sizeof(j->made), "%s", j->target);
	else {
		enum outcome o = connect_aside(j);

		if (o != OUTCOME_DONE)
			return o;
		snprintf(j->made, sizeof(j->made), "%.40s_restore_%.8s", j->target, run);
	}
	if (make_database(j->pg, j->made, j->backup.manifest, 0))
		return OUTCOME_DONE;
	j->made[0] = 0; /* it may be somebody else's */
	return pg_failed(j, "making the database");
}

/* ---- one try ---- */

static enum outcome check_extensions(struct job *j, struct reader *r)
{
	char missing[1024], why[1024];
	enum read_result result = missing_extensions(j->p, r, &j->tool, j->pg, missing, sizeof(missing), why, sizeof(why));

	if (result != READ_OK)
		return read_failed(j, result, why);
	if (missing[0])
		return fail(j, OUTCOME_DATABASE, "the server does not have these extensions: %s", missing);
	return OUTCOME_DONE;
}

static enum outcome fill(struct job *j, struct reader *r)
{
	const char *database = j->made[0] ? j->made : j->target;
	const struct pg_target t = pg_target_of(j->c, database);
	const char *args[RESTORE_ARGS_MAX + 1];
	char jobs[32], transaction_size[64], why[1024];
	struct feed f;
	enum outcome o;

	make_args(j, args, jobs, transaction_size);
	work_phase(&j->work, "restore");
	EVENT(LEVEL_LOG, "restore_begin", F_TEXT("object", j->backup.key), F_TEXT("database", database),
	      F_UINT("bytes", j->backup.info.size), F_TEXT("pg_restore", j->tool.version));
	if (j->request->jobs > 1)
		return restore_by_file(j, r, &t, args);
	if (!feed_start(&f, j->p, &j->tool, args, &t, 0, 0, why, sizeof(why)))
		return fail(j, OUTCOME_DATABASE, "%s", why);
	o = pour(j, r, &f);
	j->report->plain = f.given;
	feed_free(&f);
	return o;
}

static enum outcome try_backup(struct job *j)
{
	struct reader_spec spec = reader_spec_of(j->p, &j->backup, j->request->is_forced);
	char why[1024];
	struct reader *r;
	enum read_result result;
	enum outcome o;

	snprintf(j->report->key, sizeof(j->report->key), "%s", j->backup.key);
	if (!find_pg_restore(j->p, j->backup.manifest, &j->tool, why, sizeof(why)))
		return fail(j, OUTCOME_DATABASE, "%s", why);
	spec.streams = is_one_transaction(j) || j->request->jobs > 1;
	spec.may_spool = true;
	spec.work = &j->work;
	work_phase(&j->work, "read");
	r = reader_new(&spec);
	result = reader_prepare(r);
	o = result == READ_OK ? check_extensions(j, r) : read_failed(j, result, reader_why(r));
	if (o == OUTCOME_DONE && j->c->restore_ignore_tables_drop && !j->request->creates && j->request->jobs < 2)
		o = drop_ignored(j);
	if (o == OUTCOME_DONE && (j->request->creates || j->request->jobs > 1))
		o = make_new(j);
	if (o == OUTCOME_DONE)
		o = fill(j, r);
	reader_free(r);
	if (o == OUTCOME_DONE && j->request->jobs > 1 && !j->request->creates)
		o = swap(j);
	if (j->made[0] && o != OUTCOME_DONE)
		drop_made(j);
	j->made[0] = 0;
	return o;
}

/* A changed object starts again once: somebody may replace what he has made. */
static enum outcome restore(struct job *j)
{
	enum outcome o = try_backup(j);

	if (o != OUTCOME_DONE && j->was_changed) {
		const struct backup_entry *same = j->backup.listed;

		j->was_changed = false;
		j->blame = BLAME_NOBODY;
		chosen_free(&j->backup);
		o = look_at_backup(j->p, &j->catalog, same, &j->backup);
		o = o == OUTCOME_DONE ? try_backup(j) : fail(j, o, "%s: see above", j->backup.key);
	}
	while (o == OUTCOME_INTEGRITY && j->blame == BLAME_BACKUP && j->request->if_empty && j->tries < j->c->restore_fallback) {
		j->tries++;
		EVENT(LEVEL_ERROR, "restore_failed", F_TEXT("object", j->report->key), F_TEXT("reason", j->report->why),
		      F_TEXT("next", "the backup before is tried"));
		j->blame = BLAME_NOBODY;
		if (choose_older(j) != OUTCOME_DONE)
			return o;
		o = try_backup(j);
	}
	return o;
}

/* ---- afterwards ---- */

static void look_back(struct job *j, double seconds)
{
	const struct pg_target t = pg_target_of(j->c, j->target);
	struct facts f = {0};
	int64_t before, rows;

	pg_close(j->pg);
	j->pg = pg_connect(j->p->loop, &t, CONNECT_LIMIT);
	if (pg_failure(j->pg) != PG_FINE || !facts_read(j->pg, &f)) {
		EVENT(LEVEL_WARNING, "restore_check", F_TEXT("error", pg_why(j->pg)));
		return;
	}
	if (j->backup.manifest && manifest_number(j->backup.manifest, "relation_count", &before) && before > f.relations)
		EVENT(LEVEL_WARNING, "restore_check", F_INT("relations", f.relations), F_INT("in_manifest", before),
		      F_TEXT("warning", "fewer relations than were dumped; did dump_args leave some out?"));
	/* Nothing is known where track_counts is off. */
	if (pg_ask_number(j->pg, CONNECT_LIMIT, "SELECT sum(n_tup_ins)::bigint FROM pg_catalog.pg_stat_user_tables", 0, NULL, &rows) &&
	    rows > 0)
		EVENT(LEVEL_LOG, "restore_rows", F_INT("rows", rows), F_REAL("seconds", seconds),
		      F_REAL("rows_per_second", seconds > 0 ? (double)rows / seconds : 0));
	if (!j->c->restore_analyze)
		return;
	work_phase(&j->work, "analyze");
	/* Dumps before version 18 carry no statistics, and plans without them are bad. */
	if (!pg_do(j->pg, 0, "ANALYZE"))
		EVENT(LEVEL_WARNING, "restore_check", F_TEXT("warning", "ANALYZE failed"), F_TEXT("error", pg_why(j->pg)));
}

static bool is_settled(struct job *j, enum outcome o)
{
	if (!j->request->if_empty)
		return false;
	switch (j->report->end) {
	case RESTORE_NOT_EMPTY:
	case RESTORE_STANDBY:
		return true; /* nothing to do */
	case RESTORE_NO_BACKUP:
		EVENT(LEVEL_LOG, "no_backup", F_TEXT("prefix", j->request->prefix ? j->request->prefix : j->p->prefix));
		return !j->c->restore_require_backup;
	case RESTORE_DONE:
	case RESTORE_FAILED:
		break;
	}
	return o == OUTCOME_DONE;
}

void restore_run(struct program *p, const struct restore_request *request, struct restore_report *report)
{
	struct job j = {.p = p, .c = p->config, .request = request, .report = report};
	enum outcome o;
	usec_t spent = 0;

	*report = (struct restore_report){.phase = "target", .end = RESTORE_FAILED};
	j.target = request->target_db ? request->target_db : p->config->postgres_database;
	work_begin(&j.work, p, "restore");
	work_phase(&j.work, "target");
	o = prepare_target(&j);
	if (o == OUTCOME_DONE) {
		report->phase = "choose";
		work_phase(&j.work, "choose");
		o = choose(&j);
	}
	if (o == OUTCOME_DONE) {
		report->phase = "restore";
		spent = work_elapsed(&j.work);
		o = restore(&j);
		spent = work_elapsed(&j.work) - spent;
	}
	if (o == OUTCOME_DONE) {
		report->end = RESTORE_DONE;
		look_back(&j, (double)spent / (double)USEC_PER_SEC);
	} else if (report->end == RESTORE_NOT_EMPTY && o != OUTCOME_REFUSED)
		report->end = RESTORE_FAILED;
	report->seconds = (double)work_elapsed(&j.work) / (double)USEC_PER_SEC;
	if (o == OUTCOME_DONE)
		EVENT(LEVEL_LOG, "restore_done", F_TEXT("object", report->key), F_TEXT("database", j.target),
		      F_UINT("plain", report->plain), F_REAL("seconds", report->seconds));
	else if (is_settled(&j, o))
		o = OUTCOME_DONE;
	else
		EVENT(LEVEL_ERROR, "restore_failed", F_TEXT("database", j.target), F_TEXT("phase", report->phase),
		      F_TEXT("reason", report->why), F_INT("status", o));
	metric_set(METRIC_restore_last_result, NULL, o == OUTCOME_DONE);
	report->outcome = o;
	chosen_free(&j.backup);
	catalog_free(&j.catalog);
	pg_close(j.pg);
	lock_free(j.lock);
	work_end(&j.work);
}
