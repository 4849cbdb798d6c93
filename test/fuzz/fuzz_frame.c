/*
 * Fuzz target: a stream of messages. The first byte chooses whether start-up
 * style messages are allowed; bodies are read as error fields, as rows and
 * their descriptions, and by a reader that is told what to take by the body itself.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "proto/fields.h"
#include "proto/frame.h"
#include "proto/query.h"
#include "proto/reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void read_something(struct span body)
{
	struct reader r = reader_over_span(body);
	struct error_fields f;
	struct row row;

	assert(row_description_columns(body) <= 65535);
	if (row_parse(body, &row)) {
		size_t sum = 0;

		for (int i = 0; i < row.n && i < ROW_COLUMNS_MAX; i++) {
			assert(!row.columns[i].is_null || row.columns[i].text.len == 0);
			sum += row.columns[i].text.len + 4;
		}
		assert(sum + 2 <= body.len);
	}
	error_fields_parse(body, &f);
	if (f.sqlstate)
		assert(strlen(f.sqlstate) == 5);
	if (f.severity && f.message)
		assert(strlen(f.severity) + strlen(f.message) < body.len);
	while (reader_ok(&r) && reader_left(&r)) {
		switch (reader_u8(&r) % 4) {
		case 0:
			reader_u16(&r);
			break;
		case 1:
			reader_bytes(&r, reader_u32(&r));
			break;
		case 2:
			assert(strlen(reader_str(&r)) < body.len);
			break;
		case 3:
			break;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct frame f;
	int allow_startup;

	if (!len)
		return 0;
	allow_startup = bytes[0] & 1;
	bytes++;
	len--;
	while (frame_parse(bytes, len, 1 << 20, allow_startup, &f) == PROTO_OK) {
		assert(f.len >= f.header_len && f.header_len <= len);
		if (f.len > len)
			break;
		read_something(span_of(bytes + f.header_len, f.len - f.header_len));
		bytes += f.len;
		len -= f.len;
	}
	return 0;
}
