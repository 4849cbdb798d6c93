#include "net/conn.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conn_parts.h"
#include "lib/tls_filter.h"

#ifdef DEVELOPER
bool conn_fault(const char *word)
{
	/* Read once by whichever thread comes first; both would read the same. */
	static _Atomic(const char *) list;
	const char *have = atomic_load(&list);

	if (!have) {
		have = getenv("PGECDSA_FAULTS");
		have = have ? have : "";
		atomic_store(&list, have);
	}
	return have[0] && strstr(have, word);
}
#endif

/* --- receiving ---------------------------------------------------------- */

static void end(struct conn *c, enum conn_end why, int err)
{
	c->may_read = false;
	c->ops->ended(c, why, err);
}

/* Shows n bytes at p and keeps what is left; false when reading should stop. */
static bool show(struct conn *c, const uint8_t *p, size_t n)
{
	size_t used;

	/* The owner must see a consistent Conn: nothing of p is in `in` now. */
	used = c->ops->bytes(c, p, n);
	if (c->is_retired)
		return false;
	if (used < n && !conn_keep(c->worker, &c->in, p + used, n - used)) {
		end(c, CONN_NO_MEMORY, ENOMEM);
		return false;
	}
	return !c->is_paused && !c->is_failed;
}

/* Shows what waits in `in`, without reading. */
static bool show_kept(struct conn *c)
{
	struct buf *kept = c->in;
	size_t used, had;

	c->wants_redelivery = false;
	if (!kept)
		return true;
	had = buf_len(kept);
	c->in = NULL;
	used = c->ops->bytes(c, buf_data(kept), had);
	if (c->is_retired || used >= had) {
		conn_drop_buf(c->worker, &kept);
		return !c->is_retired && !c->is_paused && !c->is_failed;
	}
	buf_take(kept, used);
	c->in = kept;
	return !c->is_paused && !c->is_failed;
}

/* One recv. >0 bytes, 0: nothing to be had now, -1: ended and told. */
static ssize_t raw_recv(struct conn *c, void *to, size_t cap)
{
	ssize_t n;

	if (conn_fault("read1"))
		cap = 1;
	do
		n = recv(c->fd, to, cap, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		/* A short read empties the socket; unless FIN shared the edge, another edge will come. */
		if ((size_t)n < cap && !c->peer_closed) {
			c->may_read = false;
			worker_confirm_later(c->worker, &c->confirm_link);
		}
		return n;
	}
	if (n == 0) {
		end(c, CONN_EOF, 0);
		return -1;
	}
	if (errno == EAGAIN || errno == EWOULDBLOCK) {
		c->may_read = false;
		return 0;
	}
	end(c, CONN_ERROR, errno);
	return -1;
}

/* false: stop reading. */
static bool read_plain(struct conn *c, size_t cap)
{
	struct worker *w = c->worker;
	uint8_t *at = w->scratch + WORKER_HEADROOM_BYTES;
	size_t kept = c->in ? buf_len(c->in) : 0;
	ssize_t n;

	if (c->read_limit > 0 && cap > c->read_limit)
		cap = c->read_limit;
	if (kept > WORKER_HEADROOM_BYTES) {
		/* A message that must be whole grows in place. */
		if (!buf_reserve(c->in, cap)) {
			end(c, CONN_NO_MEMORY, ENOMEM);
			return false;
		}
		n = raw_recv(c, c->in->data + c->in->end, cap);
		if (n <= 0)
			return n == 0;
		c->in->end += (size_t)n;
		return show_kept(c);
	}
	n = raw_recv(c, at, cap);
	if (n <= 0)
		return n == 0;
	if (kept) {
		memcpy(at - kept, buf_data(c->in), kept);
		conn_drop_buf(c->worker, &c->in);
	}
	return show(c, at - kept, kept + (size_t)n);
}

static void tls_broke(struct conn *c)
{
	conn_send_cipher(c); /* the alert */
	end(c, CONN_TLS_FAILED, 0);
}

