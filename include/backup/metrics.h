/*
 * backup/metrics.h - counters and gauges for Prometheus, one set a process.
 *
 *	metric_add(METRIC_s3_requests_total, "op=\"put\",code=\"200\"", 1);
 *
 * Labels are text as Prometheus writes it, borrowed for the call, and come
 * from us alone: whoever makes them of a stranger's words bounds them first.
 * A metric takes METRIC_SERIES_MAX sets of labels; further ones are dropped.
 *
 * Rules: backup specification, 18.2.  Tests: test/unit/test_backup_event.c
 */
#ifndef BACKUP_METRICS_H
#define BACKUP_METRICS_H

#include "lib/buf.h"

#define METRIC_PREFIX "pg_ecdsa_backup_"
#define METRIC_SERIES_MAX 200

enum metric {
#define METRIC(name, kind, help) METRIC_##name,
#include "backup/metrics.def"
#undef METRIC
	METRIC_COUNT
};

void metric_add(enum metric, const char *labels, double by); /* of counters; labels NULL: none */
void metric_set(enum metric, const char *labels, double value);
void metric_unset(enum metric, const char *labels); /* the series goes away */
void metric_observe(enum metric, const char *labels, double seconds); /* of histograms */
double metric_get(enum metric, const char *labels);		      /* 0 when there is none */
/* All that have a value, in the text format 0.0.4. */
void metrics_write(struct buf *out);
void metrics_forget(void); /* frees everything */

#endif
