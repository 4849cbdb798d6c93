/*
 * token/grant.h - one login password, in any format, made of what the command
 * line says and signed by a signer (ecdsa-login.md sections 5, 14 to 16).
 *
 * Tests: test/system/test_token_formats.py
 */
#ifndef TOKEN_GRANT_H
#define TOKEN_GRANT_H

#include <stdint.h>

#include "lib/buf.h"
#include "lib/util.h"
#include "token/signer.h"
#include "wallet/check.h"

#define GRANT_RESOURCES_MAX (SIWE_RESOURCES_MAX - 1) /* one is the database */

/* All text borrowed; NULL: not given. */
struct grant {
	enum ecdsa_format format;
	const char *server, *database, *role; /* of siwe too: its database URI */
	const char *nonce;		      /* NULL: a random one each time */
	int64_t life;			      /* seconds; not of timestamp */
	/* siwe alone */
	const char *domain, *uri, *statement, *chain, *request_id;
	const char *resources[GRANT_RESOURCES_MAX];
	size_t resource_count;
};

/*
 * Appends the password and a NUL; at in Unix seconds. database: NULL, or the
 * one that is meant this time. -1: complained of.
 */
MUST_CHECK int grant_make(const struct grant *, const struct signer *, int64_t at, const char *database, struct buf *out);
/* Has it what its format needs? false: complained of. */
bool grant_is_complete(const struct grant *);

#endif
