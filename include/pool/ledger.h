/*
 * pool/ledger.h - everything that a decision to open a server connection
 * needs, for the whole process, under one mutex.
 *
 * It only counts and answers, and is never held across a call. The query path
 * does not enter it: it is asked when a share turns hungry, and told when a
 * server is born, ends its log-in, changes kind or dies. Plain structs and a
 * clock that the caller moves, so that a test can play with it.
 *
 * Rules: behaviour specification, sections 12, 14, 25; design: the order of
 * rules is in ledger_want().  Tests: test/unit/test_ledger.c
 */
#ifndef POOL_LEDGER_H
#define POOL_LEDGER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "lib/list.h"
#include "lib/util.h"

struct tally { /* one a database, one a user */
	int servers, clients;
};

/*
 * The pools of one database, or of one user: they share a limit, so one may
 * have to wait for what another gives up. Beside the tally of the same entity.
 */
enum group_kind { OF_DATABASE, OF_USER, GROUPS };
struct ledger_group {
	struct list pools;	  /* of ledger_pool.member[kind] */
	struct list blocked;	  /* of ledger_pool.blocked_link: the longest waiting first */
	atomic_int blocked_count; /* its length; looked at without the mutex by who has a server to spare */
};

struct ledger {
	pthread_mutex_t lock;
	int servers;
	struct list nudged; /* pools that must be told to ask again: ledger_take_nudged() */
	atomic_int nudged_count;
};

/* As much of a failure's text as is kept, its NUL included: configuration specification, section 22. */
#define LEDGER_ERROR_MAX 100
/* A server's sentence with long names in it, as a reason and for those who wait. */
#define SERVER_ERROR_MAX 512

/* KIND_REPLICATION: logged in, and of one client until it goes; it will never serve another. */
enum server_kind { KIND_LOGIN, KIND_CONNECTED, KIND_REPLICATION, KIND_CANCEL, KINDS };

struct ledger_pool {
	struct tally *database, *user; /* borrowed; they outlive the pool */
	int count[KINDS];
	bool login_taken;      /* somebody is connecting or logging in */
	bool login_is_replication; /* and he does it for a replication client */
	bool is_evicting;	   /* he waits for a server to be closed for him */
	usec_t attempt_at;     /* start of the last attempt; 0: never */
	bool last_login_failed, last_connect_failed;
	/*
	 * Of attempts for replication clients. That a role may not replicate is nothing to the others; that nobody
	 * listens at the address is, so it counts above.
	 */
	usec_t replication_attempt_at;
	bool last_replication_failed;
	char error[LEDGER_ERROR_MAX]; /* of the last failure */
	bool has_greeting;
	usec_t lifetime_close_at; /* last close for server_lifetime */

	int refs; /* of whoever keeps a pointer beyond a call; the owner of the pool frees it */
	struct ledger_group *group[GROUPS]; /* borrowed, like the tallies */
	struct list member[GROUPS];	    /* linked; in group.pools */
	struct list blocked_link;	    /* linked; in group[blocked_on]->blocked */
	enum group_kind blocked_on;
	usec_t blocked_since; /* its first waiter's last message */
	struct list nudged_link; /* linked; in ledger.nudged */
	unsigned nudges; /* bits by group_kind: it was told of room there, and has not said what became of it */
	/* Since when its longest unused server is to spare; 0: there is none. Written by its share alone. */
	atomic_llong spare_since;
};

struct ledger_limits { /* <= 0 means no limit, except min_pool_size and reserve_size: none */
	int pool_size, min_pool_size, reserve_size;
	int max_db_connections, max_user_connections;
	usec_t login_retry, reserve_timeout;
};

enum ledger_purpose {
	FOR_CLIENT, FOR_REPLICATION, FOR_CANCEL, FOR_MIN_SIZE, FOR_PEER /* to a peer, with a cancel request */
};

/* What a share asks for. */
struct ledger_wish {
	enum ledger_purpose purpose;
	usec_t waiting_since; /* the waiter's last message; of the two kinds of clients */
	int own_unused;	      /* FOR_REPLICATION: servers of the pool itself that it would give up for one */
};

enum ledger_answer {
	LEDGER_LAUNCH,		/* slot and login right are yours */
	LEDGER_LAUNCH_RESERVE,	/* the same, from the reserve: worth a warning */
	/*
	 * The victim has a server to spare: its slot is yours; the login right is, already. FOR_REPLICATION the victim
	 * may be the asker.
	 */
	LEDGER_EVICT,
	LEDGER_WAIT		/* not now */
};

