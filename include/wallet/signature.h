/*
 * wallet/signature.h - 64 or 65 bytes in hexadecimal, and who made them.
 *
 * libsecp256k1 aborts the process on a parity other than 0 to 3, and takes a
 * high s; so a signature exists here only after it was judged
 * (ecdsa-login.md sections 7 and 8).
 *
 * Tests: test/unit/test_wallet.c, test/fuzz/fuzz_proof.c
 */
#ifndef WALLET_SIGNATURE_H
#define WALLET_SIGNATURE_H

#include <secp256k1.h>
#include <secp256k1_recovery.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/span.h"
#include "wallet/address.h"
#include "wallet/check.h"

struct wallet_signature {
	secp256k1_ecdsa_recoverable_signature parsed;
};

/* ECDSA_OK, or what is wrong with the text. */
enum ecdsa_reason wallet_signature_parse(struct span text, struct wallet_signature *);
/* false: no key fits. Otherwise its key verifies the signature over hash; no further check is needed. */
bool wallet_signature_recover(const struct wallet_signature *, const uint8_t hash[32], struct wallet_address *signer);

#endif
