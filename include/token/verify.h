/*
 * token/verify.h - says whether the pooler would take a password, and if not,
 * why, in words for people.
 *
 * What the pooler's settings say comes from the command line. A binding about
 * which it says nothing is not judged, and that is said.
 *
 * Tests: test/system/test_token.py, test/system/test_token_formats.py
 */
#ifndef TOKEN_VERIFY_H
#define TOKEN_VERIFY_H

#include <stdint.h>

/* NULL: not given. */
struct expectation {
	const char *user;    /* as the client sends it: a wallet, or with wallet given a role */
	const char *wallet;  /* role login: who must have signed */
	const char *server_names, *siwe_domains, *chain_ids; /* lists, as the settings have them */
	const char *database, *role;
	int64_t window, skew, max_lifetime; /* seconds */
};

/* The password comes from standard input. The exit status: 0 it would, 1 it would not or cannot be read. */
int verify_password(const struct expectation *, int64_t now);

#endif
