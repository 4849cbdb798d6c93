/*
 * token/scrypt.h - scrypt (RFC 7914) for parameters that OpenSSL refuses.
 *
 * RFC 7914 wants N < 2^(16 r), and OpenSSL holds to it. Keystores of some
 * Python libraries have N = 262144 with r = 1, which is beyond, and harmless.
 *
 * Tests: test/unit/test_token.c
 */
#ifndef TOKEN_SCRYPT_H
#define TOKEN_SCRYPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/util.h"

/* n is a power of two above 1. Takes 128 n r bytes, which are wiped. false: no memory, or OpenSSL fails. */
MUST_CHECK bool scrypt_derive(const char *passphrase, const uint8_t *salt, size_t salt_len, uint64_t n, uint64_t r,
			      uint64_t p, uint8_t *out, size_t len);

#endif
