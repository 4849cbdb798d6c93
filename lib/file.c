#include "lib/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/mem.h"

#define FIRST_READ 4096
#define READ_BLOCK 65536

bool file_identity_same(const struct file_identity *a, const struct file_identity *b)
{
	return a->dev == b->dev && a->inode == b->inode && a->mode == b->mode && a->owner == b->owner &&
	       a->group == b->group && a->mtime.tv_sec == b->mtime.tv_sec &&
	       a->mtime.tv_nsec == b->mtime.tv_nsec && a->size == b->size;
}

static struct file_identity identity_of(const struct stat *st)
{
	return (struct file_identity){
		.dev = st->st_dev, .inode = st->st_ino, .mode = st->st_mode, .owner = st->st_uid,
		.group = st->st_gid, .mtime = st->st_mtim, .size = st->st_size,
	};
}

/* Not realloc(): it may leave a copy of a secret behind. */
static void grow(struct file_text *f, size_t *cap)
{
	char *bigger = xmalloc(*cap * 2);

	memcpy(bigger, f->text, f->len);
	mem_wipe(f->text, f->len);
	free(f->text);
	f->text = bigger;
	*cap *= 2;
}

static int read_all(int fd, size_t max, struct file_text *f)
{
	/* The size is a hint only: pipes have none, and files grow while they are read. */
	size_t cap = f->identity.size > 0 && (size_t)f->identity.size < max ? (size_t)f->identity.size + 2 : FIRST_READ;

	f->text = xmalloc(cap);
	for (;;) {
		ssize_t n;

		if (f->len + 1 >= cap)
			grow(f, &cap);
		n = read(fd, f->text + f->len, cap - f->len - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		f->len += (size_t)n;
		if (f->len > max) {
			errno = EFBIG;
			return -1;
		}
	}
	f->text[f->len] = 0;
	return 0;
}

int file_read(const char *path, size_t max, const struct file_identity *known, struct file_text *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), result = -1, saved_errno;
	struct stat st;

	memset(out, 0, sizeof(*out));
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0)
		goto done;
	out->identity = identity_of(&st);
	if (known && file_identity_same(known, &out->identity))
		result = 0;
	else
		result = read_all(fd, max, out);
done:
	saved_errno = errno;
	if (result < 0)
		file_text_free(out);
	close(fd);
	errno = saved_errno;
	return result;
}

void file_text_free(struct file_text *f)
{
	mem_wipe(f->text, f->len);
	free(f->text);
	f->text = NULL;
	f->len = 0;
}

/* ---- line by line ---- */

struct line_walk {
	file_line *line;
	void *ctx;
	char text[FILE_LINE_MAX]; /* of a line that began in an earlier block */
	size_t len;
	bool is_too_long;
	int number;
};

/* Adds to the line; the end of it is cut off when it is too long for any. */
static void gather(struct line_walk *w, const char *part, size_t len)
{
	if (len > sizeof(w->text) - 1 - w->len) {
		w->is_too_long = true;
		return;
	}
	memcpy(w->text + w->len, part, len);
	w->len += len;
}

static void end_line(struct line_walk *w)
{
	w->text[w->len] = 0;
	w->line(w->ctx, w->is_too_long ? NULL : w->text, w->len, ++w->number);
	w->len = 0;
	w->is_too_long = false;
}

static void take_block(struct line_walk *w, const char *at, const char *end)
{
	const char *nl;

	for (; (nl = memchr(at, '\n', (size_t)(end - at))); at = nl + 1) {
		gather(w, at, (size_t)(nl - at));
		end_line(w);
	}
	gather(w, at, (size_t)(end - at));
}

static int walk_lines(int fd, size_t max, struct line_walk *w)
{
	char *block = xmalloc(READ_BLOCK);
	size_t total = 0;
	ssize_t n;

	while ((n = read(fd, block, READ_BLOCK)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		total += n > 0 ? (size_t)n : 0;
		if (n > 0 && total > max) {
			errno = EFBIG;
			n = -1;
		}
		if (n < 0)
			break;
		take_block(w, block, block + n);
	}
	free(block);
	if (n == 0 && (w->len > 0 || w->is_too_long))
		end_line(w);
	return n == 0 ? 0 : -1;
}

int file_each_line(const char *path, size_t max, const struct file_identity *known, struct file_identity *identity,
		   file_line *line, void *ctx)
{
	struct line_walk w = {.line = line, .ctx = ctx};
	int fd = open(path, O_RDONLY | O_CLOEXEC), result = -1, saved_errno;
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0) {
		*identity = identity_of(&st);
		result = known && file_identity_same(known, identity) ? 1 : walk_lines(fd, max, &w);
	}
	saved_errno = errno;
	close(fd);
	errno = saved_errno;
	return result;
}