/* Decrypts all that was fed and shows it; what a paused owner cannot take now is kept as plain bytes. */
static bool show_decrypted(struct conn *c)
{
	struct worker *w = c->worker;
	enum tls_step step;

	do {
		uint8_t *at = w->scratch + WORKER_HEADROOM_BYTES;
		size_t n = tls_filter_read(c->tls, at, WORKER_SCRATCH_BYTES, &w->cipher_out, &step);
		size_t kept = c->in ? buf_len(c->in) : 0;

		if (n == 0)
			break;
		if (c->is_paused || kept > WORKER_HEADROOM_BYTES) {
			if (!conn_keep(c->worker, &c->in, at, n)) {
				end(c, CONN_NO_MEMORY, ENOMEM);
				return false;
			}
			if (!c->is_paused)
				show_kept(c);
		} else {
			if (kept) {
				memcpy(at - kept, buf_data(c->in), kept);
				conn_drop_buf(c->worker, &c->in);
			}
			show(c, at - kept, kept + n);
		}
		if (c->is_retired || c->is_failed)
			return false;
	} while (step == TLS_STEP_OK);
	if (step == TLS_STEP_FAILED) {
		tls_broke(c);
		return false;
	}
	if (!conn_send_cipher(c))
		return false;
	if (step == TLS_STEP_CLOSED) {
		/* A paused owner has bytes to see first: the end is told when he reads on. */
		if (c->is_paused) {
			c->peer_closed = c->tls_closed = true;
			return false;
		}
		end(c, CONN_EOF, 0);
		return false;
	}
	return !c->is_paused;
}

static bool step_handshake(struct conn *c)
{
	struct worker *w = c->worker;
	enum tls_step step = tls_filter_handshake(c->tls, &w->cipher_out);

	if (step == TLS_STEP_FAILED) {
		tls_broke(c);
		return false;
	}
	if (!conn_send_cipher(c))
		return false;
	if (step == TLS_STEP_CLOSED) {
		end(c, CONN_EOF, 0);
		return false;
	}
	if (step == TLS_STEP_MORE)
		return true;
	c->is_handshaking = false;
	if (c->ops->tls_up)
		c->ops->tls_up(c);
	return !c->is_retired && !c->is_failed;
}

static bool read_tls(struct conn *c, size_t cap)
{
	struct worker *w = c->worker;
	ssize_t n = raw_recv(c, w->cipher_scratch, cap);

	if (n <= 0)
		return n == 0;
	if (!tls_filter_feed(c->tls, span_of(w->cipher_scratch, (size_t)n))) {
		end(c, CONN_NO_MEMORY, ENOMEM);
		return false;
	}
	if (c->is_handshaking && (!step_handshake(c) || c->is_handshaking))
		return !c->is_retired && !c->is_failed;
	return show_decrypted(c);
}

/* What came before the owner knew that it is TLS. */
static bool feed_kept_cipher(struct conn *c)
{
	bool ok = !c->in || (tls_filter_feed(c->tls, buf_span(c->in)) && tls_filter_keep(c->tls));

	c->in_is_cipher = false;
	conn_drop_buf(c->worker, &c->in);
	if (!ok) {
		end(c, CONN_NO_MEMORY, ENOMEM);
		return false;
	}
	if (!step_handshake(c))
		return false;
	return c->is_handshaking || show_decrypted(c);
}

static void read_turn(struct conn *c)
{
	struct worker *w = c->worker;
	int loops = 0;

	if (c->wants_redelivery && !c->is_paused && !show_kept(c))
		return;
	if (c->tls_closed && !c->is_paused) {
		end(c, CONN_EOF, 0);
		return;
	}
	/* The owner may have found out with the very last read that what it left is TLS. */
	while ((c->may_read || c->in_is_cipher) && !c->is_paused && !c->is_suspended) {
		size_t cap = c->has_big_reads ? w->read_cap : w->idle_read_cap;

		/* A handshake costs a millisecond: the others get their turn in between, and what they say goes out before. */
		if (c->is_handshaking) {
			if (w->handshakes_left-- <= 0) {
				conn_make_ready(c);
				return;
			}
			worker_send_now(w);
		}
		if (c->in_is_cipher) {
			if (!feed_kept_cipher(c))
				return;
			continue;
		}
		if (!(c->tls ? read_tls(c, WORKER_SCRATCH_BYTES) : read_plain(c, cap)))
			return;
		if (w->loop_reads > 0 && ++loops >= w->loop_reads && c->may_read) {
			conn_make_ready(c);
			return;
		}
	}
}

void conn_ready_turn(struct conn *c)
{
	if (c->is_retired || c->is_suspended)
		return;
	if (c->is_failed) {
		end(c, CONN_ERROR, c->error);
		return;
	}
	read_turn(c);
}

