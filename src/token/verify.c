#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/mem.h"
#include "token/token.h"
#include "token/verify.h"
#include "wallet/bound.h"
#include "wallet/check.h"
#include "wallet/siwe.h"

/* For people; the code in front of it is for programs. */
static const char *sentence(enum ecdsa_reason reason)
{
	switch (reason) {
	case ECDSA_OK:
		return "the password is a valid proof by this wallet";
	case ECDSA_ADDRESS_MALFORMED:
		return "the user name is not a wallet: 0x and exactly 40 hexadecimal digits are expected";
	case ECDSA_PASSWORD_EMPTY:
		return "the password is empty";
	case ECDSA_PACKET_MALFORMED:
		return "the password contains a zero byte";
	case ECDSA_PASSWORD_TOO_LONG:
		return "the password is longer than 4095 bytes";
	case ECDSA_FORMAT_UNKNOWN:
		return "the password begins with no format: <seconds>:0x<signature> is expected, or bound:, siwe: or "
		       "typed:, a message in base64, : and a signature";
	case ECDSA_FORMAT_DISABLED:
		return "the password is in a format that is not enabled";
	case ECDSA_TIMESTAMP_MALFORMED:
		return "the timestamp is not a plain decimal number: digits only, no sign, space, point "
		       "or leading zero";
	case ECDSA_TIMESTAMP_OVERFLOW:
		return "the timestamp is larger than any time: above 2^63-1";
	case ECDSA_MESSAGE_ENCODING:
		return "the message is not base64, or holds more than 2048 bytes; padding is absent or right, and there is "
		       "no white space";
	case ECDSA_MESSAGE_MALFORMED:
		return "the message does not have the lines of its format, in their order, with LF between them and "
		       "none at the end";
	case ECDSA_SIGNATURE_LENGTH:
		return "the signature has the wrong length: 130 hexadecimal digits are expected, or 128 in compact "
		       "form, with nothing behind them";
	case ECDSA_SIGNATURE_NOT_HEX:
		return "the signature contains something that is not a hexadecimal digit";
	case ECDSA_V_OUT_OF_RANGE:
		return "the last byte of the signature, v, is none of 0, 1, 27 and 28; values from 35 on belong to "
		       "transactions";
	case ECDSA_SCALAR_OUT_OF_RANGE:
		return "r or s of the signature is zero or not below the order of the curve";
	case ECDSA_HIGH_S:
		return "s of the signature is above half the order of the curve; replace s by n-s and flip v";
	case ECDSA_EXPIRED:
		return "the password is too old; sign again";
	case ECDSA_FROM_FUTURE:
		return "the password is dated in the future; compare the clocks";
	case ECDSA_TIMESTAMP_MILLISECONDS:
		return "the time is in milliseconds; divide by 1000 and drop the fraction before signing";
	case ECDSA_NOT_YET_VALID:
		return "the message says that it is not valid yet; compare the clocks";
	case ECDSA_LIFETIME_TOO_LONG:
		return "the message is to be valid for longer than the pooler allows";
	case ECDSA_WRONG_SERVER:
		return "the message names another server";
	case ECDSA_WRONG_DATABASE:
		return "the message names another database, or none where one must be named";
	case ECDSA_WRONG_DOMAIN:
		return "the message is for another web site";
	case ECDSA_WRONG_CHAIN:
		return "the message names a chain that is not accepted";
	case ECDSA_WALLET_DIFFERS:
		return "the message names another wallet";
	case ECDSA_RECOVERY_FAILED:
		return "no key can have made this signature";
	case ECDSA_WRONG_SIGNER:
		return "the password was not signed by this wallet, or another text was signed";
	case ECDSA_WRONG_ROLE:
		return "the message is for another role";
	case ECDSA_NOT_ALLOWED:
	case ECDSA_NO_MAPPING:
	case ECDSA_WALLET_EXPIRED:
	case ECDSA_LOOKUP_FAILED:
	case ECDSA_REPLAYED:
	case ECDSA_REPLAY_OTHER_SOURCE:
	case ECDSA_REPLAY_CACHE_FULL:
		return "the wallet is not on the list of those that may enter";
	case ECDSA_REASON_COUNT:
	case ECDSA_UNDECIDED:
		break;
	}
	return "unknown reason";
}

