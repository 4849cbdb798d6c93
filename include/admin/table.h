/*
 * admin/table.h - result tables as PostgreSQL messages.
 *
 * The columns of a table are listed once, and heading, type and value come
 * from that list:
 *
 *	#define PEER_COLUMNS(COL)		\
 *		COL(INT, peer_id, p->id)	\
 *		COL(TEXT, host, p->host)
 *
 *	static const struct column columns[] = {PEER_COLUMNS(COLUMN)};
 *	...
 *	at = row_begin(b, ARRAY_LEN(columns));
 *	PEER_COLUMNS(CELL)
 *	msg_end(b, at);
 *
 * where CELL writes into a buf named b. Values are always in text format.
 *
 * Rules: console specification, section 5.  Tests: test/unit/test_console.c
 */
#ifndef ADMIN_TABLE_H
#define ADMIN_TABLE_H

#include <stdint.h>
#include <time.h>

#include "lib/buf.h"
#include "lib/span.h"

enum column_type {
	COLUMN_TEXT, COLUMN_INT, COLUMN_BIGINT, COLUMN_NUMERIC, COLUMN_TIME, COLUMN_DECIMAL, COLUMN_NULLABLE, COLUMN_BYTEA
};

struct column {
	const char *name;
	enum column_type type;
};

#define COLUMN(type, name, value) {#name, COLUMN_##type},
#define CELL(type, name, value) cell_##type(b, value);

void put_heading(struct buf *, const struct column *, size_t n); /* RowDescription */
/* DataRow; n cells must follow, then msg_end() with the result. */
size_t row_begin(struct buf *, size_t n);

void cell_TEXT(struct buf *, const char *text); /* NULL: SQL NULL */
void cell_INT(struct buf *, int64_t);		/* int4: what does not fit is cut to its bounds */
void cell_BIGINT(struct buf *, int64_t);
void cell_NUMERIC(struct buf *, uint64_t);
void cell_DECIMAL(struct buf *, double); /* numeric, two digits behind the point */
void cell_NULLABLE(struct buf *, const char *digits); /* int4 as text; NULL: SQL NULL */
void cell_TIME(struct buf *, time_t); /* text: local time with its zone */
void cell_BYTEA(struct buf *, struct span); /* \x and hex; without a ptr SQL NULL */

#endif
