/* pool/facts.c: what one process of an online restart tells the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "pool/facts.h"

static void what_was_put_is_read_again(void **state)
{
	struct buf b;
	struct span rest;
	struct fact f;
	size_t mark;

	(void)state;
	buf_init(&b);
	fact_put_number(&b, FACT_ID, UINT64_MAX - 1);
	fact_put_text(&b, FACT_HOST, "");
	fact_put_text(&b, FACT_HOST, NULL);
	fact_put_text(&b, FACT_STATE, "active");
	fact_put_bytes(&b, FACT_IN, span_of("\0\1\2", 3));
	fact_put_bytes(&b, FACT_OUT, span_of("", 0));
	mark = fact_begin(&b, FACT_PARAM);
	buf_put_str(&b, "name");
	buf_put_str(&b, "value");
	fact_end(&b, mark);
	assert_true(buf_ok(&b));

	rest = buf_span(&b);
	assert_true(fact_next(&rest, &f));
	assert_int_equal(f.tag, FACT_ID);
	assert_true(fact_number(&f) == UINT64_MAX - 1);
	assert_null(fact_text(&f));
	assert_true(fact_next(&rest, &f));
	assert_int_equal(f.tag, FACT_HOST);
	assert_string_equal(fact_text(&f), "");
	assert_true(fact_number(&f) == 0);
	assert_true(fact_next(&rest, &f));
	assert_int_equal(f.tag, FACT_STATE);
	assert_string_equal(fact_text(&f), "active");
	assert_true(fact_next(&rest, &f));
	assert_int_equal(f.tag, FACT_IN);
	assert_int_equal(f.value.len, 3);
	assert_memory_equal(f.value.ptr, "\0\1\2", 3);
	assert_true(fact_next(&rest, &f));
	assert_int_equal(f.tag, FACT_OUT);
	assert_int_equal(f.value.len, 0);
	assert_null(fact_text(&f));
	assert_true(fact_next(&rest, &f));
	assert_int_equal(f.tag, FACT_PARAM);
	assert_int_equal(f.value.len, 11);
	assert_null(fact_text(&f)); /* a text has one NUL */
	assert_false(fact_next(&rest, &f));
	assert_int_equal(rest.len, 0);
	buf_free(&b);
}

static void what_is_cut_off_ends_the_facts(void **state)
{
	struct buf b;
	size_t whole;

	(void)state;
	buf_init(&b);
	fact_put_number(&b, FACT_ID, 7);
	whole = buf_len(&b);
	fact_put_text(&b, FACT_STATE, "waiting");
	for (size_t n = 0; n < buf_len(&b); n++) {
		struct span rest = span_of(buf_data(&b), n);
		struct fact f;
		size_t facts = 0;

		while (fact_next(&rest, &f))
			facts++;
		assert_int_equal(facts, n >= whole);
		assert_int_equal(rest.len, n >= whole ? n - whole : n);
	}
	buf_free(&b);
}

static void a_length_beyond_the_bytes_is_not_believed(void **state)
{
	static const uint8_t bytes[] = {0, 31, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5, 6, 7, 8};
	struct span rest = span_of(bytes, sizeof(bytes));
	struct fact f;

	(void)state;
	assert_false(fact_next(&rest, &f));
	assert_int_equal(rest.len, sizeof(bytes));
}

static void facts_are_found_by_their_tag(void **state)
{
	static const struct {
		const char *flags, *word;
		bool is_there;
	} rows[] = {
		{"in_copy is_ready ", "in_copy", true},	      {"in_copy is_ready ", "is_ready", true},
		{"in_copy is_ready", "is_ready", true},	      {"in_copy", "in_cop", false},
		{"in_copy", "in_copyx", false},		      {"", "in_copy", false},
		{"in_copy  is_ready ", "is_ready", true},     {NULL, "in_copy", false},
	};
	struct buf b;
	struct fact f;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		buf_init(&b);
		fact_put_number(&b, FACT_ID, 5);
		fact_put_text(&b, FACT_FLAGS, rows[i].flags);
		assert_int_equal(facts_have_flag(buf_span(&b), rows[i].word), rows[i].is_there);
		assert_int_equal(facts_number(buf_span(&b), FACT_ID), 5);
		buf_free(&b);
	}
	/* The first counts; what is not told is nothing. */
	buf_init(&b);
	fact_put_text(&b, FACT_HOST, "first");
	fact_put_text(&b, FACT_HOST, "second");
	assert_string_equal(facts_text(buf_span(&b), FACT_HOST), "first");
	assert_null(facts_text(buf_span(&b), FACT_STATE));
	assert_int_equal(facts_bytes(buf_span(&b), FACT_IN).len, 0);
	assert_int_equal(facts_number(buf_span(&b), FACT_HOST), 0);
	assert_false(facts_find(buf_span(&b), FACT_IN, &f));
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_put_is_read_again),
		cmocka_unit_test(facts_are_found_by_their_tag),
		cmocka_unit_test(what_is_cut_off_ends_the_facts),
		cmocka_unit_test(a_length_beyond_the_bytes_is_not_believed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
