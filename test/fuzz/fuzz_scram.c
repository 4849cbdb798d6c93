/*
 * Fuzz target: both halves of SCRAM, and the other methods. The first byte
 * chooses who listens; then messages follow, each behind a 16-bit length.
 * Nobody may be let in by chance, and nothing may be read out of bounds.
 *
 * "\1" anywhere in a message stands for the nonce that the target made, so
 * that later messages can be reached.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "auth/auth.h"
#include "auth/server_auth.h"
#include "lib/buf.h"
#include "proto/reader.h"
#include "wallet/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static int64_t clock_at_noon(void *ctx)
{
	(void)ctx;
	return 1750000000;
}

static enum ecdsa_reason nobody(void *ctx, const struct ecdsa_claim *claim, const char **detail)
{
	(void)detail;
	(void)ctx;
	(void)claim;
	return ECDSA_NOT_ALLOWED;
}

/* The value of the r= that was sent last. */
static struct span nonce_in(const struct buf *sent)
{
	struct span s = buf_span(sent);

	for (size_t i = 0; i + 2 < s.len; i++)
		if (s.ptr[i] == 'r' && s.ptr[i + 1] == '=') {
			size_t n = i + 2;

			while (n < s.len && s.ptr[n] != ',')
				n++;
			return span_of(s.ptr + i + 2, n - i - 2);
		}
	return span_of("", 0);
}

static bool next_message(struct reader *r, const struct buf *sent, struct buf *message)
{
	struct span part = reader_bytes(r, reader_u16(r)), nonce = nonce_in(sent);

	buf_clear(message);
	for (size_t i = 0; i < part.len; i++)
		if (part.ptr[i] == 1)
			buf_put(message, nonce.ptr, nonce.len);
		else
			buf_put_u8(message, part.ptr[i]);
	return reader_ok(r);
}

static void feed_client_login(struct reader *r, uint8_t choice)
{
	static const char *const secrets[] = {
		"secret", NULL, "md5deadbeefdeadbeefdeadbeefdeadbeef",
		"SCRAM-SHA-256$1:AAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="};
	static const uint8_t mock_nonce[32] = {1};
	struct wallet_policy policy = {.formats = BIT(ECDSA_FORMAT_TIMESTAMP), .window_seconds = 300, .role_login = false};
	struct auth_input in = {
		.kind = choice / 4 % (AUTH_KIND_ECDSA + 1), /* the others ask the machine */ .user = "bob", .secret = secrets[choice % 4],
		.is_mock = !secrets[choice % 4] || choice >= 192, .scram_iterations = 1, .mock_nonce = mock_nonce,
		.wallet_policy = &policy, .wall_clock = clock_at_noon, .judge_wallet = nobody};
	struct auth a = {0};
	struct buf out, message;
	enum auth_verdict v;

	buf_init(&out);
	buf_init(&message);
	v = auth_start(&a, &in, &out);
	while (v == AUTH_CONTINUE && next_message(r, &out, &message)) {
		uint8_t *exact = malloc(buf_len(&message) + 1); /* its own block, for the address sanitizer */

		memcpy(exact, buf_span(&message).ptr, buf_len(&message));
		exact = realloc(exact, buf_len(&message) + !buf_len(&message));
		buf_clear(&out);
		v = auth_message(&a, span_of(exact, buf_len(&message)), &out);
		if (v == AUTH_PENDING) {
			auth_work(&a);
			v = auth_resume(&a, &out);
		}
		free(exact);
	}
	if (in.is_mock && in.kind != AUTH_KIND_ANY)
		assert(v != AUTH_OK);
	if (v == AUTH_REJECT)
		assert(a.reject.text[0] && strlen(a.reject.sqlstate) == 5);
	auth_end(&a);
	buf_free(&out);
	buf_free(&message);
}

static void feed_server_login(struct reader *r, uint8_t choice)
{
	static const struct scram_keys keys = {.known = true};
	struct server_auth s = {.user = "bob", .secret = choice & 1 ? "secret" : NULL, .keys = &keys};
	struct buf out, message;
	enum auth_verdict v = AUTH_CONTINUE;

	buf_init(&out);
	buf_init(&message);
	while (v == AUTH_CONTINUE && next_message(r, &out, &message)) {
		/* PBKDF2 with a large count would only burn the fuzzer's time. */
		struct span text = buf_span(&message);
		bool is_slow = false;

		for (size_t i = 0; i + 4 < text.len; i++)
			is_slow |= memcmp(text.ptr + i, ",i=", 3) == 0 && text.len - i > 6;
		if (is_slow)
			break;
		buf_clear(&out);
		v = server_auth_message(&s, text, &out);
		if (v == AUTH_PENDING) {
			server_auth_work(&s);
			v = server_auth_resume(&s, &out);
		}
	}
	if (v == AUTH_REJECT)
		assert(s.log_text[0] && s.close_text[0]);
	server_auth_end(&s);
	buf_free(&out);
	buf_free(&message);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct reader r = reader_over(bytes, len);
	uint8_t choice = reader_u8(&r);

	if (choice & 0x80)
		feed_server_login(&r, choice);
	else
		feed_client_login(&r, choice);
	return 0;
}
