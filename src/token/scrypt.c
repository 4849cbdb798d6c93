#include "token/scrypt.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"

#define WORDS 16 /* of a Salsa20 block of 64 bytes */

static uint32_t rotate(uint32_t x, int n)
{
	return x << n | x >> (32 - n);
}

static void quarter(uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d)
{
	*b ^= rotate(*a + *d, 7);
	*c ^= rotate(*b + *a, 9);
	*d ^= rotate(*c + *b, 13);
	*a ^= rotate(*d + *c, 18);
}

/* Section 3. */
static void salsa20_8(uint32_t b[WORDS])
{
	uint32_t x[WORDS];

	memcpy(x, b, sizeof(x));
	for (int i = 0; i < 4; i++) {
		quarter(&x[0], &x[4], &x[8], &x[12]);
		quarter(&x[5], &x[9], &x[13], &x[1]);
		quarter(&x[10], &x[14], &x[2], &x[6]);
		quarter(&x[15], &x[3], &x[7], &x[11]);
		quarter(&x[0], &x[1], &x[2], &x[3]);
		quarter(&x[5], &x[6], &x[7], &x[4]);
		quarter(&x[10], &x[11], &x[8], &x[9]);
		quarter(&x[15], &x[12], &x[13], &x[14]);
	}
	for (int i = 0; i < WORDS; i++)
		b[i] += x[i];
}

/* Section 4: b has 2 r blocks; y is as large. */
static void block_mix(uint32_t *b, uint32_t *y, size_t r)
{
	uint32_t x[WORDS];

	memcpy(x, b + (2 * r - 1) * WORDS, sizeof(x));
	for (size_t i = 0; i < 2 * r; i++) {
		for (size_t k = 0; k < WORDS; k++)
			x[k] ^= b[i * WORDS + k];
		salsa20_8(x);
		/* Even ones first, then the odd ones. */
		memcpy(y + (i / 2 + (i & 1) * r) * WORDS, x, sizeof(x));
	}
	memcpy(b, y, 2 * r * sizeof(x));
}

/* Section 5: v has n times the room of x, y as much as x. */
static void ro_mix(uint32_t *x, uint32_t *v, uint32_t *y, uint64_t n, size_t r)
{
	size_t words = 2 * r * WORDS;

	for (uint64_t i = 0; i < n; i++) {
		memcpy(v + i * words, x, words * sizeof(*x));
		block_mix(x, y, r);
	}
	for (uint64_t i = 0; i < n; i++) {
		/* The last block's first 8 bytes as a number, of which n takes fewer than 32 bits. */
		const uint32_t *from = v + (x[words - WORDS] & (n - 1)) * words;

		for (size_t k = 0; k < words; k++)
			x[k] ^= from[k];
		block_mix(x, y, r);
	}
}

static uint32_t load_le(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void store_le(uint8_t *p, uint32_t x)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(x >> 8 * i);
}

static void mix_lane(uint8_t *lane, uint32_t *v, uint32_t *x, uint32_t *y, uint64_t n, size_t r)
{
	for (size_t i = 0; i < 2 * r * WORDS; i++)
		x[i] = load_le(lane + 4 * i);
	ro_mix(x, v, y, n, r);
	for (size_t i = 0; i < 2 * r * WORDS; i++)
		store_le(lane + 4 * i, x[i]);
}

bool scrypt_derive(const char *passphrase, const uint8_t *salt, size_t salt_len, uint64_t n, uint64_t r, uint64_t p,
		   uint8_t *out, size_t len)
{
	int pass_len = (int)strlen(passphrase);
	size_t lane = 128 * (size_t)r;
	uint8_t *b = malloc(lane * (size_t)p);
	uint32_t *v = malloc(lane * (size_t)n), *xy = malloc(2 * lane);
	bool ok = b && v && xy && n <= UINT32_MAX &&
		  PKCS5_PBKDF2_HMAC(passphrase, pass_len, salt, (int)salt_len, 1, EVP_sha256(), (int)(lane * p), b) == 1;

	for (uint64_t i = 0; ok && i < p; i++)
		mix_lane(b + i * lane, v, xy, xy + lane / 4, n, (size_t)r);
	ok = ok && PKCS5_PBKDF2_HMAC(passphrase, pass_len, b, (int)(lane * p), 1, EVP_sha256(), (int)len, out) == 1;
	if (b)
		mem_wipe(b, lane * (size_t)p);
	if (v)
		mem_wipe(v, lane * (size_t)n);
	if (xy)
		mem_wipe(xy, 2 * lane);
	free(b);
	free(v);
	free(xy);
	return ok;
}
