/* Unit tests of src/admin: the command parser, result tables, averages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "admin/command.h"
#include "admin/stats_book.h"
#include "admin/table.h"
#include "proto/writer.h"

/* ---- commands ---- */

#define TEN "0123456789"
#define W15 TEN "01234"
#define W63 TEN TEN TEN TEN TEN TEN "012"
#define V255 W63 W63 W63 W63 "012"

static const struct {
	const char *says;
	const char *text;
	enum command_verdict verdict;
	const char *verb, *argument, *value; /* NULL: there is none */
} rows[] = {
	{"nothing", "", COMMAND_INVALID, NULL, NULL, NULL},
	{"white space alone", " \t\r\n", COMMAND_INVALID, NULL, NULL, NULL},
	{"a semicolon alone", ";", COMMAND_INVALID, NULL, NULL, NULL},
	{"a verb", "RELOAD", COMMAND_OK, "RELOAD", NULL, NULL},
	{"a verb and a semicolon", "RELOAD;", COMMAND_OK, "RELOAD", NULL, NULL},
	{"white space everywhere", " \r\nreload\t ; \n", COMMAND_OK, "reload", NULL, NULL},
	{"a verb and an argument", "show pools", COMMAND_OK, "show", "pools", NULL},
	{"several blanks between them", "SHOW \t\n POOLS ;", COMMAND_OK, "SHOW", "POOLS", NULL},
	{"the case of an argument is kept", "pause MyDb", COMMAND_OK, "pause", "MyDb", NULL},
	{"a quoted argument", "pause \"my-db\"", COMMAND_OK, "pause", "my-db", NULL},
	{"a doubled quote", "pause \"a\"\"b\"", COMMAND_OK, "pause", "a\"b", NULL},
	{"an argument of one quote", "pause \"\"\"\"", COMMAND_OK, "pause", "\"", NULL},
	{"an empty quoted argument", "pause \"\"", COMMAND_OK, "pause", "", NULL},
	{"a quoted verb", "\"show\" pools", COMMAND_OK, "show", "pools", NULL},
	{"blanks and semicolons inside quotes", "pause \"a ;b\";", COMMAND_OK, "pause", "a ;b", NULL},
	{"a quote that does not end", "pause \"a", COMMAND_INVALID, NULL, NULL, NULL},
	{"a doubled quote at the end does not end it", "pause \"a\"\"", COMMAND_INVALID, NULL, NULL, NULL},
	{"no blank before a quoted argument", "pause\"a\"", COMMAND_INVALID, NULL, NULL, NULL},
	{"a dash needs quotes", "pause my-db", COMMAND_INVALID, NULL, NULL, NULL},
	{"a dot needs quotes", "pause my.db", COMMAND_INVALID, NULL, NULL, NULL},
	{"two arguments", "show pools now", COMMAND_INVALID, NULL, NULL, NULL},
	{"two statements", "show pools; show pools", COMMAND_INVALID, NULL, NULL, NULL},
	{"two semicolons", "show pools;;", COMMAND_INVALID, NULL, NULL, NULL},
	{"a comment", "show pools -- x", COMMAND_INVALID, NULL, NULL, NULL},
	{"a string is no argument", "pause 'a'", COMMAND_INVALID, NULL, NULL, NULL},
	{"bytes that are no ASCII", "pause b\xc3\xb6se", COMMAND_INVALID, NULL, NULL, NULL},
	{"the same in quotes", "pause \"b\xc3\xb6se\"", COMMAND_OK, "pause", "b\xc3\xb6se", NULL},
	{"set with an equals sign", "set a=b", COMMAND_OK, "set", "a", "b"},
	{"set with to", "SET a TO b;", COMMAND_OK, "SET", "a", "b"},
	{"set with blanks", "set a  =  b ; ", COMMAND_OK, "set", "a", "b"},
	{"set to a string", "set auth_type='md5'", COMMAND_OK, "set", "auth_type", "md5"},
	{"set to a string with a quote", "set a = 'it''s'", COMMAND_OK, "set", "a", "it's"},
	{"set to an empty string", "set a=''", COMMAND_OK, "set", "a", ""},
	{"set to a quoted word", "set a=\"b c\"", COMMAND_OK, "set", "a", "b c"},
	{"a string may hold anything", "set a to 'x, y; z.'", COMMAND_OK, "set", "a", "x, y; z."},
	{"set to two words", "set a = b c", COMMAND_INVALID, NULL, NULL, NULL},
	{"set to a list without quotes", "set a = b,c", COMMAND_INVALID, NULL, NULL, NULL},
	{"set to nothing", "set a =", COMMAND_INVALID, NULL, NULL, NULL},
	{"set to a string that does not end", "set a='b", COMMAND_INVALID, NULL, NULL, NULL},
	{"set without a name", "set = b", COMMAND_INVALID, NULL, NULL, NULL},
	{"set without a sign is a word with an argument", "set a", COMMAND_OK, "set", "a", NULL},
	{"a sign after another verb", "show a = b", COMMAND_INVALID, NULL, NULL, NULL},
	{"the longest verb", W15, COMMAND_OK, W15, NULL, NULL},
	{"a verb too long", W15 "x", COMMAND_BAD_ARGUMENTS, NULL, NULL, NULL},
	{"the longest argument", "pause " W63, COMMAND_OK, "pause", W63, NULL},
	{"an argument too long", "pause " W63 "x", COMMAND_BAD_ARGUMENTS, NULL, NULL, NULL},
	{"the longest value", "set a='" V255 "'", COMMAND_OK, "set", "a", V255},
	{"a value too long", "set a='" V255 "x'", COMMAND_BAD_ARGUMENTS, NULL, NULL, NULL},
	{"a name too long", "set " W63 "x=b", COMMAND_BAD_ARGUMENTS, NULL, NULL, NULL},
	{"too long, but of neither form", W15 "x = b", COMMAND_INVALID, NULL, NULL, NULL},
};

