#include "lib/rfc3339.h"

struct cursor {
	const char *at, *end;
};

static bool take_char(struct cursor *c, const char *any_of)
{
	if (c->at == c->end)
		return false;
	for (; *any_of; any_of++)
		if (*c->at == *any_of) {
			c->at++;
			return true;
		}
	return false;
}

static bool take_number(struct cursor *c, int digits, int lo, int hi, int *out)
{
	int value = 0;

	for (; digits > 0; digits--, c->at++) {
		if (c->at == c->end || *c->at < '0' || *c->at > '9')
			return false;
		value = value * 10 + (*c->at - '0');
	}
	*out = value;
	return value >= lo && value <= hi;
}

static bool is_leap(int year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int days_in(int year, int month)
{
	static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

static int64_t days_since_1970(int year, int month, int day)
{
	/* Leap days before this year, counted from the year 0 of the proleptic calendar. */
	int64_t before = year > 0 ? (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400 + 1 : 0;
	int64_t days = (int64_t)year * 365 + before - 719528 + day - 1;

	for (int m = 1; m < month; m++)
		days += days_in(year, m);
	return days;
}

static bool take_date(struct cursor *c, int64_t *days)
{
	int year, month, day;

	if (!take_number(c, 4, 0, 9999, &year) || !take_char(c, "-") || !take_number(c, 2, 1, 12, &month) ||
	    !take_char(c, "-") || !take_number(c, 2, 1, days_in(year, month), &day))
		return false;
	*days = days_since_1970(year, month, day);
	return true;
}

static bool take_offset(struct cursor *c, int *seconds)
{
	int hours, minutes;
	bool is_west = c->at < c->end && *c->at == '-';

	*seconds = 0;
	if (take_char(c, "Zz"))
		return true;
	if (!take_char(c, "+-") || !take_number(c, 2, 0, 23, &hours) || !take_char(c, ":") ||
	    !take_number(c, 2, 0, 59, &minutes))
		return false;
	*seconds = (hours * 3600 + minutes * 60) * (is_west ? -1 : 1);
	return true;
}

bool rfc3339_parse(const char *text, size_t len, int64_t *unix_seconds)
{
	struct cursor c = {text, text + len};
	int hour, minute, second, offset, digit;
	int64_t days;

	if (!take_date(&c, &days))
		return false;
	*unix_seconds = days * 86400;
	if (c.at == c.end)
		return true;
	/* 60 is a leap second. */
	if (!take_char(&c, "Tt ") || !take_number(&c, 2, 0, 23, &hour) || !take_char(&c, ":") ||
	    !take_number(&c, 2, 0, 59, &minute) || !take_char(&c, ":") || !take_number(&c, 2, 0, 60, &second))
		return false;
	if (take_char(&c, ".")) {
		if (!take_number(&c, 1, 0, 9, &digit))
			return false;
		while (take_char(&c, "0123456789"))
			;
	}
	if (!take_offset(&c, &offset) || c.at != c.end)
		return false;
	*unix_seconds += hour * 3600 + minute * 60 + second - offset;
	return true;
}

bool rfc3339_parse_instant(const char *text, size_t len, int64_t *unix_seconds)
{
	return len > 10 && (text[10] == 'T' || text[10] == 't') && rfc3339_parse(text, len, unix_seconds);
}
