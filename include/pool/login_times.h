/*
 * pool/login_times.h - log-ins of a Worker by method and outcome, for /metrics.
 *
 * What a client has sent never becomes part of a reason: texts lose what they
 * quote, so that there are as many as the program has words, and no stranger
 * fills the table.  Tests: test/unit/test_pool.c, test/system/test_http.py
 */
#ifndef POOL_LOGIN_TIMES_H
#define POOL_LOGIN_TIMES_H

#include "auth/auth.h"
#include "pool/histogram.h"

#define LOGIN_METHODS (AUTH_KINDS + 1) /* the last: refused before there was a method */
#define LOGIN_REASONS_MAX 96
#define LOGIN_REASON_LEN 63

struct login_reason {
	int method;
	char text[LOGIN_REASON_LEN + 1];
	uint64_t count;
};

struct login_times {
	struct histogram accepted[LOGIN_METHODS], refused[LOGIN_METHODS]; /* from accept to verdict */
	struct login_reason reasons[LOGIN_REASONS_MAX];
	int reason_count;
	uint64_t other_reasons; /* when the table was full */
};

/* "auth_type"'s word; "none" for the last. */
const char *login_method_word(int method);
void login_accepted(struct login_times *, int method, usec_t took);
/* text: as the client hears it, or a reason code. */
void login_refused(struct login_times *, int method, const char *text, usec_t took);
void login_times_add(struct login_times *to, const struct login_times *from);

#endif
