#include "container/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/file_write.h"
#include "lib/log.h"
#include "lib/mem.h"

#define PEM_MAX 1048576

static bool give(int fd, const struct user *owner)
{
	return !owner->name || fchown(fd, owner->uid, owner->gid) == 0;
}

bool file_put(const char *path, const void *bytes, size_t len, const struct user *owner, mode_t mode)
{
	struct file_owner its = {owner->uid, owner->gid};
	int fault = file_replace(path, span_of(bytes, len), mode, owner->name ? &its : NULL);

	if (fault)
		log_error("could not write %s: %s", path, strerror(fault));
	return !fault;
}

static bool make_parents(const char *path)
{
	char *copy = xstrdup(path);
	bool ok = true;

	for (char *slash = strchr(copy + 1, '/'); slash && ok; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		ok = mkdir(copy, 0755) == 0 || errno == EEXIST;
		*slash = '/';
	}
	free(copy);
	return ok;
}

bool dir_make(const char *path, const struct user *owner, mode_t mode)
{
	int fd = -1;
	bool ok = make_parents(path) && (mkdir(path, 0700) == 0 || errno == EEXIST);

	if (ok) {
		fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		ok = fd >= 0 && give(fd, owner) && fchmod(fd, mode) == 0;
	}
	if (!ok)
		log_error("could not make the directory %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return ok;
}

/* Held until we end. Two containers on one volume would ruin its database: they do not see each other's processes. */
static bool lock_dir(const char *variable, const char *dir)
{
	char *path = xasprintf("%s/lock", dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	bool ok = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;

	if (!ok && errno == EWOULDBLOCK)
		log_error("%s: another container is at work in %s", variable, dir);
	else if (!ok)
		log_error("%s: could not lock %s: %s", variable, path, strerror(errno));
	free(path);
	return ok;
}

/*
 * The two directories that hold all others. Root's, if we are: whoever owned
 * them could put others in the place of those of the programs. As another user
 * we take them as they are; a platform may have given them to our group alone.
 */
static bool use_dir(const char *variable, const char *path)
{
	static const struct user root = {.name = "root"};
	bool ok = true;

	if (geteuid() == 0)
		ok = dir_make(path, &root, 0755);
	else if (access(path, W_OK | X_OK) < 0) {
		if (errno == ENOENT)
			ok = dir_make(path, &(struct user){.name = NULL}, 0755);
		else {
			log_error("could not write to %s: %s", path, strerror(errno));
			ok = false;
		}
	}
	if (!ok)
		log_error("%s: the directory %s cannot be used", variable, path);
	return ok;
}

/* whose: a beginning for the message, or "". */
static bool copy_file(const char *whose, const char *from, const char *to, const struct user *owner)
{
	struct file_text f;
	bool ok;

	if (file_read(from, PEM_MAX, NULL, &f) < 0) {
		log_error("%scould not read %s: %s", whose, from, strerror(errno));
		return false;
	}
	ok = file_put(to, f.text, f.len, owner, 0400);
	file_text_free(&f);
	return ok;
}

/* A key file that root alone may read is of no use to the backup daemon's user. */
static bool copy_backup_key(struct plan *p)
{
	const char *path = variables_get(p->variables, KEY_FILE_VARIABLE);
	bool ok;

	if (!path || !p->backup_user.name)
		return true;
	ok = copy_file(KEY_FILE_VARIABLE ": ", path, run_path(p, "backup/key"), &p->backup_user);
	variables_set(p->variables, KEY_FILE_VARIABLE, run_path(p, "backup/key"));
	return ok;
}

bool files_make_dirs(struct plan *p)
{
	if (!use_dir("RUN_DIR", p->run_dir) || !lock_dir("RUN_DIR", p->run_dir) ||
	    !dir_make(run_path(p, "proxy"), &p->proxy_user, 0700))
		return false;
	if (p->is_inside && (!use_dir("DATA_DIR", p->data_dir) || !lock_dir("DATA_DIR", p->data_dir) ||
			     !dir_make(run_path(p, "sql"), &p->postgres_user, 0755)))
		return false;
	if (!p->has_backups)
		return true;
	return dir_make(run_path(p, "backup"), &p->backup_user, 0700) &&
	       dir_make(run_path(p, "status"), &p->backup_user, 0755) &&
	       (!p->is_inside || dir_make(data_path(p, "backup"), &p->backup_user, 0700)) && copy_backup_key(p);
}

bool files_write(const struct plan *p)
{
	const struct user *u = &p->proxy_user;

	return file_put(run_path(p, "proxy/pgbouncer.ini"), buf_span(&p->ini).ptr, buf_len(&p->ini), u, 0400) &&
	       file_put(run_path(p, "proxy/wallets"), buf_span(&p->wallets).ptr, buf_len(&p->wallets), u, 0400) &&
	       file_put(run_path(p, "proxy/userlist.txt"), buf_span(&p->userlist).ptr, buf_len(&p->userlist), u, 0400) &&
	       (!p->password_is_made_up || !p->has_backups ||
		file_put(run_path(p, PASSWORD_FILE), p->password, strlen(p->password), &p->backup_user, 0400)) &&
	       certificate_copy(p);
}

/* ---- the certificate ---- */

struct look {
	struct timespec cert, key;
	off_t cert_size, key_size;
	ino_t cert_inode, key_inode;
};

static struct look copied, seen;

static bool look_at(const struct plan *p, struct look *l)
{
	struct stat cert, key;

	memset(l, 0, sizeof(*l)); /* it is compared byte by byte */
	if (stat(p->cert_file, &cert) < 0 || stat(p->key_file, &key) < 0)
		return false;
	l->cert = cert.st_mtim;
	l->key = key.st_mtim;
	l->cert_size = cert.st_size;
	l->key_size = key.st_size;
	l->cert_inode = cert.st_ino;
	l->key_inode = key.st_ino;
	return true;
}

bool certificate_copy(const struct plan *p)
{
	if (!p->cert_file)
		return true;
	(void)!look_at(p, &copied); /* what cannot be looked at cannot be read either, which is told */
	seen = copied;
	return copy_file("", p->cert_file, run_path(p, "proxy/tls.crt"), &p->proxy_user) &&
	       copy_file("", p->key_file, run_path(p, "proxy/tls.key"), &p->proxy_user);
}

/* Two looks that agree: the two files are written one after the other. */
bool certificate_has_changed(const struct plan *p)
{
	struct look now;
	bool is_calm;

	if (!p->cert_file || !look_at(p, &now))
		return false;
	is_calm = memcmp(&now, &seen, sizeof(now)) == 0;
	seen = now;
	return is_calm && memcmp(&now, &copied, sizeof(now)) != 0;
}
