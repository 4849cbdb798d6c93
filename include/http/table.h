/*
 * http/table.h - a SHOW answer as a table of texts.
 *
 * The answer is ours, but it is read as bounded as anybody's.
 * Tests: test/unit/test_http.c
 */
#ifndef HTTP_TABLE_H
#define HTTP_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/span.h"
#include "lib/util.h"

struct table {
	char *text; /* owned: all names and cells, NUL-terminated */
	size_t columns, rows;
	const char **names; /* owned array, into text */
	const char **cells; /* the same; rows * columns; NULL: SQL NULL */
};

/* From RowDescription, DataRow and CommandComplete messages. false: malformed, or no memory; t is empty then. */
bool table_read(struct span messages, struct table *t) MUST_CHECK;
void table_free(struct table *); /* harmless when empty or zeroed */
/* The column of that name; -1: none. */
int table_column(const struct table *, const char *name);
const char *table_cell(const struct table *, size_t row, int column); /* "" for NULL and for column -1 */

#endif
