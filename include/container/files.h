/*
 * container/files.h - what is written below the run directory, and for whom.
 *
 *	RUN_DIR/lock				one container at a time
 *	RUN_DIR/proxy/				the pooler's alone: pgbouncer.ini, userlist.txt, wallets, tls.crt, tls.key
 *	RUN_DIR/sql/				the socket of the PostgreSQL inside; pg_hba.conf and pg_ident.conf beside it
 *	RUN_DIR/backup/				the backup daemon's alone
 *	RUN_DIR/status/				backup.json: written by the daemon, read by the pooler
 */
#ifndef CONTAINER_FILES_H
#define CONTAINER_FILES_H

#include <stdbool.h>

#include "container/plan.h"

/* Below the run directory: the password of the PostgreSQL inside, for `pg-ecdsa-container backup`. */
#define PASSWORD_FILE "backup/password"
#define KEY_FILE_VARIABLE "BACKUP_ENCRYPTION_KEY_FILE"

/* All of these: false, and logged. */
bool files_make_dirs(struct plan *);
bool files_write(const struct plan *);
/* Whole or not at all, and nobody but `owner` can read it, unless mode says so. */
bool file_put(const char *path, const void *bytes, size_t len, const struct user *owner, mode_t mode);
bool dir_make(const char *path, const struct user *owner, mode_t mode);

/* The pooler runs as a user who may not read a private key of root's: it gets copies. */
bool certificate_copy(const struct plan *);
/* Have the files changed since they were copied, and come to rest? */
bool certificate_has_changed(const struct plan *);

#endif
