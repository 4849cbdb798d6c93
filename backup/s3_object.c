/* Whole objects: put, head, get, remove, list. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/s3_work.h"
#include "lib/mem.h"

#define SETTLE_TRIES 3
#define PAGES_MAX 100000u
/* A download that has come so much further has earned its tries and its time anew. */
#define PROGRESS ((uint64_t)1 << 20)

/* ---- works ---- */

void *s3_work_new(size_t size, struct s3_store *s3, struct storage_op *op, const char *key)
{
	struct s3_work *w = xcalloc(1, size);

	w->s3 = s3;
	w->op = op;
	w->key = xstrdup(key);
	op->impl = w;
	op->is_done = false;
	op->error = (struct storage_error){0};
	return w;
}

struct s3_call *s3_work_call(struct s3_work *w, const char *what, const char *method, void (*ended)(struct s3_call *))
{
	s3_call_free(w->call);
	w->call = s3_call_new(w->s3, what, method, w->key);
	w->call->ended = ended;
	w->call->owner = w;
	return w->call;
}

void s3_work_end(struct s3_work *w, enum storage_result result)
{
	struct storage_op *op = w->op;

	op->result = result;
	if (result != STORAGE_OK && w->call)
		op->error = w->call->error;
	if (w->clean)
		w->clean(w);
	s3_call_free(w->call);
	free(w->key);
	free(w);
	op->impl = NULL;
	op->is_done = true;
	if (op->done)
		op->done(op);
}

void s3_work_fail(struct s3_work *w, enum storage_result result, const char *code, const char *message)
{
	snprintf(w->call->error.code, sizeof(w->call->error.code), "%s", code);
	snprintf(w->call->error.message, sizeof(w->call->error.message), "%s", message);
	s3_work_end(w, result);
}

void s3_work_cancel(struct storage_op *op)
{
	struct s3_work *w = op->impl;

	if (w && w->call)
		s3_call_cancel(w->call);
}

/* ---- headers ---- */

/* What could not stand in a header goes as %XX. */
static void meta_header(struct s3_call *c, const char *name, const char *value)
{
	struct buf b;

	buf_init(&b);
	for (const unsigned char *p = (const unsigned char *)value; *p; p++) {
		if (*p > 0x20 && *p < 0x7f)
			buf_put_u8(&b, *p);
		else
			buf_printf(&b, "%%%02X", *p);
	}
	buf_put_u8(&b, 0);
	if (buf_ok(&b))
		s3_call_header(c, name, (const char *)buf_data(&b));
	buf_free(&b);
}

void s3_object_headers(struct s3_call *c, const char *content_type, const struct object_meta *meta)
{
	struct s3_store *s3 = c->s3;

	s3_call_header(c, "content-type", content_type);
	s3_call_header(c, "x-amz-storage-class", s3->storage_class);
	s3_call_header(c, "x-amz-server-side-encryption", s3->sse);
	s3_call_header(c, "x-amz-server-side-encryption-aws-kms-key-id", s3->sse_kms_key);
	s3_call_header(c, "x-amz-tagging", s3->missing.tags ? NULL : s3->tags);
	s3_call_header(c, "x-amz-acl", s3->acl);
	if (!meta)
		return;
	meta_header(c, "x-amz-meta-run-id", meta->run_id);
	meta_header(c, "x-amz-meta-tool-version", meta->tool_version);
	meta_header(c, "x-amz-meta-format", meta->format);
	meta_header(c, "x-amz-meta-key-id", meta->key_id);
	meta_header(c, "x-amz-meta-database", meta->database);
}

bool s3_is_ours(const struct s3_call *head, const char *run_id, uint64_t size)
{
	return *run_id && strcmp(head->answer.meta.run_id, run_id) == 0 && head->answer.length >= 0 &&
	       (uint64_t)head->answer.length == size;
}

void s3_lacks_conditions(struct s3_store *s3)
{
	s3_notice(s3, "the store has no conditional writes; names are checked before they are used");
	s3->missing.conditional_write = true;
}

