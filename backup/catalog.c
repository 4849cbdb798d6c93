#include "backup/catalog.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/mem.h"

/* Manifests that are fetched at the same time. */
#define FETCH_WIDTH 8

/* ---- listing ---- */

struct loading {
	struct catalog *c;
	size_t cap;
	catalog_foreign *foreign;
	void *ctx;
};

static bool take_object(void *ctx, const char *key, const struct object_info *info)
{
	struct loading *l = ctx;
	struct catalog *c = l->c;
	struct backup_entry e = {.size = info->size};
	enum backup_format format;

	if (!backup_name_parse(c->prefix, key, &e.when, &format)) {
		c->ignored++;
		if (l->foreign)
			l->foreign(l->ctx, key, info);
		return true;
	}
	e.format = (uint8_t)format;
	if (c->count == l->cap) {
		/* By halves: when it doubles, old and new together are three times what is needed. */
		l->cap = l->cap ? l->cap + l->cap / 2 : 256;
		c->entries = xrealloc(c->entries, l->cap * sizeof(*c->entries));
	}
	c->entries[c->count++] = e;
	c->bytes += e.size;
	return true;
}

static struct backup_entry *find(const struct catalog *c, int64_t when, enum backup_format format)
{
	size_t low = 0, high = c->count;

	/* Newest first, and of one second the higher format. */
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		struct backup_entry *e = &c->entries[middle];

		if (e->when == when && e->format == format)
			return e;
		if (e->when > when || (e->when == when && e->format > format))
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static bool take_mark(void *ctx, const char *key, const struct object_info *info)
{
	struct loading *l = ctx;
	struct backup_entry *e;
	enum backup_format format;
	int64_t when;
	enum mark m = mark_parse(l->c->prefix, key, &when, &format);

	(void)info;
	/* A mark whose backup is gone says nothing. */
	if (m == MARK_NONE || !(e = find(l->c, when, format)))
		return true;
	if (m == MARK_HOLD)
		e->is_held = true;
	else
		e->has_manifest = true;
	return true;
}

static enum storage_result list(struct catalog *c, const char *prefix, storage_item *item, struct loading *l)
{
	struct storage_op op = {0};
	enum storage_result r;

	c->store->ops->list(c->store, &op, prefix, true, item, l);
	r = storage_wait(c->store, &op);
	c->error = op.error;
	return r;
}

enum storage_result catalog_load(struct catalog *c, struct storage *st, const char *prefix,
				 const struct manifest_keys *keys, int64_t now, catalog_foreign *foreign, void *ctx)
{
	struct loading l = {c, 0, foreign, ctx};
	char under[BACKUP_KEY_MAX];
	enum storage_result r;
	const char *key_id = c->key_id;

	catalog_free(c);
	*c = (struct catalog){.store = st, .prefix = prefix, .keys = keys, .key_id = key_id, .now = now};
	snprintf(under, sizeof(under), "%s/", prefix);
	r = list(c, under, take_object, &l);
	if (r == STORAGE_OK) {
		backup_entries_sort(c->entries, c->count);
		marks_prefix_make(prefix, under);
		r = list(c, under, take_mark, &l);
	}
	if (r != STORAGE_OK) {
		struct storage_error error = c->error;

		catalog_free(c);
		c->error = error;
		return r;
	}
	for (size_t i = 0; i < c->count; i++)
		c->entries[i].is_judged = !c->entries[i].has_manifest;
	return STORAGE_OK;
}

void catalog_free(struct catalog *c)
{
	free(c->entries);
	c->entries = NULL;
	c->count = c->ignored = 0;
	c->bytes = 0;
}

void catalog_key(const struct catalog *c, const struct backup_entry *e, char key[BACKUP_KEY_MAX])
{
	backup_key_make(c->prefix, e->when, (enum backup_format)e->format, key);
}

/* ---- manifests ---- */

struct fetch {
	struct storage_op op;
	struct backup_entry *entry; /* NULL: free */
	struct buf text;
	bool is_too_large;
	char key[BACKUP_KEY_MAX];
};

static bool take_text(void *ctx, struct span bytes)
{
	struct fetch *f = ctx;

	f->is_too_large = buf_len(&f->text) + bytes.len > MANIFEST_MAX;
	if (f->is_too_large)
		return false;
	buf_put(&f->text, bytes.ptr, bytes.len);
	return buf_ok(&f->text);
}

static void fetch_start(struct catalog *c, struct fetch *f, struct backup_entry *e)
{
	f->entry = e;
	f->op = (struct storage_op){0};
	f->is_too_large = false;
	buf_clear(&f->text);
	manifest_key_make(c->prefix, e->when, (enum backup_format)e->format, f->key);
	c->store->ops->get(c->store, &f->op, f->key, NULL, 0, 0, NULL, take_text, f);
}

/* What a manifest says about its backup, as far as it may. */
static void judge(const struct catalog *c, struct backup_entry *e, const struct manifest *m)
{
	struct manifest_verdict v = manifest_verified(m);
	char key[BACKUP_KEY_MAX];
	const char *object = manifest_text(m, "object"), *key_id = manifest_text(m, "key_id");
	int64_t size;

	catalog_key(c, e, key);
	e->is_told = true;
	e->is_suspect = manifest_flag(m, "suspect");
	e->is_failed = v.is_failed || (manifest_number(m, "size", &size) && (uint64_t)size != e->size) ||
		       (object && strcmp(object, key) != 0);
	e->is_proven = v.is_proven && !e->is_failed;
	e->is_sealed_elsewhere = c->key_id && key_id && strcmp(key_id, c->key_id) != 0;
}

static enum storage_result fetch_end(struct catalog *c, struct fetch *f)
{
	struct backup_entry *e = f->entry;
	struct manifest *m = NULL;

