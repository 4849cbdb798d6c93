/* Uploads in parts: begin, part, complete, abort, and those that somebody has left behind. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/part_size.h"
#include "backup/s3_work.h"
#include "lib/mem.h"

#define ABORT_TRIES 3
#define ABORT_BUDGET (10 * USEC_PER_SEC)
#define SETTLE_TRIES 3
#define COMPLETE_BUDGET (15 * 60 * USEC_PER_SEC)
#define PAGES_MAX 10000u

struct part {
	char *etag, *check; /* owned; as the store returned them; check NULL: it does not know checksums */
};

struct storage_upload {
	struct s3_store *s3;
	char *key, *id; /* owned */
	struct object_meta meta;
	struct part *parts; /* owned; of number i + 1 */
	size_t count;
	bool may_be_complete; /* a Complete has been sent */
};

/* ---- uploads that nobody knows of ---- */

/*
 * Aborts all uploads of one key but one. When the answer to a begin was lost
 * the store may have begun an upload whose id nobody has; names are used once,
 * so every other upload of this key is such a twin.
 */
struct twins_work {
	struct s3_work w;
	char *keep; /* owned; NULL: none */
	char **ids; /* owned; to be aborted */
	size_t count, at;
	/* The outcome that waits until the twins are gone. */
	enum storage_result result;
	struct storage_error error;
};

static void twin_aborted(struct s3_call *);

static void twins_clean(struct s3_work *w)
{
	struct twins_work *t = CONTAINER_OF(w, struct twins_work, w);

	for (size_t i = 0; i < t->count; i++)
		free(t->ids[i]);
	free(t->ids);
	free(t->keep);
}

static void twins_next(struct twins_work *t)
{
	struct s3_call *c;

	if (t->at == t->count) {
		t->w.call->error = t->error;
		s3_work_end(&t->w, t->result);
		return;
	}
	c = s3_work_call(&t->w, "abort", "DELETE", twin_aborted);
	s3_call_query(c, "uploadId", t->ids[t->at++]);
	c->attempts = ABORT_TRIES;
	s3_call_go(c);
}

static void twin_aborted(struct s3_call *c)
{
	struct twins_work *t = c->owner;

	if (c->result != STORAGE_OK && c->result != STORAGE_NOT_FOUND)
		s3_notice(t->w.s3, "upload %s of %s could not be aborted: %s", t->ids[t->at - 1], t->w.key,
			  c->error.code);
	twins_next(t);
}

static void twins_add(struct twins_work *t, const char *id)
{
	for (size_t i = 0; i < t->count; i++)
		if (strcmp(t->ids[i], id) == 0)
			return;
	t->ids = xrealloc(t->ids, (t->count + 1) * sizeof(*t->ids));
	t->ids[t->count++] = xstrdup(id);
}

static void twins_listed(struct s3_call *c)
{
	struct twins_work *t = c->owner;
	struct s3_item i;
	size_t at = 0;

	if (c->result == STORAGE_OK) {
		while (s3_doc_next(&c->doc, &at, &i))
			if (strcmp(i.key, t->w.key) == 0 && !(t->keep && strcmp(i.upload_id, t->keep) == 0))
				twins_add(t, i.upload_id);
	} else if (t->count == 0) {
		s3_notice(t->w.s3,
			  "an upload of %s may be left open: its begin was not answered, and uploads cannot be listed",
			  t->w.key);
	}
	twins_next(t);
}

/* Takes over the op of a begin that has ended with result. keep stays, unwanted goes; both may be NULL. */
static void twins_hunt(struct s3_store *s3, struct storage_op *op, const char *key, const char *keep,
		       const char *unwanted, enum storage_result result, const struct storage_error *error)
{
	struct twins_work *t = s3_work_new(sizeof(*t), s3, op, NULL);
	struct s3_call *c;

	t->w.clean = twins_clean;
	t->keep = xstrdup(keep);
	if (unwanted)
		twins_add(t, unwanted);
	t->result = result;
	t->error = *error;
	c = s3_work_call(&t->w, "list_uploads", "GET", twins_listed);
	/* The calls that follow are about the key. */
	t->w.key = xstrdup(key);
	s3_call_query(c, "uploads", "");
	s3_call_query(c, "prefix", key);
	s3_call_query(c, "encoding-type", "url");
	c->expects = S3_ROOT_LIST_UPLOADS;
	c->attempts = SETTLE_TRIES;
	s3_call_go(c);
}

/* ---- begin ---- */

struct begin_work {
	struct s3_work w;
	char *content_type; /* owned */
	struct object_meta meta;
	struct storage_upload **out; /* borrowed */
	struct storage_body nothing;
	bool has_no_tags;
};

