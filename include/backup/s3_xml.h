/*
 * backup/s3_xml.h - what the body of an S3 answer says.
 *
 * Pure: bytes in, a document out. The root element decides what it is; an
 * <Error> is possible everywhere. Names are matched without their namespace,
 * unknown elements are skipped. A document type declaration ends the reading
 * (no entities), as do a depth above 16, a text above 8 KiB, and more bytes
 * than the caller allows.
 *
 * Items of a listing are kept until the document has proved whole: a page is
 * told entirely or not at all.
 *
 * Rules: backup specification, section 10.10.
 * Tests: test/unit/test_backup_answers.c, test/fuzz/fuzz_s3_xml.c
 */
#ifndef BACKUP_S3_XML_H
#define BACKUP_S3_XML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/storage.h"
#include "lib/buf.h"

#define S3_XML_MAX ((size_t)4 << 20)
#define S3_ERROR_MAX ((size_t)64 << 10)

enum s3_root {
	S3_ROOT_NONE, /* nothing came yet */
	S3_ROOT_ERROR,
	S3_ROOT_LIST,	      /* ListBucketResult */
	S3_ROOT_LIST_UPLOADS, /* ListMultipartUploadsResult */
	S3_ROOT_INITIATE,     /* InitiateMultipartUploadResult */
	S3_ROOT_COMPLETE,     /* CompleteMultipartUploadResult */
	S3_ROOT_ASSUME_ROLE,  /* AssumeRoleWithWebIdentityResponse */
	S3_ROOT_OTHER
};

struct s3_doc {
	enum s3_root root;
	/* Error; cut to fit */
	char code[64], message[512], request_id[128], region[64];
	/* All owned; NULL when they were not there. */
	char *upload_id;			     /* of Initiate */
	char *token;				     /* NextContinuationToken */
	char *next_key, *next_upload_id;	     /* markers of ListMultipartUploads */
	char *access_key, *secret_key, *session_token; /* AssumeRole; wiped */
	int64_t expires;			     /* AssumeRole; 0: not told */
	bool is_truncated;
	bool is_url_encoded; /* keys and markers, as the answer says */
	size_t items;

	const char *fault; /* why the reading ended; NULL: none */
	struct s3_reader *reader; /* owned */
};

/* max: bytes of the whole document. */
void s3_doc_start(struct s3_doc *, size_t max);
/* false: it has ended badly, see fault; what comes after is not read. */
bool s3_doc_feed(struct s3_doc *, struct span bytes);
/* After the last byte: true when it was one whole document. */
bool s3_doc_finish(struct s3_doc *);
void s3_doc_free(struct s3_doc *); /* harmless twice, and on a zeroed one */

struct s3_item {
	const char *key; /* decoded; borrowed until the next call */
	const char *upload_id; /* of uploads */
	uint64_t size;
	int64_t when; /* LastModified or Initiated; 0: not told */
	const char *etag;
};
/* Walks the items of a finished document: *at starts at 0. false: no more. */
bool s3_doc_next(struct s3_doc *, size_t *at, struct s3_item *);
/* The markers, decoded as the keys are. In place, once. */
void s3_doc_decode_markers(struct s3_doc *);

/* %XX and '+', in place. What is no escape stays. Returns the new length; a decoded NUL ends the text there. */
size_t s3_url_decode(char *text);

#endif
