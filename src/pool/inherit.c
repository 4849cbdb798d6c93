#include "pool/inherit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "pool/autodb.h"
#include "pool/cancel_key.h"
#include "pool/client.h"
#include "pool/heir.h"
#include "pool/identity.h"
#include "pool/prepared.h"
#include "pool/server.h"
#include "pool/share.h"
#include "pool/wallet_login.h"
#include "proto/reader.h"
#include "proto/writer.h"

struct known_statement {
	uint64_t number;
	struct statement *statement; /* counted */
};

/* --- what clients and servers have in common -------------------------------------------- */

void heir_refuse(struct inherited_row *r, const char *why)
{
	if (!r->refused)
		r->refused = why;
}

struct inherited_row *heir_partner(const struct heir *h, const struct inherited_row *r)
{
	struct inherited_row *p = r->link ? hash_get(&h->rows, &r->link, sizeof(r->link)) : NULL;

	return p && p->link == r->number && p->is_server != r->is_server ? p : NULL;
}

void heir_address(const struct inherited_row *r, union sock_addr *a)
{
	socklen_t len = sizeof(*a), literal;

	memset(a, 0, sizeof(*a));
	if (getpeername(r->fd, &a->sa, &len) == 0 &&
	    (a->sa.sa_family == AF_INET || a->sa.sa_family == AF_INET6 || a->sa.sa_family == AF_UNIX))
		return;
	memset(a, 0, sizeof(*a));
	if (!r->addr || !sock_addr_literal(r->addr, r->port, a, &literal))
		a->sa.sa_family = AF_UNIX;
}

bool heir_conn(struct conn *c, const struct inherited_row *r)
{
	return conn_restore(c, facts_bytes(r->facts, FACT_IN), facts_bytes(r->facts, FACT_OUT));
}

usec_t heir_time(struct span facts, enum fact_tag tag, usec_t unknown, usec_t now)
{
	uint64_t t = facts_number(facts, tag);

	return t == 0 ? unknown : t > (uint64_t)now ? now : (usec_t)t;
}

static bool read_params(struct params *p, struct span facts)
{
	struct fact f;

	while (fact_next(&facts, &f)) {
		struct reader r = reader_over_span(f.value);
		const char *name, *value;
		int index;

		if (f.tag != FACT_PARAM)
			continue;
		name = reader_str(&r);
		value = reader_str(&r);
		index = params_index(name);
		if (reader_done(&r) && index >= 0 && !params_set(p, index, value))
			return false;
	}
	return true;
}

bool heir_params(struct params *p, const struct inherited_row *row)
{
	const struct {
		const char *name, *value;
	} columns[] = {
		{"client_encoding", row->client_encoding},
		{"standard_conforming_strings", row->std_strings},
		{"DateStyle", row->datestyle},
		{"TimeZone", row->timezone},
	};

	for (size_t i = 0; i < ARRAY_LEN(columns); i++)
		if (columns[i].value && !params_set(p, params_index(columns[i].name), columns[i].value))
			return false;
	/* The columns are four; the rest is known by the facts alone. */
	return read_params(p, row->facts);
}

void heir_keys(struct share *sh, const struct inherited_row *r)
{
	if (!r->keys.known || strcmp(r->user, sh->pool->account->name) != 0)
		return;
	sh->keys = r->keys;
	user_set_keys(&sh->room->pooler->registry, sh->pool->account, &r->keys);
}

/* --- the process, statements, databases, pools ---------------------------------------- */

struct share *heir_share(const struct heir *h, const char *database, const char *account, struct span facts,
			 const char **why)
{
	struct registry *reg = &h->pooler->registry;
	const struct database_def *def = room_database_def(heir_room(h), database);
	struct share *sh = NULL;
	struct database *db;
	struct user *user;
	struct pool *pool;
	bool is_new;

	if (!def) {
		*why = INHERIT_DATABASE_GONE;
		return NULL;
	}
	if (def->user && facts_have_flag(facts, "is_forced"))
		account = def->user;
	db = autodb_get(reg, database, def, &is_new);
	user = user_get(reg, account);
	pool = db && user ? pool_get(reg, db, user) : NULL;
	if (pool)
		sh = room_share(room_of(h->pooler->crew->workers[pool->home]), pool);
	*why = INHERIT_NO_MEMORY;
	pool_put(reg, pool);
	user_put(reg, user);
	database_put(reg, db);
	return sh;
}

