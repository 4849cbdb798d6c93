/* SHOW of what the configuration defines: CONFIG, DATABASES, USERS. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/show.h"
#include "lib/mem.h"
#include "proto/writer.h"

static const struct config *config(void)
{
	return console_host.ops->config();
}

static struct registry *registry(void)
{
	return &console_host.pooler->registry;
}

/* ---- CONFIG ---- */

#define CONFIG_COLUMNS(COL)		      \
	COL(TEXT, key, row->name)	      \
	COL(TEXT, value, value)		      \
	COL(TEXT, default, row->default_text) \
	COL(TEXT, changeable, row->changeable ? "yes" : "no")

static const struct column config_columns[] = {CONFIG_COLUMNS(COLUMN)};

static void run_config(struct ask *a)
{
	struct buf *b = &a->answer;

	for (size_t i = 0; i < setting_count(); i++) {
		const struct setting_row *row = setting_at(i);
		char text[64];
		const char *value = setting_print(config_settings(config()), i, text, sizeof(text));
		size_t at = row_begin(b, ARRAY_LEN(config_columns));

		CONFIG_COLUMNS(CELL)
		msg_end(b, at);
	}
	ask_done(a, "SHOW");
}

const struct show show_config = SHOW_RUN("config", config_columns, run_config);

/* ---- what lives of databases and users, copied from under the ledger's mutex ---- */

struct living {
	char name[USER_NAME_MAX + 1]; /* the longer of the two */
	struct tally tally;
	bool is_paused, is_disabled, is_known;
	bool is_auto; /* known by the template only, and in use or just used */
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct living *)a)->name, ((const struct living *)b)->name);
}

static struct living *living_databases(size_t *n)
{
	struct registry *r = registry();
	const struct database *db;
	struct living *all;
	size_t at = 0;

	*n = 0;
	pthread_mutex_lock(&r->ledger.lock);
	all = xcalloc(r->databases.count + 1, sizeof(*all));
	while ((db = hash_next(&r->databases, &at))) {
		struct living *l = &all[(*n)++];

		snprintf(l->name, sizeof(l->name), "%s", db->name);
		l->tally = db->tally;
		l->is_auto = db->is_auto && db->idle_since == 0;
		l->is_paused = atomic_load_explicit(&db->is_paused, memory_order_relaxed);
		l->is_disabled = atomic_load_explicit(&db->is_disabled, memory_order_relaxed);
	}
	pthread_mutex_unlock(&r->ledger.lock);
	qsort(all, *n, sizeof(*all), by_name);
	return all;
}

static struct living *living_users(size_t *n)
{
	struct registry *r = registry();
	const struct user *u;
	struct living *all;
	size_t at = 0;

	*n = 0;
	pthread_mutex_lock(&r->ledger.lock);
	all = xcalloc(r->users.count + 1, sizeof(*all));
	while ((u = hash_next(&r->users, &at))) {
		struct living *l = &all[(*n)++];

		snprintf(l->name, sizeof(l->name), "%s", u->name);
		l->tally = u->tally;
		l->is_known = u->is_known;
	}
	pthread_mutex_unlock(&r->ledger.lock);
	qsort(all, *n, sizeof(*all), by_name);
	return all;
}

static struct living find_living(const struct living *all, size_t n, const char *name)
{
	struct living key = {.tally = {0, 0}};
	const struct living *found;

	snprintf(key.name, sizeof(key.name), "%s", name);
	found = n ? bsearch(&key, all, n, sizeof(*all), by_name) : NULL;
	return found ? *found : key;
}

/* ---- DATABASES ---- */

const char *balance_name(const struct database_def *def)
{
	if (!def->host || !strchr(def->host, ','))
		return NULL;
	return def->load_balance_hosts == BALANCE_DISABLE ? "disable" : "round-robin";
}

static int own_or(int own, int global)
{
	return own >= 0 ? own : global;
}

static int limit_or(int own, int global)
{
	return own > 0 ? own : global;
}

