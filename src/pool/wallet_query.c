#include "pool/wallet_query.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "pool/login.h"
#include "pool/login_state.h"
#include "pool/lookup.h"
#include "pool/secret.h"

#define ROLE_MAX 63 /* bytes of a name in PostgreSQL: a longer one would be cut, and be somebody else's */
#define ANSWERS_MAX 8192 /* kept by a Worker */

static struct room *room_at(const struct client *c)
{
	return conn_room(&c->conn);
}

void wallet_answer_free(struct wallet_answer *a)
{
	free(a->role);
	str_wipe_free(a->secret);
	*a = (struct wallet_answer){.state = ANSWER_NONE};
}

static const char *own_query(const struct settings *s, const struct database_def *def)
{
	const char *sql = def && def->ecdsa_auth_query ? def->ecdsa_auth_query : s->ecdsa_auth_query;

	return sql && sql[0] ? sql : NULL;
}

enum wallet_query_kind wallet_query_kind(const struct settings *s, const struct database_def *def, bool is_console)
{
	const char *who = def && def->auth_user ? def->auth_user : s->auth_user;

	if ((!def && !is_console) || !who || !who[0])
		return QUERY_NONE;
	return own_query(s, def) ? QUERY_OWN : QUERY_AUTH_QUERY;
}

/* --- kept answers ------------------------------------------------------------------ */

struct kept {
	struct list link; /* of its Worker's answers, in their order */
	struct wallet_address wallet;
	usec_t until;
	char *role, *secret; /* owned; secret wiped */
	size_t key_len;
	char key[]; /* wallet, database and user, each text with its NUL */
};

struct wallet_answers {
	struct hash by_key;
	struct counted_list list;
};

/* Owned by the caller; *len with the last NUL. */
static char *key_of(const struct client *c, const struct wallet_address *wallet, size_t *len)
{
	const struct startup_wishes *w = &c->login->wishes;
	size_t database = strlen(w->database) + 1, user = strlen(w->user) + 1;
	char *key = xmalloc(WALLET_TEXT_LEN + 1 + database + user);

	wallet_address_lower(wallet, key);
	memcpy(key + WALLET_TEXT_LEN + 1, w->database, database);
	memcpy(key + WALLET_TEXT_LEN + 1 + database, w->user, user);
	*len = WALLET_TEXT_LEN + 1 + database + user;
	return key;
}

static void drop(struct wallet_answers *all, struct kept *k)
{
	hash_del(&all->by_key, k->key, k->key_len);
	clist_del(&all->list, &k->link);
	free(k->role);
	str_wipe_free(k->secret);
	free(k);
}

void wallet_answers_forget(struct room *r, const struct wallet_address *wallet)
{
	struct wallet_answers *all = r->wallet_answers;

	r->wallet_generation++;
	if (!all)
		return;
	LIST_FOR_SAFE(node, &all->list.head) {
		struct kept *k = LIST_ITEM(node, struct kept, link);

		if (!wallet || memcmp(&k->wallet, wallet, sizeof(*wallet)) == 0)
			drop(all, k);
	}
	if (all->list.count > 0)
		return;
	hash_free(&all->by_key);
	free(all);
	r->wallet_answers = NULL;
}

bool wallet_query_remembers(struct client *c, const struct wallet_address *wallet)
{
	struct wallet_answers *all = room_at(c)->wallet_answers;
	struct login *l = c->login;
	struct kept *k;
	size_t len;
	char *key;

	if (!all)
		return false;
	key = key_of(c, wallet, &len);
	k = hash_get(&all->by_key, key, len);
	free(key);
	if (k && worker_now(c->conn.worker) >= k->until) {
		drop(all, k);
		k = NULL;
	}
	if (!k)
		return false;
	wallet_answer_free(&l->answer);
	l->answer.state = ANSWER_ROLE;
	l->answer.role = xstrdup(k->role);
	l->answer.secret = xstrdup(k->secret);
	return true;
}

static struct wallet_answers *answers_of(struct room *r)
{
	struct wallet_answers *all = r->wallet_answers;

	if (all)
		return all;
	all = xcalloc(1, sizeof(*all));
	hash_init(&all->by_key);
	clist_init(&all->list);
	return r->wallet_answers = all;
}