static void commands_are_taken_apart(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct command c;
		enum command_verdict v = command_parse(rows[i].text, &c);

		if (v != rows[i].verdict)
			fail_msg("%s: verdict %d", rows[i].says, v);
		if (v != COMMAND_OK)
			continue;
		if (strcmp(c.verb, rows[i].verb) != 0 || c.has_argument != (rows[i].argument != NULL) ||
		    (rows[i].argument && strcmp(c.argument, rows[i].argument) != 0) ||
		    c.is_set != (rows[i].value != NULL) || (rows[i].value && strcmp(c.value, rows[i].value) != 0))
			fail_msg("%s: '%s' '%s' '%s'", rows[i].says, c.verb, c.argument, c.value);
	}
}

/* ---- tables ---- */

#define COLUMNS(COL)         \
	COL(TEXT, name, "x") \
	COL(INT, count, 7)   \
	COL(BIGINT, ttl, -1) \
	COL(NUMERIC, total, UINT64_MAX) \
	COL(TEXT, nothing, NULL)

static const struct column columns[] = {COLUMNS(COLUMN)};

static void a_heading_names_types(void **state)
{
	static const uint8_t want[] = {
		'T', 0, 0, 0, 0 /* the length, judged below */, 0, 5, /* name */
		'n', 'a', 'm', 'e', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25, 255, 255, 255, 255, 255, 255, 0, 0, /* count */
		'c', 'o', 'u', 'n', 't', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 23, 0, 4, 255, 255, 255, 255, 0, 0, /* ttl */
		't', 't', 'l', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 8, 255, 255, 255, 255, 0, 0, /* total */
		't', 'o', 't', 'a', 'l', 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 164, 255, 255, 255, 255, 255, 255, 0, 0,
		/* nothing */
		'n', 'o', 't', 'h', 'i', 'n', 'g', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25, 255, 255, 255, 255, 255, 255, 0, 0,
	};
	struct buf b;

	(void)state;
	buf_init(&b);
	put_heading(&b, columns, ARRAY_LEN(columns));
	assert_int_equal(buf_len(&b), sizeof(want));
	assert_memory_equal(buf_data(&b) + 5, want + 5, sizeof(want) - 5);
	assert_int_equal(buf_data(&b)[4], sizeof(want) - 1);
	buf_free(&b);
}

static void a_row_is_text_with_lengths(void **state)
{
	static const uint8_t want[] = "D\0\0\0\x32\0\5"
				      "\0\0\0\1x"
				      "\0\0\0\1"
				      "7"
				      "\0\0\0\2-1"
				      "\0\0\0\x14"
				      "18446744073709551615"
				      "\377\377\377\377";
	struct buf out, *b = &out;
	size_t at;

	(void)state;
	buf_init(b);
	at = row_begin(b, ARRAY_LEN(columns));
	COLUMNS(CELL)
	msg_end(b, at);
	assert_int_equal(buf_len(b), sizeof(want) - 1);
	assert_memory_equal(buf_data(b), want, sizeof(want) - 1);
	buf_free(b);
}

static const char *cell_text(struct buf *b)
{
	buf_put_u8(b, 0);
	return (const char *)buf_data(b) + 4;
}

static void a_number_beyond_int4_is_cut(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b);
	cell_INT(&b, INT64_MAX);
	assert_string_equal(cell_text(&b), "2147483647");
	buf_clear(&b);
	cell_INT(&b, INT64_MIN);
	assert_string_equal(cell_text(&b), "-2147483648");
	buf_free(&b);
}

