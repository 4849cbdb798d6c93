/* The store in a directory, and what is built on any store: the catalog and the commands that concern it alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/commands.h"
#include "backup/dir_store.h"
#include "backup/event.h"
#include "backup/loop.h"
#include "lib/buf.h"
#include "lib/mem.h"

#define OWN "/.pg-ecdsa-backup"

struct world {
	struct loop *loop;
	struct storage *st;
	char dir[64];
};

static int set_up(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));
	char why[200];

	strcpy(w->dir, "/tmp/test_backup_store.XXXXXX");
	if (!mkdtemp(w->dir))
		return -1;
	w->loop = loop_new();
	w->st = dir_store_new(w->loop, w->dir, why, sizeof(why));
	*state = w;
	return w->st ? 0 : -1;
}

static int tear_down(void **state)
{
	struct world *w = *state;
	char *command = xasprintf("rm -rf '%s'", w->dir);
	int status;

	w->st->ops->free(w->st);
	loop_free(w->loop);
	status = system(command);
	free(command);
	free(w);
	return status;
}

/* ---- one operation each ---- */

static struct storage_body body_of(const char *text)
{
	return (struct storage_body){.bytes = span_str(text), .fd = -1, .len = strlen(text)};
}

static enum storage_result put(struct world *w, const char *key, const char *text, const char *run_id)
{
	struct storage_body b = body_of(text);
	struct object_meta meta = {.format = "2"};
	struct storage_op op = {0};

	snprintf(meta.run_id, sizeof(meta.run_id), "%s", run_id);
	w->st->ops->put(w->st, &op, key, "x", &meta, &b);
	assert_false(op.is_done);
	return storage_wait(w->st, &op);
}

static enum storage_result replace(struct world *w, const char *key, const char *text)
{
	struct storage_body b = body_of(text);
	struct storage_op op = {0};

	w->st->ops->replace(w->st, &op, key, "x", &b);
	return storage_wait(w->st, &op);
}

static enum storage_result head(struct world *w, const char *key, struct object_info *info)
{
	struct storage_op op = {0};

	w->st->ops->head(w->st, &op, key, info);
	return storage_wait(w->st, &op);
}

static bool collect(void *ctx, struct span s)
{
	struct buf *b = ctx;

	buf_put(b, s.ptr, s.len);
	return true;
}

/* The text, or NULL; owned by the caller. */
static char *get(struct world *w, const char *key, const char *etag, uint64_t offset, uint64_t len,
		 enum storage_result *result)
{
	struct storage_op op = {0};
	struct buf b;
	char *text = NULL;

	buf_init(&b);
	w->st->ops->get(w->st, &op, key, etag, offset, len, NULL, collect, &b);
	*result = storage_wait(w->st, &op);
	if (*result == STORAGE_OK)
		text = xstrndup((const char *)buf_span(&b).ptr, buf_len(&b));
	buf_free(&b);
	return text;
}

static enum storage_result drop(struct world *w, const char *key)
{
	struct storage_op op = {0};

	w->st->ops->remove(w->st, &op, key);
	return storage_wait(w->st, &op);
}

static bool note(void *ctx, const char *key, const struct object_info *info)
{
	struct buf *b = ctx;

	(void)info;
	buf_printf(b, "%s\n", key);
	return true;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The keys, sorted, joined by blanks. */
static const char *list(struct world *w, const char *prefix, bool flat)
{
	static char joined[4096];
	struct storage_op op = {0};
	char *lines[64], *at, *line;
	size_t count = 0;
	struct buf b;

	buf_init(&b);
	w->st->ops->list(w->st, &op, prefix, flat, note, &b);
	assert_int_equal(storage_wait(w->st, &op), STORAGE_OK);
	buf_put_u8(&b, 0);
	at = (char *)b.data + b.start;
	while ((line = strsep(&at, "\n")))
		if (*line && count < 64)
			lines[count++] = line;
	qsort(lines, count, sizeof(*lines), by_text);
	joined[0] = 0;
	for (size_t i = 0; i < count; i++) {
		strcat(joined, i ? " " : "");
		strcat(joined, lines[i]);
	}
	buf_free(&b);
	return joined;
}

static int entries_of(struct world *w, const char *below)
{
	char path[256];
	struct dirent *e;
	int n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "%s%s", w->dir, below);
	d = opendir(path);
	while (d && (e = readdir(d)))
		n += e->d_name[0] != '.';
	if (d)
		closedir(d);
	return n;
}

