/*
 * pool/cancel.h - cancel requests: from a key to the query it means.
 *
 * A key says nothing about Workers, so a request asks each of them; the one
 * whose client has the key takes the connection over, and all the rest
 * happens there. Nobody has it: closed. No error is ever sent.
 *
 * With peering a key says of which process it is, and another's goes there
 * (pool/peer.h). When peer_id has changed meanwhile it is looked for here first.
 *
 * Rules: behaviour specification, section 23.  Tests: test/system/test_cancel.py, test_peers.py
 */
#ifndef POOL_CANCEL_H
#define POOL_CANCEL_H

#include "pool/client.h"
#include "pool/server.h"

/* Takes the client, which has just sent a CancelRequest with this key. */
void cancel_begin(struct client *, const uint8_t key[8]);
/* A connection of the pool is up: the first waiting request gets it. false: none waits. */
bool cancel_use_connection(struct server *);
/* The server of a forwarded request has closed: done. */
void cancel_finished(struct server *);
/* The target is released: requests that are not in flight have nothing left to cancel. */
void cancel_detach_target(struct server *target);
/* The same when it closes: nobody may point to it any more. */
void cancel_target_gone(struct server *target);
/* Is there one that still has something to cancel? Drops the others. target: whose query; NULL: a peer's business. */
bool cancel_is_waiting(struct share *, struct server **target);
/* Takes a request into the queue of this share, on its Worker. target has counted it; NULL for a peer's share. */
void cancel_enqueue(struct client *, struct share *, struct server *target);
/*
 * Takes a request to another Worker, as an orphan, and calls arrived there; from in here when it is there already.
 * Not from within a callback of its Conn.
 */
void cancel_move(struct client *, struct worker *to, void (*arrived)(struct client *));

#endif
