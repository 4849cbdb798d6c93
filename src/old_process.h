/*
 * old_process.h - the console of the process that this one takes over from.
 *
 * One Unix socket and plain blocking code: there is no event loop before the
 * last fork. While anything is waited for, SIGTERM, SIGINT and SIGQUIT are
 * looked at; other signals stay pending for later.
 *
 * What the other end says is believed as far as our own Unix user is: its
 * user is checked, its messages are bounded.
 */
#ifndef OLD_PROCESS_H
#define OLD_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/span.h"
#include "lib/util.h"

struct old_process;

enum old_verdict {
	OLD_OK,
	OLD_GONE,    /* nobody is there, or the connection has ended */
	OLD_REFUSED, /* it answered with an error: old_process_error() */
	OLD_BROKEN,  /* anything else; logged, FATAL */
	OLD_STOPPED  /* a signal has ended the start: logged; old_process_exit_status() */
};

/* Connects and logs in as the operator. OLD_GONE: there is no old process. */
enum old_verdict old_process_connect(const char *unix_dir, int port, struct old_process **) MUST_CHECK;
/* Closes the connection; one that has suspended itself for us resumes then. NULL is fine. */
void old_process_free(struct old_process *);

/* A row of an answer; values live until the callback returns. */
struct old_row {
	size_t n;
	const struct old_column *columns; /* borrowed */
};
struct old_column {
	char *name;
	struct span value;
	bool is_null;
};
/* NULL when there is no such column, or it is SQL NULL. */
const struct span *old_row_get(const struct old_row *, const char *column);

/* Each row to the callback, whose false ends the matter as OLD_BROKEN (it has logged why). patience 0: for ever. */
typedef bool old_row_seen(void *ctx, const struct old_row *);
enum old_verdict old_process_ask(struct old_process *, const char *command, usec_t patience, old_row_seen *,
				 void *ctx) MUST_CHECK;
/* The next descriptor that came along, the caller's; -1: none. */
int old_process_take_fd(struct old_process *);
/* "ERROR: TEXT" of the last OLD_REFUSED. */
const char *old_process_error(const struct old_process *);

/* SHUTDOWN. OLD_OK: the connection has ended; whether the process has is another question. */
enum old_verdict old_process_shut_down(struct old_process *) MUST_CHECK;
/*
 * OLD_OK: the process with this number has ended, or its pidfile (NULL or "": none) is gone. OLD_BROKEN: neither,
 * after some seconds. pid 0: not known; then nothing but a pidfile can be waited for.
 */
enum old_verdict old_process_wait_end(struct old_process *, pid_t pid, const char *pidfile) MUST_CHECK;
/* Is that process there? A zombie is not. */
bool process_runs(pid_t);

/* "S-0x...: pgbouncer/pgbouncer@unix:PORT " for log lines. */
const char *old_process_prefix(const struct old_process *);
int old_process_exit_status(void);

#endif
