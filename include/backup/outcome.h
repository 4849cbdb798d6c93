/*
 * backup/outcome.h - how a command ends: the exit status of the program.
 *
 * Rules: backup specification, section 3.
 */
#ifndef BACKUP_OUTCOME_H
#define BACKUP_OUTCOME_H

enum outcome {
	OUTCOME_DONE = 0,
	OUTCOME_FAILED = 1,
	OUTCOME_USAGE = 2,     /* usage or configuration */
	OUTCOME_NO_BACKUP = 3, /* nothing found */
	OUTCOME_INTEGRITY = 4, /* wrong key, tampered, truncated, not an archive */
	OUTCOME_STORAGE = 5,   /* network, denied, quota */
	OUTCOME_DATABASE = 6,  /* the database or a child program failed */
	OUTCOME_LOCKED = 7,    /* another instance holds the lock; nothing was done */
	OUTCOME_FOLLOW_UP = 8, /* the main work is done, but prune, manifest or verification failed */
	OUTCOME_REFUSED = 9,   /* for safety: target not empty, shrink guard, name taken */
	OUTCOME_TIMED_OUT = 10,
	OUTCOME_INTERRUPTED = 127 /* inside the program alone: it exits with 128 and the signal's number */
};

#endif
