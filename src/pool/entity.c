#include "pool/entity.h"

#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/mem.h"

void registry_init(struct registry *r, int workers)
{
	memset(r, 0, sizeof(*r));
	ledger_init(&r->ledger);
	list_init(&r->pool_list);
	r->workers = workers;
	r->pools_on = xcalloc((size_t)workers, sizeof(*r->pools_on));
	atomic_store(&r->next_id, 1);
}

void registry_destroy(struct registry *r)
{
	size_t at = 0;
	void *value;

	/* What is left was kept alive by a paused or disabled mark. */
	while ((value = hash_next(&r->databases, &at)))
		free(value);
	at = 0;
	while ((value = hash_next(&r->users, &at))) {
		struct user *u = value;

		mem_wipe(&u->verifier, sizeof(u->verifier));
		mem_wipe(&u->keys, sizeof(u->keys));
		free(u);
	}
	hash_free(&r->databases);
	hash_free(&r->users);
	hash_free(&r->pools);
	free(r->pools_on);
	ledger_destroy(&r->ledger);
}

struct database *database_find(struct registry *r, const char *name)
{
	struct database *db;

	pthread_mutex_lock(&r->ledger.lock);
	db = hash_get_str(&r->databases, name);
	if (db)
		db->refs++;
	pthread_mutex_unlock(&r->ledger.lock);
	return db;
}

struct database *database_get(struct registry *r, const char *name)
{
	struct database *db;

	pthread_mutex_lock(&r->ledger.lock);
	db = hash_get_str(&r->databases, name);
	if (!db && (db = calloc(1, sizeof(*db)))) {
		strncpy(db->name, name, sizeof(db->name) - 1);
		ledger_group_init(&db->group);
		if (!hash_put_str(&r->databases, db->name, db)) {
			free(db);
			db = NULL;
		}
	}
	if (db)
		db->refs++;
	pthread_mutex_unlock(&r->ledger.lock);
	return db;
}

void database_put(struct registry *r, struct database *db)
{
	if (!db)
		return;
	pthread_mutex_lock(&r->ledger.lock);
	/* A mark of the console must outlive the last connection. */
	if (--db->refs == 0 && !db->is_auto && !atomic_load(&db->is_paused) && !atomic_load(&db->is_disabled)) {
		hash_del_str(&r->databases, db->name);
		free(db);
	}
	pthread_mutex_unlock(&r->ledger.lock);
}

bool registry_has_paused(struct registry *r)
{
	const struct database *db;
	size_t at = 0;
	bool found = false;

	pthread_mutex_lock(&r->ledger.lock);
	while (!found && (db = hash_next(&r->databases, &at)))
		found = atomic_load_explicit(&db->is_paused, memory_order_relaxed);
	pthread_mutex_unlock(&r->ledger.lock);
	return found;
}

struct user *user_find(struct registry *r, const char *name)
{
	struct user *u;

	pthread_mutex_lock(&r->ledger.lock);
	u = hash_get_str(&r->users, name);
	if (u)
		u->refs++;
	pthread_mutex_unlock(&r->ledger.lock);
	return u;
}

struct user *user_get(struct registry *r, const char *name)
{
	struct user *u;

	pthread_mutex_lock(&r->ledger.lock);
	u = hash_get_str(&r->users, name);
	if (!u && (u = calloc(1, sizeof(*u)))) {
		struct wallet_address wallet;

		strncpy(u->name, name, sizeof(u->name) - 1);
		ledger_group_init(&u->group);
		if (wallet_address_parse(name, strlen(name), &wallet))
			wallet_address_eip55(&wallet, u->eip55);
		if (!hash_put_str(&r->users, u->name, u)) {
			free(u);
			u = NULL;
		}
	}
	if (u)
		u->refs++;
	pthread_mutex_unlock(&r->ledger.lock);
	return u;
}

