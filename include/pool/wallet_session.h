/*
 * pool/wallet_session.h - sessions of wallets end after ecdsa_session_max,
 * between transactions (ecdsa-login.md section 23).
 *
 * The deadline does it when the client is idle then. Who is at work is stopped
 * at the end of his transaction, before his next request is read.
 *
 * Tests: test/system/test_wallet_login.py
 */
#ifndef POOL_WALLET_SESSION_H
#define POOL_WALLET_SESSION_H

#include "pool/client.h"

/* Moves *due (0: none yet) to the end of the session, if that comes first. */
void wallet_session_consider(const struct client *, usec_t *due);
/* A transaction has ended and nothing is owed: if the time is over no further request is read. */
void wallet_session_after_transaction(struct client *);
/* A deadline came: closes the client if its time is over and it is between transactions. */
void wallet_session_on_deadline(struct client *);

#endif
