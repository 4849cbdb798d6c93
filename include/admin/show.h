/*
 * admin/show.h - SHOW: one table an item.
 *
 * An item either runs on the control role, which writes the rows into the
 * ask's answer and ends it, or has a visit that is run on every Worker at once
 * and writes rows by pool; they are merged in the order of pools.
 *
 * Rules: console specification, section 8.  Tests: test/unit/test_console.c,
 * test/system/test_console.py
 */
#ifndef ADMIN_SHOW_H
#define ADMIN_SHOW_H

#include "admin/ask.h"

/* The rows of one pool, made on its Worker. */
struct chunk {
	char database[DATABASE_NAME_MAX + 1];
	char user[USER_NAME_MAX + 1];
	int peer_id; /* 0: a pool of a database */
	int worker;
	size_t place;	 /* among the chunks of this Worker */
	struct buf rows; /* owned */
};

struct chunks { /* of one Worker */
	struct chunk *at; /* owned */
	size_t n, cap;
};

struct show {
	const char *word;
	const struct column *columns;
	size_t column_count;
	void (*run)(struct ask *); /* control role; takes the ask */
	void (*visit)(struct room *, struct chunks *); /* or NULL */
};

#define SHOW_RUN(word, columns, run) {word, columns, ARRAY_LEN(columns), run, NULL}
#define SHOW_VISIT(word, columns, visit) {word, columns, ARRAY_LEN(columns), NULL, visit}

/* A buf for the rows of a pool; valid until the next chunk of the same Worker. */
struct buf *chunk_begin(struct chunks *, const struct room *, const char *database, const char *user);
struct buf *chunk_begin_peer(struct chunks *, const struct room *, int peer_id);

/* Appends all rows to out, by database, user, Worker, those of peers last, and releases the chunks. */
void chunks_merge(struct chunks *workers, int n_workers, struct buf *out);

/* What SHOW answers for this command; NULL: no rows, or no such command. */
const struct column *show_columns(const struct command *, size_t *n);
void show_run(struct ask *); /* takes it */
/* As many as DATABASES and USERS have rows. */
void count_known(size_t *databases, size_t *users);
/* load_balance_hosts of a definition with a list of hosts, else NULL. */
const char *balance_name(const struct database_def *);
bool is_fake_parameter(const char *name);

void fds_answer_free(struct fds_answer *); /* NULL is fine */
/* The answer of SHOW FDS, a descriptor with each row; on the client's Worker. false: errno says why; close it. */
bool fds_send(struct conn *, struct ask *) MUST_CHECK;

/* By subject, one file each. */
extern const struct show show_config, show_databases, show_users;			       /* show_config.c */
extern const struct show show_dns_hosts, show_dns_zones;				       /* show_dns.c */
extern const struct show show_ecdsa_limits, show_stats_ecdsa;				       /* show_ecdsa.c */
extern const struct show show_fds;							       /* show_fds.c */
extern const struct show show_peers, show_peer_pools;					       /* show_peers.c */
extern const struct show show_handover;							       /* show_handover.c */
extern const struct show show_pools, show_lists, show_mem;				       /* show_pools.c */
extern const struct show show_clients, show_servers, show_sockets, show_active_sockets;        /* show_sockets.c */
extern const struct show show_stats, show_stats_totals, show_stats_averages, show_totals;      /* show_stats.c */

#endif
