#include "container/children.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/mem.h"

#define SEARCH_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define STEP_POLL_MS 1000
#define ORPHAN_POLL_MS 20
#define ERRORS_MAX 65536

static struct child {
	char *name; /* owned */
	pid_t pid;  /* 0: not up */
	int status;
	bool was_up;
} children[CHILD_COUNT];

static const struct plan *plan; /* borrowed */
static sigset_t taken;
static int stops, last_stop;
static bool wants_reload;

void children_begin(const struct plan *p)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGCHLD, SIGUSR1, SIGUSR2};

	plan = p;
	sigemptyset(&taken);
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		sigaddset(&taken, signals[i]);
	sigprocmask(SIG_BLOCK, &taken, NULL);
	signal(SIGPIPE, SIG_IGN);
	/* When we are not process 1, orphans come to us all the same. */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		log_warning("orphans are not ours to reap: %s", strerror(errno));
}

/* ---- the environment of a child, made from nothing ---- */

static bool starts_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

static bool is_plain(const char *name)
{
	static const char *const names[] = {"TZ", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR",
					    "LDAPTLS_CACERT"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
#ifdef DEVELOPER
	if (starts_with(name, "PGECDSA_") || strcmp(name, "ASAN_OPTIONS") == 0 || strcmp(name, "UBSAN_OPTIONS") == 0 ||
	    strcmp(name, "LSAN_OPTIONS") == 0 || strcmp(name, "TSAN_OPTIONS") == 0)
		return true;
#endif
	return false;
}

static bool is_for_backup(const char *name)
{
	static const char *const names[] = {"PGPASSFILE", "http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY",
					    "all_proxy",  "ALL_PROXY"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	/* An unknown BACKUP_ variable goes along, for the warning about it. */
	return starts_with(name, "BACKUP_") || starts_with(name, "AWS_") || is_backup_variable(name);
}

static char **make_environment(enum child_environment kind)
{
	const char *name, *value;
	size_t n = 0;
	char **list;

	while (variables_each(plan->variables, n, &name, &value))
		n++;
	list = xcalloc(n + 3, sizeof(*list));
	n = 0;
	list[n++] = xstrdup(SEARCH_PATH);
	list[n++] = xstrdup("HOME=/");
	for (size_t i = 0; variables_each(plan->variables, i, &name, &value); i++)
		if (*value && (is_plain(name) || (kind == ENV_BACKUP && is_for_backup(name))))
			list[n++] = xasprintf("%s=%s", name, value);
	return list;
}

static void free_environment(char **list)
{
	for (char **at = list; *at; at++)
		str_wipe_free(*at);
	free(list);
}

/* ---- starting ---- */

static int memory_file(const struct buf *content)
{
	int fd = memfd_create("container", MFD_CLOEXEC);

	if (fd < 0)
		return -1;
	if (content && (write(fd, buf_span(content).ptr, buf_len(content)) != (ssize_t)buf_len(content) ||
			lseek(fd, 0, SEEK_SET) < 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

static void become(const struct user *u)
{
	if (u->name && (initgroups(u->name, u->gid) < 0 || setgid(u->gid) < 0 || setuid(u->uid) < 0)) {
		dprintf(2, "could not become %s: %s\n", u->name, strerror(errno));
		_exit(126);
	}
}

/* In the child. What is written to standard error here is of no interest to anybody but who reads the log. */
static void run_child(const struct command *c, char **environment, int in, int out, int err, pid_t parent)
{
	sigset_t none;

	setsid(); /* a ^C is for the container, which stops us in order */
	if ((in >= 0 ? dup2(in, 0) : dup2(open("/dev/null", O_RDONLY), 0)) < 0 || (out >= 0 && dup2(out, 1) < 0) ||
	    (err >= 0 && dup2(err, 2) < 0))
		_exit(126);
	become(c->user);
	/* After the change of user, which would clear it. */
	prctl(PR_SET_PDEATHSIG, c->death_signal ? c->death_signal : SIGTERM);
	if (getppid() != parent)
		_exit(126);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	umask(022); /* what is private lies in directories that are */
	if (chdir("/") < 0)
		_exit(126);
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(c->argv[0], (char *const *)(uintptr_t)c->argv, environment);
	dprintf(2, "could not run %s: %s\n", c->argv[0], strerror(errno));
	_exit(127);
}

static bool start(enum child_id id, const struct command *c, int err)
{
	struct child *k = &children[id];
	char **environment = make_environment(c->environment);
	int in = c->input ? memory_file(c->input) : -1;
	int out = c->is_quiet ? open("/dev/null", O_WRONLY | O_CLOEXEC) : -1;
	pid_t parent = getpid();
	bool ok = true;

	k->pid = -1;
	if (c->input && in < 0)
		ok = false;
	else {
		k->pid = fork();
		if (k->pid == 0)
			run_child(c, environment, in, out, err, parent);
		ok = k->pid > 0;
	}
	if (!ok) {
		log_error("could not start %s: %s", c->name, strerror(errno));
		k->pid = 0;
	} else {
		free(k->name);
		k->name = xstrdup(c->name);
		k->was_up = true;
		k->status = 0;
	}
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	free_environment(environment);
	return ok;
}

bool child_start(enum child_id id, const struct command *c)
{
	return start(id, c, -1);
}

/* ---- what happens ---- */

static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (int id = 0; id < CHILD_COUNT; id++)
			if (children[id].pid == pid) {
				children[id].pid = 0;
				children[id].status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
			}
}

void children_wait(int milliseconds)
{
	const struct timespec limit = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000L};

	switch (sigtimedwait(&taken, NULL, &limit)) {
	case SIGTERM:
		last_stop = SIGTERM;
		stops++;
		break;
	case SIGINT:
		last_stop = SIGINT;
		stops++;
		break;
	case SIGQUIT:
		last_stop = SIGQUIT;
		stops++;
		break;
	case SIGHUP:
		wants_reload = true;
		break;
	}
	reap();
}

void children_wait_for_orphans(int milliseconds)
{
	while (milliseconds > 0 && (waitpid(-1, NULL, WNOHANG) >= 0 || errno != ECHILD)) {
		children_wait(ORPHAN_POLL_MS);
		milliseconds -= ORPHAN_POLL_MS;
	}
}

int stop_signals(void)
{
	return stops;
}

int stop_signal(void)
{
	return last_stop;
}

bool reload_is_wanted(void)
{
	bool was = wants_reload;

	wants_reload = false;
	return was;
}

bool child_is_up(enum child_id id)
{
	return children[id].pid > 0;
}

void child_signal(enum child_id id, int signal)
{
	if (children[id].pid > 0)
		kill(children[id].pid, signal);
}

int child_status(enum child_id id)
{
	return children[id].status;
}

const char *child_name(enum child_id id)
{
	return children[id].name;
}

enum child_id child_that_ended(void)
{
	for (int id = 0; id < CHILD_STEP; id++)
		if (children[id].was_up && children[id].pid == 0)
			return (enum child_id)id;
	return CHILD_COUNT;
}

int child_run(const struct command *c)
{
	int err = c->errors ? memory_file(NULL) : -1, stops_seen = stops;
	bool was_told = false;

	if ((c->errors && err < 0) || !start(CHILD_STEP, c, err)) {
		if (err >= 0)
			close(err);
		return 126;
	}
	while (child_is_up(CHILD_STEP)) {
		children_wait(STEP_POLL_MS);
		/* A second signal is passed on as well: it means more haste. */
		if (stops > stops_seen || (!was_told && child_that_ended() != CHILD_COUNT)) {
			child_signal(CHILD_STEP, SIGTERM);
			was_told = true;
			stops_seen = stops;
		}
	}
	if (err >= 0) {
		char bytes[4096];
		ssize_t n;

		lseek(err, 0, SEEK_SET);
		while (buf_len(c->errors) < ERRORS_MAX && (n = read(err, bytes, sizeof(bytes))) > 0)
			buf_put(c->errors, bytes, (size_t)n);
		close(err);
	}
	return child_status(CHILD_STEP);
}
