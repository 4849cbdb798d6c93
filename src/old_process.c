#include "old_process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "config/config.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "net/conn.h"
#include "net/sockets.h"
#include "process.h"
#include "proto/fields.h"
#include "proto/frame.h"
#include "proto/reader.h"
#include "proto/writer.h"

#define MESSAGE_MAX ((uint32_t)16 << 20)
#define READ_BYTES ((size_t)64 << 10)
#define COLUMNS_MAX 64
#define FDS_A_READ 64
#define LOGIN_PATIENCE (20 * USEC_PER_SEC)
#define SHUTDOWN_PATIENCE (60 * USEC_PER_SEC)
/* With the fault nobody waits so long in a test for what will not happen. */
#define END_PATIENCE (conn_fault("takeover-hasty") ? USEC_PER_SEC : 10 * USEC_PER_SEC)
#define END_POLL_MSEC 10

struct old_process {
	int fd;	     /* owned; -1: the connection has ended */
	int signals; /* owned: a signalfd */
	struct buf in; /* may hold keys */
	int *fds;      /* owned, as are those that nobody has taken yet */
	size_t fd_count, fd_cap, fd_at;
	struct old_column columns[COLUMNS_MAX]; /* names are owned */
	size_t column_count;
	usec_t connected_at;
	char prefix[80];
	char error[600];
};

static int exit_status = 1;

int old_process_exit_status(void)
{
	return exit_status;
}

const char *old_process_prefix(const struct old_process *o)
{
	return o->prefix;
}

const char *old_process_error(const struct old_process *o)
{
	return o->error;
}

static enum old_verdict broken(const char *what)
{
	log_fatal("takeover failed: %s", what);
	return OLD_BROKEN;
}

/* --- waiting ------------------------------------------------------------------- */

static bool watch_signals(struct old_process *o)
{
	static const int ours[] = {SIGHUP, SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2};
	sigset_t held, looked_at;

	sigemptyset(&held);
	for (size_t i = 0; i < ARRAY_LEN(ours); i++)
		sigaddset(&held, ours[i]);
	/* For good: those that come meanwhile are seen when the process is up. */
	sigprocmask(SIG_BLOCK, &held, NULL);
	sigemptyset(&looked_at);
	sigaddset(&looked_at, SIGTERM);
	sigaddset(&looked_at, SIGINT);
	sigaddset(&looked_at, SIGQUIT);
	o->signals = signalfd(-1, &looked_at, SFD_NONBLOCK | SFD_CLOEXEC);
	return o->signals >= 0;
}

/* A signal that ends the start has come. */
static bool is_stopped(struct old_process *o)
{
	struct signalfd_siginfo info;

	if (read(o->signals, &info, sizeof(info)) != sizeof(info))
		return false;
	if (info.ssi_signo == SIGQUIT) {
		log_info("got SIGQUIT, fast exit");
		exit_status = 0;
	} else
		log_fatal("takeover was in progress, going down immediately");
	return true;
}

/* For the socket, or (events 0) for the time alone. OLD_GONE: the time is over. deadline 0: for ever. */
static enum old_verdict wait_for(struct old_process *o, short events, usec_t deadline)
{
	struct pollfd p[2] = {{.fd = o->signals, .events = POLLIN}, {.fd = events ? o->fd : -1, .events = events}};

	for (;;) {
		usec_t left = deadline - clock_monotonic();
		int n;

		if (deadline > 0 && left <= 0)
			return OLD_GONE;
		n = poll(p, 2, deadline == 0 ? -1 : (int)(left / 1000) + 1);
		if (n > 0 && p[0].revents && is_stopped(o))
			return OLD_STOPPED;
		if (n > 0 && p[1].revents)
			return OLD_OK;
		if (n < 0 && errno != EINTR)
			return broken(strerror(errno));
	}
}

/* --- bytes ---------------------------------------------------------------------- */

static enum old_verdict send_all(struct old_process *o, struct buf *b)
{
	usec_t deadline = clock_monotonic() + LOGIN_PATIENCE;

