/* Command lines of what concerns the store: list, prune, cleanup, hold, release, download, check. */
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "backup/child.h"
#include "backup/command.h"
#include "backup/commands.h"
#include "backup/event.h"
#include "backup/facts.h"
#include "backup/jobs.h"
#include "backup/keys.h"
#include "backup/lock.h"
#include "backup/pg.h"
#include "backup/tools.h"
#include "job_parts.h"

#define CONNECT_LIMIT (30 * USEC_PER_SEC)

int run_list(struct program *p, int argc, char **argv)
{
	static const struct option longs[] = {{"json", no_argument, NULL, 'j'}, {"all", no_argument, NULL, 'a'},
					      {"long", no_argument, NULL, 'l'}, {"database", required_argument, NULL, 'd'},
					      {NULL, 0, NULL, 0}};
	struct retention_rules rules = retention_rules_of(p->config);
	struct list_options o = {.json = false};
	struct command_env env;
	int c;

	while ((c = getopt_long(argc, argv, "jald:", longs, NULL)) != -1) {
		if (c == '?')
			return command_usage(argv[0], "usage: list [--json] [--all] [--long] [--database D]");
		if (c == 'd' && !program_choose_database(p, argv[0], optarg))
			return OUTCOME_USAGE;
		o.json |= c == 'j';
		o.all |= c == 'a';
		o.is_long |= c == 'l';
	}
	if (optind != argc)
		return command_usage(argv[0], "takes no argument");
	program_command_env(p, &env);
	env.rules = &rules;
	return command_list(&env, &o);
}

int run_prune(struct program *p, int argc, char **argv)
{
	static const struct option longs[] = {{"dry-run", no_argument, NULL, 'n'}, {"max-delete", required_argument, NULL, 'm'},
					      {"database", required_argument, NULL, 'd'}, {NULL, 0, NULL, 0}};
	struct retention_rules rules = retention_rules_of(p->config);
	struct prune_options o = {.max_delete = -1};
	struct command_env env;
	uint64_t n;
	int c;

	while ((c = getopt_long(argc, argv, "nd:", longs, NULL)) != -1) {
		if (c == 'n')
			o.is_dry_run = true;
		else if (c == 'd') {
			if (!program_choose_database(p, argv[0], optarg))
				return OUTCOME_USAGE;
		} else if (c == 'm' && parse_size(optarg, &n) && n > 0 && n <= INT32_MAX)
			o.max_delete = (int)n;
		else
			return command_usage(argv[0], "usage: prune [--dry-run] [--max-delete N] [--database D]");
	}
	if (optind != argc)
		return command_usage(argv[0], "takes no argument");
	program_command_env(p, &env);
	env.rules = &rules;
	return command_prune(&env, &o, NULL);
}

int run_cleanup(struct program *p, int argc, char **argv)
{
	static const struct option longs[] = {{"dry-run", no_argument, NULL, 'n'}, {"min-age", required_argument, NULL, 'a'},
					      {NULL, 0, NULL, 0}};
	struct cleanup_options o = {.min_age = 0};
	struct command_env env;
	bool has_age = false;
	int c;

	while ((c = getopt_long(argc, argv, "n", longs, NULL)) != -1) {
		if (c == 'n')
			o.is_dry_run = true;
		else if (c == 'a' && parse_span(optarg, &o.min_age))
			has_age = true;
		else
			return command_usage(argv[0], "usage: cleanup [--dry-run] [--min-age SPAN]");
	}
	if (optind != argc)
		return command_usage(argv[0], "takes no argument");
	/* Younger ones may be somebody's who is still at it. */
	if (!has_age && p->config->schedule_max_duration > 86400 * USEC_PER_SEC)
		o.min_age = p->config->schedule_max_duration;
	if (has_age && o.min_age == 0)
		o.min_age = 1;
	program_command_env(p, &env);
	return command_cleanup(&env, &o, NULL);
}

static int with_backup(struct program *p, int argc, char **argv, enum outcome (*run)(struct command_env *, const char *))
{
	static const struct option longs[] = {{"database", required_argument, NULL, 'd'}, {NULL, 0, NULL, 0}};
	struct command_env env;
	int c;

	while ((c = getopt_long(argc, argv, "d:", longs, NULL)) != -1) {
		if (c != 'd')
			return command_usage(argv[0], "usage: %s BACKUP [--database D]", argv[0]);
		if (!program_choose_database(p, argv[0], optarg))
			return OUTCOME_USAGE;
	}
	if (optind + 1 != argc)
		return command_usage(argv[0], "usage: %s BACKUP [--database D]", argv[0]);
	program_command_env(p, &env);
	return run(&env, argv[optind]);
}

int run_hold(struct program *p, int argc, char **argv)
{
	return with_backup(p, argc, argv, command_hold);
}

int run_release(struct program *p, int argc, char **argv)
{
	return with_backup(p, argc, argv, command_release);
}

