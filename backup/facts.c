#include "backup/facts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/manifest.h"
#include "backup/pg.h"
#include "lib/buf.h"
#include "lib/mem.h"

/* The catalog, not information_schema, which hides what one has no right on. */
#define RELATIONS \
	"FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace " \
	"WHERE c.relkind IN ('r','p','v','m','S','f') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' " \
	"AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass " \
	"AND d.objid = c.oid AND d.deptype = 'e')"

static void copy(const PGresult *r, int column, char *out, size_t cap)
{
	snprintf(out, cap, "%s", PQgetisnull(r, 0, column) ? "" : PQgetvalue(r, 0, column));
}

static int64_t number(const PGresult *r, int column, int64_t otherwise)
{
	return PQgetisnull(r, 0, column) ? otherwise : strtoll(PQgetvalue(r, 0, column), NULL, 10);
}

void facts_read_control(struct pg *p, struct facts *f)
{
	(void)pg_ask_text(p, FACTS_LIMIT, "SELECT system_identifier FROM pg_catalog.pg_control_system()", 0, NULL,
			  f->system_identifier, sizeof(f->system_identifier));
	(void)pg_ask_number(p, FACTS_LIMIT, "SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()", 0, NULL, &f->timeline);
}

bool facts_read_lsn(struct pg *p, char lsn[32])
{
	/* Before version 10 these functions had other names. */
	if (pg_version(p) < 100000)
		return true;
	return pg_ask_text(p, FACTS_LIMIT, "SELECT coalesce(CASE WHEN pg_catalog.pg_is_in_recovery() "
			   "THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END::text, '')",
			   0, NULL, lsn, 32);
}

bool facts_read(struct pg *p, struct facts *f)
{
	PGresult *r = pg_ask(p, FACTS_LIMIT,
		"SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_database_size(d.oid), "
		"pg_catalog.pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, s.tup_inserted, s.tup_updated, "
		"s.tup_deleted, s.stats_reset, pg_catalog.pg_postmaster_start_time(), pg_catalog.current_setting('server_version'), "
		"(SELECT count(*) " RELATIONS ") "
		"FROM pg_catalog.pg_database d LEFT JOIN pg_catalog.pg_stat_database s ON s.datid = d.oid "
		"WHERE d.datname = pg_catalog.current_database()", 0, NULL);
	bool ok = r && PQntuples(r) == 1;

	if (ok) {
		f->version = pg_version(p);
		f->in_recovery = PQgetvalue(r, 0, 0)[0] == 't';
		f->database_size = number(r, 1, 0);
		copy(r, 2, f->encoding, sizeof(f->encoding));
		copy(r, 3, f->collate, sizeof(f->collate));
		copy(r, 4, f->ctype, sizeof(f->ctype));
		f->tup_inserted = number(r, 5, -1);
		f->tup_updated = number(r, 6, -1);
		f->tup_deleted = number(r, 7, -1);
		copy(r, 8, f->stats_reset, sizeof(f->stats_reset));
		copy(r, 9, f->started, sizeof(f->started));
		copy(r, 10, f->version_text, sizeof(f->version_text));
		f->relations = number(r, 11, 0);
	}
	PQclear(r);
	return ok && facts_read_lsn(p, f->lsn);
}

static const char *or_null(const char *text)
{
	return *text ? text : NULL;
}

void facts_tell(const struct facts *f, struct manifest *m)
{
	manifest_set_number(m, "server_version", f->version);
	manifest_set_flag(m, "in_recovery", f->in_recovery);
	manifest_set_number(m, "database_size", f->database_size);
	manifest_set_number(m, "relation_count", f->relations);
	if (f->timeline)
		manifest_set_number(m, "timeline", f->timeline);
	manifest_set_text(m, "system_identifier", or_null(f->system_identifier));
	manifest_set_text(m, "start_lsn", or_null(f->lsn));
	manifest_set_text(m, "encoding", or_null(f->encoding));
	manifest_set_text(m, "collate", or_null(f->collate));
	manifest_set_text(m, "ctype", or_null(f->ctype));
	if (f->tup_inserted >= 0) {
		manifest_set_number(m, "tup_inserted", f->tup_inserted);
		manifest_set_number(m, "tup_updated", f->tup_updated);
		manifest_set_number(m, "tup_deleted", f->tup_deleted);
	}
	manifest_set_text(m, "stats_reset", or_null(f->stats_reset));
}

