#include "auth/scram.h"

#include <nettle/hmac.h>
#include <openssl/evp.h>
#include <string.h>

#include "auth/saslprep.h"
#include "lib/mem.h"

struct scram_attrs scram_attrs_of(struct span text)
{
	return (struct scram_attrs){text, true};
}

bool scram_attr_next(struct scram_attrs *a, char *name, struct span *value)
{
	const uint8_t *p = a->rest.ptr, *comma;
	size_t len;

	if (!a->more || a->rest.len < 2 || p[1] != '=' || !((p[0] | 32) >= 'a' && (p[0] | 32) <= 'z'))
		return false;
	comma = memchr(p, ',', a->rest.len);
	len = comma ? (size_t)(comma - p) : a->rest.len;
	if (len < 2 || memchr(p, 0, len))
		return false;
	*name = (char)p[0];
	*value = span_of(p + 2, len - 2);
	a->more = comma != NULL;
	a->rest = comma ? span_of(comma + 1, a->rest.len - len - 1) : span_of(p + len, 0);
	return true;
}

bool scram_attr_is(struct scram_attrs *a, char name, struct span *value)
{
	char found;

	return scram_attr_next(a, &found, value) && found == name;
}

bool scram_nonce_ok(struct span nonce)
{
	if (nonce.len < 1 || nonce.len > SCRAM_NONCE_MAX)
		return false;
	for (size_t i = 0; i < nonce.len; i++)
		if (nonce.ptr[i] < 0x21 || nonce.ptr[i] > 0x7e || nonce.ptr[i] == ',')
			return false;
	return true;
}

int scram_iterations_of(struct span text)
{
	int n = 0;

	/* Eight digits cannot overflow and are enough for SCRAM_ITERATIONS_MAX. */
	if (text.len < 1 || text.len > 8 || text.ptr[0] == '0')
		return -1;
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return -1;
		n = n * 10 + (text.ptr[i] - '0');
	}
	return n <= SCRAM_ITERATIONS_MAX ? n : -1;
}

void scram_nonce_make(char out[SCRAM_NONCE_TEXT + 1])
{
	uint8_t raw[SCRAM_NONCE_TEXT / 4 * 3];

	mem_random(raw, sizeof(raw));
	base64_encode(raw, sizeof(raw), out);
}

/* The text up to the separator, which must be there; moves *at behind it. */
static bool take_until(const char **at, char separator, struct span *part)
{
	const char *end = strchr(*at, separator);

	if (!end)
		return false;
	*part = span_of(*at, (size_t)(end - *at));
	*at = end + 1;
	return true;
}

static bool decode_key(struct span text, uint8_t key[SCRAM_KEY_LEN])
{
	size_t len;

	return base64_decode(text, key, SCRAM_KEY_LEN, &len) && len == SCRAM_KEY_LEN;
}

bool scram_secret_parse(const char *text, struct scram_secret *s)
{
	struct span mechanism, iterations, salt, stored;

	if (!take_until(&text, '$', &mechanism) || !span_is(mechanism, SCRAM_MECHANISM) ||
	    !take_until(&text, ':', &iterations) || !take_until(&text, '$', &salt) ||
	    !take_until(&text, ':', &stored))
		return false;
	s->iterations = scram_iterations_of(iterations);
	return s->iterations > 0 && base64_decode(salt, s->salt, sizeof(s->salt), &s->salt_len) &&
	       s->salt_len > 0 && decode_key(stored, s->stored_key) && decode_key(span_str(text), s->server_key);
}

bool scram_salted_password(const char *password, const uint8_t *salt, size_t salt_len, int iterations,
			   uint8_t out[SCRAM_KEY_LEN])
{
	struct span prepared;
	struct buf room;
	bool done;

	buf_init(&room);
	done = saslprep(password, &room, &prepared) &&
	       PKCS5_PBKDF2_HMAC((const char *)prepared.ptr, (int)prepared.len, salt, (int)salt_len, iterations,
				 EVP_sha256(), SCRAM_KEY_LEN, out) == 1;
	buf_wipe_free(&room);
	return done;
}

bool scram_hash(const void *bytes, size_t len, uint8_t out[SCRAM_KEY_LEN])
{
	struct sha256_ctx ctx;

	sha256_init(&ctx);
	sha256_update(&ctx, len, bytes);
	sha256_digest(&ctx, SCRAM_KEY_LEN, out);
	mem_wipe(&ctx, sizeof(ctx));
	return true;
}

bool scram_hmac(const uint8_t key[SCRAM_KEY_LEN], struct span text, uint8_t out[SCRAM_KEY_LEN])
{
	struct hmac_sha256_ctx ctx;

	/* Nettle's, because OpenSSL 3 looks its algorithms up anew for each of the four HMACs of a log-in. */
	hmac_sha256_set_key(&ctx, SCRAM_KEY_LEN, key);
	hmac_sha256_update(&ctx, text.len, text.ptr);
	hmac_sha256_digest(&ctx, SCRAM_KEY_LEN, out);
	mem_wipe(&ctx, sizeof(ctx));
	return true;
}

bool scram_client_key(const uint8_t salted[SCRAM_KEY_LEN], uint8_t out[SCRAM_KEY_LEN])
{
	return scram_hmac(salted, span_str("Client Key"), out);
}

bool scram_server_key(const uint8_t salted[SCRAM_KEY_LEN], uint8_t out[SCRAM_KEY_LEN])
{
	return scram_hmac(salted, span_str("Server Key"), out);
}

bool scram_cross(const uint8_t a[SCRAM_KEY_LEN], const uint8_t stored_key[SCRAM_KEY_LEN], struct span auth_message,
		 uint8_t out[SCRAM_KEY_LEN])
{
	uint8_t signature[SCRAM_KEY_LEN];

	if (!scram_hmac(stored_key, auth_message, signature))
		return false;
	for (int i = 0; i < SCRAM_KEY_LEN; i++)
		out[i] = a[i] ^ signature[i];
	return true;
}
