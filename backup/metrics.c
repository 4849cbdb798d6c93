#include "backup/metrics.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/list.h"
#include "lib/mem.h"
#include "lib/util.h"

enum kind { COUNTER, GAUGE, HISTOGRAM };

/* From a request on the same machine to a part over a slow line. */
static const double bounds[] = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300};

struct series {
	struct list link;
	char *labels; /* owned; "": none */
	double value; /* of a histogram: the sum */
	uint64_t *buckets; /* owned; of a histogram: observations up to each bound, and all */
};

static const struct {
	const char *name;
	enum kind kind;
	const char *help;
} table[] = {
#define METRIC(name, kind, help) {#name, kind, help},
#include "backup/metrics.def"
#undef METRIC
};

static struct counted_list all[METRIC_COUNT];

static struct series *find(enum metric m, const char *labels)
{
	if (!all[m].head.next)
		clist_init(&all[m]);
	LIST_FOR(n, &all[m].head) {
		struct series *s = LIST_ITEM(n, struct series, link);

		if (strcmp(s->labels, labels ? labels : "") == 0)
			return s;
	}
	return NULL;
}

static struct series *find_or_make(enum metric m, const char *labels)
{
	struct series *s = find(m, labels);

	if (s || all[m].count == METRIC_SERIES_MAX)
		return s;
	s = xcalloc(1, sizeof(*s));
	s->labels = xstrdup(labels ? labels : "");
	if (table[m].kind == HISTOGRAM)
		s->buckets = xcalloc(ARRAY_LEN(bounds) + 1, sizeof(*s->buckets));
	clist_add_tail(&all[m], &s->link);
	return s;
}

void metric_add(enum metric m, const char *labels, double by)
{
	struct series *s = find_or_make(m, labels);

	if (s)
		s->value += by;
}

void metric_set(enum metric m, const char *labels, double value)
{
	struct series *s = find_or_make(m, labels);

	if (s)
		s->value = value;
}

static void series_free(enum metric m, struct series *s)
{
	clist_del(&all[m], &s->link);
	free(s->labels);
	free(s->buckets);
	free(s);
}

void metric_unset(enum metric m, const char *labels)
{
	struct series *s = find(m, labels);

	if (s)
		series_free(m, s);
}

void metric_observe(enum metric m, const char *labels, double seconds)
{
	struct series *s = find_or_make(m, labels);

	if (!s || !s->buckets)
		return;
	s->value += seconds;
	for (size_t i = 0; i < ARRAY_LEN(bounds); i++)
		s->buckets[i] += seconds <= bounds[i];
	s->buckets[ARRAY_LEN(bounds)]++;
}

double metric_get(enum metric m, const char *labels)
{
	const struct series *s = find(m, labels);

	return s ? s->value : 0;
}

static void put_number(struct buf *out, double v)
{
	/* Bytes and dates are whole, and may be larger than %g writes out. */
	if (v == floor(v) && fabs(v) < 1e15)
		buf_printf(out, " %" PRId64 "\n", (int64_t)v);
	else
		buf_printf(out, " %.6f\n", v);
}

static void put_name(struct buf *out, enum metric m, const char *suffix, const char *labels, const char *more)
{
	const char *comma = labels[0] && more[0] ? "," : "";

	buf_printf(out, METRIC_PREFIX "%s%s", table[m].name, suffix);
	if (labels[0] || more[0])
		buf_printf(out, "{%s%s%s}", labels, comma, more);
}

static void put_histogram(struct buf *out, enum metric m, const struct series *s)
{
	char le[48];

	for (size_t i = 0; i < ARRAY_LEN(bounds); i++) {
		snprintf(le, sizeof(le), "le=\"%g\"", bounds[i]);
		put_name(out, m, "_bucket", s->labels, le);
		put_number(out, (double)s->buckets[i]);
	}
	put_name(out, m, "_bucket", s->labels, "le=\"+Inf\"");
	put_number(out, (double)s->buckets[ARRAY_LEN(bounds)]);
	put_name(out, m, "_sum", s->labels, "");
	put_number(out, s->value);
	put_name(out, m, "_count", s->labels, "");
	put_number(out, (double)s->buckets[ARRAY_LEN(bounds)]);
}

void metrics_write(struct buf *out)
{
	static const char *const kinds[] = {"counter", "gauge", "histogram"};

	for (enum metric m = 0; m < METRIC_COUNT; m++) {
		if (!all[m].head.next || all[m].count == 0)
			continue;
		buf_printf(out, "# HELP " METRIC_PREFIX "%s %s\n# TYPE " METRIC_PREFIX "%s %s\n", table[m].name,
			   table[m].help, table[m].name, kinds[table[m].kind]);
		LIST_FOR(n, &all[m].head) {
			const struct series *s = LIST_ITEM(n, struct series, link);

			if (s->buckets) {
				put_histogram(out, m, s);
				continue;
			}
			put_name(out, m, "", s->labels, "");
			put_number(out, s->value);
		}
	}
}

void metrics_forget(void)
{
	for (enum metric m = 0; m < METRIC_COUNT; m++)
		while (all[m].head.next && all[m].count > 0)
			series_free(m, LIST_ITEM(all[m].head.next, struct series, link));
}
