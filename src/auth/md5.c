/*
 * Method md5: a salted challenge. Where a SCRAM secret is stored the method
 * turns into scram-sha-256, as PostgreSQL's own does.
 */
#include <stdlib.h>
#include <string.h>

#include "auth/method.h"
#include "auth/secret.h"
#include "lib/mem.h"
#include "proto/writer.h"

static const char failure_text[] = "password authentication failed";

struct md5_state {
	uint8_t salt[4];
};

static enum auth_verdict md5_start(struct auth *a, struct buf *out)
{
	struct md5_state *s;

	if (secret_kind_of(a->in->secret) == SECRET_SCRAM) {
		a->method = &method_scram;
		return method_scram.start(a, out);
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return auth_refuse(a, SQLSTATE_PROTOCOL, "out of memory", "%s", "");
	a->state = s;
	mem_random(s->salt, sizeof(s->salt));
	put_auth_request(out, 5, s->salt, sizeof(s->salt));
	return AUTH_CONTINUE;
}

static bool answer_matches(const struct auth *a, const char *answer)
{
	const struct md5_state *s = a->state;
	char stored[MD5_TEXT_LEN + 1], expected[MD5_TEXT_LEN + 1];
	bool matches = false;

	switch (secret_kind_of(a->in->secret)) {
	case SECRET_NONE:
	case SECRET_SCRAM: /* turned into scram-sha-256 at the start */
		return false;
	case SECRET_PLAIN:
		if (!md5_secret(a->in->secret, a->in->user, stored))
			return false;
		break;
	case SECRET_MD5:
		memcpy(stored, a->in->secret, sizeof(stored));
		break;
	}
	matches = md5_answer(stored, s->salt, expected) && secret_equal(answer, expected);
	mem_wipe(stored, sizeof(stored));
	mem_wipe(expected, sizeof(expected));
	return matches;
}

static enum auth_verdict md5_message(struct auth *a, struct span body, struct buf *out)
{
	const char *answer;
	enum auth_verdict v;

	(void)out;
	if (!auth_password_text(a, body, failure_text, &answer, &v))
		return v;
	/* A mock has somebody else's secret, for the same work. */
	if (!answer_matches(a, answer) || a->in->is_mock)
		return auth_refuse(a, SQLSTATE_PROTOCOL, failure_text, "%s", "");
	return AUTH_OK;
}

static void md5_end(struct auth *a)
{
	free(a->state);
	a->state = NULL;
}

const struct auth_method method_md5 = {
	.max_body = AUTH_BODY_MAX,
	.start = md5_start,
	.message = md5_message,
	.end = md5_end,
};
