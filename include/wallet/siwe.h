/*
 * wallet/siwe.h - Sign-In with Ethereum: the text of EIP-4361, and what it
 * says about databases (ecdsa-login.md section 15).
 *
 *	[scheme://]DOMAIN wants you to sign in with your Ethereum account:
 *	ADDRESS
 *
 *	[STATEMENT]
 *
 *	URI: ...
 *	Version: 1
 *	Chain ID: ...
 *	Nonce: ...
 *	Issued At: ...
 *	[Expiration Time: ...]
 *	[Not Before: ...]
 *	[Request ID: ...]
 *	[Resources:
 *	- URI ...]
 *
 * Order is fixed, lines end with LF alone, nothing stands behind the last.
 * After parsing the text is written again and compared. Pure; spans point
 * into the text, and one whose ptr is NULL was not there.
 *
 * Tests: test/unit/test_formats.c, test/fuzz/fuzz_siwe.c, test/system/test_wallet_siwe.py
 */
#ifndef WALLET_SIWE_H
#define WALLET_SIWE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/span.h"
#include "wallet/address.h"

#define SIWE_TEXT_MAX 2048
#define SIWE_RESOURCES_MAX 16

struct siwe_message {
	struct span scheme; /* NULL: none */
	struct span domain; /* host[:port] */
	struct wallet_address address;
	struct span statement; /* NULL: none; it may be empty */
	struct span uri, chain_id, nonce;
	struct span issued_text, expires_text, not_before_text; /* the last two may be NULL */
	int64_t issued, expires, not_before;			/* Unix seconds, where their text is there */
	struct span request_id;					/* NULL: none; it may be empty */
	bool has_resources;					/* the line Resources: is there */
	struct span resources[SIWE_RESOURCES_MAX];
	size_t resource_count;
};

/* false: it is not such a text, or a value in it may not be. */
bool siwe_parse(struct span text, struct siwe_message *);
/* What siwe_parse() takes, from values as it gives them. Returns the length, which may exceed cap: then it is cut. */
size_t siwe_write(const struct siwe_message *, char *out, size_t cap);

/* Parts of a setting: a domain as it may stand in the message, a scheme of a URI. */
bool siwe_domain_is_good(struct span);
bool siwe_scheme_is_good(struct span);

/*
 * postgresql://SERVER/DATABASE[?role=ROLE], or postgres://. Is uri of one of
 * the two schemes? Then it says something about databases, if only something
 * that matches nothing.
 */
bool siwe_names_database(struct span uri);
/*
 * Does it name one of these servers (a comma list) and this database, or all
 * of its databases? role is then filled in: decoded, with a NUL, or "" for
 * any. role_cap must exceed the length of uri.
 */
bool siwe_uri_matches(struct span uri, const char *server_names, const char *database, char *role, size_t role_cap);

#endif