bool s3_sends_tags(const struct s3_store *s3)
{
	return s3->tags && !s3->missing.tags;
}

void s3_lacks_tags(struct s3_store *s3)
{
	s3_notice(s3, "the store does not take tags; objects go without");
	s3->missing.tags = true;
}

bool s3_is_conflict(const struct s3_call *c)
{
	return strcmp(c->error.code, "ConditionalRequestConflict") == 0;
}

/* ---- put ---- */

struct put_work {
	struct s3_work w;
	const char *content_type;	    /* owned */
	struct object_meta meta;
	const struct storage_body *body;    /* borrowed */
	bool replaces, has_condition, has_no_tags;
	bool was_refused_condition;	    /* the store answered the condition, not the object */
	enum storage_result first_result;   /* of the PUT that is being settled */
	struct storage_error first_error;
};

static void put_ended(struct s3_call *);

static void put_send(struct put_work *p, bool has_condition)
{
	struct s3_call *c = s3_work_call(&p->w, "put", "PUT", put_ended);

	p->has_condition = has_condition;
	s3_object_headers(c, p->content_type, p->replaces ? NULL : &p->meta);
	if (p->has_no_tags)
		s3_call_header(c, "x-amz-tagging", NULL);
	if (has_condition)
		s3_call_header(c, "if-none-match", "*");
	c->body = p->body;
	c->is_patient = true;
	s3_call_go(c);
}

static void put_exists(struct put_work *p)
{
	s3_work_fail(&p->w, STORAGE_EXISTS, "Exists", "an object of that name is there already");
}

/* A store without conditions is asked first; between question and PUT another may come, which nothing can prevent. */
static void put_checked(struct s3_call *c)
{
	struct put_work *p = c->owner;

	if (c->result == STORAGE_NOT_FOUND)
		put_send(p, false);
	else if (c->result == STORAGE_OK)
		put_exists(p);
	else
		s3_work_end(&p->w, c->result);
}

static void put_check(struct put_work *p)
{
	s3_call_go(s3_work_call(&p->w, "head", "HEAD", put_checked));
}

static void put_settled(struct s3_call *c)
{
	struct put_work *p = c->owner;

	if (c->result == STORAGE_OK && s3_is_ours(c, p->meta.run_id, p->body->len)) {
		s3_work_end(&p->w, STORAGE_OK);
		return;
	}
	if (c->result == STORAGE_CANCELLED) {
		s3_work_end(&p->w, STORAGE_CANCELLED);
		return;
	}
	if (p->first_result == STORAGE_CHANGED) {
		put_exists(p);
		return;
	}
	c->error = p->first_error;
	s3_work_end(&p->w, p->first_result);
}

/* It is not known whether the PUT has worked: the object itself tells. */
static void put_settle(struct put_work *p)
{
	struct s3_call *c;

	p->first_result = p->w.call->result;
	p->first_error = p->w.call->error;
	c = s3_work_call(&p->w, "head", "HEAD", put_settled);
	c->attempts = SETTLE_TRIES;
	s3_call_go(c);
}

static void put_ended(struct s3_call *c)
{
	struct put_work *p = c->owner;
	bool was_lost = c->result == STORAGE_NETWORK || c->result == STORAGE_TIMED_OUT;

	if (c->result == STORAGE_OK) {
		if (p->was_refused_condition)
			s3_lacks_conditions(p->w.s3);
		if (p->has_no_tags)
			s3_lacks_tags(p->w.s3);
		s3_work_end(&p->w, STORAGE_OK);
	} else if (c->result == STORAGE_UNSUPPORTED && !p->has_condition && s3_sends_tags(p->w.s3) && !p->has_no_tags) {
		/* It was not the condition alone, if at all: so that is sent again, without the tags. */
		p->has_no_tags = true;
		p->was_refused_condition = false;
		put_send(p, !p->replaces && !p->w.s3->missing.conditional_write);
	} else if (p->replaces) {
		s3_work_end(&p->w, c->result);
	} else if (p->has_condition && (c->result == STORAGE_UNSUPPORTED ||
					(c->result == STORAGE_FAILED && c->answer.status == 400))) {
		p->was_refused_condition = true;
		put_check(p);
	} else if (c->result == STORAGE_CHANGED && !c->was_ambiguous && !s3_is_conflict(c)) {
		put_exists(p);
	} else if (c->result == STORAGE_CHANGED || (was_lost && c->was_ambiguous)) {
		put_settle(p);
	} else {
		s3_work_end(&p->w, c->result);
	}
}

