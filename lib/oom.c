#include "lib/oom.h"

#ifdef DEVELOPER

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static atomic_bool is_armed;
static atomic_uint every, count;
static _Thread_local bool is_here;
static _Thread_local int exempt;

void oom_here(void)
{
	const char *have = getenv("PGECDSA_FAULTS");
	const char *word = have ? strstr(have, "oom:") : NULL;

	if (word)
		atomic_store(&every, (unsigned)strtoul(word + 4, NULL, 10));
	is_here = word != NULL;
}

void oom_arm(void)
{
	if (is_here && !atomic_load(&is_armed))
		atomic_store(&is_armed, true);
}

void oom_exempt(int by)
{
	exempt += by;
}

bool oom_fails(void)
{
	unsigned n;

	if (!is_here || exempt > 0 || !atomic_load_explicit(&is_armed, memory_order_relaxed))
		return false;
	n = atomic_load_explicit(&every, memory_order_relaxed);
	return n > 0 && atomic_fetch_add_explicit(&count, 1, memory_order_relaxed) % n == n - 1;
}

#endif
