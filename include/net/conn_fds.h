/*
 * net/conn_fds.h - descriptors beside bytes (SCM_RIGHTS), for a plain Unix
 * socket.
 */
#ifndef NET_CONN_FDS_H
#define NET_CONN_FDS_H

#include "net/conn.h"

/*
 * Sends bytes (at least one) with fd beside the first of them, behind what
 * waits already; the caller keeps his fd. Blocks until the socket has taken
 * all, until the clock says deadline at most. false: failed, with errno set;
 * part of it may be on its way, so the connection is of no use any more.
 */
bool conn_send_with_fd(struct conn *, struct span bytes, int fd, usec_t deadline) MUST_CHECK;

#endif
