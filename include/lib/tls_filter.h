/*
 * lib/tls_filter.h - TLS as a filter between bytes and bytes.
 *
 * No socket in sight: the owner feeds what it received and sends what comes
 * out. Ciphertext always goes to the end of a struct buf given with the call,
 * which takes everything, so nothing ever has to be retried. One turn:
 *
 *	tls_filter_feed(f, received);
 *	do {
 *		n = tls_filter_read(f, plain, cap, &out, &step);
 *		... n bytes of plain; they come before what step says ...
 *	} while (step == TLS_STEP_OK);
 *
 * until it says TLS_STEP_MORE; then the fed bytes are used up, and half a
 * record, if any, is kept inside OpenSSL. So all that arrived in complete
 * records has been delivered. Fed bytes are borrowed until then; an owner
 * that stops earlier calls tls_filter_keep(). The same holds for handshake:
 * after TLS_STEP_OK there may be data behind it, so read without receiving.
 *
 * cipher_out may have grown after any call, also after TLS_STEP_FAILED (an
 * alert): send it in any case. The end of the byte stream is the owner's
 * affair and needs no call here; without a close_notify it is an ordinary end.
 *
 * A filter may move between threads but is never used by two at once.
 * While idle it owns nothing but the SSL object.
 * Behaviour specification, section 33.  Tests: test/unit/test_tls.c
 */
#ifndef LIB_TLS_FILTER_H
#define LIB_TLS_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <openssl/ssl.h>

#include "lib/buf.h"
#include "lib/span.h"
#include "lib/util.h"

struct tls_filter;

enum tls_step {
	TLS_STEP_OK,	 /* handshake done; or, reading: plain is full, call again */
	TLS_STEP_MORE,	 /* everything fed was used; feed again */
	TLS_STEP_CLOSED, /* the peer said close_notify; no more will come */
	TLS_STEP_FAILED	 /* see tls_filter_error() */
};

/*
 * A filter over one connection, or NULL when out of memory. The context is
 * counted. accept_side: we are the TLS server; host and verify_name are then
 * ignored. Otherwise host (copied as needed; NULL: none) goes into SNI unless it is an IP
 * address, and with verify_name the peer's certificate must carry it; that
 * takes a context made with TLS_VERIFY_REQUIRED.
 */
struct tls_filter *tls_filter_new(SSL_CTX *, bool accept_side, const char *host, bool verify_name) MUST_CHECK;
void tls_filter_free(struct tls_filter *); /* NULL is fine; sends nothing */

/* Lends received bytes, see above. false: out of memory, the connection is lost. */
bool tls_filter_feed(struct tls_filter *, struct span cipher) MUST_CHECK;
/* Copies what was fed and not yet used, so that the owner may reuse its memory. false: out of memory. */
bool tls_filter_keep(struct tls_filter *) MUST_CHECK;
/* Fed bytes wait to be read, or plaintext does: reading would not be for nothing. */
bool tls_filter_has_input(const struct tls_filter *);

/* The connecting side calls it once without input to begin. Answers OK, MORE, CLOSED or FAILED. */
enum tls_step tls_filter_handshake(struct tls_filter *, struct buf *cipher_out) MUST_CHECK;
/* Fills plain from as many records as fit; the number of bytes, 0..cap. It may answer CLOSED or FAILED with n > 0. */
size_t tls_filter_read(struct tls_filter *, void *plain, size_t cap, struct buf *cipher_out, enum tls_step *);
/*
 * Encrypts all pieces, in order, into as few records as possible: small
 * pieces share one, a record carries up to 16 KiB. false: the connection is
 * lost (out of memory, or writing before the handshake or after shutdown).
 */
bool tls_filter_write(struct tls_filter *, const struct iovec *, int n, struct buf *cipher_out) MUST_CHECK;
/* Appends a close_notify, once; does nothing before the end of the handshake or after a failure. */
void tls_filter_shutdown(struct tls_filter *, struct buf *cipher_out);

/*
 * "TLSv1.3/TLS_AES_256_GCM_SHA384" (console specification, 8.9), with older
 * protocols also "/ECDH=prime256v1" or, on the connecting side, "/DH=2048";
 * OpenSSL's accepting side forgets the latter. "" before the handshake's end.
 */
void tls_filter_describe(const struct tls_filter *, char *out, size_t cap);
/* Why a step failed, for the log; "" when none did. Lives as long as the filter. */
const char *tls_filter_error(const struct tls_filter *);

/* The peer showed a certificate and it passed verification. */
bool tls_filter_peer_is_verified(const struct tls_filter *);
/*
 * The peer's certificate carries this name: a subjectAltName of type DNS (of
 * type IP when name is an IP address), with a wildcard for the leading label,
 * in any case; when none does, the Common Name by the same rule. Says nothing
 * about verification. Behaviour specification, section 6 (method cert).
 */
bool tls_filter_peer_name_matches(const struct tls_filter *, const char *name);

#endif
