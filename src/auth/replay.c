#include "auth/replay.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "auth/replay_shard.h"
#include "lib/hash.h"

#define WARNING_PAUSE 60 /* seconds */

struct shard {
	pthread_mutex_t lock;
	struct replay_shard table;
};

struct replay {
	struct shard shards[REPLAY_SHARDS];
	pthread_mutex_t counts_lock; /* taken inside a shard's, never the other way round */
	struct replay_counts counts;
	size_t capacity;
	uint32_t wallet_max;
	/* Relaxed: written before the first login, or by RELOAD; a login that is under way may go by the old one. */
	atomic_llong begins;	  /* see struct replay_floors, for all four */
	atomic_llong window_grew;
	atomic_llong forgotten;
	atomic_llong window; /* set before the shards are visited: who comes to one later sees it, by its lock */
	atomic_llong warned;	  /* the last second of a warning */
};

struct replay *replay_new(int entries)
{
	size_t each = ((size_t)(entries > 0 ? entries : 1) + REPLAY_SHARDS - 1) / REPLAY_SHARDS;
	struct replay *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->capacity = each * REPLAY_SHARDS;
	r->wallet_max = (uint32_t)(r->capacity / REPLAY_WALLET_SHARE);
	pthread_mutex_init(&r->counts_lock, NULL);
	atomic_init(&r->begins, INT64_MIN);
	atomic_init(&r->window_grew, INT64_MIN);
	atomic_init(&r->forgotten, INT64_MIN);
	atomic_init(&r->window, 0);
	atomic_init(&r->warned, INT64_MIN);
	for (size_t i = 0; i < REPLAY_SHARDS; i++)
		pthread_mutex_init(&r->shards[i].lock, NULL);
	for (size_t i = 0; i < REPLAY_SHARDS; i++)
		if (!replay_shard_init(&r->shards[i].table, (uint32_t)each)) {
			replay_free(r);
			return NULL;
		}
	if (!replay_counts_init(&r->counts, (uint32_t)r->capacity)) {
		replay_free(r);
		return NULL;
	}
	return r;
}

void replay_free(struct replay *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < REPLAY_SHARDS; i++) {
		pthread_mutex_destroy(&r->shards[i].lock);
		replay_shard_free(&r->shards[i].table);
	}
	pthread_mutex_destroy(&r->counts_lock);
	replay_counts_free(&r->counts);
	free(r);
}

struct ip_address replay_source(const struct ip_address *address)
{
	/* :: is nobody's address. */
	return address ? ip_mask(address, 32, 64) : (struct ip_address){{0}};
}

static void raise(atomic_llong *floor, int64_t to)
{
	long long was = atomic_load_explicit(floor, memory_order_relaxed);

	while (was < to &&
	       !atomic_compare_exchange_weak_explicit(floor, &was, to, memory_order_relaxed, memory_order_relaxed))
		;
}

void replay_begins(struct replay *r, int64_t issued)
{
	raise(&r->begins, issued);
}

static struct shard *shard_of(struct replay *r, const uint8_t *key, uint64_t *hash)
{
	/* Keyed, since whoever signs chooses the digest. */
	*hash = hash_bytes(key, PROOF_KEY_BYTES);
	return &r->shards[*hash % REPLAY_SHARDS];
}

/* Of those who are refused for want of room, one a minute says so. */
static bool is_warning_due(struct replay *r, int64_t now)
{
	long long last = atomic_load_explicit(&r->warned, memory_order_relaxed);

	/* The clock may have been turned back. */
	if (last != INT64_MIN && now >= last && now - last < WARNING_PAUSE)
		return false;
	return atomic_compare_exchange_strong_explicit(&r->warned, &last, now, memory_order_relaxed,
						       memory_order_relaxed);
}

/* Under the shard's lock. */
static void expire(struct replay *r, struct shard *s, int64_t now)
{
	struct replay_entry gone;

	while (replay_shard_expire(&s->table, now, &gone)) {
		pthread_mutex_lock(&r->counts_lock);
		replay_counts_drop(&r->counts, gone.tag);
		pthread_mutex_unlock(&r->counts_lock);
		if (gone.ends_by_window)
			raise(&r->forgotten, gone.expires);
	}
}

/* What was issued up to the result may be forgotten, if it ended by a window of so many seconds. */
static int64_t forgotten_issue(int64_t forgotten, int64_t window)
{
	return forgotten < INT64_MIN + window + 1 ? INT64_MIN : forgotten - window - 1;
}

void replay_set_window(struct replay *r, int64_t seconds)
{
	int64_t was = atomic_exchange_explicit(&r->window, seconds, memory_order_relaxed);

	if (seconds <= was)
		return;
	for (size_t i = 0; i < REPLAY_SHARDS; i++) {
		struct shard *s = &r->shards[i];

		pthread_mutex_lock(&s->lock);
		replay_shard_stretch(&s->table, seconds - was);
		pthread_mutex_unlock(&s->lock);
	}
	raise(&r->window_grew,
	      forgotten_issue(atomic_load_explicit(&r->forgotten, memory_order_relaxed), was));
}

enum added { ADDED, TABLE_FULL, WALLET_FULL };

/* The same; one that is not there yet. */
static enum added add(struct replay *r, struct shard *s, uint64_t hash, const struct replay_entry *e, uint32_t max)
{
	bool may;

	if (replay_shard_is_full(&s->table))
		return TABLE_FULL;
	pthread_mutex_lock(&r->counts_lock);
	may = replay_counts_add(&r->counts, e->tag, max);
	pthread_mutex_unlock(&r->counts_lock);
	if (!may)
		return WALLET_FULL;
	replay_shard_add(&s->table, hash, e);
	return ADDED;
}

