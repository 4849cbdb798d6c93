#include "wallet/siwe.h"

#include <string.h>
#include <strings.h>

#include "lib/hex.h"
#include "lib/rfc3339.h"
#include "wallet/bound.h"
#include "wallet/decimal.h"

#define WANTS " wants you to sign in with your Ethereum account:"
#define CHAIN_DIGITS_MAX 18

/* ---- characters: RFC 3986 ---- */

static bool is_letter(uint8_t c)
{
	return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static bool is_one_of(uint8_t c, const char *set)
{
	return c && strchr(set, c);
}

static bool is_unreserved(uint8_t c)
{
	return is_letter(c) || is_digit(c) || is_one_of(c, "-._~");
}

static bool is_sub_delim(uint8_t c)
{
	return is_one_of(c, "!$&'()*+,;=");
}

static bool is_reserved(uint8_t c)
{
	return is_one_of(c, ":/?#[]@") || is_sub_delim(c);
}

/* Bytes of the character at p that may stand there, by the given class, or of %XX; 0: none. */
static size_t take_char(const uint8_t *p, size_t left, bool (*fits)(uint8_t))
{
	if (fits(*p))
		return 1;
	return left >= 3 && *p == '%' && hex_digit(p[1]) >= 0 && hex_digit(p[2]) >= 0 ? 3 : 0;
}

static bool is_made_of(struct span s, bool (*fits)(uint8_t))
{
	for (size_t i = 0, n; i < s.len; i += n) {
		n = take_char(s.ptr + i, s.len - i, fits);
		if (n == 0)
			return false;
	}
	return true;
}

static bool fits_uri(uint8_t c)
{
	return is_unreserved(c) || is_reserved(c);
}

static bool fits_host(uint8_t c)
{
	return is_unreserved(c) || is_sub_delim(c);
}

static bool fits_literal(uint8_t c)
{
	return is_unreserved(c) || is_sub_delim(c) || c == ':';
}

static bool fits_request_id(uint8_t c)
{
	return is_unreserved(c) || is_sub_delim(c) || c == ':' || c == '@';
}

/* No percent signs here. */
static bool statement_is_good(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!fits_uri(s.ptr[i]) && s.ptr[i] != ' ')
			return false;
	return true;
}

bool siwe_scheme_is_good(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!is_letter(s.ptr[i]) && (i == 0 || (!is_digit(s.ptr[i]) && !is_one_of(s.ptr[i], "+-."))))
			return false;
	return s.len > 0;
}

static bool uri_is_good(struct span s)
{
	const uint8_t *colon = memchr(s.ptr, ':', s.len);
	size_t scheme = colon ? (size_t)(colon - s.ptr) : 0;

	return colon && siwe_scheme_is_good(span_of(s.ptr, scheme)) &&
	       is_made_of(span_of(colon + 1, s.len - scheme - 1), fits_uri);
}

/* host [":" port], the host perhaps in [brackets]. Without userinfo: name@host would show one name and mean another. */
bool siwe_domain_is_good(struct span s)
{
	const uint8_t *end = s.ptr + s.len, *at;
	bool is_literal = s.len > 0 && s.ptr[0] == '[';

	if (is_literal) {
		at = memchr(s.ptr, ']', s.len);
		if (!at || at == s.ptr + 1 || !is_made_of(span_of(s.ptr + 1, (size_t)(at - s.ptr - 1)), fits_literal) ||
		    memchr(s.ptr, '%', (size_t)(at - s.ptr)))
			return false;
		at++;
	} else {
		at = memchr(s.ptr, ':', s.len);
		if (!at)
			at = end;
		if (at == s.ptr || !is_made_of(span_of(s.ptr, (size_t)(at - s.ptr)), fits_host))
			return false;
	}
	if (at == end)
		return true;
	return *at == ':' && (at + 1 == end || span_is_digits(span_of(at + 1, (size_t)(end - at - 1))));
}

/* ---- lines ---- */

/* What is left of the text; ptr NULL: its last line was taken. */
static bool take_line(struct span *rest, struct span *line)
{
	const uint8_t *end;

	if (!rest->ptr)
		return false;
	end = memchr(rest->ptr, '\n', rest->len);
	*line = span_of(rest->ptr, end ? (size_t)(end - rest->ptr) : rest->len);
	*rest = end ? span_of(end + 1, rest->len - line->len - 1) : span_of(NULL, 0);
	return true;
}

/* A line that begins with key. false, and nothing taken, when it does not. */
static bool take_field(struct span *rest, const char *key, struct span *value)
{
	struct span left = *rest, line;
	size_t n = strlen(key);

	if (!take_line(&left, &line) || line.len < n || memcmp(line.ptr, key, n) != 0)
		return false;
	*value = span_of(line.ptr + n, line.len - n);
	*rest = left;
	return true;
}

static bool take_empty(struct span *rest)
{
	struct span line;

	return take_line(rest, &line) && line.len == 0;
}

static bool begins(struct span s, const char *text)
{
	return s.ptr && s.len >= strlen(text) && memcmp(s.ptr, text, strlen(text)) == 0;
}