static void take_process(struct heir *h, struct span facts)
{
	const char *tracked = facts_text(facts, FACT_TRACKED), *at = tracked;
	uint64_t next_id = facts_number(facts, FACT_NEXT_ID);
	bool same = tracked != NULL;

	for (int i = 0; same && i < params_count(); i++) {
		size_t len = strlen(params_name(i));

		same = strncmp(at, params_name(i), len) == 0 && at[len] == ',';
		at += same ? len + 1 : 0;
	}
	h->same_parameters = same && !*at;
	if (next_id > atomic_load(&h->pooler->registry.next_id))
		atomic_store(&h->pooler->registry.next_id, next_id);
	statement_store_begin_after(&h->pooler->statements, facts_number(facts, FACT_LAST_STATEMENT));
}

static void take_statement(struct heir *h, struct span facts)
{
	struct known_statement *k = xcalloc(1, sizeof(*k));
	struct span text = facts_bytes(facts, FACT_TEXT);

	k->number = facts_number(facts, FACT_NUMBER);
	if (k->number > 0 && !hash_get(&h->statements, &k->number, sizeof(k->number)))
		k->statement = statement_restore(&h->pooler->statements, k->number, text);
	if (k->statement && hash_put(&h->statements, &k->number, sizeof(k->number), k))
		return;
	/* Whoever refers to it will not find it, and is refused. */
	if (k->statement)
		statement_put(k->statement);
	free(k);
}

struct statement *heir_statement(const struct heir *h, uint64_t number)
{
	const struct known_statement *k = hash_get(&h->statements, &number, sizeof(number));

	return k ? k->statement : NULL;
}

static void take_database(struct heir *h, struct span facts)
{
	const char *name = facts_text(facts, FACT_DATABASE_NAME);
	struct database *db;

	if (!name || !facts_have_flag(facts, "is_disabled") || !room_database_def(heir_room(h), name))
		return;
	db = database_get(&h->pooler->registry, name);
	if (!db)
		return;
	atomic_store_explicit(&db->is_disabled, true, memory_order_relaxed);
	database_put(&h->pooler->registry, db); /* a marked one stays */
}

/* Were its servers opened by the definition that is in force now, and told of wallets as they would be? */
static bool is_opened_as_defined(const struct share *sh, struct span pool_facts)
{
	const char *theirs = facts_text(pool_facts, FACT_IDENTITY), *told = facts_text(pool_facts, FACT_TOLD);
	char *ours = database_def_identity(sh->def), *tells = identity_words(sh->room->config);
	bool same = theirs && strcmp(theirs, ours) == 0 && strcmp(told ? told : " ", tells) == 0;

	free(ours);
	free(tells);
	return same;
}

static void take_pool(struct heir *h, struct span facts)
{
	const char *database = facts_text(facts, FACT_DATABASE_NAME), *account = facts_text(facts, FACT_ACCOUNT), *why;
	struct share *sh = database && account ? heir_share(h, database, account, facts, &why) : NULL;
	const char *secret = facts_text(facts, FACT_SECRET);
	struct fact greeting;

	if (!sh)
		return;
	/* A forced user may be another one by now. */
	if (secret && strcmp(sh->pool->account->name, account) == 0)
		pool_set_secret(&h->pooler->registry, sh->pool, secret);
	if (!is_opened_as_defined(sh, facts)) {
		if (!hash_put(&h->obsolete, &sh->pool, sizeof(sh->pool), sh))
			log_warning("out of memory: servers of database %s are not replaced", database);
		return;
	}
	/* With other tracked parameters it would be another greeting. */
	if (!h->same_parameters || !facts_find(facts, FACT_GREETING, &greeting))
		return;
	buf_put(&sh->greeting, greeting.value.ptr, greeting.value.len);
	if (!buf_ok(&sh->greeting) || !read_params(&sh->greeting_params, facts)) {
		buf_free(&sh->greeting);
		params_free(&sh->greeting_params);
		return;
	}
	sh->has_greeting = true;
	ledger_set_greeting(&h->pooler->registry.ledger, &sh->pool->ledger, true);
}

