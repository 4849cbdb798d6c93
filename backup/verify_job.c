/*
 * How much is known about a backup: that it is there (head), that it is
 * genuine (auth), that it is an archive which pg_restore can read to its end
 * (archive). The fourth level, a real restore, is backup/drill_job.c.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backup/command.h"
#include "backup/event.h"
#include "backup/jobs.h"
#include "backup/metrics.h"
#include "backup/work.h"
#include "cmd_parts.h"
#include "restore_parts.h"

#define LAST_WORDS 500

struct job {
	struct program *p;
	struct chosen_backup *backup;
	struct verify_report *report;
	struct work work;
	bool is_forced;
};

static enum outcome fail(struct job *j, enum outcome o, const char *fmt, ...) PRINTF_LIKE(3, 4);
static enum outcome fail(struct job *j, enum outcome o, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(j->report->why, sizeof(j->report->why), fmt, ap);
	va_end(ap);
	return o;
}

/* Both readers of an archive at once: one download is enough. */
struct tee {
	struct feed list, all;
	bool list_is_full; /* it has seen the contents and reads no more */
};

static bool tee_sink(void *ctx, struct span s)
{
	struct tee *t = ctx;

	if (!t->list_is_full && !feed_sink(&t->list, s)) {
		if (t->list.io == CHILD_INTERRUPTED)
			return false;
		t->list_is_full = true;
	}
	return feed_sink(&t->all, s);
}

static enum outcome judge_child(struct job *j, struct feed *f, const char *what)
{
	char fate[96];

	child_close_stdin(f->child);
	if (!child_wait(f->child))
		return fail(j, work_interruption(&j->work), "%s", work_interruption_text(&j->work));
	if (child_succeeded(f->child))
		return OUTCOME_DONE;
	return fail(j, OUTCOME_INTEGRITY, "pg_restore %s %s: %s", what, child_fate(f->child, fate),
		    child_last_words(f->child, LAST_WORDS));
}

/*
 * --list alone proves nothing about the data: archives that were cut in half
 * pass it. The conversion reads all of it.
 */
static enum outcome convert(struct job *j, struct reader *r)
{
	static const char *const list[] = {"--list", NULL}, *const all[] = {"--file=/dev/null", NULL};
	struct tee t = {.list_is_full = false};
	struct tool tool;
	enum read_result result;
	enum outcome o;
	char why[1024];

	if (!find_pg_restore(j->p, j->backup->manifest, &tool, why, sizeof(why)) ||
	    !feed_start(&t.list, j->p, &tool, list, NULL, 0, 0, why, sizeof(why)))
		return fail(j, OUTCOME_DATABASE, "%s", why);
	if (!feed_start(&t.all, j->p, &tool, all, NULL, 0, 0, why, sizeof(why))) {
		feed_free(&t.list);
		return fail(j, OUTCOME_DATABASE, "%s", why);
	}
	result = reader_pour(r, tee_sink, &t);
	if (result == READ_STOPPED && t.all.io == CHILD_INTERRUPTED)
		result = READ_INTERRUPTED;
	if (result == READ_OK || result == READ_STOPPED) {
		o = judge_child(j, &t.all, "--file=/dev/null");
		if (o == OUTCOME_DONE && result == READ_STOPPED)
			o = fail(j, OUTCOME_INTEGRITY, "pg_restore stopped reading before the end of the archive");
		if (o == OUTCOME_DONE)
			o = judge_child(j, &t.list, "--list");
	} else
		o = fail(j, read_outcome(result), "%s", reader_why(r));
	feed_free(&t.list);
	feed_free(&t.all);
	return o;
}

static bool ignore_bytes(void *ctx, struct span s)
{
	(void)ctx;
	(void)s;
	return true;
}

static enum outcome read_all(struct job *j, enum verify_level level)
{
	struct reader_spec spec = reader_spec_of(j->p, j->backup, j->is_forced);
	struct reader *r;
	enum read_result result;
	enum outcome o = OUTCOME_DONE;

