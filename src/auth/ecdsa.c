/*
 * Method ecdsa: the password is a proof made by a wallet (ecdsa-login.md).
 *
 * Nothing here is secret but the password while it is valid: it is neither
 * logged nor kept. Addresses and digests are public to whoever sent them, so
 * no comparison needs constant time (section 12).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/method.h"
#include "auth/replay.h"
#include "lib/buf.h"
#include "lib/hex.h"
#include "lib/log.h"
#include "proto/writer.h"
#include "wallet/check.h"

#define ECHO_MAX AUTH_AUDIT_VALUE_MAX /* bytes of a user name that a refusal repeats (section 10) */

/* Stays where it is: the claim points into itself. */
struct pending {
	struct ecdsa_claim claim;
	int64_t now; /* when the password came */
};

/* Asked of every user name, known or malformed, so that nothing can be learnt before a signature is shown. */
static enum auth_verdict ecdsa_start(struct auth *a, struct buf *out)
{
	(void)a;
	put_auth_request(out, 3, NULL, 0);
	return AUTH_CONTINUE;
}

static void ecdsa_end(struct auth *a)
{
	free(a->state);
	a->state = NULL;
}

const char *auth_audit_value(const char *value, char out[AUTH_AUDIT_VALUE_MAX + 1])
{
	size_t n = 0;

	for (; *value; value++) {
		uint8_t c = (uint8_t)*value;
		bool is_plain = c > 0x20 && c < 0x7f && c != '"' && c != '\'' && c != '\\';

		if (n + (is_plain ? 1 : 4) > ECHO_MAX)
			break;
		if (is_plain) {
			out[n++] = (char)c;
		} else {
			memcpy(out + n, "\\x", 2);
			hex_encode(&c, 1, out + n + 2);
			n += 4;
		}
	}
	out[n] = 0;
	return out;
}

/* now - then without overflow; wall clocks may be anything. */
static long long difference(int64_t now, int64_t then)
{
	int64_t d;

	if (__builtin_sub_overflow(now, then, &d))
		return now < then ? INT64_MIN : INT64_MAX;
	return d;
}

static void put_time_and_proof(struct buf *b, const struct ecdsa_claim *claim, int64_t now, bool is_ok)
{
	char fingerprint[17] = "-";

	buf_printf(b, " format=%s", claim->has_format ? ecdsa_format_word(claim->format) : "-");
	if (claim->has_time) {
		buf_printf(b, " age=%llds", difference(now, claim->issued));
		if (is_ok) /* counted to the last second at which it is still good */
			buf_printf(b, " expires_in=%llds", difference(claim->expires, now) - 1);
	} else {
		buf_put_text(b, " age=-");
	}
	if (claim->has_signer)
		ecdsa_proof_fingerprint(claim, fingerprint);
	buf_printf(b, " proof=%s", fingerprint);
	if (claim->request_id.ptr) {
		char id[ECHO_MAX + 1], escaped[ECHO_MAX + 1];
		size_t n = claim->request_id.len < ECHO_MAX ? claim->request_id.len : ECHO_MAX;

		memcpy(id, claim->request_id.ptr, n);
		id[n] = 0;
		buf_printf(b, " request_id=%s", auth_audit_value(id, escaped));
	}
}

/* The method's part of the audit line (section 22); the owner adds database, role, source and TLS. */
static void write_audit(struct auth *a, enum ecdsa_reason reason, const struct ecdsa_claim *claim, int64_t now)
{
	char user[ECHO_MAX + 1], wallet[WALLET_TEXT_LEN + 1], recovered[WALLET_TEXT_LEN + 1] = "-";
	bool is_ok = reason == ECDSA_OK;
	struct buf b;

	a->wallet_reason = reason;
	a->wallet_format = claim->format;
	buf_init(&b);
	auth_audit_value(a->in->user, user);
	if (claim->has_claimed)
		wallet_address_eip55(&claim->claimed, wallet);
	if (claim->has_signer)
		wallet_address_eip55(&claim->signer, recovered);
	if (is_ok)
		buf_printf(&b, "method=ecdsa result=ok wallet=%s user=%s", recovered, user);
	else /* of a refused login the wallet is only claimed */
		buf_printf(&b, "method=ecdsa reason=%s wallet=%s recovered=%s", ecdsa_reason_word(reason),
			   claim->has_claimed ? wallet : user, recovered);
	put_time_and_proof(&b, claim, now, is_ok);
	buf_put_u8(&b, 0);
	snprintf(a->audit, sizeof(a->audit), "%s", buf_ok(&b) ? (const char *)buf_data(&b) : "method=ecdsa");
	buf_free(&b);
}

static enum auth_verdict refuse(struct auth *a, enum ecdsa_reason reason, const char *detail)
{
	char text[sizeof(a->reject.text)], name[ECHO_MAX + 1];
	size_t n = strnlen(a->in->user, ECHO_MAX + 1);

