#include "pool/secret.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "pool/login_state.h"
#include "pool/lookup.h"
#include "pool/route.h"

enum { COLUMN_USER, COLUMN_SECRET };

static struct registry *registry_at(const struct client *c)
{
	return &conn_room(&c->conn)->pooler->registry;
}

static const char *own_or(const char *own, const char *global)
{
	return own ? own : global;
}

const char *secret_auth_user(const struct login *l)
{
	const char *name = own_or(l->def ? l->def->auth_user : NULL, config_settings(l->config)->auth_user);

	return name && name[0] ? name : NULL;
}

bool secret_is_asked_for(const struct client *c)
{
	const struct login *l = c->login;

	return (l->def || l->is_console) && secret_auth_user(l);
}

static void config_error(struct client *c)
{
	client_fail(c, "bouncer config error");
}

/* The entity of a database that is defined; NULL: no memory. */
static struct database *take_database(struct client *c, const char *name, const struct database_def *def)
{
	struct registry *reg = registry_at(c);
	struct database *db = database_find(reg, name);
	char prefix[400];

	if (db)
		return db;
	if (def->is_template)
		log_info("%sregistered new auto-database: %s", client_prefix(c, prefix, sizeof(prefix)), name);
	return database_get(reg, name);
}

struct pool *secret_find_pool(struct client *c, char *text, size_t cap)
{
	const struct login *l = c->login;
	struct registry *reg = registry_at(c);
	const char *name = own_or(l->def ? l->def->auth_dbname : NULL, config_settings(l->config)->auth_dbname);
	const struct database_def *def;
	struct database *db;
	struct user *account;
	struct pool *pool;
	char prefix[400];

	name = name && name[0] ? name : l->wishes.database;
	client_prefix(c, prefix, sizeof(prefix));
	snprintf(text, cap, "bouncer config error");
	if (strcmp(name, CONSOLE_DATABASE) == 0) {
		log_error("%scannot use the reserved \"%s\" database as an auth_dbname", prefix, CONSOLE_DATABASE);
		return NULL;
	}
	def = strlen(name) <= DATABASE_NAME_MAX ? room_database_def(conn_room(&c->conn), name) : NULL;
	if (!def) {
		log_error("%sauthentication database \"%s\" is not configured.", prefix, name);
		return NULL;
	}
	db = take_database(c, name, def);
	if (db && atomic_load_explicit(&db->is_disabled, memory_order_relaxed)) {
		database_put(reg, db);
		snprintf(text, cap, "authentication database \"%s\" is disabled", name);
		return NULL;
	}
	account = user_get(reg, secret_auth_user(l));
	pool = db && account ? pool_get(reg, db, account) : NULL;
	database_put(reg, db);
	user_put(reg, account);
	if (!pool)
		snprintf(text, cap, "no memory for authentication pool");
	return pool;
}

/* --- auth_query ------------------------------------------------------------------ */

/*
 * Of several rows the last one counts. A missing name is judged at the end: a function without a row to return gives
 * one of NULLs, which is no reason to part with the server.
 */
static const char *take_row(struct lookup *l, const struct row *row)
{
	const struct row_value *user = &row->columns[COLUMN_USER], *secret = &row->columns[COLUMN_SECRET];

	if (user->text.len > USER_NAME_MAX)
		return "auth_query response contained too long user name";
	if (secret->text.len > PASSWORD_MAX)
		return "auth_query response contained too long password";
	lookup_keep(l, row);
	return NULL;
}

static void answered(struct client *c, struct lookup *k)
{
	struct login *l = c->login;
	char prefix[400];

	l->lookup = NULL;
	if (!k->is_answered) {
		client_close(c, k->sqlstate[0] ? k->sqlstate : NULL, k->text[0] ? k->text : NULL, k->reason);
		return;
	}
	if (!k->has_row) {
		client_fail(c, "no such user");
		return;
	}
	if (!k->values[COLUMN_USER] || !k->values[COLUMN_USER][0]) {
		log_error("%sauth_query response contained %s user name", client_prefix(c, prefix, sizeof(prefix)),
			  k->values[COLUMN_USER] ? "empty" : "null");
		config_error(c);
		return;
	}
	/* The name as the database spells it is who logs in from here on. */
	free(l->wishes.user);
	l->wishes.user = k->values[COLUMN_USER];
	k->values[COLUMN_USER] = NULL;
	str_wipe_free(l->looked_up_text);
	l->looked_up_text = k->values[COLUMN_SECRET];
	k->values[COLUMN_SECRET] = NULL;
	l->looked_up = (struct stored_secret){l->wishes.user, l->looked_up_text};
	l->secret = &l->looked_up;
	if (route_count_user(c, l->wishes.user))
		login_resume(c);
}

static const struct lookup_kind auth_query = {
	.name = "auth_query",
	.min_columns = 2,
	.max_columns = 2,
	.columns_text = "2",
	.row = take_row,
	.answered = answered,
};

void secret_ask(struct client *c)
{
	struct login *l = c->login;
	const char *sql = own_or(l->def ? l->def->auth_query : NULL, config_settings(l->config)->auth_query);
	const char *params[] = {l->wishes.user};
	char text[128];
	struct pool *pool = secret_find_pool(c, text, sizeof(text));

	if (!pool) {
		client_fail(c, text);
		return;
	}
	l->state = LOGIN_LOOKUP;
	l->lookup = lookup_new(&auth_query, registry_at(c), pool, own_or(sql, ""), params, 1);
	pool_put(registry_at(c), pool);
	lookup_ask(l->lookup, c, l->wishes.user, l->wishes.database);
}
