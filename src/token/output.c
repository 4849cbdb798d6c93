#include "token/output.h"

#include <string.h>

/* A colon would end the field, a backslash hide what follows. */
static void put_pgpass_field(struct buf *b, const char *value)
{
	for (value = value ? value : "*"; *value; value++) {
		if (*value == ':' || *value == '\\')
			buf_put_u8(b, '\\');
		buf_put_u8(b, (uint8_t)*value);
	}
}

static void put_pgpass(struct buf *b, const struct destination *d, const char *password)
{
	const char *const fields[] = {d->host, d->port, d->database, d->user};

	for (size_t i = 0; i < 4; i++) {
		put_pgpass_field(b, fields[i]);
		buf_put_u8(b, ':');
	}
	put_pgpass_field(b, password);
}

/* Everything but unreserved characters (RFC 3986): some drivers stumble over a colon. */
static void put_uri_part(struct buf *b, const char *value)
{
	for (; *value; value++) {
		uint8_t c = (uint8_t)*value;
		bool is_letter = c < 0x80 && (c | 0x20) >= 'a' && (c | 0x20) <= 'z';

		if (is_letter || (c >= '0' && c <= '9') || strchr("-._~", c))
			buf_put_u8(b, c);
		else
			buf_printf(b, "%%%02X", c);
	}
}

static void put_uri(struct buf *b, const struct destination *d, const char *password)
{
	buf_put_text(b, "postgresql://");
	put_uri_part(b, d->user);
	buf_put_u8(b, ':');
	put_uri_part(b, password);
	buf_put_u8(b, '@');
	/* An IPv6 address stands in brackets; the path of a Unix socket is a part like others. */
	if (d->host && strchr(d->host, ':'))
		buf_printf(b, "[%s]", d->host);
	else if (d->host)
		put_uri_part(b, d->host);
	if (d->port)
		buf_printf(b, ":%s", d->port);
	buf_put_u8(b, '/');
	if (d->database)
		put_uri_part(b, d->database);
}

void output_put(struct buf *b, enum output_kind kind, const struct destination *d, const char *password)
{
	switch (kind) {
	case OUTPUT_PASSWORD:
		buf_put_text(b, password);
		break;
	case OUTPUT_PGPASS:
		put_pgpass(b, d, password);
		break;
	case OUTPUT_URI:
		put_uri(b, d, password);
		break;
	}
	buf_put_u8(b, '\n');
}
