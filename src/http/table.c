#include "http/table.h"

#include <stdlib.h>
#include <string.h>

#include "proto/frame.h"
#include "proto/reader.h"

#define MESSAGE_MAX (1u << 20)
#define NO_VALUE UINT32_MAX

void table_free(struct table *t)
{
	free(t->text);
	free(t->names);
	free(t->cells);
	memset(t, 0, sizeof(*t));
}

int table_column(const struct table *t, const char *name)
{
	for (size_t i = 0; i < t->columns; i++)
		if (strcmp(t->names[i], name) == 0)
			return (int)i;
	return -1;
}

const char *table_cell(const struct table *t, size_t row, int column)
{
	const char *cell = column < 0 ? NULL : t->cells[row * t->columns + (size_t)column];

	return cell ? cell : "";
}

static bool read_names(struct reader r, struct table *t)
{
	t->columns = reader_u16(&r);
	t->names = calloc(t->columns + 1, sizeof(*t->names));
	if (!t->names)
		return false;
	for (size_t i = 0; i < t->columns; i++) {
		t->names[i] = reader_str(&r);
		reader_bytes(&r, 18); /* table, column, type, length, modifier, format */
	}
	return reader_done(&r);
}

/* cells: where this row's go; NULL: only looks. out: the next free byte of text. */
static bool read_row(struct reader r, struct table *t, const char **cells, char **out)
{
	if (reader_u16(&r) != t->columns)
		return false;
	for (size_t i = 0; i < t->columns; i++) {
		uint32_t len = reader_u32(&r);
		struct span value;

		if (len == NO_VALUE)
			continue;
		value = reader_bytes(&r, len);
		if (!cells || value.len != len)
			continue;
		memcpy(*out, value.ptr, len);
		(*out)[len] = 0;
		cells[i] = *out;
		*out += len + 1;
	}
	return reader_done(&r);
}

/* One pass counts, the next fills. */
static bool walk(struct span messages, struct table *t, bool fills, char *out)
{
	size_t row = 0;

	while (messages.len > 0) {
		struct frame f;
		struct reader body;

		if (frame_parse(messages.ptr, messages.len, MESSAGE_MAX, 0, &f) != PROTO_OK || f.len > messages.len)
			return false;
		body = reader_over(messages.ptr + f.header_len, f.len - f.header_len);
		if (f.type == 'T' && !fills && (t->names || !read_names(body, t)))
			return false;
		if (f.type == 'D') {
			if (!t->names || !read_row(body, t, fills ? t->cells + row * t->columns : NULL, &out))
				return false;
			row++;
		}
		messages = span_of(messages.ptr + f.len, messages.len - f.len);
	}
	t->rows = row;
	return true;
}

/* Names point into the messages until here. */
static bool keep_names(struct table *t, char **out)
{
	for (size_t i = 0; i < t->columns; i++) {
		size_t len = strlen(t->names[i]) + 1;

		memcpy(*out, t->names[i], len);
		t->names[i] = *out;
		*out += len;
	}
	return true;
}

bool table_read(struct span messages, struct table *t)
{
	char *out;

	memset(t, 0, sizeof(*t));
	if (!walk(messages, t, false, NULL) || !t->names)
		goto bad;
	/* A cell's length word makes room for its NUL. */
	out = t->text = malloc(messages.len + 1);
	t->cells = calloc(t->rows * t->columns + 1, sizeof(*t->cells));
	if (!t->text || !t->cells || !keep_names(t, &out) || !walk(messages, t, true, out))
		goto bad;
	return true;
bad:
	table_free(t);
	return false;
}