static void begin_send(struct begin_work *, bool has_tags);
static void begin_clean(struct s3_work *);

static void begin_ended(struct s3_call *c)
{
	struct begin_work *b = c->owner;
	struct s3_store *s3 = b->w.s3;
	struct storage_op *op = b->w.op;
	enum storage_result result = c->result;
	struct storage_upload *u = NULL;
	bool has_twins;

	if (result == STORAGE_UNSUPPORTED && s3_sends_tags(s3) && !b->has_no_tags) {
		begin_send(b, false);
		return;
	}
	if (result == STORAGE_OK && b->has_no_tags && s3_sends_tags(s3))
		s3_lacks_tags(s3);
	if (result == STORAGE_OK && (!c->doc.upload_id || !*c->doc.upload_id ||
				     strlen(c->doc.upload_id) > STORAGE_UPLOAD_ID_MAX)) {
		snprintf(c->error.code, sizeof(c->error.code), "MalformedAnswer");
		snprintf(c->error.message, sizeof(c->error.message), "the store gives the upload no usable id");
		result = STORAGE_FAILED;
		c->was_ambiguous = true;
	} else if (result == STORAGE_OK) {
		u = xcalloc(1, sizeof(*u));
		u->s3 = s3;
		u->key = xstrdup(b->w.key);
		u->id = xstrdup(c->doc.upload_id);
		u->meta = b->meta;
	}
	/* It came too late: nobody waits for it any more. */
	if (u && c->is_cancelled)
		result = STORAGE_CANCELLED;
	has_twins = c->was_ambiguous && !s3->missing.list_uploads;
	if (u && result == STORAGE_OK)
		*b->out = u;
	if (has_twins || (u && result != STORAGE_OK) || (result == STORAGE_CANCELLED && c->tries)) {
		struct storage_error error = c->error;
		char *key = xstrdup(b->w.key);

		/* The op goes on under another work. */
		s3_call_free(c);
		begin_clean(&b->w);
		free(b->w.key);
		free(b);
		if (result == STORAGE_OK) {
			twins_hunt(s3, op, key, u->id, NULL, result, &error);
		} else {
			twins_hunt(s3, op, key, NULL, u ? u->id : NULL, result, &error);
			s3_upload_free(u);
		}
		free(key);
		return;
	}
	s3_work_end(&b->w, result);
}

static void begin_send(struct begin_work *b, bool has_tags)
{
	struct s3_call *c = s3_work_call(&b->w, "begin", "POST", begin_ended);

	b->has_no_tags = !has_tags;
	s3_call_query(c, "uploads", "");
	s3_object_headers(c, b->content_type, &b->meta);
	if (!has_tags)
		s3_call_header(c, "x-amz-tagging", NULL);
	s3_call_header(c, "x-amz-checksum-algorithm", s3_check_algorithm(b->w.s3));
	c->body = &b->nothing;
	c->is_signed_in_full = true;
	c->is_patient = true;
	c->expects = S3_ROOT_INITIATE;
	s3_call_go(c);
}

static void begin_clean(struct s3_work *w)
{
	free(CONTAINER_OF(w, struct begin_work, w)->content_type);
}

void s3_upload_begin(struct storage *st, struct storage_op *op, const char *key, const char *content_type,
		     const struct object_meta *meta, struct storage_upload **out)
{
	struct begin_work *b = s3_work_new(sizeof(*b), s3_of(st), op, key);

	b->w.clean = begin_clean;
	b->content_type = xstrdup(content_type);
	b->out = out;
	*out = NULL;
	if (meta)
		b->meta = *meta;
	b->nothing = (struct storage_body){.bytes = span_str(""), .fd = -1};
	begin_send(b, true);
}

/* ---- part ---- */

struct part_work {
	struct s3_work w;
	struct storage_upload *upload; /* borrowed */
	unsigned number;
};

static void keep_part(struct storage_upload *u, unsigned number, const struct s3_call *c)
{
	if (number > u->count) {
		u->parts = xrealloc(u->parts, number * sizeof(*u->parts));
		memset(u->parts + u->count, 0, (number - u->count) * sizeof(*u->parts));
		u->count = number;
	}
	free(u->parts[number - 1].etag);
	free(u->parts[number - 1].check);
	u->parts[number - 1].etag = xstrdup(c->answer.etag);
	u->parts[number - 1].check =
		s3_check_algorithm(u->s3) && *c->answer.checksum ? xstrdup(c->answer.checksum) : NULL;
}