	f->entry = NULL;
	/* Removed since it was listed, or larger than a manifest is: as if there were none. */
	if (f->op.result == STORAGE_NOT_FOUND || f->is_too_large) {
		e->is_judged = true;
		c->unbelieved += f->is_too_large;
		return STORAGE_OK;
	}
	if (f->op.result != STORAGE_OK) {
		c->error = f->op.error;
		return f->op.result;
	}
	if (manifest_unpack(buf_span(&f->text), c->keys, &m) == MANIFEST_OK)
		judge(c, e, m);
	else
		c->unbelieved++;
	e->is_judged = true;
	manifest_free(m);
	return STORAGE_OK;
}

enum storage_result catalog_read_manifests(struct catalog *c, size_t from, size_t count)
{
	size_t next = from, end = from + count < c->count ? from + count : c->count, under_way = 0;
	struct fetch *f = xcalloc(FETCH_WIDTH, sizeof(*f));
	enum storage_result result = STORAGE_OK, r;

	/* In a ring: the oldest one is waited for, the others go on meanwhile. */
	for (size_t first = 0;;) {
		while (result == STORAGE_OK && under_way < FETCH_WIDTH && next < end) {
			if (!c->entries[next].is_judged)
				fetch_start(c, &f[(first + under_way++) % FETCH_WIDTH], &c->entries[next]);
			next++;
		}
		if (under_way == 0)
			break;
		if (result != STORAGE_OK && !f[first].op.is_done)
			c->store->ops->cancel(&f[first].op);
		(void)storage_wait(c->store, &f[first].op);
		r = fetch_end(c, &f[first]);
		if (result == STORAGE_OK)
			result = r;
		first = (first + 1) % FETCH_WIDTH;
		under_way--;
	}
	for (int i = 0; i < FETCH_WIDTH; i++)
		buf_free(&f[i].text);
	free(f);
	return result;
}

enum storage_result catalog_manifest(struct catalog *c, const struct backup_entry *e, struct manifest **out)
{
	struct fetch f = {0};
	enum storage_result r;

