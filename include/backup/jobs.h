/*
 * backup/jobs.h - the work itself: one backup, one restore, one verification.
 *
 * A job runs to its end on the loop, tells the log what it does, and reports.
 * It leaves nothing behind when it fails: no object, no upload, no child.
 *
 * Rules: backup specification, 5.4, 6, 14, 15, 17.
 */
#ifndef BACKUP_JOBS_H
#define BACKUP_JOBS_H

#include <stdbool.h>
#include <stdint.h>

#include "backup/config.h"
#include "backup/object_name.h"
#include "backup/outcome.h"

struct chosen_backup;
struct lock;
struct program;

#define RUN_ID_TEXT 33

/* ---- one backup: backup/backup_job.c ---- */

struct backup_request {
	const char *database; /* NULL: the configured one */
	const char *prefix;   /* NULL: the configured one */
	const char *label;    /* NULL: none */
	const char *run_id;   /* NULL: a new one */
	struct lock *lock;    /* held; confirmed before the backup becomes visible; NULL: no leader is wanted */
	uint64_t part_at_least; /* what the last try has learnt; 0: nothing */
	const char *prune_blocked; /* a reason of the caller's not to prune afterwards; NULL: none */
	uint64_t prune_blocked_below; /* the reason falls when the dump has at least so many bytes; 0: it does not */
	usec_t min_spacing; /* with a good backup younger than that there is nothing to do; 0: always */
	void (*remember)(void *ctx, const char *key, const char *upload_id); /* see backup/upload.h */
	void *ctx;
};

struct backup_report {
	enum outcome outcome; /* FOLLOW_UP: the backup is good, what follows it failed */
	const char *phase;    /* where it ended: a literal */
	char why[1200];
	char key[BACKUP_KEY_MAX], run_id[RUN_ID_TEXT];
	int64_t when;
	uint64_t size, plain;
	unsigned parts;
	double seconds;
	bool is_suspect, is_empty, has_pruned;
	bool is_skipped; /* by min_spacing: there is one of report->when already */
	uint64_t part_at_least; /* for the next try; 0: as before */
};

void backup_run(struct program *, const struct backup_request *, struct backup_report *);
void make_run_id(char out[RUN_ID_TEXT]);

/* ---- one restore: backup/restore_job.c ---- */

struct restore_request {
	const char *what;      /* "latest", a time, a key; NULL: latest */
	int64_t at;	       /* >= 0: the newest not after that, instead */
	const char *prefix;    /* NULL: the configured one */
	const char *target_db; /* NULL: the configured database */
	bool if_empty;	       /* nothing to do when it has content; falls back to an older backup */
	bool creates, cleans, with_owner, with_privileges, is_forced;
	int jobs; /* 0 or 1: in one transaction */
};

enum restore_end { RESTORE_DONE, RESTORE_NOT_EMPTY, RESTORE_NO_BACKUP, RESTORE_STANDBY, RESTORE_FAILED };

struct restore_report {
	enum outcome outcome;
	enum restore_end end;
	const char *phase;
	char why[1200];
	char key[BACKUP_KEY_MAX];
	uint64_t plain;	      /* bytes of the archive */
	uint64_t last_plain;  /* of the newest backup, by its manifest or its size; 0: unknown */
	double seconds;
};

void restore_run(struct program *, const struct restore_request *, struct restore_report *);

/* ---- one proof: backup/verify_job.c ---- */

struct verify_report {
	enum outcome outcome;
	char why[1200];
	double seconds;
};

/* Into a scratch database, and away with it: backup/drill_job.c. report->outcome and why. */
struct work;
void drill_run(struct program *, struct chosen_backup *, bool is_forced, struct work *, struct verify_report *);
/* Scratch databases that a drill of more than a day ago has left behind. */
void drill_clean_up(struct program *);

const char *verify_level_word(enum verify_level);
/* Writes what came of it into the manifest, if there is one. */
void verify_run(struct program *, const char *prefix, struct chosen_backup *, enum verify_level, bool is_forced,
		struct verify_report *);

#endif
