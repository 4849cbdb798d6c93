#include "config/definitions.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "config/connstr.h"
#include "config/setting_checks.h"
#include "config/setting_types.h"
#include "lib/log.h"
#include "lib/mem.h"

#define DATABASE_PORT 5432
#define PEER_PORT 6432
#define PEER_ID_MAX 65535

enum key_kind {
	KEY_TEXT,
	KEY_COUNT,	 /* below zero: not set */
	KEY_LIMIT,
	KEY_SECONDS,
	KEY_PORT,
	KEY_POOL_MODE,
	KEY_BALANCE
};

struct key {
	const char *name;
	enum key_kind kind;
	size_t offset; /* in the definition */
};

struct key_list {
	const struct key *keys;
	size_t count;
	const char *syntax_error, *unknown_key; /* %s: the key */
};

#define DATABASE(name, kind, field) {name, kind, offsetof(struct database_def, field)}
static const struct key database_keys[] = {
	DATABASE("dbname", KEY_TEXT, dbname),
	DATABASE("host", KEY_TEXT, host),
	DATABASE("port", KEY_PORT, port),
	DATABASE("user", KEY_TEXT, user),
	DATABASE("password", KEY_TEXT, password),
	DATABASE("auth_user", KEY_TEXT, auth_user),
	DATABASE("auth_query", KEY_TEXT, auth_query),
	DATABASE("auth_dbname", KEY_TEXT, auth_dbname),
	DATABASE("ecdsa_auth_query", KEY_TEXT, ecdsa_auth_query),
	DATABASE("connect_query", KEY_TEXT, connect_query),
	DATABASE("pool_size", KEY_COUNT, pool_size),
	DATABASE("min_pool_size", KEY_COUNT, min_pool_size),
	DATABASE("reserve_pool_size", KEY_COUNT, reserve_pool_size),
	DATABASE("reserve_pool", KEY_COUNT, reserve_pool_size),
	DATABASE("max_db_connections", KEY_LIMIT, max_db_connections),
	DATABASE("max_db_client_connections", KEY_LIMIT, max_db_client_connections),
	DATABASE("pool_mode", KEY_POOL_MODE, pool_mode),
	DATABASE("query_wait_timeout", KEY_SECONDS, query_wait_timeout),
	DATABASE("server_lifetime", KEY_SECONDS, server_lifetime),
	DATABASE("load_balance_hosts", KEY_BALANCE, load_balance_hosts),
	DATABASE("client_encoding", KEY_TEXT, client_encoding),
	DATABASE("datestyle", KEY_TEXT, datestyle),
	DATABASE("timezone", KEY_TEXT, timezone),
	DATABASE("application_name", KEY_TEXT, application_name),
};
#undef DATABASE

#define USER(name, kind, field) {name, kind, offsetof(struct user_def, field)}
static const struct key user_keys[] = {
	USER("pool_mode", KEY_POOL_MODE, pool_mode),
	USER("pool_size", KEY_COUNT, pool_size),
	USER("reserve_pool_size", KEY_COUNT, reserve_pool_size),
	USER("max_user_connections", KEY_LIMIT, max_user_connections),
	USER("max_user_client_connections", KEY_LIMIT, max_user_client_connections),
	USER("query_timeout", KEY_SECONDS, query_timeout),
	USER("idle_transaction_timeout", KEY_SECONDS, idle_transaction_timeout),
	USER("transaction_timeout", KEY_SECONDS, transaction_timeout),
	USER("client_idle_timeout", KEY_SECONDS, client_idle_timeout),
	USER("query_wait_timeout", KEY_SECONDS, query_wait_timeout),
};
#undef USER

#define PEER(name, kind, field) {name, kind, offsetof(struct peer_def, field)}
static const struct key peer_keys[] = {
	PEER("host", KEY_TEXT, host),
	PEER("port", KEY_PORT, port),
	PEER("pool_size", KEY_COUNT, pool_size),
};
#undef PEER

