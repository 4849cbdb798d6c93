/* Unit tests of backup/sql_split.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/sql_split.h"
#include "lib/util.h"

/* Statements, each in brackets. */
static const char *split(const char *script)
{
	static char out[2048];
	size_t len = 0;
	char *s;

	out[0] = 0;
	while ((s = sql_next(&script)) != NULL) {
		len += (size_t)snprintf(out + len, sizeof(out) - len, "[%s]", s);
		free(s);
	}
	return out;
}

static void statements_end_where_they_end(void **state)
{
	static const char *const rows[][2] = {
		{"", ""}, {"  \n;; ", ""}, {"-- a;b\n/* c; /* d; */ e; */", ""},
		{"SELECT 1", "[SELECT 1]"}, {"SELECT 1;\nSELECT 2;\n", "[SELECT 1][SELECT 2]"},
		{"SELECT ';';SELECT 2", "[SELECT ';'][SELECT 2]"}, {"SELECT 'it''s;';x", "[SELECT 'it''s;'][x]"},
		{"SELECT E'\\';';x", "[SELECT E'\\';'][x]"}, {"SELECT '\\';x", "[SELECT '\\'][x]"},
		{"CREATE ROLE \"a;\"\"b\";x", "[CREATE ROLE \"a;\"\"b\"][x]"},
		{"DO $$ a; b $$;x", "[DO $$ a; b $$][x]"}, {"DO $q$ $$; $q$;x", "[DO $q$ $$; $q$][x]"},
		{"SELECT a$1;x", "[SELECT a$1][x]"}, {"SELECT $1;x", "[SELECT $1][x]"},
		{"SELECT 1 -- no; end\n;x", "[SELECT 1 -- no; end][x]"}, {"SELECT /* ; */ 1;x", "[SELECT /* ; */ 1][x]"},
		{"\\restrict abc;def\nSET a = 1;\n\\unrestrict abc\n", "[SET a = 1]"},
		{"SELECT 'never closed; x", "[SELECT 'never closed; x]"}, {"SELECT $x$ never; closed", "[SELECT $x$ never; closed]"},
		{"COMMENT ON ROLE a IS 'two\nlines; -- here';x", "[COMMENT ON ROLE a IS 'two\nlines; -- here'][x]"},
		{"/* never closed; x", ""}, {"SELECT 'a' /* b", "[SELECT 'a' /* b]"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_string_equal(split(rows[i][0]), rows[i][1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(statements_end_where_they_end)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
