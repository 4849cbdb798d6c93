/*
 * lib/buf.h - a growable run of bytes.
 *
 * Bytes are put at the end and taken from the front. A failed allocation (or
 * growth beyond max) marks the buffer failed, and everything after is dropped:
 * so a message is written straight down and judged once with buf_ok().
 *
 *	buf_put_u8(&b, 'R');
 *	buf_put_u32(&b, 8);
 *	if (!buf_ok(&b))
 *		return -1;
 *
 * An empty buffer owns no memory.  Tests: test/unit/test_lib.c
 */
#ifndef LIB_BUF_H
#define LIB_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/span.h"
#include "lib/util.h"

struct buf {
	uint8_t *data; /* owned */
	size_t start;  /* first byte not yet taken */
	size_t end;    /* one past the last byte */
	size_t cap;
	bool failed;
};

void buf_init(struct buf *);
void buf_free(struct buf *);	  /* releases the memory; the buffer is empty and usable */
void buf_wipe_free(struct buf *); /* the same, for secrets */

static inline size_t buf_len(const struct buf *b)
{
	return b->end - b->start;
}
static inline const uint8_t *buf_data(const struct buf *b)
{
	return b->data + b->start;
}
static inline struct span buf_span(const struct buf *b)
{
	return span_of(b->data ? b->data + b->start : (const uint8_t *)"", b->end - b->start);
}
static inline bool buf_ok(const struct buf *b)
{
	return !b->failed;
}

/* Room for at least n more bytes at data + end; false marks it failed. */
bool buf_reserve(struct buf *, size_t n);
void buf_put(struct buf *, const void *bytes, size_t n);
void buf_put_u8(struct buf *, uint8_t v);
void buf_put_u16(struct buf *, uint16_t v); /* network order, as all numbers here */
void buf_put_u32(struct buf *, uint32_t v);
void buf_put_u64(struct buf *, uint64_t v);
void buf_put_str(struct buf *, const char *s);	/* with its NUL */
void buf_put_text(struct buf *, const char *s); /* without */
void buf_printf(struct buf *, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Overwrites a number written earlier, offset counted from data + start. */
void buf_patch_u32(struct buf *, size_t offset, uint32_t v);
/* Drops n bytes from the front (n <= buf_len). Memory is kept unless it becomes empty and large. */
void buf_take(struct buf *, size_t n);
void buf_clear(struct buf *); /* drops the bytes and the failed mark, keeps the memory */

#endif