static void part_ended(struct s3_call *c)
{
	struct part_work *p = c->owner;

	if (c->result == STORAGE_OK && (!*c->answer.etag || c->answer.is_etag_cut)) {
		s3_work_fail(&p->w, STORAGE_FAILED, "MalformedAnswer", "the store gives the part no usable ETag");
		return;
	}
	if (c->result == STORAGE_OK)
		keep_part(p->upload, p->number, c);
	s3_work_end(&p->w, c->result);
}

void s3_upload_part(struct storage_upload *u, struct storage_op *op, unsigned number, const struct storage_body *body)
{
	struct part_work *p = s3_work_new(sizeof(*p), u->s3, op, u->key);
	struct s3_call *c = s3_work_call(&p->w, "part", "PUT", part_ended);
	char text[16];

	assert(number >= 1 && number <= PARTS_MAX);
	p->upload = u;
	p->number = number;
	snprintf(text, sizeof(text), "%u", number);
	s3_call_query(c, "partNumber", text);
	s3_call_query(c, "uploadId", u->id);
	c->body = body;
	c->is_part = true;
	s3_call_go(c);
}

/* ---- complete ---- */

struct complete_work {
	struct s3_work w;
	struct storage_upload *upload; /* borrowed */
	uint64_t size;
	struct buf xml;
	struct storage_body body;
	bool has_condition, was_refused_condition;
	enum storage_result first_result;
	struct storage_error first_error;
};

static void complete_ended(struct s3_call *);

static void put_xml_text(struct buf *b, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '&':
			buf_put_text(b, "&amp;");
			break;
		case '<':
			buf_put_text(b, "&lt;");
			break;
		case '>':
			buf_put_text(b, "&gt;");
			break;
		default:
			buf_put_u8(b, (uint8_t)*text);
		}
	}
}