static void put_pattern(struct buf *b, const char *at, size_t len)
{
	buf_put_text(b, "\"");
	for (size_t i = 0; i < len; i++) {
		char c = at[i];

		if (c == '*')
			buf_put_u8(b, '%');
		else if (c == '?')
			buf_put_u8(b, '_');
		else if (c == '%' || c == '_')
			buf_printf(b, "\\\\%c", c); /* for LIKE; its backslash doubled for the array */
		else if (c == '\\')
			buf_put_text(b, "\\\\\\\\");
		else if (c == '"')
			buf_put_text(b, "\\\"");
		else
			buf_put_u8(b, (uint8_t)c);
	}
	buf_put_text(b, "\"");
}

char *patterns_array(const char *list)
{
	struct buf b;
	bool is_first = true;
	char *text;

	buf_init(&b);
	buf_put_text(&b, "{");
	while (list && *list) {
		size_t len;

		list += strspn(list, ", \t");
		len = strcspn(list, ",");
		while (len > 0 && (list[len - 1] == ' ' || list[len - 1] == '\t'))
			len--;
		if (len > 0) {
			if (!is_first)
				buf_put_text(&b, ",");
			put_pattern(&b, list, len);
			is_first = false;
		}
		list += strcspn(list, ",");
	}
	buf_put_str(&b, "}");
	text = xstrdup(buf_ok(&b) ? (const char *)buf_data(&b) : "{}");
	buf_free(&b);
	return text;
}

bool contents_count(struct pg *p, const struct config *c, struct contents *k)
{
	/* A sequence belongs to the table whose column it fills. */
	static const char sql[] =
		"WITH found AS (SELECT c.oid, c.relkind, (n.nspname || '.' || c.relname) LIKE ANY ($1::text[]) AS is_named "
		RELATIONS "), judged AS (SELECT f.relkind, f.is_named OR (f.relkind = 'S' AND EXISTS ("
		"SELECT 1 FROM pg_catalog.pg_depend d JOIN found t ON t.oid = d.refobjid AND t.is_named "
		"WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass "
		"AND d.objid = f.oid AND d.deptype IN ('a', 'i'))) AS is_ignored FROM found f) "
		"SELECT count(*) FILTER (WHERE NOT is_ignored AND ($2 = 'strict' OR relkind IN ('r', 'p', 'f'))), "
		"count(*) FILTER (WHERE is_ignored), (SELECT count(*) FROM pg_catalog.pg_largeobject_metadata) FROM judged";
	char *patterns = patterns_array(c->restore_ignore_tables);
	const char *params[] = {patterns, config_word(SETTING_restore_empty_check, c->restore_empty_check)};
	PGresult *r = pg_ask(p, FACTS_LIMIT, sql, 2, params);
	bool ok = r && PQntuples(r) == 1 && !PQgetisnull(r, 0, 0) && !PQgetisnull(r, 0, 1) && !PQgetisnull(r, 0, 2);

	free(patterns);
	if (ok) {
		k->relations = number(r, 0, -1);
		k->ignored = number(r, 1, -1);
		k->large_objects = number(r, 2, -1);
	}
	PQclear(r);
	return ok;
}

bool contents_are_none(const struct contents *k, const struct config *c)
{
	return k->relations == 0 && (k->large_objects == 0 || c->restore_empty_check == EMPTY_TABLES);
}
