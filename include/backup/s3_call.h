/*
 * backup/s3_call.h - one request to an S3 store, with all its tries. For the
 * files of the store (backup/s3_*.c) only.
 *
 *	QUEUED -> KEYS -> HASHING -> SENT -> (RESTING -> KEYS) -> ended
 *
 * A call waits for a connection and for credentials, hashes its body once,
 * signs, sends, judges the answer, and then ends, rests before it is sent
 * again, or changes what the store knows (clock, keys, region) and is sent
 * again. Each try is signed anew.
 *
 * Rules: backup specification, sections 10 and 11.
 */
#ifndef BACKUP_S3_CALL_H
#define BACKUP_S3_CALL_H

#include "backup/http.h"
#include "backup/loop.h"
#include "backup/s3.h"
#include "backup/s3_answer.h"
#include "backup/s3_xml.h"
#include "backup/sigv4.h"

#define S3_QUERY_MAX 8
#define S3_HEADERS_MAX 24

struct s3_keys;

/* What the store does not know how to do; found out by asking. */
struct s3_missing {
	bool conditional_write, list_uploads, tags;
	bool continues; /* 100 Continue: nobody waits for it any more */
};

struct s3_store {
	struct storage base;
	struct http *http;	/* owned */
	struct s3_keys *keys;	/* owned */
	struct sigv4_key day_key;
	char *scheme, *host, *base_path, *bucket; /* owned; host with its port, as it is signed */
	char *path_root;	/* owned; raw path in front of a key, with its slash */
	char *url_root;		/* owned; scheme://host */
	char region[64];
	bool is_region_auto, is_tls, is_insecure, is_unsigned_body;
	enum s3_body_check check;
	char *storage_class, *sse, *sse_kms_key, *tags, *acl; /* owned; NULL: not sent */
	usec_t request_timeout, backoff_first, backoff_most;
	unsigned attempts, page_size;
	int64_t skew; /* added to our clock when signing, seconds */
	struct s3_missing missing;

	struct list queued, waiting_for_keys, calls; /* all calls are on calls */
	struct loop_timer pump;			     /* something may leave the queue */
	unsigned running, running_max;
	unsigned parts_running, parts_max, parts_wanted; /* parts_max is lowered when the store is slow */
	unsigned slow_in_row, quick_in_row;
	unsigned silent_in_row; /* large bodies that were sent without having been asked for */
};

enum s3_call_state { S3_QUEUED, S3_KEYS, S3_HASHING, S3_SENT, S3_RESTING, S3_ENDED };

struct s3_call {
	struct list link;  /* on calls */
	struct list line;  /* on queued or waiting_for_keys */
	struct s3_store *s3;
	enum s3_call_state state;

	/* Set by the caller before s3_call_go(). */
	const char *what; /* "put", "part" ...: for logs and metrics */
	const char *method;
	const struct storage_body *body; /* borrowed */
	bool is_part;		/* counts for how many parts may be under way */
	bool is_signed_in_full; /* a body that is signed whatever is_unsigned_body says */
	bool may_be_slow;
	/* Its work may be done although it is cancelled, so then its answer is waited for a little. It may end well. */
	bool is_patient;
	unsigned attempts;	/* of the store unless changed */
	usec_t budget;		/* of the store unless changed; all tries together; a large body gets more */
	size_t doc_max;		/* of a body that is XML */
	enum s3_root expects;	/* the root that a success must have; S3_ROOT_NONE: its body is not read */
	/* Of a GET: the payload. false ends the call. NULL: not a GET of an object. */
	bool (*payload)(struct s3_call *, struct span);
	/* Called with each head of a success before its payload. false: it is not what was asked for, and result and
	 * error are set. */
	bool (*accept)(struct s3_call *);
	/* Called before each further try: adapts headers. */
	void (*again)(struct s3_call *);
	void (*ended)(struct s3_call *);
	void *owner;

	/* The outcome. */
	enum storage_result result;
	struct storage_error error;
	struct s3_answer answer; /* of the last try */
	struct s3_doc doc;	 /* of the last try */
	unsigned tries;
	bool was_ambiguous; /* some try without a clear answer may have done its work */

	/* private */
	char *key;
	struct sigv4_pair query[S3_QUERY_MAX], headers[S3_HEADERS_MAX]; /* values owned */
	size_t query_count, header_count;
	struct http_request http;
	char *url, *lines[S3_HEADERS_MAX + 4]; /* owned; of the try under way */
	bool has_slot, was_asked, is_cancelled, is_refused, is_payload, is_probe, has_probed, is_hashed;
	bool has_adjusted_clock, has_adjusted_keys, has_adjusted_region;
	unsigned damaged;
	uint64_t hashed;
	struct digest *digest; /* owned; while hashing */
	char hash[65];
	char check_value[64]; /* base64 */
	usec_t deadline, sent_at;
	struct loop_timer timer;
};

/* key NULL: the bucket itself. */
struct s3_call *s3_call_new(struct s3_store *, const char *what, const char *method, const char *key);
void s3_call_query(struct s3_call *, const char *name, const char *value);
/* Signed, and replaces one of the same name. value NULL: takes it out. */
void s3_call_header(struct s3_call *, const char *name, const char *value);
void s3_call_go(struct s3_call *);
void s3_call_cancel(struct s3_call *);
void s3_call_free(struct s3_call *); /* NULL is fine; has ended or has never gone */
/* Time may be spent anew: progress was made. */
void s3_call_renew(struct s3_call *);

/* "crc32c", "sha256": what the store is asked to check beside the signature; NULL: nothing of the kind. */
const char *s3_check_algorithm(const struct s3_store *);
void s3_pump(struct loop_timer *);

/* Keys have come, or could not be had; called by s3_credentials.c. */
void s3_keys_came(struct s3_store *, const char *trouble);
void s3_notice(struct s3_store *, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
