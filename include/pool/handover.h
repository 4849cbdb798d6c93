/*
 * pool/handover.h - the old process's half of an online restart: what the
 * next one must know beside the columns of SHOW FDS, as facts.
 *
 * Everything is suspended meanwhile (SUSPEND HANDOVER), so nothing that is
 * told changes any more. Each connection is told of on its own Worker.
 *
 * The other half is pool/inherit.h.  Tests: test/system/test_reboot.py, test_reboot_midway.py
 */
#ifndef POOL_HANDOVER_H
#define POOL_HANDOVER_H

#include "pool/client.h"
#include "pool/facts.h"
#include "pool/server.h"
#include "pool/share.h"

/*
 * The booleans that travel under their own names, as words of FACT_FLAGS.
 * What only time or bytes decide (pauses, deadlines) is found out anew.
 */
#define CLIENT_FLAGS(X) \
	X(in_copy) X(ended_copy_early) X(drops_message) X(needs_greeting) X(was_told_of_wait) X(has_mapped_role) \
	X(is_wallet_queried)
#define SERVER_FLAGS(X) X(is_ready) X(is_idle_tx) X(wants_close) X(skips_message) X(wants_release)

/*
 * May the next process have them? Either may be NULL; half a pair is of no use. TLS cannot go, its state is inside
 * OpenSSL; nor what has failed already.
 */
bool handover_can_go(const struct client *, const struct server *);

void handover_process(struct buf *, struct pooler *);
void handover_replay(struct buf *, struct pooler *);
void handover_statement(struct buf *, const struct statement *);
/* With the ledger locked. false: there is nothing to tell. */
bool handover_database(struct buf *, const struct database *);
void handover_pool(struct buf *, const struct share *);
/* Of a share, or in log-in. */
void handover_client(struct buf *, const struct client *);
void handover_server(struct buf *, const struct server *);

#endif
