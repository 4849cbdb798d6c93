/* Unit tests of src/proto: reader, frame, writer, error fields, start-up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "proto/fields.h"
#include "proto/frame.h"
#include "proto/query.h"
#include "proto/reader.h"
#include "proto/startup.h"
#include "proto/writer.h"

#define BYTES(text) text, sizeof(text) - 1

/* ---- reader ---- */

static void reader_yields_values_in_network_order(void **state)
{
	struct reader r = reader_over(BYTES("\1\2\3\4\5\6\7name\0xyz"));

	(void)state;
	assert_int_equal(reader_u8(&r), 1);
	assert_int_equal(reader_u16(&r), 0x0203);
	assert_int_equal(reader_u32(&r), 0x04050607);
	assert_string_equal(reader_str(&r), "name");
	assert_int_equal(reader_left(&r), 3);
	assert_false(reader_done(&r));
	assert_true(span_is(reader_bytes(&r, 3), "xyz"));
	assert_true(reader_done(&r));
}

static void reader_past_the_end_is_bad_and_stays_bad(void **state)
{
	struct reader r = reader_over(BYTES("\1\2\3"));

	(void)state;
	assert_int_equal(reader_u32(&r), 0);
	assert_false(reader_ok(&r));
	assert_int_equal(reader_u8(&r), 0);
	assert_int_equal(reader_left(&r), 0);
	assert_string_equal(reader_str(&r), "");
	assert_int_equal(reader_bytes(&r, 0).len, 0);
	assert_false(reader_done(&r));
}

static void reader_refuses_huge_counts_and_unterminated_strings(void **state)
{
	struct reader r = reader_over(BYTES("abc"));

	(void)state;
	assert_int_equal(reader_bytes(&r, 0xFFFFFFFFu).len, 0);
	assert_false(reader_ok(&r));
	r = reader_over(BYTES("abc"));
	assert_int_equal(reader_bytes(&r, SIZE_MAX).len, 0);
	assert_false(reader_ok(&r));
	r = reader_over(BYTES("abc"));
	assert_string_equal(reader_str(&r), "");
	assert_false(reader_ok(&r));
	r = reader_over(NULL, 0);
	assert_true(reader_done(&r));
}

/* ---- frame ---- */

#define MAX_PACKET 1000u

static const struct {
	const char *says;
	const char *bytes;
	size_t len;
	int allow_startup;
	enum proto_verdict verdict;
	struct frame frame;
} frames[] = {
	{"nothing yet, so wait", BYTES(""), 1, PROTO_MORE, {0}},
	{"a type byte alone waits", BYTES("Q"), 0, PROTO_MORE, {0}},
	{"four bytes of a header wait", BYTES("Q\0\0\0"), 0, PROTO_MORE, {0}},
	{"an empty message", BYTES("S\0\0\0\4"), 0, PROTO_OK, {'S', 0, 5, 5}},
	{"the body need not be there", BYTES("Q\0\0\0\x64"), 0, PROTO_OK, {'Q', 0, 5, 101}},
	{"length smaller than itself", BYTES("Q\0\0\0\3"), 0, PROTO_BAD, {0}},
	{"length zero (attack 3)", BYTES("Q\0\0\0\0"), 0, PROTO_BAD, {0}},
	{"a message just below the limit", BYTES("Q\0\0\3\xe6"), 0, PROTO_OK, {'Q', 0, 5, 999}},
	{"a message at the limit, its type byte counted", BYTES("Q\0\0\3\xe7"), 0, PROTO_OK, {'Q', 0, 5, 1000}},
	{"a message above the limit", BYTES("Q\0\0\3\xe8"), 0, PROTO_BAD, {0}},
	{"a length of 2^31 (attack 3)", BYTES("Q\x80\0\0\0"), 0, PROTO_BAD, {0}},
	{"a negative length (attack 3)", BYTES("Q\xff\xff\xff\xff"), 0, PROTO_BAD, {0}},
	{"no start-up message after start-up", BYTES("\0"), 0, PROTO_BAD, {0}},
	{"a first byte 0 may begin a start-up", BYTES("\0"), 1, PROTO_MORE, {0}},
	{"seven bytes of a start-up wait", BYTES("\0\0\0\x10\0\3\0"), 1, PROTO_MORE, {0}},
	{"a start-up message", BYTES("\0\0\0\x10\0\3\0\0"), 1, PROTO_OK, {0, PROTO_V3, 8, 16}},
	{"an SSL request", BYTES("\0\0\0\10\4\xd2\x16\x2f"), 1, PROTO_OK, {0, PROTO_SSL, 8, 8}},
	{"a start-up shorter than its header", BYTES("\0\0\0\7\0\3\0\0"), 1, PROTO_BAD, {0}},
	{"a start-up at the limit", BYTES("\0\0\3\xe8\0\3\0\0"), 1, PROTO_OK, {0, PROTO_V3, 8, 1000}},
	{"a start-up above the limit", BYTES("\0\0\3\xe9\0\3\0\0"), 1, PROTO_BAD, {0}},
	{"a start-up above 64 KiB", BYTES("\0\1\0\0\0\3\0\0"), 1, PROTO_BAD, {0}},
	{"a typed message where start-up may come", BYTES("p\0\0\0\5"), 1, PROTO_OK, {'p', 0, 5, 6}},
};

