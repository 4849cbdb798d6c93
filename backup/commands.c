/* list, prune, cleanup, hold, release, download. */
#include "backup/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backup/event.h"
#include "lib/buf.h"
#include "lib/mem.h"

#define CLOCK_MOST 86400 /* seconds that the store's clock may be off before retention does nothing */
#define STALE_AGE (24 * 3600 * USEC_PER_SEC)

static int64_t now_of(const struct command_env *e)
{
	return e->now ? e->now : (int64_t)time(NULL);
}

static void log_store(const char *event, const char *what, enum storage_result r, const struct storage_error *error)
{
	/* Whoever interrupted it knows why; it is no failure of the store. */
	if (r == STORAGE_CANCELLED)
		return;
	EVENT(LEVEL_ERROR, event, F_TEXT("what", what), F_TEXT("result", storage_result_word(r)),
	      F_TEXT("code", *error->code ? error->code : NULL),
	      F_TEXT("message", *error->message ? error->message : NULL),
	      F_TEXT("request_id", *error->request_id ? error->request_id : NULL));
}

static enum outcome load(struct command_env *e, struct catalog *c, const char *event, catalog_foreign *foreign,
			 void *ctx)
{
	enum storage_result r;

	c->key_id = e->key_id;
	r = catalog_load(c, e->store, e->prefix, e->keys, now_of(e), foreign, ctx);
	if (r != STORAGE_OK)
		log_store(event, "listing", r, &c->error);
	return storage_outcome(r);
}

static enum outcome load_judged(struct command_env *e, struct catalog *c, const char *event, catalog_foreign *foreign,
				void *ctx)
{
	enum outcome o = load(e, c, event, foreign, ctx);
	enum storage_result r;

	if (o != OUTCOME_DONE)
		return o;
	r = catalog_read_manifests(c, 0, c->count);
	if (r != STORAGE_OK)
		log_store(event, "manifests", r, &c->error);
	if (c->unbelieved)
		EVENT(LEVEL_WARNING, event, F_TEXT("what", "manifests that are not believed"),
		      F_UINT("count", c->unbelieved));
	return storage_outcome(r);
}

static size_t judge(struct command_env *e, struct catalog *c)
{
	static const struct retention_rules none = RETENTION_DEFAULT;

	return retention_judge(e->rules ? e->rules : &none, c->now, c->entries, c->count);
}

/* ---- list ---- */

static void age_text(const struct catalog *c, const struct backup_entry *b, char out[32])
{
	int64_t age = c->now > b->when ? c->now - b->when : 0;

	if (age >= 86400)
		snprintf(out, 32, "%" PRId64 "d %" PRId64 "h", age / 86400, age % 86400 / 3600);
	else if (age >= 3600)
		snprintf(out, 32, "%" PRId64 "h %" PRId64 "m", age / 3600, age % 3600 / 60);
	else
		snprintf(out, 32, "%" PRId64 "m %" PRId64 "s", age / 60, age % 60);
}

static const char *state_word(const struct backup_entry *b)
{
	if (b->is_failed)
		return "failed";
	if (b->is_suspect)
		return "suspect";
	if (b->size == 0)
		return "empty";
	return b->is_proven ? "proven" : b->is_told ? "good" : "unknown";
}

static const char *format_word(const struct backup_entry *b)
{
	static const char *const words[] = {[BACKUP_PLAIN] = "plain", [BACKUP_FORMAT_1] = "1", [BACKUP_FORMAT_2] = "2"};

	return words[b->format];
}

struct foreign_list {
	struct command_env *e;
	const struct list_options *o;
	struct buf json; /* of the items; text is printed as it comes */
};

