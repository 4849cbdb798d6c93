#include "auth/server_auth.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/scram_client.h"
#include "auth/secret.h"
#include "lib/hash.h"
#include "lib/mem.h"
#include "proto/reader.h"
#include "proto/writer.h"

/* A SASL exchange under way: what s->scram points to. */
struct exchange {
	enum { WANT_FIRST, WANT_WORK, WANT_FINAL, VERIFIED } phase;
	bool is_derived; /* set by the work */
	struct scram_client *client; /* owned */
};

_Static_assert(SERVER_SCRAM_ITERATIONS_MAX == SCRAM_ITERATIONS_MAX, "both halves share one bound");

/* client_text may be "" where waiting clients are to learn nothing in particular. */
static enum auth_verdict refuse(struct server_auth *s, const char *client_text, const char *log_fmt, ...)
	PRINTF_LIKE(3, 4);

static enum auth_verdict refuse(struct server_auth *s, const char *client_text, const char *log_fmt, ...)
{
	va_list ap;

	va_start(ap, log_fmt);
	vsnprintf(s->log_text, sizeof(s->log_text), log_fmt, ap);
	va_end(ap);
	snprintf(s->client_text, sizeof(s->client_text), "%s", client_text);
	snprintf(s->close_text, sizeof(s->close_text), "failed to answer authreq");
	return AUTH_REJECT;
}

static enum auth_verdict wrong_type(struct server_auth *s, const char *log_text)
{
	return refuse(s, "server login failed: wrong password type", "%s", log_text);
}

/* A missing password is sent as an empty one: the server then says what it wants in its own words. */
static const char *secret_text(const struct server_auth *s)
{
	return s->secret ? s->secret : "";
}

static enum auth_verdict answer_md5(struct server_auth *s, const uint8_t salt[4], struct buf *out)
{
	char stored[MD5_TEXT_LEN + 1], answer[MD5_TEXT_LEN + 1];
	bool done = true;

	switch (secret_kind_of(s->secret)) {
	case SECRET_SCRAM:
		return wrong_type(s, "cannot do MD5 authentication: wrong password type");
	case SECRET_MD5:
		memcpy(stored, s->secret, sizeof(stored));
		break;
	case SECRET_NONE:
	case SECRET_PLAIN:
		done = md5_secret(secret_text(s), s->user, stored);
		break;
	}
	if (!done || !md5_answer(stored, salt, answer))
		return refuse(s, "", "cannot do MD5 authentication: no MD5 in this OpenSSL");
	put_password(out, answer, MD5_TEXT_LEN, 1);
	mem_wipe(stored, sizeof(stored));
	mem_wipe(answer, sizeof(answer));
	return AUTH_CONTINUE;
}

static bool offers_scram(struct span list, bool *is_malformed)
{
	struct reader r = reader_over_span(list);
	bool found = false;

	for (;;) {
		const char *name = reader_str(&r);

		if (!reader_ok(&r) || !*name)
			break;
		if (strcmp(name, SCRAM_MECHANISM) == 0)
			found = true;
	}
	*is_malformed = !reader_done(&r);
	return found;
}

/*
 * Keys were left behind by a client that proved one particular secret. When
 * that has been replaced since, they are of no use for the new one, and would
 * only count as a wrong password at the server.
 */
static bool keys_fit_secret(const struct server_auth *s)
{
	struct scram_secret stored;
	uint8_t hash[SCRAM_KEY_LEN];
	bool fit;

	if (!s->keys || !s->keys->known)
		return false;
	fit = scram_secret_parse(s->secret, &stored) && scram_hash(s->keys->client_key, SCRAM_KEY_LEN, hash) &&
	      mem_equal_const_time(hash, stored.stored_key, SCRAM_KEY_LEN) &&
	      mem_equal_const_time(s->keys->server_key, stored.server_key, SCRAM_KEY_LEN);
	mem_wipe(&stored, sizeof(stored));
	return fit;
}

static enum auth_verdict start_sasl(struct server_auth *s, struct span list, struct buf *out)
{
	enum secret_kind kind = secret_kind_of(s->secret);
	struct exchange *x;
	struct buf text;
	bool is_malformed, is_offered = offers_scram(list, &is_malformed);
	size_t at;

	if (is_malformed)
		return refuse(s, "", "malformed list of SASL mechanisms");
	if (!is_offered)
		return refuse(s, "server login failed: none of the server's SASL authentication mechanisms are supported",
			      "none of the server's SASL authentication mechanisms are supported");
	if (kind == SECRET_MD5)
		return wrong_type(s, "cannot do SCRAM authentication: wrong password type");
	if (kind == SECRET_SCRAM && !keys_fit_secret(s))
		return wrong_type(s, "cannot do SCRAM authentication: password is SCRAM secret but client "
				     "authentication did not provide SCRAM keys");
	s->scram = x = calloc(1, sizeof(*x));
	if (!x || !(x->client = scram_client_new()))
		return refuse(s, "", "out of memory");
	buf_init(&text);
	scram_client_first(x->client, &text);
	at = msg_begin(out, 'p');
	buf_put_str(out, SCRAM_MECHANISM);
	buf_put_u32(out, (uint32_t)buf_len(&text));
	buf_put(out, buf_data(&text), buf_len(&text));
	msg_end(out, at);
	if (!buf_ok(&text))
		out->failed = true;
	buf_free(&text);
	return AUTH_CONTINUE;
}

