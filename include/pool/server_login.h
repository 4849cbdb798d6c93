/*
 * pool/server_login.h - from a connected socket to a server that is idle.
 *
 * Rules: behaviour specification, sections 13 and 14.
 */
#ifndef POOL_SERVER_LOGIN_H
#define POOL_SERVER_LOGIN_H

#include "pool/server.h"

#define SERVER_LOGIN_MESSAGE_MAX (1024 * 1024) /* longest message a server may send before it is ready */
#define SERVER_GREETING_MAX (1024 * 1024)      /* all its ParameterStatus together */

struct server_login {
	enum server_phase phase;
	struct server_auth auth;
	char *user, *secret; /* owned copies: a snapshot may go while a helper works; secret is wiped */
	struct scram_keys keys;
	struct buf greeting; /* untracked ParameterStatus messages */
	struct params greeting_params;
	bool sent_connect_query;
	bool is_for_cancel; /* opened beyond pool_size for a cancel request */
	bool was_unneeded; /* closed because nobody wants it, or not this way: no failure */
	bool is_working;   /* a helper thread has it */
	bool is_orphan;	   /* the server died meanwhile */
};

void server_login_connected(struct conn *, int err);
void server_login_tls_up(struct conn *);
/* One whole message, or bytes before the protocol proper. Returns how many were used. */
size_t server_login_bytes(struct server *, const uint8_t *bytes, size_t n);
void server_login_free(struct server *);

#endif
