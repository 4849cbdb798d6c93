/*
 * Method scram-sha-256: the server's half.
 *
 *	client				us
 *		<- SASL: SCRAM-SHA-256		(nothing sent yet: FIRST)
 *	n,,n=,r=NONCE ->
 *		<- r=NONCE+OURS,s=SALT,i=ITER	(FINAL)
 *	c=biws,r=..,p=PROOF ->
 *		<- v=SIGNATURE			(AUTH_OK)
 *
 * A plain secret without a cached verifier adds DERIVING before our first
 * message. A user who cannot log in gets the same dialogue with made-up keys
 * and is refused at its end ("doomed"), so that names cannot be probed. For
 * the same reason the salt of a plain secret is made as theirs is.
 */
#include <stdlib.h>
#include <string.h>

#include "auth/method.h"
#include "auth/scram.h"
#include "auth/secret.h"
#include "lib/mem.h"
#include "proto/reader.h"
#include "proto/writer.h"

static const char failure_text[] = "SASL authentication failed";

#define PLAIN_SALT_LEN sizeof(((struct scram_verifier *)0)->salt)

#define SASL_START 10u
#define SASL_CONTINUE 11u
#define SASL_FINAL 12u

enum scram_phase {
	SCRAM_INITIAL,	 /* SASLInitialResponse is due */
	SCRAM_FIRST,	 /* it came without a response: client-first-message is due */
	SCRAM_DERIVING,	 /* work under way */
	SCRAM_FINAL,	 /* client-final-message is due */
};

struct scram_state {
	enum scram_phase phase;
	bool is_doomed;
	const char *doom;	    /* log reason; borrowed, "" when known already */
	bool is_stored;		    /* keys are those of a stored SCRAM secret, so may be passed through */
	bool is_derived;	    /* set by the work */
	struct scram_secret secret; /* what this login is judged by */
	char gs2_flag;		    /* n or y */
	struct buf nonce;	    /* both nonces */
	struct buf auth_message;    /* grows to client-first-bare,server-first,client-final-without-proof */
};

static enum auth_verdict refuse(struct auth *a, const char *reason)
{
	return auth_refuse(a, SQLSTATE_PROTOCOL, failure_text, "%s", reason);
}

static int iterations_wanted(const struct auth_input *in)
{
	int n = in->scram_iterations;

	return n < 1 ? 4096 : n > SCRAM_ITERATIONS_MAX ? SCRAM_ITERATIONS_MAX : n;
}

/* The salt depends on the name and the process, so that asking twice shows the same one (attacks.md row 15). */
static bool made_up_salt(const struct auth_input *in, size_t len, struct scram_secret *s)
{
	uint8_t hash[SCRAM_KEY_LEN];
	struct buf seed;
	bool done;

	buf_init(&seed);
	buf_put_text(&seed, in->user);
	buf_put(&seed, in->mock_nonce, 32);
	done = buf_ok(&seed) && scram_hash(buf_data(&seed), buf_len(&seed), hash);
	buf_wipe_free(&seed);
	s->salt_len = len < sizeof(hash) ? len : sizeof(hash);
	memcpy(s->salt, hash, s->salt_len);
	mem_wipe(hash, sizeof(hash));
	return done;
}

static bool mock_secret(const struct auth_input *in, struct scram_secret *s)
{
	struct scram_secret model;
	bool has_model = in->is_mock && in->secret && scram_secret_parse(in->secret, &model);

	if (!made_up_salt(in, has_model ? model.salt_len : PLAIN_SALT_LEN, s))
		return false;
	s->iterations = has_model ? model.iterations : iterations_wanted(in);
	mem_wipe(&model, sizeof(model));
	mem_random(s->stored_key, sizeof(s->stored_key));
	mem_random(s->server_key, sizeof(s->server_key));
	return true;
}

static enum auth_verdict doomed(struct auth *a, const char *why)
{
	struct scram_state *s = a->state;

	s->is_doomed = true;
	s->doom = why;
	return mock_secret(a->in, &s->secret) ? AUTH_CONTINUE : refuse(a, "out of memory");
}

