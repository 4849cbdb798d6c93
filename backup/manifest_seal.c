/* Manifests as they lie in the store: plain, or sealed like a backup. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backup/manifest.h"
#include "backup/seal.h"
#include "backup/unseal.h"
#include "lib/buf.h"
#include "lib/mem.h"

#define SEGMENT 65536

static bool append(void *ctx, struct span bytes)
{
	struct buf *b = ctx;

	buf_put(b, bytes.ptr, bytes.len);
	return buf_ok(b) && buf_len(b) <= 2 * MANIFEST_MAX;
}

void manifest_pack(const struct manifest *m, const struct manifest_keys *keys, struct buf *out)
{
	const struct key *key = keys->seals && keys->ring ? keyring_writer(keys->ring) : NULL;
	char *text = manifest_write(m, keys);
	const struct seal_spec spec = {.format = FORMAT_2, .key = key, .content = CONTENT_MANIFEST,
				       .segment_bytes = SEGMENT, .created_at = time(NULL)};
	struct sealer *s;

	if (!key) {
		buf_put_text(out, text);
	} else {
		s = sealer_new(&spec, append, out);
		if (sealer_put(s, span_str(text)) != SEAL_OK || sealer_finish(s) != SEAL_OK)
			abort(); /* of a few KiB in memory: the cipher itself, or no memory left */
		sealer_free(s);
	}
	free(text);
}

/* A header that says something else than "manifest" was made for another purpose. */
static bool open_sealed(struct span stored, const struct manifest_keys *keys, struct buf *out)
{
	struct unsealer *u = unsealer_new_2(keys->ring, append, out);
	bool ok = unsealer_feed(u, stored) == UNSEAL_OK && unsealer_finish(u) == UNSEAL_OK &&
		  unsealer_header(u) && unsealer_header(u)->content == CONTENT_MANIFEST;

	unsealer_free(u);
	return ok;
}

enum manifest_result manifest_unpack(struct span stored, const struct manifest_keys *keys, struct manifest **out)
{
	enum manifest_result result = MANIFEST_FORGED;
	struct buf text;

	*out = NULL;
	if (stored.len > 2 * MANIFEST_MAX)
		return MANIFEST_MALFORMED;
	if (!keys->ring || sealed_format(stored) != FORMAT_2)
		return manifest_read(stored, keys, out);
	buf_init(&text);
	if (open_sealed(stored, keys, &text))
		result = manifest_read(buf_span(&text), keys, out);
	buf_free(&text);
	return result;
}