void user_put(struct registry *r, struct user *u)
{
	if (!u)
		return;
	pthread_mutex_lock(&r->ledger.lock);
	/*
	 * With a derived secret it stays: PBKDF2 at every log-in would be dear. With keys, because nobody else has them.
	 * Wallets never have either.
	 */
	if (--u->refs == 0 && !u->verifier.known && !u->keys.known && !u->is_known) {
		hash_del_str(&r->users, u->name);
		free(u);
	}
	pthread_mutex_unlock(&r->ledger.lock);
}

struct pool *pool_get(struct registry *r, struct database *db, struct user *account)
{
	const void *key[2] = {db, account};
	struct pool *p;

	pthread_mutex_lock(&r->ledger.lock);
	p = hash_get(&r->pools, key, sizeof(key));
	if (!p && (p = calloc(1, sizeof(*p)))) {
		memcpy(p->key, key, sizeof(key));
		if (!hash_put(&r->pools, p->key, sizeof(p->key), p)) {
			free(p);
			pthread_mutex_unlock(&r->ledger.lock);
			return NULL;
		}
		p->database = db;
		p->account = account;
		db->refs++;
		account->refs++;
		p->ledger.database = &db->tally;
		p->ledger.user = &account->tally;
		ledger_pool_open(&p->ledger, &db->group, &account->group);
		for (int i = 1; i < r->workers; i++)
			if (r->pools_on[i] < r->pools_on[p->home])
				p->home = i;
		r->pools_on[p->home]++;
		list_init(&p->link);
		list_add_tail(&r->pool_list, &p->link);
	}
	if (p)
		p->ledger.refs++;
	pthread_mutex_unlock(&r->ledger.lock);
	return p;
}

bool pool_set_account(struct registry *r, struct pool *p, struct user *account)
{
	const void *key[2] = {p->database, account};
	struct user *was = p->account;
	bool is_free;

	pthread_mutex_lock(&r->ledger.lock);
	is_free = !hash_get(&r->pools, key, sizeof(key));
	if (is_free) {
		hash_del(&r->pools, p->key, sizeof(p->key));
		memcpy(p->key, key, sizeof(key));
		/* Needs no memory: one place has just become free. */
		if (!hash_put(&r->pools, p->key, sizeof(p->key), p))
			abort();
		account->refs++;
		p->account = account;
		ledger_pool_move(&r->ledger, &p->ledger, &account->tally, &account->group);
	}
	pthread_mutex_unlock(&r->ledger.lock);
	if (is_free)
		user_put(r, was);
	return is_free;
}

void pool_account_name(struct registry *r, const struct pool *p, char name[USER_NAME_MAX + 1])
{
	pthread_mutex_lock(&r->ledger.lock);
	memcpy(name, p->account->name, sizeof(p->account->name));
	pthread_mutex_unlock(&r->ledger.lock);
}

struct peer_pool {
	struct pool pool; /* first */
	struct database database;
	struct user account;
};

struct pool *pool_new_peer(struct registry *r, int peer_id)
{
	struct peer_pool *pp = calloc(1, sizeof(*pp));
	struct pool *p;

	if (!pp)
		return NULL;
	p = &pp->pool;
	p->peer_id = peer_id;
	p->home = peer_id % r->workers;
	strncpy(pp->database.name, "(nodb)", sizeof(pp->database.name) - 1);
	strncpy(pp->account.name, "(nouser)", sizeof(pp->account.name) - 1);
	p->database = &pp->database;
	p->account = &pp->account;
	ledger_group_init(&pp->database.group);
	ledger_group_init(&pp->account.group);
	p->ledger.database = &pp->database.tally;
	p->ledger.user = &pp->account.tally;
	p->ledger.refs = 1;
	list_init(&p->link);
	ledger_pool_open(&p->ledger, &pp->database.group, &pp->account.group);
	return p;
}

struct pool *pool_ref(struct registry *r, struct pool *p)
{
	pthread_mutex_lock(&r->ledger.lock);
	p->ledger.refs++;
	pthread_mutex_unlock(&r->ledger.lock);
	return p;
}

