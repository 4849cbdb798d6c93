/*
 * token/options.h - the command line of pg-ecdsa-token.
 *
 * Tests: test/system/test_token.py, test/system/test_token_formats.py
 */
#ifndef TOKEN_OPTIONS_H
#define TOKEN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "token/connector.h"
#include "token/grant.h"
#include "token/output.h"

enum action { ACTION_SIGN, ACTION_ADDRESS, ACTION_NEW, ACTION_CHECK, ACTION_CONNECT, ACTION_HELP, ACTION_VERSION };

/* Text is borrowed from argv; NULL: not given. */
struct options {
	enum action action;
	const char *new_file, *check_user, *listen;
	/* where the key is */
	const char *key_file, *key_variable, *keystore, *passphrase_file, *signer, *wallet;
	int signer_timeout;
	/* the proof, and its destination */
	struct grant grant;
	enum output_kind output;
	struct destination destination;
	bool has_at, reuses;
	int64_t at;
	/* --check */
	int64_t window, skew, max_lifetime;
	/* --connect */
	enum connector_tls tls;
	const char *ca_file, *listen_password_file;
};

extern const char options_usage[];

/* Before anything could repeat a word in a message: keys are blanked, and refused. */
bool options_hold_keys(int argc, char **argv);
/* false: complained already. */
bool options_parse(int argc, char **argv, struct options *);

#endif
