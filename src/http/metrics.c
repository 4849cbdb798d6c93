#include "http/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/json.h"

const char *const scraped_commands[SCRAPED_TABLES] = {
	[SCRAPED_VERSION] = "SHOW VERSION",
	[SCRAPED_LISTS] = "SHOW LISTS",
	[SCRAPED_CONFIG] = "SHOW CONFIG",
	[SCRAPED_DATABASES] = "SHOW DATABASES",
	[SCRAPED_STATS_TOTALS] = "SHOW STATS_TOTALS",
	[SCRAPED_POOLS] = "SHOW POOLS",
	[SCRAPED_STATS_ECDSA] = "SHOW STATS_ECDSA",
};

/* ---- text ---- */

void metrics_put_label(struct buf *b, const char *value)
{
	while (*value) {
		size_t n = utf8_length(value);

		if (*value == '\\' || *value == '"')
			buf_put_u8(b, '\\');
		if (*value == '\n')
			buf_put_text(b, "\\n");
		else if (n == 0)
			buf_put_u8(b, '?');
		else
			buf_put(b, value, n);
		value += n ? n : 1;
	}
}

static void put_family(struct buf *b, const char *name, const char *type, const char *help)
{
	buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_label(struct buf *b, const char *name, const char *value, bool *is_first)
{
	buf_put_text(b, *is_first ? "{" : ",");
	*is_first = false;
	buf_printf(b, "%s=\"", name);
	metrics_put_label(b, value);
	buf_put_u8(b, '"');
}

/* ---- what PgBouncer has too ---- */

struct column_metric {
	const char *column, *name, *type;
	double factor;
	const char *help;
};

static const char *const database_labels[] = {"name", "host", "port", "database", "force_user", "pool_mode", NULL};
static const char *const pool_labels[] = {"database", "user", NULL};
static const char *const stats_labels[] = {"database", NULL};

static const struct column_metric database_metrics[] = {
	{"pool_size", "pool_size", "gauge", 1, "Server connections that a pool of this database may have"},
	{"min_pool_size", "min_pool_size", "gauge", 1, "Server connections that a pool of this database keeps"},
	{"reserve_pool_size", "reserve_pool", "gauge", 1, "Further server connections for clients that wait long"},
	{"max_connections", "max_connections", "gauge", 1, "Server connections allowed to this database"},
	{"current_connections", "current_connections", "gauge", 1, "Server connections of this database"},
	{"max_client_connections", "max_client_connections", "gauge", 1, "Client connections allowed to this database"},
	{"current_client_connections", "current_client_connections", "gauge", 1, "Client connections of this database"},
	{"paused", "paused", "gauge", 1, "1 while this database is paused"},
	{"disabled", "disabled", "gauge", 1, "1 while this database takes no new clients"},
	{NULL, NULL, NULL, 0, NULL},
};

static const struct column_metric stats_metrics[] = {
	{"server_assignment_count", "server_assignments_total", "counter", 1, "Times a client got a server connection"},
	{"query_count", "queries_pooled_total", "counter", 1, "Queries"},
	{"query_time", "queries_duration_seconds_total", "counter", 1e-6, "Time that queries took"},
	{"bytes_received", "received_bytes_total", "counter", 1, "Bytes from clients"},
	{"bytes_sent", "sent_bytes_total", "counter", 1, "Bytes from servers"},
	{"wait_time", "client_wait_seconds_total", "counter", 1e-6, "Time that clients waited for a server connection"},
	{"xact_count", "sql_transactions_pooled_total", "counter", 1, "Transactions"},
	{"xact_time", "server_in_transaction_seconds_total", "counter", 1e-6, "Time that transactions took"},
	{"client_parse_count", "client_parses_total", "counter", 1, "Named statements that clients prepared"},
	{"server_parse_count", "server_parses_total", "counter", 1, "Named statements prepared at servers"},
	{"bind_count", "binds_total", "counter", 1, "Named statements bound"},
	{"client_login_count", "client_logins_total", "counter", 1, "Log-ins of clients"},
	{NULL, NULL, NULL, 0, NULL},
};

static const struct column_metric pool_metrics[] = {
	{"cl_active", "client_active_connections", "gauge", 1, "Clients that do not wait"},
	{"cl_active_cancel_req", "client_active_cancel_connections", "gauge", 1, "Cancel requests being forwarded"},
	{"cl_waiting", "client_waiting_connections", "gauge", 1, "Clients that wait for a server connection"},
	{"cl_waiting_cancel_req", "client_waiting_cancel_connections", "gauge", 1, "Cancel requests that wait"},
	{"sv_active", "server_active_connections", "gauge", 1, "Servers linked to a client"},
	{"sv_active_cancel", "server_active_cancel_connections", "gauge", 1, "Connections that carry a cancel request"},
	{"sv_being_canceled", "server_being_canceled_connections", "gauge", 1, "Servers held until cancels have ended"},
	{"sv_idle", "server_idle_connections", "gauge", 1, "Servers ready for a client"},
	{"sv_used", "server_used_connections", "gauge", 1, "Servers that need a check first"},
	{"sv_tested", "server_testing_connections", "gauge", 1, "Servers that run a reset or check query"},
	{"sv_login", "server_login_connections", "gauge", 1, "Servers that are logging in"},
	{"maxwait", "client_maxwait_seconds", "gauge", 1, "How long the first waiting client has waited"},
	{NULL, NULL, NULL, 0, NULL},
};

static void put_number(struct buf *b, const char *text, double factor)
{
	double value = strtod(text, NULL) * factor;

	if (factor == 1)
		buf_put_text(b, *text ? text : "NaN");
	else
		buf_printf(b, "%.6f", value);
}

/* maxwait has its fraction in a column of its own. */
static void put_sample(struct buf *b, const struct table *t, size_t row, const struct column_metric *m)
{
	int fraction = strcmp(m->column, "maxwait") == 0 ? table_column(t, "maxwait_us") : -1;

	put_number(b, table_cell(t, row, table_column(t, m->column)), m->factor);
	if (fraction >= 0)
		buf_printf(b, ".%06ld", strtol(table_cell(t, row, fraction), NULL, 10));
	buf_put_u8(b, '\n');
}

static void put_table(struct buf *b, const struct table *t, const char *subsystem, const struct column_metric *m,
		      const char *const *labels)
{
	for (; m->column; m++) {
		char name[96];

		snprintf(name, sizeof(name), "pgbouncer_%s_%s", subsystem, m->name);
		if (table_column(t, m->column) < 0)
			continue;
		put_family(b, name, m->type, m->help);
		for (size_t row = 0; row < t->rows; row++) {
			bool is_first = true;

			buf_put_text(b, name);
			for (size_t i = 0; labels[i]; i++)
				put_label(b, labels[i], table_cell(t, row, table_column(t, labels[i])), &is_first);
			buf_put_text(b, "} ");
			put_sample(b, t, row, m);
		}
	}
}

static const struct {
	const char *key, *name, *help;
} list_metrics[] = {
	{"databases", "databases", "Databases"},
	{"users", "users", "Users"},
	{"peers", "peers", "Peers"},
	{"pools", "pools", "Pools"},
	{"peer_pools", "peer_pools", "Pools of peers"},
	{"free_clients", "free_clients", "Client objects kept for use"},
	{"used_clients", "used_clients", "Clients"},
	{"login_clients", "login_clients", "Clients that are logging in"},
	{"free_servers", "free_servers", "Server objects kept for use"},
	{"used_servers", "used_servers", "Servers"},
	{"dns_names", "cached_dns_names", "Names in the DNS cache"},
	{"dns_zones", "cached_dns_zones", "Zones in the DNS cache"},
	{"dns_queries", "in_flight_dns_queries", "DNS queries under way"},
	{"max_client_conn", "config_max_client_connections", "Client connections allowed"},
	{"max_user_connections", "config_max_user_connections", "Server connections allowed to a user"},
};

/* LISTS and CONFIG: a row a number. */
static void put_rows(struct buf *b, const struct table *t)
{
	for (size_t row = 0; row < t->rows; row++)
		for (size_t i = 0; i < ARRAY_LEN(list_metrics); i++) {
			char name[80];

			if (strcmp(table_cell(t, row, 0), list_metrics[i].key) != 0)
				continue;
			snprintf(name, sizeof(name), "pgbouncer_%s", list_metrics[i].name);
			put_family(b, name, "gauge", list_metrics[i].help);
			buf_printf(b, "%s %s\n", name, table_cell(t, row, 1));
		}
}

/* ---- what only this program has ---- */

static void put_histogram(struct buf *b, const char *name, const char *labels, const struct histogram *h)
{
	uint64_t seen = 0;

	for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += h->count[i];
		buf_printf(b, "%s_bucket{%sle=\"%g\"} %" PRIu64 "\n", name, labels, (double)histogram_bounds[i] * 1e-6, seen);
	}
	seen += h->count[HISTOGRAM_BUCKETS];
	buf_printf(b, "%s_bucket{%sle=\"+Inf\"} %" PRIu64 "\n", name, labels, seen);
	/* The last comma separates from le, which these two do not have. */
	buf_printf(b, "%s_sum{%.*s} %.6f\n", name, (int)strlen(labels) - 1, labels, (double)h->sum_usec * 1e-6);
	buf_printf(b, "%s_count{%.*s} %" PRIu64 "\n", name, (int)strlen(labels) - 1, labels, seen);
}

