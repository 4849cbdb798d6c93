/*
 * wallet/eip191.h - the hash that personal_sign signs.
 *
 * EIP-191 version 0x45: a fixed prefix, the length of the message in decimal,
 * the message. The prefix keeps a login text from ever being a transaction
 * (ecdsa-login.md section 6).
 *
 * Tests: test/unit/test_wallet.c
 */
#ifndef WALLET_EIP191_H
#define WALLET_EIP191_H

#include <stddef.h>
#include <stdint.h>

/* message_bytes counts bytes, not characters. Cannot fail. */
void eip191_hash(const void *message, size_t message_bytes, uint8_t out[32]);

#endif
