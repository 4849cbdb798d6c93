#include "token/link.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "lib/span.h"

#define READ_BYTES 16384

int64_t clock_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void end(struct link *l, const char *why)
{
	if (!l->is_ended)
		snprintf(l->error, sizeof(l->error), "%s", why);
	l->is_ended = true;
}

void link_init(struct link *l, int fd)
{
	memset(l, 0, sizeof(*l));
	l->fd = fd;
	buf_init(&l->in);
	buf_init(&l->out);
	if (fd >= 0)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

/* ---- connecting ---- */

/* 0, or an errno. */
static int await_connect(int fd, int64_t deadline_ms)
{
	struct pollfd p = {fd, POLLOUT, 0};
	socklen_t len = sizeof(int);
	int error = 0, got;

	do {
		int64_t left = deadline_ms - clock_ms();

		got = poll(&p, 1, left > 0 ? (int)left : 0);
	} while (got < 0 && errno == EINTR);
	if (got == 0)
		return ETIMEDOUT;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 ? errno : error;
}

static bool try_address(struct link *l, int family, const struct sockaddr *address, socklen_t len, int64_t deadline_ms)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1, error = 0;

	if (fd < 0) {
		snprintf(l->error, sizeof(l->error), "%s", strerror(errno));
		return false;
	}
	if (connect(fd, address, len) != 0)
		error = errno == EINPROGRESS ? await_connect(fd, deadline_ms) : errno;
	if (error) {
		snprintf(l->error, sizeof(l->error), "%s", strerror(error));
		close(fd);
		return false;
	}
	if (family != AF_UNIX)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	link_init(l, fd);
	return true;
}

static bool connect_unix(struct link *l, const char *directory, const char *port, int64_t deadline_ms)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (snprintf(address.sun_path, sizeof(address.sun_path), "%s/.s.PGSQL.%s", directory, port) >=
	    (int)sizeof(address.sun_path)) {
		snprintf(l->error, sizeof(l->error), "the path of the socket is too long");
		return false;
	}
	return try_address(l, AF_UNIX, (const struct sockaddr *)&address, sizeof(address), deadline_ms);
}

bool link_connect(struct link *l, const char *host, const char *port, int64_t deadline_ms)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	bool ok = false;
	int error;

	link_init(l, -1);
	if (host[0] == '/')
		return connect_unix(l, host, port, deadline_ms);
	error = getaddrinfo(host, port, &hints, &found);
	if (error) {
		snprintf(l->error, sizeof(l->error), "%s", gai_strerror(error));
		return false;
	}
	for (const struct addrinfo *a = found; a && !ok; a = a->ai_next)
		ok = try_address(l, a->ai_family, a->ai_addr, a->ai_addrlen, deadline_ms);
	freeaddrinfo(found);
	return ok;
}

/* ---- bytes ---- */