void pool_put(struct registry *r, struct pool *p)
{
	struct database *db;
	struct user *account;

	if (!p)
		return;
	pthread_mutex_lock(&r->ledger.lock);
	if (--p->ledger.refs > 0) {
		pthread_mutex_unlock(&r->ledger.lock);
		return;
	}
	ledger_pool_close(&r->ledger, &p->ledger);
	if (p->peer_id > 0) {
		pthread_mutex_unlock(&r->ledger.lock);
		free(CONTAINER_OF(p, struct peer_pool, pool));
		return;
	}
	hash_del(&r->pools, p->key, sizeof(p->key));
	list_del(&p->link);
	r->pools_on[p->home]--;
	pthread_mutex_unlock(&r->ledger.lock);
	db = p->database;
	account = p->account;
	str_wipe_free(p->secret);
	free(p);
	database_put(r, db);
	user_put(r, account);
}

void pool_set_secret(struct registry *r, struct pool *p, const char *secret)
{
	char *next = xstrdup(secret), *was;

	pthread_mutex_lock(&r->ledger.lock);
	was = p->secret;
	p->secret = next;
	pthread_mutex_unlock(&r->ledger.lock);
	str_wipe_free(was);
}

bool pool_secret(struct registry *r, struct pool *p, char **out)
{
	bool ok;

	pthread_mutex_lock(&r->ledger.lock);
	*out = p->secret ? strdup(p->secret) : NULL;
	ok = *out || !p->secret;
	pthread_mutex_unlock(&r->ledger.lock);
	return ok;
}

void user_mark_known(struct registry *r, struct user *u)
{
	pthread_mutex_lock(&r->ledger.lock);
	u->is_known = true;
	pthread_mutex_unlock(&r->ledger.lock);
}

bool tally_add_client(struct registry *r, struct tally *t, int max)
{
	bool within;

	pthread_mutex_lock(&r->ledger.lock);
	within = ++t->clients <= max || max <= 0;
	pthread_mutex_unlock(&r->ledger.lock);
	return within;
}

void tally_remove_client(struct registry *r, struct tally *t)
{
	pthread_mutex_lock(&r->ledger.lock);
	t->clients--;
	pthread_mutex_unlock(&r->ledger.lock);
}

struct tally tally_read(struct registry *r, const struct tally *t)
{
	struct tally copy;

	pthread_mutex_lock(&r->ledger.lock);
	copy = *t;
	pthread_mutex_unlock(&r->ledger.lock);
	return copy;
}

bool user_verifier(struct registry *r, struct user *u, const char *secret, struct scram_verifier *out)
{
	uint64_t of = hash_bytes(secret, strlen(secret));
	bool known;

	pthread_mutex_lock(&r->ledger.lock);
	known = u->verifier.known && u->verifier_of == of;
	if (known)
		*out = u->verifier;
	pthread_mutex_unlock(&r->ledger.lock);
	return known;
}

void user_set_verifier(struct registry *r, struct user *u, const char *secret, const struct scram_verifier *v)
{
	uint64_t of = hash_bytes(secret, strlen(secret));

	pthread_mutex_lock(&r->ledger.lock);
	u->verifier = *v;
	u->verifier_of = of;
	pthread_mutex_unlock(&r->ledger.lock);
}

void user_set_keys(struct registry *r, struct user *u, const struct scram_keys *keys)
{
	pthread_mutex_lock(&r->ledger.lock);
	u->keys = *keys;
	pthread_mutex_unlock(&r->ledger.lock);
}

bool user_keys(struct registry *r, struct user *u, struct scram_keys *out)
{
	bool known;

	pthread_mutex_lock(&r->ledger.lock);
	known = u->keys.known;
	if (known)
		*out = u->keys;
	pthread_mutex_unlock(&r->ledger.lock);
	return known;
}
