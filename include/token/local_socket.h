/*
 * token/local_socket.h - where the connector's clients come in.
 */
#ifndef TOKEN_LOCAL_SOCKET_H
#define TOKEN_LOCAL_SOCKET_H

#include <stdbool.h>

#include "lib/util.h"

struct local_socket {
	int fd;	    /* owned; listens */
	char *path; /* owned; of a Unix socket, removed at the end; NULL: a port */
};

/*
 * where: ADDRESS:PORT with a loopback address, the path of a Unix socket, or
 * the directory in which libpq looks for one of port 5432. A socket that
 * nobody answers on any more is replaced. -1: complained of.
 */
MUST_CHECK int local_socket_open(const char *where, struct local_socket *);
void local_socket_close(struct local_socket *);
bool local_socket_is_port(const char *where);
/* Of a Unix socket: somebody else has got through all the same, such as root. */
bool local_socket_is_stranger(int fd);

#endif
