/*
 * What the files of the configuration share: config.c reads, config_values.c
 * knows the types, config_checks.c the rules that concern several settings.
 */
#ifndef BACKUP_CONFIG_PARTS_H
#define BACKUP_CONFIG_PARTS_H

#include "backup/config.h"

/* Sets one from text. where names the place for messages. false: the reason is logged. */
bool config_set(struct config *, enum setting_id, const char *text, size_t len, const char *where);
bool setting_is_secret(enum setting_id);
/* Everything to its default. */
void config_init(struct config *);
/* false: a contradiction; all are logged. Warns, too, and makes prefix and endpoint canonical. */
bool config_check(struct config *);
void config_complain(const char *where, const char *fmt, ...) PRINTF_LIKE(2, 3);
void config_warn(const char *where, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Reads a secret's file; one line end at its end goes, unless is_raw. false: the reason is logged. */
bool config_read_secret(struct secret *, const char *path, const char *where, bool is_raw);

#endif
