/*
 * token/connector.h - lets programs that know nothing of wallets connect:
 * listens on a local socket, and for each connection signs and logs in to the
 * pooler in their place (ecdsa-login.md section 26).
 *
 *	psql ── Unix socket ── connector ── TLS ── pooler
 *	 user, database          signs
 *
 * The user name of the program is replaced by the wallet, or by the role that
 * was given; its database is kept. What follows the login is passed on as it
 * is, both ways. Cancel requests are passed on too.
 *
 * A thread a connection. Whoever may open the socket may use the wallet: a
 * Unix socket is its owner's alone, a port on a loopback address asks for a
 * password of its own.
 *
 * Tests: test/system/test_token_connect.py
 */
#ifndef TOKEN_CONNECTOR_H
#define TOKEN_CONNECTOR_H

#include <stdbool.h>

#include "token/grant.h"
#include "token/signer.h"

enum connector_tls { CONNECT_PLAIN, CONNECT_REQUIRE, CONNECT_VERIFY_CA, CONNECT_VERIFY_FULL };

/* All borrowed. */
struct connector {
	const char *listen; /* a directory or /path/.s.PGSQL.PORT of a Unix socket; ADDRESS:PORT of loopback */
	const char *password; /* asked of programs at a loopback port; NULL: a Unix socket */
	const char *host, *port; /* of the pooler */
	enum connector_tls tls;
	const char *ca_file; /* NULL: the system's */
	const char *user;    /* NULL: the wallet */
	bool reuses;	     /* a password is used for half its life, and not for one connection */
	const struct grant *grant;
	const struct signer *signer;
};

/* Runs until SIGINT or SIGTERM. The exit status. */
int connector_run(const struct connector *);

#endif
