#include "net/conn_fds.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

static bool wait_for_room(struct conn *c, usec_t deadline)
{
	struct pollfd p = {.fd = c->fd, .events = POLLOUT};
	usec_t left = deadline - clock_monotonic();
	int n = 0;

	if (left > 0) {
		n = poll(&p, 1, (int)(left / 1000) + 1);
		if (n > 0 || (n < 0 && errno == EINTR))
			return true;
	}
	if (n == 0)
		errno = ETIMEDOUT;
	return false;
}

static bool send_all(struct conn *c, struct msghdr *msg, struct span bytes, usec_t deadline)
{
	while (bytes.len > 0) {
		struct iovec iov = {(void *)(uintptr_t)bytes.ptr, bytes.len};
		ssize_t sent;

		msg->msg_iov = &iov;
		msg->msg_iovlen = 1;
		sent = sendmsg(c->fd, msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno != EINTR && ((errno != EAGAIN && errno != EWOULDBLOCK) || !wait_for_room(c, deadline)))
			return false;
		if (sent <= 0)
			continue;
		/* The descriptor went with the first byte. */
		msg->msg_control = NULL;
		msg->msg_controllen = 0;
		bytes = span_of(bytes.ptr + sent, bytes.len - (size_t)sent);
	}
	return true;
}

bool conn_send_with_fd(struct conn *c, struct span bytes, int fd, usec_t deadline)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr msg;

	if (c->tls || !c->is_unix || c->is_failed || c->is_retired) {
		errno = EINVAL;
		return false;
	}
	conn_send_now(c);
	if (c->is_failed) {
		errno = c->error;
		return false;
	}
	memset(&msg, 0, sizeof(msg));
	while (c->out) {
		if (!send_all(c, &msg, buf_span(c->out), deadline))
			return false;
		buf_take(c->out, buf_len(c->out));
		buf_wipe_free(c->out);
		free(c->out);
		c->out = NULL;
	}
	memset(&control, 0, sizeof(control));
	msg.msg_control = control.room;
	msg.msg_controllen = sizeof(control.room);
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	return send_all(c, &msg, bytes, deadline);
}
