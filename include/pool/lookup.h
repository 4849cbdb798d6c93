/*
 * pool/lookup.h - a question to a database, for the sake of a log-in.
 *
 * It runs in an ordinary pool, which may live on another Worker. The client
 * stays where it is, in log-in, and the question travels: to the pool's home,
 * and back with its answer, exactly once, whatever happens.
 *
 * At home a *seat* stands for the client: a struct client without a socket.
 * It waits in the pool's queue like any other, by the same rules and
 * time-outs, and is linked to a server while its query runs. So a database
 * that is slow, paused or gone holds up nobody but those who ask it.
 *
 * Nothing of the client but the parameters reaches the server: its tracked
 * parameters are not applied (attacks.md row 11).
 *
 * Rules: behaviour specification, sections 5, 11, 19, 26.
 * Tests: test/system/test_auth_query_faults.py
 */
#ifndef POOL_LOOKUP_H
#define POOL_LOOKUP_H

#include "net/worker.h"
#include "pool/entity.h"
#include "proto/query.h"

#define LOOKUP_PARAMS_MAX 3
#define LOOKUP_COLUMNS_MAX 2

struct client;
struct server;
struct lookup;

/* What one kind of question may be answered, and who wants to know. */
struct lookup_kind {
	const char *name; /* in log lines: "auth_query" */
	bool has_fixed_path; /* search_path is pg_catalog while it runs; parameters are text, and the query may use fewer */
	int min_columns, max_columns;
	const char *columns_text; /* "2" */
	/*
	 * At the pool's home, for each row: keeps what counts by lookup_keep().
	 * NULL, or why the row cannot be: the server is closed with it.
	 */
	const char *(*row)(struct lookup *, const struct row *);
	/* On the asker's Worker, while the client is still there; it may close it. The lookup is freed behind it. */
	void (*answered)(struct client *, struct lookup *);
};

struct lookup {
	struct message message; /* first */
	const struct lookup_kind *kind;
	struct worker *asker;  /* borrowed */
	struct client *client; /* the asker's thread only; NULL: it is gone */
	struct pool *pool;     /* counted: where it runs */
	uint64_t client_id;
	usec_t active_at;      /* the client's last message */
	char *user, *database; /* owned: as the client sent them; for time-outs and log lines */
	char *sql;	       /* owned */
	char *params[LOOKUP_PARAMS_MAX]; /* owned; NULL: SQL NULL */
	size_t n_params;

	/* The answer. */
	bool is_answered; /* the query ran to its end; else it failed, and what follows is for the client */
	char sqlstate[6]; /* "": 08P01 */
	char text[192];	  /* FATAL; "": say nothing */
	char reason[192]; /* for the log */
	bool has_row;
	char *values[LOOKUP_COLUMNS_MAX]; /* owned, wiped: the row that counts; NULL: SQL NULL */
};

/* Everything is copied; pool: counted by it. Give up with lookup_free(), or ask. */
struct lookup *lookup_new(const struct lookup_kind *, struct registry *, struct pool *, const char *sql,
			  const char *const *params, size_t n);
void lookup_free(struct registry *, struct lookup *);
/* Takes the lookup. kind->answered() is called later, never from in here. */
void lookup_ask(struct lookup *, struct client *, const char *user, const char *database);
/* The client is gone: nothing is told any more, and its place in the queue, or its server, is given up. */
void lookup_abandon(struct lookup *);
/* For kind->row(): these columns are the answer, in the place of those kept before. */
void lookup_keep(struct lookup *, const struct row *);

/* --- the seat, for the pool room: a client whose is_seat is set --- */

/* It got a server: the query is sent. */
void lookup_link(struct client *seat, struct server *);
/* Bytes of a server whose client is a seat. Returns how many were used. */
size_t lookup_server_bytes(struct server *, const uint8_t *, size_t n);
/* As client_close(): the answer goes to the asker. */
void lookup_seat_close(struct client *seat, const char *sqlstate, const char *text, const char *reason);
/* As the client sent them. */
const char *lookup_user_name(const struct client *seat);
const char *lookup_database_name(const struct client *seat);

#endif
