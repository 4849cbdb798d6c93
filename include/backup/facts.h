/*
 * backup/facts.h - what is asked of a database before it is dumped, filled or judged.
 *
 * Rules: backup specification, 6.1, 15.1.  Tests: test/system/test_backup_restore.py
 */
#ifndef BACKUP_FACTS_H
#define BACKUP_FACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "backup/config.h"

struct manifest;
struct pg;

struct facts {
	int version; /* such as 150004 */
	char version_text[64];
	bool in_recovery;
	int64_t database_size, relations;
	int64_t timeline;	    /* 0: unknown */
	char system_identifier[32]; /* "": unknown, as all texts here */
	char lsn[32];
	char encoding[32], collate[128], ctype[128];
	int64_t tup_inserted, tup_updated, tup_deleted; /* -1: unknown */
	char stats_reset[64], started[64];
};

#define FACTS_LIMIT (60 * USEC_PER_SEC)

/* What may be forbidden to us: system identifier, timeline. Outside a transaction, which a refusal would end. */
void facts_read_control(struct pg *, struct facts *);
/* false: pg_why(). Inside the transaction that exports the snapshot, if there is one. */
bool facts_read(struct pg *, struct facts *);
bool facts_read_lsn(struct pg *, char lsn[32]);
void facts_tell(const struct facts *, struct manifest *);

struct contents {
	int64_t relations;     /* tables, views, sequences ... outside the system's schemas, not of extensions */
	int64_t large_objects;
	int64_t ignored;       /* of ignore_tables */
};
/* false: pg_why(); never taken for emptiness. */
bool contents_count(struct pg *, const struct config *, struct contents *);
bool contents_are_none(const struct contents *, const struct config *);

/* A list by commas as a PostgreSQL array of LIKE patterns; * and ? are wildcards. Owned by the caller. */
char *patterns_array(const char *list);

#endif