static void put_times(struct buf *b, const char *name, const char *help, const struct scrape_result *r, size_t offset)
{
	put_family(b, name, "histogram", help);
	for (size_t i = 0; i < r->time_count; i++) {
		const struct database_times *d = &r->times[i];
		struct buf label;

		buf_init(&label);
		buf_put_text(&label, "database=\"");
		metrics_put_label(&label, d->database);
		buf_put_str(&label, "\",");
		if (buf_ok(&label))
			put_histogram(b, name, (const char *)buf_data(&label),
				      (const struct histogram *)((const char *)d + offset));
		else
			b->failed = true;
		buf_free(&label);
	}
}

static uint64_t total(const struct histogram *h)
{
	uint64_t n = 0;

	for (int i = 0; i <= HISTOGRAM_BUCKETS; i++)
		n += h->count[i];
	return n;
}

static void put_logins(struct buf *b, const struct login_times *t)
{
	put_family(b, "pgecdsa_login_seconds", "histogram", "Time from accept to the verdict on the log-in, by method");
	for (int i = 0; i < LOGIN_METHODS; i++)
		for (int ok = 1; ok >= 0; ok--) {
			const struct histogram *h = ok ? &t->accepted[i] : &t->refused[i];
			char labels[96];

			if (total(h) == 0)
				continue;
			snprintf(labels, sizeof(labels), "method=\"%s\",result=\"%s\",", login_method_word(i),
				 ok ? "accepted" : "refused");
			put_histogram(b, "pgecdsa_login_seconds", labels, h);
		}
	put_family(b, "pgecdsa_logins_refused_total", "counter", "Log-ins refused, by method and reason");
	for (int i = 0; i < t->reason_count; i++) {
		buf_printf(b, "pgecdsa_logins_refused_total{method=\"%s\",reason=\"", login_method_word(t->reasons[i].method));
		metrics_put_label(b, t->reasons[i].text);
		buf_printf(b, "\"} %" PRIu64 "\n", t->reasons[i].count);
	}
	if (t->other_reasons)
		buf_printf(b, "pgecdsa_logins_refused_total{method=\"other\",reason=\"other\"} %" PRIu64 "\n",
			   t->other_reasons);
}