static void put_clean(struct s3_work *w)
{
	free((char *)CONTAINER_OF(w, struct put_work, w)->content_type);
}

static struct put_work *put_new(struct storage *st, struct storage_op *op, const char *key, const char *content_type,
				const struct storage_body *body)
{
	struct put_work *p = s3_work_new(sizeof(*p), s3_of(st), op, key);

	p->w.clean = put_clean;
	p->content_type = xstrdup(content_type);
	p->body = body;
	return p;
}

void s3_put(struct storage *st, struct storage_op *op, const char *key, const char *content_type,
	    const struct object_meta *meta, const struct storage_body *body)
{
	struct put_work *p = put_new(st, op, key, content_type, body);

	if (meta)
		p->meta = *meta;
	if (p->w.s3->missing.conditional_write)
		put_check(p);
	else
		put_send(p, true);
}

void s3_replace(struct storage *st, struct storage_op *op, const char *key, const char *content_type,
		const struct storage_body *body)
{
	struct put_work *p = put_new(st, op, key, content_type, body);

	p->replaces = true;
	put_send(p, false);
}

/* ---- head, remove ---- */

struct head_work {
	struct s3_work w;
	struct object_info *info; /* borrowed */
};

static void info_from(struct object_info *info, const struct s3_answer *a)
{
	*info = (struct object_info){.size = a->length > 0 ? (uint64_t)a->length : 0, .modified = a->last_modified,
				     .meta = a->meta};
	memcpy(info->etag, a->etag, sizeof(info->etag));
}

static void head_ended(struct s3_call *c)
{
	struct head_work *h = c->owner;

	if (c->result == STORAGE_OK && c->answer.length < 0) {
		s3_work_fail(&h->w, STORAGE_FAILED, "MalformedAnswer", "the answer does not tell the object's size");
		return;
	}
	if (c->result == STORAGE_OK && h->info)
		info_from(h->info, &c->answer);
	s3_work_end(&h->w, c->result);
}

void s3_head(struct storage *st, struct storage_op *op, const char *key, struct object_info *info)
{
	struct head_work *h = s3_work_new(sizeof(*h), s3_of(st), op, key);

	h->info = info;
	s3_call_go(s3_work_call(&h->w, "head", "HEAD", head_ended));
}

static void remove_ended(struct s3_call *c)
{
	bool is_gone = c->result == STORAGE_NOT_FOUND && strcmp(c->error.code, "NoSuchBucket") != 0;

	s3_work_end(c->owner, is_gone ? STORAGE_OK : c->result);
}

void s3_remove(struct storage *st, struct storage_op *op, const char *key)
{
	struct s3_work *w = s3_work_new(sizeof(*w), s3_of(st), op, key);

	s3_call_go(s3_work_call(w, "delete", "DELETE", remove_ended));
}

/* ---- get ---- */

struct get_work {
	struct s3_work w;
	uint64_t offset, len; /* as asked; len 0: to the end */
	uint64_t delivered, expected, renewed_at;
	bool knows_expected, has_told_info;
	char etag[STORAGE_ETAG_MAX]; /* that all bytes must be of; "": not known yet */
	struct object_info *info;
	storage_sink *sink;
	void *ctx;
	unsigned restarts;
};

static void get_ended(struct s3_call *);

static bool get_is_range(const struct get_work *g)
{
	return g->offset || g->len || g->delivered;
}