/* ---- objects ---- */

static void an_object_comes_back(void **state)
{
	struct world *w = *state;
	enum storage_result r;
	struct object_info info;
	char *text;

	assert_int_equal(put(w, "app/a b/c", "hello world", "run-1"), STORAGE_OK);
	assert_int_equal(head(w, "app/a b/c", &info), STORAGE_OK);
	assert_int_equal(info.size, 11);
	assert_string_equal(info.meta.run_id, "run-1");
	assert_string_equal(info.meta.format, "2");
	text = get(w, "app/a b/c", info.etag, 6, 3, &r);
	assert_string_equal(text, "wor");
	free(text);
	text = get(w, "app/a b/c", NULL, 6, 0, &r);
	assert_string_equal(text, "world");
	free(text);
	text = get(w, "app/a b/c", NULL, 6, 100, &r);
	assert_string_equal(text, "world");
	free(text);
	text = get(w, "app/a b/c", NULL, 100, 5, &r);
	assert_string_equal(text, "");
	free(text);
	assert_null(get(w, "app/a b/c", "\"other\"", 0, 0, &r));
	assert_int_equal(r, STORAGE_CHANGED);
	assert_null(get(w, "app/none", NULL, 0, 0, &r));
	assert_int_equal(r, STORAGE_NOT_FOUND);
	assert_int_equal(head(w, "app", &info), STORAGE_NOT_FOUND);
	assert_int_equal(entries_of(w, OWN "/new"), 0);
	assert_int_equal(drop(w, "app/a b/c"), STORAGE_OK);
	assert_int_equal(drop(w, "app/a b/c"), STORAGE_OK);
	assert_int_equal(head(w, "app/a b/c", &info), STORAGE_NOT_FOUND);
	assert_int_equal(entries_of(w, OWN "/meta/app/a b"), 0);
}

static void a_name_that_is_taken_stays_as_it_is(void **state)
{
	struct world *w = *state;
	struct object_info before, after;
	enum storage_result r;
	char *text;

	assert_int_equal(put(w, "k", "first", "1"), STORAGE_OK);
	assert_int_equal(head(w, "k", &before), STORAGE_OK);
	assert_int_equal(put(w, "k", "second", "2"), STORAGE_EXISTS);
	assert_int_equal(head(w, "k", &after), STORAGE_OK);
	assert_string_equal(before.etag, after.etag);
	assert_string_equal(after.meta.run_id, "1");
	assert_int_equal(replace(w, "k", "third"), STORAGE_OK);
	assert_int_equal(head(w, "k", &after), STORAGE_OK);
	assert_string_not_equal(before.etag, after.etag);
	text = get(w, "k", NULL, 0, 0, &r);
	assert_string_equal(text, "third");
	free(text);
	assert_int_equal(entries_of(w, OWN "/new"), 0);
}

static void keys_that_lead_elsewhere_are_refused(void **state)
{
	static const char *const keys[] = {
		"", "/", "/etc/x", "../x", "a/../x", "a/..", "..", ".", "a/./b", "a//b", "a/", ".pg-ecdsa-backup",
		".pg-ecdsa-backup/lock", ".pg-ecdsa-backup/uploads/x",
	};
	struct world *w = *state;
	char longest[STORAGE_KEY_MAX + 2], component[300];
	struct object_info info;
	enum storage_result r;

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		if (put(w, keys[i], "x", "") == STORAGE_OK || replace(w, keys[i], "x") == STORAGE_OK)
			fail_msg("%s", keys[i]);
		assert_int_not_equal(head(w, keys[i], &info), STORAGE_OK);
		assert_null(get(w, keys[i], NULL, 0, 0, &r));
	}
	memset(component, 'c', sizeof(component));
	component[256] = 0;
	assert_int_not_equal(put(w, component, "x", ""), STORAGE_OK);
	component[255] = 0;
	assert_int_equal(put(w, component, "x", ""), STORAGE_OK);
	for (size_t i = 0; i < sizeof(longest); i++)
		longest[i] = i % 100 == 99 ? '/' : 'k';
	longest[STORAGE_KEY_MAX + 1] = 0;
	assert_int_not_equal(put(w, longest, "x", ""), STORAGE_OK);
	longest[STORAGE_KEY_MAX] = 0;
	assert_int_equal(put(w, longest, "x", ""), STORAGE_OK);
}

