/*
 * wallet/address.h - Ethereum addresses as text and as bytes.
 *
 * A wallet name is 0x and exactly 40 hex digits (ecdsa-login.md section 3).
 * At login the case of the digits never matters; in configuration a mixed
 * case name with a wrong EIP-55 checksum is an error.
 *
 * Tests: test/unit/test_wallet.c
 */
#ifndef WALLET_ADDRESS_H
#define WALLET_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WALLET_TEXT_LEN 42 /* without the NUL */

struct wallet_address {
	uint8_t bytes[20];
};

/* Any case. false when it is no wallet name. */
bool wallet_address_parse(const char *text, size_t len, struct wallet_address *);
enum address_spelling { ADDRESS_OK, ADDRESS_MALFORMED, ADDRESS_BAD_CHECKSUM };
/* For configuration: mixed case must carry a right EIP-55 checksum. On ADDRESS_BAD_CHECKSUM the address is filled in. */
enum address_spelling wallet_address_parse_strict(const char *text, size_t len, struct wallet_address *);
void wallet_address_lower(const struct wallet_address *, char out[WALLET_TEXT_LEN + 1]);
void wallet_address_eip55(const struct wallet_address *, char out[WALLET_TEXT_LEN + 1]);
/* Keccak-256 over X || Y of an uncompressed public key (65 bytes, 0x04 first): the last 20 bytes. */
void wallet_address_of_key(const uint8_t public_key[65], struct wallet_address *);

#endif
