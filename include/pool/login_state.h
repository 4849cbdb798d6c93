/*
 * pool/login_state.h - what a log-in keeps while it runs; for login.c and route.c only.
 */
#ifndef POOL_LOGIN_STATE_H
#define POOL_LOGIN_STATE_H

#include "auth/auth.h"
#include "pool/login.h"
#include "pool/startup.h"
#include "pool/wallet_query.h"
#include "wallet/check.h"

#define LOGIN_STATES(X) \
	X(STARTUP) /* nothing known; TLS may still be offered */ \
	X(LOOKUP)  /* a database is asked for the secret */ \
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
	const struct stored_secret *secret; /* into config, or looked_up; NULL: unknown user */
	struct stored_secret looked_up;	 /* auth_query's answer; text NULL: no password will do */
	char *looked_up_text;		 /* owned: its text */
	struct lookup *lookup;		 /* LOGIN_LOOKUP: on its way; owned by itself */
	const struct hba_rule *rule;	 /* into config; NULL: auth_type is not hba */
	const char *mapped_role;	 /* of a proven wallet, into config or wishes; NULL: no map names one */
	struct wallet_answer answer;	 /* of a proven wallet: what a database says of it */
	uint64_t asked_in;		 /* room.wallet_generation at the question */
	struct wallet_address signer;	 /* proven, while a database is asked; valid when is_wallet_asked */
	const struct stored_secret *stand_in; /* the same; of an unknown user, for show */
	struct auth_input input;
	struct auth auth;
	struct wallet_policy policy;
	char remote_host[64];
	struct scram_verifier verifier;
	struct pool *pool; /* counted, while routed */
	struct ip_address limit_source; /* valid when is_limited: what the limiter knows the client by */
	bool is_console, is_orphan, is_limited, is_wallet_asked;
};

/* Was the user found by auth_query? What is derived from such a secret is not kept. */
static inline bool login_is_looked_up(const struct login *l)
{
	return l->secret == &l->looked_up;
}

#endif
