/*
 * config/entries.h - [databases], [users] and [peers] of one load, a counted
 * part of the snapshot.
 *
 * Tests: test/unit/test_config.c
 */
#ifndef CONFIG_ENTRIES_H
#define CONFIG_ENTRIES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"
#include "lib/hash.h"

struct entry_list {
	struct hash by_key; /* owns the definitions; keyed by their name, or by the id of a peer */
	void **rows;	    /* owned; the same, sorted, once the load is over */
	size_t count;
};

struct entries {
	atomic_uint refs;
	struct entry_list databases, users, peers; /* of struct database_def, user_def, peer_def */
	struct database_def *template;		   /* owned; NULL when there is no * */
};

/* Starts with the users of prev (may be NULL): what [users] once said stays until it is said anew. */
struct entries *entries_new(const struct entries *prev);
/* Take a line; a later one of the same name replaces an earlier. false: logged. */
MUST_CHECK bool entries_add_database(struct entries *, const struct entries *prev, const char *name, const char *text);
MUST_CHECK bool entries_add_user(struct entries *, const char *name, const char *text);
MUST_CHECK bool entries_add_peer(struct entries *, const char *id, const char *text);
bool entries_have_database(const struct entries *, const char *name);
bool entries_have_user(const struct entries *, const char *name);
/* Sorts; from here on nothing changes. */
void entries_finish(struct entries *);

struct entries *entries_ref(struct entries *); /* NULL is fine, here and below */
void entries_unref(struct entries *);

#endif
