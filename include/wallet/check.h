/*
 * wallet/check.h - is this password a proof by that wallet?
 *
 * A pure function: no clock, no I/O, no globals but libsecp256k1's static
 * context. Rules and order: ecdsa-login.md sections 3 to 9.
 *
 * A password is one of
 *
 *	SECONDS:SIGNATURE			timestamp
 *	bound:BASE64(text):SIGNATURE		wallet/bound.h
 *	siwe:BASE64(text):SIGNATURE		wallet/siwe.h
 *	typed:BASE64(text):SIGNATURE		wallet/typed.h
 *
 * Tests: test/unit/test_wallet.c, test/unit/test_formats.c, test/unit/test_vectors.c, test/fuzz/fuzz_proof.c
 */
#ifndef WALLET_CHECK_H
#define WALLET_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/span.h"
#include "lib/util.h"
#include "wallet/address.h"
#include "wallet/siwe.h"

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
	X(ECDSA_MESSAGE_ENCODING, "message_encoding") \
	X(ECDSA_MESSAGE_MALFORMED, "message_malformed") \
	X(ECDSA_SIGNATURE_LENGTH, "signature_length") \
	X(ECDSA_SIGNATURE_NOT_HEX, "signature_not_hex") \
	X(ECDSA_V_OUT_OF_RANGE, "v_out_of_range") \
	X(ECDSA_SCALAR_OUT_OF_RANGE, "scalar_out_of_range") \
	X(ECDSA_HIGH_S, "high_s") \
	X(ECDSA_EXPIRED, "expired") \
	X(ECDSA_FROM_FUTURE, "from_future") \
	X(ECDSA_TIMESTAMP_MILLISECONDS, "timestamp_milliseconds") \
	X(ECDSA_NOT_YET_VALID, "not_yet_valid") \
	X(ECDSA_LIFETIME_TOO_LONG, "lifetime_too_long") \
	X(ECDSA_WRONG_SERVER, "wrong_server") \
	X(ECDSA_WRONG_DATABASE, "wrong_database") \
	X(ECDSA_WRONG_DOMAIN, "wrong_domain") \
	X(ECDSA_WRONG_CHAIN, "wrong_chain") \
	X(ECDSA_WALLET_DIFFERS, "wallet_differs") \
	X(ECDSA_RECOVERY_FAILED, "recovery_failed") \
	X(ECDSA_WRONG_SIGNER, "wrong_signer") \
	X(ECDSA_NOT_ALLOWED, "not_allowed") \
	X(ECDSA_NO_MAPPING, "no_mapping") \
	X(ECDSA_WALLET_EXPIRED, "wallet_expired") \
	X(ECDSA_WRONG_ROLE, "wrong_role") \
	X(ECDSA_LOOKUP_FAILED, "lookup_failed") \
	X(ECDSA_REPLAYED, "replayed") \
	X(ECDSA_REPLAY_OTHER_SOURCE, "replay_other_source") \
	X(ECDSA_REPLAY_CACHE_FULL, "replay_cache_full")

enum ecdsa_reason {
#define X(id, word) id,
	ECDSA_REASONS(X)
#undef X
	ECDSA_REASON_COUNT,
	ECDSA_UNDECIDED /* no reason, and never the last word */
};

/* id and the word in ecdsa_formats. */
#define ECDSA_FORMATS_LIST(X) \
	X(ECDSA_FORMAT_TIMESTAMP, "timestamp") \
	X(ECDSA_FORMAT_BOUND, "bound") \
	X(ECDSA_FORMAT_SIWE, "siwe") \
	X(ECDSA_FORMAT_TYPED, "typed")

enum ecdsa_format {
#define X(id, word) id,
	ECDSA_FORMATS_LIST(X)
#undef X
	ECDSA_FORMATS
};

/* All text is borrowed. Lists are comma lists; NULL and "": nothing is in them. */
struct wallet_policy {
	uint32_t formats;	/* BIT(enum ecdsa_format) of those allowed */
	int64_t window_seconds; /* either side, inclusive */
	bool role_login;	/* a user name that is no wallet is a role: any signer is recovered, a map decides */
	/*
	 * Proofs are used once, or from one source: then a timestamp may be no further ahead than the others, so that
	 * what a restart forgets is known to be old (section 18).
	 */
	bool limits_future;
	bool siwe_requires_database;
	int64_t skew_seconds;	      /* how far ahead a proof may be dated */
	int64_t max_lifetime_seconds; /* between issue and end; not of timestamps */
	const char *server_names;
	const char *siwe_domains;
	const char *siwe_schemes; /* nothing in it: any, or none */
	const char *chain_ids;	  /* nothing in it: any */
	const char *database;	  /* that the client asks for */
};

/* About 4 KiB; spans point into message, so it stays where it was filled in. */
struct ecdsa_claim {
	enum ecdsa_format format;
	struct wallet_address claimed;	/* what the user name says; valid when has_claimed */
	struct wallet_address signer;	/* recovered; valid when has_signer */
	bool has_claimed, has_format, has_signer, has_time;
	uint8_t digest[32];		/* the signed hash; valid when has_signer */
	int64_t issued;			/* valid when has_time, as the next */
	int64_t expires;		/* first second at which it is refused for age */
	bool ends_by_window;		/* and that is the issue and window_seconds; the proof itself names no end */
	struct span request_id;		/* of siwe; ptr NULL: none */
	bool admits_any_role;		/* else the names in roles, each with a NUL behind it */
	char roles[SIWE_TEXT_MAX];
	size_t roles_len;
	uint8_t message[SIWE_TEXT_MAX]; /* the text, decoded */
	size_t message_len;
};

#define PROOF_KEY_BYTES 32

const char *ecdsa_format_word(enum ecdsa_format); /* as in ecdsa_formats; static */
/* -1: no format. */
int ecdsa_format_by_word(const char *word, size_t len);
/* BIT() of each that a comma list names; words that are no format are passed over. */
uint32_t ecdsa_formats_of(const char *list);
/* The word of the list above; static. */
const char *ecdsa_reason_word(enum ecdsa_reason);
/*
 * password without its NUL; now in Unix seconds. out is filled in as far as
 * the check got, also on refusal. Never ECDSA_NOT_ALLOWED or one behind it:
 * who may enter, and how often, is the caller's to decide, for a proven signer.
 */
enum ecdsa_reason ecdsa_check(const char *user, const void *password, size_t len, int64_t now,
			      const struct wallet_policy *, struct ecdsa_claim *out);
/* Does the proof let its signer be this PostgreSQL role? Asked once the role is known. */
bool ecdsa_claim_admits(const struct ecdsa_claim *, const char *role);
/*
 * keccak256(signer || digest): who said what, however the signature is spelled
 * (section 18). Valid when has_signer.
 */
void ecdsa_proof_key(const struct ecdsa_claim *, uint8_t out[PROOF_KEY_BYTES]);
/* Its first 8 bytes, as 16 hex digits: names a proof without revealing it (section 22). "-" when has_signer is false. */
void ecdsa_proof_fingerprint(const struct ecdsa_claim *, char out[17]);
/*
 * For the log only (section 9): does a common client mistake explain a wrong
 * signer? A static text, or NULL when not. Costs up to four recoveries, so it
 * is not for throttled sources, and it never turns a refusal into a login.
 */
const char *ecdsa_explain_wrong_signer(const char *user, const void *password, size_t len);

#endif
