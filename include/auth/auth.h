/*
 * auth/auth.h - how a client proves who it is: one file a method, one interface.
 *
 * A method is a row in a table. It is fed the client's password messages and
 * answers with a verdict; it has no socket, no pool and no clock of its own.
 * The owner (pool/client.c) drives it and knows no method by name.
 *
 *	v = auth_start(a, out);			what to send first is in out
 *	v = auth_message(a, body, out);		body of a 'p' message
 *	auth_end(a);				wipes secrets
 *
 * AUTH_PENDING: something must be done elsewhere first; a->need says what.
 * The owner runs auth_work(a) off the loop (nobody else touches
 * a meanwhile) and then calls auth_resume().
 *
 * AUTH_REJECT: a->reject says what the client sees and what the log says.
 *
 * Rules: behaviour specification sections 6 and 7, ecdsa-login.md 2, 9, 10.
 * Tests: test/unit/test_auth.c
 */
#ifndef AUTH_AUTH_H
#define AUTH_AUTH_H

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "lib/buf.h"
#include "lib/network.h"
#include "lib/span.h"
#include "wallet/address.h"
#include "wallet/check.h"

enum auth_verdict { AUTH_OK, AUTH_CONTINUE, AUTH_PENDING, AUTH_REJECT };
/*
 * NEED_WORK is computing, which may go on side by side. PAM and LDAP wait for
 * somebody outside, each in a thread of its own, so that a directory that does
 * not answer holds up nobody else. NEED_WALLET is no work: a database is to be
 * asked whether the wallet may enter, and judge_wallet() is asked once more.
 */
enum auth_need { NEED_NOTHING, NEED_WORK, NEED_PAM, NEED_LDAP, NEED_WALLET };

/* Spelled in auth_type and HBA files; the order is that of auth_method_names. */
enum auth_kind {
	AUTH_KIND_ANY,
	AUTH_KIND_TRUST,
	AUTH_KIND_PLAIN,
	AUTH_KIND_MD5,
	AUTH_KIND_SCRAM,
	AUTH_KIND_ECDSA,
	AUTH_KIND_CERT,
	AUTH_KIND_PEER,
	AUTH_KIND_PAM,
	AUTH_KIND_LDAP,
	AUTH_KINDS
};

struct scram_keys { /* what pass-through needs; wiped after use */
	uint8_t client_key[32], server_key[32];
	bool known;
};

/* A SCRAM secret derived from a plain password, kept by the owner per user. */
struct scram_verifier {
	uint8_t salt[16];
	int iterations;
	uint8_t stored_key[32], server_key[32];
	bool known;
};

struct ident_map;     /* config/ident.h */
struct replay;	      /* auth/replay.h */

enum auth_certificate { CERTIFICATE_NO_TLS, CERTIFICATE_NONE, CERTIFICATE_VERIFIED };

/* All borrowed, and outliving the auth. */
struct auth_input {
	enum auth_kind kind;
	const char *user;	    /* as the client sent it */
	const char *secret;	    /* stored secret; NULL: no such user, or a NULL password: must fail at the end */
	/*
	 * No such user: same dialogue, always fails. secret is then that of somebody else, or NULL: the
	 * dialogue takes its kind, its work and its iterations, so that names cannot be probed.
	 */
	bool is_mock;
	int scram_iterations;	    /* for derived and mock secrets */
	const uint8_t *mock_nonce;  /* 32 random bytes of this process */
	const struct scram_verifier *verifier; /* cached for a plain secret, or NULL */
	/* ecdsa only */
	const struct wallet_policy *wallet_policy;
	/*
	 * May this signer log in? ECDSA_OK, the reason, or ECDSA_UNDECIDED: a database must be asked first. Asked only
	 * about proven signers. *detail: for the log.
	 */
	enum ecdsa_reason (*judge_wallet)(void *ctx, const struct ecdsa_claim *, const char **detail);
	void *wallet_ctx;
	struct replay *replay;	     /* memory of used proofs; not NULL unless replay_mode is off */
	enum replay_mode replay_mode;
	struct ip_address replay_source; /* by replay_source() */
	/* cert and peer */
	const struct ident_map *map; /* NULL: the name must be the user's */
	enum auth_certificate certificate;
	bool (*certificate_names)(void *ctx, const char *name); /* asked only about verified ones */
	void *certificate_ctx;
	int64_t peer_uid; /* Unix user at the other end of a Unix socket; -1: none or unknown */
	const char *remote_host;  /* pam: PAM_RHOST; NULL: a Unix socket */
	const char *ldap_options; /* ldap: not parsed yet; NULL: none */
	/* ecdsa, cert and peer */
	int64_t (*wall_clock)(void *ctx); /* whole seconds, CLOCK_REALTIME */
	void *clock_ctx;
	bool (*may_explain)(void *ctx); /* is there time to look, for the log, what is wrong with a proof? NULL: yes */
	void *explain_ctx;
};

struct auth_reject {
	char sqlstate[6];
	char text[192];	  /* to the client, FATAL */
	char reason[320]; /* to the log; "" when the text says it all */
};

struct auth_method;

struct auth {
	const struct auth_input *in; /* borrowed */
	const struct auth_method *method;
	void *state; /* owned by the method */
	enum auth_need need;
	bool is_over; /* AUTH_OK or AUTH_REJECT was answered: nothing more is taken */
	struct auth_reject reject;
	/* results of AUTH_OK */
	struct scram_keys keys;		 /* known after SCRAM with a stored SCRAM secret */
	struct scram_verifier derived;	 /* known when one was derived, also on AUTH_REJECT: the owner may cache it */
	char *cleartext;		 /* owned, wiped by auth_end(): the password that PAM or LDAP took */
	bool is_wallet;
	struct wallet_address wallet;	 /* proven signer */
	/* ecdsa: the reason, also of AUTH_OK, and of AUTH_OK the format; for those who count */
	enum ecdsa_reason wallet_reason;
	enum ecdsa_format wallet_format;
	/* the audit line of a wallet login, key=value, for success and refusal; "" otherwise */
	char audit[640];
};

/* a must be zeroed. in is borrowed until auth_end(). */
enum auth_verdict auth_start(struct auth *a, const struct auth_input *in, struct buf *out);
/* body: of one password message, without its header. It is the owner's and is wiped by the owner. */
enum auth_verdict auth_message(struct auth *a, struct span body, struct buf *out);
/* Longest body a method takes at this moment; above it the owner calls auth_too_long() instead of reading on. */
uint32_t auth_max_body(const struct auth *a);
enum auth_verdict auth_too_long(struct auth *a);
void auth_work(struct auth *a); /* in a helper thread */
enum auth_verdict auth_resume(struct auth *a, struct buf *out);
#define AUTH_AUDIT_VALUE_MAX 128
/*
 * A value from outside for the audit line (ecdsa-login.md section 22): control
 * bytes, quotes, backslash and non-ASCII as \xHH. A space too: the line is
 * split at spaces, and a name must not write fields of its own. Returns out.
 */
const char *auth_audit_value(const char *value, char out[AUTH_AUDIT_VALUE_MAX + 1]);
/* Of AUTH_REJECT: not the client's doing but ours, so that it says nothing about him. */
bool auth_reject_is_ours(const struct auth *);
/* Frees the state, wipes keys and derived; texts and wallet stay. Harmless if called twice; not during auth_work(). */
void auth_end(struct auth *a);

/* false: left out of this build. */
bool auth_kind_is_built(enum auth_kind);
/* -1 when the word names no method that exists here. */
int auth_kind_by_name(const char *name);
extern const char *const auth_method_names[AUTH_KINDS];

#endif
