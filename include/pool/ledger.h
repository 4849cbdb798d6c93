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
#include <stdbool.h>

#include "lib/util.h"

struct tally { /* one a database, one a user */
	int servers, clients;
};

struct ledger {
	pthread_mutex_t lock;
	int servers;
};

enum server_kind { KIND_LOGIN, KIND_CONNECTED, KIND_CANCEL, KINDS };

struct ledger_pool {
	struct tally *database, *user; /* borrowed; they outlive the pool */
	int count[KINDS];
	bool login_taken;      /* somebody is connecting or logging in */
	usec_t attempt_at;     /* start of the last attempt; 0: never */
	bool last_login_failed, last_connect_failed;
	char error[100];       /* of the last failure */
	bool has_greeting;
	usec_t lifetime_close_at; /* last close for server_lifetime */
};

struct ledger_limits { /* <= 0 means no limit, except min_pool_size and reserve_size: none */
	int pool_size, min_pool_size, reserve_size;
	int max_db_connections, max_user_connections;
	usec_t login_retry, reserve_timeout;
};

enum ledger_purpose { FOR_CLIENT, FOR_CANCEL, FOR_MIN_SIZE };
enum ledger_answer {
	LEDGER_LAUNCH,		/* slot and login right are yours */
	LEDGER_LAUNCH_RESERVE,	/* the same, from the reserve: worth a warning */
	LEDGER_EVICT_DATABASE,	/* close an idle server of this database, then ask again */
	LEDGER_EVICT_USER,	/* the same of this user */
	LEDGER_WAIT		/* not now; *until says when asking again makes sense, 0: when something changes */
};

void ledger_init(struct ledger *);
void ledger_destroy(struct ledger *);
/* waiting_since: the first waiter's last message; only for FOR_CLIENT. */
enum ledger_answer ledger_want(struct ledger *, struct ledger_pool *, const struct ledger_limits *,
			       enum ledger_purpose, usec_t waiting_since, usec_t now, usec_t *until);
/* The server that held the login right is logged in: kind becomes connected, failure flags are cleared. */
void ledger_login_done(struct ledger *, struct ledger_pool *);
/* It is used for a cancel request instead. */
void ledger_login_to_cancel(struct ledger *, struct ledger_pool *);
/* A server is gone. error: it died in log-in, for this reason (NULL: no failure, or another kind). */
void ledger_server_gone(struct ledger *, struct ledger_pool *, enum server_kind, bool while_connecting,
			const char *error);
/* Fast fail: true with the cached error copied, when the last login failed and no server beyond login exists. */
bool ledger_failing(struct ledger *, struct ledger_pool *, char *error, size_t cap);
/* May a server that is over its lifetime be closed now? Notes the time when it may. */
bool ledger_lifetime_close(struct ledger *, struct ledger_pool *, usec_t lifetime, int pool_size, usec_t now);
void ledger_set_greeting(struct ledger *, struct ledger_pool *, bool known);
bool ledger_below_min(struct ledger *, struct ledger_pool *, const struct ledger_limits *);
/* How many connected servers are above pool_size + reserve... counted for shrinking; 0 when unlimited. */
int ledger_surplus(struct ledger *, struct ledger_pool *, const struct ledger_limits *);
int ledger_connected(struct ledger *, struct ledger_pool *);

#endif
