/*
 * The published vectors of the backup formats, and what follows from them:
 * backup/keys.h, backup/seal.h, backup/unseal.h. Attack row 45.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#include "backup/unseal.h"
#include "lib/buf.h"
#include "lib/hex.h"
#include "lib/mem.h"

struct key_vector {
	const char *name, *mnemonic_hex, *key_hex, *id_hex;
};
struct plaintext {
	const char *hex; /* NULL: from the generator */
	uint32_t seed;
	size_t len;
};
struct file_vector {
	const char *name;
	int format;
	const char *mnemonic, *random_hex;
	uint32_t segment_size;
	int64_t created_at;
	int content;
	const char *payload_key_hex, *header_key_hex;
	struct plaintext plaintext;
	size_t file_length;
	const char *file_sha256, *file_hex;
};
enum op_kind { OP_XOR, OP_TRUNCATE, OP_APPEND, OP_SWAP, OP_REMOVE, OP_DUPLICATE };
struct op {
	enum op_kind kind;
	size_t offset, other, length;
	uint8_t mask;
	const char *hex;
};
struct mutation {
	const char *name, *base;
	struct op ops[4];
	size_t count, file_length;
	const char *file_sha256, *expect;
};
struct crafted {
	const char *name, *mnemonic;
	size_t file_length;
	const char *file_sha256, *expect, *file_hex, *header_hex, *tags[4];
};
#include "test/vectors/backup_seal_vectors.h"

/* ---- helpers ---- */

static void put_hex(struct buf *b, const char *hex)
{
	size_t n = strlen(hex) / 2;

	assert_true(buf_reserve(b, n));
	assert_true(hex_decode(hex, b->data + b->end, n));
	b->end += n;
}

static void put_plaintext(struct buf *b, const struct plaintext *p)
{
	uint32_t x = p->seed;

	if (p->hex) {
		put_hex(b, p->hex);
		return;
	}
	for (size_t i = 0; i < p->len; i++) {
		x = (x * 1103515245u + 12345u) & 0x7fffffff;
		buf_put_u8(b, (uint8_t)(x >> 16));
	}
}

static void assert_sha256(const char *name, struct span bytes, const char *hex)
{
	uint8_t digest[32];
	char got[65];

	SHA256(bytes.ptr, bytes.len, digest);
	hex_encode(digest, 32, got);
	if (strcmp(got, hex) != 0)
		fail_msg("%s: SHA-256 is %s, expected %s", name, got, hex);
}

static bool append(void *ctx, struct span s)
{
	buf_put(ctx, s.ptr, s.len);
	return true;
}

static struct keyring *ring(const char *mnemonic)
{
	return keyring_of(KEY_FROM_MNEMONIC, mnemonic, strlen(mnemonic));
}

/* Puts plaintext in pieces of step bytes; 0: as much as there is room for. */
static void seal(const struct seal_spec *spec, struct span plain, size_t step, struct buf *file)
{
	struct sealer *s = sealer_new(spec, append, file);

	while (plain.len > 0) {
		size_t room;
		uint8_t *at = sealer_room(s, &room);

		assert_true(room > 0);
		room = step && step < room ? step : room;
		room = room < plain.len ? room : plain.len;
		memcpy(at, plain.ptr, room);
		assert_int_equal(sealer_take(s, room), SEAL_OK);
		plain = span_of(plain.ptr + room, plain.len - room);
	}
	assert_int_equal(sealer_finish(s), SEAL_OK);
	sealer_free(s);
	assert_true(buf_ok(file));
}

static enum unseal_result run(struct unsealer *u, struct span file, size_t step)
{
	enum unseal_result r = UNSEAL_OK;

	while (file.len > 0 && r == UNSEAL_OK) {
		size_t n = step && step < file.len ? step : file.len;

		r = unsealer_feed(u, span_of(file.ptr, n));
		file = span_of(file.ptr + n, file.len - n);
	}
	return unsealer_finish(u);
}

/* As a restore does: format 1 only after the whole file has been judged. */
static enum unseal_result unseal(const struct keyring *keys, struct span file, size_t step, struct buf *plain)
{
	bool is_2 = sealed_format(file) == FORMAT_2;
	struct unsealer *u = is_2 ? unsealer_new_2(keys, append, plain) : unsealer_new_1(keys, NULL, NULL, NULL);
	enum unseal_result r = run(u, file, step);
	const struct key *key = unsealer_key(u);

