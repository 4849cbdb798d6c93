#include "backup/set.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backup/command.h"
#include "backup/event.h"
#include "backup/facts.h"
#include "backup/object_name.h"
#include "backup/pg.h"
#include "backup/storage.h"
#include "cmd_parts.h"
#include "job_parts.h"
#include "lib/mem.h"

#define CONNECT_LIMIT (30 * USEC_PER_SEC)
#define DATABASES_MAX 10000

static bool is_all(const struct config *c)
{
	return c->postgres_databases && strcmp(c->postgres_databases, "*") == 0;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* The next name of a list by commas, without the blanks around it; owned by the caller. NULL: no more. */
static char *next_name(const char **at)
{
	while (**at) {
		size_t len;
		const char *from;

		while (is_blank(**at) || **at == ',')
			(*at)++;
		from = *at;
		len = strcspn(from, ",");
		*at += len;
		while (len > 0 && is_blank(from[len - 1]))
			len--;
		if (len > 0)
			return xstrndup(from, len);
	}
	return NULL;
}

static char **split(const char *list, size_t *count)
{
	char **names = xcalloc(1, sizeof(char *)), *name;

	*count = 0;
	while (list && (name = next_name(&list)) != NULL && *count < DATABASES_MAX) {
		names = xrealloc(names, (*count + 2) * sizeof(char *));
		names[(*count)++] = name;
		names[*count] = NULL;
	}
	return names;
}

void databases_free(char **names)
{
	for (size_t i = 0; names && names[i]; i++)
		free(names[i]);
	free(names);
}

bool databases_are_several(const struct config *c)
{
	size_t count;

	if (is_all(c))
		return true; /* also when there happens to be one: a layout does not change by itself */
	databases_free(split(c->postgres_databases, &count));
	return count > 1;
}

char *database_prefix(const struct config *c, const char *name)
{
	char encoded[PREFIX_MAX], *prefix;

	percent_encode(name, encoded, sizeof(encoded));
	prefix = xasprintf("%s/%s", c->s3_prefix, encoded);
	/* A name that begins with '_' could not be told from _globals; its first byte is escaped. */
	if (encoded[0] == '_') {
		free(prefix);
		prefix = xasprintf("%s/%%5F%s", c->s3_prefix, encoded + 1);
	}
	if (strlen(prefix) <= PREFIX_MAX)
		return prefix;
	free(prefix);
	return NULL;
}

static bool is_excluded(char **excluded, const char *name)
{
	for (size_t i = 0; excluded[i]; i++)
		if (strcmp(excluded[i], name) == 0)
			return true;
	return false;
}

static char **ask_for_all(struct program *p, char *why, size_t cap)
{
	const struct pg_target target = pg_target_of(p->config, NULL);
	struct pg *pg = pg_connect(p->loop, &target, CONNECT_LIMIT);
	PGresult *r = NULL;
	char **names = NULL, **excluded;
	size_t n = 0, count;

	if (pg_failure(pg) == PG_FINE)
		r = pg_ask(pg, FACTS_LIMIT, "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate "
			   "ORDER BY datname", 0, NULL);
	if (!r) {
		snprintf(why, cap, "listing the databases: %s", pg_why(pg));
		pg_close(pg);
		return NULL;
	}
	excluded = split(p->config->postgres_exclude_databases, &count);
	names = xcalloc((size_t)PQntuples(r) + 1, sizeof(char *));
	for (int i = 0; i < PQntuples(r); i++) {
		const char *name = PQgetvalue(r, i, 0);

		/* Scratch databases of drills are nobody's data. */
		if (!is_excluded(excluded, name) &&
		    strncmp(name, p->config->verify_drill_database_prefix, strlen(p->config->verify_drill_database_prefix)) != 0)
			names[n++] = xstrdup(name);
	}
	databases_free(excluded);
	PQclear(r);
	pg_close(pg);
	if (n == 0) {
		snprintf(why, cap, "there is no database to back up");
		databases_free(names);
		return NULL;
	}
	return names;
}

char **databases_list(struct program *p, char *why, size_t cap)
{
	size_t count;
	char **names;

	if (is_all(p->config))
		return ask_for_all(p, why, cap);
	names = split(p->config->postgres_databases, &count);
	if (count > 0)
		return names;
	databases_free(names);
	names = xcalloc(2, sizeof(char *));
	names[0] = xstrdup(p->config->postgres_database);
	return names;
}

/* ---- the set manifest ---- */

static void put_text(struct buf *b, const char *key, const char *text)
{
	buf_printf(b, "\"%s\":", key);
	event_put_json(b, text, strlen(text));
}

static void put_member(struct buf *b, const char *name, const struct backup_report *r)
{
	bool is_good = r->outcome == OUTCOME_DONE || r->outcome == OUTCOME_FOLLOW_UP;

	buf_put_text(b, b->data[b->end - 1] == '[' ? "{" : ",{");
	put_text(b, "database", name);
	buf_put_text(b, ",");
	put_text(b, "object", is_good ? r->key : "");
	buf_printf(b, ",\"size\":%" PRIu64 ",\"status\":%d}", is_good ? r->size : 0, (int)r->outcome);
}

static enum outcome store_set(struct program *p, const char *run_id, int64_t begun, const char *globals, struct buf *members)
{
	char name[BACKUP_NAME_MAX], when[ISO_TIME_MAX], *key;
	struct storage_body body = {.fd = -1};
	struct storage_op op = {0};
	struct buf b;
	enum storage_result r;

	backup_name_make(begun, BACKUP_PLAIN, name);
	key = xasprintf("_manifest/%s/%.15s.set.json", p->config->s3_prefix, name);
	buf_init(&b);
	buf_put_text(&b, "{\"schema\":1,");
	put_text(&b, "run_id", run_id);
	buf_put_text(&b, ",");
	put_text(&b, "started_at", iso_time(begun, when));
	buf_put_text(&b, ",");
	put_text(&b, "globals", globals);
	buf_put_text(&b, ",\"databases\":");
	buf_put(&b, buf_span(members).ptr, buf_len(members));
	buf_put_text(&b, "]}");
	body.bytes = buf_span(&b);
	body.len = buf_len(&b);
	p->storage->ops->replace(p->storage, &op, key, "application/json", &body);
	r = storage_wait(p->storage, &op);
	if (r != STORAGE_OK)
		(void)tell_storage_failure("set", r, &op.error);
	buf_free(&b);
	free(key);
	return r == STORAGE_OK ? OUTCOME_DONE : OUTCOME_FOLLOW_UP;
}

/* ---- the run ---- */

static void count(struct set_report *report, const struct backup_report *r)
{
	report->total++;
	report->last = *r;
	if (r->part_at_least > report->part_at_least)
		report->part_at_least = r->part_at_least;
	report->skipped += r->is_skipped;
	if (r->outcome == OUTCOME_DONE || r->outcome == OUTCOME_FOLLOW_UP) {
		if (r->when > report->when)
			report->when = r->when;
		report->size += r->size;
		report->plain += r->plain;
	} else
		report->failed++;
	if (r->outcome != OUTCOME_DONE && report->outcome == OUTCOME_DONE)
		report->outcome = r->outcome;
}

static void run_one(struct program *p, const struct backup_request *request, const char *name, bool has_folder,
		    struct set_report *report, struct buf *members)
{
	struct backup_request one = *request;
	struct backup_report r = {.outcome = OUTCOME_REFUSED};
	char *prefix = has_folder ? database_prefix(p->config, name) : NULL;

	one.database = name;
	one.prefix = prefix;
	if (has_folder && !prefix) {
		snprintf(r.why, sizeof(r.why), "the name of the database is too long below the prefix");
		EVENT(LEVEL_ERROR, "backup_failed", F_TEXT("database", name), F_TEXT("reason", r.why));
	} else
		backup_run(p, &one, &r);
	count(report, &r);
	if (!r.is_skipped)
		put_member(members, name, &r);
	free(prefix);
}

void set_run(struct program *p, const struct backup_request *request, struct set_report *report)
{
	bool several = databases_are_several(p->config);
	char run_id[RUN_ID_TEXT], why[1024], globals[BACKUP_KEY_MAX] = "", **names;
	int64_t begun = time(NULL);
	struct backup_request with_id = *request;
	struct buf members;
	enum outcome o;
	size_t i;

	*report = (struct set_report){.outcome = OUTCOME_DONE};
	names = request->database ? NULL : databases_list(p, why, sizeof(why));
	if (!request->database && !names) {
		report->outcome = report->last.outcome = loop_is_interrupted(p->loop) ? OUTCOME_INTERRUPTED : OUTCOME_DATABASE;
		report->last.phase = "preflight";
		snprintf(report->last.why, sizeof(report->last.why), "%s", why);
		EVENT(LEVEL_ERROR, "backup_failed", F_TEXT("phase", "preflight"), F_TEXT("reason", why));
		report->total = report->failed = 1;
		return;
	}
	make_run_id(run_id);
	with_id.run_id = run_id;
	buf_init(&members);
	buf_put_text(&members, "[");
	if (p->config->postgres_globals) {
		o = globals_run(p, run_id, globals, why, sizeof(why));
		if (o != OUTCOME_DONE)
			report->outcome = o == OUTCOME_INTERRUPTED ? o : OUTCOME_FOLLOW_UP;
	}
	if (request->database)
		run_one(p, &with_id, request->database, several, report, &members);
	for (i = 0; names && names[i] && !loop_is_interrupted(p->loop); i++)
		run_one(p, &with_id, names[i], several, report, &members);
	/* One that failed among good ones is the follow-up's failure; all failed is a failure. */
	if (report->failed > 0 && report->failed < report->total && report->outcome != OUTCOME_INTERRUPTED)
		report->outcome = OUTCOME_FOLLOW_UP;
	if (several && !request->database && report->failed + report->skipped < report->total &&
	    store_set(p, run_id, begun, globals, &members) != OUTCOME_DONE && report->outcome == OUTCOME_DONE)
		report->outcome = OUTCOME_FOLLOW_UP;
	/* Not when the signal came after the last of them was done. */
	if (loop_is_interrupted(p->loop) && (report->outcome != OUTCOME_DONE || (names && names[i])))
		report->outcome = OUTCOME_INTERRUPTED;
	buf_free(&members);
	databases_free(names);
}
