/*
 * auth/scram.h - what both halves of SCRAM-SHA-256 share (RFC 5802, RFC 7677).
 *
 *	SaltedPassword = PBKDF2(password, salt, iterations)
 *	ClientKey      = HMAC(SaltedPassword, "Client Key")
 *	StoredKey      = SHA-256(ClientKey)
 *	ServerKey      = HMAC(SaltedPassword, "Server Key")
 *	proof          = ClientKey XOR HMAC(StoredKey, AuthMessage)
 *
 * Functions answer false when a text is malformed or OpenSSL fails (out of
 * memory); what they wrote is then of no use. Everything is bounded
 * (attacks.md rows 1, 2, 20).
 *
 * Tests: test/unit/test_auth.c, test/fuzz/fuzz_scram.c
 */
#ifndef AUTH_SCRAM_H
#define AUTH_SCRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base64.h"
#include "lib/buf.h"
#include "lib/span.h"
#include "lib/util.h"

#define SCRAM_MECHANISM "SCRAM-SHA-256"
#define SCRAM_KEY_LEN 32
#define SCRAM_NONCE_TEXT 24	      /* base64 of 18 random bytes */
#define SCRAM_NONCE_MAX 1024	      /* bytes of one side's nonce, or of both together */
#define SCRAM_SALT_MAX 1024	      /* bytes, decoded */
#define SCRAM_ITERATIONS_MAX 10000000 /* about 5 s of one core */

/* A stored secret: SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY */
struct scram_secret {
	uint8_t salt[SCRAM_SALT_MAX];
	size_t salt_len;
	int iterations;
	uint8_t stored_key[SCRAM_KEY_LEN], server_key[SCRAM_KEY_LEN];
};
bool scram_secret_parse(const char *text, struct scram_secret *) MUST_CHECK;


/* A walk over "a=value,b=value": no empty item, no NUL. */
struct scram_attrs {
	struct span rest;
	bool more;
};
struct scram_attrs scram_attrs_of(struct span text);
/* false: nothing more, or malformed. The value is borrowed from the text. */
bool scram_attr_next(struct scram_attrs *, char *name, struct span *value) MUST_CHECK;
/* The next attribute must have this name. */
bool scram_attr_is(struct scram_attrs *, char name, struct span *value) MUST_CHECK;

bool scram_nonce_ok(struct span nonce);	 /* 1 to SCRAM_NONCE_MAX printable bytes, no comma */
int scram_iterations_of(struct span text); /* 1 to SCRAM_ITERATIONS_MAX in canonical decimal, or -1 */
/* Base64 of 18 random bytes, with a NUL. */
void scram_nonce_make(char out[SCRAM_NONCE_TEXT + 1]);

/* PBKDF2 over the prepared password (auth/saslprep.h): milliseconds to seconds, so off the loop. */
bool scram_salted_password(const char *password, const uint8_t *salt, size_t salt_len, int iterations,
			   uint8_t out[SCRAM_KEY_LEN]) MUST_CHECK;
bool scram_client_key(const uint8_t salted[SCRAM_KEY_LEN], uint8_t out[SCRAM_KEY_LEN]) MUST_CHECK;
bool scram_server_key(const uint8_t salted[SCRAM_KEY_LEN], uint8_t out[SCRAM_KEY_LEN]) MUST_CHECK;
bool scram_hash(const void *bytes, size_t len, uint8_t out[SCRAM_KEY_LEN]) MUST_CHECK; /* SHA-256 */
bool scram_hmac(const uint8_t key[SCRAM_KEY_LEN], struct span text, uint8_t out[SCRAM_KEY_LEN]) MUST_CHECK;
/* out = a XOR HMAC(stored_key, auth_message): a proof from a ClientKey, or a ClientKey from a proof. */
bool scram_cross(const uint8_t a[SCRAM_KEY_LEN], const uint8_t stored_key[SCRAM_KEY_LEN], struct span auth_message,
		 uint8_t out[SCRAM_KEY_LEN]) MUST_CHECK;

#endif