static void on_readable(evutil_socket_t fd UNUSED, short what, void *arg)
{
	struct conn *c = arg;

	c->may_read = true;
	if (what & EV_CLOSED)
		c->peer_closed = true;
	if (c->is_retired || c->is_suspended || c->is_connecting || !list_empty(&c->ready_link))
		return;
	if (c->is_handshaking) {
		conn_make_ready(c);
		return;
	}
	read_turn(c);
}

void conn_pause(struct conn *c)
{
	c->is_paused = true;
}

void conn_resume(struct conn *c)
{
	if (!c->is_paused)
		return;
	c->is_paused = false;
	c->wants_redelivery = true;
	if (c->in || c->may_read || c->tls_closed)
		conn_make_ready(c);
}

void conn_suspend(struct conn *c)
{
	c->is_suspended = true;
}

void conn_freeze(struct conn *c)
{
	conn_send_now(c);
	c->is_suspended = c->is_frozen = true;
	/* A connect that is under way is told by the same event. */
	if (!c->is_connecting)
		conn_unwatch_writable(c);
}

void conn_unsuspend(struct conn *c)
{
	if (!c->is_suspended)
		return;
	c->is_suspended = false;
	if (c->is_frozen) {
		c->is_frozen = false;
		if (c->out && !c->is_failed)
			conn_watch_writable(c);
	}
	/* Whatever came meanwhile, an end among it, is looked at there. */
	conn_make_ready(c);
}

bool conn_has_read_all(const struct conn *c)
{
	return !c->in && !c->is_handshaking && !c->is_connecting;
}

void conn_poke(struct conn *c)
{
	c->may_read = true;
	conn_make_ready(c);
}

/* --- life --------------------------------------------------------------- */

static int watch(struct conn *c)
{
	event_assign(&c->event, c->worker->base, c->fd, EV_READ | EV_CLOSED | EV_ET | EV_PERSIST, on_readable, c);
	return event_add(&c->event, NULL);
}

static void prepare(struct conn *c, struct worker *w, int fd, const struct conn_ops *ops)
{
	memset(c, 0, sizeof(*c));
	c->magic = CONN_MAGIC;
	c->ops = ops;
	c->worker = w;
	c->fd = fd;
	list_init(&c->ready_link);
	list_init(&c->confirm_link);
	wheel_node_init(&c->deadline);
}

void conn_init(struct conn *c, struct worker *w, const struct conn_ops *ops)
{
	prepare(c, w, -1, ops);
}

int conn_open(struct conn *c, struct worker *w, int fd, const struct conn_ops *ops)
{
	prepare(c, w, fd, ops);
	if (watch(c) < 0) {
		close(fd);
		c->fd = -1;
		return -1;
	}
	return 0;
}

int conn_connect(struct conn *c, struct worker *w, const struct sockaddr *sa, socklen_t len,
		 const struct tcp_options *tcp, const struct conn_ops *ops, int *err)
{
	int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	prepare(c, w, fd, ops);
	if (fd < 0)
		goto failed;
	c->is_unix = sa->sa_family == AF_UNIX;
	c->is_connecting = true;
	/* Before the handshake: a receive buffer that shrinks later leaves the peer with too large segments. */
	socket_tune(fd, sa->sa_family, tcp);
	if (connect(fd, sa, len) < 0 && errno != EINPROGRESS)
		goto failed;
	/* A socket that is up at once is told by its first writable edge, too. */
	if (watch(c) < 0 || !conn_watch_writable(c)) {
		errno = ENOMEM;
		goto failed;
	}
	return 0;
failed:
	*err = errno;
	if (fd >= 0) {
		if (event_initialized(&c->event))
			event_del(&c->event);
		list_del(&c->ready_link);
		close(fd);
	}
	c->fd = -1;
	return -1;
}

