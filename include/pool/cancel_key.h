/*
 * pool/cancel_key.h - the eight bytes by which a client's query is cancelled.
 *
 *	byte	0	  1, 2	      3 .. 6	7
 *		random,	  peer id,    random	random; its two lowest bits: how many
 *		top bit 0 low first		peers may still pass it on
 *
 * Without peering bytes 1, 2 and 7 are random as well. The layout is that of
 * PgBouncer 1.21 and later, so both can be peers of one group.
 *
 * Pure.  Rules: behaviour specification, sections 8, 24.  Tests: test/unit/test_pool.c
 */
#ifndef POOL_CANCEL_KEY_H
#define POOL_CANCEL_KEY_H

#include <stdbool.h>
#include <stdint.h>

#define CANCEL_KEY_LEN 8

/* A fresh random one; peer_id <= 0: peering is off. */
void cancel_key_make(uint8_t key[CANCEL_KEY_LEN], int peer_id);
/* Whose client it is; random when that process does no peering. */
int cancel_key_peer(const uint8_t key[CANCEL_KEY_LEN]);
/* As its client was given it, however many peers it has come through. */
void cancel_key_restore(uint8_t key[CANCEL_KEY_LEN]);
/* One peer further. false: it has come through too many, and is unchanged. */
bool cancel_key_step(uint8_t key[CANCEL_KEY_LEN]);

#endif
