/*
 * wallet/proof.h - a password, taken apart; for check.c and explain.c alone.
 */
#ifndef WALLET_PROOF_H
#define WALLET_PROOF_H

#include "wallet/bound.h"
#include "wallet/check.h"
#include "wallet/decimal.h"
#include "wallet/signature.h"

struct proof {
	struct span text; /* T as sent, or the decoded message: what was signed, but by EIP-712 */
	union {
		int64_t timestamp;
		struct bound_message bound; /* of bound and typed */
		struct siwe_message siwe;
	};
	struct wallet_signature signature;
};

/*
 * Steps 2 to 4 of ecdsa-login.md section 9. claim->format and has_format, message, issued and has_time are set as far
 * as it gets; proof->text points into the password or the claim.
 */
enum ecdsa_reason proof_parse(const uint8_t *password, size_t len, uint32_t formats, struct proof *,
			      struct ecdsa_claim *claim);
/* What the wallet was to sign. */
void proof_digest(const struct proof *, enum ecdsa_format, uint8_t out[32]);

#endif
