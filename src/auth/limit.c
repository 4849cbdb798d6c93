#include "auth/limit.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"

/*
 * Time inside an entry is counted in ticks of 1/256 s since the epoch of its
 * group; 0 means never. 2^31 of them are 97 days, after which the group moves
 * its epoch (rebase()).
 */
#define TICKS_PER_SEC 256
#define REBASE_AT (UINT32_C(1) << 31)
#define REBASE_KEEP (UINT32_C(1) << 28)
#define REBASE_STEP (UINT32_C(1) << 18) /* whole turns of the second counters below */

#define WAYS 8
#define GROUPS 64
#define SCORE_MAX 1048576.0
#define LEVEL_MAX 31
#define TRIED_TURN 256	 /* seconds after which the counter tried comes round */
#define LOGGED_TURN 1024 /* the same of logged */
#define LOG_PAUSE 60	 /* seconds between two lines about one source */
#define SUPPRESSED_MAX ((UINT32_C(1) << 17) - 1)
#define TRUST_SECONDS ((uint32_t)(LIMIT_TRUST_USEC / USEC_PER_SEC))

_Static_assert(LIMIT_ENTRIES_STEP == WAYS * GROUPS, "every group has the same number of sets");

/*
 * A score that halves every halflife is one moment: when it will have come
 * down to 1. So score = 2^((cold_at - now) / halflife), halving it takes one
 * halflife off, and the lower score is the earlier moment.
 */
struct entry {
	struct ip_address source;
	uint32_t cold_at;	  /* tick; 0: no score */
	uint32_t until;		  /* tick: closed off before it; 0: never was */
	uint64_t success : 24;	  /* second of the last success; 0: none */
	uint64_t level : 5;	  /* blocks in a row */
	uint64_t tried : 8;	  /* second, modulo, of the last attempt that was let into a block */
	uint64_t logged : 10;	  /* second, modulo, of the last line in the log */
	uint64_t suppressed : 17; /* refusals since then */
};
_Static_assert(sizeof(struct entry) == 32, "ecdsa-login.md section 21");
_Static_assert(REBASE_STEP % (TICKS_PER_SEC * LOGGED_TURN) == 0, "a rebase keeps the second counters");

struct group {
	pthread_mutex_t lock;
	struct entry *entries; /* borrowed from the table: sets * WAYS */
	uint32_t sets;
	usec_t epoch;
	uint64_t blocks;
	/* The rules, in ticks where they are times. */
	int burst;
	double halflife;
	uint32_t block, block_max;
};

struct limiter {
	struct group groups[GROUPS];
	struct entry *table; /* owned; replaced by limiter_adopt() only */
	uint32_t sets;	     /* of a group; limiter_adopt()'s own */
	/* Relaxed: a number for a moment too old is harmless. */
	atomic_bool is_off;
	atomic_llong check_nsec; /* of the ceiling: what one check costs; 0: no ceiling */
	/*
	 * The ceiling as a bucket that leaks: the moment, in nanoseconds, when
	 * all checks so far will have been paid for. Relaxed: it guards nothing
	 * but itself.
	 */
	atomic_llong paid_at;
	atomic_llong ceiling_logged; /* usec; 0: never */
	atomic_uint ceiling_suppressed;
};

/* ---- times ---- */

static uint32_t ticks_of(usec_t span)
{
	/* Bounded by the settings to a day; whoever hands in more gets ten. */
	const usec_t most = 10 * 86400 * USEC_PER_SEC;

	if (span <= 0)
		return 0;
	return (uint32_t)((span < most ? span : most) * TICKS_PER_SEC / USEC_PER_SEC);
}

static uint32_t minus(uint32_t stamp, uint32_t shift)
{
	return stamp > shift ? stamp - shift : 0;
}

static void rebase(struct group *g, uint32_t shift)
{
	for (size_t i = 0; i < (size_t)g->sets * WAYS; i++) {
		struct entry *e = &g->entries[i];

		e->cold_at = minus(e->cold_at, shift);
		e->until = minus(e->until, shift);
		e->success = minus(e->success, shift / TICKS_PER_SEC) & 0xffffff;
	}
}

