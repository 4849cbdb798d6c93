#include "pool/autodb.h"

#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "pool/share.h"

struct database *autodb_get(struct registry *r, const char *name, const struct database_def *def, bool *is_new)
{
	struct database *db = database_get(r, name);

	*is_new = false;
	if (!db || !def)
		return db;
	pthread_mutex_lock(&r->ledger.lock);
	*is_new = def->is_template && !db->is_auto;
	db->is_auto = def->is_template;
	db->idle_since = 0;
	pthread_mutex_unlock(&r->ledger.lock);
	return db;
}

static void log_dropped(const char *name)
{
	log_warning("dropping database '%s' as it does not exist anymore or inactive auto-database", name);
}

static bool is_marked(const struct database *db)
{
	return atomic_load_explicit(&db->is_paused, memory_order_relaxed) ||
	       atomic_load_explicit(&db->is_disabled, memory_order_relaxed);
}

/* ---- the sweep ---- */

struct dropping {
	struct pooler *pooler;
	struct database **at; /* owned; each counted */
	size_t n;
};

/* A log-in that came meanwhile keeps its pool, and makes it an auto-database again. */
static void drop_pools(struct worker *w, void *ctx)
{
	const struct dropping *d = ctx;

	for (size_t i = 0; i < d->n; i++)
		room_drop_empty(room_of(w), d->at[i]);
}

static void pools_dropped(struct worker *control UNUSED, void *ctx)
{
	struct dropping *d = ctx;

	for (size_t i = 0; i < d->n; i++)
		database_put(&d->pooler->registry, d->at[i]);
	free(d->at);
	free(d);
}

/* Under the ledger's mutex. true: its time is over. */
static bool look_at(struct database *db, const struct config *config, usec_t now)
{
	usec_t timeout = config_settings(config)->autodb_idle_timeout;
	bool is_used = db->tally.clients > 0 || db->tally.servers > 0;

	if (config_find_database(config, db->name) || strcmp(db->name, CONSOLE_DATABASE) == 0) {
		db->is_auto = false;
		return false;
	}
	/* Its own entry is gone, but somebody came in under it. */
	if (is_used)
		db->is_auto = true;
	if (!db->is_auto || is_used) {
		db->idle_since = 0;
		return false;
	}
	if (db->idle_since == 0)
		db->idle_since = now;
	return timeout > 0 && now - db->idle_since >= timeout && !is_marked(db);
}

void autodb_sweep(struct pooler *pooler, const struct config *config, usec_t now)
{
	struct registry *r = &pooler->registry;
	struct dropping *d = xcalloc(1, sizeof(*d));
	struct database *db;
	size_t at = 0;

	d->pooler = pooler;
	pthread_mutex_lock(&r->ledger.lock);
	d->at = xcalloc(r->databases.count + 1, sizeof(*d->at));
	while ((db = hash_next(&r->databases, &at)))
		if (look_at(db, config, now)) {
			db->is_auto = false;
			db->refs++;
			d->at[d->n++] = db;
		}
	pthread_mutex_unlock(&r->ledger.lock);
	if (d->n == 0) {
		pools_dropped(NULL, d);
		return;
	}
	for (size_t i = 0; i < d->n; i++)
		log_dropped(d->at[i]->name);
	crew_gather(pooler->crew, drop_pools, pools_dropped, d);
}

/* ---- RELOAD ---- */

static void forget(struct registry *r, const char *name)
{
	struct database *db = database_find(r, name);

	log_dropped(name);
	if (!db)
		return;
	pthread_mutex_lock(&r->ledger.lock);
	db->is_auto = false;
	pthread_mutex_unlock(&r->ledger.lock);
	atomic_store_explicit(&db->is_paused, false, memory_order_relaxed);
	atomic_store_explicit(&db->is_disabled, false, memory_order_relaxed);
	database_put(r, db);
}

/* Without the template nothing defines them any more. */
static void forget_autos(struct registry *r, const struct config *now)
{
	char (*names)[DATABASE_NAME_MAX + 1];
	const struct database *db;
	size_t at = 0, n = 0;

	pthread_mutex_lock(&r->ledger.lock);
	names = xcalloc(r->databases.count + 1, sizeof(*names));
	while ((db = hash_next(&r->databases, &at)))
		if (db->is_auto && !config_find_database(now, db->name))
			memcpy(names[n++], db->name, sizeof(*names));
	pthread_mutex_unlock(&r->ledger.lock);
	for (size_t i = 0; i < n; i++)
		forget(r, names[i]);
	free(names);
}

void autodb_reloaded(struct registry *r, const struct config *before, const struct config *now)
{
	for (size_t i = 0; i < config_database_count(before); i++) {
		const char *name = config_database_at(before, i)->name;

		if (!config_find_database(now, name))
			forget(r, name);
	}
	if (config_template(before) && !config_template(now))
		forget_autos(r, now);
}
