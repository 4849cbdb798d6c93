/*
 * pg-ecdsa-container: the command of the container image.
 *
 *	pg-ecdsa-container			runs it
 *	pg-ecdsa-container check		judges the variables, and starts nothing
 *	pg-ecdsa-container backup ARGUMENT...	pg-ecdsa-backup, as the daemon of this container would run
 *	pg-ecdsa-container health		is it ready for clients? for HEALTHCHECK
 *
 * A program and not a shell script, because it is process 1, which has to reap
 * what others leave behind; because a script cannot wipe the mnemonic from
 * /proc/1/environ, where a wallet that is a superuser of PostgreSQL could have
 * it read; and because each program is to see its own variables and no more.
 *
 * The order: variables -> files -> pg-ecdsa-proxy --check -> PostgreSQL ->
 * pg-ecdsa-backup restore --if-empty -> the pooler and the backup daemon. The
 * way back: the pooler, the daemon, PostgreSQL. When one of the three ends by
 * itself the container ends, with its status.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "container/children.h"
#include "container/database.h"
#include "container/files.h"
#include "container/plan.h"
#include "container/variables.h"
#include "health.h"
#include "lib/file.h"
#include "lib/log.h"
#include "lib/mem.h"

#define STATUS_USAGE 2
#define STATUS_INTEGRITY 4	/* of pg-ecdsa-backup */
#define SECRET_MAX 65536
#define LOOK_MS 1000		/* for certificates, and while one waits */
#define ORPHAN_PATIENCE_MS 2000
#define KILL_PATIENCE_SECS 10	/* of a pooler that was told to end at once */

extern char **environ;

static long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (long)t.tv_sec;
}

static char *program(const struct plan *p, const char *name)
{
	return xasprintf("%s/%s", p->program_dir, name);
}

/* ---- the judgement of the others ---- */

/* "error: TEXT (FILE:LINE)" of the ini file, under the name of the variable that made the line. */
static void tell_mistake(const struct plan *p, char *text)
{
	char *at = strrchr(text, '('), *colon = at ? strrchr(at, ':') : NULL;
	const char *message = strncmp(text, "error: ", 7) == 0 ? text + 7 : text;
	int line = colon ? atoi(colon + 1) : 0;
	size_t len = colon ? (size_t)(colon - at - 1) : 0;

	if (colon && line >= 1 && line <= p->wallet_lines && strncmp(at + 1, run_path(p, "proxy/wallets"), len) == 0) {
		*at = 0;
		log_error("%s: %s", p->wallet_origins[line - 1], message);
	} else if (colon && line >= 1 && line <= p->lines &&
		   strncmp(at + 1, run_path(p, "proxy/pgbouncer.ini"), len) == 0) {
		const struct origin *o = &p->origins[line - 1];

		*at = 0;
		log_error("%s: %s", o->variable, o->is_secret ? "this cannot be used" : message);
	} else
		log_error("%s", message);
}

static int check_ini(const struct plan *p)
{
	char *path = program(p, "pg-ecdsa-proxy"), *text, *line, *save = NULL;
	const char *argv[] = {path, "--check", run_path(p, "proxy/pgbouncer.ini"), NULL};
	struct buf errors;
	int status;

	buf_init(&errors);
	status = child_run(&(struct command){.name = "pg-ecdsa-proxy --check", .user = &p->proxy_user, .argv = argv,
					     .errors = &errors});
	buf_put_u8(&errors, 0);
	text = xstrdup((const char *)buf_data(&errors));
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		/* Its last line, which names a file that nobody has written. */
		if (strncmp(line, run_path(p, "proxy/pgbouncer.ini"), strlen(p->run_dir)) == 0)
			continue;
		if (strncmp(line, "error: ", 7) == 0 || status > 1)
			tell_mistake(p, line);
		else
			log_warning("pgbouncer.ini: %s", line);
	}
	str_wipe_free(text);
	buf_wipe_free(&errors);
	free(path);
	return status ? STATUS_USAGE : 0;
}

/* It reads all of its settings, and asks nobody. */
static int check_backup(const struct plan *p)
{
	const char *mode = variables_get(p->variables, "BACKUP_ENCRYPTION");
	char *path = program(p, "pg-ecdsa-backup");
	const char *none[] = {path, "status", NULL}, *sealed[] = {path, "key-id", NULL};
	bool is_plain = mode && strcasecmp(mode, "none") == 0;
	struct command c = {.name = "pg-ecdsa-backup", .user = &p->backup_user, .argv = is_plain ? none : sealed,
			    .environment = ENV_BACKUP, .is_quiet = true};
	int status = child_run(&c);

	free(path);
	/* Without a key `status` is the one that needs no store; it may have nothing to tell. */
	return is_plain && status != STATUS_USAGE ? 0 : status;
}

static int judge(struct plan *p)
{
	int status;

	if (!files_make_dirs(p) || !files_write(p))
		return 1;
	status = check_ini(p);
	if (p->has_backups && status == 0)
		status = check_backup(p);
	return status;
}

