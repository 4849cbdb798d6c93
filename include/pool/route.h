/*
 * pool/route.h - from a proven identity to its pool: limits, database state,
 * account, and the journey to the pool's Worker.
 *
 * Rules: behaviour specification, sections 5, 8, 25; ecdsa-login.md 19, 20, 22.
 */
#ifndef POOL_ROUTE_H
#define POOL_ROUTE_H

#include "pool/client.h"

/* Takes the user entity and its place among the client connections. false: refused and closed. */
bool route_count_user(struct client *, const char *name);
/* On the way to the console, and named by admin_users: counted, but not refused. */
bool route_is_console_admin(const struct client *);
/* The audit line of a wallet login; role only when ok. */
void route_audit(struct client *, bool ok, const char *role);
/* The method said yes: opens the console, joins the pool, starts the journey, or refuses. */
void route_proven(struct client *);
/* Sends those whose pool lives elsewhere; at the end of a turn. */
void route_send_travellers(struct room *);

#endif
