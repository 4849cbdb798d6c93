/*
 * auth/replay_shard.h - a sixteenth of the memory of used proofs; for
 * replay.c and replay_file.c alone. Nothing here locks.
 *
 * Entries lie in an array. Found by key through an index of open addressing
 * (linear probing; what is taken out is closed up behind), given up in the
 * order of their expiry by a heap. How many a wallet has in all shards is
 * counted apart.
 */
#ifndef AUTH_REPLAY_SHARD_H
#define AUTH_REPLAY_SHARD_H

#include <stdbool.h>
#include <stdint.h>

#include "auth/replay.h"

#define REPLAY_SHARDS 16

struct replay_entry {
	uint8_t key[PROOF_KEY_BYTES];
	uint64_t tag; /* of the wallet */
	int64_t expires : 63;
	uint64_t ends_by_window : 1;
	struct ip_address source;
};
#define REPLAY_EXPIRES_MAX (INT64_MAX >> 1)
_Static_assert(sizeof(struct replay_entry) == 64, "ecdsa-login.md section 18");

struct replay_shard {
	struct replay_entry *entries; /* owned: cap of them */
	uint32_t *free_list;	      /* owned: those that were given up; below them all up to used are in use */
	uint32_t *heap;		      /* owned: the entries, first the one that expires first */
	uint32_t *index;	      /* owned: entry + 1; 0: free */
	uint32_t cap, used, count, free_count, mask;
};

/* How many entries each wallet has, by its tag; at most as many wallets as it was made for. */
struct replay_counts {
	uint64_t *tags; /* owned */
	uint32_t *counts; /* owned; 0: the slot is free */
	uint32_t mask;
};

bool replay_shard_init(struct replay_shard *, uint32_t cap); /* false: memory; to be freed all the same */
void replay_shard_free(struct replay_shard *);
/* Takes out one that has expired. false: there is none. */
bool replay_shard_expire(struct replay_shard *, int64_t now, struct replay_entry *gone);
/* Those that end by a window stay for so many seconds more. */
void replay_shard_stretch(struct replay_shard *, int64_t by);
struct replay_entry *replay_shard_find(const struct replay_shard *, uint64_t hash, const uint8_t *key);
static inline bool replay_shard_is_full(const struct replay_shard *s)
{
	return s->count == s->cap;
}
/* One that is not there yet, where there is room. */
void replay_shard_add(struct replay_shard *, uint64_t hash, const struct replay_entry *);

bool replay_counts_init(struct replay_counts *, uint32_t cap);
void replay_counts_free(struct replay_counts *);
bool replay_counts_add(struct replay_counts *, uint64_t tag, uint32_t max); /* false: it has max already */
void replay_counts_drop(struct replay_counts *, uint64_t tag);

/* Names a wallet; the same in every process. Addresses of the same eight first bytes are out of reach. */
uint64_t replay_tag(const struct wallet_address *);

/* Every entry that is still good. take() runs under a lock. */
void replay_each(struct replay *, int64_t now, void (*take)(void *ctx, const struct replay_entry *), void *ctx);

/* What a memory knows of those that it does not have. */
struct replay_floors {
	int64_t begins;	     /* issued up to here: perhaps used before the memory began; INT64_MIN: it knows them all */
	int64_t window_grew; /* issued up to here, and ended by a window: forgotten before that grew; or INT64_MIN */
	int64_t forgotten;   /* the highest expiry of those that ended by a window, and are forgotten; or INT64_MIN */
	int64_t window;	     /* seconds */
};
struct replay_floors replay_floors(const struct replay *);
/* From a predecessor, whose window may have been smaller. Stretches *e by the difference. false: no room. */
bool replay_restore(struct replay *, const struct replay_floors *from, struct replay_entry *e, int64_t now);
/* When all entries are there. */
void replay_restored(struct replay *, const struct replay_floors *from);

#endif
