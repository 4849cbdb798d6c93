/*
 * wallet/typed.h - the digest of EIP-712 over the values of a bound message
 * (ecdsa-login.md section 16).
 *
 * One fixed struct and no general encoder: two constants, and Keccak-256.
 *
 * Tests: test/unit/test_formats.c, test/fuzz/fuzz_typed.c
 */
#ifndef WALLET_TYPED_H
#define WALLET_TYPED_H

#include <stdint.h>

#include "wallet/bound.h"

/* Cannot fail. */
void typed_digest(const struct bound_message *, uint8_t out[32]);
/* hashStruct of the message alone, for signers that want it apart; the domain separator is a constant. */
void typed_struct_hash(const struct bound_message *, uint8_t out[32]);
extern const uint8_t typed_domain_separator[32];

#endif