void conn_close(struct conn *c)
{
	assert(c->magic == CONN_MAGIC && !c->is_retired);
	if (c->tls && c->worker && !c->is_failed && !c->is_handshaking) {
		tls_filter_shutdown(c->tls, &c->worker->cipher_out);
		conn_send_cipher(c);
	}
	/* The last words, often an error message, may be waiting behind a partial send. */
	if (c->worker)
		conn_send_now(c);
	while (c->out && !c->is_failed && !c->is_connecting) {
		struct iovec iov = {c->out->data + c->out->start, buf_len(c->out)};
		ssize_t sent = conn_raw_send(c, &iov, 1);

		if (sent <= 0)
			break;
		buf_take(c->out, (size_t)sent);
		if (buf_len(c->out) == 0)
			conn_drop_buf(c->worker, &c->out);
	}
	c->is_retired = true;
	if (c->worker) {
		conn_unwatch_writable(c);
		list_del(&c->ready_link);
		list_del(&c->confirm_link);
		wheel_forget(&c->worker->wheel, &c->deadline);
		if (c->fd >= 0)
			event_del(&c->event);
	}
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	tls_filter_free(c->tls);
	c->tls = NULL;
	conn_drop_buf(c->worker, &c->in);
	conn_drop_buf(c->worker, &c->out);
	c->magic = 0;
}

bool conn_start_tls(struct conn *c, SSL_CTX *ctx, bool accepting, const char *host, bool verify_name,
		    bool input_is_cipher)
{
	c->tls = tls_filter_new(ctx, accepting, host, verify_name);
	if (!c->tls)
		return false;
	c->is_handshaking = true;
	c->in_is_cipher = input_is_cipher;
	if (input_is_cipher)
		conn_make_ready(c);
	if (!accepting) {
		/* The connecting side speaks first. */
		enum tls_step step = tls_filter_handshake(c->tls, &c->worker->cipher_out);

		return conn_send_cipher(c) && step == TLS_STEP_MORE;
	}
	return true;
}

const char *conn_tls_error(const struct conn *c)
{
	return c->tls ? tls_filter_error(c->tls) : "";
}

void conn_tls_describe(const struct conn *c, char *out, size_t cap)
{
	out[0] = 0;
	if (c->tls)
		tls_filter_describe(c->tls, out, cap);
}

bool conn_peer_is_verified(const struct conn *c)
{
	return c->tls && tls_filter_peer_is_verified(c->tls);
}

bool conn_peer_has_name(const struct conn *c, const char *name)
{
	return c->tls && tls_filter_peer_name_matches(c->tls, name);
}

void conn_set_deadline(struct conn *c, usec_t due)
{
	if (due == 0)
		wheel_forget(&c->worker->wheel, &c->deadline);
	else if (c->deadline.due == 0 || c->deadline.due > due)
		wheel_file(&c->worker->wheel, &c->deadline, due);
}

void conn_confirm(struct conn *c)
{
	if (!c->is_retired && !c->may_read)
		conn_poke(c);
}

void conn_deadline_due(struct wheel_node *n)
{
	struct conn *c = CONTAINER_OF(n, struct conn, deadline);

	if (c->is_retired)
		return;
	if (c->is_suspended)
		conn_set_deadline(c, worker_now(c->worker) + USEC_PER_SEC);
	else
		c->ops->deadline(c);
}

void conn_detach(struct conn *c)
{
	conn_send_now(c);
	conn_unwatch_writable(c);
	list_del(&c->ready_link);
	list_del(&c->confirm_link);
	wheel_forget(&c->worker->wheel, &c->deadline);
	event_del(&c->event);
	c->worker = NULL;
}

int conn_attach(struct conn *c, struct worker *w)
{
	c->worker = w;
	/* Registering reports what is there by now as a first edge. */
	c->may_read = false;
	if (watch(c) < 0)
		return -1;
	/* What was about to be told there is told here; the socket may have no edge to say so. */
	if (c->is_failed || c->wants_redelivery || (c->tls_closed && !c->is_paused))
		conn_make_ready(c);
	return c->out && !conn_watch_writable(c) ? -1 : 0;
}

bool conn_restore(struct conn *c, struct span in, struct span out)
{
	if (!conn_keep(c->worker, &c->in, in.ptr, in.len) || !conn_keep(c->worker, &c->out, out.ptr, out.len))
		return false;
	if (c->in) {
		c->wants_redelivery = true;
		conn_make_ready(c);
	}
	return !c->out || conn_watch_writable(c);
}

void conn_abandon(struct conn *c)
{
	struct iovec iov;

	if (c->worker)
		send_batch_take(&c->worker->sends, c, &iov);
	/* Like one whose sending has failed, but nobody is told. */
	c->is_failed = true;
	conn_drop_buf(c->worker, &c->out);
}
