#include "backup/s3_xml.h"

#include <assert.h>
#include <expat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hex.h"
#include "lib/mem.h"
#include "lib/rfc3339.h"

#define DEPTH_MAX 16
#define TEXT_MAX ((size_t)8 << 10)

/* What is being read of one Contents or Upload. */
struct item_parts {
	char *key, *etag, *upload_id; /* owned */
	uint64_t size;
	int64_t when;
};

struct s3_reader {
	XML_Parser parser;
	size_t max, seen;
	bool has_begun; /* a byte that is no white space has come */
	int depth;
	char name[DEPTH_MAX + 1][40]; /* local names of the open elements, cut */
	struct buf text;	      /* of the innermost one */
	struct item_parts item;
	struct buf items; /* packed: see put_item */
	char *scratch;	  /* the key that s3_doc_next has shown */
};

static void stop(struct s3_doc *d, const char *fault)
{
	if (d->fault)
		return;
	d->fault = fault;
	XML_StopParser(d->reader->parser, XML_FALSE);
}

static void keep(char **where, const char *text)
{
	str_wipe_free(*where);
	*where = xstrdup(text);
}

#define COPY(field, text) snprintf(field, sizeof(field), "%s", text)

static enum s3_root root_of(const char *name)
{
	static const struct {
		const char *name;
		enum s3_root root;
	} roots[] = {
		{"Error", S3_ROOT_ERROR},
		{"ErrorResponse", S3_ROOT_ERROR},
		{"ListBucketResult", S3_ROOT_LIST},
		{"ListMultipartUploadsResult", S3_ROOT_LIST_UPLOADS},
		{"InitiateMultipartUploadResult", S3_ROOT_INITIATE},
		{"CompleteMultipartUploadResult", S3_ROOT_COMPLETE},
		{"AssumeRoleWithWebIdentityResponse", S3_ROOT_ASSUME_ROLE},
	};

	for (size_t i = 0; i < ARRAY_LEN(roots); i++)
		if (strcmp(roots[i].name, name) == 0)
			return roots[i].root;
	return S3_ROOT_OTHER;
}

static void XMLCALL element_begins(void *ctx, const char *name, const char **attributes)
{
	struct s3_doc *d = ctx;
	struct s3_reader *r = d->reader;
	const char *colon = strrchr(name, ':');

	(void)attributes;
	if (d->fault)
		return;
	if (r->depth == DEPTH_MAX) {
		stop(d, "elements nested too deeply");
		return;
	}
	COPY(r->name[r->depth], colon ? colon + 1 : name);
	if (r->depth == 0)
		d->root = root_of(r->name[0]);
	r->depth++;
	buf_clear(&r->text);
}

static void XMLCALL text_comes(void *ctx, const char *text, int len)
{
	struct s3_doc *d = ctx;

	if (d->fault)
		return;
	if (buf_len(&d->reader->text) + (size_t)len > TEXT_MAX)
		stop(d, "a text of more than 8 KiB");
	else
		buf_put(&d->reader->text, text, (size_t)len);
}

static void read_error(struct s3_doc *d, const char *name, const char *text)
{
	if (strcmp(name, "Code") == 0)
		COPY(d->code, text);
	else if (strcmp(name, "Message") == 0)
		COPY(d->message, text);
	else if (strcmp(name, "RequestId") == 0)
		COPY(d->request_id, text);
	else if (strcmp(name, "Region") == 0)
		COPY(d->region, text);
}

static void read_page(struct s3_doc *d, const char *name, const char *text)
{
	if (strcmp(name, "IsTruncated") == 0)
		d->is_truncated = strcmp(text, "true") == 0;
	else if (strcmp(name, "EncodingType") == 0)
		d->is_url_encoded = strcmp(text, "url") == 0;
	else if (strcmp(name, "NextContinuationToken") == 0)
		keep(&d->token, text);
	else if (strcmp(name, "NextKeyMarker") == 0)
		keep(&d->next_key, text);
	else if (strcmp(name, "NextUploadIdMarker") == 0)
		keep(&d->next_upload_id, text);
}

static bool number_of(const char *text, uint64_t *n)
{
	*n = 0;
	for (const char *p = text; *p; p++) {
		if (*p < '0' || *p > '9' || *n > (UINT64_MAX - 9) / 10)
			return false;
		*n = *n * 10 + (uint64_t)(*p - '0');
	}
	return *text != 0;
}

