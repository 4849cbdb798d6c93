/*
 * auth/password.h - what pam and ldap have in common: a cleartext password
 * that somebody outside judges, in a helper thread. For files of src/auth only.
 */
#ifndef AUTH_PASSWORD_H
#define AUTH_PASSWORD_H

#include "auth/method.h"

struct password_state {
	bool is_good;	  /* set by the work, like reason */
	char reason[256]; /* for the log */
	char password[];  /* the client's */
};

enum auth_verdict password_ask(struct auth *, struct buf *out);
/* Keeps the password in a->state and answers AUTH_PENDING, or the refusal. */
enum auth_verdict password_take(struct auth *, struct span body, const char *failure_text);
/* After the work. AUTH_OK leaves the password in a->cleartext, for logins to the server. */
enum auth_verdict password_verdict(struct auth *, const char *failure_text);
void password_end(struct auth *);

#endif
