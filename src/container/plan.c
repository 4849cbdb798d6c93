#include "container/plan.h"

#include <ctype.h>
#include <errno.h>
#include <glob.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "plan_parts.h"

#define PASSWORD_BYTES 24
#define SERVER_PROGRAMS "/usr/lib/postgresql/*/bin/initdb"

static const char *in_dir(const char *dir, const char *name)
{
	static char paths[4][PATH_MAX];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, PATH_MAX, "%s/%s", dir, name);
	return path;
}

const char *run_path(const struct plan *p, const char *name)
{
	return in_dir(p->run_dir, name);
}

const char *data_path(const struct plan *p, const char *name)
{
	return in_dir(p->data_dir, name);
}

static const char *get(const struct plan *p, const char *name)
{
	return variables_get(p->variables, name);
}

static char *get_or(const struct plan *p, const char *name, const char *otherwise)
{
	const char *value = get(p, name);

	return xstrdup(value ? value : otherwise);
}

/* ---- who runs what, and where ---- */

static bool find_user(struct user *u, const char *name)
{
	const struct passwd *pw;

	*u = (struct user){.uid = geteuid(), .gid = getegid()};
	if (geteuid() != 0)
		return true;
	pw = getpwnam(name);
	if (!pw) {
		log_error("there is no user %s: started as root, the container needs the users postgres, pgproxy and "
			  "pgbackup", name);
		return false;
	}
	*u = (struct user){.name = name, .uid = pw->pw_uid, .gid = pw->pw_gid};
	return true;
}

static bool find_users(struct plan *p)
{
	return find_user(&p->proxy_user, "pgproxy") & find_user(&p->backup_user, "pgbackup") &
	       (!p->is_inside || find_user(&p->postgres_user, "postgres"));
}

static bool is_absolute(const struct plan *p, const char *variable)
{
	const char *value = get(p, variable);

	if (!value || value[0] == '/')
		return true;
	log_error("%s: \"%s\" is no absolute path", variable, value);
	return false;
}

static bool find_dirs(struct plan *p)
{
	const char *persistent = get(p, "USER_PERSISTENT_DATA_PATH");
	char self[PATH_MAX] = "";
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash = n > 0 ? strrchr(self, '/') : NULL;

	if (slash)
		*slash = 0;
	p->program_dir = xstrdup(slash ? self : "/usr/local/bin");
	p->run_dir = get_or(p, "RUN_DIR", "/run/pg-ecdsa-proxy");
	if (get(p, "DATA_DIR") || !persistent)
		p->data_dir = get_or(p, "DATA_DIR", "/var/lib/pg-ecdsa-proxy");
	else
		p->data_dir = xasprintf("%s/pg-ecdsa-proxy", persistent);
	return is_absolute(p, "RUN_DIR") & is_absolute(p, "DATA_DIR") & is_absolute(p, "TLS_DIR") &
	       is_absolute(p, "USER_PERSISTENT_DATA_PATH");
}

/* The newest PostgreSQL that is installed, if any. */
static void find_server(struct plan *p)
{
	glob_t found;

	if (glob(SERVER_PROGRAMS, 0, NULL, &found) == 0)
		for (size_t i = 0; i < found.gl_pathc; i++) {
			int major = atoi(found.gl_pathv[i] + strlen("/usr/lib/postgresql/"));

			if (major > p->server_major) {
				p->server_major = major;
				free(p->server_dir);
				p->server_dir = xstrndup(found.gl_pathv[i], strlen(found.gl_pathv[i]) - strlen("/initdb"));
			}
		}
	globfree(&found);
}

/* ---- which PostgreSQL ---- */

static bool is_loopback(const char *host)
{
	return strcasecmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
}

/*
 * Inside, where the image has one and no other is named. The earlier tool's
 * all-in-one users name the one inside as localhost; whoever means a server
 * beside the container, on a shared network, says PG_INSIDE=no.
 */
static bool choose_server(struct plan *p)
{
	const char *host = get(p, "PG_HOST");
	bool by_default = p->server_dir && (!host || is_loopback(host));

	if (!variables_bool(p->variables, "PG_INSIDE", by_default, &p->is_inside))
		return false;
	if (p->is_inside && !p->server_dir) {
		log_error("PG_INSIDE: this image has no PostgreSQL inside; name one by PG_HOST");
		return false;
	}
	if (p->is_inside && host && !is_loopback(host)) {
		log_error("PG_INSIDE and PG_HOST=%s contradict each other", host);
		return false;
	}
	return true;
}

