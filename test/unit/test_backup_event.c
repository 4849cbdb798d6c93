/* Unit tests of backup/event.h and backup/metrics.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "backup/event.h"
#include "backup/metrics.h"

/* 2026-01-01 03:00:12.345 UTC */
static const struct timespec when = {1767236412, 345678901};

static const char *line(enum event_format how, const struct field *fields)
{
	static char text[16384];
	struct buf out;

	buf_init(&out);
	event_format(how, &out, &when, LEVEL_LOG, "backup_done", fields);
	assert_true(buf_ok(&out));
	snprintf(text, sizeof(text), "%.*s", (int)buf_len(&out), (const char *)buf_data(&out));
	buf_free(&out);
	return text;
}

#define LINE(how, ...) line(how, (const struct field[]){__VA_ARGS__ __VA_OPT__(,) {.kind = FIELD_END}})

static void one_line_an_event(void **state)
{
	(void)state;
	assert_string_equal(LINE(EVENT_TEXT), "2026-01-01T03:00:12.345Z info backup_done\n");
	assert_string_equal(LINE(EVENT_TEXT, F_TEXT("object", "app/x.enc"), F_UINT("bytes", 18446744073709551615u),
				 F_INT("offset", -3), F_REAL("seconds", 1.5), F_BOOL("ok", true), F_TIME("at", 1767236412)),
			    "2026-01-01T03:00:12.345Z info backup_done object=app/x.enc bytes=18446744073709551615 "
			    "offset=-3 seconds=1.500 ok=yes at=2026-01-01T03:00:12Z\n");
	assert_string_equal(LINE(EVENT_LOGFMT, F_TEXT("a", "b")),
			    "ts=2026-01-01T03:00:12.345Z level=info event=backup_done a=b\n");
	assert_string_equal(LINE(EVENT_JSON, F_TEXT("a", "b"), F_INT("n", 1), F_BOOL("ok", false)),
			    "{\"ts\":\"2026-01-01T03:00:12.345Z\",\"level\":\"info\",\"event\":\"backup_done\",\"a\":\"b\","
			    "\"n\":1,\"ok\":false}\n");
}

static void what_is_not_there_is_left_out(void **state)
{
	(void)state;
	assert_string_equal(LINE(EVENT_TEXT, F_TEXT("a", NULL), F_TIME("t", 0), F_TEXT("b", "")),
			    "2026-01-01T03:00:12.345Z info backup_done b=\"\"\n");
}