static usec_t time_or(usec_t own, usec_t global)
{
	return own > 0 ? own : global;
}

#define DATABASE_COLUMNS(COL)                                                                             \
	COL(TEXT, name, name)                                                                             \
	COL(TEXT, host, def->host)                                                                        \
	COL(INT, port, def->port)                                                                         \
	COL(TEXT, database, def->dbname ? def->dbname : name)                                             \
	COL(TEXT, force_user, def->user)                                                                  \
	COL(INT, pool_size, own_or(def->pool_size, s->default_pool_size))                                 \
	COL(INT, min_pool_size, own_or(def->min_pool_size, s->min_pool_size))                             \
	COL(INT, reserve_pool_size, own_or(def->reserve_pool_size, s->reserve_pool_size))                 \
	COL(INT, server_lifetime, time_or(def->server_lifetime, s->server_lifetime) / USEC_PER_SEC)      \
	COL(TEXT, pool_mode, def->pool_mode == POOL_MODE_UNSET ? NULL : pool_mode_name(def->pool_mode))   \
	COL(TEXT, load_balance_hosts, balance_name(def))                                                  \
	COL(INT, max_connections, limit_or(def->max_db_connections, s->max_db_connections))               \
	COL(INT, current_connections, live.tally.servers)                                                 \
	COL(INT, max_client_connections, limit_or(def->max_db_client_connections, s->max_db_client_connections)) \
	COL(INT, current_client_connections, live.tally.clients)                                          \
	COL(INT, paused, live.is_paused)                                                                  \
	COL(INT, disabled, live.is_disabled)

static const struct column database_columns[] = {DATABASE_COLUMNS(COLUMN)};

static void put_database(struct buf *b, const char *name, const struct database_def *def, struct living live)
{
	const struct settings *s = config_settings(config());
	size_t at = row_begin(b, ARRAY_LEN(database_columns));

	DATABASE_COLUMNS(CELL)
	msg_end(b, at);
}

/* A name to show, and what defines it. */
struct shown {
	const char *name;
	const struct database_def *def;
};

static int by_shown_name(const void *a, const void *b)
{
	return strcmp(((const struct shown *)a)->name, ((const struct shown *)b)->name);
}

static void run_databases(struct ask *a)
{
	const struct config *conf = config();
	const struct database_def console = {
		.name = CONSOLE_DATABASE,
		.port = config_settings(conf)->listen_port,
		.dbname = CONSOLE_DATABASE,
		.user = CONSOLE_DATABASE,
		.pool_size = 2,
		.min_pool_size = -1,
		.reserve_pool_size = -1,
		.pool_mode = POOL_STATEMENT,
	};
	size_t defined = config_database_count(conf), living, n = 0;
	struct living *live = living_databases(&living);
	struct shown *shown = xcalloc(defined + living + 1, sizeof(*shown));

	shown[n++] = (struct shown){console.name, &console};
	for (size_t i = 0; i < defined; i++) {
		const struct database_def *def = config_database_at(conf, i);

		if (strcmp(def->name, CONSOLE_DATABASE) != 0)
			shown[n++] = (struct shown){def->name, def};
	}
	/* Auto-databases: in use, and defined by the template alone. */
	for (size_t i = 0; i < living && config_template(conf); i++)
		if (live[i].is_auto && !config_find_database(conf, live[i].name))
			shown[n++] = (struct shown){live[i].name, config_template(conf)};
	qsort(shown, n, sizeof(*shown), by_shown_name);
	for (size_t i = 0; i < n; i++)
		put_database(&a->answer, shown[i].name, shown[i].def, find_living(live, living, shown[i].name));
	free(shown);
	free(live);
	ask_done(a, "SHOW");
}

const struct show show_databases = SHOW_RUN("databases", database_columns, run_databases);

/* ---- USERS ---- */

static const char *size_text(char *out, size_t cap, int size)
{
	out[0] = 0;
	if (size >= 0)
		snprintf(out, cap, "%9d", size);
	return out;
}

