/* Bytes as a manifest, with and without keys; as it lies in the store, plain and sealed. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backup/keys.h"
#include "backup/manifest.h"
#include "backup/seal.h"
#include "lib/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void use(struct manifest *m)
{
	static const struct manifest_keys none = {.count = 0};
	struct manifest_verdict v = manifest_verified(m);
	struct manifest *again;
	char *text;

	if (v.level && (!v.at || !v.result))
		abort();
	manifest_add_verified(m, "head", "now", "ok", 1);
	/* What is written can be read. */
	text = manifest_write(m, &none);
	if (manifest_read(span_str(text), &none, &again) != MANIFEST_OK)
		abort();
	manifest_free(again);
	free(text);
}

static bool append(void *ctx, struct span s)
{
	buf_put(ctx, s.ptr, s.len);
	return true;
}

/* Sealed by somebody with the key, so that the document's own MAC is what remains to be judged. */
static void sealed(struct span text, enum file_content content)
{
	static struct keyring *ring;
	static struct manifest_keys keys;
	static const uint8_t *list[1];
	struct seal_spec spec = {.format = FORMAT_2, .content = content, .segment_bytes = SEAL2_SEGMENT_MIN};
	struct manifest *m, *again;
	struct sealer *s;
	struct buf file;

	if (!ring) {
		ring = keyring_of(KEY_FROM_MNEMONIC, "a mnemonic", 10);
		list[0] = ring->keys[0].manifest;
		ring->is_writing = true;
		keys = (struct manifest_keys){.key = list, .count = 1, .ring = ring, .seals = true};
	}
	/* As they are: nobody without the key can make one that is believed. */
	if (manifest_unpack(text, &keys, &m) == MANIFEST_OK)
		abort();
	spec.key = &ring->keys[0];
	buf_init(&file);
	s = sealer_new(&spec, append, &file);
	if (sealer_put(s, text) != SEAL_OK || sealer_finish(s) != SEAL_OK)
		abort();
	sealer_free(s);
	if (manifest_unpack(buf_span(&file), &keys, &m) == MANIFEST_OK)
		abort(); /* its MAC cannot be right */
	buf_clear(&file);
	/* What we seal ourselves comes back. */
	if (manifest_read(text, &(struct manifest_keys){.count = 0}, &m) == MANIFEST_OK) {
		manifest_pack(m, &keys, &file);
		if (manifest_unpack(buf_span(&file), &keys, &again) != MANIFEST_OK)
			abort();
		manifest_free(again);
	}
	manifest_free(m);
	buf_free(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static const uint8_t key[MANIFEST_MAC_KEY] = {1};
	static const uint8_t *const list[] = {key};
	static const struct manifest_keys none = {.count = 0}, one = {.key = list, .count = 1};
	struct manifest *m;

	if (manifest_read(span_of(bytes, len), &none, &m) == MANIFEST_OK)
		use(m);
	manifest_free(m);
	/* Only who knows the key can write one. */
	if (manifest_read(span_of(bytes, len), &one, &m) == MANIFEST_OK && !memmem(bytes, len, "mac", 3))
		abort();
	manifest_free(m);
	sealed(span_of(bytes, len), len > 0 && bytes[0] == '{' ? CONTENT_MANIFEST : CONTENT_DUMP);
	return 0;
}