static void frames_are_found_also_bytewise(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
		struct frame f = {0};
		enum proto_verdict v = PROTO_MORE;
		size_t needed = 0;

		/* Each prefix in memory of exactly its size, so that a sanitizer sees reads beyond it. */
		for (size_t n = 0; n <= frames[i].len && v == PROTO_MORE; n++) {
			uint8_t *piece = malloc(n + !n);

			memcpy(piece, frames[i].bytes, n);
			v = frame_parse(piece, n, MAX_PACKET, frames[i].allow_startup, &f);
			needed = n;
			free(piece);
		}
		if (v != frames[i].verdict || memcmp(&f.len, &frames[i].frame.len, sizeof(f.len)) ||
		    f.type != frames[i].frame.type || f.code != frames[i].frame.code ||
		    f.header_len != frames[i].frame.header_len)
			fail_msg("%s: verdict %d after %zu bytes", frames[i].says, v, needed);
	}
}

static void startup_frames_end_at_65535_bytes_whatever_max_packet_says(void **state)
{
	struct frame f;

	(void)state;
	assert_int_equal(frame_parse((const uint8_t *)"\0\0\xff\xff\0\3\0\0", 8, 0x7fffffff, 1, &f), PROTO_OK);
	assert_int_equal(f.len, 65535);
	assert_int_equal(frame_parse((const uint8_t *)"\0\1\0\0\0\3\0\0", 8, 0x7fffffff, 1, &f), PROTO_BAD);
	assert_int_equal(frame_parse((const uint8_t *)"Q\x7f\xff\xff\xff", 5, 0x7fffffff, 0, &f), PROTO_BAD);
	assert_int_equal(frame_parse((const uint8_t *)"Q\x7f\xff\xff\xfe", 5, 0x7fffffff, 0, &f), PROTO_OK);
	assert_int_equal(f.len, 0x7fffffffu);
	assert_int_equal(frame_parse((const uint8_t *)"Q\xff\xff\xff\xfe", 5, UINT32_MAX, 0, &f), PROTO_OK);
	assert_int_equal(f.len, 0xffffffffu);
}

/* ---- writer ---- */

static void wrote(struct buf *b, const char *bytes, size_t len)
{
	assert_true(buf_ok(b));
	assert_int_equal(buf_len(b), len);
	assert_memory_equal(buf_data(b), bytes, len);
	buf_clear(b);
}
#define WROTE(b, text) wrote(b, BYTES(text))

