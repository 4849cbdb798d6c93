#include "admin/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/hex.h"
#include "lib/mem.h"
#include "proto/writer.h"

static const struct {
	uint32_t oid; /* of pg_type */
	uint16_t len;
} types[] = {
	[COLUMN_TEXT] = {25, UINT16_MAX},	[COLUMN_INT] = {23, 4},	      [COLUMN_BIGINT] = {20, 8},
	[COLUMN_NUMERIC] = {1700, UINT16_MAX}, [COLUMN_TIME] = {25, UINT16_MAX},
	[COLUMN_DECIMAL] = {1700, UINT16_MAX}, [COLUMN_NULLABLE] = {23, 4},
	[COLUMN_BYTEA] = {17, UINT16_MAX},
};

void put_heading(struct buf *b, const struct column *columns, size_t n)
{
	size_t at = msg_begin(b, 'T');

	buf_put_u16(b, (uint16_t)n);
	for (size_t i = 0; i < n; i++) {
		buf_put_str(b, columns[i].name);
		buf_put_u32(b, 0); /* of no table */
		buf_put_u16(b, 0);
		buf_put_u32(b, types[columns[i].type].oid);
		buf_put_u16(b, types[columns[i].type].len);
		buf_put_u32(b, UINT32_MAX); /* no type modifier */
		buf_put_u16(b, 0);	    /* text format */
	}
	msg_end(b, at);
}

size_t row_begin(struct buf *b, size_t n)
{
	size_t at = msg_begin(b, 'D');

	buf_put_u16(b, (uint16_t)n);
	return at;
}

void cell_TEXT(struct buf *b, const char *text)
{
	if (!text) {
		buf_put_u32(b, UINT32_MAX);
		return;
	}
	buf_put_u32(b, (uint32_t)strlen(text));
	buf_put_text(b, text);
}

void cell_BIGINT(struct buf *b, int64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRId64, value);
	cell_TEXT(b, text);
}

void cell_INT(struct buf *b, int64_t value)
{
	cell_BIGINT(b, value < INT32_MIN ? INT32_MIN : value > INT32_MAX ? INT32_MAX : value);
}

void cell_NUMERIC(struct buf *b, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	cell_TEXT(b, text);
}

void cell_DECIMAL(struct buf *b, double value)
{
	char text[40];

	snprintf(text, sizeof(text), "%.2f", value);
	cell_TEXT(b, text);
}

void cell_NULLABLE(struct buf *b, const char *digits)
{
	cell_TEXT(b, digits);
}

void cell_BYTEA(struct buf *b, struct span bytes)
{
	char digits[3];

	if (!bytes.ptr) {
		cell_TEXT(b, NULL);
		return;
	}
	buf_put_u32(b, (uint32_t)(2 + 2 * bytes.len));
	buf_put_text(b, "\\x");
	for (size_t i = 0; i < bytes.len; i++) {
		hex_encode(bytes.ptr + i, 1, digits);
		buf_put_text(b, digits);
	}
	mem_wipe(digits, sizeof(digits));
}

void cell_TIME(struct buf *b, time_t when)
{
	char text[64] = "";
	struct tm tm;

	if (localtime_r(&when, &tm))
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S %Z", &tm);
	cell_TEXT(b, text);
}