static void symbolic_links_are_not_followed(void **state)
{
	struct world *w = *state;
	char path[256];
	struct object_info info;
	enum storage_result r;

	snprintf(path, sizeof(path), "%s/link", w->dir);
	assert_int_equal(symlink("/etc", path), 0);
	snprintf(path, sizeof(path), "%s/file", w->dir);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_int_not_equal(put(w, "link/x", "x", ""), STORAGE_OK);
	assert_int_not_equal(head(w, "link/passwd", &info), STORAGE_OK);
	assert_null(get(w, "file", NULL, 0, 0, &r));
	assert_int_equal(head(w, "file", &info), STORAGE_NOT_FOUND);
	assert_string_equal(list(w, "", false), "");
}

static void listings_go_by_prefix(void **state)
{
	struct world *w = *state;
	static const char *const keys[] = {"app/1", "app/2", "app/sub/3", "app2/4", "a", "ap p"};

	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		assert_int_equal(put(w, keys[i], "", ""), STORAGE_OK);
	assert_string_equal(list(w, "app/", true), "app/1 app/2");
	assert_string_equal(list(w, "app/", false), "app/1 app/2 app/sub/3");
	assert_string_equal(list(w, "app", false), "app/1 app/2 app/sub/3 app2/4");
	assert_string_equal(list(w, "app", true), "");
	assert_string_equal(list(w, "a", true), "a ap p");
	assert_string_equal(list(w, "app/s", false), "app/sub/3");
	assert_string_equal(list(w, "", false), "a ap p app/1 app/2 app/sub/3 app2/4");
	assert_string_equal(list(w, "none/", true), "");
	assert_string_equal(list(w, "a/", true), "");
	assert_string_equal(list(w, "../", false), "");
}

static bool stop_at_once(void *ctx, const char *key, const struct object_info *info)
{
	(void)ctx, (void)key, (void)info;
	return false;
}

static void what_is_cancelled_ends_so(void **state)
{
	struct world *w = *state;
	struct storage_body b = body_of("x");
	struct storage_op op = {0};

	w->st->ops->put(w->st, &op, "k", "x", NULL, &b);
	w->st->ops->cancel(&op);
	assert_int_equal(storage_wait(w->st, &op), STORAGE_CANCELLED);
	assert_string_equal(list(w, "", false), "");
	assert_int_equal(put(w, "k", "x", ""), STORAGE_OK);
	op = (struct storage_op){0};
	w->st->ops->list(w->st, &op, "", false, stop_at_once, NULL);
	assert_int_equal(storage_wait(w->st, &op), STORAGE_CANCELLED);
	loop_interrupt(w->loop);
	assert_int_equal(put(w, "l", "x", ""), STORAGE_CANCELLED);
	op = (struct storage_op){0};
	w->st->ops->remove(w->st, &op, "k");
	assert_int_equal(storage_wait_through(w->st, &op, USEC_PER_SEC), STORAGE_OK);
	loop_resume(w->loop);
}

/* ---- uploads ---- */

static struct storage_upload *begin(struct world *w, const char *key)
{
	struct object_meta meta = {.run_id = "run"};
	struct storage_upload *u;
	struct storage_op op = {0};

	w->st->ops->upload_begin(w->st, &op, key, "x", &meta, &u);
	assert_int_equal(storage_wait(w->st, &op), STORAGE_OK);
	return u;
}

static enum storage_result complete(struct world *w, struct storage_upload *u, uint64_t size)
{
	struct storage_op op = {0};

	w->st->ops->upload_complete(u, &op, size);
	return storage_wait(w->st, &op);
}

