/*
 * backup/s3_credentials.h - access keys, also such that expire.
 *
 * Sources, in the order of S3_KEYS_AUTO: our settings, AWS_ACCESS_KEY_ID of
 * the environment, the shared credentials file, web identity (STS), the
 * container's endpoint, instance metadata version 2. Keys are fetched on the
 * loop and again five minutes before they expire.
 *
 * Rules: backup specification, section 10.9.  Tests: test/system/test_backup_credentials.py
 */
#ifndef BACKUP_S3_CREDENTIALS_H
#define BACKUP_S3_CREDENTIALS_H

#include <stdbool.h>
#include <stddef.h>

#include "backup/s3.h"

struct http;
struct s3_store;
struct s3_keys;

struct s3_key_set {
	char *access_key, *secret_key, *session_token; /* owned, wiped; session_token may be NULL */
	int64_t expires;			       /* 0: never */
};

/* NULL: why. http is borrowed; region is borrowed and read when it is needed. */
struct s3_keys *s3_keys_new(struct s3_store *, struct loop *, struct http *, const struct s3_settings *,
			    const char *region, char *why, size_t why_size);
void s3_keys_free(struct s3_keys *);
/* Keys to sign with now, or NULL: s3_keys_fetch() first. */
const struct s3_key_set *s3_keys_now(const struct s3_keys *);
/* Ends with s3_keys_came(), on the loop. */
void s3_keys_fetch(struct s3_keys *);
/* The store says that they have expired. false: there is no other source. */
bool s3_keys_expire(struct s3_keys *);
/* Ends what is under way, before the http goes. */
void s3_keys_stop(struct s3_keys *);

#endif
