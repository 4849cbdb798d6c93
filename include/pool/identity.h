/*
 * pool/identity.h - at every link, a server is told whose session it serves:
 * ecdsa_identity_setting, and the signed claim.
 *
 * It cannot be skipped because the server was told before: PostgreSQL does not
 * report custom settings, and the client before may have changed them unseen.
 * So a link costs a round trip where one of the two is in force. For clients
 * without a wallet both are set to nothing.
 *
 * Rules: ecdsa-login.md section 20.  Tests: test/system/test_wallet_identity.py
 */
#ifndef POOL_IDENTITY_H
#define POOL_IDENTITY_H

#include "pool/client.h"
#include "pool/server.h"

/* Appends SET statements for a client that is about to be linked; false when neither setting is in force. */
bool identity_sql(const struct client *, const struct server *, struct buf *sql);
/*
 * What servers are told by this snapshot, as words; the caller's. Where that changes, those that there are know what
 * nobody takes back.
 */
char *identity_words(const struct config *);
bool identity_differs(const struct config *, const struct config *);

#endif