static void take_foreign(void *ctx, const char *key, const struct object_info *info)
{
	struct foreign_list *f = ctx;

	if (f->o->json) {
		buf_put_text(&f->json, ",{\"key\":");
		event_put_json(&f->json, key, strlen(key));
		buf_printf(&f->json, ",\"size\":%" PRIu64 ",\"ignored\":true}", info->size);
		return;
	}
	/* A name in the bucket may be anything; a terminal must not obey it. */
	buf_clear(&f->json);
	event_put_json(&f->json, key, strlen(key));
	fprintf(f->e->out, "ignored  %" PRIu64 "  %.*s\n", info->size, (int)buf_len(&f->json),
		(const char *)buf_span(&f->json).ptr);
}

static void put_json_text(struct buf *b, const char *name, const char *value)
{
	if (!value)
		return;
	buf_printf(b, ",\"%s\":", name);
	event_put_json(b, value, strlen(value));
}

static void put_json_number(struct buf *b, const struct manifest *m, const char *name)
{
	int64_t n;

	if (manifest_number(m, name, &n))
		buf_printf(b, ",\"%s\":%" PRId64, name, n);
}

static const char *const long_texts[] = {"run_id", "database", "label",	   "pg_dump_version",
					 "sha256", "host",     "start_lsn"};
static const char *const long_numbers[] = {"plaintext_size", "duration_ms", "server_version", "parts",
					   "relation_count"};

static void put_json_entry(struct buf *b, const struct catalog *c, const struct backup_entry *e,
			   const struct manifest *m)
{
	char key[BACKUP_KEY_MAX], when[ISO_TIME_MAX];
	struct manifest_verdict v = {0};

	catalog_key(c, e, key);
	buf_put_text(b, "{\"key\":");
	event_put_json(b, key, strlen(key));
	buf_printf(b,
		   ",\"time\":\"%s\",\"unix_time\":%" PRId64 ",\"size\":%" PRIu64
		   ",\"format\":\"%s\",\"age_seconds\":%" PRId64
		   ",\"state\":\"%s\",\"good\":%s,\"held\":%s,\"has_manifest\":%s,\"other_key\":%s,\"keep\":%s,"
		   "\"rule\":\"%s\"",
		   iso_time(e->when, when), e->when, e->size, format_word(e), c->now > e->when ? c->now - e->when : 0,
		   state_word(e), backup_is_good(e) ? "true" : "false", e->is_held ? "true" : "false",
		   e->has_manifest ? "true" : "false", e->is_sealed_elsewhere ? "true" : "false",
		   e->is_deleted ? "false" : "true", retention_rule_word((enum retention_rule)e->rule));
	if (m) {
		for (size_t i = 0; i < ARRAY_LEN(long_texts); i++)
			put_json_text(b, long_texts[i], manifest_text(m, long_texts[i]));
		for (size_t i = 0; i < ARRAY_LEN(long_numbers); i++)
			put_json_number(b, m, long_numbers[i]);
		v = manifest_verified(m);
		put_json_text(b, "verified_level", v.level);
		put_json_text(b, "verified_at", v.at);
		put_json_text(b, "verified_result", v.result);
	}
	buf_put_u8(b, '}');
}

static void print_long(FILE *out, const struct manifest *m)
{
	struct manifest_verdict v = manifest_verified(m);
	int64_t n;

	for (size_t i = 0; i < ARRAY_LEN(long_texts); i++)
		if (manifest_text(m, long_texts[i])) {
			const char *t = manifest_text(m, long_texts[i]);
			struct buf quoted;

			buf_init(&quoted);
			event_put_json(&quoted, t, strlen(t));
			fprintf(out, "    %s: %.*s\n", long_texts[i], (int)buf_len(&quoted),
				(const char *)buf_span(&quoted).ptr);
			buf_free(&quoted);
		}
	for (size_t i = 0; i < ARRAY_LEN(long_numbers); i++)
		if (manifest_number(m, long_numbers[i], &n))
			fprintf(out, "    %s: %" PRId64 "\n", long_numbers[i], n);
	if (v.level)
		fprintf(out, "    verified: %s %s at %s\n", v.level, v.result, v.at);
}