static bool count_upload(void *ctx, const char *key, const char *id, time_t begun)
{
	struct buf *b = ctx;

	assert_true(begun > 1600000000);
	buf_printf(b, "%s %s\n", key, id);
	return true;
}

static char *uploads(struct world *w, const char *prefix)
{
	struct storage_op op = {0};
	struct buf b;
	char *text;

	buf_init(&b);
	w->st->ops->list_uploads(w->st, &op, prefix, count_upload, &b);
	assert_int_equal(storage_wait(w->st, &op), STORAGE_OK);
	text = xstrndup((const char *)buf_span(&b).ptr, buf_len(&b));
	buf_free(&b);
	return text;
}

static void parts_under_way_at_once_make_one_object(void **state)
{
	struct world *w = *state;
	struct storage_upload *u = begin(w, "app/big");
	struct storage_body bodies[] = {body_of("first-"), body_of("second"), body_of("3")};
	struct storage_op ops[3] = {{0}};
	struct object_info info;
	enum storage_result r;
	char *text;

	for (unsigned i = 0; i < 3; i++)
		w->st->ops->upload_part(u, &ops[i], i + 1, &bodies[i]);
	for (int i = 2; i >= 0; i--)
		assert_int_equal(storage_wait(w->st, &ops[i]), STORAGE_OK);
	assert_string_equal(list(w, "", false), "");
	assert_int_equal(complete(w, u, 12), STORAGE_INTEGRITY);
	assert_int_equal(complete(w, u, 13), STORAGE_OK);
	assert_int_equal(head(w, "app/big", &info), STORAGE_OK);
	assert_string_equal(info.meta.run_id, "run");
	text = get(w, "app/big", NULL, 0, 0, &r);
	assert_string_equal(text, "first-second3");
	free(text);
	text = uploads(w, "");
	assert_string_equal(text, "");
	free(text);
	w->st->ops->upload_free(u);
}

static void uploads_are_listed_and_aborted(void **state)
{
	struct world *w = *state;
	struct storage_upload *u = begin(w, "app/1"), *v = begin(w, "other/1");
	struct storage_op op = {0};
	char *text = uploads(w, "app/"), *expected = xasprintf("app/1 %s\n", w->st->ops->upload_id(u));

	assert_string_equal(text, expected);
	free(text);
	free(expected);
	w->st->ops->upload_abort(u, &op);
	assert_int_equal(storage_wait(w->st, &op), STORAGE_OK);
	op = (struct storage_op){0};
	w->st->ops->abort_stale(w->st, &op, "other/1", w->st->ops->upload_id(v));
	assert_int_equal(storage_wait(w->st, &op), STORAGE_OK);
	op = (struct storage_op){0};
	w->st->ops->abort_stale(w->st, &op, "other/1", "../../x");
	assert_int_equal(storage_wait(w->st, &op), STORAGE_OK);
	assert_int_equal(entries_of(w, OWN "/uploads"), 0);
	w->st->ops->upload_free(u);
	w->st->ops->upload_free(v);
}

static void an_upload_does_not_take_a_name_either(void **state)
{
	struct world *w = *state;
	struct storage_upload *u = begin(w, "k");
	struct storage_body b = body_of("x");
	struct storage_op op = {0};

	assert_int_equal(complete(w, u, 0), STORAGE_INTEGRITY);
	w->st->ops->upload_part(u, &op, 1, &b);
	assert_int_equal(storage_wait(w->st, &op), STORAGE_OK);
	assert_int_equal(put(w, "k", "mine", "1"), STORAGE_OK);
	assert_int_equal(complete(w, u, 1), STORAGE_EXISTS);
	op = (struct storage_op){0};
	w->st->ops->upload_abort(u, &op);
	assert_int_equal(storage_wait(w->st, &op), STORAGE_OK);
	w->st->ops->upload_free(u);
}

