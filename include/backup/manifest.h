/*
 * backup/manifest.h - one JSON object beside each backup, that tells about it.
 *
 * A manifest is advice: it never decides keys, formats or SQL. It carries a
 * MAC over itself without `mac`, keys sorted, without white space. Fields
 * that this version does not know are kept when one is read and written
 * again. No secrets are in it.
 *
 * Rules: backup specification, section 12.3.
 * Tests: test/unit/test_backup_names.c, test/fuzz/fuzz_manifest.c
 */
#ifndef BACKUP_MANIFEST_H
#define BACKUP_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/span.h"
#include "lib/util.h"

#define MANIFEST_MAX ((size_t)4 << 20) /* bytes of the document */
#define MANIFEST_MAC_KEY 32

struct manifest; /* owned by whoever made it */

struct keyring;

/* HKDF with info `backup-manifest`, of the mnemonic in use first, then of earlier ones. */
struct manifest_keys {
	const uint8_t *const *key; /* borrowed; MANIFEST_MAC_KEY bytes each */
	size_t count;		   /* 0: nothing is encrypted, nothing carries a MAC */
	const struct keyring *ring; /* borrowed; opens sealed manifests; NULL: none is opened */
	bool seals;		   /* new ones are sealed with the ring's first key */
};

/* Fields, written once; S text, N number (at most 2^63 - 1), B true or false. */
#define MANIFEST_FIELDS(S, N, B) \
	N(schema) S(run_id) S(tool) S(tool_version) S(object) N(size) S(sha256) N(format) S(encryption) S(key_id) \
	N(plaintext_size) S(started_at) S(finished_at) N(duration_ms) S(database) N(server_version) S(pg_dump_version) \
	S(system_identifier) S(start_lsn) S(end_lsn) N(timeline) B(in_recovery) N(database_size) N(relation_count) \
	N(parts) N(part_size) S(host) S(label) B(suspect) S(unchanged_at) \
	N(tup_inserted) N(tup_updated) N(tup_deleted) S(stats_reset) S(encoding) S(collate) S(ctype)

struct manifest *manifest_new(void); /* never NULL; schema is 1 */
void manifest_free(struct manifest *);

/* A name that is not in the list above, or of another type, is our bug. NULL text takes the field out. */
void manifest_set_text(struct manifest *, const char *field, const char *utf8);
void manifest_set_number(struct manifest *, const char *field, int64_t);
void manifest_set_flag(struct manifest *, const char *field, bool);
void manifest_add_row_count(struct manifest *, const char *table, int64_t rows);
/* result: "ok" or "failed". Only the newest 50 are kept. at: RFC 3339. */
void manifest_add_verified(struct manifest *, const char *level, const char *at, const char *result,
			   int64_t duration_ms);

const char *manifest_text(const struct manifest *, const char *field); /* borrowed; NULL: not there */
bool manifest_number(const struct manifest *, const char *field, int64_t *);
bool manifest_flag(const struct manifest *, const char *field); /* false when not there */
/* false: not recorded. */
bool manifest_row_count(const struct manifest *, const char *table, int64_t *rows);
size_t manifest_row_tables(const struct manifest *, void (*each)(void *ctx, const char *table, int64_t rows),
			   void *ctx);

struct manifest_verdict {
	bool is_failed;	    /* the last verification failed */
	bool is_proven;	    /* a drill or archive check passed, and none failed after it */
	const char *level;  /* of the last one; borrowed; NULL: none yet */
	const char *at, *result;
};
struct manifest_verdict manifest_verified(const struct manifest *);

/* The document to store, with its MAC by the first key. Owned by the caller (free). */
char *manifest_write(const struct manifest *, const struct manifest_keys *);

enum manifest_result { MANIFEST_OK, MANIFEST_MALFORMED, MANIFEST_UNSIGNED, MANIFEST_FORGED };
/* *out is NULL unless MANIFEST_OK. With keys, a document without or with a wrong MAC is not believed. */
MUST_CHECK enum manifest_result manifest_read(struct span text, const struct manifest_keys *, struct manifest **out);

/* As they are stored: the document, or that sealed as format 2 with content 3. */
struct buf;
void manifest_pack(const struct manifest *, const struct manifest_keys *, struct buf *out);
MUST_CHECK enum manifest_result manifest_unpack(struct span stored, const struct manifest_keys *, struct manifest **out);

#endif
