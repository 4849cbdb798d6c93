#include "backup/unseal.h"

#include <inttypes.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hex.h"
#include "lib/mem.h"
#include "seal_parts.h"

#define SCRATCH 65536
#define KEYS_TRIED_MAX 32 /* of format 1, which does not say its key */

struct unsealer {
	enum file_format format;
	const struct keyring *keys; /* borrowed */
	const struct key *key;	    /* borrowed; NULL until known */
	seal_sink *sink;
	void *ctx;
	enum unseal_result failed; /* UNSEAL_OK: not yet */
	uint64_t plaintext;
	uint8_t *buf; /* owned */
	size_t cap, len;

	/* format 2 */
	EVP_CIPHER_CTX *gcm; /* owned */
	uint8_t header[SEAL2_HEADER_BYTES];
	struct unseal_header h;
	bool has_header, is_wrong_key;
	uint64_t segment;

	/* format 1: one context a key; buf is scratch */
	EVP_CIPHER_CTX *tried[KEYS_TRIED_MAX]; /* owned */
	size_t tries;
	uint8_t nonce[SEAL1_NONCE_BYTES], tail[SEAL_TAG_BYTES]; /* the tail may be the tag */
	size_t nonce_len, tail_len;
};

const char *unseal_result_text(enum unseal_result r)
{
	static const char *const texts[] = {
#define X(id, text) text,
		UNSEAL_RESULTS(X)
#undef X
	};

	return texts[r];
}

enum file_format sealed_format(struct span first)
{
	if (first.len >= sizeof(seal2_magic) && memcmp(first.ptr, seal2_magic, sizeof(seal2_magic)) == 0)
		return FORMAT_2;
	if (first.len >= 5 && memcmp(first.ptr, "PGDMP", 5) == 0)
		return FORMAT_PLAIN;
	return FORMAT_1;
}

static struct unsealer *unsealer_new(const struct keyring *keys, seal_sink *sink, void *ctx, size_t cap)
{
	struct unsealer *u = xcalloc(1, sizeof(*u));

	u->keys = keys;
	u->sink = sink;
	u->ctx = ctx;
	u->cap = cap;
	u->buf = xmalloc(cap);
	return u;
}

struct unsealer *unsealer_new_2(const struct keyring *keys, seal_sink *sink, void *ctx)
{
	/* The header tells how large it must become. */
	struct unsealer *u = unsealer_new(keys, sink, ctx, SEAL2_HEADER_BYTES + SEAL_TAG_BYTES);

	u->format = FORMAT_2;
	return u;
}

struct unsealer *unsealer_new_1(const struct keyring *keys, const struct key *key, seal_sink *sink, void *ctx)
{
	struct unsealer *u = unsealer_new(keys, sink, ctx, SCRATCH);

	u->format = FORMAT_1;
	if (key) {
		u->tried[u->tries++] = gcm_new(key->encryption, false);
		u->key = key;
		return u;
	}
	for (size_t i = 0; i < keys->count && i < KEYS_TRIED_MAX; i++)
		u->tried[u->tries++] = gcm_new(keys->keys[i].encryption, false);
	return u;
}

void unsealer_free(struct unsealer *u)
{
	if (!u)
		return;
	EVP_CIPHER_CTX_free(u->gcm);
	for (size_t i = 0; i < u->tries; i++)
		EVP_CIPHER_CTX_free(u->tried[i]);
	mem_wipe(u->buf, u->cap);
	free(u->buf);
	free(u);
}

const struct unseal_header *unsealer_header(const struct unsealer *u)
{
	return u->has_header ? &u->h : NULL;
}

const struct key *unsealer_key(const struct unsealer *u)
{
	return u->key;
}

uint64_t unsealer_plaintext(const struct unsealer *u)
{
	return u->plaintext;
}

const char *unsealer_explain(const struct unsealer *u, enum unseal_result r, char out[256])
{
	char theirs[KEY_ID_TEXT];

	if (r != UNSEAL_WRONG_KEY || !u->is_wrong_key)
		return unseal_result_text(r);
	hex_encode(u->h.key_id, KEY_ID_BYTES, theirs);
	snprintf(out, 256, "made with the key %s, ours is %s", theirs,
		 u->keys->count > 0 ? u->keys->keys[0].id_text : "not set");
	return out;
}

static enum unseal_result emit(struct unsealer *u, const void *bytes, size_t len)
{
	u->plaintext += len;
	return !u->sink || len == 0 || u->sink(u->ctx, span_of(bytes, len)) ? UNSEAL_OK : UNSEAL_STOPPED;
}

