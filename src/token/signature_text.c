/* What signers print, put into the one form that the pooler takes: ecdsa-login.md sections 7 and 26. */
#include <secp256k1.h>
#include <secp256k1_recovery.h>
#include <string.h>

#include "lib/base64.h"
#include "lib/hex.h"
#include "token/signer.h"

#define BYTES_MAX 80 /* DER has at most 72 */

static bool is_space(uint8_t c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct span trim(struct span s)
{
	while (s.len > 0 && is_space(s.ptr[s.len - 1]))
		s.len--;
	while (s.len > 0 && is_space(s.ptr[0]))
		s = span_of(s.ptr + 1, s.len - 1);
	/* Some print it as JSON does. */
	if (s.len >= 2 && s.ptr[0] == '"' && s.ptr[s.len - 1] == '"')
		s = span_of(s.ptr + 1, s.len - 2);
	return s;
}

static bool is_hex(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (hex_digit(s.ptr[i]) < 0)
			return false;
	return s.len > 0 && s.len % 2 == 0;
}

/* 65 and 64 bytes of base64 have letters that hexadecimal has not, but for one in 10^30. */
static bool decode(struct span text, uint8_t out[BYTES_MAX], size_t *len)
{
	struct span digits = text;

	if (text.len >= 2 && text.ptr[0] == '0' && (text.ptr[1] == 'x' || text.ptr[1] == 'X'))
		digits = span_of(text.ptr + 2, text.len - 2);
	if (!is_hex(digits))
		return base64_decode_any(text, out, BYTES_MAX, len);
	*len = digits.len / 2;
	return *len <= BYTES_MAX && hex_decode((const char *)digits.ptr, out, *len);
}

static bool recovers_to(const uint8_t rs[64], int parity, const uint8_t digest[32], const struct wallet_address *wallet)
{
	const secp256k1_context *ctx = secp256k1_context_static;
	secp256k1_ecdsa_recoverable_signature signature;
	secp256k1_pubkey key;
	struct wallet_address signer;
	uint8_t bytes[65];
	size_t len = sizeof(bytes);

	if (!secp256k1_ecdsa_recoverable_signature_parse_compact(ctx, &signature, rs, parity) ||
	    !secp256k1_ecdsa_recover(ctx, &key, &signature, digest))
		return false;
	secp256k1_ec_pubkey_serialize(ctx, bytes, &len, &key, SECP256K1_EC_UNCOMPRESSED);
	wallet_address_of_key(bytes, &signer);
	return memcmp(signer.bytes, wallet->bytes, sizeof(signer.bytes)) == 0;
}

/* s may be high, and nothing is known of the parity. */
static bool complete(secp256k1_ecdsa_signature *plain, const uint8_t digest[32], const struct wallet_address *wallet,
		     uint8_t out[65])
{
	const secp256k1_context *ctx = secp256k1_context_static;

	secp256k1_ecdsa_signature_normalize(ctx, plain, plain);
	secp256k1_ecdsa_signature_serialize_compact(ctx, out, plain);
	for (int parity = 0; parity <= 1; parity++) {
		out[64] = (uint8_t)(27 + parity);
		if (recovers_to(out, parity, digest, wallet))
			return true;
	}
	return false;
}

static bool complete_compact(const uint8_t rs[64], const uint8_t digest[32], const struct wallet_address *wallet,
			     uint8_t out[65])
{
	secp256k1_ecdsa_signature plain;

	return secp256k1_ecdsa_signature_parse_compact(secp256k1_context_static, &plain, rs) &&
	       complete(&plain, digest, wallet, out);
}

bool signature_from_text(struct span text, const uint8_t digest[32], const struct wallet_address *wallet, uint8_t out[65])
{
	secp256k1_ecdsa_signature plain;
	uint8_t bytes[BYTES_MAX];
	size_t len;

	if (!decode(trim(text), bytes, &len))
		return false;
	if (len != 64 && len != 65)
		return secp256k1_ecdsa_signature_parse_der(secp256k1_context_static, &plain, bytes, len) &&
		       complete(&plain, digest, wallet, out);
	if (complete_compact(bytes, digest, wallet, out))
		return true;
	/* Of 64 bytes the top bit of s may be the parity: EIP-2098. */
	bytes[32] &= 0x7f;
	return len == 64 && complete_compact(bytes, digest, wallet, out);
}
