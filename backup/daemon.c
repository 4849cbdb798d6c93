/*
 * The daemon: restores when the database is empty, then makes backups when
 * they are due, as long as it is the leader.
 *
 * Its own loop is one wait for whatever comes first: a tick, a retry, a drill,
 * the daily cleaning, a signal. Jobs run one at a time; while one runs, signals
 * are noted, and only those that end the program interrupt it.
 *
 * Rules: backup specification, 5.3, 15, 16, 18.
 */
#include "daemon_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "backup/commands.h"
#include "backup/event.h"
#include "backup/facts.h"
#include "backup/keys.h"
#include "backup/metrics.h"
#include "backup/notify.h"
#include "backup/pg.h"
#include "cmd_parts.h"
#include "job_parts.h"
#include "lib/mem.h"

#define CONNECT_PATIENCE (30 * USEC_PER_SEC)
#define DAY (86400 * USEC_PER_SEC)
#define LOOK_AGAIN (60 * USEC_PER_SEC) /* gauges, and the file of metrics */
#define UNCHANGED_MOST (7 * 86400)	/* seconds: a real dump at least so often */

/* ---- signals ---- */

static void interrupt_job(struct daemon *d, int signal)
{
	d->program->ended_by = signal;
	loop_interrupt(d->program->loop);
}

static void on_shutdown_limit(struct loop_timer *t)
{
	struct daemon *d = CONTAINER_OF(t, struct daemon, shutdown_limit);

	EVENT(LEVEL_WARNING, "shutdown", F_TEXT("warning", "shutdown_timeout is over: what runs is aborted"));
	interrupt_job(d, d->stopped_by);
}

static void on_stop(struct daemon *d, int signal)
{
	const struct config *c = d->program->config;

	if (d->stopped_by) { /* again: at once */
		d->program->is_urgent = true;
		interrupt_job(d, signal);
		return;
	}
	d->stopped_by = signal;
	notify_systemd("STOPPING=1");
	EVENT(LEVEL_LOG, "shutdown", F_INT("signal", signal), F_TEXT("busy", d->busy_with));
	if (!d->busy_with)
		return;
	/* A restore is one transaction, and nothing is lost by ending it; a backup may be wanted. */
	if (strcmp(d->busy_with, "backup") == 0 && (c->schedule_finish_on_stop || c->schedule_on_shutdown)) {
		if (c->schedule_on_shutdown)
			loop_timer_set(d->program->loop, &d->shutdown_limit, loop_now() + c->schedule_shutdown_timeout);
		return;
	}
	interrupt_job(d, signal);
}

static bool on_signal(struct program *p, int signal)
{
	struct daemon *d = p->daemon;

	d->is_woken = true;
	switch (signal) {
	case SIGHUP:
		d->wants_reload = true;
		return true;
	case SIGUSR1:
		d->wants_backup = true;
		return true;
	case SIGUSR2:
		d->wants_report = true;
		return true;
	default:
		on_stop(d, signal);
		return true;
	}
}

/* ---- what survives, and what is shown ---- */

static void remember_upload(void *ctx, const char *key, const char *upload_id)
{
	struct daemon *d = ctx;

	state_set_text(d->state, "upload_key", upload_id ? key : NULL);
	state_set_text(d->state, "upload_id", upload_id);
	state_save(d->state);
}

static void refresh(struct daemon *d)
{
	int64_t now = time(NULL);

	if (d->last_success) {
		metric_set(METRIC_last_success_timestamp_seconds, NULL, (double)d->last_success);
		metric_set(METRIC_age_seconds, NULL, (double)(now > d->last_success ? now - d->last_success : 0));
	}
	metric_set(METRIC_consecutive_failures, NULL, d->failures);
	metric_set(METRIC_leader, NULL, d->lock ? lock_seems_held(d->lock) : d->is_ready);
	metric_set(METRIC_next_run_timestamp_seconds, NULL, (double)daemon_next_run(d));
	if (d->program->storage && d->program->storage->has_clock)
		metric_set(METRIC_clock_skew_seconds, NULL, (double)d->program->storage->clock_offset);
	daemon_write_files(d);
	state_set_number(d->state, "last_success", d->last_success);
	state_set_number(d->state, "consecutive_failures", d->failures);
	state_set_number(d->state, "next_run", daemon_next_run(d));
	state_set_number(d->state, "leader", d->lock ? lock_seems_held(d->lock) : d->is_ready);
	state_set_number(d->state, "part_at_least", (int64_t)d->part_at_least);
	state_save(d->state);
}

