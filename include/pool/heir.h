/*
 * pool/heir.h - one run of inherit(): for pool/inherit.c and its two halves,
 * inherit_client.c and inherit_server.c, only.
 */
#ifndef POOL_HEIR_H
#define POOL_HEIR_H

#include "lib/hash.h"
#include "pool/facts.h"
#include "pool/inheritance.h"
#include "pool/params.h"
#include "pool/room.h"

#define INHERIT_DATABASE_GONE "database removed" /* as RELOAD says it */
#define INHERIT_LINK_LOST "the other side of the connection was lost in the takeover"
#define INHERIT_LOGIN_LOST "the pooler was restarted during the login"
#define INHERIT_NOT_UNDERSTOOD "prepared statements were not understood"
#define INHERIT_NO_MEMORY "out of memory"

struct share;
struct statement;

struct heir {
	struct pooler *pooler;
	struct inheritance *from;
	struct hash statements; /* by number, of struct known_statement */
	struct hash rows;	/* by descriptor number */
	struct hash obsolete;	/* shares whose servers were opened by another definition */
	bool same_parameters;	/* both processes track the same ones */
};

/* Every Worker's room will do for what is in the snapshot. */
static inline struct room *heir_room(const struct heir *h)
{
	return room_of(h->pooler->crew->workers[0]);
}

/* A row goes no further than this; the first reason counts. */
void heir_refuse(struct inherited_row *, const char *why);
/*
 * The pool's share on its Worker; NULL: the configuration does not know the database any more, or memory. What belonged
 * to the forced user of the database belongs to whom it names now.
 */
struct share *heir_share(const struct heir *, const char *database, const char *account, struct span facts,
			 const char **why);
/* The other side of its link; NULL: it has none, or none that knows of it. */
struct inherited_row *heir_partner(const struct heir *, const struct inherited_row *);
/* Counted by the heir. NULL: nobody has told of it. */
struct statement *heir_statement(const struct heir *, uint64_t number);

/* What clients and servers have in common. */
usec_t heir_time(struct span facts, enum fact_tag, usec_t unknown, usec_t now); /* never one to come */
MUST_CHECK bool heir_params(struct params *, const struct inherited_row *);
MUST_CHECK bool heir_conn(struct conn *, const struct inherited_row *);
/* As the kernel knows the other end; by the columns if that is gone. */
void heir_address(const struct inherited_row *, union sock_addr *);
void heir_keys(struct share *, const struct inherited_row *); /* SCRAM keys are the account's */

/* They set row->client or row->server, or refuse it, or both. */
void inherit_client(const struct heir *, struct inherited_row *);
void inherit_server(const struct heir *, struct inherited_row *);

#endif