static void writer_makes_the_bytes_of_the_documentation(void **state)
{
	static const uint8_t key[8] = "\1\2\3\4\5\6\7\10";
	const char *names[] = {"_pq_.a", "_pq_.b"}, *pairs[] = {"database", "d", "user", "u"};
	struct buf b;

	(void)state;
	buf_init(&b);
	put_auth_request(&b, 3, NULL, 0);
	WROTE(&b, "R\0\0\0\10\0\0\0\3");
	put_auth_request(&b, 5, "salt", 4);
	WROTE(&b, "R\0\0\0\14\0\0\0\5salt");
	put_error(&b, "FATAL", "08P01", "no");
	WROTE(&b, "E\0\0\0\027SFATAL\0C08P01\0Mno\0\0");
	put_notice(&b, "00000", "hi", NULL);
	WROTE(&b, "N\0\0\0\030SNOTICE\0C00000\0Mhi\0\0");
	put_notice(&b, "00000", "hi", "d");
	WROTE(&b, "N\0\0\0\033SNOTICE\0C00000\0Mhi\0Dd\0\0");
	put_parameter_status(&b, "a", "b");
	WROTE(&b, "S\0\0\0\10a\0b\0");
	put_backend_key(&b, key);
	WROTE(&b, "K\0\0\0\14\1\2\3\4\5\6\7\10");
	put_ready(&b, 'I');
	WROTE(&b, "Z\0\0\0\5I");
	put_command_complete(&b, "SET");
	WROTE(&b, "C\0\0\0\10SET\0");
	put_negotiate_version(&b, PROTO_V3, names, 2);
	WROTE(&b, "v\0\0\0\032\0\3\0\0\0\0\0\2_pq_.a\0_pq_.b\0");
	put_query(&b, "x");
	WROTE(&b, "Q\0\0\0\6x\0");
	put_password(&b, "pw", 2, 1);
	WROTE(&b, "p\0\0\0\7pw\0");
	put_password(&b, "pw", 2, 0);
	WROTE(&b, "p\0\0\0\6pw");
	put_password(&b, NULL, 0, 1);
	WROTE(&b, "p\0\0\0\5\0");
	put_terminate(&b);
	WROTE(&b, "X\0\0\0\4");
	put_cancel_request(&b, key);
	WROTE(&b, "\0\0\0\020\4\xd2\x16\x2e\1\2\3\4\5\6\7\10");
	put_ssl_request(&b);
	WROTE(&b, "\0\0\0\10\4\xd2\x16\x2f");
	put_startup(&b, pairs, 2);
	WROTE(&b, "\0\0\0\x1b\0\3\0\0database\0d\0user\0u\0\0");
	buf_free(&b);
}

static void writer_appends_and_survives_a_failed_buffer(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b);
	put_ready(&b, 'T');
	put_query(&b, "");
	WROTE(&b, "Z\0\0\0\5TQ\0\0\0\5\0");
	buf_reserve(&b, SIZE_MAX / 2);
	put_error(&b, "FATAL", "08P01", "dropped");
	assert_false(buf_ok(&b));
	assert_int_equal(buf_len(&b), 0);
	buf_free(&b);
}

/* ---- error fields ---- */

static const struct {
	const char *says;
	const char *bytes;
	size_t len;
	const char *severity, *sqlstate, *message;
} errors[] = {
	{"all three", BYTES("SFATAL\0C28P01\0Mno\0\0"), "FATAL", "28P01", "no"},
	{"empty (attack 21)", BYTES(""), NULL, NULL, NULL},
	{"terminator only", BYTES("\0"), NULL, NULL, NULL},
	{"no SQLSTATE (attack 21)", BYTES("SERROR\0Mno\0\0"), "ERROR", NULL, "no"},
	{"no terminator (attack 21)", BYTES("SERROR\0Mno\0"), "ERROR", NULL, "no"},
	{"the last string is cut", BYTES("SERROR\0Mno"), "ERROR", NULL, NULL},
	{"a field letter at the very end", BYTES("SERROR\0M"), "ERROR", NULL, NULL},
	{"unknown fields are passed over", BYTES("VFATAL\0zx\0SFATAL\0\xff\0C57P03\0\0"), "FATAL", "57P03", NULL},
	{"a SQLSTATE of four", BYTES("C28P0\0\0"), NULL, NULL, NULL},
	{"a SQLSTATE of six", BYTES("C28P011\0\0"), NULL, NULL, NULL},
	{"a SQLSTATE in lower case", BYTES("C28p01\0\0"), NULL, NULL, NULL},
	{"nothing counts after the terminator", BYTES("\0SFATAL\0"), NULL, NULL, NULL},
	{"an empty message is a message", BYTES("M\0\0"), NULL, NULL, ""},
};