struct ledger_reply {
	usec_t until;		    /* LEDGER_WAIT: asking again makes sense then; 0: when something changes */
	bool is_in_line;	    /* LEDGER_WAIT: for room under a shared limit; its pool will be nudged */
	struct ledger_pool *victim; /* LEDGER_EVICT: counted for the caller */
};

void ledger_init(struct ledger *);
void ledger_destroy(struct ledger *);
void ledger_group_init(struct ledger_group *);
/* Joins its groups; the tallies are set. Leaves them, when nobody refers to it any more. The caller holds the lock. */
void ledger_pool_open(struct ledger_pool *, struct ledger_group *database, struct ledger_group *user);
void ledger_pool_close(struct ledger *, struct ledger_pool *);
/* It is another user's from here on, and so are its servers; failed log-ins are forgotten. The caller holds the lock. */
void ledger_pool_move(struct ledger *, struct ledger_pool *, struct tally *, struct ledger_group *user);
/*
 * A pool has one place in line. Whoever is told that it is in line for him asks for nobody else in this turn: by the
 * next question the place would become that of the other.
 */
enum ledger_answer ledger_want(struct ledger *, struct ledger_pool *, const struct ledger_limits *,
			       const struct ledger_wish *, usec_t now, struct ledger_reply *);
/*
 * LEDGER_EVICT was obeyed: a connected server of the victim is gone, and the
 * asker, for whom that was done, asks again in the same breath, so that nobody
 * gets in between. Its answer is that of ledger_want().
 */
enum ledger_answer ledger_evicted(struct ledger *, struct ledger_pool *victim, struct ledger_pool *asker,
				  const struct ledger_limits *of_asker, const struct ledger_wish *, usec_t now,
				  struct ledger_reply *);
/* It came too late, nothing was there: the login right is given back, and the asker may ask again. */
void ledger_not_evicted(struct ledger *, struct ledger_pool *asker);
/*
 * A share says since when its longest unused server is to spare (0: none), and
 * how many it has. Whoever is blocked then is nudged. Takes no lock as long as
 * nobody is.
 *
 * No wake-up is lost: it says so first and then looks who is blocked, while
 * ledger_want() first enters the asker as blocked and then looks who has
 * something to spare; both sequentially consistent.
 */
void ledger_spare(struct ledger *, struct ledger_pool *, usec_t since, int servers);
/* The next pool that must be told to ask again, counted for the caller; NULL: none. */
struct ledger_pool *ledger_take_nudged(struct ledger *);
/* A nudged pool has asked, or wants nothing: what it was told of and did not use goes to the next in line. */
void ledger_nudge_over(struct ledger *, struct ledger_pool *);
/* The server that held the login right is logged in, for whom it was granted; failure flags are cleared. */
void ledger_login_done(struct ledger *, struct ledger_pool *);
/* Online restart: a connected server that another process has opened; no limit is asked. */
void ledger_server_inherited(struct ledger *, struct ledger_pool *);
/* It is used for a cancel request instead. What is known of failed log-ins stays: this was none. */
void ledger_login_to_cancel(struct ledger *, struct ledger_pool *);
/* A server is gone. error: it died in log-in, for this reason (NULL: no failure, or another kind). */
void ledger_server_gone(struct ledger *, struct ledger_pool *, enum server_kind, bool while_connecting,
			const char *error);
/* The next attempt need not wait for the end of the pause after a failure. */
void ledger_forget_failure(struct ledger *, struct ledger_pool *);
/*
 * Fast fail: true with the cached error copied, when the last login failed and no server beyond login exists that could
 * serve whoever waits.
 */
bool ledger_failing(struct ledger *, struct ledger_pool *, char *error, size_t cap);
/* May a server that is over its lifetime be closed now? Notes the time when it may. */
bool ledger_lifetime_close(struct ledger *, struct ledger_pool *, usec_t lifetime, int pool_size, usec_t now);
void ledger_set_greeting(struct ledger *, struct ledger_pool *, bool known);
bool ledger_below_min(struct ledger *, struct ledger_pool *, const struct ledger_limits *);
/* How many connected servers are above pool_size + reserve... counted for shrinking; 0 when unlimited. */
int ledger_surplus(struct ledger *, struct ledger_pool *, const struct ledger_limits *);
int ledger_connected(struct ledger *, struct ledger_pool *);
/* Without those of replication clients: of them nobody else has anything. */
int ledger_serving(struct ledger *, struct ledger_pool *);

#endif
