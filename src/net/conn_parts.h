/*
 * conn_parts.h - what conn.c (life and receiving) and conn_send.c share.
 */
#ifndef NET_CONN_PARTS_H
#define NET_CONN_PARTS_H

#include <sys/uio.h>

#include "lib/buf.h"
#include "net/conn.h"

/* Its turn comes at step 3 of the loop's. */
void conn_make_ready(struct conn *);
/* Told to the owner at its next turn, never in the middle of what he does. */
void conn_fail(struct conn *, int err);

/* Adds to the buffer, which it makes when there is none; w may be NULL. false: out of memory. */
bool conn_keep(struct worker *w, struct buf **, const void *bytes, size_t n);
/* Gives the buffer, if there is one, back to the Worker, whose next one it will be, or to the allocator. */
void conn_drop_buf(struct worker *w, struct buf **);

/* on_writable is called at the next edge. false: the connection has failed. */
bool conn_watch_writable(struct conn *);
void conn_unwatch_writable(struct conn *);
/* Bytes taken by the socket; -1: the connection has failed. */
ssize_t conn_raw_send(struct conn *, struct iovec *, int n);
/* Sends what the TLS filter has produced. false: the connection has failed. */
bool conn_send_cipher(struct conn *);

#endif