	unsealer_free(u);
	if (is_2 || r != UNSEAL_OK)
		return r;
	assert_non_null(key);
	u = unsealer_new_1(keys, key, append, plain);
	r = run(u, file, step);
	unsealer_free(u);
	return r;
}

static struct seal_spec spec_of(const struct file_vector *v, const struct keyring *keys, uint8_t random[32])
{
	assert_true(hex_decode(v->random_hex, random, strlen(v->random_hex) / 2));
	return (struct seal_spec){.format = (enum file_format)v->format, .key = keyring_writer(keys),
				  .content = (enum file_content)v->content, .segment_bytes = v->segment_size,
				  .created_at = v->created_at, .random = random};
}

static void build(const struct file_vector *v, size_t step, struct buf *plain, struct buf *file)
{
	struct keyring *keys = ring(v->mnemonic);
	uint8_t random[32];
	struct seal_spec spec = spec_of(v, keys, random);

	buf_init(plain);
	buf_init(file);
	put_plaintext(plain, &v->plaintext);
	assert_int_equal(buf_len(plain), v->plaintext.len);
	seal(&spec, buf_span(plain), step, file);
	keyring_free(keys);
}

/* ---- the vectors ---- */

static void keys_are_derived_as_published(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(key_vectors); i++) {
		const struct key_vector *v = &key_vectors[i];
		struct buf input;
		struct keyring *keys;
		char hex[65];

		buf_init(&input);
		put_hex(&input, v->mnemonic_hex);
		keys = keyring_of(KEY_FROM_MNEMONIC, buf_span(&input).ptr, buf_len(&input));
		hex_encode(keys->keys[0].encryption, KEY_BYTES, hex);
		assert_string_equal(hex, v->key_hex);
		assert_string_equal(keys->keys[0].id_text, v->id_hex);
		keyring_free(keys);
		buf_free(&input);
	}
}

static void files_are_written_as_published(void **state)
{
	static const size_t steps[] = {0, 1, 7, 4095, 4096, 4097};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(file_vectors); i++) {
		const struct file_vector *v = &file_vectors[i];

		for (size_t k = 0; k < ARRAY_LEN(steps); k++) {
			struct buf plain, file;

			build(v, steps[k], &plain, &file);
			assert_int_equal(buf_len(&file), v->file_length);
			assert_int_equal(sealed_size((enum file_format)v->format, v->plaintext.len, v->segment_size),
					 v->file_length);
			assert_sha256(v->name, buf_span(&file), v->file_sha256);
			if (v->file_hex) {
				struct buf whole;

				buf_init(&whole);
				put_hex(&whole, v->file_hex);
				assert_memory_equal(buf_data(&whole), buf_data(&file), v->file_length);
				buf_free(&whole);
			}
			buf_free(&plain);
			buf_free(&file);
		}
	}
}

static void keys_of_a_file_are_derived_as_published(void **state)
{
	uint8_t salt[32], payload[32], header[32];
	char hex[65];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(file_vectors); i++) {
		const struct file_vector *v = &file_vectors[i];
		struct keyring *keys;

		if (v->format != 2)
			continue;
		keys = ring(v->mnemonic);
		assert_true(hex_decode(v->random_hex, salt, 32));
		key_derive_file(&keys->keys[0], salt, payload, header);
		hex_encode(payload, 32, hex);
		assert_string_equal(hex, v->payload_key_hex);
		hex_encode(header, 32, hex);
		assert_string_equal(hex, v->header_key_hex);
		keyring_free(keys);
	}
}

static void files_are_read_back_however_they_arrive(void **state)
{
	static const size_t steps[] = {0, 1, 16, 111, 112, 113, 4112};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(file_vectors); i++) {
		const struct file_vector *v = &file_vectors[i];
		struct keyring *keys = ring(v->mnemonic);
		struct buf plain, file, back;

		build(v, 0, &plain, &file);
		assert_int_equal(sealed_format(buf_span(&file)), v->format);
		for (size_t k = 0; k < ARRAY_LEN(steps); k++) {
			buf_init(&back);
			assert_int_equal(unseal(keys, buf_span(&file), steps[k], &back), UNSEAL_OK);
			assert_int_equal(buf_len(&back), buf_len(&plain));
			assert_memory_equal(buf_span(&back).ptr, buf_span(&plain).ptr, buf_len(&plain));
			buf_free(&back);
		}
		buf_free(&plain);
		buf_free(&file);
		keyring_free(keys);
	}
}