/* Seconds from b to a; saturates, since the clock may be given as anything. */
static int64_t seconds_between(int64_t a, int64_t b)
{
	int64_t apart;

	return __builtin_sub_overflow(a, b, &apart) ? INT64_MAX : apart;
}

/* ---- what the message says ---- */

/* Values come from whoever made the password: control bytes must not reach a terminal. */
static void print_value(const char *name, struct span value, const char *remark)
{
	printf("%s: ", name);
	for (size_t i = 0; i < value.len; i++)
		putchar(value.ptr[i] < 0x20 || value.ptr[i] == 0x7f ? '?' : value.ptr[i]);
	printf("%s\n", remark);
}

static const char *unless(bool is_judged)
{
	return is_judged ? "" : " (not judged)";
}

static void describe_bound(const struct bound_message *m, const struct expectation *e)
{
	print_value("server", m->server, unless(e->server_names));
	print_value("database", m->database, unless(e->database || span_is(m->database, "*")));
	if (m->role.ptr)
		print_value("role", m->role, unless(e->role));
}

static void describe_siwe(const struct siwe_message *m, const struct expectation *e)
{
	print_value("domain", m->domain, unless(e->siwe_domains));
	print_value("chain", m->chain_id, unless(e->chain_ids));
	if (m->statement.ptr)
		print_value("statement", m->statement, "");
	if (siwe_names_database(m->uri))
		print_value("uri", m->uri, unless(e->server_names && e->database));
	for (size_t i = 0; i < m->resource_count; i++)
		print_value("resource", m->resources[i],
			    siwe_names_database(m->resources[i]) ? unless(e->server_names && e->database) : "");
}

static void describe_message(const struct ecdsa_claim *claim, const struct expectation *e)
{
	struct span text = span_of(claim->message, claim->message_len);
	struct bound_message bound;
	struct siwe_message siwe;

	if (claim->format == ECDSA_FORMAT_SIWE && siwe_parse(text, &siwe))
		describe_siwe(&siwe, e);
	else if (claim->format != ECDSA_FORMAT_TIMESTAMP && bound_parse(text, &bound))
		describe_bound(&bound, e);
}

static void describe(const struct ecdsa_claim *claim, const struct expectation *e, int64_t now)
{
	char address[WALLET_TEXT_LEN + 1];

	if (claim->has_claimed) {
		wallet_address_eip55(&claim->claimed, address);
		printf("wallet: %s\n", address);
	}
	if (claim->has_signer) {
		wallet_address_eip55(&claim->signer, address);
		printf("signer: %s\n", address);
	}
	if (claim->has_format && claim->format != ECDSA_FORMAT_TIMESTAMP) {
		printf("format: %s\n", ecdsa_format_word(claim->format));
		describe_message(claim, e);
	}
	if (claim->has_time && claim->format == ECDSA_FORMAT_TIMESTAMP)
		printf("age: %" PRId64 " s, accepted up to %" PRId64 " s either side of the clock\n",
		       seconds_between(now, claim->issued), e->window);
	else if (claim->has_time)
		printf("age: %" PRId64 " s, ends in %" PRId64 " s\n", seconds_between(now, claim->issued),
		       seconds_between(claim->expires, now));
}

/* ---- the judgement ---- */

/* What nobody said is taken from the message itself, and so is right. Texts are kept for the life of the program. */
struct own_words {
	char server[SIWE_TEXT_MAX + 1], domain[SIWE_TEXT_MAX + 1], database[SIWE_TEXT_MAX + 1];
};

static const char *copy(char *to, struct span from)
{
	memcpy(to, from.ptr, from.len);
	to[from.len] = 0;
	return to;
}

