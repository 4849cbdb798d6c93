#include "backup/seal.h"

#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/mem.h"
#include "seal_parts.h"

/* Plaintext that may lie behind a full segment: read in one go, before it is known whether the segment was the last. */
#define LOOK_AHEAD 65536
#define CHUNK 262144 /* of format 1 and plain */

const uint8_t seal2_magic[8] = {0x89, 'P', 'G', 'B', 'K', 0x0d, 0x0a, 0x1a};

struct sealer {
	enum file_format format;
	seal_sink *sink;
	void *ctx;
	EVP_CIPHER_CTX *gcm;	   /* owned; NULL for plain */
	uint8_t header[SEAL2_HEADER_BYTES]; /* of format 1: the nonce */
	bool has_begun;
	uint64_t segment, plaintext, plaintext_max;
	size_t segment_bytes, cap, len; /* of format 2: bytes of a segment; of buf, and in it */
	uint8_t *buf;			/* owned */
};

void seal2_header_mac(const uint8_t header_key[KEY_BYTES], const uint8_t header[SEAL2_HEADER_BYTES],
		      uint8_t mac[KEY_BYTES])
{
	unsigned n = 0;

	if (!HMAC(EVP_sha256(), header_key, KEY_BYTES, header, SEAL2_MAC_AT, mac, &n) || n != KEY_BYTES)
		abort();
}

void seal2_nonce(uint64_t segment, bool is_last, uint8_t nonce[12])
{
	memset(nonce, 0, 12);
	put_be(nonce + 3, segment, 8);
	nonce[11] = is_last;
}

EVP_CIPHER_CTX *gcm_new(const uint8_t key[KEY_BYTES], bool encrypts)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();

	/* The nonce has GCM's usual 12 bytes. */
	if (!ctx || EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, NULL, encrypts) != 1)
		abort(); /* no memory, or no AES */
	return ctx;
}

static void choose(uint8_t *out, size_t len, const uint8_t *given)
{
	if (given)
		memcpy(out, given, len);
	else if (RAND_bytes(out, (int)len) != 1)
		abort(); /* never go on with a nonce that may repeat */
}

static void begin_format_1(struct sealer *s, const struct seal_spec *spec)
{
	choose(s->header, SEAL1_NONCE_BYTES, spec->random);
	s->gcm = gcm_new(spec->key->encryption, true);
	if (EVP_EncryptInit_ex(s->gcm, NULL, NULL, NULL, s->header) != 1)
		abort();
}

static void begin_format_2(struct sealer *s, const struct seal_spec *spec)
{
	uint8_t *keys = secret_alloc(2 * KEY_BYTES), *h = s->header;

	memcpy(h, seal2_magic, sizeof(seal2_magic));
	h[8] = 2;
	h[9] = 1;
	h[10] = (uint8_t)spec->key->source;
	h[11] = (uint8_t)spec->content;
	put_be(h + 12, spec->segment_bytes, 4);
	choose(h + 16, SALT_BYTES, spec->random);
	memcpy(h + 48, spec->key->id, KEY_ID_BYTES);
	put_be(h + 56, (uint64_t)spec->created_at, 8);
	key_derive_file(spec->key, h + 16, keys, keys + KEY_BYTES);
	seal2_header_mac(keys + KEY_BYTES, h, h + SEAL2_MAC_AT);
	s->gcm = gcm_new(keys, true);
	secret_release(keys, 2 * KEY_BYTES);
	s->segment_bytes = spec->segment_bytes;
}

struct sealer *sealer_new(const struct seal_spec *spec, seal_sink *sink, void *ctx)
{
	struct sealer *s = xcalloc(1, sizeof(*s));

	s->format = spec->format;
	s->sink = sink;
	s->ctx = ctx;
	s->cap = CHUNK;
	s->plaintext_max = spec->plaintext_max ? spec->plaintext_max : SEAL1_PLAINTEXT_MAX;
	switch (spec->format) {
	case FORMAT_PLAIN:
		break;
	case FORMAT_1:
		begin_format_1(s, spec);
		break;
	case FORMAT_2:
		begin_format_2(s, spec);
		s->cap = s->segment_bytes + LOOK_AHEAD;
		break;
	}
	s->buf = xmalloc(s->cap);
	return s;
}

void sealer_free(struct sealer *s)
{
	if (!s)
		return;
	EVP_CIPHER_CTX_free(s->gcm); /* wipes the key */
	mem_wipe(s->buf, s->cap);
	free(s->buf);
	free(s);
}

uint8_t *sealer_room(struct sealer *s, size_t *len)
{
	*len = s->cap - s->len;
	return s->buf + s->len;
}

uint64_t sealer_plaintext(const struct sealer *s)
{
	return s->plaintext;
}

static enum seal_result emit(struct sealer *s, const void *bytes, size_t len)
{
	return len == 0 || s->sink(s->ctx, span_of(bytes, len)) ? SEAL_OK : SEAL_STOPPED;
}