static void read_item(struct s3_doc *d, const char *name, const char *text)
{
	struct item_parts *i = &d->reader->item;

	if (strcmp(name, "Key") == 0) {
		keep(&i->key, text);
	} else if (strcmp(name, "Size") == 0) {
		if (!number_of(text, &i->size))
			stop(d, "a size that is no number");
	} else if (strcmp(name, "ETag") == 0) {
		keep(&i->etag, text);
	} else if (strcmp(name, "UploadId") == 0) {
		keep(&i->upload_id, text);
	} else if (strcmp(name, "LastModified") == 0 || strcmp(name, "Initiated") == 0) {
		if (!rfc3339_parse(text, strlen(text), &i->when))
			i->when = 0;
	}
}

static void item_clear(struct item_parts *i)
{
	free(i->key);
	free(i->etag);
	free(i->upload_id);
	*i = (struct item_parts){0};
}

/* size, when, key NUL, etag NUL, upload id NUL */
static void put_item(struct s3_doc *d)
{
	struct s3_reader *r = d->reader;
	struct item_parts *i = &r->item;

	if (!i->key || (d->root == S3_ROOT_LIST_UPLOADS && !i->upload_id)) {
		stop(d, "an item without a key");
	} else {
		buf_put_u64(&r->items, i->size);
		buf_put_u64(&r->items, (uint64_t)i->when);
		buf_put_str(&r->items, i->key);
		buf_put_str(&r->items, i->etag ? i->etag : "");
		buf_put_str(&r->items, i->upload_id ? i->upload_id : "");
		d->items++;
		if (!buf_ok(&r->items))
			stop(d, "out of memory");
	}
	item_clear(i);
}

static void read_role(struct s3_doc *d, const char *name, const char *text)
{
	if (strcmp(name, "AccessKeyId") == 0)
		keep(&d->access_key, text);
	else if (strcmp(name, "SecretAccessKey") == 0)
		keep(&d->secret_key, text);
	else if (strcmp(name, "SessionToken") == 0)
		keep(&d->session_token, text);
	else if (strcmp(name, "Expiration") == 0 && !rfc3339_parse(text, strlen(text), &d->expires))
		d->expires = 0;
}

static bool is_item(const struct s3_doc *d, const char *name)
{
	return (d->root == S3_ROOT_LIST && strcmp(name, "Contents") == 0) ||
	       (d->root == S3_ROOT_LIST_UPLOADS && strcmp(name, "Upload") == 0);
}

/* depth: of the element that has ended, the root's being 1. */
static void element_read(struct s3_doc *d, int depth, const char *name, const char *text)
{
	struct s3_reader *r = d->reader;

	switch (d->root) {
	case S3_ROOT_ERROR:
		if (depth == 2 || (depth == 3 && strcmp(r->name[1], "Error") == 0))
			read_error(d, name, text);
		break;
	case S3_ROOT_LIST:
	case S3_ROOT_LIST_UPLOADS:
		if (depth == 2 && is_item(d, name))
			put_item(d);
		else if (depth == 2)
			read_page(d, name, text);
		else if (depth == 3 && is_item(d, r->name[1]))
			read_item(d, name, text);
		break;
	case S3_ROOT_INITIATE:
		if (depth == 2 && strcmp(name, "UploadId") == 0)
			keep(&d->upload_id, text);
		break;
	case S3_ROOT_ASSUME_ROLE:
		if (depth == 4 && strcmp(r->name[2], "Credentials") == 0)
			read_role(d, name, text);
		break;
	case S3_ROOT_COMPLETE:
	case S3_ROOT_NONE:
	case S3_ROOT_OTHER:
		break;
	}
}

static void XMLCALL element_ends(void *ctx, const char *name)
{
	struct s3_doc *d = ctx;
	struct s3_reader *r = d->reader;

	(void)name;
	if (d->fault)
		return;
	buf_put_u8(&r->text, 0);
	if (!buf_ok(&r->text)) {
		stop(d, "out of memory");
		return;
	}
	element_read(d, r->depth, r->name[r->depth - 1], (const char *)buf_data(&r->text));
	r->depth--;
	buf_clear(&r->text);
}

