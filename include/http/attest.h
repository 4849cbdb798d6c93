/*
 * http/attest.h - evidence of the trusted execution environment, for whoever
 * brings a nonce: that the TLS he speaks ends in here.
 *
 * The evidence binds the nonce and the SHA-256 of the certificate that clients
 * of the pooler see. A platform is one entry of the table in attest.c: a Unix
 * socket, and what to say to it. The socket is spoken to in a helper thread.
 *
 * Rules: tee.md.  Tests: test/system/test_http_attest.py
 */
#ifndef HTTP_ATTEST_H
#define HTTP_ATTEST_H

#include "config/config.h"
#include "lib/buf.h"

/*
 * nonce: 16 to 64 letters, digits, '-' and '_', else the answer is 400. done
 * may be called before it returns, with the status of the answer and its body.
 */
void attest_begin(const struct settings *, const char *nonce, void (*done)(void *ctx, int code, struct buf *json),
		  void *ctx);
void attest_forget(void); /* at the end: answers to nobody */

#endif
