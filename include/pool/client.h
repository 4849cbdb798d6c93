/*
 * pool/client.h - a client connection: its life, from accept to close.
 *
 * Before it is routed its log-in runs (pool/login.c); afterwards it is on a
 * list of its share: active, waiting, or as a cancel request. Its queries are
 * relayed by pool/relay.c.
 *
 * Rules: behaviour specification, sections 3 to 11, 23, 27.
 */
#ifndef POOL_CLIENT_H
#define POOL_CLIENT_H

#include "net/conn.h"
#include "net/sockets.h"
#include "pool/params.h"
#include "pool/room.h"
#include "proto/startup.h"
#include "wallet/address.h"

struct share;
struct server;
struct client_statements;
struct login;

enum client_state {
	CL_LOGIN,	  /* room.logins; also while it travels */
	CL_ACTIVE,	  /* share.active: linked or not */
	CL_WAITING,	  /* share.waiting: for a server, or for the greeting */
	CL_LOOKUP,	  /* share.lookups: a seat whose query runs; the client itself is in CL_LOGIN */
	CL_WAITING_CANCEL, /* share.cancels_waiting */
	CL_ACTIVE_CANCEL, /* share.cancels_active */
	CL_CONSOLE,	  /* room.consoles */
	CL_ORPHAN_CANCEL  /* room.orphans: a cancel request that asks the Workers for its key */
};

enum pause_reason { PAUSE_WAITING = 1, PAUSE_SETTING = 2, PAUSE_PEER_FULL = 4, PAUSE_TRAVEL = 8, PAUSE_CONSOLE = 16, PAUSE_WORK = 32, PAUSE_UNREAD = 64,
		    PAUSE_EXPIRED = 128, PAUSE_ANSWER = 256 };

struct client {
	struct conn conn; /* first */
	struct list link;
	struct share *share;   /* borrowed; NULL until routed */
	struct server *server; /* linked with server->client; in CL_WAITING one that logs in for this replication client */
	struct login *login;   /* owned; NULL once logged in */
	void *console;	       /* the admin room's; NULL for others */
	struct database *database; /* counted entity; NULL until known */
	struct user *user;	   /* counted entity: the login name */
	struct server *cancel_target; /* of a cancel request; NULL when it goes to a peer */
	struct client_statements *statements; /* owned; NULL: it has prepared nothing */
	char *options;		   /* owned: what its own server is started with; of replication clients, else NULL */
	struct params params;	   /* of a replication client without server: only what it asked for itself */
	uint64_t id;
	uint64_t pass_left; /* bytes of the current message still to come */
	usec_t connected_at;
	usec_t active_at;   /* last message */
	usec_t query_start, xact_start; /* 0: none running */
	usec_t wait_start;
	time_t connect_wall;
	struct peer_addr addr;
	uint8_t key[8]; /* of a cancel request: the one that it brings */
	struct wallet_address wallet;
	uint16_t pauses; /* enum pause_reason bits */
	enum client_state state : 8;
	enum replication replication : 2;
	bool is_wallet : 1;
	bool has_mapped_role : 1; /* a map or a list says whom it is at the server, not the database */
	bool is_wallet_queried : 1; /* let in, or given its role, by ecdsa_auth_query or auth_query */
	bool is_admin : 1;
	bool is_unix : 1;
	bool is_late : 1; /* came in when a shutdown had begun */
	bool in_copy : 1;
	bool ended_copy_early : 1; /* CopyDone came before the server said CopyInResponse */
	bool drops_message : 1;	  /* the current message goes nowhere */
	bool needs_greeting : 1;
	bool was_told_of_wait : 1;
	bool counted_database : 1, counted_user : 1;
	bool is_own_uid : 1;
	bool is_seat : 1;  /* no client, but what stands for one in another pool's queue: pool/lookup.h */
	bool was_seen : 1; /* a byte has come: its end is worth a log line */
};

struct client *client_new(struct room *, int fd, const struct peer_addr *, bool is_unix);
/* Takes fd: a connection that is counted, but on no list, and has no id. NULL: memory; fd is closed. */
struct client *client_bare(struct room *, int fd, const struct peer_addr *, bool is_unix);
/*
 * reason goes to the log. text: FATAL to the client with this SQLSTATE (NULL: 08P01); NULL: say nothing.
 * A linked server is released or closed by the rules.
 */
void client_close(struct client *, const char *sqlstate, const char *text, const char *reason);
/* The same text for both. */
void client_fail(struct client *, const char *text);
/* FATAL with the first bytes of what cannot be a message. */
void client_bad_header(struct client *, const uint8_t *bytes, size_t n);
void client_pause(struct client *, enum pause_reason);
void client_unpause(struct client *, enum pause_reason);
void client_set_state(struct client *, enum client_state); /* moves between lists of its share or room */

/* Proven and routed to its pool: on the pool's Worker. Greets it, or makes it wait for the greeting. */
void client_join(struct client *, struct pool *);
/*
 * Sends the greeting batch, with the values of the pool, or of its own server that is logging in (NULL: none). A
 * replication client goes on waiting for its server. false: closed.
 */
bool client_welcome(struct client *, const struct server *own);

/* A server for the next message: linked, or queued (paused), or closed. */
enum acquired { ACQUIRED, QUEUED, ACQUIRE_CLOSED };
enum acquired client_acquire(struct client *);
void client_link(struct client *, struct server *);
void client_activate(struct client *, struct server *); /* a waiter gets a server, or its own is logged in */

const char *client_prefix(const struct client *, char *out, size_t cap);
/* User pgbouncer by the Unix socket, of the Unix user that the process runs as: an admin without a password. */
bool client_is_operator(const struct client *);
const char *client_user_name(const struct client *); /* "(nouser)" when not known */
const char *client_database_name(const struct client *);
void client_deadline(struct client *); /* files the earliest it may have */
/* A fresh random cancel key. */
void client_make_key(struct client *);
extern const struct conn_ops client_conn_ops;

#endif
