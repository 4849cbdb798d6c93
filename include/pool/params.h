/*
 * pool/params.h - the tracked session parameters of a client or a server.
 *
 * Values are interned for the whole process: two connections with the same
 * settings hold the same pointers, so "nothing to SET" is two pointer
 * compares and an idle client owns none of the text. application_name stands
 * apart from the set of the others, because with wallets it differs for each
 * client.
 *
 * The list of names is fixed at start (track_extra_parameters). Interning
 * takes a mutex, and happens at log-in and when a value changes, not per query.
 *
 * Rules: behaviour specification, sections 4 and 18.  Tests: test/unit/test_pool.c
 */
#ifndef POOL_PARAMS_H
#define POOL_PARAMS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/buf.h"

#define PARAMS_MAX 64
#define PARAM_APPLICATION_NAME 4 /* DateStyle, client_encoding, TimeZone, standard_conforming_strings come before */

struct interned;
struct param_set;

struct params {
	struct param_set *set;	   /* counted; NULL: nothing known */
	struct interned *app_name; /* counted; NULL: not known */
};

/* Once, before the first thread. extra: comma list; names beyond PARAMS_MAX are refused with -1, logged. */
int params_setup(const char *extra) MUST_CHECK;
int params_count(void);
const char *params_name(int index);
/* Without regard to case; -1 when it is not tracked. */
int params_index(const char *name);

const char *params_get(const struct params *, int index); /* NULL: not known */
bool params_set(struct params *, int index, const char *value); /* false: out of memory */
bool params_copy(struct params *to, const struct params *from); /* to is overwritten; always true: counts only */
void params_free(struct params *);
/* What `p` does not know it takes from `defaults`. */
bool params_fill(struct params *p, const struct params *defaults);
static inline bool params_same(const struct params *a, const struct params *b)
{
	return a->set == b->set && a->app_name == b->app_name;
}
/*
 * Appends "SET name='value';" for everything both know and that differs
 * (without regard to case); false when there is nothing. Quotes are doubled,
 * backslashes escaped with E''.
 */
bool params_diff_sql(const struct params *client, const struct params *server, struct buf *sql);
/* Such a literal: it means the same whatever standard_conforming_strings says. */
void params_put_literal(struct buf *sql, const char *value);

#endif
