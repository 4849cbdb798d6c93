#include "token/local_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/mem.h"
#include "token/token.h"

#define BACKLOG 128

bool local_socket_is_port(const char *where)
{
	return where[0] != '/' && where[0] != '.' && strrchr(where, ':') != NULL;
}

/* ---- a port ---- */

static bool is_loopback(const struct sockaddr *a)
{
	if (a->sa_family == AF_INET)
		return (ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24) == 127;
	return a->sa_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

static int listen_on(const struct addrinfo *a, const char *where)
{
	int fd, one = 1;

	if (!is_loopback(a->ai_addr)) {
		complain("--listen %s: only loopback addresses may be listened on: others could use the wallet", where);
		return -1;
	}
	fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd >= 0 && bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	complain("cannot listen on %s: %s", where, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

static int open_port(const char *where)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_PASSIVE};
	struct addrinfo *found = NULL;
	char *host = xstrdup(where), *port = strrchr(host, ':');
	const char *address = host;
	int fd, error;

	*port++ = 0;
	if (host[0] == '[' && port - host > 2 && port[-2] == ']') {
		port[-2] = 0;
		address++;
	}
	error = getaddrinfo(address, port, &hints, &found);
	if (error)
		complain("--listen %s: an address and a port are expected, such as 127.0.0.1:5432: %s", where,
			 gai_strerror(error));
	fd = error ? -1 : listen_on(found, where);
	if (!error)
		freeaddrinfo(found);
	free(host);
	return fd;
}

/* ---- a Unix socket ---- */

/* Does somebody answer there? */
static bool is_in_use(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool answers = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0;

	if (fd >= 0)
		close(fd);
	return answers;
}

static bool make_room(const struct sockaddr_un *address)
{
	struct stat st;

	if (lstat(address->sun_path, &st) != 0)
		return true;
	if (!S_ISSOCK(st.st_mode)) {
		complain("%s is there already, and is no socket", address->sun_path);
		return false;
	}
	if (is_in_use(address)) {
		complain("%s is in use", address->sun_path);
		return false;
	}
	unlink(address->sun_path);
	return true;
}

static int open_unix(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	mode_t before;
	int fd, bound;

	if (strlen(path) >= sizeof(address.sun_path)) {
		complain("the path of a Unix socket has at most %zu bytes: %s", sizeof(address.sun_path) - 1, path);
		return -1;
	}
	strcpy(address.sun_path, path);
	if (!make_room(&address))
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* Nobody else may connect, not even between bind and a chmod. */
	before = umask(0177);
	bound = fd < 0 ? -1 : bind(fd, (const struct sockaddr *)&address, sizeof(address));
	umask(before);
	if (bound == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	complain("cannot listen on %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

int local_socket_open(const char *where, struct local_socket *s)
{
	struct stat st;

	s->path = NULL;
	if (local_socket_is_port(where))
		return (s->fd = open_port(where)) >= 0 ? 0 : -1;
	s->path = stat(where, &st) == 0 && S_ISDIR(st.st_mode) ? xasprintf("%s/.s.PGSQL.5432", where) : xstrdup(where);
	s->fd = open_unix(s->path);
	if (s->fd >= 0)
		return 0;
	free(s->path);
	s->path = NULL;
	return -1;
}

void local_socket_close(struct local_socket *s)
{
	if (s->path)
		unlink(s->path);
	close(s->fd);
	free(s->path);
}

bool local_socket_is_stranger(int fd)
{
	struct ucred who;
	socklen_t len = sizeof(who);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) != 0 || (who.uid != geteuid() && who.uid != 0);
}
