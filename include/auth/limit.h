/*
 * auth/limit.h - which sources of failed logins are closed off for a while
 * (ecdsa-login.md section 21).
 *
 *	source = limit_source(address, ...);
 *	if (!limiter_ask(l, &source, now, &refusal))	before anything is verified
 *		refuse, with refusal.retry_seconds
 *	limiter_failed(l, &source, now);		a proof was refused
 *	limiter_passed(l, &source, now);		a proof was good
 *
 * Only failures count. A source's score is 1 more with each and halves every
 * halflife; a success halves it too. Above burst the source is closed off, the
 * next time for twice as long unless the score has meanwhile come down to half
 * the burst. Who has had a success within LIMIT_TRUST_USEC is let through once
 * a second all the same, and is free of the ceiling on checks a second.
 *
 * Memory is fixed: sets of 8 entries of 32 bytes, found by a keyed hash. A new
 * source takes the place of the least guilty of its set, and who has had a
 * success lately keeps his as long as another can go. Nothing is allocated
 * but by limiter_new() and, for another size, by limiter_adopt().
 *
 * One a process, used by every Worker; a mutex a group of sets, never held
 * across a call out of here. Knows no sockets, no settings and no clock: now
 * is monotonic and handed in, and a now that is behind another Worker's by a
 * loop turn does no harm.
 *
 * Tests: test/unit/test_limit.c, test/system/test_limit.py
 */
#ifndef AUTH_LIMIT_H
#define AUTH_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/network.h"
#include "lib/util.h"

#define LIMIT_TRUST_USEC (600 * USEC_PER_SEC)
#define LIMIT_EXPLAIN_CHECKS 4
#define LIMIT_ENTRIES_STEP 512 /* the table's size is a multiple of it */

struct limiter;

struct limit_rules {
	int burst;	       /* failures that are borne; 0: the limiter is off */
	usec_t halflife;       /* > 0 */
	usec_t block, block_max;
	int checks_per_second; /* for sources without a recent success, all together; 0: no ceiling */
	int entries;	       /* sources remembered, rounded up to LIMIT_ENTRIES_STEP */
};

struct limit_refusal {
	int retry_seconds;   /* at least 1 */
	bool is_ceiling;     /* too many checks in the whole process, not this source's doing */
	bool wants_log;	     /* once a minute and source; all together for the ceiling */
	uint32_t suppressed; /* refusals since the line before; with wants_log */
};

struct limit_row { /* for display */
	struct network source;
	double score;
	int blocked_seconds;	  /* rounded up; 0: not closed off */
	int blocks;		  /* in a row, each twice as long as the one before */
	int success_seconds;	  /* since the last success; -1: none within LIMIT_TRUST_USEC */
	uint32_t suppressed;	  /* refusals not logged yet */
};

/* NULL: out of memory. now: any moment not after the first use. */
struct limiter *limiter_new(const struct limit_rules *, usec_t now);
void limiter_free(struct limiter *); /* NULL is fine */
/*
 * New numbers; scores and blocks stay, also into a table of another size as
 * far as there is room. false: no memory for that, all else is in force. One
 * thread at a time.
 */
bool limiter_adopt(struct limiter *, const struct limit_rules *, usec_t now) MUST_CHECK;

/* Those that count as one: the same prefix, of 32 and 128 bits at most. */
struct ip_address limit_source(const struct ip_address *, int ipv4_prefix, int ipv6_prefix);

/* May this source try now? false: fills in the refusal. */
bool limiter_ask(struct limiter *, const struct ip_address *source, usec_t now, struct limit_refusal *) MUST_CHECK;
void limiter_failed(struct limiter *, const struct ip_address *source, usec_t now);
void limiter_passed(struct limiter *, const struct ip_address *source, usec_t now);

/*
 * Is there time to look for the reason of a wrong signature, for the log
 * (ecdsa-login.md section 9)? Not of a source that is closed off, nor while
 * half of the ceiling is used up. It counts as LIMIT_EXPLAIN_CHECKS checks.
 */
bool limiter_may_explain(struct limiter *, const struct ip_address *source, usec_t now);

/* How often a source was closed off, since the start. */
uint64_t limiter_blocks(struct limiter *);
/*
 * The guiltiest max sources that are closed off or have a score worth
 * mention, worst first. Returns how many. The prefixes are for the rows' names.
 */
size_t limiter_list(struct limiter *, usec_t now, int ipv4_prefix, int ipv6_prefix, struct limit_row *rows, size_t max);
size_t limiter_memory(const struct limiter *); /* bytes of the table */

#endif
