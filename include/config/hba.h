/*
 * config/hba.h - who may connect from where, and how he must prove himself
 * (configuration specification, section 11; ecdsa-login.md section 19), a
 * counted part of the snapshot.
 *
 * A bad line is skipped with a warning. What refuses the load: a wallet with
 * a wrong checksum, and options of method ecdsa that cannot be had, because
 * a later and laxer line would then decide.
 *
 * Tests: test/unit/test_hba.c, test/fuzz/fuzz_hba.c
 */
#ifndef CONFIG_HBA_H
#define CONFIG_HBA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/ident.h"
#include "lib/file.h"
#include "lib/util.h"
#include "proto/startup.h"

#define HBA_FILE_MAX ((size_t)16 << 20) /* bytes of one file; four times that of all @files of a load */
#define HBA_INCLUDE_DEPTH 10
#define HBA_INCLUDES_MAX 100000 /* reads of @files in one load */

enum hba_type { HBA_LOCAL, HBA_HOST, HBA_HOSTSSL, HBA_HOSTNOSSL };
enum hba_method { /* the order of the words in hba.c */
	HBA_TRUST, HBA_REJECT, HBA_MD5, HBA_PASSWORD, HBA_PEER, HBA_CERT, HBA_SCRAM, HBA_LDAP, HBA_ECDSA
};

/* A DATABASE or USER field. */
struct hba_names {
	char **names; /* owned; sorted; wallet names in lower case */
	size_t count;
	bool is_all, is_same_user, is_replication;
};

/* What an ecdsa line says instead of the settings ecdsa_formats, ecdsa_window, ... */
struct hba_ecdsa {
	bool has_formats, has_window, has_max_lifetime, has_replay, has_tls;
	uint32_t formats; /* BIT(enum ecdsa_format) */
	usec_t window, max_lifetime;
	int replay;	 /* enum replay_mode */
	int require_tls; /* enum require_tls */
};

struct hba_rule {
	enum hba_type type;
	int line;
	struct hba_names databases, users;
	int family; /* AF_INET or AF_INET6; 0: any */
	uint8_t address[16], mask[16];
	enum hba_method method;
	const struct ident_map *map; /* of the rules' maps; NULL: none */
	char *options;		     /* owned; ldap: the text behind the word */
	struct hba_ecdsa ecdsa;
};

struct hba_rules;

/* Reads an @file for the parser; -1: errno says why. */
typedef int hba_reader(void *ctx, const char *path, struct file_text *out);

/*
 * text is taken apart in place; path is for messages and for @file. maps
 * (NULL: none) are counted. NULL: refused, and logged.
 */
struct hba_rules *hba_parse(char *text, size_t len, const char *path, struct ident_maps *maps, hba_reader *,
			    void *ctx);
/* An unreadable file is logged and gives no rules. NULL: refused. */
struct hba_rules *hba_load(const char *path, struct ident_maps *maps);
struct hba_rules *hba_ref(struct hba_rules *); /* NULL is fine, here and below */
void hba_unref(struct hba_rules *);
size_t hba_count(const struct hba_rules *);
const struct hba_rule *hba_at(const struct hba_rules *, size_t i); /* in the order of the file */

struct hba_facts { /* about a connection */
	bool is_unix, is_tls;
	int family;
	const uint8_t *address; /* 4 or 16 bytes; not of Unix sockets */
	const char *database, *user; /* as the client asked */
	enum replication replication;
};

/* The first rule that fits, or NULL. No allocation; a binary search in each list of names. */
const struct hba_rule *hba_match(const struct hba_rules *, const struct hba_facts *);

#endif