/* Attack row 28 of the pooler's list: a stranger's words cannot make a second line or a field. */
static void a_strangers_text_stays_one_field(void **state)
{
	static const struct {
		const char *text, *shown;
	} rows[] = {
		{"two words", "\"two words\""}, {"a=b", "\"a=b\""}, {"say \"x\"", "\"say \\\"x\\\"\""},
		{"a\nb", "\"a\\nb\""}, {"\033[31m", "\"\\u001b[31m\""}, {"\x7f", "\"\\u007f\""}, {"back\\slash", "\"back\\\\slash\""},
		{"\xc3\xa9", "\"\xc3\xa9\""}, {"\xc3", "\"\\ufffd\""}, {"\xff\xfe", "\"\\ufffd\\ufffd\""},
		{"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""}, {"\xc0\xaf", "\"\\ufffd\\ufffd\""},
		{"\xf0\x9f\x92\xbe", "\"\xf0\x9f\x92\xbe\""}, {"\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char expect[256];

		snprintf(expect, sizeof(expect), "2026-01-01T03:00:12.345Z info backup_done k=%s\n", rows[i].shown);
		assert_string_equal(LINE(EVENT_TEXT, F_TEXT("k", rows[i].text)), expect);
	}
}

static void a_long_text_is_cut_between_characters(void **state)
{
	char text[8000];

	(void)state;
	memset(text, 'a', sizeof(text));
	memcpy(text + 4095, "\xc3\xa9", 2);
	text[sizeof(text) - 1] = 0;
	assert_int_equal(strlen(LINE(EVENT_JSON, F_TEXT("k", text))), strlen(LINE(EVENT_JSON, F_TEXT("k", ""))) + 4095);
}

static const char *metrics(void)
{
	static char text[65536];
	struct buf out;

	buf_init(&out);
	metrics_write(&out);
	snprintf(text, sizeof(text), "%.*s", (int)buf_len(&out), (const char *)buf_span(&out).ptr);
	buf_free(&out);
	return text;
}

static void metrics_are_written_as_prometheus_reads_them(void **state)
{
	(void)state;
	metrics_forget();
	assert_string_equal(metrics(), "");
	metric_set(METRIC_last_size_bytes, NULL, 1099511627776.0);
	metric_add(METRIC_backups_total, "result=\"ok\"", 1);
	metric_add(METRIC_backups_total, "result=\"ok\"", 1);
	metric_add(METRIC_backups_total, "result=\"failed\"", 1);
	metric_set(METRIC_last_duration_seconds, "", 1.25);
	assert_string_equal(metrics(),
		"# HELP pg_ecdsa_backup_last_duration_seconds How long the last good backup took.\n"
		"# TYPE pg_ecdsa_backup_last_duration_seconds gauge\n"
		"pg_ecdsa_backup_last_duration_seconds 1.250000\n"
		"# HELP pg_ecdsa_backup_last_size_bytes Stored size of the last good backup.\n"
		"# TYPE pg_ecdsa_backup_last_size_bytes gauge\n"
		"pg_ecdsa_backup_last_size_bytes 1099511627776\n"
		"# HELP pg_ecdsa_backup_backups_total Backups tried, by result.\n"
		"# TYPE pg_ecdsa_backup_backups_total counter\n"
		"pg_ecdsa_backup_backups_total{result=\"ok\"} 2\n"
		"pg_ecdsa_backup_backups_total{result=\"failed\"} 1\n");
	metric_unset(METRIC_backups_total, "result=\"ok\"");
	assert_true(metric_get(METRIC_backups_total, "result=\"ok\"") == 0);
	metrics_forget();
}

static void a_histogram_counts_up_to_each_bound(void **state)
{
	(void)state;
	metric_observe(METRIC_s3_request_seconds, "op=\"put\"", 0.2);
	metric_observe(METRIC_s3_request_seconds, "op=\"put\"", 1000);
	assert_non_null(strstr(metrics(), "s3_request_seconds_bucket{op=\"put\",le=\"0.1\"} 0\n"));
	assert_non_null(strstr(metrics(), "s3_request_seconds_bucket{op=\"put\",le=\"0.25\"} 1\n"));
	assert_non_null(strstr(metrics(), "s3_request_seconds_bucket{op=\"put\",le=\"+Inf\"} 2\n"));
	assert_non_null(strstr(metrics(), "s3_request_seconds_sum{op=\"put\"} 1000.200000\n"));
	assert_non_null(strstr(metrics(), "s3_request_seconds_count{op=\"put\"} 2\n"));
	metrics_forget();
}

static void endless_labels_are_dropped(void **state)
{
	char labels[32];

	(void)state;
	for (int i = 0; i < METRIC_SERIES_MAX + 5; i++) {
		snprintf(labels, sizeof(labels), "code=\"%d\"", i);
		metric_add(METRIC_s3_requests_total, labels, 1);
	}
	assert_true(metric_get(METRIC_s3_requests_total, "code=\"0\"") == 1);
	assert_true(metric_get(METRIC_s3_requests_total, labels) == 0);
	metrics_forget();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_line_an_event),
		cmocka_unit_test(what_is_not_there_is_left_out),
		cmocka_unit_test(a_strangers_text_stays_one_field),
		cmocka_unit_test(a_long_text_is_cut_between_characters),
		cmocka_unit_test(metrics_are_written_as_prometheus_reads_them),
		cmocka_unit_test(a_histogram_counts_up_to_each_bound),
		cmocka_unit_test(endless_labels_are_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