static const char *word_of(enum unseal_result r)
{
	switch (r) {
	case UNSEAL_OK:
		return "ok";
	case UNSEAL_TOO_SHORT:
		return "too_short";
	case UNSEAL_UNSUPPORTED:
		return "unsupported";
	case UNSEAL_WRONG_KEY:
		return "wrong_key";
	case UNSEAL_HEADER_AUTH:
		return "header_auth";
	case UNSEAL_AUTH:
		return "auth";
	case UNSEAL_TRUNCATED:
		return "truncated";
	case UNSEAL_NON_CANONICAL:
		return "non_canonical";
	case UNSEAL_STOPPED:
	case UNSEAL_TOO_LARGE:
		break;
	}
	return "something else";
}

/* The rules of the vectors: a reader that looks ahead may say either of these two. */
static bool is_class(enum unseal_result r, const char *expect)
{
	const char *got = word_of(r);

	return strcmp(got, expect) == 0 || (strcmp(got, "auth") == 0 && strcmp(expect, "truncated") == 0) ||
	       (strcmp(got, "truncated") == 0 && strcmp(expect, "auth") == 0);
}

static void apply(struct buf *b, const struct op *o)
{
	uint8_t *at = b->data + b->start + o->offset, kept[8192];

	switch (o->kind) {
	case OP_XOR:
		*at ^= o->mask;
		break;
	case OP_TRUNCATE:
		b->end = b->start + o->length;
		break;
	case OP_APPEND:
		put_hex(b, o->hex);
		break;
	case OP_SWAP:
		memcpy(kept, at, o->length);
		memcpy(at, b->data + b->start + o->other, o->length);
		memcpy(b->data + b->start + o->other, kept, o->length);
		break;
	case OP_REMOVE:
		memmove(at, at + o->length, b->end - b->start - o->offset - o->length);
		b->end -= o->length;
		break;
	case OP_DUPLICATE:
		assert_true(buf_reserve(b, o->length));
		at = b->data + b->start + o->offset;
		memmove(at + o->length, at, b->end - b->start - o->offset);
		b->end += o->length;
		break;
	}
}

static void refuses(const char *name, const char *mnemonic, struct span file, const char *expect)
{
	static const size_t steps[] = {0, 1, 100};
	struct keyring *keys = ring(mnemonic);

	for (size_t k = 0; k < ARRAY_LEN(steps); k++) {
		struct buf plain;
		enum unseal_result r;

		buf_init(&plain);
		r = unseal(keys, file, steps[k], &plain);
		if (!is_class(r, expect))
			fail_msg("%s: %s, expected %s", name, word_of(r), expect);
		/* Of format 2 whole segments may have come out; of format 1 nothing. */
		if (sealed_format(file) != FORMAT_2)
			assert_int_equal(buf_len(&plain), 0);
		buf_free(&plain);
	}
	keyring_free(keys);
}

static void row_45_every_mutation_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(mutations); i++) {
		const struct mutation *m = &mutations[i];
		const struct file_vector *base = NULL;
		struct buf plain, file;

		for (size_t k = 0; k < ARRAY_LEN(file_vectors); k++)
			if (strcmp(file_vectors[k].name, m->base) == 0)
				base = &file_vectors[k];
		assert_non_null(base);
		build(base, 0, &plain, &file);
		for (size_t k = 0; k < m->count; k++)
			apply(&file, &m->ops[k]);
		assert_int_equal(buf_len(&file), m->file_length);
		assert_sha256(m->name, buf_span(&file), m->file_sha256);
		refuses(m->name, base->mnemonic, buf_span(&file), m->expect);
		buf_free(&plain);
		buf_free(&file);
	}
}

