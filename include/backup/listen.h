/*
 * backup/listen.h - a small HTTP listener on loopback: GET, and nothing kept open.
 *
 * At most LISTEN_CLIENTS at once; a request has 5 s and 4 KiB.
 *
 * Rules: backup specification, 18.2.  Tests: test/system/test_backup_daemon.py
 */
#ifndef BACKUP_LISTEN_H
#define BACKUP_LISTEN_H

#include "lib/buf.h"

#define LISTEN_CLIENTS 16

struct listener;
struct loop;

/* Writes the body for a path; the HTTP status. *type is text/plain unless it is set. */
typedef int listen_answer(void *ctx, const char *path, struct buf *body, const char **type);

/* address: 127.0.0.1:PORT or [::1]:PORT. NULL: why. */
struct listener *listener_new(struct loop *, const char *address, listen_answer *, void *ctx, char *why, size_t cap);
void listener_free(struct listener *); /* NULL is fine */

#endif
