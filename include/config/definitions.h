/*
 * config/definitions.h - one line of [databases], [users] or [peers]: its
 * keys, read into a definition, copied and freed again
 * (configuration specification, sections 5 to 8).
 *
 * What is wrong with a line is logged here, without its place.
 *
 * Tests: test/unit/test_config.c
 */
#ifndef CONFIG_DEFINITIONS_H
#define CONFIG_DEFINITIONS_H

#include "config/config.h"

/* Owned by the caller; NULL: logged. */
struct database_def *database_def_parse(const char *name, const char *text);
struct user_def *user_def_parse(const char *name, const char *text);
struct peer_def *peer_def_parse(const char *id, const char *text);

struct user_def *user_def_copy(const struct user_def *);
/* An entry that had a forced user cannot lose it while it is in use. */
void database_def_keep_user(struct database_def *, const struct database_def *had);

void database_def_free(struct database_def *); /* wipes the password; NULL is fine, here and below */
void user_def_free(struct user_def *);
void peer_def_free(struct peer_def *);

#endif
