/*
 * config/claim_key.h - the key of the signed claim, a counted part of the
 * snapshot: 32 bytes as they are, or as 64 hexadecimal digits, in a file that
 * only its owner has rights to.
 *
 * Tests: test/unit/test_config.c
 */
#ifndef CONFIG_CLAIM_KEY_H
#define CONFIG_CLAIM_KEY_H

#include <stdatomic.h>
#include <stdint.h>

#include "wallet/claim.h"

struct claim_key {
	atomic_uint refs;
	uint8_t bytes[CLAIM_KEY_BYTES]; /* wiped with it */
};

/* NULL: it cannot be used, which is logged with where behind it. */
struct claim_key *claim_key_load(const char *path, const char *where);
struct claim_key *claim_key_ref(struct claim_key *); /* NULL is fine, here and below */
void claim_key_unref(struct claim_key *);

#endif
