#include "backup/tools.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/child.h"
#include "backup/config.h"
#include "lib/util.h"

int tool_version_parse(const char *line, char version[64])
{
	const char *at = strstr(line, "(PostgreSQL) ");
	size_t len;

	version[0] = 0;
	if (!at)
		return 0;
	at += strlen("(PostgreSQL) ");
	len = strcspn(at, " \n");
	if (len == 0 || len >= 64)
		return 0;
	memcpy(version, at, len);
	version[len] = 0;
	return atoi(version);
}

static bool ask_version(struct family *f, struct tool *t, const char *program, char *why, size_t cap)
{
	/* Scripts that stand in for a tool want a PATH; nothing else is of any use to --version. */
	char *argv[] = {t->path, "--version", NULL}, *envp[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "HOME=/", NULL},
	     said[256];
	const struct child_spec spec = {.name = program, .path = t->path, .argv = argv, .envp = envp};

	if (!child_run(f, &spec, said, sizeof(said), why, cap))
		return false;
	t->major = tool_version_parse(said, t->version);
	if (t->major == 0)
		snprintf(why, cap, "%.300s --version says '%.100s'", t->path, said);
	return t->major != 0;
}

struct search {
	struct family *family;
	const char *program;
	int at_least;
	struct tool *found;
	char *why; /* of the last one that did not fit */
	size_t cap;
	bool has_tried;
};

static bool try(struct search *s, const char *dir, size_t len)
{
	struct tool *t = s->found;
	char reason[512];

	if ((size_t)snprintf(t->path, sizeof(t->path), "%.*s/%s", (int)len, dir, s->program) >= sizeof(t->path) ||
	    t->path[0] != '/' || access(t->path, X_OK) < 0)
		return false;
	if (!ask_version(s->family, t, s->program, reason, sizeof(reason)))
		snprintf(s->why, s->cap, "%s", reason);
	else if (t->major >= s->at_least)
		return true;
	else
		snprintf(s->why, s->cap, "%.300s has version %s, too old for version %d of the server", t->path, t->version, s->at_least);
	s->has_tried = true;
	return false;
}

static int by_version(const void *a, const void *b)
{
	/* .../15/bin, .../pgsql-15/bin: the number before /bin. */
	const char *const *x = a, *const *y = b;
	int n[2] = {0, 0};

	for (int i = 0; i < 2; i++) {
		const char *text = i ? *y : *x, *at = strstr(text, "/bin");

		while (at && at > text && at[-1] >= '0' && at[-1] <= '9')
			at--;
		n[i] = at ? atoi(at) : 0;
	}
	return n[0] - n[1];
}

/* The oldest that is new enough: the nearest to the server. */
static bool try_versioned(struct search *s)
{
	static const char *const patterns[] = {"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/lib/postgresql*/bin",
					       "/usr/libexec/postgresql*"};
	glob_t g = {0};
	bool ok = false;

	for (size_t i = 0; i < ARRAY_LEN(patterns); i++)
		glob(patterns[i], i ? GLOB_APPEND : 0, NULL, &g);
	if (g.gl_pathc > 1)
		qsort(g.gl_pathv, g.gl_pathc, sizeof(char *), by_version);
	for (size_t i = 0; i < g.gl_pathc && !ok; i++)
		ok = try(s, g.gl_pathv[i], strlen(g.gl_pathv[i]));
	globfree(&g);
	return ok;
}

bool tool_find(struct family *f, const struct config *c, const char *program, int at_least, struct tool *t, char *why, size_t cap)
{
	struct search s = {.family = f, .program = program, .at_least = at_least, .found = t, .why = why, .cap = cap};
	const char *path = getenv("PATH");

	if (c->postgres_bin_dir) {
		if (try(&s, c->postgres_bin_dir, strlen(c->postgres_bin_dir)))
			return true;
		if (!s.has_tried)
			snprintf(why, cap, "%s is not in %s", program, c->postgres_bin_dir);
		return false;
	}
	if (try(&s, "/usr/local/bin", 14) || try(&s, "/usr/bin", 8))
		return true;
	for (; path && *path; path += strcspn(path, ":"), path += *path == ':')
		if (try(&s, path, strcspn(path, ":")))
			return true;
	if (try_versioned(&s))
		return true;
	if (!s.has_tried)
		snprintf(why, cap, "%s was not found; PG_BIN_DIR can say where it is", program);
	return false;
}
