#include "pool/prepared.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the store ------------------------------------------------------------ */

void statement_store_init(struct statement_store *s)
{
	memset(s, 0, sizeof(*s));
	pthread_mutex_init(&s->lock, NULL);
	hash_init(&s->by_text);
}

void statement_store_destroy(struct statement_store *s)
{
	assert(s->by_text.count == 0);
	hash_free(&s->by_text);
	pthread_mutex_destroy(&s->lock);
}

size_t statement_store_count(struct statement_store *s)
{
	size_t n;

	pthread_mutex_lock(&s->lock);
	n = s->by_text.count;
	pthread_mutex_unlock(&s->lock);
	return n;
}

static struct statement *make_locked(struct statement_store *s, uint64_t number, struct span text)
{
	struct statement *st = malloc(sizeof(*st) + text.len);

	if (!st)
		return NULL;
	st->store = s;
	atomic_init(&st->refs, 1);
	st->number = number;
	st->text_len = text.len;
	memcpy(st->text, text.ptr, text.len);
	st->name_len = (size_t)snprintf(st->name, sizeof(st->name), "PGBOUNCER_%llu", (unsigned long long)number);
	if (!hash_put(&s->by_text, st->text, st->text_len, st)) {
		free(st);
		return NULL;
	}
	return st;
}

static struct statement *find_locked(struct statement_store *s, struct span text)
{
	struct statement *st = hash_get(&s->by_text, text.ptr, text.len);

	if (st)
		atomic_fetch_add_explicit(&st->refs, 1, memory_order_relaxed);
	return st;
}

struct statement *statement_get(struct statement_store *s, struct span text)
{
	struct statement *st;

	pthread_mutex_lock(&s->lock);
	st = find_locked(s, text);
	if (!st)
		st = make_locked(s, ++s->last_number, text);
	pthread_mutex_unlock(&s->lock);
	return st;
}

struct statement *statement_restore(struct statement_store *s, uint64_t number, struct span text)
{
	struct statement *st;

	pthread_mutex_lock(&s->lock);
	st = hash_get(&s->by_text, text.ptr, text.len) ? NULL : make_locked(s, number, text);
	if (st && number > s->last_number)
		s->last_number = number;
	pthread_mutex_unlock(&s->lock);
	return st;
}

void statement_store_begin_after(struct statement_store *s, uint64_t number)
{
	pthread_mutex_lock(&s->lock);
	if (number > s->last_number)
		s->last_number = number;
	pthread_mutex_unlock(&s->lock);
}

void statement_store_each(struct statement_store *s, void (*each)(void *ctx, const struct statement *), void *ctx)
{
	const struct statement *st;
	size_t at = 0;

	pthread_mutex_lock(&s->lock);
	while ((st = hash_next(&s->by_text, &at)))
		each(ctx, st);
	pthread_mutex_unlock(&s->lock);
}

struct statement *statement_ref(struct statement *st)
{
	/* Relaxed: whoever counts has a count already. */
	atomic_fetch_add_explicit(&st->refs, 1, memory_order_relaxed);
	return st;
}

void statement_put(struct statement *st)
{
	struct statement_store *s = st->store;
	uint_least32_t refs = atomic_load_explicit(&st->refs, memory_order_relaxed);
	bool is_last;

	/* Release: what this thread read of it comes before whoever frees it. */
	while (refs > 1)
		if (atomic_compare_exchange_weak_explicit(&st->refs, &refs, refs - 1, memory_order_release,
							  memory_order_relaxed))
			return;
	/* Perhaps the last: under the lock nobody can find it meanwhile. */
	pthread_mutex_lock(&s->lock);
	is_last = atomic_fetch_sub_explicit(&st->refs, 1, memory_order_acq_rel) == 1;
	if (is_last) {
		hash_del(&s->by_text, st->text, st->text_len);
		if (s->by_text.count == 0)
			hash_free(&s->by_text); /* a peak is not kept for ever */
	}
	pthread_mutex_unlock(&s->lock);
	if (is_last)
		free(st);
}

