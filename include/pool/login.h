/*
 * pool/login.h - a client's log-in, from the first byte to a proven identity.
 *
 * The messages drive it, the auth room's method decides. What follows the
 * proof is pool/route.h.
 *
 * Rules: behaviour specification, sections 3 to 8; ecdsa-login.md 2, 19, 20, 22, 24.
 */
#ifndef POOL_LOGIN_H
#define POOL_LOGIN_H

#include "pool/client.h"

bool login_begin(struct client *); /* false: out of memory */
/* Bytes of a client in CL_LOGIN. Returns how many were used. */
size_t login_bytes(struct client *, const uint8_t *bytes, size_t n);
/* Releases the login; work under way in a helper thread is left to finish by itself. */
void login_free(struct client *);
/* The secret of its user is here: the log-in goes on where it began to ask. For pool/secret.c. */
void login_resume(struct client *);
/* A database has said whether its wallet may enter. For pool/wallet_query.c. */
void login_answered(struct client *);
/* The wallet that it has proven to be, while a database is asked about it; NULL: none. */
const struct wallet_address *login_wallet(const struct client *);
/* Does it wait for a lookup? Then in which pool, or NULL. Borrowed; for SHOW. */
const struct pool *login_lookup_pool(const struct client *);
/* Has its start-up message been read? Then another process could not go on with it. */
bool login_is_under_way(const struct client *);
void login_adopt(struct room *); /* after RELOAD: deadlines are filed again */
/* Identity is proven and the client stands on its pool's Worker: hands over what the pool should know. */
/* For the statistics: a client in CL_LOGIN hears this text as the end of it. */
void login_was_refused(const struct client *, const char *text);
const struct scram_keys *login_keys(const struct client *);
/*
 * The limiter has nothing against the client: its database is counted and the attempt logged. For pool/method.c,
 * which knows when. false: refused and closed.
 */
bool login_admit(struct client *) MUST_CHECK;
/* As the client sent them; "(nouser)", "(nodb)" before. */
const char *login_user_name(const struct client *);
const char *login_database_name(const struct client *);

#endif
