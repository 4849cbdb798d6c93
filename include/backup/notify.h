/*
 * backup/notify.h - somebody else is told: a dead-man service, a hook, systemd.
 *
 * notify() runs the loop while it waits, a few seconds at most; what fails is
 * logged and changes nothing. It works while the loop is interrupted, too.
 *
 * Rules: backup specification, 18.3.  Tests: test/system/test_backup_daemon.py
 */
#ifndef BACKUP_NOTIFY_H
#define BACKUP_NOTIFY_H

#include "lib/buf.h"

struct program;

enum notify_kind { NOTIFY_START, NOTIFY_SUCCESS, NOTIFY_FAILURE, NOTIFY_OTHER };

/* event: a word, "backup_done"; object: a key, or "". json: an object, for the hook's standard input. */
void notify(struct program *, enum notify_kind, const char *event, const char *object, struct span json);

/* A datagram to systemd, "READY=1"; nothing where there is none. */
void notify_systemd(const char *state);

#endif
