/*
 * proto/reader.h - take PostgreSQL protocol values out of a byte range.
 *
 * A reader is a cursor over bytes that somebody else owns. Strings it
 * returns point into that range and live exactly as long.
 *
 * Reading past the end, or a string with no NUL, marks the reader bad and
 * yields 0 or "". So a message is read straight down and judged once:
 *
 *	name = reader_str(&r);
 *	if (!reader_done(&r))		// bad, or bytes left over
 *		return PROTO_BAD;
 *
 * Knows nothing of sockets, clients or pools.  Tests: test/unit/test_proto.c
 */
#ifndef PROTO_READER_H
#define PROTO_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/span.h"

struct reader {
	const uint8_t *at, *end;
	bool bad;
};

struct reader reader_over(const void *bytes, size_t len);
struct reader reader_over_span(struct span);
uint8_t reader_u8(struct reader *);
uint16_t reader_u16(struct reader *); /* network order in, host order out */
uint32_t reader_u32(struct reader *);
const char *reader_str(struct reader *);		/* NUL-terminated, borrowed; "" when bad */
struct span reader_bytes(struct reader *, size_t n);	/* borrowed; empty when bad */
size_t reader_left(const struct reader *);
bool reader_ok(const struct reader *);	 /* nothing went wrong so far */
bool reader_done(const struct reader *); /* ok, and every byte was read */

#endif
