/*
 * Method ldap: the client's password is good when a directory takes it.
 *
 * Two ways, as PostgreSQL has them: bind as prefix + user + suffix; or look
 * the user's entry up first and bind as that. Directories answer when they
 * like, so all of it runs in a helper thread of its own.
 *
 * Rules: configuration specification, section 13; behaviour specification,
 * section 6. RFC 4511 to 4516.  Tests: test/system/test_ldap.py
 */
#include <ldap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "auth/ldap_options.h"
#include "auth/method.h"
#include "auth/password.h"
#include "lib/buf.h"
#include "lib/mem.h"

#define NETWORK_TIMEOUT_SEC 3

static const char failure_text[] = "LDAP authentication failed";

/* The servers as URIs, separated by spaces; owned. NULL: none is known. */
static char *server_uris(const struct ldap_options *o)
{
	const char *scheme = o->is_ldaps ? "ldaps" : "ldap";
	char *domain = NULL, *hosts = NULL, *list, *host, *save = NULL, *out = NULL;
	struct buf b;

	if (o->server)
		list = xstrdup(o->server);
	else if (ldap_dn2domain(o->base_dn, &domain) == 0 && domain && ldap_domain2hostlist(domain, &hosts) == 0 && hosts)
		list = xstrdup(hosts); /* with their ports, from DNS SRV */
	else
		list = NULL;
	ldap_memfree(domain);
	ldap_memfree(hosts);
	if (!list)
		return NULL;
	buf_init(&b);
	for (host = strtok_r(list, " ", &save); host; host = strtok_r(NULL, " ", &save)) {
		buf_printf(&b, "%s%s://%s", buf_len(&b) > 0 ? " " : "", scheme, host);
		/* One that names its port itself keeps it; a colon inside brackets is part of an IPv6 address. */
		if (o->server && !strchr(strchr(host, ']') ? strchr(host, ']') : host, ':'))
			buf_printf(&b, ":%d", o->port ? o->port : o->is_ldaps ? LDAPS_PORT : LDAP_PORT);
	}
	buf_put_u8(&b, 0);
	if (buf_ok(&b) && buf_len(&b) > 1)
		out = xstrdup((const char *)buf_data(&b));
	buf_free(&b);
	free(list);
	return out;
}

static bool failed(struct password_state *s, const char *what, const char *why)
{
	snprintf(s->reason, sizeof(s->reason), "LDAP: %s: %s", what, why);
	return false;
}

/* NULL: why is in the reason. */
static LDAP *open_connection(struct password_state *s, const struct ldap_options *o)
{
	const struct timeval timeout = {NETWORK_TIMEOUT_SEC, 0};
	const int version = LDAP_VERSION3;
	char *uris = server_uris(o);
	LDAP *ld = NULL;
	int err;

	if (!uris) {
		failed(s, "no server", "ldapserver is not set, and DNS names none");
		return NULL;
	}
	err = ldap_initialize(&ld, uris);
	free(uris);
	if (err != LDAP_SUCCESS) {
		failed(s, "could not initialize", ldap_err2string(err));
		return NULL;
	}
	/* Both: one for getting through, one for being answered. A server that says nothing must not hold the queue up. */
	ldap_set_option(ld, LDAP_OPT_PROTOCOL_VERSION, &version);
	ldap_set_option(ld, LDAP_OPT_NETWORK_TIMEOUT, &timeout);
	ldap_set_option(ld, LDAP_OPT_TIMEOUT, &timeout);
	/* A referral would send the password to whomever the first server names. */
	ldap_set_option(ld, LDAP_OPT_REFERRALS, LDAP_OPT_OFF);
	if (o->start_tls) {
		err = ldap_start_tls_s(ld, NULL, NULL);
		if (err != LDAP_SUCCESS) {
			failed(s, "could not start TLS", ldap_err2string(err));
			ldap_unbind_ext_s(ld, NULL, NULL);
			return NULL;
		}
	}
	return ld;
}

static int bind_as(LDAP *ld, const char *dn, const char *password)
{
	struct berval cred = {strlen(password), (char *)(uintptr_t)password};

	return ldap_sasl_bind_s(ld, dn, LDAP_SASL_SIMPLE, &cred, NULL, NULL, NULL);
}