static void bytes_from_a_file(void **state)
{
	struct world *w = *state;
	struct storage_body b = {.fd = open("/proc/self/exe", O_RDONLY), .offset = 100, .len = 5000};
	struct object_meta meta = {.run_id = "r"};
	struct storage_op op = {0};
	enum storage_result r;
	struct object_info info;
	char *text, raw[5000];

	w->st->ops->put(w->st, &op, "f", "x", &meta, &b);
	assert_int_equal(storage_wait(w->st, &op), STORAGE_OK);
	assert_int_equal(head(w, "f", &info), STORAGE_OK);
	assert_int_equal(info.size, 5000);
	text = get(w, "f", NULL, 0, 10, &r);
	assert_int_equal(pread(b.fd, raw, 10, 100), 10);
	assert_memory_equal(text, raw, strlen(text));
	free(text);
	/* Shorter than it was said to be: nothing is stored. */
	b.offset = 0;
	b.len = (uint64_t)1 << 40;
	op = (struct storage_op){0};
	w->st->ops->cancel(&op);
	close(b.fd);
	b.fd = open("/dev/null", O_RDONLY);
	w->st->ops->put(w->st, &op, "g", "x", &meta, &b);
	assert_int_equal(storage_wait(w->st, &op), STORAGE_FAILED);
	assert_string_equal(list(w, "", false), "f");
	close(b.fd);
}

static void directories_that_cannot_be(void **state)
{
	char why[200] = "";
	struct world *w = *state;

	assert_null(dir_store_new(w->loop, "relative", why, sizeof(why)));
	assert_true(*why);
	assert_null(dir_store_new(w->loop, "/no/such/directory", why, sizeof(why)));
	assert_null(dir_store_new(w->loop, "/etc/passwd", why, sizeof(why)));
}

/* ---- the catalog and the commands ---- */

#define NOW INT64_C(1767225600) /* 2026-01-01 */

static const struct manifest_keys no_keys = {.count = 0};

static void backup(struct world *w, int days_ago, enum backup_format format, const char *text)
{
	char key[BACKUP_KEY_MAX];

	backup_key_make("app", NOW - days_ago * 86400, format, key);
	assert_int_equal(put(w, key, text, "r"), STORAGE_OK);
}

static void manifest(struct world *w, int days_ago, enum backup_format format, int64_t size, bool is_suspect,
		     const char *level, const char *result)
{
	struct manifest *m = manifest_new();
	struct storage_error error;

	manifest_set_number(m, "size", size);
	manifest_set_flag(m, "suspect", is_suspect);
	if (level)
		manifest_add_verified(m, level, "2026-01-01T00:00:00Z", result, 1);
	assert_int_equal(manifest_store(w->st, "app", NOW - days_ago * 86400, format, m, &no_keys, &error), STORAGE_OK);
	manifest_free(m);
}

static int chosen(struct world *w, const char *what)
{
	const struct backup_entry *e = NULL;
	struct catalog c = {0};
	char why[200] = "";
	enum storage_result r;
	int days = -1;

	assert_int_equal(catalog_load(&c, w->st, "app", &no_keys, NOW, NULL, NULL), STORAGE_OK);
	r = catalog_choose(&c, what, &e, why, sizeof(why));
	if (r == STORAGE_OK)
		days = (int)((NOW - e->when) / 86400);
	else
		assert_true(*why);
	catalog_free(&c);
	return days;
}

static void the_latest_is_the_newest_good_one(void **state)
{
	struct world *w = *state;

	assert_int_equal(chosen(w, "latest"), -1);
	backup(w, -5, BACKUP_FORMAT_2, "from the future");
	backup(w, 0, BACKUP_FORMAT_2, "");
	backup(w, 1, BACKUP_FORMAT_2, "suspect");
	manifest(w, 1, BACKUP_FORMAT_2, 7, true, NULL, NULL);
	backup(w, 2, BACKUP_FORMAT_2, "failed");
	manifest(w, 2, BACKUP_FORMAT_2, 6, false, "auth", "failed");
	backup(w, 3, BACKUP_FORMAT_2, "of another size");
	manifest(w, 3, BACKUP_FORMAT_2, 5, false, NULL, NULL);
	backup(w, 4, BACKUP_FORMAT_1, "good");
	backup(w, 5, BACKUP_FORMAT_2, "better");
	manifest(w, 5, BACKUP_FORMAT_2, 6, false, "drill", "ok");
	assert_int_equal(replace(w, "app/notes.txt", "x"), STORAGE_OK);
	assert_int_equal(replace(w, "app/sub/20260101_000000.backup.enc", "x"), STORAGE_OK);
	assert_int_equal(chosen(w, "latest"), 4);
	assert_int_equal(chosen(w, "20251227_000000"), 5);
	assert_int_equal(chosen(w, "2025-12-27"), 5);
	assert_int_equal(chosen(w, "app/20251227_000000.backup.enc2"), 5);
	assert_int_equal(chosen(w, "20251227_000000.backup.enc2"), 5);
	assert_int_equal(chosen(w, "20251227_000000.backup.enc"), -1);
	assert_int_equal(chosen(w, "nonsense"), -1);
	/* What is named is given, whatever is known against it. */
	assert_int_equal(chosen(w, "20251231_000000"), 1);
}