static enum auth_verdict plain_keys(struct scram_state *s, const struct auth_input *in)
{
	const struct scram_verifier *v = in->verifier;

	if (!v || !v->known || v->iterations != iterations_wanted(in)) {
		s->secret.iterations = iterations_wanted(in);
		return made_up_salt(in, PLAIN_SALT_LEN, &s->secret) ? AUTH_PENDING : AUTH_REJECT;
	}
	s->secret.salt_len = sizeof(v->salt);
	memcpy(s->secret.salt, v->salt, sizeof(v->salt));
	s->secret.iterations = v->iterations;
	memcpy(s->secret.stored_key, v->stored_key, SCRAM_KEY_LEN);
	memcpy(s->secret.server_key, v->server_key, SCRAM_KEY_LEN);
	return AUTH_CONTINUE;
}

/* Decides what the proof will be held against. AUTH_CONTINUE: s->secret is filled in. */
static enum auth_verdict choose_keys(struct auth *a)
{
	struct scram_state *s = a->state;
	enum auth_verdict v;

	if (a->in->is_mock)
		return doomed(a, "");
	switch (secret_kind_of(a->in->secret)) {
	case SECRET_NONE:
		return doomed(a, "SCRAM authentication failed: user has no password");
	case SECRET_MD5:
		return doomed(a, "SCRAM authentication failed: user has MD5 secret");
	case SECRET_SCRAM:
		s->is_stored = true;
		return scram_secret_parse(a->in->secret, &s->secret) ? AUTH_CONTINUE : refuse(a, "");
	case SECRET_PLAIN:
		v = plain_keys(s, a->in);
		return v == AUTH_REJECT ? refuse(a, "out of memory") : v;
	}
	return refuse(a, "");
}

static enum auth_verdict scram_start(struct auth *a, struct buf *out)
{
	struct scram_state *s = calloc(1, sizeof(*s));

	if (!s)
		return auth_refuse(a, SQLSTATE_PROTOCOL, "out of memory", "%s", "");
	a->state = s;
	buf_init(&s->nonce);
	buf_init(&s->auth_message);
	/* The list of mechanisms ends with an empty name: the literal's own NUL is that name. */
	put_auth_request(out, SASL_START, SCRAM_MECHANISM "\0", sizeof(SCRAM_MECHANISM "\0"));
	return AUTH_CONTINUE;
}

static enum auth_verdict send_first(struct auth *a, struct buf *out)
{
	struct scram_state *s = a->state;
	size_t bare_len = buf_len(&s->auth_message);
	char ours[SCRAM_NONCE_TEXT + 1];

	scram_nonce_make(ours);
	buf_put_text(&s->nonce, ours);
	buf_put_text(&s->auth_message, ",r=");
	buf_put(&s->auth_message, buf_data(&s->nonce), buf_len(&s->nonce));
	buf_put_text(&s->auth_message, ",s=");
	base64_put(&s->auth_message, s->secret.salt, s->secret.salt_len);
	buf_printf(&s->auth_message, ",i=%d", s->secret.iterations);
	if (!buf_ok(&s->nonce) || !buf_ok(&s->auth_message))
		return refuse(a, "out of memory");
	put_auth_request(out, SASL_CONTINUE, buf_data(&s->auth_message) + bare_len + 1,
			 buf_len(&s->auth_message) - bare_len - 1);
	s->phase = SCRAM_FINAL;
	return AUTH_CONTINUE;
}

/* client-first-message: gs2 header, then [m=,] n=,r= and extensions, which are passed over. */
static enum auth_verdict take_first(struct auth *a, struct span text, struct buf *out)
{
	struct scram_state *s = a->state;
	struct scram_attrs attrs;
	struct span value;
	enum auth_verdict v;
	char name;

