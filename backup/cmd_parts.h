/*
 * What several commands and jobs do alike: choose a backup, and read it.
 */
#ifndef BACKUP_CMD_PARTS_H
#define BACKUP_CMD_PARTS_H

#include "backup/catalog.h"
#include "backup/command.h"
#include "backup/reader.h"

struct chosen_backup {
	char key[BACKUP_KEY_MAX];
	struct backup_entry entry;
	const struct backup_entry *listed; /* borrowed of the catalog, where it is older than what it stands behind */
	const char *prefix;	     /* borrowed */
	struct object_info info;     /* by HEAD */
	struct manifest *manifest;   /* owned; NULL: none, or none to be believed */
	char sha256[65];	     /* from the manifest; "": unknown */
};

/*
 * catalog may be NULL: loaded for this once. Looks at the object (HEAD), and at
 * the manifest. Anything but OUTCOME_DONE: the reason is logged.
 */
enum outcome choose_backup(struct program *, const char *what, struct catalog *, struct chosen_backup *);
/* The same for an entry that has been chosen already. */
enum outcome look_at_backup(struct program *, struct catalog *, const struct backup_entry *, struct chosen_backup *);
void chosen_free(struct chosen_backup *);
/* With what the program knows; streams, may_spool and work are the caller's. is_forced: dates need not agree. */
struct reader_spec reader_spec_of(struct program *, const struct chosen_backup *, bool is_forced);
/* Says it, unless it was cancelled: whoever did that says why. */
enum outcome tell_storage_failure(const char *event, enum storage_result, const struct storage_error *);
/* prefix NULL: the configured one. Anything but OUTCOME_DONE: the reason is logged. */
enum outcome load_catalog(struct program *, const char *prefix, struct catalog *);

#endif
