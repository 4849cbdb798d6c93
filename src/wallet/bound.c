#include "wallet/bound.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "wallet/decimal.h"

#define FIRST_LINE "PostgreSQL sign-in v1"

/* ---- values ---- */

bool wallet_nonce_is_good(struct span s)
{
	return s.len >= WALLET_NONCE_MIN && s.len <= WALLET_NONCE_MAX && span_is_alphanumeric(s);
}

static bool server_is_good(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] < 0x21 || s.ptr[i] > 0x7e)
			return false;
	return s.len >= 1 && s.len <= BOUND_SERVER_MAX;
}

/* Bytes of the character at p, at most len; 0: not UTF-8 (RFC 3629). */
static size_t utf8_length(const uint8_t *p, size_t len)
{
	size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;

	if (n == 0 || n > len)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	/* Longer than need be, surrogates, above U+10FFFF. */
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0) || (p[0] == 0xf0 && p[1] < 0x90) ||
	    (p[0] == 0xf4 && p[1] >= 0x90))
		return 0;
	return n;
}

static bool name_is_good(struct span s)
{
	if (s.len < 1 || s.len > BOUND_NAME_MAX || s.ptr[0] == ' ' || s.ptr[s.len - 1] == ' ')
		return false;
	for (size_t i = 0, n; i < s.len; i += n) {
		n = utf8_length(s.ptr + i, s.len - i);
		if (n == 0 || s.ptr[i] < 0x20 || s.ptr[i] == 0x7f)
			return false;
	}
	return true;
}

/* ---- lines ---- */

/* Takes "KEY: value" off the front of *rest. false, and nothing taken, when the next line has another key. */
static bool take_line(struct span *rest, const char *key, struct span *value)
{
	size_t key_len = strlen(key);
	const uint8_t *end;
	struct span line = *rest;

	if (!rest->ptr)
		return false;
	end = memchr(rest->ptr, '\n', rest->len);
	if (end)
		line.len = (size_t)(end - rest->ptr);
	if (line.len < key_len + 2 || memcmp(line.ptr, key, key_len) != 0 || memcmp(line.ptr + key_len, ": ", 2) != 0)
		return false;
	*value = span_of(line.ptr + key_len + 2, line.len - key_len - 2);
	/* Behind the last line there is nothing, not even an empty line. */
	*rest = end ? span_of(end + 1, rest->len - line.len - 1) : span_of(NULL, 0);
	return true;
}

static bool take_number(struct span *rest, const char *key, int64_t *out)
{
	struct span value;

	return take_line(rest, key, &value) && decimal_parse(value, out) == DECIMAL_OK;
}

static bool read_lines(struct span text, struct bound_message *m)
{
	static const char first[] = FIRST_LINE "\n";
	struct span rest, wallet;

	if (text.len < sizeof(first) - 1 || memcmp(text.ptr, first, sizeof(first) - 1) != 0)
		return false;
	rest = span_of(text.ptr + sizeof(first) - 1, text.len - (sizeof(first) - 1));
	if (!take_line(&rest, "server", &m->server) || !take_line(&rest, "database", &m->database) ||
	    !take_line(&rest, "wallet", &wallet) ||
	    !wallet_address_parse((const char *)wallet.ptr, wallet.len, &m->wallet))
		return false;
	if (!take_line(&rest, "role", &m->role))
		m->role = span_of(NULL, 0);
	return take_number(&rest, "issued", &m->issued) && take_number(&rest, "expires", &m->expires) &&
	       take_line(&rest, "nonce", &m->nonce) && rest.ptr == NULL;
}

bool bound_parse(struct span text, struct bound_message *m)
{
	char again[BOUND_TEXT_MAX];
	size_t len;

	if (!read_lines(text, m) || !server_is_good(m->server) || !name_is_good(m->database) ||
	    (m->role.ptr && !name_is_good(m->role)) || !wallet_nonce_is_good(m->nonce))
		return false;
	/* The wallet's checksum is judged here, too: only one spelling comes out. */
	len = bound_write(m, again);
	return len == text.len && memcmp(again, text.ptr, len) == 0;
}

/* ---- writing ---- */

static size_t put_line(char *out, const char *key, struct span value)
{
	size_t n = (size_t)sprintf(out, "%s: ", key);

	memcpy(out + n, value.ptr, value.len);
	out[n + value.len] = '\n';
	return n + value.len + 1;
}

static size_t put_number(char *out, const char *key, int64_t value)
{
	return (size_t)sprintf(out, "%s: %" PRId64 "\n", key, value);
}

size_t bound_write(const struct bound_message *m, char out[BOUND_TEXT_MAX])
{
	char wallet[WALLET_TEXT_LEN + 1];
	size_t n = (size_t)sprintf(out, FIRST_LINE "\n");

	wallet_address_eip55(&m->wallet, wallet);
	n += put_line(out + n, "server", m->server);
	n += put_line(out + n, "database", m->database);
	n += put_line(out + n, "wallet", span_str(wallet));
	if (m->role.ptr)
		n += put_line(out + n, "role", m->role);
	n += put_number(out + n, "issued", m->issued);
	n += put_number(out + n, "expires", m->expires);
	n += put_line(out + n, "nonce", m->nonce);
	return n - 1; /* the last LF */
}
