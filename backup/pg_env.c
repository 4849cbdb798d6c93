/* What a child that talks to a server is given: an environment made from nothing, and its password in a file. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/pg.h"
#include "lib/buf.h"
#include "lib/file_write.h"
#include "lib/mem.h"

#define VARIABLES_MAX 64

extern char **environ;

static void put(struct pg_env *e, size_t *n, const char *name, const char *value)
{
	if (value && *n + 1 < VARIABLES_MAX)
		e->envp[(*n)++] = xasprintf("%s=%s", name, value);
}

/* One line of .pgpass that fits every server: PostgreSQL manual, 34.16. Backslashes go before ':' and '\'. */
static bool put_password(struct buf *line, const struct secret *password)
{
	buf_put_text(line, "*:*:*:*:");
	for (size_t i = 0; i < password->len; i++) {
		char c = password->bytes[i];

		if (c == '\n' || c == '\r' || c == 0)
			return false;
		if (c == ':' || c == '\\')
			buf_put_u8(line, '\\');
		buf_put_u8(line, (uint8_t)c);
	}
	buf_put_u8(line, '\n');
	return buf_ok(line);
}

/* In memory, and named by the child's own /proc/self/fd; without /proc in a file that is removed afterwards. */
static bool open_password_file(struct pg_env *e, const char *spool_dir, struct span line, char path[64])
{
	bool has_proc = access("/proc/self/fd", X_OK) == 0;
	int fd;

	if (has_proc) {
		fd = memfd_create("pgpass", MFD_CLOEXEC);
		if (fd >= 0 && (fchmod(fd, 0600) < 0 || file_write_all(fd, line) < 0)) {
			close(fd);
			return false;
		}
		if (fd >= 0) {
			/* Zero means none, and the standard streams are taken. */
			e->pass_fd = fd > 2 ? fd : fcntl(fd, F_DUPFD_CLOEXEC, 3);
			if (e->pass_fd != fd)
				close(fd);
			snprintf(path, 64, "/proc/self/fd/%d", e->pass_fd);
			return e->pass_fd > 0;
		}
	}
	e->pass_path = xasprintf("%s/pgpass-XXXXXX", spool_dir);
	fd = mkostemp(e->pass_path, O_CLOEXEC); /* mode 0600 */
	if (fd < 0 || file_write_all(fd, line) < 0) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	close(fd);
	return true;
}

static bool is_ssl_variable(const char *name)
{
	return strncmp(name, "PGSSL", 5) == 0;
}

bool pg_env_make(const struct pg_target *t, const char *spool_dir, struct pg_env *e, char *why, size_t cap)
{
	const char *path = getenv("PATH"), *home = getenv("HOME"), *passfile = t->passfile;
	char port[16], fd_path[64];
	struct buf line;
	size_t n = 0;
	bool ok = true;

	*e = (struct pg_env){.envp = xcalloc(VARIABLES_MAX, sizeof(char *))};
	buf_init(&line);
	if (t->password && t->password->bytes) {
		if (!put_password(&line, t->password)) {
			snprintf(why, cap, "the password has a line end in it, which a password file cannot hold");
			ok = false;
		} else if (!open_password_file(e, spool_dir, buf_span(&line), fd_path)) {
			snprintf(why, cap, "could not hand over the password: %s", strerror(errno));
			ok = false;
		} else
			passfile = e->pass_path ? e->pass_path : fd_path;
	}
	buf_wipe_free(&line);
	if (!ok) {
		pg_env_free(e);
		return false;
	}
	put(e, &n, "PATH", path && *path ? path : "/usr/local/bin:/usr/bin:/bin");
	put(e, &n, "HOME", home && *home ? home : "/");
	put(e, &n, "LANG", getenv("LANG"));
	put(e, &n, "LC_ALL", "C");
	put(e, &n, "TZ", "UTC");
	if (*t->host)
		put(e, &n, "PGHOST", t->host);
	snprintf(port, sizeof(port), "%d", t->port);
	put(e, &n, "PGPORT", port);
	put(e, &n, "PGUSER", t->user);
	put(e, &n, "PGDATABASE", t->database);
	put(e, &n, "PGAPPNAME", "pg-ecdsa-backup");
	put(e, &n, "PGCONNECT_TIMEOUT", "30");
	put(e, &n, "PGPASSFILE", passfile);
	put(e, &n, "PGSSLMODE", t->sslmode);
	put(e, &n, "PGSSLROOTCERT", t->sslrootcert);
	for (char **at = environ; *at && n + 1 < VARIABLES_MAX; at++) {
		if (!is_ssl_variable(*at) || (t->sslmode && strncmp(*at, "PGSSLMODE=", 10) == 0) ||
		    (t->sslrootcert && strncmp(*at, "PGSSLROOTCERT=", 14) == 0))
			continue;
		if (strncmp(*at, "PGSSLPASSWORD", 13) != 0)
			e->envp[n++] = xstrdup(*at);
	}
	return true;
}

void pg_env_free(struct pg_env *e)
{
	for (size_t i = 0; e->envp && e->envp[i]; i++)
		free(e->envp[i]);
	free(e->envp);
	if (e->pass_fd)
		close(e->pass_fd);
	if (e->pass_path) {
		unlink(e->pass_path);
		free(e->pass_path);
	}
	*e = (struct pg_env){0};
}
