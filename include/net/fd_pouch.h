/*
 * net/fd_pouch.h - descriptors put aside, to be taken out in the same order.
 *
 * They wait in sockets of our own, where they do not count against the limit
 * of the process: one that is near its limit can hand over all that it has.
 *
 * Tests: test/unit/test_net.c
 */
#ifndef NET_FD_POUCH_H
#define NET_FD_POUCH_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/util.h"

struct fd_pouch {
	struct fd_pair *pairs; /* owned */
	size_t n, cap, reading;
	int batch[32]; /* put in, and not sent into a pair yet; or taken out of one */
	size_t batch_at, batch_n;
};

void fd_pouch_init(struct fd_pouch *);
/* The caller keeps his, and closes none before fd_pouch_seal(). false: errno says why; the pouch is to be freed. */
bool fd_pouch_put(struct fd_pouch *, int fd) MUST_CHECK;
bool fd_pouch_seal(struct fd_pouch *) MUST_CHECK;
/* After that: the next one, the caller's; -1: there is none, or errno says why. */
int fd_pouch_take(struct fd_pouch *);
void fd_pouch_free(struct fd_pouch *);

#endif
