/*
 * Fuzz entry of ecdsa_check(): user name, line feed, password. The clock and
 * the policy are those of the vectors, so that corpus entries are accepted.
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
#define LIFE 86400

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
	if (!holds)
		abort();
}

static void look_at_timestamp(const struct ecdsa_claim *claim, enum ecdsa_reason reason, const uint8_t *password,
			      size_t len)
{
	char text[32];

	/* One spelling per number: writing it again gives the same bytes. */
	snprintf(text, sizeof(text), "%" PRId64 "%s", claim->issued, memchr(password, ':', len) ? ":" : "");
	must(len >= strlen(text) && memcmp(text, password, strlen(text)) == 0);
	must(claim->expires - claim->issued == WINDOW + 1 || claim->expires == INT64_MAX);
	if (reason != ECDSA_OK)
		return;
	must(claim->issued >= NOW - WINDOW && claim->issued <= NOW + WINDOW);
	must(len >= 10 + 1 + 128 && len <= 10 + 1 + 2 + 130);
	must(claim->admits_any_role);
}

static void look_at_message(const struct ecdsa_claim *claim)
{
	must(claim->issued <= NOW + 60 && claim->expires > NOW && claim->expires - claim->issued <= LIFE);
	must(claim->message_len > 0 && claim->message_len <= sizeof(claim->message));
	must(claim->admits_any_role || claim->roles_len > 0);
	must(!claim->roles_len || ecdsa_claim_admits(claim, claim->roles));
}

static void judge(const char *user, const uint8_t *password, size_t len, const struct wallet_policy *policy)
{
	struct ecdsa_claim claim;
	enum ecdsa_reason reason = ecdsa_check(user, password, len, NOW, policy, &claim);
	char fingerprint[17];

	must(reason >= ECDSA_OK && reason < ECDSA_NOT_ALLOWED);
	must(ecdsa_reason_word(reason) != NULL);
	ecdsa_proof_fingerprint(&claim, fingerprint);
	must(strlen(fingerprint) == (claim.has_signer ? 16u : 1u));
	must(policy->role_login || claim.has_claimed == (reason != ECDSA_ADDRESS_MALFORMED));
	if (reason == ECDSA_WRONG_SIGNER) {
		must(claim.has_signer);
		ecdsa_explain_wrong_signer(user, password, len);
	}
	if (claim.has_time && claim.format == ECDSA_FORMAT_TIMESTAMP)
		look_at_timestamp(&claim, reason, password, len);
	if (reason != ECDSA_OK)
		return;
	must(claim.has_format && claim.has_time && claim.has_signer);
	must(!claim.has_claimed || memcmp(claim.signer.bytes, claim.claimed.bytes, sizeof(claim.signer.bytes)) == 0);
	if (claim.format != ECDSA_FORMAT_TIMESTAMP)
		look_at_message(&claim);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wallet_policy policy = {
		.formats = BIT(ECDSA_FORMATS) - 1, .window_seconds = WINDOW, .skew_seconds = 60,
		.max_lifetime_seconds = LIFE, .siwe_requires_database = true,
		.server_names = "db.example.org, 127.0.0.1:6432", .siwe_domains = "app.example.org, localhost:3000",
		.chain_ids = "1, 8453", .database = "appdb",
	};
	const uint8_t *lf = memchr(data, '\n', size);
	char user[64];
	size_t user_len;

	if (!lf || (size_t)(lf - data) >= sizeof(user))
		return 0;
	user_len = (size_t)(lf - data);
	memcpy(user, data, user_len);
	user[user_len] = 0;
	judge(user, lf + 1, size - user_len - 1, &policy);
	policy.role_login = true;
	judge(user, lf + 1, size - user_len - 1, &policy);
	return 0;
}