static int same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static void error_fields_are_read_however_broken(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		uint8_t *body = malloc(errors[i].len + !errors[i].len);
		struct error_fields f;

		memcpy(body, errors[i].bytes, errors[i].len);
		error_fields_parse(span_of(body, errors[i].len), &f);
		if (!same(f.severity, errors[i].severity) || !same(f.sqlstate, errors[i].sqlstate) ||
		    !same(f.message, errors[i].message))
			fail_msg("%s", errors[i].says);
		for (size_t n = 0; n < errors[i].len; n++) /* any prefix is safe */
			error_fields_parse(span_of(body, n), &f);
		free(body);
	}
}

/* ---- start-up ---- */

static const struct {
	const char *says;
	const char *bytes;
	size_t len;
	enum proto_verdict verdict;
	size_t params;
} startups[] = {
	{"no parameter", BYTES("\0"), PROTO_OK, 0},
	{"one parameter", BYTES("user\0bob\0\0"), PROTO_OK, 1},
	{"an empty value is legal", BYTES("user\0bob\0application_name\0\0\0"), PROTO_OK, 2},
	{"empty body", BYTES(""), PROTO_BAD, 0},
	{"no terminator", BYTES("user\0bob\0"), PROTO_BAD, 1},
	{"a name without value", BYTES("user\0"), PROTO_BAD, 0},
	{"an unterminated value", BYTES("user\0bob"), PROTO_BAD, 0},
	{"trailing bytes", BYTES("user\0bob\0\0x"), PROTO_BAD, 1},
	{"a trailing NUL", BYTES("user\0bob\0\0\0"), PROTO_BAD, 1},
	{"an empty name ends the list", BYTES("\0bob\0\0"), PROTO_BAD, 0},
};

static void startup_bodies_are_taken_or_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(startups) / sizeof(startups[0]); i++) {
		uint8_t *body = malloc(startups[i].len + !startups[i].len);
		struct startup st;
		enum proto_verdict v;

		memcpy(body, startups[i].bytes, startups[i].len);
		v = startup_parse(span_of(body, startups[i].len), &st);
		if (v != startups[i].verdict || st.n != startups[i].params)
			fail_msg("%s: verdict %d, %zu parameters", startups[i].says, v, st.n);
		startup_free(&st);
		startup_free(&st);
		for (size_t n = 0; n < startups[i].len; n++) {
			v = startup_parse(span_of(body, n), &st);
			if (v == PROTO_OK && startups[i].verdict == PROTO_OK)
				fail_msg("%s: complete after %zu bytes", startups[i].says, n);
			startup_free(&st);
		}
		free(body);
	}
}

static void startup_takes_its_limit_of_parameters_and_no_more(void **state)
{
	(void)state;
	for (size_t n = STARTUP_PARAMS_MAX - 1; n <= STARTUP_PARAMS_MAX + 1; n++) {
		struct buf b;
		struct startup st;

		buf_init(&b);
		for (size_t i = 0; i < n; i++)
			buf_put(&b, "n\0v", 4);
		buf_put_u8(&b, 0);
		assert_int_equal(startup_parse(buf_span(&b), &st), n <= STARTUP_PARAMS_MAX ? PROTO_OK : PROTO_BAD);
		startup_free(&st);
		buf_free(&b);
	}
}

static void startup_get_finds_the_last_of_a_name(void **state)
{
	struct startup st;

	(void)state;
	assert_int_equal(startup_parse(span_of(BYTES("user\0a\0x\0\0user\0b\0\0")), &st), PROTO_OK);
	assert_string_equal(startup_get(&st, "user"), "b");
	assert_string_equal(startup_get(&st, "x"), "");
	assert_null(startup_get(&st, "User"));
	startup_free(&st);
}

