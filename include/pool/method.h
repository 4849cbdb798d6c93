/*
 * pool/method.h - how a client must prove itself, decided once its start-up message is read.
 *
 * Rules: behaviour specification, sections 5 and 6; ecdsa-login.md 19 and 24.
 */
#ifndef POOL_METHOD_H
#define POOL_METHOD_H

#include "pool/client.h"

/* Finds method and secret and fills login->input. false: the client was refused and is closed. */
bool method_choose(struct client *);

#endif
