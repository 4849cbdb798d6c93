#include "wallet/typed.h"

#include <string.h>

#include "lib/keccak.h"

/*
 * EIP712Domain(string name,string version), "PostgreSQL sign-in", "1". That
 * both constants are what they are said to be is a unit test.
 */
const uint8_t typed_domain_separator[32] = {
	0xf9, 0xed, 0xa8, 0x11, 0xa2, 0x62, 0x27, 0xe9, 0x7d, 0x37, 0x37, 0x65, 0x7d, 0x15, 0xad, 0xd2,
	0x24, 0xa6, 0x7a, 0xe3, 0x94, 0xf0, 0x7f, 0x67, 0x91, 0x5b, 0x3c, 0xfa, 0xd8, 0x0b, 0x7f, 0xf7,
};

/* SignIn(string server,string database,address wallet,string role,uint64 issued,uint64 expires,string nonce) */
static const uint8_t type_hash[32] = {
	0x74, 0x8d, 0x68, 0x0a, 0x6f, 0x0b, 0xe4, 0x19, 0x11, 0x7d, 0x05, 0x67, 0x88, 0x87, 0x2f, 0x38,
	0x82, 0x7a, 0x17, 0x9d, 0x6e, 0xdd, 0x04, 0x10, 0x33, 0xe5, 0x3a, 0x8c, 0xa2, 0xde, 0x31, 0x66,
};

static void add_text(struct keccak256 *k, struct span text)
{
	uint8_t hash[KECCAK256_BYTES];

	keccak256(text.ptr ? text.ptr : (const uint8_t *)"", text.len, hash);
	keccak256_add(k, hash, sizeof(hash));
}

static void add_number(struct keccak256 *k, int64_t value)
{
	uint8_t word[32] = {0};

	for (int i = 0; i < 8; i++)
		word[31 - i] = (uint8_t)((uint64_t)value >> 8 * i);
	keccak256_add(k, word, sizeof(word));
}

static void add_address(struct keccak256 *k, const struct wallet_address *a)
{
	uint8_t word[32] = {0};

	memcpy(word + sizeof(word) - sizeof(a->bytes), a->bytes, sizeof(a->bytes));
	keccak256_add(k, word, sizeof(word));
}

void typed_struct_hash(const struct bound_message *m, uint8_t out[32])
{
	struct keccak256 k;

	keccak256_init(&k);
	keccak256_add(&k, type_hash, sizeof(type_hash));
	add_text(&k, m->server);
	add_text(&k, m->database);
	add_address(&k, &m->wallet);
	add_text(&k, m->role);
	add_number(&k, m->issued);
	add_number(&k, m->expires);
	add_text(&k, m->nonce);
	keccak256_end(&k, out);
}

void typed_digest(const struct bound_message *m, uint8_t out[32])
{
	uint8_t hash[32];
	struct keccak256 k;

	typed_struct_hash(m, hash);
	keccak256_init(&k);
	keccak256_add(&k, "\x19\x01", 2);
	keccak256_add(&k, typed_domain_separator, sizeof(typed_domain_separator));
	keccak256_add(&k, hash, sizeof(hash));
	keccak256_end(&k, out);
}
