/*
 * net/sockets.h - socket options, and addresses as text.
 */
#ifndef NET_SOCKETS_H
#define NET_SOCKETS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

union sock_addr {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
};

/* A compact remote address: what every client keeps. */
struct peer_addr {
	uint8_t bytes[16]; /* IPv4 in the first four */
	uint16_t port;	   /* host order; of the listener for Unix sockets */
	uint8_t family;	   /* AF_INET, AF_INET6, AF_UNIX */
	int32_t pid;	   /* Unix: of the peer process, 0 unknown */
};

struct tcp_options {
	bool keepalive;
	int keepcnt, keepidle, keepintvl; /* > 0: set */
	int user_timeout_ms;		  /* > 0: set */
	int buffer_bytes;		  /* > 0: SO_SNDBUF and SO_RCVBUF */
};

/* TCP_NODELAY and what the options say. Errors are logged at DEBUG: a connection works without. */
void socket_tune(int fd, int family, const struct tcp_options *);
void peer_addr_from(struct peer_addr *, const union sock_addr *);
/* IP text, or "unix". */
const char *peer_addr_host(const struct peer_addr *, char *out, size_t cap);
/* "HOST:PORT" as in log lines: IPv6 in brackets, "unix(PID):PORT". */
const char *peer_addr_text(const struct peer_addr *, char *out, size_t cap);
bool peer_addr_is_loopback(const struct peer_addr *);
/* Literal IPv4 or IPv6; false when it is a name. */
bool sock_addr_literal(const char *host, int port, union sock_addr *, socklen_t *);
/* DIR/.s.PGSQL.PORT, or the same in the abstract name space for @dir. false: too long. */
bool sock_addr_unix(const char *dir, int port, union sock_addr *, socklen_t *);
socklen_t sock_addr_len(const union sock_addr *);
void sock_addr_set_port(union sock_addr *, int port);
/* Process and user at the other end of a Unix socket; false when unknown. */
bool socket_peer_cred(int fd, pid_t *pid, uid_t *uid);

#endif