static void on_refresh(struct loop_timer *t)
{
	struct daemon *d = CONTAINER_OF(t, struct daemon, refresh);

	refresh(d);
	loop_timer_set(d->program->loop, t, loop_now() + LOOK_AGAIN);
}

/* ---- when ---- */

static usec_t soonest(usec_t a, usec_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

/* The next regular run on the boot clock; by the wall clock when there is an `at`. */
static void plan(struct daemon *d)
{
	const struct config *c = d->program->config;
	struct itimerspec spec = {.it_value.tv_sec = 0};

	if (!c->schedule_at) {
		d->next_tick = tick_next(d->anchor, c->schedule_interval, d->jitter, loop_now());
		return;
	}
	d->next_wall = cron_next(&d->cron, c->schedule_timezone, time(NULL));
	spec.it_value.tv_sec = d->next_wall + d->jitter / USEC_PER_SEC;
	/* Tells when somebody sets the clock, too. */
	if (timerfd_settime(d->wall_fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &spec, NULL) < 0)
		EVENT(LEVEL_ERROR, "schedule", F_TEXT("error", strerror(errno)));
}

static void on_wall(struct loop_watch *w, short revents)
{
	struct daemon *d = CONTAINER_OF(w, struct daemon, wall_watch);
	uint64_t times;

	(void)revents;
	d->is_woken = true;
	if (read(d->wall_fd, &times, sizeof(times)) == (ssize_t)sizeof(times))
		d->wall_is_due = true;
	else if (errno == ECANCELED) {
		EVENT(LEVEL_WARNING, "schedule", F_TEXT("warning", "the clock was set; the next run is planned anew"));
		d->clock_was_set = true;
	}
}

int64_t daemon_next_run(const struct daemon *d)
{
	usec_t due = soonest(d->retry_at, d->catch_up_at);
	int64_t at = 0;

	if (d->program->config->schedule_at)
		at = d->next_wall;
	else
		due = soonest(due, d->next_tick);
	if (due) {
		int64_t by_clock = time(NULL) + (due - loop_now()) / USEC_PER_SEC;

		at = at == 0 || by_clock < at ? by_clock : at;
	}
	return at;
}

static void start_schedule(struct daemon *d)
{
	const struct config *c = d->program->config;
	char host[256] = "", why[64];

	gethostname(host, sizeof(host) - 1);
	d->jitter = host_jitter(host, config_jitter(c));
	d->anchor = loop_now() + c->schedule_initial_delay;
	if (c->schedule_at) {
		(void)!cron_parse(c->schedule_at, &d->cron, why, sizeof(why));
		/* A run that was due while nobody was there is caught up with. */
		if (d->last_success == 0 || cron_next(&d->cron, c->schedule_timezone, d->last_success) <= time(NULL))
			d->catch_up_at = d->anchor;
		plan(d);
	} else
		d->next_tick = d->anchor; /* the first one, even when it is due already */
	if (c->verify_drill_interval > 0) {
		int64_t last = state_number(d->state, "last_drill", 0), ago = time(NULL) - last;

		d->next_drill = loop_now() + (last && ago >= 0 && ago * USEC_PER_SEC < c->verify_drill_interval ?
					      c->verify_drill_interval - ago * USEC_PER_SEC : last ? c->schedule_initial_delay * 2 :
					      c->verify_drill_interval);
	} else
		d->next_drill = 0;
}

/* ---- leadership ---- */

static bool lead(struct daemon *d)
{
	const char *busy_with = d->busy_with;
	enum lock_state state;
	bool was_leader;

	if (!d->program->config->schedule_leader)
		return true;
	if (!d->lock)
		d->lock = lock_new(d->program, "backup", NULL);
	was_leader = lock_seems_held(d->lock);
	/* A server that does not answer must not hold up a stop. */
	if (!busy_with)
		d->busy_with = "lock";
	state = was_leader ? lock_confirm(d->lock) : lock_take(d->lock, CONNECT_PATIENCE, 0);
	d->busy_with = busy_with;
	switch (state) {
	case LOCK_HELD:
		if (!was_leader)
			EVENT(LEVEL_LOG, "leader", F_TEXT("text", "this instance makes the backups"));
		return true;
	case LOCK_ELSEWHERE:
		EVENT(LEVEL_DEBUG, "lock_held_elsewhere", F_TEXT("lock", "backup"));
		return false;
	case LOCK_UNREACHABLE:
		EVENT(LEVEL_WARNING, "lock", F_TEXT("error", lock_why(d->lock)));
		d->could_not_ask = true;
		return false;
	case LOCK_INTERRUPTED:
		break;
	}
	return false;
}

/* ---- the backup ---- */

static void tell_others(struct daemon *d, enum notify_kind kind, const char *event, const char *object, const char *why, uint64_t size)
{
	const char *busy_with = d->busy_with;
	struct buf json;
	char when[ISO_TIME_MAX];

	buf_init(&json);
	buf_printf(&json, "{\"event\":\"%s\",\"at\":\"%s\",\"object\":", event, iso_time(time(NULL), when));
	event_put_json(&json, object, strlen(object));
	buf_put_text(&json, ",\"reason\":");
	event_put_json(&json, why, strlen(why));
	buf_printf(&json, ",\"bytes\":%" PRIu64 ",\"consecutive_failures\":%u}\n", size, d->failures);
	/* So that a stop need not wait for a hook. */
	if (!busy_with)
		d->busy_with = "notify";
	notify(d->program, kind, event, object, buf_span(&json));
	d->busy_with = busy_with;
	buf_free(&json);
}

static void succeeded(struct daemon *d, const struct set_report *r)
{
	d->failures = 0;
	d->retry_at = 0;
	d->last_success = r->when;
	state_set_text(d->state, "last_object", r->last.key);
	state_set_text(d->state, "last_error", NULL);
	d->part_at_least = r->part_at_least ? r->part_at_least : d->part_at_least;
	/* A backup as large as before shows that what was restored, or begun afresh, is the data. */
	if (d->restore_failed && r->plain >= d->plain_before)
		d->restore_failed = false;
	tell_others(d, NOTIFY_SUCCESS, "backup_done", r->last.key, r->outcome == OUTCOME_FOLLOW_UP ? r->last.why : "", r->size);
}

static void failed(struct daemon *d, const struct set_report *r)
{
	const struct config *c = d->program->config;
	uint32_t random;

	d->failures++;
	state_set_text(d->state, "last_error", r->last.why);
	if (r->part_at_least)
		d->part_at_least = r->part_at_least;
	mem_random(&random, sizeof(random));
	d->retry_at = loop_now() + retry_pause(d->failures, c->schedule_at ? DAY : c->schedule_interval, random / 4294967296.0);
	EVENT(LEVEL_LOG, "retry_planned", F_UINT("failures", d->failures),
	      F_REAL("in_seconds", (double)(d->retry_at - loop_now()) / (double)USEC_PER_SEC));
	tell_others(d, NOTIFY_FAILURE, "backup_failed", r->last.key, r->last.why, 0);
}

/* The newest good backup, for its age. false: it could not be asked, and there is no catalog to free. */
static bool find_newest(struct daemon *d, struct catalog *catalog, const struct backup_entry **newest)
{
	char why[256];
	enum storage_result r;

	*newest = NULL;
	if (load_catalog(d->program, NULL, catalog) != OUTCOME_DONE)
		return false;
	r = catalog_choose(catalog, "latest", newest, why, sizeof(why));
	if (r == STORAGE_OK || r == STORAGE_NOT_FOUND)
		return true;
	(void)tell_storage_failure("list", r, &catalog->error);
	catalog_free(catalog);
	return false;
}

/* Nobody has written since the backup that this manifest tells of, and statistics have been kept all the while. */
static bool is_unchanged(struct daemon *d, const struct manifest *m)
{
	const struct pg_target target = pg_dump_target_of(d->program->config, NULL);
	const char *reset = manifest_text(m, "stats_reset"), *started = manifest_text(m, "started_at");
	int64_t inserted, updated, deleted, before;
	struct facts f = {0};
	bool same = false;
	struct pg *pg;

	if (!manifest_number(m, "tup_inserted", &inserted) || !manifest_number(m, "tup_updated", &updated) ||
	    !manifest_number(m, "tup_deleted", &deleted) || !started ||
	    !rfc3339_parse(started, strlen(started), &before) || time(NULL) - before > UNCHANGED_MOST)
		return false;
	pg = pg_connect(d->program->loop, &target, CONNECT_PATIENCE);
	if (pg_failure(pg) == PG_FINE && facts_read(pg, &f)) {
		int64_t server_started;
		const char *const params[] = {started};

		same = f.tup_inserted == inserted && f.tup_updated == updated && f.tup_deleted == deleted &&
		       strcmp(f.stats_reset, reset ? reset : "") == 0 &&
		       pg_ask_number(pg, FACTS_LIMIT, "SELECT (pg_catalog.pg_postmaster_start_time() < $1::timestamptz)::int", 1, params,
				     &server_started) && server_started == 1;
	}
	pg_close(pg);
	return same;
}

static void mark_unchanged(struct daemon *d, struct catalog *c, const struct backup_entry *e, struct manifest *m)
{
	char when[ISO_TIME_MAX];
	struct storage_error error = {.http = 0};

	manifest_set_text(m, "unchanged_at", iso_time(time(NULL), when));
	if (manifest_store(d->program->storage, c->prefix, e->when, (enum backup_format)e->format, m, &d->program->manifest_keys,
			   &error) != STORAGE_OK)
		EVENT(LEVEL_WARNING, "unchanged", F_TEXT("error", error.message));
	d->last_success = time(NULL);
	d->failures = 0;
	d->retry_at = 0;
	EVENT(LEVEL_LOG, "unchanged", F_TEXT("text", "nothing was written since the last backup"));
}

/* Whether a backup is wanted at all, now that it is due. */
static bool is_wanted(struct daemon *d, enum reason why, usec_t *spacing, bool *could_ask)
{
	const struct config *c = d->program->config;
	struct catalog catalog;
	const struct backup_entry *newest;
	struct manifest *m = NULL;
	bool wanted = true;

	*could_ask = true;
	if (databases_are_several(c)) {
		/* Each has backups of its own, and the run looks at them. */
		*spacing = why == REASON_TICK ? config_min_spacing(c) : 0;
		return true;
	}
	if (why == REASON_ASKED)
		return true;
	if (!find_newest(d, &catalog, &newest)) {
		*could_ask = false;
		return false;
	}
	if (newest && why == REASON_TICK && backup_is_within(newest, time(NULL), config_min_spacing(c) / USEC_PER_SEC)) {
		EVENT(LEVEL_LOG, "backup_skipped", F_TEXT("reason", "the newest backup is younger than min_spacing"),
		      F_INT("age", time(NULL) - newest->when));
		d->last_success = newest->when;
		wanted = false;
	} else if (newest && newest->has_manifest && (c->schedule_skip_unchanged || why == REASON_SHUTDOWN) &&
		   catalog_manifest(&catalog, newest, &m) == STORAGE_OK && m && is_unchanged(d, m)) {
		mark_unchanged(d, &catalog, newest, m);
		wanted = false;
	}
	manifest_free(m);
	catalog_free(&catalog);
	return wanted;
}

static void backup(struct daemon *d, enum reason why)
{
	static const char *const blocked = "the restore at the start failed";
	struct backup_request q = {.lock = d->program->config->schedule_leader ? d->lock : NULL, .part_at_least = d->part_at_least,
				   .remember = remember_upload, .ctx = d};
	struct set_report r = {.outcome = OUTCOME_STORAGE, .last.phase = "list"};
	bool could_ask, wanted;

	d->busy_with = "backup";
	wanted = is_wanted(d, why, &q.min_spacing, &could_ask);
	if (d->restore_failed) {
		q.prune_blocked = blocked;
		q.prune_blocked_below = d->plain_before;
	}
	if (wanted) {
		tell_others(d, NOTIFY_START, "backup_begin", "", "", 0);
		set_run(d->program, &q, &r);
	}
	d->busy_with = NULL;
	if (loop_is_interrupted(d->program->loop)) {
		/* A signal that comes when all is done, or before anything was begun, cuts nothing short. */
		d->was_cut |= wanted && r.outcome == OUTCOME_INTERRUPTED;
		if (!wanted)
			return;
		if (r.failed > 0) {
			tell_others(d, NOTIFY_FAILURE, "backup_failed", r.last.key, r.last.why, 0);
			return;
		}
	}
	if (!could_ask)
		snprintf(r.last.why, sizeof(r.last.why), "the backups could not be listed");
	if (wanted && r.total > 0 && r.skipped == r.total)
		d->last_success = r.when;
	else if (wanted && r.failed < r.total)
		succeeded(d, &r);
	else if (!could_ask || (wanted && r.outcome != OUTCOME_LOCKED))
		failed(d, &r);
}

/* ---- other work of the leader ---- */

static void clean(struct daemon *d)
{
	const struct config *c = d->program->config;
	struct cleanup_options o = {.min_age = c->schedule_max_duration > DAY ? c->schedule_max_duration : DAY,
				    .known_key = state_text(d->state, "upload_key"), .known_id = state_text(d->state, "upload_id")};
	struct cleanup_report report = {0};
	struct command_env env;
	enum outcome outcome;

	d->busy_with = "cleanup";
	program_command_env(d->program, &env);
	env.out = NULL;
	outcome = command_cleanup(&env, &o, &report);
	metric_add(METRIC_stale_uploads_aborted_total, NULL, (double)report.aborted);
	if (outcome == OUTCOME_DONE && o.known_id)
		remember_upload(d, NULL, NULL);
	if (c->verify_drill_interval > 0 && !loop_is_interrupted(d->program->loop))
		drill_clean_up(d->program);
	d->busy_with = NULL;
	d->next_cleanup = loop_now() + DAY;
}

static const struct backup_entry *pick_for_drill(struct daemon *d, struct catalog *c, const struct backup_entry *newest)
{
	uint32_t random;
	size_t n;

	if (d->program->config->verify_drill_pick == DRILL_NEWEST || c->count < 2 || !newest)
		return newest;
	/* Any older one: the newest is proven often enough by being restored. */
	mem_random(&random, sizeof(random));
	n = (size_t)(newest - c->entries);
	n += 1 + random % (c->count - n > 1 ? c->count - n - 1 : 1);
	return n < c->count ? &c->entries[n] : newest;
}

static void drill(struct daemon *d)
{
	struct catalog catalog;
	const struct backup_entry *newest, *e;
	struct chosen_backup b;
	struct verify_report r = {.outcome = OUTCOME_NO_BACKUP};

	d->busy_with = "drill";
	if (find_newest(d, &catalog, &newest)) {
		e = pick_for_drill(d, &catalog, newest);
		if (e && look_at_backup(d->program, &catalog, e, &b) == OUTCOME_DONE) {
			verify_run(d->program, NULL, &b, VERIFY_DRILL, false, &r);
			if (!loop_is_interrupted(d->program->loop))
				tell_others(d, NOTIFY_OTHER, r.outcome == OUTCOME_DONE ? "drill_done" : "drill_failed", b.key, r.why, 0);
			chosen_free(&b);
		}
		catalog_free(&catalog);
	}
	d->busy_with = NULL;
	d->was_cut |= r.outcome == OUTCOME_INTERRUPTED;
	if (r.outcome == OUTCOME_DONE)
		state_set_number(d->state, "last_drill", time(NULL));
	/* One that could not be held is tried again the next day. */
	d->next_drill = loop_now() + (r.outcome == OUTCOME_DONE || d->program->config->verify_drill_interval < DAY ?
				      d->program->config->verify_drill_interval : DAY);
}

/* Other backups were made with another key: to be known now, not at the day of the restore. */
static void compare_keys(struct daemon *d)
{
	struct catalog catalog;
	const struct backup_entry *newest;
	struct manifest *m = NULL;
	const char *theirs;
	bool differs = false;

	if (!d->program->key_id || databases_are_several(d->program->config) || !find_newest(d, &catalog, &newest))
		return;
	if (newest)
		d->last_success = newest->when;
	/* Read without believing it: a manifest that another key has signed cannot be checked with ours. */
	if (newest && newest->has_manifest && read_manifest_unchecked(d->program, &catalog, newest, &m)) {
		theirs = manifest_text(m, "key_id");
		differs = theirs && strcmp(theirs, d->program->key_id) != 0;
		if (differs)
			EVENT(LEVEL_WARNING, "key", F_TEXT("ours", d->program->key_id), F_TEXT("newest_backup", theirs),
			      F_TEXT("warning", "EXISTING BACKUPS WERE MADE WITH ANOTHER KEY: is MNEMONIC right? "
				     "BACKUP_PREVIOUS_MNEMONICS_FILE lets them be read"));
	}
	metric_set(METRIC_key_mismatch, NULL, differs);
	manifest_free(m);
	catalog_free(&catalog);
}

/* ---- reload, report ---- */

static void reload(struct daemon *d)
{
	d->wants_reload = false;
	notify_systemd("RELOADING=1");
	if (program_reconfigure(d->program)) {
		EVENT(LEVEL_LOG, "config", F_TEXT("text", "reloaded"));
		lock_free(d->lock);
		d->lock = NULL;
		d->catch_up_at = 0;
		d->anchor = loop_now() + d->program->config->schedule_initial_delay;
		daemon_reopen_listener(d);
		start_schedule(d);
	} else
		EVENT(LEVEL_ERROR, "config", F_TEXT("text", "the new configuration is not taken; the old one stays"));
	notify_systemd("READY=1");
}

static void report(struct daemon *d)
{
	char next[ISO_TIME_MAX], last[ISO_TIME_MAX];

	d->wants_report = false;
	EVENT(LEVEL_LOG, "state", F_TEXT("last_success", d->last_success ? iso_time(d->last_success, last) : "never"),
	      F_TEXT("next_run", iso_time(daemon_next_run(d), next)), F_UINT("failures", d->failures),
	      F_BOOL("leader", !d->lock || lock_seems_held(d->lock)), F_BOOL("prune_blocked", d->restore_failed));
}

/* ---- the turn of the daemon ---- */

static void wait(struct daemon *d)
{
	usec_t due = soonest(soonest(d->retry_at, d->catch_up_at), soonest(d->next_drill, d->next_cleanup));

	if (!d->program->config->schedule_at)
		due = soonest(due, d->next_tick);
	refresh(d);
	/* Deaf to interruptions: those that concern the daemon have set stopped_by. */
	(void)!loop_wait_through(d->program->loop, &d->is_woken, due);
	d->is_woken = false;
}

static bool is_past(usec_t due)
{
	return due != 0 && loop_now() >= due;
}

/* Ticks, retries and requests that came together are one backup. */
static bool backup_is_due(struct daemon *d, enum reason *why)
{
	bool tick = d->wall_is_due || is_past(d->catch_up_at) || (!d->program->config->schedule_at && is_past(d->next_tick)),
	     retry = is_past(d->retry_at);

	*why = d->wants_backup ? REASON_ASKED : retry ? REASON_RETRY : REASON_TICK;
	if (!d->wants_backup && !tick && !retry)
		return false;
	d->wants_backup = d->wall_is_due = false;
	if (is_past(d->catch_up_at))
		d->catch_up_at = 0;
	if (retry)
		d->retry_at = 0;
	plan(d);
	return true;
}

static void turn(struct daemon *d)
{
	enum reason why;
	bool is_leader = false, has_asked = false;

	if (d->wants_reload)
		reload(d);
	if (d->wants_report)
		report(d);
	if (d->clock_was_set) {
		d->clock_was_set = false;
		plan(d);
	}
	if (backup_is_due(d, &why)) {
		d->could_not_ask = false;
		is_leader = lead(d);
		has_asked = true;
		if (d->stopped_by)
			return;
		if (is_leader)
			backup(d, why);
		else if (d->could_not_ask) {
			struct set_report r = {.last.phase = "lock"};

			snprintf(r.last.why, sizeof(r.last.why), "%s", lock_why(d->lock));
			failed(d, &r);
		} else
			EVENT(LEVEL_LOG, "backup_skipped", F_TEXT("reason", "another instance makes the backups"));
	}
	if (d->stopped_by)
		return;
	if (is_past(d->next_cleanup)) {
		d->next_cleanup = loop_now() + DAY;
		is_leader = has_asked ? is_leader : lead(d);
		has_asked = true;
		if (is_leader && !d->stopped_by)
			clean(d);
	}
	if (!d->stopped_by && is_past(d->next_drill)) {
		d->next_drill = loop_now() + d->program->config->verify_drill_interval;
		is_leader = has_asked ? is_leader : lead(d);
		if (is_leader && !d->stopped_by)
			drill(d);
	}
}

/* ---- the start and the end ---- */

static enum outcome restore_at_start(struct daemon *d)
{
	const struct config *c = d->program->config;
	struct restore_request q = {.at = -1, .if_empty = true};
	struct restore_report r;
	char **names, *prefix, why[512];
	enum outcome o = OUTCOME_DONE;

	if (!c->restore_if_empty)
		return OUTCOME_DONE;
	if (databases_are_several(c) && strcmp(c->postgres_databases, "*") == 0) {
		EVENT(LEVEL_LOG, "restore_check", F_TEXT("text", "with databases = * nothing is restored by itself"));
		return OUTCOME_DONE;
	}
	names = databases_list(d->program, why, sizeof(why));
	d->busy_with = "restore";
	for (size_t i = 0; names && names[i] && o == OUTCOME_DONE; i++) {
		prefix = databases_are_several(c) ? database_prefix(c, names[i]) : NULL;
		q.prefix = prefix;
		q.target_db = names[i];
		restore_run(d->program, &q, &r);
		o = r.outcome;
		if (r.end == RESTORE_DONE)
			tell_others(d, NOTIFY_OTHER, "restore_done", r.key, "", r.plain);
		else if (o != OUTCOME_DONE && o != OUTCOME_INTERRUPTED)
			tell_others(d, NOTIFY_FAILURE, "restore_failed", r.key, r.why, 0);
		if (o != OUTCOME_DONE)
			d->plain_before = r.last_plain;
		free(prefix);
	}
	d->busy_with = NULL;
	databases_free(names);
	if (o == OUTCOME_DONE || o == OUTCOME_INTERRUPTED || c->restore_on_failure == FAILURE_HALT)
		return o;
	/* With the word `continue` the service begins without its data, and the old backups must outlive that. */
	EVENT(LEVEL_ERROR, "restore_failed", F_TEXT("warning", "going on all the same (on_failure = continue); pruning waits"));
	d->restore_failed = true;
	metric_set(METRIC_prune_blocked, NULL, 1);
	return OUTCOME_DONE;
}

static bool write_ready_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, "ready\n", 6) != 6 || close(fd) < 0) {
		EVENT(LEVEL_ERROR, "ready", F_TEXT("path", path), F_TEXT("error", strerror(errno)));
		return false;
	}
	return true;
}