	while (buf_ok(b) && buf_len(b) > 0) {
		ssize_t sent = send(o->fd, buf_data(b), buf_len(b), MSG_NOSIGNAL | MSG_DONTWAIT);
		enum old_verdict v;

		if (sent > 0) {
			buf_take(b, (size_t)sent);
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN && errno != EWOULDBLOCK)
			return OLD_GONE;
		v = wait_for(o, POLLOUT, deadline);
		if (v != OLD_OK)
			return v == OLD_GONE ? broken("the old process does not read") : v;
	}
	return buf_ok(b) ? OLD_OK : broken("out of memory");
}

static void keep_fds(struct old_process *o, const struct cmsghdr *h)
{
	size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	for (size_t i = 0; i < n; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(fd));
		/* The standard streams may have been closed, and going to the background will use their numbers. */
		if (fd <= STDERR_FILENO) {
			int higher = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

			if (higher >= 0) {
				close(fd);
				fd = higher;
			}
		}
		process_make_room_behind(fd);
		if (o->fd_count == o->fd_cap) {
			o->fd_cap = o->fd_cap ? o->fd_cap * 2 : 64;
			o->fds = xrealloc(o->fds, o->fd_cap * sizeof(*o->fds));
		}
		o->fds[o->fd_count++] = fd;
	}
}

int old_process_take_fd(struct old_process *o)
{
	return o->fd_at < o->fd_count ? o->fds[o->fd_at++] : -1;
}

/* One read, descriptors included. */
static enum old_verdict fill(struct old_process *o)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(FDS_A_READ * sizeof(int))];
	} control;
	struct iovec iov;
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.room,
			     .msg_controllen = sizeof(control.room)};
	ssize_t n;

	/* To the front first, so that only a large message makes it grow: keys are in small ones, and none is left behind. */
	if (o->in.start > 0) {
		memmove(o->in.data, o->in.data + o->in.start, buf_len(&o->in));
		o->in.end -= o->in.start;
		o->in.start = 0;
	}
	if (!buf_reserve(&o->in, READ_BYTES))
		return broken("out of memory");
	iov = (struct iovec){o->in.data + o->in.end, READ_BYTES};
	n = recvmsg(o->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
		return OLD_OK;
	if (n <= 0)
		return OLD_GONE;
	o->in.end += (size_t)n;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&msg); h; h = CMSG_NXTHDR(&msg, h))
		if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS)
			keep_fds(o, h);
	if (msg.msg_flags & MSG_CTRUNC)
		return broken("too few file descriptors for those of the old process (see ulimit -n)");
	return OLD_OK;
}

/* The next message: its header in *f, its first byte at buf_data(&o->in); the caller takes f->len bytes off. */
static enum old_verdict next_message(struct old_process *o, usec_t deadline, struct frame *f)
{
	for (;;) {
		enum old_verdict v;

		switch (frame_parse(buf_span(&o->in).ptr, buf_len(&o->in), MESSAGE_MAX, 0, f)) {
		case PROTO_OK:
			if (f->len <= buf_len(&o->in))
				return OLD_OK;
			break;
		case PROTO_BAD:
			return broken("the old process sent what is no message");
		case PROTO_MORE:
			break;
		}
		v = wait_for(o, POLLIN, deadline);
		if (v == OLD_OK)
			v = fill(o);
		else if (v == OLD_GONE)
			v = broken("the old process does not answer");
		if (v != OLD_OK)
			return v;
	}
}

/* --- answers ----------------------------------------------------------------------- */

static void keep_error(struct old_process *o, struct span body)
{
	struct error_fields e;

	error_fields_parse(body, &e);
	snprintf(o->error, sizeof(o->error), "%s: %s", e.severity ? e.severity : "ERROR",
		 e.message ? e.message : "");
}

static void forget_columns(struct old_process *o)
{
	for (size_t i = 0; i < o->column_count; i++)
		free(o->columns[i].name);
	o->column_count = 0;
}

static bool read_heading(struct old_process *o, struct span body)
{
	struct reader r = reader_over_span(body);
	uint16_t n = reader_u16(&r);

	forget_columns(o);
	if (n > COLUMNS_MAX)
		return false;
	for (; o->column_count < n && reader_ok(&r); o->column_count++) {
		o->columns[o->column_count] = (struct old_column){.name = xstrdup(reader_str(&r))};
		reader_bytes(&r, 18); /* table, number, type, sizes, format */
	}
	return reader_done(&r);
}

