#include "backup/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backup/loop.h"
#include "lib/mem.h"

#define REQUEST_MAX 4096
#define PATIENCE (5 * USEC_PER_SEC)

struct client {
	struct listener *listener; /* borrowed */
	struct list link;
	int fd; /* owned */
	struct loop_watch watch;
	struct loop_timer limit;
	char request[REQUEST_MAX + 1];
	size_t len;
	struct buf answer;
};

struct listener {
	struct loop *loop; /* borrowed */
	int fd;		   /* owned */
	struct loop_watch watch;
	struct counted_list clients;
	listen_answer *answer;
	void *ctx;
};

static void drop(struct client *c)
{
	struct listener *l = c->listener;

	loop_watch_clear(l->loop, &c->watch);
	loop_timer_clear(l->loop, &c->limit);
	clist_del(&l->clients, &c->link);
	close(c->fd);
	buf_free(&c->answer);
	free(c);
	/* There is room for another one. */
	loop_watch_set(l->loop, &l->watch, l->fd, POLLIN);
}

static void on_limit(struct loop_timer *t)
{
	drop(CONTAINER_OF(t, struct client, limit));
}

static const char *phrase(int status)
{
	return status == 200 ? "OK" : status == 404 ? "Not Found" : status == 405 ? "Method Not Allowed" :
	       status == 503 ? "Service Unavailable" : "Bad Request";
}

/* "GET /path?query HTTP/1.1": the path alone, cut out in place. NULL: not that. */
static char *path_of(char *request, int *status)
{
	char *path = strchr(request, ' '), *end;

	*status = 400;
	if (!path || path[1] != '/')
		return NULL;
	*path++ = 0;
	end = path + strcspn(path, "? \r\n");
	*end = 0;
	if (strcmp(request, "GET") != 0 && strcmp(request, "HEAD") != 0) {
		*status = 405;
		return NULL;
	}
	return path;
}

static void send_some(struct client *c)
{
	ssize_t n = send(c->fd, buf_data(&c->answer), buf_len(&c->answer), MSG_NOSIGNAL);

	if (n > 0)
		buf_take(&c->answer, (size_t)n);
	else if (errno != EAGAIN && errno != EINTR) {
		drop(c);
		return;
	}
	if (buf_len(&c->answer) == 0) {
		drop(c);
		return;
	}
	loop_watch_set(c->listener->loop, &c->watch, c->fd, POLLOUT);
}

static void reply(struct client *c)
{
	const char *type = "text/plain; charset=utf-8", *path;
	bool is_head = strncmp(c->request, "HEAD ", 5) == 0;
	struct buf body;
	int status;

	buf_init(&body);
	path = path_of(c->request, &status);
	if (path)
		status = c->listener->answer(c->listener->ctx, path, &body, &type);
	else
		buf_printf(&body, "%s\n", phrase(status));
	buf_printf(&c->answer, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n"
		   "Cache-Control: no-store\r\n\r\n", status, phrase(status), type, buf_len(&body));
	if (!is_head)
		buf_put(&c->answer, buf_span(&body).ptr, buf_len(&body));
	buf_free(&body);
	if (buf_ok(&c->answer))
		send_some(c);
	else
		drop(c);
}

static void on_client(struct loop_watch *w, short revents)
{
	struct client *c = CONTAINER_OF(w, struct client, watch);
	ssize_t n;

	(void)revents;
	if (buf_len(&c->answer) > 0) {
		send_some(c);
		return;
	}
	n = recv(c->fd, c->request + c->len, REQUEST_MAX - c->len, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		drop(c);
		return;
	}
	c->len += (size_t)n;
	c->request[c->len] = 0;
	/* All of the head, so that closing does not meet bytes that were not read. */
	if (strstr(c->request, "\r\n\r\n") || strstr(c->request, "\n\n") || c->len == REQUEST_MAX)
		reply(c);
}

static void on_connection(struct loop_watch *w, short revents)
{
	struct listener *l = CONTAINER_OF(w, struct listener, watch);
	int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct client *c;

	(void)revents;
	if (fd < 0)
		return;
	c = xcalloc(1, sizeof(*c));
	c->listener = l;
	c->fd = fd;
	c->watch.ready = on_client;
	c->limit.fire = on_limit;
	buf_init(&c->answer);
	clist_add_tail(&l->clients, &c->link);
	loop_watch_set(l->loop, &c->watch, fd, POLLIN);
	loop_timer_set(l->loop, &c->limit, loop_now() + PATIENCE);
	if (l->clients.count == LISTEN_CLIENTS)
		loop_watch_set(l->loop, &l->watch, l->fd, 0); /* others wait in the queue of the kernel */
}

static bool parse_address(const char *text, struct sockaddr_storage *out, socklen_t *len)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
	const char *colon = strrchr(text, ':');
	char host[64], *end;
	long port = colon ? strtol(colon + 1, &end, 10) : 0;
	size_t n = colon ? (size_t)(colon - text) : 0;

	memset(out, 0, sizeof(*out));
	if (port < 1 || port > 65535 || *end || n == 0 || n >= sizeof(host))
		return false;
	memcpy(host, text, n);
	host[n] = 0;
	if (host[0] == '[' && host[n - 1] == ']') {
		host[n - 1] = 0;
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
		*len = sizeof(*v6);
		return inet_pton(AF_INET6, host + 1, &v6->sin6_addr) == 1;
	}
	v4->sin_family = AF_INET;
	v4->sin_port = htons((uint16_t)port);
	*len = sizeof(*v4);
	return inet_pton(AF_INET, host, &v4->sin_addr) == 1;
}

struct listener *listener_new(struct loop *loop, const char *address, listen_answer *answer, void *ctx, char *why, size_t cap)
{
	struct sockaddr_storage at;
	struct listener *l;
	socklen_t len;
	const int on = 1;
	int fd;

	if (!parse_address(address, &at, &len)) {
		snprintf(why, cap, "'%s' is not an address and a port", address);
		return NULL;
	}
	fd = socket(at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(fd, (struct sockaddr *)&at, len) < 0 || listen(fd, 64) < 0) {
		snprintf(why, cap, "%s: %s", address, strerror(errno));
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	l = xcalloc(1, sizeof(*l));
	l->loop = loop;
	l->fd = fd;
	l->answer = answer;
	l->ctx = ctx;
	clist_init(&l->clients);
	l->watch.ready = on_connection;
	loop_watch_set(loop, &l->watch, fd, POLLIN);
	return l;
}

void listener_free(struct listener *l)
{
	if (!l)
		return;
	while (l->clients.count > 0)
		drop(LIST_ITEM(l->clients.head.next, struct client, link));
	loop_watch_clear(l->loop, &l->watch);
	close(l->fd);
	free(l);
}
