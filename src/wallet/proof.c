/* Format, number or message, signature: ecdsa-login.md sections 4, 5, 14 to 16. */
#include "wallet/proof.h"

#include <string.h>

#include "lib/base64.h"
#include "lib/util.h"
#include "wallet/eip191.h"
#include "wallet/typed.h"

/* What a client meant whose first field is neither a number nor a format's word. */
static enum ecdsa_reason judge_unknown_field(struct span field)
{
	if (field.len == 0 || (field.ptr[0] >= '0' && field.ptr[0] <= '9') ||
	    (field.ptr[0] && strchr("+- \t\n\v\f\r", field.ptr[0])))
		return ECDSA_TIMESTAMP_MALFORMED;
	return ECDSA_FORMAT_UNKNOWN;
}

/* Up to the next colon, which is taken too; all of it when there is none. */
static struct span take_field(struct span *rest)
{
	const uint8_t *colon = memchr(rest->ptr, ':', rest->len);
	struct span field = span_of(rest->ptr, colon ? (size_t)(colon - rest->ptr) : rest->len);

	*rest = colon ? span_of(colon + 1, rest->len - field.len - 1) : span_of("", 0);
	return field;
}

static enum ecdsa_reason read_timestamp(struct span text, struct proof *p, struct ecdsa_claim *c)
{
	p->text = text;
	switch (decimal_parse(text, &p->timestamp)) {
	case DECIMAL_MALFORMED:
		return ECDSA_TIMESTAMP_MALFORMED;
	case DECIMAL_OVERFLOW:
		return ECDSA_TIMESTAMP_OVERFLOW;
	case DECIMAL_OK:
		break;
	}
	c->issued = p->timestamp;
	c->has_time = true;
	return ECDSA_OK;
}

static enum ecdsa_reason read_message(struct span encoded, struct proof *p, struct ecdsa_claim *c)
{
	if (!base64_decode_any(encoded, c->message, sizeof(c->message), &c->message_len))
		return ECDSA_MESSAGE_ENCODING;
	p->text = span_of(c->message, c->message_len);
	if (c->format == ECDSA_FORMAT_SIWE) {
		if (!siwe_parse(p->text, &p->siwe))
			return ECDSA_MESSAGE_MALFORMED;
		c->issued = p->siwe.issued;
	} else {
		if (!bound_parse(p->text, &p->bound))
			return ECDSA_MESSAGE_MALFORMED;
		c->issued = p->bound.issued;
	}
	c->has_time = true;
	return ECDSA_OK;
}

enum ecdsa_reason proof_parse(const uint8_t *password, size_t len, uint32_t formats, struct proof *p,
			      struct ecdsa_claim *c)
{
	struct span rest = span_of(password, len), field;
	enum ecdsa_reason reason;
	int format;

	if (len == 0)
		return ECDSA_PASSWORD_EMPTY;
	if (len + 1 > WALLET_PASSWORD_MAX)
		return ECDSA_PASSWORD_TOO_LONG;
	if (memchr(password, 0, len))
		return ECDSA_PACKET_MALFORMED;

	field = take_field(&rest);
	format = ecdsa_format_by_word((const char *)field.ptr, field.len);
	if (span_is_digits(field))
		format = ECDSA_FORMAT_TIMESTAMP;
	else if (format <= ECDSA_FORMAT_TIMESTAMP) /* its word is no tag */
		return judge_unknown_field(field);
	c->format = (enum ecdsa_format)format;
	c->has_format = true;
	if (!(formats & BIT(format)))
		return ECDSA_FORMAT_DISABLED;

	if (c->format == ECDSA_FORMAT_TIMESTAMP)
		reason = read_timestamp(field, p, c);
	else
		reason = read_message(take_field(&rest), p, c);
	return reason == ECDSA_OK ? wallet_signature_parse(rest, &p->signature) : reason;
}

void proof_digest(const struct proof *p, enum ecdsa_format format, uint8_t out[32])
{
	if (format == ECDSA_FORMAT_TYPED)
		typed_digest(&p->bound, out);
	else
		eip191_hash(p->text.ptr, p->text.len, out);
}
