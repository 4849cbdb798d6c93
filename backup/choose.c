#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backup/event.h"
#include "backup/keys.h"
#include "backup/metrics.h"
#include "cmd_parts.h"

enum outcome tell_storage_failure(const char *event, enum storage_result r, const struct storage_error *e)
{
	/* Whoever interrupted it knows why; it is no failure of the store. */
	if (r == STORAGE_CANCELLED)
		return OUTCOME_INTERRUPTED;
	EVENT(LEVEL_ERROR, event, F_TEXT("error", e->message[0] ? e->message : storage_result_word(r)), F_INT("http", e->http),
	      F_TEXT("code", e->code[0] ? e->code : NULL), F_TEXT("request_id", e->request_id[0] ? e->request_id : NULL));
	return storage_outcome(r);
}

enum outcome load_catalog(struct program *p, const char *prefix, struct catalog *c)
{
	enum storage_result r;

	*c = (struct catalog){0};
	c->key_id = p->key_id;
	r = catalog_load(c, p->storage, prefix ? prefix : p->prefix, &p->manifest_keys, time(NULL), NULL, NULL);
	if (r != STORAGE_OK)
		return tell_storage_failure("list", r, &c->error);
	metric_set(METRIC_objects, NULL, (double)c->count);
	metric_set(METRIC_objects_bytes, NULL, (double)c->bytes);
	metric_set(METRIC_oldest_timestamp_seconds, NULL, c->count ? (double)c->entries[c->count - 1].when : 0);
	return OUTCOME_DONE;
}

enum outcome look_at_backup(struct program *p, struct catalog *c, const struct backup_entry *e, struct chosen_backup *b)
{
	struct storage_op op = {0};
	enum storage_result r;
	const char *sha256;
	int64_t size;

	*b = (struct chosen_backup){.entry = *e, .listed = e, .prefix = c->prefix};
	catalog_key(c, e, b->key);
	p->storage->ops->head(p->storage, &op, b->key, &b->info);
	r = storage_wait(p->storage, &op);
	if (r != STORAGE_OK)
		return tell_storage_failure("head", r, &op.error);
	r = catalog_manifest(c, e, &b->manifest);
	if (r != STORAGE_OK)
		return tell_storage_failure("manifest", r, &c->error);
	if (!b->manifest)
		return OUTCOME_DONE;
	if (manifest_number(b->manifest, "size", &size) && (uint64_t)size != b->info.size) {
		EVENT(LEVEL_ERROR, "head", F_TEXT("object", b->key), F_UINT("size", b->info.size), F_INT("manifest_says", size),
		      F_TEXT("error", "its size is not the one in its manifest"));
		chosen_free(b);
		return OUTCOME_INTEGRITY;
	}
	sha256 = manifest_text(b->manifest, "sha256");
	if (sha256)
		snprintf(b->sha256, sizeof(b->sha256), "%s", sha256);
	return OUTCOME_DONE;
}

enum outcome choose_backup(struct program *p, const char *what, struct catalog *given, struct chosen_backup *b)
{
	struct catalog own = {0}, *c = given ? given : &own;
	const struct backup_entry *e = NULL;
	enum outcome outcome = given ? OUTCOME_DONE : load_catalog(p, NULL, c);
	enum storage_result r;
	char why[512] = "";

	if (outcome == OUTCOME_DONE) {
		r = catalog_choose(c, what, &e, why, sizeof(why));
		if (r == STORAGE_NOT_FOUND) {
			EVENT(LEVEL_ERROR, "no_backup", F_TEXT("wanted", what), F_TEXT("prefix", p->prefix),
			      F_TEXT("error", why));
			outcome = OUTCOME_NO_BACKUP;
		} else if (r != STORAGE_OK)
			outcome = tell_storage_failure("list", r, &c->error);
		else
			outcome = look_at_backup(p, c, e, b);
	}
	if (!given)
		catalog_free(&own);
	return outcome;
}

void chosen_free(struct chosen_backup *b)
{
	manifest_free(b->manifest);
	b->manifest = NULL;
}

struct reader_spec reader_spec_of(struct program *p, const struct chosen_backup *b, bool is_forced)
{
	return (struct reader_spec){
		.store = p->storage, .key = b->key, .etag = b->info.etag, .size = b->info.size, .keys = p->keys,
		.accept_plain = p->config->encryption_accept_unencrypted || p->config->encryption_mode == ENCRYPT_NONE,
		.spool_dir = config_spool_dir(p->config), .named = (enum file_format)b->entry.format, .content = CONTENT_DUMP,
		.named_at = is_forced ? -1 : b->entry.when, .expect_sha256 = b->sha256[0] ? b->sha256 : NULL,
	};
}
