/*
 * backup/lock.h - one instance at a time, by an advisory lock in PostgreSQL.
 *
 * The lock lives as long as its session, so the session is kept: TCP
 * keep-alives, no idle time-out, a small statement every 30 s. Advisory locks
 * are per database and per server: all instances must name the same.
 *
 * Rules: backup specification, 15.3, 16.4.  Tests: test/system/test_backup_daemon.py
 */
#ifndef BACKUP_LOCK_H
#define BACKUP_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/util.h"

#define LOCK_CLASS 1346847315 /* "PGBS" */

struct program;
struct lock;

enum lock_state { LOCK_HELD, LOCK_ELSEWHERE, LOCK_UNREACHABLE, LOCK_INTERRUPTED };

/* kind: "backup" or "restore", a literal. database NULL: the configured one. Nothing is connected yet. */
struct lock *lock_new(struct program *, const char *kind, const char *database);
void lock_free(struct lock *); /* releases it; NULL is fine */

/* Connects if need be (trying for connect_patience), then asks every 2 s for as long as patience lasts; 0: once. */
enum lock_state lock_take(struct lock *, usec_t connect_patience, usec_t patience);
bool lock_seems_held(const struct lock *); /* as far as the last keep-alive knows */
/* Asks the server. When the session has broken it is tried again. */
enum lock_state lock_confirm(struct lock *);
bool lock_was_broken(const struct lock *); /* since lock_take(): somebody else may have had it in between */
void lock_release(struct lock *);
const char *lock_why(const struct lock *); /* of LOCK_UNREACHABLE */

/* The first four bytes of SHA-256(kind:bucket/prefix), signed. */
int32_t lock_number(const char *kind, const char *bucket, const char *prefix);

#endif