static void print_entry(FILE *out, const struct catalog *c, const struct backup_entry *b)
{
	char age[32], name[BACKUP_NAME_MAX];

	backup_name_make(b->when, (enum backup_format)b->format, name);
	age_text(c, b, age);
	fprintf(out, "%-28s %14" PRIu64 "  %-6s  %-9s  %-8s  %s%s%s\n", name, b->size, format_word(b), age,
		state_word(b), retention_rule_word((enum retention_rule)b->rule),
		b->is_deleted ? " (goes at the next prune)" : "",
		b->is_sealed_elsewhere ? " (sealed with another key)" : "");
}

enum outcome command_list(struct command_env *e, const struct list_options *o)
{
	struct foreign_list f = {e, o, {0}};
	struct catalog c = {0};
	enum outcome result = load_judged(e, &c, "list", o->all ? take_foreign : NULL, &f);
	struct buf json;

	buf_init(&json);
	if (result != OUTCOME_DONE)
		goto out;
	judge(e, &c);
	if (o->json)
		buf_put_u8(&json, '[');
	else if (c.count)
		fprintf(e->out, "%-28s %14s  %-6s  %-9s  %-8s  %s\n", "name", "bytes", "format", "age", "state",
			"kept by");
	for (size_t i = 0; i < c.count; i++) {
		struct manifest *m = NULL;
		enum storage_result r = o->is_long ? catalog_manifest(&c, &c.entries[i], &m) : STORAGE_OK;

		if (r != STORAGE_OK) {
			log_store("list", "manifest", r, &c.error);
			result = storage_outcome(r);
			break;
		}
		if (o->json) {
			buf_put_text(&json, i ? ",\n" : "\n");
			put_json_entry(&json, &c, &c.entries[i], m);
		} else {
			print_entry(e->out, &c, &c.entries[i]);
			if (m)
				print_long(e->out, m);
		}
		manifest_free(m);
	}
	if (o->json && result == OUTCOME_DONE) {
		struct span more = buf_span(&f.json);

		if (more.len) /* without its first comma when it is the first */
			buf_put(&json, more.ptr + (c.count == 0), more.len - (c.count == 0));
		buf_put_text(&json, "\n]\n");
		fwrite(buf_span(&json).ptr, 1, buf_len(&json), e->out);
	} else if (result == OUTCOME_DONE && c.count == 0) {
		fprintf(e->out, "no backups under %s/\n", e->prefix);
	}
out:
	buf_free(&json);
	buf_free(&f.json);
	catalog_free(&c);
	return result;
}

/* ---- prune ---- */

static enum storage_result remove_key(struct command_env *e, const char *key, struct storage_error *error)
{
	struct storage_op op = {0};
	enum storage_result r;

	e->store->ops->remove(e->store, &op, key);
	r = storage_wait(e->store, &op);
	*error = op.error;
	return r;
}

/* The object first: what is left over otherwise is only a mark of something that is gone. */
static enum storage_result remove_backup(struct command_env *e, const struct backup_entry *b)
{
	void (*const makers[])(const char *, int64_t, enum backup_format, char *) = {backup_key_make, manifest_key_make,
										     hold_key_make};
	const bool is_there[] = {true, b->has_manifest, b->is_held};
	struct storage_error error;
	char key[BACKUP_KEY_MAX];

	for (size_t i = 0; i < ARRAY_LEN(makers); i++) {
		enum storage_result r;

		if (!is_there[i])
			continue;
		makers[i](e->prefix, b->when, (enum backup_format)b->format, key);
		r = remove_key(e, key, &error);
		if (r != STORAGE_OK) {
			log_store("prune", key, r, &error);
			return r;
		}
	}
	return STORAGE_OK;
}

static bool clock_is_off(struct command_env *e)
{
	int64_t off = e->store->has_clock ? e->store->clock_offset : 0;

	if (llabs(off) <= CLOCK_MOST)
		return false;
	EVENT(LEVEL_ERROR, "prune",
	      F_TEXT("what", "the store's clock and ours are more than a day apart: nothing is deleted"),
	      F_INT("store_minus_ours_seconds", off));
	return true;
}