int run_download(struct program *p, int argc, char **argv)
{
	static const struct option longs[] = {{"output", required_argument, NULL, 'o'}, {"database", required_argument, NULL, 'd'},
					      {NULL, 0, NULL, 0}};
	const char *out = NULL;
	struct command_env env;
	int c;

	while ((c = getopt_long(argc, argv, "o:d:", longs, NULL)) != -1) {
		if (c == 'o')
			out = optarg;
		else if (c != 'd')
			return command_usage(argv[0], "usage: download BACKUP -o OUT [--database D]");
		else if (!program_choose_database(p, argv[0], optarg))
			return OUTCOME_USAGE;
	}
	if (optind + 1 != argc || !out)
		return command_usage(argv[0], "usage: download BACKUP -o OUT [--database D]");
	program_command_env(p, &env);
	return command_download(&env, argv[optind], out);
}

/* ---- check: everything a backup needs, one line each ---- */

static enum outcome line(const char *what, bool ok, const char *fmt, ...) PRINTF_LIKE(3, 4);
static enum outcome line(const char *what, bool ok, const char *fmt, ...)
{
	va_list ap;

	printf("%-6s %-22s ", ok ? "ok" : "FAILED", what);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	return ok ? OUTCOME_DONE : OUTCOME_FAILED;
}

static void worst(enum outcome *so_far, enum outcome now)
{
	if (*so_far == OUTCOME_DONE)
		*so_far = now;
}

static enum outcome check_tool(struct program *p, const char *program, int at_least)
{
	struct tool t;
	char why[1024];

	if (!tool_find(p->family, p->config, program, at_least, &t, why, sizeof(why))) {
		line(program, false, "%s", why);
		return OUTCOME_DATABASE;
	}
	return line(program, true, "%s, version %s", t.path, t.version);
}

static enum outcome check_lock(struct program *p)
{
	struct lock *l;
	enum lock_state s;
	enum outcome o = OUTCOME_DONE;

	if (!p->config->schedule_leader)
		return line("leader lock", true, "off");
	l = lock_new(p, "backup", NULL);
	s = lock_take(l, CONNECT_LIMIT, 0);
	if (s == LOCK_UNREACHABLE || s == LOCK_INTERRUPTED) {
		line("leader lock", false, "%s", lock_why(l));
		o = OUTCOME_DATABASE;
	} else
		line("leader lock", true, "%s", s == LOCK_HELD ? "free" : "held by another instance");
	lock_free(l);
	return o;
}

static enum outcome check_database(struct program *p)
{
	const struct pg_target target = pg_dump_target_of(p->config, NULL);
	struct pg *pg = pg_connect(p->loop, &target, CONNECT_LIMIT);
	struct facts f = {0};
	enum outcome o = OUTCOME_DATABASE;

	if (pg_failure(pg) != PG_FINE)
		line("database", false, "%s", pg_why(pg));
	else if (!facts_read(pg, &f))
		line("database", false, "%s", pg_why(pg));
	else {
		o = line("database", true, "PostgreSQL %s, %" PRId64 " bytes, %" PRId64 " relations%s", f.version_text,
			 f.database_size, f.relations, f.in_recovery ? ", a standby" : "");
		worst(&o, check_tool(p, "pg_dump", f.version / 10000));
		worst(&o, check_tool(p, "pg_restore", 0));
		worst(&o, check_lock(p));
	}
	pg_close(pg);
	return o;
}

static enum outcome check_spool(struct program *p)
{
	const char *dir = config_spool_dir(p->config);
	struct statvfs fs;

	if (statvfs(dir, &fs) < 0 || access(dir, W_OK) < 0) {
		line("spool directory", false, "%s: %m", dir);
		return OUTCOME_FAILED;
	}
	return line("spool directory", true, "%s, %" PRIu64 " bytes free", dir, (uint64_t)fs.f_bavail * fs.f_frsize);
}

static enum outcome check_key(struct program *p)
{
	if (p->config->encryption_mode == ENCRYPT_NONE)
		return line("encryption", true, "NONE: backups are stored as they are");
	if (!p->key_id) {
		line("encryption", false, "no key: set MNEMONIC, or BACKUP_ENCRYPTION=none");
		return OUTCOME_USAGE;
	}
	return line("encryption", true, "format %" PRId64 ", key %s", p->config->encryption_format, p->key_id);
}

int run_check(struct program *p, int argc, char **argv)
{
	struct command_env env;
	enum outcome o;

	if (argc != 1)
		return command_usage(argv[0], "takes no argument");
	line("configuration", true, "%s", p->config_path ? p->config_path : "from the environment");
	o = check_key(p);
	worst(&o, check_spool(p));
	worst(&o, check_database(p));
	program_command_env(p, &env);
	worst(&o, command_check_store(&env));
	return loop_is_interrupted(p->loop) ? OUTCOME_INTERRUPTED : o;
}