bool inherit_replay(const struct inheritance *in, struct replay *replay, int64_t now)
{
	for (size_t i = 0; i < in->record_count; i++) {
		const struct inherited_record *r = &in->records[i];
		const char *fault;

		if (strcmp(r->kind, FACTS_REPLAY) != 0)
			continue;
		fault = replay_load(replay, facts_bytes(buf_span(&r->facts), FACT_USED_PROOFS), now);
		if (fault)
			log_error("used proofs of the old process are not taken over: %s", fault);
		return !fault;
	}
	return false;
}

static void take_records(struct heir *h)
{
	static const struct {
		const char *kind;
		void (*take)(struct heir *, struct span facts);
	} kinds[] = { /* in this order: pools want to know of the process */
		{FACTS_PROCESS, take_process},
		{FACTS_STATEMENT, take_statement},
		{FACTS_DATABASE, take_database},
		{FACTS_POOL, take_pool},
	};

	for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
		for (size_t i = 0; i < h->from->record_count; i++) {
			const struct inherited_record *r = &h->from->records[i];

			if (strcmp(r->kind, kinds[k].kind) == 0)
				kinds[k].take(h, buf_span(&r->facts));
		}
}

/* --- pairs ------------------------------------------------------------------------------------ */

static void pair_up(const struct heir *h, struct inherited_row *r)
{
	struct inherited_row *p = heir_partner(h, r);
	struct client *c = r->client;
	struct server *sv = p ? p->server : NULL;

	if (!c || !sv || r->refused || p->refused || c->share != sv->share || c->state != CL_ACTIVE) {
		heir_refuse(r, INHERIT_LINK_LOST);
		if (p)
			heir_refuse(p, INHERIT_LINK_LOST);
		return;
	}
	c->server = sv;
	sv->client = c;
	c->conn.has_big_reads = true;
	/* Who has not taken all that was sent him holds up the other side, until he has. */
	if (conn_unsent(&sv->conn) > 0)
		client_pause(c, PAUSE_PEER_FULL);
	if (conn_unsent(&c->conn) > 0) {
		sv->client_paused_me = true;
		conn_pause(&sv->conn);
	}
}

static void pair_all(const struct heir *h)
{
	for (size_t i = 0; i < h->from->n; i++) {
		struct inherited_row *r = &h->from->rows[i];

		if (!r->link) {
			if (r->client && conn_unsent(&r->client->conn) > 0)
				client_pause(r->client, PAUSE_UNREAD);
		} else if (!r->is_server)
			pair_up(h, r);
		else if (!heir_partner(h, r))
			heir_refuse(r, INHERIT_LINK_LOST);
	}
}

/* --- all of it ----------------------------------------------------------------------------------- */

/* Each row gets the facts of its descriptor. */
static void match_facts(struct heir *h)
{
	for (size_t i = 0; i < h->from->n; i++) {
		struct inherited_row *r = &h->from->rows[i];

		if (!hash_put(&h->rows, &r->number, sizeof(r->number), r))
			heir_refuse(r, INHERIT_NO_MEMORY);
	}
	for (size_t i = 0; i < h->from->record_count; i++) {
		const struct inherited_record *rec = &h->from->records[i];
		struct inherited_row *r = hash_get(&h->rows, &rec->number, sizeof(rec->number));

		if (r && strcmp(rec->kind, r->is_server ? FACTS_SERVER : FACTS_CLIENT) == 0)
			r->facts = buf_span(&rec->facts);
	}
}

