/*
 * auth/server_auth.h - how the pooler proves itself to a server.
 *
 * Fed the Authentication messages ('R') of a server, it answers what to send.
 * Passwords of any form, or SCRAM keys passed through from a client's login.
 * Iteration counts of a server above SERVER_SCRAM_ITERATIONS_MAX are refused,
 * and nonce and salt lengths are bounded (attacks.md row 20).
 *
 * Rules: behaviour specification sections 7 and 13.  Tests: test/unit/test_auth.c
 */
#ifndef AUTH_SERVER_AUTH_H
#define AUTH_SERVER_AUTH_H

#include "auth/auth.h"

#define SERVER_SCRAM_ITERATIONS_MAX 10000000

#define DERIVED_SALT_MAX 64 /* PostgreSQL's salts have 16 bytes; what is longer is derived each time */

/*
 * What PBKDF2 made of a plain secret at the last log-in that succeeded, so
 * that the next with the same salt and iterations needs none. The owner keeps
 * it between log-ins, zeroed at first, and wipes it.
 */
struct scram_derived {
	bool known;
	uint64_t secret_hash; /* by the key of this process */
	int iterations;
	size_t salt_len;
	uint8_t salt[DERIVED_SALT_MAX];
	uint8_t client_key[32], server_key[32];
};

struct server_auth {
	/* set by the owner; borrowed */
	const char *user;
	const char *secret;		/* stored text of any form, or NULL */
	const struct scram_keys *keys;	/* or NULL; used only if they are those of secret */
	struct scram_derived *derived;	/* or NULL; read and written on the loop only */
	/* results */
	char log_text[256];    /* why it failed, for the log */
	char client_text[160]; /* for waiting clients: "server login failed: wrong password type"; "" when none */
	char close_text[128];  /* close reason: "failed to answer authreq" ... */
	bool was_ok;	       /* AuthenticationOk was seen */
	bool was_asked;	       /* a proof was asked for and given: a second, weaker question is refused */
	void *scram;	       /* owned */
};

/*
 * AUTH_CONTINUE: send out (may be empty) and read on. AUTH_OK: AuthenticationOk came.
 * AUTH_PENDING: run server_auth_work() off the loop, then server_auth_resume().
 * AUTH_REJECT: see the texts.
 */
enum auth_verdict server_auth_message(struct server_auth *, struct span body, struct buf *out);
void server_auth_work(struct server_auth *);
enum auth_verdict server_auth_resume(struct server_auth *, struct buf *out);
void server_auth_end(struct server_auth *); /* wipes; harmless if called twice */

#endif
