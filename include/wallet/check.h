/*
 * wallet/check.h - is this password a proof by that wallet?
 *
 * A pure function: no clock, no I/O, no globals but libsecp256k1's static
 * context. Rules and order: ecdsa-login.md sections 3 to 9.
 *
 * Tests: test/unit/test_wallet.c, test/fuzz/fuzz_proof.c
 */
#ifndef WALLET_CHECK_H
#define WALLET_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/util.h"
#include "wallet/address.h"

#define WALLET_PASSWORD_MAX 4096 /* bytes of the packet body, terminating NUL included */

/* id and the word in the log; the order is that of section 9. */
#define ECDSA_REASONS(X) \
	X(ECDSA_OK, "ok") \
	X(ECDSA_ADDRESS_MALFORMED, "address_malformed") \
	X(ECDSA_PASSWORD_EMPTY, "password_empty") \
	X(ECDSA_PACKET_MALFORMED, "packet_malformed") \
	X(ECDSA_PASSWORD_TOO_LONG, "password_too_long") \
	X(ECDSA_FORMAT_UNKNOWN, "format_unknown") \
	X(ECDSA_FORMAT_DISABLED, "format_disabled") \
	X(ECDSA_TIMESTAMP_MALFORMED, "timestamp_malformed") \
	X(ECDSA_TIMESTAMP_OVERFLOW, "timestamp_overflow") \
	X(ECDSA_SIGNATURE_LENGTH, "signature_length") \
	X(ECDSA_SIGNATURE_NOT_HEX, "signature_not_hex") \
	X(ECDSA_V_OUT_OF_RANGE, "v_out_of_range") \
	X(ECDSA_SCALAR_OUT_OF_RANGE, "scalar_out_of_range") \
	X(ECDSA_HIGH_S, "high_s") \
	X(ECDSA_EXPIRED, "expired") \
	X(ECDSA_FROM_FUTURE, "from_future") \
	X(ECDSA_TIMESTAMP_MILLISECONDS, "timestamp_milliseconds") \
	X(ECDSA_RECOVERY_FAILED, "recovery_failed") \
	X(ECDSA_WRONG_SIGNER, "wrong_signer") \
	X(ECDSA_NOT_ALLOWED, "not_allowed") \
	X(ECDSA_NO_MAPPING, "no_mapping") \
	X(ECDSA_WALLET_EXPIRED, "wallet_expired")

enum ecdsa_reason {
#define X(id, word) id,
	ECDSA_REASONS(X)
#undef X
	ECDSA_REASON_COUNT
};

enum ecdsa_format { ECDSA_FORMAT_TIMESTAMP, ECDSA_FORMATS };

struct wallet_policy {
	uint32_t formats;	/* BIT(enum ecdsa_format) of those allowed */
	int64_t window_seconds; /* either side, inclusive */
	bool role_login;	/* a user name that is no wallet is a role: any signer is recovered, a map decides */
};

struct ecdsa_claim {
	enum ecdsa_format format;
	struct wallet_address claimed;	/* what the user name says; valid when has_claimed */
	struct wallet_address signer;	/* recovered; valid when has_signer */
	bool has_claimed, has_signer, has_time;
	uint8_t digest[32];		/* the signed hash; valid when has_signer */
	int64_t issued;			/* T; valid when has_time */
	int64_t expires;		/* first second at which it is refused for age; valid when has_time */
};

const char *ecdsa_format_word(enum ecdsa_format); /* as in ecdsa_formats; static */
/* The word of the list above; static. */
const char *ecdsa_reason_word(enum ecdsa_reason);
/*
 * password without its NUL; now in Unix seconds. out is filled in as far as
 * the check got, also on refusal. Never one of the last three reasons: who may
 * enter is the caller's to decide, for a proven signer.
 */
enum ecdsa_reason ecdsa_check(const char *user, const void *password, size_t len, int64_t now,
			      const struct wallet_policy *, struct ecdsa_claim *out);
/*
 * First 8 bytes, as 16 hex digits, of keccak256(signer || digest): names a
 * proof without revealing it (sections 18, 22). "-" when has_signer is false.
 */
void ecdsa_proof_fingerprint(const struct ecdsa_claim *, char out[17]);
/*
 * For the log only (section 9): does a common client mistake explain a wrong
 * signer? A static text, or NULL when not. Costs up to four recoveries, so it
 * is not for throttled sources, and it never turns a refusal into a login.
 */
const char *ecdsa_explain_wrong_signer(const char *user, const void *password, size_t len);

#endif
