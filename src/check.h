/*
 * check.h - `--check`: what would a start with this file complain of?
 */
#ifndef CHECK_H
#define CHECK_H

/*
 * Reads the configuration and every file it names, and looks for what a start
 * needs, without changing anything: no socket is opened, no file is written.
 * Every problem is a line on standard error; the last line is the verdict.
 * user: what -u said, or NULL. Exit status: 0, or 1 when a start would fail
 * or something would be left out.
 */
int check_run(const char *path, const char *user);

#endif
