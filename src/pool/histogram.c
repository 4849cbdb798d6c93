#include "pool/histogram.h"

#define X(usec) usec,
const usec_t histogram_bounds[HISTOGRAM_BUCKETS] = {HISTOGRAM_BOUNDS(X)};
#undef X

void histogram_note(struct histogram *h, usec_t took)
{
	int low = 0, high = HISTOGRAM_BUCKETS;

	if (took < 0)
		took = 0;
	/* The first bound that is not below. */
	while (low < high) {
		int middle = (low + high) / 2;

		if (histogram_bounds[middle] < took)
			low = middle + 1;
		else
			high = middle;
	}
	h->count[low]++;
	h->sum_usec += (uint64_t)took;
}

void histogram_add(struct histogram *to, const struct histogram *from)
{
	for (int i = 0; i <= HISTOGRAM_BUCKETS; i++)
		to->count[i] += from->count[i];
	to->sum_usec += from->sum_usec;
}