	if (text.len && text.ptr[0] == 'p')
		return refuse(a, "client requires SCRAM channel binding, but it is not supported");
	if (text.len < 3 || (text.ptr[0] != 'n' && text.ptr[0] != 'y') || text.ptr[1] != ',')
		return refuse(a, "malformed SCRAM message: channel binding flag");
	if (text.ptr[2] == 'a')
		return refuse(a, "client uses authorization identity, but it is not supported");
	if (text.ptr[2] != ',')
		return refuse(a, "malformed SCRAM message: authorization identity");
	s->gs2_flag = (char)text.ptr[0];
	text = span_of(text.ptr + 3, text.len - 3);
	if (text.len && text.ptr[0] == 'm')
		return refuse(a, "client requires an unsupported SCRAM extension");
	attrs = scram_attrs_of(text);
	if (!scram_attr_is(&attrs, 'n', &value)) /* the name of the start-up message counts, not this one */
		return refuse(a, "malformed SCRAM message: user name");
	if (!scram_attr_is(&attrs, 'r', &value) || value.len > SCRAM_NONCE_MAX - SCRAM_NONCE_TEXT ||
	    !scram_nonce_ok(value))
		return refuse(a, "malformed SCRAM message: nonce");
	buf_put(&s->nonce, value.ptr, value.len);
	while (attrs.more)
		if (!scram_attr_next(&attrs, &name, &value))
			return refuse(a, "malformed SCRAM message: extension");
	buf_put(&s->auth_message, text.ptr, text.len);
	v = choose_keys(a);
	if (v == AUTH_PENDING)
		s->phase = SCRAM_DERIVING;
	return v == AUTH_CONTINUE ? send_first(a, out) : v;
}

/* SASLInitialResponse: mechanism, then a counted client-first-message, or -1 for none. */
static enum auth_verdict take_initial(struct auth *a, struct span body, struct buf *out)
{
	struct scram_state *s = a->state;
	struct reader r = reader_over_span(body);
	const char *mechanism = reader_str(&r);
	bool has_mechanism = reader_ok(&r);
	uint32_t len = reader_u32(&r);
	struct span text;

	if (has_mechanism && strcmp(mechanism, SCRAM_MECHANISM) != 0)
		return auth_refuse(a, SQLSTATE_PROTOCOL,
				   "client selected an invalid SASL authentication mechanism", "%s", "");
	if (!reader_ok(&r))
		return refuse(a, "malformed SASL initial response");
	if (len == UINT32_MAX) {
		if (!reader_done(&r))
			return refuse(a, "malformed SASL initial response");
		/* No response yet: an empty challenge asks for it. */
		put_auth_request(out, SASL_CONTINUE, NULL, 0);
		s->phase = SCRAM_FIRST;
		return AUTH_CONTINUE;
	}
	text = reader_bytes(&r, len);
	if (!reader_done(&r))
		return refuse(a, "malformed SASL initial response");
	return take_first(a, text, out);
}

/* The proof is right when the ClientKey it yields hashes to StoredKey. */
static bool proof_holds(const struct scram_state *s, const uint8_t proof[SCRAM_KEY_LEN],
			uint8_t client_key[SCRAM_KEY_LEN])
{
	uint8_t hash[SCRAM_KEY_LEN];

	return scram_cross(proof, s->secret.stored_key, buf_span(&s->auth_message), client_key) &&
	       scram_hash(client_key, SCRAM_KEY_LEN, hash) &&
	       mem_equal_const_time(hash, s->secret.stored_key, SCRAM_KEY_LEN);
}

static enum auth_verdict send_final(struct auth *a, const uint8_t client_key[SCRAM_KEY_LEN], struct buf *out)
{
	struct scram_state *s = a->state;
	uint8_t signature[SCRAM_KEY_LEN];
	struct buf text;

	if (!scram_hmac(s->secret.server_key, buf_span(&s->auth_message), signature))
		return refuse(a, "out of memory");
	buf_init(&text);
	buf_put_text(&text, "v=");
	base64_put(&text, signature, sizeof(signature));
	if (buf_ok(&text))
		put_auth_request(out, SASL_FINAL, buf_data(&text), buf_len(&text));
	else
		out->failed = true; /* the driver refuses the login for it */
	buf_free(&text);
	if (s->is_stored) {
		memcpy(a->keys.client_key, client_key, SCRAM_KEY_LEN);
		memcpy(a->keys.server_key, s->secret.server_key, SCRAM_KEY_LEN);
		a->keys.known = true;
	}
	return AUTH_OK;
}

