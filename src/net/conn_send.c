/* What a Conn has to say, and what it keeps until the socket takes it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conn_parts.h"
#include "lib/mem.h"
#include "lib/tls_filter.h"

void conn_make_ready(struct conn *c)
{
	if (list_empty(&c->ready_link))
		list_add_tail(&c->worker->ready, &c->ready_link);
}

void conn_fail(struct conn *c, int err)
{
	c->is_failed = true;
	c->error = err;
	conn_make_ready(c);
}

void conn_drop_buf(struct worker *w, struct buf **b)
{
	struct buf *old = *b;

	*b = NULL;
	if (!old)
		return;
	if (w && w->spare_count < WORKER_SPARES && old->cap <= WORKER_SPARE_BYTES && buf_ok(old)) {
		mem_wipe(old->data, old->cap);
		buf_clear(old);
		w->spares[w->spare_count++] = old;
		return;
	}
	buf_wipe_free(old);
	free(old);
}

/* Whoever waits for a server comes here at every query, so the allocator is asked as seldom as can be. */
bool conn_keep(struct worker *w, struct buf **b, const void *bytes, size_t n)
{
	if (n == 0)
		return true;
	if (!*b && w && w->spare_count > 0)
		*b = w->spares[--w->spare_count];
	if (!*b) {
		*b = malloc(sizeof(**b));
		if (!*b)
			return false;
		buf_init(*b);
	}
	buf_put(*b, bytes, n);
	return buf_ok(*b);
}

static void on_writable(evutil_socket_t fd, short what, void *arg);

bool conn_watch_writable(struct conn *c)
{
	if (c->write_event)
		return true;
	c->write_event = event_new(c->worker->base, c->fd, EV_WRITE | EV_ET | EV_PERSIST, on_writable, c);
	if (!c->write_event || event_add(c->write_event, NULL) < 0) {
		if (c->write_event)
			event_free(c->write_event);
		c->write_event = NULL;
		conn_fail(c, ENOMEM);
		return false;
	}
	return true;
}

void conn_unwatch_writable(struct conn *c)
{
	if (!c->write_event)
		return;
	event_free(c->write_event);
	c->write_event = NULL;
}

ssize_t conn_raw_send(struct conn *c, struct iovec *iov, int n)
{
	const int flags = MSG_NOSIGNAL | MSG_DONTWAIT;
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)n};
	struct iovec one;
	ssize_t sent;

	if (conn_fault("send1")) {
		one = (struct iovec){iov[0].iov_base, 1};
		msg.msg_iov = &one;
		msg.msg_iovlen = 1;
	}
	/* The common single piece goes by the call that has less to copy into the kernel. */
	do
		sent = msg.msg_iovlen == 1 ? send(c->fd, msg.msg_iov->iov_base, msg.msg_iov->iov_len, flags)
					   : sendmsg(c->fd, &msg, flags);
	while (sent < 0 && errno == EINTR);
	if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return 0;
	if (sent < 0)
		conn_fail(c, errno);
	return sent;
}

/* Keeps what the socket did not take. false: the connection has failed. */
static bool keep_rest(struct conn *c, const struct iovec *iov, int n, size_t sent)
{
	for (int i = 0; i < n; i++) {
		if (sent >= iov[i].iov_len) {
			sent -= iov[i].iov_len;
			continue;
		}
		if (!conn_keep(c->worker, &c->out, (const char *)iov[i].iov_base + sent, iov[i].iov_len - sent)) {
			conn_fail(c, ENOMEM);
			return false;
		}
		sent = 0;
	}
	return !c->out || c->is_corked || c->is_frozen || conn_watch_writable(c);
}

void conn_sent(struct conn *c, const struct iovec *iov, int result)
{
	/* Interrupted or full: the first edge of the watch says when there is room. */
	if (result == -EAGAIN || result == -EINTR)
		result = 0;
	if (result < 0)
		conn_fail(c, -result);
	else
		keep_rest(c, iov, 1, (size_t)result);
}

void conn_send_late(struct conn *c, const struct iovec *iov)
{
	struct iovec copy = *iov;
	ssize_t sent = conn_raw_send(c, &copy, 1);

	if (sent >= 0)
		keep_rest(c, iov, 1, (size_t)sent);
}