	spec.streams = true; /* nothing comes of what is read */
	spec.must_hash = true;
	spec.may_spool = level != VERIFY_AUTH;
	spec.work = &j->work;
	r = reader_new(&spec);
	result = reader_prepare(r);
	if (result == READ_OK && level == VERIFY_ARCHIVE)
		o = convert(j, r);
	else if (result == READ_OK && !reader_is_judged(r))
		result = reader_pour(r, ignore_bytes, NULL);
	if (result != READ_OK)
		o = fail(j, result == READ_INTERRUPTED ? work_interruption(&j->work) : read_outcome(result), "%s", reader_why(r));
	if (o == OUTCOME_DONE && j->backup->sha256[0] && strcmp(j->backup->sha256, reader_sha256(r)) != 0)
		o = fail(j, OUTCOME_INTEGRITY, "its SHA-256 is %s, the manifest says %s", reader_sha256(r), j->backup->sha256);
	reader_free(r);
	return o;
}

/* ---- what came of it ---- */

/* Not being able to look is no verdict about the backup. */
static bool is_verdict(enum outcome o)
{
	return o == OUTCOME_DONE || o == OUTCOME_INTEGRITY;
}

static void record(struct job *j, const char *level)
{
	struct manifest *m = j->backup->manifest;
	char when[ISO_TIME_MAX];
	struct storage_error e = {.http = 0};
	enum storage_result r;

	if (!m || !is_verdict(j->report->outcome))
		return;
	manifest_add_verified(m, level, iso_time(time(NULL), when), j->report->outcome == OUTCOME_DONE ? "ok" : "failed",
			      (int64_t)(j->report->seconds * 1000));
	r = manifest_store(j->p->storage, j->backup->prefix, j->backup->entry.when, (enum backup_format)j->backup->entry.format,
			   m, &j->p->manifest_keys, &e);
	if (r == STORAGE_OK)
		return;
	EVENT(LEVEL_ERROR, "verify", F_TEXT("object", j->backup->key), F_TEXT("error", "the manifest could not be written"),
	      F_TEXT("reason", e.message));
	if (j->report->outcome == OUTCOME_DONE)
		j->report->outcome = OUTCOME_FOLLOW_UP;
}

static void measure(const struct verify_report *r, const char *level)
{
	char labels[48];

	/* A drill that could not be held is an alarm, too; an interruption is not. */
	if (!is_verdict(r->outcome) && r->outcome != OUTCOME_FOLLOW_UP && r->outcome != OUTCOME_DATABASE)
		return;
	snprintf(labels, sizeof(labels), "level=\"%s\"", level);
	metric_set(METRIC_verify_last_timestamp_seconds, labels, (double)time(NULL));
	metric_set(METRIC_verify_last_result, labels, r->outcome == OUTCOME_DONE || r->outcome == OUTCOME_FOLLOW_UP);
}

const char *verify_level_word(enum verify_level level)
{
	static const char *const words[] = {"none", "head", "auth", "archive", "drill"};

	return words[level];
}

void verify_run(struct program *p, const char *prefix, struct chosen_backup *b, enum verify_level level, bool is_forced,
		struct verify_report *report)
{
	struct job j = {.p = p, .backup = b, .report = report, .is_forced = is_forced};

	(void)prefix;
	*report = (struct verify_report){.outcome = OUTCOME_DONE};
	work_begin(&j.work, p, "verify");
	work_phase(&j.work, verify_level_word(level));
	j.work.estimate = b->info.size;
	/* Whoever has chosen the backup has looked at its head. */
	if (level >= VERIFY_AUTH)
		report->outcome = read_all(&j, level == VERIFY_AUTH ? level : VERIFY_ARCHIVE);
	if (level == VERIFY_DRILL && report->outcome == OUTCOME_DONE) {
		work_phase(&j.work, "drill");
		drill_run(p, b, is_forced, &j.work, report);
	}
	report->seconds = (double)work_elapsed(&j.work) / (double)USEC_PER_SEC;
	EVENT(report->outcome == OUTCOME_DONE ? LEVEL_LOG : LEVEL_ERROR, "verify", F_TEXT("object", b->key),
	      F_TEXT("level", verify_level_word(level)), F_TEXT("result", report->outcome == OUTCOME_DONE ? "ok" : "failed"),
	      F_TEXT("reason", report->outcome == OUTCOME_DONE ? NULL : report->why), F_REAL("seconds", report->seconds));
	record(&j, verify_level_word(level));
	measure(report, verify_level_word(level));
	work_end(&j.work);
}