static bool read_row(struct old_process *o, struct span body)
{
	struct reader r = reader_over_span(body);

	if (reader_u16(&r) != o->column_count)
		return false;
	for (size_t i = 0; i < o->column_count; i++) {
		uint32_t len = reader_u32(&r);

		o->columns[i].is_null = len == UINT32_MAX;
		o->columns[i].value = o->columns[i].is_null ? span_of("", 0) : reader_bytes(&r, len);
	}
	return reader_done(&r);
}

const struct span *old_row_get(const struct old_row *row, const char *column)
{
	for (size_t i = 0; i < row->n; i++)
		if (strcmp(row->columns[i].name, column) == 0)
			return row->columns[i].is_null ? NULL : &row->columns[i].value;
	return NULL;
}

enum old_verdict old_process_ask(struct old_process *o, const char *command, usec_t patience, old_row_seen *seen,
				 void *ctx)
{
	usec_t deadline = patience > 0 ? clock_monotonic() + patience : 0;
	enum old_verdict v, outcome = OLD_OK;
	struct buf b;

	buf_init(&b);
	put_query(&b, command);
	v = send_all(o, &b);
	buf_free(&b);
	while (v == OLD_OK) {
		struct old_row row;
		struct span body;
		struct frame f;

		v = next_message(o, deadline, &f);
		if (v != OLD_OK)
			break;
		body = span_of(buf_data(&o->in) + f.header_len, f.len - f.header_len);
		switch (f.type) {
		case 'T':
			if (!read_heading(o, body))
				v = broken("a heading was not understood");
			break;
		case 'D':
			if (!read_row(o, body)) {
				v = broken("a row was not understood");
				break;
			}
			row = (struct old_row){o->column_count, o->columns};
			if (seen && !seen(ctx, &row))
				v = OLD_BROKEN;
			break;
		case 'E':
			keep_error(o, body);
			outcome = OLD_REFUSED;
			break;
		case 'Z':
			buf_take(&o->in, f.len);
			return outcome;
		case 'C':
		case 'N':
		case 'S':
			break;
		default:
			v = broken("an answer was not understood");
		}
		buf_take(&o->in, f.len);
	}
	return v == OLD_GONE && outcome == OLD_REFUSED ? OLD_REFUSED : v;
}

/* --- the beginning -------------------------------------------------------------------- */

static enum old_verdict log_in(struct old_process *o)
{
	static const char *const who[] = {"user", CONSOLE_DATABASE, "database", CONSOLE_DATABASE};
	usec_t deadline = clock_monotonic() + LOGIN_PATIENCE;
	enum old_verdict v;
	struct buf b;

	buf_init(&b);
	put_startup(&b, who, 2);
	v = send_all(o, &b);
	buf_free(&b);
	while (v == OLD_OK) {
		struct span body;
		struct frame f;

		v = next_message(o, deadline, &f);
		if (v != OLD_OK)
			break;
		body = span_of(buf_data(&o->in) + f.header_len, f.len - f.header_len);
		if (f.type == 'Z') {
			buf_take(&o->in, f.len);
			return OLD_OK;
		}
		if (f.type == 'E') {
			keep_error(o, body);
			return OLD_REFUSED;
		}
		if (f.type == 'R' && (body.len < 4 || memcmp(body.ptr, "\0\0\0\0", 4) != 0))
			v = broken("the old process wants a password: does it run as another Unix user?");
		buf_take(&o->in, f.len);
	}
	return v;
}

/* Descriptors are taken from our own Unix user only. */
static bool is_our_own(int fd)
{
	pid_t pid;
	uid_t uid;

	return socket_peer_cred(fd, &pid, &uid) && uid == geteuid();
}

static enum old_verdict connect_to(struct old_process *o, const char *dir, int port)
{
	union sock_addr a;
	socklen_t len;

