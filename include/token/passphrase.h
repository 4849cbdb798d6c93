/*
 * token/passphrase.h - asks for a passphrase, or reads it.
 *
 * Tests: test/system/test_token_keys.py
 */
#ifndef TOKEN_PASSPHRASE_H
#define TOKEN_PASSPHRASE_H

#include "lib/util.h"

#define PASSPHRASE_MAX 1023 /* bytes, without the NUL */

/*
 * The first line of the file; "-" is standard input. NULL: from the terminal,
 * without echo; what says whose it is. Whoever gets one wipes it. -1: complained of.
 */
MUST_CHECK int passphrase_get(const char *file, const char *what, char out[PASSPHRASE_MAX + 1]);

#endif
