#include "token/grant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base64.h"
#include "lib/hex.h"
#include "lib/mem.h"
#include "token/token.h"
#include "wallet/bound.h"
#include "wallet/eip191.h"
#include "wallet/siwe.h"
#include "wallet/typed.h"

#define NONCE_LETTERS 20 /* of 62: 119 bits */

static struct span span_or_none(const char *text)
{
	return text ? span_str(text) : span_of(NULL, 0);
}

static void make_nonce(char out[NONCE_LETTERS + 1])
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	size_t n = 0;

	while (n < NONCE_LETTERS) {
		uint8_t byte;

		mem_random(&byte, 1);
		if (byte < 248) /* 4 * 62: every letter as often */
			out[n++] = letters[byte % 62];
	}
	out[n] = 0;
}

bool grant_is_complete(const struct grant *g)
{
	const char *fault = NULL;

	switch (g->format) {
	case ECDSA_FORMAT_TIMESTAMP:
		if (g->server || g->database || g->role || g->nonce)
			fault = "a timestamp names no server, database or role; choose another --format";
		break;
	case ECDSA_FORMAT_BOUND:
	case ECDSA_FORMAT_TYPED:
		if (!g->server)
			fault = "--server is needed: the name that the pooler goes by (ecdsa_server_names)";
		break;
	case ECDSA_FORMAT_SIWE:
		if (!g->domain)
			fault = "--domain is needed: the site that asks for the signature (ecdsa_siwe_domains)";
		else if (g->role && !g->server)
			fault = "--role stands in the URI of a database, which needs --server";
		break;
	case ECDSA_FORMATS:
		break;
	}
	if (!fault && g->format != ECDSA_FORMAT_SIWE &&
	    (g->domain || g->uri || g->statement || g->chain || g->request_id || g->resource_count > 0))
		fault = "--domain, --siwe-uri, --statement, --chain, --request-id and --resource go with --format siwe only";
	if (fault)
		complain("%s", fault);
	return !fault;
}

/* ---- the texts ---- */

/* false: a value in it may not stand in such a message, and that was complained of. */
static bool write_bound(const struct grant *g, const struct wallet_address *wallet, int64_t at, const char *database,
			const char *nonce, char text[BOUND_TEXT_MAX], size_t *len)
{
	struct bound_message m = {
		.server = span_str(g->server),
		.database = span_str(database ? database : "*"),
		.role = span_or_none(g->role),
		.nonce = span_str(nonce),
		.wallet = *wallet,
		.issued = at,
		.expires = at + g->life,
	}, again;

	/* Lengths first: what is written has room for good ones. */
	if (m.server.len <= BOUND_SERVER_MAX && m.database.len <= BOUND_NAME_MAX && m.role.len <= BOUND_NAME_MAX &&
	    m.nonce.len <= WALLET_NONCE_MAX) {
		*len = bound_write(&m, text);
		if (bound_parse(span_of(text, *len), &again))
			return true;
	}
	complain("a value cannot stand in the message: the server is 1 to 255 printable characters without spaces, database "
		 "and role are 1 to 63 bytes, and a nonce is 8 to 128 letters and digits");
	return false;
}

static void put_escaped(struct buf *b, const char *text)
{
	for (; *text; text++) {
		uint8_t c = (uint8_t)*text;

		if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z' && c < 0x80)
			buf_put_u8(b, c);
		else if ((c >= '0' && c <= '9') || strchr("-._~*", c))
			buf_put_u8(b, c);
		else
			buf_printf(b, "%%%02X", c);
	}
}

static void put_database_uri(struct buf *b, const struct grant *g, const char *database)
{
	buf_printf(b, "postgresql://%s/", g->server);
	put_escaped(b, database ? database : "*");
	if (g->role) {
		buf_put_text(b, "?role=");
		put_escaped(b, g->role);
	}
}

static bool write_date(int64_t seconds, char out[32])
{
	time_t t = (time_t)seconds;
	struct tm tm;

	return gmtime_r(&t, &tm) && strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) > 0;
}

/* Of a domain that has its scheme in front, or has none. Owned by the caller. */
static char *page_of(const struct grant *g)
{
	if (g->uri)
		return xstrdup(g->uri);
	return strstr(g->domain, "://") ? xasprintf("%s/", g->domain) : xasprintf("https://%s/", g->domain);
}

static bool write_siwe(const struct grant *g, const struct wallet_address *wallet, int64_t at, const char *database,
		       const char *nonce, char text[SIWE_TEXT_MAX], size_t *len)
{
	char issued[32], expires[32], *uri = page_of(g);
	struct siwe_message m = {
		.domain = span_str(g->domain),
		.address = *wallet,
		.statement = span_or_none(g->statement),
		.uri = span_str(uri),
		.chain_id = span_str(g->chain ? g->chain : "1"),
		.nonce = span_str(nonce),
		.request_id = span_or_none(g->request_id),
	}, again;
	struct buf resource;
	bool ok;

	buf_init(&resource);
	if (g->server) {
		put_database_uri(&resource, g, database);
		m.resources[m.resource_count++] = buf_span(&resource);
	}
	for (size_t i = 0; i < g->resource_count; i++)
		m.resources[m.resource_count++] = span_str(g->resources[i]);
	m.has_resources = m.resource_count > 0;
	ok = buf_ok(&resource) && write_date(at, issued) && write_date(at + g->life, expires);
	if (ok) {
		m.issued_text = span_str(issued);
		m.expires_text = span_str(expires);
		*len = siwe_write(&m, text, SIWE_TEXT_MAX);
		ok = *len <= SIWE_TEXT_MAX && siwe_parse(span_of(text, *len), &again);
	}
	buf_free(&resource);
	free(uri);
	if (!ok)
		complain("a value cannot stand in a Sign-In with Ethereum message (EIP-4361), or the message has more than "
			 "%d bytes", SIWE_TEXT_MAX);
	return ok;
}

