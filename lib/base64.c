#include "lib/base64.h"

static const char standard[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* One to three bytes become as many letters as they need, and padding up to four. Returns how many are letters. */
static size_t encode_group(const char *alphabet, const uint8_t *in, size_t n, char out[4])
{
	uint32_t bits = (uint32_t)in[0] << 16 | (n > 1 ? (uint32_t)in[1] << 8 : 0) | (n > 2 ? in[2] : 0);

	out[0] = alphabet[bits >> 18];
	out[1] = alphabet[bits >> 12 & 63];
	out[2] = n > 1 ? alphabet[bits >> 6 & 63] : '=';
	out[3] = n > 2 ? alphabet[bits & 63] : '=';
	return n + 1;
}

void base64_put(struct buf *b, const void *bytes, size_t len)
{
	char group[4];

	for (size_t i = 0; i < len; i += 3) {
		encode_group(standard, (const uint8_t *)bytes + i, len - i < 3 ? len - i : 3, group);
		buf_put(b, group, 4);
	}
}

void base64url_put(struct buf *b, const void *bytes, size_t len)
{
	char group[4];

	for (size_t i = 0; i < len; i += 3) {
		size_t n = encode_group(url, (const uint8_t *)bytes + i, len - i < 3 ? len - i : 3, group);

		buf_put(b, group, n);
	}
}

void base64_encode(const void *bytes, size_t len, char *out)
{
	for (size_t i = 0; i < len; i += 3, out += 4)
		encode_group(standard, (const uint8_t *)bytes + i, len - i < 3 ? len - i : 3, out);
	*out = 0;
}

static int value_of(uint8_t c, bool takes_url)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+' || (c == '-' && takes_url))
		return 62;
	if (c == '/' || (c == '_' && takes_url))
		return 63;
	return -1;
}

/* text has no padding any more. */
static bool decode(struct span text, bool takes_url, uint8_t *out, size_t cap, size_t *len)
{
	size_t n = 0, bytes = text.len / 4 * 3 + (text.len % 4 ? text.len % 4 - 1 : 0);
	uint32_t bits = 0;

	if (text.len % 4 == 1 || bytes > cap)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		int value = value_of(text.ptr[i], takes_url);

		if (value < 0)
			return false;
		bits = bits << 6 | (uint32_t)value;
		if (i % 4 == 3)
			for (int shift = 16; shift >= 0; shift -= 8)
				out[n++] = (uint8_t)(bits >> shift);
	}
	switch (text.len % 4) { /* what is left of bits: 12, of which 4 must be zero, or 18, of which 2 */
	case 2:
		out[n++] = (uint8_t)(bits >> 4);
		if (bits & 15)
			return false;
		break;
	case 3:
		out[n++] = (uint8_t)(bits >> 10);
		out[n++] = (uint8_t)(bits >> 2);
		if (bits & 3)
			return false;
	}
	*len = n;
	return true;
}

static size_t padding_of(struct span text)
{
	size_t pad = 0;

	while (pad < 2 && pad < text.len && text.ptr[text.len - 1 - pad] == '=')
		pad++;
	return pad;
}

bool base64_decode(struct span text, uint8_t *out, size_t cap, size_t *len)
{
	if (text.len % 4 != 0)
		return false;
	return decode(span_of(text.ptr, text.len - padding_of(text)), false, out, cap, len);
}

bool base64_decode_any(struct span text, uint8_t *out, size_t cap, size_t *len)
{
	size_t pad = padding_of(text);

	if (pad > 0 && text.len % 4 != 0)
		return false;
	return decode(span_of(text.ptr, text.len - pad), true, out, cap, len);
}
