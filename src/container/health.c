#include "health.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "lib/mem.h"

#define PATIENCE_SECS 5

/* The first address of a list, and where one connects to reach it. */
static void split_address(const char *list, char *host, size_t host_size, char *port, size_t port_size)
{
	char *first = xstrndup(list, strcspn(list, ", \t")), *colon = strrchr(first, ':'), *name = first;

	snprintf(port, port_size, "%s", colon ? colon + 1 : "");
	if (colon)
		*colon = 0;
	if (name[0] == '[' && name[strlen(name) - 1] == ']') {
		name[strlen(name) - 1] = 0;
		name++;
	}
	if (strcmp(name, "*") == 0 || strcmp(name, "0.0.0.0") == 0)
		name = (char *)(uintptr_t)"127.0.0.1";
	else if (strcmp(name, "::") == 0)
		name = (char *)(uintptr_t)"::1";
	snprintf(host, host_size, "%s", name);
	free(first);
}

static int connect_to(const char *host, const char *port)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	const struct timeval patience = {.tv_sec = PATIENCE_SECS};
	struct addrinfo *found = NULL;
	int fd = -1;

	if (getaddrinfo(host, port, &hints, &found) != 0)
		return -1;
	for (struct addrinfo *a = found; a && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
		if (connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
			close(fd);
			fd = -1;
		}
	}
	freeaddrinfo(found);
	return fd;
}

int health(const struct variables *v)
{
	static const char question[] = "GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n";
	const char *list = variables_get(v, "HTTP_LISTEN"), *app_port = variables_get(v, "APP_PORT");
	char host[256], port[16], answer[512], *own = NULL;
	ssize_t got = 0, n;
	int fd;

	if (!list)
		list = own = xasprintf("127.0.0.1:%s", app_port ? app_port : "3000");
	split_address(list, host, sizeof(host), port, sizeof(port));
	free(own);
	fd = connect_to(host, port);
	if (fd < 0 || send(fd, question, strlen(question), MSG_NOSIGNAL) < 0) {
		printf("no answer from %s port %s\n", host, port);
		if (fd >= 0)
			close(fd);
		return 1;
	}
	while (got < (ssize_t)sizeof(answer) - 1 && (n = recv(fd, answer + got, sizeof(answer) - 1 - (size_t)got, 0)) > 0)
		got += n;
	close(fd);
	answer[got] = 0;
	printf("%.*s\n", (int)strcspn(answer, "\r\n"), got ? answer : "an empty answer");
	return strncmp(answer, "HTTP/1.", 7) == 0 && strncmp(answer + 8, " 200", 4) == 0 ? 0 : 1;
}