static void get_headers(struct s3_call *c)
{
	struct get_work *g = c->owner;
	uint64_t first = g->offset + g->delivered;
	char range[64];

	if (g->len)
		snprintf(range, sizeof(range), "bytes=%llu-%llu", (unsigned long long)first,
			 (unsigned long long)(g->offset + g->len - 1));
	else
		snprintf(range, sizeof(range), "bytes=%llu-", (unsigned long long)first);
	s3_call_header(c, "range", get_is_range(g) ? range : NULL);
	s3_call_header(c, "if-match", g->etag);
}

static bool get_refuse(struct s3_call *c, enum storage_result result, const char *code, const char *message)
{
	c->error = (struct storage_error){.http = c->answer.status};
	snprintf(c->error.code, sizeof(c->error.code), "%s", code);
	snprintf(c->error.message, sizeof(c->error.message), "%s", message);
	snprintf(c->error.request_id, sizeof(c->error.request_id), "%s", c->answer.request_id);
	c->result = result;
	return false;
}

/* Where the bytes that follow lie in the object, and how many come; total -1: not told. */
static bool get_extent(const struct get_work *g, const struct s3_answer *a, uint64_t *first, int64_t *count,
		       int64_t *total)
{
	if (a->status == 206) {
		if (!a->has_range)
			return false;
		*first = a->range_first;
		*count = (int64_t)(a->range_last - a->range_first + 1);
		*total = a->range_total;
		return true;
	}
	*first = 0;
	*count = *total = a->length;
	return a->status == 200 && (!g->len || (a->length >= 0 && (uint64_t)a->length <= g->len));
}

static bool get_accept(struct s3_call *c)
{
	struct get_work *g = c->owner;
	const struct s3_answer *a = &c->answer;
	int64_t count, total;
	uint64_t first, wanted;

	if (*g->etag && *a->etag && strcmp(g->etag, a->etag) != 0)
		return get_refuse(c, STORAGE_CHANGED, "Changed", "the object is another one now");
	if (!get_extent(g, a, &first, &count, &total) || first != g->offset + g->delivered)
		return get_refuse(c, STORAGE_INTEGRITY, "WrongRange",
				  "the store sends other bytes than it was asked for");
	if (count >= 0) {
		/* A range ends where it was asked to, or with the object. */
		wanted = g->len ? g->len - g->delivered : UINT64_MAX;
		if (total >= 0 && (uint64_t)total - first < wanted)
			wanted = (uint64_t)total - first;
		if ((uint64_t)count > wanted || (wanted != UINT64_MAX && (uint64_t)count < wanted))
			return get_refuse(c, STORAGE_INTEGRITY, "WrongRange",
					  "the store sends more or fewer bytes than it was asked for");
		if (g->knows_expected && g->expected != g->delivered + (uint64_t)count)
			return get_refuse(c, STORAGE_CHANGED, "Changed", "the object has another size now");
		g->expected = g->delivered + (uint64_t)count;
		g->knows_expected = true;
	}
	if (!*g->etag)
		memcpy(g->etag, a->etag, sizeof(g->etag));
	if (g->info && !g->has_told_info) {
		info_from(g->info, a);
		g->info->size = total >= 0 ? (uint64_t)total : 0;
	}
	g->has_told_info = true;
	return true;
}

static bool get_payload(struct s3_call *c, struct span bytes)
{
	struct get_work *g = c->owner;

	if (g->knows_expected && bytes.len > g->expected - g->delivered)
		return get_refuse(c, STORAGE_INTEGRITY, "WrongRange", "the store sends more bytes than it announced");
	g->delivered += bytes.len;
	if (g->delivered - g->renewed_at >= PROGRESS) {
		g->renewed_at = g->delivered;
		g->restarts = 0;
		c->tries = 1;
		s3_call_renew(c);
	}
	return g->sink(g->ctx, bytes);
}

static void get_send(struct get_work *g)
{
	struct s3_call *c = s3_work_call(&g->w, "get", "GET", get_ended);

	c->payload = get_payload;
	c->accept = get_accept;
	c->again = get_headers;
	get_headers(c);
	s3_call_go(c);
}