static enum auth_verdict send_final(struct server_auth *s, struct buf *out)
{
	struct exchange *x = s->scram;
	size_t at = msg_begin(out, 'p');

	if (!scram_client_final(x->client, out))
		return refuse(s, "", "out of memory");
	msg_end(out, at);
	x->phase = WANT_FINAL;
	return AUTH_CONTINUE;
}

static uint64_t hash_of_secret(const struct server_auth *s)
{
	return hash_bytes(secret_text(s), strlen(secret_text(s)));
}

static enum auth_verdict continue_sasl(struct server_auth *s, struct span text, struct buf *out)
{
	struct exchange *x = s->scram;

	if (!x || x->phase != WANT_FIRST)
		return refuse(s, "", "unexpected SASL message from server");
	if (!scram_client_take_first(x->client, text))
		return refuse(s, "", "malformed SCRAM message from server, or one beyond our limits");
	if (secret_kind_of(s->secret) == SECRET_SCRAM) {
		scram_client_use_keys(x->client, s->keys->client_key, s->keys->server_key);
		return send_final(s, out);
	}
	if (s->derived && s->derived->secret_hash == hash_of_secret(s) &&
	    scram_client_use_derived(x->client, s->derived))
		return send_final(s, out);
	x->phase = WANT_WORK;
	return AUTH_PENDING;
}

static enum auth_verdict finish_sasl(struct server_auth *s, struct span text)
{
	struct exchange *x = s->scram;

	if (!x || x->phase != WANT_FINAL)
		return refuse(s, "", "unexpected SASL message from server");
	if (!scram_client_verify(x->client, text))
		return refuse(s, "server login failed: invalid server signature", "invalid server signature");
	x->phase = VERIFIED;
	/* Only now is it known that these are the keys of both sides. */
	if (s->derived && x->is_derived) {
		scram_client_note_derived(x->client, s->derived);
		s->derived->secret_hash = hash_of_secret(s);
	}
	return AUTH_CONTINUE;
}

static enum auth_verdict accepted(struct server_auth *s, const struct reader *r)
{
	const struct exchange *x = s->scram;

	if (!reader_done(r))
		return refuse(s, "", "malformed authentication message from server");
	/* A server that skips its signature has not shown that it knows the secret. */
	if (x && x->phase != VERIFIED)
		return refuse(s, "server login failed: invalid server signature",
			      "server ended the SASL exchange without its signature");
	s->was_ok = true;
	return AUTH_OK;
}

/* Requests 3, 5 and 10 open a conversation; there is only one. */
static enum auth_verdict first_request(struct server_auth *s, uint32_t kind, struct reader *r, struct buf *out)
{
	struct span rest = reader_bytes(r, reader_left(r));

	if (s->was_asked)
		return refuse(s, "", "server asked for authentication twice");
	s->was_asked = true;
	switch (kind) {
	case 3:
		if (rest.len != 0)
			break;
		put_password(out, secret_text(s), strlen(secret_text(s)), 1);
		return AUTH_CONTINUE;
	case 5:
		if (rest.len != 4)
			break;
		return answer_md5(s, rest.ptr, out);
	case 10:
		return start_sasl(s, rest, out);
	}
	return refuse(s, "", "malformed authentication message from server");
}

enum auth_verdict server_auth_message(struct server_auth *s, struct span body, struct buf *out)
{
	struct reader r = reader_over_span(body);
	uint32_t kind = reader_u32(&r);
	enum auth_verdict v;

	if (!reader_ok(&r))
		return refuse(s, "", "malformed authentication message from server");
	if (s->was_ok)
		return refuse(s, "", "authentication message after AuthenticationOk");
	switch (kind) {
	case 0:
		return accepted(s, &r);
	case 3:
	case 5:
	case 10:
		v = first_request(s, kind, &r, out);
		break;
	case 11:
		v = continue_sasl(s, reader_bytes(&r, reader_left(&r)), out);
		break;
	case 12:
		v = finish_sasl(s, reader_bytes(&r, reader_left(&r)));
		break;
	default:
		return refuse(s, "", "unknown/unsupported auth method: %u", kind);
	}
	return v != AUTH_REJECT && !buf_ok(out) ? refuse(s, "", "out of memory") : v;
}

void server_auth_work(struct server_auth *s)
{
	struct exchange *x = s->scram;

	if (x && x->phase == WANT_WORK)
		x->is_derived = scram_client_derive(x->client, secret_text(s));
}

enum auth_verdict server_auth_resume(struct server_auth *s, struct buf *out)
{
	struct exchange *x = s->scram;
	enum auth_verdict v;

	if (!x || x->phase != WANT_WORK || !x->is_derived)
		return refuse(s, "", "out of memory");
	v = send_final(s, out);
	return v != AUTH_REJECT && !buf_ok(out) ? refuse(s, "", "out of memory") : v;
}

void server_auth_end(struct server_auth *s)
{
	struct exchange *x = s->scram;

	if (!x)
		return;
	scram_client_free(x->client);
	mem_wipe(x, sizeof(*x));
	free(x);
	s->scram = NULL;
}
