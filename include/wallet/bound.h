/*
 * wallet/bound.h - the text of a proof that names its server, its database
 * and its life (ecdsa-login.md section 14).
 *
 *	PostgreSQL sign-in v1
 *	server: db.example.org
 *	database: appdb
 *	wallet: 0xa8e9e6A57CcB930561c2923c303B3b4bd9b977a0
 *	role: analyst			this line may be absent
 *	issued: 1749999900
 *	expires: 1750003500
 *	nonce: k3J9x0QpZ2Lm
 *
 * One LF between lines and none at the end. After parsing the text is written
 * again and compared, so that whatever the parser overlooks is a refusal.
 * Formats bound and typed share it. Pure; spans point into the text.
 *
 * Tests: test/unit/test_formats.c, test/fuzz/fuzz_bound.c
 */
#ifndef WALLET_BOUND_H
#define WALLET_BOUND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/span.h"
#include "wallet/address.h"

#define BOUND_SERVER_MAX 255
#define BOUND_NAME_MAX 63 /* of database and role, as PostgreSQL has it */
#define WALLET_NONCE_MIN 8
#define WALLET_NONCE_MAX 128
/* Of a text whose values are within their bounds. */
#define BOUND_TEXT_MAX 1024

struct bound_message {
	struct span server, database, nonce;
	struct span role; /* ptr NULL: any */
	struct wallet_address wallet;
	int64_t issued, expires; /* Unix seconds, not negative */
};

/* false: it is not such a text, or a value in it may not be. */
bool bound_parse(struct span text, struct bound_message *);
/* Values in their bounds. Returns the length; there is no NUL. */
size_t bound_write(const struct bound_message *, char out[BOUND_TEXT_MAX]);
/* 8 to 128 letters and digits. */
bool wallet_nonce_is_good(struct span);

#endif
