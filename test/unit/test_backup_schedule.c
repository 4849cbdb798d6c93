/* Unit tests of backup/schedule.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/schedule.h"

#define SEC USEC_PER_SEC

/* "2026-03-29 00:59" as UTC */
static time_t utc(const char *text)
{
	struct tm tm = {0};

	assert_int_equal(sscanf(text, "%d-%d-%d %d:%d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min), 5);
	tm.tm_year -= 1900;
	tm.tm_mon--;
	return timegm(&tm);
}

static void next_is(const char *at, const char *zone, const char *after, const char *expect)
{
	struct cron c;
	char why[256] = "", got[64];
	time_t t;
	struct tm tm;

	if (!cron_parse(at, &c, why, sizeof(why)))
		fail_msg("'%s': %s", at, why);
	t = cron_next(&c, zone, utc(after));
	gmtime_r(&t, &tm);
	strftime(got, sizeof(got), "%Y-%m-%d %H:%M", &tm);
	if (strcmp(got, expect) != 0)
		fail_msg("'%s' in %s after %s: %s, expected %s", at, zone, after, got, expect);
}

static void a_time_of_day_comes_every_day(void **state)
{
	(void)state;
	next_is("03:30", "UTC", "2026-01-01 03:29", "2026-01-01 03:30");
	next_is("03:30", "UTC", "2026-01-01 03:30", "2026-01-02 03:30");
	next_is("0:05", "UTC", "2026-12-31 23:59", "2027-01-01 00:05");
	next_is("03:30", "America/New_York", "2026-01-01 00:00", "2026-01-01 08:30");
}

static void cron_fields_mean_what_cron_means(void **state)
{
	(void)state;
	next_is("*/15 * * * *", "UTC", "2026-01-01 10:01", "2026-01-01 10:15");
	next_is("5 */6 * * *", "UTC", "2026-01-01 10:01", "2026-01-01 12:05");
	next_is("0 3 * * 0", "UTC", "2026-01-01 00:00", "2026-01-04 03:00");
	next_is("0 3 * * 7", "UTC", "2026-01-01 00:00", "2026-01-04 03:00");
	next_is("0 3 * * mon-fri", "UTC", "2026-01-02 03:00", "2026-01-05 03:00");
	next_is("0 3 1 * *", "UTC", "2026-01-01 03:00", "2026-02-01 03:00");
	next_is("0 3 1,15 jan,jul *", "UTC", "2026-01-16 00:00", "2026-07-01 03:00");
	next_is("0 0 29 2 *", "UTC", "2026-01-01 00:00", "2028-02-29 00:00");
	next_is("10-20/5 1 * * *", "UTC", "2026-01-01 01:11", "2026-01-01 01:15");
	next_is("30/10 1 * * *", "UTC", "2026-01-01 01:41", "2026-01-01 01:50");
	/* Day and weekday both said: either is enough. The 13th of February 2026 is a Friday. */
	next_is("0 0 13 * fri", "UTC", "2026-02-01 00:00", "2026-02-06 00:00");
	next_is("0 0 13 * fri", "UTC", "2026-04-11 00:00", "2026-04-13 00:00");
}

/* Berlin goes from 02:00 to 03:00 at 01:00 UTC on 29 March 2026, and from 03:00 back to 02:00 at 01:00 UTC on 25 October. */
static void clocks_that_change_neither_lose_nor_double_a_run(void **state)
{
	(void)state;
	next_is("02:30", "Europe/Berlin", "2026-03-28 12:00", "2026-03-29 01:30");
	next_is("02:30", "Europe/Berlin", "2026-03-29 01:05", "2026-03-29 01:30");
	next_is("02:30", "Europe/Berlin", "2026-03-29 01:30", "2026-03-30 00:30");
	next_is("02:30", "Europe/Berlin", "2026-10-24 12:00", "2026-10-25 00:30");
	next_is("02:30", "Europe/Berlin", "2026-10-25 00:30", "2026-10-26 01:30");
	next_is("*/30 * * * *", "Europe/Berlin", "2026-03-29 00:45", "2026-03-29 01:00");
	next_is("*/30 * * * *", "Europe/Berlin", "2026-03-29 01:00", "2026-03-29 01:30");
	next_is("*/30 * * * *", "Europe/Berlin", "2026-10-25 00:35", "2026-10-25 02:00");
	next_is("00:30", "America/Sao_Paulo", "2026-03-28 12:00", "2026-03-29 03:30");
}

static void the_zone_of_the_process_is_left_as_it_was(void **state)
{
	struct cron c;
	char why[64];

	(void)state;
	setenv("TZ", "Asia/Tokyo", 1);
	assert_true(cron_parse("03:00", &c, why, sizeof(why)));
	assert_int_equal(cron_next(&c, "Europe/Berlin", utc("2026-01-01 00:00")), utc("2026-01-01 02:00"));
	assert_string_equal(getenv("TZ"), "Asia/Tokyo");
	assert_int_equal(cron_next(&c, NULL, utc("2026-01-01 00:00")), utc("2026-01-01 18:00"));
	unsetenv("TZ");
}

static void what_is_no_schedule_says_why(void **state)
{
	static const char *const wrong[] = {"", "3", "25:00", "03:60", "3:5", "03:30 ", "* * * *", "* * * * * *", "60 * * * *",
					    "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 13 *", "* * * * 8", "*/0 * * * *",
					    "5-1 * * * *", "a * * * *", "1,,2 * * * *", "1, * * * *", "-1 * * * *", "* * * foo *",
					    "*/100 * * * *", "1-2-3 * * * *", "03:30:00", "000 * * * *"};
	struct cron c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		char why[256] = "";

		if (cron_parse(wrong[i], &c, why, sizeof(why)) || !why[0])
			fail_msg("'%s' is taken, or says nothing", wrong[i]);
	}
	assert_true(cron_parse("0 0 30 2 *", &c, (char[64]){0}, 64));
	assert_int_equal(cron_next(&c, "UTC", utc("2026-01-01 00:00")), -1);
}

static void zones_are_files_of_the_system(void **state)
{
	(void)state;
	assert_true(timezone_exists("Europe/Berlin"));
	assert_true(timezone_exists("UTC"));
	assert_false(timezone_exists("Europe/Atlantis"));
	assert_false(timezone_exists("../../etc/passwd"));
	assert_false(timezone_exists("/etc/localtime"));
	assert_false(timezone_exists(""));
}

static void ticks_keep_their_rate_and_missed_ones_collapse(void **state)
{
	(void)state;
	assert_int_equal(tick_next(60, 100, 0, 0), 60);
	assert_int_equal(tick_next(60, 100, 7, 59), 60); /* the first one has no jitter */
	assert_int_equal(tick_next(60, 100, 7, 60), 167);
	assert_int_equal(tick_next(60, 100, 7, 166), 167);
	assert_int_equal(tick_next(60, 100, 7, 167), 267);
	assert_int_equal(tick_next(60, 100, 7, 200), 267); /* however long the run took */
	assert_int_equal(tick_next(60, 100, 7, 1000), 1067);
	assert_int_equal(tick_next(60, 100, 0, 160), 260);
}

static void jitter_belongs_to_the_host(void **state)
{
	(void)state;
	assert_int_equal(host_jitter("a", 300 * SEC), host_jitter("a", 300 * SEC));
	assert_int_not_equal(host_jitter("a", 300 * SEC), host_jitter("b", 300 * SEC));
	assert_in_range(host_jitter("some-host", 300 * SEC), 0, 300 * SEC - 1);
	assert_int_equal(host_jitter("a", 0), 0);
}

static void retries_come_later_and_later(void **state)
{
	(void)state;
	assert_int_equal(retry_pause(1, 86400 * SEC, 0.5), 60 * SEC);
	assert_int_equal(retry_pause(2, 86400 * SEC, 0.5), 120 * SEC);
	assert_int_equal(retry_pause(4, 86400 * SEC, 0.5), 480 * SEC);
	assert_int_equal(retry_pause(1, 86400 * SEC, 0), 45 * SEC);
	assert_int_equal(retry_pause(1, 86400 * SEC, 1), 75 * SEC);
	assert_int_equal(retry_pause(40, 3600 * SEC, 1), 3600 * SEC);
	assert_int_equal(retry_pause(1, 10 * SEC, 0.5), 10 * SEC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_time_of_day_comes_every_day),
		cmocka_unit_test(cron_fields_mean_what_cron_means),
		cmocka_unit_test(clocks_that_change_neither_lose_nor_double_a_run),
		cmocka_unit_test(the_zone_of_the_process_is_left_as_it_was),
		cmocka_unit_test(what_is_no_schedule_says_why),
		cmocka_unit_test(zones_are_files_of_the_system),
		cmocka_unit_test(ticks_keep_their_rate_and_missed_ones_collapse),
		cmocka_unit_test(jitter_belongs_to_the_host),
		cmocka_unit_test(retries_come_later_and_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
