/*
 * net/listener.h - the sockets that clients come in by. Control role only.
 *
 * Rules: configuration specification, section 18.
 */
#ifndef NET_LISTENER_H
#define NET_LISTENER_H

#include <stdbool.h>

#include "net/sockets.h"
#include "net/worker.h"

struct listeners;

struct listen_options {
	const char *addresses; /* comma list; "" or NULL: no TCP */
	const char *unix_dir;  /* "" or NULL: no Unix socket; @: abstract */
	const char *unix_group;
	int port, backlog, unix_mode;
	bool reuseport, defer_accept;
	struct tcp_options tcp;
};

/* fd is the called side's: non-blocking, close-on-exec, tuned. */
typedef void listeners_accepted(void *arg, int fd, const union sock_addr *from, bool is_unix);

/*
 * Opens and binds everything. NULL when the process cannot go on; the reason
 * has been logged, fatal ones as the specification words them.
 * Accepting starts with listeners_start().
 */
struct listeners *listeners_open(const struct listen_options *);
/*
 * The same with sockets that a service manager made: addresses and directory
 * of the options are ignored. n > 0; the descriptors are taken over.
 */
struct listeners *listeners_adopt(const struct listen_options *, const int *fds, int n);
/*
 * The same with those of the process that this one follows, n > 0. What the configuration names beside them is opened,
 * what it does not name any more is closed; but all are kept if one cannot be opened, since it may be one of the old
 * ones that is in its way.
 */
struct listeners *listeners_take(const struct listen_options *, const int *fds, int n);
void listeners_start(struct listeners *, struct worker *control, listeners_accepted *, void *arg);
void listeners_set_options(struct listeners *, bool defer_accept, const struct tcp_options *); /* RELOAD */
/* Stops accepting, and goes on: what connects meanwhile waits in the kernel. */
void listeners_suspend(struct listeners *);
void listeners_resume(struct listeners *);
/*
 * For good. Who is in the accept queue is still handed over. With SO_REUSEPORT the others on this port get what comes
 * from now on, and the sockets stay open for a moment: a handshake that has begun here must end here, or the client
 * is reset. Sockets of a service manager are just let go.
 *
 * What cannot be avoided: a client whose SYN comes here in that moment is connected elsewhere, a second later.
 */
void listeners_close_tcp(struct listeners *);
bool listeners_are_closing(const struct listeners *); /* some may still be handed over */
/* What SHOW FDS tells of one; addr is that it is bound to. */
typedef void listeners_row(void *arg, int fd, const union sock_addr *addr, int unix_port);
void listeners_each(const struct listeners *, listeners_row *, void *arg);
/* Closes all and removes the socket file, unless it is left for a process that has taken over. NULL is fine. */
void listeners_free(struct listeners *, bool leaves_file);
/* true when a server answers on that Unix socket. */
bool listeners_unix_in_use(const char *dir, int port);

#endif
