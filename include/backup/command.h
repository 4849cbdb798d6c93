/*
 * backup/command.h - the subcommands, and what every one of them is given.
 *
 * A command is a row of the table in backup/main.c. It gets its own arguments
 * (argv[0] is its name), and returns the exit status of the program: an
 * outcome; OUTCOME_INTERRUPTED becomes 128 and the signal's number. It writes
 * its answer to standard output; events go to standard error.
 *
 * Rules: backup specification, section 3.
 */
#ifndef BACKUP_COMMAND_H
#define BACKUP_COMMAND_H

#include <stdbool.h>

#include "backup/config.h"
#include "backup/loop.h"
#include "backup/manifest.h"
#include "backup/outcome.h"

#define EXIT_BY_SIGNAL 128

struct family;
struct keyring;
struct storage;
struct work;

struct program {
	struct loop *loop;	 /* owned */
	struct family *family;	 /* owned */
	struct config *config;	 /* owned */
	struct environment *environment; /* owned; for loading the configuration again */
	const char *config_path; /* borrowed; NULL: no file */
	const struct config_override *overrides; /* borrowed */
	char *prefix;		 /* owned; of the backups at hand: the configured one, or a database's below it */
	struct storage *storage; /* owned; NULL when the command does not need it */
	struct keyring *keys;	 /* owned; never NULL once the configuration is there */
	struct manifest_keys manifest_keys; /* owned: its array */
	const char *key_id;	 /* borrowed of keys; of the current key; NULL: nothing is encrypted */
	struct loop_watch signal_watch;
	int signal_fd;		 /* owned */
	int ended_by;		 /* the signal that interrupts the loop; 0: none */
	bool is_urgent;		 /* it came twice */
	/* The daemon's own answer to a signal; true: taken. Called on the loop. */
	bool (*on_signal)(struct program *, int signal);
	void *daemon;	   /* of the daemon */
	struct work *work; /* borrowed; the job under way; NULL: none */
};

#define NEEDS_STORE 1u	       /* not configured: exit 2 */
#define NEEDS_STORE_OR_ENDS 2u /* not configured: says so, exit 0 */
#define NEEDS_KEY 4u	       /* encryption must be configured */

struct command {
	const char *name;
	const char *synopsis; /* of its arguments, for --help */
	const char *help;
	unsigned needs;
	int (*run)(struct program *, int argc, char **argv);
};

/* ---- for main.c ---- */
struct program *program_new(void); /* takes signals and children; before any thread begins */
void program_free(struct program *);
/* Configuration and what follows from it. false: the reasons are logged. */
bool program_configure(struct program *);
/* false: the reason is logged. */
bool program_open_store(struct program *);
/* The configuration again (SIGHUP). false: nothing has changed. */
bool program_reconfigure(struct program *);

/* ---- for commands ---- */
int command_usage(const char *command, const char *fmt, ...) PRINTF_LIKE(2, 3); /* says it; OUTCOME_USAGE */
struct command_env;
/* What the commands of backup/commands.h want. Borrows from the program. */
void program_command_env(struct program *, struct command_env *);
/* Of several databases the one that is meant from now on (option --database). false: says why not. */
bool program_choose_database(struct program *, const char *command, const char *name);
/* Where backups are, for locks and messages: the bucket, or the directory. */
const char *program_bucket(const struct program *);

int run_encrypt(struct program *, int argc, char **argv);
int run_decrypt(struct program *, int argc, char **argv);
int run_key_id(struct program *, int argc, char **argv);
int run_backup(struct program *, int argc, char **argv);
int run_restore(struct program *, int argc, char **argv);
int run_verify(struct program *, int argc, char **argv);
int run_daemon(struct program *, int argc, char **argv);
int run_status(struct program *, int argc, char **argv);
int run_check(struct program *, int argc, char **argv);
int run_list(struct program *, int argc, char **argv);
int run_prune(struct program *, int argc, char **argv);
int run_cleanup(struct program *, int argc, char **argv);
int run_hold(struct program *, int argc, char **argv);
int run_release(struct program *, int argc, char **argv);
int run_download(struct program *, int argc, char **argv);

#endif
