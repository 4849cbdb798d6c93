#include "container/database.h"

#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "container/children.h"
#include "container/files.h"
#include "lib/file.h"
#include "lib/log.h"
#include "lib/mem.h"

#define READY_POLL_MS 100
#define READY_LINE 8	   /* of postmaster.pid: what pg_ctl -w waits for */
#define PIDFILE_MAX 4096
#define VERSIONS_LOOKED_AT 40

static char *server_program(const struct plan *p, const char *name)
{
	return xasprintf("%s/%s", p->server_dir, name);
}

/* DATA_DIR/postgresql/15: the next major version gets another, and never this one. */
static char *cluster_dir(const struct plan *p, int major)
{
	return xasprintf("%s/postgresql/%d", p->data_dir, major);
}

static bool is_there(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0;
}

/* ---- made once ---- */

static bool is_of_another_version(const struct plan *p)
{
	bool found = false;

	for (int ahead = -VERSIONS_LOOKED_AT; ahead < VERSIONS_LOOKED_AT && !found; ahead++) {
		const int major = p->server_major + ahead;
		char *dir = cluster_dir(p, major);

		found = major != p->server_major && is_there(dir);
		if (found)
			log_error("DATA_DIR: %s is of PostgreSQL %d, this image has %d: take an image with that one, or an empty "
				  "directory, which is filled from the newest backup", dir, major, p->server_major);
		free(dir);
	}
	return found;
}

/* Under another name until it is whole, so that an initdb that is cut short is no database of the next start. */
static int make_cluster(const struct plan *p, const char *dir)
{
	char *program = server_program(p, "initdb"), *fresh = xasprintf("%s.new", dir);
	const char *remove[] = {"/bin/rm", "-rf", fresh, NULL};
	const char *make[] = {program, "-D", fresh, "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--auth=reject",
			      "--data-checksums", NULL};
	int status = 1;

	if (dir_make(data_path(p, "postgresql"), &p->postgres_user, 0700))
		status = child_run(&(struct command){.name = "rm", .user = &p->postgres_user, .argv = remove});
	if (status == 0) {
		log_info("making a new PostgreSQL %d database in %s", p->server_major, dir);
		status = child_run(&(struct command){.name = "initdb", .user = &p->postgres_user, .argv = make,
						     .is_quiet = true});
	}
	if (status == 0 && rename(fresh, dir) < 0) {
		log_error("could not rename %s: %s", fresh, strerror(errno));
		status = 1;
	} else if (status != 0)
		log_error("DATA_DIR: no database could be made in %s (status %d)", dir, status);
	free(program);
	free(fresh);
	return status;
}

/* ---- started ---- */

static bool write_access(const struct plan *p)
{
	const struct passwd *pw = getpwuid(p->postgres_user.uid);
	const char *hba = "# made at every start\n"
			  "local template1 postgres peer map=inside\n"
			  "local all all scram-sha-256\n";
	char *ident;
	bool ok;

	if (!pw) {
		log_error("user %ld has no name, which PostgreSQL needs", (long)p->postgres_user.uid);
		return false;
	}
	ident = xasprintf("inside \"%s\" postgres\n", pw->pw_name);
	ok = file_put(run_path(p, "sql/pg_hba.conf"), hba, strlen(hba), &p->postgres_user, 0400) &&
	     file_put(run_path(p, "sql/pg_ident.conf"), ident, strlen(ident), &p->postgres_user, 0400);
	free(ident);
	return ok;
}

static bool is_ready(const char *dir)
{
	char *path = xasprintf("%s/postmaster.pid", dir), *line;
	struct file_text f;
	bool ready = false;

	if (file_read(path, PIDFILE_MAX, NULL, &f) == 0) {
		line = f.text;
		for (int n = 1; line && n < READY_LINE; n++) {
			line = strchr(line, '\n');
			line = line ? line + 1 : NULL;
		}
		ready = line && strncmp(line, "ready", 5) == 0;
		file_text_free(&f);
	}
	free(path);
	return ready;
}