	if (!sock_addr_unix(dir, port, &a, &len))
		return broken("unix_socket_dir is too long");
	o->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (o->fd < 0)
		return broken(strerror(errno));
	if (connect(o->fd, &a.sa, len) < 0) {
		if (errno == ENOENT || errno == ECONNREFUSED)
			return OLD_GONE;
		return broken(strerror(errno));
	}
	if (!is_our_own(o->fd))
		return broken("the process at the Unix socket is another Unix user's");
	return OLD_OK;
}

enum old_verdict old_process_connect(const char *unix_dir, int port, struct old_process **out)
{
	struct old_process *o = xcalloc(1, sizeof(*o));
	enum old_verdict v;

	o->fd = o->signals = -1;
	buf_init(&o->in);
	o->connected_at = clock_monotonic();
	snprintf(o->prefix, sizeof(o->prefix), "S-%p: %s/%s@unix:%d ", (const void *)o, CONSOLE_DATABASE,
		 CONSOLE_DATABASE, port);
	buf_reserve(&o->in, 2 * READ_BYTES);
	v = watch_signals(o) ? connect_to(o, unix_dir, port) : broken(strerror(errno));
	if (v == OLD_OK) {
		log_info("takeover_init: launching connection");
		v = log_in(o);
		/* It was there, and ended before it had told anything. */
		if (v == OLD_GONE)
			log_error("the old process closed the connection");
	}
	*out = o;
	return v;
}

static void disconnect(struct old_process *o)
{
	if (o->fd < 0)
		return;
	close(o->fd);
	o->fd = -1;
	log_info("%sclosing because: disko over (age=%llds)", o->prefix,
		 (long long)((clock_monotonic() - o->connected_at) / USEC_PER_SEC));
}

void old_process_free(struct old_process *o)
{
	if (!o)
		return;
	if (o->fd >= 0)
		close(o->fd);
	while (o->fd_at < o->fd_count)
		close(o->fds[o->fd_at++]);
	if (o->signals >= 0)
		close(o->signals);
	forget_columns(o);
	buf_wipe_free(&o->in);
	free(o->fds);
	free(o);
}

/* --- the end ------------------------------------------------------------------------- */

enum old_verdict old_process_shut_down(struct old_process *o)
{
	usec_t deadline = clock_monotonic() + SHUTDOWN_PATIENCE;
	enum old_verdict v;
	struct buf b;

	buf_init(&b);
	put_query(&b, "SHUTDOWN;");
	v = send_all(o, &b);
	buf_free(&b);
	while (v == OLD_OK) {
		struct frame f;

		v = next_message(o, deadline, &f);
		if (v != OLD_OK)
			break;
		if (f.type == 'E') {
			keep_error(o, span_of(buf_data(&o->in) + f.header_len, f.len - f.header_len));
			v = OLD_REFUSED;
		}
		buf_take(&o->in, f.len);
	}
	if (v != OLD_GONE)
		return v;
	disconnect(o);
	return OLD_OK;
}

bool process_runs(pid_t pid)
{
	bool runs = true;
#ifdef SYS_pidfd_open
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = {.fd = fd, .events = POLLIN};

	if (fd >= 0) {
		runs = poll(&p, 1, 0) == 0;
		close(fd);
		return runs;
	}
	if (errno == ESRCH)
		return false;
#endif
	/* An old kernel, or a filter that does not know the call. */
	return kill(pid, 0) == 0 || errno != ESRCH;
}

enum old_verdict old_process_wait_end(struct old_process *o, pid_t pid, const char *pidfile)
{
	bool has_pidfile = pidfile && *pidfile;
	usec_t deadline = clock_monotonic() + END_PATIENCE;

	while (clock_monotonic() < deadline) {
		enum old_verdict v;

		if ((pid > 0 && !process_runs(pid)) || (has_pidfile && pidfile_read(pidfile) == 0))
			return OLD_OK;
		if (pid <= 0 && !has_pidfile)
			return OLD_OK;
		v = wait_for(o, 0, clock_monotonic() + END_POLL_MSEC * 1000);
		if (v != OLD_GONE)
			return v;
	}
	return broken("the old process has closed its console, and runs on");
}
