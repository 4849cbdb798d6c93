/*
 * wallet/sign.h - make a proof with a private key, for the token tool.
 *
 * The pooler never signs; it holds no wallet's key. Signatures use the
 * RFC 6979 nonce and low s, so they are the same bytes as those of the common
 * wallet libraries. Secret operations run in a context blinded with fresh
 * random bytes (ecdsa-login.md section 8).
 *
 * Tests: test/unit/test_wallet.c, test/system/test_token.py
 */
#ifndef WALLET_SIGN_H
#define WALLET_SIGN_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/util.h"
#include "wallet/address.h"

/* Longest login password: 19 digits, a colon, 0x, 130 digits. Without the NUL. */
#define WALLET_LOGIN_LEN 152

/* Secret. Whoever fills one in calls wallet_key_wipe() when done. */
struct wallet_key {
	uint8_t bytes[32]; /* big-endian scalar */
};

/* In 1 .. n-1, the order of the curve. The functions below expect such a key. */
bool wallet_key_is_valid(const struct wallet_key *);
/* A fresh key from the kernel's random source. */
void wallet_key_make(struct wallet_key *);
void wallet_key_wipe(struct wallet_key *);
/* The address that belongs to the key. -1: not a valid key, or out of memory. */
MUST_CHECK int wallet_key_address(const struct wallet_key *, struct wallet_address *);
/* r, s, v over a 32-byte hash, v being 27 or 28 (section 7). -1: not a valid key, or out of memory. */
MUST_CHECK int wallet_sign_hash(const struct wallet_key *, const uint8_t hash[32], uint8_t out[65]);
/* The whole password of section 5, "<at>:0x<signature>", at in Unix seconds. -1: as above, or at is negative. */
MUST_CHECK int wallet_sign_login(const struct wallet_key *, int64_t at, char out[WALLET_LOGIN_LEN + 1]);

#endif
