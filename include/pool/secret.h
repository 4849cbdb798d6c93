/*
 * pool/secret.h - the stored secret of a user whom auth_file does not know:
 * auth_query, asked in the name of auth_user.
 *
 *	if (secret_is_asked_for(c)) {
 *		secret_ask(c);		log-in goes on later, by login_resume()
 *		return;
 *	}
 *
 * Which query, in whose name and in which database: the database's own
 * settings, else the global ones.
 *
 * Rules: configuration specification, section 10; behaviour specification,
 * sections 5, 6, 25.  Tests: test/system/test_auth_query.py
 */
#ifndef POOL_SECRET_H
#define POOL_SECRET_H

#include "pool/client.h"

/* Is there a database that may know this user? Not for a database that does not exist itself. */
bool secret_is_asked_for(const struct client *);
/* Sends the question; the client is closed when it cannot be sent. */
void secret_ask(struct client *);
/*
 * The pool in which lookups for this client run: counted for the caller.
 * NULL: none, and the client has been refused and is closed.
 */
struct pool *secret_auth_pool(struct client *);

#endif