/* --- what a client calls them ----------------------------------------------- */

size_t client_statements_count(const struct client_statements *m)
{
	return m ? m->by_name.count : 0;
}

struct client_statement *client_statements_find(const struct client_statements *m, struct span name)
{
	return m ? hash_get(&m->by_name, name.ptr, name.len) : NULL;
}

static void free_client_map(struct client_statements **m)
{
	hash_free(&(*m)->by_name);
	free(*m);
	*m = NULL;
}

static bool put_client_statement(struct client_statements **m, struct client_statement *cs)
{
	bool is_new = !*m;

	if (is_new) {
		*m = malloc(sizeof(**m));
		if (!*m)
			return false;
		hash_init(&(*m)->by_name);
	}
	if (hash_put(&(*m)->by_name, cs->name, cs->name_len, cs))
		return true;
	if (is_new)
		free_client_map(m);
	return false;
}

struct client_statement *client_statement_new(struct span name, struct statement *st, bool is_doubtful)
{
	struct client_statement *cs = malloc(sizeof(*cs) + name.len);

	if (!cs) {
		statement_put(st);
		return NULL;
	}
	cs->statement = st;
	cs->is_doubtful = is_doubtful;
	cs->named_in = 0;
	cs->name_len = name.len;
	memcpy(cs->name, name.ptr, name.len);
	return cs;
}

bool client_statements_add(struct client_statements **m, struct span name, struct statement *st, uint64_t batch)
{
	struct client_statement *cs = client_statement_new(name, st, false), *old = client_statements_find(*m, name);

	if (!cs)
		return false;
	cs->named_in = batch;
	if (!put_client_statement(m, cs)) {
		client_statement_free(cs);
		return false;
	}
	client_statement_free(old);
	return true;
}

struct client_statement *client_statements_take(struct client_statements **m, struct span name)
{
	struct client_statement *cs = *m ? hash_del(&(*m)->by_name, name.ptr, name.len) : NULL;

	if (cs && (*m)->by_name.count == 0)
		free_client_map(m);
	return cs;
}

void client_statements_restore(struct client_statements **m, struct client_statement *cs)
{
	if (client_statements_find(*m, span_of(cs->name, cs->name_len)) || !put_client_statement(m, cs))
		client_statement_free(cs);
}

void client_statement_free(struct client_statement *cs)
{
	if (!cs)
		return;
	statement_put(cs->statement);
	free(cs);
}

void client_statements_doubt(struct client_statements *m, const struct statement *st)
{
	struct client_statement *cs;

	if (m)
		for (size_t at = 0; (cs = hash_next(&m->by_name, &at));)
			if (cs->statement == st)
				cs->is_doubtful = true;
}

void client_statements_forget(struct client_statements **m, bool (*keep)(void *ctx, const struct statement *), void *ctx)
{
	struct client_statements *old = *m;
	struct client_statement *cs;

	if (!old)
		return;
	*m = NULL;
	for (size_t at = 0; (cs = hash_next(&old->by_name, &at));)
		if (keep && keep(ctx, cs->statement))
			client_statements_restore(m, cs);
		else
			client_statement_free(cs);
	free_client_map(&old);
}

/* --- what a server has ------------------------------------------------------ */

size_t server_statements_count(const struct server_statements *m)
{
	return m ? m->held : 0;
}

struct server_statement *server_statements_find(const struct server_statements *m, const struct statement *st)
{
	return m ? hash_get(&m->by_statement, &st, sizeof(st)) : NULL;
}

static void set_held(struct server_statements *m, struct server_statement *e, bool is_held)
{
	if (e->is_held == is_held)
		return;
	e->is_held = is_held;
	list_del(&e->link);
	if (is_held) {
		m->held++;
		list_add_tail(&m->by_use, &e->link);
	} else {
		m->held--;
		list_add_tail(&m->others, &e->link);
	}
}

