#include "proto/frame.h"

#define STARTUP_BYTES_MAX 65535u

static uint32_t u32_at(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static enum proto_verdict startup_frame(const uint8_t *bytes, size_t len, uint32_t max_packet, struct frame *f)
{
	uint32_t declared;

	if (len < 8)
		return PROTO_MORE;
	declared = u32_at(bytes);
	if (declared < 8 || declared > STARTUP_BYTES_MAX || declared > max_packet)
		return PROTO_BAD;
	*f = (struct frame){.type = 0, .code = u32_at(bytes + 4), .header_len = 8, .len = declared};
	return PROTO_OK;
}

enum proto_verdict frame_parse(const uint8_t *bytes, size_t len, uint32_t max_packet, int allow_startup,
			       struct frame *f)
{
	uint32_t declared;

	if (len == 0)
		return PROTO_MORE;
	if (bytes[0] == 0)
		return allow_startup ? startup_frame(bytes, len, max_packet, f) : PROTO_BAD;
	if (len < 5)
		return PROTO_MORE;
	declared = u32_at(bytes + 1);
	/* The type byte counts, as it does for PgBouncer. */
	if (declared < 4 || declared >= max_packet)
		return PROTO_BAD;
	*f = (struct frame){.type = bytes[0], .code = 0, .header_len = 5, .len = (size_t)declared + 1};
	return PROTO_OK;
}
