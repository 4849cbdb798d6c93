/*
 * backup/loop.h - the daemon's one loop: descriptors, timers, signals.
 *
 * One thread, poll(2). A job reads straight down: it starts operations and
 * waits for them with loop_wait(), which runs the loop, so that the dump, the
 * uploads under way, the metrics listener and signals are all served while
 * one line of the job waits. Callbacks never wait themselves.
 *
 * Watches and timers are members of their owners' structs and linked into the
 * loop; an owner takes them out before it dies. A callback may add and remove
 * any of them, its own included.
 *
 * Times are monotonic microseconds (CLOCK_BOOTTIME, so that sleep counts).
 * Tests: test/unit/test_backup_loop.c
 */
#ifndef BACKUP_LOOP_H
#define BACKUP_LOOP_H

#include <stdbool.h>

#include "lib/list.h"
#include "lib/util.h"

struct loop;

struct loop_watch {
	struct list link;
	int fd;	      /* borrowed; -1: not watched */
	short events; /* of poll(2) */
	void (*ready)(struct loop_watch *, short revents);
};

struct loop_timer {
	struct list link;
	usec_t due; /* 0: not set */
	void (*fire)(struct loop_timer *);
};

struct loop *loop_new(void); /* never NULL */
void loop_free(struct loop *);

void loop_watch_set(struct loop *, struct loop_watch *, int fd, short events); /* again: changes it */
void loop_watch_clear(struct loop *, struct loop_watch *);		       /* harmless when not watched */
void loop_timer_set(struct loop *, struct loop_timer *, usec_t due);
void loop_timer_clear(struct loop *, struct loop_timer *);
usec_t loop_now(void);

/*
 * Runs the loop until *done. false: somebody has called loop_interrupt()
 * before that; whoever waits cancels what he has started, waits for its end
 * with loop_wait_through(), and returns.
 */
MUST_CHECK bool loop_wait(struct loop *, const bool *done);
/* The same, deaf to loop_interrupt(), but at most until deadline (0: none). false: not done by then. */
MUST_CHECK bool loop_wait_through(struct loop *, const bool *done, usec_t deadline);
/* Either of the two, whichever comes first. */
enum loop_end { LOOP_DONE, LOOP_INTERRUPTED, LOOP_TIMED_OUT };
MUST_CHECK enum loop_end loop_wait_until(struct loop *, const bool *done, usec_t deadline);
/* One turn without waiting, for work that never waits by itself. false: interrupted. */
bool loop_breathe(struct loop *);
void loop_interrupt(struct loop *);	       /* sticky */
bool loop_is_interrupted(const struct loop *); /* by a signal that ends the program, or an operation's owner */
void loop_resume(struct loop *);	       /* forgets the interruption */
/* Between the two nobody who waits is interrupted: for what must not stop half way. They nest. */
void loop_deafen(struct loop *);
void loop_listen(struct loop *);

#endif
