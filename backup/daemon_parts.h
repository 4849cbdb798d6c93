/*
 * The daemon's state, and what of it is shown outside (daemon_show.c).
 */
#ifndef BACKUP_DAEMON_PARTS_H
#define BACKUP_DAEMON_PARTS_H

#include <time.h>

#include "backup/catalog.h"
#include "backup/command.h"
#include "backup/jobs.h"
#include "backup/listen.h"
#include "backup/lock.h"
#include "backup/schedule.h"
#include "backup/set.h"
#include "backup/state.h"
#include "lib/rfc3339.h"

enum reason { REASON_TICK, REASON_RETRY, REASON_ASKED, REASON_SHUTDOWN };

struct daemon {
	struct program *program;   /* borrowed */
	struct lock *lock;	   /* owned; NULL: not asked for yet, or leader = no */
	struct state *state;	   /* owned */
	struct listener *listener; /* owned; NULL: none */
	const char *ready_file;	   /* borrowed */
	const char *busy_with;	   /* a literal; NULL: waiting */
	int stopped_by;		   /* the signal; 0: none */
	bool is_ready, is_woken, wants_backup, wants_reload, wants_report, could_not_ask;
	bool was_cut; /* by a signal: a backup, a drill */

	/* On the boot clock; 0: never. */
	usec_t anchor, jitter, next_tick, retry_at, catch_up_at, next_drill, next_cleanup;
	struct cron cron;
	time_t next_wall; /* of schedule.at */
	int wall_fd;	  /* owned */
	struct loop_watch wall_watch;
	bool wall_is_due, clock_was_set;
	struct loop_timer refresh, shutdown_limit;

	int64_t last_success;
	unsigned failures;
	uint64_t part_at_least;
	bool restore_failed;   /* and pruning waits */
	uint64_t plain_before; /* bytes of the dump that could not be restored */
};

/* Seconds since 1970; 0: none is planned. */
int64_t daemon_next_run(const struct daemon *);
/* As the configuration says now. false: it cannot be opened; the reason is logged. */
bool daemon_reopen_listener(struct daemon *);
/* metrics.textfile and metrics.status_file, for others to read. */
void daemon_write_files(struct daemon *);
/* What a manifest says of itself, whoever has signed it: for a warning, never for a decision. */
bool read_manifest_unchecked(struct program *, struct catalog *, const struct backup_entry *, struct manifest **);

#endif
