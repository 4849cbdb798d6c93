/*
 * Roles and tablespaces: pg_dumpall --globals-only, stored as format 2 of
 * content 2 below <prefix>/_globals/. It holds password hashes.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backup/child.h"
#include "backup/command.h"
#include "backup/event.h"
#include "backup/facts.h"
#include "backup/object_name.h"
#include "backup/part_size.h"
#include "backup/pg.h"
#include "backup/reader.h"
#include "backup/set.h"
#include "backup/sql_split.h"
#include "backup/tools.h"
#include "backup/upload.h"
#include "backup/work.h"
#include "cmd_parts.h"
#include "job_parts.h"
#include "lib/mem.h"

#define CONNECT_LIMIT (30 * USEC_PER_SEC)
#define SCRIPT_MAX ((size_t)16 << 20) /* of a restore, in memory */
#define LAST_WORDS 500
#define TAIL 256
#define SUFFIX_SEALED ".globals.enc2"
#define SUFFIX_PLAIN ".globals"

static const char last_line[] = "PostgreSQL database cluster dump complete";

static enum outcome fail(char *why, size_t cap, enum outcome o, const char *fmt, ...) PRINTF_LIKE(4, 5);
static enum outcome fail(char *why, size_t cap, enum outcome o, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, cap, fmt, ap);
	va_end(ap);
	return o;
}

/* ---- the dump ---- */

struct end_of_text { /* the last bytes of a stream */
	char bytes[TAIL + 1];
	size_t len;
};

static void remember_end(struct end_of_text *e, const uint8_t *bytes, size_t len)
{
	if (len >= TAIL) {
		memcpy(e->bytes, bytes + len - TAIL, TAIL);
		e->len = TAIL;
	} else {
		size_t keep = e->len + len > TAIL ? TAIL - len : e->len;

		memmove(e->bytes, e->bytes + e->len - keep, keep);
		memcpy(e->bytes + keep, bytes, len);
		e->len = keep + len;
	}
	e->bytes[e->len] = 0;
}

static enum outcome pump(struct program *p, struct work *w, struct child *c, struct sealer *s, char *why, size_t cap)
{
	struct end_of_text end = {.len = 0};
	char fate[96];

	for (;;) {
		size_t room, got = 0;
		uint8_t *at = sealer_room(s, &room);
		enum child_io io = child_read(c, at, room, &got);

		if (io == CHILD_INTERRUPTED || !loop_breathe(p->loop))
			return fail(why, cap, work_interruption(w), "%s", work_interruption_text(w));
		if (io == CHILD_END)
			break;
		remember_end(&end, at, got);
		work_moved(w);
		if (sealer_take(s, got) != SEAL_OK)
			return fail(why, cap, OUTCOME_STORAGE, "storing the globals failed");
	}
	if (!child_wait(c))
		return fail(why, cap, work_interruption(w), "%s", work_interruption_text(w));
	if (!child_succeeded(c))
		return fail(why, cap, OUTCOME_DATABASE, "pg_dumpall %s: %s", child_fate(c, fate), child_last_words(c, LAST_WORDS));
	if (!strstr(end.bytes, last_line))
		return fail(why, cap, OUTCOME_INTEGRITY, "pg_dumpall said that all went well, but its output has no end");
	return OUTCOME_DONE;
}

static enum outcome store(struct program *p, struct work *w, struct child *c, const char *key, int64_t when,
			  const char *run_id, char *why, size_t cap)
{
	const struct key *writer = keyring_writer(p->keys);
	const struct seal_spec seal = {.format = writer ? FORMAT_2 : FORMAT_PLAIN, .key = writer, .content = CONTENT_GLOBALS,
				       .segment_bytes = (uint32_t)p->config->encryption_segment_size, .created_at = when};
	struct object_meta meta = {.format = "2"};
	const struct upload_spec spec = {.store = p->storage, .key = key, .content_type = "application/octet-stream",
					 .meta = &meta, .part_bytes = PART_SMALLEST_CHOSEN, .max_parts = PARTS_MAX,
					 .concurrency = 1, .spool_dir = config_spool_dir(p->config), .work = w};
	const struct storage_error *e;
	struct upload *u;
	struct sealer *s;
	enum outcome o;

	snprintf(meta.run_id, sizeof(meta.run_id), "%s", run_id);
	snprintf(meta.key_id, sizeof(meta.key_id), "%s", p->key_id ? p->key_id : "");
	u = upload_new(&spec, why, cap);
	if (!u)
		return OUTCOME_FAILED;
	s = sealer_new(&seal, upload_put, u);
	o = pump(p, w, c, s, why, cap);
	if (o == OUTCOME_DONE && (sealer_finish(s) != SEAL_OK || upload_finish(u) != STORAGE_OK)) {
		enum storage_result r = upload_failure(u, &e);

		o = r == STORAGE_CANCELLED ? work_interruption(w) :
		    fail(why, cap, storage_outcome(r), "storing the globals: %s", e->message);
	}
	upload_abort(u);
	if (o == OUTCOME_DONE)
		EVENT(LEVEL_LOG, "globals_done", F_TEXT("object", key), F_UINT("bytes", upload_size(u)));
	sealer_free(s);
	upload_free(u);
	return o;
}

