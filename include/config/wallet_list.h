/*
 * config/wallet_list.h - ecdsa_allowed_addresses, a counted part of the
 * snapshot.
 *
 * A comma list of addresses, or @file with one a line, where # begins a
 * comment and valid-until=RFC 3339 may follow. Addresses are kept sorted:
 * twenty bytes each, so that a million of them is 20 MB and a lookup twenty
 * steps. Those with a date have an array of their own.
 *
 * Tests: test/unit/test_config.c
 */
#ifndef CONFIG_WALLET_LIST_H
#define CONFIG_WALLET_LIST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "lib/file.h"
#include "wallet/address.h"

#define WALLET_FILE_MAX ((size_t)1 << 30)

struct dated_wallet {
	struct wallet_address address;
	int64_t valid_until; /* Unix seconds; the first at which it is no longer allowed */
};

struct wallet_list {
	atomic_uint refs;
	char *value; /* owned; the text of the setting */
	struct file_identity identity; /* of @file */
	struct wallet_address *rows; /* owned; sorted, without doubles */
	size_t count;
	struct dated_wallet *dated; /* owned; sorted, without doubles */
	size_t dated_count;
};

enum wallet_standing { WALLET_UNKNOWN, WALLET_EXPIRED, WALLET_ALLOWED };

/*
 * NULL: something in it is wrong, and logged: where (" (FILE:LINE)" or "")
 * says where the setting stands. known (may be NULL) is shared when nothing
 * changed.
 */
struct wallet_list *wallet_list_load(const char *value, struct wallet_list *known, const char *where);
struct wallet_list *wallet_list_ref(struct wallet_list *); /* NULL is fine, here and below */
void wallet_list_unref(struct wallet_list *);
enum wallet_standing wallet_list_judge(const struct wallet_list *, const struct wallet_address *, int64_t now);

/* Sorts, drops doubles; the new count. */
size_t wallets_sort(struct wallet_address *rows, size_t count);
bool wallets_have(const struct wallet_address *rows, size_t count, const struct wallet_address *);

#endif
