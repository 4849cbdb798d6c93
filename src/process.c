#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/hash.h"
#include "lib/mem.h"

#define PIDFILE_MAX 128

#define ROOM_BEHIND 64

/* What the configuration does not show: listeners, log, DNS, standard streams; and each Worker's own. */
#define FDS_OF_THE_PROCESS 32
#define FDS_OF_A_WORKER 4

static char *pidfile_written; /* owned; NULL: none */

void process_harden(void)
{
	const struct rlimit none = {0, 0};

#ifdef DEVELOPER
	if (getenv("PGECDSA_ALLOW_CORE"))
		return;
#endif
	if (setrlimit(RLIMIT_CORE, &none) < 0)
		log_warning("could not forbid core files: %s", strerror(errno));
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		log_warning("could not make the process undumpable: %s", strerror(errno));
}

static bool given(const char *text)
{
	return text && *text;
}

static const struct passwd *find_user(const char *user)
{
	const struct passwd *pw = getpwnam(user);

	if (!pw)
		log_fatal("could not find user '%s' to switch to", user);
	return pw;
}

static int cannot_become(const char *user)
{
	log_fatal("failed to assume identity of user '%s': %s", user, strerror(errno));
	return -1;
}

/* Not by log_line(): there is no log yet, and -q must not hide why. */
static void tell_log_failure(const char *file)
{
	int err = errno;
	char stamp[40], zone[16];
	struct timeval tv;
	struct tm tm;

	gettimeofday(&tv, NULL);
	localtime_r(&tv.tv_sec, &tm);
	strftime(stamp, sizeof(stamp), "%Y-%m-%d %H:%M:%S", &tm);
	strftime(zone, sizeof(zone), "%Z", &tm);
	fprintf(stderr, "%s.%03d %s %d FATAL Cannot open logfile: '%s': %s\n", stamp, (int)(tv.tv_usec / 1000), zone,
		(int)getpid(), file, strerror(err));
}

int process_open_log(const struct log_setup *setup, const char *user)
{
	const struct passwd *pw = NULL;
	int ret;

	if (given(user) && geteuid() == 0) {
		pw = find_user(user);
		if (!pw)
			return -1;
		if (initgroups(user, pw->pw_gid) < 0 || setegid(pw->pw_gid) < 0 || seteuid(pw->pw_uid) < 0)
			return cannot_become(user);
	}
	ret = log_configure(setup);
	if (ret < 0)
		tell_log_failure(setup->file);
	if (pw && (seteuid(0) < 0 || setegid(getgid()) < 0))
		return cannot_become("root");
	return ret;
}

int process_switch_user(const char *user)
{
	const struct passwd *pw;

	if (!given(user))
		return 0;
	pw = find_user(user);
	if (!pw)
		return -1;
	if (getuid() == 0 && initgroups(user, pw->pw_gid) < 0)
		return cannot_become(user);
	if (setgid(pw->pw_gid) < 0 || setuid(pw->pw_uid) < 0)
		return cannot_become(user);
	return 0;
}

bool process_is_root(void)
{
	return getuid() == 0 || geteuid() == 0;
}

/* A set: only the keys matter. Without memory it stays smaller, and so does an estimate. */
static void add_name(struct hash *names, const char *name)
{
	if (given(name))
		hash_put_str(names, name, names);
}

/* Users a pool may be made for: of auth_file, of [users], the auth_user of a database, and the console's. */
static int64_t known_users(const struct config *c)
{
	struct hash names;
	int64_t n;

	hash_init(&names);
	add_name(&names, CONSOLE_DATABASE);
	for (size_t i = 0; i < config_secret_count(c); i++)
		add_name(&names, config_secret_at(c, i)->user);
	for (size_t i = 0; i < config_user_count(c); i++)
		add_name(&names, config_user_at(c, i)->name);
	for (size_t i = 0; i < config_database_count(c); i++)
		add_name(&names, config_database_at(c, i)->auth_user);
	n = (int64_t)names.count;
	hash_free(&names);
	return n;
}

static int64_t expected_descriptors(const struct config *c)
{
	const struct settings *s = config_settings(c);
	/* The console is a database, too, with a pool of two. */
	int64_t users = known_users(c), n = (int64_t)s->max_client_conn + 10 + 2;

	for (size_t i = 0; i < config_database_count(c); i++) {
		const struct database_def *db = config_database_at(c, i);
		int size = db->pool_size >= 0 ? db->pool_size : s->default_pool_size;

		if (size > 0)
			n += db->user ? size : size * users;
	}
	return n;
}