/* The one entry of this user, owned by libldap (ldap_memfree); NULL: why is in the reason. */
static char *find_entry(struct password_state *s, LDAP *ld, const struct ldap_options *o, const char *user)
{
	static const int scopes[] = {[LDAP_SCOPE_OF_BASE] = LDAP_SCOPE_BASE,
				     [LDAP_SCOPE_OF_ONE] = LDAP_SCOPE_ONELEVEL,
				     [LDAP_SCOPE_OF_SUBTREE] = LDAP_SCOPE_SUBTREE};
	static char *none[] = {(char *)(uintptr_t)LDAP_NO_ATTRS, NULL};
	struct timeval timeout = {NETWORK_TIMEOUT_SEC, 0};
	char *filter = ldap_options_filter(o, user), *dn = NULL;
	LDAPMessage *found = NULL;
	int err, n;

	if (!filter) {
		failed(s, "search", "the user name has bytes that a search cannot carry");
		return NULL;
	}
	err = bind_as(ld, o->bind_dn ? o->bind_dn : "", o->password ? o->password : "");
	if (err != LDAP_SUCCESS) {
		failed(s, "bind for the search", ldap_err2string(err));
		free(filter);
		return NULL;
	}
	/* Two, so that more than one is noticed. */
	err = ldap_search_ext_s(ld, o->base_dn, scopes[o->scope], filter, none, 0, NULL, NULL, &timeout, 2, &found);
	free(filter);
	n = found ? ldap_count_entries(ld, found) : 0;
	if (err != LDAP_SUCCESS && err != LDAP_SIZELIMIT_EXCEEDED)
		failed(s, "search", ldap_err2string(err));
	else if (n == 0)
		failed(s, "search", "there is no such user");
	else if (n > 1)
		failed(s, "search", "the user is not unique");
	else if (!(dn = ldap_get_dn(ld, ldap_first_entry(ld, found))))
		failed(s, "search", "the entry has no name");
	ldap_msgfree(found);
	return dn;
}

static bool ask(struct password_state *s, const struct ldap_options *o, const char *user)
{
	LDAP *ld = open_connection(s, o);
	char *dn, *own = NULL;
	int err;

	if (!ld)
		return false;
	if (ldap_options_search(o)) {
		dn = find_entry(s, ld, o, user);
		/* A connection of its own: what is bound as the searcher should not be asked as the user. */
		ldap_unbind_ext_s(ld, NULL, NULL);
		ld = dn ? open_connection(s, o) : NULL;
		if (!ld) {
			ldap_memfree(dn);
			return false;
		}
	} else {
		size_t n = strlen(user) + (o->prefix ? strlen(o->prefix) : 0) + (o->suffix ? strlen(o->suffix) : 0) + 1;

		dn = own = xmalloc(n);
		snprintf(own, n, "%s%s%s", o->prefix ? o->prefix : "", user, o->suffix ? o->suffix : "");
	}
	err = bind_as(ld, dn, s->password);
	ldap_unbind_ext_s(ld, NULL, NULL);
	if (own)
		free(own);
	else
		ldap_memfree(dn);
	return err == LDAP_SUCCESS || failed(s, "bind as the user", ldap_err2string(err));
}

static enum auth_verdict ldap_start(struct auth *a, struct buf *out)
{
	if (!a->in->ldap_options || !a->in->ldap_options[0])
		return auth_refuse(a, SQLSTATE_PROTOCOL, "auth_ldap_options is null", "%s", "");
	return password_ask(a, out);
}

static enum auth_verdict ldap_message(struct auth *a, struct span body, struct buf *out)
{
	(void)out;
	return password_take(a, body, failure_text);
}

static void ldap_work(struct auth *a)
{
	struct password_state *s = a->state;
	struct ldap_options o;
	char error[128];

	if (!ldap_options_parse(a->in->ldap_options, &o, error, sizeof(error))) {
		failed(s, "options", error);
		return;
	}
	s->is_good = ask(s, &o, a->in->user);
	ldap_options_free(&o);
}

static enum auth_verdict ldap_resume(struct auth *a, struct buf *out)
{
	(void)out;
	return password_verdict(a, failure_text);
}

const struct auth_method method_ldap = {
	.max_body = AUTH_BODY_MAX,
	.queue = NEED_LDAP,
	.start = ldap_start,
	.message = ldap_message,
	.work = ldap_work,
	.resume = ldap_resume,
	.end = password_end,
};
