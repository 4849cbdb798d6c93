/* Methods any and trust: nothing is asked of the client. */
#include "auth/method.h"

static enum auth_verdict any_start(struct auth *a, struct buf *out)
{
	(void)a;
	(void)out;
	return AUTH_OK;
}

static enum auth_verdict trust_start(struct auth *a, struct buf *out)
{
	(void)out;
	if (a->in->is_mock)
		return auth_refuse(a, SQLSTATE_PROTOCOL, "\"trust\" authentication failed", "%s", "");
	return AUTH_OK;
}

const struct auth_method method_any = {.start = any_start};
const struct auth_method method_trust = {.start = trust_start};
