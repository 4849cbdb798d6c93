/*
 * backup/resolve.h - the address of a host, without blocking the loop.
 *
 * getaddrinfo() has no other way than to block, so it runs in a thread that
 * is left alone when its answer comes too late.
 */
#ifndef BACKUP_RESOLVE_H
#define BACKUP_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/util.h"

struct loop;

enum resolve_result { RESOLVE_OK, RESOLVE_FAILED, RESOLVE_TIMED_OUT, RESOLVE_INTERRUPTED };
/* Runs the loop while it waits. addresses: numeric, by commas, in the order to try; else why it failed. */
enum resolve_result resolve_host(struct loop *, const char *host, usec_t deadline, char *addresses, size_t cap);

#endif
