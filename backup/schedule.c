#include "backup/schedule.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "lib/mem.h"

#define YEARS_AHEAD 5
#define MINUTE (60 * USEC_PER_SEC)

/* ---- reading ---- */

struct unit {
	const char *name;
	int lo, hi;
	const char *const *words; /* for lo, lo + 1, ...; NULL: numbers alone */
};

static const char *const months[] = {"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", NULL};
static const char *const weekdays[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL};

/* 7 is Sunday, too. */
static const struct unit units[] = {
	{"minute", 0, 59, NULL}, {"hour", 0, 23, NULL}, {"day", 1, 31, NULL}, {"month", 1, 12, months}, {"weekday", 0, 7, weekdays},
};

static bool take_value(const struct unit *u, const char **at, int *out)
{
	char *end;

	for (int i = 0; u->words && u->words[i]; i++)
		if (strncasecmp(*at, u->words[i], 3) == 0) {
			*out = u->lo + i;
			*at += 3;
			return true;
		}
	if (**at < '0' || **at > '9')
		return false;
	*out = (int)strtol(*at, &end, 10);
	if (end - *at > 2)
		return false;
	*at = end;
	return *out >= u->lo && *out <= u->hi;
}

/* One of: *  N  N-M, each with /STEP behind it. */
static bool take_item(const struct unit *u, const char **at, uint64_t *bits)
{
	int from = u->lo, to = u->hi, step = 1;
	bool is_star = **at == '*', is_range = is_star;

	if (is_star)
		(*at)++;
	else {
		if (!take_value(u, at, &from))
			return false;
		to = from;
		if (**at == '-') {
			(*at)++;
			is_range = true;
			if (!take_value(u, at, &to) || to < from)
				return false;
		}
	}
	if (**at == '/') {
		const struct unit steps = {"step", 1, 59, NULL};

		(*at)++;
		if (!take_value(&steps, at, &step))
			return false;
		if (!is_range)
			to = u->hi;
	}
	for (int i = from; i <= to; i += step)
		*bits |= (uint64_t)1 << i;
	return true;
}

static bool take_field(const struct unit *u, const char **at, uint64_t *bits, bool *is_any)
{
	*bits = 0;
	*is_any = **at == '*';
	do {
		if (**at == ',')
			(*at)++;
		if (!take_item(u, at, bits))
			return false;
	} while (**at == ',');
	return **at == 0 || **at == ' ' || **at == '\t';
}

static bool parse_clock(const char *text, struct cron *c)
{
	const char *at = text;
	int hour, minute;

	if (!take_value(&units[1], &at, &hour) || *at++ != ':' || strlen(at) != 2 || !take_value(&units[0], &at, &minute) || *at)
		return false;
	*c = (struct cron){.minutes = (uint64_t)1 << minute, .hours = 1u << hour, .days = 0xfffffffe, .months = 0x1ffe,
			   .weekdays = 0x7f, .any_day = true, .any_weekday = true};
	return true;
}

bool cron_parse(const char *text, struct cron *c, char *why, size_t cap)
{
	uint64_t bits[5];
	bool any[5];
	const char *at = text + strspn(text, " \t");

	if (strchr(text, ':')) {
		if (parse_clock(at, c))
			return true;
		snprintf(why, cap, "'%.100s' is not a time of day, such as 03:30", text);
		return false;
	}
	for (int i = 0; i < 5; i++) {
		if (!*at) {
			snprintf(why, cap, "has %d of five fields: minute hour day month weekday", i);
			return false;
		}
		if (!take_field(&units[i], &at, &bits[i], &any[i])) {
			snprintf(why, cap, "the field for the %s is wrong at '%.20s'", units[i].name, at);
			return false;
		}
		at += strspn(at, " \t");
	}
	if (*at) {
		snprintf(why, cap, "has more than five fields: '%.20s'", at);
		return false;
	}
	*c = (struct cron){.minutes = bits[0], .hours = (uint32_t)bits[1], .days = (uint32_t)bits[2], .months = (uint32_t)bits[3],
			   .weekdays = (uint32_t)((bits[4] | bits[4] >> 7) & 0x7f), .any_day = any[2], .any_weekday = any[4]};
	return true;
}

/* ---- the wall clock ---- */

/* The C library knows one time zone at a time. */
static char *enter_zone(const char *zone)
{
	const char *now = getenv("TZ");
	char *before = now ? xstrdup(now) : NULL;

	if (zone) {
		setenv("TZ", zone, 1);
		tzset();
	}
	return before;
}

