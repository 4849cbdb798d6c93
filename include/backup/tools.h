/*
 * backup/tools.h - where pg_dump and its like are, and which version they have.
 *
 * PG_BIN_DIR alone when it is set; else /usr/local/bin, /usr/bin, PATH, and
 * then the directories that distributions keep for each major version.
 *
 * Rules: backup specification, 1, 2.22, 6.1.  Tests: test/system/test_backup_children.py
 */
#ifndef BACKUP_TOOLS_H
#define BACKUP_TOOLS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

struct config;
struct family;

struct tool {
	char path[PATH_MAX];
	int major;
	char version[64]; /* as it says: "15.18" */
};

/*
 * The first one found of at least that major version (0: any). false: why says
 * what was found instead.
 */
bool tool_find(struct family *, const struct config *, const char *program, int at_least, struct tool *, char *why, size_t cap);

/* "pg_dump (PostgreSQL) 15.18 (Debian 15.18-1)": its major version, 0 if it cannot be read. */
int tool_version_parse(const char *line, char version[64]);

#endif