static void print_plan(struct command_env *e, const struct catalog *c)
{
	size_t rank = 0;

	for (size_t i = 0; i < c->count; i++) {
		const struct backup_entry *b = &c->entries[i];
		bool has_rank = backup_is_good(b) && !backup_is_future(b, c->now);
		char key[BACKUP_KEY_MAX], age[32], number[24] = "-";

		catalog_key(c, b, key);
		age_text(c, b, age);
		if (has_rank)
			snprintf(number, sizeof(number), "%zu", rank++);
		fprintf(e->out, "%-6s  %s  age %s (%" PRId64 " days)  rank %s  %s\n", b->is_deleted ? "delete" : "keep",
			key, age, backup_age_days(b, c->now), number,
			retention_rule_word((enum retention_rule)b->rule));
	}
}

static enum outcome delete_all(struct command_env *e, struct catalog *c, struct prune_report *report)
{
	/* From the old end, so that an interruption leaves the newer ones. */
	for (size_t i = c->count; i-- > 0;) {
		const struct backup_entry *b = &c->entries[i];
		enum storage_result r;

		if (!b->is_deleted)
			continue;
		r = remove_backup(e, b);
		if (r == STORAGE_CANCELLED)
			return OUTCOME_INTERRUPTED;
		if (r == STORAGE_OK) {
			report->deleted++;
			report->objects--;
			report->bytes -= b->size;
		} else {
			report->failed++;
		}
	}
	return report->failed ? OUTCOME_FOLLOW_UP : OUTCOME_DONE;
}

static int64_t oldest_left(const struct catalog *c, const struct prune_report *r)
{
	if (r->objects == 0)
		return 0;
	for (size_t i = c->count; i-- > 0;)
		if (!c->entries[i].is_deleted || r->failed)
			return c->entries[i].when;
	return 0;
}

enum outcome command_prune(struct command_env *e, const struct prune_options *o, struct prune_report *report)
{
	static const struct retention_rules none = RETENTION_DEFAULT;
	struct retention_rules rules = e->rules ? *e->rules : none;
	struct prune_report own = {0};
	struct catalog c = {0};
	enum outcome result;
	size_t planned;

	if (!report)
		report = &own;
	*report = (struct prune_report){0};
	if (o->max_delete >= 0)
		rules.max_delete = (unsigned)o->max_delete;
	result = load_judged(e, &c, "prune", NULL, NULL);
	if (result != OUTCOME_DONE)
		goto out;
	report->objects = c.count;
	report->bytes = c.bytes;
	planned = retention_judge(&rules, c.now, c.entries, c.count);
	if (o->is_dry_run) {
		print_plan(e, &c);
		fprintf(e->out, "%zu of %zu would be deleted%s%s; other objects under the prefix, never touched: %zu\n",
			planned, c.count, o->blocked ? ", but nothing is, since " : "", o->blocked ? o->blocked : "",
			c.ignored);
		report->kept = c.count - planned;
		report->oldest = c.count ? c.entries[c.count - 1].when : 0;
		goto out;
	}
	if (o->blocked) {
		report->kept = c.count;
		report->oldest = c.count ? c.entries[c.count - 1].when : 0;
		EVENT(planned ? LEVEL_WARNING : LEVEL_LOG, "prune", F_UINT("kept", c.count), F_UINT("deleted", 0),
		      F_TEXT("blocked", o->blocked));
		goto out;
	}
	if (planned && clock_is_off(e)) {
		report->kept = c.count;
		result = OUTCOME_REFUSED;
		goto out;
	}
	for (size_t i = 0; i < c.count; i++)
		if (c.entries[i].rule == RULE_MAX_DELETE) {
			EVENT(LEVEL_WARNING, "prune", F_TEXT("what", "more would go than max_delete allows at once"),
			      F_UINT("max_delete", rules.max_delete));
			break;
		}
	result = delete_all(e, &c, report);
	report->kept = report->objects;
	report->oldest = oldest_left(&c, report);
	if (report->deleted || report->failed || !o->is_triggered)
		EVENT(report->failed ? LEVEL_ERROR : LEVEL_LOG, "prune", F_UINT("kept", report->kept),
		      F_UINT("deleted", report->deleted), F_UINT("failed", report->failed),
		      F_UINT("ignored", c.ignored));
out:
	catalog_free(&c);
	return result;
}