/* ---- the start ---- */

static int restore_one(const struct plan *p, const char *database)
{
	char *path = program(p, "pg-ecdsa-backup");
	const char *argv[] = {path, "restore", "--if-empty", database ? "--database" : NULL, database, NULL};
	int status = child_run(&(struct command){.name = "pg-ecdsa-backup restore", .user = &p->backup_user, .argv = argv,
						  .environment = ENV_BACKUP});

	free(path);
	if (status != 0 && p->goes_on_unrestored && !stop_signals()) {
		log_warning("the restore has failed (status %d), and BACKUP_RESTORE_ON_FAILURE=continue", status);
		return 0;
	}
	if (status == STATUS_INTEGRITY)
		log_error("MNEMONIC: the newest backup cannot be opened: it was sealed with another mnemonic, or it was changed");
	if (status != 0)
		log_error("pg-ecdsa-backup restore --if-empty ended with status %d: no database is served", status);
	return status;
}

static int restore(const struct plan *p)
{
	const char *list = variables_get(p->variables, "BACKUP_DATABASES");
	char *copy, *item, *save = NULL;
	int status = 0;

	if (!p->has_backups || !p->wants_restore)
		return 0;
	if (!list)
		return restore_one(p, NULL);
	/* With all of them nobody knows beforehand which there should be: doc/backup.md. */
	if (strcmp(list, "*") == 0)
		return 0;
	copy = xstrdup(list);
	for (item = strtok_r(copy, ", ", &save); item && status == 0; item = strtok_r(NULL, ", ", &save))
		status = restore_one(p, item);
	free(copy);
	return status;
}

static int start_pooler(const struct plan *p)
{
	char *path = program(p, "pg-ecdsa-proxy");
	const char *argv[] = {path, run_path(p, "proxy/pgbouncer.ini"), NULL};
	bool ok = child_start(CHILD_PROXY, &(struct command){.name = "pg-ecdsa-proxy", .user = &p->proxy_user, .argv = argv,
							      .death_signal = SIGQUIT});

	free(path);
	return ok ? 0 : 126;
}

static int start_daemon(const struct plan *p)
{
	char *path = program(p, "pg-ecdsa-backup");
	const char *argv[] = {path, "daemon", NULL};
	bool ok;

	/* That was done before anybody could write; a second look would be too late. */
	if (!p->goes_on_unrestored)
		variables_set(p->variables, "BACKUP_RESTORE", "no");
	ok = child_start(CHILD_BACKUP, &(struct command){.name = "pg-ecdsa-backup daemon", .user = &p->backup_user, .argv = argv,
							  .environment = ENV_BACKUP});
	free(path);
	return ok ? 0 : 126;
}

static int start_all(struct plan *p)
{
	int status = judge(p);

	if (status == 0 && p->is_inside)
		status = database_start(p);
	if (status == 0)
		status = restore(p);
	if (status == 0 && stop_signals())
		status = 128 + stop_signal();
	if (status == 0)
		status = start_pooler(p);
	if (status == 0 && p->has_backups)
		status = start_daemon(p);
	return status;
}

/* ---- the end ---- */

/* Waits for its end. false: it still runs after so many seconds (-1: any number), or another signal says to hurry. */
static bool wait_for_end(enum child_id id, long seconds)
{
	const int before = stop_signals();
	const long end = now() + seconds;

	while (child_is_up(id)) {
		if (stop_signals() > before || (seconds >= 0 && now() >= end))
			return false;
		children_wait(LOOK_MS / 10);
	}
	return true;
}

/* Not ready for anybody new from the first signal on; who is connected may go on for a while. */
static void stop_pooler(const struct plan *p)
{
	if (!child_is_up(CHILD_PROXY))
		return;
	child_signal(CHILD_PROXY, SIGTERM);
	if (wait_for_end(CHILD_PROXY, p->drain_secs))
		return;
	log_info("clients that are still connected are cut (SHUTDOWN_DRAIN_SECS=%ld)", p->drain_secs);
	child_signal(CHILD_PROXY, SIGQUIT);
	if (!wait_for_end(CHILD_PROXY, KILL_PATIENCE_SECS))
		child_signal(CHILD_PROXY, SIGKILL);
	(void)wait_for_end(CHILD_PROXY, KILL_PATIENCE_SECS);
}

/* It has limits of its own, and a last backup may take its time; another signal is passed on, and means haste. */
static void stop_daemon(void)
{
	child_signal(CHILD_BACKUP, SIGTERM);
	while (!wait_for_end(CHILD_BACKUP, -1))
		child_signal(CHILD_BACKUP, SIGTERM);
}

static void stop_server(void)
{
	child_signal(CHILD_POSTGRES, SIGINT); /* a fast shutdown: sessions end, nothing is lost */
	while (!wait_for_end(CHILD_POSTGRES, -1))
		;
}