#define USER_COLUMNS(COL)                                                                                      \
	COL(TEXT, name, name)                                                                                  \
	COL(TEXT, pool_size, size_text(size, sizeof(size), def ? def->pool_size : -1))                         \
	COL(TEXT, reserve_pool_size, size_text(size, sizeof(size), def ? def->reserve_pool_size : -1))         \
	COL(TEXT, pool_mode, def && def->pool_mode != POOL_MODE_UNSET ? pool_mode_name(def->pool_mode) : NULL) \
	COL(INT, max_user_connections, limit_or(def ? def->max_user_connections : 0, s->max_user_connections)) \
	COL(INT, current_connections, live.tally.servers)                                                      \
	COL(INT, max_user_client_connections,                                                                  \
	    limit_or(def ? def->max_user_client_connections : 0, s->max_user_client_connections))              \
	COL(INT, current_client_connections, live.tally.clients)

static const struct column user_columns[] = {USER_COLUMNS(COLUMN)};

static void put_user(struct buf *b, const char *name, struct living live)
{
	const struct settings *s = config_settings(config());
	const struct user_def *def = config_find_user(config(), name);
	char size[16];
	size_t at = row_begin(b, ARRAY_LEN(user_columns));

	USER_COLUMNS(CELL)
	msg_end(b, at);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names of all known users, sorted, some twice: owned by the caller; the names are borrowed. */
static const char **known_users(const struct living *live, size_t living, size_t *count)
{
	const struct config *conf = config();
	size_t secrets = config_secret_count(conf), users = config_user_count(conf), dbs = config_database_count(conf);
	const char **names = xcalloc(secrets + users + 2 * (dbs + 1) + living + 2, sizeof(*names));
	size_t n = 0;

	names[n++] = CONSOLE_DATABASE;
	if (config_settings(conf)->auth_user && config_settings(conf)->auth_user[0])
		names[n++] = config_settings(conf)->auth_user;
	for (size_t i = 0; i < secrets; i++)
		names[n++] = config_secret_at(conf, i)->user;
	for (size_t i = 0; i < users; i++)
		names[n++] = config_user_at(conf, i)->name;
	for (size_t i = 0; i <= dbs; i++) {
		const struct database_def *def = i < dbs ? config_database_at(conf, i) : config_template(conf);

		if (def && def->user)
			names[n++] = def->user;
		if (def && def->auth_user)
			names[n++] = def->auth_user;
	}
	/* Whoever is only trying to log in counts nowhere yet. */
	for (size_t i = 0; i < living; i++)
		if (live[i].is_known || live[i].tally.clients > 0 || live[i].tally.servers > 0)
			names[n++] = live[i].name;
	qsort(names, n, sizeof(*names), by_text);
	*count = n;
	return names;
}

static void run_users(struct ask *a)
{
	size_t living, n;
	struct living *live = living_users(&living);
	const char **names = known_users(live, living, &n);

	for (size_t i = 0; i < n; i++)
		if (i == 0 || strcmp(names[i - 1], names[i]) != 0)
			put_user(&a->answer, names[i], find_living(live, living, names[i]));
	free(names);
	free(live);
	ask_done(a, "SHOW");
}

const struct show show_users = SHOW_RUN("users", user_columns, run_users);

/* ---- for LISTS: as many as the two tables have rows ---- */

void count_known(size_t *databases, size_t *users)
{
	const struct config *conf = config();
	size_t living, n;
	struct living *live = living_databases(&living);
	const char **names;

	*databases = 1 + config_database_count(conf) - (config_find_database(conf, CONSOLE_DATABASE) != NULL);
	for (size_t i = 0; i < living && config_template(conf); i++)
		*databases += live[i].is_auto && !config_find_database(conf, live[i].name);
	free(live);
	live = living_users(&living);
	names = known_users(live, living, &n);
	*users = 0;
	for (size_t i = 0; i < n; i++)
		*users += i == 0 || strcmp(names[i - 1], names[i]) != 0;
	free(names);
	free(live);
}