/* found: "name=value;" per pair, then "." for the end or "!" for an argument that is not allowed. */
static const struct {
	const char *says, *options, *found;
} options[] = {
	{"nothing", "", "."},
	{"blanks only", " \t\n ", "."},
	{"-c and a blank", "-c geqo=off", "geqo=off;."},
	{"-c with several blanks", "  -c \t geqo=off  ", "geqo=off;."},
	{"-c without a blank", "-cgeqo=off", "geqo=off;."},
	{"long form", "--geqo=off", "geqo=off;."},
	{"several", "-c a=1 -cb=2 --c=3", "a=1;b=2;c=3;."},
	{"an empty value", "-c a=", "a=;."},
	{"only the first = splits", "-c a=b=c", "a=b=c;."},
	{"a dash in a name means an underscore", "--search-path=a-b", "search_path=a-b;."},
	{"an escaped blank in a value", "-c a=b\\ c", "a=b c;."},
	{"an escaped backslash", "-c a=b\\\\", "a=b\\;."},
	{"an escape inside a name", "-c sea\\rch_path=x", "search_path=x;."},
	{"an escaped blank between -c and the name", "-c\\ a=b", " a=b;."},
	{"a trailing backslash (attack 4)", "-c a=b\\", "a=b;."},
	{"a backslash alone", "\\", "!"},
	{"-c alone (attack 4)", "-c", "!"},
	{"-c and blanks (attack 4)", "-c  ", "!"},
	{"-c= (attack 4)", "-c=", "!"},
	{"-c =x", "-c =x", "!"},
	{"-c without =", "-c geqo", "!"},
	{"-- alone", "--", "!"},
	{"long form without =", "--geqo", "!"},
	{"long form without name", "--=off", "!"},
	{"another switch", "-c a=1 -e", "a=1;!"},
	{"a bare word", "geqo=off", "!"},
};

static void options_are_split_as_the_server_does(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		const char *at = options[i].options, *name, *value;
		struct buf scratch, found;
		enum options_verdict v;

		buf_init(&scratch);
		buf_init(&found);
		while ((v = options_next(&at, &scratch, &name, &value)) == OPTIONS_PAIR)
			buf_printf(&found, "%s=%s;", name, value);
		buf_put_str(&found, v == OPTIONS_END ? "." : "!");
		if (strcmp((const char *)buf_data(&found), options[i].found) != 0)
			fail_msg("%s: found %s", options[i].says, (const char *)buf_data(&found));
		buf_free(&scratch);
		buf_free(&found);
	}
}

static void thousands_of_options_are_walked(void **state)
{
	struct buf text, scratch;
	const char *at, *name, *value;
	int pairs = 0;

	(void)state;
	buf_init(&text);
	buf_init(&scratch);
	for (int i = 0; i < 8000; i++)
		buf_put_text(&text, "-c a=b ");
	buf_put_u8(&text, 0);
	at = (const char *)buf_data(&text);
	while (options_next(&at, &scratch, &name, &value) == OPTIONS_PAIR)
		pairs++;
	assert_int_equal(pairs, 8000);
	buf_free(&text);
	buf_free(&scratch);
}