static bool become_ready(struct daemon *d)
{
	const char *path = d->ready_file ? d->ready_file : d->program->config->restore_ready_file;

	if (path && !write_ready_file(path))
		return false;
	d->is_ready = true;
	notify_systemd("READY=1");
	EVENT(LEVEL_LOG, "ready");
	return true;
}

static void last_backup(struct daemon *d)
{
	struct program *p = d->program;

	if (!p->config->schedule_on_shutdown || p->is_urgent)
		return;
	/* The signal that ends the daemon does not end this. */
	p->ended_by = 0;
	loop_resume(p->loop);
	loop_timer_set(p->loop, &d->shutdown_limit, loop_now() + p->config->schedule_shutdown_timeout);
	d->busy_with = "backup";
	if (lead(d))
		backup(d, REASON_SHUTDOWN);
	d->busy_with = NULL;
	loop_timer_clear(p->loop, &d->shutdown_limit);
}

static enum outcome run(struct daemon *d)
{
	struct program *p = d->program;
	enum outcome o = restore_at_start(d);

	if (o != OUTCOME_DONE)
		return o;
	if (!become_ready(d))
		return OUTCOME_FAILED;
	d->busy_with = "start";
	if (!d->stopped_by)
		compare_keys(d);
	d->busy_with = NULL;
	start_schedule(d);
	d->next_cleanup = loop_now() + 1;
	loop_timer_set(p->loop, &d->refresh, loop_now() + LOOK_AGAIN);
	while (!d->stopped_by) {
		wait(d);
		if (!d->stopped_by)
			turn(d);
	}
	last_backup(d);
	refresh(d);
	EVENT(LEVEL_LOG, "shutdown", F_TEXT("text", "done"));
	/* Looks and clean-ups that a stop has cut short are no loss: only unfinished work is told by the status. */
	return d->was_cut ? OUTCOME_INTERRUPTED : OUTCOME_DONE;
}