/* What waits for the end of the turn goes out now. */
void conn_send_now(struct conn *c)
{
	struct iovec iov;

	if (!c->batch_slot)
		return;
	send_batch_take(&c->worker->sends, c, &iov);
	conn_send_late(c, &iov);
}

static void on_writable(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct conn *c = arg;

	if (c->is_connecting) {
		int err = 0;
		socklen_t len = sizeof(err);

		if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
			err = errno;
		c->is_connecting = false;
		conn_unwatch_writable(c);
		c->ops->connected(c, err);
		return;
	}
	while (c->out && !c->is_failed) {
		struct iovec iov = {c->out->data + c->out->start, buf_len(c->out)};
		size_t want = iov.iov_len;
		ssize_t sent = conn_raw_send(c, &iov, 1);

		if (sent < 0)
			return;
		buf_take(c->out, (size_t)sent);
		if (buf_len(c->out) == 0)
			conn_drop_buf(c->worker, &c->out);
		else if ((size_t)sent < want && !conn_fault("send1"))
			return; /* the edge will come again */
		else if (sent == 0)
			return;
	}
	conn_unwatch_writable(c);
	if (!c->is_failed && c->ops->drained)
		c->ops->drained(c);
}

static bool plain_write(struct conn *c, const struct iovec *iov, int n)
{
	struct iovec copy[64];
	int m = n < (int)ARRAY_LEN(copy) ? n : (int)ARRAY_LEN(copy);
	ssize_t sent;

	if (!c->out && !c->is_corked && !c->is_frozen) {
		/* A handshake goes on while others wait for their turn; the peer's part of it should not. */
		if (!c->is_handshaking && send_batch_add(&c->worker->sends, c, iov, n))
			return true;
		conn_send_now(c);
		if (c->is_failed)
			return false;
	}
	if (c->out || c->is_corked || c->is_frozen)
		return keep_rest(c, iov, n, 0);
	memcpy(copy, iov, (size_t)m * sizeof(*copy));
	sent = conn_raw_send(c, copy, m);
	return sent >= 0 && keep_rest(c, iov, n, (size_t)sent);
}

bool conn_send_cipher(struct conn *c)
{
	struct buf *b = &c->worker->cipher_out;
	struct iovec iov = {b->data + b->start, buf_len(b)};
	bool ok = buf_ok(b);

	if (!ok)
		conn_fail(c, ENOMEM);
	else if (iov.iov_len > 0)
		ok = plain_write(c, &iov, 1);
	buf_clear(b);
	return ok;
}

bool conn_write(struct conn *c, const struct iovec *iov, int n)
{
	if (c->is_failed || c->is_retired)
		return false;
	if (!c->tls)
		return plain_write(c, iov, n);
	if (!tls_filter_write(c->tls, iov, n, &c->worker->cipher_out)) {
		buf_clear(&c->worker->cipher_out);
		conn_fail(c, EPROTO);
		return false;
	}
	return conn_send_cipher(c);
}

bool conn_send(struct conn *c, const void *bytes, size_t n)
{
	struct iovec iov = {(void *)(uintptr_t)bytes, n};

	return n == 0 || conn_write(c, &iov, 1);
}

bool conn_send_buf(struct conn *c, struct buf *b)
{
	bool ok = buf_ok(b);

	if (!ok && !c->is_failed)
		conn_fail(c, ENOMEM);
	if (ok)
		ok = conn_send(c, buf_data(b), buf_len(b));
	buf_clear(b);
	return ok;
}

void conn_cork(struct conn *c)
{
	c->is_corked = true;
}

void conn_uncork(struct conn *c)
{
	struct buf *waiting = c->out;
	struct iovec iov;

	c->is_corked = false;
	/* With a writable watch it goes out by that, behind what waited before. */
	if (!waiting || c->write_event || c->is_failed || c->is_frozen)
		return;
	c->out = NULL;
	iov = (struct iovec){waiting->data + waiting->start, buf_len(waiting)};
	plain_write(c, &iov, 1);
	conn_drop_buf(c->worker, &waiting);
}

size_t conn_unsent(struct conn *c)
{
	conn_send_now(c);
	return conn_backlog(c);
}