/* false: a part is missing. */
static bool complete_write(struct complete_work *w)
{
	const struct storage_upload *u = w->upload;
	const char *check = s3_check_algorithm(u->s3);

	buf_put_text(&w->xml, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
	for (size_t i = 0; i < u->count; i++) {
		if (!u->parts[i].etag)
			return false;
		buf_printf(&w->xml, "<Part><PartNumber>%zu</PartNumber><ETag>", i + 1);
		put_xml_text(&w->xml, u->parts[i].etag);
		buf_put_text(&w->xml, "</ETag>");
		if (check && u->parts[i].check) {
			buf_printf(&w->xml, "<Checksum%s>", check);
			put_xml_text(&w->xml, u->parts[i].check);
			buf_printf(&w->xml, "</Checksum%s>", check);
		}
		buf_put_text(&w->xml, "</Part>");
	}
	buf_put_text(&w->xml, "</CompleteMultipartUpload>");
	return u->count > 0 && buf_ok(&w->xml);
}

static void complete_send(struct complete_work *w, bool has_condition)
{
	struct s3_call *c = s3_work_call(&w->w, "complete", "POST", complete_ended);

	w->has_condition = has_condition;
	w->upload->may_be_complete = true;
	s3_call_query(c, "uploadId", w->upload->id);
	s3_call_header(c, "content-type", "application/xml");
	if (has_condition)
		s3_call_header(c, "if-none-match", "*");
	c->body = &w->body;
	c->is_signed_in_full = true;
	c->may_be_slow = true;
	c->is_patient = true;
	if (c->budget < COMPLETE_BUDGET)
		c->budget = COMPLETE_BUDGET;
	c->expects = S3_ROOT_COMPLETE;
	s3_call_go(c);
}

static void complete_exists(struct complete_work *w)
{
	s3_work_fail(&w->w, STORAGE_EXISTS, "Exists", "an object of that name is there already");
}

static void complete_checked(struct s3_call *c)
{
	struct complete_work *w = c->owner;

	if (c->result == STORAGE_NOT_FOUND)
		complete_send(w, false);
	else if (c->result == STORAGE_OK)
		complete_exists(w);
	else
		s3_work_end(&w->w, c->result);
}

static void complete_check(struct complete_work *w)
{
	s3_call_go(s3_work_call(&w->w, "head", "HEAD", complete_checked));
}

static void complete_settled(struct s3_call *c)
{
	struct complete_work *w = c->owner;

	if (c->result == STORAGE_OK && s3_is_ours(c, w->upload->meta.run_id, w->size)) {
		s3_work_end(&w->w, STORAGE_OK);
	} else if (c->result == STORAGE_CANCELLED) {
		s3_work_end(&w->w, STORAGE_CANCELLED);
	} else if (w->first_result == STORAGE_CHANGED) {
		complete_exists(w);
	} else {
		c->error = w->first_error;
		s3_work_end(&w->w, w->first_result);
	}
}

static void complete_settle(struct complete_work *w)
{
	struct s3_call *c;

	w->first_result = w->w.call->result;
	w->first_error = w->w.call->error;
	c = s3_work_call(&w->w, "head", "HEAD", complete_settled);
	c->attempts = SETTLE_TRIES;
	s3_call_go(c);
}

/* A 400 that is about the parts, not about the condition. */
static bool is_about_parts(const char *code)
{
	static const char *const codes[] = {"InvalidPart", "InvalidPartOrder", "EntityTooSmall", "EntityTooLarge",
					    "MalformedXML", "InvalidDigest"};

	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		if (strcmp(code, codes[i]) == 0)
			return true;
	return false;
}

static void complete_ended(struct s3_call *c)
{
	struct complete_work *w = c->owner;
	bool may_have_worked = c->was_ambiguous &&
			       (c->result == STORAGE_NETWORK || c->result == STORAGE_TIMED_OUT ||
				c->result == STORAGE_FAILED || c->result == STORAGE_NOT_FOUND);

	if (c->result == STORAGE_OK) {
		if (w->was_refused_condition)
			s3_lacks_conditions(w->w.s3);
		s3_work_end(&w->w, STORAGE_OK);
	} else if (c->result == STORAGE_CHANGED && !c->was_ambiguous && !s3_is_conflict(c)) {
		complete_exists(w);
	} else if (may_have_worked || c->result == STORAGE_CHANGED) {
		complete_settle(w);
	} else if (w->has_condition && (c->result == STORAGE_UNSUPPORTED ||
					(c->result == STORAGE_FAILED && c->answer.status == 400 &&
					 !is_about_parts(c->error.code)))) {
		w->was_refused_condition = true;
		complete_check(w);
	} else {
		s3_work_end(&w->w, c->result);
	}
}

static void complete_clean(struct s3_work *w)
{
	buf_free(&CONTAINER_OF(w, struct complete_work, w)->xml);
}

/* An operation that fails before it has begun still ends on the loop. */
static void part_is_missing(struct s3_call *c)
{
	s3_work_fail(c->owner, STORAGE_FAILED, "local", "a part of the upload is missing");
}

void s3_upload_complete(struct storage_upload *u, struct storage_op *op, uint64_t size)
{
	struct complete_work *w = s3_work_new(sizeof(*w), u->s3, op, u->key);

	w->w.clean = complete_clean;
	w->upload = u;
	w->size = size;
	buf_init(&w->xml);
	if (!complete_write(w)) {
		struct s3_call *c = s3_work_call(&w->w, "complete", "POST", part_is_missing);

		s3_call_go(c);
		s3_call_cancel(c);
		return;
	}
	w->body = (struct storage_body){.bytes = buf_span(&w->xml), .fd = -1, .len = buf_len(&w->xml)};
	if (u->s3->missing.conditional_write)
		complete_check(w);
	else
		complete_send(w, true);
}

/* ---- abort ---- */

static void abort_ended(struct s3_call *c)
{
	bool is_gone = c->result == STORAGE_NOT_FOUND && strcmp(c->error.code, "NoSuchBucket") != 0;

	s3_work_end(c->owner, is_gone ? STORAGE_OK : c->result);
}

/*
 * A store that dies in the middle of a Complete may have the object already,
 * and the upload still: Swift deletes its parts with the upload, and the
 * object is broken (seen by test/soak.py kills). So whoever does not know how
 * a Complete has ended looks for the object first.
 */
struct abort_work {
	struct s3_work w;
	char *id;     /* owned */
	char *not_of; /* owned; every object of ours names its run, and one that does not name this does not count; NULL: any does */
};

static void abort_clean(struct s3_work *w)
{
	struct abort_work *a = CONTAINER_OF(w, struct abort_work, w);

	free(a->id);
	free(a->not_of);
}

static void abort_send(struct abort_work *a)
{
	struct s3_call *c = s3_work_call(&a->w, "abort", "DELETE", abort_ended);

	s3_call_query(c, "uploadId", a->id);
	c->attempts = ABORT_TRIES;
	c->budget = ABORT_BUDGET;
	s3_call_go(c);
}

static void abort_looked(struct s3_call *c)
{
	struct abort_work *a = c->owner;
	const char *run_id = c->answer.meta.run_id;

	if (c->result == STORAGE_NOT_FOUND || (c->result == STORAGE_OK && a->not_of && *a->not_of && strcmp(run_id, a->not_of) != 0))
		abort_send(a);
	else if (c->result == STORAGE_OK)
		s3_work_fail(&a->w, STORAGE_EXISTS, "local", "the object is there, and this upload may have made it: it is left alone");
	else
		s3_work_end(&a->w, c->result);
}

static void abort_new(struct storage *st, struct storage_op *op, const char *key, const char *id, const char *not_of, bool looks)
{
	struct abort_work *a = s3_work_new(sizeof(*a), s3_of(st), op, key);
	struct s3_call *c;

	a->w.clean = abort_clean;
	a->id = xstrdup(id);
	a->not_of = xstrdup(not_of);
	if (!looks) {
		abort_send(a);
		return;
	}
	c = s3_work_call(&a->w, "head", "HEAD", abort_looked);
	c->attempts = ABORT_TRIES;
	c->budget = ABORT_BUDGET / 2;
	s3_call_go(c);
}

void s3_abort_stale(struct storage *st, struct storage_op *op, const char *key, const char *upload_id)
{
	abort_new(st, op, key, upload_id, NULL, true);
}

void s3_upload_abort(struct storage_upload *u, struct storage_op *op)
{
	abort_new(&u->s3->base, op, u->key, u->id, u->meta.run_id, u->may_be_complete);
}

const char *s3_upload_id(const struct storage_upload *u)
{
	return u->id;
}

void s3_upload_free(struct storage_upload *u)
{
	if (!u)
		return;
	for (size_t i = 0; i < u->count; i++) {
		free(u->parts[i].etag);
		free(u->parts[i].check);
	}
	free(u->parts);
	free(u->key);
	free(u->id);
	free(u);
}

/* ---- list ---- */

struct uploads_work {
	struct s3_work w;
	char *prefix, *key_marker, *id_marker; /* owned */
	storage_upload_item *item;
	void *ctx;
	unsigned pages;
};

static void uploads_ended(struct s3_call *);

static void uploads_send(struct uploads_work *u)
{
	struct s3_call *c = s3_work_call(&u->w, "list_uploads", "GET", uploads_ended);
	char size[16];

	snprintf(size, sizeof(size), "%u", u->w.s3->page_size);
	s3_call_query(c, "uploads", "");
	s3_call_query(c, "prefix", u->prefix);
	s3_call_query(c, "encoding-type", "url");
	s3_call_query(c, "max-uploads", size);
	if (u->key_marker)
		s3_call_query(c, "key-marker", u->key_marker);
	if (u->id_marker)
		s3_call_query(c, "upload-id-marker", u->id_marker);
	c->expects = S3_ROOT_LIST_UPLOADS;
	s3_call_go(c);
}

static bool same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static void take_marker(char **to, char **from)
{
	free(*to);
	*to = *from && **from ? *from : NULL;
	if (*to)
		*from = NULL;
}

static void uploads_ended(struct s3_call *c)
{
	struct uploads_work *u = c->owner;
	struct s3_doc *d = &c->doc;
	struct s3_item i;
	size_t at = 0;

	if (c->result == STORAGE_UNSUPPORTED)
		u->w.s3->missing.list_uploads = true;
	if (c->result != STORAGE_OK) {
		s3_work_end(&u->w, c->result);
		return;
	}
	if (d->is_truncated && (!d->next_key || !*d->next_key || ++u->pages > PAGES_MAX ||
				(same(d->next_key, u->key_marker) && same(d->next_upload_id, u->id_marker)))) {
		s3_work_fail(&u->w, STORAGE_FAILED, "BrokenListing",
			     "the listing goes on, but the store does not say where");
		return;
	}
	while (s3_doc_next(d, &at, &i)) {
		if (strncmp(i.key, u->prefix, strlen(u->prefix)) != 0)
			continue;
		if (!u->item(u->ctx, i.key, i.upload_id, (time_t)i.when)) {
			s3_work_end(&u->w, STORAGE_CANCELLED);
			return;
		}
	}
	if (!d->is_truncated) {
		s3_work_end(&u->w, STORAGE_OK);
		return;
	}
	take_marker(&u->key_marker, &d->next_key);
	take_marker(&u->id_marker, &d->next_upload_id);
	uploads_send(u);
}

static void uploads_clean(struct s3_work *w)
{
	struct uploads_work *u = CONTAINER_OF(w, struct uploads_work, w);

	free(u->prefix);
	free(u->key_marker);
	free(u->id_marker);
}

void s3_list_uploads(struct storage *st, struct storage_op *op, const char *prefix, storage_upload_item *item,
		     void *ctx)
{
	struct uploads_work *u = s3_work_new(sizeof(*u), s3_of(st), op, NULL);

	u->w.clean = uploads_clean;
	u->prefix = xstrdup(prefix);
	u->item = item;
	u->ctx = ctx;
	uploads_send(u);
}
