/*
 * pool/suspend.h - SUSPEND on one Worker: what is under way is brought to an
 * end, then nothing is read any more.
 *
 * For an online restart less has to end (SUSPEND HANDOVER): half messages,
 * unsent bytes, and clients that wait for a server go to the next process as
 * they are (pool/handover.h), so it is done in milliseconds. Only a client
 * whose server cannot go, for TLS, is given a second to be done with it: then
 * at least the client can.
 *
 * Clients come first: one whose buffers are empty is no longer read. The
 * servers of a share follow when all its clients are at rest, so that those
 * that wait are still served. A query that a server works on is no obstacle:
 * its answer waits in the kernel.
 *
 * The control role calls suspend_step() on every Worker again and again,
 * until twice in a row nothing was left anywhere (a client that travels
 * between two Workers is seen by the second call).
 *
 * Rules: console specification, section 11.  Tests: test/system/test_suspend.py
 */
#ifndef POOL_SUSPEND_H
#define POOL_SUSPEND_H

#include "pool/room.h"

struct suspension {
	bool closes_rest; /* suspend_timeout is over: what is not at rest is closed */
	bool hands_over;  /* a successor will be told of bytes under way: SHOW HANDOVER */
	bool is_patient;  /* hands_over: a transaction at a server that cannot go may come to its end */
};

/* How many connections are not at rest yet. */
int suspend_step(struct room *, const struct suspension *);
/* Everybody is read again. */
void suspend_end(struct room *);

/*
 * A stream of large messages would hardly ever be found between two of them. So the relay tells of every read while a
 * share is flushing: a connection reads no further than the end of the message it is in, and stops there if it may.
 * n bytes at rest are left over.
 */
void suspend_after_read(struct conn *, bool may_stop, uint64_t pass_left, const uint8_t *rest, size_t n);

#endif