static const struct key_list database_list = {database_keys, ARRAY_LEN(database_keys),
					      "syntax error in connection string",
					      "unrecognized connection parameter: %s"};
static const struct key_list user_list = {user_keys, ARRAY_LEN(user_keys), "syntax error in user settings",
					  "unrecognized user parameter: %s"};
static const struct key_list peer_list = {peer_keys, ARRAY_LEN(peer_keys), "syntax error in connection string",
					  "unrecognized connection parameter: %s"};

static bool is_text(const struct key *k)
{
	return k->kind == KEY_TEXT;
}

/* As atoi(), but with an answer to numbers that fit in no int. */
static int leading_number(const char *text)
{
	long n = strtol(text, NULL, 10);

	return n > INT_MAX ? INT_MAX : n < INT_MIN ? INT_MIN : (int)n;
}

static bool take_value(const struct key *k, void *field, const char *value)
{
	static const char *const balance_words[] = {"round-robin", "disable", NULL};
	int n;

	switch (k->kind) {
	case KEY_TEXT:
		str_wipe_free(*(char **)field);
		*(char **)field = xstrdup(value);
		return true;
	case KEY_COUNT:
		n = leading_number(value);
		*(int *)field = n < 0 ? -1 : n;
		return true;
	case KEY_LIMIT:
		*(int *)field = leading_number(value);
		return true;
	case KEY_SECONDS:
		n = leading_number(value);
		*(usec_t *)field = n < 0 ? -1 : n * USEC_PER_SEC;
		return true;
	case KEY_PORT:
		n = leading_number(value);
		if (n > 0 && n <= 65535) {
			*(int *)field = n;
			return true;
		}
		log_error("invalid port: %s", value);
		return false;
	case KEY_POOL_MODE:
		n = word_index(setting_POOL_MODE.words, value);
		if (n >= 0) {
			*(enum pool_mode *)field = (enum pool_mode)n;
			return true;
		}
		log_error("invalid pool mode: %s", value);
		return false;
	case KEY_BALANCE:
		n = word_index(balance_words, value);
		if (n >= 0) {
			*(enum load_balance *)field = (enum load_balance)n;
			return true;
		}
		log_error("invalid load_balance_hosts: %s", value);
		return false;
	}
	return false;
}

static const struct key *find_key(const struct key_list *list, const char *name)
{
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->keys[i].name, name) == 0)
			return &list->keys[i];
	return NULL;
}

static bool read_keys(const struct key_list *list, const char *text, void *def)
{
	char *copy = xstrdup(text), *at = copy, *word, *value;
	size_t copy_len = strlen(copy);
	enum connstr_step step;
	bool ok = true;

	/* To the end, so that every mistake of the line is told. */
	while ((step = connstr_next(&at, &word, &value)) == CONNSTR_PAIR) {
		const struct key *k = find_key(list, word);

		if (!k)
			log_error(list->unknown_key, word);
		ok &= k && take_value(k, (char *)def + k->offset, value);
	}
	if (step == CONNSTR_BAD) {
		log_error("%s", list->syntax_error);
		ok = false;
	}
	mem_wipe(copy, copy_len);
	free(copy);
	return ok;
}

static void free_texts(const struct key_list *list, void *def)
{
	for (size_t i = 0; i < list->count; i++)
		if (is_text(&list->keys[i]))
			str_wipe_free(*(char **)(void *)((char *)def + list->keys[i].offset));
}

/* The text of a const field that the definition owns. */
static char *owned(const char *text)
{
	return (char *)(uintptr_t)text;
}

struct database_def *database_def_parse(const char *name, const char *text)
{
	struct database_def *d;

