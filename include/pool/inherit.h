/*
 * pool/inherit.h - the new process's half of an online restart: connections
 * of another process become clients and servers of this one.
 *
 * The old process may know nothing of SHOW HANDOVER, as PgBouncer: then the
 * columns of SHOW FDS have to do, and what they do not say is taken to be as it
 * is with a client between two transactions.
 *
 * Both run on the main thread, before the first Worker starts, so that all of
 * it may be touched. As long as the old process lives it may take everything
 * back: inherit() says nothing to anybody.
 *
 * Rules: behaviour specification, section 32; pool/handover.h.
 * Tests: test/system/test_reboot.py, test_reboot_midway.py, test_reboot_foreign.py
 */
#ifndef POOL_INHERIT_H
#define POOL_INHERIT_H

#include "auth/replay.h"
#include "pool/inheritance.h"
#include "pool/room.h"

/* The memory of used proofs. false: nothing was told of one; or it is not whole, which is logged. */
bool inherit_replay(const struct inheritance *, struct replay *, int64_t now) MUST_CHECK;
/* Everything but listeners. Rooms are there, threads are not. */
void inherit(struct pooler *, struct inheritance *);
/* The old process is gone: whoever cannot stay is told so, and the others go on. */
void inherit_settle(struct pooler *, struct inheritance *);

#endif