/* client-final-message: c=,r=, extensions, and the proof as the last attribute. */
static enum auth_verdict take_final(struct auth *a, struct span text, struct buf *out)
{
	struct scram_state *s = a->state;
	struct scram_attrs attrs = scram_attrs_of(text);
	uint8_t proof[SCRAM_KEY_LEN], client_key[SCRAM_KEY_LEN];
	struct span value, nonce = buf_span(&s->nonce);
	size_t proof_len;
	enum auth_verdict v;
	char name;
	bool holds;

	/* The gs2 header again, in base64: "n,," or "y,,". */
	if (!scram_attr_is(&attrs, 'c', &value) || !span_is(value, s->gs2_flag == 'n' ? "biws" : "eSws"))
		return refuse(a, "malformed SCRAM message: channel binding");
	if (!scram_attr_is(&attrs, 'r', &value) || value.len != nonce.len ||
	    memcmp(value.ptr, nonce.ptr, nonce.len) != 0)
		return refuse(a, "malformed SCRAM message: nonce does not match");
	do {
		if (!scram_attr_next(&attrs, &name, &value))
			return refuse(a, "malformed SCRAM message: no proof");
	} while (name != 'p');
	if (attrs.more || !base64_decode(value, proof, sizeof(proof), &proof_len) || proof_len != sizeof(proof))
		return refuse(a, "malformed SCRAM message: proof");
	buf_put_u8(&s->auth_message, ',');
	buf_put(&s->auth_message, text.ptr, (size_t)(value.ptr - text.ptr) - strlen(",p="));
	if (!buf_ok(&s->auth_message))
		return refuse(a, "out of memory");
	/* The same work for everybody; a doomed login ends here even should a made-up key fit. */
	holds = proof_holds(s, proof, client_key);
	v = holds && !s->is_doomed ? send_final(a, client_key, out) : refuse(a, s->is_doomed ? s->doom : "");
	mem_wipe(client_key, sizeof(client_key));
	return v;
}

static enum auth_verdict scram_message(struct auth *a, struct span body, struct buf *out)
{
	struct scram_state *s = a->state;

	switch (s->phase) {
	case SCRAM_INITIAL:
		return take_initial(a, body, out);
	case SCRAM_FIRST:
		return take_first(a, body, out);
	case SCRAM_DERIVING:
		break; /* the driver lets nothing in meanwhile */
	case SCRAM_FINAL:
		return take_final(a, body, out);
	}
	return refuse(a, "unexpected SASL message");
}

static void scram_work(struct auth *a)
{
	struct scram_state *s = a->state;
	uint8_t salted[SCRAM_KEY_LEN], client_key[SCRAM_KEY_LEN];

	s->is_derived = scram_salted_password(a->in->secret, s->secret.salt, s->secret.salt_len,
					      s->secret.iterations, salted) &&
			scram_client_key(salted, client_key) &&
			scram_hash(client_key, sizeof(client_key), s->secret.stored_key) &&
			scram_server_key(salted, s->secret.server_key);
	mem_wipe(salted, sizeof(salted));
	mem_wipe(client_key, sizeof(client_key));
}

static enum auth_verdict scram_resume(struct auth *a, struct buf *out)
{
	struct scram_state *s = a->state;

	if (!s->is_derived)
		return refuse(a, "out of memory");
	memcpy(a->derived.salt, s->secret.salt, sizeof(a->derived.salt));
	a->derived.iterations = s->secret.iterations;
	memcpy(a->derived.stored_key, s->secret.stored_key, SCRAM_KEY_LEN);
	memcpy(a->derived.server_key, s->secret.server_key, SCRAM_KEY_LEN);
	a->derived.known = true;
	return send_first(a, out);
}

static void scram_end(struct auth *a)
{
	struct scram_state *s = a->state;

	if (!s)
		return;
	buf_wipe_free(&s->nonce);
	buf_wipe_free(&s->auth_message);
	mem_wipe(s, sizeof(*s));
	free(s);
	a->state = NULL;
}

const struct auth_method method_scram = {
	.max_body = AUTH_BODY_MAX,
	.start = scram_start,
	.message = scram_message,
	.work = scram_work,
	.resume = scram_resume,
	.end = scram_end,
};