/* ---- cleanup ---- */

struct stale {
	char *key, *id; /* owned */
};

struct stale_list {
	const struct command_env *e;
	const struct cleanup_options *o;
	int64_t not_after; /* begun before that: stale */
	struct stale *items; /* owned */
	size_t count;
};

static void stale_add(struct stale_list *l, const char *key, const char *id)
{
	for (size_t i = 0; i < l->count; i++)
		if (strcmp(l->items[i].id, id) == 0)
			return;
	l->items = xrealloc(l->items, (l->count + 1) * sizeof(*l->items));
	l->items[l->count++] = (struct stale){xstrdup(key), xstrdup(id)};
}

static bool take_upload(void *ctx, const char *key, const char *id, time_t begun)
{
	struct stale_list *l = ctx;
	enum backup_format format;
	int64_t when;

	if (!backup_name_parse(l->e->prefix, key, &when, &format) || (l->o->keep_id && strcmp(id, l->o->keep_id) == 0))
		return true;
	/* The store does not say when: its name does. */
	if ((begun ? (int64_t)begun : when) <= l->not_after)
		stale_add(l, key, id);
	return true;
}

static enum storage_result abort_upload(struct command_env *e, const struct stale *s)
{
	struct storage_op op = {0};
	enum storage_result r;

	e->store->ops->abort_stale(e->store, &op, s->key, s->id);
	r = storage_wait(e->store, &op);
	if (r == STORAGE_EXISTS)
		EVENT(LEVEL_WARNING, "upload_left", F_TEXT("object", s->key), F_TEXT("upload", s->id), F_TEXT("reason", op.error.message));
	else if (r != STORAGE_OK)
		log_store("upload_aborted", s->key, r, &op.error);
	else
		EVENT(LEVEL_LOG, "upload_aborted", F_TEXT("object", s->key), F_TEXT("upload", s->id),
		      F_TEXT("reason", "left over"));
	return r;
}

enum outcome command_cleanup(struct command_env *e, const struct cleanup_options *o, struct cleanup_report *report)
{
	usec_t age = o->min_age > 0 ? o->min_age : STALE_AGE;
	struct stale_list l = {.e = e, .o = o};
	struct storage_op op = {0};
	struct cleanup_report own;
	char under[BACKUP_KEY_MAX];
	enum outcome result = OUTCOME_DONE;
	enum storage_result r;

	if (!report)
		report = &own;
	*report = (struct cleanup_report){0};
	/* By the store's own clock: begun is its time. */
	l.not_after = now_of(e) + (e->store->has_clock ? e->store->clock_offset : 0) - age / USEC_PER_SEC;
	snprintf(under, sizeof(under), "%s/", e->prefix);
	e->store->ops->list_uploads(e->store, &op, under, take_upload, &l);
	r = storage_wait(e->store, &op);
	if (r == STORAGE_UNSUPPORTED) {
		EVENT(LEVEL_WARNING, "cleanup",
		      F_TEXT("what", "the store does not list uploads; a bucket rule should expire incomplete ones "
				     "after 2 days"));
	} else if (r != STORAGE_OK) {
		log_store("cleanup", "listing", r, &op.error);
		result = storage_outcome(r);
		goto out;
	}
	if (o->known_id && o->known_key && (!o->keep_id || strcmp(o->known_id, o->keep_id) != 0))
		stale_add(&l, o->known_key, o->known_id);
	report->found = l.count;
	for (size_t i = 0; i < l.count && result == OUTCOME_DONE; i++) {
		if (o->is_dry_run) {
			fprintf(e->out, "stale  %s  %s\n", l.items[i].key, l.items[i].id);
			continue;
		}
		r = abort_upload(e, &l.items[i]);
		if (r == STORAGE_CANCELLED)
			result = OUTCOME_INTERRUPTED;
		report->aborted += r == STORAGE_OK;
		report->failed += r != STORAGE_OK && r != STORAGE_EXISTS;
	}
	if (o->is_dry_run)
		fprintf(e->out, "%zu unfinished uploads would be aborted\n", l.count);
	if (report->failed && result == OUTCOME_DONE)
		result = OUTCOME_STORAGE;
out:
	for (size_t i = 0; i < l.count; i++) {
		free(l.items[i].key);
		free(l.items[i].id);
	}
	free(l.items);
	return result;
}