/* A segment by OpenSSL alone, not by the code under test. */
static void put_segment(struct buf *b, const uint8_t key[32], struct span header, uint64_t i, bool is_last, struct span plain,
			const char *tag_hex)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint8_t nonce[12] = {0}, tag[16], out[4096], expect[16];
	int n;

	nonce[10] = (uint8_t)i;
	nonce[11] = is_last;
	assert_int_equal(EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce), 1);
	assert_int_equal(EVP_EncryptUpdate(ctx, NULL, &n, header.ptr, (int)header.len), 1);
	assert_int_equal(EVP_EncryptUpdate(ctx, out, &n, plain.ptr, (int)plain.len), 1);
	assert_int_equal(EVP_EncryptFinal_ex(ctx, out + plain.len, &n), 1);
	assert_int_equal(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, tag), 1);
	EVP_CIPHER_CTX_free(ctx);
	assert_true(hex_decode(tag_hex, expect, 16));
	assert_memory_equal(tag, expect, 16);
	buf_put(b, out, plain.len);
	buf_put(b, tag, 16);
}

/* The two crafted files that the vectors describe in words. */
static void follow_recipe(const struct crafted *c, struct buf *file)
{
	struct keyring *keys = ring(c->mnemonic);
	const struct plaintext first = {NULL, 50, 4096};
	bool is_early = strstr(c->name, "too-early") != NULL;
	uint8_t payload[32], header[32];
	struct buf plain;
	struct span head;

	buf_init(&plain);
	put_plaintext(&plain, &first);
	put_hex(file, c->header_hex);
	assert_true(buf_reserve(file, 10000));
	head = span_of(buf_data(file), 96);
	key_derive_file(&keys->keys[0], head.ptr + 16, payload, header);
	put_segment(file, payload, head, 0, is_early, buf_span(&plain), c->tags[0]);
	put_segment(file, payload, head, 1, true, is_early ? span_str("x") : span_str(""), c->tags[1]);
	buf_free(&plain);
	keyring_free(keys);
}

static void row_45_every_crafted_file_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(crafted); i++) {
		const struct crafted *c = &crafted[i];
		struct buf file;

		buf_init(&file);
		if (c->file_hex)
			put_hex(&file, c->file_hex);
		else
			follow_recipe(c, &file);
		assert_int_equal(buf_len(&file), c->file_length);
		assert_sha256(c->name, buf_span(&file), c->file_sha256);
		refuses(c->name, c->mnemonic, buf_span(&file), c->expect);
		buf_free(&file);
	}
}

/* ---- what the vectors leave open ---- */

static void row_45_truncated_at_every_byte_it_is_never_whole(void **state)
{
	const struct file_vector *v = &file_vectors[ARRAY_LEN(file_vectors) - 1]; /* three segments */
	struct keyring *keys = ring(v->mnemonic);
	struct buf plain, file, back;

	(void)state;
	build(v, 0, &plain, &file);
	for (size_t n = 0; n < buf_len(&file); n += n < 130 || n > 8300 ? 1 : 61) {
		buf_init(&back);
		assert_int_not_equal(unseal(keys, span_of(buf_data(&file), n), 0, &back), UNSEAL_OK);
		/* What did come out is a beginning of the truth. */
		assert_true(buf_len(&back) <= 8192);
		assert_memory_equal(buf_span(&back).ptr, buf_data(&plain), buf_len(&back));
		buf_free(&back);
	}
	buf_free(&plain);
	buf_free(&file);
	keyring_free(keys);
}

static void format_1_finds_the_key_among_former_ones(void **state)
{
	struct config c = {.encryption_mode = ENCRYPT_MNEMONIC};
	struct keyring *keys, *old = ring("abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon "
					  "abandon about");
	struct buf file, back;

	(void)state;
	secret_set(&c.encryption_mnemonic, "the new one", 11);
	secret_set(&c.encryption_previous_mnemonics,
		   "other words\r\n\nabandon abandon abandon abandon abandon abandon abandon abandon abandon abandon "
		   "abandon about\nlast", 13 + 1 + 93 + 1 + 4);
	keys = keyring_new(&c);
	assert_int_equal(keys->count, 4);
	buf_init(&file);
	seal(&(struct seal_spec){.format = FORMAT_1, .key = keyring_writer(old)}, span_str("PGDMP words"), 0, &file);
	buf_init(&back);
	assert_int_equal(unseal(keys, buf_span(&file), 0, &back), UNSEAL_OK);
	assert_int_equal(buf_len(&back), 11);
	buf_free(&file);
	buf_free(&back);

	/* Format 2 says which one it is. */
	seal(&(struct seal_spec){.format = FORMAT_2, .key = keyring_writer(old), .segment_bytes = 4096}, span_str("x"), 0, &file);
	assert_int_equal(unseal(keys, buf_span(&file), 0, &back), UNSEAL_OK);
	buf_free(&file);
	buf_free(&back);
	keyring_free(keys);
	keyring_free(old);
	secret_free(&c.encryption_mnemonic);
	secret_free(&c.encryption_previous_mnemonics);
}

