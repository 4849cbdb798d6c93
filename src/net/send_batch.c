#include "net/send_batch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#ifdef HAVE_LIBURING
#include <liburing.h>
#endif

#include "lib/log.h"
#include "lib/mem.h"
#include "net/conn.h"

#ifdef HAVE_LIBURING
struct send_ring {
	struct io_uring uring;
};
#endif

void send_batch_init(struct send_batch *b)
{
	memset(b, 0, sizeof(*b));
	b->bytes = xmalloc(SEND_BATCH_BYTES);
}

/* --- by one system call ---------------------------------------------------- */

static void have_none(struct send_batch *b, const char *why)
{
	if (!b->is_quiet)
		log_info("no io_uring (%s): what is sent goes by one system call each", why);
	b->has_no_ring = true;
}

#ifdef HAVE_LIBURING
static void drop_ring(struct send_batch *b)
{
	if (!b->ring)
		return;
	io_uring_queue_exit(&b->ring->uring);
	free(b->ring);
	b->ring = NULL;
}

/* Made by the thread that uses it, as the kernel asks of a ring with a single issuer. */
static bool has_ring(struct send_batch *b)
{
	/* Linux 6.1 has all of them; an older one refuses, and is not worth another way. */
	const unsigned flags = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
	int err = ENOMEM;

	if (b->ring || !b->wants_ring || b->has_no_ring)
		return b->ring && b->wants_ring;
	b->ring = calloc(1, sizeof(*b->ring));
	if (b->ring)
		err = conn_fault("nouring") ? EPERM : -io_uring_queue_init(SEND_BATCH_ENTRIES, &b->ring->uring, flags);
	if (err == 0) {
		/* Saves a look-up of the descriptor a call; it works without. */
		(void)io_uring_register_ring_fd(&b->ring->uring);
		return true;
	}
	free(b->ring);
	b->ring = NULL;
	have_none(b, strerror(err));
	return false;
}

/* Takes what the kernel has answered, all of it inline: nothing here may wait for a socket. */
static int reap(struct send_ring *r, int *results, bool *is_sent)
{
	struct io_uring_cqe *cqe;
	unsigned head;
	int got = 0;

	io_uring_for_each_cqe(&r->uring, head, cqe)
	{
		size_t i = (size_t)io_uring_cqe_get_data64(cqe);

		results[i] = cqe->res;
		is_sent[i] = true;
		got++;
	}
	io_uring_cq_advance(&r->uring, (unsigned)got);
	return got;
}

/* The first `taken` of them are the kernel's: whether an unanswered one was sent nobody can say. */
static void give_up(struct send_batch *b, int taken, int *results, bool *is_sent)
{
	for (int i = 0; i < b->n && taken > 0; i++) {
		if (!b->entries[i].conn)
			continue;
		taken--;
		if (!is_sent[i]) {
			results[i] = -EIO;
			is_sent[i] = true;
		}
	}
}

/* Marks what the kernel has taken; with any other the ring is gone. */
static void send_by_ring(struct send_batch *b, int count, int *results, bool *is_sent)
{
	struct io_uring *u = &b->ring->uring;
	int taken, got;

	for (int i = 0; i < b->n; i++) {
		const struct send_entry *e = &b->entries[i];
		struct io_uring_sqe *sqe;

		if (!e->conn)
			continue;
		sqe = io_uring_get_sqe(u);
		io_uring_prep_send(sqe, e->conn->fd, b->bytes + e->at, conn_fault("send1") ? 1 : e->len,
				   MSG_NOSIGNAL | MSG_DONTWAIT);
		io_uring_sqe_set_data64(sqe, (uint64_t)i);
	}
	do
		taken = conn_fault("uringbreaks") ? -ENOMEM : io_uring_submit_and_wait(u, (unsigned)count);
	while (taken == -EINTR);
	got = reap(b->ring, results, is_sent);
	/* A signal ends the wait early, though not the sends. */
	while (got < taken) {
		struct io_uring_cqe *cqe;
		int err = io_uring_wait_cqe(u, &cqe);

		if (err < 0 && err != -EINTR)
			break;
		got += reap(b->ring, results, is_sent);
	}
	if (got == count)
		return;
	log_warning("io_uring has taken %d sends of %d (%s): what is sent goes by one system call each from now on", got,
		    count, taken < 0 ? strerror(-taken) : "no reason given");
	give_up(b, taken, results, is_sent);
	drop_ring(b);
	b->has_no_ring = true;
}
#else
static void drop_ring(struct send_batch *b UNUSED)
{
}

