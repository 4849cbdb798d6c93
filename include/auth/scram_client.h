/*
 * auth/scram_client.h - the client's half of SCRAM-SHA-256, without channel binding.
 *
 * For server_auth.c and tests. Texts are those inside SASL messages. A proof
 * comes from a password (scram_client_derive() first, off the loop) or from
 * keys that a client's own login left behind (pass-through).
 *
 * Rules: behaviour specification section 7.  Tests: test/unit/test_auth.c
 */
#ifndef AUTH_SCRAM_CLIENT_H
#define AUTH_SCRAM_CLIENT_H

#include <stdbool.h>

#include "auth/scram.h"
#include "lib/buf.h"
#include "lib/span.h"

struct scram_client;

/* NULL: out of memory. To be freed with scram_client_free(). */
struct scram_client *scram_client_new(void);
void scram_client_free(struct scram_client *); /* wipes; NULL is fine */

/* Puts client-first-message. */
void scram_client_first(struct scram_client *, struct buf *out);
/* server-first-message; false: malformed, or beyond a bound. Once only. */
bool scram_client_take_first(struct scram_client *, struct span text) MUST_CHECK;
/* PBKDF2 with the salt and count of server-first-message. password is borrowed for the call. */
bool scram_client_derive(struct scram_client *, const char *password) MUST_CHECK;
/* In place of scram_client_derive(). */
void scram_client_use_keys(struct scram_client *, const uint8_t client_key[SCRAM_KEY_LEN],
			   const uint8_t server_key[SCRAM_KEY_LEN]);
struct scram_derived;
/* Also in place of it, when the keys belong to the salt and count of server-first-message; false: they do not. */
bool scram_client_use_derived(struct scram_client *, const struct scram_derived *) MUST_CHECK;
/* Notes the keys for that, but for the secret they come from; forgets what was known before. */
void scram_client_note_derived(const struct scram_client *, struct scram_derived *);
/* Puts client-final-message. */
bool scram_client_final(struct scram_client *, struct buf *out) MUST_CHECK;
/* server-final-message: true when its signature proves that the server knows the secret as well. */
bool scram_client_verify(struct scram_client *, struct span text) MUST_CHECK;

#endif
