/*
 * pool/wallet_login.h - what method ecdsa needs to know of a client: the
 * policy that its proof is judged by, who may enter, and as which role.
 *
 * Rules: ecdsa-login.md sections 9, 19, 23.
 * Tests: test/system/test_wallet_login.py, test/system/test_wallet_formats.py, test/system/test_hba.py
 */
#ifndef POOL_WALLET_LOGIN_H
#define POOL_WALLET_LOGIN_H

#include "pool/client.h"

/* Fills in what concerns wallets; its HBA line is chosen. What is filled in points into the login. */
void wallet_login_input(struct client *, struct auth_input *);
/* A proof in the clear works for whoever reads it: must it not even be asked for here? */
bool wallet_login_needs_tls(const struct client *);
/*
 * The role that a wallet's pool logs in as, without its map. queried: what a database said, or NULL; own: of its own
 * name.
 */
const char *wallet_login_role(const struct settings *, const struct database_def *, const char *queried,
			      const char *own);
/* After RELOAD: the wallet of this session would still be let in, and as the same role. */
bool wallet_still_admitted(const struct client *);
/* A log-in takes its time: false when a RELOAD meanwhile has shut its wallet out. Before login_free(). */
bool wallet_admitted_now(const struct client *);
/* For auth_input: ctx is the client. */
int64_t wallet_login_clock(void *ctx);

#endif