static void bool_words_may_be_shortened_while_unique(void **state)
{
	static const struct {
		const char *word;
		int means;
	} rows[] = {
		{"true", 1}, {"TRUE", 1}, {"t", 1}, {"tr", 1}, {"yes", 1}, {"Y", 1}, {"on", 1}, {"1", 1},
		{"false", 0}, {"F", 0}, {"no", 0}, {"n", 0}, {"off", 0}, {"oF", 0}, {"0", 0},
		{"", -1}, {"o", -1}, {"truee", -1}, {"onn", -1}, {"10", -1}, {"2", -1}, {"database", -1}, {" on", -1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (bool_word(rows[i].word) != rows[i].means)
			fail_msg("'%s'", rows[i].word);
}

static void replication_is_a_database_or_a_true_word(void **state)
{
	static const struct {
		const char *value, *word;
	} rows[] = {
		{"database", "database"}, {"DATABASE", "database"}, {"databas", "no"}, {"database ", "no"},
		{"true", "yes"}, {"On", "yes"}, {"1", "yes"}, {"y", "yes"}, {"o", "no"}, {"2", "no"},
		{"false", "no"}, {"off", "no"}, {"0", "no"}, {"", "no"}, {"perhaps", "no"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_string_equal(replication_word(replication_parse(rows[i].value)), rows[i].word);
}

static void options_go_on_behind_what_is_not_supported(void **state)
{
	const char *at = "-N 7 -c datestyle=ISO --x=1 -c -cy=2 -c", *name, *value;
	enum options_verdict v;
	char seen[64] = "";
	struct buf scratch;

	(void)state;
	buf_init(&scratch);
	while ((v = options_next(&at, &scratch, &name, &value)) != OPTIONS_END) {
		strcat(seen, v == OPTIONS_PAIR ? name : "?");
		strcat(seen, " ");
	}
	assert_string_equal(seen, "? ? datestyle x _cy ? ");
	buf_free(&scratch);
}

/* ---- queries of our own ---- */

static void a_query_is_parse_bind_describe_execute_sync(void **state)
{
	const char *params[] = {"joe", NULL};
	struct buf b;

	(void)state;
	buf_init(&b);
	put_extended_query(&b, "q", params, 2);
	WROTE(&b, "P\0\0\0\11\0q\0\0\0"
		  "B\0\0\0\27\0\0\0\0\0\2\0\0\0\3joe\xff\xff\xff\xff\0\0"
		  "D\0\0\0\6P\0"
		  "E\0\0\0\11\0\0\0\0\0"
		  "S\0\0\0\4");
	put_text_query(&b, "q", params, 1);
	WROTE(&b, "P\0\0\0\15\0q\0\0\1\0\0\0\31"
		  "B\0\0\0\23\0\0\0\0\0\1\0\0\0\3joe\0\0"
		  "D\0\0\0\6P\0"
		  "E\0\0\0\11\0\0\0\0\0"
		  "S\0\0\0\4");
	put_prelude(&b, "s");
	WROTE(&b, "P\0\0\0\11\0s\0\0\0"
		  "B\0\0\0\14\0\0\0\0\0\0\0\0"
		  "E\0\0\0\11\0\0\0\0\0");
	put_extended_query(&b, "", NULL, 0);
	WROTE(&b, "P\0\0\0\10\0\0\0\0"
		  "B\0\0\0\14\0\0\0\0\0\0\0\0"
		  "D\0\0\0\6P\0"
		  "E\0\0\0\11\0\0\0\0\0"
		  "S\0\0\0\4");
	buf_free(&b);
}

#define TYPE_18 "\0\0\0\0\0\0\0\0\0\31\xff\xff\xff\xff\xff\xff\0\0"

static const struct {
	const char *says;
	const char *bytes;
	size_t len;
	int columns;
} descriptions[] = {
	{"no columns", BYTES("\0\0"), 0},
	{"one", BYTES("\0\1a\0" TYPE_18), 1},
	{"two, one without a name", BYTES("\0\2a\0" TYPE_18 "\0" TYPE_18), 2},
	{"nothing", BYTES(""), -1},
	{"half a count", BYTES("\0"), -1},
	{"fewer than promised", BYTES("\0\2a\0" TYPE_18), -1},
	{"more than promised", BYTES("\0\1a\0" TYPE_18 "b\0" TYPE_18), -1},
	{"a name without end", BYTES("\0\1abc"), -1},
	{"a type cut short", BYTES("\0\1a\0\0\0\0"), -1},
	{"65535 columns in no bytes", BYTES("\xff\xff"), -1},
};

static void descriptions_of_rows_are_counted(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(descriptions) / sizeof(descriptions[0]); i++)
		if (row_description_columns(span_of(descriptions[i].bytes, descriptions[i].len)) !=
		    descriptions[i].columns)
			fail_msg("%s", descriptions[i].says);
}

static const struct {
	const char *says;
	const char *bytes;
	size_t len;
	bool good;
	int n;
	const char *first, *second; /* NULL: SQL NULL, or not there */
} rows_of_data[] = {
	{"no columns", BYTES("\0\0"), true, 0, NULL, NULL},
	{"a name and a secret", BYTES("\0\2\0\0\0\3joe\0\0\0\2pw"), true, 2, "joe", "pw"},
	{"a secret that is NULL", BYTES("\0\2\0\0\0\3joe\xff\xff\xff\xff"), true, 2, "joe", NULL},
	{"an empty text is not NULL", BYTES("\0\1\0\0\0\0"), true, 1, "", NULL},
	{"more columns than are kept", BYTES("\0\11\0\0\0\1a\0\0\0\1b\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
					    "\0\0\0\0\0\0\0\0\0\0\0\0"), true, 9, "a", "b"},
	{"nothing", BYTES(""), false, 0, NULL, NULL},
	{"fewer than promised", BYTES("\0\2\0\0\0\3joe"), false, 0, NULL, NULL},
	{"more than promised", BYTES("\0\1\0\0\0\3joe\0\0\0\2pw"), false, 0, NULL, NULL},
	{"a value longer than the message", BYTES("\0\1\0\0\0\4joe"), false, 0, NULL, NULL},
	{"a length near 2^32", BYTES("\0\1\xff\xff\xff\xfejoe"), false, 0, NULL, NULL},
	{"65535 columns in no bytes", BYTES("\xff\xff"), false, 0, NULL, NULL},
};

static void assert_value(const struct row_value *v, const char *expected, const char *says)
{
	if (v->is_null ? expected != NULL : !expected || !span_is(v->text, expected))
		fail_msg("%s", says);
}

static void rows_are_taken_apart(void **state)
{
	struct row row;

	(void)state;
	for (size_t i = 0; i < sizeof(rows_of_data) / sizeof(rows_of_data[0]); i++) {
		if (row_parse(span_of(rows_of_data[i].bytes, rows_of_data[i].len), &row) != rows_of_data[i].good)
			fail_msg("%s", rows_of_data[i].says);
		if (!rows_of_data[i].good)
			continue;
		assert_int_equal(row.n, rows_of_data[i].n);
		if (row.n > 0)
			assert_value(&row.columns[0], rows_of_data[i].first, rows_of_data[i].says);
		if (row.n > 1)
			assert_value(&row.columns[1], rows_of_data[i].second, rows_of_data[i].says);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reader_yields_values_in_network_order),
		cmocka_unit_test(reader_past_the_end_is_bad_and_stays_bad),
		cmocka_unit_test(reader_refuses_huge_counts_and_unterminated_strings),
		cmocka_unit_test(frames_are_found_also_bytewise),
		cmocka_unit_test(startup_frames_end_at_65535_bytes_whatever_max_packet_says),
		cmocka_unit_test(writer_makes_the_bytes_of_the_documentation),
		cmocka_unit_test(writer_appends_and_survives_a_failed_buffer),
		cmocka_unit_test(error_fields_are_read_however_broken),
		cmocka_unit_test(startup_bodies_are_taken_or_refused),
		cmocka_unit_test(startup_takes_its_limit_of_parameters_and_no_more),
		cmocka_unit_test(startup_get_finds_the_last_of_a_name),
		cmocka_unit_test(options_are_split_as_the_server_does),
		cmocka_unit_test(thousands_of_options_are_walked),
		cmocka_unit_test(bool_words_may_be_shortened_while_unique),
		cmocka_unit_test(replication_is_a_database_or_a_true_word),
		cmocka_unit_test(options_go_on_behind_what_is_not_supported),
		cmocka_unit_test(a_query_is_parse_bind_describe_execute_sync),
		cmocka_unit_test(descriptions_of_rows_are_counted),
		cmocka_unit_test(rows_are_taken_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
