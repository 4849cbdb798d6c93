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
/* Who asks for this client: its database's auth_user, else the global one; NULL: nobody. */
const char *secret_auth_user(const struct login *);
/* The pool in which lookups for this client run: counted for the caller. NULL: none, and text says why. */
struct pool *secret_find_pool(struct client *, char *text, size_t cap);

#endif
