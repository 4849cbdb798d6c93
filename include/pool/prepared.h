/*
 * pool/prepared.h - named statements: what clients call them, which texts
 * they are, and which of those a server has.
 *
 * Three tables. The *store* is one a process and knows each text with its
 * parameter types once, under a name of ours (PGBOUNCER_7) that means the
 * same on every server. A *client map* goes from the client's name to the
 * text, a *server map* holds the texts a connection has, in the order of use.
 * A connection that prepares nothing has a NULL pointer for its map.
 *
 * Requests are sent ahead of their answers, so the server map keeps two
 * truths apart: what the server said so far (is_there) and what it will have
 * when all requests under way have succeeded (is_held). When the last Parse
 * or Close under way has been answered or dropped with a failed batch, the
 * first one decides.
 *
 * Only statement_get() and the last statement_put() take the store's lock;
 * the maps belong to one Worker. Knows nothing of sockets and messages.
 *
 * Rules: behaviour specification, section 20.  Tests: test/unit/test_prepared.c
 */
#ifndef POOL_PREPARED_H
#define POOL_PREPARED_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/hash.h"
#include "lib/list.h"
#include "lib/span.h"

#define STATEMENT_NAME_MAX 32

/* --- the store ------------------------------------------------------------ */

struct statement_store {
	pthread_mutex_t lock;
	struct hash by_text;
	uint64_t last_number;
};

struct statement { /* immutable but for its count */
	struct statement_store *store; /* borrowed */
	atomic_uint_least32_t refs;    /* rises under the lock only; falls anywhere, but to 0 under the lock only */
	uint64_t number;	       /* from 1 */
	char name[STATEMENT_NAME_MAX]; /* on servers: PGBOUNCER_number */
	size_t name_len;	       /* without its NUL */
	size_t text_len;
	uint8_t text[]; /* what follows the name in a Parse message: query, NUL, number of types, types */
};

void statement_store_init(struct statement_store *);
void statement_store_destroy(struct statement_store *);
size_t statement_store_count(struct statement_store *);
/* Found or made; counted for the caller. NULL: out of memory. */
struct statement *statement_get(struct statement_store *, struct span text);
/* Online restart: under the number that it had; later ones get higher numbers. NULL: out of memory, or it has another. */
struct statement *statement_restore(struct statement_store *, uint64_t number, struct span text);
/* No statement gets a number up to this one any more. */
void statement_store_begin_after(struct statement_store *, uint64_t number);
/* With the store locked. */
void statement_store_each(struct statement_store *, void (*each)(void *ctx, const struct statement *), void *ctx);
struct statement *statement_ref(struct statement *);
void statement_put(struct statement *);

/* --- what a client calls them ----------------------------------------------- */

struct client_statement {
	struct statement *statement; /* counted */
	bool is_doubtful;	     /* its Parse has failed: the name may be given again */
	uint64_t named_in;	     /* number of the batch */
	size_t name_len;
	char name[]; /* not terminated */
};

struct client_statements {
	struct hash by_name;
};

size_t client_statements_count(const struct client_statements *); /* NULL: 0 */
/* NULL: not known. */
struct client_statement *client_statements_find(const struct client_statements *, struct span name);
/* Allocates the map, takes the caller's count. An entry of that name is replaced. false: memory; the count is put. */
bool client_statements_add(struct client_statements **, struct span name, struct statement *, uint64_t batch);
/* In no map yet; takes the caller's count. NULL: memory; the count is put. */
struct client_statement *client_statement_new(struct span name, struct statement *, bool is_doubtful);
/* Out of the map and into the caller's hands; NULL: not known. The map is freed when it is empty. */
struct client_statement *client_statements_take(struct client_statements **, struct span name);
/* Takes an entry back, unless its name has been given again. */
void client_statements_restore(struct client_statements **, struct client_statement *);
void client_statement_free(struct client_statement *); /* NULL is fine */
/* The names of this statement are doubtful. */
void client_statements_doubt(struct client_statements *, const struct statement *);
/* Forgets all but those that keep() wants; NULL: all. */
void client_statements_forget(struct client_statements **, bool (*keep)(void *ctx, const struct statement *), void *ctx);

/* --- what a server has ------------------------------------------------------ */

struct server_statement {
	struct list link;	     /* in server_statements.by_use while is_held, else in .others */
	struct statement *statement; /* counted */
	uint32_t users;		     /* unanswered requests that need it: Parse, Bind, Describe */
	uint32_t changes;	     /* unanswered Parse and Close that were sent for it */
	uint32_t naming;	     /* unanswered Parse of the client, sent or not */
	uint64_t parsed_in;	     /* number of the batch in which the last Parse was sent */
	bool is_there;		     /* by the answers so far */
	bool is_held;		     /* by the requests sent */
};

struct server_statements {
	struct hash by_statement;
	struct list by_use; /* held; least recent first */
	struct list others; /* not held, but an answer about them is due */
	size_t held;
};

/* A request about an entry has been sent, was answered, or will never be. */
enum statement_request {
	STATEMENT_PARSE,      /* sent, the client never asked */
	STATEMENT_NAMED,      /* sent, the client's own */
	STATEMENT_NAMED_HERE, /* the client's own, answered here */
	STATEMENT_USE,	      /* Bind or Describe */
	STATEMENT_CLOSE
};
enum statement_outcome { STATEMENT_DONE, STATEMENT_DROPPED };

size_t server_statements_count(const struct server_statements *); /* held ones; NULL: 0 */
struct server_statement *server_statements_find(const struct server_statements *, const struct statement *);
/* Found or made, not held when made; moved to the recent end. Allocates the map. NULL: out of memory. */
struct server_statement *server_statements_touch(struct server_statements **, struct statement *);
/* Online restart: it is there; the most recently used one so far. false: out of memory. */
bool server_statements_restore(struct server_statements **, struct statement *);
void server_statement_begin(struct server_statements *, struct server_statement *, enum statement_request);
/* May free the entry. */
void server_statement_end(struct server_statements *, struct server_statement *, enum statement_request,
			  enum statement_outcome);
/* The least recently used one that may be closed: above max, and no unanswered request needs it. NULL: none. */
struct server_statement *server_statements_surplus(const struct server_statements *, size_t max);
/* An entry that was made, but for which nothing could be sent. */
void server_statement_unused(struct server_statements *, struct server_statement *);
/* The server has forgotten all it knew. */
void server_statements_clear(struct server_statements *);
void server_statements_free(struct server_statements **); /* with all entries */

#endif