/* ---- one backup ---- */

static enum outcome choose(struct command_env *e, struct catalog *c, const char *event, const char *what,
			   const struct backup_entry **b)
{
	enum outcome o = load(e, c, event, NULL, NULL);
	char why[400] = "";
	enum storage_result r;

	if (o != OUTCOME_DONE)
		return o;
	r = catalog_choose(c, what, b, why, sizeof(why));
	if (r == STORAGE_OK)
		return OUTCOME_DONE;
	EVENT(LEVEL_ERROR, event, F_TEXT("what", why));
	return r == STORAGE_NOT_FOUND ? OUTCOME_NO_BACKUP : storage_outcome(r);
}

enum outcome command_hold(struct command_env *e, const char *what)
{
	static const struct storage_body nothing = {.bytes = {(const uint8_t *)"", 0}, .fd = -1};
	const struct backup_entry *b = NULL;
	struct storage_op op = {0};
	struct catalog c = {0};
	enum outcome result = choose(e, &c, "hold", what, &b);
	char key[BACKUP_KEY_MAX];
	enum storage_result r;

	if (result == OUTCOME_DONE) {
		hold_key_make(e->prefix, b->when, (enum backup_format)b->format, key);
		e->store->ops->replace(e->store, &op, key, "application/octet-stream", &nothing);
		r = storage_wait(e->store, &op);
		if (r != STORAGE_OK)
			log_store("hold", key, r, &op.error);
		result = storage_outcome(r);
		catalog_key(&c, b, key);
		if (r == STORAGE_OK)
			fprintf(e->out, "held: %s\n", key);
	}
	catalog_free(&c);
	return result;
}

/* An operator has looked at it: what was marked suspect counts again. */
static enum storage_result clear_suspect(struct command_env *e, struct catalog *c, const struct backup_entry *b)
{
	struct manifest *m = NULL;
	enum storage_result r = catalog_manifest(c, b, &m);

	if (r == STORAGE_OK && m && manifest_flag(m, "suspect")) {
		manifest_set_flag(m, "suspect", false);
		r = manifest_store(e->store, e->prefix, b->when, (enum backup_format)b->format, m, e->keys, &c->error);
	}
	manifest_free(m);
	return r;
}

enum outcome command_release(struct command_env *e, const char *what)
{
	const struct backup_entry *b = NULL;
	struct storage_error error = {0};
	struct catalog c = {0};
	enum outcome result = choose(e, &c, "release", what, &b);
	char key[BACKUP_KEY_MAX];
	enum storage_result r;

	if (result == OUTCOME_DONE) {
		hold_key_make(e->prefix, b->when, (enum backup_format)b->format, key);
		r = remove_key(e, key, &error);
		if (r == STORAGE_OK) {
			r = clear_suspect(e, &c, b);
			error = c.error;
		}
		if (r != STORAGE_OK)
			log_store("release", key, r, &error);
		result = storage_outcome(r);
		catalog_key(&c, b, key);
		if (r == STORAGE_OK)
			fprintf(e->out, "released: %s\n", key);
	}
	catalog_free(&c);
	return result;
}

