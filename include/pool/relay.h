/*
 * pool/relay.h - the query path: a client and its server, both directions.
 *
 * Headers are parsed in place, bodies forwarded unread. What one read
 * produced for the peer goes out by one gathered write. A message streams
 * through by counting the bytes still to come, so rows of any size need no
 * memory; the side whose peer does not keep up is not read.
 *
 * Rules: behaviour specification, sections 2, 10, 15, 16, 19, 21.
 */
#ifndef POOL_RELAY_H
#define POOL_RELAY_H

#include "pool/client.h"
#include "pool/server.h"

/* Bytes of a client that is logged in. */
size_t relay_client_bytes(struct client *, const uint8_t *bytes, size_t n);
/* A message that makes a server work: counts the query and sees to a linked server. */
enum acquired relay_acquire(struct client *);
/* Bytes of a server in any state (conn_ops.bytes). */
size_t relay_server_bytes(struct conn *, const uint8_t *bytes, size_t n);
/* A ParameterStatus: kept for the server and its client. false: it was broken, and the server is gone. */
bool relay_parameter_status(struct server *, struct span body);
/* The client's output is gone: read its server again, release it if it waited for that. */
void relay_client_drained(struct client *);
/* The same of the server's output: read its client again. */
void relay_server_drained(struct server *);

#endif
