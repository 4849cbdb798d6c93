/*
 * config/auth_file.h - users and their secrets (configuration specification,
 * section 9), a counted part of the snapshot.
 *
 * All text lives in the bytes of the file, taken apart in place and wiped
 * when the last snapshot that shares the part goes. A malformed line ends
 * the reading; what stands above it stays in force.
 *
 * Wallet names are put into lower case; a wrong checksum is an error.
 *
 * Tests: test/unit/test_config.c, test/fuzz/fuzz_ini.c
 */
#ifndef CONFIG_AUTH_FILE_H
#define CONFIG_AUTH_FILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"
#include "lib/file.h"
#include "lib/hash.h"

#define AUTH_FILE_MAX ((size_t)1 << 30)

struct auth_file {
	atomic_uint refs;
	char *path; /* owned */
	struct file_text source; /* owned; the rows point into it */
	struct stored_secret *rows; /* owned; sorted by user */
	size_t count;
	struct hash by_user;
	struct wallet_address *wallets; /* owned; sorted */
	size_t wallet_count;
};

/*
 * Takes the text over, in any case. goes_on: a malformed line does not end it,
 * for whoever wants to hear of all. NULL: a wallet name is spelled wrong, and
 * each has been logged.
 */
struct auth_file *auth_file_parse(struct file_text *source, const char *path, bool goes_on);

/*
 * What auth_file says now; known (may be NULL) is shared when it is still
 * true, and when the file cannot be read, which is logged and no failure.
 * false: as auth_file_parse().
 */
MUST_CHECK bool auth_file_load(const char *path, struct auth_file *known, bool goes_on, struct auth_file **out);
struct auth_file *auth_file_ref(struct auth_file *); /* NULL is fine, here and below */
void auth_file_unref(struct auth_file *);

/* Any spelling of a wallet name finds its line. */
const struct stored_secret *auth_file_find(const struct auth_file *, const char *user);

#endif
