/*
 * backup/set.h - several databases, one after the other, and what belongs to all of them.
 *
 * With one database its backups lie directly under the prefix, as the contract
 * has it. With several (BACKUP_DATABASES = a,b or *) each has a folder of its
 * own below, and a set manifest names what one run has made. There is no
 * common snapshot. A failure of one does not stop the others.
 *
 * Rules: backup specification, section 19.  Tests: test/system/test_backup_sets.py
 */
#ifndef BACKUP_SET_H
#define BACKUP_SET_H

#include "backup/jobs.h"

bool databases_are_several(const struct config *);
/* <prefix>/<name percent-encoded>; owned by the caller. NULL: too long. */
char *database_prefix(const struct config *, const char *name);

struct set_report {
	enum outcome outcome;
	struct backup_report last; /* of the last database, good or not */
	unsigned total, failed, skipped;
	int64_t when; /* of the newest good one */
	uint64_t size, plain; /* of all good ones */
	uint64_t part_at_least;
};

/* All that the configuration names, or request->database alone. request->prefix is not looked at. */
void set_run(struct program *, const struct backup_request *, struct set_report *);

/* The databases there are to back up, NULL behind the last; owned by the caller (databases_free). NULL: why. */
char **databases_list(struct program *, char *why, size_t cap);
void databases_free(char **);

/* ---- roles and tablespaces: backup/globals_job.c ---- */

/* pg_dumpall --globals-only, sealed, under <prefix>/_globals/. */
enum outcome globals_run(struct program *, const char *run_id, char key[BACKUP_KEY_MAX], char *why, size_t cap);
/* what: NULL or "latest", or a time. What exists already is left as it is, if it is a role. */
enum outcome globals_restore(struct program *, const char *what, bool is_forced);

#endif