	if (strcmp(name, CONSOLE_DATABASE) == 0) {
		log_error("database name \"%s\" is reserved", name);
		return NULL;
	}
	if (strlen(name) > DATABASE_NAME_MAX) {
		log_warning("too long db name: %s", name);
		return NULL;
	}
	d = xcalloc(1, sizeof(*d));
	d->name = xstrdup(name);
	d->is_template = strcmp(name, "*") == 0;
	d->port = DATABASE_PORT;
	d->pool_size = d->min_pool_size = d->reserve_pool_size = -1;
	d->pool_mode = POOL_MODE_UNSET;
	d->query_wait_timeout = -1;
	if (!read_keys(&database_list, text, d)) {
		database_def_free(d);
		return NULL;
	}
	if (!d->user) {
		/* It is the password of the forced user, and there is none. */
		str_wipe_free(owned(d->password));
		d->password = NULL;
	}
	return d;
}

struct user_def *user_def_parse(const char *name, const char *text)
{
	struct wallet_address address;
	char lower[WALLET_TEXT_LEN + 1];
	struct user_def *u;

	if (strlen(name) > USER_NAME_MAX) {
		log_error("too long user name: %s", name);
		return NULL;
	}
	if (!check_wallet_spelling(name, "[users]", ""))
		return NULL;
	if (wallet_address_parse(name, strlen(name), &address)) {
		wallet_address_lower(&address, lower);
		name = lower;
	}
	u = xcalloc(1, sizeof(*u));
	u->name = xstrdup(name);
	u->pool_mode = POOL_MODE_UNSET;
	u->pool_size = u->reserve_pool_size = -1;
	u->query_wait_timeout = -1;
	if (!read_keys(&user_list, text, u)) {
		user_def_free(u);
		return NULL;
	}
	return u;
}

struct peer_def *peer_def_parse(const char *id, const char *text)
{
	struct peer_def *p;
	char *end;
	long number = strtol(id, &end, 10);

	if (*end || number < 1 || number > PEER_ID_MAX) {
		log_error("ids of peers must be a number larger than 0 and at most 65536");
		return NULL;
	}
	p = xcalloc(1, sizeof(*p));
	p->id = (int)number;
	p->port = PEER_PORT;
	p->pool_size = -1;
	if (!read_keys(&peer_list, text, p)) {
		peer_def_free(p);
		return NULL;
	}
	if (!p->host) {
		log_error("host was not provided for peer %d", p->id);
		peer_def_free(p);
		return NULL;
	}
	return p;
}

struct user_def *user_def_copy(const struct user_def *from)
{
	struct user_def *u = xmalloc(sizeof(*u));

	*u = *from;
	u->name = xstrdup(from->name);
	return u;
}

void database_def_keep_user(struct database_def *d, const struct database_def *had)
{
	if (!had || !had->user || d->user)
		return;
	log_warning("losing forced user not supported, keeping old setting");
	d->user = xstrdup(had->user);
	d->password = xstrdup(had->password);
}

void database_def_free(struct database_def *d)
{
	if (!d)
		return;
	free_texts(&database_list, d);
	free(owned(d->name));
	free(d);
}

void user_def_free(struct user_def *u)
{
	if (!u)
		return;
	free_texts(&user_list, u);
	free(owned(u->name));
	free(u);
}

void peer_def_free(struct peer_def *p)
{
	if (!p)
		return;
	free_texts(&peer_list, p);
	free(p);
}

static const char *real_dbname(const struct database_def *d)
{
	return d->dbname || d->is_template ? d->dbname : d->name;
}

char *database_def_identity(const struct database_def *d)
{
	const char *const texts[] = {real_dbname(d), d->host, d->user, d->connect_query, d->auth_dbname, d->auth_query};
	char *identity = xasprintf("%d %d", d->port, (int)d->load_balance_hosts);

	/* Each with its length, so that no two lists of texts look the same. */
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		char *longer = texts[i] ? xasprintf("%s %zu:%s", identity, strlen(texts[i]), texts[i])
					: xasprintf("%s -", identity);

		free(identity);
		identity = longer;
	}
	return identity;
}

bool database_def_needs_reconnect(const struct database_def *a, const struct database_def *b)
{
	char *of_a = database_def_identity(a), *of_b = database_def_identity(b);
	bool differ = strcmp(of_a, of_b) != 0;

	free(of_a);
	free(of_b);
	return differ;
}
