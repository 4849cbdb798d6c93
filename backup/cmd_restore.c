/* The commands restore and verify. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/command.h"
#include "backup/event.h"
#include "backup/jobs.h"
#include "backup/set.h"
#include "cmd_parts.h"

#define JOBS_MAX 64

static const char restore_usage[] =
	"usage: restore [BACKUP] [--at TIME] [--if-empty [--report]] [--target-db D] [--create] [--clean] [--jobs N] "
	"[--with-owner] [--with-privileges] [--force] [--database D], or restore --globals [TIME]";

static void report(const struct restore_report *r)
{
	static const char *const words[] = {"restored", "not-empty", "no-backup", "standby", "failed"};

	printf("%s\n", words[r->end]);
}

/* What cannot be meant together. NULL: all is well. */
static const char *contradiction(const struct restore_request *q, bool has_backup)
{
	if (has_backup && q->at >= 0)
		return "a BACKUP and --at exclude each other";
	if (q->if_empty && (q->cleans || q->is_forced || q->creates || q->jobs > 1))
		return "--if-empty excludes --clean, --force, --create and --jobs";
	if (q->creates && !q->target_db)
		return "--create needs --target-db";
	if (q->creates && q->cleans)
		return "--create and --clean exclude each other";
	if (q->jobs > 1 && q->cleans)
		return "with --jobs a new database takes the place of the old one; --clean has no meaning";
	return NULL;
}

int run_restore(struct program *p, int argc, char **argv)
{
	enum { AT = 256, IF_EMPTY, TARGET, CREATE, CLEAN, OWNER, PRIVILEGES, FORCE, REPORT, GLOBALS };
	static const struct option longs[] = {
		{"at", required_argument, NULL, AT},	     {"if-empty", no_argument, NULL, IF_EMPTY},
		{"target-db", required_argument, NULL, TARGET}, {"create", no_argument, NULL, CREATE},
		{"clean", no_argument, NULL, CLEAN},	     {"jobs", required_argument, NULL, 'j'},
		{"with-owner", no_argument, NULL, OWNER},    {"with-privileges", no_argument, NULL, PRIVILEGES},
		{"force", no_argument, NULL, FORCE},	     {"report", no_argument, NULL, REPORT},
		{"database", required_argument, NULL, 'd'},  {"globals", no_argument, NULL, GLOBALS},
		{NULL, 0, NULL, 0},
	};
	struct restore_request q = {.at = -1};
	struct restore_report r;
	bool wants_report = false, wants_globals = false;
	const char *source = NULL; /* of several databases */
	uint64_t n;
	int c;

	while ((c = getopt_long(argc, argv, "j:d:", longs, NULL)) != -1)
		switch (c) {
		case 'd':
			if (!program_choose_database(p, argv[0], optarg))
				return OUTCOME_USAGE;
			source = optarg;
			break;
		case GLOBALS:
			wants_globals = true;
			break;
		case AT:
			if (!backup_time_parse(optarg, &q.at))
				return command_usage(argv[0], "'%s' is not a time, such as 2026-01-31 or 20260131_030000", optarg);
			break;
		case 'j':
			if (!parse_size(optarg, &n) || n < 1 || n > JOBS_MAX)
				return command_usage(argv[0], "--jobs takes a number from 1 to %d", JOBS_MAX);
			q.jobs = (int)n;
			break;
		case IF_EMPTY:
			q.if_empty = true;
			break;
		case TARGET:
			q.target_db = optarg;
			break;
		case CREATE:
			q.creates = true;
			break;
		case CLEAN:
			q.cleans = true;
			break;
		case OWNER:
			q.with_owner = true;
			break;
		case PRIVILEGES:
			q.with_privileges = true;
			break;
		case FORCE:
			q.is_forced = true;
			break;
		case REPORT:
			wants_report = true;
			break;
		default:
			return command_usage(argv[0], "%s", restore_usage);
		}
	if (optind + 1 < argc)
		return command_usage(argv[0], "%s", restore_usage);
	q.what = optind < argc ? argv[optind] : NULL;
	if (contradiction(&q, q.what != NULL))
		return command_usage(argv[0], "%s", contradiction(&q, q.what != NULL));
	if (!config_is_enabled(p->config)) {
		/* An entry script calls it whether or not there are backups. */
		EVENT(q.if_empty ? LEVEL_LOG : LEVEL_ERROR, "config", F_TEXT("text", "backup not configured"));
		return q.if_empty ? OUTCOME_DONE : OUTCOME_USAGE;
	}
	if (!program_open_store(p))
		return OUTCOME_USAGE;
	if (wants_globals)
		return globals_restore(p, q.what, q.is_forced);
	if (!q.target_db)
		q.target_db = source;
	if (databases_are_several(p->config) && !source)
		return command_usage(argv[0], "of several databases --database says which");
	restore_run(p, &q, &r);
	if (wants_report)
		report(&r);
	return r.outcome;
}

