/*
 * One backup. Its phases stand in the table at the end: each does its part and
 * says DONE, or why not; up to `check` a failure means that there is no backup,
 * and everything begun is taken back.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backup/child.h"
#include "backup/commands.h"
#include "backup/dump_args.h"
#include "backup/event.h"
#include "backup/facts.h"
#include "backup/jobs.h"
#include "backup/lock.h"
#include "backup/metrics.h"
#include "backup/part_size.h"
#include "backup/pg.h"
#include "backup/tools.h"
#include "backup/upload.h"
#include "backup/work.h"
#include "cmd_parts.h"
#include "job_parts.h"
#include "lib/hex.h"
#include "lib/mem.h"

#define CONNECT_LIMIT (30 * USEC_PER_SEC)
#define GIB ((int64_t)1 << 30)
#define FORMAT_1_WARN_DATABASE (48 * GIB)
#define FORMAT_1_MOST_LAST_DUMP (56 * GIB)
#define FORMAT_1_MOST_DATABASE (256 * GIB)
#define NAME_TRIES 10
#define LAST_WORDS 1000
#define AGREEING_DUMPS 3 /* that end a suspicion */

struct job {
	struct program *p;
	const struct config *c;
	const struct backup_request *request;
	struct backup_report *report;
	const char *database, *prefix;
	struct work work;
	enum backup_format format;
	int64_t started_at;

	struct pg *pg; /* owned; holds the snapshot */
	struct facts facts;
	char snapshot[128], end_lsn[32];
	struct tool tool;
	struct catalog catalog;
	const struct backup_entry *last; /* borrowed of catalog; the newest good one; NULL: none */
	int64_t last_plain;		 /* of that; -1: unknown */

	struct object_meta meta;
	struct object_info info; /* of what is stored, when it is */
	uint64_t part_bytes;
	struct upload *upload; /* owned */
	struct sealer *sealer; /* owned */
	struct child *dump;    /* owned */
	struct pg_env env;     /* owned */
	struct manifest *manifest; /* owned */
	struct buf row_counts; /* "name\0count\0..." ; see job_rows.c */
};

void make_run_id(char out[RUN_ID_TEXT])
{
	uint8_t bytes[16];

	mem_random(bytes, sizeof(bytes));
	hex_encode(bytes, sizeof(bytes), out);
}

