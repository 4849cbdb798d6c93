#include "backup/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backup/loop.h"
#include "lib/mem.h"

#define ADDRESSES_MAX 16

/* Shared by the thread and the asker; the last of the two frees it. */
struct question {
	atomic_int holders;
	int event_fd; /* owned */
	char *host;   /* owned */
	int error;    /* of getaddrinfo; written before the event */
	char addresses[ADDRESSES_MAX * (INET6_ADDRSTRLEN + 16)];
	struct loop_watch watch; /* of the asker */
	bool is_answered;
};

static void let_go(struct question *q)
{
	if (atomic_fetch_sub(&q->holders, 1) > 1)
		return;
	close(q->event_fd);
	free(q->host);
	free(q);
}

static void *look_up(void *arg)
{
	struct question *q = arg;
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	const uint64_t one = 1;
	size_t len = 0;
	int n = 0;

	q->error = getaddrinfo(q->host, NULL, &hints, &found);
	for (const struct addrinfo *a = found; a && n < ADDRESSES_MAX; a = a->ai_next, n++) {
		char text[NI_MAXHOST];

		if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST) != 0)
			continue;
		len += (size_t)snprintf(q->addresses + len, sizeof(q->addresses) - len, "%s%s", len ? "," : "", text);
		if (len >= sizeof(q->addresses))
			break;
	}
	if (found)
		freeaddrinfo(found);
	if (write(q->event_fd, &one, sizeof(one)) < 0)
		abort(); /* an eventfd takes a 1 */
	let_go(q);
	return NULL;
}

static void on_answer(struct loop_watch *w, short revents)
{
	(void)revents;
	CONTAINER_OF(w, struct question, watch)->is_answered = true;
}

static bool start(struct question *q)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, old;
	int error;

	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 1024 * 1024);
	error = pthread_create(&thread, &attr, look_up, q);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return error == 0;
}

enum resolve_result resolve_host(struct loop *l, const char *host, usec_t deadline, char *addresses, size_t cap)
{
	struct question *q = xcalloc(1, sizeof(*q));
	enum resolve_result r = RESOLVE_TIMED_OUT;

	q->host = xstrdup(host);
	q->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	q->watch.ready = on_answer;
	atomic_store(&q->holders, 2);
	if (q->event_fd < 0 || !start(q)) {
		snprintf(addresses, cap, "no thread to look up %s: %s", host, strerror(errno));
		let_go(q);
		let_go(q);
		return RESOLVE_FAILED;
	}
	loop_watch_set(l, &q->watch, q->event_fd, POLLIN);
	snprintf(addresses, cap, "looking up %s took too long", host);
	switch (loop_wait_until(l, &q->is_answered, deadline)) {
	case LOOP_DONE:
		r = q->error == 0 && q->addresses[0] ? RESOLVE_OK : RESOLVE_FAILED;
		if (r == RESOLVE_OK)
			snprintf(addresses, cap, "%s", q->addresses);
		else
			snprintf(addresses, cap, "could not look up %s: %s", host,
				 q->error ? gai_strerror(q->error) : "it has no address");
		break;
	case LOOP_INTERRUPTED:
		r = RESOLVE_INTERRUPTED;
		break;
	case LOOP_TIMED_OUT:
		break;
	}
	loop_watch_clear(l, &q->watch);
	let_go(q);
	return r;
}
