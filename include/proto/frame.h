/*
 * proto/frame.h - where a message begins and ends.
 *
 * Two shapes (PostgreSQL docs, "Message Formats"): a type byte and an int32
 * length that counts itself; and, before the start-up is over, an int32
 * length and an int32 code without a type byte, told apart by a first byte 0.
 *
 * Tests: test/unit/test_proto.c
 */
#ifndef PROTO_FRAME_H
#define PROTO_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "lib/net_order.h"

enum proto_verdict { PROTO_OK, PROTO_MORE, PROTO_BAD };

/* Codes of messages without a type byte. */
#define PROTO_V3 196608u	 /* 3.0; the low 16 bits are the minor version */
#define PROTO_V2 131072u
#define PROTO_CANCEL 80877102u
#define PROTO_SSL 80877103u
#define PROTO_GSSENC 80877104u

struct frame {
	uint8_t type;	   /* 0 for a start-up style message */
	uint32_t code;	   /* start-up style only */
	size_t header_len; /* 5, or 8 */
	size_t len;	   /* of the whole message, header included */
};

/* The same of a message that begins with a byte 0. */
enum proto_verdict frame_parse_startup(const uint8_t *bytes, size_t len, uint32_t max_packet, struct frame *);

/*
 * Reads the header at bytes. PROTO_MORE: fewer than 5 (8) bytes there.
 * PROTO_BAD: a length below the header's or above max_packet, or a start-up
 * style message above 65535 bytes. A message counts whole, with its type byte,
 * as in PgBouncer 1.18 (test/differential). allow_startup says whether a first byte 0
 * may begin a start-up style message; where not, it is PROTO_BAD.
 * The body need not be there. Here, because it is done for every message that passes.
 */
static inline enum proto_verdict frame_parse(const uint8_t *bytes, size_t len, uint32_t max_packet, int allow_startup,
					     struct frame *f)
{
	uint32_t declared;

	if (len == 0)
		return PROTO_MORE;
	if (bytes[0] == 0)
		return allow_startup ? frame_parse_startup(bytes, len, max_packet, f) : PROTO_BAD;
	if (len < 5)
		return PROTO_MORE;
	declared = get_u32(bytes + 1);
	/* The type byte counts, as it does for PgBouncer. */
	if (declared < 4 || declared >= max_packet)
		return PROTO_BAD;
	*f = (struct frame){.type = bytes[0], .code = 0, .header_len = 5, .len = (size_t)declared + 1};
	return PROTO_OK;
}

#endif
