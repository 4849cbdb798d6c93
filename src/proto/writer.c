#include "proto/writer.h"

#include "proto/frame.h"

size_t msg_begin(struct buf *b, uint8_t type)
{
	size_t mark;

	if (type)
		buf_put_u8(b, type);
	mark = buf_len(b);
	buf_put_u32(b, 0);
	return mark;
}

void msg_end(struct buf *b, size_t mark)
{
	if (buf_ok(b))
		buf_patch_u32(b, mark, (uint32_t)(buf_len(b) - mark));
}

void put_auth_request(struct buf *b, uint32_t kind, const void *extra, size_t extra_len)
{
	size_t at = msg_begin(b, 'R');

	buf_put_u32(b, kind);
	if (extra_len)
		buf_put(b, extra, extra_len);
	msg_end(b, at);
}

static void put_field(struct buf *b, char field, const char *text)
{
	buf_put_u8(b, (uint8_t)field);
	buf_put_str(b, text);
}

void put_error(struct buf *b, const char *severity, const char *sqlstate, const char *text)
{
	size_t at = msg_begin(b, 'E');

	put_field(b, 'S', severity);
	put_field(b, 'C', sqlstate);
	put_field(b, 'M', text);
	buf_put_u8(b, 0);
	msg_end(b, at);
}

void put_notice(struct buf *b, const char *sqlstate, const char *text, const char *detail)
{
	size_t at = msg_begin(b, 'N');

	put_field(b, 'S', "NOTICE");
	put_field(b, 'C', sqlstate);
	put_field(b, 'M', text);
	if (detail)
		put_field(b, 'D', detail);
	buf_put_u8(b, 0);
	msg_end(b, at);
}

void put_parameter_status(struct buf *b, const char *name, const char *value)
{
	size_t at = msg_begin(b, 'S');

	buf_put_str(b, name);
	buf_put_str(b, value);
	msg_end(b, at);
}

void put_backend_key(struct buf *b, const uint8_t key[8])
{
	size_t at = msg_begin(b, 'K');

	buf_put(b, key, 8);
	msg_end(b, at);
}

void put_ready(struct buf *b, char status)
{
	size_t at = msg_begin(b, 'Z');

	buf_put_u8(b, (uint8_t)status);
	msg_end(b, at);
}

void put_command_complete(struct buf *b, const char *tag)
{
	size_t at = msg_begin(b, 'C');

	buf_put_str(b, tag);
	msg_end(b, at);
}

void put_negotiate_version(struct buf *b, uint32_t version, const char *const *names, size_t n)
{
	size_t at = msg_begin(b, 'v');

	buf_put_u32(b, version);
	buf_put_u32(b, (uint32_t)n);
	for (size_t i = 0; i < n; i++)
		buf_put_str(b, names[i]);
	msg_end(b, at);
}

void put_query(struct buf *b, const char *sql)
{
	size_t at = msg_begin(b, 'Q');

	buf_put_str(b, sql);
	msg_end(b, at);
}

void put_password(struct buf *b, const void *bytes, size_t len, int with_nul)
{
	size_t at = msg_begin(b, 'p');

	if (len)
		buf_put(b, bytes, len);
	if (with_nul)
		buf_put_u8(b, 0);
	msg_end(b, at);
}

void put_terminate(struct buf *b)
{
	msg_end(b, msg_begin(b, 'X'));
}

void put_cancel_request(struct buf *b, const uint8_t key[8])
{
	size_t at = msg_begin(b, 0);

	buf_put_u32(b, PROTO_CANCEL);
	buf_put(b, key, 8);
	msg_end(b, at);
}

void put_ssl_request(struct buf *b)
{
	size_t at = msg_begin(b, 0);

	buf_put_u32(b, PROTO_SSL);
	msg_end(b, at);
}

void put_startup(struct buf *b, const char *const *pairs, size_t n)
{
	size_t at = msg_begin(b, 0);

	buf_put_u32(b, PROTO_V3);
	for (size_t i = 0; i < 2 * n; i++)
		buf_put_str(b, pairs[i]);
	buf_put_u8(b, 0);
	msg_end(b, at);
}
