/*
 * pool/login_limit.h - where a log-in meets the limiter (auth/limit.h), and
 * what is counted of wallet logins.
 *
 *	login_limit_ask()	once the method is known, before anything is verified
 *	login_limit_failed()	the method refused a proof
 *	login_limit_passed()	the method took it
 *
 * Limited are the methods that login_limit_methods names, from addresses that
 * ecdsa_limit_exempt does not; Unix sockets never.
 *
 * Rules: ecdsa-login.md 10, 21, 22.  Tests: test/system/test_limit.py
 */
#ifndef POOL_LOGIN_LIMIT_H
#define POOL_LOGIN_LIMIT_H

#include "auth/limit.h"
#include "pool/client.h"

/* false: refused and closed. */
bool login_limit_ask(struct client *, enum auth_kind) MUST_CHECK;
/* For auth_input: ctx is the client. */
bool login_limit_may_explain(void *ctx);
void login_limit_failed(struct client *);
void login_limit_passed(struct client *);

/* What the limiter needs of the settings. */
struct limit_rules login_limit_rules(const struct settings *);

#endif
