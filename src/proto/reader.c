#include "proto/reader.h"

#include "lib/net_order.h"

struct reader reader_over(const void *bytes, size_t len)
{
	const uint8_t *at = bytes ? bytes : (const uint8_t *)"";

	return (struct reader){at, at + len, false};
}

struct reader reader_over_span(struct span s)
{
	return reader_over(s.ptr, s.len);
}

struct span reader_bytes(struct reader *r, size_t n)
{
	const uint8_t *at = r->at;

	/* Compared against what is left, never added to the cursor: n may be 0xFFFFFFFF (attacks.md row 1). */
	if (r->bad || n > (size_t)(r->end - r->at)) {
		r->bad = true;
		return span_of("", 0);
	}
	r->at += n;
	return span_of(at, n);
}

uint8_t reader_u8(struct reader *r)
{
	struct span s = reader_bytes(r, 1);

	return s.len ? s.ptr[0] : 0;
}

uint16_t reader_u16(struct reader *r)
{
	struct span s = reader_bytes(r, 2);

	return s.len ? (uint16_t)(s.ptr[0] << 8 | s.ptr[1]) : 0;
}

uint32_t reader_u32(struct reader *r)
{
	struct span s = reader_bytes(r, 4);

	return s.len ? get_u32(s.ptr) : 0;
}

const char *reader_str(struct reader *r)
{
	const uint8_t *at = r->at, *nul = r->bad ? NULL : memchr(at, 0, (size_t)(r->end - at));

	if (!nul) {
		r->bad = true;
		return "";
	}
	r->at = nul + 1;
	return (const char *)at;
}

size_t reader_left(const struct reader *r)
{
	return r->bad ? 0 : (size_t)(r->end - r->at);
}

bool reader_ok(const struct reader *r)
{
	return !r->bad;
}

bool reader_done(const struct reader *r)
{
	return !r->bad && r->at == r->end;
}
