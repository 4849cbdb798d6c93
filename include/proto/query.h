/*
 * proto/query.h - a query of our own with parameters, and the rows it answers.
 *
 * Sent as one unnamed statement: Parse, Bind, Describe portal, Execute, Sync.
 * Parameters and columns are text.
 *
 * What a server answers is believed in nothing: counts and lengths are held
 * against the bytes that are there.  Tests: test/unit/test_proto.c
 */
#ifndef PROTO_QUERY_H
#define PROTO_QUERY_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/buf.h"
#include "lib/span.h"

#define ROW_COLUMNS_MAX 8 /* of a row that is looked into */

/* params: n texts; NULL: SQL NULL. Their types are left to the server. */
void put_extended_query(struct buf *, const char *sql, const char *const *params, size_t n);
/* The same with parameters of type text, of which the query need not use all. */
void put_text_query(struct buf *, const char *sql, const char *const *params, size_t n);
/*
 * In front of one of the above, as part of its transaction: answered by ParseComplete, BindComplete, rows without a
 * description, and CommandComplete.
 */
void put_prelude(struct buf *, const char *sql);

struct row {
	int n; /* columns; values of those beyond ROW_COLUMNS_MAX are checked and left out */
	struct row_value {
		bool is_null;
		struct span text; /* borrowed from the body; no NUL at its end */
	} columns[ROW_COLUMNS_MAX];
};

/* Columns of a RowDescription; -1: malformed. */
int row_description_columns(struct span body);
/* A DataRow; false: malformed. */
bool row_parse(struct span body, struct row *);

#endif
