#include "backup/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backup/event.h"
#include "backup/loop.h"
#include "lib/mem.h"

#define PIPE_BYTES (1 << 20)
#define LINE_BYTES 2048
/* A grandchild may hold standard error open after the child has gone. */
#define WORDS_LINGER (USEC_PER_SEC)

struct family {
	struct loop *loop; /* borrowed */
	struct list children;
	int signal_fd; /* owned */
	struct loop_watch watch;
};

struct child {
	struct family *family; /* borrowed */
	struct list link;
	const char *name; /* borrowed: a literal */
	pid_t pid;
	int in, out, err; /* owned; -1: none, or closed */
	struct loop_watch in_watch, out_watch, err_watch;
	bool can_write, can_read;
	bool has_exited, is_over; /* is_over: and standard error is at its end */
	int status;
	struct loop_timer linger;
	char line[LINE_BYTES]; /* the unfinished line of standard error */
	size_t line_len;
	bool is_line_cut;
	char words[CHILD_LAST_WORDS + 1]; /* the kept end, whole lines, oldest first */
	size_t words_len;
};

/* ---- reaping ---- */

static void judge_over(struct child *c)
{
	if (!c->has_exited || c->is_over)
		return;
	if (c->err < 0)
		c->is_over = true;
	else if (c->linger.due == 0)
		loop_timer_set(c->family->loop, &c->linger, loop_now() + WORDS_LINGER);
}

static void reap(struct family *f)
{
	/* Each by its number: others of this process, if there are any, are not ours to bury. */
	LIST_FOR(n, &f->children) {
		struct child *c = LIST_ITEM(n, struct child, link);

		if (!c->has_exited && waitpid(c->pid, &c->status, WNOHANG) == c->pid) {
			c->has_exited = true;
			judge_over(c);
		}
	}
}

static void on_sigchld(struct loop_watch *w, short revents)
{
	struct family *f = CONTAINER_OF(w, struct family, watch);
	struct signalfd_siginfo info;

	(void)revents;
	while (read(f->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		;
	reap(f);
}

struct family *family_new(struct loop *loop)
{
	struct family *f = xcalloc(1, sizeof(*f));
	sigset_t set;

	f->loop = loop;
	list_init(&f->children);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	f->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (f->signal_fd < 0) {
		log_fatal("signalfd: %s", strerror(errno));
		exit(1);
	}
	f->watch.ready = on_sigchld;
	loop_watch_set(loop, &f->watch, f->signal_fd, POLLIN);
	return f;
}

void family_free(struct family *f)
{
	if (!f)
		return;
	while (!list_empty(&f->children))
		child_free(LIST_ITEM(f->children.next, struct child, link));
	loop_watch_clear(f->loop, &f->watch);
	close(f->signal_fd);
	free(f);
}

/* ---- standard error ---- */

/*
 * Messages of the server may quote rows: DETAIL does as a rule, CONTEXT of a
 * COPY behind its line number. The log is not the place for them.
 */
static void withhold_data(char *line)
{
	static const char *const detail = "DETAIL:", *const context = "CONTEXT:";
	char *at = strstr(line, detail), *column;

	if (at) {
		strcpy(at + strlen(detail), " (withheld)");
		return;
	}
	at = strstr(line, context);
	if (!at || !strstr(at, "COPY "))
		return;
	column = strstr(at, ", line ");
	if (column) {
		column += strlen(", line ");
		column += strspn(column, "0123456789");
		*column = 0;
	}
}

static void keep_line(struct child *c)
{
	size_t len;

	c->line[c->line_len] = 0;
	withhold_data(c->line);
	len = strlen(c->line);
	c->line_len = 0;
	c->is_line_cut = false;
	if (len == 0)
		return;
	EVENT(LEVEL_DEBUG, "child", F_TEXT("program", c->name), F_TEXT("says", c->line));
	c->line[len++] = '\n';
	while (c->words_len + len > CHILD_LAST_WORDS) {
		const char *nl = memchr(c->words, '\n', c->words_len);
		size_t drop = (size_t)(nl - c->words) + 1;

		memmove(c->words, c->words + drop, c->words_len - drop);
		c->words_len -= drop;
	}
	memcpy(c->words + c->words_len, c->line, len);
	c->words_len += len;
	c->words[c->words_len] = 0;
}

static void take_words(struct child *c, const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] == '\n')
			keep_line(c);
		else if (c->line_len < LINE_BYTES - 16) /* room for a line end, and for what withhold_data() writes */
			c->line[c->line_len++] = bytes[i] ? bytes[i] : '?';
		else
			c->is_line_cut = true;
	}
}

