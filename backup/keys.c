#include "backup/keys.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#include "backup/event.h"
#include "lib/hex.h"
#include "lib/mem.h"

static const char contract_salt[] = "pg-ecdsa-proxy-backup";

static void hmac(struct span key, const void *message, size_t len, uint8_t out[KEY_BYTES])
{
	unsigned n = 0;

	/* A pointer even to nothing: a NULL key would mean the one before. */
	if (!HMAC(EVP_sha256(), key.len ? (const void *)key.ptr : "", (int)key.len, message, len, out, &n) || n != KEY_BYTES)
		abort(); /* SHA-256 is always there */
}

/* RFC 5869 for outputs of one block. Not by EVP_KDF, which refuses an empty input; the earlier tool did not. */
static void extract(struct span salt, struct span input, uint8_t prk[KEY_BYTES])
{
	hmac(salt, input.ptr, input.len, prk);
}

static void expand(const uint8_t prk[KEY_BYTES], const char *text, uint8_t out[KEY_BYTES])
{
	uint8_t message[64];
	size_t len = strlen(text);

	memcpy(message, text, len);
	message[len] = 1;
	hmac(span_of(prk, KEY_BYTES), message, len + 1, out);
}

void hkdf_sha256(struct span salt, struct span input, const char *text, uint8_t out[KEY_BYTES])
{
	uint8_t prk[KEY_BYTES];

	extract(salt, input, prk);
	expand(prk, text, out);
	mem_wipe(prk, sizeof(prk));
}

void key_derive_file(const struct key *k, const uint8_t salt[SALT_BYTES], uint8_t payload[KEY_BYTES],
		     uint8_t header[KEY_BYTES])
{
	uint8_t prk[KEY_BYTES];

	extract(span_of(salt, SALT_BYTES), secret_span(&k->input), prk);
	expand(prk, "pg-backup/2 payload", payload);
	expand(prk, "pg-backup/2 header", header);
	mem_wipe(prk, sizeof(prk));
}

static void add_key(struct keyring *r, enum key_source source, const void *input, size_t len)
{
	uint8_t *prk = secret_alloc(KEY_BYTES), *id = secret_alloc(KEY_BYTES);
	struct key *k;

	r->keys = xrealloc(r->keys, (r->count + 1) * sizeof(*r->keys));
	k = &r->keys[r->count++];
	*k = (struct key){.source = source};
	secret_set(&k->input, input, len);
	k->encryption = secret_alloc(KEY_BYTES);
	k->manifest = secret_alloc(KEY_BYTES);
	extract(span_str(contract_salt), secret_span(&k->input), prk);
	expand(prk, "backup-encryption-key", k->encryption);
	expand(prk, "backup-manifest", k->manifest);
	expand(prk, "backup-key-id", id);
	memcpy(k->id, id, KEY_ID_BYTES);
	hex_encode(k->id, KEY_ID_BYTES, k->id_text);
	secret_release(prk, KEY_BYTES);
	secret_release(id, KEY_BYTES);
}

/* One a line; a line's bytes as they are but for its end. */
static void add_previous(struct keyring *r, const struct secret *list)
{
	const char *at = list->bytes, *end = list->bytes + list->len;

	while (at && at < end) {
		const char *nl = memchr(at, '\n', (size_t)(end - at)), *stop = nl ? nl : end;

		if (stop > at && stop[-1] == '\r' && nl)
			stop--;
		if (stop > at)
			add_key(r, KEY_FROM_MNEMONIC, at, (size_t)(stop - at));
		at = nl ? nl + 1 : end;
	}
}

struct keyring *keyring_new(const struct config *c)
{
	struct keyring *r = xcalloc(1, sizeof(*r));

	if (c->encryption_mode == ENCRYPT_KEY && c->encryption_key.bytes)
		add_key(r, KEY_FROM_FILE, c->encryption_key.bytes, c->encryption_key.len);
	/* In the other modes a mnemonic still opens what was made before. */
	if (c->encryption_mnemonic.bytes)
		add_key(r, KEY_FROM_MNEMONIC, c->encryption_mnemonic.bytes, c->encryption_mnemonic.len);
	r->is_writing = c->encryption_mode == ENCRYPT_KEY ? c->encryption_key.bytes != NULL :
			c->encryption_mode == ENCRYPT_MNEMONIC && c->encryption_mnemonic.bytes;
	add_previous(r, &c->encryption_previous_mnemonics);
	if (c->encryption_accept_empty_mnemonic)
		add_key(r, KEY_FROM_MNEMONIC, "", 0);
	return r;
}

struct keyring *keyring_of(enum key_source source, const void *input, size_t len)
{
	struct keyring *r = xcalloc(1, sizeof(*r));

	add_key(r, source, input, len);
	r->is_writing = true;
	return r;
}

void keyring_free(struct keyring *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->count; i++) {
		secret_free(&r->keys[i].input);
		secret_release(r->keys[i].encryption, KEY_BYTES);
		secret_release(r->keys[i].manifest, KEY_BYTES);
	}
	free(r->keys);
	free(r);
}

const struct key *keyring_writer(const struct keyring *r)
{
	return r->is_writing ? &r->keys[0] : NULL;
}

const struct key *keyring_find(const struct keyring *r, enum key_source source, const uint8_t id[KEY_ID_BYTES])
{
	for (size_t i = 0; i < r->count; i++)
		if (r->keys[i].source == source && memcmp(r->keys[i].id, id, KEY_ID_BYTES) == 0)
			return &r->keys[i];
	return NULL;
}

bool keyring_check(const struct keyring *r, const struct config *c)
{
	if (r->is_writing || c->encryption_mode == ENCRYPT_NONE)
		return true;
	EVENT(LEVEL_ERROR, "config", F_TEXT("where", "MNEMONIC"),
	      F_TEXT("error", "is not set. Set MNEMONIC, or BACKUP_ENCRYPTION=none to store plain dumps"));
	return false;
}
