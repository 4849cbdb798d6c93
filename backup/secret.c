#include "backup/secret.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"

/* What a container may lock by default, 64 KiB, holds some dozens of secrets. */
#define HEAP_BYTES 65536
#define SMALLEST 32

bool secret_heap_open(void)
{
	return CRYPTO_secure_malloc_initialized() || CRYPTO_secure_malloc_init(HEAP_BYTES, SMALLEST) == 1;
}

void *secret_alloc(size_t bytes)
{
	void *p = CRYPTO_secure_malloc_initialized() ? OPENSSL_secure_zalloc(bytes ? bytes : 1) : NULL;

	return p ? p : xcalloc(1, bytes);
}

void secret_release(void *p, size_t bytes)
{
	if (!p)
		return;
	if (CRYPTO_secure_malloc_initialized() && CRYPTO_secure_allocated(p)) {
		OPENSSL_secure_clear_free(p, bytes ? bytes : 1);
		return;
	}
	mem_wipe(p, bytes);
	free(p);
}

void secret_set(struct secret *s, const void *bytes, size_t len)
{
	char *fresh = secret_alloc(len + 1);

	memcpy(fresh, bytes, len);
	secret_free(s);
	s->bytes = fresh;
	s->len = len;
}

void secret_copy(struct secret *to, const struct secret *from)
{
	if (from->bytes)
		secret_set(to, from->bytes, from->len);
	else
		secret_free(to);
}

void secret_free(struct secret *s)
{
	secret_release(s->bytes, s->len + 1);
	*s = (struct secret){0};
}
