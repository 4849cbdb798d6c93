/*
 * container/plan.h - what the variables ask for: decided and judged whole, before anything is made.
 *
 * The texts of the files are made here as well, each line of pgbouncer.ini
 * with the variable it comes from, so that a mistake found by
 * `pg-ecdsa-proxy --check` is reported under the name that the user knows.
 */
#ifndef CONTAINER_PLAN_H
#define CONTAINER_PLAN_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "container/variables.h"
#include "lib/buf.h"

struct user {
	const char *name; /* NULL: the one we are */
	uid_t uid;
	gid_t gid;
};

struct origin {
	char *variable; /* owned */
	bool is_secret; /* what is said about the line may quote it */
};

struct plan {
	struct variables *variables; /* borrowed */
	/* One user each, so that a wallet that is a superuser of PostgreSQL cannot read the others' secrets. */
	struct user postgres_user, proxy_user, backup_user;
	char *run_dir, *data_dir;   /* owned */
	char *program_dir;	    /* owned; where we and our sisters are */
	char *server_dir;	    /* owned; initdb and postgres; NULL: not installed */
	int server_major;
	bool is_inside;		    /* PostgreSQL runs in here */
	bool has_backups, wants_restore, goes_on_unrestored;
	char *host, *port, *role, *password, *database; /* owned; how PostgreSQL is reached */
	bool password_is_made_up;
	char *cert_file, *key_file; /* owned; NULL: no TLS */
	long drain_secs;
	struct buf ini, wallets, userlist;
	struct origin *origins; /* owned; of line 1, 2, ... of ini */
	int lines;
	const char **wallet_origins; /* owned, its items borrowed; of line 1, 2, ... of wallets */
	int wallet_lines;
};

/* false: it cannot be, and every reason was logged. */
bool plan_make(struct plan *, struct variables *);
void plan_free(struct plan *);
/* A path below the run directory, in a buffer of its own for each of four calls in a row. */
const char *run_path(const struct plan *, const char *name);
const char *data_path(const struct plan *, const char *name);

#endif
