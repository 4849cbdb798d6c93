/*
 * lib/log.h - log lines to stderr, a file and syslog.
 *
 * A line is one write() on an O_APPEND descriptor, so threads need no lock;
 * re-opening is dup2() onto the same number. Format (configuration
 * specification, section 21):
 *
 *	YYYY-MM-DD HH:MM:SS.mmm TZ [PID] LEVEL message
 *
 * Newlines in a message become newline + tab, trailing white space is cut,
 * a message is cut at about 2 kB. Whoever logs something that came from a
 * peer may pass it as it is: control bytes are replaced by '?'.
 */
#ifndef LIB_LOG_H
#define LIB_LOG_H

#include <stdatomic.h>
#include <stdbool.h>

#include "lib/util.h"

enum log_level { LEVEL_FATAL, LEVEL_ERROR, LEVEL_WARNING, LEVEL_LOG, LEVEL_DEBUG, LEVEL_NOISE };

struct log_setup {
	bool to_stderr;
	bool is_bare;		     /* for a person at a terminal: "level: message" */
	const char *file;	     /* NULL or "": none */
	bool to_syslog;
	const char *syslog_ident;    /* copied */
	const char *syslog_facility; /* a word; unknown means daemon */
};

/* 0 normal, 1 adds DEBUG, 2 adds NOISE. Relaxed atomic: an old value for a moment is harmless. */
extern atomic_int log_verbosity;

/* Opens what is asked for. On failure (logfile) returns -1, errno set, the old set-up in force. */
int log_configure(const struct log_setup *);
/* From now on finished texts go there instead, for a program whose log looks otherwise. NULL: as before. */
void log_divert(void (*sink)(enum log_level, const char *text));
/* Closes and opens the log file and syslog again, for log rotation. */
void log_reopen(void);
void log_line(enum log_level, const char *fmt, ...) PRINTF_LIKE(2, 3);
/*
 * Which line of which file what follows is about; NULL: none. Shown, and only
 * then of consequence, in bare lines that do not name it themselves. There a
 * warning about a line counts as an error: it is one that will be left out.
 * The name is borrowed until the next call; one place a thread.
 */
void log_at(const char *file, int line);
/* Lines of that level since the start of the process. */
unsigned log_count(enum log_level);

#define log_enabled(level) ((level) <= LEVEL_LOG || \
	(int)(level) - LEVEL_LOG <= atomic_load_explicit(&log_verbosity, memory_order_relaxed))
#define log_fatal(...) log_line(LEVEL_FATAL, __VA_ARGS__)
#define log_error(...) log_line(LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_line(LEVEL_LOG, __VA_ARGS__)
#define log_debug(...) do { if (log_enabled(LEVEL_DEBUG)) log_line(LEVEL_DEBUG, __VA_ARGS__); } while (0)
#define log_noise(...) do { if (log_enabled(LEVEL_NOISE)) log_line(LEVEL_NOISE, __VA_ARGS__); } while (0)

#endif