/* The tick of now. Under the group's lock, as all that follows. */
static uint32_t tick_at(struct group *g, usec_t now)
{
	int64_t ticks = now <= g->epoch ? 0 : (now - g->epoch) * TICKS_PER_SEC / USEC_PER_SEC;

	if (ticks >= REBASE_AT) {
		int64_t shift = (ticks - REBASE_KEEP) / REBASE_STEP * REBASE_STEP;

		rebase(g, shift < UINT32_MAX ? (uint32_t)shift : UINT32_MAX / REBASE_STEP * REBASE_STEP);
		g->epoch += shift / TICKS_PER_SEC * USEC_PER_SEC;
		ticks -= shift;
	}
	/* 0 means never, also in whole seconds. */
	return (uint32_t)ticks + TICKS_PER_SEC;
}

static uint32_t second_of(uint32_t tick)
{
	return tick / TICKS_PER_SEC;
}

/* ---- scores ---- */

static double score_of(const struct group *g, const struct entry *e, uint32_t tick)
{
	return e->cold_at ? exp2(((double)e->cold_at - (double)tick) / g->halflife) : 0;
}

static uint32_t cold_at(double halflife, double score, uint32_t tick)
{
	double at = (double)tick + floor(halflife * log2(score < SCORE_MAX ? score : SCORE_MAX));

	return at < 1 ? 0 : at > (double)UINT32_MAX ? UINT32_MAX : (uint32_t)at;
}

static bool is_blocked(const struct entry *e, uint32_t tick)
{
	return e->until > tick;
}

static bool is_trusted(const struct entry *e, uint32_t tick)
{
	return e->success && second_of(tick) < e->success + TRUST_SECONDS;
}

static bool is_free(const struct entry *e)
{
	return !e->cold_at && !e->until && !e->success;
}

/*
 * Who makes room for a new source: the least guilty, but nobody who has proven
 * himself lately, or else a flood from many sources would take from him that
 * he is free of the ceiling.
 */
static bool goes_before(const struct entry *a, const struct entry *b, uint32_t tick)
{
	if (is_trusted(a, tick) != is_trusted(b, tick))
		return is_trusted(b, tick);
	if (is_blocked(a, tick) != is_blocked(b, tick))
		return is_blocked(b, tick);
	if (a->cold_at != b->cold_at)
		return a->cold_at < b->cold_at;
	return a->success < b->success;
}

/* ---- the table ---- */

static struct group *group_of(struct limiter *l, uint64_t hash)
{
	return &l->groups[hash % GROUPS];
}

static struct entry *set_of(const struct group *g, uint64_t hash)
{
	return &g->entries[(size_t)(hash / GROUPS % g->sets) * WAYS];
}

static struct entry *find(const struct group *g, uint64_t hash, const struct ip_address *source)
{
	struct entry *set = set_of(g, hash);

	for (int i = 0; i < WAYS; i++)
		if (!is_free(&set[i]) && memcmp(&set[i].source, source, sizeof(*source)) == 0)
			return &set[i];
	return NULL;
}

static struct entry *least_guilty(const struct group *g, uint64_t hash, uint32_t tick)
{
	struct entry *set = set_of(g, hash), *least = &set[0];

	for (int i = 0; i < WAYS; i++) {
		if (is_free(&set[i]))
			return &set[i];
		if (goes_before(&set[i], least, tick))
			least = &set[i];
	}
	return least;
}

static struct entry *take_place(struct entry *e, const struct ip_address *source)
{
	memset(e, 0, sizeof(*e));
	e->source = *source;
	return e;
}

static uint64_t hash_of(const struct ip_address *source)
{
	return hash_bytes(source, sizeof(*source));
}

struct ip_address limit_source(const struct ip_address *address, int ipv4_prefix, int ipv6_prefix)
{
	return ip_mask(address, ipv4_prefix, ipv6_prefix);
}

/* ---- rules ---- */

static uint32_t sets_of(const struct limit_rules *rules)
{
	return ((uint32_t)rules->entries + LIMIT_ENTRIES_STEP - 1) / LIMIT_ENTRIES_STEP;
}

