#include "proto/frame.h"

#define STARTUP_BYTES_MAX 65535u

static uint32_t u32_at(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

enum proto_verdict frame_parse_startup(const uint8_t *bytes, size_t len, uint32_t max_packet, struct frame *f)
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
