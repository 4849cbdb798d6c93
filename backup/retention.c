#include "backup/retention.h"

#include <stdlib.h>
#include <time.h>

#define DAY 86400

static const char *const words[] = {
	[RULE_NONE] = "no limit",	    [RULE_NEWEST] = "newest",	      [RULE_MIN_KEEP] = "min_keep",
	[RULE_PROVEN] = "newest verified",  [RULE_HELD] = "held",	      [RULE_DAILY] = "daily",
	[RULE_WEEKLY] = "weekly",	    [RULE_MONTHLY] = "monthly",	      [RULE_YEARLY] = "yearly",
	[RULE_SUSPECT] = "suspect",	    [RULE_FUTURE] = "in the future",  [RULE_MAX_DELETE] = "max_delete",
	[RULE_OVER_COUNT] = "over count",   [RULE_OVER_DAYS] = "over days",   [RULE_OVER_BOTH] = "over count and days",
	[RULE_NO_PERIOD] = "in no period",
};

const char *retention_rule_word(enum retention_rule r)
{
	return words[r];
}

bool backup_is_good(const struct backup_entry *e)
{
	return e->size > 0 && !e->is_suspect && !e->is_failed;
}

bool backup_is_future(const struct backup_entry *e, int64_t now)
{
	return e->when > now + DAY;
}

bool backup_is_within(const struct backup_entry *e, int64_t now, int64_t spacing)
{
	int64_t apart = e->when < now ? now - e->when : e->when - now;

	return apart < spacing;
}

int64_t backup_age_days(const struct backup_entry *e, int64_t now)
{
	return e->when < now ? (now - e->when) / DAY : 0;
}

/* The longer suffix sorts later, so it comes first: .enc2, .enc, none. */
static int newest_first(const void *a, const void *b)
{
	const struct backup_entry *x = a, *y = b;

	if (x->when != y->when)
		return x->when < y->when ? 1 : -1;
	return (int)y->format - (int)x->format;
}

void backup_entries_sort(struct backup_entry *entries, size_t count)
{
	if (count)
		qsort(entries, count, sizeof(*entries), newest_first);
}

enum period { PERIOD_DAY, PERIOD_WEEK, PERIOD_MONTH, PERIOD_YEAR, PERIODS };

/* Periods are numbered; the same number is the same day, ISO week, month or year in UTC. */
static int64_t period_of(enum period p, int64_t when)
{
	int64_t days = when / DAY;
	time_t t = (time_t)when;
	struct tm tm = {0};

	switch (p) {
	case PERIOD_DAY:
		return days;
	case PERIOD_WEEK:
		/* 1970-01-01 was a Thursday; ISO weeks start on Monday. */
		return (days + 3) / 7;
	case PERIOD_MONTH:
		gmtime_r(&t, &tm);
		return (int64_t)tm.tm_year * 12 + tm.tm_mon;
	case PERIOD_YEAR:
		gmtime_r(&t, &tm);
		return tm.tm_year;
	case PERIODS:
		break;
	}
	abort();
}

/* Which of the last periods already have their newest. */
struct periods {
	unsigned wanted[PERIODS];
	int64_t current[PERIODS], last_kept[PERIODS];
	bool any;
};

static void periods_start(struct periods *p, const struct retention_rules *r, int64_t now)
{
	const unsigned wanted[PERIODS] = {r->daily, r->weekly, r->monthly, r->yearly};

	p->any = false;
	for (int i = 0; i < PERIODS; i++) {
		p->wanted[i] = wanted[i];
		p->current[i] = period_of((enum period)i, now);
		p->last_kept[i] = INT64_MAX;
		p->any = p->any || wanted[i];
	}
}

/* Called from new to old: the first of a period is its newest. */
static enum retention_rule period_keeping(struct periods *p, int64_t when)
{
	enum retention_rule rule = RULE_NONE;

	for (int i = PERIODS - 1; i >= 0; i--) {
		int64_t n;

		if (!p->wanted[i])
			continue;
		n = period_of((enum period)i, when);
		/* A clock a little ahead puts it into the period to come; it counts there. */
		if (n == p->last_kept[i] || p->current[i] - n >= (int64_t)p->wanted[i])
			continue;
		p->last_kept[i] = n;
		rule = (enum retention_rule)(RULE_DAILY + i);
	}
	return rule;
}

static enum retention_rule limit_exceeded(const struct retention_rules *r, size_t rank, int64_t age_days)
{
	bool over_count = r->count >= 0 && rank >= (size_t)r->count;
	bool over_days = r->days >= 0 && age_days > r->days;

	if (r->all && ((r->count >= 0 && !over_count) || (r->days >= 0 && !over_days)))
		return RULE_NONE;
	if (over_count && over_days)
		return RULE_OVER_BOTH;
	return over_count ? RULE_OVER_COUNT : over_days ? RULE_OVER_DAYS : RULE_NONE;
}

static size_t keep_beyond_max(const struct retention_rules *r, struct backup_entry *entries, size_t count,
			      size_t deleted)
{
	/* The oldest go first, so the newest of the condemned wait for the next run. */
	for (size_t i = 0; i < count && r->max_delete && deleted > r->max_delete; i++) {
		if (!entries[i].is_deleted)
			continue;
		entries[i].is_deleted = false;
		entries[i].rule = RULE_MAX_DELETE;
		deleted--;
	}
	return deleted;
}

size_t retention_judge(const struct retention_rules *r, int64_t now, struct backup_entry *entries, size_t count)
{
	bool has_limit = r->count >= 0 || r->days >= 0, proven_seen = false;
	size_t rank = 0, deleted = 0;
	struct periods periods;

	periods_start(&periods, r, now);
	for (size_t i = 0; i < count; i++) {
		struct backup_entry *e = &entries[i];
		enum retention_rule exceeded, rule = RULE_NONE;
		bool goes = false;

		if (backup_is_future(e, now)) {
			e->rule = RULE_FUTURE;
			e->is_deleted = false;
			continue;
		}
		if (!backup_is_good(e)) {
			bool too_old = r->days >= 0 && backup_age_days(e, now) > r->days;

			e->is_deleted = too_old && !e->is_held;
			e->rule = e->is_held ? RULE_HELD : too_old ? RULE_OVER_DAYS : RULE_SUSPECT;
			deleted += e->is_deleted;
			continue;
		}
		exceeded = limit_exceeded(r, rank, backup_age_days(e, now));
		/* Asked for all, so that a held one still is its period's newest. */
		rule = periods.any ? period_keeping(&periods, e->when) : RULE_NONE;
		if (rank == 0)
			rule = RULE_NEWEST;
		else if (rank < r->min_keep)
			rule = RULE_MIN_KEEP;
		else if (e->is_proven && !proven_seen)
			rule = RULE_PROVEN;
		else if (e->is_held)
			rule = RULE_HELD;
		if (rule == RULE_NONE && periods.any) {
			goes = has_limit ? exceeded != RULE_NONE : true;
			rule = !goes ? RULE_NONE : has_limit ? exceeded : RULE_NO_PERIOD;
		} else if (rule == RULE_NONE && exceeded != RULE_NONE) {
			goes = true;
			rule = exceeded;
		}
		proven_seen = proven_seen || e->is_proven;
		rank++;
		e->rule = (uint8_t)rule;
		e->is_deleted = goes;
		deleted += goes;
	}
	return keep_beyond_max(r, entries, count, deleted);
}
