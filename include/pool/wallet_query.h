/*
 * pool/wallet_query.h - ecdsa_auth_query: a database says whether a proven
 * wallet may enter, and as which role.
 *
 *	$1 wallet, in lower case; $2 database; $3 user name as sent
 *	no row: no. Column 1: a role; NULL: no. Column 2: its password
 *
 * Asked over the machinery of auth_query (pool/secret.h says who asks and
 * where), after the proof, so that strangers cost the database nothing. Where
 * it is not set and auth_user is, auth_query is asked with the wallet as user:
 * a role of its name is enough.
 *
 * Positive answers may be kept for ecdsa_auth_query_ttl, by each Worker for
 * itself; RELOAD, RECONNECT and KILL_WALLET forget them.
 *
 * Rules: ecdsa-login.md section 19.  Tests: test/system/test_wallet_query.py
 */
#ifndef POOL_WALLET_QUERY_H
#define POOL_WALLET_QUERY_H

#include <stdbool.h>

#include "pool/client.h"

enum wallet_answer_state {
	ANSWER_NONE,   /* nobody was asked */
	ANSWER_FAILED, /* nor could be; reason says why */
	ANSWER_NO,     /* no row */
	ANSWER_NULL,   /* a row without a role: refused, whoever else knows the wallet */
	ANSWER_ROLE
};

struct wallet_answer {
	enum wallet_answer_state state;
	char *role, *secret; /* owned, wiped; secret NULL: none */
	char reason[192];
};

void wallet_answer_free(struct wallet_answer *); /* leaves ANSWER_NONE */

enum wallet_query_kind { QUERY_NONE, QUERY_AUTH_QUERY, QUERY_OWN };
/* What can be asked about wallets that want into this database; def NULL: the console, or no such database. */
enum wallet_query_kind wallet_query_kind(const struct settings *, const struct database_def *def, bool is_console);
/* A kept answer about this wallet: login->answer is filled in. */
bool wallet_query_remembers(struct client *, const struct wallet_address *);
/* About login->signer. The answer comes by login_answered(), perhaps from in here. */
void wallet_query_ask(struct client *);
/* Of this wallet, or all when it is NULL; frees what is no longer needed. */
void wallet_answers_forget(struct room *, const struct wallet_address *);

#endif
