/*
 * Parts of a restore that drills and verifications share: pg_restore as the
 * end of a stream, and databases that are made for the occasion.
 */
#ifndef BACKUP_RESTORE_PARTS_H
#define BACKUP_RESTORE_PARTS_H

#include "backup/child.h"
#include "backup/pg.h"
#include "backup/reader.h"
#include "backup/tools.h"

#define RESTORE_ARGS_MAX 24

struct manifest;
struct program;

/* pg_restore, fed from a reader. */
struct feed {
	struct program *program; /* borrowed */
	struct child *child;	 /* owned */
	struct pg_env env;	 /* owned */
	enum child_io io;	 /* why it takes no more; CHILD_OK: it does */
	uint64_t given;
};

/* args end with NULL; target NULL: no server. stdin_fd 0: fed by feed_sink; -1: reads
 * nothing. false: why. */
bool feed_start(struct feed *, struct program *, const struct tool *, const char *const *args, const struct pg_target *,
		int stdin_fd, int pass_fd, char *why, size_t cap);
bool feed_sink(void *feed, struct span); /* a seal_sink; false: it reads no more, or the loop was interrupted */
void feed_kill(struct feed *);		 /* at once; harmless when it is over */
void feed_free(struct feed *);		 /* the same first */

/* The pg_restore that can read what that pg_dump ("15.18", NULL: unknown) has written. false: why. */
bool find_pg_restore(struct program *, const struct manifest *, struct tool *, char *why, size_t cap);

/* Says what is wrong with the text of a failed pg_restore, when it is known: "" or advice. */
const char *restore_advice(struct child *);

/* CREATE DATABASE from template0 with encoding and locale of the manifest; limit 0: none. */
bool make_database(struct pg *, const char *name, const struct manifest *, int connection_limit);
#define DROP_LIMIT_STOPPED (8 * USEC_PER_SEC) /* of a drop_database() when the program is to end */
/* With whoever is connected to it. limit 0: as long as it takes. */
bool drop_database(struct pg *, const char *name, usec_t limit);

/* Extensions of the archive that the server does not have, by commas, in missing; "": none. false: why. */
enum read_result missing_extensions(struct program *, struct reader *, const struct tool *, struct pg *, char *missing,
				    size_t cap, char *why, size_t why_cap);

#endif
