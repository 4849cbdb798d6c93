/* What is in the directory store, and below which prefix: a walk over its directories, some entries a turn. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dir_parts.h"
#include "lib/mem.h"

#define DEPTH_MAX 32
#define LISTED_A_TURN 1000

/* One directory of the walk; name is what its entries are called after. */
struct level {
	DIR *dir;
	size_t name_len;
};

struct walk {
	struct dir_work w;
	char *prefix; /* owned */
	bool flat, has_begun;
	storage_item *item;
	void *ctx;
	struct level levels[DEPTH_MAX];
	int depth;
	char name[STORAGE_KEY_MAX + 256 + 2];
};

static bool walk_push(struct walk *k, int fd, size_t name_len)
{
	DIR *dir = fdopendir(fd);

	if (!dir) {
		close(fd);
		return false;
	}
	k->levels[k->depth++] = (struct level){dir, name_len};
	return true;
}

/* The deepest directory that the prefix names; its last part is compared name by name. */
static bool walk_begin(struct walk *k)
{
	const char *slash = strrchr(k->prefix, '/'), *last;
	size_t len = slash ? (size_t)(slash - k->prefix) + 1 : 0;
	int fd;

	k->has_begun = true;
	if (len > STORAGE_KEY_MAX)
		return dir_ended(&k->w, STORAGE_OK, NULL);
	memcpy(k->name, k->prefix, len);
	/* As if a file called x were looked for there. */
	strcpy(k->name + len, "x");
	if (!dir_is_key(k->name))
		return dir_ended(&k->w, STORAGE_OK, NULL);
	fd = dir_open_parent(k->w.d->root, k->name, false, &last);
	k->name[len] = 0;
	if (fd < 0)
		return dir_result(errno) == STORAGE_NOT_FOUND ? dir_ended(&k->w, STORAGE_OK, NULL)
							     : dir_failed(&k->w, "opening the directory");
	/* Its own position, since what dup() gives shares it. */
	{
		int own = openat(fd, ".", O_DIRECTORY | O_RDONLY | O_CLOEXEC);

		close(fd);
		if (own < 0 || !walk_push(k, own, len))
			return dir_failed(&k->w, "reading the directory");
	}
	return false;
}

/* One entry of the innermost directory. true: ended. */
static bool walk_entry(struct walk *k, const struct dirent *e)
{
	struct level *l = &k->levels[k->depth - 1];
	size_t len = strlen(e->d_name), prefix = strlen(k->prefix);
	struct object_info info;
	struct stat st;
	int fd;

	if (!dir_is_component(e->d_name, len) || l->name_len + len > STORAGE_KEY_MAX ||
	    (l->name_len == 0 && strcmp(e->d_name, DIR_OWN) == 0))
		return false;
	memcpy(k->name + l->name_len, e->d_name, len + 1);
	/* Either it has the whole prefix, or it may lead there. */
	if (strncmp(k->name, k->prefix, prefix < l->name_len + len ? prefix : l->name_len + len) != 0)
		return false;
	if (fstatat(dirfd(l->dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? false : dir_failed(&k->w, "looking at a file");
	if (S_ISDIR(st.st_mode) && !k->flat && k->depth < DEPTH_MAX) {
		fd = openat(dirfd(l->dir), e->d_name, O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);
		k->name[l->name_len + len] = '/';
		if (fd < 0)
			return errno == ENOENT ? false : dir_failed(&k->w, "opening a directory");
		return walk_push(k, fd, l->name_len + len + 1) ? false : dir_failed(&k->w, "reading a directory");
	}
	if (!S_ISREG(st.st_mode) || l->name_len + len < prefix)
		return false;
	dir_info_of(&st, &info);
	return k->item(k->ctx, k->name, &info) ? false : dir_ended(&k->w, STORAGE_CANCELLED, "cancelled");
}

static bool walk_step(struct dir_work *w)
{
	struct walk *k = CONTAINER_OF(w, struct walk, w);

	if (!k->has_begun && walk_begin(k))
		return true;
	for (int n = 0; n < LISTED_A_TURN; n++) {
		struct dirent *e;

		if (k->depth == 0)
			return dir_ended(w, STORAGE_OK, NULL);
		errno = 0;
		e = readdir(k->levels[k->depth - 1].dir);
		if (!e && errno)
			return dir_failed(w, "reading a directory");
		if (!e)
			closedir(k->levels[--k->depth].dir);
		else if (walk_entry(k, e))
			return true;
	}
	return false;
}

static void walk_clean(struct dir_work *w)
{
	struct walk *k = CONTAINER_OF(w, struct walk, w);

	while (k->depth)
		closedir(k->levels[--k->depth].dir);
	free(k->prefix);
}

void dir_list(struct storage *st, struct storage_op *op, const char *prefix, bool flat, storage_item *item, void *ctx)
{
	struct walk *k = dir_work_new(sizeof(*k), dir_of(st), op, walk_step, walk_clean);

	k->prefix = xstrdup(prefix);
	k->flat = flat;
	k->item = item;
	k->ctx = ctx;
}
