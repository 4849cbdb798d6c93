/*
 * config/ident.h - user name maps (configuration specification, section 12;
 * ecdsa-login.md section 19), a counted part of the snapshot.
 *
 *	MAPNAME SYSTEM-USER DATABASE-USER [valid-until=RFC 3339]
 *
 * SYSTEM-USER is a name in a certificate, a Unix user or a wallet. Lines of
 * one map add up. A bad line is skipped with a warning; a wallet with a wrong
 * checksum and a date that is none refuse the load, since both would let the
 * next line of that wallet decide.
 *
 * Tests: test/unit/test_hba.c, test/fuzz/fuzz_hba.c
 */
#ifndef CONFIG_IDENT_H
#define CONFIG_IDENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/util.h"
#include "wallet/address.h"

#define IDENT_FILE_MAX ((size_t)256 << 20)

struct ident_line {
	char *system_user;   /* owned */
	char *database_user; /* owned; NULL: all */
	int64_t valid_until; /* Unix seconds; the first at which it no longer counts */
};

struct ident_map {
	char *name;		  /* owned */
	struct ident_line *lines; /* owned; in the order of the file */
	size_t count;
	struct ident_wallet *wallets; /* owned; sorted: finds the lines of a wallet */
	size_t wallet_count;
};

struct ident_maps;

/* text is taken apart in place. NULL: refused, and logged. */
struct ident_maps *ident_parse(char *text, size_t len, const char *path);
/* path NULL or "": no maps. An unreadable file is logged and gives no maps either. NULL: refused. */
struct ident_maps *ident_load(const char *path);
struct ident_maps *ident_ref(struct ident_maps *); /* NULL is fine, here and below */
void ident_unref(struct ident_maps *);
const struct ident_map *ident_find(const struct ident_maps *, const char *name);

/* The line is still good and lets its system user be this database user. */
bool ident_line_allows(const struct ident_line *, const char *user, int64_t now);

enum ident_verdict { IDENT_NO_LINE, IDENT_EXPIRED, IDENT_FOUND };
/*
 * May the wallet enter? user NULL: under its own name; *role is then what its
 * first good line names, NULL for all. Else as this role, which some line of
 * it must name.
 */
enum ident_verdict ident_judge_wallet(const struct ident_map *, const struct wallet_address *, const char *user,
				      int64_t now, const char **role);

#endif
