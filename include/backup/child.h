/*
 * backup/child.h - child programs: pg_dump, pg_restore, the hook.
 *
 * No shell; an environment made from nothing; default signals; a process
 * group of its own; SIGTERM when we die. Standard error is always drained: its
 * lines go to the log at debug level, its end is kept for the report. What of
 * it may be data of the database (DETAIL, the values of a CONTEXT) is not.
 *
 * child_read(), child_write() and child_wait() run the loop while they wait,
 * and end early when it is interrupted. Only a job calls them, no callback.
 *
 * Rules: backup specification, 5.2 to 5.4.  Tests: test/unit/test_backup_child.c
 */
#ifndef BACKUP_CHILD_H
#define BACKUP_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lib/span.h"
#include "lib/util.h"

struct loop;
struct loop_watch;
struct family; /* the children of this process; one a loop */
struct child;

#define CHILD_LAST_WORDS 16384	       /* bytes of standard error that are kept */
#define CHILD_GRACE (10 * USEC_PER_SEC) /* from SIGTERM to SIGKILL */

struct family *family_new(struct loop *); /* takes SIGCHLD; before any thread begins */
void family_free(struct family *);	  /* children that are left are killed */

struct child_spec {
	const char *name;	   /* for the log */
	const char *path;	   /* absolute */
	char *const *argv, *const *envp;
	bool wants_stdin, wants_stdout; /* a pipe; else /dev/null */
	int stdin_fd;		   /* with wants_stdin false: 0, or a descriptor to read from (borrowed) */
	int pass_fd, also_pass_fd; /* 0, or a descriptor that is inherited under its number (borrowed) */
};

/* NULL: why says why. */
struct child *child_start(struct family *, const struct child_spec *, char *why, size_t cap);
void child_free(struct child *); /* kills it if it lives; NULL is fine */

enum child_io {
	CHILD_OK,
	CHILD_END,	   /* of its output; or it reads no more */
	CHILD_INTERRUPTED, /* the loop was */
};
/* At least one byte, unless it is the end. */
enum child_io child_read(struct child *, void *buf, size_t cap, size_t *got) MUST_CHECK;
enum child_io child_write(struct child *, struct span) MUST_CHECK;
/* For a callback: what is there, without waiting. 0: the end; -1: nothing yet. */
ssize_t child_read_now(struct child *, void *buf, size_t cap);
void child_watch_stdout(struct child *, struct loop_watch *); /* its ready is called when there is something */
void child_close_stdin(struct child *);
void child_close_stdout(struct child *);
/* Until it has exited and its last words are read. false: interrupted. */
MUST_CHECK bool child_wait(struct child *);
/* At most until the deadline. false: interrupted, or not over by then. */
MUST_CHECK bool child_wait_until(struct child *, usec_t deadline);
/* The same, deaf to interruptions. false: not over by the deadline. */
MUST_CHECK bool child_wait_through(struct child *, usec_t deadline);
/* As much as its input takes at once; the rest is dropped. */
void child_give(struct child *, struct span);
/* SIGTERM to its group, and nothing it writes is read any more; child_kill() sees to its end. */
void child_terminate(struct child *);
/* SIGTERM to its group, SIGKILL after grace (0: at once); returns when it is gone. Harmless when it is already. */
void child_kill(struct child *, usec_t grace);

bool child_is_over(const struct child *);
bool child_succeeded(const struct child *); /* exited with status 0 */
int child_exit_code(const struct child *);  /* -1: by a signal, or not yet */
/* "exited with status 1", "was ended by signal 9 (Killed)" */
const char *child_fate(const struct child *, char out[96]);
/* The last lines of standard error, at most max bytes, NUL-terminated; borrowed. */
const char *child_last_words(struct child *, size_t max);
bool child_said(const struct child *, const char *text); /* in what is kept */

/* Runs it to its end with input from /dev/null; its output, cut at cap - 1. false: why. */
bool child_run(struct family *, const struct child_spec *, char *out, size_t cap, char *why, size_t why_cap);

#endif
