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
#define DRAW_EVERY USEC_PER_SEC
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

static uint64_t bytes_so_far(const struct work *w)
{
	return w->stored > w->plain ? w->stored : w->plain;
}

static unsigned percent_so_far(const struct work *w)
{
	return bytes_so_far(w) >= w->estimate ? 100 : (unsigned)(100 * bytes_so_far(w) / w->estimate);
}

static void mark(struct work *w, usec_t now)
{
	w->mark = (w->mark + 1) % ARRAY_LEN(w->marks);
	w->marks[w->mark].when = now;
	w->marks[w->mark].bytes = bytes_so_far(w);
}

double work_rate(const struct work *w)
{
	uint64_t bytes = bytes_so_far(w), then = 0;
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

/* For people: four figures and a unit. */
static void amount(double bytes, char out[16])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	size_t u = 0;

	for (; bytes >= 1000 && u + 1 < ARRAY_LEN(units); u++)
		bytes /= 1024;
	snprintf(out, 16, u == 0 || bytes >= 100 ? "%.0f %s" : "%.1f %s", bytes, units[u]);
}

static void draw(const struct work *w)
{
	char plain[16], stored[16], rate[16], percent[16] = "", retries[32] = "", line[256];
	long long seconds = work_elapsed(w) / USEC_PER_SEC;

	amount((double)w->plain, plain);
	amount((double)w->stored, stored);
	amount(work_rate(w), rate);
	if (w->estimate > 0)
		snprintf(percent, sizeof(percent), "  ~%u%%", percent_so_far(w));
	if (w->retries > 0)
		snprintf(retries, sizeof(retries), "  %u retries", w->retries);
	snprintf(line, sizeof(line), "%s: %s  %s dumped  %s stored  %u parts + %u under way  %s/s%s%s  %lld:%02lld", w->name,
		 w->phase, plain, stored, w->parts - w->parts_in_flight, w->parts_in_flight, rate, retries, percent,
		 seconds / 60, seconds % 60);
	event_status(line);
}

static void on_report(struct loop_timer *t)
{
	struct work *w = CONTAINER_OF(t, struct work, report);
	usec_t now = loop_now();

	if (now - w->marks[w->mark].when >= MARK_EVERY) {
		mark(w, now);
		if (!event_is_watched() && w->mark % (REPORT_EVERY / MARK_EVERY) == 0)
			report(w);
	}
	/* A job that is a part of another one stands in front of it. */
	if (event_is_watched() && w->program->work == w)
		draw(w);
	loop_timer_set(w->program->loop, t, now + (event_is_watched() ? DRAW_EVERY : MARK_EVERY));
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
	w->marks[0].when = w->begun;
	loop_timer_set(p->loop, &w->report, loop_now() + (event_is_watched() ? DRAW_EVERY : MARK_EVERY));
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
		unsigned percent = percent_so_far(w);

		if (percent < w->percent + PERCENT_STEP || percent >= 100)
			return;
		w->percent = percent - percent % PERCENT_STEP;
		if (w->moved - w->reported >= REPORT_LEAST && !event_is_watched())
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
	event_status(NULL);
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
