#include "pool/facts.h"

#include "lib/net_order.h"

#define HEADER_BYTES 6 /* tag, length */
#define NUMBER_BYTES 8

size_t fact_begin(struct buf *b, enum fact_tag tag)
{
	size_t mark;

	buf_put_u16(b, (uint16_t)tag);
	mark = buf_len(b);
	buf_put_u32(b, 0);
	return mark;
}

void fact_end(struct buf *b, size_t mark)
{
	size_t len = buf_len(b) - mark - 4;

	if (len > UINT32_MAX)
		b->failed = true;
	if (buf_ok(b))
		buf_patch_u32(b, mark, (uint32_t)len);
}

void fact_put_bytes(struct buf *b, enum fact_tag tag, struct span bytes)
{
	size_t mark = fact_begin(b, tag);

	buf_put(b, bytes.ptr, bytes.len);
	fact_end(b, mark);
}

void fact_put_text(struct buf *b, enum fact_tag tag, const char *text)
{
	if (text)
		fact_put_bytes(b, tag, span_of(text, strlen(text) + 1));
}

void fact_put_number(struct buf *b, enum fact_tag tag, uint64_t number)
{
	size_t mark = fact_begin(b, tag);

	buf_put_u64(b, number);
	fact_end(b, mark);
}

bool fact_next(struct span *rest, struct fact *f)
{
	const uint8_t *p = rest->ptr;
	size_t len;

	if (rest->len < HEADER_BYTES)
		return false;
	len = get_u32(p + 2);
	if (len > rest->len - HEADER_BYTES)
		return false;
	f->tag = (unsigned)(p[0] << 8 | p[1]);
	f->value = span_of(p + HEADER_BYTES, len);
	*rest = span_of(p + HEADER_BYTES + len, rest->len - HEADER_BYTES - len);
	return true;
}

uint64_t fact_number(const struct fact *f)
{
	uint64_t n = 0;

	if (f->value.len != NUMBER_BYTES)
		return 0;
	for (size_t i = 0; i < NUMBER_BYTES; i++)
		n = n << 8 | f->value.ptr[i];
	return n;
}

const char *fact_text(const struct fact *f)
{
	size_t len = f->value.len;

	if (len == 0 || memchr(f->value.ptr, 0, len) != f->value.ptr + len - 1)
		return NULL;
	return (const char *)f->value.ptr;
}

/* --- by tag ------------------------------------------------------------------------ */

bool facts_find(struct span facts, enum fact_tag tag, struct fact *out)
{
	while (fact_next(&facts, out))
		if (out->tag == (unsigned)tag)
			return true;
	return false;
}

uint64_t facts_number(struct span facts, enum fact_tag tag)
{
	struct fact f;

	return facts_find(facts, tag, &f) ? fact_number(&f) : 0;
}

const char *facts_text(struct span facts, enum fact_tag tag)
{
	struct fact f;

	return facts_find(facts, tag, &f) ? fact_text(&f) : NULL;
}

struct span facts_bytes(struct span facts, enum fact_tag tag)
{
	struct fact f;

	return facts_find(facts, tag, &f) ? f.value : span_of("", 0);
}

bool facts_have_flag(struct span facts, const char *word)
{
	const char *at = facts_text(facts, FACT_FLAGS);
	size_t len = strlen(word);

	while (at && *at) {
		size_t n = strcspn(at, " ");

		if (n == len && memcmp(at, word, n) == 0)
			return true;
		at += n + strspn(at + n, " ");
	}
	return false;
}