/* The limit in force then, in *limit. false: not known. */
static bool raise_limit(int64_t wanted, struct rlimit *limit)
{
	struct rlimit raised;

	if (getrlimit(RLIMIT_NOFILE, limit) < 0) {
		log_warning("could not read the file descriptor limit: %s", strerror(errno));
		return false;
	}
	if (wanted <= 0 || limit->rlim_cur == RLIM_INFINITY || limit->rlim_cur >= (rlim_t)wanted)
		return true;
	raised = *limit;
	raised.rlim_cur = limit->rlim_max == RLIM_INFINITY || limit->rlim_max > (rlim_t)wanted ? (rlim_t)wanted :
												 limit->rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
		*limit = raised;
	return true;
}

void process_make_room_behind(int fd)
{
	struct rlimit limit;

	/* By half as much again, so that thousands of them ask seldom. */
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
	    limit.rlim_cur < (rlim_t)fd + ROOM_BEHIND)
		raise_limit((int64_t)fd + fd / 2 + ROOM_BEHIND, &limit);
}

void process_descriptor_limit(const struct config *c, int workers)
{
	int64_t expected = expected_descriptors(c);
	struct rlimit limit;

	if (raise_limit(expected + FDS_OF_THE_PROCESS + (int64_t)FDS_OF_A_WORKER * workers, &limit))
		log_info("kernel file descriptor limit: %lld (hard: %lld); max_client_conn: %d, max expected fd use: %lld",
			 (long long)limit.rlim_cur, (long long)limit.rlim_max, config_settings(c)->max_client_conn,
			 (long long)expected);
}

/* The first process to come back here is the one that goes on; the others leave without clean-up of their copies. */
static int fork_and_leave(void)
{
	pid_t pid = fork();

	if (pid < 0) {
		log_fatal("fork failed: %s", strerror(errno));
		return -1;
	}
	if (pid > 0)
		_exit(0);
	return 0;
}

int process_daemonize(void)
{
	int fd = open("/dev/null", O_RDWR);

	if (fd < 0) {
		log_fatal("could not open /dev/null: %s", strerror(errno));
		return -1;
	}
	for (int i = 0; i < 3; i++)
		dup2(fd, i);
	if (fd > 2)
		close(fd);
	if (fork_and_leave() < 0)
		return -1;
	if (setsid() < 0) {
		log_fatal("setsid failed: %s", strerror(errno));
		return -1;
	}
	/* The second fork: no longer leader of the session, it can never get a terminal. */
	return fork_and_leave();
}

static int pidfile_in_the_way(const char *path)
{
	log_fatal("pidfile '%s' exists, another instance running?", path);
	return -1;
}

long pidfile_read(const char *path)
{
	struct file_text file;
	long pid;

	if (!given(path))
		return 0;
	if (file_read(path, PIDFILE_MAX, NULL, &file) < 0)
		return errno == ENOENT ? 0 : PIDFILE_UNREADABLE;
	pid = strtol(file.text, NULL, 10);
	/* kill() takes what fits in no pid_t for a group, or everybody. */
	if (pid <= 0 || pid > INT_MAX)
		pid = PIDFILE_NO_NUMBER;
	file_text_free(&file);
	return pid;
}

int pidfile_check(const char *path)
{
	long pid = pidfile_read(path);

	if (pid == 0)
		return 0;
	if (pid == PIDFILE_UNREADABLE) {
		log_fatal("could not open pidfile '%s': %s", path, strerror(errno));
		return -1;
	}
	/* Our own number: left by the last run of a container, where we are always process 1. */
	if (pid < 0 || (pid != getpid() && (kill((pid_t)pid, 0) == 0 || errno != ESRCH)))
		return pidfile_in_the_way(path);
	log_info("stale pidfile, removing");
	if (unlink(path) < 0 && errno != ENOENT) {
		log_fatal("could not remove pidfile '%s': %s", path, strerror(errno));
		return -1;
	}
	return 0;
}

int pidfile_write(const char *path)
{
	int fd;

	if (!given(path))
		return 0;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0) {
		log_fatal("could not open pidfile '%s': %s", path, strerror(errno));
		return -1;
	}
	if (dprintf(fd, "%d\n", (int)getpid()) < 0) {
		log_fatal("could not write pidfile '%s': %s", path, strerror(errno));
		close(fd);
		unlink(path);
		return -1;
	}
	close(fd);
	pidfile_written = xstrdup(path);
	return 0;
}

void pidfile_remove(void)
{
	if (!pidfile_written)
		return;
	if (unlink(pidfile_written) < 0 && errno != ENOENT)
		log_warning("could not remove pidfile '%s': %s", pidfile_written, strerror(errno));
	free(pidfile_written);
	pidfile_written = NULL;
}