static char *random_password(void)
{
	unsigned char bytes[PASSWORD_BYTES];
	char *text = xmalloc(2 * sizeof(bytes) + 1);

	mem_random(bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	mem_wipe(bytes, sizeof(bytes));
	return text;
}

bool is_one_line(const struct plan *p, const char *variable, const char *value)
{
	for (const char *c = value; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f) {
			log_error("%s: there is a line end or another control character in it",
				  variables_called(p->variables, variable));
			return false;
		}
	return true;
}

static bool find_server_login(struct plan *p)
{
	long port;
	bool ok;

	p->role = get_or(p, "PG_USER", "postgres");
	p->database = get_or(p, "PG_DATABASE", "postgres");
	p->password_is_made_up = p->is_inside && !get(p, "PG_PASSWORD");
	p->password = p->password_is_made_up ? random_password() : get_or(p, "PG_PASSWORD", "postgres");
	p->host = p->is_inside ? xstrdup(run_path(p, "sql")) : get_or(p, "PG_HOST", "postgres");
	p->port = p->is_inside ? xstrdup("5432") : get_or(p, "PG_PORT", "5432");
	ok = variables_number(p->variables, "PG_PORT", 1, 65535, 5432, &port) & is_one_line(p, "PG_HOST", p->host) &
	     is_one_line(p, "PG_USER", p->role) & is_one_line(p, "PG_DATABASE", p->database) &
	     is_one_line(p, "PG_PASSWORD", p->password);
	if (strlen(p->database) > 63 || strcmp(p->database, "*") == 0 || strcmp(p->database, "pgbouncer") == 0 ||
	    (p->is_inside && strcmp(p->database, "template1") == 0)) {
		log_error("PG_DATABASE: \"%s\" cannot be the name of the database", p->database);
		ok = false;
	}
	if (strlen(p->role) > 63) {
		log_error("PG_USER: a name has 63 bytes at most");
		ok = false;
	}
	return ok;
}

/* ---- backups ---- */

static bool need(const struct plan *p, const char *variable, const char *why)
{
	if (get(p, variable))
		return true;
	log_error("%s is not set: %s", variable, why);
	return false;
}

/* The endpoint is the switch; what is missing beside it is a mistake, and no way to switch backups off. */
static bool check_backups(struct plan *p)
{
	const char *endpoint = get(p, "BACKUP_S3_ENDPOINT"), *mode = get(p, "BACKUP_ENCRYPTION");
	const char *credentials = get(p, "BACKUP_S3_CREDENTIALS"), *failure = get(p, "BACKUP_RESTORE_ON_FAILURE");
	bool ok = variables_bool(p->variables, "BACKUP_RESTORE", true, &p->wants_restore), is_directory;

	if (!endpoint) {
		static const char *const beside[] = {"BACKUP_S3_BUCKET", "BACKUP_S3_ACCESS_KEY", "BACKUP_S3_SECRET_KEY"};

		for (size_t i = 0; i < ARRAY_LEN(beside); i++)
			if (get(p, beside[i]))
				log_warning("%s is set, but BACKUP_S3_ENDPOINT is not: there are no backups", beside[i]);
		return ok;
	}
	p->has_backups = true;
	p->goes_on_unrestored = failure && strcasecmp(failure, "continue") == 0;
	is_directory = strncmp(endpoint, "file://", 7) == 0;
	if (!is_directory)
		ok &= need(p, "BACKUP_S3_BUCKET", "BACKUP_S3_ENDPOINT asks for backups");
	if (!is_directory && (!credentials || strcasecmp(credentials, "static") == 0))
		ok &= need(p, "BACKUP_S3_ACCESS_KEY", "BACKUP_S3_ENDPOINT asks for backups") &
		      need(p, "BACKUP_S3_SECRET_KEY", "BACKUP_S3_ENDPOINT asks for backups");
	if ((!mode || strcasecmp(mode, "mnemonic") == 0) && !get(p, "MNEMONIC")) {
		log_error("MNEMONIC is not set: without it backups need BACKUP_ENCRYPTION=none, and anybody who gets at them "
			  "can read them");
		ok = false;
	}
	return ok;
}

/* pg-ecdsa-backup takes its settings from the environment; what is decided here stands there. */
static void tell_backup(struct plan *p)
{
	struct variables *v = p->variables;

	variables_set(v, "PG_HOST", p->host);
	variables_set(v, "PG_PORT", p->port);
	variables_set(v, "PG_USER", p->role);
	variables_set(v, "PG_DATABASE", p->database);
	if (get(p, "PG_PASSWORD") || !get(p, "PGPASSFILE"))
		variables_set(v, "PG_PASSWORD", p->password);
	if (!get(p, "PG_SSLMODE") && get(p, "SERVER_TLS_SSLMODE"))
		variables_set(v, "PG_SSLMODE", get(p, "SERVER_TLS_SSLMODE"));
	if (!get(p, "PG_SSLROOTCERT") && get(p, "SERVER_TLS_CA_FILE"))
		variables_set(v, "PG_SSLROOTCERT", get(p, "SERVER_TLS_CA_FILE"));
	if (p->is_inside)
		variables_set(v, "PG_SSLMODE", "disable"); /* a Unix socket */
	if (!get(p, "PG_BIN_DIR") && p->server_dir)
		variables_set(v, "PG_BIN_DIR", p->server_dir);
	if (!get(p, "BACKUP_STATE_DIR"))
		variables_set(v, "BACKUP_STATE_DIR", p->is_inside ? data_path(p, "backup") : run_path(p, "backup"));
	if (!get(p, "BACKUP_METRICS_STATUS_FILE") && is_backup_variable("BACKUP_METRICS_STATUS_FILE"))
		variables_set(v, "BACKUP_METRICS_STATUS_FILE", run_path(p, "status/backup.json"));
	/* /tmp may be memory, and a dump may be large. */
	if (!get(p, "TMPDIR") && p->is_inside)
		variables_set(v, "TMPDIR", data_path(p, "backup"));
}

/* ---- TLS towards clients ---- */

static bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

static bool find_certificate(struct plan *p)
{
	const char *dir = get(p, "TLS_DIR") ? get(p, "TLS_DIR") : "/run/tls";
	const char *cert = get(p, "CLIENT_TLS_CERT_FILE"), *key = get(p, "CLIENT_TLS_KEY_FILE");
	const char *mode = get(p, "CLIENT_TLS_SSLMODE");
	char *usual_cert = xasprintf("%s/fullchain.pem", dir), *usual_key = xasprintf("%s/privkey.pem", dir);
	bool ok = true;

	if (mode && strcasecmp(mode, "disable") == 0)
		goto out;
	if (cert || key) {
		if (!cert || !key) {
			log_error("%s is not set, but %s is", cert ? "CLIENT_TLS_KEY_FILE" : "CLIENT_TLS_CERT_FILE",
				  cert ? "CLIENT_TLS_CERT_FILE" : "CLIENT_TLS_KEY_FILE");
			ok = false;
			goto out;
		}
	} else if (exists(usual_cert) || exists(usual_key)) {
		cert = usual_cert;
		key = usual_key;
	} else {
		if (mode) {
			log_error("CLIENT_TLS_SSLMODE=%s needs a certificate: %s and %s, or CLIENT_TLS_CERT_FILE and "
				  "CLIENT_TLS_KEY_FILE", mode, usual_cert, usual_key);
			ok = false;
		}
		goto out;
	}
	p->cert_file = xstrdup(cert);
	p->key_file = xstrdup(key);
out:
	free(usual_cert);
	free(usual_key);
	return ok;
}

/*
 * A wallet's proof in the clear works for everybody on the way, until it
 * expires. So it has to be asked for in words.
 */
static bool check_plain_text(const struct plan *p)
{
	const char *type = get(p, "AUTH_TYPE"), *require = get(p, "ECDSA_REQUIRE_TLS");

	if (type && strcasecmp(type, "ecdsa") != 0)
		return true;
	if (require && strcasecmp(require, "never") == 0) {
		log_warning("ECDSA_REQUIRE_TLS=never: wallets may sign in without TLS, and who listens on the way can use "
			    "their proofs%s", p->cert_file ? "" : "; there is no certificate");
		return true;
	}
	if (p->cert_file)
		return true;
	if (require && strcasecmp(require, "remote") == 0) {
		log_warning("ECDSA_REQUIRE_TLS=remote, and there is no certificate: wallets can sign in from this machine alone");
		return true;
	}
	log_error("ECDSA_REQUIRE_TLS: there is no certificate (%s/fullchain.pem and privkey.pem, or CLIENT_TLS_CERT_FILE and "
		  "CLIENT_TLS_KEY_FILE); wallet logins in plain text need ECDSA_REQUIRE_TLS=never",
		  get(p, "TLS_DIR") ? get(p, "TLS_DIR") : "/run/tls");
	return false;
}

/* ---- all of it ---- */

bool plan_make(struct plan *p, struct variables *v)
{
	bool ok;

	*p = (struct plan){.variables = v};
	buf_init(&p->ini);
	buf_init(&p->wallets);
	buf_init(&p->userlist);
	ok = find_dirs(p);
	find_server(p);
	if (!choose_server(p))
		return false;
	ok &= find_users(p);
	ok &= find_server_login(p);
	ok &= check_backups(p);
	ok &= find_certificate(p) && check_plain_text(p);
	ok &= variables_number(v, "SHUTDOWN_DRAIN_SECS", 0, 86400, 5, &p->drain_secs);
	ok &= plan_write_ini(p);
	if (p->has_backups)
		tell_backup(p);
	return ok;
}

void plan_free(struct plan *p)
{
	free(p->run_dir);
	free(p->data_dir);
	free(p->program_dir);
	free(p->server_dir);
	free(p->host);
	free(p->port);
	free(p->role);
	str_wipe_free(p->password);
	free(p->database);
	free(p->cert_file);
	free(p->key_file);
	buf_wipe_free(&p->ini);
	buf_wipe_free(&p->wallets);
	buf_wipe_free(&p->userlist);
	for (int i = 0; i < p->lines; i++)
		free(p->origins[i].variable);
	free(p->origins);
	free(p->wallet_origins);
}