static void the_one_before_is_found_for_a_fallback(void **state)
{
	struct world *w = *state;
	const struct backup_entry *e, *older;
	struct catalog c = {0};
	char why[100];

	for (int i = 0; i < 4; i++)
		backup(w, i, BACKUP_FORMAT_2, "x");
	manifest(w, 1, BACKUP_FORMAT_2, 1, true, NULL, NULL);
	assert_int_equal(catalog_load(&c, w->st, "app", &no_keys, NOW, NULL, NULL), STORAGE_OK);
	assert_int_equal(catalog_choose(&c, "latest", &e, why, sizeof(why)), STORAGE_OK);
	assert_int_equal(catalog_choose_older(&c, e, &older), STORAGE_OK);
	assert_int_equal(older->when, NOW - 2 * 86400);
	assert_int_equal(catalog_choose_older(&c, older, &older), STORAGE_OK);
	assert_int_equal(catalog_choose_older(&c, older, &older), STORAGE_NOT_FOUND);
	assert_int_equal(catalog_choose_at(&c, NOW - 86400, &e), STORAGE_OK);
	assert_int_equal(e->when, NOW - 2 * 86400);
	catalog_free(&c);
}

struct shell {
	struct command_env env;
	struct retention_rules rules;
	char *text;
	size_t len;
};

static void shell_open(struct shell *s, struct world *w)
{
	*s = (struct shell){.rules = RETENTION_DEFAULT};
	s->env = (struct command_env){
		.store = w->st, .prefix = "app", .bucket = "b", .keys = &no_keys, .rules = &s->rules, .now = NOW};
	s->env.out = open_memstream(&s->text, &s->len);
}

static const char *shell_close(struct shell *s)
{
	fclose(s->env.out);
	return s->text;
}

static void prune_removes_what_the_rules_say_and_nothing_else(void **state)
{
	struct world *w = *state;
	struct prune_options o = {.max_delete = -1, .is_dry_run = true};
	struct prune_report report;
	struct shell s;

	for (int i = 0; i < 6; i++)
		backup(w, i, BACKUP_FORMAT_2, "x");
	manifest(w, 4, BACKUP_FORMAT_2, 1, false, NULL, NULL);
	assert_int_equal(replace(w, "_manifest/app/20251227_000000.backup.enc2.hold", ""), STORAGE_OK);
	assert_int_equal(replace(w, "app/notes.txt", "x"), STORAGE_OK);
	assert_int_equal(replace(w, "app2/20200101_000000.backup.enc", "x"), STORAGE_OK);
	shell_open(&s, w);
	s.rules.count = 2;
	assert_int_equal(command_prune(&s.env, &o, &report), OUTCOME_DONE);
	shell_close(&s);
	assert_non_null(strstr(s.text, "keep    app/20260101_000000.backup.enc2  age 0m 0s (0 days)  rank 0  newest"));
	assert_non_null(strstr(s.text, "delete  app/20251230_000000.backup.enc2"));
	assert_non_null(strstr(s.text, "keep    app/20251227_000000.backup.enc2  age 5d 0h (5 days)  rank 5  held"));
	assert_non_null(strstr(s.text, "3 of 6 would be deleted"));
	assert_null(strstr(s.text, "app2"));
	free(s.text);
	assert_string_equal(
		list(w, "app/", true),
		"app/20251227_000000.backup.enc2 app/20251228_000000.backup.enc2 app/20251229_000000.backup.enc2 "
		"app/20251230_000000.backup.enc2 app/20251231_000000.backup.enc2 app/20260101_000000.backup.enc2 "
		"app/notes.txt");
	shell_open(&s, w);
	s.rules.count = 2;
	o.is_dry_run = false;
	o.blocked = "a test";
	assert_int_equal(command_prune(&s.env, &o, &report), OUTCOME_DONE);
	assert_int_equal(report.kept, 6);
	o.blocked = NULL;
	/* Clocks a day apart: nothing is judged by age, so nothing goes. */
	w->st->has_clock = true;
	w->st->clock_offset = -86401;
	assert_int_equal(command_prune(&s.env, &o, &report), OUTCOME_REFUSED);
	w->st->clock_offset = 86400;
	assert_int_equal(command_prune(&s.env, &o, &report), OUTCOME_DONE);
	shell_close(&s);
	free(s.text);
	assert_int_equal(report.deleted, 3);
	assert_int_equal(report.objects, 3);
	assert_int_equal(report.oldest, NOW - 5 * 86400);
	assert_string_equal(list(w, "", false),
			    "_manifest/app/20251227_000000.backup.enc2.hold app/20251227_000000.backup.enc2 "
			    "app/20251231_000000.backup.enc2 app/20260101_000000.backup.enc2 app/notes.txt "
			    "app2/20200101_000000.backup.enc");
}