/* ---- format 2 ---- */

/* In the order of the specification, section 8.2: each answer is the earliest that is certain. */
static enum unseal_result judge_header(struct unsealer *u)
{
	const uint8_t *h = u->header;
	uint8_t *keys, mac[KEY_BYTES];
	bool is_genuine;

	if (memcmp(h, seal2_magic, sizeof(seal2_magic)) != 0)
		return UNSEAL_UNSUPPORTED;
	u->h.source = (enum key_source)h[10];
	u->h.content = (enum file_content)h[11];
	u->h.segment_bytes = (uint32_t)get_be(h + 12, 4);
	u->h.created_at = (int64_t)get_be(h + 56, 8);
	memcpy(u->h.key_id, h + 48, KEY_ID_BYTES);
	if (h[8] != 2 || h[9] != 1 || (h[10] != KEY_FROM_MNEMONIC && h[10] != KEY_FROM_FILE) || h[11] > CONTENT_WAL ||
	    u->h.segment_bytes < SEAL2_SEGMENT_MIN || u->h.segment_bytes > SEAL2_SEGMENT_MAX ||
	    (u->h.segment_bytes & (u->h.segment_bytes - 1)) != 0)
		return UNSEAL_UNSUPPORTED;
	u->key = keyring_find(u->keys, u->h.source, u->h.key_id);
	if (!u->key) {
		u->is_wrong_key = true;
		return UNSEAL_WRONG_KEY;
	}
	keys = secret_alloc(2 * KEY_BYTES);
	key_derive_file(u->key, h + 16, keys, keys + KEY_BYTES);
	seal2_header_mac(keys + KEY_BYTES, h, mac);
	is_genuine = CRYPTO_memcmp(mac, h + SEAL2_MAC_AT, sizeof(mac)) == 0;
	if (is_genuine)
		u->gcm = gcm_new(keys, false);
	secret_release(keys, 2 * KEY_BYTES);
	return is_genuine ? UNSEAL_OK : UNSEAL_HEADER_AUTH;
}

/* The first 112 bytes are there: the header, and what must follow it at least. */
static enum unseal_result begin_format_2(struct unsealer *u)
{
	uint8_t rest[SEAL_TAG_BYTES];
	enum unseal_result r;

	memcpy(u->header, u->buf, SEAL2_HEADER_BYTES);
	memcpy(rest, u->buf + SEAL2_HEADER_BYTES, sizeof(rest));
	r = judge_header(u);
	if (r != UNSEAL_OK)
		return r;
	u->has_header = true;
	u->cap = u->h.segment_bytes + SEAL_TAG_BYTES;
	free(u->buf);
	u->buf = xmalloc(u->cap);
	memcpy(u->buf, rest, sizeof(rest));
	u->len = sizeof(rest);
	return UNSEAL_OK;
}

static enum unseal_result open_segment(struct unsealer *u, bool is_last)
{
	size_t len = u->len - SEAL_TAG_BYTES;
	uint8_t nonce[12], none[EVP_MAX_BLOCK_LENGTH];
	int n = 0;

	if (u->segment == SEAL2_SEGMENTS_MAX)
		return UNSEAL_TOO_LARGE;
	seal2_nonce(u->segment++, is_last, nonce);
	if (EVP_DecryptInit_ex(u->gcm, NULL, NULL, NULL, nonce) != 1 ||
	    EVP_DecryptUpdate(u->gcm, NULL, &n, u->header, SEAL2_HEADER_BYTES) != 1 ||
	    (len > 0 && EVP_DecryptUpdate(u->gcm, u->buf, &n, u->buf, (int)len) != 1) ||
	    EVP_CIPHER_CTX_ctrl(u->gcm, EVP_CTRL_AEAD_SET_TAG, SEAL_TAG_BYTES, u->buf + len) != 1 ||
	    EVP_DecryptFinal_ex(u->gcm, none, &n) != 1)
		return UNSEAL_AUTH;
	u->len = 0;
	return emit(u, u->buf, len);
}

static enum unseal_result feed_format_2(struct unsealer *u, struct span s)
{
	while (s.len > 0) {
		enum unseal_result r = UNSEAL_OK;
		size_t n;

		/* One more byte has come, so a full buffer was not the end. */
		if (u->len == u->cap)
			r = u->has_header ? open_segment(u, false) : begin_format_2(u);
		if (r != UNSEAL_OK)
			return r;
		n = u->cap - u->len < s.len ? u->cap - u->len : s.len;
		memcpy(u->buf + u->len, s.ptr, n);
		u->len += n;
		s = span_of(s.ptr + n, s.len - n);
	}
	/* An early, clear answer, before gigabytes are fetched. */
	return !u->has_header && u->len == u->cap ? begin_format_2(u) : UNSEAL_OK;
}

