/*
 * pg-ecdsa-backup: options, and which command does what.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/command.h"
#include "backup/event.h"
#include "backup/keys.h"
#include "lib/mem.h"

extern char **environ;

static const struct command commands[] = {
	{"daemon", "[--ready-file PATH]", "restore if the database is empty, then back up when it is time",
	 NEEDS_STORE_OR_ENDS | NEEDS_KEY, run_daemon},
	{"backup", "[--database D] [--wait-lock SECS] [--label TEXT]", "one backup now", NEEDS_STORE | NEEDS_KEY, run_backup},
	{"restore", "[BACKUP] [--at TIME] [--if-empty [--report]] [--database D] [--target-db D] [--create] [--clean]\n"
	 "          [--jobs N] [--with-owner] [--with-privileges] [--force] [--globals]",
	 "restore; BACKUP is latest, a time, or an object's key", 0, run_restore},
	{"verify", "[BACKUP] [--level head|auth|archive|drill] [--all] [--force]", "prove that a backup is good", NEEDS_STORE,
	 run_verify},
	{"list", "[--json] [--all] [--long]", "our backups, newest first", NEEDS_STORE, run_list},
	{"decrypt", "BACKUP|FILE [-o OUT] [--two-pass] [--force]", "open a backup, or a file if there is one of that name", 0,
	 run_decrypt},
	{"encrypt", "FILE -o OUT [--format 1|2]", "seal a file, for tests and migration", NEEDS_KEY, run_encrypt},
	{"download", "BACKUP -o OUT", "a backup as it is stored", NEEDS_STORE, run_download},
	{"prune", "[--dry-run] [--max-delete N]", "apply the rules of retention now", NEEDS_STORE, run_prune},
	{"cleanup", "[--dry-run] [--min-age SPAN]", "abort unfinished uploads of the past", NEEDS_STORE, run_cleanup},
	{"hold", "BACKUP", "protect a backup from prune", NEEDS_STORE, run_hold},
	{"release", "BACKUP", "end that protection, or a suspicion", NEEDS_STORE, run_release},
	{"check", "", "try everything a backup needs; what a new user runs first", NEEDS_STORE, run_check},
	{"status", "[--json] [--max-age SPAN]", "how things are; 3 with no good backup, 1 with none that is young enough", 0,
	 run_status},
	{"key-id", "", "print the identifier of the key, never the key", NEEDS_KEY, run_key_id},
};

static const char usage_head[] =
	"pg-ecdsa-backup keeps encrypted backups of a PostgreSQL database in S3.\n"
	"\n"
	"Usage:\n"
	"  pg-ecdsa-backup [OPTION]... COMMAND [ARGUMENT]...\n"
	"\n"
	"Options:\n"
	"  -c, --config=FILE        read settings from FILE; the environment beats it\n"
	"  -v, --verbose            say more; twice: every request\n"
	"  -q, --quiet              say only what is wrong\n"
	"      --log-format=FORMAT  text, json or logfmt\n"
	"      --no-color           no colours on a terminal\n"
	"      --describe-settings  print every setting as markdown, then exit\n"
	"  -V, --version            show version, then exit\n"
	"  -h, --help               show this help, then exit\n"
	"\n"
	"Secrets are never arguments: see MNEMONIC, MNEMONIC_FILE and so on in pg-ecdsa-backup(1).\n"
	"\n"
	"Commands:\n";

static const char usage_tail[] =
	"\n"
	"Exit status:\n"
	"  0 done; 1 failure; 2 usage or configuration; 3 no backup; 4 integrity: wrong key, tampered, not an\n"
	"  archive; 5 storage; 6 database or child program; 7 another instance holds the lock; 8 done, but what\n"
	"  follows failed; 9 refused for safety; 10 timed out; 128+n ended by signal n\n";

struct options {
	const char *config_path, *log_format;
	int verbosity;
	bool is_quiet, no_colour;
};

static int usage_error(void)
{
	fprintf(stderr, "Try \"pg-ecdsa-backup --help\" for more information.\n");
	return OUTCOME_USAGE;
}

static int show_usage(void)
{
	fputs(usage_head, stdout);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		printf("  %s%s%s\n        %s\n", commands[i].name, *commands[i].synopsis ? " " : "", commands[i].synopsis,
		       commands[i].help);
	fputs(usage_tail, stdout);
	return OUTCOME_DONE;
}

/* -1: go on; else the exit status. */
static int read_options(int argc, char **argv, struct options *o)
{
	enum { LOG_FORMAT = 256, NO_COLOUR, DESCRIBE };
	static const struct option longs[] = {
		{"config", required_argument, NULL, 'c'},	    {"verbose", no_argument, NULL, 'v'},
		{"quiet", no_argument, NULL, 'q'},		    {"log-format", required_argument, NULL, LOG_FORMAT},
		{"no-color", no_argument, NULL, NO_COLOUR},	    {"version", no_argument, NULL, 'V'},
		{"describe-settings", no_argument, NULL, DESCRIBE}, {"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int c;

	/* '+': what stands behind the command is the command's. */
	while ((c = getopt_long(argc, argv, "+c:vqVh", longs, NULL)) != -1)
		switch (c) {
		case 'c':
			o->config_path = optarg;
			break;
		case 'v':
			o->verbosity++;
			break;
		case 'q':
			o->is_quiet = true;
			break;
		case LOG_FORMAT:
			o->log_format = optarg;
			break;
		case NO_COLOUR:
			o->no_colour = true;
			break;
		case DESCRIBE:
			settings_describe();
			return OUTCOME_DONE;
		case 'V':
			printf("pg-ecdsa-backup %s\n", PACKAGE_VERSION);
			return OUTCOME_DONE;
		case 'h':
			return show_usage();
		default:
			return usage_error();
		}
	if (optind < argc)
		return -1;
	fprintf(stderr, "pg-ecdsa-backup: no command given\n");
	return usage_error();
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static enum event_format log_format(const char *word)
{
	return word && strcmp(word, "json") == 0 ? EVENT_JSON : word && strcmp(word, "logfmt") == 0 ? EVENT_LOGFMT : EVENT_TEXT;
}

/* The settings may say another format than what the log has begun with. */
static void open_log(const struct options *o, const struct config *c)
{
	const char *word = o->log_format ? o->log_format : c ? config_word(SETTING_log_format, c->log_format) : NULL;

	event_open(log_format(word), o->is_quiet, !o->no_colour && isatty(2) && !getenv("NO_COLOR"));
}

static int run(struct program *p, const struct command *command, int argc, char **argv)
{
	int status;

	if (command->needs & (NEEDS_STORE | NEEDS_STORE_OR_ENDS) && !config_is_enabled(p->config)) {
		/* Endpoint, bucket and keys say whether there are backups at all: backup specification, section 1. */
		bool ends = command->needs & NEEDS_STORE_OR_ENDS;

		EVENT(ends ? LEVEL_LOG : LEVEL_ERROR, "config", F_TEXT("text", "backup not configured"));
		return ends ? OUTCOME_DONE : OUTCOME_USAGE;
	}
	if (command->needs & NEEDS_KEY && !keyring_check(p->keys, p->config))
		return OUTCOME_USAGE;
	if (command->needs & (NEEDS_STORE | NEEDS_STORE_OR_ENDS) && !program_open_store(p))
		return OUTCOME_USAGE;
	optind = 0; /* getopt of the GNU library begins anew */
	status = command->run(p, argc, argv);
	if (fflush(stdout) != 0 && status == OUTCOME_DONE)
		status = OUTCOME_FAILED;
	return status == OUTCOME_INTERRUPTED ? EXIT_BY_SIGNAL + (p->ended_by ? p->ended_by : 15) : status;
}

int main(int argc, char **argv)
{
	struct options o = {0};
	const struct command *command;
	struct program *p;
	int status = read_options(argc, argv, &o);

	if (status >= 0)
		return status;
	atomic_store(&log_verbosity, o.verbosity);
	if (o.log_format && log_format(o.log_format) == EVENT_TEXT && strcmp(o.log_format, "text") != 0) {
		fprintf(stderr, "pg-ecdsa-backup: '%s' is none of: text json logfmt\n", o.log_format);
		return usage_error();
	}
	command = find_command(argv[optind]);
	if (!command) {
		fprintf(stderr, "pg-ecdsa-backup: there is no command '%s'\n", argv[optind]);
		return usage_error();
	}
	open_log(&o, NULL);
	p = program_new();
	p->environment = environment_take(environ);
	p->config_path = o.config_path;
	status = OUTCOME_USAGE;
	if (program_configure(p)) {
		open_log(&o, p->config);
		status = run(p, command, argc - optind, argv + optind);
	}
	program_free(p);
	return status;
}
