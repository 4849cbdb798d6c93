#include "wallet/eip191.h"

#include <stdio.h>

#include "lib/keccak.h"

void eip191_hash(const void *message, size_t message_bytes, uint8_t out[32])
{
	/* Two literals: "\x19E" would be read as one hex escape. */
	static const char prefix[] = "\x19" "Ethereum Signed Message:\n";
	char length[24];
	int digits = snprintf(length, sizeof(length), "%zu", message_bytes);
	struct keccak256 k;

	keccak256_init(&k);
	keccak256_add(&k, prefix, sizeof(prefix) - 1);
	keccak256_add(&k, length, (size_t)digits);
	keccak256_add(&k, message, message_bytes);
	keccak256_end(&k, out);
}
