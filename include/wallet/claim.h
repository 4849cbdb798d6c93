/*
 * wallet/claim.h - what the pooler tells PostgreSQL about a session's wallet,
 * so that PostgreSQL can check it (ecdsa-login.md section 20):
 *
 *	v1|WALLET|DATABASE|BACKEND PID|EXPIRES|HMAC-SHA-256 of all before this bar
 *
 * Wallet and HMAC in lower-case hexadecimal, expires in Unix seconds. The
 * database may hold bars itself; the three fields behind it cannot.
 *
 * Tests: test/unit/test_wallet.c, test/system/test_wallet_identity.py
 */
#ifndef WALLET_CLAIM_H
#define WALLET_CLAIM_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"
#include "wallet/address.h"

#define CLAIM_KEY_BYTES 32
#define CLAIM_SETTING "ecdsa.claim"

/* Appends the claim and a NUL. */
void claim_put(struct buf *, const uint8_t key[CLAIM_KEY_BYTES], const struct wallet_address *, const char *database,
	       uint32_t backend_pid, int64_t expires);

#endif
