/*
 * backup/s3.h - a store that speaks the S3 protocol.
 *
 * The settings are what the configuration says, already parsed; they are
 * copied. Secrets are copied into memory that is wiped, and are in no message.
 *
 * Behind it: backup/http.c (libcurl on the loop), backup/sigv4.c (signatures),
 * backup/s3_xml.c (answers), backup/s3_call.c (one request with its retries),
 * backup/s3_store.c and backup/s3_upload.c (the operations),
 * backup/s3_credentials.c (keys that change).
 *
 * Rules: backup specification, section 10.
 * Tests: test/system/test_backup_s3.py, test/system/test_backup_faults.py
 */
#ifndef BACKUP_S3_H
#define BACKUP_S3_H

#include "backup/storage.h"

/* Both in the order of the words that the configuration knows. What the body carries beside its signed SHA-256. */
enum s3_body_check { S3_CHECK_NONE, S3_CHECK_MD5, S3_CHECK_SHA256, S3_CHECK_CRC32C };

enum s3_key_source {
	S3_KEYS_STATIC, /* access_key, secret_key, session_token */
	S3_KEYS_FILE,	/* AWS_SHARED_CREDENTIALS_FILE or ~/.aws/credentials, AWS_PROFILE */
	S3_KEYS_CONTAINER,
	S3_KEYS_IMDS,
	S3_KEYS_WEB_IDENTITY,
	S3_KEYS_AUTO /* the first of them that has any; see backup/s3_credentials.c */
};

/* NULL and 0 mean unset throughout. Zeroed, with endpoint, bucket and keys, is a usable set. */
struct s3_settings {
	const char *endpoint; /* scheme://host[:port][/base/path] */
	const char *bucket;
	const char *region; /* "auto" */
	enum s3_key_source credentials;
	const char *access_key, *secret_key, *session_token;
	/* AWS_ACCESS_KEY_ID and so on, for S3_KEYS_AUTO: whoever reads the environment takes secrets out of it. */
	const char *env_access_key, *env_secret_key, *env_session_token;
	bool is_virtual_host; /* addressing = virtual */
	const char *ca_file;
	bool is_insecure;      /* no verification of certificates: the caller has asked twice */
	bool may_use_http;     /* plain http to a host that is not loopback */
	bool is_unsigned_body; /* UNSIGNED-PAYLOAD, over TLS only */
	enum s3_body_check checksum;
	const char *storage_class, *sse, *sse_kms_key, *tags, *acl;
	uint64_t upload_rate, download_rate;		 /* bytes a second */
	usec_t connect_timeout, stall_timeout, request_timeout; /* 10 s, 60 s, 15 min */
	unsigned attempts;				 /* 8 */
	unsigned concurrency;				 /* 2 */
	unsigned page_size;				 /* 1000 */
	usec_t backoff_first, backoff_most;		 /* 0.5 s, 30 s */
	const char *user_agent;
};

/* loop is borrowed. NULL: why says what is wrong with the settings (usage, not network: nothing is sent yet). */
struct storage *s3_store_new(struct loop *, const struct s3_settings *, char *why, size_t why_size);

/* Once a process, before the first store and after the last. */
void s3_library_start(void);
void s3_library_stop(void);

#endif
