/*
 * backup/work.h - what every job has: phases, progress, and an end in time.
 *
 * A job says how far it is; when it has not moved for schedule.stall or takes
 * longer than schedule.max_duration, its loop is interrupted, and whatever it
 * waits for returns. work_end() lets the loop go on, unless a signal has ended
 * it meanwhile.
 *
 * How far it is: on a terminal one line that is written over every second,
 * else an event every 30 s, or every 5 % of what is expected.
 *
 * Rules: backup specification, 2.19, 18.1.
 */
#ifndef BACKUP_WORK_H
#define BACKUP_WORK_H

#include <stdbool.h>
#include <stdint.h>

#include "backup/loop.h"
#include "backup/outcome.h"

struct program;

struct work {
	struct program *program; /* borrowed */
	struct work *outer;	 /* borrowed; of which this one is a part; NULL: of none */
	const char *name;	 /* "backup", "restore": a literal */
	const char *phase;	 /* a literal */
	usec_t begun, moved, reported; /* moved: the last progress */
	usec_t limit, stall;	 /* 0: none */
	bool is_late;		 /* one of the two is over */
	const char *why;	 /* of that */
	uint64_t plain, stored;	 /* bytes so far: of the dump, and of its sealed form */
	uint64_t estimate;	 /* of stored or plain at the end; 0: unknown */
	unsigned parts, parts_in_flight, retries;

	struct loop_timer watchdog, report;
	struct { usec_t when; uint64_t bytes; } marks[7]; /* of the last minute, for the rate */
	unsigned mark, percent;
};

void work_begin(struct work *, struct program *, const char *name);
void work_phase(struct work *, const char *phase);
void work_moved(struct work *); /* some bytes went somewhere */
void work_end(struct work *);
usec_t work_elapsed(const struct work *);
/* Why the loop was interrupted: a signal ends the program, or time is over. OUTCOME_INTERRUPTED or OUTCOME_TIMED_OUT. */
enum outcome work_interruption(const struct work *);
const char *work_interruption_text(const struct work *);
/* Bytes a second over about the last minute. */
double work_rate(const struct work *);

#endif