/* SERVER and DATABASE of the first URI that has both. */
static void take_from_uri(const struct siwe_message *m, struct own_words *own)
{
	for (size_t i = 0; i <= m->resource_count; i++) {
		struct span uri = i == m->resource_count ? m->uri : m->resources[i];
		const uint8_t *at, *slash, *end = uri.ptr + uri.len;
		char role[SIWE_TEXT_MAX + 1];

		if (!siwe_names_database(uri))
			continue;
		at = memchr(uri.ptr, ':', uri.len);
		if (end - at < 3 || memcmp(at, "://", 3) != 0)
			continue;
		at += 3;
		slash = memchr(at, '/', (size_t)(end - at));
		if (!slash)
			continue;
		copy(own->server, span_of(at, (size_t)(slash - at)));
		/* Compared after decoding; a database of the message's own name is tried as it reads. */
		at = slash + 1;
		slash = memchr(at, '?', (size_t)(end - at));
		copy(own->database, span_of(at, (size_t)((slash ? slash : end) - at)));
		for (char *p = own->database, *to = own->database;; p++) {
			unsigned byte;

			if (*p == '%' && sscanf(p + 1, "%2x", &byte) == 1 && byte) {
				*to++ = (char)byte;
				p += 2;
			} else
				*to++ = *p;
			if (!*p)
				break;
		}
		if (siwe_uri_matches(uri, own->server, own->database, role, sizeof(role)))
			return;
	}
}

static void fill_in(const struct ecdsa_claim *claim, struct wallet_policy *p, struct own_words *own)
{
	struct span text = span_of(claim->message, claim->message_len);
	struct bound_message bound;
	struct siwe_message siwe;

	if (claim->format == ECDSA_FORMAT_SIWE && siwe_parse(text, &siwe)) {
		copy(own->domain, siwe.domain);
		take_from_uri(&siwe, own);
	} else if (claim->format != ECDSA_FORMAT_TIMESTAMP && bound_parse(text, &bound)) {
		copy(own->server, bound.server);
		copy(own->database, bound.database);
	}
	if (!p->server_names)
		p->server_names = own->server;
	if (!p->database)
		p->database = own->database;
	if (!p->siwe_domains)
		p->siwe_domains = own->domain;
}

static enum ecdsa_reason judge(const struct expectation *e, const char *password, size_t len, int64_t now,
			       struct ecdsa_claim *claim)
{
	static struct own_words own;
	struct wallet_policy policy = {
		.formats = BIT(ECDSA_FORMATS) - 1,
		.window_seconds = e->window,
		.role_login = e->wallet != NULL,
		.skew_seconds = e->skew,
		.max_lifetime_seconds = e->max_lifetime,
		.server_names = e->server_names,
		.siwe_domains = e->siwe_domains,
		.chain_ids = e->chain_ids,
		.database = e->database,
	};
	struct wallet_address wallet;
	enum ecdsa_reason reason = ecdsa_check(e->user, password, len, now, &policy, claim);

	if (claim->message_len > 0) {
		fill_in(claim, &policy, &own);
		reason = ecdsa_check(e->user, password, len, now, &policy, claim);
	}
	if (reason == ECDSA_OK && e->wallet && wallet_address_parse(e->wallet, strlen(e->wallet), &wallet) &&
	    memcmp(&wallet, &claim->signer, sizeof(wallet)) != 0)
		reason = ECDSA_WRONG_SIGNER;
	if (reason == ECDSA_OK && e->role && !ecdsa_claim_admits(claim, e->role))
		reason = ECDSA_WRONG_ROLE;
	return reason;
}

int verify_password(const struct expectation *e, int64_t now)
{
	/* Room for a password that is too long, so that it is called that. */
	static char password[WALLET_PASSWORD_MAX + 2];
	ssize_t len = read_all(STDIN_FILENO, password, sizeof(password));
	static struct ecdsa_claim claim;
	enum ecdsa_reason reason;
	const char *explanation = NULL;

	if (len < 0) {
		complain("cannot read the password from standard input: %s", strerror(errno));
		return 1;
	}
	/* What echo and editors add; a second one is the user's. */
	if (len > 0 && password[len - 1] == '\n')
		len--;
	reason = judge(e, password, (size_t)len, now, &claim);
	if (reason == ECDSA_WRONG_SIGNER)
		explanation = ecdsa_explain_wrong_signer(e->wallet ? e->wallet : e->user, password, (size_t)len);
	mem_wipe(password, sizeof(password));

	printf("%s: %s\n", ecdsa_reason_word(reason), sentence(reason));
	if (explanation)
		printf("likely cause: %s\n", explanation);
	describe(&claim, e, now);
	return reason == ECDSA_OK ? 0 : 1;
}
