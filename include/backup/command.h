/*
 * backup/command.h - the subcommands, and what every one of them is given.
 *
 * A command is a row of the table in backup/main.c. It gets its own arguments
 * (argv[0] is its name), and returns the exit status: an outcome, or
 * EXIT_BY_SIGNAL plus a signal's number. It writes its answer to
 * standard output; events go to standard error.
 *
 * Rules: backup specification, section 3.
 */
#ifndef BACKUP_COMMAND_H
#define BACKUP_COMMAND_H

#include <stdbool.h>

#include "backup/config.h"
#include "backup/outcome.h"

#define EXIT_BY_SIGNAL 128

struct family;
struct keyring;
struct loop;
struct storage;

struct program {
	struct loop *loop;	 /* owned */
	struct family *family;	 /* owned */
	struct config *config;	 /* owned */
	struct environment *environment; /* owned; for loading the configuration again */
	const struct config_override *overrides;
	struct storage *storage; /* owned; NULL when the command does not need it */
	struct keyring *keys;	 /* owned; the same */
	bool is_quiet;
	int ended_by; /* the signal that interrupts the loop; 0: none */
};

#define NEEDS_STORE 1u	     /* not configured: exit 2 */
#define NEEDS_STORE_OR_ENDS 2u /* not configured: says so, exit 0 */
#define NEEDS_KEYS 4u	     /* encryption must be configured */
#define TAKES_KEYS 8u	     /* uses them if there are any */

struct command {
	const char *name;
	const char *synopsis; /* of its arguments, for --help */
	const char *help;
	unsigned needs;
	int (*run)(struct program *, int argc, char **argv);
};

/* One for each of the other files; main.c lists them. */
int command_usage(const char *command, const char *fmt, ...) PRINTF_LIKE(2, 3); /* says it; OUTCOME_USAGE */

#endif
