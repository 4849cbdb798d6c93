/*
 * pool/histogram.h - how long things took: counts by upper bound, for /metrics.
 *
 * The bounds are the same everywhere, so histograms add up. One writer, its
 * Worker; read by a gather, on the Worker itself.
 */
#ifndef POOL_HISTOGRAM_H
#define POOL_HISTOGRAM_H

#include <stdint.h>

#include "lib/util.h"

/* Upper bounds in microseconds, inclusive: from a tenth of a millisecond to a minute. */
#define HISTOGRAM_BOUNDS(X) \
	X(100) X(250) X(500) X(1000) X(2500) X(5000) X(10000) X(25000) X(50000) X(100000) X(250000) X(500000) \
	X(1000000) X(2500000) X(5000000) X(10000000) X(30000000) X(60000000)

#define X(usec) +1
enum { HISTOGRAM_BUCKETS = HISTOGRAM_BOUNDS(X) };
#undef X

extern const usec_t histogram_bounds[HISTOGRAM_BUCKETS];

struct histogram {
	uint64_t count[HISTOGRAM_BUCKETS + 1]; /* each by itself, not cumulated; the last: beyond all bounds */
	uint64_t sum_usec;
};

void histogram_note(struct histogram *, usec_t took); /* below 0 counts as 0 */
void histogram_add(struct histogram *to, const struct histogram *from);

#endif