void inherit(struct pooler *pooler, struct inheritance *in)
{
	struct heir h = {.pooler = pooler, .from = in};
	struct known_statement *k;
	size_t clients = 0, servers = 0, at = 0;

	hash_init(&h.statements);
	hash_init(&h.rows);
	hash_init(&h.obsolete);
	match_facts(&h);
	if (in->is_told_all)
		take_records(&h);
	else
		/* Its servers may have statements prepared by names like ours, of which nobody has told. */
		statement_store_begin_after(&pooler->statements, (uint64_t)time(NULL) << 20);
	for (size_t i = 0; i < in->n; i++) {
		struct inherited_row *r = &in->rows[i];

		if (r->refused)
			continue;
		if (in->is_told_all && r->facts.len == 0) {
			/* The old process has closed it between the two questions. */
			heir_refuse(r, "closed meanwhile");
			close(r->fd);
			r->fd = -1;
		} else if (r->is_server)
			inherit_server(&h, r);
		else
			inherit_client(&h, r);
	}
	pair_all(&h);
	for (size_t i = 0; i < in->n; i++)
		if (!in->rows[i].refused)
			*(in->rows[i].is_server ? &servers : &clients) += 1;
	log_info("took over %zu clients and %zu servers, %zu connections are dropped", clients, servers,
		 in->n - clients - servers);
	while ((k = hash_next(&h.statements, &at))) {
		statement_put(k->statement);
		free(k);
	}
	hash_free(&h.statements);
	hash_free(&h.rows);
	hash_free(&h.obsolete);
}

/* Nothing is known of where in the protocol it stands; it is the end all the same. */
static void say_goodbye(struct inherited_row *r)
{
	struct buf b;

	log_info("connection of database %s, user %s, closing because: %s", r->database ? r->database : "(nodb)",
		 r->user ? r->user : "(nouser)", r->refused);
	buf_init(&b);
	if (!r->is_server)
		put_error(&b, "FATAL", "08P01", r->refused);
	else if (!r->link)
		put_terminate(&b);
	if (buf_ok(&b) && buf_len(&b) > 0 &&
	    send(r->fd, buf_data(&b), buf_len(&b), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_debug("send: %s", strerror(errno));
	buf_free(&b);
	close(r->fd);
	r->fd = -1;
}

static void settle_row(struct inherited_row *r)
{
	if (!r->refused)
		return;
	if (r->client && !r->client->conn.is_retired)
		client_fail(r->client, r->refused);
	if (r->server && !r->server->conn.is_retired)
		server_close(r->server, r->refused, true);
	if (r->fd >= 0)
		say_goodbye(r);
}

static void settle_share(struct share *sh)
{
	struct counted_list *lists[] = {&sh->waiting, &sh->active};

	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		LIST_FOR_SAFE(node, &lists[i]->head) {
			struct client *c = LIST_ITEM(node, struct client, link);

			if (c->is_wallet && sh->room->settings->ecdsa_revoke_on_reload && !wallet_still_admitted(c))
				client_fail(c, "admin forced disconnect");
			else
				client_deadline(c);
		}
	for (int state = 0; state < SERVER_STATES; state++)
		LIST_FOR(node, &sh->servers[state].head)
			server_deadline(LIST_ITEM(node, struct server, link));
	share_hunger(sh);
}

/* A client whose key was made under another peer_id, or without one. */
static bool has_foreign_key(const struct inherited_row *r, int peer_id)
{
	return r->client && peer_id > 0 && cancel_key_peer(r->key) != peer_id;
}

void inherit_settle(struct pooler *p, struct inheritance *in)
{
	int peer_id = room_of(p->crew->workers[0])->settings->peer_id;
	bool has_foreign_keys = false;

	for (size_t i = 0; i < in->n; i++) {
		has_foreign_keys |= has_foreign_key(&in->rows[i], peer_id);
		settle_row(&in->rows[i]);
	}
	for (int i = 0; i < p->crew->n; i++) {
		struct room *room = room_of(p->crew->workers[i]);

		room->had_other_peer_id |= has_foreign_keys;
		LIST_FOR(node, &room->shares)
			settle_share(LIST_ITEM(node, struct share, link));
		LIST_FOR(node, &room->logins.head)
			client_deadline(LIST_ITEM(node, struct client, link));
	}
}