	/* It is not the proof's fault, so it may be told apart (section 10). */
	if (reason == ECDSA_REPLAY_CACHE_FULL)
		return auth_refuse(a, "53300", "too many logins for this wallet, retry later", "%s: %s",
				   ecdsa_reason_word(reason), detail ? detail : "");
	if (reason == ECDSA_LOOKUP_FAILED)
		return auth_refuse(a, "57P03", "login service unavailable, retry later", "%s%s%s",
				   ecdsa_reason_word(reason), detail ? ": " : "", detail ? detail : "");
	/* The one refusal for every failed proof. */

	if (n > ECHO_MAX) { /* not in the middle of a UTF-8 character */
		n = ECHO_MAX;
		while (n > 0 && ((uint8_t)a->in->user[n] & 0xc0) == 0x80)
			n--;
	}
	for (size_t i = 0; i < n; i++)
		name[i] = (uint8_t)a->in->user[i] < 0x20 || a->in->user[i] == 0x7f ? '?' : a->in->user[i];
	name[n] = 0;
	snprintf(text, sizeof(text), "password authentication failed for user \"%s\"", name);
	return auth_refuse(a, SQLSTATE_INVALID_PASSWORD, text, "%s%s%s", ecdsa_reason_word(reason),
			   detail ? ": " : "", detail ? detail : "");
}

/* Step 9 of section 9: for a proof that is good and a wallet that may enter. */
static enum ecdsa_reason use_proof(const struct auth_input *in, const struct ecdsa_claim *claim, int64_t now,
				   const char **detail)
{
	uint8_t key[PROOF_KEY_BYTES];
	char wallet[WALLET_TEXT_LEN + 1];
	struct replay_use use = {
		.mode = in->replay_mode,
		.key = key,
		.wallet = &claim->signer,
		.source = in->replay_source,
		.issued = claim->issued,
		.expires = claim->expires,
		.ends_by_window = claim->ends_by_window,
	};
	enum ecdsa_reason reason;

	if (in->replay_mode == REPLAY_OFF)
		return ECDSA_OK;
	ecdsa_proof_key(claim, key);
	reason = replay_use(in->replay, &use, now);
	*detail = use.detail;
	if (use.wants_warning) {
		wallet_address_eip55(&claim->signer, wallet);
		log_warning("wallet login of %s refused: %s (ecdsa_replay_entries)", wallet, use.detail);
	}
	return reason;
}

/* A proof that is good so far: who may enter, then how often it may be used. */
static enum auth_verdict settle(struct auth *a, struct pending *p, enum ecdsa_reason reason, const char *detail)
{
	const struct auth_input *in = a->in;

	/* Membership is looked up only for a proven signer, so that the list cannot be probed. */
	if (reason == ECDSA_OK)
		reason = in->judge_wallet(in->wallet_ctx, &p->claim, &detail);
	if (reason == ECDSA_UNDECIDED)
		return AUTH_PENDING;
	if (reason == ECDSA_OK)
		reason = use_proof(in, &p->claim, p->now, &detail);
	write_audit(a, reason, &p->claim, p->now);
	if (reason != ECDSA_OK)
		return refuse(a, reason, detail);
	a->is_wallet = true;
	a->wallet = p->claim.signer;
	return AUTH_OK;
}

static enum auth_verdict ecdsa_message(struct auth *a, struct span body, struct buf *out)
{
	const struct auth_input *in = a->in;
	struct pending *p = a->state = calloc(1, sizeof(*p));
	enum ecdsa_reason reason;
	const char *detail = NULL;

	(void)out;
	if (!p)
		return auth_refuse(a, SQLSTATE_PROTOCOL, "out of memory", "%s", "");
	p->now = in->wall_clock(in->clock_ctx);
	if (body.len == 0 || memchr(body.ptr, 0, body.len) != body.ptr + body.len - 1) {
		write_audit(a, ECDSA_PACKET_MALFORMED, &p->claim, p->now);
		return auth_refuse(a, SQLSTATE_PROTOCOL, "invalid password packet", "%s",
				   ecdsa_reason_word(ECDSA_PACKET_MALFORMED));
	}
	if (body.len == 1)
		reason = ECDSA_PASSWORD_EMPTY;
	else
		reason = ecdsa_check(in->user, body.ptr, body.len - 1, p->now, in->wallet_policy, &p->claim);
	if (reason == ECDSA_WRONG_SIGNER && (!in->may_explain || in->may_explain(in->explain_ctx)))
		detail = ecdsa_explain_wrong_signer(in->user, body.ptr, body.len - 1);
	return settle(a, p, reason, detail);
}

/* The database has answered. Time goes on meanwhile; what was good when it came is good. */
static enum auth_verdict ecdsa_resume(struct auth *a, struct buf *out)
{
	(void)out;
	return settle(a, a->state, ECDSA_OK, NULL);
}

static enum auth_verdict ecdsa_too_long(struct auth *a)
{
	struct ecdsa_claim claim = {0};

	write_audit(a, ECDSA_PASSWORD_TOO_LONG, &claim, 0);
	return refuse(a, ECDSA_PASSWORD_TOO_LONG, NULL);
}

const struct auth_method method_ecdsa = {
	.max_body = WALLET_PASSWORD_MAX,
	.queue = NEED_WALLET,
	.start = ecdsa_start,
	.message = ecdsa_message,
	.resume = ecdsa_resume,
	.too_long = ecdsa_too_long,
	.end = ecdsa_end,
};