static void send_some(struct link *l)
{
	while (buf_len(&l->out) > 0) {
		ssize_t n = send(l->fd, buf_data(&l->out), buf_len(&l->out), MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (n < 0) {
			end(l, strerror(errno));
			return;
		}
		buf_take(&l->out, (size_t)n);
	}
}

/* All that was fed becomes plain bytes at the end of in. */
static void decrypt(struct link *l, struct span cipher)
{
	enum tls_step step = TLS_STEP_OK;

	if (!tls_filter_feed(l->tls, cipher)) {
		end(l, "out of memory");
		return;
	}
	while (step == TLS_STEP_OK) {
		size_t n;

		if (!buf_reserve(&l->in, READ_BYTES)) {
			end(l, "out of memory");
			return;
		}
		n = tls_filter_read(l->tls, l->in.data + l->in.end, READ_BYTES, &l->out, &step);
		l->in.end += n;
	}
	if (step == TLS_STEP_CLOSED)
		end(l, "");
	else if (step == TLS_STEP_FAILED)
		end(l, tls_filter_error(l->tls));
}

static void receive_some(struct link *l)
{
	uint8_t bytes[READ_BYTES];
	ssize_t n = recv(l->fd, bytes, sizeof(bytes), 0);

	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return;
	if (n <= 0) {
		end(l, n < 0 ? strerror(errno) : "");
		return;
	}
	if (l->tls)
		decrypt(l, span_of(bytes, (size_t)n));
	else
		buf_put(&l->in, bytes, (size_t)n);
	if (!buf_ok(&l->in) || !buf_ok(&l->out))
		end(l, "out of memory");
}

bool link_put(struct link *l, const void *bytes, size_t n)
{
	struct iovec piece = {(void *)(uintptr_t)bytes, n};

	if (l->is_ended)
		return false;
	if (!l->tls)
		buf_put(&l->out, bytes, n);
	else if (n > 0 && !tls_filter_write(l->tls, &piece, 1, &l->out))
		end(l, "out of memory");
	if (!buf_ok(&l->out))
		end(l, "out of memory");
	return !l->is_ended;
}

short link_events(const struct link *l, bool wants_input)
{
	if (l->fd < 0)
		return 0;
	return (short)((wants_input && !l->is_ended ? POLLIN : 0) | (buf_len(&l->out) > 0 ? POLLOUT : 0));
}

void link_step(struct link *l, short revents)
{
	if (revents & POLLOUT)
		send_some(l);
	/* An error or a hang-up is told by the next recv, behind what came before it. */
	if (revents & (POLLIN | POLLHUP | POLLERR))
		receive_some(l);
}

static bool step_until(struct link *l, bool wants_input, int64_t deadline_ms)
{
	struct pollfd p = {l->fd, link_events(l, wants_input), 0};
	int64_t left = deadline_ms - clock_ms();
	int got = left > 0 ? poll(&p, 1, left > INT32_MAX ? INT32_MAX : (int)left) : 0;

	if (got < 0 && errno == EINTR)
		return true;
	if (got == 0) {
		end(l, "it takes too long");
		return false;
	}
	link_step(l, p.revents);
	return true;
}

bool link_await(struct link *l, size_t n, int64_t deadline_ms)
{
	while (buf_len(&l->in) < n && !l->is_ended && step_until(l, true, deadline_ms))
		;
	return buf_len(&l->in) >= n;
}

bool link_flush(struct link *l, int64_t deadline_ms)
{
	send_some(l);
	while (buf_len(&l->out) > 0 && !l->is_ended && step_until(l, false, deadline_ms))
		;
	return buf_len(&l->out) == 0;
}

/* ---- TLS ---- */

bool link_start_tls(struct link *l, SSL_CTX *context, const char *host, bool verify_name, int64_t deadline_ms)
{
	struct tls_filter *tls = tls_filter_new(context, false, host, verify_name);
	enum tls_step step = TLS_STEP_MORE;

	if (!tls) {
		end(l, "out of memory");
		return false;
	}
	/* Until it is done, received bytes are the handshake's; so the link stays in the clear meanwhile. */
	for (;;) {
		step = tls_filter_handshake(tls, &l->out);
		if (step != TLS_STEP_MORE)
			break;
		buf_clear(&l->in);
		if (!link_flush(l, deadline_ms) || !link_await(l, 1, deadline_ms) ||
		    !tls_filter_feed(tls, buf_span(&l->in)) || !tls_filter_keep(tls))
			break;
	}
	link_flush(l, deadline_ms);
	if (step != TLS_STEP_OK) {
		if (!l->is_ended || !l->error[0])
			snprintf(l->error, sizeof(l->error), "TLS: %s",
				 step == TLS_STEP_FAILED ? tls_filter_error(tls) : "the connection ended");
		l->is_ended = true;
		tls_filter_free(tls);
		return false;
	}
	buf_clear(&l->in);
	l->tls = tls;
	/* What came behind the handshake. */
	decrypt(l, span_of("", 0));
	return !l->is_ended;
}

void link_close(struct link *l)
{
	if (l->fd >= 0) {
		if (l->tls && !l->is_ended)
			tls_filter_shutdown(l->tls, &l->out);
		send_some(l);
		close(l->fd);
	}
	l->fd = -1;
	tls_filter_free(l->tls);
	l->tls = NULL;
	buf_wipe_free(&l->in);
	buf_wipe_free(&l->out);
}
