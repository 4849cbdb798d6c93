/*
 * lib/oom.h - a developer switch: memory that runs out now and then.
 *
 * With PGECDSA_FAULTS=oom:N every Nth allocation by our own code fails, from
 * oom_arm() on and in the threads that called oom_here(). The functions that
 * may not fail (lib/mem.h, xmalloc and its like) are left alone: what uses
 * them has no answer to a lack of memory, and may not stand where a client
 * can get. The linker puts the faults in (src/program.mk), so libraries do
 * not notice. In other builds all of it is nothing.
 */
#ifndef LIB_OOM_H
#define LIB_OOM_H

#include <stdbool.h>

#ifdef DEVELOPER
/* This thread's allocations may fail once armed. */
void oom_here(void);
/* From now on. Called when the first client has been let in, so that tests find a pooler that has begun. */
void oom_arm(void);
/* Around what may not fail. */
void oom_exempt(int by); /* 1, and then -1 */
/* Asked at each allocation, by src/oom.c. */
bool oom_fails(void);
#else
#define oom_here() ((void)0)
#define oom_arm() ((void)0)
#define oom_exempt(by) ((void)(by))
#endif

#endif
