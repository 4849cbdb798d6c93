/*
 * container/variables.h - the environment, taken once and then gone.
 *
 * Every value is copied to memory of ours and overwritten where the kernel
 * shows it (/proc/1/environ): a wallet that is a superuser of PostgreSQL can
 * read files, and the mnemonic must be in none. A variable set to nothing is
 * one that is not set, since compose files do that.
 *
 * NAME_FILE is a file that holds the value of NAME; one line end at its end is
 * dropped. This works for every NAME that means something here, and for no
 * NAME_FILE that means something by itself (AUTH_FILE).
 */
#ifndef CONTAINER_VARIABLES_H
#define CONTAINER_VARIABLES_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/util.h"

struct variables;

/* Takes and wipes. false: at least one NAME_FILE is of no use, and each was logged. */
bool variables_take(char **envp, struct variables **out);
void variables_free(struct variables *); /* wipes; NULL is fine */

/* NULL: not set, or set to nothing. Borrowed until it is set again. */
const char *variables_get(const struct variables *, const char *name);
/* What to call it in a message: NAME, or the NAME_FILE it came from. Borrowed, of the variables or the argument. */
const char *variables_called(const struct variables *, const char *name);
void variables_set(struct variables *, const char *name, const char *value);
/* yes, true, on, 1 and their opposites; what is not set is `otherwise`. false: logged. */
bool variables_bool(const struct variables *, const char *name, bool otherwise, bool *value);
/* A whole number. false: logged. */
bool variables_number(const struct variables *, const char *name, long lo, long hi, long otherwise, long *value);
/* All that are set, from 0 until it answers false. */
bool variables_each(const struct variables *, size_t i, const char **name, const char **value);

/* Is it a setting of pg-ecdsa-backup? */
bool is_backup_variable(const char *name);
/* ECDSA_WINDOW of ecdsa_window. */
void variable_of_setting(const char *setting, char *out, size_t size);

#endif
