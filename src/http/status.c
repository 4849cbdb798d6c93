#include "http/status.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "config/setting_checks.h"
#include "http/json.h"

static bool is_number(const char *text)
{
	size_t n = strspn(text, "0123456789");

	return n > 0 && n < 19 && !text[n] && (n == 1 || text[0] != '0');
}

/* Rows as objects, numbers as numbers. */
static void put_rows(struct buf *b, const char *name, const struct table *t)
{
	buf_printf(b, "\"%s\":[", name);
	for (size_t row = 0; row < t->rows; row++) {
		buf_put_text(b, row ? ",{" : "{");
		for (size_t i = 0; i < t->columns; i++) {
			const char *cell = t->cells[row * t->columns + i];

			if (i)
				buf_put_u8(b, ',');
			json_put_string(b, t->names[i]);
			buf_put_u8(b, ':');
			/* A database may be called 5, and is still a name. */
			if (cell && is_number(cell) && strcmp(t->names[i], "database") != 0 &&
			    strcmp(t->names[i], "user") != 0)
				buf_put_text(b, cell);
			else
				json_put_string(b, cell);
		}
		buf_put_u8(b, '}');
	}
	buf_put_u8(b, ']');
}

static void put_histogram(struct buf *b, const char *name, const struct histogram *h)
{
	buf_printf(b, "\"%s\":{\"count\":[", name);
	for (int i = 0; i <= HISTOGRAM_BUCKETS; i++)
		buf_printf(b, "%s%" PRIu64, i ? "," : "", h->count[i]);
	buf_printf(b, "],\"sum\":%.6f}", (double)h->sum_usec * 1e-6);
}

static void put_times(struct buf *b, const struct scrape_result *r)
{
	struct histogram wait = {0}, query = {0};

	for (size_t i = 0; i < r->time_count; i++) {
		histogram_add(&wait, &r->times[i].wait);
		histogram_add(&query, &r->times[i].query);
	}
	buf_put_text(b, "\"bounds\":[");
	for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
		buf_printf(b, "%s%g", i ? "," : "", (double)histogram_bounds[i] * 1e-6);
	buf_put_text(b, "],");
	put_histogram(b, "wait", &wait);
	buf_put_u8(b, ',');
	put_histogram(b, "query", &query);
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
	bool is_first = true;

	buf_put_text(b, "\"logins\":{");
	for (int i = 0; i < LOGIN_METHODS; i++) {
		uint64_t accepted = total(&t->accepted[i]), refused = total(&t->refused[i]);

		if (accepted + refused == 0)
			continue;
		buf_printf(b, "%s\"%s\":{\"accepted\":%" PRIu64 ",\"refused\":%" PRIu64 "}", is_first ? "" : ",",
			   login_method_word(i), accepted, refused);
		is_first = false;
	}
	buf_put_text(b, "},\"refusals\":[");
	for (int i = 0; i < t->reason_count; i++) {
		buf_printf(b, "%s{\"method\":\"%s\",\"reason\":", i ? "," : "", login_method_word(t->reasons[i].method));
		json_put_string(b, t->reasons[i].text);
		buf_printf(b, ",\"count\":%" PRIu64 "}", t->reasons[i].count);
	}
	buf_put_u8(b, ']');
}

void status_write(struct buf *b, const struct scrape_result *r, enum pause_mode pause, bool is_draining)
{
	const struct table *version = &r->tables[SCRAPED_VERSION];

	buf_printf(b, "{\"now\":%lld,\"version\":", (long long)time(NULL));
	json_put_string(b, version->rows ? table_cell(version, 0, 0) : NULL);
	buf_printf(b, ",\"state\":\"%s\",\"draining\":%s,",
		   pause == PAUSED ? "paused" : pause == SUSPENDED ? "suspended" : "active", is_draining ? "true" : "false");
	put_rows(b, "pools", &r->tables[SCRAPED_POOLS]);
	buf_put_u8(b, ',');
	put_rows(b, "stats", &r->tables[SCRAPED_STATS_TOTALS]);
	buf_put_u8(b, ',');
	put_rows(b, "lists", &r->tables[SCRAPED_LISTS]);
	buf_put_u8(b, ',');
	put_times(b, r);
	buf_put_u8(b, ',');
	put_logins(b, r->logins);
	buf_put_text(b, "}\n");
}

static void put_list(struct buf *b, const char *name, const char *list)
{
	bool is_first = true;
	const char *item;
	size_t len;

	buf_printf(b, "\"%s\":[", name);
	while (list && (item = list_item(&list, &len))) {
		char word[256];

		snprintf(word, sizeof(word), "%.*s", (int)(len < sizeof(word) ? len : sizeof(word) - 1), item);
		if (!is_first)
			buf_put_u8(b, ',');
		is_first = false;
		json_put_string(b, word);
	}
	buf_put_u8(b, ']');
}

void status_write_connect(struct buf *b, const struct settings *s)
{
	buf_put_u8(b, '{');
	put_list(b, "formats", s->ecdsa_formats);
	buf_put_u8(b, ',');
	put_list(b, "server_names", s->ecdsa_server_names);
	buf_put_u8(b, ',');
	put_list(b, "siwe_domains", s->ecdsa_siwe_domains);
	buf_put_u8(b, ',');
	put_list(b, "chain_ids", s->ecdsa_chain_ids);
	buf_printf(b, ",\"max_lifetime\":%lld,\"window\":%lld,\"port\":%d,\"tls\":%s}\n",
		   (long long)(s->ecdsa_max_lifetime / USEC_PER_SEC), (long long)(s->ecdsa_window / USEC_PER_SEC),
		   s->listen_port, s->client_tls_sslmode == TLS_DISABLE ? "false" : "true");
}
