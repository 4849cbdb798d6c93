/*
 * lib/rfc3339.h - dates as RFC 3339 writes them.
 *
 * Tests: test/unit/test_hba.c, test/unit/test_formats.c, test/fuzz/fuzz_rfc3339.c
 */
#ifndef LIB_RFC3339_H
#define LIB_RFC3339_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/util.h"

/*
 * 2026-12-31T23:59:59Z, with any offset, or a date alone, which is its first
 * second in UTC, as PostgreSQL takes it. Fractions of a second are dropped.
 * false: it is neither. Does not follow the locale or the time zone.
 */
MUST_CHECK bool rfc3339_parse(const char *text, size_t len, int64_t *unix_seconds);
/* With the time of day, and T or t in front of it: what RFC 3339 itself calls date-time. */
MUST_CHECK bool rfc3339_parse_instant(const char *text, size_t len, int64_t *unix_seconds);

#endif
