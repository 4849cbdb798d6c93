/*
 * A sealed file after somebody has been at it: nothing but what was sealed ever
 * comes out, and "whole and genuine" is said of the whole alone.
 *
 * Input: which format, how many bytes to feed at a time, then edits of three
 * bytes each; a flag tells whether the bytes behind are a file by themselves.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backup/keys.h"
#include "backup/seal.h"
#include "backup/unseal.h"
#include "lib/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define SEGMENT SEAL2_SEGMENT_MIN
#define PLAIN_MOST (3 * SEGMENT + 77)

static uint8_t plain[PLAIN_MOST];

struct seen { /* what has come out */
	size_t len;
	bool differs;
};

static bool compare(void *ctx, struct span s)
{
	struct seen *seen = ctx;

	if (s.len > sizeof(plain) - seen->len || memcmp(plain + seen->len, s.ptr, s.len) != 0) {
		seen->differs = true;
		return false;
	}
	seen->len += s.len;
	return true;
}

static bool append(void *ctx, struct span s)
{
	buf_put(ctx, s.ptr, s.len);
	return true;
}

static bool feed_all(struct unsealer *u, struct span file, size_t step)
{
	enum unseal_result r = UNSEAL_OK;

	while (r == UNSEAL_OK && file.len > 0) {
		size_t n = step < file.len ? step : file.len;

		r = unsealer_feed(u, span_of(file.ptr, n));
		file = span_of(file.ptr + n, file.len - n);
	}
	if (r != UNSEAL_OK && unsealer_finish(u) == UNSEAL_OK)
		abort(); /* errors repeat */
	return r == UNSEAL_OK && unsealer_finish(u) == UNSEAL_OK;
}

static void edit(struct buf *file, const uint8_t *how)
{
	size_t n = buf_len(file), at = n ? (size_t)(how[0] << 8 | how[1]) % n : 0;
	uint8_t *b = file->data + file->start;

	if (n == 0)
		return;
	switch (how[2] & 3) {
	case 0: /* a byte */
		b[at] ^= (uint8_t)(1 + (how[2] >> 2));
		break;
	case 1: /* the end, often at a border of segments */
		file->end = file->start + (how[2] & 4 && n > 200 ? 96 + (at % 4) * (SEGMENT + SEAL_TAG_BYTES) % (n - 96) : at);
		break;
	case 2: /* two segments trade places */
		if (n >= 96 + 2 * (SEGMENT + SEAL_TAG_BYTES)) {
			static uint8_t keep[SEGMENT + SEAL_TAG_BYTES];

			memcpy(keep, b + 96, sizeof(keep));
			memcpy(b + 96, b + 96 + sizeof(keep), sizeof(keep));
			memcpy(b + 96 + sizeof(keep), keep, sizeof(keep));
		}
		break;
	case 3: /* more behind the end */
		buf_put(file, how, 1 + (how[2] >> 2) % 3);
		break;
	}
}

static void try_file(const struct keyring *ring, struct span file, size_t step, bool is_sealed, struct span original, size_t plain_len)
{
	struct seen seen = {0};
	struct unsealer *u;
	bool ok, is_same = is_sealed && file.len == original.len && memcmp(file.ptr, original.ptr, file.len) == 0;
	char text[256];

	u = unsealer_new_2(ring, compare, &seen);
	ok = feed_all(u, file, step);
	if (seen.differs || seen.len > plain_len || (ok && (!is_same || seen.len != plain_len)))
		abort();
	for (enum unseal_result r = UNSEAL_OK; r <= UNSEAL_TOO_LARGE; r++)
		(void)unsealer_explain(u, r, text);
	unsealer_free(u);
	/* Of format 1 only the verdict of the first pass counts. */
	u = unsealer_new_1(ring, NULL, NULL, NULL);
	if (feed_all(u, file, step) && !is_same)
		abort();
	unsealer_free(u);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static struct keyring *ring;
	struct seal_spec spec = {.format = FORMAT_2, .content = CONTENT_DUMP, .segment_bytes = SEGMENT, .created_at = 1767225600,
				 .random = (const uint8_t *)"a salt of exactly thirty-two b.."};
	struct buf file, original;
	struct sealer *s;
	size_t plain_len, step;

	if (!ring)
		ring = keyring_of(KEY_FROM_MNEMONIC, "a mnemonic", 10);
	if (len < 4)
		return 0;
	step = 1 + (size_t)bytes[1] * (bytes[1] & 1 ? 1 : 64);
	if (bytes[0] & 1) { /* a file of the fuzzer's own making */
		try_file(ring, span_of(bytes + 4, len - 4), step, false, span_of(NULL, 0), 0);
		return 0;
	}
	for (size_t i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)(i * 31 + i / 256);
	plain_len = (size_t)(bytes[2] << 8 | bytes[3]) % (PLAIN_MOST + 1);
	if (bytes[0] & 2) /* exactly at a border */
		plain_len -= plain_len % SEGMENT;
	spec.format = bytes[0] & 4 ? FORMAT_1 : FORMAT_2;
	spec.key = &ring->keys[0];
	buf_init(&file);
	buf_init(&original);
	s = sealer_new(&spec, append, &original);
	if (sealer_put(s, span_of(plain, plain_len)) != SEAL_OK || sealer_finish(s) != SEAL_OK)
		abort();
	sealer_free(s);
	buf_put(&file, buf_span(&original).ptr, buf_len(&original));
	if (!buf_ok(&file) || buf_len(&file) != sealed_size(spec.format, plain_len, SEGMENT))
		abort();
	for (size_t i = 4; i + 3 <= len && i < 4 + 3 * 16; i += 3)
		edit(&file, bytes + i);
	if (spec.format == FORMAT_2)
		try_file(ring, buf_span(&file), step, true, buf_span(&original), plain_len);
	else {
		struct unsealer *u = unsealer_new_1(ring, NULL, NULL, NULL);
		bool is_same = buf_len(&file) == buf_len(&original) &&
			       memcmp(buf_span(&file).ptr, buf_span(&original).ptr, buf_len(&file)) == 0;

		if (feed_all(u, buf_span(&file), step) != is_same)
			abort();
		unsealer_free(u);
	}
	buf_free(&file);
	buf_free(&original);
	return 0;
}