static void close_err(struct child *c)
{
	loop_watch_clear(c->family->loop, &c->err_watch);
	close(c->err);
	c->err = -1;
	if (c->line_len > 0)
		keep_line(c);
	judge_over(c);
}

static void on_words(struct loop_watch *w, short revents)
{
	struct child *c = CONTAINER_OF(w, struct child, err_watch);
	char buf[8192];
	ssize_t n = read(c->err, buf, sizeof(buf));

	(void)revents;
	if (n > 0)
		take_words(c, buf, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		close_err(c);
}

static void on_linger(struct loop_timer *t)
{
	struct child *c = CONTAINER_OF(t, struct child, linger);

	if (c->err >= 0) {
		kill(-c->pid, SIGKILL); /* somebody of its group is there, so the number is still theirs */
		close_err(c);
	}
}

/* ---- the start ---- */

static void keep_only(const struct child_spec *spec, int report_fd)
{
	int most = (int)sysconf(_SC_OPEN_MAX);

	/* Libraries open sockets that they do not mark. */
#ifdef SYS_close_range
	if (syscall(SYS_close_range, 3, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */) == 0)
		most = 0;
#endif
	for (int fd = 3; fd < most && fd < 65536; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	fcntl(report_fd, F_SETFD, FD_CLOEXEC);
	if (spec->pass_fd)
		fcntl(spec->pass_fd, F_SETFD, 0);
	if (spec->also_pass_fd)
		fcntl(spec->also_pass_fd, F_SETFD, 0);
}

/* In the child: async-signal-safe calls alone. */
static void become(const struct child_spec *spec, int in, int out, int err, int report, pid_t parent)
{
	sigset_t none;
	int error;

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(127); /* it died before that was set */
	for (int s = 1; s < NSIG; s++)
		if (s != SIGKILL && s != SIGSTOP)
			signal(s, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	umask(077);
	/* The three may stand in each other's way: they were opened above 2 on purpose. */
	if (chdir("/") < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
		_exit(127);
	keep_only(spec, report);
	execve(spec->path, spec->argv, spec->envp);
	error = errno;
	if (write(report, &error, sizeof(error)) < 0)
		_exit(126);
	_exit(127);
}

/* A pipe whose ends are above the standard streams, even when those are closed. */
static int open_pipe(int ends[2])
{
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	for (int i = 0; i < 2; i++)
		if (ends[i] <= 2) {
			int higher = fcntl(ends[i], F_DUPFD_CLOEXEC, 3);

			close(ends[i]);
			ends[i] = higher;
		}
	return ends[0] < 0 || ends[1] < 0 ? -1 : 0;
}

static void close_all(int (*pipes)[2], size_t count)
{
	for (size_t i = 0; i < count; i++)
		for (int k = 0; k < 2; k++)
			if (pipes[i][k] >= 0)
				close(pipes[i][k]);
}

static void ours(int fd, bool is_bulk)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	if (is_bulk)
		fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES); /* fewer turns; no matter if it is refused */
}

static void on_in(struct loop_watch *w, short revents)
{
	struct child *c = CONTAINER_OF(w, struct child, in_watch);

	(void)revents;
	c->can_write = true;
	loop_watch_clear(c->family->loop, w);
}

static void on_out(struct loop_watch *w, short revents)
{
	struct child *c = CONTAINER_OF(w, struct child, out_watch);

	(void)revents;
	c->can_read = true;
	loop_watch_clear(c->family->loop, w);
}

static struct child *adopt(struct family *f, const struct child_spec *spec, pid_t pid, int in, int out, int err)
{
	struct child *c = xcalloc(1, sizeof(*c));

	c->family = f;
	c->name = spec->name;
	c->pid = pid;
	c->in = in;
	c->out = out;
	c->err = err;
	c->in_watch.ready = on_in;
	c->out_watch.ready = on_out;
	c->err_watch.ready = on_words;
	c->linger.fire = on_linger;
	if (in >= 0)
		ours(in, true);
	if (out >= 0)
		ours(out, true);
	ours(err, false);
	list_add_tail(&f->children, &c->link);
	loop_watch_set(f->loop, &c->err_watch, err, POLLIN);
	return c;
}

struct child *child_start(struct family *f, const struct child_spec *spec, char *why, size_t cap)
{
	enum { IN, OUT, ERR, REPORT, NULLS };
	int pipes[5][2] = {{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}}, error = 0;
	pid_t pid, self = getpid();
	ssize_t n;

	pipes[NULLS][0] = open("/dev/null", O_RDWR | O_CLOEXEC);
	pipes[NULLS][1] = fcntl(pipes[NULLS][0], F_DUPFD_CLOEXEC, 3);
	if (pipes[NULLS][1] < 0 || (spec->wants_stdin && open_pipe(pipes[IN]) < 0) ||
	    (spec->wants_stdout && open_pipe(pipes[OUT]) < 0) || open_pipe(pipes[ERR]) < 0 || open_pipe(pipes[REPORT]) < 0) {
		snprintf(why, cap, "%s: could not open a pipe: %s", spec->name, strerror(errno));
		close_all(pipes, ARRAY_LEN(pipes));
		return NULL;
	}
	pid = fork();
	if (pid == 0)
		become(spec, spec->wants_stdin ? pipes[IN][0] : spec->stdin_fd ? spec->stdin_fd : pipes[NULLS][1],
		       spec->wants_stdout ? pipes[OUT][1] : pipes[NULLS][1], pipes[ERR][1], pipes[REPORT][1], self);
	if (pid < 0) {
		snprintf(why, cap, "%s: could not fork: %s", spec->name, strerror(errno));
		close_all(pipes, ARRAY_LEN(pipes));
		return NULL;
	}
	setpgid(pid, pid); /* whichever of the two is first */
	close(pipes[REPORT][1]);
	pipes[REPORT][1] = -1;
	/* Ends when exec has closed the other side, or tells why it did not. */
	do
		n = read(pipes[REPORT][0], &error, sizeof(error));
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)sizeof(error)) {
		waitpid(pid, NULL, 0);
		snprintf(why, cap, "%s: could not run %s: %s", spec->name, spec->path, strerror(error));
		close_all(pipes, ARRAY_LEN(pipes));
		return NULL;
	}
	for (size_t i = 0; i < ARRAY_LEN(pipes); i++)
		for (int k = 0; k < 2; k++)
			if (pipes[i][k] >= 0 && !(i == IN && k == 1) && !(i == OUT && k == 0) && !(i == ERR && k == 0))
				close(pipes[i][k]);
	return adopt(f, spec, pid, pipes[IN][1], pipes[OUT][0], pipes[ERR][0]);
}

