/*
 * pool/room.h - what a Worker knows of pools, and the process around it.
 *
 * struct pooler is one a process; struct room is one a Worker and touched by
 * its thread only. A room holds one counted configuration snapshot; everything
 * that is derived from it (effective sizes, modes, time-outs) is recomputed in
 * room_adopt(), so no pointer into an old snapshot survives a RELOAD.
 */
#ifndef POOL_ROOM_H
#define POOL_ROOM_H

#include <openssl/ssl.h>

#include "config/config.h"
#include "net/conn.h"
#include "net/crew.h"
#include "net/sockets.h"
#include "pool/entity.h"
#include "pool/login_times.h"
#include "pool/prepared.h"
#include "wallet/check.h"

struct client;
struct limiter;
struct replay;
struct share;
struct server;
struct pooler;
struct wallet_answers;

/* The console, given by main: the pool room does not know the admin room. */
struct console_ops {
	/* A client of database pgbouncer is logged in; the greeting, AuthenticationOk included, is the console's. */
	void (*opened)(struct client *);
	/* Bytes of a console client. Returns how many were used. */
	size_t (*bytes)(struct client *, const uint8_t *bytes, size_t n);
	/* The client is going. */
	void (*closed)(struct client *);
	/* The client's output has drained. */
	void (*drained)(struct client *);
	/* A cancel request has its key. */
	void (*cancelled)(struct client *);
};

enum pause_mode { RUNNING, PAUSED, SUSPENDED };
enum shutdown_mode { SHUTDOWN_NONE, SHUTDOWN_WAIT_CLIENTS, SHUTDOWN_WAIT_SERVERS, SHUTDOWN_IMMEDIATE };

/* Where a server's host name is resolved: the control role's business, given by main. */
struct resolver {
	/* Answers on the asking Worker's thread by done(); addr NULL: failed. Never from within the call. */
	void (*resolve)(struct worker *asker, const char *host, uint64_t server_id, struct pool *);
};

struct pooler {
	struct crew *crew; /* borrowed */
	struct registry registry;
	struct statement_store statements;
	struct limiter *limiter; /* owned by main: in front of log-ins */
	struct replay *replay;	 /* owned by main: used proofs */
	const struct console_ops *console;
	const struct resolver *resolver;
	uint8_t mock_nonce[32];
	atomic_llong clock_floor; /* Unix seconds: the latest that a wallet login has seen, with ecdsa_clock_floor */
};

/* Of wallet logins, since the start. */
struct login_counts {
	uint64_t accepted[ECDSA_FORMATS]; /* proofs */
	uint64_t refused[ECDSA_REASON_COUNT];
	uint64_t throttled;   /* not looked at: the source is closed off */
	uint64_t crowded_out; /* not looked at: ecdsa_limit_checks_per_second */
};

struct room {
	struct worker *worker;	 /* borrowed */
	struct pooler *pooler;	 /* borrowed */
	struct config *config;	 /* counted */
	const struct settings *settings; /* of config */
	SSL_CTX *client_tls, *server_tls; /* counted; NULL: off */
	struct list shares;	 /* all of this Worker, but for those of peers */
	struct list peers;	 /* the shares of peers that have their home here: pool/peer.h */
	struct hash share_by_pool;
	struct list hungry;	 /* shares with something to decide in this turn */
	struct list spare_changed; /* shares that may have more or fewer servers to spare than the ledger knows */
	struct counted_list logins;    /* clients that have not been routed */
	struct list travellers;	 /* clients that leave for another Worker at the end of this turn */
	struct counted_list consoles;  /* clients of database pgbouncer */
	struct hash seats;	 /* by client id: pool/lookup.h */
	struct list orphans;	 /* cancel requests that ask around for their client */
	struct event *tick_timer; /* owned: maintenance, three times a second while there are shares */
	struct login_counts login_counts;
	bool had_other_peer_id;	  /* clients may have keys of a former peer_id */
	struct login_times login_times;
	uint64_t last_batch;	  /* number of the last batch of requests that was begun: struct server */
	struct wallet_answers *wallet_answers; /* owned: pool/wallet_query.h; NULL: none */
	uint64_t wallet_generation;	       /* grows when answers are forgotten: what was asked before is not kept */
	bool wants_minimum;	  /* pools that are there without clients are to be opened; Worker 0 only */
	enum pause_mode pause;
	enum shutdown_mode shutdown;
};

static inline struct room *room_of(const struct worker *w)
{
	return w->room;
}
static inline struct room *conn_room(const struct conn *c)
{
	return c->worker->room;
}

struct room *room_new(struct pooler *, struct worker *, struct config *); /* config: counted by it */
void room_free(struct room *);

/* A socket was accepted; takes fd. Called on the Worker it is meant for. */
void room_accept(struct room *, int fd, const struct peer_addr *from, bool is_unix);
/*
 * RELOAD and SET, on every Worker: swap the snapshot, recompute the shares,
 * close what is no longer defined. TLS contexts are replaced when given.
 */
struct room_adoption {
	struct config *config;	     /* counted by each room that takes it */
	SSL_CTX **client_tls, **server_tls; /* arrays by Worker index, or NULL to keep the old ones; taken */
	bool server_tls_changed;     /* mark servers close_needed */
};
void room_adopt(struct room *, const struct room_adoption *);
void room_set_pause(struct room *, enum pause_mode);
/* Marks servers close_needed and forgets greetings; db NULL: all but the console. */
void room_reconnect(struct room *, const struct database *db);
void room_set_shutdown(struct room *, enum shutdown_mode);
/* Online restart: the sockets that can be handed over belong to another process, nothing may be said through them. */
void room_abandon(struct room *);
/* Closes every client and server at once. */
void room_close_all(struct room *, const char *reason);

/* A resolver's answer. addr is copied; NULL: the name has no address. */
void room_resolved(struct room *, struct pool *, uint64_t server_id, const union sock_addr *addr);
/* DNS: an address is gone from a name. */
void room_address_lost(struct room *, const char *host, const union sock_addr *addr);

uint64_t room_next_id(struct room *);
/* The definition of a database: its entry, or the template for other names; NULL: not defined (any more). */
const struct database_def *room_database_def(const struct room *, const char *name);
struct share *room_share(struct room *, struct pool *); /* found or made; NULL: memory */
void room_drop_share(struct room *, struct share *);	 /* without clients and servers */
/* The pools of this database that have neither clients nor servers. */
void room_drop_empty(struct room *, const struct database *);
/* KILL: closes all clients and servers; the pools go, and their statistics. db NULL: of all databases. */
void room_kill(struct room *, const struct database *db);

#endif
