/* Unit tests of the http room: tables, texts, who may see numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/table.h"
#include "http/access.h"
#include "http/json.h"
#include "http/metrics.h"
#include "http/table.h"
#include "proto/writer.h"

static const struct column columns[] = {{"name", COLUMN_TEXT}, {"items", COLUMN_INT}};

static void put_row(struct buf *b, const char *name, int items)
{
	size_t at = row_begin(b, ARRAY_LEN(columns));

	cell_TEXT(b, name);
	cell_INT(b, items);
	msg_end(b, at);
}

static struct buf sample(void)
{
	struct buf b;

	buf_init(&b);
	put_heading(&b, columns, ARRAY_LEN(columns));
	put_row(&b, "one", 1);
	put_row(&b, NULL, -2);
	put_row(&b, "", 3);
	put_command_complete(&b, "SHOW");
	return b;
}

static void a_table_is_read_back(void **state)
{
	struct buf b = sample();
	struct table t;

	(void)state;
	assert_true(table_read(buf_span(&b), &t));
	assert_int_equal(t.columns, 2);
	assert_int_equal(t.rows, 3);
	assert_int_equal(table_column(&t, "items"), 1);
	assert_int_equal(table_column(&t, "none"), -1);
	assert_string_equal(table_cell(&t, 0, 0), "one");
	assert_null(t.cells[2]);
	assert_string_equal(table_cell(&t, 1, 0), "");
	assert_string_equal(table_cell(&t, 1, 1), "-2");
	assert_string_equal(table_cell(&t, 2, 0), "");
	assert_string_equal(table_cell(&t, 0, -1), "");
	table_free(&t);
	table_free(&t);
	buf_free(&b);
}

static void a_table_that_is_cut_or_bent_is_refused(void **state)
{
	struct buf b = sample();
	size_t whole = buf_len(&b), good = 0;

	(void)state;
	for (size_t n = 0; n < whole; n++) {
		/* A copy of exactly that size: the address sanitizer sees a byte too far. */
		uint8_t *copy = malloc(n ? n : 1);
		struct table t;

		memcpy(copy, buf_data(&b), n);
		if (table_read(span_of(copy, n), &t)) {
			good++;
			table_free(&t);
		}
		free(copy);
	}
	/* Between messages, once there is a heading. */
	assert_int_equal(good, 4);
	for (size_t i = 0; i < whole; i++)
		for (int bit = 0; bit < 8; bit++) {
			struct table t;

			b.data[b.start + i] ^= (uint8_t)(1 << bit);
			if (table_read(buf_span(&b), &t))
				table_free(&t);
			b.data[b.start + i] ^= (uint8_t)(1 << bit);
		}
	buf_free(&b);
}

static const char *text_of(struct buf *b)
{
	buf_put_u8(b, 0);
	assert_true(buf_ok(b));
	return (const char *)buf_data(b);
}

