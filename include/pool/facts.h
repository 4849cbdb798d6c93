/*
 * pool/facts.h - what SHOW FDS has no columns for, as bytes: the private half
 * of an online restart.
 *
 * SHOW HANDOVER answers with records. Each is about the process, a statement,
 * a database, a pool, or the connection of a descriptor, and is a run of
 * facts: a tag, a length, a value. A tag that is not known is passed over,
 * and one that is missing leaves what would be there without it, so either
 * process may be the older one. A tag is never given a second meaning.
 *
 * Numbers are in network order. Whoever reads them is bounded by the bytes
 * that are there.  Pure.  Tests: test/unit/test_facts.c, test/fuzz/fuzz_facts.c
 */
#ifndef POOL_FACTS_H
#define POOL_FACTS_H

#include <stdbool.h>

#include "lib/buf.h"
#include "lib/span.h"

/* Kinds of records, as SHOW HANDOVER prints them. */
#define FACTS_PROCESS "process"
#define FACTS_STATEMENT "statement"
#define FACTS_DATABASE "database"
#define FACTS_POOL "pool"
#define FACTS_CLIENT "client"
#define FACTS_SERVER "server"
#define FACTS_REPLAY "replay"

enum fact_tag {
	/* the process */
	FACT_PID = 1,		/* number */
	FACT_NEXT_ID = 2,	/* number: of the next connection */
	FACT_TRACKED = 3,	/* text: names of the tracked parameters, in order, a comma behind each */
	FACT_LAST_STATEMENT = 4, /* number: the highest that was given */

	/* a statement */
	FACT_NUMBER = 10,	/* number */
	FACT_TEXT = 11,		/* bytes: what follows the name in a Parse message */

	/* a database, or a pool */
	FACT_DATABASE_NAME = 20, /* text */
	FACT_ACCOUNT = 21,	/* text: the server-side user; of a client, too */
	FACT_IDENTITY = 22,	/* text: database_def_identity() of what its servers were opened by */
	FACT_GREETING = 23,	/* bytes: ParameterStatus messages of untracked parameters */
	FACT_TOLD = 24,		/* text: identity_words() of what its servers were told; nothing, if there is none */
	FACT_SECRET = 25,	/* text: the account's, as a database, PAM or LDAP said it; absent: auth_file knows it */

	/* a connection; times are of CLOCK_MONOTONIC in microseconds, which all processes share until the machine restarts */
	FACT_FLAGS = 30,	/* text: words with blanks between them */
	FACT_ID = 31,		/* number */
	FACT_CONNECTED_AT = 32, /* number */
	FACT_CONNECT_WALL = 33, /* number: Unix seconds */
	FACT_ACTIVE_AT = 34,	/* number: last message */
	FACT_PASS_LEFT = 35,	/* number: bytes of the message it is in the middle of */
	FACT_PARAM = 36,	/* name, NUL, value, NUL; many */
	FACT_IN = 37,		/* bytes that were read and not used */
	FACT_OUT = 38,		/* bytes that the socket has not taken */

	/* a client */
	FACT_STATE = 50,	/* text: login, active, waiting */
	FACT_QUERY_START = 51,	/* number; the same for the next two */
	FACT_XACT_START = 52,
	FACT_WAIT_START = 53,
	FACT_WALLET = 54,	/* 20 bytes: it logged in by a proof of this wallet */
	FACT_NAMED = 55,	/* number of a statement (8 bytes), is it doubtful (1 byte), the client's name for it; many */

	/* a server */
	FACT_HOST = 70,		/* text: the item of the host list */
	FACT_COPY_STATE = 71,	/* number: the letter */
	FACT_HELD = 72,		/* number of a statement that it has; many, least recently used first */
	FACT_REQUEST = 73,	/* type, action (1 byte each), number of a statement (8), doubtful (1), name; many, in order */

	/* the memory of used proofs */
	FACT_USED_PROOFS = 80	/* bytes: auth/replay.h */
};

struct fact {
	unsigned tag;
	struct span value; /* borrowed */
};

void fact_put_bytes(struct buf *, enum fact_tag, struct span);
void fact_put_text(struct buf *, enum fact_tag, const char *); /* with its NUL; NULL: nothing is put */
void fact_put_number(struct buf *, enum fact_tag, uint64_t);
/* Opens one whose value is put by the caller; the result goes to fact_end(). */
size_t fact_begin(struct buf *, enum fact_tag);
void fact_end(struct buf *, size_t mark);

/* Takes the next one off. false: that was all, or (rest not empty) what is left is broken. */
bool fact_next(struct span *rest, struct fact *);
uint64_t fact_number(const struct fact *);  /* 0 when it is none */
const char *fact_text(const struct fact *); /* NULL when it is none: it must end in its only NUL */

/* The first of that tag; what is not told is 0, NULL, or empty. */
bool facts_find(struct span facts, enum fact_tag, struct fact *);
uint64_t facts_number(struct span facts, enum fact_tag);
const char *facts_text(struct span facts, enum fact_tag);
struct span facts_bytes(struct span facts, enum fact_tag);
bool facts_have_flag(struct span facts, const char *word); /* in FACT_FLAGS */

#endif