static void bytes_are_hex_and_none_are_null(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b);
	cell_BYTEA(&b, span_of("\x00\x7f\xff", 3));
	assert_int_equal(buf_len(&b), 4 + 8);
	assert_string_equal(cell_text(&b), "\\x007fff");
	buf_clear(&b);
	cell_BYTEA(&b, span_of("", 0));
	assert_string_equal(cell_text(&b), "\\x");
	buf_clear(&b);
	cell_BYTEA(&b, span_of(NULL, 0));
	assert_int_equal(buf_len(&b), 4);
	assert_memory_equal(buf_data(&b), "\xff\xff\xff\xff", 4);
	buf_free(&b);
}

static void a_time_is_local_and_names_its_zone(void **state)
{
	struct buf b;

	(void)state;
	setenv("TZ", "EST5", 1);
	tzset();
	buf_init(&b);
	cell_TIME(&b, 1700000000);
	assert_string_equal(cell_text(&b), "2023-11-14 17:13:20 EST");
	buf_free(&b);
	unsetenv("TZ");
	tzset();
}

/* ---- statistics ---- */

static void rows_of_one_database_are_summed_and_sorted(void **state)
{
	struct stats one = {.xacts = 1, .client_bytes = 10}, two = {.xacts = 2};
	struct stats_rows r = {0};

	(void)state;
	stats_rows_finish(&r);
	assert_null(stats_rows_find(&r, "a"));
	stats_rows_add(&r, "b", &one);
	stats_rows_add(&r, "a", &one);
	stats_rows_add(&r, "b", &two);
	stats_rows_finish(&r);
	assert_int_equal(r.n, 2);
	assert_string_equal(r.rows[0].database, "a");
	assert_int_equal(stats_rows_find(&r, "b")->stats.xacts, 3);
	assert_int_equal(stats_rows_find(&r, "b")->stats.client_bytes, 10);
	assert_null(stats_rows_find(&r, "c"));
	assert_int_equal(stats_rows_sum(&r).xacts, 4);
	stats_rows_free(&r);
}

static void averages_are_per_second_and_per_item(void **state)
{
	struct stats then = {.xacts = 10, .queries = 100, .xact_usec = 1000, .query_usec = 0, .server_bytes = 5};
	struct stats now = {
		.xacts = 30, .queries = 140, .xact_usec = 5000, .query_usec = 400, .server_bytes = UINT64_MAX};
	struct stats a = stats_average(&now, &then, 2 * USEC_PER_SEC);

	(void)state;
	assert_int_equal(a.xacts, 10);
	assert_int_equal(a.queries, 20);
	assert_int_equal(a.xact_usec, 200);
	assert_int_equal(a.query_usec, 10);
	assert_int_equal(a.wait_usec, 0);
	assert_true(a.server_bytes == (UINT64_MAX - 5) / 2);
}

static void an_average_over_no_time_or_a_killed_pool_is_nothing(void **state)
{
	struct stats then = {.xacts = 10}, now = {.xacts = 3};

	(void)state;
	assert_int_equal(stats_average(&then, &now, 0).xacts, 0);
	assert_int_equal(stats_average(&now, &then, USEC_PER_SEC).xacts, 0);
}

static void add_tick(uint64_t xacts, usec_t now)
{
	struct stats s = {.xacts = xacts};
	struct stats_rows r = {0};

	stats_rows_add(&r, "db", &s);
	stats_rows_finish(&r);
	stats_book_turn(&r, now);
	assert_null(r.rows);
}

static void averages_reach_back_to_the_tick_before_the_last(void **state)
{
	struct stats now = {.xacts = 100};

	(void)state;
	stats_book_open(0);
	assert_int_equal(stats_book_average("db", &now, 10 * USEC_PER_SEC).xacts, 10);
	add_tick(40, 10 * USEC_PER_SEC);
	assert_int_equal(stats_book_average("db", &now, 20 * USEC_PER_SEC).xacts, 5);
	add_tick(60, 20 * USEC_PER_SEC);
	assert_int_equal(stats_book_average("db", &now, 25 * USEC_PER_SEC).xacts, 4);
	assert_int_equal(stats_book_average(NULL, &now, 25 * USEC_PER_SEC).xacts, 4);
	assert_int_equal(stats_book_average("other", &now, 20 * USEC_PER_SEC).xacts, 10);
	stats_book_open(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commands_are_taken_apart),
		cmocka_unit_test(a_heading_names_types),
		cmocka_unit_test(a_row_is_text_with_lengths),
		cmocka_unit_test(a_number_beyond_int4_is_cut),
		cmocka_unit_test(bytes_are_hex_and_none_are_null),
		cmocka_unit_test(a_time_is_local_and_names_its_zone),
		cmocka_unit_test(rows_of_one_database_are_summed_and_sorted),
		cmocka_unit_test(averages_are_per_second_and_per_item),
		cmocka_unit_test(an_average_over_no_time_or_a_killed_pool_is_nothing),
		cmocka_unit_test(averages_reach_back_to_the_tick_before_the_last),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
