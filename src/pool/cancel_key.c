#include "pool/cancel_key.h"

#include "lib/mem.h"

#define TTL_BITS 0x03

void cancel_key_make(uint8_t key[CANCEL_KEY_LEN], int peer_id)
{
	mem_random(key, CANCEL_KEY_LEN);
	/* The first half is shown as a process id, which clients take for positive. */
	key[0] &= 0x7f;
	if (peer_id <= 0)
		return;
	key[1] = (uint8_t)(peer_id & 0xff);
	key[2] = (uint8_t)(peer_id >> 8);
	cancel_key_restore(key);
}

int cancel_key_peer(const uint8_t key[CANCEL_KEY_LEN])
{
	return key[1] | key[2] << 8;
}

void cancel_key_restore(uint8_t key[CANCEL_KEY_LEN])
{
	key[7] |= TTL_BITS;
}

bool cancel_key_step(uint8_t key[CANCEL_KEY_LEN])
{
	if ((key[7] & TTL_BITS) == 0)
		return false;
	key[7]--;
	return true;
}