static void get_ended(struct s3_call *c)
{
	struct get_work *g = c->owner;

	/* The body was as long as its own header said, but not as the range. */
	if (c->result == STORAGE_OK && g->knows_expected && g->delivered < g->expected) {
		if (++g->restarts < g->w.s3->attempts)
			get_send(g);
		else
			s3_work_fail(&g->w, STORAGE_INTEGRITY, "Truncated",
				     "the store sends fewer bytes than it announces");
		return;
	}
	s3_work_end(&g->w, c->result);
}

void s3_get(struct storage *st, struct storage_op *op, const char *key, const char *if_match, uint64_t offset,
	    uint64_t len, struct object_info *info, storage_sink *sink, void *ctx)
{
	struct get_work *g = s3_work_new(sizeof(*g), s3_of(st), op, key);

	g->offset = offset;
	g->len = len;
	g->info = info;
	g->sink = sink;
	g->ctx = ctx;
	if (if_match)
		snprintf(g->etag, sizeof(g->etag), "%s", if_match);
	get_send(g);
}

/* ---- list ---- */

struct list_work {
	struct s3_work w;
	char *prefix, *token; /* owned */
	bool flat;
	storage_item *item;
	void *ctx;
	unsigned pages;
};

static void list_ended(struct s3_call *);

static void list_send(struct list_work *l)
{
	struct s3_call *c = s3_work_call(&l->w, "list", "GET", list_ended);
	char size[16];

	snprintf(size, sizeof(size), "%u", l->w.s3->page_size);
	s3_call_query(c, "list-type", "2");
	s3_call_query(c, "prefix", l->prefix);
	if (l->flat)
		s3_call_query(c, "delimiter", "/");
	s3_call_query(c, "encoding-type", "url");
	s3_call_query(c, "max-keys", size);
	if (l->token)
		s3_call_query(c, "continuation-token", l->token);
	c->expects = S3_ROOT_LIST;
	s3_call_go(c);
}

/* false: the receiver wants no more. */
static bool list_tell(struct list_work *l, struct s3_doc *d)
{
	size_t at = 0, len = strlen(l->prefix);
	struct s3_item i;

	while (s3_doc_next(d, &at, &i)) {
		struct object_info info = {.size = i.size, .modified = i.when};

		/* What was not asked for is not taken. */
		if (strncmp(i.key, l->prefix, len) != 0 || (l->flat && strchr(i.key + len, '/')))
			continue;
		snprintf(info.etag, sizeof(info.etag), "%s", i.etag);
		if (!l->item(l->ctx, i.key, &info))
			return false;
	}
	return true;
}

static void list_ended(struct s3_call *c)
{
	struct list_work *l = c->owner;
	struct s3_doc *d = &c->doc;
	char *token = d->token;

	if (c->result != STORAGE_OK) {
		s3_work_end(&l->w, c->result);
		return;
	}
	/* Before anything of the page is told. */
	if (d->is_truncated &&
	    (!token || !*token || (l->token && strcmp(token, l->token) == 0) || ++l->pages > PAGES_MAX)) {
		s3_work_fail(&l->w, STORAGE_FAILED, "BrokenListing",
			     "the listing goes on, but the store does not say where");
		return;
	}
	if (!list_tell(l, d)) {
		s3_work_end(&l->w, STORAGE_CANCELLED);
		return;
	}
	if (!d->is_truncated) {
		s3_work_end(&l->w, STORAGE_OK);
		return;
	}
	free(l->token);
	l->token = token;
	d->token = NULL;
	list_send(l);
}

static void list_clean(struct s3_work *w)
{
	struct list_work *l = CONTAINER_OF(w, struct list_work, w);

	free(l->prefix);
	free(l->token);
}

void s3_list(struct storage *st, struct storage_op *op, const char *prefix, bool flat, storage_item *item, void *ctx)
{
	struct list_work *l = s3_work_new(sizeof(*l), s3_of(st), op, NULL);

	l->w.clean = list_clean;
	l->prefix = xstrdup(prefix);
	l->flat = flat;
	l->item = item;
	l->ctx = ctx;
	list_send(l);
}
