/*
 * process.h - what concerns the process and not its connections: core files,
 * descriptor limit, Unix user, pidfile, background.
 *
 * Everything here runs before the first thread, but for the removal of the
 * pidfile. Messages are logged here, FATAL ones as the specification words
 * them; the caller only ends the start-up.
 *
 * Rules: configuration specification, sections 16, 17.
 */
#ifndef PROCESS_H
#define PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

#include "config/config.h"
#include "lib/log.h"
#include "lib/util.h"

/*
 * No core file, and no debugger of the same user: this process holds
 * passwords and keys. To be called again when the user was switched, since
 * the kernel decides anew then.
 */
void process_harden(void);

/*
 * Opens the log as the user that will write to it later: a file that root
 * has made could not be opened again for rotation, and root should not
 * follow a link in a directory of that user. user: NULL or "" when there is
 * none to switch to. A log file that cannot be opened is told on stderr.
 */
int process_open_log(const struct log_setup *, const char *user) MUST_CHECK;
/* NULL or "" is nobody to switch to. */
int process_switch_user(const char *user) MUST_CHECK;
bool process_is_root(void);

/* Raises the soft limit towards what the configuration may need, and logs the line of step 9. */
void process_descriptor_limit(const struct config *, int workers);
/* There shall be room for some more behind this descriptor: connections that are taken over keep to no configuration. */
void process_make_room_behind(int fd);

/* Goes to the background; returns in the grandchild only. */
int process_daemonize(void) MUST_CHECK;

/* "" or NULL: none is wanted, which is fine. */
int pidfile_check(const char *path) MUST_CHECK;
int pidfile_write(const char *path) MUST_CHECK;
#define PIDFILE_UNREADABLE -1L /* errno says why */
#define PIDFILE_NO_NUMBER -2L
/* What is in it: > 0. 0: there is no file, or none is wanted; or one of the above. */
long pidfile_read(const char *path);
/* Harmless when this process has not written one. */
void pidfile_remove(void);

#endif