/* Scores mean the same after another halflife. */
static void rescale(struct group *g, double halflife, uint32_t tick)
{
	for (size_t i = 0; i < (size_t)g->sets * WAYS; i++) {
		struct entry *e = &g->entries[i];
		double score = score_of(g, e, tick);

		if (e->cold_at)
			e->cold_at = score > 0 ? cold_at(halflife, score, tick) : 0;
	}
}

static void set_rules(struct group *g, const struct limit_rules *rules, usec_t now)
{
	double halflife = ticks_of(rules->halflife) ? ticks_of(rules->halflife) : 1;

	if (g->entries && g->halflife != halflife)
		rescale(g, halflife, tick_at(g, now));
	g->halflife = halflife;
	g->burst = rules->burst;
	g->block = ticks_of(rules->block);
	g->block_max = ticks_of(rules->block_max);
}

static void set_process_rules(struct limiter *l, const struct limit_rules *rules)
{
	long long nsec = rules->checks_per_second > 0 ? 1000000000LL / rules->checks_per_second : 0;

	atomic_store_explicit(&l->is_off, rules->burst <= 0, memory_order_relaxed);
	atomic_store_explicit(&l->check_nsec, nsec, memory_order_relaxed);
}

/* What there is goes to its new set; where that is full the least guilty are left behind. */
static void move(struct group *g, struct entry *fresh, uint32_t sets, uint32_t tick)
{
	struct entry *old = g->entries;
	size_t n = (size_t)g->sets * WAYS;

	g->entries = fresh;
	g->sets = sets;
	for (size_t i = 0; i < n; i++) {
		struct entry *to;

		if (is_free(&old[i]))
			continue;
		to = least_guilty(g, hash_of(&old[i].source), tick);
		if (is_free(to) || goes_before(to, &old[i], tick))
			*to = old[i];
	}
}

static bool resize(struct limiter *l, uint32_t sets, usec_t now)
{
	struct entry *fresh = calloc((size_t)sets * GROUPS * WAYS, sizeof(*fresh));

	if (!fresh)
		return false;
	for (size_t i = 0; i < GROUPS; i++) {
		struct group *g = &l->groups[i];

		pthread_mutex_lock(&g->lock);
		move(g, fresh + i * sets * WAYS, sets, tick_at(g, now));
		pthread_mutex_unlock(&g->lock);
	}
	/* Entries are looked at under the locks only, so nobody is left in the old table. */
	free(l->table);
	l->table = fresh;
	l->sets = sets;
	return true;
}

struct limiter *limiter_new(const struct limit_rules *rules, usec_t now)
{
	struct limiter *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	for (size_t i = 0; i < GROUPS; i++) {
		pthread_mutex_init(&l->groups[i].lock, NULL);
		l->groups[i].epoch = now;
		set_rules(&l->groups[i], rules, now);
	}
	set_process_rules(l, rules);
	if (!resize(l, sets_of(rules), now)) {
		limiter_free(l);
		return NULL;
	}
	return l;
}

void limiter_free(struct limiter *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < GROUPS; i++)
		pthread_mutex_destroy(&l->groups[i].lock);
	free(l->table);
	free(l);
}

bool limiter_adopt(struct limiter *l, const struct limit_rules *rules, usec_t now)
{
	for (size_t i = 0; i < GROUPS; i++) {
		struct group *g = &l->groups[i];

		pthread_mutex_lock(&g->lock);
		set_rules(g, rules, now);
		pthread_mutex_unlock(&g->lock);
	}
	set_process_rules(l, rules);
	return sets_of(rules) == l->sets || resize(l, sets_of(rules), now);
}

/* ---- the ceiling ---- */

