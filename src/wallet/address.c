#include "wallet/address.h"

#include <string.h>

#include "lib/hex.h"
#include "lib/keccak.h"

bool wallet_address_parse(const char *text, size_t len, struct wallet_address *out)
{
	struct wallet_address a;

	if (len != WALLET_TEXT_LEN || text[0] != '0' || text[1] != 'x')
		return false;
	if (!hex_decode(text + 2, a.bytes, sizeof(a.bytes)))
		return false;
	*out = a;
	return true;
}

enum address_spelling wallet_address_parse_strict(const char *text, size_t len, struct wallet_address *out)
{
	char right[WALLET_TEXT_LEN + 1];
	bool has_lower = false, has_upper = false;

	if (!wallet_address_parse(text, len, out))
		return ADDRESS_MALFORMED;
	for (size_t i = 2; i < WALLET_TEXT_LEN; i++) {
		has_lower |= text[i] >= 'a' && text[i] <= 'f';
		has_upper |= text[i] >= 'A' && text[i] <= 'F';
	}
	/* One case throughout carries no checksum. */
	if (!has_lower || !has_upper)
		return ADDRESS_OK;
	wallet_address_eip55(out, right);
	return memcmp(text, right, WALLET_TEXT_LEN) == 0 ? ADDRESS_OK : ADDRESS_BAD_CHECKSUM;
}

void wallet_address_lower(const struct wallet_address *a, char out[WALLET_TEXT_LEN + 1])
{
	memcpy(out, "0x", 2);
	hex_encode(a->bytes, sizeof(a->bytes), out + 2);
}

/* EIP-55: digit i is upper case when nibble i of keccak256(lower-case digits, as ASCII) is 8 or more. */
void wallet_address_eip55(const struct wallet_address *a, char out[WALLET_TEXT_LEN + 1])
{
	uint8_t hash[KECCAK256_BYTES];

	wallet_address_lower(a, out);
	keccak256(out + 2, WALLET_TEXT_LEN - 2, hash);
	for (size_t i = 0; i < WALLET_TEXT_LEN - 2; i++) {
		uint8_t nibble = i % 2 ? hash[i / 2] & 15 : hash[i / 2] >> 4;

		if (nibble >= 8 && out[2 + i] >= 'a')
			out[2 + i] = (char)(out[2 + i] - 'a' + 'A');
	}
}

void wallet_address_of_key(const uint8_t public_key[65], struct wallet_address *out)
{
	uint8_t hash[KECCAK256_BYTES];

	keccak256(public_key + 1, 64, hash);
	memcpy(out->bytes, hash + sizeof(hash) - sizeof(out->bytes), sizeof(out->bytes));
}
