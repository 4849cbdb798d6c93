#include "auth/replay_shard.h"

#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"
#include "lib/mem.h"

uint64_t replay_tag(const struct wallet_address *a)
{
	uint64_t tag;

	memcpy(&tag, a->bytes, sizeof(tag));
	return tag;
}

/* A power of two that leaves a third free, or more. */
static uint32_t slots_for(uint32_t cap)
{
	uint32_t slots = 4;

	while (slots < cap + cap / 2)
		slots *= 2;
	return slots;
}

bool replay_shard_init(struct replay_shard *s, uint32_t cap)
{
	uint32_t slots = slots_for(cap);

	s->cap = cap;
	s->mask = slots - 1;
	s->entries = calloc(cap, sizeof(*s->entries));
	s->free_list = calloc(cap, sizeof(*s->free_list));
	s->heap = calloc(cap, sizeof(*s->heap));
	s->index = calloc(slots, sizeof(*s->index));
	return s->entries && s->free_list && s->heap && s->index;
}

void replay_shard_free(struct replay_shard *s)
{
	free(s->entries);
	free(s->free_list);
	free(s->heap);
	free(s->index);
}

/* ---- the index by key ---- */

static uint32_t slot_of(const struct replay_shard *s, uint64_t hash)
{
	return (uint32_t)(hash / REPLAY_SHARDS) & s->mask;
}

static uint32_t home_of(const struct replay_shard *s, uint32_t entry)
{
	return slot_of(s, hash_bytes(s->entries[entry].key, PROOF_KEY_BYTES));
}

struct replay_entry *replay_shard_find(const struct replay_shard *s, uint64_t hash, const uint8_t *key)
{
	for (uint32_t at = slot_of(s, hash); s->index[at]; at = (at + 1) & s->mask) {
		struct replay_entry *e = &s->entries[s->index[at] - 1];

		if (mem_equal_const_time(e->key, key, sizeof(e->key)))
			return e;
	}
	return NULL;
}

/* May what has its home there fill the hole, without a search that begins at home missing it? */
static bool may_move(uint32_t home, uint32_t hole, uint32_t at, uint32_t mask)
{
	return ((at - home) & mask) >= ((at - hole) & mask);
}

static void index_remove(struct replay_shard *s, uint32_t entry)
{
	uint32_t hole = home_of(s, entry);

	while (s->index[hole] != entry + 1)
		hole = (hole + 1) & s->mask;
	for (uint32_t at = (hole + 1) & s->mask; s->index[at]; at = (at + 1) & s->mask)
		if (may_move(home_of(s, s->index[at] - 1), hole, at, s->mask)) {
			s->index[hole] = s->index[at];
			hole = at;
		}
	s->index[hole] = 0;
}

/* ---- the heap ---- */

static bool is_sooner(const struct replay_shard *s, uint32_t a, uint32_t b)
{
	return s->entries[s->heap[a]].expires < s->entries[s->heap[b]].expires;
}

static void swap(struct replay_shard *s, uint32_t a, uint32_t b)
{
	uint32_t moved = s->heap[a];

	s->heap[a] = s->heap[b];
	s->heap[b] = moved;
}

static void sift_up(struct replay_shard *s, uint32_t at)
{
	for (; at > 0 && is_sooner(s, at, (at - 1) / 2); at = (at - 1) / 2)
		swap(s, at, (at - 1) / 2);
}

static void sift_down(struct replay_shard *s, uint32_t at)
{
	for (uint32_t child; (child = 2 * at + 1) < s->count; at = child) {
		if (child + 1 < s->count && is_sooner(s, child + 1, child))
			child++;
		if (!is_sooner(s, child, at))
			return;
		swap(s, at, child);
	}
}

/* ---- the whole ---- */

bool replay_shard_expire(struct replay_shard *s, int64_t now, struct replay_entry *gone)
{
	uint32_t entry = s->heap[0];

	if (s->count == 0 || s->entries[entry].expires > now)
		return false;
	*gone = s->entries[entry];
	index_remove(s, entry);
	s->free_list[s->free_count++] = entry;
	s->heap[0] = s->heap[--s->count];
	sift_down(s, 0);
	return true;
}

void replay_shard_stretch(struct replay_shard *s, int64_t by)
{
	for (uint32_t i = 0; i < s->count; i++) {
		struct replay_entry *e = &s->entries[s->heap[i]];

		if (e->ends_by_window)
			e->expires = e->expires < REPLAY_EXPIRES_MAX - by ? e->expires + by : REPLAY_EXPIRES_MAX;
	}
	for (uint32_t at = s->count / 2; at-- > 0;)
		sift_down(s, at);
}

void replay_shard_add(struct replay_shard *s, uint64_t hash, const struct replay_entry *e)
{
	uint32_t entry = s->free_count > 0 ? s->free_list[--s->free_count] : s->used++;
	uint32_t at = slot_of(s, hash);

	s->entries[entry] = *e;
	while (s->index[at])
		at = (at + 1) & s->mask;
	s->index[at] = entry + 1;
	s->heap[s->count] = entry;
	sift_up(s, s->count++);
}

/* ---- how many a wallet has ---- */

bool replay_counts_init(struct replay_counts *c, uint32_t cap)
{
	uint32_t slots = slots_for(cap);

	c->mask = slots - 1;
	c->tags = calloc(slots, sizeof(*c->tags));
	c->counts = calloc(slots, sizeof(*c->counts));
	return c->tags && c->counts;
}

void replay_counts_free(struct replay_counts *c)
{
	free(c->tags);
	free(c->counts);
}

static uint32_t tag_home(const struct replay_counts *c, uint64_t tag)
{
	return (uint32_t)hash_bytes(&tag, sizeof(tag)) & c->mask;
}

/* Its slot, or the free one where it would be. */
static uint32_t tag_slot(const struct replay_counts *c, uint64_t tag)
{
	uint32_t at = tag_home(c, tag);

	while (c->counts[at] && c->tags[at] != tag)
		at = (at + 1) & c->mask;
	return at;
}

bool replay_counts_add(struct replay_counts *c, uint64_t tag, uint32_t max)
{
	uint32_t at = tag_slot(c, tag);

	if (c->counts[at] >= max)
		return false;
	c->tags[at] = tag;
	c->counts[at]++;
	return true;
}

void replay_counts_drop(struct replay_counts *c, uint64_t tag)
{
	uint32_t hole = tag_slot(c, tag);

	if (--c->counts[hole] > 0)
		return;
	for (uint32_t at = (hole + 1) & c->mask; c->counts[at]; at = (at + 1) & c->mask)
		if (may_move(tag_home(c, c->tags[at]), hole, at, c->mask)) {
			c->tags[hole] = c->tags[at];
			c->counts[hole] = c->counts[at];
			c->counts[at] = 0;
			hole = at;
		}
}
