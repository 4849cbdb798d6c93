#include "lib/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "lib/mem.h"

#define LINE_MAX_BYTES 2300

atomic_int log_verbosity;

/*
 * Written at start and on RELOAD by the control role, read by everybody. The
 * descriptor keeps its number for the life of the process; syslog(3) locks by
 * itself.
 */
static atomic_bool to_stderr = true, to_syslog, is_bare, is_journal;
static atomic_uint counts[LEVEL_NOISE + 1];
static atomic_int file_fd = -1;
static void (*_Atomic diverted)(enum log_level, const char *);
static char *file_name; /* owned; control role only */
static _Thread_local struct {
	const char *file; /* borrowed; NULL: nowhere */
	int line;
} place;
static char *ident;	/* owned; syslog keeps a pointer to it */

static int facility_of(const char *word)
{
	static const struct {
		const char *word;
		int facility;
	} names[] = {
		{"auth", LOG_AUTH},	{"authpriv", LOG_AUTHPRIV}, {"daemon", LOG_DAEMON},
		{"user", LOG_USER},	{"local0", LOG_LOCAL0},	    {"local1", LOG_LOCAL1},
		{"local2", LOG_LOCAL2}, {"local3", LOG_LOCAL3},	    {"local4", LOG_LOCAL4},
		{"local5", LOG_LOCAL5}, {"local6", LOG_LOCAL6},	    {"local7", LOG_LOCAL7},
	};

	for (size_t i = 0; word && i < ARRAY_LEN(names); i++)
		if (strcmp(word, names[i].word) == 0)
			return names[i].facility;
	return LOG_DAEMON;
}

static int open_file(const char *name)
{
	int fresh = open(name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644), have;

	if (fresh < 0)
		return -1;
	have = atomic_load(&file_fd);
	if (have < 0) {
		atomic_store(&file_fd, fresh);
		return 0;
	}
	/* Other threads may be writing: the number must go on meaning a log file. */
	if (dup3(fresh, have, O_CLOEXEC) < 0) {
		close(fresh);
		return -1;
	}
	close(fresh);
	return 0;
}

/*
 * Standard error goes to the systemd journal: it stamps lines by itself, and
 * takes their priority, which says what our level would, from a "<N>" in
 * front. systemd.exec(5), JOURNAL_STREAM.
 */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, inode;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &dev, &inode) == 2 && fstat(2, &st) == 0 &&
	       (unsigned long long)st.st_dev == dev && (unsigned long long)st.st_ino == inode;
}

int log_configure(const struct log_setup *s)
{
	bool wants_file = s->file && s->file[0];

	if (wants_file) {
		if (open_file(s->file) < 0)
			return -1;
	} else if (atomic_load(&file_fd) >= 0) {
		/* Keep the number occupied: a late writer must not hit somebody's socket. */
		int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

		if (null_fd >= 0) {
			dup3(null_fd, atomic_load(&file_fd), O_CLOEXEC);
			close(null_fd);
		}
	}
	free(file_name);
	file_name = wants_file ? xstrdup(s->file) : NULL;
	if (s->to_syslog) {
		char *fresh = xstrdup(s->syslog_ident ? s->syslog_ident : "pgbouncer");

		closelog();
		openlog(fresh, LOG_PID, facility_of(s->syslog_facility));
		free(ident);
		ident = fresh;
	}
	atomic_store(&to_syslog, s->to_syslog);
	atomic_store(&to_stderr, s->to_stderr);
	atomic_store(&is_bare, s->is_bare);
	atomic_store(&is_journal, !s->is_bare && stderr_is_journal());
	return 0;
}

void log_divert(void (*sink)(enum log_level, const char *text))
{
	atomic_store(&diverted, sink);
}

void log_reopen(void)
{
	if (file_name && open_file(file_name) < 0)
		log_error("could not reopen logfile '%s': %s", file_name, strerror(errno));
}

/* Newline becomes newline + tab, other control bytes '?'; returns the length, without trailing blanks. */
static size_t tidy(const char *from, char *to, size_t cap)
{
	size_t n = 0;

	for (; *from && n + 2 < cap; from++) {
		unsigned char c = (unsigned char)*from;

		if (c == '\n') {
			to[n++] = '\n';
			to[n++] = '\t';
		} else if ((c < 0x20 && c != '\t') || c == 0x7f)
			to[n++] = '?';
		else
			to[n++] = (char)c;
	}
	while (n > 0 && strchr(" \t\r\n", to[n - 1]))
		n--;
	return n;
}