static enum unseal_result finish_format_2(struct unsealer *u)
{
	if (!u->has_header)
		return UNSEAL_TOO_SHORT;
	if (u->len < SEAL_TAG_BYTES)
		return UNSEAL_TRUNCATED;
	if (u->len == SEAL_TAG_BYTES && u->segment > 0)
		return UNSEAL_NON_CANONICAL;
	return open_segment(u, true);
}

/* ---- format 1 ---- */

static enum unseal_result decrypt_1(struct unsealer *u, const uint8_t *bytes, size_t len)
{
	while (len > 0) {
		size_t piece = len < SCRATCH ? len : SCRATCH;
		enum unseal_result r;
		int n;

		for (size_t i = 0; i < u->tries; i++)
			if (EVP_DecryptUpdate(u->tried[i], u->buf, &n, bytes, (int)piece) != 1)
				return UNSEAL_AUTH;
		if (u->plaintext + piece > SEAL1_PLAINTEXT_MAX)
			return UNSEAL_TOO_LARGE;
		r = emit(u, u->buf, piece);
		if (r != UNSEAL_OK)
			return r;
		bytes += piece;
		len -= piece;
	}
	return UNSEAL_OK;
}

static enum unseal_result take_nonce(struct unsealer *u, struct span *s)
{
	size_t n = SEAL1_NONCE_BYTES - u->nonce_len;

	if (n == 0)
		return UNSEAL_OK;
	n = n < s->len ? n : s->len;
	memcpy(u->nonce + u->nonce_len, s->ptr, n);
	u->nonce_len += n;
	*s = span_of(s->ptr + n, s->len - n);
	for (size_t i = 0; u->nonce_len == SEAL1_NONCE_BYTES && i < u->tries; i++)
		if (EVP_DecryptInit_ex(u->tried[i], NULL, NULL, NULL, u->nonce) != 1)
			return UNSEAL_AUTH;
	return UNSEAL_OK;
}

/* The last 16 bytes so far are kept back: they may be the tag. */
static enum unseal_result feed_format_1(struct unsealer *u, struct span s)
{
	enum unseal_result r = take_nonce(u, &s);
	size_t from_tail, from_input, total = u->tail_len + s.len;

	if (r != UNSEAL_OK || s.len == 0)
		return r;
	if (total > SEAL_TAG_BYTES) {
		from_tail = total - SEAL_TAG_BYTES < u->tail_len ? total - SEAL_TAG_BYTES : u->tail_len;
		from_input = total - SEAL_TAG_BYTES - from_tail;
		r = decrypt_1(u, u->tail, from_tail);
		if (r == UNSEAL_OK)
			r = decrypt_1(u, s.ptr, from_input);
		memmove(u->tail, u->tail + from_tail, u->tail_len - from_tail);
		u->tail_len -= from_tail;
		s = span_of(s.ptr + from_input, s.len - from_input);
	}
	memcpy(u->tail + u->tail_len, s.ptr, s.len);
	u->tail_len += s.len;
	return r;
}

static enum unseal_result finish_format_1(struct unsealer *u)
{
	uint8_t none[EVP_MAX_BLOCK_LENGTH];
	int n;

	if (u->nonce_len < SEAL1_NONCE_BYTES || u->tail_len < SEAL_TAG_BYTES)
		return UNSEAL_TOO_SHORT;
	if (u->tries == 0)
		return UNSEAL_WRONG_KEY;
	for (size_t i = 0; i < u->tries; i++)
		if (EVP_CIPHER_CTX_ctrl(u->tried[i], EVP_CTRL_AEAD_SET_TAG, SEAL_TAG_BYTES, u->tail) == 1 &&
		    EVP_DecryptFinal_ex(u->tried[i], none, &n) == 1) {
			if (!u->key)
				u->key = &u->keys->keys[i];
			return UNSEAL_OK;
		}
	return UNSEAL_AUTH;
}

enum unseal_result unsealer_feed(struct unsealer *u, struct span s)
{
	if (u->failed == UNSEAL_OK)
		u->failed = u->format == FORMAT_2 ? feed_format_2(u, s) : feed_format_1(u, s);
	return u->failed;
}

enum unseal_result unsealer_finish(struct unsealer *u)
{
	if (u->failed == UNSEAL_OK)
		u->failed = u->format == FORMAT_2 ? finish_format_2(u) : finish_format_1(u);
	return u->failed;
}