static void leave_zone(const char *zone, char *before)
{
	if (zone) {
		if (before)
			setenv("TZ", before, 1);
		else
			unsetenv("TZ");
		tzset();
	}
	free(before);
}

bool timezone_exists(const char *zone)
{
	const char *dir = getenv("TZDIR");
	char path[512];

	if (strcmp(zone, "UTC") == 0)
		return true;
	if (!*zone || *zone == '/' || strstr(zone, "..") || strspn(zone, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
							       "0123456789_+-/") != strlen(zone))
		return false;
	snprintf(path, sizeof(path), "%s/%s", dir && *dir ? dir : "/usr/share/zoneinfo", zone);
	return access(path, R_OK) == 0;
}

static bool day_fits(const struct cron *c, const struct tm *day)
{
	bool by_day = c->days >> day->tm_mday & 1, by_weekday = c->weekdays >> day->tm_wday & 1;

	if (!(c->months >> (day->tm_mon + 1) & 1))
		return false;
	/* As cron has it: with both restricted, either is enough. */
	if (!c->any_day && !c->any_weekday)
		return by_day || by_weekday;
	return by_day && by_weekday;
}

/* The instant of a wall time: the first of two; of one that does not exist, as if the clocks had not been changed. */
static time_t instant_of(const struct tm *day, int hour, int minute)
{
	for (int isdst = 1; isdst >= 0; isdst--) {
		struct tm tm = {.tm_year = day->tm_year, .tm_mon = day->tm_mon, .tm_mday = day->tm_mday, .tm_hour = hour,
				.tm_min = minute, .tm_isdst = isdst};
		time_t t = mktime(&tm);

		if (isdst == 0 || (t != (time_t)-1 && tm.tm_hour == hour && tm.tm_min == minute && tm.tm_isdst == 1))
			return t;
	}
	return (time_t)-1;
}

static time_t first_of_day(const struct cron *c, const struct tm *day, time_t after)
{
	time_t best = (time_t)-1;

	for (int hour = 0; hour < 24; hour++)
		for (int minute = 0; c->hours >> hour & 1 && minute < 60; minute++) {
			time_t t;

			if (!(c->minutes >> minute & 1))
				continue;
			t = instant_of(day, hour, minute);
			/* Not the first in order of the wall clock, which may go back. */
			if (t > after && (best == (time_t)-1 || t < best))
				best = t;
		}
	return best;
}

time_t cron_next(const struct cron *c, const char *zone, time_t after)
{
	char *before = enter_zone(zone);
	time_t found = (time_t)-1, from = after - 86400;
	struct tm day;

	/* From the day before: a time that was skipped then may map to an instant that is still to come. */
	localtime_r(&from, &day);
	for (int i = 0; found == (time_t)-1 && i < YEARS_AHEAD * 366 + 2; i++) {
		struct tm noon = {.tm_year = day.tm_year, .tm_mon = day.tm_mon, .tm_mday = day.tm_mday + i, .tm_hour = 12,
				  .tm_isdst = -1};

		mktime(&noon);
		if (day_fits(c, &noon))
			found = first_of_day(c, &noon, after);
	}
	leave_zone(zone, before);
	return found;
}

/* ---- the fixed rate ---- */

usec_t tick_next(usec_t anchor, usec_t interval, usec_t jitter, usec_t now)
{
	usec_t n;

	if (now < anchor)
		return anchor;
	/* Ticks that were missed collapse: only the next one counts. */
	n = now < anchor + jitter ? 0 : (now - anchor - jitter) / interval;
	return anchor + (n + 1) * interval + jitter;
}

usec_t host_jitter(const char *host, usec_t most)
{
	uint64_t h = 14695981039346656037u; /* FNV-1a */

	for (; *host; host++)
		h = (h ^ (uint8_t)*host) * 1099511628211u;
	return most > 0 ? (usec_t)(h % (uint64_t)most) : 0;
}

usec_t retry_pause(unsigned nth, usec_t interval, double random)
{
	usec_t pause = MINUTE;

	for (unsigned i = 1; i < nth && pause < interval; i++)
		pause *= 2;
	/* A quarter to either side, so that instances that failed together do not try together. */
	pause = (usec_t)((double)pause * (0.75 + random / 2));
	return pause < interval ? pause : interval;
}