static enum seal_result begin(struct sealer *s)
{
	if (s->has_begun)
		return SEAL_OK;
	s->has_begun = true;
	return emit(s, s->header, s->format == FORMAT_1 ? SEAL1_NONCE_BYTES : s->format == FORMAT_2 ? SEAL2_HEADER_BYTES : 0);
}

/* Seals the first len bytes of buf in place, as the next segment. */
static enum seal_result seal_segment(struct sealer *s, uint8_t *bytes, size_t len, bool is_last)
{
	uint8_t nonce[12], tag[SEAL_TAG_BYTES];
	enum seal_result r;
	int n = 0;

	if (s->segment == SEAL2_SEGMENTS_MAX)
		return SEAL_TOO_LARGE;
	seal2_nonce(s->segment++, is_last, nonce);
	if (EVP_EncryptInit_ex(s->gcm, NULL, NULL, NULL, nonce) != 1 ||
	    EVP_EncryptUpdate(s->gcm, NULL, &n, s->header, SEAL2_HEADER_BYTES) != 1 ||
	    (len > 0 && EVP_EncryptUpdate(s->gcm, bytes, &n, bytes, (int)len) != 1) ||
	    EVP_EncryptFinal_ex(s->gcm, bytes + len, &n) != 1 ||
	    EVP_CIPHER_CTX_ctrl(s->gcm, EVP_CTRL_AEAD_GET_TAG, SEAL_TAG_BYTES, tag) != 1)
		return SEAL_BROKEN;
	r = emit(s, bytes, len);
	return r == SEAL_OK ? emit(s, tag, sizeof(tag)) : r;
}

static enum seal_result take_format_2(struct sealer *s)
{
	size_t at = 0;
	enum seal_result r = SEAL_OK;

	/* A full segment is the last one unless at least one more byte has come. */
	while (r == SEAL_OK && s->len - at > s->segment_bytes) {
		r = seal_segment(s, s->buf + at, s->segment_bytes, false);
		at += s->segment_bytes;
	}
	memmove(s->buf, s->buf + at, s->len - at);
	s->len -= at;
	return r;
}

static enum seal_result take_format_1(struct sealer *s)
{
	size_t len = s->len;
	int n = 0;

	if (s->plaintext > s->plaintext_max)
		return SEAL_TOO_LARGE;
	s->len = 0;
	if (EVP_EncryptUpdate(s->gcm, s->buf, &n, s->buf, (int)len) != 1 || (size_t)n != len)
		return SEAL_BROKEN;
	return emit(s, s->buf, len);
}

enum seal_result sealer_take(struct sealer *s, size_t n)
{
	enum seal_result r = begin(s);
	size_t len;

	s->len += n;
	s->plaintext += n;
	if (r != SEAL_OK || n == 0)
		return r;
	switch (s->format) {
	case FORMAT_PLAIN:
		len = s->len;
		s->len = 0;
		return emit(s, s->buf, len);
	case FORMAT_1:
		return take_format_1(s);
	case FORMAT_2:
		return take_format_2(s);
	}
	return SEAL_BROKEN;
}

enum seal_result sealer_put(struct sealer *s, struct span bytes)
{
	enum seal_result r = SEAL_OK;

	while (r == SEAL_OK && bytes.len > 0) {
		size_t room;
		uint8_t *at = sealer_room(s, &room);

		room = room < bytes.len ? room : bytes.len;
		memcpy(at, bytes.ptr, room);
		bytes = span_of(bytes.ptr + room, bytes.len - room);
		r = sealer_take(s, room);
	}
	return r;
}

enum seal_result sealer_finish(struct sealer *s)
{
	uint8_t tag[SEAL_TAG_BYTES];
	enum seal_result r = begin(s);
	int n = 0;

	if (r != SEAL_OK || s->format == FORMAT_PLAIN)
		return r;
	if (s->format == FORMAT_2)
		return seal_segment(s, s->buf, s->len, true);
	if (EVP_EncryptFinal_ex(s->gcm, tag, &n) != 1 ||
	    EVP_CIPHER_CTX_ctrl(s->gcm, EVP_CTRL_AEAD_GET_TAG, SEAL_TAG_BYTES, tag) != 1)
		return SEAL_BROKEN;
	return emit(s, tag, sizeof(tag));
}

uint64_t sealed_size(enum file_format format, uint64_t plaintext, uint32_t segment_bytes)
{
	uint64_t segments;

	switch (format) {
	case FORMAT_PLAIN:
		return plaintext;
	case FORMAT_1:
		return plaintext + SEAL1_OVERHEAD;
	case FORMAT_2:
		segments = plaintext == 0 ? 1 : (plaintext - 1) / segment_bytes + 1;
		return SEAL2_HEADER_BYTES + plaintext + segments * SEAL_TAG_BYTES;
	}
	return 0;
}