	*out = NULL;
	if (!e->has_manifest)
		return STORAGE_OK;
	fetch_start(c, &f, (struct backup_entry *)e);
	r = storage_wait(c->store, &f.op);
	if (r == STORAGE_OK && manifest_unpack(buf_span(&f.text), c->keys, out) != MANIFEST_OK)
		c->unbelieved++;
	else if (r != STORAGE_OK && r != STORAGE_NOT_FOUND)
		c->error = f.op.error;
	c->unbelieved += f.is_too_large;
	buf_free(&f.text);
	return r == STORAGE_NOT_FOUND || f.is_too_large ? STORAGE_OK : r;
}

enum storage_result manifest_store(struct storage *st, const char *prefix, int64_t when, enum backup_format format,
				   const struct manifest *m, const struct manifest_keys *keys,
				   struct storage_error *error)
{
	struct storage_body body;
	struct storage_op op = {0};
	char key[BACKUP_KEY_MAX];
	enum storage_result r;
	struct buf stored;

	buf_init(&stored);
	manifest_pack(m, keys, &stored);
	body = (struct storage_body){.bytes = buf_span(&stored), .fd = -1, .len = buf_len(&stored)};
	manifest_key_make(prefix, when, format, key);
	st->ops->replace(st, &op, key, keys->seals ? "application/octet-stream" : "application/json", &body);
	r = storage_wait(st, &op);
	*error = op.error;
	buf_free(&stored);
	return r;
}

/* ---- choosing ---- */

/* The first good one from index on. */
static enum storage_result first_good(struct catalog *c, size_t from, int64_t not_after,
				      const struct backup_entry **out)
{
	*out = NULL;
	for (size_t i = from; i < c->count; i++) {
		struct backup_entry *e = &c->entries[i];
		enum storage_result r;

		if (e->when > not_after || backup_is_future(e, c->now))
			continue;
		r = catalog_read_manifests(c, i, 1);
		if (r != STORAGE_OK)
			return r;
		if (backup_is_good(e)) {
			*out = e;
			return STORAGE_OK;
		}
	}
	return STORAGE_NOT_FOUND;
}

enum storage_result catalog_choose_at(struct catalog *c, int64_t when, const struct backup_entry **out)
{
	return first_good(c, 0, when, out);
}

enum storage_result catalog_choose_older(struct catalog *c, const struct backup_entry *than,
					 const struct backup_entry **out)
{
	return first_good(c, (size_t)(than - c->entries) + 1, INT64_MAX, out);
}

/* Of several of one second the first good one, else the first. */
static const struct backup_entry *of_second(struct catalog *c, int64_t when)
{
	const struct backup_entry *found = NULL;

	for (size_t i = 0; i < c->count && c->entries[i].when >= when; i++)
		if (c->entries[i].when == when &&
		    (!found || (!backup_is_good(found) && backup_is_good(&c->entries[i]))))
			found = &c->entries[i];
	return found;
}

enum storage_result catalog_choose(struct catalog *c, const char *what, const struct backup_entry **out, char *why,
				   size_t why_size)
{
	enum backup_format format;
	enum storage_result r;
	int64_t when;

	*out = NULL;
	if (strcmp(what, "latest") == 0) {
		r = first_good(c, 0, INT64_MAX, out);
		if (r == STORAGE_NOT_FOUND)
			snprintf(why, why_size, "there is no good backup under %s/", c->prefix);
		else if (r != STORAGE_OK)
			snprintf(why, why_size, "%s", c->error.message);
		return r;
	}
	if (backup_name_parse(c->prefix, what, &when, &format) || backup_name_parse_bare(what, &when, &format))
		*out = find(c, when, format);
	else if (backup_time_parse(what, &when))
		*out = of_second(c, when);
	else {
		snprintf(why, why_size, "\"%s\" is neither latest nor a time nor the name of a backup", what);
		return STORAGE_NOT_FOUND;
	}
	if (!*out) {
		snprintf(why, why_size, "there is no backup \"%s\" under %s/", what, c->prefix);
		return STORAGE_NOT_FOUND;
	}
	r = catalog_read_manifests(c, (size_t)(*out - c->entries), 1);
	if (r != STORAGE_OK)
		snprintf(why, why_size, "%s", c->error.message);
	return r;
}
