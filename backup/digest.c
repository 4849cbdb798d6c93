#include "backup/digest.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hex.h"
#include "lib/mem.h"

#define BLOCK ((size_t)64 << 10)
#define POLYNOMIAL 0x82f63b78u /* Castagnoli, reflected */

struct digest {
	EVP_MD_CTX *sha, *other; /* owned; NULL: not wanted */
	enum digest_kind kind;
	uint32_t crc;
};

static EVP_MD_CTX *started(const EVP_MD *md)
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();

	if (c && EVP_DigestInit_ex(c, md, NULL))
		return c;
	EVP_MD_CTX_free(c);
	return NULL;
}

struct digest *digest_new(bool signs, enum digest_kind kind)
{
	struct digest *d = xcalloc(1, sizeof(*d));

	d->kind = kind;
	if (kind == DIGEST_MD5 && !(d->other = started(EVP_md5()))) {
		digest_free(d);
		return NULL;
	}
	/* SHA-256 twice is the same one. */
	if ((signs || kind == DIGEST_SHA256) && !(d->sha = started(EVP_sha256())))
		abort();
	return d;
}

void digest_feed(struct digest *d, struct span s)
{
	for (size_t at = 0; at < s.len; at += BLOCK) {
		size_t n = s.len - at < BLOCK ? s.len - at : BLOCK;

		if (d->sha && !EVP_DigestUpdate(d->sha, s.ptr + at, n))
			abort();
		if (d->other && !EVP_DigestUpdate(d->other, s.ptr + at, n))
			abort();
		if (d->kind == DIGEST_CRC32C)
			d->crc = crc32c(d->crc, s.ptr + at, n);
	}
}

void digest_end(struct digest *d, char hex[65], char base64[64])
{
	unsigned char sha[32], md5[16], crc[4] = {(unsigned char)(d->crc >> 24), (unsigned char)(d->crc >> 16),
						  (unsigned char)(d->crc >> 8), (unsigned char)d->crc};

	hex[0] = base64[0] = 0;
	if (d->sha) {
		if (!EVP_DigestFinal_ex(d->sha, sha, NULL))
			abort();
		hex_encode(sha, sizeof(sha), hex);
	}
	if (d->other && !EVP_DigestFinal_ex(d->other, md5, NULL))
		abort();
	switch (d->kind) {
	case DIGEST_MD5:
		EVP_EncodeBlock((unsigned char *)base64, md5, sizeof(md5));
		break;
	case DIGEST_SHA256:
		EVP_EncodeBlock((unsigned char *)base64, sha, sizeof(sha));
		break;
	case DIGEST_CRC32C:
		EVP_EncodeBlock((unsigned char *)base64, crc, sizeof(crc));
		break;
	case DIGEST_NONE:
		break;
	}
	digest_free(d);
}

void digest_free(struct digest *d)
{
	if (!d)
		return;
	EVP_MD_CTX_free(d->sha);
	EVP_MD_CTX_free(d->other);
	free(d);
}

/* Eight bytes a step, by eight tables. */
static uint32_t tables[8][256];

static void make_tables(void)
{
	for (uint32_t n = 0; n < 256; n++) {
		uint32_t c = n;

		for (int bit = 0; bit < 8; bit++)
			c = c & 1 ? c >> 1 ^ POLYNOMIAL : c >> 1;
		tables[0][n] = c;
	}
	for (int t = 1; t < 8; t++)
		for (uint32_t n = 0; n < 256; n++)
			tables[t][n] = tables[t - 1][n] >> 8 ^ tables[0][tables[t - 1][n] & 255];
}

uint32_t crc32c(uint32_t crc, const void *bytes, size_t len)
{
	const unsigned char *p = bytes;

	if (!tables[0][1])
		make_tables();
	crc = ~crc;
	for (; len >= 8; len -= 8, p += 8) {
		crc ^= (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
		crc = tables[7][crc & 255] ^ tables[6][crc >> 8 & 255] ^ tables[5][crc >> 16 & 255] ^
		      tables[4][crc >> 24] ^ tables[3][p[4]] ^ tables[2][p[5]] ^ tables[1][p[6]] ^ tables[0][p[7]];
	}
	for (; len; len--, p++)
		crc = crc >> 8 ^ tables[0][(crc ^ *p) & 255];
	return ~crc;
}