static void free_entry(struct server_statements *m, struct server_statement *e)
{
	set_held(m, e, false);
	list_del(&e->link);
	hash_del(&m->by_statement, &e->statement, sizeof(e->statement));
	statement_put(e->statement);
	free(e);
}

static void free_if_idle(struct server_statements *m, struct server_statement *e)
{
	if (!e->is_held && e->users == 0 && e->changes == 0)
		free_entry(m, e);
}

struct server_statement *server_statements_touch(struct server_statements **m, struct statement *st)
{
	struct server_statement *e;

	if (!*m) {
		*m = malloc(sizeof(**m));
		if (!*m)
			return NULL;
		hash_init(&(*m)->by_statement);
		list_init(&(*m)->by_use);
		list_init(&(*m)->others);
		(*m)->held = 0;
	}
	e = server_statements_find(*m, st);
	if (e) {
		if (e->is_held) {
			list_del(&e->link);
			list_add_tail(&(*m)->by_use, &e->link);
		}
		return e;
	}
	e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	list_init(&e->link);
	e->statement = st;
	if (!hash_put(&(*m)->by_statement, &e->statement, sizeof(e->statement), e)) {
		free(e);
		return NULL;
	}
	statement_ref(st);
	list_add_tail(&(*m)->others, &e->link);
	return e;
}

bool server_statements_restore(struct server_statements **m, struct statement *st)
{
	struct server_statement *e = server_statements_touch(m, st);

	if (!e)
		return false;
	e->is_there = true;
	set_held(*m, e, true);
	return true;
}

void server_statement_begin(struct server_statements *m, struct server_statement *e, enum statement_request what)
{
	switch (what) {
	case STATEMENT_NAMED:
		e->naming++;
		/* fall through */
	case STATEMENT_PARSE:
		e->users++;
		e->changes++;
		set_held(m, e, true);
		break;
	case STATEMENT_NAMED_HERE:
		e->naming++;
		/* fall through */
	case STATEMENT_USE:
		e->users++;
		break;
	case STATEMENT_CLOSE:
		e->changes++;
		set_held(m, e, false);
		break;
	}
}

void server_statement_end(struct server_statements *m, struct server_statement *e, enum statement_request what,
			  enum statement_outcome outcome)
{
	bool is_change = what != STATEMENT_USE && what != STATEMENT_NAMED_HERE;

	if (what == STATEMENT_NAMED || what == STATEMENT_NAMED_HERE)
		e->naming--;
	if (what != STATEMENT_CLOSE)
		e->users--;
	if (is_change) {
		e->changes--;
		if (outcome == STATEMENT_DONE)
			e->is_there = what != STATEMENT_CLOSE;
		if (e->changes == 0)
			set_held(m, e, e->is_there);
	}
	free_if_idle(m, e);
}

struct server_statement *server_statements_surplus(const struct server_statements *m, size_t max)
{
	if (m->held > max)
		LIST_FOR(node, &m->by_use) {
			struct server_statement *e = LIST_ITEM(node, struct server_statement, link);

			if (e->users == 0)
				return e;
		}
	return NULL;
}

void server_statement_unused(struct server_statements *m, struct server_statement *e)
{
	free_if_idle(m, e);
}

static void forget(struct server_statements *m, struct list *entries)
{
	LIST_FOR_SAFE(node, entries) {
		struct server_statement *e = LIST_ITEM(node, struct server_statement, link);

		e->is_there = false;
		/* What is under way was sent behind whatever made the server forget. */
		if (e->changes == 0)
			set_held(m, e, false);
		free_if_idle(m, e);
	}
}

void server_statements_clear(struct server_statements *m)
{
	forget(m, &m->others);
	forget(m, &m->by_use);
}

void server_statements_free(struct server_statements **m)
{
	struct server_statement *e;

	if (!*m)
		return;
	for (size_t at = 0; (e = hash_next(&(*m)->by_statement, &at));) {
		statement_put(e->statement);
		free(e);
	}
	hash_free(&(*m)->by_statement);
	free(*m);
	*m = NULL;
}
