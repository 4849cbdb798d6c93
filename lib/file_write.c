#include "lib/file_write.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/mem.h"

int file_write_all(int fd, struct span bytes)
{
	while (bytes.len > 0) {
		ssize_t n = write(fd, bytes.ptr, bytes.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		bytes = span_of(bytes.ptr + n, bytes.len - (size_t)n);
	}
	return 0;
}

int file_sync_directory_of(const char *path)
{
	char *copy = xstrdup(path);
	int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC), result, saved_errno;

	free(copy);
	if (fd < 0)
		return -1;
	result = fsync(fd);
	saved_errno = errno;
	close(fd);
	errno = saved_errno;
	return result;
}

/* The umask may have taken bits from the mode that open() was given. */
static bool finish(int fd, struct span bytes, mode_t mode, const struct file_owner *owner)
{
	return file_write_all(fd, bytes) == 0 && (!owner || fchown(fd, owner->uid, owner->gid) == 0) &&
	       fchmod(fd, mode) == 0 && fsync(fd) == 0;
}

static int write_fresh(const char *fresh, struct span bytes, mode_t mode, const struct file_owner *owner)
{
	int fd, fault = 0;

	/* What an earlier writer left when it was killed; a link is not followed. */
	unlink(fresh);
	fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
	if (fd < 0)
		return errno;
	if (!finish(fd, bytes, mode, owner))
		fault = errno;
	if (close(fd) != 0 && !fault)
		fault = errno;
	return fault;
}

int file_replace(const char *path, struct span bytes, mode_t mode, const struct file_owner *owner)
{
	char *fresh = xasprintf("%s.new", path);
	int fault = write_fresh(fresh, bytes, mode, owner);

	if (!fault && rename(fresh, path) != 0)
		fault = errno;
	if (fault)
		unlink(fresh);
	/* A directory that we may write to and not read is left to the kernel. */
	else if (file_sync_directory_of(path) != 0 && errno != EACCES)
		fault = errno;
	free(fresh);
	return fault;
}