static void holds_and_releases(void **state)
{
	struct world *w = *state;
	struct catalog c = {0};
	struct shell s;

	backup(w, 0, BACKUP_FORMAT_2, "x");
	backup(w, 1, BACKUP_FORMAT_2, "x");
	manifest(w, 0, BACKUP_FORMAT_2, 1, true, NULL, NULL);
	shell_open(&s, w);
	assert_int_equal(command_hold(&s.env, "latest"), OUTCOME_DONE);
	assert_int_equal(command_hold(&s.env, "20200101_000000"), OUTCOME_NO_BACKUP);
	assert_string_equal(list(w, "_manifest/app/2025", true), "_manifest/app/20251231_000000.backup.enc2.hold");
	assert_int_equal(command_release(&s.env, "20251231_000000"), OUTCOME_DONE);
	assert_string_equal(list(w, "_manifest/app/2025", true), "");
	/* What an operator releases is no longer suspect. */
	assert_int_equal(command_release(&s.env, "20260101_000000"), OUTCOME_DONE);
	assert_int_equal(catalog_load(&c, w->st, "app", &no_keys, NOW, NULL, NULL), STORAGE_OK);
	assert_int_equal(catalog_read_manifests(&c, 0, c.count), STORAGE_OK);
	assert_false(c.entries[0].is_suspect);
	catalog_free(&c);
	shell_close(&s);
	assert_non_null(strstr(s.text, "released: app/20260101_000000.backup.enc2"));
	free(s.text);
}

static void the_list_tells_all(void **state)
{
	struct world *w = *state;
	struct list_options o = {.all = true};
	struct shell s;

	backup(w, 0, BACKUP_FORMAT_2, "x");
	backup(w, 1, BACKUP_PLAIN, "xy");
	manifest(w, 0, BACKUP_FORMAT_2, 1, false, "archive", "ok");
	assert_int_equal(replace(w, "app/evil\x1b[2J", "x"), STORAGE_OK);
	shell_open(&s, w);
	assert_int_equal(command_list(&s.env, &o), OUTCOME_DONE);
	o.json = o.is_long = true;
	assert_int_equal(command_list(&s.env, &o), OUTCOME_DONE);
	shell_close(&s);
	assert_non_null(strstr(s.text, "20260101_000000.backup.enc2"));
	assert_non_null(strstr(s.text, "proven"));
	assert_non_null(strstr(s.text, "plain"));
	assert_non_null(strstr(s.text, "\"verified_level\":\"archive\""));
	assert_non_null(strstr(s.text, "\"ignored\":true"));
	assert_null(strchr(s.text, '\x1b'));
	free(s.text);
}

