/*
 * The decision of ecdsa-login.md sections 3 to 9, cheapest check first:
 *
 *	user, length -> format -> number -> signature text -> age -> recovery
 *
 * Everything compared here is known to whoever sent it, so nothing needs to
 * take constant time; plain memcmp() on addresses is right (section 12).
 */
#include "wallet/check.h"

#include <pthread.h>
#include <secp256k1.h>
#include <secp256k1_recovery.h>
#include <string.h>

#include "lib/hex.h"
#include "lib/keccak.h"
#include "lib/span.h"
#include "lib/util.h"
#include "wallet/eip191.h"

#define TIMESTAMP_DIGITS_MAX 19 /* of 2^63-1 */

/* A signature as libsecp256k1 wants it. */
struct signature {
	uint8_t rs[64];
	int parity; /* 0 or 1 and nothing else: any other value makes the library abort */
	secp256k1_ecdsa_recoverable_signature parsed;
};

struct proof {
	struct span text; /* T as sent, which is what was signed; points into the password */
	int64_t issued;
	struct signature signature;
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

const char *ecdsa_format_word(enum ecdsa_format format)
{
	static const char *const words[ECDSA_FORMATS] = {[ECDSA_FORMAT_TIMESTAMP] = "timestamp"};

	return words[format];
}

const char *ecdsa_reason_word(enum ecdsa_reason reason)
{
	static const char *const words[] = {
#define X(id, word) [id] = word,
		ECDSA_REASONS(X)
#undef X
	};

	return words[reason];
}

/* ---- format and number: sections 4 and 5 ---- */

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static bool is_all_digits(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!is_digit(s.ptr[i]))
			return false;
	return s.len > 0;
}

/* What a client meant whose first field is neither a number nor a tag. */
static enum ecdsa_reason judge_unknown_field(struct span field)
{
	static const char *const tags[] = {"bound", "siwe", "typed"};

	/* Named by the specification, and in no list of enabled formats here. */
	for (size_t i = 0; i < ARRAY_LEN(tags); i++)
		if (span_is(field, tags[i]))
			return ECDSA_FORMAT_DISABLED;
	if (field.len == 0 || is_digit(field.ptr[0]) || (field.ptr[0] && strchr("+- \t\n\v\f\r", field.ptr[0])))
		return ECDSA_TIMESTAMP_MALFORMED;
	return ECDSA_FORMAT_UNKNOWN;
}

/* 0 | [1-9][0-9]{0,18}, by hand: strtol() would take spaces, signs and the locale. */
static enum ecdsa_reason parse_timestamp(struct span text, int64_t *out)
{
	uint64_t value = 0; /* 19 digits stay below 2^64 */

	if (text.len > TIMESTAMP_DIGITS_MAX || !is_all_digits(text) || (text.len > 1 && text.ptr[0] == '0'))
		return ECDSA_TIMESTAMP_MALFORMED;
	for (size_t i = 0; i < text.len; i++)
		value = value * 10 + (uint64_t)(text.ptr[i] - '0');
	if (value > INT64_MAX)
		return ECDSA_TIMESTAMP_OVERFLOW;
	*out = (int64_t)value;
	return ECDSA_OK;
}

/* ---- signature text: section 7 ---- */

static bool is_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

static enum ecdsa_reason parse_hex(struct span text, struct signature *out)
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

static enum ecdsa_reason parse_signature(struct span text, struct signature *out)
{
	const secp256k1_context *ctx = verify_context();
	secp256k1_ecdsa_signature plain;
	enum ecdsa_reason reason = parse_hex(text, out);

	if (reason != ECDSA_OK)
		return reason;
	/* The library refuses r >= n and s >= n here, but zero only at recovery. */
	if (is_zero(out->rs, 32) || is_zero(out->rs + 32, 32) ||
	    !secp256k1_ecdsa_recoverable_signature_parse_compact(ctx, &out->parsed, out->rs, out->parity))
		return ECDSA_SCALAR_OUT_OF_RANGE;
	/* Recovery would take a high s, and (r, n-s, other parity) is anybody's second spelling. */
	secp256k1_ecdsa_recoverable_signature_convert(ctx, &plain, &out->parsed);
	if (secp256k1_ecdsa_signature_normalize(ctx, NULL, &plain))
		return ECDSA_HIGH_S;
	return ECDSA_OK;
}

/* ---- the password as a whole ---- */

/* Steps 2 to 4 of section 9. out->issued is set from the moment the number is good, and *has_time with it. */
static enum ecdsa_reason parse_proof(const uint8_t *password, size_t len, uint32_t formats, struct proof *out,
				     bool *has_time)
{
	const uint8_t *colon;
	struct span signature;
	enum ecdsa_reason reason;

	*has_time = false;
	if (len == 0)
		return ECDSA_PASSWORD_EMPTY;
	if (len + 1 > WALLET_PASSWORD_MAX)
		return ECDSA_PASSWORD_TOO_LONG;
	if (memchr(password, 0, len))
		return ECDSA_PACKET_MALFORMED;

	colon = memchr(password, ':', len);
	out->text = span_of(password, colon ? (size_t)(colon - password) : len);
	signature = colon ? span_of(colon + 1, len - out->text.len - 1) : span_of("", 0);
	if (!is_all_digits(out->text))
		return judge_unknown_field(out->text);
	if (!(formats & BIT(ECDSA_FORMAT_TIMESTAMP)))
		return ECDSA_FORMAT_DISABLED;

	reason = parse_timestamp(out->text, &out->issued);
	if (reason != ECDSA_OK)
		return reason;
	*has_time = true;
	return parse_signature(signature, &out->signature);
}

/* ---- age: section 5 ---- */