static void XMLCALL doctype_begins(void *ctx, const char *name, const char *sysid, const char *pubid, int has_internal)
{
	(void)name, (void)sysid, (void)pubid, (void)has_internal;
	stop(ctx, "a document type declaration");
}

void s3_doc_start(struct s3_doc *d, size_t max)
{
	struct s3_reader *r = xcalloc(1, sizeof(*r));

	memset(d, 0, sizeof(*d));
	d->reader = r;
	r->max = max;
	r->parser = XML_ParserCreate(NULL);
	if (!r->parser)
		abort();
	XML_SetUserData(r->parser, d);
	XML_SetElementHandler(r->parser, element_begins, element_ends);
	XML_SetCharacterDataHandler(r->parser, text_comes);
	XML_SetStartDoctypeDeclHandler(r->parser, doctype_begins);
	XML_SetParamEntityParsing(r->parser, XML_PARAM_ENTITY_PARSING_NEVER);
}

bool s3_doc_feed(struct s3_doc *d, struct span bytes)
{
	struct s3_reader *r = d->reader;

	if (d->fault)
		return false;
	r->seen += bytes.len;
	if (r->seen > r->max) {
		stop(d, "an answer that is too long");
		return false;
	}
	/* Servers keep a slow Complete alive by white space, which XML forbids in front of its declaration. */
	while (!r->has_begun && bytes.len && strchr(" \t\r\n", *bytes.ptr) && *bytes.ptr)
		bytes = span_of(bytes.ptr + 1, bytes.len - 1);
	if (!bytes.len)
		return true;
	r->has_begun = true;
	if (XML_Parse(r->parser, (const char *)bytes.ptr, (int)bytes.len, 0) != XML_STATUS_OK && !d->fault)
		d->fault = "no well-formed XML";
	return !d->fault;
}

bool s3_doc_finish(struct s3_doc *d)
{
	struct s3_reader *r = d->reader;

	if (!d->fault && !r->has_begun)
		d->fault = "an empty body";
	if (!d->fault && XML_Parse(r->parser, "", 0, 1) != XML_STATUS_OK && !d->fault)
		d->fault = "XML that ends too early";
	s3_doc_decode_markers(d);
	return !d->fault;
}

void s3_doc_free(struct s3_doc *d)
{
	struct s3_reader *r = d->reader;

	if (r) {
		XML_ParserFree(r->parser);
		item_clear(&r->item);
		buf_wipe_free(&r->text);
		buf_free(&r->items);
		free(r->scratch);
		free(r);
	}
	free(d->upload_id);
	free(d->token);
	free(d->next_key);
	free(d->next_upload_id);
	str_wipe_free(d->access_key);
	str_wipe_free(d->secret_key);
	str_wipe_free(d->session_token);
	memset(d, 0, sizeof(*d));
}

size_t s3_url_decode(char *text)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		int high, low;

		if (*from == '%' && (high = hex_digit((unsigned char)from[1])) >= 0 &&
		    (low = hex_digit((unsigned char)from[2])) >= 0) {
			*to = (char)(high << 4 | low);
			from += 3;
		} else {
			*to = *from == '+' ? ' ' : *from;
			from++;
		}
	}
	*to = 0;
	return (size_t)(to - text);
}

void s3_doc_decode_markers(struct s3_doc *d)
{
	if (d->is_url_encoded && d->next_key)
		s3_url_decode(d->next_key);
}

static uint64_t take_u64(const uint8_t **p)
{
	uint64_t n = 0;

	for (int i = 0; i < 8; i++)
		n = n << 8 | *(*p)++;
	return n;
}

static const char *take_str(const uint8_t **p)
{
	const char *s = (const char *)*p;

	*p += strlen(s) + 1;
	return s;
}

bool s3_doc_next(struct s3_doc *d, size_t *at, struct s3_item *item)
{
	struct s3_reader *r = d->reader;
	struct span all = buf_span(&r->items);
	const uint8_t *p = all.ptr + *at;

	assert(!d->fault);
	if (*at == all.len)
		return false;
	item->size = take_u64(&p);
	item->when = (int64_t)take_u64(&p);
	free(r->scratch);
	r->scratch = xstrdup(take_str(&p));
	if (d->is_url_encoded)
		s3_url_decode(r->scratch);
	item->key = r->scratch;
	item->etag = take_str(&p);
	item->upload_id = take_str(&p);
	*at = (size_t)(p - all.ptr);
	return true;
}