/* Checks by somebody who has not proven himself lately. The bucket may be overdrawn: it is paid for later. */
static void pay_checks(struct limiter *l, usec_t now, int n)
{
	long long cost = atomic_load_explicit(&l->check_nsec, memory_order_relaxed) * n, now_nsec = now * 1000;
	long long was = atomic_load_explicit(&l->paid_at, memory_order_relaxed);

	while (cost > 0 && !atomic_compare_exchange_weak_explicit(&l->paid_at, &was,
								  (was > now_nsec ? was : now_nsec) + cost,
								  memory_order_relaxed, memory_order_relaxed))
		;
}

static bool is_calm(struct limiter *l, usec_t now)
{
	return atomic_load_explicit(&l->check_nsec, memory_order_relaxed) == 0 ||
	       atomic_load_explicit(&l->paid_at, memory_order_relaxed) <= now * 1000 + 500000000LL;
}

/* 0, or the nanoseconds until there is room: a second's worth of checks may come at once. */
static long long ceiling_wait(struct limiter *l, usec_t now)
{
	long long cost = atomic_load_explicit(&l->check_nsec, memory_order_relaxed);
	long long room = now * 1000 + 1000000000LL - cost;
	long long paid = atomic_load_explicit(&l->paid_at, memory_order_relaxed);

	return cost > 0 && paid > room ? paid - room : 0;
}

static bool refuse_by_ceiling(struct limiter *l, usec_t now, long long wait, struct limit_refusal *r)
{
	long long last = atomic_load_explicit(&l->ceiling_logged, memory_order_relaxed);

	*r = (struct limit_refusal){.retry_seconds = (int)((wait + 999999999LL) / 1000000000LL), .is_ceiling = true};
	/* Of those who see that a line is due, one writes it. */
	r->wants_log = (last == 0 || now - last >= LOG_PAUSE * USEC_PER_SEC) &&
		       atomic_compare_exchange_strong_explicit(&l->ceiling_logged, &last, now ? now : 1,
							       memory_order_relaxed, memory_order_relaxed);
	if (r->wants_log)
		r->suppressed = atomic_exchange_explicit(&l->ceiling_suppressed, 0, memory_order_relaxed);
	else
		atomic_fetch_add_explicit(&l->ceiling_suppressed, 1, memory_order_relaxed);
	return false;
}

/* ---- events ---- */

static bool refuse_blocked(struct entry *e, uint32_t tick, int retry_seconds, struct limit_refusal *r)
{
	uint32_t second = second_of(tick);

	*r = (struct limit_refusal){.retry_seconds = retry_seconds};
	/* 0 says that there was no line; a line of such a second counts for the next. */
	r->wants_log = !e->logged || (second - e->logged) % LOGGED_TURN >= LOG_PAUSE;
	if (r->wants_log) {
		r->suppressed = (uint32_t)e->suppressed;
		e->suppressed = 0;
		e->logged = second % LOGGED_TURN ? second % LOGGED_TURN : 1;
	} else if (e->suppressed < SUPPRESSED_MAX)
		e->suppressed++;
	return false;
}

/* One attempt a second for who has proven himself lately; tried is only looked at inside a block. */
static bool may_try(struct entry *e, uint32_t tick)
{
	uint32_t second = second_of(tick) % TRIED_TURN;

	if (!is_trusted(e, tick) || e->tried == second)
		return false;
	e->tried = second;
	return true;
}

/* Of a source that is known and closed off. */
static bool ask_blocked(struct entry *e, uint32_t tick, struct limit_refusal *r)
{
	uint32_t left = (e->until - tick + TICKS_PER_SEC - 1) / TICKS_PER_SEC;

	if (may_try(e, tick))
		return true;
	return refuse_blocked(e, tick, is_trusted(e, tick) ? 1 : (int)left, r);
}

bool limiter_ask(struct limiter *l, const struct ip_address *source, usec_t now, struct limit_refusal *r)
{
	uint64_t hash = hash_of(source);
	struct group *g = group_of(l, hash);
	bool may = true, is_free_of_ceiling;
	struct entry *e;
	uint32_t tick;
	long long wait;

	memset(r, 0, sizeof(*r));
	if (atomic_load_explicit(&l->is_off, memory_order_relaxed))
		return true;
	pthread_mutex_lock(&g->lock);
	tick = tick_at(g, now);
	e = find(g, hash, source);
	if (e && is_blocked(e, tick))
		may = ask_blocked(e, tick, r);
	is_free_of_ceiling = e && is_trusted(e, tick);
	pthread_mutex_unlock(&g->lock);
	if (!may || is_free_of_ceiling)
		return may;
	wait = ceiling_wait(l, now);
	return wait == 0 || refuse_by_ceiling(l, now, wait, r);
}

