/*
 * pool/peer.h - cancel requests for clients of another process.
 *
 * Several processes that share an address get cancel requests of each other's
 * clients. The key says whose it is, and [peers] where that process is: the
 * request is passed on over a connection of its own.
 *
 * A peer's pool is a share without clients, that has cancel requests and
 * connections for them. It lives whole on Worker (peer id mod their number),
 * from the first request until a RELOAD whose [peers] no longer names it.
 *
 * Rules: behaviour specification, section 24.  Tests: test/system/test_peers.py
 */
#ifndef POOL_PEER_H
#define POOL_PEER_H

#include "pool/client.h"
#include "pool/share.h"

/* Takes a cancel request whose key is of another process. */
void peer_forward(struct client *);
/* What share_adopt() does for a peer's share. */
void peer_adopt(struct share *);
/* After the room's snapshot has changed: all of its peers' shares; those of no longer defined ones are closed. */
void peers_adopt(struct room *);
/* The control role's: logs what RELOAD drops. */
void peers_reloaded(const struct config *before, const struct config *now);

#endif
