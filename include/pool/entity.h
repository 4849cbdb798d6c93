/*
 * pool/entity.h - what lives on while configurations come and go: databases,
 * users, pools. Process-wide, counted, found by name.
 *
 * An entity outlives its definition until the last connection has gone; the
 * definition is looked up in the current snapshot by name and never kept.
 * Counts and tables are under the ledger's mutex.
 */
#ifndef POOL_ENTITY_H
#define POOL_ENTITY_H

#include <stdatomic.h>

#include "auth/auth.h"
#include "config/config.h"
#include "lib/hash.h"
#include "lib/list.h"
#include "pool/ledger.h"

struct database { /* a client-facing database name */
	char name[DATABASE_NAME_MAX + 1];
	struct tally tally; /* ledger's mutex */
	struct ledger_group group; /* its pools */
	int refs;	    /* ledger's mutex */
	bool is_auto;	    /* ledger's mutex: known by the template only; see pool/autodb.h */
	usec_t idle_since;  /* ledger's mutex: of an auto-database; 0: in use */
	atomic_bool is_paused, is_disabled; /* set by the console, read by every Worker; relaxed: acted upon after a gather */
};

struct user { /* a name that logs in, here or at a server */
	char name[USER_NAME_MAX + 1]; /* wallets in lower case */
	char eip55[WALLET_TEXT_LEN + 1]; /* a wallet's name as people see it; "" for others */
	struct tally tally; /* ledger's mutex */
	struct ledger_group group; /* its pools */
	int refs;
	bool is_known; /* has logged in by auth_query: stays; ledger's mutex */
	struct scram_verifier verifier; /* derived from a plain secret; ledger's mutex */
	uint64_t verifier_of;		/* hash of the secret it was derived from */
	struct scram_keys keys; /* of its last log-in by a stored SCRAM secret, for its servers; ledger's mutex */
};

/* A pool is whole on one Worker: its home, fixed at birth. */
struct pool {
	char key[sizeof(void *) * 2]; /* both pointers */
	struct database *database; /* counted; of a peer's pool its own, which is in no table */
	struct user *account;	   /* counted: the server-side user; its home may read it without the mutex */
	int peer_id;		   /* > 0: connections to this peer, see pool/peer.h */
	struct ledger_pool ledger; /* with the references to the pool */
	int home; /* index of the Worker */
	char *secret; /* owned, wiped: what auth_query said last of the account, as the client's; ledger's mutex */
	struct list link; /* in registry.pools */
};

struct registry {
	struct ledger ledger;
	struct hash databases, users, pools; /* borrowed values */
	struct list pool_list;
	int workers;
	int *pools_on; /* owned: pools a Worker is home of */
	atomic_int clients;	     /* all client sockets; relaxed */
	atomic_uint_least64_t next_id; /* clients and servers alike, from 1 */
};

void registry_init(struct registry *, int workers);
void registry_destroy(struct registry *);

/* Found or made; counted for the caller. NULL: out of memory. */
struct database *database_get(struct registry *, const char *name);
struct database *database_find(struct registry *, const char *name); /* NULL when nobody uses it */
/* Frees it with the last reference, unless the console has marked it or it is an auto-database. */
void database_put(struct registry *, struct database *);
bool registry_has_paused(struct registry *); /* a database, by PAUSE or KILL */
struct user *user_get(struct registry *, const char *name);
struct user *user_find(struct registry *, const char *name);
void user_put(struct registry *, struct user *);
/* The name for logs and the console. */
static inline const char *user_shown(const struct user *u)
{
	return u->eip55[0] ? u->eip55 : u->name;
}
struct pool *pool_get(struct registry *, struct database *, struct user *account);
/*
 * It logs in as somebody else from here on: RELOAD has given its database
 * another forced user. Its home calls it. false: that user's pool is there
 * already, and nothing has changed.
 */
bool pool_set_account(struct registry *, struct pool *, struct user *account);
/* For those who are not its home: a copy. */
void pool_account_name(struct registry *, const struct pool *, char name[USER_NAME_MAX + 1]);
/* For a peer; in no table, so whoever makes it keeps it. Its home is peer_id mod the Workers. NULL: out of memory. */
struct pool *pool_new_peer(struct registry *, int peer_id);
void pool_put(struct registry *, struct pool *);
struct pool *pool_ref(struct registry *, struct pool *);

/* NULL: it has no password. The text is copied. */
void pool_set_secret(struct registry *, struct pool *, const char *secret);
/* *out: a copy, owned by the caller, or NULL for none. false: out of memory. */
MUST_CHECK bool pool_secret(struct registry *, struct pool *, char **out);
/* SHOW USERS lists it from here on. */
void user_mark_known(struct registry *, struct user *);

/* Adds one to a count and says whether it stays within max (<= 0: no limit). It is added either way. */
bool tally_add_client(struct registry *, struct tally *, int max);
void tally_remove_client(struct registry *, struct tally *);
struct tally tally_read(struct registry *, const struct tally *);

/* A copy of the verifier cached for this user and secret; false when there is none. */
bool user_verifier(struct registry *, struct user *, const char *secret, struct scram_verifier *);
void user_set_verifier(struct registry *, struct user *, const char *secret, const struct scram_verifier *);

/* What a client of this account proved with, for all pools that log in as it; false, and nothing written: nobody did. */
bool user_keys(struct registry *, struct user *, struct scram_keys *);
void user_set_keys(struct registry *, struct user *, const struct scram_keys *);

#endif
