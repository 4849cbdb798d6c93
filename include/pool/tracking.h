/*
 * pool/tracking.h - named statements on the query path, in transaction and
 * statement mode: Parse, Bind, Describe and Close of a named statement are
 * rewritten or answered here, and the answers keep the maps true.
 *
 * A Parse, Describe or Close is seen whole, a Bind up to the statement's
 * name; its parameters stream through behind.
 *
 * Rules: behaviour specification, section 20.  Tests: test/system/test_prepared.py
 */
#ifndef POOL_TRACKING_H
#define POOL_TRACKING_H

#include "pool/client.h"
#include "pool/gather.h"
#include "pool/outstanding.h"
#include "pool/prepared.h"
#include "pool/server.h"
#include "proto/frame.h"

#define NAMES_MAX ((size_t)1 << 20) /* a name beyond it is taken for a broken message */

enum tracked {
	TRACKED_PLAIN, /* no named statement: forward it as it is */
	TRACKED_DONE,  /* the first *used bytes are dealt with, what follows of it is forwarded */
	TRACKED_MORE,  /* more of it must be seen */
	TRACKED_LATER, /* the client is paused: it waits for a server, or for an answer; show it again */
	TRACKED_GONE   /* the client is closed */
};

/*
 * A P, B, D or C message of a client whose pool tracks (share->max_prepared > 0). seen: from its header on, and maybe
 * more. before: bytes of the same read that are for the server and not gathered yet; they are gathered when DONE.
 */
enum tracked tracking_message(struct client *, const struct frame *, struct span seen, struct span before,
			      struct gather *, size_t *used);

/*
 * Does tracking_message() have nothing to do with it? Most statements have no name, and pass in numbers. p: from its
 * header on, `seen` bytes of it.
 */
static inline bool tracking_is_plain(const struct client *c, const struct frame *f, const uint8_t *p, size_t seen)
{
	const size_t first = f->header_len, second = first + 1;

	if (f->len <= second || seen <= second)
		return false;
	switch (f->type) {
	case 'P':
		return p[first] == 0;
	case 'B':
		if (p[first] != 0 || p[second] != 0)
			return false;
		if (c->server)
			server_statements_unnamed_is_over(c->server->statements);
		return true;
	case 'D':
	case 'C':
		return p[first] != 'S' || p[second] == 0;
	}
	return false;
}

/* The server answered this request. */
void tracking_answered(struct server *, const struct request *);
/* It never will; ctx is the server. An outstanding_dropped. */
void tracking_dropped(void *ctx, const struct request *);
/* Sends the answers made here whose turn has come; the server's last message must be complete. */
void tracking_answer_fakes(struct server *);
/* Could a CommandComplete of this length mean that statements are gone? */
static inline bool tracking_wants_tag(const struct server *sv, const struct frame *f)
{
	return (f->len == f->header_len + sizeof("DEALLOCATE ALL") || f->len == f->header_len + sizeof("DISCARD ALL")) &&
	       (sv->statements || (sv->client && sv->client->statements));
}
/* A whole one: DEALLOCATE ALL and DISCARD ALL take effect. */
void tracking_command_complete(struct server *, struct span body);
/* A request that another process has sent is on the queue, with its entry: the maps learn what it will do. */
void tracking_restored(struct server *, const struct request *);
/* The maps of a server that is gone, and what its requests hold. */
void tracking_free(struct server *);

#endif
