/*
 * backup/sigv4.h - AWS signature version 4, header style, service s3.
 *
 * Pure functions of what is sent and when. The same encoded path and query
 * that are signed go into the URL, so that nobody can disagree about them.
 * Every header that is handed in is signed.
 *
 * Rules: backup specification, section 11.
 * Tests: test/unit/test_backup_names.c (with the published vectors), test/system/test_backup_s3.py
 */
#ifndef BACKUP_SIGV4_H
#define BACKUP_SIGV4_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "lib/buf.h"

#define SIGV4_TIME_SIZE 17 /* "20260101T000000Z" with its NUL */
#define SIGV4_EMPTY_HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SIGV4_UNSIGNED "UNSIGNED-PAYLOAD"

struct sigv4_pair {
	const char *name, *value; /* borrowed; of a query raw, not encoded */
};

struct sigv4_request {
	const char *method;
	const char *path; /* raw bytes, "/bucket/key"; "" means "/" */
	const struct sigv4_pair *query;
	size_t query_count;
	const struct sigv4_pair *headers; /* host among them; any order, any case */
	size_t header_count;
	const char *payload_hash; /* hex SHA-256, or SIGV4_UNSIGNED */
};

/* The signing key of a day, kept so that the secret is used once a day. Zeroed: empty. */
struct sigv4_key {
	bool is_set;
	char date[9], region[64];
	unsigned char key[32];
};

struct sigv4_signer {
	const char *access_key, *secret_key, *region; /* borrowed */
	struct sigv4_key *kept;			      /* borrowed; whoever changes the secret wipes it */
};

void sigv4_time(time_t, char out[SIGV4_TIME_SIZE]);
/* Bytes outside A-Z a-z 0-9 - . _ ~ (and '/' when keep_slash) as %XX. */
void sigv4_encode(struct buf *, const char *raw, bool keep_slash);
/* name=value&..., encoded and sorted. */
void sigv4_query(struct buf *, const struct sigv4_pair *, size_t count);
/* The canonical request; signed_names gets the names joined by ';'. */
void sigv4_canonical(const struct sigv4_request *, struct buf *out, struct buf *signed_names);
/* What is signed. */
void sigv4_string_to_sign(struct span canonical, const char *when, const char *region, struct buf *out);
/* The value of the Authorization header. */
void sigv4_authorize(const struct sigv4_request *, const struct sigv4_signer *, const char when[SIGV4_TIME_SIZE],
		     struct buf *out);
void sigv4_key_wipe(struct sigv4_key *);

#endif
