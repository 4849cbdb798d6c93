/*
 * token/keystore.h - an encrypted private key in JSON: Web3 Secret Storage,
 * version 3, as geth, foundry and other wallets keep them.
 *
 *	DK  = scrypt or PBKDF2-HMAC-SHA256 of the passphrase, 32 bytes
 *	key = AES-128-CTR of the ciphertext by DK[0..15]
 *	MAC = keccak256(DK[16..31] || ciphertext)
 *
 * Reading is bounded: the file by KEYSTORE_FILE_MAX, the work and the memory
 * of the derivation by what wallets use. Parsing is pure.
 *
 * Tests: test/unit/test_token.c, test/fuzz/fuzz_keystore.c, test/system/test_token_keys.py
 */
#ifndef TOKEN_KEYSTORE_H
#define TOKEN_KEYSTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/util.h"
#include "wallet/address.h"
#include "wallet/sign.h"

#define KEYSTORE_FILE_MAX 65536
#define KEYSTORE_SALT_MAX 256

struct keystore {
	bool is_scrypt; /* else PBKDF2 */
	uint64_t n, r, p; /* of scrypt */
	uint32_t rounds;  /* of PBKDF2 */
	uint8_t salt[KEYSTORE_SALT_MAX];
	size_t salt_len;
	uint8_t iv[16], ciphertext[32], mac[32];
	bool has_address;
	struct wallet_address address; /* valid when has_address; it may be left out for privacy */
};

/* NULL, or what is wrong, as a sentence about the keystore. */
const char *keystore_parse(const char *text, size_t len, struct keystore *);
enum keystore_result { KEYSTORE_OPEN, KEYSTORE_WRONG_PASSPHRASE, KEYSTORE_WRONG_ADDRESS, KEYSTORE_FAILED };
/* Takes a second or so: that is its purpose. *key is valid for KEYSTORE_OPEN. */
enum keystore_result keystore_decrypt(const struct keystore *, const char *passphrase, struct wallet_key *key);
/* The file; passphrase_file as in token/passphrase.h. -1: complained of. */
MUST_CHECK int keystore_from_file(const char *path, const char *passphrase_file, struct wallet_key *);

#endif