/* ---- talking to it ---- */

enum child_io child_read(struct child *c, void *buf, size_t cap, size_t *got)
{
	for (;;) {
		ssize_t n = c->out < 0 ? 0 : read(c->out, buf, cap);

		if (n > 0) {
			*got = (size_t)n;
			return CHILD_OK;
		}
		if (n == 0)
			return CHILD_END;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return CHILD_END;
		c->can_read = false;
		loop_watch_set(c->family->loop, &c->out_watch, c->out, POLLIN);
		if (!loop_wait(c->family->loop, &c->can_read)) {
			loop_watch_clear(c->family->loop, &c->out_watch);
			return CHILD_INTERRUPTED;
		}
	}
}

ssize_t child_read_now(struct child *c, void *buf, size_t cap)
{
	ssize_t n;

	do
		n = c->out < 0 ? 0 : read(c->out, buf, cap);
	while (n < 0 && errno == EINTR);
	return n < 0 && errno != EAGAIN ? 0 : n;
}

void child_watch_stdout(struct child *c, struct loop_watch *w)
{
	loop_watch_set(c->family->loop, w, c->out, POLLIN);
}

enum child_io child_write(struct child *c, struct span s)
{
	while (s.len > 0) {
		ssize_t n = c->in < 0 ? -1 : write(c->in, s.ptr, s.len);

		if (n > 0) {
			s = span_of(s.ptr + n, s.len - (size_t)n);
			continue;
		}
		if (c->in < 0 || (errno != EAGAIN && errno != EINTR)) {
			child_close_stdin(c); /* EPIPE: it reads no more */
			return CHILD_END;
		}
		if (errno == EINTR)
			continue;
		c->can_write = false;
		loop_watch_set(c->family->loop, &c->in_watch, c->in, POLLOUT);
		if (!loop_wait(c->family->loop, &c->can_write)) {
			loop_watch_clear(c->family->loop, &c->in_watch);
			return CHILD_INTERRUPTED;
		}
	}
	return CHILD_OK;
}

void child_close_stdin(struct child *c)
{
	loop_watch_clear(c->family->loop, &c->in_watch);
	if (c->in >= 0)
		close(c->in);
	c->in = -1;
}

void child_close_stdout(struct child *c)
{
	loop_watch_clear(c->family->loop, &c->out_watch);
	if (c->out >= 0)
		close(c->out);
	c->out = -1;
}

bool child_wait(struct child *c)
{
	return loop_wait(c->family->loop, &c->is_over);
}

