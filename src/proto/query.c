#include "proto/query.h"

#include <string.h>

#include "proto/reader.h"
#include "proto/writer.h"

#define NULL_LENGTH 0xffffffffu

#define OID_TEXT 25 /* pg_type.dat; the numbers of built-in types do not change */

/* n_text: parameters that are declared, as text. */
static void put_parse(struct buf *b, const char *sql, size_t n_text)
{
	size_t at = msg_begin(b, 'P');

	buf_put_str(b, "");
	buf_put_str(b, sql);
	buf_put_u16(b, (uint16_t)n_text);
	for (size_t i = 0; i < n_text; i++)
		buf_put_u32(b, OID_TEXT);
	msg_end(b, at);
}

static void put_bind(struct buf *b, const char *const *params, size_t n)
{
	size_t at = msg_begin(b, 'B');

	buf_put_str(b, "");
	buf_put_str(b, "");
	buf_put_u16(b, 0); /* all parameters are text */
	buf_put_u16(b, (uint16_t)n);
	for (size_t i = 0; i < n; i++) {
		if (!params[i]) {
			buf_put_u32(b, NULL_LENGTH);
			continue;
		}
		buf_put_u32(b, (uint32_t)strlen(params[i]));
		buf_put_text(b, params[i]);
	}
	buf_put_u16(b, 0); /* so are all columns */
	msg_end(b, at);
}

static void put_execute(struct buf *b)
{
	size_t at = msg_begin(b, 'E');

	buf_put_str(b, "");
	buf_put_u32(b, 0); /* all rows */
	msg_end(b, at);
}

static void put_whole(struct buf *b, const char *sql, const char *const *params, size_t n, size_t n_text)
{
	size_t at;

	put_parse(b, sql, n_text);
	put_bind(b, params, n);
	at = msg_begin(b, 'D');
	buf_put_u8(b, 'P');
	buf_put_str(b, "");
	msg_end(b, at);
	put_execute(b);
	msg_end(b, msg_begin(b, 'S'));
}

void put_extended_query(struct buf *b, const char *sql, const char *const *params, size_t n)
{
	put_whole(b, sql, params, n, 0);
}

void put_text_query(struct buf *b, const char *sql, const char *const *params, size_t n)
{
	put_whole(b, sql, params, n, n);
}

void put_prelude(struct buf *b, const char *sql)
{
	put_parse(b, sql, 0);
	put_bind(b, NULL, 0);
	put_execute(b);
}

int row_description_columns(struct span body)
{
	struct reader r = reader_over_span(body);
	int n = reader_u16(&r);

	for (int i = 0; i < n && reader_ok(&r); i++) {
		reader_str(&r);
		reader_bytes(&r, 18); /* table, column, type, its size and modifier, format */
	}
	return reader_done(&r) ? n : -1;
}

bool row_parse(struct span body, struct row *row)
{
	struct reader r = reader_over_span(body);

	memset(row, 0, sizeof(*row));
	row->n = reader_u16(&r);
	for (int i = 0; i < row->n && reader_ok(&r); i++) {
		uint32_t len = reader_u32(&r);
		struct row_value v = {len == NULL_LENGTH, span_of("", 0)};

		if (!v.is_null)
			v.text = reader_bytes(&r, len);
		if (i < ROW_COLUMNS_MAX)
			row->columns[i] = v;
	}
	return reader_done(&r);
}
