/*
 * token/link.h - a connection of the connector: a socket, perhaps TLS on it,
 * and bytes that wait on either side.
 *
 * The socket is not blocking; whoever waits says until when. A link belongs
 * to one thread.
 *
 * Tests: test/system/test_token_connect.py
 */
#ifndef TOKEN_LINK_H
#define TOKEN_LINK_H

#include <openssl/ssl.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/tls_filter.h"
#include "lib/util.h"

struct link {
	int fd; /* owned; -1: closed */
	struct tls_filter *tls; /* owned; NULL: in the clear */
	struct buf in;	/* received, plain */
	struct buf out; /* to be sent, as the socket wants it */
	bool is_ended;	/* nothing more will come, or can be sent */
	char error[256]; /* why; "" when the other side just ended it */
};

void link_init(struct link *, int fd); /* takes fd */
/* host: a name, an address, or the directory of a Unix socket. false: error says why. */
bool link_connect(struct link *, const char *host, const char *port, int64_t deadline_ms);
/* Nothing may have been read beyond the answer to SSLRequest. verify_name: the certificate must be the host's. */
bool link_start_tls(struct link *, SSL_CTX *, const char *host, bool verify_name, int64_t deadline_ms);
void link_close(struct link *); /* says goodbye, as far as the socket takes it */

bool link_put(struct link *, const void *bytes, size_t n); /* false: it has ended */
/* What poll() should look for; then link_step() with what it saw. */
short link_events(const struct link *, bool wants_input);
void link_step(struct link *, short revents);
/* Sends what waits, and receives until n bytes are in. false: it ended first, or the time was over. */
bool link_await(struct link *, size_t n, int64_t deadline_ms);
/* Sends what waits. */
bool link_flush(struct link *, int64_t deadline_ms);

int64_t clock_ms(void); /* monotonic */

#endif
