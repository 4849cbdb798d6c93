/* Bytes as a date: the C library's arithmetic agrees, and writing the result in UTC gives what was read in UTC. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/rfc3339.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	int64_t seconds, either;
	struct tm tm;
	char again[64];
	time_t t;

	if (!rfc3339_parse_instant(text, size, &seconds)) {
		if (rfc3339_parse(text, size, &either))
			must(size == 10 || text[10] == ' ');
		return 0;
	}
	must(rfc3339_parse(text, size, &either) && either == seconds);
	must(seconds >= INT64_C(-62167305600) && seconds <= INT64_C(253402387200));
	t = (time_t)seconds;
	must(gmtime_r(&t, &tm) != NULL);
	/* In UTC and without a leap second, the text is what the calendar says. */
	if ((text[size - 1] | 0x20) == 'z' && memcmp(text + 17, "60", 2) != 0) {
		snprintf(again, sizeof(again), "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1,
			 tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
		must(memcmp(again, text, 10) == 0 && memcmp(again + 11, text + 11, 8) == 0);
	}
	return 0;
}