static void texts_cannot_break_out_of_their_quotes(void **state)
{
	static const struct {
		const char *row, *text, *label, *json;
	} rows[] = {
		{"plain", "db", "db", "\"db\""},
		{"quote and backslash", "a\"b\\c", "a\\\"b\\\\c", "\"a\\\"b\\\\c\""},
		{"newline", "a\nb", "a\\nb", "\"a\\u000ab\""},
		{"control byte", "a\x01z", "a\x01z", "\"a\\u0001z\""},
		{"UTF-8", "caf\xc3\xa9", "caf\xc3\xa9", "\"caf\xc3\xa9\""},
		{"a lone continuation byte", "a\x80z", "a?z", "\"a?z\""},
		{"cut at the end", "a\xe2\x82", "a??", "\"a??\""},
		{"overlong", "\xc0\xaf", "??", "\"??\""},
		{"a surrogate", "\xed\xa0\x80", "???", "\"???\""},
		{"beyond Unicode", "\xf4\x90\x80\x80", "????", "\"????\""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf label, json;

		print_message("%s\n", rows[i].row);
		buf_init(&label);
		buf_init(&json);
		metrics_put_label(&label, rows[i].text);
		json_put_string(&json, rows[i].text);
		assert_string_equal(text_of(&label), rows[i].label);
		assert_string_equal(text_of(&json), rows[i].json);
		buf_free(&label);
		buf_free(&json);
	}
}

static void who_asks(void **state)
{
	static const struct {
		const char *row, *peer, *forwarded, *allow;
		bool known, may;
	} rows[] = {
		{"this machine", "127.0.0.1", NULL, "", true, true},
		{"all of 127/8", "127.3.2.1", NULL, "", true, true},
		{"by IPv6", "::1", NULL, "", true, true},
		{"IPv4-mapped", "::ffff:127.0.0.1", NULL, "", true, true},
		{"somebody else", "192.0.2.1", NULL, "", true, false},
		{"somebody who is allowed", "192.0.2.1", NULL, "10.0.0.0/8, 192.0.2.0/24", true, true},
		{"somebody of another network", "192.0.3.1", NULL, "10.0.0.0/8, 192.0.2.0/24", true, false},
		{"forwarded by a proxy here", "127.0.0.1", "192.0.2.1", "", true, false},
		{"and allowed", "127.0.0.1", "192.0.2.1", "192.0.2.1", true, true},
		{"the last hop counts, not what the client wrote", "127.0.0.1", "127.0.0.1, 192.0.2.1", "", true, false},
		{"forwarded for somebody here", "::1", "127.0.0.1", "", true, true},
		{"with a port", "127.0.0.1", "192.0.2.1:4711", "192.0.2.1", true, true},
		{"IPv6 with a port", "127.0.0.1", "[2001:db8::1]:4711", "2001:db8::/32", true, true},
		{"nonsense is nobody", "127.0.0.1", "unknown", "0.0.0.0/0, ::/0", false, false},
		{"empty is nobody", "127.0.0.1", "", "0.0.0.0/0, ::/0", false, false},
		{"a stranger's header says nothing", "192.0.2.1", "127.0.0.1", "", true, false},
		{"a zone is no part of it", "fe80::1%eth0", NULL, "fe80::/10", true, true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct ip_address from;

		print_message("%s\n", rows[i].row);
		assert_int_equal(access_source(rows[i].peer, rows[i].forwarded, &from), rows[i].known);
		if (rows[i].known)
			assert_int_equal(access_is_loopback(&from) || access_allows(rows[i].allow, &from), rows[i].may);
	}
}

static void a_histogram_has_every_value_once(void **state)
{
	struct histogram h = {0}, sum = {0};
	uint64_t n = 0;

	(void)state;
	histogram_note(&h, -5);
	histogram_note(&h, 0);
	histogram_note(&h, 100);
	histogram_note(&h, 101);
	histogram_note(&h, 60 * USEC_PER_SEC);
	histogram_note(&h, 60 * USEC_PER_SEC + 1);
	assert_int_equal(h.count[0], 3);
	assert_int_equal(h.count[1], 1);
	assert_int_equal(h.count[HISTOGRAM_BUCKETS - 1], 1);
	assert_int_equal(h.count[HISTOGRAM_BUCKETS], 1);
	assert_int_equal(h.sum_usec, 201 + 120 * USEC_PER_SEC + 1);
	for (usec_t t = 1; t < 100 * USEC_PER_SEC; t = t * 5 / 4 + 1)
		for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
			struct histogram one = {0};

			histogram_note(&one, t);
			if (one.count[i])
				assert_true(t <= histogram_bounds[i] && (i == 0 || t > histogram_bounds[i - 1]));
		}
	histogram_add(&sum, &h);
	histogram_add(&sum, &h);
	for (int i = 0; i <= HISTOGRAM_BUCKETS; i++)
		n += sum.count[i];
	assert_int_equal(n, 12);
}

static void reasons_hold_nothing_that_a_client_sent(void **state)
{
	static struct login_times t, sum;
	char text[64];

	(void)state;
	for (int i = 0; i < 1000; i++) {
		snprintf(text, sizeof(text), "no such database: x%d", i);
		login_refused(&t, AUTH_KIND_MD5, text, 1);
		snprintf(text, sizeof(text), "database \"x%d\" is disabled", i);
		login_refused(&t, AUTH_KINDS, text, 1);
		snprintf(text, sizeof(text), "bad packet header: '%08x'", i);
		login_refused(&t, AUTH_KINDS, text, 1);
	}
	assert_int_equal(t.reason_count, 3);
	assert_string_equal(t.reasons[0].text, "no such database");
	assert_string_equal(t.reasons[1].text, "database is disabled");
	assert_string_equal(t.reasons[2].text, "bad packet header");
	assert_int_equal(t.reasons[0].count, 1000);
	/* Even so the table has an end. */
	for (int i = 0; i < 1000; i++) {
		snprintf(text, sizeof(text), "reason %d", i);
		login_refused(&t, AUTH_KIND_MD5, text, 1);
	}
	assert_int_equal(t.reason_count, LOGIN_REASONS_MAX);
	assert_int_equal(t.other_reasons, 1000 - (LOGIN_REASONS_MAX - 3));
	login_times_add(&sum, &t);
	login_times_add(&sum, &t);
	assert_int_equal(sum.reasons[0].count, 2000);
	assert_int_equal(sum.other_reasons, 2 * t.other_reasons);
}

#define ROW(name) cmocka_unit_test(name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ROW(a_table_is_read_back),
		ROW(a_table_that_is_cut_or_bent_is_refused),
		ROW(texts_cannot_break_out_of_their_quotes),
		ROW(who_asks),
		ROW(a_histogram_has_every_value_once),
		ROW(reasons_hold_nothing_that_a_client_sent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