/* ---- typed data as wallets want it: eth_signTypedData_v4 ---- */

static void put_json_text(struct buf *b, const char *name, struct span value)
{
	buf_printf(b, "\"%s\":\"", name);
	/* Values have no control bytes and are UTF-8: bound_parse() has seen them. */
	for (size_t i = 0; i < value.len; i++) {
		if (value.ptr[i] == '"' || value.ptr[i] == '\\')
			buf_put_u8(b, '\\');
		buf_put_u8(b, value.ptr[i]);
	}
	buf_put_text(b, "\"");
}

static void put_typed_json(struct buf *b, const struct bound_message *m)
{
	char wallet[WALLET_TEXT_LEN + 1];

	wallet_address_eip55(&m->wallet, wallet);
	buf_put_text(b, "{\"types\":{\"EIP712Domain\":[{\"name\":\"name\",\"type\":\"string\"},"
			"{\"name\":\"version\",\"type\":\"string\"}],\"SignIn\":["
			"{\"name\":\"server\",\"type\":\"string\"},{\"name\":\"database\",\"type\":\"string\"},"
			"{\"name\":\"wallet\",\"type\":\"address\"},{\"name\":\"role\",\"type\":\"string\"},"
			"{\"name\":\"issued\",\"type\":\"uint64\"},{\"name\":\"expires\",\"type\":\"uint64\"},"
			"{\"name\":\"nonce\",\"type\":\"string\"}]},\"primaryType\":\"SignIn\","
			"\"domain\":{\"name\":\"PostgreSQL sign-in\",\"version\":\"1\"},\"message\":{");
	put_json_text(b, "server", m->server);
	buf_put_text(b, ",");
	put_json_text(b, "database", m->database);
	buf_printf(b, ",\"wallet\":\"%s\",", wallet);
	put_json_text(b, "role", m->role);
	/* As texts: JavaScript's numbers end at 2^53. */
	buf_printf(b, ",\"issued\":\"%" PRId64 "\",\"expires\":\"%" PRId64 "\",", m->issued, m->expires);
	put_json_text(b, "nonce", m->nonce);
	buf_put_text(b, "}}\n");
}

/* ---- the password ---- */

static int sign(const struct signer *signer, enum ecdsa_format format, struct span text, const uint8_t digest[32],
		struct buf *out)
{
	const struct signing what = {format, text, digest};
	uint8_t signature[65];
	char hex[2 * sizeof(signature) + 1];

	if (signer_sign(signer, &what, signature) != 0)
		return -1;
	hex_encode(signature, sizeof(signature), hex);
	buf_put_text(out, ":0x");
	buf_put_str(out, hex);
	return 0;
}

static int sign_timestamp(const struct signer *signer, int64_t at, struct buf *out)
{
	char text[32];
	uint8_t digest[32];

	snprintf(text, sizeof(text), "%" PRId64, at);
	eip191_hash(text, strlen(text), digest);
	buf_put_text(out, text);
	return sign(signer, ECDSA_FORMAT_TIMESTAMP, span_str(text), digest, out);
}

static int sign_message(const struct signer *signer, enum ecdsa_format format, struct span text, struct buf *out)
{
	struct bound_message m;
	struct buf json;
	uint8_t digest[32];
	int ret;

	buf_printf(out, "%s:", ecdsa_format_word(format));
	base64url_put(out, text.ptr, text.len);
	if (format != ECDSA_FORMAT_TYPED) {
		eip191_hash(text.ptr, text.len, digest);
		return sign(signer, format, text, digest, out);
	}
	if (!bound_parse(text, &m))
		return -1;
	buf_init(&json);
	put_typed_json(&json, &m);
	typed_digest(&m, digest);
	ret = buf_ok(&json) ? sign(signer, format, buf_span(&json), digest, out) : -1;
	buf_free(&json);
	return ret;
}

int grant_make(const struct grant *g, const struct signer *signer, int64_t at, const char *database, struct buf *out)
{
	char nonce[NONCE_LETTERS + 1], text[SIWE_TEXT_MAX];
	size_t len = 0;
	int64_t end;

	_Static_assert(SIWE_TEXT_MAX >= BOUND_TEXT_MAX, "one buffer for both");
	if (g->format == ECDSA_FORMAT_TIMESTAMP)
		return sign_timestamp(signer, at, out);
	if (__builtin_add_overflow(at, g->life, &end)) {
		complain("the time is out of range");
		return -1;
	}
	if (!database)
		database = g->database;
	make_nonce(nonce);
	if (g->format == ECDSA_FORMAT_SIWE
		    ? !write_siwe(g, &signer->wallet, at, database, g->nonce ? g->nonce : nonce, text, &len)
		    : !write_bound(g, &signer->wallet, at, database, g->nonce ? g->nonce : nonce, text, &len))
		return -1;
	if (sign_message(signer, g->format, span_of(text, len), out) != 0)
		return -1;
	if (buf_ok(out) && buf_len(out) <= WALLET_PASSWORD_MAX)
		return 0;
	complain("the password is longer than %d bytes", WALLET_PASSWORD_MAX - 1);
	return -1;
}
