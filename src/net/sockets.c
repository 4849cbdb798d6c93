#include "net/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

#include "lib/log.h"

static void set_int(int fd, int level, int name, int value, const char *what)
{
	if (setsockopt(fd, level, name, &value, sizeof(value)) < 0)
		log_debug("setsockopt(%s): %s", what, strerror(errno));
}

void socket_tune(int fd, int family, const struct tcp_options *o)
{
	if (o->buffer_bytes > 0) {
		set_int(fd, SOL_SOCKET, SO_SNDBUF, o->buffer_bytes, "SO_SNDBUF");
		set_int(fd, SOL_SOCKET, SO_RCVBUF, o->buffer_bytes, "SO_RCVBUF");
	}
	if (family == AF_UNIX)
		return;
	set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY");
	/* Off as well: a listening socket, from which clients inherit, may have had it on. */
	set_int(fd, SOL_SOCKET, SO_KEEPALIVE, o->keepalive, "SO_KEEPALIVE");
	if (o->keepalive) {
		if (o->keepidle > 0)
			set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, o->keepidle, "TCP_KEEPIDLE");
		if (o->keepintvl > 0)
			set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, o->keepintvl, "TCP_KEEPINTVL");
		if (o->keepcnt > 0)
			set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, o->keepcnt, "TCP_KEEPCNT");
	}
	set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, o->user_timeout_ms > 0 ? o->user_timeout_ms : 0, "TCP_USER_TIMEOUT");
}

void peer_addr_from(struct peer_addr *p, const union sock_addr *a)
{
	memset(p, 0, sizeof(*p));
	p->family = (uint8_t)a->sa.sa_family;
	if (a->sa.sa_family == AF_INET) {
		memcpy(p->bytes, &a->in.sin_addr, 4);
		p->port = ntohs(a->in.sin_port);
	} else if (a->sa.sa_family == AF_INET6) {
		memcpy(p->bytes, &a->in6.sin6_addr, 16);
		p->port = ntohs(a->in6.sin6_port);
	} else
		p->family = AF_UNIX;
}

const char *peer_addr_host(const struct peer_addr *p, char *out, size_t cap)
{
	if (p->family == AF_UNIX || !inet_ntop(p->family, p->bytes, out, (socklen_t)cap))
		snprintf(out, cap, "unix");
	return out;
}

const char *peer_addr_text(const struct peer_addr *p, char *out, size_t cap)
{
	char host[INET6_ADDRSTRLEN];

	peer_addr_host(p, host, sizeof(host));
	if (p->family == AF_INET6)
		snprintf(out, cap, "[%s]:%d", host, p->port);
	else if (p->family == AF_UNIX && p->pid)
		snprintf(out, cap, "unix(%d):%d", (int)p->pid, p->port);
	else
		snprintf(out, cap, "%s:%d", host, p->port);
	return out;
}

bool peer_addr_is_loopback(const struct peer_addr *p)
{
	static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

	if (p->family == AF_INET)
		return p->bytes[0] == 127;
	if (p->family == AF_INET6) {
		if (memcmp(p->bytes, mapped, sizeof(mapped)) == 0)
			return p->bytes[12] == 127;
		return memcmp(p->bytes, &in6addr_loopback, 16) == 0;
	}
	return false;
}

bool sock_addr_literal(const char *host, int port, union sock_addr *a, socklen_t *len)
{
	memset(a, 0, sizeof(*a));
	if (inet_pton(AF_INET, host, &a->in.sin_addr) == 1) {
		a->in.sin_family = AF_INET;
		a->in.sin_port = htons((uint16_t)port);
		*len = sizeof(a->in);
		return true;
	}
	if (inet_pton(AF_INET6, host, &a->in6.sin6_addr) == 1) {
		a->in6.sin6_family = AF_INET6;
		a->in6.sin6_port = htons((uint16_t)port);
		*len = sizeof(a->in6);
		return true;
	}
	return false;
}

bool sock_addr_unix(const char *dir, int port, union sock_addr *a, socklen_t *len)
{
	int n;

	memset(a, 0, sizeof(*a));
	a->un.sun_family = AF_UNIX;
	n = snprintf(a->un.sun_path, sizeof(a->un.sun_path), "%s/.s.PGSQL.%d", dir, port);
	if (n < 0 || (size_t)n >= sizeof(a->un.sun_path))
		return false;
	*len = sizeof(a->un);
	if (dir[0] == '@') {
		/* Abstract names count to their last byte and have no terminator. */
		a->un.sun_path[0] = 0;
		*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n);
	}
	return true;
}

socklen_t sock_addr_len(const union sock_addr *a)
{
	return a->sa.sa_family == AF_INET ? sizeof(a->in) : a->sa.sa_family == AF_INET6 ? sizeof(a->in6) : sizeof(a->un);
}

void sock_addr_set_port(union sock_addr *a, int port)
{
	if (a->sa.sa_family == AF_INET)
		a->in.sin_port = htons((uint16_t)port);
	else if (a->sa.sa_family == AF_INET6)
		a->in6.sin6_port = htons((uint16_t)port);
}

bool socket_peer_cred(int fd, pid_t *pid, uid_t *uid)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return false;
	*pid = cred.pid;
	*uid = cred.uid;
	return true;
}
