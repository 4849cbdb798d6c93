/*
 * admin/stats_book.h - totals per database, and averages over the last one to
 * two periods.
 *
 * The book remembers the totals of the last two ticks; averages are counted
 * from the older of them. Belongs to the control role; knows no Workers.
 *
 * Rules: console specification, section 17.  Tests: test/unit/test_console.c
 */
#ifndef ADMIN_STATS_BOOK_H
#define ADMIN_STATS_BOOK_H

#include "config/config.h"
#include "lib/util.h"
#include "pool/stats.h"

struct stats_row {
	char database[DATABASE_NAME_MAX + 1];
	struct stats stats;
};

/* One row a database, sorted by name once it is finished. */
struct stats_rows {
	struct stats_row *rows; /* owned */
	size_t n, cap;
};

void stats_rows_add(struct stats_rows *, const char *database, const struct stats *); /* the same name may come again */
void stats_rows_finish(struct stats_rows *); /* sorts, and sums what has the same name */
const struct stats_row *stats_rows_find(const struct stats_rows *, const char *database); /* finished rows; or NULL */
struct stats stats_rows_sum(const struct stats_rows *);
void stats_rows_free(struct stats_rows *);

/*
 * Counts and bytes per second of elapsed; times per query, transaction or
 * assignment. 0 where the divisor is 0, and where a counter went back because
 * its pool was killed.
 */
struct stats stats_average(const struct stats *now, const struct stats *then, usec_t elapsed);

void stats_book_open(usec_t now);
/* A period ends: takes the rows. */
void stats_book_turn(struct stats_rows *, usec_t now);
/* Averages since the last tick but one, of one database; name NULL: of all, whose sum is given. */
struct stats stats_book_average(const char *database, const struct stats *total, usec_t now);

#endif
