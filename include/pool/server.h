/*
 * pool/server.h - a connection to PostgreSQL: its life, from connect to close.
 *
 * State and list are one fact: server_enter() moves both. What comes from a
 * linked server is relayed by pool/relay.c.
 *
 * Rules: behaviour specification, sections 12 to 17, 28.
 */
#ifndef POOL_SERVER_H
#define POOL_SERVER_H

#include "auth/server_auth.h"
#include "net/conn.h"
#include "net/sockets.h"
#include "pool/outstanding.h"
#include "pool/params.h"
#include "proto/startup.h"

struct share;
struct client;
struct eviction;
struct server_statements;

/* id, word in SHOW SERVERS */
#define SERVER_STATES_LIST(X) \
	X(SV_LOGIN, "new") \
	X(SV_IDLE, "idle") \
	X(SV_ACTIVE, "active") \
	X(SV_USED, "used") \
	X(SV_TESTED, "tested") \
	X(SV_ACTIVE_CANCEL, "active_cancel") \
	X(SV_BEING_CANCELED, "being_canceled")

enum server_state {
#define X(id, word) id,
	SERVER_STATES_LIST(X)
#undef X
	SERVER_STATES
};

enum server_phase { /* of SV_LOGIN */
	PHASE_RESOLVING, PHASE_CONNECTING, PHASE_SSL_REQUEST, PHASE_TLS, PHASE_STARTUP, PHASE_AUTH_WORK, PHASE_CONNECT_QUERY
};

struct server_login;

struct server {
	struct conn conn; /* first */
	struct list link; /* in share->servers[state] */
	struct share *share;	/* borrowed */
	struct client *client;	/* linked with client->server; a cancel request in SV_ACTIVE_CANCEL; in SV_LOGIN the
				   replication client that it is for */
	struct server *cancel_target; /* SV_ACTIVE_CANCEL: whose query is cancelled; NULL once that is gone */
	struct server_login *login; /* owned; NULL once logged in */
	struct eviction *evicted_for; /* borrowed: it is closed to make room; else NULL */
	struct outstanding requests;
	struct server_statements *statements; /* owned; NULL: nothing was prepared through it */
	struct params params;
	uint64_t id;
	uint64_t batch;	    /* what is sent now stands or falls together, up to a Sync; numbered by the Worker */
	uint64_t pass_left; /* bytes of the current message still to come */
	usec_t connected_at, used_at; /* used_at: last message, or entering idle */
	usec_t tested_at;	      /* SV_TESTED: when its query was sent */
	time_t connect_wall;
	union sock_addr addr;
	char host[256]; /* the item of the host list; TLS host name */
	uint8_t key[8]; /* BackendKeyData */
	int cancels_in_flight, cancels_queued;
	enum server_state state;
	enum replication replication; /* it is of one client alone: pool/replication.h */
	char copy_state; /* 0, or 'G' / 'W' while in copy-in or copy-both */
	bool is_ready : 1;	 /* the last ReadyForQuery was idle, and nothing since */
	bool is_idle_tx : 1;
	bool wants_close : 1;	 /* close_needed */
	bool skips_message : 1;	 /* the current message is not forwarded */
	bool is_setting_params : 1;
	bool wants_release : 1;
	bool is_resetting : 1;	 /* SV_TESTED: reset query, not a check */
	bool client_paused_me : 1; /* back-pressure: the client's out-queue is full */
	bool set_failed : 1;
	bool is_amid_request : 1; /* its client left in the middle of a message */
};

/*
 * Starts a connection attempt; slot and login right have been granted by the ledger. For a cancel request against a
 * target, for a replication client, or (NULL, NULL) for whoever comes.
 */
void server_launch(struct share *, const struct server *cancel_target, struct client *replication);
/* Takes fd: a connection that another process has logged in; idle, or active for a client that is still to be linked. */
struct server *server_inherit(struct share *, int fd, bool is_linked);
/* Its client has been sent a part of a message, and the rest is still to come. */
static inline bool server_is_amid_answer(const struct server *sv)
{
	return sv->pass_left > 0 && !sv->skips_message;
}
/* The only place where a server changes state, and with it the list it is on. */
void server_enter(struct server *, enum server_state next);
/* Reason goes to the log; tell: the linked client gets it as a FATAL error, else it is only closed. */
void server_close(struct server *, const char *reason, bool tell_client);
/* Linked and done: decides what becomes of it. */
void server_release(struct server *);
/* Sends the check query, or makes it idle at once; for SV_USED. */
void server_check(struct server *);
/* A resolver's answer; addr NULL: none. */
void server_resolved(struct server *, const union sock_addr *addr);
/* One more or one fewer cancel request under way against it. */
void server_cancel_ended(struct server *);
const char *server_state_word(const struct server *);
/* "S-0x...: db/user@host:port " for log lines. */
const char *server_prefix(const struct server *, char *out, size_t cap);
void server_deadline(struct server *); /* files the earliest it may have */
/* In SV_LOGIN and SV_ACTIVE_CANCEL: why it must be closed by now; NULL: it has time left. */
const char *server_is_late(const struct server *, usec_t now);

#endif