static enum outcome fail(struct job *j, enum outcome o, const char *fmt, ...) PRINTF_LIKE(3, 4);
static enum outcome fail(struct job *j, enum outcome o, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(j->report->why, sizeof(j->report->why), fmt, ap);
	va_end(ap);
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

static enum outcome storage_failed(struct job *j, const char *doing, enum storage_result r, const struct storage_error *e)
{
	if (r == STORAGE_CANCELLED)
		return interrupted(j);
	return fail(j, storage_outcome(r), "%s: %s%s%s%s%s", doing, e->message[0] ? e->message : storage_result_word(r),
		    e->code[0] ? " " : "", e->code, e->request_id[0] ? ", request " : "", e->request_id);
}

/* ---- preflight ---- */

static enum outcome judge_format_1(struct job *j)
{
	if (j->format != BACKUP_FORMAT_1)
		return OUTCOME_DONE;
	if (j->last_plain > FORMAT_1_MOST_LAST_DUMP || (j->last_plain < 0 && j->facts.database_size > FORMAT_1_MOST_DATABASE))
		return fail(j, OUTCOME_REFUSED, "format 1 ends at 64 GiB, and this dump would come near: set BACKUP_FORMAT=2");
	if (j->facts.database_size > FORMAT_1_WARN_DATABASE)
		EVENT(LEVEL_WARNING, "format", F_INT("database_size", j->facts.database_size),
		      F_TEXT("warning", "format 1 ends at 64 GiB of dump; BACKUP_FORMAT=2 has no limit"));
	return OUTCOME_DONE;
}

/* The newest good backup, for its size and its date. */
static enum outcome look_at_last(struct job *j)
{
	struct catalog *c = &j->catalog;
	enum storage_result r;
	char why[256];
	int64_t database;

	c->key_id = j->p->key_id;
	r = catalog_load(c, j->p->storage, j->prefix, &j->p->manifest_keys, time(NULL), NULL, NULL);
	if (r != STORAGE_OK)
		return storage_failed(j, "listing the backups", r, &c->error);
	r = catalog_choose(c, "latest", &j->last, why, sizeof(why));
	if (r == STORAGE_NOT_FOUND)
		j->last = NULL;
	else if (r != STORAGE_OK)
		return storage_failed(j, "listing the backups", r, &c->error);
	j->last_plain = -1;
	if (j->last && j->last->has_manifest) {
		struct manifest *m = NULL;

		r = catalog_manifest(c, j->last, &m);
		if (r == STORAGE_CANCELLED)
			return interrupted(j);
		if (m && !manifest_number(m, "plaintext_size", &j->last_plain))
			j->last_plain = -1;
		/* How much of a database a dump of it is: as the last time. */
		if (m && j->last_plain > 0 && manifest_number(m, "database_size", &database) && database > 0 && j->facts.database_size > 0)
			j->work.estimate = (uint64_t)((double)j->facts.database_size * (double)j->last_plain / (double)database);
		manifest_free(m);
	}
	return OUTCOME_DONE;
}

static enum outcome preflight(struct job *j)
{
	const struct pg_target target = pg_dump_target_of(j->c, j->database);
	char why[1024];
	enum outcome o;

	j->pg = pg_connect(j->p->loop, &target, CONNECT_LIMIT);
	if (pg_failure(j->pg) != PG_FINE)
		return pg_failed(j, "connecting to the database");
	facts_read_control(j->pg, &j->facts);
	if (!facts_read(j->pg, &j->facts))
		return pg_failed(j, "asking the database");
	if (!tool_find(j->p->family, j->c, "pg_dump", j->facts.version / 10000, &j->tool, why, sizeof(why)))
		return loop_is_interrupted(j->p->loop) ? interrupted(j) : fail(j, OUTCOME_DATABASE, "%s", why);
	o = look_at_last(j);
	if (o == OUTCOME_DONE && j->last && backup_is_within(j->last, time(NULL), j->request->min_spacing / USEC_PER_SEC)) {
		j->report->is_skipped = true;
		j->report->when = j->last->when;
		return OUTCOME_DONE;
	}
	return o == OUTCOME_DONE ? judge_format_1(j) : o;
}

/* ---- the name ---- */

static enum outcome choose_name(struct job *j)
{
	const bool never = false;

	for (int i = 0; i < NAME_TRIES; i++) {
		struct storage_op op = {0};
		struct object_info info;
		enum storage_result r;

		j->started_at = j->report->when = time(NULL);
		backup_key_make(j->prefix, j->report->when, j->format, j->report->key);
		j->p->storage->ops->head(j->p->storage, &op, j->report->key, &info);
		r = storage_wait(j->p->storage, &op);
		if (r == STORAGE_NOT_FOUND)
			return OUTCOME_DONE;
		if (r != STORAGE_OK)
			return storage_failed(j, "looking for the name", r, &op.error);
		/* Somebody was quicker in this second: the next one is ours. */
		if (loop_wait_until(j->p->loop, &never, loop_now() + USEC_PER_SEC) == LOOP_INTERRUPTED)
			return interrupted(j);
	}
	return fail(j, OUTCOME_REFUSED, "every name of the last seconds is taken");
}

/* ---- the snapshot ---- */

static enum outcome open_snapshot(struct job *j)
{
	char why[256];

	/* Without one the dump is consistent all the same; only the manifest knows less exactly what is in it. */
	if (pg_do(j->pg, FACTS_LIMIT, "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; "
		  "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY") &&
	    pg_ask_text(j->pg, FACTS_LIMIT, "SELECT pg_catalog.pg_export_snapshot()", 0, NULL, j->snapshot, sizeof(j->snapshot)) &&
	    facts_read(j->pg, &j->facts) && (!j->c->postgres_row_counts || job_count_rows(j->pg, &j->row_counts)))
		return OUTCOME_DONE;
	if (pg_failure(j->pg) == PG_INTERRUPTED)
		return interrupted(j);
	snprintf(why, sizeof(why), "%s", pg_why(j->pg));
	EVENT(LEVEL_WARNING, "snapshot", F_TEXT("warning", "the dump takes its own"), F_TEXT("reason", why));
	j->snapshot[0] = 0;
	buf_clear(&j->row_counts);
	pg_do(j->pg, FACTS_LIMIT, "ROLLBACK");
	return OUTCOME_DONE;
}

/* ---- the dump ---- */

struct argv {
	char *words[DUMP_ARGS_MAX + 16];
	size_t n;
	char lock_wait[64], snapshot[160], compress[64];
	struct dump_args more;
};

static enum outcome make_argv(struct job *j, struct argv *a)
{
	struct compress compress = {COMPRESS_DEFAULT, -1};
	char why[256];

	*a = (struct argv){.n = 0};
	a->words[a->n++] = j->tool.path;
	a->words[a->n++] = (char *)"--format=custom";
	a->words[a->n++] = (char *)"--no-password";
	snprintf(a->lock_wait, sizeof(a->lock_wait), "--lock-wait-timeout=%" PRId64, j->c->postgres_lock_wait_timeout / 1000);
	a->words[a->n++] = a->lock_wait;
	if (j->snapshot[0]) {
		snprintf(a->snapshot, sizeof(a->snapshot), "--snapshot=%s", j->snapshot);
		a->words[a->n++] = a->snapshot;
	}
	if (j->c->postgres_compress) {
		if (!compress_parse(j->c->postgres_compress, &compress) ||
		    !compress_argument(&compress, j->tool.major, a->compress))
			return fail(j, OUTCOME_USAGE, "pg_dump %s cannot compress as BACKUP_COMPRESS says", j->tool.version);
		a->words[a->n++] = a->compress;
	}
	if (!dump_args_parse(j->c->postgres_dump_args, &a->more, why, sizeof(why)))
		return fail(j, OUTCOME_USAGE, "BACKUP_DUMP_ARGS: %s", why);
	for (size_t i = 0; i < a->more.count; i++)
		a->words[a->n++] = a->more.words[i];
	return OUTCOME_DONE;
}

static enum outcome start_dump(struct job *j)
{
	const struct pg_target target = pg_dump_target_of(j->c, j->database);
	char why[1024];
	struct argv a;
	enum outcome o = make_argv(j, &a);

	if (o == OUTCOME_DONE && !pg_env_make(&target, config_spool_dir(j->c), &j->env, why, sizeof(why)))
		o = fail(j, OUTCOME_DATABASE, "%s", why);
	if (o == OUTCOME_DONE) {
		const struct child_spec spec = {.name = "pg_dump", .path = j->tool.path, .argv = a.words, .envp = j->env.envp,
						.wants_stdout = true, .pass_fd = j->env.pass_fd};

		j->dump = child_start(j->p->family, &spec, why, sizeof(why));
		if (!j->dump)
			o = fail(j, OUTCOME_DATABASE, "%s", why);
	}
	dump_args_free(&a.more);
	return o;
}

static void choose_part_size(struct job *j)
{
	uint64_t at_least = PART_SMALLEST_CHOSEN;

	if (j->c->s3_part_mode == PARTS_GROWING) {
		j->part_bytes = 0;
		return;
	}
	if (j->request->part_at_least > at_least)
		at_least = j->request->part_at_least;
	j->part_bytes = j->c->s3_part_size ? j->c->s3_part_size :
			part_size_choose(j->facts.database_size > 0 ? j->facts.database_size : -1, at_least,
					 (unsigned)j->c->s3_max_parts);
}

static void make_meta(struct job *j)
{
	struct object_meta *m = &j->meta;

	snprintf(m->run_id, sizeof(m->run_id), "%s", j->report->run_id);
	snprintf(m->tool_version, sizeof(m->tool_version), "%s", PACKAGE_VERSION);
	snprintf(m->format, sizeof(m->format), "%d", (int)j->format);
	snprintf(m->key_id, sizeof(m->key_id), "%s", j->p->key_id ? j->p->key_id : "");
	percent_encode(j->database, m->database, sizeof(m->database));
}

static enum outcome open_upload(struct job *j)
{
	const struct seal_spec seal = {.format = (enum file_format)j->format, .key = keyring_writer(j->p->keys),
				       .content = CONTENT_DUMP, .segment_bytes = (uint32_t)j->c->encryption_segment_size,
				       .created_at = j->report->when};
	struct upload_spec spec = {.store = j->p->storage, .key = j->report->key, .content_type = "application/octet-stream",
				   .meta = &j->meta, .max_parts = (unsigned)j->c->s3_max_parts,
				   .concurrency = (unsigned)j->c->s3_concurrency, .spool_dir = config_spool_dir(j->c),
				   .work = &j->work, .remember = j->request->remember, .ctx = j->request->ctx};
	char why[512];

	choose_part_size(j);
	if (j->part_bytes == 0 && j->c->s3_part_mode == PARTS_UNIFORM)
		return fail(j, OUTCOME_REFUSED, "a database of %" PRId64 " bytes does not fit into %" PRId64 " parts of 5 GiB",
			    j->facts.database_size, j->c->s3_max_parts);
	spec.part_bytes = j->part_bytes;
	make_meta(j);
	j->upload = upload_new(&spec, why, sizeof(why));
	if (!j->upload)
		return fail(j, OUTCOME_FAILED, "%s", why);
	j->sealer = sealer_new(&seal, upload_put, j->upload);
	return OUTCOME_DONE;
}

static enum outcome upload_failed(struct job *j)
{
	const struct storage_error *e;
	enum storage_result r = upload_failure(j->upload, &e);

	if (upload_is_out_of_parts(j->upload)) {
		/* Twice the size reaches twice as far. */
		j->report->part_at_least = j->part_bytes * 2;
		return fail(j, OUTCOME_STORAGE, "%s; the next try takes parts of %" PRIu64 " bytes", e->message,
			    j->report->part_at_least);
	}
	if (r == STORAGE_EXISTS)
		return fail(j, OUTCOME_REFUSED, "another backup has taken the name meanwhile");
	return storage_failed(j, "storing the backup", r, e);
}

static enum outcome seal_failed(struct job *j, enum seal_result r)
{
	switch (r) {
	case SEAL_STOPPED:
		return upload_failed(j);
	case SEAL_TOO_LARGE:
		return fail(j, OUTCOME_REFUSED, "the dump is larger than format %d can be; BACKUP_FORMAT=2 takes any size",
			    (int)j->format);
	default:
		return fail(j, OUTCOME_FAILED, "the cipher failed");
	}
}

static enum outcome child_failed(struct job *j)
{
	char fate[96];

	return fail(j, OUTCOME_DATABASE, "pg_dump %s: %s", child_fate(j->dump, fate), child_last_words(j->dump, LAST_WORDS));
}

/* Its first five bytes, however they come. */
static bool begins_like_an_archive(const struct job *j, const uint8_t *bytes, size_t len)
{
	static const char magic[] = "PGDMP";
	uint64_t at = j->work.plain;

	for (size_t i = 0; i < len && at + i < 5; i++)
		if (bytes[i] != (uint8_t)magic[at + i])
			return false;
	return true;
}

static enum outcome pump(struct job *j)
{
	for (;;) {
		size_t room, got = 0;
		uint8_t *at = sealer_room(j->sealer, &room);
		enum child_io io = child_read(j->dump, at, room, &got);
		enum seal_result r;

		if (io == CHILD_INTERRUPTED)
			return interrupted(j);
		if (io == CHILD_END)
			return OUTCOME_DONE;
		if (!begins_like_an_archive(j, at, got))
			return fail(j, OUTCOME_INTEGRITY, "what pg_dump writes is no archive in custom format");
		j->work.plain += got;
		metric_add(METRIC_dumped_bytes_total, NULL, (double)got);
		work_moved(&j->work);
		r = sealer_take(j->sealer, got);
		if (r != SEAL_OK)
			return seal_failed(j, r);
		/* A dump that is always ready would never let the loop turn. */
		if (!loop_breathe(j->p->loop))
			return interrupted(j);
	}
}

static enum outcome dump(struct job *j)
{
	enum outcome o = open_upload(j);

	if (o == OUTCOME_DONE)
		o = start_dump(j);
	if (o == OUTCOME_DONE)
		o = pump(j);
	if (o != OUTCOME_DONE)
		return o;
	/* The end of its output means nothing by itself: a dump that was cut off looks the same. */
	if (!child_wait(j->dump))
		return interrupted(j);
	if (!child_succeeded(j->dump))
		return child_failed(j);
	if (j->work.plain < 5)
		return fail(j, OUTCOME_INTEGRITY, "pg_dump said that all went well, but wrote %" PRIu64 " bytes", j->work.plain);
	if (j->snapshot[0] && pg_is_usable(j->pg))
		pg_do(j->pg, FACTS_LIMIT, "COMMIT");
	if (pg_is_usable(j->pg) && !facts_read_lsn(j->pg, j->end_lsn))
		j->end_lsn[0] = 0;
	return OUTCOME_DONE;
}

/* ---- making it visible ---- */

/* A backup that somebody else has made while we were cut off makes ours one too many. */
static enum outcome nobody_was_quicker(struct job *j)
{
	struct catalog c = {.key_id = j->p->key_id};
	const struct backup_entry *newest = NULL;
	enum outcome o = OUTCOME_DONE;
	char why[256];
	enum storage_result r = catalog_load(&c, j->p->storage, j->prefix, &j->p->manifest_keys, time(NULL), NULL, NULL);

	if (r == STORAGE_OK)
		r = catalog_choose(&c, "latest", &newest, why, sizeof(why));
	if (r != STORAGE_OK && r != STORAGE_NOT_FOUND)
		o = storage_failed(j, "listing the backups", r, &c.error);
	else if (newest && newest->when >= j->started_at - config_min_spacing(j->c) / USEC_PER_SEC &&
		 (!j->last || newest->when != j->last->when))
		o = fail(j, OUTCOME_LOCKED, "the lock was lost for a moment, and another instance has made a backup meanwhile");
	catalog_free(&c);
	return o;
}

static enum outcome confirm_lock(struct job *j)
{
	if (!j->request->lock)
		return OUTCOME_DONE;
	switch (lock_confirm(j->request->lock)) {
	case LOCK_HELD:
		return lock_was_broken(j->request->lock) ? nobody_was_quicker(j) : OUTCOME_DONE;
	case LOCK_ELSEWHERE:
		return fail(j, OUTCOME_LOCKED, "the lock was lost, and another instance has it");
	case LOCK_INTERRUPTED:
		return interrupted(j);
	case LOCK_UNREACHABLE:
		break;
	}
	return fail(j, OUTCOME_DATABASE, "the lock was lost: %s", lock_why(j->request->lock));
}

static enum outcome complete(struct job *j)
{
	enum outcome o = confirm_lock(j);
	enum seal_result r;

	if (o != OUTCOME_DONE)
		return o;
	r = sealer_finish(j->sealer);
	if (r != SEAL_OK)
		return seal_failed(j, r);
	if (upload_finish(j->upload) != STORAGE_OK)
		return upload_failed(j);
	j->report->size = upload_size(j->upload);
	j->report->plain = j->work.plain;
	j->report->parts = upload_parts(j->upload);
	return OUTCOME_DONE;
}

/* Read back: it is there, as long as it should be, and ours. */
static enum outcome check(struct job *j)
{
	struct storage *st = j->p->storage;
	struct storage_op op = {0}, gone = {0};
	enum storage_result r;
	bool is_ours;

	st->ops->head(st, &op, j->report->key, &j->info);
	r = storage_wait(st, &op);
	if (r != STORAGE_OK)
		return storage_failed(j, "looking at the stored backup", r, &op.error);
	/* Stores that keep no metadata exist; one that shows another's is another's. */
	is_ours = !j->info.meta.run_id[0] || strcmp(j->info.meta.run_id, j->report->run_id) == 0;
	if (is_ours && j->info.size == j->report->size)
		return OUTCOME_DONE;
	if (!is_ours)
		return fail(j, OUTCOME_REFUSED, "the object was replaced by another instance's");
	st->ops->remove(st, &gone, j->report->key);
	(void)storage_wait_through(st, &gone, CONNECT_LIMIT);
	return fail(j, OUTCOME_INTEGRITY, "the store has %" PRIu64 " bytes of %" PRIu64, j->info.size, j->report->size);
}

/* ---- what follows ---- */

/* Suspect: less than the guard's part of the last good one, unless some dumps before agree with it. */
static bool is_suspect(struct job *j)
{
	uint64_t before = j->last_plain >= 0 ? (uint64_t)j->last_plain : j->last ? j->last->size : 0;
	unsigned agree = 0;

	if (!j->last || j->c->retention_shrink_guard == 0 ||
	    j->report->plain >= before / 100 * (uint64_t)j->c->retention_shrink_guard)
		return false;
	for (size_t i = 0; i < j->catalog.count && &j->catalog.entries[i] != j->last; i++) {
		const struct backup_entry *e = &j->catalog.entries[i];

		if (e->is_suspect && j->report->plain >= e->size / 100 * (uint64_t)j->c->retention_shrink_guard)
			agree++;
	}
	return agree < AGREEING_DUMPS;
}

static enum outcome tell(struct job *j)
{
	struct manifest *m = j->manifest = manifest_new();
	char host[256] = "", when[ISO_TIME_MAX], hash[65];
	struct storage_error e = {.http = 0};
	enum storage_result r;

	j->report->is_suspect = is_suspect(j);
	j->report->is_empty = j->facts.relations == 0;
	gethostname(host, sizeof(host) - 1);
	snprintf(hash, sizeof(hash), "%s", upload_sha256(j->upload));
	manifest_set_text(m, "run_id", j->report->run_id);
	manifest_set_text(m, "tool", "pg-ecdsa-backup");
	manifest_set_text(m, "tool_version", PACKAGE_VERSION);
	manifest_set_text(m, "object", j->report->key);
	manifest_set_number(m, "size", (int64_t)j->report->size);
	manifest_set_text(m, "sha256", hash);
	manifest_set_number(m, "format", (int64_t)j->format);
	manifest_set_text(m, "encryption", j->p->key_id ? "aes-256-gcm" : "none");
	manifest_set_text(m, "key_id", j->p->key_id);
	manifest_set_number(m, "plaintext_size", (int64_t)j->report->plain);
	manifest_set_text(m, "started_at", iso_time(j->started_at, when));
	manifest_set_text(m, "finished_at", iso_time(time(NULL), when));
	manifest_set_number(m, "duration_ms", work_elapsed(&j->work) / 1000);
	manifest_set_text(m, "database", j->database);
	manifest_set_text(m, "pg_dump_version", j->tool.version);
	manifest_set_text(m, "end_lsn", j->end_lsn[0] ? j->end_lsn : NULL);
	manifest_set_number(m, "parts", j->report->parts);
	manifest_set_number(m, "part_size", (int64_t)j->part_bytes);
	manifest_set_text(m, "host", host[0] ? host : NULL);
	manifest_set_text(m, "label", j->request->label);
	manifest_set_flag(m, "suspect", j->report->is_suspect);
	facts_tell(&j->facts, m);
	job_tell_rows(&j->row_counts, m);
	metric_set(METRIC_suspect, NULL, j->report->is_suspect);
	if (j->report->is_suspect)
		EVENT(LEVEL_WARNING, "suspect", F_TEXT("object", j->report->key), F_UINT("plain", j->report->plain),
		      F_INT("before", j->last_plain), F_TEXT("warning", "much smaller than the one before; pruning waits"));
	r = manifest_store(j->p->storage, j->prefix, j->report->when, j->format, m, &j->p->manifest_keys, &e);
	return r == STORAGE_OK ? OUTCOME_DONE : storage_failed(j, "storing the manifest", r, &e);
}

/* What `check` has seen is level head. */
static enum outcome verify_after(struct job *j)
{
	struct chosen_backup b = {.entry = {.when = j->report->when, .size = j->report->size, .format = (uint8_t)j->format},
				  .prefix = j->prefix, .info = j->info, .manifest = j->manifest};
	struct verify_report v;

	if (j->c->verify_after_backup < VERIFY_AUTH)
		return OUTCOME_DONE;
	snprintf(b.key, sizeof(b.key), "%s", j->report->key);
	snprintf(b.sha256, sizeof(b.sha256), "%s", upload_sha256(j->upload));
	verify_run(j->p, j->prefix, &b, (enum verify_level)j->c->verify_after_backup, false, &v);
	return v.outcome == OUTCOME_DONE ? OUTCOME_DONE : fail(j, v.outcome, "%s", v.why);
}

static const char *reason_not_to_prune(const struct job *j)
{
	if (j->request->prune_blocked &&
	    (j->request->prune_blocked_below == 0 || j->report->plain < j->request->prune_blocked_below))
		return j->request->prune_blocked;
	if (j->report->is_suspect)
		return "the new backup is suspect";
	if (j->report->is_empty)
		return "the database has no relations";
	return NULL;
}

static enum outcome prune(struct job *j)
{
	struct retention_rules rules = retention_rules_of(j->c);
	struct prune_options options = {.max_delete = -1, .is_triggered = true, .blocked = reason_not_to_prune(j)};
	struct prune_report report = {0};
	struct command_env env;
	enum outcome o;

	program_command_env(j->p, &env);
	env.prefix = j->prefix;
	env.rules = &rules;
	metric_set(METRIC_prune_blocked, NULL, options.blocked != NULL);
	o = command_prune(&env, &options, &report);
	metric_add(METRIC_pruned_total, NULL, (double)report.deleted);
	if (report.objects > 0) {
		metric_set(METRIC_objects, NULL, (double)report.objects);
		metric_set(METRIC_objects_bytes, NULL, (double)report.bytes);
		metric_set(METRIC_oldest_timestamp_seconds, NULL, (double)report.oldest);
	}
	j->report->has_pruned = o == OUTCOME_DONE && !options.blocked;
	if (o == OUTCOME_INTERRUPTED)
		return interrupted(j);
	return o == OUTCOME_DONE ? o : fail(j, o, "pruning failed");
}

/* ---- the table ---- */

static const struct {
	const char *name;
	bool follows; /* the backup is there already */
	enum outcome (*step)(struct job *);
} phases[] = {
	{"preflight", false, preflight}, {"name", false, choose_name}, {"snapshot", false, open_snapshot},
	{"dump", false, dump},		 {"complete", false, complete}, {"check", false, check},
	{"manifest", true, tell},	 {"verify", true, verify_after}, {"prune", true, prune},
};

static void clean_up(struct job *j)
{
	usec_t begun = loop_now(), spent;

	/* Both at once: each may take its ten seconds, and a stop has twelve. */
	if (j->dump)
		child_terminate(j->dump);
	if (j->upload)
		upload_abort(j->upload);
	spent = loop_now() - begun;
	if (j->dump)
		child_kill(j->dump, spent < CHILD_GRACE ? CHILD_GRACE - spent : 1);
	child_free(j->dump);
	sealer_free(j->sealer);
	upload_free(j->upload);
	pg_env_free(&j->env);
	pg_close(j->pg);
	manifest_free(j->manifest);
	catalog_free(&j->catalog);
	buf_free(&j->row_counts);
}

static void tell_end(const struct job *j)
{
	const struct backup_report *r = j->report;

	if (r->is_skipped)
		return;
	metric_set(METRIC_last_attempt_timestamp_seconds, NULL, (double)j->started_at);
	if (r->outcome != OUTCOME_DONE && r->outcome != OUTCOME_FOLLOW_UP) {
		metric_add(METRIC_backups_total, "result=\"failed\"", 1);
		EVENT(LEVEL_ERROR, "backup_failed", F_TEXT("database", j->database), F_TEXT("phase", r->phase),
		      F_TEXT("reason", r->why), F_INT("status", r->outcome), F_UINT("dumped", j->work.plain),
		      F_REAL("seconds", r->seconds));
		return;
	}
	metric_add(METRIC_backups_total, "result=\"ok\"", 1);
	metric_set(METRIC_last_success_timestamp_seconds, NULL, (double)r->when);
	metric_set(METRIC_last_duration_seconds, NULL, r->seconds);
	metric_set(METRIC_last_size_bytes, NULL, (double)r->size);
	metric_set(METRIC_last_plaintext_bytes, NULL, (double)r->plain);
}

void backup_run(struct program *p, const struct backup_request *request, struct backup_report *report)
{
	struct job j = {.p = p, .c = p->config, .request = request, .report = report, .last_plain = -1};

	*report = (struct backup_report){.phase = "begin"};
	j.database = request->database ? request->database : p->config->postgres_database;
	j.prefix = request->prefix ? request->prefix : p->prefix;
	j.format = p->key_id ? (enum backup_format)p->config->encryption_format : BACKUP_PLAIN;
	j.started_at = time(NULL);
	if (request->run_id)
		snprintf(report->run_id, sizeof(report->run_id), "%s", request->run_id);
	else
		make_run_id(report->run_id);
	buf_init(&j.row_counts);
	work_begin(&j.work, p, "backup");
	EVENT(LEVEL_LOG, "backup_begin", F_TEXT("database", j.database), F_TEXT("run", report->run_id),
	      F_TEXT("label", request->label));
	if (!p->key_id)
		EVENT(LEVEL_WARNING, "backup_begin", F_TEXT("warning", "this backup is NOT encrypted (BACKUP_ENCRYPTION=none)"));
	for (size_t i = 0; i < ARRAY_LEN(phases); i++) {
		enum outcome o;

		report->phase = phases[i].name;
		work_phase(&j.work, phases[i].name);
		o = phases[i].step(&j);
		if (report->is_skipped)
			break;
		if (o == OUTCOME_DONE)
			continue;
		report->outcome = phases[i].follows ? OUTCOME_FOLLOW_UP : o;
		if (!phases[i].follows)
			break;
		EVENT(LEVEL_ERROR, "follow_up_failed", F_TEXT("phase", phases[i].name), F_TEXT("reason", report->why));
	}
	report->seconds = (double)work_elapsed(&j.work) / (double)USEC_PER_SEC;
	if (report->is_skipped)
		EVENT(LEVEL_LOG, "backup_skipped", F_TEXT("database", j.database),
		      F_TEXT("reason", "the newest backup is younger than min_spacing"));
	else if (report->outcome == OUTCOME_DONE || report->outcome == OUTCOME_FOLLOW_UP)
		EVENT(LEVEL_LOG, "backup_done", F_TEXT("object", report->key), F_UINT("bytes", report->size),
		      F_UINT("plain", report->plain), F_UINT("parts", report->parts), F_REAL("seconds", report->seconds),
		      F_REAL("rate", report->seconds > 0 ? (double)report->size / report->seconds : 0),
		      F_UINT("retries", j.work.retries), F_TEXT("sha256", upload_sha256(j.upload)));
	clean_up(&j);
	tell_end(&j);
	work_end(&j.work);
}