static void left_over_uploads_go_when_they_are_old(void **state)
{
	struct world *w = *state;
	struct storage_upload *u = begin(w, "app/20260101_000000.backup.enc2"), *v = begin(w, "app/other"),
			      *x = begin(w, "app/20260101_000001.backup.enc2");
	struct cleanup_options o = {.min_age = 3600 * USEC_PER_SEC};
	struct cleanup_report report;
	struct shell s;

	shell_open(&s, w);
	s.env.now = time(NULL);
	assert_int_equal(command_cleanup(&s.env, &o, &report), OUTCOME_DONE);
	assert_int_equal(report.found, 0);
	s.env.now += 7200;
	o.keep_id = w->st->ops->upload_id(x);
	o.is_dry_run = true;
	assert_int_equal(command_cleanup(&s.env, &o, &report), OUTCOME_DONE);
	assert_int_equal(report.found, 1);
	assert_int_equal(entries_of(w, OWN "/uploads"), 3);
	o.is_dry_run = false;
	assert_int_equal(command_cleanup(&s.env, &o, &report), OUTCOME_DONE);
	assert_int_equal(report.aborted, 1);
	o.known_key = "app/other";
	o.known_id = w->st->ops->upload_id(v);
	assert_int_equal(command_cleanup(&s.env, &o, &report), OUTCOME_DONE);
	assert_int_equal(report.aborted, 1);
	assert_int_equal(entries_of(w, OWN "/uploads"), 1);
	shell_close(&s);
	free(s.text);
	w->st->ops->upload_free(u);
	w->st->ops->upload_free(v);
	w->st->ops->upload_free(x);
}

static void a_download_is_written_beside_and_renamed(void **state)
{
	struct world *w = *state;
	char out[128], partial[140], text[10] = "";
	struct shell s;
	int fd;

	backup(w, 0, BACKUP_FORMAT_2, "sealed");
	snprintf(out, sizeof(out), "%s/out", w->dir);
	snprintf(partial, sizeof(partial), "%s.partial", out);
	shell_open(&s, w);
	assert_int_equal(command_download(&s.env, "latest", out), OUTCOME_DONE);
	fd = open(out, O_RDONLY);
	assert_int_equal(read(fd, text, sizeof(text)), 6);
	close(fd);
	assert_string_equal(text, "sealed");
	assert_int_equal(access(partial, F_OK), -1);
	assert_int_equal(command_download(&s.env, "20200101_000000", out), OUTCOME_NO_BACKUP);
	assert_int_equal(command_download(&s.env, "latest", "/no/such/place"), OUTCOME_FAILED);
	shell_close(&s);
	free(s.text);
}

static void the_check_leaves_nothing_behind(void **state)
{
	struct world *w = *state;
	struct shell s;

	shell_open(&s, w);
	assert_int_equal(command_check_store(&s.env), OUTCOME_DONE);
	shell_close(&s);
	assert_null(strstr(s.text, "FAILED"));
	assert_non_null(strstr(s.text, "ok     multipart"));
	assert_non_null(strstr(s.text, "ok     no overwriting"));
	free(s.text);
	assert_string_equal(list(w, "", false), "");
	assert_int_equal(entries_of(w, OWN "/uploads"), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_object_comes_back),
		TEST(a_name_that_is_taken_stays_as_it_is),
		TEST(keys_that_lead_elsewhere_are_refused),
		TEST(symbolic_links_are_not_followed),
		TEST(listings_go_by_prefix),
		TEST(what_is_cancelled_ends_so),
		TEST(parts_under_way_at_once_make_one_object),
		TEST(uploads_are_listed_and_aborted),
		TEST(an_upload_does_not_take_a_name_either),
		TEST(bytes_from_a_file),
		TEST(directories_that_cannot_be),
		TEST(the_latest_is_the_newest_good_one),
		TEST(the_one_before_is_found_for_a_fallback),
		TEST(prune_removes_what_the_rules_say_and_nothing_else),
		TEST(holds_and_releases),
		TEST(the_list_tells_all),
		TEST(left_over_uploads_go_when_they_are_old),
		TEST(a_download_is_written_beside_and_renamed),
		TEST(the_check_leaves_nothing_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
