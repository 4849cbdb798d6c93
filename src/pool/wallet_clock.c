#include "pool/wallet_clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifdef DEVELOPER
static long long clock_error(void)
{
	const char *path = getenv("PGECDSA_CLOCK_FILE");
	FILE *f = path ? fopen(path, "re") : NULL;
	long long seconds = 0;

	if (f && fscanf(f, "%lld", &seconds) != 1)
		seconds = 0;
	if (f)
		fclose(f);
	return seconds;
}
#else
static long long clock_error(void)
{
	return 0;
}
#endif

int64_t wallet_clock(struct pooler *pooler, const struct settings *s)
{
	long long now = (long long)time(NULL) + clock_error(), floor;

	if (!s->ecdsa_clock_floor)
		return now;
	/* Relaxed: it guards nothing but itself. */
	floor = atomic_load_explicit(&pooler->clock_floor, memory_order_relaxed);
	while (floor < now)
		if (atomic_compare_exchange_weak_explicit(&pooler->clock_floor, &floor, now, memory_order_relaxed,
							  memory_order_relaxed))
			return now;
	return floor;
}
