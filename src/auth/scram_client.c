#include "auth/scram_client.h"

#include <stdlib.h>
#include <string.h>

#include "auth/server_auth.h"
#include "lib/mem.h"

struct scram_client {
	char nonce[SCRAM_NONCE_TEXT + 1];
	struct buf both_nonces;
	uint8_t salt[SCRAM_SALT_MAX];
	size_t salt_len;
	int iterations;
	bool has_first; /* server-first-message was taken */
	uint8_t client_key[SCRAM_KEY_LEN], server_key[SCRAM_KEY_LEN];
	struct buf auth_message; /* as in scram.c */
};

struct scram_client *scram_client_new(void)
{
	struct scram_client *c = calloc(1, sizeof(*c));

	if (c)
		scram_nonce_make(c->nonce);
	return c;
}

void scram_client_free(struct scram_client *c)
{
	if (!c)
		return;
	buf_wipe_free(&c->both_nonces);
	buf_wipe_free(&c->auth_message);
	mem_wipe(c, sizeof(*c));
	free(c);
}

void scram_client_first(struct scram_client *c, struct buf *out)
{
	/* No user name: PostgreSQL takes that of the start-up message. */
	buf_printf(&c->auth_message, "n=,r=%s", c->nonce);
	buf_printf(out, "n,,n=,r=%s", c->nonce);
}

bool scram_client_take_first(struct scram_client *c, struct span text)
{
	struct scram_attrs attrs = scram_attrs_of(text);
	struct span nonce, salt, iterations;

	if (c->has_first || !scram_attr_is(&attrs, 'r', &nonce) || !scram_attr_is(&attrs, 's', &salt) ||
	    !scram_attr_is(&attrs, 'i', &iterations) || attrs.more)
		return false;
	/* A server that repeats our nonce and adds nothing could replay an old exchange. */
	if (!scram_nonce_ok(nonce) || nonce.len <= SCRAM_NONCE_TEXT ||
	    memcmp(nonce.ptr, c->nonce, SCRAM_NONCE_TEXT) != 0)
		return false;
	c->iterations = scram_iterations_of(iterations);
	if (c->iterations < 0 || !base64_decode(salt, c->salt, sizeof(c->salt), &c->salt_len) || c->salt_len == 0)
		return false;
	c->has_first = true;
	buf_put(&c->both_nonces, nonce.ptr, nonce.len);
	buf_put_u8(&c->auth_message, ',');
	buf_put(&c->auth_message, text.ptr, text.len);
	return buf_ok(&c->both_nonces) && buf_ok(&c->auth_message);
}

bool scram_client_derive(struct scram_client *c, const char *password)
{
	uint8_t salted[SCRAM_KEY_LEN];
	bool done = scram_salted_password(password, c->salt, c->salt_len, c->iterations, salted) &&
		    scram_client_key(salted, c->client_key) && scram_server_key(salted, c->server_key);

	mem_wipe(salted, sizeof(salted));
	return done;
}

void scram_client_use_keys(struct scram_client *c, const uint8_t client_key[SCRAM_KEY_LEN],
			   const uint8_t server_key[SCRAM_KEY_LEN])
{
	memcpy(c->client_key, client_key, SCRAM_KEY_LEN);
	memcpy(c->server_key, server_key, SCRAM_KEY_LEN);
}

bool scram_client_use_derived(struct scram_client *c, const struct scram_derived *d)
{
	if (!d->known || d->iterations != c->iterations || d->salt_len != c->salt_len ||
	    memcmp(d->salt, c->salt, c->salt_len) != 0)
		return false;
	scram_client_use_keys(c, d->client_key, d->server_key);
	return true;
}

void scram_client_note_derived(const struct scram_client *c, struct scram_derived *d)
{
	mem_wipe(d, sizeof(*d));
	if (c->salt_len > sizeof(d->salt))
		return;
	d->known = true;
	d->iterations = c->iterations;
	d->salt_len = c->salt_len;
	memcpy(d->salt, c->salt, c->salt_len);
	memcpy(d->client_key, c->client_key, SCRAM_KEY_LEN);
	memcpy(d->server_key, c->server_key, SCRAM_KEY_LEN);
}

bool scram_client_final(struct scram_client *c, struct buf *out)
{
	uint8_t stored_key[SCRAM_KEY_LEN], proof[SCRAM_KEY_LEN];
	size_t before = buf_len(&c->auth_message);

	buf_put_text(&c->auth_message, ",c=biws,r="); /* biws: "n,," in base64 */
	buf_put(&c->auth_message, buf_data(&c->both_nonces), buf_len(&c->both_nonces));
	if (!buf_ok(&c->auth_message) || !scram_hash(c->client_key, SCRAM_KEY_LEN, stored_key) ||
	    !scram_cross(c->client_key, stored_key, buf_span(&c->auth_message), proof))
		return false;
	buf_put(out, buf_data(&c->auth_message) + before + 1, buf_len(&c->auth_message) - before - 1);
	buf_put_text(out, ",p=");
	base64_put(out, proof, sizeof(proof));
	return true;
}

bool scram_client_verify(struct scram_client *c, struct span text)
{
	struct scram_attrs attrs = scram_attrs_of(text);
	uint8_t theirs[SCRAM_KEY_LEN], expected[SCRAM_KEY_LEN];
	struct span value;
	size_t len;

	return scram_attr_is(&attrs, 'v', &value) && !attrs.more &&
	       base64_decode(value, theirs, sizeof(theirs), &len) && len == sizeof(theirs) &&
	       scram_hmac(c->server_key, buf_span(&c->auth_message), expected) &&
	       mem_equal_const_time(theirs, expected, sizeof(expected));
}
