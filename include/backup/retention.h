/*
 * backup/retention.h - which backups are kept.
 *
 * Pure: a list of what there is goes in, newest first, and each entry comes
 * out with a verdict and the rule that gave it. Nothing is deleted here.
 *
 * Rules: backup specification, section 13.
 * Tests: test/unit/test_backup_names.c (with the published vectors)
 */
#ifndef BACKUP_RETENTION_H
#define BACKUP_RETENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct retention_rules {
	int count, days;	      /* -1: unset */
	bool all;		      /* every limit that is set must be exceeded, not any */
	unsigned min_keep;	      /* at least 1 is kept whatever this says */
	unsigned daily, weekly, monthly, yearly; /* 0: unset */
	unsigned max_delete;	      /* 0: no limit */
};

#define RETENTION_DEFAULT {.count = -1, .days = -1, .min_keep = 1, .max_delete = 100}

enum retention_rule {
	RULE_NONE,	    /* keep: no limit is set, or none exceeded */
	RULE_NEWEST,	    /* keep: the newest good one */
	RULE_MIN_KEEP,	    /* keep */
	RULE_PROVEN,	    /* keep: the newest that passed a drill or archive check */
	RULE_HELD,	    /* keep */
	RULE_DAILY,	    /* keep */
	RULE_WEEKLY,	    /* keep */
	RULE_MONTHLY,	    /* keep */
	RULE_YEARLY,	    /* keep */
	RULE_SUSPECT,	    /* keep: suspect or failed, and not too old yet */
	RULE_FUTURE,	    /* keep: more than a day ahead, not looked at */
	RULE_MAX_DELETE,    /* keep for now: enough are deleted in this run */
	RULE_OVER_COUNT,    /* delete */
	RULE_OVER_DAYS,	    /* delete */
	RULE_OVER_BOTH,	    /* delete */
	RULE_NO_PERIOD	    /* delete: no daily ... yearly keeps it */
};

/* One backup. Small: there may be a hundred thousand. */
struct backup_entry {
	int64_t when;
	uint64_t size;
	uint8_t format;	 /* enum backup_format */
	uint8_t rule;	 /* enum retention_rule; by retention_judge */
	bool is_deleted; /* by retention_judge: is to be */
	bool is_held : 1, has_manifest : 1, is_judged : 1; /* judged: the manifest has been read, or there is none */
	bool is_suspect : 1, is_failed : 1, is_proven : 1; /* from the manifest; proven: drill or archive passed */
	bool is_told : 1;				   /* there is a manifest, and it is believed */
	bool is_sealed_elsewhere : 1;			   /* the manifest names a key that is not ours */
};

/* Right name, complete, not empty, nothing known against it. */
bool backup_is_good(const struct backup_entry *);
/* Newest first; equal times by key, descending. */
void backup_entries_sort(struct backup_entry *, size_t count);
/* Names more than a day ahead are ignored everywhere. */
bool backup_is_future(const struct backup_entry *, int64_t now);

/* Fills rule and is_deleted of every entry; entries are sorted. Returns how many are to be deleted. */
size_t retention_judge(const struct retention_rules *, int64_t now, struct backup_entry *, size_t count);
/* Whole days, rounded down; 0 for the future. */
int64_t backup_age_days(const struct backup_entry *, int64_t now);
/* Less than spacing seconds from now, either way: a name from a clock that runs ahead counts like one that runs behind.
 * Never with a spacing of 0, so that a backup that was asked for is made. */
bool backup_is_within(const struct backup_entry *, int64_t now, int64_t spacing);
const char *retention_rule_word(enum retention_rule);

#endif