static int start_server(const struct plan *p, const char *dir)
{
	char *program = server_program(p, "postgres"), *sockets = xasprintf("unix_socket_directories=%s", p->host);
	char *hba = xasprintf("hba_file=%s", run_path(p, "sql/pg_hba.conf"));
	char *ident = xasprintf("ident_file=%s", run_path(p, "sql/pg_ident.conf"));
	const char *argv[] = {program, "-D", dir, "-c", "listen_addresses=", "-c", "port=5432", "-c", sockets, "-c", hba,
			      "-c", ident, "-c", "log_destination=stderr", "-c", "logging_collector=off",
			      "-c", "password_encryption=scram-sha-256", NULL};
	char *pidfile = xasprintf("%s/postmaster.pid", dir);
	int status = 0;

	/* Of a container that was killed: nobody else is here (the lock), and its "ready" would be taken for ours. */
	unlink(pidfile);
	if (!child_start(CHILD_POSTGRES, &(struct command){.name = "PostgreSQL", .user = &p->postgres_user, .argv = argv,
							    .death_signal = SIGINT}))
		status = 126;
	while (status == 0 && !is_ready(dir)) {
		children_wait(READY_POLL_MS);
		if (!child_is_up(CHILD_POSTGRES)) {
			status = child_status(CHILD_POSTGRES);
			log_error("PostgreSQL did not start (status %d)", status);
			status = status ? status : 1;
		} else if (stop_signals())
			status = 128 + stop_signal();
	}
	free(program);
	free(sockets);
	free(hba);
	free(ident);
	free(pidfile);
	return status;
}

/* ---- its service account ---- */

static void put_literal(struct buf *b, const char *text)
{
	buf_put_text(b, "'");
	for (; *text; text++)
		buf_printf(b, *text == '\'' ? "''" : "%c", *text);
	buf_put_text(b, "'");
}

/* A word of psql in front of which stands a \set, so that it can quote it itself. */
static void put_set(struct buf *b, const char *name, const char *value)
{
	buf_printf(b, "\\set %s '", name);
	for (; *value; value++)
		buf_printf(b, *value == '\'' ? "''" : *value == '\\' ? "\\\\" : "%c", *value);
	buf_put_text(b, "'\n");
}

static void put_create_database(struct buf *b, const char *name)
{
	put_set(b, "db", name);
	buf_put_text(b, "SELECT format('CREATE DATABASE %I OWNER %I TEMPLATE template0', :'db', :'role')"
			" WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'db') \\gexec\n");
}

/* Those that are backed up and restored by name have to be there. */
static void put_backup_databases(struct buf *b, const struct plan *p)
{
	const char *list = variables_get(p->variables, "BACKUP_DATABASES");
	char *copy, *item, *save = NULL;

	if (!p->has_backups || !list || strcmp(list, "*") == 0)
		return;
	copy = xstrdup(list);
	for (item = strtok_r(copy, ", ", &save); item; item = strtok_r(NULL, ", ", &save))
		put_create_database(b, item);
	free(copy);
}

static void write_setup(struct buf *b, const struct plan *p)
{
	/* First: no statement may reach the log, since one of them holds the password. */
	buf_put_text(b, "SET log_statement = 'none'; SET log_min_error_statement = 'panic';\n"
			"SET log_min_duration_statement = -1;\n"
			"SET standard_conforming_strings = on; SET password_encryption = 'scram-sha-256';\n");
	put_set(b, "role", p->role);
	buf_put_text(b, "SELECT format('CREATE ROLE %I LOGIN', :'role')"
			" WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \\gexec\n"
			"ALTER ROLE :\"role\" LOGIN PASSWORD ");
	put_literal(b, p->password);
	buf_put_text(b, ";\n");
	if (strcmp(p->role, "postgres") != 0)
		/* It reads what is backed up; and whoever knew the superuser's password of an earlier start is out. */
		buf_put_text(b, "GRANT pg_read_all_data TO :\"role\";\nALTER ROLE postgres PASSWORD NULL;\n");
	put_create_database(b, p->database);
	put_backup_databases(b, p);
}

static int set_up(const struct plan *p)
{
	char *program = server_program(p, "psql");
	const char *argv[] = {program, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", p->host, "-p", p->port, "-U", "postgres",
			      "-d", "template1", "-f", "-", NULL};
	struct buf sql;
	int status;

	buf_init(&sql);
	write_setup(&sql, p);
	status = child_run(&(struct command){.name = "psql", .user = &p->postgres_user, .argv = argv, .input = &sql,
					     .is_quiet = true});
	if (status != 0)
		log_error("PostgreSQL could not be set up (psql ended with status %d)", status);
	buf_wipe_free(&sql);
	free(program);
	return status;
}

int database_start(const struct plan *p)
{
	char *dir = cluster_dir(p, p->server_major);
	int status = 0;

	if (!is_there(dir))
		status = is_of_another_version(p) ? 2 : make_cluster(p, dir);
	if (status == 0 && !write_access(p))
		status = 1;
	if (status == 0)
		status = start_server(p, dir);
	if (status == 0)
		status = set_up(p);
	free(dir);
	return status;
}
