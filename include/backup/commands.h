/*
 * backup/commands.h - the commands that concern the store alone.
 *
 * Each runs to its end (on the loop, by storage_wait) and returns the exit
 * status of the program. What a person asked for goes to out; what went wrong
 * goes to the log.
 *
 * Rules: backup specification, sections 3, 10.8, 13.
 * Tests: test/system/test_backup_commands.py
 */
#ifndef BACKUP_COMMANDS_H
#define BACKUP_COMMANDS_H

#include <stdio.h>

#include "backup/catalog.h"
#include "backup/outcome.h"
#include "backup/retention.h"

struct command_env {
	struct storage *store;
	const char *prefix; /* clean */
	const char *bucket; /* for messages */
	const struct manifest_keys *keys;
	const char *key_id; /* in hex; NULL when nothing is encrypted */
	const struct retention_rules *rules;
	FILE *out;
	int64_t now; /* 0: the clock */
};

struct list_options {
	bool json, all, is_long;
};
enum outcome command_list(struct command_env *, const struct list_options *);

struct prune_options {
	bool is_dry_run;
	int max_delete;		/* -1: as the rules say */
	bool is_triggered;	/* by a backup, not by hand: says less when nothing is to do */
	const char *blocked;	/* a reason not to delete anything (13.3, shrink guard); NULL: none. Ends with DONE */
};
struct prune_report {
	size_t kept, deleted, failed, objects;
	uint64_t bytes;
	int64_t oldest;
};
enum outcome command_prune(struct command_env *, const struct prune_options *, struct prune_report * /* may be NULL */);

struct cleanup_options {
	bool is_dry_run;
	usec_t min_age;	     /* of what is aborted; 0: 24 hours */
	const char *keep_id; /* an upload that is ours, now; NULL: none */
	/* An upload that the state file remembers; tried even where listing is not supported. NULL: none. */
	const char *known_key, *known_id;
};
struct cleanup_report {
	size_t found, aborted, failed;
};
enum outcome command_cleanup(struct command_env *, const struct cleanup_options *, struct cleanup_report *);

/* what: as for catalog_choose. */
enum outcome command_hold(struct command_env *, const char *what);
enum outcome command_release(struct command_env *, const char *what);
/* The bytes as stored; out_path is written beside and renamed; "-": standard output. */
enum outcome command_download(struct command_env *, const char *what, const char *out_path);
/* One line a check: listing, clock, put, conditional put, get, range, multipart, abort, delete. */
enum outcome command_check_store(struct command_env *);

#endif
