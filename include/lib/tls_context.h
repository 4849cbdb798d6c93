/*
 * lib/tls_context.h - an OpenSSL context made from plain options.
 *
 * A context is made whole or not at all: files are read, lists are checked,
 * and whatever is wrong comes back as one line of text, so a RELOAD with a
 * bad certificate leaves the old context in force. Contexts are counted by
 * OpenSSL: connections keep theirs alive, the owner calls SSL_CTX_free().
 * Meant to be made once per Worker, so that the count is not fought over.
 *
 * Rules and texts: configuration specification, sections 4.1 and 4.2;
 * behaviour specification, section 33. What the texts call the settings is
 * the caller's business: it passes "client" or "server" for the prefix.
 * Which modes need which files (first four rows of 4.2) is checked by the
 * caller, who knows the modes.  Tests: test/unit/test_tls.c
 */
#ifndef LIB_TLS_CONTEXT_H
#define LIB_TLS_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>

#include <openssl/ssl.h>

#include "lib/util.h"

/* Bits of a protocol set. */
#define TLS_PROTOCOL_1_0 BIT(0)
#define TLS_PROTOCOL_1_1 BIT(1)
#define TLS_PROTOCOL_1_2 BIT(2)
#define TLS_PROTOCOL_1_3 BIT(3)

enum tls_verify {
	TLS_NO_VERIFY,
	TLS_VERIFY_OPTIONAL, /* of clients only: none is fine, a bad one is not; asked for only with a ca_file */
	TLS_VERIFY_REQUIRED
};

/* All texts borrowed for the call; NULL and "" both mean not given. */
struct tls_options {
	bool for_clients; /* we are the TLS server */
	enum tls_verify verify;
	bool verify_name;	   /* servers: kept here with its kin; it takes effect in tls_filter_new() */
	const char *protocols;	   /* list of section 4.1; not given: secure */
	const char *ciphers;	   /* TLS 1.2 and older; default, secure, normal, fast: the library's */
	const char *tls13_ciphers; /* not given: the library's */
	const char *ca_file;	   /* not given, and verification required: the system's bundle */
	const char *cert_file;	   /* chain, PEM */
	const char *key_file;
	const char *dheparams; /* none, auto, legacy */
	const char *ecdhcurve; /* none, auto, or a curve's name */
};

/*
 * A new context, owned by the caller, or NULL with the reason in err, cut to
 * cap bytes and without a newline. setting_prefix is "client" or "server".
 */
SSL_CTX *tls_context_new(const struct tls_options *, const char *setting_prefix, char *err, size_t cap) MUST_CHECK;

/* Reads a protocol list into a set of TLS_PROTOCOL_ bits; false: an unknown item, or nothing left. */
bool tls_protocols_parse(const char *list, unsigned *set) MUST_CHECK;

#endif