/* ---- download ---- */

struct download {
	int fd;
	uint64_t written;
	int error;
};

static bool write_some(void *ctx, struct span s)
{
	struct download *d = ctx;

	while (s.len) {
		ssize_t n = write(d->fd, s.ptr, s.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			d->error = errno;
			return false;
		}
		d->written += (uint64_t)n;
		s = span_of(s.ptr + n, s.len - (size_t)n);
	}
	return true;
}

static enum outcome fetch_into(struct command_env *e, const char *key, int fd, bool can_rewind)
{
	struct object_info info, got;
	struct storage_op op;
	enum storage_result r;

	/* Once more when somebody replaces it meanwhile. */
	for (int attempt = 0; attempt < 2; attempt++) {
		struct download d = {.fd = fd};

		op = (struct storage_op){0};
		e->store->ops->head(e->store, &op, key, &info);
		r = storage_wait(e->store, &op);
		if (r != STORAGE_OK)
			break;
		op = (struct storage_op){0};
		e->store->ops->get(e->store, &op, key, *info.etag ? info.etag : NULL, 0, 0, &got, write_some, &d);
		r = storage_wait(e->store, &op);
		if (d.error) {
			EVENT(LEVEL_ERROR, "download", F_TEXT("what", "writing"), F_TEXT("message", strerror(d.error)));
			return OUTCOME_FAILED;
		}
		if (r == STORAGE_OK && d.written != info.size) {
			EVENT(LEVEL_ERROR, "download",
			      F_TEXT("what", "the object has another size than it was said to have"),
			      F_UINT("expected", info.size), F_UINT("received", d.written));
			return OUTCOME_INTEGRITY;
		}
		if (r != STORAGE_CHANGED || !can_rewind || ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0)
			break;
	}
	if (r != STORAGE_OK)
		log_store("download", key, r, &op.error);
	return storage_outcome(r);
}

static enum outcome fetch_to_file(struct command_env *e, const char *key, const char *path)
{
	char *partial = xasprintf("%s.partial", path);
	int fd = open(partial, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	enum outcome result = OUTCOME_FAILED;

	if (fd < 0) {
		EVENT(LEVEL_ERROR, "download", F_TEXT("file", partial), F_TEXT("message", strerror(errno)));
		free(partial);
		return OUTCOME_FAILED;
	}
	result = fetch_into(e, key, fd, true);
	if (result == OUTCOME_DONE && (fsync(fd) < 0 || rename(partial, path) < 0)) {
		EVENT(LEVEL_ERROR, "download", F_TEXT("file", path), F_TEXT("message", strerror(errno)));
		result = OUTCOME_FAILED;
	}
	close(fd);
	if (result != OUTCOME_DONE)
		unlink(partial);
	free(partial);
	return result;
}

enum outcome command_download(struct command_env *e, const char *what, const char *out_path)
{
	bool to_stdout = strcmp(out_path, "-") == 0;
	const struct backup_entry *b = NULL;
	struct catalog c = {0};
	char key[BACKUP_KEY_MAX];
	enum outcome result;

	if (to_stdout && isatty(STDOUT_FILENO)) {
		EVENT(LEVEL_ERROR, "download", F_TEXT("what", "standard output is a terminal"));
		return OUTCOME_USAGE;
	}
	result = choose(e, &c, "download", what, &b);
	if (result == OUTCOME_DONE) {
		catalog_key(&c, b, key);
		result = to_stdout ? fetch_into(e, key, STDOUT_FILENO, false) : fetch_to_file(e, key, out_path);
		if (result == OUTCOME_DONE)
			EVENT(LEVEL_LOG, "download", F_TEXT("object", key), F_UINT("bytes", b->size),
			      F_TEXT("file", to_stdout ? NULL : out_path));
	}
	catalog_free(&c);
	return result;
}