int run_daemon(struct program *p, int argc, char **argv)
{
	static const struct option longs[] = {{"ready-file", required_argument, NULL, 'r'}, {NULL, 0, NULL, 0}};
	struct daemon d = {.program = p};
	char shown[256];
	enum outcome o;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c != 'r')
			return command_usage(argv[0], "usage: daemon [--ready-file PATH]");
		d.ready_file = optarg;
	}
	if (optind != argc)
		return command_usage(argv[0], "takes no argument");
	EVENT(LEVEL_LOG, "start", F_TEXT("version", PACKAGE_VERSION), F_INT("pid", getpid()), F_TEXT("prefix", p->config->s3_prefix),
	      F_TEXT("key", p->key_id ? p->key_id : "none"));
	for (enum setting_id id = 0; id < SETTING_COUNT; id++)
		if (p->config->is_given[id]) {
			config_show(p->config, id, shown, sizeof(shown));
			EVENT(LEVEL_DEBUG, "config", F_TEXT("setting", setting_variable(id)), F_TEXT("value", shown));
		}
	d.wall_fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	d.wall_watch.ready = on_wall;
	d.refresh.fire = on_refresh;
	d.shutdown_limit.fire = on_shutdown_limit;
	loop_watch_set(p->loop, &d.wall_watch, d.wall_fd, POLLIN);
	p->daemon = &d;
	p->on_signal = on_signal;
	d.state = state_open(p);
	d.last_success = state_number(d.state, "last_success", 0);
	d.failures = (unsigned)state_number(d.state, "consecutive_failures", 0);
	d.part_at_least = (uint64_t)state_number(d.state, "part_at_least", 0);
	metric_set(METRIC_build_info, "version=\"" PACKAGE_VERSION "\"", 1);
	o = daemon_reopen_listener(&d) ? run(&d) : OUTCOME_USAGE;
	p->on_signal = NULL;
	p->daemon = NULL;
	listener_free(d.listener);
	lock_free(d.lock);
	state_free(d.state);
	loop_timer_clear(p->loop, &d.refresh);
	loop_timer_clear(p->loop, &d.shutdown_limit);
	loop_watch_clear(p->loop, &d.wall_watch);
	close(d.wall_fd);
	if (o == OUTCOME_INTERRUPTED && !p->ended_by)
		p->ended_by = d.stopped_by;
	return o;
}
