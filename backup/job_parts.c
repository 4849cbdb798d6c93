#include "job_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/child.h"
#include "backup/facts.h"
#include "backup/manifest.h"
#include "backup/pg.h"
#include "lib/mem.h"

struct retention_rules retention_rules_of(const struct config *c)
{
	return (struct retention_rules){
		.count = (int)c->retention_count, .days = (int)c->retention_days, .all = c->retention_mode == RETENTION_ALL,
		.min_keep = (unsigned)c->retention_min_keep,
		.daily = c->retention_daily > 0 ? (unsigned)c->retention_daily : 0,
		.weekly = c->retention_weekly > 0 ? (unsigned)c->retention_weekly : 0,
		.monthly = c->retention_monthly > 0 ? (unsigned)c->retention_monthly : 0,
		.yearly = c->retention_yearly > 0 ? (unsigned)c->retention_yearly : 0,
		.max_delete = (unsigned)c->retention_max_delete,
	};
}

void child_kill_free(struct child *c)
{
	if (!c)
		return;
	child_kill(c, CHILD_GRACE);
	child_free(c);
}

void percent_encode(const char *from, char *to, size_t cap)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
	size_t n = 0;

	for (; *from; from++) {
		bool is_plain = strchr(plain, *from) != NULL;

		if (n + (is_plain ? 1 : 3) >= cap)
			break;
		n += (size_t)snprintf(to + n, cap - n, is_plain ? "%c" : "%%%02X", (unsigned char)*from);
	}
	to[n] = 0;
}

bool job_count_rows(struct pg *p, struct buf *out)
{
	PGresult *tables = pg_ask(p, FACTS_LIMIT, "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c "
		"JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'm') AND n.nspname <> "
		"'information_schema' AND n.nspname !~ '^pg_' ORDER BY 1, 2", 0, NULL);
	bool ok = tables != NULL;

	for (int i = 0; ok && i < PQntuples(tables); i++) {
		char *schema = pg_quote_name(PQgetvalue(tables, i, 0)), *table = pg_quote_name(PQgetvalue(tables, i, 1));
		char *sql = xasprintf("SELECT count(*) FROM %s.%s", schema, table);
		int64_t rows;

		ok = pg_ask_number(p, 0, sql, 0, NULL, &rows);
		if (ok) {
			buf_printf(out, "%s.%s", PQgetvalue(tables, i, 0), PQgetvalue(tables, i, 1));
			buf_put_u8(out, 0);
			buf_printf(out, "%lld", (long long)rows);
			buf_put_u8(out, 0);
		}
		free(schema);
		free(table);
		free(sql);
	}
	PQclear(tables);
	return ok;
}

void job_tell_rows(const struct buf *b, struct manifest *m)
{
	const char *at = (const char *)b->data + b->start, *end = (const char *)b->data + b->end;

	while (b->data && at < end) {
		const char *name = at, *rows = name + strlen(name) + 1;

		manifest_add_row_count(m, name, strtoll(rows, NULL, 10));
		at = rows + strlen(rows) + 1;
	}
}
