/*
 * backup/sql_split.h - a script becomes statements.
 *
 * Knows strings, quoted names, dollar quotes and comments, so that a semicolon
 * in one of them does not end a statement. Lines that begin with a backslash
 * between statements are psql's and are left out.
 *
 * Tests: test/unit/test_backup_sql.c
 */
#ifndef BACKUP_SQL_SPLIT_H
#define BACKUP_SQL_SPLIT_H

#include <stdbool.h>

/*
 * The next statement without its semicolon, surrounding blanks and leading
 * comments; owned by the caller. NULL: there is none. *at moves behind it.
 */
char *sql_next(const char **at);

#endif
