/*
 * tls_setup.h - TLS contexts for every Worker, made from the settings.
 *
 * They are a part of the configuration with an outcome of their own: made
 * whole or not at all, so that a RELOAD with a bad certificate leaves the old
 * ones in force.
 *
 * Rules: configuration specification, sections 3 (rules 11 to 13) and 4.2.
 */
#ifndef TLS_SETUP_H
#define TLS_SETUP_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "config/config.h"
#include "lib/util.h"

struct tls_setup {
	int n;
	SSL_CTX **client, **server; /* owned arrays by Worker index; an element is NULL when that side is off */
};

/* -1: something is wrong, which has been logged; setup is then empty. */
int tls_setup_make(struct tls_setup *, const struct settings *, int workers) MUST_CHECK;
/*
 * Every problem of either side is logged, each about its setting: at() is
 * told the name before. false: there are some.
 */
bool tls_setup_check(const struct settings *, void (*at)(void *ctx, const char *setting), void *ctx);
/* Frees the arrays, and the contexts that nobody has taken out of them. */
void tls_setup_free(struct tls_setup *);
/* SHA-256 of the DER form of the certificate that clients see. false: none. */
bool tls_setup_certificate(const struct tls_setup *, uint8_t sha256[32]);
/* All that server connections depend on, as one text to compare; owned by the caller. */
char *tls_setup_server_text(const struct settings *);

#endif
