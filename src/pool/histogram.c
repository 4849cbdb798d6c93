#include "pool/histogram.h"

#define X(usec) usec,
const usec_t histogram_bounds[HISTOGRAM_BUCKETS] = {HISTOGRAM_BOUNDS(X)};
#undef X

void histogram_note(struct histogram *h, usec_t took)
{
	int i = 0;

	if (took < 0)
		took = 0;
	/* The first bound that is not below; from the lowest on, since most queries are short. */
	while (i < HISTOGRAM_BUCKETS && histogram_bounds[i] < took)
		i++;
	h->count[i]++;
	h->sum_usec += (uint64_t)took;
}

void histogram_add(struct histogram *to, const struct histogram *from)
{
	for (int i = 0; i <= HISTOGRAM_BUCKETS; i++)
		to->count[i] += from->count[i];
	to->sum_usec += from->sum_usec;
}
