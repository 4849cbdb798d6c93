/*
 * lib/hash.h - a hash table from byte strings to pointers.
 *
 * Keys are borrowed: they must live inside the object that is stored. The
 * hash is SipHash-like keyed per process, because keys come from strangers.
 * Open addressing, grows at 3/4 full.  Tests: test/unit/test_lib.c
 */
#ifndef LIB_HASH_H
#define LIB_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hash_slot {
	uint64_t hash;
	const void *key; /* borrowed; NULL: free */
	size_t key_len;
	void *value; /* borrowed */
};

struct hash {
	struct hash_slot *slots; /* owned */
	size_t count, mask;
};

void hash_init(struct hash *);
void hash_free(struct hash *); /* the table; values are the caller's */
void *hash_get(const struct hash *, const void *key, size_t key_len);
void *hash_get_str(const struct hash *, const char *key);
/* Replaces an entry of the same key. false: out of memory, nothing changed. */
bool hash_put(struct hash *, const void *key, size_t key_len, void *value);
bool hash_put_str(struct hash *, const char *key, void *value);
/* The value that was there, or NULL. */
void *hash_del(struct hash *, const void *key, size_t key_len);
void *hash_del_str(struct hash *, const char *key);
/* Walks all values: start with *at = 0; NULL at the end. The table may not change meanwhile. */
void *hash_next(const struct hash *, size_t *at);
/* The keyed hash by itself. */
uint64_t hash_bytes(const void *key, size_t len);

#endif
