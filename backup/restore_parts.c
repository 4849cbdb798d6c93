#include "restore_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/command.h"
#include "backup/facts.h"
#include "backup/manifest.h"
#include "backup/work.h"
#include "lib/buf.h"
#include "lib/mem.h"

#define TOC_MAX ((size_t)16 << 20) /* bytes of a table of contents that are looked at */

bool feed_start(struct feed *f, struct program *p, const struct tool *tool, const char *const *args,
		const struct pg_target *target, int stdin_fd, int pass_fd, char *why, size_t cap)
{
	char *argv[RESTORE_ARGS_MAX + 2], *bare[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/", "LC_ALL=C", "TZ=UTC", NULL};
	struct child_spec spec = {.name = "pg_restore", .path = tool->path, .argv = argv, .envp = bare,
				  .wants_stdin = stdin_fd == 0, .stdin_fd = stdin_fd > 0 ? stdin_fd : 0, .pass_fd = pass_fd};
	size_t n = 0;

	*f = (struct feed){.program = p};
	argv[n++] = (char *)(uintptr_t)tool->path;
	for (; *args && n < RESTORE_ARGS_MAX; args++)
		argv[n++] = (char *)(uintptr_t)*args;
	argv[n] = NULL;
	if (target) {
		if (!pg_env_make(target, config_spool_dir(p->config), &f->env, why, cap))
			return false;
		spec.envp = f->env.envp;
		spec.pass_fd = f->env.pass_fd;
		spec.also_pass_fd = pass_fd;
	}
	f->child = child_start(p->family, &spec, why, cap);
	if (!f->child)
		pg_env_free(&f->env);
	return f->child != NULL;
}

bool feed_sink(void *ctx, struct span s)
{
	struct feed *f = ctx;

	f->io = child_write(f->child, s);
	if (f->io != CHILD_OK)
		return false;
	f->given += s.len;
	if (f->program->work) {
		f->program->work->plain += s.len;
		work_moved(f->program->work);
	}
	return true;
}

void feed_kill(struct feed *f)
{
	/* Never by closing its input: what it has so far could look whole to it. */
	if (f->child)
		child_kill(f->child, 0);
}

void feed_free(struct feed *f)
{
	child_free(f->child);
	pg_env_free(&f->env);
	f->child = NULL;
}

bool find_pg_restore(struct program *p, const struct manifest *m, struct tool *t, char *why, size_t cap)
{
	const char *dumped_by = m ? manifest_text(m, "pg_dump_version") : NULL;

	return tool_find(p->family, p->config, "pg_restore", dumped_by ? atoi(dumped_by) : 0, t, why, cap);
}

const char *restore_advice(struct child *c)
{
	if (child_said(c, "out of shared memory"))
		return " (too many tables or large objects for one transaction: raise max_locks_per_transaction, or use --jobs)";
	return "";
}

static void quote_literal(struct buf *b, const char *text)
{
	buf_put_u8(b, '\'');
	for (; *text; text++) {
		if (*text == '\'')
			buf_put_u8(b, '\'');
		buf_put_u8(b, (uint8_t)*text);
	}
	buf_put_u8(b, '\'');
}

static void put_option(struct buf *b, const char *option, const char *value)
{
	if (!value || !*value || strchr(value, '\\'))
		return;
	buf_printf(b, " %s ", option);
	quote_literal(b, value);
}

bool make_database(struct pg *pg, const char *name, const struct manifest *m, int connection_limit)
{
	char *quoted = pg_quote_name(name);
	struct buf sql;
	bool ok;

	buf_init(&sql);
	buf_printf(&sql, "CREATE DATABASE %s TEMPLATE template0", quoted);
	if (m) {
		put_option(&sql, "ENCODING", manifest_text(m, "encoding"));
		put_option(&sql, "LC_COLLATE", manifest_text(m, "collate"));
		put_option(&sql, "LC_CTYPE", manifest_text(m, "ctype"));
	}
	if (connection_limit)
		buf_printf(&sql, " CONNECTION LIMIT %d", connection_limit);
	buf_put_u8(&sql, 0);
	ok = buf_ok(&sql) && pg_do(pg, 0, (const char *)buf_data(&sql));
	buf_free(&sql);
	free(quoted);
	return ok;
}

bool drop_database(struct pg *pg, const char *name, usec_t limit)
{
	char *quoted = pg_quote_name(name), *sql;
	const char *const params[] = {name};
	bool ok;

	if (pg_version(pg) >= 130000)
		sql = xasprintf("DROP DATABASE IF EXISTS %s WITH (FORCE)", quoted);
	else {
		PQclear(pg_ask(pg, FACTS_LIMIT, "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity "
			       "WHERE datname = $1", 1, params));
		sql = xasprintf("DROP DATABASE IF EXISTS %s", quoted);
	}
	ok = pg_do(pg, limit, sql);
	free(sql);
	free(quoted);
	return ok;
}

/* ---- extensions ---- */

/* Lines such as "2; 3079 16385 EXTENSION - pgcrypto " of pg_restore --list. */
static char *extensions_of(const char *toc)
{
	static const char mark[] = " EXTENSION - ";
	struct buf b;
	char *text;

	buf_init(&b);
	buf_put_text(&b, "{");
	for (const char *line = toc; line && *line;) {
		const char *end = strchr(line, '\n'), *at;
		size_t len = end ? (size_t)(end - line) : strlen(line);

		at = *line == ';' ? NULL : memmem(line, len, mark, strlen(mark));
		if (at) {
			const char *name = at + strlen(mark);
			size_t n = strcspn(name, " \n");

			buf_printf(&b, "%s\"", b.end - b.start > 1 ? "," : "");
			for (size_t i = 0; i < n; i++) {
				if (name[i] == '"' || name[i] == '\\')
					buf_put_u8(&b, '\\');
				buf_put_u8(&b, (uint8_t)name[i]);
			}
			buf_put_text(&b, "\"");
		}
		line = end ? end + 1 : NULL;
	}
	buf_put_str(&b, "}");
	text = xstrdup(buf_ok(&b) ? (const char *)buf_data(&b) : "{}");
	buf_free(&b);
	return text;
}

/* Both ends of pg_restore --list at once: its output must not block while it is fed. */
struct toc {
	struct feed feed;
	struct loop_watch watch;
	struct buf text;
};

static void on_toc(struct loop_watch *w, short revents)
{
	struct toc *t = CONTAINER_OF(w, struct toc, watch);
	char piece[65536];
	ssize_t n = child_read_now(t->feed.child, piece, sizeof(piece));

	(void)revents;
	if (n > 0 && buf_len(&t->text) < TOC_MAX)
		buf_put(&t->text, piece, (size_t)n);
	if (n == 0)
		loop_watch_clear(t->feed.program->loop, w);
}

static enum read_result read_toc(struct program *p, struct reader *r, const struct tool *tool, struct toc *t, char *why, size_t cap)
{
	static const char *const args[] = {"--list", NULL};
	char *argv[] = {(char *)(uintptr_t)tool->path, (char *)(uintptr_t)args[0], NULL},
	     *envp[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/", "LC_ALL=C", NULL};
	const struct child_spec spec = {.name = "pg_restore --list", .path = tool->path, .argv = argv, .envp = envp,
					.wants_stdin = true, .wants_stdout = true};
	enum read_result result;
	char fate[96];

	t->feed = (struct feed){.program = p};
	t->feed.child = child_start(p->family, &spec, why, cap);
	if (!t->feed.child)
		return READ_LOCAL;
	t->watch.ready = on_toc;
	child_watch_stdout(t->feed.child, &t->watch);
	result = reader_pour(r, feed_sink, &t->feed);
	child_close_stdin(t->feed.child);
	/* It has seen the contents and reads no more: as wanted. */
	if (result == READ_STOPPED && t->feed.io == CHILD_END)
		result = READ_OK;
	if (result == READ_OK && !child_wait(t->feed.child))
		result = READ_INTERRUPTED;
	while (result == READ_OK && t->watch.fd >= 0)
		on_toc(&t->watch, 0);
	loop_watch_clear(p->loop, &t->watch);
	if (result == READ_OK && !child_succeeded(t->feed.child)) {
		snprintf(why, cap, "pg_restore --list %s: %s", child_fate(t->feed.child, fate), child_last_words(t->feed.child, 500));
		result = READ_INTEGRITY;
	} else if (result != READ_OK)
		snprintf(why, cap, "%s", reader_why(r));
	return result;
}

enum read_result missing_extensions(struct program *p, struct reader *r, const struct tool *tool, struct pg *pg, char *missing,
				    size_t cap, char *why, size_t why_cap)
{
	struct toc t = {.watch.fd = -1};
	enum read_result result;

	missing[0] = 0;
	buf_init(&t.text);
	result = read_toc(p, r, tool, &t, why, why_cap);
	feed_free(&t.feed);
	buf_put_u8(&t.text, 0);
	if (result == READ_OK && buf_ok(&t.text)) {
		char *names = extensions_of((const char *)buf_data(&t.text));
		const char *const params[] = {names};

		if (!pg_ask_text(pg, FACTS_LIMIT, "SELECT coalesce(string_agg(x, ', '), '') FROM unnest($1::text[]) x "
				 "WHERE x NOT IN (SELECT name FROM pg_catalog.pg_available_extensions)", 1, params, missing, cap))
			missing[0] = 0; /* then the restore itself will tell */
		free(names);
	}
	buf_free(&t.text);
	return result;
}
