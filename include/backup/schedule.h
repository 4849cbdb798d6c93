/*
 * backup/schedule.h - when the next backup is due.
 *
 * Pure. Either a fixed rate by the boot clock, anchored at the first tick, or
 * cron fields by the wall clock of a time zone. A wall time that does not
 * exist (clocks go forward) runs once, an hour later; one that exists twice
 * runs at the first of the two.
 *
 * Rules: backup specification, 16.1, 16.2.  Tests: test/unit/test_backup_schedule.c
 */
#ifndef BACKUP_SCHEDULE_H
#define BACKUP_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "lib/util.h"

struct cron {
	uint64_t minutes; /* bit sets */
	uint32_t hours, days, months, weekdays; /* days 1..31, months 1..12, weekdays 0..6 from Sunday */
	bool any_day, any_weekday; /* '*': then the other of the two decides alone */
};

/* HH:MM, or minute hour day month weekday with lists, ranges, steps and names. false: why. */
bool cron_parse(const char *text, struct cron *, char *why, size_t cap);
/* The first instant after `after`; timezone NULL: the machine's. -1: there is none within five years. */
time_t cron_next(const struct cron *, const char *timezone, time_t after);
bool timezone_exists(const char *);

/* Ticks at anchor, anchor + interval + jitter, anchor + 2 * interval + jitter, ...: the first one after now. */
usec_t tick_next(usec_t anchor, usec_t interval, usec_t jitter, usec_t now);
/* The same for all runs on this host, so that a fleet spreads: 0 .. most - 1. */
usec_t host_jitter(const char *host, usec_t most);
/* Pause before the nth retry in a row (from 1): 1, 2, 4 ... min, at most the interval; random is 0 .. 1. */
usec_t retry_pause(unsigned nth, usec_t interval, double random);

#endif