static enum outcome dump(struct program *p, struct work *w, const char *key, int64_t when, const char *run_id, char *why, size_t cap)
{
	const struct pg_target target = pg_target_of(p->config, NULL);
	struct pg *pg = pg_connect(p->loop, &target, CONNECT_LIMIT);
	char *argv[8];
	struct pg_env env;
	struct tool tool;
	struct child *c;
	size_t n = 0;
	int major = pg_failure(pg) == PG_FINE ? pg_version(pg) / 10000 : -1;
	enum outcome o;

	if (major < 0)
		snprintf(why, cap, "connecting to the database: %s", pg_why(pg));
	pg_close(pg);
	if (major < 0 || !tool_find(p->family, p->config, "pg_dumpall", major, &tool, why, cap) ||
	    !pg_env_make(&target, config_spool_dir(p->config), &env, why, cap))
		return loop_is_interrupted(p->loop) ? work_interruption(w) : OUTCOME_DATABASE;
	argv[n++] = tool.path;
	argv[n++] = (char *)"--globals-only";
	argv[n++] = (char *)"--no-password";
	if (!p->config->postgres_role_passwords)
		argv[n++] = (char *)"--no-role-passwords";
	argv[n] = NULL;
	c = child_start(p->family, &(struct child_spec){.name = "pg_dumpall", .path = tool.path, .argv = argv, .envp = env.envp,
							.wants_stdout = true, .pass_fd = env.pass_fd}, why, cap);
	o = c ? store(p, w, c, key, when, run_id, why, cap) : OUTCOME_DATABASE;
	child_kill_free(c);
	pg_env_free(&env);
	return o;
}

enum outcome globals_run(struct program *p, const char *run_id, char key[BACKUP_KEY_MAX], char *why, size_t cap)
{
	int64_t when = time(NULL);
	char name[BACKUP_NAME_MAX];
	struct work work;
	enum outcome o;

	key[0] = 0;
	if (!keyring_writer(p->keys) && p->config->postgres_role_passwords) {
		snprintf(why, cap, "globals hold password hashes: they are not stored unencrypted; role_passwords = no leaves them out");
		EVENT(LEVEL_ERROR, "globals_failed", F_TEXT("reason", why));
		return OUTCOME_REFUSED;
	}
	backup_name_make(when, BACKUP_PLAIN, name);
	snprintf(key, BACKUP_KEY_MAX, "%s/_globals/%.15s%s", p->config->s3_prefix, name,
		 keyring_writer(p->keys) ? SUFFIX_SEALED : SUFFIX_PLAIN);
	work_begin(&work, p, "globals");
	work_phase(&work, "globals");
	o = dump(p, &work, key, when, run_id, why, cap);
	work_end(&work);
	if (o != OUTCOME_DONE) {
		EVENT(LEVEL_ERROR, "globals_failed", F_TEXT("reason", why), F_INT("status", o));
		key[0] = 0;
	}
	return o;
}

/* ---- the way back ---- */

struct newest {
	char key[BACKUP_KEY_MAX];
	char wanted[64]; /* the part of the name that was asked for; "": the newest */
	size_t prefix_len;
};

static bool is_globals(const char *name)
{
	int64_t when;
	enum backup_format format;
	char as_backup[BACKUP_NAME_MAX];

	if (strlen(name) < 16 || (strcmp(name + 15, SUFFIX_SEALED) != 0 && strcmp(name + 15, SUFFIX_PLAIN) != 0))
		return false;
	snprintf(as_backup, sizeof(as_backup), "%.15s.backup", name);
	return backup_name_parse_bare(as_backup, &when, &format);
}

static bool on_item(void *ctx, const char *key, const struct object_info *info)
{
	struct newest *n = ctx;

	/* Names sort as their dates do. */
	if (info->size > 0 && is_globals(key + n->prefix_len) && strlen(key) < sizeof(n->key) &&
	    (!n->wanted[0] || strncmp(key + n->prefix_len, n->wanted, strlen(n->wanted)) == 0) && strcmp(key, n->key) > 0)
		snprintf(n->key, sizeof(n->key), "%s", key);
	return true;
}

static enum outcome find(struct program *p, const char *what, struct newest *n)
{
	char *prefix = xasprintf("%s/_globals/", p->config->s3_prefix);
	struct storage_op op = {0};
	enum storage_result r;

