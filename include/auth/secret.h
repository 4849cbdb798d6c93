/*
 * auth/secret.h - what a stored secret is, and MD5 answers.
 *
 * Told apart as PostgreSQL does (crypt.c): "md5" and 32 lower-case hex digits;
 * a SCRAM secret when the whole text parses; anything else is the password
 * itself, also what merely begins like a SCRAM secret (configuration
 * specification section 9).
 *
 * Tests: test/unit/test_auth.c
 */
#ifndef AUTH_SECRET_H
#define AUTH_SECRET_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/util.h"

enum secret_kind { SECRET_NONE, SECRET_PLAIN, SECRET_MD5, SECRET_SCRAM };

/* NULL and "" are SECRET_NONE. */
enum secret_kind secret_kind_of(const char *secret);

#define MD5_TEXT_LEN 35 /* "md5" and 32 digits, without the NUL */

/* "md5" + hex(md5(password || user)). false: OpenSSL has no MD5 here (FIPS). */
bool md5_secret(const char *password, const char *user, char out[MD5_TEXT_LEN + 1]) MUST_CHECK;
/* The answer to a challenge: "md5" + hex(md5(the 32 digits of secret || salt)). */
bool md5_answer(const char *secret, const uint8_t salt[4], char out[MD5_TEXT_LEN + 1]) MUST_CHECK;

/* Equal texts, in a time that tells nothing of where, or whether in length, they differ. */
bool secret_equal(const char *a, const char *b);

#endif
