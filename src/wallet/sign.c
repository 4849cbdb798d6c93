#include "wallet/sign.h"

#include <inttypes.h>
#include <secp256k1.h>
#include <secp256k1_recovery.h>
#include <stdio.h>
#include <string.h>

#include "lib/hex.h"
#include "lib/mem.h"
#include "wallet/eip191.h"

/* Blinded, so that power and timing tell less about the key. The caller destroys it; NULL: failed. */
static secp256k1_context *secret_context(void)
{
	secp256k1_context *ctx;
	uint8_t seed[32];
	int blinded;

	secp256k1_selftest();
	ctx = secp256k1_context_create(SECP256K1_CONTEXT_NONE);
	if (!ctx)
		return NULL;
	mem_random(seed, sizeof(seed));
	blinded = secp256k1_context_randomize(ctx, seed);
	mem_wipe(seed, sizeof(seed));
	if (!blinded) {
		secp256k1_context_destroy(ctx);
		return NULL;
	}
	return ctx;
}

bool wallet_key_is_valid(const struct wallet_key *key)
{
	return secp256k1_ec_seckey_verify(secp256k1_context_static, key->bytes);
}

void wallet_key_make(struct wallet_key *key)
{
	/* A second round is needed about once in 2^128 keys. */
	do
		mem_random(key->bytes, sizeof(key->bytes));
	while (!wallet_key_is_valid(key));
}

void wallet_key_wipe(struct wallet_key *key)
{
	mem_wipe(key, sizeof(*key));
}

int wallet_key_address(const struct wallet_key *key, struct wallet_address *out)
{
	secp256k1_context *ctx = secret_context();
	secp256k1_pubkey public_key;
	uint8_t bytes[65];
	size_t len = sizeof(bytes);
	int made;

	if (!ctx)
		return -1;
	made = secp256k1_ec_pubkey_create(ctx, &public_key, key->bytes);
	if (made) {
		secp256k1_ec_pubkey_serialize(ctx, bytes, &len, &public_key, SECP256K1_EC_UNCOMPRESSED);
		wallet_address_of_key(bytes, out);
	}
	secp256k1_context_destroy(ctx);
	return made ? 0 : -1;
}

int wallet_sign_hash(const struct wallet_key *key, const uint8_t hash[32], uint8_t out[65])
{
	secp256k1_context *ctx = secret_context();
	secp256k1_ecdsa_recoverable_signature signature;
	int parity, made;

	if (!ctx)
		return -1;
	/* No nonce function given: RFC 6979, and the library makes s low. */
	made = secp256k1_ecdsa_sign_recoverable(ctx, &signature, hash, key->bytes, NULL, NULL);
	if (made) {
		secp256k1_ecdsa_recoverable_signature_serialize_compact(ctx, out, &parity, &signature);
		made = parity <= 1; /* 2 and 3 have no v: once in 2^127, another second will do */
		out[64] = (uint8_t)(27 + parity);
	}
	secp256k1_context_destroy(ctx);
	return made ? 0 : -1;
}

int wallet_sign_login(const struct wallet_key *key, int64_t at, char out[WALLET_LOGIN_LEN + 1])
{
	uint8_t hash[32], signature[65];
	int digits;

	if (at < 0)
		return -1;
	digits = snprintf(out, WALLET_LOGIN_LEN + 1, "%" PRId64, at);
	eip191_hash(out, (size_t)digits, hash);
	if (wallet_sign_hash(key, hash, signature) != 0)
		return -1;
	memcpy(out + digits, ":0x", 3);
	hex_encode(signature, sizeof(signature), out + digits + 3);
	return 0;
}
