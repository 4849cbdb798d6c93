/*
 * pool/startup.h - what a client's start-up message asks for.
 *
 * Rules: behaviour specification, section 4.
 */
#ifndef POOL_STARTUP_H
#define POOL_STARTUP_H

#include "lib/span.h"
#include "pool/client.h"

#define UNSUPPORTED_MAX 32 /* _pq_. names that are told back */

struct startup_wishes {
	char *user, *database;	/* owned; database is the user's name when none was given */
	char *app_name;		/* owned; as sent, NULL when not */
	struct buf negotiate;	/* NegotiateProtocolVersion to send first; empty when not needed */
};

/*
 * Reads the parameters (body: behind the version) into wishes and into
 * c->params. false: the client has been refused and is closed.
 */
bool startup_read(struct client *c, uint32_t version, struct span body, struct startup_wishes *);
void startup_wishes_free(struct startup_wishes *);

#endif
