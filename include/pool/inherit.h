/*
 * pool/inherit.h - the new process's half of an online restart: connections
 * of another process become clients and servers of this one.
 *
 * A row is what SHOW FDS told of one connection, by its public columns, with
 * the descriptor; facts are what SHOW HANDOVER told beside it. PgBouncer has
 * no such command, nor had older versions of ours: then the columns have to
 * do, and what they do not say is taken to be as it is with a client between
 * two transactions.
 *
 * Both run on the main thread, before the first Worker starts, so that all of
 * it may be touched. As long as the old process lives it may take everything
 * back: inherit() says nothing to anybody.
 *
 * Rules: behaviour specification, section 32; pool/handover.h.
 * Tests: test/system/test_reboot.py
 */
#ifndef POOL_INHERIT_H
#define POOL_INHERIT_H

#include "auth/auth.h"
#include "auth/replay.h"
#include "lib/span.h"
#include "pool/room.h"

struct inherited_row {
	bool is_server;
	int fd;	    /* owned; -1: a client or server has it now, or it is closed */
	int number; /* of the descriptor in the old process */
	int link;   /* number of the partner; 0: none */
	int port;
	char *user, *database;		/* owned; NULL when not told */
	char *addr;			/* owned: IP text or "unix" */
	char *password;			/* owned, wiped */
	char *client_encoding, *std_strings, *datestyle, *timezone; /* owned */
	uint8_t key[8];
	struct scram_keys keys;
	struct span facts;		/* borrowed from the record; empty: nothing was told */
	/* What became of it: one of the two, borrowed; or why it cannot stay, a text for the client, too. */
	struct client *client;
	struct server *server;
	const char *refused;
};

struct inherited_record {
	char kind[16];
	int number; /* of a descriptor; 0: it is about something else */
	struct buf facts; /* owned; may hold queries */
};

struct inheritance {
	struct inherited_row *rows; /* owned */
	size_t n, cap;
	struct inherited_record *records; /* owned */
	size_t record_count, record_cap;
	bool is_told_all; /* SHOW HANDOVER was answered */
};

/* A zeroed one, to be filled in. */
struct inherited_row *inheritance_add_row(struct inheritance *);
struct inherited_record *inheritance_add_record(struct inheritance *, const char *kind, int number);
/* Closes the descriptors that nobody has taken; secrets are wiped. */
void inheritance_free(struct inheritance *);
/* What the old process said of itself; 0: nothing. */
int64_t inheritance_pid(const struct inheritance *);

/* The memory of used proofs. false: nothing was told of one; or it is not whole, which is logged. */
bool inherit_replay(const struct inheritance *, struct replay *, int64_t now) MUST_CHECK;
/* Everything but listeners. Rooms are there, threads are not. */
void inherit(struct pooler *, struct inheritance *);
/* The old process is gone: whoever cannot stay is told so, and the others go on. */
void inherit_settle(struct pooler *, struct inheritance *);

#endif
