/*
 * container/children.h - the programs that run in the container, and the signals that concern it.
 *
 * Three stay (PostgreSQL, the pooler, the backup daemon), and one at a time is
 * a step of the start. All signals are blocked and taken one by one in
 * children_wait(), so there are no handlers. Whatever else is reaped belonged
 * to one of them and has lost its parent: process 1 has to do that.
 */
#ifndef CONTAINER_CHILDREN_H
#define CONTAINER_CHILDREN_H

#include <stdbool.h>
#include <sys/types.h>

#include "container/plan.h"

enum child_id { CHILD_POSTGRES, CHILD_PROXY, CHILD_BACKUP, CHILD_STEP, CHILD_COUNT };

enum child_environment {
	ENV_PLAIN,  /* no variable that could hold a secret */
	ENV_BACKUP, /* and all that pg-ecdsa-backup is configured by */
};

struct command {
	const char *name;	  /* for messages */
	const struct user *user;  /* borrowed */
	const char *const *argv;  /* borrowed; [0] is the path */
	enum child_environment environment;
	const struct buf *input;  /* borrowed; standard input; NULL: nothing */
	bool is_quiet;		  /* its standard output is thrown away */
	struct buf *errors;	  /* borrowed; takes its standard error, when it has ended; NULL: ours */
	int death_signal;	  /* what it gets when we die; 0: SIGTERM */
};

void children_begin(const struct plan *);
/* false: logged. */
bool child_start(enum child_id, const struct command *);
bool child_is_up(enum child_id);
void child_signal(enum child_id, int signal);
/* How it has ended, as a shell has it: its exit status, or 128 and the number of its signal. */
int child_status(enum child_id);
const char *child_name(enum child_id);
/*
 * Runs a command to its end. Its status; on the way, a signal to stop is
 * passed on, and so is the end of one of those that stay.
 */
int child_run(const struct command *);

/* Waits for what has lost its parent, such as the rest of a PostgreSQL that was killed; no longer than so. */
void children_wait_for_orphans(int milliseconds);

/* Sleeps until something happens, at most so long. */
void children_wait(int milliseconds);
/* Signals to stop that have come so far, and the last of them. */
int stop_signals(void);
int stop_signal(void);
/* Has a SIGHUP come since it was asked last? */
bool reload_is_wanted(void);
/* One of those that stay has ended; CHILD_COUNT: none. */
enum child_id child_that_ended(void);

#endif
