#include "proto/frame.h"

#define STARTUP_BYTES_MAX 65535u

enum proto_verdict frame_parse_startup(const uint8_t *bytes, size_t len, uint32_t max_packet, struct frame *f)
{
	uint32_t declared;

	if (len < 8)
		return PROTO_MORE;
	declared = get_u32(bytes);
	if (declared < 8 || declared > STARTUP_BYTES_MAX || declared > max_packet)
		return PROTO_BAD;
	*f = (struct frame){.type = 0, .code = get_u32(bytes + 4), .header_len = 8, .len = declared};
	return PROTO_OK;
}
