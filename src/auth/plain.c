/*
 * Method plain (HBA: password): the client sends its password as it is.
 *
 * A stored SCRAM secret is checked by deriving its ServerKey once more, which
 * takes PBKDF2 and so is done off the loop. A mock is held against the secret
 * it was given for show, so that it takes the same time, and always fails.
 */
#include <stdlib.h>
#include <string.h>

#include "auth/method.h"
#include "auth/scram.h"
#include "auth/secret.h"
#include "lib/mem.h"
#include "proto/writer.h"

static const char failure_text[] = "password authentication failed";

struct plain_state {
	struct scram_secret stored;
	bool matches;	 /* set by the work */
	char password[]; /* the client's */
};

static enum auth_verdict plain_start(struct auth *a, struct buf *out)
{
	(void)a;
	put_auth_request(out, 3, NULL, 0);
	return AUTH_CONTINUE;
}

static enum auth_verdict judge(struct auth *a, bool matches)
{
	return matches && !a->in->is_mock ? AUTH_OK : auth_refuse(a, SQLSTATE_PROTOCOL, failure_text, "%s", "");
}

static enum auth_verdict derive_later(struct auth *a, const char *password)
{
	size_t bytes = strlen(password) + 1;
	struct plain_state *s = calloc(1, sizeof(*s) + bytes);

	if (!s || !scram_secret_parse(a->in->secret, &s->stored)) {
		free(s);
		return auth_refuse(a, SQLSTATE_PROTOCOL, failure_text, "out of memory");
	}
	memcpy(s->password, password, bytes);
	a->state = s;
	return AUTH_PENDING;
}

static enum auth_verdict plain_message(struct auth *a, struct span body, struct buf *out)
{
	char hashed[MD5_TEXT_LEN + 1];
	const char *password;
	enum auth_verdict v;

	(void)out;
	if (!auth_password_text(a, body, failure_text, &password, &v))
		return v;
	switch (secret_kind_of(a->in->secret)) {
	case SECRET_NONE:
		break;
	case SECRET_PLAIN:
		return judge(a, secret_equal(password, a->in->secret));
	case SECRET_MD5:
		return judge(a, md5_secret(password, a->in->user, hashed) && secret_equal(hashed, a->in->secret));
	case SECRET_SCRAM:
		return derive_later(a, password);
	}
	return judge(a, false);
}

static void plain_work(struct auth *a)
{
	struct plain_state *s = a->state;
	uint8_t salted[SCRAM_KEY_LEN], server_key[SCRAM_KEY_LEN];

	s->matches = scram_salted_password(s->password, s->stored.salt, s->stored.salt_len, s->stored.iterations,
					   salted) &&
		     scram_server_key(salted, server_key) &&
		     mem_equal_const_time(server_key, s->stored.server_key, sizeof(server_key));
	mem_wipe(salted, sizeof(salted));
	mem_wipe(server_key, sizeof(server_key));
}

static enum auth_verdict plain_resume(struct auth *a, struct buf *out)
{
	(void)out;
	return judge(a, ((struct plain_state *)a->state)->matches);
}

static void plain_end(struct auth *a)
{
	struct plain_state *s = a->state;

	if (!s)
		return;
	mem_wipe(s->password, strlen(s->password));
	mem_wipe(s, sizeof(*s));
	free(s);
	a->state = NULL;
}

const struct auth_method method_plain = {
	.max_body = AUTH_BODY_MAX,
	.start = plain_start,
	.message = plain_message,
	.work = plain_work,
	.resume = plain_resume,
	.end = plain_end,
};