bool limiter_may_explain(struct limiter *l, const struct ip_address *source, usec_t now)
{
	uint64_t hash = hash_of(source);
	struct group *g = group_of(l, hash);
	const struct entry *e;
	bool may;

	if (atomic_load_explicit(&l->is_off, memory_order_relaxed))
		return true;
	if (!is_calm(l, now))
		return false;
	pthread_mutex_lock(&g->lock);
	e = find(g, hash, source);
	may = !e || !is_blocked(e, tick_at(g, now));
	pthread_mutex_unlock(&g->lock);
	if (may)
		pay_checks(l, now, LIMIT_EXPLAIN_CHECKS);
	return may;
}

static void close_off(struct group *g, struct entry *e, uint32_t tick)
{
	uint64_t span = (uint64_t)g->block << e->level;

	if (span > g->block_max)
		span = g->block_max;
	if (span == 0)
		return;
	/* The second counters have come round, perhaps more than once. */
	if (!e->until || tick - e->until >= LOG_PAUSE * TICKS_PER_SEC)
		e->logged = 0;
	e->tried = (second_of(tick) + TRIED_TURN - 1) % TRIED_TURN;
	e->until = tick + (uint32_t)span;
	if (e->level < LEVEL_MAX)
		e->level++;
	g->blocks++;
}

static void add_failure(struct group *g, struct entry *e, uint32_t tick)
{
	double score = score_of(g, e, tick);

	if (score <= g->burst / 2.0)
		e->level = 0;
	score += 1;
	e->cold_at = cold_at(g->halflife, score, tick);
	/* Failures inside a block are those of attempts begun before it, or of the one a second: no new block. */
	if (score > g->burst && !is_blocked(e, tick))
		close_off(g, e, tick);
}

void limiter_failed(struct limiter *l, const struct ip_address *source, usec_t now)
{
	uint64_t hash = hash_of(source);
	struct group *g = group_of(l, hash);
	struct entry *e;
	uint32_t tick;
	bool was_trusted;

	if (atomic_load_explicit(&l->is_off, memory_order_relaxed))
		return;
	pthread_mutex_lock(&g->lock);
	tick = tick_at(g, now);
	e = find(g, hash, source);
	if (!e)
		e = take_place(least_guilty(g, hash, tick), source);
	was_trusted = is_trusted(e, tick);
	add_failure(g, e, tick);
	pthread_mutex_unlock(&g->lock);
	if (!was_trusted)
		pay_checks(l, now, 1);
}

/*
 * A success is worth remembering, but not at the price of somebody who is
 * suspected. One failure is no suspicion: in a flood of sources with one each
 * nobody new could prove himself otherwise.
 */
static struct entry *place_for_success(const struct group *g, uint64_t hash, const struct ip_address *source,
				       uint32_t tick)
{
	struct entry *e = least_guilty(g, hash, tick);

	if (!is_free(e) && (is_blocked(e, tick) || is_trusted(e, tick) || score_of(g, e, tick) > 1))
		return NULL;
	return take_place(e, source);
}

void limiter_passed(struct limiter *l, const struct ip_address *source, usec_t now)
{
	uint64_t hash = hash_of(source);
	struct group *g = group_of(l, hash);
	struct entry *e;
	uint32_t tick;
	bool was_trusted;

	if (atomic_load_explicit(&l->is_off, memory_order_relaxed))
		return;
	pthread_mutex_lock(&g->lock);
	tick = tick_at(g, now);
	e = find(g, hash, source);
	was_trusted = e && is_trusted(e, tick);
	if (!e)
		e = place_for_success(g, hash, source, tick);
	if (e) {
		e->cold_at = minus(e->cold_at, (uint32_t)g->halflife);
		e->success = second_of(tick) & 0xffffff;
		if (score_of(g, e, tick) <= g->burst / 2.0)
			e->level = 0;
	}
	pthread_mutex_unlock(&g->lock);
	if (!was_trusted)
		pay_checks(l, now, 1);
}

