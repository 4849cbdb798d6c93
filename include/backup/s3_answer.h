/*
 * backup/s3_answer.h - status and headers of an answer, and what to do about it.
 *
 * Pure. A verdict says whether a request is worth trying again and by what
 * change; the classes and their codes are tables in s3_answer.c.
 *
 * Rules: backup specification, section 10.6.
 * Tests: test/unit/test_backup_answers.c, test/fuzz/fuzz_s3_answer.c
 */
#ifndef BACKUP_S3_ANSWER_H
#define BACKUP_S3_ANSWER_H

#include "backup/storage.h"

struct s3_answer {
	int status; /* 0: none came */
	char etag[STORAGE_ETAG_MAX], request_id[128], region[64];
	char checksum[64]; /* x-amz-checksum-*, which a store that knows it says back */
	int64_t length;				   /* Content-Length; -1: not told */
	bool has_range;				   /* Content-Range */
	uint64_t range_first, range_last;
	int64_t range_total;	   /* -1: '*' */
	int64_t date, last_modified; /* 0: not told */
	int64_t retry_after;	   /* seconds; -1: not told */
	bool is_etag_cut;	   /* longer than we keep */
	struct object_meta meta;
};

/*
 * One line of the head, with or without its end of line. A status line starts
 * anew, so that of several answers (100 Continue, a proxy's) the last counts.
 */
void s3_answer_line(struct s3_answer *, struct span line);
void s3_answer_clear(struct s3_answer *);

enum s3_verdict {
	S3_DONE,
	S3_RETRY,	     /* the same again */
	S3_RETRY_TWICE,	     /* the bytes were damaged on their way: at most two more tries */
	S3_ADJUST_CLOCK,
	S3_ADJUST_KEYS,
	S3_ADJUST_REGION,
	S3_GIVE_UP
};

struct s3_judgement {
	enum s3_verdict verdict;
	enum storage_result result; /* when nothing more is tried */
};

/*
 * code: of the Error document, "" without one. has_region: it or the headers
 * name a region. clock_offset: Date minus our clock as far as known, seconds.
 * A status of 2xx with a code is a failure, too.
 */
struct s3_judgement s3_judge_answer(int status, const char *code, bool has_region, int64_t clock_offset);
/* curl_result: CURLcode, not CURLE_OK; detail: curl's words. */
struct s3_judgement s3_judge_trouble(int curl_result, const char *detail);

/* Full jitter: 0 .. min(most, first * 2^tries). random: any 64 bits. */
usec_t s3_backoff(usec_t first, usec_t most, unsigned tries, uint64_t random);

#endif
