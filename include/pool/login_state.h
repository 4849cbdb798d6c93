/*
 * pool/login_state.h - what a log-in keeps while it runs; for login.c and route.c only.
 */
#ifndef POOL_LOGIN_STATE_H
#define POOL_LOGIN_STATE_H

#include "auth/auth.h"
#include "pool/login.h"
#include "pool/startup.h"
#include "wallet/check.h"

#define LOGIN_STATES(X) \
	X(STARTUP) /* nothing known; TLS may still be offered */ \
	X(AUTH)	   /* method chosen, conversation under way */ \
	X(WORK)	   /* a helper thread computes */ \
	X(ROUTED)  /* proven; on the way to the pool's Worker */

enum login_state {
#define X(name) LOGIN_##name,
	LOGIN_STATES(X)
#undef X
};

struct login {
	enum login_state state;
	struct config *config;		 /* counted: what the login is judged by */
	struct startup_wishes wishes;
	const struct database_def *def;	 /* into config; NULL: no such database */
	const struct stored_secret *secret; /* into config; NULL: unknown user */
	struct auth_input input;
	struct auth auth;
	struct wallet_policy policy;
	struct scram_verifier verifier;
	struct pool *pool; /* counted, while routed */
	struct ip_address limit_source; /* valid when is_limited: what the limiter knows the client by */
	bool is_console, is_orphan, is_limited;
};

#endif
