/*
 * backup/state.h - a few words that survive a restart, if there is a place for them.
 *
 * A text file of "key value" lines in BACKUP_STATE_DIR, replaced whole. The
 * program works without it: what counts is in the store. Without a directory
 * the words live as long as the process.
 *
 * Rules: backup specification, 10.4, 10.8.
 */
#ifndef BACKUP_STATE_H
#define BACKUP_STATE_H

#include <stdbool.h>
#include <stdint.h>

struct program;
struct state;

/* Reads what is there. Never NULL; a file that cannot be read is empty, with a warning. */
struct state *state_open(struct program *);
void state_free(struct state *); /* NULL is fine */

const char *state_text(const struct state *, const char *key); /* borrowed until it is set again; NULL: not there */
int64_t state_number(const struct state *, const char *key, int64_t otherwise);
void state_set_text(struct state *, const char *key, const char *text); /* NULL takes it out; one line */
void state_set_number(struct state *, const char *key, int64_t);
/* Writes it, if anything has changed and there is a directory. */
void state_save(struct state *);
/* The file; NULL: there is none. */
const char *state_path(const struct state *);

#endif
