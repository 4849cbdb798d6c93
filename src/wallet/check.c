/*
 * The decision of ecdsa-login.md sections 3 to 9, cheapest check first:
 *
 *	user, length -> format -> number or message -> signature text -> time -> bindings -> recovery
 *
 * Everything compared here is known to whoever sent it, so nothing needs to
 * take constant time; plain memcmp() on addresses is right (section 12).
 */
#include "wallet/check.h"

#include <string.h>
#include <strings.h>

#include "lib/comma_list.h"
#include "lib/hex.h"
#include "lib/keccak.h"
#include "wallet/proof.h"

/* ---- words ---- */

static const char *const format_words[ECDSA_FORMATS] = {
#define X(id, word) [id] = word,
	ECDSA_FORMATS_LIST(X)
#undef X
};

const char *ecdsa_format_word(enum ecdsa_format format)
{
	return format_words[format];
}

int ecdsa_format_by_word(const char *word, size_t len)
{
	for (int i = 0; i < ECDSA_FORMATS; i++)
		if (strlen(format_words[i]) == len && memcmp(format_words[i], word, len) == 0)
			return i;
	return -1;
}

uint32_t ecdsa_formats_of(const char *list)
{
	uint32_t formats = 0;
	const char *item;
	size_t len;

	while ((item = list_item(&list, &len))) {
		int format = ecdsa_format_by_word(item, len);

		if (format >= 0)
			formats |= BIT(format);
	}
	return formats;
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

/* ---- time: sections 5, 14, 15 ---- */

static bool is_within(int64_t at, int64_t now, int64_t before, int64_t after)
{
	/* Unsigned, because the difference of two int64 need not fit one. */
	if (now >= at)
		return before >= 0 && (uint64_t)now - (uint64_t)at <= (uint64_t)before;
	return after >= 0 && (uint64_t)at - (uint64_t)now <= (uint64_t)after;
}

static int64_t sum(int64_t a, int64_t b)
{
	int64_t c;

	if (__builtin_add_overflow(a, b, &c))
		return a < 0 ? INT64_MIN : INT64_MAX;
	return c;
}

static enum ecdsa_reason judge_timestamp(const struct wallet_policy *p, int64_t now, struct ecdsa_claim *c)
{
	int64_t ahead = p->window_seconds;

	if (p->limits_future && p->skew_seconds < ahead)
		ahead = p->skew_seconds;
	if (is_within(c->issued, now, p->window_seconds, ahead))
		return ECDSA_OK;
	if (is_within(c->issued / 1000, now, p->window_seconds, ahead))
		return ECDSA_TIMESTAMP_MILLISECONDS;
	return c->issued < now ? ECDSA_EXPIRED : ECDSA_FROM_FUTURE;
}

/* Of a proof that says itself when it ends. */
static enum ecdsa_reason judge_life(const struct wallet_policy *p, int64_t now, const struct ecdsa_claim *c)
{
	if (c->issued > sum(now, p->skew_seconds)) {
		bool is_milliseconds = is_within(c->issued / 1000, now, p->max_lifetime_seconds, p->skew_seconds);

		return is_milliseconds ? ECDSA_TIMESTAMP_MILLISECONDS : ECDSA_FROM_FUTURE;
	}
	if (now >= c->expires || c->expires <= c->issued)
		return ECDSA_EXPIRED;
	return is_within(c->issued, c->expires, p->max_lifetime_seconds, 0) ? ECDSA_OK : ECDSA_LIFETIME_TOO_LONG;
}

static enum ecdsa_reason judge_time(const struct wallet_policy *p, int64_t now, const struct proof *proof,
				    struct ecdsa_claim *c)
{
	switch (c->format) {
	case ECDSA_FORMAT_TIMESTAMP:
		c->ends_by_window = true;
		c->expires = sum(sum(c->issued, p->window_seconds), 1);
		return judge_timestamp(p, now, c);
	case ECDSA_FORMAT_BOUND:
	case ECDSA_FORMAT_TYPED:
		c->expires = proof->bound.expires;
		break;
	case ECDSA_FORMAT_SIWE:
		c->ends_by_window = !proof->siwe.expires_text.ptr;
		c->expires = c->ends_by_window ? sum(c->issued, p->window_seconds) : proof->siwe.expires;
		if (proof->siwe.not_before_text.ptr && proof->siwe.not_before > sum(now, p->skew_seconds))
			return ECDSA_NOT_YET_VALID;
		break;
	case ECDSA_FORMATS:
		break;
	}
	return judge_life(p, now, c);
}

/* ---- bindings: sections 14 and 15 ---- */

static bool is_listed(const char *list, struct span word, bool any_case)
{
	const char *item;
	size_t len;

	while (list && (item = list_item(&list, &len)))
		if (len == word.len && (any_case ? strncasecmp(item, (const char *)word.ptr, len) == 0
						 : memcmp(item, word.ptr, len) == 0))
			return true;
	return false;
}

static bool is_empty(const char *list)
{
	size_t len;

	return !list || !list_item(&list, &len);
}

/* Leading zeros may differ. */
static struct span number(struct span digits)
{
	while (digits.len > 1 && digits.ptr[0] == '0')
		digits = span_of(digits.ptr + 1, digits.len - 1);
	return digits;
}

static bool has_number(const char *list, struct span digits)
{
	const char *item;
	size_t len;

	digits = number(digits);
	while (list && (item = list_item(&list, &len))) {
		struct span listed = number(span_of(item, len));

		if (listed.len == digits.len && memcmp(listed.ptr, digits.ptr, listed.len) == 0)
			return true;
	}
	return false;
}

static bool is_same_wallet(const struct wallet_address *a, const struct wallet_address *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

static bool is_database(struct span named, const char *database)
{
	return span_is(named, "*") || (database && span_is(named, database));
}

static void add_role(struct ecdsa_claim *c, const void *name, size_t len)
{
	/* Names are parts of the message, or shorter: they all fit. */
	if (len >= sizeof(c->roles) - c->roles_len)
		return;
	memcpy(c->roles + c->roles_len, name, len);
	c->roles[c->roles_len + len] = 0;
	c->roles_len += len + 1;
}

static enum ecdsa_reason judge_bound(const struct wallet_policy *p, const struct bound_message *m,
				     struct ecdsa_claim *c)
{
	if (!is_listed(p->server_names, m->server, false))
		return ECDSA_WRONG_SERVER;
	if (!is_database(m->database, p->database))
		return ECDSA_WRONG_DATABASE;
	c->admits_any_role = !m->role.ptr;
	if (m->role.ptr)
		add_role(c, m->role.ptr, m->role.len);
	return ECDSA_OK;
}

/* Of those that speak of databases one must fit, and there must be one, unless the policy says otherwise. */
static enum ecdsa_reason judge_uris(const struct wallet_policy *p, const struct siwe_message *m, struct ecdsa_claim *c)
{
	bool names_any = false, fits = false;

	for (size_t i = 0; i <= m->resource_count; i++) {
		struct span uri = i == m->resource_count ? m->uri : m->resources[i];
		char role[SIWE_TEXT_MAX + 1];

		if (!siwe_names_database(uri))
			continue;
		names_any = true;
		if (!p->database || !siwe_uri_matches(uri, p->server_names, p->database, role, sizeof(role)))
			continue;
		fits = true;
		if (role[0])
			add_role(c, role, strlen(role));
		else
			c->admits_any_role = true;
	}
	if (names_any)
		return fits ? ECDSA_OK : ECDSA_WRONG_DATABASE;
	c->admits_any_role = true;
	return p->siwe_requires_database ? ECDSA_WRONG_DATABASE : ECDSA_OK;
}

static enum ecdsa_reason judge_siwe(const struct wallet_policy *p, const struct siwe_message *m, struct ecdsa_claim *c)
{
	enum ecdsa_reason reason = judge_uris(p, m, c);

	if (reason != ECDSA_OK)
		return reason;
	if (!is_listed(p->siwe_domains, m->domain, true))
		return ECDSA_WRONG_DOMAIN;
	if (!is_empty(p->siwe_schemes) && (!m->scheme.ptr || !is_listed(p->siwe_schemes, m->scheme, true)))
		return ECDSA_WRONG_DOMAIN;
	if (!is_empty(p->chain_ids) && !has_number(p->chain_ids, m->chain_id))
		return ECDSA_WRONG_CHAIN;
	return ECDSA_OK;
}

static enum ecdsa_reason judge_bindings(const struct wallet_policy *p, const struct proof *proof,
					struct ecdsa_claim *c)
{
	switch (c->format) {
	case ECDSA_FORMAT_BOUND:
	case ECDSA_FORMAT_TYPED:
		return judge_bound(p, &proof->bound, c);
	case ECDSA_FORMAT_SIWE:
		c->request_id = proof->siwe.request_id;
		return judge_siwe(p, &proof->siwe, c);
	case ECDSA_FORMAT_TIMESTAMP:
	case ECDSA_FORMATS:
		break;
	}
	c->admits_any_role = true;
	return ECDSA_OK;
}

/* The wallet that the message names; NULL: it names none. */
static const struct wallet_address *named_wallet(const struct proof *proof, enum ecdsa_format format)
{
	switch (format) {
	case ECDSA_FORMAT_BOUND:
	case ECDSA_FORMAT_TYPED:
		return &proof->bound.wallet;
	case ECDSA_FORMAT_SIWE:
		return &proof->siwe.address;
	case ECDSA_FORMAT_TIMESTAMP:
	case ECDSA_FORMATS:
		break;
	}
	return NULL;
}

/* ---- the whole ---- */

/* One text, one parity, one try: every retry would widen what counts as a login. */
static enum ecdsa_reason judge_signer(const struct proof *proof, const struct wallet_address *named,
				      struct ecdsa_claim *c)
{
	proof_digest(proof, c->format, c->digest);
	c->has_signer = wallet_signature_recover(&proof->signature, c->digest, &c->signer);
	if (!c->has_signer)
		return ECDSA_RECOVERY_FAILED;
	if (c->has_claimed && !is_same_wallet(&c->signer, &c->claimed))
		return ECDSA_WRONG_SIGNER;
	/* In role login nobody has claimed anything but the message. */
	return named && !is_same_wallet(&c->signer, named) ? ECDSA_WALLET_DIFFERS : ECDSA_OK;
}

enum ecdsa_reason ecdsa_check(const char *user, const void *password, size_t len, int64_t now,
			      const struct wallet_policy *policy, struct ecdsa_claim *out)
{
	const struct wallet_address *named;
	enum ecdsa_reason reason;
	struct proof proof;

	memset(out, 0, sizeof(*out));
	out->has_claimed = wallet_address_parse(user, strlen(user), &out->claimed);
	if (!out->has_claimed && !policy->role_login)
		return ECDSA_ADDRESS_MALFORMED;

	reason = proof_parse(password, len, policy->formats, &proof, out);
	if (out->has_time) {
		enum ecdsa_reason age = judge_time(policy, now, &proof, out);

		if (reason == ECDSA_OK)
			reason = age;
	}
	if (reason == ECDSA_OK)
		reason = judge_bindings(policy, &proof, out);
	if (reason != ECDSA_OK)
		return reason;
	named = named_wallet(&proof, out->format);
	if (named && out->has_claimed && !is_same_wallet(named, &out->claimed))
		return ECDSA_WALLET_DIFFERS;
	return judge_signer(&proof, named, out);
}

bool ecdsa_claim_admits(const struct ecdsa_claim *c, const char *role)
{
	if (c->admits_any_role)
		return true;
	for (size_t at = 0; at < c->roles_len; at += strlen(c->roles + at) + 1)
		if (strcmp(c->roles + at, role) == 0)
			return true;
	return false;
}

void ecdsa_proof_key(const struct ecdsa_claim *claim, uint8_t out[PROOF_KEY_BYTES])
{
	struct keccak256 k;

	keccak256_init(&k);
	keccak256_add(&k, claim->signer.bytes, sizeof(claim->signer.bytes));
	keccak256_add(&k, claim->digest, sizeof(claim->digest));
	keccak256_end(&k, out);
}

void ecdsa_proof_fingerprint(const struct ecdsa_claim *claim, char out[17])
{
	uint8_t key[PROOF_KEY_BYTES];

	if (!claim->has_signer) {
		memcpy(out, "-", 2);
		return;
	}
	ecdsa_proof_key(claim, key);
	hex_encode(key, 8, out);
}
