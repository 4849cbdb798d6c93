/*
 * backup/pg.h - connections to PostgreSQL, by libpq without blocking.
 *
 * pg_connect() and pg_ask() run the loop while they wait, so uploads go on.
 * Names are looked up in a thread of their own, since libpq would block on
 * them. A connection that failed once stays failed.
 *
 * Rules: backup specification, 5.2, 6.1, 15.2.  Tests: test/system/test_backup.py
 */
#ifndef BACKUP_PG_H
#define BACKUP_PG_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "backup/config.h"

struct loop;

struct pg_target { /* everything borrowed */
	const char *host; /* "": libpq's socket directory */
	int port;
	const char *user, *database;
	const struct secret *password; /* bytes NULL: none */
	const char *passfile, *sslmode, *sslrootcert;
};

/* The configured server; database NULL: the configured one. */
struct pg_target pg_target_of(const struct config *, const char *database);
/* The one that pg_dump reads: the standby, where dump_from says so. */
struct pg_target pg_dump_target_of(const struct config *, const char *database);

struct pg;

enum pg_failure {
	PG_FINE,
	PG_UNREACHABLE, /* may be better later: refused, starting up, too many connections */
	PG_REFUSED,	/* will not: password, no such database, no right */
	PG_BROKEN,	/* the connection ended under us */
	PG_ERROR,	/* a statement failed */
	PG_INTERRUPTED, /* the loop was */
	PG_TIMED_OUT
};

/* One try, of at most that long. Never NULL; pg_failure() tells. */
struct pg *pg_connect(struct loop *, const struct pg_target *, usec_t timeout);
/* Tries again until patience is over, as long as it may get better. */
struct pg *pg_connect_patiently(struct loop *, const struct pg_target *, usec_t patience);
void pg_close(struct pg *); /* NULL is fine */

/* The last thing that went wrong, in one line for a person; and its SQLSTATE, "" if none. */
enum pg_failure pg_failure(const struct pg *);
const char *pg_why(const struct pg *);
const char *pg_sqlstate(const struct pg *);
bool pg_is_usable(const struct pg *);

/*
 * One statement with text parameters; the result is the caller's (PQclear).
 * NULL: it failed. timeout 0: none; when it is over the statement is cancelled
 * and the connection with it.
 */
PGresult *pg_ask(struct pg *, usec_t timeout, const char *sql, int n, const char *const *params);
/* The same, for the first column of the only row. false: failed, no row, or NULL. */
bool pg_ask_text(struct pg *, usec_t timeout, const char *sql, int n, const char *const *params, char *out, size_t cap);
bool pg_ask_number(struct pg *, usec_t timeout, const char *sql, int n, const char *const *params, int64_t *out);
bool pg_do(struct pg *, usec_t timeout, const char *sql); /* nothing to read from it */
int pg_version(const struct pg *); /* such as 150004 */
/* A name in double quotes, for a statement. Owned by the caller. */
char *pg_quote_name(const char *name);

/* Without waiting: done is called on the loop with the result (NULL: failed), which it frees. One at a time. */
bool pg_ask_later(struct pg *, const char *sql, void (*done)(void *ctx, PGresult *), void *ctx);
bool pg_is_busy(const struct pg *);

/* ---- for children ---- */

/* Environment of a child that talks to that server, made from nothing, and the file its password is in. */
struct pg_env {
	char **envp; /* owned */
	int pass_fd; /* owned; 0: none. To be inherited by the child. */
	char *pass_path; /* owned; where there is no /proc: a file to be removed; NULL */
};
/* false: why. */
bool pg_env_make(const struct pg_target *, const char *spool_dir, struct pg_env *, char *why, size_t cap);
void pg_env_free(struct pg_env *);

#endif
