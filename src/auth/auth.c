/* The table of methods, and the driver that keeps their messages in order. */
#include "auth/auth.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "auth/method.h"
#include "lib/mem.h"

const char *const auth_method_names[AUTH_KINDS] = {
	[AUTH_KIND_ANY] = "any",
	[AUTH_KIND_TRUST] = "trust",
	[AUTH_KIND_PLAIN] = "plain",
	[AUTH_KIND_MD5] = "md5",
	[AUTH_KIND_SCRAM] = "scram-sha-256",
	[AUTH_KIND_ECDSA] = "ecdsa",
	[AUTH_KIND_CERT] = "cert",
	[AUTH_KIND_PEER] = "peer",
	[AUTH_KIND_PAM] = "pam",
	[AUTH_KIND_LDAP] = "ldap",
};

static const struct auth_method *const methods[AUTH_KINDS] = {
	[AUTH_KIND_ANY] = &method_any,
	[AUTH_KIND_TRUST] = &method_trust,
	[AUTH_KIND_PLAIN] = &method_plain,
	[AUTH_KIND_MD5] = &method_md5,
	[AUTH_KIND_SCRAM] = &method_scram,
	[AUTH_KIND_ECDSA] = &method_ecdsa,
	[AUTH_KIND_CERT] = &method_cert,
	[AUTH_KIND_PEER] = &method_peer,
#ifdef HAVE_PAM
	[AUTH_KIND_PAM] = &method_pam,
#endif
#ifdef HAVE_LDAP
	[AUTH_KIND_LDAP] = &method_ldap,
#endif
};

bool auth_kind_is_built(enum auth_kind kind)
{
	return kind < AUTH_KINDS && methods[kind] != NULL;
}

int auth_kind_by_name(const char *name)
{
	for (int kind = 0; kind < AUTH_KINDS; kind++)
		if (strcmp(auth_method_names[kind], name) == 0)
			return kind;
	return -1;
}

enum auth_verdict auth_refuse(struct auth *a, const char *sqlstate, const char *text, const char *reason, ...)
{
	va_list ap;

	snprintf(a->reject.sqlstate, sizeof(a->reject.sqlstate), "%s", sqlstate);
	snprintf(a->reject.text, sizeof(a->reject.text), "%s", text);
	va_start(ap, reason);
	vsnprintf(a->reject.reason, sizeof(a->reject.reason), reason, ap);
	va_end(ap);
	return AUTH_REJECT;
}

bool auth_reject_is_ours(const struct auth *a)
{
	static const char *const states[] = {"53300", "57P03"}; /* ecdsa-login.md section 10 */
	static const char no_memory[] = "out of memory";	/* as every method words it */

	for (size_t i = 0; i < ARRAY_LEN(states); i++)
		if (strcmp(a->reject.sqlstate, states[i]) == 0)
			return true;
	return strcmp(a->reject.text, no_memory) == 0 || strcmp(a->reject.reason, no_memory) == 0;
}

bool auth_password_text(struct auth *a, struct span body, const char *failure_text, const char **text,
			enum auth_verdict *v)
{
	if (body.len == 0 || memchr(body.ptr, 0, body.len) != body.ptr + body.len - 1) {
		*v = auth_refuse(a, SQLSTATE_PROTOCOL, failure_text, "malformed password message");
		return false;
	}
	if (body.len == 1) {
		*v = auth_refuse(a, SQLSTATE_PROTOCOL, "empty password returned by client", "%s", "");
		return false;
	}
	*text = (const char *)body.ptr;
	return true;
}

/* Every verdict of a method passes here. out may be NULL where nothing can be sent. */
static enum auth_verdict settle(struct auth *a, enum auth_verdict v, const struct buf *out)
{
	if (v != AUTH_REJECT && out && !buf_ok(out))
		v = auth_refuse(a, SQLSTATE_PROTOCOL, "out of memory", "%s", "");
	if (v == AUTH_REJECT) {
		/* What a refused login found out is nobody's to use. */
		mem_wipe(&a->keys, sizeof(a->keys));
		a->is_wallet = false;
	}
	a->need = v != AUTH_PENDING ? NEED_NOTHING : a->method->queue ? a->method->queue : NEED_WORK;
	a->is_over = v == AUTH_OK || v == AUTH_REJECT;
	return v;
}

enum auth_verdict auth_start(struct auth *a, const struct auth_input *in, struct buf *out)
{
	a->in = in;
	a->method = methods[in->kind];
	return settle(a, a->method->start(a, out), out);
}

enum auth_verdict auth_message(struct auth *a, struct span body, struct buf *out)
{
	if (a->is_over || a->need != NEED_NOTHING || !a->method->message)
		return settle(a, auth_refuse(a, SQLSTATE_PROTOCOL, "bad packet", "unexpected password message"), NULL);
	if (body.len > a->method->max_body)
		return auth_too_long(a);
	return settle(a, a->method->message(a, body, out), out);
}

uint32_t auth_max_body(const struct auth *a)
{
	return a->method->max_body;
}

enum auth_verdict auth_too_long(struct auth *a)
{
	if (a->method->too_long)
		return settle(a, a->method->too_long(a), NULL);
	return settle(a, auth_refuse(a, SQLSTATE_PROTOCOL, "password too long", "%s", ""), NULL);
}

void auth_work(struct auth *a)
{
	if (a->need != NEED_NOTHING)
		a->method->work(a);
}

enum auth_verdict auth_resume(struct auth *a, struct buf *out)
{
	if (a->need == NEED_NOTHING)
		return settle(a, auth_refuse(a, SQLSTATE_PROTOCOL, "bad packet", "resumed without need"), NULL);
	return settle(a, a->method->resume(a, out), out);
}

void auth_end(struct auth *a)
{
	if (a->method && a->method->end)
		a->method->end(a);
	mem_wipe(&a->keys, sizeof(a->keys));
	mem_wipe(&a->derived, sizeof(a->derived));
	str_wipe_free(a->cleartext);
	a->cleartext = NULL;
	a->need = NEED_NOTHING;
	a->is_over = true;
}
