/*
 * pool/method.h - how a client must prove itself, decided once its start-up message is read.
 *
 * Rules: behaviour specification, sections 5 and 6; ecdsa-login.md 19 and 24.
 */
#ifndef POOL_METHOD_H
#define POOL_METHOD_H

#include "pool/client.h"

/*
 * Finds method and secret and fills login->input. false: the client was refused and is closed, or its secret is being
 * looked up (pool/secret.h), and it is asked again when that is here.
 */
bool method_choose(struct client *);
/* After RELOAD: the wallet of this session would still be let in, and as the same role. ecdsa-login.md 23. */
bool method_still_admits(const struct client *);
/* A log-in takes its time: false when a RELOAD meanwhile has shut its wallet out. Before login_free(). */
bool method_admits_now(const struct client *);
/* The role that a wallet's pool logs in as, without its map: ecdsa-login.md 19. own: of its own name. */
const char *method_wallet_role(const struct settings *, const struct database_def *, const char *own);

#endif
