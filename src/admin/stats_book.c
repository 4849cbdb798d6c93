#include "admin/stats_book.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"

/* [0] is the tick before the last, [1] the last. Control role only. */
static struct {
	struct stats_rows rows[2];
	usec_t at[2];
} book;

void stats_rows_add(struct stats_rows *r, const char *database, const struct stats *stats)
{
	struct stats_row *row;

	if (r->n == r->cap) {
		r->cap = r->cap ? r->cap * 2 : 16;
		r->rows = xrealloc(r->rows, r->cap * sizeof(*r->rows));
	}
	row = &r->rows[r->n++];
	snprintf(row->database, sizeof(row->database), "%s", database);
	row->stats = *stats;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct stats_row *)a)->database, ((const struct stats_row *)b)->database);
}

void stats_rows_finish(struct stats_rows *r)
{
	size_t kept = 0;

	if (r->n == 0)
		return;
	qsort(r->rows, r->n, sizeof(*r->rows), by_name);
	for (size_t i = 1; i < r->n; i++)
		if (by_name(&r->rows[kept], &r->rows[i]) == 0)
			stats_add(&r->rows[kept].stats, &r->rows[i].stats);
		else
			r->rows[++kept] = r->rows[i];
	r->n = kept + 1;
}

const struct stats_row *stats_rows_find(const struct stats_rows *r, const char *database)
{
	struct stats_row key;

	if (r->n == 0)
		return NULL;
	snprintf(key.database, sizeof(key.database), "%s", database);
	return bsearch(&key, r->rows, r->n, sizeof(*r->rows), by_name);
}

struct stats stats_rows_sum(const struct stats_rows *r)
{
	struct stats sum = {0};

	for (size_t i = 0; i < r->n; i++)
		stats_add(&sum, &r->rows[i].stats);
	return sum;
}

void stats_rows_free(struct stats_rows *r)
{
	free(r->rows);
	*r = (struct stats_rows){0};
}

static uint64_t grown(uint64_t now, uint64_t then)
{
	return now > then ? now - then : 0;
}

/* The product needs more than 64 bits: bytes of a busy minute times a million come close. */
static uint64_t per_second(uint64_t count, usec_t elapsed)
{
	return elapsed > 0 ? (uint64_t)((unsigned __int128)count * USEC_PER_SEC / (uint64_t)elapsed) : 0;
}

static uint64_t per_item(uint64_t usec, uint64_t items)
{
	return items > 0 ? usec / items : 0;
}

struct stats stats_average(const struct stats *now, const struct stats *then, usec_t elapsed)
{
	struct stats delta, average;

#define X(field, name) delta.field = grown(now->field, then->field);
	STATS_FIELDS(X)
#undef X
#define X(field, name) average.field = per_second(delta.field, elapsed);
	STATS_FIELDS(X)
#undef X
	average.xact_usec = per_item(delta.xact_usec, delta.xacts);
	average.query_usec = per_item(delta.query_usec, delta.queries);
	average.wait_usec = per_item(delta.wait_usec, delta.server_assignments);
	return average;
}

void stats_book_open(usec_t now)
{
	stats_rows_free(&book.rows[0]);
	stats_rows_free(&book.rows[1]);
	book.at[0] = book.at[1] = now;
}

void stats_book_turn(struct stats_rows *r, usec_t now)
{
	stats_rows_free(&book.rows[0]);
	book.rows[0] = book.rows[1];
	book.at[0] = book.at[1];
	book.rows[1] = *r;
	book.at[1] = now;
	*r = (struct stats_rows){0};
}

struct stats stats_book_average(const char *database, const struct stats *total, usec_t now)
{
	struct stats then = {0};

	if (!database)
		then = stats_rows_sum(&book.rows[0]);
	else {
		const struct stats_row *row = stats_rows_find(&book.rows[0], database);

		if (row)
			then = row->stats;
	}
	return stats_average(total, &then, now - book.at[0]);
}
