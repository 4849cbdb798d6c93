/*
 * backup/secret.h - bytes that must not be seen: mnemonic, keys, passwords.
 *
 * They live on locked pages that no core file and no swap gets (OpenSSL's
 * secure heap), and are wiped when freed. When the heap is full or could not
 * be locked they live on the ordinary heap and are wiped all the same.
 *
 * Rules: backup specification, 9.1, 9.2.  Tests: test/unit/test_backup_config.c
 */
#ifndef BACKUP_SECRET_H
#define BACKUP_SECRET_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/span.h"

struct secret {
	char *bytes; /* owned; a NUL follows the last byte; NULL: not set */
	size_t len;
};

/* Once, before the first secret. false: the pages could not be locked. */
bool secret_heap_open(void);

void *secret_alloc(size_t bytes); /* zeroed; never NULL */
void secret_release(void *p, size_t bytes); /* wipes; NULL is fine */

void secret_set(struct secret *, const void *bytes, size_t len); /* wipes what was there */
void secret_copy(struct secret *to, const struct secret *from);
void secret_free(struct secret *); /* harmless when not set */

static inline struct span secret_span(const struct secret *s)
{
	return span_of(s->bytes ? s->bytes : "", s->len);
}

#endif