/* SHOW STATS_ECDSA: counter, kind, value. Refusals by reason are among the log-ins refused already. */
static void put_wallets(struct buf *b, const struct table *t)
{
	static const char *const counters[][3] = {
		{"logins", "pgecdsa_wallet_logins_total", "Wallet log-ins accepted, by format"},
		{"throttled", "pgecdsa_throttled_total", "Log-ins that the limiter refused, by what it looked at"},
	};

	for (size_t i = 0; i < ARRAY_LEN(counters); i++) {
		put_family(b, counters[i][1], "counter", counters[i][2]);
		for (size_t row = 0; row < t->rows; row++) {
			bool is_first = true;

			if (strcmp(table_cell(t, row, 0), counters[i][0]) != 0)
				continue;
			buf_put_text(b, counters[i][1]);
			put_label(b, "kind", table_cell(t, row, 1), &is_first);
			buf_printf(b, "} %s\n", table_cell(t, row, 2));
		}
	}
}

void metrics_write(struct buf *b, const struct scrape_result *r)
{
	bool is_first = true;

	put_family(b, "pgbouncer_up", "gauge", "1: the pooler answers");
	buf_put_text(b, "pgbouncer_up 1\n");
	put_family(b, "pgbouncer_version_info", "gauge", "The version, as SHOW VERSION says it");
	buf_put_text(b, "pgbouncer_version_info");
	put_label(b, "version", r->tables[SCRAPED_VERSION].rows ? table_cell(&r->tables[SCRAPED_VERSION], 0, 0) : "",
		  &is_first);
	buf_put_text(b, "} 1\n");
	put_rows(b, &r->tables[SCRAPED_LISTS]);
	put_rows(b, &r->tables[SCRAPED_CONFIG]);
	put_table(b, &r->tables[SCRAPED_DATABASES], "databases", database_metrics, database_labels);
	put_table(b, &r->tables[SCRAPED_STATS_TOTALS], "stats_totals", stats_metrics, stats_labels);
	put_table(b, &r->tables[SCRAPED_POOLS], "pools", pool_metrics, pool_labels);
	put_times(b, "pgecdsa_client_wait_seconds", "Waits of clients for a server connection", r,
		  offsetof(struct database_times, wait));
	put_times(b, "pgecdsa_query_seconds", "Queries, from the first message to the last answer", r,
		  offsetof(struct database_times, query));
	put_times(b, "pgecdsa_transaction_seconds", "Transactions", r, offsetof(struct database_times, xact));
	put_logins(b, r->logins);
	put_wallets(b, &r->tables[SCRAPED_STATS_ECDSA]);
}