/* The status of what has not ended well, in the order of the stop. */
static int stop_all(const struct plan *p)
{
	stop_pooler(p);
	stop_daemon();
	stop_server();
	/* Where we are not process 1, a start that follows at once would find its shared memory in use. */
	children_wait_for_orphans(ORPHAN_PATIENCE_MS);
	return child_status(CHILD_BACKUP) ? child_status(CHILD_BACKUP) : child_status(CHILD_POSTGRES);
}

/* ---- between the two ---- */

static void reload(const struct plan *p, const char *why)
{
	log_info("%s: the configuration is read again", why);
	if (certificate_copy(p))
		child_signal(CHILD_PROXY, SIGHUP);
}

static int watch(const struct plan *p)
{
	enum child_id ended;
	int status;

	while ((ended = child_that_ended()) == CHILD_COUNT && !stop_signals()) {
		children_wait(LOOK_MS);
		if (reload_is_wanted()) {
			reload(p, "SIGHUP");
			child_signal(CHILD_BACKUP, SIGHUP);
		} else if (certificate_has_changed(p))
			reload(p, "the certificate has changed");
	}
	if (ended == CHILD_COUNT) {
		log_info("stopping by signal %d", stop_signal());
		return stop_all(p);
	}
	status = child_status(ended);
	log_error("%s has ended by itself with status %d: the container ends", child_name(ended), status);
	(void)stop_all(p);
	return status;
}

static int run(struct plan *p)
{
	int status;

	log_info("PostgreSQL: %s; backups: %s; TLS: %s", p->is_inside ? "inside" : p->host, p->has_backups ? "yes" : "no",
		 p->cert_file ? p->cert_file : "no");
	status = start_all(p);
	if (status != 0) {
		(void)stop_all(p);
		return status;
	}
	return watch(p);
}

/* ---- the rest of the commands ---- */

static int check(struct plan *p)
{
	int status = judge(p);

	if (status == 0)
		log_info("the variables are good");
	return status;
}

/* What the running container has made up or copied: the password of the PostgreSQL inside, and the key file. */
static bool borrow(struct plan *p)
{
	struct file_text f;

	if (p->password_is_made_up) {
		if (file_read(run_path(p, PASSWORD_FILE), SECRET_MAX, NULL, &f) < 0) {
			log_error("RUN_DIR: could not read %s: %s; does the container run?", run_path(p, PASSWORD_FILE),
				  strerror(errno));
			return false;
		}
		variables_set(p->variables, "PG_PASSWORD", f.text);
		file_text_free(&f);
	}
	if (p->backup_user.name && variables_get(p->variables, KEY_FILE_VARIABLE))
		variables_set(p->variables, KEY_FILE_VARIABLE, run_path(p, "backup/key"));
	return true;
}

static int backup(struct plan *p, int argc, char **argv)
{
	char *path = program(p, "pg-ecdsa-backup");
	const char **list = xcalloc((size_t)argc + 2, sizeof(*list));
	int status = STATUS_USAGE;

	list[0] = path;
	for (int i = 0; i < argc; i++)
		list[i + 1] = argv[i];
	if (!p->has_backups)
		log_error("BACKUP_S3_ENDPOINT is not set: there are no backups");
	else if (borrow(p))
		status = child_run(&(struct command){.name = "pg-ecdsa-backup", .user = &p->backup_user, .argv = list,
						     .environment = ENV_BACKUP});
	free(list);
	free(path);
	return status;
}

/* Nobody of our user may look into us, and no core file may hold what we know. */
static void harden(const struct variables *v)
{
	const struct rlimit none = {0, 0};

#ifdef DEVELOPER
	if (variables_get(v, "PGECDSA_ALLOW_CORE"))
		return;
#endif
	(void)v;
	if (setrlimit(RLIMIT_CORE, &none) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
		log_warning("could not forbid core files: %s", strerror(errno));
}

static int usage(void)
{
	fputs("usage: pg-ecdsa-container [check | health | backup ARGUMENT...]\n"
	      "What it does is said by variables: doc/container.md.\n", stderr);
	return STATUS_USAGE;
}

int main(int argc, char **argv)
{
	const struct log_setup to_stderr = {.to_stderr = true};
	const char *command = argc > 1 ? argv[1] : "run";
	struct variables *v;
	struct plan p;
	bool ok;
	int status = STATUS_USAGE;

	if ((argc > 2 && strcmp(command, "backup") != 0) ||
	    (strcmp(command, "run") != 0 && strcmp(command, "check") != 0 && strcmp(command, "backup") != 0 &&
	     strcmp(command, "health") != 0))
		return usage();
	if (log_configure(&to_stderr) < 0)
		return 1;
	ok = variables_take(environ, &v);
	harden(v);
	if (strcmp(command, "health") == 0) {
		status = health(v);
		variables_free(v);
		return status;
	}
	ok &= plan_make(&p, v);
	children_begin(&p);
	if (ok && strcmp(command, "run") == 0)
		status = run(&p);
	else if (ok && strcmp(command, "check") == 0)
		status = check(&p);
	else if (ok)
		status = backup(&p, argc - 2, argv + 2);
	plan_free(&p);
	variables_free(v);
	return status;
}
