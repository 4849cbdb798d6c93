/*
 * resolver.h - names of server hosts, looked up by the control role for all
 * Workers.
 *
 * A question travels to the control role, whose one c-ares channel and cache
 * answer it, and back; the server that asked may be gone by then, which is
 * the pool room's business to notice.
 *
 * Behaviour specification, section 29.
 */
#ifndef RESOLVER_H
#define RESOLVER_H

#include "config/config.h"
#include "net/dns.h"
#include "pool/room.h"

extern const struct resolver resolver_ops; /* for struct pooler */

/* Sets the DNS up on the control role's base. NULL: logged. Both are borrowed. */
struct dns *resolver_start(struct pooler *, const struct settings *) MUST_CHECK;
struct dns_times resolver_times(const struct settings *);
/* Drops what has not been answered, and the DNS. The Workers' threads have ended. */
void resolver_stop(void);

#endif
