#include "config/entries.h"

#include <stdlib.h>
#include <string.h>

#include "config/definitions.h"
#include "lib/log.h"
#include "lib/mem.h"

/* The row that had this key before, now the caller's; NULL: none. */
static void *put(struct entry_list *l, const void *key, size_t key_len, void *row)
{
	/* Not replaced in one step: the table borrows the key from the row. */
	void *old = hash_del(&l->by_key, key, key_len);

	if (!hash_put(&l->by_key, key, key_len, row)) {
		log_fatal("out of memory");
		abort();
	}
	return old;
}

static void *put_str(struct entry_list *l, const char *key, void *row)
{
	return put(l, key, strlen(key), row);
}

struct entries *entries_new(const struct entries *prev)
{
	struct entries *e = xcalloc(1, sizeof(*e));

	atomic_init(&e->refs, 1);
	hash_init(&e->databases.by_key);
	hash_init(&e->users.by_key);
	hash_init(&e->peers.by_key);
	for (size_t i = 0; prev && i < prev->users.count; i++) {
		struct user_def *u = user_def_copy(prev->users.rows[i]);

		put_str(&e->users, u->name, u);
	}
	return e;
}

static const struct database_def *find_database(const struct entries *e, const char *name)
{
	if (!e)
		return NULL;
	return strcmp(name, "*") == 0 ? e->template : hash_get_str(&e->databases.by_key, name);
}

bool entries_add_database(struct entries *e, const struct entries *prev, const char *name, const char *text)
{
	struct database_def *d = database_def_parse(name, text), *old;
	const struct database_def *had;

	if (!d)
		return false;
	had = find_database(e, name);
	database_def_keep_user(d, had ? had : find_database(prev, name));
	if (d->is_template) {
		old = e->template;
		e->template = d;
	} else
		old = put_str(&e->databases, d->name, d);
	database_def_free(old);
	return true;
}

bool entries_add_user(struct entries *e, const char *name, const char *text)
{
	struct user_def *u = user_def_parse(name, text);

	if (!u)
		return false;
	user_def_free(put_str(&e->users, u->name, u));
	return true;
}

bool entries_add_peer(struct entries *e, const char *id, const char *text)
{
	struct peer_def *p = peer_def_parse(id, text);

	if (!p)
		return false;
	peer_def_free(put(&e->peers, &p->id, sizeof(p->id), p));
	return true;
}

bool entries_have_database(const struct entries *e, const char *name)
{
	return find_database(e, name) != NULL;
}

bool entries_have_user(const struct entries *e, const char *name)
{
	return hash_get_str(&e->users.by_key, name) != NULL;
}

static int by_database_name(const void *a, const void *b)
{
	const struct database_def *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

static int by_user_name(const void *a, const void *b)
{
	const struct user_def *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

static int by_peer_id(const void *a, const void *b)
{
	const struct peer_def *const *x = a, *const *y = b;

	return ((*x)->id > (*y)->id) - ((*x)->id < (*y)->id);
}

static void sort(struct entry_list *l, int (*order)(const void *, const void *))
{
	size_t at = 0;
	void *row;

	l->rows = xcalloc(l->by_key.count, sizeof(*l->rows));
	while ((row = hash_next(&l->by_key, &at)))
		l->rows[l->count++] = row;
	if (l->count)
		qsort(l->rows, l->count, sizeof(*l->rows), order);
}

void entries_finish(struct entries *e)
{
	sort(&e->databases, by_database_name);
	sort(&e->users, by_user_name);
	sort(&e->peers, by_peer_id);
}

struct entries *entries_ref(struct entries *e)
{
	if (e)
		atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
	return e;
}

void entries_unref(struct entries *e)
{
	size_t at;
	void *row;

	/* acq_rel: whoever frees has seen everything the others did with it. */
	if (!e || atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) > 1)
		return;
	for (at = 0; (row = hash_next(&e->databases.by_key, &at));)
		database_def_free(row);
	for (at = 0; (row = hash_next(&e->users.by_key, &at));)
		user_def_free(row);
	for (at = 0; (row = hash_next(&e->peers.by_key, &at));)
		peer_def_free(row);
	database_def_free(e->template);
	hash_free(&e->databases.by_key);
	hash_free(&e->users.by_key);
	hash_free(&e->peers.by_key);
	free(e->databases.rows);
	free(e->users.rows);
	free(e->peers.rows);
	free(e);
}
