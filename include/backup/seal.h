/*
 * backup/seal.h - files are sealed as they are written.
 *
 *	format 1   nonce 12 | AES-256-GCM of everything | tag 16
 *	format 2   header 96 | { segment | tag 16 } ...     each segment by itself; see seal.c
 *	plain      as it is
 *
 * Plaintext is put where sealer_room() says, and what comes of it goes to the
 * sink, at most a segment and its tag at a time. Nothing is whole before
 * sealer_finish().
 *
 * Rules: backup specification, section 8.  Tests: test/unit/test_backup_vectors.c
 */
#ifndef BACKUP_SEAL_H
#define BACKUP_SEAL_H

#include <stdbool.h>
#include <stdint.h>

#include "backup/keys.h"
#include "lib/span.h"

enum file_format { FORMAT_PLAIN = 0, FORMAT_1 = 1, FORMAT_2 = 2 };
enum file_content { CONTENT_UNSPECIFIED, CONTENT_DUMP, CONTENT_GLOBALS, CONTENT_MANIFEST, CONTENT_BASE_TAR, CONTENT_WAL };

#define SEAL_TAG_BYTES 16
#define SEAL1_NONCE_BYTES 12
#define SEAL1_OVERHEAD (SEAL1_NONCE_BYTES + SEAL_TAG_BYTES)
#define SEAL1_PLAINTEXT_MAX (((uint64_t)1 << 36) - 32)
#define SEAL2_HEADER_BYTES 96
#define SEAL2_SEGMENT_MIN 4096
#define SEAL2_SEGMENT_MAX 16777216
#define SEAL2_SEGMENTS_MAX ((uint64_t)1 << 32)

enum seal_result {
	SEAL_OK,
	SEAL_STOPPED,	/* the sink said no */
	SEAL_TOO_LARGE, /* for format 1: 64 GiB; for format 2: 2^32 segments */
	SEAL_BROKEN	/* the cipher failed: our bug, or its library's */
};

/* Bytes in order, borrowed for the call. false: no more. */
typedef bool seal_sink(void *ctx, struct span bytes);

struct seal_spec {
	enum file_format format;
	const struct key *key;	    /* borrowed; not for FORMAT_PLAIN */
	enum file_content content;  /* of format 2, as all below */
	uint32_t segment_bytes;
	int64_t created_at;
	const uint8_t *random;	/* for tests: nonce or salt; NULL: chosen at random */
	uint64_t plaintext_max; /* for tests: of format 1; 0: SEAL1_PLAINTEXT_MAX */
};

struct sealer;
/* Emits nothing yet. Never NULL. */
struct sealer *sealer_new(const struct seal_spec *, seal_sink *, void *ctx);
void sealer_free(struct sealer *); /* wipes the plaintext in it */
/* Where the next plaintext goes; *len >= 1. Valid until the next call. */
uint8_t *sealer_room(struct sealer *, size_t *len);
/* n bytes have been put there. */
enum seal_result sealer_take(struct sealer *, size_t n) MUST_CHECK;
enum seal_result sealer_finish(struct sealer *) MUST_CHECK;
uint64_t sealer_plaintext(const struct sealer *); /* bytes taken so far */
/* For what is in memory already. */
enum seal_result sealer_put(struct sealer *, struct span) MUST_CHECK;

/* Bytes of the file that so much plaintext makes. */
uint64_t sealed_size(enum file_format, uint64_t plaintext, uint32_t segment_bytes);

#endif
