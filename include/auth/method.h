/*
 * auth/method.h - what a method's file and the driver in auth.c owe each other.
 *
 * For files of src/auth only; owners of a login use auth/auth.h.
 *
 * A method answers with auth_refuse() or a verdict. AUTH_PENDING means that
 * work() is wanted and then resume(). The driver lets no message in after
 * the last verdict, nor while work is due, nor one above max_body.
 */
#ifndef AUTH_METHOD_H
#define AUTH_METHOD_H

#include "auth/auth.h"
#include "lib/util.h"

/* Longest password packet: 65530 bytes of password and the NUL (behaviour specification section 2). */
#define AUTH_BODY_MAX 65531u

#define SQLSTATE_PROTOCOL "08P01"	  /* of every method's refusal but ecdsa's */
#define SQLSTATE_INVALID_PASSWORD "28P01" /* ecdsa-login.md section 10 */

struct auth_method {
	uint32_t max_body; /* bytes */
	enum auth_need queue; /* where its work waits; 0: NEED_WORK */
	enum auth_verdict (*start)(struct auth *, struct buf *out);
	enum auth_verdict (*message)(struct auth *, struct span body, struct buf *out); /* NULL: takes none */
	void (*work)(struct auth *);	/* NULL: never pending; runs in a helper thread */
	enum auth_verdict (*resume)(struct auth *, struct buf *out);
	enum auth_verdict (*too_long)(struct auth *); /* NULL: "password too long" */
	void (*end)(struct auth *); /* NULL: keeps no state; else wipes and frees a->state, which may be NULL */
};

extern const struct auth_method method_any, method_trust, method_plain, method_md5, method_scram, method_ecdsa,
	method_cert, method_peer;
#ifdef HAVE_PAM
extern const struct auth_method method_pam;
#endif
#ifdef HAVE_LDAP
extern const struct auth_method method_ldap;
#endif

/* Fills a->reject; reason is for the log and may be "". Always AUTH_REJECT. */
enum auth_verdict auth_refuse(struct auth *, const char *sqlstate, const char *text, const char *reason, ...)
	PRINTF_LIKE(4, 5);

/*
 * The text of a cleartext or md5 password message: one NUL, as its last byte.
 * On false *v is the refusal, for an empty password
 * "empty password returned by client", else failure_text.
 */
bool auth_password_text(struct auth *, struct span body, const char *failure_text, const char **text,
			enum auth_verdict *v);

#endif
