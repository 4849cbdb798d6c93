/*
 * backup/digest.h - hashes of a body, made in one walk over it.
 *
 * SHA-256 for the signature and one more for the store, block by block, so
 * that both read the bytes while the cache has them.
 *
 * Tests: test/unit/test_backup_answers.c
 */
#ifndef BACKUP_DIGEST_H
#define BACKUP_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/span.h"

enum digest_kind { DIGEST_NONE, DIGEST_MD5, DIGEST_SHA256, DIGEST_CRC32C };

struct digest; /* owned by whoever made it */
/* signs: SHA-256 is wanted. NULL: this OpenSSL does not make MD5 (FIPS). */
struct digest *digest_new(bool signs, enum digest_kind);
void digest_feed(struct digest *, struct span);
/* hex gets the SHA-256 (64 digits) if it is wanted, base64 the other; both NUL-terminated. Frees it. */
void digest_end(struct digest *, char hex[65], char base64[64]);
void digest_free(struct digest *);

uint32_t crc32c(uint32_t crc, const void *bytes, size_t len); /* start with 0 */

#endif
