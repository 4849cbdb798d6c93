/*
 * Mistakes that clients make (ecdsa-login.md section 26), recognised for the
 * log and for pg-ecdsa-token. They never turn a refusal into a login.
 */
#include <string.h>

#include "lib/hex.h"
#include "lib/keccak.h"
#include "lib/util.h"
#include "wallet/eip191.h"
#include "wallet/proof.h"
#include "wallet/typed.h"

typedef void mistaken_hash(const struct proof *, uint8_t out[32]);

static void hash_with_line_feed(const struct proof *p, uint8_t out[32])
{
	uint8_t line[SIWE_TEXT_MAX + 1];

	memcpy(line, p->text.ptr, p->text.len);
	line[p->text.len] = '\n';
	eip191_hash(line, p->text.len + 1, out);
}

static void hash_of_digits_as_hex(const struct proof *p, uint8_t out[32])
{
	char even[DECIMAL_DIGITS_MAX + 1];
	uint8_t bytes[sizeof(even) / 2];
	size_t pad = p->text.len % 2; /* an odd count gets a zero in front, as hex parsers do */

	even[0] = '0';
	memcpy(even + pad, p->text.ptr, p->text.len);
	hex_decode(even, bytes, (p->text.len + pad) / 2);
	eip191_hash(bytes, (p->text.len + pad) / 2, out);
}

static void hash_of_hash(const struct proof *p, uint8_t out[32])
{
	uint8_t inner[KECCAK256_BYTES];

	keccak256(p->text.ptr, p->text.len, inner);
	eip191_hash(inner, sizeof(inner), out);
}

static void hash_without_prefix(const struct proof *p, uint8_t out[32])
{
	keccak256(p->text.ptr, p->text.len, out);
}

static void hash_of_text(const struct proof *p, uint8_t out[32])
{
	eip191_hash(p->text.ptr, p->text.len, out);
}

static void hash_as_typed(const struct proof *p, uint8_t out[32])
{
	typed_digest(&p->bound, out);
}

static void hash_of_struct(const struct proof *p, uint8_t out[32])
{
	typed_struct_hash(&p->bound, out);
}

static const struct mistake {
	uint32_t formats; /* in which it can be made */
	mistaken_hash *hash;
	const char *explanation;
} mistakes[] = {
	{BIT(ECDSA_FORMAT_TIMESTAMP), hash_with_line_feed, "a line feed after the timestamp was signed too"},
	{BIT(ECDSA_FORMAT_TIMESTAMP), hash_of_digits_as_hex,
	 "the wallet took the digits of the timestamp for hexadecimal bytes"},
	{BIT(ECDSA_FORMAT_TIMESTAMP), hash_of_hash, "the hash of the timestamp was signed instead of its text"},
	{BIT(ECDSA_FORMAT_TIMESTAMP), hash_without_prefix, "the timestamp was signed without the EIP-191 prefix"},
	{BIT(ECDSA_FORMAT_BOUND) | BIT(ECDSA_FORMAT_SIWE), hash_with_line_feed,
	 "a line feed after the message was signed too"},
	{BIT(ECDSA_FORMAT_BOUND) | BIT(ECDSA_FORMAT_SIWE), hash_of_hash,
	 "the hash of the message was signed instead of its text"},
	{BIT(ECDSA_FORMAT_BOUND) | BIT(ECDSA_FORMAT_SIWE), hash_without_prefix,
	 "the message was signed without the EIP-191 prefix"},
	{BIT(ECDSA_FORMAT_BOUND), hash_as_typed, "the values were signed as typed data (EIP-712), which is format typed"},
	{BIT(ECDSA_FORMAT_TYPED), hash_of_text, "the text was signed, which is format bound, and not typed data (EIP-712)"},
	{BIT(ECDSA_FORMAT_TYPED), hash_of_struct, "the struct's hash was signed without domain separator and prefix 19 01"},
	{BIT(ECDSA_FORMAT_TYPED), hash_without_prefix, "the text was hashed and signed, and not typed data (EIP-712)"},
};

const char *ecdsa_explain_wrong_signer(const char *user, const void *password, size_t len)
{
	struct wallet_address claimed, signer;
	struct ecdsa_claim claim = {0};
	struct proof proof;
	uint8_t hash[32];

	if (!wallet_address_parse(user, strlen(user), &claimed) ||
	    proof_parse(password, len, BIT(ECDSA_FORMATS) - 1, &proof, &claim) != ECDSA_OK)
		return NULL;
	for (size_t i = 0; i < ARRAY_LEN(mistakes); i++) {
		if (!(mistakes[i].formats & BIT(claim.format)))
			continue;
		mistakes[i].hash(&proof, hash);
		if (wallet_signature_recover(&proof.signature, hash, &signer) &&
		    memcmp(signer.bytes, claimed.bytes, sizeof(signer.bytes)) == 0)
			return mistakes[i].explanation;
	}
	return NULL;
}
