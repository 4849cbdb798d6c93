#include "auth/password.h"

#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "proto/writer.h"

enum auth_verdict password_ask(struct auth *a UNUSED, struct buf *out)
{
	put_auth_request(out, 3, NULL, 0);
	return AUTH_CONTINUE;
}

enum auth_verdict password_take(struct auth *a, struct span body, const char *failure_text)
{
	struct password_state *s;
	const char *password;
	enum auth_verdict v;
	size_t bytes;

	if (!auth_password_text(a, body, failure_text, &password, &v))
		return v;
	bytes = strlen(password) + 1;
	s = calloc(1, sizeof(*s) + bytes);
	if (!s)
		return auth_refuse(a, SQLSTATE_PROTOCOL, failure_text, "out of memory");
	memcpy(s->password, password, bytes);
	a->state = s;
	return AUTH_PENDING;
}

enum auth_verdict password_verdict(struct auth *a, const char *failure_text)
{
	struct password_state *s = a->state;

	if (!s->is_good)
		return auth_refuse(a, SQLSTATE_PROTOCOL, failure_text, "%s", s->reason);
	a->cleartext = xstrdup(s->password);
	return AUTH_OK;
}

void password_end(struct auth *a)
{
	struct password_state *s = a->state;

	if (!s)
		return;
	mem_wipe(s->password, strlen(s->password));
	free(s);
	a->state = NULL;
}
