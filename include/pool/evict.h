/*
 * pool/evict.h - room under max_db_connections and max_user_connections, over
 * all Workers.
 *
 * Pools of one database or one user share a limit. When it is reached, a pool
 * that needs a server gets the slot of another's longest unused one, which is
 * closed for it ("evicted"), wherever it lives: the ledger says where one is
 * to spare, a message goes there, and the answer comes back with the slot. If
 * nothing is to spare the pool stands in line, and is nudged when a server of
 * that group becomes idle or goes. A replication client has no use for an idle
 * server, and in a full pool gets the slot of one in the same way.
 *
 * What a share has to spare is published at the end of a turn, and only while
 * its pool has such a limit, so that the query path costs nothing without.
 *
 * Rules: behaviour specification, section 12; pool/ledger.h.
 */
#ifndef POOL_EVICT_H
#define POOL_EVICT_H

#include "pool/room.h"

struct eviction;

/* The ledger answered LEDGER_EVICT; takes its reply.victim. What comes of it arrives in this turn or a later one. */
void evict_begin(struct share *asker, struct ledger_pool *victim, const struct ledger_wish *);
/* Instead of ledger_server_gone(), for a server that is closed to make room: the asker asks again. */
void evict_server_gone(struct ledger *, struct eviction *);
/* Servers or waiting clients of the share have changed. */
void evict_note(struct share *);
/* The share's limits have changed; is_going: it has no servers any more. */
void evict_adopt(struct share *, bool is_going);
/* Step 5 of a turn, after the shares: publishes, and tells those who may have room now. */
void evict_turn(struct room *);

#endif