static bool read_domain(struct span *rest, struct siwe_message *m)
{
	static const size_t tail = sizeof(WANTS) - 1;
	struct span line;

	if (!take_line(rest, &line) || line.len < tail || memcmp(line.ptr + line.len - tail, WANTS, tail) != 0)
		return false;
	m->domain = span_of(line.ptr, line.len - tail);
	for (size_t i = 0; i + 3 <= m->domain.len; i++)
		if (memcmp(m->domain.ptr + i, "://", 3) == 0) {
			m->scheme = span_of(m->domain.ptr, i);
			m->domain = span_of(m->domain.ptr + i + 3, m->domain.len - i - 3);
			break;
		}
	return (!m->scheme.ptr || siwe_scheme_is_good(m->scheme)) && siwe_domain_is_good(m->domain);
}

/* From behind the address: with nothing between the two empty lines there was no statement. */
static bool read_statement(struct span *rest, struct siwe_message *m)
{
	if (!take_empty(rest))
		return false;
	if (begins(*rest, "\nURI: "))
		return take_empty(rest);
	return take_line(rest, &m->statement) && statement_is_good(m->statement) && take_empty(rest);
}

static bool read_date(struct span text, int64_t *out)
{
	return rfc3339_parse_instant((const char *)text.ptr, text.len, out);
}

static bool read_times(struct span *rest, struct siwe_message *m)
{
	if (!take_field(rest, "Issued At: ", &m->issued_text) || !read_date(m->issued_text, &m->issued))
		return false;
	if (take_field(rest, "Expiration Time: ", &m->expires_text) && !read_date(m->expires_text, &m->expires))
		return false;
	return !take_field(rest, "Not Before: ", &m->not_before_text) || read_date(m->not_before_text, &m->not_before);
}

static bool read_resources(struct span *rest, struct siwe_message *m)
{
	struct span line;

	while (take_field(rest, "- ", &line)) {
		if (m->resource_count == SIWE_RESOURCES_MAX || !uri_is_good(line))
			return false;
		m->resources[m->resource_count++] = line;
	}
	return true;
}

static bool read_fields(struct span *rest, struct siwe_message *m)
{
	struct span line;

	if (!take_field(rest, "URI: ", &m->uri) || !uri_is_good(m->uri) || !take_line(rest, &line) ||
	    !span_is(line, "Version: 1") || !take_field(rest, "Chain ID: ", &m->chain_id) ||
	    m->chain_id.len > CHAIN_DIGITS_MAX || !span_is_digits(m->chain_id) ||
	    !take_field(rest, "Nonce: ", &m->nonce) || !wallet_nonce_is_good(m->nonce) || !read_times(rest, m))
		return false;
	if (take_field(rest, "Request ID: ", &m->request_id) && !is_made_of(m->request_id, fits_request_id))
		return false;
	if (begins(*rest, "Resources:")) {
		m->has_resources = true;
		if (!take_line(rest, &line) || line.len != strlen("Resources:") || !read_resources(rest, m))
			return false;
	}
	return rest->ptr == NULL;
}

bool siwe_parse(struct span text, struct siwe_message *m)
{
	char again[SIWE_TEXT_MAX];
	struct span rest = text, address;

	memset(m, 0, sizeof(*m));
	if (text.len > SIWE_TEXT_MAX || !read_domain(&rest, m) || !take_line(&rest, &address) ||
	    !wallet_address_parse((const char *)address.ptr, address.len, &m->address) || !read_statement(&rest, m) ||
	    !read_fields(&rest, m))
		return false;
	/* The address's checksum is judged here, too: only one spelling comes out. */
	return siwe_write(m, again, sizeof(again)) == text.len && memcmp(again, text.ptr, text.len) == 0;
}

/* ---- writing ---- */

struct writing {
	char *out;
	size_t len, cap;
};

static void put(struct writing *w, struct span s)
{
	if (w->len < w->cap && s.len > 0)
		memcpy(w->out + w->len, s.ptr, s.len < w->cap - w->len ? s.len : w->cap - w->len);
	w->len += s.len;
}

static void put_text(struct writing *w, const char *text)
{
	put(w, span_str(text));
}

/* A line of its own, if there is a value. */
static void put_field(struct writing *w, const char *key, struct span value)
{
	if (!value.ptr)
		return;
	put_text(w, key);
	put(w, value);
}

size_t siwe_write(const struct siwe_message *m, char *out, size_t cap)
{
	struct writing w = {out, 0, cap};
	char address[WALLET_TEXT_LEN + 1];

	wallet_address_eip55(&m->address, address);
	if (m->scheme.ptr) {
		put(&w, m->scheme);
		put_text(&w, "://");
	}
	put(&w, m->domain);
	put_text(&w, WANTS "\n");
	put_text(&w, address);
	put_text(&w, "\n\n");
	put_field(&w, "", m->statement);
	if (m->statement.ptr)
		put_text(&w, "\n");
	put_field(&w, "\nURI: ", m->uri);
	put_text(&w, "\nVersion: 1");
	put_field(&w, "\nChain ID: ", m->chain_id);
	put_field(&w, "\nNonce: ", m->nonce);
	put_field(&w, "\nIssued At: ", m->issued_text);
	put_field(&w, "\nExpiration Time: ", m->expires_text);
	put_field(&w, "\nNot Before: ", m->not_before_text);
	put_field(&w, "\nRequest ID: ", m->request_id);
	if (m->has_resources)
		put_text(&w, "\nResources:");
	for (size_t i = 0; i < m->resource_count; i++)
		put_field(&w, "\n- ", m->resources[i]);
	return w.len;
}