static void write_all(int fd, const char *line, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, line, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* nowhere to report it */
		line += n;
		len -= (size_t)n;
	}
}

/* A message of several lines is an entry each, so each has its priority in front. */
static void write_journal(int priority, const char *text, size_t len)
{
	char native[2 * LINE_MAX_BYTES];
	size_t n = 0;

	for (const char *end = text + len; text < end && n + LINE_MAX_BYTES < sizeof(native);) {
		const char *nl = memchr(text, '\n', (size_t)(end - text));
		int line = (int)((nl ? nl : end) - text);

		n += (size_t)snprintf(native + n, sizeof(native) - n, "<%d>%.*s\n", priority, line, text);
		text += line + 1;
	}
	write_all(2, native, n);
}

void log_at(const char *file, int line)
{
	place.file = file;
	place.line = line;
}

/* "level: message (FILE:LINE)"; fills in what stands in front and behind. */
static int bare_head(enum log_level level, char *line, size_t cap)
{
	static const char *const words[] = {"fatal", "error", "warning", "note", "debug", "noise"};

	return snprintf(line, cap, "%s: ", words[level]);
}

static void add_place(char *text, size_t cap)
{
	char where[512];
	size_t len = strlen(text), n;

	n = (size_t)snprintf(where, sizeof(where), " (%s:%d)", place.file, place.line);
	if (n < sizeof(where) && n < cap - len && !strstr(text, where))
		memcpy(text + len, where, n + 1);
}

unsigned log_count(enum log_level level)
{
	return atomic_load_explicit(&counts[level], memory_order_relaxed);
}

void log_line(enum log_level level, const char *fmt, ...)
{
	static const char *const names[] = {"FATAL", "ERROR", "WARNING", "LOG", "DEBUG", "NOISE"};
	static const int priorities[] = {LOG_CRIT, LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG, LOG_DEBUG};
	/* Many lines come within one second. */
	static _Thread_local struct {
		time_t second;
		char stamp[40], zone[16];
	} last;
	char text[LINE_MAX_BYTES - 100], line[LINE_MAX_BYTES];
	void (*sink)(enum log_level, const char *) = atomic_load_explicit(&diverted, memory_order_relaxed);
	int saved_errno = errno, head;
	struct timeval tv;
	size_t n;
	va_list ap;

	if (!log_enabled(level))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (sink) {
		atomic_fetch_add_explicit(&counts[level], 1, memory_order_relaxed);
		sink(level, text);
		errno = saved_errno;
		return;
	}
	if (atomic_load_explicit(&is_bare, memory_order_relaxed)) {
		if (place.file) {
			level = level == LEVEL_WARNING ? LEVEL_ERROR : level;
			add_place(text, sizeof(text));
		}
		atomic_fetch_add_explicit(&counts[level], 1, memory_order_relaxed);
		head = bare_head(level, line, sizeof(line));
		goto write;
	}
	atomic_fetch_add_explicit(&counts[level], 1, memory_order_relaxed);
	gettimeofday(&tv, NULL);
	if (tv.tv_sec != last.second) {
		struct tm tm;

		localtime_r(&tv.tv_sec, &tm);
		strftime(last.stamp, sizeof(last.stamp), "%Y-%m-%d %H:%M:%S", &tm);
		strftime(last.zone, sizeof(last.zone), "%Z", &tm);
		last.second = tv.tv_sec;
	}
	head = snprintf(line, sizeof(line), "%s.%03d %s [%d] %s ", last.stamp, (int)(tv.tv_usec / 1000), last.zone,
			(int)process_id(), names[level]);
write:
	n = (size_t)head + tidy(text, line + head, sizeof(line) - (size_t)head - 1);
	line[n] = '\n';
	if (atomic_load_explicit(&to_stderr, memory_order_relaxed)) {
		if (atomic_load_explicit(&is_journal, memory_order_relaxed))
			write_journal(priorities[level], line + head, n - (size_t)head);
		else
			write_all(2, line, n + 1);
	}
	if (atomic_load_explicit(&file_fd, memory_order_relaxed) >= 0)
		write_all(atomic_load(&file_fd), line, n + 1);
	if (level <= LEVEL_LOG && atomic_load_explicit(&to_syslog, memory_order_relaxed))
		syslog(priorities[level], "%.*s", (int)(n - (size_t)head), line + head);
	errno = saved_errno;
}
