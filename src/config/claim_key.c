#include "config/claim_key.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/file.h"
#include "lib/hex.h"
#include "lib/log.h"
#include "lib/mem.h"

#define SETTING "ecdsa_claim_key_file"
#define FILE_BYTES_MAX 128

/* NULL, or what is wrong. */
static const char *read_key(const struct file_text *f, uint8_t out[CLAIM_KEY_BYTES])
{
	size_t len = f->len;

	if (!S_ISREG(f->identity.mode))
		return "is no file";
	if (f->identity.mode & (S_IRWXG | S_IRWXO))
		return "may be used by others, its mode must be 0600";
	if (len == CLAIM_KEY_BYTES) {
		memcpy(out, f->text, CLAIM_KEY_BYTES);
		return NULL;
	}
	while (len > 0 && (f->text[len - 1] == '\n' || f->text[len - 1] == '\r'))
		len--;
	if (len != 2 * CLAIM_KEY_BYTES || !hex_decode(f->text, out, CLAIM_KEY_BYTES))
		return "does not hold a key: 32 bytes or 64 hexadecimal digits are expected";
	return NULL;
}

struct claim_key *claim_key_load(const char *path, const char *where)
{
	struct claim_key *key = xcalloc(1, sizeof(*key));
	struct file_text f;
	const char *fault;

	atomic_init(&key->refs, 1);
	if (file_read(path, FILE_BYTES_MAX, NULL, &f) < 0) {
		log_error("%s: could not read \"%s\": %s%s", SETTING, path, strerror(errno), where);
		free(key);
		return NULL;
	}
	fault = read_key(&f, key->bytes);
	file_text_free(&f);
	if (!fault)
		return key;
	log_error("%s: \"%s\" %s%s", SETTING, path, fault, where);
	claim_key_unref(key);
	return NULL;
}

struct claim_key *claim_key_ref(struct claim_key *key)
{
	if (key)
		atomic_fetch_add_explicit(&key->refs, 1, memory_order_relaxed);
	return key;
}

void claim_key_unref(struct claim_key *key)
{
	/* acq_rel: whoever frees has seen everything the others did with it. */
	if (!key || atomic_fetch_sub_explicit(&key->refs, 1, memory_order_acq_rel) > 1)
		return;
	mem_wipe(key->bytes, sizeof(key->bytes));
	free(key);
}