/* Weakness 5: what an empty mnemonic has encrypted opens on wish alone. */
static void an_empty_mnemonic_is_read_only_when_asked_for(void **state)
{
	struct config c = {.encryption_mode = ENCRYPT_MNEMONIC};
	struct keyring *empty = ring(""), *keys;
	struct buf file, back;

	(void)state;
	buf_init(&file);
	buf_init(&back);
	seal(&(struct seal_spec){.format = FORMAT_1, .key = keyring_writer(empty)}, span_str("PGDMP"), 0, &file);
	secret_set(&c.encryption_mnemonic, "twelve words", 12);
	keys = keyring_new(&c);
	assert_int_equal(unseal(keys, buf_span(&file), 0, &back), UNSEAL_AUTH);
	keyring_free(keys);
	c.encryption_accept_empty_mnemonic = true;
	keys = keyring_new(&c);
	assert_int_equal(unseal(keys, buf_span(&file), 0, &back), UNSEAL_OK);
	assert_string_equal(keyring_writer(keys)->input.bytes, "twelve words");
	keyring_free(keys);
	keyring_free(empty);
	buf_free(&file);
	buf_free(&back);
	secret_free(&c.encryption_mnemonic);
}

static void no_mnemonic_encrypts_nothing_and_says_so(void **state)
{
	struct config c = {.encryption_mode = ENCRYPT_MNEMONIC};
	struct keyring *keys = keyring_new(&c);

	(void)state;
	assert_null(keyring_writer(keys));
	assert_false(keyring_check(keys, &c));
	c.encryption_mode = ENCRYPT_NONE;
	assert_true(keyring_check(keys, &c));
	keyring_free(keys);
	/* A mnemonic beside mode none reads, but does not write. */
	secret_set(&c.encryption_mnemonic, "words", 5);
	keys = keyring_new(&c);
	assert_null(keyring_writer(keys));
	assert_int_equal(keys->count, 1);
	keyring_free(keys);
	secret_free(&c.encryption_mnemonic);
}

static void a_wrong_key_is_named_beside_ours(void **state)
{
	struct keyring *theirs = ring("theirs"), *ours = ring("ours");
	struct unsealer *u;
	struct buf file;
	char text[256];

	(void)state;
	buf_init(&file);
	seal(&(struct seal_spec){.format = FORMAT_2, .key = keyring_writer(theirs), .segment_bytes = 4096}, span_str("x"), 0, &file);
	u = unsealer_new_2(ours, NULL, NULL);
	assert_int_equal(run(u, buf_span(&file), 0), UNSEAL_WRONG_KEY);
	unsealer_explain(u, UNSEAL_WRONG_KEY, text);
	assert_non_null(strstr(text, theirs->keys[0].id_text));
	assert_non_null(strstr(text, ours->keys[0].id_text));
	unsealer_free(u);
	keyring_free(theirs);
	keyring_free(ours);
	buf_free(&file);
}

static void a_key_file_and_a_mnemonic_of_the_same_bytes_differ(void **state)
{
	struct keyring *file_key = keyring_of(KEY_FROM_FILE, "0123456789abcdef0123456789abcdef", 32),
		       *mnemonic = ring("0123456789abcdef0123456789abcdef");
	struct buf file, back;

	(void)state;
	buf_init(&file);
	buf_init(&back);
	seal(&(struct seal_spec){.format = FORMAT_2, .key = keyring_writer(file_key), .segment_bytes = 4096}, span_str("x"), 0, &file);
	assert_int_equal(unseal(mnemonic, buf_span(&file), 0, &back), UNSEAL_WRONG_KEY);
	assert_int_equal(unseal(file_key, buf_span(&file), 0, &back), UNSEAL_OK);
	buf_free(&file);
	buf_free(&back);
	keyring_free(file_key);
	keyring_free(mnemonic);
}

