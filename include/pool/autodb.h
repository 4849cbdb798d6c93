/*
 * pool/autodb.h - databases that come and go: those that only the template
 * "*" defines, and those that RELOAD no longer finds.
 *
 * An auto-database is an entity with is_auto. When neither clients nor servers
 * are left it is idle: not shown by the console, revived by the next log-in,
 * and forgotten after autodb_idle_timeout, unless PAUSE or DISABLE has marked
 * it.
 *
 * Control role, but for autodb_get().  Rules: behaviour specification, section
 * 30; configuration specification, section 3, rule 5.
 * Tests: test/system/test_databases.py
 */
#ifndef POOL_AUTODB_H
#define POOL_AUTODB_H

#include "pool/room.h"

/* The entity of a database; counted. is_new: the template made it just now. Any thread. NULL: out of memory. */
struct database *autodb_get(struct registry *, const char *name, const struct database_def *, bool *is_new);
/* Three times a second while there is a template. */
void autodb_sweep(struct pooler *, const struct config *, usec_t now);
/* After RELOAD: one log line a database that is gone, whose marks go too. */
void autodb_reloaded(struct registry *, const struct config *before, const struct config *now);

#endif
