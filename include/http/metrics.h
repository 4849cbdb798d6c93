/*
 * http/metrics.h - the text of /metrics: Prometheus exposition format 0.0.4.
 *
 * What PgBouncer has too goes by the names of the Prometheus community's
 * pgbouncer_exporter, so that its dashboards and alerts work unchanged; what
 * only this program has begins with pgecdsa_.
 *
 * Pure: tables and sums in, text out.  Tests: test/unit/test_http.c, test/system/test_http.py
 */
#ifndef HTTP_METRICS_H
#define HTTP_METRICS_H

#include "http/table.h"
#include "lib/buf.h"
#include "pool/login_times.h"

struct database_times {
	char database[64];
	struct histogram wait, query, xact;
};

enum scraped { SCRAPED_VERSION, SCRAPED_LISTS, SCRAPED_CONFIG, SCRAPED_DATABASES, SCRAPED_STATS_TOTALS, SCRAPED_POOLS,
	       SCRAPED_STATS_ECDSA, SCRAPED_TABLES };

extern const char *const scraped_commands[SCRAPED_TABLES]; /* "SHOW VERSION", ... */

struct scrape_result {
	struct table tables[SCRAPED_TABLES];
	const struct database_times *times; /* borrowed */
	size_t time_count;
	const struct login_times *logins; /* borrowed */
};

void metrics_write(struct buf *, const struct scrape_result *);
/* Of the process itself, from /proc. */
void metrics_write_process(struct buf *);
/* A label value with backslash, quote and newline escaped, and what is no UTF-8 replaced. */
void metrics_put_label(struct buf *, const char *value);

#endif
