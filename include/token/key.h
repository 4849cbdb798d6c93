/*
 * token/key.h - where pg-ecdsa-token gets a private key from.
 *
 * A key is text: 64 hex digits, 0x in front if you like, white space behind.
 * It comes from a file, a descriptor or the environment, never from the
 * command line, which every user of the machine can read.
 *
 * All functions here tell the user on standard error what went wrong, and
 * leave no copy of the key but the one they return.
 *
 * Tests: test/system/test_token.py
 */
#ifndef TOKEN_KEY_H
#define TOKEN_KEY_H

#include <stdbool.h>

#include "lib/util.h"
#include "wallet/sign.h"

/* path "-" is standard input. Warns when others may read the file. -1: no valid key there. */
MUST_CHECK int key_from_file(const char *path, struct wallet_key *);
/* Blanks the variable's value in our own environment. -1: not set, or no valid key. */
MUST_CHECK int key_from_environment(const char *variable, struct wallet_key *);
/* Makes a key and keeps it at path, mode 0600, on disk before it returns. -1: exists already, or cannot be written. */
MUST_CHECK int key_create_file(const char *path, struct wallet_key *);
/* Is this word a private key that somebody put on the command line? Also behind "--option=". */
bool key_is_spelled_in(const char *argument);

#endif
