/*
 * pool/inheritance.h - what an old process has told, until it is made use of.
 *
 * A row is what SHOW FDS told of one connection, by its public columns, with
 * the descriptor; a record is what SHOW HANDOVER told beside it, of that
 * connection or of what several have in common (pool/facts.h).
 */
#ifndef POOL_INHERITANCE_H
#define POOL_INHERITANCE_H

#include "auth/auth.h"
#include "lib/buf.h"
#include "lib/span.h"

struct client;
struct server;

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

#endif
