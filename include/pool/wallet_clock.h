/*
 * pool/wallet_clock.h - the time of day by which proofs are judged
 * (ecdsa-login.md section 11).
 *
 * With ecdsa_clock_floor it never runs backwards within the process, so that a
 * clock that is turned back revives no proof that was expired or used.
 *
 * A developer build adds the seconds that stand in the file named by
 * PGECDSA_CLOCK_FILE, so that tests can turn the clock.
 *
 * Tests: test/system/test_wallet_clock.py
 */
#ifndef POOL_WALLET_CLOCK_H
#define POOL_WALLET_CLOCK_H

#include <stdint.h>

#include "pool/room.h"

/* Unix seconds. Any thread. */
int64_t wallet_clock(struct pooler *, const struct settings *);

#endif