static bool has_ring(struct send_batch *b)
{
	if (b->wants_ring && !b->has_no_ring)
		have_none(b, "built without liburing");
	return false;
}

static void send_by_ring(struct send_batch *b UNUSED, int count UNUSED, int *results UNUSED, bool *is_sent UNUSED)
{
}
#endif

/* --- the batch ------------------------------------------------------------- */

void send_batch_want(struct send_batch *b, bool wants_ring)
{
	b->wants_ring = wants_ring;
	if (!wants_ring)
		drop_ring(b);
}

void send_batch_start(struct send_batch *b)
{
	(void)has_ring(b);
}

void send_batch_stop(struct send_batch *b)
{
	drop_ring(b);
}

void send_batch_free(struct send_batch *b)
{
	drop_ring(b);
	free(b->bytes);
	b->bytes = NULL;
}

void send_batch_flush(struct send_batch *b)
{
	int results[SEND_BATCH_ENTRIES], count = 0;
	bool is_sent[SEND_BATCH_ENTRIES] = {false};

	if (b->n == 0)
		return;
	for (int i = 0; i < b->n; i++)
		count += b->entries[i].conn != NULL;
	/* A single one is cheaper the plain way. */
	if (count > 1 && has_ring(b))
		send_by_ring(b, count, results, is_sent);
	for (int i = 0; i < b->n; i++) {
		struct send_entry *e = &b->entries[i];
		struct iovec iov = {b->bytes + e->at, e->len};

		if (!e->conn)
			continue;
		e->conn->batch_slot = 0;
		if (is_sent[i])
			conn_sent(e->conn, &iov, results[i]);
		else
			conn_send_late(e->conn, &iov);
	}
	b->n = 0;
	b->used = 0;
}

bool send_batch_add(struct send_batch *b, struct conn *c, const struct iovec *iov, int n)
{
	struct send_entry *e = c->batch_slot ? &b->entries[c->batch_slot - 1] : NULL;
	size_t total = 0, have = e ? e->len : 0, need;
	bool is_last = e && e->at + e->len == b->used;

	for (int i = 0; i < n; i++)
		total += iov[i].iov_len;
	if (have + total > SEND_BATCH_PIECE)
		return false;
	need = is_last ? total : have + total;
	if (need > SEND_BATCH_BYTES - b->used || (!e && b->n == SEND_BATCH_ENTRIES)) {
		send_batch_flush(b);
		if (c->is_failed || c->out)
			return false;
		e = NULL;
		have = 0;
	}
	if (!e) {
		e = &b->entries[b->n++];
		*e = (struct send_entry){.conn = c, .at = (uint32_t)b->used};
		c->batch_slot = (uint8_t)b->n;
	} else if (!is_last) {
		/* Others came behind it: it moves behind them, so that it can grow. */
		memcpy(b->bytes + b->used, b->bytes + e->at, have);
		e->at = (uint32_t)b->used;
		b->used += have;
	}
	for (int i = 0; i < n; i++) {
		memcpy(b->bytes + b->used, iov[i].iov_base, iov[i].iov_len);
		b->used += iov[i].iov_len;
	}
	e->len += (uint32_t)total;
	return true;
}

void send_batch_take(struct send_batch *b, struct conn *c, struct iovec *to)
{
	struct send_entry *e;

	*to = (struct iovec){NULL, 0};
	if (!c->batch_slot)
		return;
	e = &b->entries[c->batch_slot - 1];
	*to = (struct iovec){b->bytes + e->at, e->len};
	e->conn = NULL;
	c->batch_slot = 0;
}
