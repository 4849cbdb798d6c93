/*
 * pool/gather.h - what one read of a client becomes for its server: pieces of
 * the read as they are, and rewritten ones, sent by one write.
 *
 * Lives on the stack of one relay call; pieces are borrowed until then.
 */
#ifndef POOL_GATHER_H
#define POOL_GATHER_H

#include <sys/uio.h>

#include "lib/span.h"
#include "pool/client.h"

#define GATHER_PIECES 48
#define GATHER_OWN_BYTES 1024

struct gather {
	struct client *client; /* borrowed; it is linked whenever there are pieces */
	int n;
	size_t bytes; /* in the pieces; not far above CONN_HIGH_MARK, that nobody gathers what a server does not take */
	size_t own_used;
	struct iovec iov[GATHER_PIECES];
	uint8_t own[GATHER_OWN_BYTES];
};

static inline void gather_init(struct gather *g, struct client *c)
{
	g->client = c;
	g->n = 0;
	g->bytes = g->own_used = 0;
}
void gather_add(struct gather *, struct span);
/* A copy, for what does not live until the end of the call: n <= GATHER_OWN_BYTES. */
void gather_copy(struct gather *, const void *bytes, size_t n);
/* Nothing to send is fine. A server that does not keep up pauses the client. */
void gather_send(struct gather *);

#endif