static void keep(struct client *c)
{
	struct login *l = c->login;
	struct room *r = room_at(c);
	usec_t ttl = config_settings(l->config)->ecdsa_auth_query_ttl;
	struct wallet_answers *all;
	struct kept *k, *was;
	size_t len;
	char *key;

	/* What was asked before a RELOAD or RECONNECT may be of the world before it. */
	if (ttl <= 0 || l->answer.state != ANSWER_ROLE || l->asked_in != r->wallet_generation)
		return;
	all = answers_of(r);
	key = key_of(c, &l->signer, &len);
	was = hash_get(&all->by_key, key, len);
	if (was)
		drop(all, was);
	if (all->list.count >= ANSWERS_MAX)
		drop(all, LIST_ITEM(all->list.head.next, struct kept, link));
	k = xcalloc(1, sizeof(*k) + len);
	k->wallet = l->signer;
	k->until = worker_now(c->conn.worker) + ttl;
	k->role = xstrdup(l->answer.role);
	k->secret = xstrdup(l->answer.secret);
	k->key_len = len;
	memcpy(k->key, key, len);
	free(key);
	clist_add_tail(&all->list, &k->link);
	if (!hash_put(&all->by_key, k->key, len, k))
		drop(all, k);
}

/* --- the question -------------------------------------------------------------------- */

enum { COLUMN_ROLE, COLUMN_SECRET };

/* The first row counts. */
static const char *take_row(struct lookup *l, const struct row *row)
{
	if (l->has_row)
		return NULL;
	if (row->columns[COLUMN_ROLE].text.len > ROLE_MAX)
		return "ecdsa_auth_query response contained too long role name";
	if (row->n > COLUMN_SECRET && row->columns[COLUMN_SECRET].text.len > PASSWORD_MAX)
		return "ecdsa_auth_query response contained too long password";
	lookup_keep(l, row);
	return NULL;
}

static void fail(struct wallet_answer *a, const char *reason)
{
	a->state = ANSWER_FAILED;
	snprintf(a->reason, sizeof(a->reason), "%s", reason);
}

static void answered(struct client *c, struct lookup *k)
{
	struct login *l = c->login;
	struct wallet_answer *a = &l->answer;

	l->lookup = NULL;
	wallet_answer_free(a);
	if (!k->is_answered) {
		fail(a, k->reason);
	} else if (!k->has_row) {
		a->state = ANSWER_NO;
	} else if (!k->values[COLUMN_ROLE] || !k->values[COLUMN_ROLE][0]) {
		a->state = ANSWER_NULL;
	} else {
		a->state = ANSWER_ROLE;
		a->role = k->values[COLUMN_ROLE];
		a->secret = k->values[COLUMN_SECRET];
		k->values[COLUMN_ROLE] = k->values[COLUMN_SECRET] = NULL;
	}
	keep(c);
	login_answered(c);
}

static const struct lookup_kind kinds[] = {
	[QUERY_AUTH_QUERY] = {
		.name = "auth_query",
		.min_columns = 2,
		.max_columns = 2,
		.columns_text = "2",
		.row = take_row,
		.answered = answered,
	},
	[QUERY_OWN] = {
		.name = "ecdsa_auth_query",
		.has_fixed_path = true,
		.min_columns = 1,
		.max_columns = 2,
		.columns_text = "1 or 2",
		.row = take_row,
		.answered = answered,
	},
};

void wallet_query_ask(struct client *c)
{
	struct login *l = c->login;
	const struct settings *s = config_settings(l->config);
	enum wallet_query_kind kind = wallet_query_kind(s, l->def, l->is_console);
	const char *sql = l->def && l->def->auth_query ? l->def->auth_query : s->auth_query;
	char wallet[WALLET_TEXT_LEN + 1], text[128];
	const char *params[] = {wallet, l->wishes.database, l->wishes.user};
	struct pool *pool = secret_find_pool(c, text, sizeof(text));

	if (!pool) {
		fail(&l->answer, text);
		login_answered(c);
		return;
	}
	wallet_address_lower(&l->signer, wallet);
	if (kind == QUERY_OWN)
		sql = own_query(s, l->def);
	l->asked_in = room_at(c)->wallet_generation;
	l->lookup = lookup_new(&kinds[kind], &room_at(c)->pooler->registry, pool, sql ? sql : "", params,
			       kind == QUERY_OWN ? 3 : 1);
	pool_put(&room_at(c)->pooler->registry, pool);
	lookup_ask(l->lookup, c, l->wishes.user, l->wishes.database);
}
