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
/* What HBA rules ask about its connection. */
struct hba_facts method_facts(const struct client *, const char *database, const char *user);

#endif
