#include "backup/work.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backup/command.h"
#include "backup/event.h"
#include "backup/metrics.h"

#define REPORT_EVERY (30 * USEC_PER_SEC)
#define REPORT_LEAST (5 * USEC_PER_SEC) /* quick jobs do not fill the log */
#define MARK_EVERY (10 * USEC_PER_SEC)
#define PERCENT_STEP 5

static void label(const struct work *w, char out[64])
{
	snprintf(out, 64, "phase=\"%s\"", w->phase);
}

static void give_up(struct work *w, const char *why)
{
	w->is_late = true;
	w->why = why;
	loop_interrupt(w->program->loop);
}

static void arm(struct work *w)
{
	usec_t due = 0;

	if (w->limit)
		due = w->begun + w->limit;
	if (w->stall && (!due || w->moved + w->stall < due))
		due = w->moved + w->stall;
	loop_timer_set(w->program->loop, &w->watchdog, due);
}

static void on_watchdog(struct loop_timer *t)
{
	struct work *w = CONTAINER_OF(t, struct work, watchdog);
	usec_t now = loop_now();

	if (w->limit && now >= w->begun + w->limit)
		give_up(w, "it took longer than max_duration");
	else if (w->stall && now >= w->moved + w->stall)
		give_up(w, "it made no progress for as long as stall allows");
	else
		arm(w);
}

static void mark(struct work *w)
{
	w->mark = (w->mark + 1) % ARRAY_LEN(w->marks);
	w->marks[w->mark].when = loop_now();
	w->marks[w->mark].bytes = w->stored > w->plain ? w->stored : w->plain;
}

double work_rate(const struct work *w)
{
	uint64_t bytes = w->stored > w->plain ? w->stored : w->plain, then = 0;
	usec_t now = loop_now(), since = w->begun;

	/* The oldest mark that is there. */
	for (unsigned i = 1; i <= ARRAY_LEN(w->marks); i++) {
		unsigned k = (w->mark + i) % ARRAY_LEN(w->marks);

		if (w->marks[k].when) {
			since = w->marks[k].when;
			then = w->marks[k].bytes;
			break;
		}
	}
	return now > since ? (double)(bytes - then) * (double)USEC_PER_SEC / (double)(now - since) : 0;
}

static void report(struct work *w)
{
	char event[32], percent[16];

	w->reported = loop_now();
	snprintf(event, sizeof(event), "%s_progress", w->name);
	snprintf(percent, sizeof(percent), "~%u%%", w->percent);
	EVENT(LEVEL_LOG, event, F_TEXT("phase", w->phase), F_UINT("dumped", w->plain), F_UINT("stored", w->stored),
	      F_TEXT("estimate", w->estimate > 0 ? percent : NULL),
	      F_UINT("parts", w->parts), F_UINT("in_flight", w->parts_in_flight), F_REAL("rate", work_rate(w)),
	      F_UINT("retries", w->retries), F_REAL("elapsed", (double)work_elapsed(w) / (double)USEC_PER_SEC));
}

static void on_report(struct loop_timer *t)
{
	struct work *w = CONTAINER_OF(t, struct work, report);

	mark(w);
	if ((w->mark % (REPORT_EVERY / MARK_EVERY)) == 0)
		report(w);
	loop_timer_set(w->program->loop, t, loop_now() + MARK_EVERY);
}

void work_begin(struct work *w, struct program *p, const char *name)
{
	*w = (struct work){.program = p, .name = name, .phase = "begin", .limit = p->config->schedule_max_duration,
			   .stall = p->config->schedule_stall};
	w->outer = p->work;
	p->work = w;
	w->begun = w->moved = w->reported = loop_now();
	w->watchdog.fire = on_watchdog;
	w->report.fire = on_report;
	arm(w);
	loop_timer_set(p->loop, &w->report, loop_now() + MARK_EVERY);
}

void work_phase(struct work *w, const char *phase)
{
	char text[64];

	label(w, text);
	metric_unset(METRIC_in_progress, text);
	w->phase = phase;
	label(w, text);
	metric_set(METRIC_in_progress, text, 1);
	work_moved(w);
	EVENT(LEVEL_DEBUG, "phase", F_TEXT("job", w->name), F_TEXT("phase", phase));
}

void work_moved(struct work *w)
{
	w->moved = loop_now();
	if (w->estimate > 0) {
		uint64_t bytes = w->stored > w->plain ? w->stored : w->plain;
		unsigned percent = bytes >= w->estimate ? 100 : (unsigned)(100 * bytes / w->estimate);

		if (percent < w->percent + PERCENT_STEP || percent >= 100)
			return;
		w->percent = percent - percent % PERCENT_STEP;
		if (w->moved - w->reported >= REPORT_LEAST)
			report(w);
	}
}

void work_end(struct work *w)
{
	char text[64];

	label(w, text);
	metric_unset(METRIC_in_progress, text);
	loop_timer_clear(w->program->loop, &w->watchdog);
	loop_timer_clear(w->program->loop, &w->report);
	w->program->work = w->outer;
	if (w->is_late && !w->program->ended_by)
		loop_resume(w->program->loop);
}

usec_t work_elapsed(const struct work *w)
{
	return loop_now() - w->begun;
}

enum outcome work_interruption(const struct work *w)
{
	return w->is_late && !w->program->ended_by ? OUTCOME_TIMED_OUT : OUTCOME_INTERRUPTED;
}

const char *work_interruption_text(const struct work *w)
{
	return w->is_late && !w->program->ended_by ? w->why : "interrupted by a signal";
}
