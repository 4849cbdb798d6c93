/*
 * backup/event.h - the daemon's log: one line an event.
 *
 *	EVENT(LEVEL_LOG, "backup_done", F_TEXT("object", key), F_UINT("bytes", n));
 *
 *	2026-01-01T03:00:12.345Z info backup_done object=app/20260101_030000.backup.enc2 bytes=1048576
 *
 * UTC with milliseconds, level, event, key=value; as JSON or logfmt on wish.
 * A line is one write to stderr. Texts may come from strangers: they are
 * quoted, control bytes and broken UTF-8 made visible, long ones cut.
 * Secrets are not passed here; nothing could take them out again.
 *
 * What lib logs by log_line() arrives as event "note" once event_open() has
 * been called. log_verbosity counts for both.
 *
 * Rules: backup specification, 18.4.  Tests: test/unit/test_backup_event.c
 */
#ifndef BACKUP_EVENT_H
#define BACKUP_EVENT_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "lib/buf.h"
#include "lib/log.h"

enum event_format { EVENT_TEXT, EVENT_JSON, EVENT_LOGFMT };

enum field_kind { FIELD_END, FIELD_TEXT, FIELD_INT, FIELD_UINT, FIELD_REAL, FIELD_BOOL, FIELD_TIME };
struct field {
	enum field_kind kind;
	const char *key;
	union {
		const char *text; /* NULL: the field is left out */
		int64_t integer;
		uint64_t whole;
		double real;
	} as;
};

#define F_TEXT(k, v) {.kind = FIELD_TEXT, .key = (k), .as.text = (v)}
#define F_INT(k, v)  {.kind = FIELD_INT, .key = (k), .as.integer = (v)}
#define F_UINT(k, v) {.kind = FIELD_UINT, .key = (k), .as.whole = (v)}
#define F_REAL(k, v) {.kind = FIELD_REAL, .key = (k), .as.real = (v)}
#define F_BOOL(k, v) {.kind = FIELD_BOOL, .key = (k), .as.integer = (v)}
#define F_TIME(k, v) {.kind = FIELD_TIME, .key = (k), .as.integer = (v)} /* seconds since 1970; 0: left out */

#define EVENT(level, name, ...) event_write(level, name, (const struct field[]){__VA_ARGS__ __VA_OPT__(,) {.kind = FIELD_END}})

/* Quiet: warnings and worse only. */
void event_open(enum event_format, bool is_quiet, bool has_colour);
/* A person reads the log as it is written: texts, on a terminal. */
bool event_is_watched(void);
/* The one line below the log that is written over again and again, where somebody watches. NULL: no such line now. */
void event_status(const char *text);
/* ends with FIELD_END */
void event_write(enum log_level, const char *name, const struct field *);
/* The line as it would be written, with its newline; for tests. */
void event_format(enum event_format, struct buf *out, const struct timespec *when, enum log_level, const char *name,
		  const struct field *);
/* text as a JSON string, quotes included; what is no UTF-8 becomes U+FFFD. */
void event_put_json(struct buf *out, const char *text, size_t len);
/* 2026-01-01T03:00:12Z */
#define ISO_TIME_MAX 32
const char *iso_time(int64_t unix_seconds, char out[ISO_TIME_MAX]);

#endif
