#include "net/fd_pouch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/mem.h"

struct fd_pair {
	int in, out;
};

union batch_control {
	struct cmsghdr header;
	char room[CMSG_SPACE(sizeof(((struct fd_pouch *)0)->batch))];
};

void fd_pouch_init(struct fd_pouch *p)
{
	memset(p, 0, sizeof(*p));
}

void fd_pouch_free(struct fd_pouch *p)
{
	/* Before it is sealed these are the caller's own. */
	while (p->reading > 0 && p->batch_at < p->batch_n)
		close(p->batch[p->batch_at++]);
	for (size_t i = 0; i < p->n; i++) {
		if (p->pairs[i].in >= 0)
			close(p->pairs[i].in);
		close(p->pairs[i].out);
	}
	free(p->pairs);
	fd_pouch_init(p);
}

static bool add_pair(struct fd_pouch *p)
{
	int ends[2];

	if (p->n == p->cap) {
		p->cap = p->cap ? p->cap * 2 : 4;
		p->pairs = xrealloc(p->pairs, p->cap * sizeof(*p->pairs));
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
		return false;
	p->pairs[p->n++] = (struct fd_pair){ends[0], ends[1]};
	return true;
}

static bool send_batch(struct fd_pouch *p)
{
	union batch_control control;
	char byte = 0;
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room};
	bool is_fresh = p->n == 0;


	if (p->batch_n == 0)
		return true;
	memset(&control, 0, sizeof(control));
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(p->batch_n * sizeof(int));
	msg.msg_controllen = CMSG_SPACE(p->batch_n * sizeof(int));
	memcpy(CMSG_DATA(&control.header), p->batch, p->batch_n * sizeof(int));
	if (is_fresh && !add_pair(p))
		return false;
	for (;;) {
		if (sendmsg(p->pairs[p->n - 1].in, &msg, MSG_NOSIGNAL) == 1) {
			p->batch_n = 0;
			return true;
		}
		if (errno == EINTR)
			continue;
		/* This one is full: the next. */
		if (is_fresh || (errno != EAGAIN && errno != EWOULDBLOCK) || !add_pair(p))
			return false;
		is_fresh = true;
	}
}

bool fd_pouch_put(struct fd_pouch *p, int fd)
{
	if (p->batch_n == sizeof(p->batch) / sizeof(p->batch[0]) && !send_batch(p))
		return false;
	p->batch[p->batch_n++] = fd;
	return true;
}

bool fd_pouch_seal(struct fd_pouch *p)
{
	if (!send_batch(p))
		return false;
	for (size_t i = 0; i < p->n; i++) {
		close(p->pairs[i].in);
		p->pairs[i].in = -1;
	}
	return true;
}

/* 1: there is a batch; 0: this pair is empty; -1: errno. */
static int receive_batch(struct fd_pouch *p, int from)
{
	union batch_control control;
	char byte;
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.room,
			     .msg_controllen = sizeof(control.room)};
	ssize_t n;

	do
		n = recvmsg(from, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return (int)n;
	p->batch_at = p->batch_n = 0;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&msg); h; h = CMSG_NXTHDR(&msg, h)) {
		p->batch_n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(p->batch, CMSG_DATA(h), p->batch_n * sizeof(int));
	}
	/* What did not fit under the limit is lost. */
	if (msg.msg_flags & MSG_CTRUNC) {
		errno = EMFILE;
		return -1;
	}
	return 1;
}

int fd_pouch_take(struct fd_pouch *p)
{
	if (p->reading == 0)
		p->reading = 1;
	while (p->batch_at == p->batch_n) {
		int got;

		if (p->reading > p->n) {
			errno = ENOENT;
			return -1;
		}
		got = receive_batch(p, p->pairs[p->reading - 1].out);
		if (got < 0)
			return -1;
		if (got == 0)
			p->reading++;
	}
	return p->batch[p->batch_at++];
}