bool child_wait_until(struct child *c, usec_t deadline)
{
	return loop_wait_until(c->family->loop, &c->is_over, deadline) == LOOP_DONE;
}

bool child_wait_through(struct child *c, usec_t deadline)
{
	return loop_wait_through(c->family->loop, &c->is_over, deadline);
}

void child_give(struct child *c, struct span s)
{
	while (s.len > 0 && c->in >= 0) {
		ssize_t n = write(c->in, s.ptr, s.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		s = span_of(s.ptr + n, s.len - (size_t)n);
	}
}

static void send_signal(const struct child *c, int signal)
{
	/* The group, for wrappers that start another program; gone groups are no error. */
	if (kill(-c->pid, signal) < 0 && !c->has_exited)
		kill(c->pid, signal);
}

void child_terminate(struct child *c)
{
	if (c->is_over || c->has_exited)
		return;
	send_signal(c, SIGTERM);
	/* Whatever it still writes is of no use, and it must not block on it. */
	child_close_stdout(c);
	child_close_stdin(c);
}

void child_kill(struct child *c, usec_t grace)
{
	bool is_done;

	if (c->is_over)
		return;
	if (!c->has_exited && grace > 0) {
		child_terminate(c);
		if (loop_wait_through(c->family->loop, &c->has_exited, loop_now() + grace))
			send_signal(c, SIGKILL); /* the rest of its group */
	}
	if (!c->has_exited)
		send_signal(c, SIGKILL);
	is_done = loop_wait_through(c->family->loop, &c->is_over, loop_now() + CHILD_GRACE);
	/* It hangs in the kernel: nothing more can be done than to say so. */
	if (!is_done)
		EVENT(LEVEL_WARNING, "child", F_TEXT("program", c->name), F_INT("pid", c->pid),
		      F_TEXT("warning", "could not be killed"));
}

void child_free(struct child *c)
{
	if (!c)
		return;
	child_kill(c, 0);
	child_close_stdin(c);
	child_close_stdout(c);
	loop_timer_clear(c->family->loop, &c->linger);
	loop_watch_clear(c->family->loop, &c->err_watch);
	if (c->err >= 0)
		close(c->err);
	list_del(&c->link);
	free(c);
}

/* ---- what became of it ---- */

bool child_is_over(const struct child *c)
{
	return c->is_over;
}

bool child_succeeded(const struct child *c)
{
	return child_exit_code(c) == 0;
}

int child_exit_code(const struct child *c)
{
	return c->has_exited && WIFEXITED(c->status) ? WEXITSTATUS(c->status) : -1;
}

const char *child_fate(const struct child *c, char out[96])
{
	if (!c->has_exited)
		snprintf(out, 96, "is still running");
	else if (WIFEXITED(c->status))
		snprintf(out, 96, "exited with status %d", WEXITSTATUS(c->status));
	else
		snprintf(out, 96, "was ended by signal %d (%s)", WTERMSIG(c->status), strsignal(WTERMSIG(c->status)));
	return out;
}

const char *child_last_words(struct child *c, size_t max)
{
	const char *nl;

	if (c->words_len <= max)
		return c->words;
	/* From the next whole line on, if there is one. */
	nl = strchr(c->words + c->words_len - max, '\n');
	return nl && nl[1] ? nl + 1 : c->words + c->words_len - max;
}

bool child_said(const struct child *c, const char *text)
{
	return strstr(c->words, text) != NULL;
}

bool child_run(struct family *f, const struct child_spec *spec, char *out, size_t cap, char *why, size_t why_cap)
{
	struct child_spec with_output = *spec;
	struct child *c;
	enum child_io io = CHILD_OK;
	size_t len = 0;
	char spill[512], fate[96];
	bool ok = false;

	with_output.wants_stdout = true;
	c = child_start(f, &with_output, why, why_cap);
	if (!c)
		return false;
	while (io == CHILD_OK) {
		size_t got = 0;
		bool is_full = len + 1 >= cap;

		io = child_read(c, is_full ? spill : out + len, is_full ? sizeof(spill) : cap - 1 - len, &got);
		if (io == CHILD_OK && !is_full)
			len += got;
	}
	out[len] = 0;
	if (io == CHILD_INTERRUPTED || !child_wait(c))
		snprintf(why, why_cap, "%s: interrupted", spec->name);
	else if (!child_succeeded(c))
		snprintf(why, why_cap, "%s %s: %s", spec->name, child_fate(c, fate), child_last_words(c, 500));
	else
		ok = true;
	child_free(c);
	return ok;
}
