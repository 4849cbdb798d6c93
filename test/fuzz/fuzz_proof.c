/*
 * Fuzz entry of ecdsa_check(): user name, line feed, password. The clock and
 * the window are those of the vectors, so that corpus entries are accepted.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"
#include "wallet/check.h"

#define NOW 1750000000
#define WINDOW 300

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct wallet_policy policy = {BIT(ECDSA_FORMAT_TIMESTAMP), WINDOW, false};
	const uint8_t *lf = memchr(data, '\n', size), *password;
	struct ecdsa_claim claim;
	enum ecdsa_reason reason;
	char user[64], text[32], fingerprint[17];
	size_t user_len, len;

	if (!lf || (size_t)(lf - data) >= sizeof(user))
		return 0;
	user_len = (size_t)(lf - data);
	memcpy(user, data, user_len);
	user[user_len] = 0;
	password = lf + 1;
	len = size - user_len - 1;

	reason = ecdsa_check(user, password, len, NOW, &policy, &claim);
	must(reason >= ECDSA_OK && reason < ECDSA_REASON_COUNT && reason < ECDSA_NOT_ALLOWED);
	must(ecdsa_reason_word(reason) != NULL);
	ecdsa_proof_fingerprint(&claim, fingerprint);
	must(strlen(fingerprint) == (claim.has_signer ? 16u : 1u));
	must(claim.has_claimed == (reason != ECDSA_ADDRESS_MALFORMED));
	if (reason == ECDSA_WRONG_SIGNER) {
		must(claim.has_signer);
		ecdsa_explain_wrong_signer(user, password, len);
	}
	if (claim.has_time) {
		/* One spelling per number: writing it again gives the same bytes. */
		snprintf(text, sizeof(text), "%" PRId64 "%s", claim.issued, memchr(password, ':', len) ? ":" : "");
		must(len >= strlen(text) && memcmp(text, password, strlen(text)) == 0);
	}
	if (reason == ECDSA_OK) {
		must(claim.has_time && claim.has_signer);
		must(memcmp(claim.signer.bytes, claim.claimed.bytes, sizeof(claim.signer.bytes)) == 0);
		must(claim.issued >= NOW - WINDOW && claim.issued <= NOW + WINDOW);
		must(claim.expires == claim.issued + WINDOW + 1);
		must(len >= 10 + 1 + 128 && len <= 10 + 1 + 2 + 130);
	}
	return 0;
}