static bool is_within(int64_t at, int64_t now, int64_t window)
{
	/* Unsigned, because the difference of two int64 need not fit one. */
	uint64_t apart = now >= at ? (uint64_t)now - (uint64_t)at : (uint64_t)at - (uint64_t)now;

	return window >= 0 && apart <= (uint64_t)window;
}

static enum ecdsa_reason judge_age(int64_t issued, int64_t now, int64_t window)
{
	if (is_within(issued, now, window))
		return ECDSA_OK;
	if (is_within(issued / 1000, now, window))
		return ECDSA_TIMESTAMP_MILLISECONDS;
	return issued < now ? ECDSA_EXPIRED : ECDSA_FROM_FUTURE;
}

static int64_t first_refused_second(int64_t issued, int64_t window)
{
	return window >= INT64_MAX - issued ? INT64_MAX : issued + window + 1;
}

/* ---- recovery: section 8 ---- */

/* false: no key fits. Otherwise that key verifies the signature over hash; no further check is needed. */
static bool recover(const struct signature *signature, const uint8_t hash[32], struct wallet_address *out)
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

static bool is_signer(const struct signature *signature, const uint8_t hash[32], const struct wallet_address *claimed)
{
	struct wallet_address signer;

	return recover(signature, hash, &signer) && memcmp(signer.bytes, claimed->bytes, sizeof(signer.bytes)) == 0;
}

enum ecdsa_reason ecdsa_check(const char *user, const void *password, size_t len, int64_t now,
			      const struct wallet_policy *policy, struct ecdsa_claim *out)
{
	struct proof proof;
	enum ecdsa_reason reason;

	memset(out, 0, sizeof(*out));
	out->format = ECDSA_FORMAT_TIMESTAMP;
	out->has_claimed = wallet_address_parse(user, strlen(user), &out->claimed);
	if (!out->has_claimed && !policy->role_login)
		return ECDSA_ADDRESS_MALFORMED;

	reason = parse_proof(password, len, policy->formats, &proof, &out->has_time);
	if (out->has_time) {
		out->issued = proof.issued;
		out->expires = first_refused_second(proof.issued, policy->window_seconds);
	}
	if (reason != ECDSA_OK)
		return reason;

	reason = judge_age(proof.issued, now, policy->window_seconds);
	if (reason != ECDSA_OK)
		return reason;

	/* One text, one parity, one try: every retry would widen what counts as a login. */
	eip191_hash(proof.text.ptr, proof.text.len, out->digest);
	out->has_signer = recover(&proof.signature, out->digest, &out->signer);
	if (!out->has_signer)
		return ECDSA_RECOVERY_FAILED;
	if (out->has_claimed && memcmp(out->signer.bytes, out->claimed.bytes, sizeof(out->signer.bytes)) != 0)
		return ECDSA_WRONG_SIGNER;
	return ECDSA_OK;
}

void ecdsa_proof_fingerprint(const struct ecdsa_claim *claim, char out[17])
{
	struct keccak256 k;
	uint8_t hash[KECCAK256_BYTES];

	if (!claim->has_signer) {
		memcpy(out, "-", 2);
		return;
	}
	keccak256_init(&k);
	keccak256_add(&k, claim->signer.bytes, sizeof(claim->signer.bytes));
	keccak256_add(&k, claim->digest, sizeof(claim->digest));
	keccak256_end(&k, hash);
	hex_encode(hash, 8, out);
}

/* ---- mistakes that clients make: section 26 ---- */

static void hash_with_line_feed(struct span text, uint8_t out[32])
{
	uint8_t line[TIMESTAMP_DIGITS_MAX + 1];

	memcpy(line, text.ptr, text.len);
	line[text.len] = '\n';
	eip191_hash(line, text.len + 1, out);
}

static void hash_of_digits_as_hex(struct span text, uint8_t out[32])
{
	char even[TIMESTAMP_DIGITS_MAX + 1];
	uint8_t bytes[sizeof(even) / 2];
	size_t pad = text.len % 2; /* an odd count gets a zero in front, as hex parsers do */

	even[0] = '0';
	memcpy(even + pad, text.ptr, text.len);
	hex_decode(even, bytes, (text.len + pad) / 2);
	eip191_hash(bytes, (text.len + pad) / 2, out);
}

static void hash_of_hash(struct span text, uint8_t out[32])
{
	uint8_t inner[KECCAK256_BYTES];

	keccak256(text.ptr, text.len, inner);
	eip191_hash(inner, sizeof(inner), out);
}

static void hash_without_prefix(struct span text, uint8_t out[32])
{
	keccak256(text.ptr, text.len, out);
}

const char *ecdsa_explain_wrong_signer(const char *user, const void *password, size_t len)
{
	static const struct {
		void (*hash)(struct span text, uint8_t out[32]);
		const char *explanation;
	} mistakes[] = {
		{hash_with_line_feed, "a line feed after the timestamp was signed too"},
		{hash_of_digits_as_hex, "the wallet took the digits of the timestamp for hexadecimal bytes"},
		{hash_of_hash, "the hash of the timestamp was signed instead of its text"},
		{hash_without_prefix, "the timestamp was signed without the EIP-191 prefix"},
	};
	struct wallet_address claimed;
	struct proof proof;
	uint8_t hash[32];
	bool has_time;

	if (!wallet_address_parse(user, strlen(user), &claimed) ||
	    parse_proof(password, len, BIT(ECDSA_FORMAT_TIMESTAMP), &proof, &has_time) != ECDSA_OK)
		return NULL;
	for (size_t i = 0; i < ARRAY_LEN(mistakes); i++) {
		mistakes[i].hash(proof.text, hash);
		if (is_signer(&proof.signature, hash, &claimed))
			return mistakes[i].explanation;
	}
	return NULL;
}
