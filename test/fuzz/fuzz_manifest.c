/* Bytes as a manifest, with and without keys. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backup/manifest.h"

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
	if (manifest_read(span_of(bytes, len), &one, &m) == MANIFEST_OK && !strstr((const char *)bytes, "mac"))
		abort();
	manifest_free(m);
	return 0;
}
