/*
 * lib/keccak.h - Keccak-256, the hash of Ethereum.
 *
 * Not SHA3-256: the sponge is the same, but NIST changed the padding after
 * Ethereum had chosen (ecdsa-login.md section 6). Nothing here can fail.
 *
 *	struct keccak256 k;
 *
 *	keccak256_init(&k);
 *	keccak256_add(&k, "ab", 2);
 *	keccak256_add(&k, "c", 1);
 *	keccak256_end(&k, hash);
 *
 * Tests: test/unit/test_wallet.c
 */
#ifndef LIB_KECCAK_H
#define LIB_KECCAK_H

#include <stddef.h>
#include <stdint.h>

#define KECCAK256_BYTES 32
#define KECCAK256_BLOCK 136 /* bytes absorbed between permutations: 200 - 2 * 32 */

struct keccak256 {
	uint64_t lanes[25];
	uint8_t block[KECCAK256_BLOCK];
	size_t used; /* bytes waiting in block; below KECCAK256_BLOCK between calls */
};

void keccak256_init(struct keccak256 *);
void keccak256_add(struct keccak256 *, const void *bytes, size_t len);
/* Call keccak256_init() before using the struct again. */
void keccak256_end(struct keccak256 *, uint8_t out[KECCAK256_BYTES]);
/* All three in one, for bytes that lie together. */
void keccak256(const void *bytes, size_t len, uint8_t out[KECCAK256_BYTES]);

#endif
