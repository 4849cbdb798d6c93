#include "lib/keccak.h"

#include <nettle/sha3.h>
#include <string.h>

_Static_assert(sizeof(struct sha3_state) == sizeof(((struct keccak256 *)0)->lanes), "nettle's state is 25 lanes");

static void absorb(struct keccak256 *k)
{
	struct sha3_state state;

	/* Lanes are little-endian on every machine (Keccak reference, section 1.2). */
	for (size_t i = 0; i < KECCAK256_BLOCK; i++)
		k->lanes[i / 8] ^= (uint64_t)k->block[i] << (8 * (i % 8));
	memcpy(state.a, k->lanes, sizeof(state.a));
	sha3_permute(&state);
	memcpy(k->lanes, state.a, sizeof(k->lanes));
	k->used = 0;
}

void keccak256_init(struct keccak256 *k)
{
	memset(k, 0, sizeof(*k));
}

void keccak256_add(struct keccak256 *k, const void *bytes, size_t len)
{
	const uint8_t *from = bytes;

	while (len > 0) {
		size_t room = KECCAK256_BLOCK - k->used, n = len < room ? len : room;

		memcpy(k->block + k->used, from, n);
		k->used += n;
		from += n;
		len -= n;
		if (k->used == KECCAK256_BLOCK)
			absorb(k);
	}
}

void keccak256_end(struct keccak256 *k, uint8_t out[KECCAK256_BYTES])
{
	/*
	 * Keccak pads 0x01 .. 0x80 where SHA3 pads 0x06 .. 0x80. With one byte
	 * left in the block both land on the same byte.
	 */
	memset(k->block + k->used, 0, KECCAK256_BLOCK - k->used);
	k->block[k->used] = 0x01;
	k->block[KECCAK256_BLOCK - 1] |= 0x80;
	absorb(k);
	for (size_t i = 0; i < KECCAK256_BYTES; i++)
		out[i] = (uint8_t)(k->lanes[i / 8] >> (8 * (i % 8)));
}

void keccak256(const void *bytes, size_t len, uint8_t out[KECCAK256_BYTES])
{
	struct keccak256 k;

	keccak256_init(&k);
	keccak256_add(&k, bytes, len);
	keccak256_end(&k, out);
}
