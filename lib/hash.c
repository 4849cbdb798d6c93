#include "lib/hash.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"

/* SipHash-1-3 (Aumasson, Bernstein 2012), the variant language run-times use for tables. */
static uint64_t sip_key[2];
static pthread_once_t sip_once = PTHREAD_ONCE_INIT;

static void make_key(void)
{
	mem_random(sip_key, sizeof(sip_key));
}

static inline uint64_t rotl(uint64_t x, int n)
{
	return x << n | x >> (64 - n);
}

struct sip {
	uint64_t v0, v1, v2, v3;
};

static inline void sip_round(struct sip *s)
{
	s->v0 += s->v1;
	s->v1 = rotl(s->v1, 13) ^ s->v0;
	s->v0 = rotl(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotl(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotl(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotl(s->v1, 17) ^ s->v2;
	s->v2 = rotl(s->v2, 32);
}

uint64_t hash_bytes(const void *key, size_t len)
{
	const uint8_t *p = key;
	uint64_t last = (uint64_t)len << 56, word;
	struct sip s;
	size_t left = len;

	pthread_once(&sip_once, make_key);
	s.v0 = sip_key[0] ^ 0x736f6d6570736575u;
	s.v1 = sip_key[1] ^ 0x646f72616e646f6du;
	s.v2 = sip_key[0] ^ 0x6c7967656e657261u;
	s.v3 = sip_key[1] ^ 0x7465646279746573u;
	for (; left >= 8; left -= 8, p += 8) {
		memcpy(&word, p, 8);
		s.v3 ^= word;
		sip_round(&s);
		s.v0 ^= word;
	}
	for (size_t i = 0; i < left; i++)
		last |= (uint64_t)p[i] << (8 * i);
	s.v3 ^= last;
	sip_round(&s);
	s.v0 ^= last;
	s.v2 ^= 0xff;
	sip_round(&s);
	sip_round(&s);
	sip_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

void hash_init(struct hash *h)
{
	memset(h, 0, sizeof(*h));
}

void hash_free(struct hash *h)
{
	free(h->slots);
	hash_init(h);
}

static struct hash_slot *find(const struct hash *h, uint64_t hash, const void *key, size_t len)
{
	size_t i = (size_t)hash & h->mask;

	for (;; i = (i + 1) & h->mask) {
		struct hash_slot *s = &h->slots[i];

		if (!s->key)
			return s;
		if (s->hash == hash && s->key_len == len && memcmp(s->key, key, len) == 0)
			return s;
	}
}

void *hash_get(const struct hash *h, const void *key, size_t len)
{
	struct hash_slot *s;

	if (h->count == 0)
		return NULL;
	s = find(h, hash_bytes(key, len), key, len);
	return s->key ? s->value : NULL;
}

void *hash_get_str(const struct hash *h, const char *key)
{
	return hash_get(h, key, strlen(key));
}

static bool grow(struct hash *h)
{
	size_t slots = h->slots ? (h->mask + 1) * 2 : 8;
	struct hash_slot *old = h->slots, *fresh = calloc(slots, sizeof(*fresh));
	size_t old_slots = old ? h->mask + 1 : 0;

	if (!fresh)
		return false;
	h->slots = fresh;
	h->mask = slots - 1;
	for (size_t i = 0; i < old_slots; i++)
		if (old[i].key)
			*find(h, old[i].hash, old[i].key, old[i].key_len) = old[i];
	free(old);
	return true;
}

bool hash_put(struct hash *h, const void *key, size_t len, void *value)
{
	uint64_t hash = hash_bytes(key, len);
	struct hash_slot *s;

	if ((!h->slots || (h->count + 1) * 4 > (h->mask + 1) * 3) && !grow(h))
		return false;
	s = find(h, hash, key, len);
	if (!s->key)
		h->count++;
	*s = (struct hash_slot){hash, key, len, value};
	return true;
}

bool hash_put_str(struct hash *h, const char *key, void *value)
{
	return hash_put(h, key, strlen(key), value);
}

void *hash_del(struct hash *h, const void *key, size_t len)
{
	struct hash_slot *s;
	void *value;
	size_t hole, i;

	if (h->count == 0)
		return NULL;
	s = find(h, hash_bytes(key, len), key, len);
	if (!s->key)
		return NULL;
	value = s->value;
	h->count--;
	/* Close the hole, so that later look-ups need no tombstones. */
	hole = (size_t)(s - h->slots);
	for (i = (hole + 1) & h->mask; h->slots[i].key; i = (i + 1) & h->mask) {
		size_t home = (size_t)h->slots[i].hash & h->mask;

		if (((i - home) & h->mask) >= ((i - hole) & h->mask)) {
			h->slots[hole] = h->slots[i];
			hole = i;
		}
	}
	memset(&h->slots[hole], 0, sizeof(h->slots[hole]));
	return value;
}

void *hash_del_str(struct hash *h, const char *key)
{
	return hash_del(h, key, strlen(key));
}

void *hash_next(const struct hash *h, size_t *at)
{
	if (!h->slots)
		return NULL;
	while (*at <= h->mask) {
		struct hash_slot *s = &h->slots[(*at)++];

		if (s->key)
			return s->value;
	}
	return NULL;
}
