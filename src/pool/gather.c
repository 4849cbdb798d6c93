#include "pool/gather.h"

#include <assert.h>

#include "pool/server.h"

void gather_send(struct gather *g)
{
	struct client *c = g->client;

	if (g->n == 0)
		return;
	/* When that fails, the end of the server is told from the ready list. */
	if (conn_write(&c->server->conn, g->iov, g->n) && conn_backlog(&c->server->conn) > CONN_HIGH_MARK)
		client_pause(c, PAUSE_PEER_FULL);
	g->n = 0;
	g->bytes = g->own_used = 0;
}

static bool is_full(const struct gather *g)
{
	return g->n == GATHER_PIECES || g->bytes > CONN_HIGH_MARK;
}

void gather_add(struct gather *g, struct span s)
{
	if (s.len == 0)
		return;
	if (is_full(g))
		gather_send(g);
	g->bytes += s.len;
	g->iov[g->n++] = (struct iovec){(void *)(uintptr_t)s.ptr, s.len};
}

void gather_copy(struct gather *g, const void *bytes, size_t n)
{
	uint8_t *to;

	assert(n <= sizeof(g->own));
	/* Now, since sending gives the copies up. */
	if (g->own_used + n > sizeof(g->own) || is_full(g))
		gather_send(g);
	to = g->own + g->own_used;
	memcpy(to, bytes, n);
	g->own_used += n;
	gather_add(g, span_of(to, n));
}
