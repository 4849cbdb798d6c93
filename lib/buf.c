#include "lib/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/net_order.h"

#define FIRST_CAP 64

void buf_init(struct buf *b)
{
	memset(b, 0, sizeof(*b));
}

void buf_free(struct buf *b)
{
	free(b->data);
	buf_init(b);
}

void buf_wipe_free(struct buf *b)
{
	mem_wipe(b->data, b->cap);
	buf_free(b);
}

bool buf_reserve(struct buf *b, size_t n)
{
	size_t used = b->end - b->start, cap;
	uint8_t *data;

	if (b->failed)
		return false;
	if (b->cap - b->end >= n)
		return true;
	if (n > SIZE_MAX / 4 || used > SIZE_MAX / 4)
		goto failed;
	if (b->start >= used && b->cap >= used + n) {
		/* At most as many bytes move as were taken before, so this stays linear. */
		memmove(b->data, b->data + b->start, used);
		b->start = 0;
		b->end = used;
		return true;
	}
	for (cap = b->cap ? b->cap : FIRST_CAP; cap < used + n; cap *= 2)
		;
	/* Not realloc(): it may leave a copy of a secret behind and would also copy the taken bytes. */
	data = malloc(cap);
	if (!data)
		goto failed;
	if (used)
		memcpy(data, b->data + b->start, used);
	free(b->data);
	b->data = data;
	b->start = 0;
	b->end = used;
	b->cap = cap;
	return true;
failed:
	b->failed = true;
	return false;
}

void buf_put(struct buf *b, const void *bytes, size_t n)
{
	if (n == 0 || !buf_reserve(b, n))
		return;
	memcpy(b->data + b->end, bytes, n);
	b->end += n;
}

void buf_put_u8(struct buf *b, uint8_t v)
{
	buf_put(b, &v, 1);
}

void buf_put_u16(struct buf *b, uint16_t v)
{
	uint8_t be[2] = {(uint8_t)(v >> 8), (uint8_t)v};

	buf_put(b, be, sizeof(be));
}

void buf_put_u32(struct buf *b, uint32_t v)
{
	uint8_t be[4];

	set_u32(be, v);
	buf_put(b, be, sizeof(be));
}

void buf_put_u64(struct buf *b, uint64_t v)
{
	buf_put_u32(b, (uint32_t)(v >> 32));
	buf_put_u32(b, (uint32_t)v);
}

void buf_put_str(struct buf *b, const char *s)
{
	buf_put(b, s, strlen(s) + 1);
}

void buf_put_text(struct buf *b, const char *s)
{
	buf_put(b, s, strlen(s));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap, again;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		b->failed = true;
	else if (buf_reserve(b, (size_t)n + 1)) {
		vsnprintf((char *)b->data + b->end, (size_t)n + 1, fmt, again);
		b->end += (size_t)n;
	}
	va_end(again);
}

void buf_patch_u32(struct buf *b, size_t offset, uint32_t v)
{
	if (!b->failed && offset + 4 <= buf_len(b))
		set_u32(b->data + b->start + offset, v);
}

void buf_take(struct buf *b, size_t n)
{
	b->start += n;
	if (b->start == b->end)
		b->start = b->end = 0;
}

void buf_clear(struct buf *b)
{
	b->start = b->end = 0;
	b->failed = false;
}