/* Under the shard's lock: a window that grows stretches what is there, or else is seen here. */
static void set_expiry(const struct replay *r, struct replay_entry *e, const struct replay_use *u)
{
	int64_t expires = u->expires, by_window;

	if (u->ends_by_window) {
		if (__builtin_add_overflow(u->issued, atomic_load_explicit(&r->window, memory_order_relaxed) + 1, &by_window))
			by_window = REPLAY_EXPIRES_MAX;
		expires = expires > by_window ? expires : by_window;
	}
	e->expires = expires < REPLAY_EXPIRES_MAX ? expires : REPLAY_EXPIRES_MAX;
	e->ends_by_window = u->ends_by_window;
}

static enum ecdsa_reason judge_known(const struct replay_entry *e, const struct replay_use *u)
{
	if (u->mode == REPLAY_ONCE)
		return ECDSA_REPLAYED;
	return memcmp(&e->source, &u->source, sizeof(e->source)) == 0 ? ECDSA_OK : ECDSA_REPLAY_OTHER_SOURCE;
}

static enum ecdsa_reason use(struct replay *r, struct replay_use *u, int64_t now, enum added *added)
{
	struct replay_entry e = {.source = u->source, .tag = replay_tag(u->wallet)}, *known;
	enum ecdsa_reason reason = ECDSA_OK;
	uint64_t hash;
	struct shard *s = shard_of(r, u->key, &hash);

	memcpy(e.key, u->key, sizeof(e.key));
	*added = ADDED;
	pthread_mutex_lock(&s->lock);
	expire(r, s, now);
	set_expiry(r, &e, u);
	known = replay_shard_find(&s->table, hash, u->key);
	if (known)
		reason = judge_known(known, u);
	else
		*added = add(r, s, hash, &e, r->wallet_max);
	pthread_mutex_unlock(&s->lock);
	return *added == ADDED ? reason : ECDSA_REPLAY_CACHE_FULL;
}

enum ecdsa_reason replay_use(struct replay *r, struct replay_use *u, int64_t now)
{
	enum ecdsa_reason reason;
	enum added added;

	u->detail = NULL;
	u->wants_warning = false;
	if (u->issued <= atomic_load_explicit(&r->begins, memory_order_relaxed)) {
		u->detail = "issued before start";
		return ECDSA_REPLAYED;
	}
	if (u->ends_by_window && u->issued <= atomic_load_explicit(&r->window_grew, memory_order_relaxed)) {
		u->detail = "was too old before the window grew";
		return ECDSA_REPLAYED;
	}
	reason = use(r, u, now, &added);
	if (added == WALLET_FULL) {
		/* What has expired in other shards counts until somebody looks there. */
		replay_count(r, now);
		reason = use(r, u, now, &added);
	}
	if (reason == ECDSA_REPLAY_CACHE_FULL) {
		u->detail = added == TABLE_FULL ? "the memory of used proofs is full"
						: "the wallet has used too many proofs that are still good";
		u->wants_warning = is_warning_due(r, now);
	}
	return reason;
}

size_t replay_count(struct replay *r, int64_t now)
{
	size_t n = 0;

	for (size_t i = 0; i < REPLAY_SHARDS; i++) {
		struct shard *s = &r->shards[i];

		pthread_mutex_lock(&s->lock);
		expire(r, s, now);
		n += s->table.count;
		pthread_mutex_unlock(&s->lock);
	}
	return n;
}

size_t replay_capacity(const struct replay *r)
{
	return r->capacity;
}

/* ---- for replay_file.c ---- */

void replay_each(struct replay *r, int64_t now, void (*take)(void *ctx, const struct replay_entry *), void *ctx)
{
	for (size_t i = 0; i < REPLAY_SHARDS; i++) {
		struct shard *s = &r->shards[i];

		pthread_mutex_lock(&s->lock);
		expire(r, s, now);
		for (uint32_t at = 0; at < s->table.count; at++)
			take(ctx, &s->table.entries[s->table.heap[at]]);
		pthread_mutex_unlock(&s->lock);
	}
}

struct replay_floors replay_floors(const struct replay *r)
{
	return (struct replay_floors){
		.begins = atomic_load_explicit(&r->begins, memory_order_relaxed),
		.window_grew = atomic_load_explicit(&r->window_grew, memory_order_relaxed),
		.forgotten = atomic_load_explicit(&r->forgotten, memory_order_relaxed),
		.window = atomic_load_explicit(&r->window, memory_order_relaxed),
	};
}

bool replay_restore(struct replay *r, const struct replay_floors *from, struct replay_entry *e, int64_t now)
{
	int64_t grown = atomic_load_explicit(&r->window, memory_order_relaxed) - from->window;
	uint64_t hash;
	struct shard *s = shard_of(r, e->key, &hash);
	bool ok;

	if (e->ends_by_window && grown > 0)
		e->expires = e->expires < REPLAY_EXPIRES_MAX - grown ? e->expires + grown : REPLAY_EXPIRES_MAX;
	if (e->expires <= now) {
		if (e->ends_by_window)
			raise(&r->forgotten, e->expires);
		return true;
	}
	pthread_mutex_lock(&s->lock);
	expire(r, s, now);
	/* A share was the predecessor's to grant: here only room counts. */
	ok = replay_shard_find(&s->table, hash, e->key) || add(r, s, hash, e, UINT32_MAX) == ADDED;
	pthread_mutex_unlock(&s->lock);
	return ok;
}

void replay_restored(struct replay *r, const struct replay_floors *from)
{
	raise(&r->begins, from->begins);
	raise(&r->window_grew, from->window_grew);
	raise(&r->forgotten, from->forgotten);
	if (atomic_load_explicit(&r->window, memory_order_relaxed) > from->window)
		raise(&r->window_grew, forgotten_issue(from->forgotten, from->window));
}