	n->prefix_len = strlen(prefix);
	if (what && strcmp(what, "latest") != 0)
		snprintf(n->wanted, sizeof(n->wanted), "%s", strncmp(what, prefix, n->prefix_len) == 0 ? what + n->prefix_len : what);
	p->storage->ops->list(p->storage, &op, prefix, true, on_item, n);
	r = storage_wait(p->storage, &op);
	free(prefix);
	if (r != STORAGE_OK)
		return tell_storage_failure("list", r, &op.error);
	if (n->key[0])
		return OUTCOME_DONE;
	EVENT(LEVEL_ERROR, "no_backup", F_TEXT("wanted", what ? what : "latest"), F_TEXT("error", "there are no such globals"));
	return OUTCOME_NO_BACKUP;
}

static bool append(void *ctx, struct span s)
{
	struct buf *b = ctx;

	if (buf_len(b) + s.len > SCRIPT_MAX)
		return false;
	buf_put(b, s.ptr, s.len);
	return buf_ok(b);
}

static enum outcome read_script(struct program *p, struct work *w, const char *key, bool is_forced, struct buf *script)
{
	struct storage_op op = {0};
	struct object_info info;
	struct reader_spec spec = {.store = p->storage, .key = key, .keys = p->keys, .work = w, .content = CONTENT_GLOBALS,
				   .named = FORMAT_2, .named_at = -1, .spool_dir = config_spool_dir(p->config),
				   .accept_plain = p->config->encryption_accept_unencrypted ||
						   p->config->encryption_mode == ENCRYPT_NONE};
	struct reader *r;
	enum read_result result;

	p->storage->ops->head(p->storage, &op, key, &info);
	if (storage_wait(p->storage, &op) != STORAGE_OK)
		return tell_storage_failure("head", op.result, &op.error);
	spec.size = info.size;
	spec.etag = info.etag;
	if (!strstr(key, SUFFIX_SEALED))
		spec.named = FORMAT_PLAIN;
	if (!is_forced) {
		char as_backup[BACKUP_NAME_MAX];
		enum backup_format format;

		snprintf(as_backup, sizeof(as_backup), "%.15s.backup", strrchr(key, '/') + 1);
		(void)!backup_name_parse_bare(as_backup, &spec.named_at, &format);
	}
	r = reader_new(&spec);
	result = reader_prepare(r);
	if (result == READ_OK)
		result = reader_pour(r, append, script);
	if (result != READ_OK)
		EVENT(LEVEL_ERROR, "restore_failed", F_TEXT("object", key), F_TEXT("reason", reader_why(r)));
	reader_free(r);
	return read_outcome(result);
}

/* Roles that are there stay as they are; nothing else may fail. */
static bool may_fail(const char *statement, const char *sqlstate)
{
	return strncmp(statement, "CREATE ROLE", 11) == 0 && strcmp(sqlstate, "42710") == 0;
}

static enum outcome run_script(struct program *p, const char *script)
{
	const struct pg_target target = pg_target_of(p->config, NULL);
	struct pg *pg = pg_connect(p->loop, &target, CONNECT_LIMIT);
	unsigned done = 0, kept = 0, failed = 0;
	char *statement;

	if (pg_failure(pg) != PG_FINE) {
		EVENT(LEVEL_ERROR, "restore_failed", F_TEXT("reason", pg_why(pg)));
		pg_close(pg);
		return OUTCOME_DATABASE;
	}
	while ((statement = sql_next(&script)) != NULL) {
		if (pg_do(pg, FACTS_LIMIT, statement))
			done++;
		else if (may_fail(statement, pg_sqlstate(pg)))
			kept++;
		else {
			failed++;
			/* Not the statement itself: it may hold a password's hash. */
			EVENT(LEVEL_ERROR, "restore_failed", F_TEXT("reason", pg_why(pg)), F_TEXT("sqlstate", pg_sqlstate(pg)));
		}
		str_wipe_free(statement);
		if (!pg_is_usable(pg))
			break;
	}
	EVENT(failed ? LEVEL_ERROR : LEVEL_LOG, "globals_restored", F_UINT("statements", done), F_UINT("roles_kept", kept),
	      F_UINT("failed", failed));
	pg_close(pg);
	return loop_is_interrupted(p->loop) ? OUTCOME_INTERRUPTED : failed ? OUTCOME_DATABASE : OUTCOME_DONE;
}

enum outcome globals_restore(struct program *p, const char *what, bool is_forced)
{
	struct newest n = {.key = ""};
	struct buf script;
	struct work work;
	enum outcome o = find(p, what, &n);

	if (o != OUTCOME_DONE)
		return o;
	buf_init(&script);
	work_begin(&work, p, "globals");
	work_phase(&work, "read");
	o = read_script(p, &work, n.key, is_forced, &script);
	if (o == OUTCOME_DONE) {
		buf_put_u8(&script, 0);
		work_phase(&work, "restore");
		o = buf_ok(&script) ? run_script(p, (const char *)buf_data(&script)) : OUTCOME_FAILED;
	}
	buf_wipe_free(&script);
	work_end(&work);
	return o;
}
