/*
 * net/handshakes.h - TCP handshakes that have begun and not ended, as the
 * kernel lists them.
 *
 * A listening socket says how many connections wait to be accepted, but not
 * how many are still on their way there. With TCP_DEFER_ACCEPT a connection
 * whose client has not spoken yet is one of these, though the client takes it
 * for whole. The list is of all sockets of a port, whatever process has them.
 *
 * Rules: proc(5), /proc/net/tcp.  Tests: test/unit/test_net.c
 */
#ifndef NET_HANDSHAKES_H
#define NET_HANDSHAKES_H

#include <stdbool.h>

#include "lib/util.h"

enum handshakes { HANDSHAKES_NONE, HANDSHAKES_SOME, HANDSHAKES_UNKNOWN };

/* Are there any to this port that are at least so old, and not so old that nobody can be at the other end? Blocking. */
enum handshakes handshakes_older_than(int port, usec_t age);
/* Is this line of the list one? ticks_a_second: of its times, sysconf(_SC_CLK_TCK). Pure. */
bool handshake_is_older(const char *line, int port, usec_t age, long ticks_a_second);

#endif
