#include "wallet/signature.h"

#include <pthread.h>
#include <string.h>

#include "lib/hex.h"

/* r, s and the parity of R, as they stand in the text. */
struct parts {
	uint8_t rs[64];
	int parity; /* 0 or 1 and nothing else: any other value makes the library abort */
};

static pthread_once_t selftest_once = PTHREAD_ONCE_INIT;

static void selftest(void)
{
	secp256k1_selftest(); /* aborts on a library built for another byte order */
}

/* Read-only, so all threads share it. It has no secret to blind. */
static const secp256k1_context *verify_context(void)
{
	pthread_once(&selftest_once, selftest);
	return secp256k1_context_static;
}

static bool is_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

static enum ecdsa_reason parse_hex(struct span text, struct parts *out)
{
	uint8_t bytes[65];
	size_t n;

	if (text.len >= 2 && text.ptr[0] == '0' && text.ptr[1] == 'x')
		text = span_of(text.ptr + 2, text.len - 2);
	if (text.len != 130 && text.len != 128)
		return ECDSA_SIGNATURE_LENGTH;
	n = text.len / 2;
	if (!hex_decode((const char *)text.ptr, bytes, n))
		return ECDSA_SIGNATURE_NOT_HEX;
	if (n == 65) {
		switch (bytes[64]) {
		case 0:
		case 27:
			out->parity = 0;
			break;
		case 1:
		case 28:
			out->parity = 1;
			break;
		default:
			return ECDSA_V_OUT_OF_RANGE;
		}
	} else {
		/* EIP-2098: the parity rides in the top bit of s, which a low s leaves free. */
		out->parity = bytes[32] >> 7;
		bytes[32] &= 0x7f;
	}
	memcpy(out->rs, bytes, sizeof(out->rs));
	return ECDSA_OK;
}

enum ecdsa_reason wallet_signature_parse(struct span text, struct wallet_signature *out)
{
	const secp256k1_context *ctx = verify_context();
	secp256k1_ecdsa_signature plain;
	struct parts parts;
	enum ecdsa_reason reason = parse_hex(text, &parts);

	if (reason != ECDSA_OK)
		return reason;
	/* The library refuses r >= n and s >= n here, but zero only at recovery. */
	if (is_zero(parts.rs, 32) || is_zero(parts.rs + 32, 32) ||
	    !secp256k1_ecdsa_recoverable_signature_parse_compact(ctx, &out->parsed, parts.rs, parts.parity))
		return ECDSA_SCALAR_OUT_OF_RANGE;
	/* Recovery would take a high s, and (r, n-s, other parity) is anybody's second spelling. */
	secp256k1_ecdsa_recoverable_signature_convert(ctx, &plain, &out->parsed);
	if (secp256k1_ecdsa_signature_normalize(ctx, NULL, &plain))
		return ECDSA_HIGH_S;
	return ECDSA_OK;
}

bool wallet_signature_recover(const struct wallet_signature *signature, const uint8_t hash[32],
			      struct wallet_address *out)
{
	const secp256k1_context *ctx = verify_context();
	secp256k1_pubkey key;
	uint8_t bytes[65];
	size_t len = sizeof(bytes);

	if (!secp256k1_ecdsa_recover(ctx, &key, &signature->parsed, hash))
		return false;
	secp256k1_ec_pubkey_serialize(ctx, bytes, &len, &key, SECP256K1_EC_UNCOMPRESSED);
	wallet_address_of_key(bytes, out);
	return true;
}