static bool count_and_stop(void *ctx, struct span s)
{
	size_t *left = ctx;

	(void)s;
	return (*left)-- > 0;
}

static void a_sink_that_says_no_stops_both_sides(void **state)
{
	struct keyring *keys = ring("words");
	const struct seal_spec spec = {.format = FORMAT_2, .key = keyring_writer(keys), .segment_bytes = 4096};
	static uint8_t plain[20000];
	struct buf file;
	size_t left = 1;
	struct sealer *s = sealer_new(&spec, count_and_stop, &left);
	struct unsealer *u;

	(void)state;
	assert_int_equal(sealer_put(s, span_of(plain, sizeof(plain))), SEAL_STOPPED);
	sealer_free(s);
	buf_init(&file);
	seal(&spec, span_of(plain, sizeof(plain)), 0, &file);
	left = 1;
	u = unsealer_new_2(keys, count_and_stop, &left);
	assert_int_equal(unsealer_feed(u, buf_span(&file)), UNSEAL_STOPPED);
	assert_int_equal(unsealer_finish(u), UNSEAL_STOPPED);
	unsealer_free(u);
	buf_free(&file);
	keyring_free(keys);
}

/* Weakness 3: the most that one message of GCM can hold is refused with a clear answer, not wrapped around. */
static void format_1_ends_at_its_limit(void **state)
{
	struct keyring *keys = ring("words");
	struct seal_spec spec = {.format = FORMAT_1, .key = keyring_writer(keys), .plaintext_max = 10};
	struct buf file;
	struct sealer *s;

	(void)state;
	assert_true(SEAL1_PLAINTEXT_MAX == 68719476704u);
	buf_init(&file);
	s = sealer_new(&spec, append, &file);
	assert_int_equal(sealer_put(s, span_str("ten bytes!")), SEAL_OK);
	assert_int_equal(sealer_put(s, span_str("1")), SEAL_TOO_LARGE);
	assert_int_equal(buf_len(&file), SEAL1_NONCE_BYTES + 10);
	sealer_free(s);
	buf_free(&file);
	keyring_free(keys);
}

static void equal_plaintexts_make_different_files(void **state)
{
	struct keyring *keys = ring("words");

	(void)state;
	for (enum file_format f = FORMAT_1; f <= FORMAT_2; f++) {
		const struct seal_spec spec = {.format = f, .key = keyring_writer(keys), .segment_bytes = 4096};
		struct buf a, b;

		buf_init(&a);
		buf_init(&b);
		seal(&spec, span_str("same"), 0, &a);
		seal(&spec, span_str("same"), 0, &b);
		assert_memory_not_equal(buf_data(&a) + (f == FORMAT_2 ? 16 : 0), buf_data(&b) + (f == FORMAT_2 ? 16 : 0), 12);
		buf_free(&a);
		buf_free(&b);
	}
	keyring_free(keys);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_are_derived_as_published),
		cmocka_unit_test(files_are_written_as_published),
		cmocka_unit_test(keys_of_a_file_are_derived_as_published),
		cmocka_unit_test(files_are_read_back_however_they_arrive),
		cmocka_unit_test(row_45_every_mutation_is_refused),
		cmocka_unit_test(row_45_every_crafted_file_is_refused),
		cmocka_unit_test(row_45_truncated_at_every_byte_it_is_never_whole),
		cmocka_unit_test(format_1_finds_the_key_among_former_ones),
		cmocka_unit_test(an_empty_mnemonic_is_read_only_when_asked_for),
		cmocka_unit_test(no_mnemonic_encrypts_nothing_and_says_so),
		cmocka_unit_test(a_wrong_key_is_named_beside_ours),
		cmocka_unit_test(a_key_file_and_a_mnemonic_of_the_same_bytes_differ),
		cmocka_unit_test(a_sink_that_says_no_stops_both_sides),
		cmocka_unit_test(format_1_ends_at_its_limit),
		cmocka_unit_test(equal_plaintexts_make_different_files),
	};

	secret_heap_open();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
