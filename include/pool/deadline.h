/*
 * pool/deadline.h - time-outs of clients and servers; 0 means off.
 */
#ifndef POOL_DEADLINE_H
#define POOL_DEADLINE_H

#include <stdbool.h>

#include "lib/util.h"

/* Moves *earliest (0: none yet) to the end of a time-out that began at start, if that comes first. */
static inline void deadline_consider(usec_t *earliest, usec_t start, usec_t timeout)
{
	if (timeout > 0 && (*earliest == 0 || start + timeout < *earliest))
		*earliest = start + timeout;
}

static inline bool deadline_over(usec_t now, usec_t start, usec_t timeout)
{
	return timeout > 0 && now - start >= timeout;
}

#endif