/* ---- display ---- */

uint64_t limiter_blocks(struct limiter *l)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < GROUPS; i++) {
		struct group *g = &l->groups[i];

		pthread_mutex_lock(&g->lock);
		sum += g->blocks;
		pthread_mutex_unlock(&g->lock);
	}
	return sum;
}

size_t limiter_memory(const struct limiter *l)
{
	return (size_t)l->sets * GROUPS * WAYS * sizeof(struct entry);
}

static bool row_is_worse(const struct limit_row *a, const struct limit_row *b)
{
	if ((a->blocked_seconds > 0) != (b->blocked_seconds > 0))
		return a->blocked_seconds > 0;
	if (a->score > b->score || a->score < b->score)
		return a->score > b->score;
	return memcmp(&a->source, &b->source, sizeof(a->source)) < 0;
}

static int worst_first(const void *pa, const void *pb)
{
	return row_is_worse(pa, pb) ? -1 : row_is_worse(pb, pa) ? 1 : 0;
}

/* rows is a heap with the least bad on top, so that the next worse one takes its place. */
static void sift_down(struct limit_row *rows, size_t n, size_t at)
{
	for (;;) {
		size_t child = 2 * at + 1;
		struct limit_row moved;

		if (child >= n)
			return;
		if (child + 1 < n && row_is_worse(&rows[child], &rows[child + 1]))
			child++;
		if (!row_is_worse(&rows[at], &rows[child]))
			return;
		moved = rows[at];
		rows[at] = rows[child];
		rows[child] = moved;
		at = child;
	}
}

static void keep_row(struct limit_row *rows, size_t *n, size_t max, const struct limit_row *row)
{
	if (*n < max) {
		rows[(*n)++] = *row;
		if (*n == max)
			for (size_t i = max / 2; i-- > 0;)
				sift_down(rows, max, i);
		return;
	}
	if (max == 0 || !row_is_worse(row, &rows[0]))
		return;
	rows[0] = *row;
	sift_down(rows, max, 0);
}

static struct limit_row row_of(const struct group *g, const struct entry *e, uint32_t tick, int v4, int v6)
{
	struct limit_row row = {.source = {.address = e->source}, .score = score_of(g, e, tick), .success_seconds = -1};

	row.source.bits = (uint8_t)(ip_is_v4(&e->source) ? 96 + v4 : v6);
	row.blocks = (int)e->level;
	row.suppressed = (uint32_t)e->suppressed;
	if (is_blocked(e, tick))
		row.blocked_seconds = (int)((e->until - tick + TICKS_PER_SEC - 1) / TICKS_PER_SEC);
	if (is_trusted(e, tick))
		row.success_seconds = e->success < second_of(tick) ? (int)(second_of(tick) - e->success) : 0;
	return row;
}

size_t limiter_list(struct limiter *l, usec_t now, int v4, int v6, struct limit_row *rows, size_t max)
{
	size_t n = 0;

	if (atomic_load_explicit(&l->is_off, memory_order_relaxed))
		return 0;
	for (size_t i = 0; i < GROUPS; i++) {
		struct group *g = &l->groups[i];
		uint32_t tick;

		pthread_mutex_lock(&g->lock);
		tick = tick_at(g, now);
		for (size_t j = 0; j < (size_t)g->sets * WAYS; j++) {
			struct limit_row row;

			if (is_free(&g->entries[j]))
				continue;
			row = row_of(g, &g->entries[j], tick, v4, v6);
			/* What one failure leaves after some seven half-lives is not worth a row. */
			if (row.blocked_seconds > 0 || row.score >= 0.01)
				keep_row(rows, &n, max, &row);
		}
		pthread_mutex_unlock(&g->lock);
	}
	qsort(rows, n, sizeof(*rows), worst_first);
	return n;
}
