/*
 * pool/share.h - the part of a pool that lives on one Worker (today: all of it).
 *
 * Lists of its clients and servers by state, its greeting, its counters. Only
 * its Worker touches it. share_turn() decides what waiting clients get; the
 * ledger says whether a server may be opened.
 *
 * Rules: behaviour specification, sections 8, 9, 11, 12, 26.
 */
#ifndef POOL_SHARE_H
#define POOL_SHARE_H

#include "pool/histogram.h"
#include "pool/params.h"
#include "pool/room.h"
#include "pool/server.h"
#include "pool/stats.h"

struct share {
	struct list link;	 /* room.shares */
	struct list hungry_link; /* room.hungry */
	struct list spare_link;	 /* room.spare_changed */
	struct room *room;	 /* borrowed */
	struct pool *pool;	 /* counted entity */

	/* Recomputed by share_adopt(). */
	const struct database_def *def; /* into room->config, or own_def; NULL: no longer defined */
	struct database_def *own_def; /* owned; of a peer's pool: what a definition would say. Texts are the snapshot's */
	const struct user_def *account_def; /* or NULL */
	bool is_forced; /* the pool of the database's forced user, whoever RELOAD says that is */
	struct ledger_limits limits;
	enum pool_mode mode;
	int max_prepared; /* statements a server may hold; 0: named statements are not tracked */
	usec_t server_lifetime;
	usec_t query_timeout, idle_transaction_timeout, transaction_timeout; /* 0: off */

	struct counted_list active, waiting;		     /* clients; waiting: and seats */
	int replication_waiting;			     /* of those that wait */
	struct counted_list lookups;			     /* seats whose query runs: pool/lookup.h */
	struct counted_list cancels_waiting, cancels_active; /* cancel requests */
	struct counted_list servers[SERVER_STATES];

	/* The greeting: what the first server said at its log-in. */
	bool has_greeting;
	struct buf greeting;	/* owned: ParameterStatus messages of untracked parameters */
	struct params greeting_params;
	struct buf welcome;	/* owned: greeting and settings as the last client saw them, who had welcome_params */
	struct params welcome_params;

	struct scram_keys keys; /* passed through from a client's login */
	struct scram_derived derived; /* of the account's plain secret; wiped with the share */
	unsigned host_index;	/* which item of a host list comes next */
	bool last_connect_failed;
	bool is_flushing;	/* SUSPEND, and not all of its connections are at rest */
	bool stops_servers;	/* its clients are: servers are read to the end of their messages only */
	bool wants_retry;	/* a client was refused by fast fail: try again when the pause is over */
	struct stats stats;
	struct histogram wait_times, query_times, xact_times;
	usec_t retry_at;	/* who waits may be helped by time alone, then; 0: by an event only */
	bool was_nudged;	/* there may be room under a shared limit: the ledger wants to know what came of it */
	bool has_shared_limits; /* max_db_connections or max_user_connections */
	usec_t used_at;		/* for pool_idle_timeout */
};

struct share *share_new(struct room *, struct pool *); /* counts the pool; NULL: memory */
void share_free(struct share *);		       /* without clients and servers */
void share_adopt(struct share *);		       /* after the room's snapshot has changed */
void share_hunger(struct share *);		       /* something to decide: before this turn ends */
void share_turn(struct share *);
/* What the ledger answered to this wish of somebody who waits in this pool; reply.victim is taken. */
void share_take(struct room *, struct pool *, enum ledger_answer, const struct ledger_reply *,
		const struct ledger_wish *);
void share_maintain(struct share *, usec_t now);       /* three times a second */
bool share_is_paused(const struct share *);
/* The greeting is here: what is not known of clients that another process has greeted is what servers begin with. */
void share_fill_params(struct share *);
/* Forgets the greeting and marks all servers close_needed. */
void share_dirty(struct share *);
/* Of those that wait: the first for whom nothing is under way. NULL: nobody. */
struct client *share_first_waiter(const struct share *);
/* An idle, ready server, taken off nothing yet; closes those that may not be used. NULL: none. */
struct server *share_idle_server(struct share *);
/* A server is idle now: the first waiter gets it. */
void share_serve_waiter(struct share *);
/* Clients and servers, at once; tell: clients get the reason as a FATAL error. */
void share_close_all(struct share *, const char *reason, bool tell);
int share_server_count(const struct share *); /* of every state */
const char *share_role(const struct share *); /* whom its servers log in as */
/* Of a peer's pool: cancel requests on their way to it, and nothing else. */
static inline bool share_is_peer(const struct share *s)
{
	return s->pool->peer_id > 0;
}
/* How its link with a client ends. */
static inline enum pool_mode server_mode(const struct server *sv)
{
	return sv->replication == REPLICATION_NONE ? sv->share->mode : POOL_SESSION;
}
static inline const char *share_database_name(const struct share *s)
{
	return s->pool->database->name;
}

#endif
