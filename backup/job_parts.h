/*
 * What jobs do alike.
 */
#ifndef BACKUP_JOB_PARTS_H
#define BACKUP_JOB_PARTS_H

#include "backup/config.h"
#include "backup/retention.h"
#include "lib/buf.h"

struct child;
struct manifest;
struct pg;

struct retention_rules retention_rules_of(const struct config *);
/* SIGTERM, then SIGKILL, unless it is over; NULL is fine. */
void child_kill_free(struct child *);
/* Bytes outside A-Z a-z 0-9 - . _ ~ as %XX, cut to fit whole ones. */
void percent_encode(const char *from, char *to, size_t cap);

/* Rows of every table, in the transaction that is open: "schema.table" NUL count NUL ... false: pg_why(). */
bool job_count_rows(struct pg *, struct buf *);
void job_tell_rows(const struct buf *, struct manifest *);

#endif
