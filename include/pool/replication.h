/*
 * pool/replication.h - a replication client, and the server that is opened for
 * it alone.
 *
 * The two are linked from the moment the server is launched. While it logs in
 * the client is in CL_WAITING and keeps its place in the queue, so an attempt
 * that comes to nothing is followed by another; only when the server refuses
 * the log-in has the client its answer. Logged in, the server is active until
 * one of the two goes, and is never anybody else's: session behaviour in
 * whatever mode (server_mode() in pool/share.h).
 *
 * Its start-up message carries what the client asked for, so nothing is SET,
 * and what it answers is no greeting for others.
 *
 * Rules: behaviour specification, section 22.  Tests: test/system/test_replication.py
 */
#ifndef POOL_REPLICATION_H
#define POOL_REPLICATION_H

#include "pool/client.h"
#include "pool/server.h"

/* Is a server to be opened for this client that waits? */
bool replication_wants_server(const struct client *);
/* The first of them; NULL: none. */
struct client *replication_next(const struct share *);
/* The ledger has granted this server for it. */
void replication_link(struct client *, struct server *);
/* The server will not be its, for whatever reason: the client waits on. Nothing happens to other servers. */
void replication_part(struct server *);
/* Its client has gone while it was logging in. */
void replication_abandon(struct server *);
/* The server refused the log-in: both are closed, and the client hears this. */
void replication_refuse(struct server *, const char *text);
/* Logged in: its client has it, and is greeted if it was not before. */
void replication_login_done(struct server *);

#endif