/* ---- verify ---- */

static bool parse_level(const char *text, enum verify_level *level)
{
	for (enum verify_level l = VERIFY_HEAD; l <= VERIFY_DRILL; l++)
		if (strcmp(text, verify_level_word(l)) == 0) {
			*level = l;
			return true;
		}
	return false;
}

static enum outcome verify_one(struct program *p, struct catalog *c, const struct backup_entry *e, enum verify_level level,
			       bool is_forced)
{
	struct chosen_backup b;
	struct verify_report r;
	enum outcome o = look_at_backup(p, c, e, &b);

	if (o == OUTCOME_DONE) {
		verify_run(p, NULL, &b, level, is_forced, &r);
		o = r.outcome;
		chosen_free(&b);
	}
	printf("%-6s %s %s\n", o == OUTCOME_DONE ? "ok" : "FAILED", verify_level_word(level), b.key);
	return o;
}

int run_verify(struct program *p, int argc, char **argv)
{
	enum { LEVEL = 256, ALL, FORCE };
	static const struct option longs[] = {{"level", required_argument, NULL, LEVEL}, {"all", no_argument, NULL, ALL},
					      {"force", no_argument, NULL, FORCE}, {"database", required_argument, NULL, 'd'},
					      {NULL, 0, NULL, 0}};
	enum verify_level level = VERIFY_AUTH;
	bool all = false, is_forced = false;
	const struct backup_entry *e;
	struct catalog catalog;
	enum outcome o, worst = OUTCOME_DONE;
	char why[512];
	int c;

	while ((c = getopt_long(argc, argv, "d:", longs, NULL)) != -1) {
		if (c == 'd' && !program_choose_database(p, argv[0], optarg))
			return OUTCOME_USAGE;
		if (c == 'd')
			continue;
		if (c == ALL)
			all = true;
		else if (c == FORCE)
			is_forced = true;
		else if (c != LEVEL || !parse_level(optarg, &level))
			return command_usage(argv[0], "usage: verify [BACKUP] [--level head|auth|archive|drill] [--all] [--force] [--database D]");
	}
	if (optind + 1 < argc || (all && optind < argc))
		return command_usage(argv[0], "takes one BACKUP, or --all");
	o = load_catalog(p, NULL, &catalog);
	if (o != OUTCOME_DONE)
		return o;
	if (all) {
		for (size_t i = 0; i < catalog.count && !loop_is_interrupted(p->loop); i++) {
			o = verify_one(p, &catalog, &catalog.entries[i], level, is_forced);
			worst = worst == OUTCOME_DONE ? o : worst;
		}
		if (catalog.count == 0)
			worst = OUTCOME_NO_BACKUP;
	} else {
		enum storage_result r = catalog_choose(&catalog, optind < argc ? argv[optind] : "latest", &e, why, sizeof(why));

		if (r == STORAGE_OK)
			worst = verify_one(p, &catalog, e, level, is_forced);
		else {
			worst = r == STORAGE_NOT_FOUND ? OUTCOME_NO_BACKUP : tell_storage_failure("list", r, &catalog.error);
			if (r == STORAGE_NOT_FOUND)
				EVENT(LEVEL_ERROR, "no_backup", F_TEXT("error", why));
		}
	}
	catalog_free(&catalog);
	return loop_is_interrupted(p->loop) ? OUTCOME_INTERRUPTED : worst;
}
