/*
 * pool/cancel.h - cancel requests: from a key to the query it means.
 *
 * A key says nothing about Workers, so a request asks each of them; the one
 * whose client has the key takes the connection over, and all the rest
 * happens there. Nobody has it: closed. No error is ever sent.
 *
 * Rules: behaviour specification, section 23.
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
/* Is there one whose target still runs? Drops the others. */
struct server *cancel_next_target(struct share *);

#endif
