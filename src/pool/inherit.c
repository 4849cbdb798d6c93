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
#include "pool/client.h"
#include "pool/handover.h"
#include "pool/identity.h"
#include "pool/login.h"
#include "pool/prepared.h"
#include "pool/share.h"
#include "pool/tracking.h"
#include "pool/wallet_login.h"
#include "proto/reader.h"
#include "proto/writer.h"

#define DATABASE_GONE "database removed" /* as RELOAD says it */
#define LINK_LOST "the other side of the connection was lost in the takeover"
#define LOGIN_LOST "the pooler was restarted during the login"
#define NO_MEMORY "out of memory"

struct heir {
	struct pooler *pooler;
	struct inheritance *from;
	struct hash statements; /* by number, of struct known_statement */
	struct hash rows;	/* by descriptor number */
	struct hash obsolete;	/* shares whose servers were opened by another definition */
	bool same_parameters;	/* both processes track the same ones */
};

struct known_statement {
	uint64_t number;
	struct statement *statement; /* counted */
};

/* --- the rows and records --------------------------------------------------------- */

struct inherited_row *inheritance_add_row(struct inheritance *in)
{
	struct inherited_row *r;

	if (in->n == in->cap) {
		in->cap = in->cap ? in->cap * 2 : 64;
		in->rows = xrealloc(in->rows, in->cap * sizeof(*in->rows));
	}
	r = &in->rows[in->n++];
	memset(r, 0, sizeof(*r));
	r->fd = -1;
	return r;
}

struct inherited_record *inheritance_add_record(struct inheritance *in, const char *kind, int number)
{
	struct inherited_record *r;

	if (in->record_count == in->record_cap) {
		in->record_cap = in->record_cap ? in->record_cap * 2 : 64;
		in->records = xrealloc(in->records, in->record_cap * sizeof(*in->records));
	}
	r = &in->records[in->record_count++];
	memset(r, 0, sizeof(*r));
	snprintf(r->kind, sizeof(r->kind), "%s", kind);
	r->number = number;
	buf_init(&r->facts);
	return r;
}

void inheritance_free(struct inheritance *in)
{
	for (size_t i = 0; i < in->n; i++) {
		struct inherited_row *r = &in->rows[i];

		if (r->fd >= 0)
			close(r->fd);
		free(r->user);
		free(r->database);
		free(r->addr);
		str_wipe_free(r->password);
		free(r->client_encoding);
		free(r->std_strings);
		free(r->datestyle);
		free(r->timezone);
		mem_wipe(&r->keys, sizeof(r->keys));
		mem_wipe(r->key, sizeof(r->key));
	}
	for (size_t i = 0; i < in->record_count; i++)
		buf_wipe_free(&in->records[i].facts);
	free(in->rows);
	free(in->records);
	memset(in, 0, sizeof(*in));
}

/* --- facts by name ------------------------------------------------------------------ */

/* The first of that tag. */
static bool find_fact(struct span facts, enum fact_tag tag, struct fact *out)
{
	while (fact_next(&facts, out))
		if (out->tag == (unsigned)tag)
			return true;
	return false;
}

static uint64_t number_of(struct span facts, enum fact_tag tag)
{
	struct fact f;

	return find_fact(facts, tag, &f) ? fact_number(&f) : 0;
}

/* NULL when it is not told. */
static const char *text_of(struct span facts, enum fact_tag tag)
{
	struct fact f;

	return find_fact(facts, tag, &f) ? fact_text(&f) : NULL;
}

static struct span bytes_of(struct span facts, enum fact_tag tag)
{
	struct fact f;

	return find_fact(facts, tag, &f) ? f.value : span_of("", 0);
}

static bool has_flag(struct span facts, const char *word)
{
	const char *at = text_of(facts, FACT_FLAGS);
	size_t len = strlen(word);

	while (at && *at) {
		size_t n = strcspn(at, " ");

		if (n == len && memcmp(at, word, n) == 0)
			return true;
		at += n + strspn(at + n, " ");
	}
	return false;
}

/* A time that both processes know; never one to come. */
static usec_t time_of(struct span facts, enum fact_tag tag, usec_t unknown, usec_t now)
{
	uint64_t t = number_of(facts, tag);

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

static bool params_of_row(struct params *p, const struct inherited_row *row)
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

int64_t inheritance_pid(const struct inheritance *in)
{
	for (size_t i = 0; i < in->record_count; i++)
		if (strcmp(in->records[i].kind, FACTS_PROCESS) == 0)
			return (int64_t)number_of(buf_span(&in->records[i].facts), FACT_PID);
	return 0;
}

bool inherit_replay(const struct inheritance *in, struct replay *replay, int64_t now)
{
	for (size_t i = 0; i < in->record_count; i++) {
		const struct inherited_record *r = &in->records[i];
		const char *fault;

		if (strcmp(r->kind, FACTS_REPLAY) != 0)
			continue;
		fault = replay_load(replay, bytes_of(buf_span(&r->facts), FACT_USED_PROOFS), now);
		if (fault)
			log_error("used proofs of the old process are not taken over: %s", fault);
		return !fault;
	}
	return false;
}

/* --- the process, statements, databases, pools ---------------------------------------- */

static struct room *room_number(const struct heir *h, int i)
{
	return room_of(h->pooler->crew->workers[i]);
}

/*
 * The pool's share on its Worker; NULL: the configuration does not know the database any more, or memory. What belonged
 * to the forced user of the database belongs to whom it names now.
 */
static struct share *find_share(const struct heir *h, const char *database, const char *account, struct span facts,
				const char **why)
{
	struct registry *reg = &h->pooler->registry;
	const struct database_def *def = room_database_def(room_number(h, 0), database);
	struct share *sh = NULL;
	struct database *db;
	struct user *user;
	struct pool *pool;
	bool is_new;

	if (!def) {
		*why = DATABASE_GONE;
		return NULL;
	}
	if (def->user && has_flag(facts, "is_forced"))
		account = def->user;
	db = autodb_get(reg, database, def, &is_new);
	user = user_get(reg, account);
	pool = db && user ? pool_get(reg, db, user) : NULL;
	if (pool)
		sh = room_share(room_number(h, pool->home), pool);
	*why = NO_MEMORY;
	pool_put(reg, pool);
	user_put(reg, user);
	database_put(reg, db);
	return sh;
}

static void take_process(struct heir *h, struct span facts)
{
	const char *tracked = text_of(facts, FACT_TRACKED), *at = tracked;
	uint64_t next_id = number_of(facts, FACT_NEXT_ID);
	bool same = tracked != NULL;

	for (int i = 0; same && i < params_count(); i++) {
		size_t len = strlen(params_name(i));

		same = strncmp(at, params_name(i), len) == 0 && at[len] == ',';
		at += same ? len + 1 : 0;
	}
	h->same_parameters = same && !*at;
	if (next_id > atomic_load(&h->pooler->registry.next_id))
		atomic_store(&h->pooler->registry.next_id, next_id);
	statement_store_begin_after(&h->pooler->statements, number_of(facts, FACT_LAST_STATEMENT));
}

static void take_statement(struct heir *h, struct span facts)
{
	struct known_statement *k = xcalloc(1, sizeof(*k));
	struct span text = bytes_of(facts, FACT_TEXT);

	k->number = number_of(facts, FACT_NUMBER);
	if (k->number > 0 && !hash_get(&h->statements, &k->number, sizeof(k->number)))
		k->statement = statement_restore(&h->pooler->statements, k->number, text);
	if (k->statement && hash_put(&h->statements, &k->number, sizeof(k->number), k))
		return;
	/* Whoever refers to it will not find it, and is refused. */
	if (k->statement)
		statement_put(k->statement);
	free(k);
}

/* Counted by h. NULL: not known. */
static struct statement *statement_number(const struct heir *h, uint64_t number)
{
	const struct known_statement *k = hash_get(&h->statements, &number, sizeof(number));

	return k ? k->statement : NULL;
}

static void take_database(struct heir *h, struct span facts)
{
	const char *name = text_of(facts, FACT_DATABASE_NAME);
	struct database *db;

	if (!name || !has_flag(facts, "is_disabled") || !room_database_def(room_number(h, 0), name))
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
	const char *theirs = text_of(pool_facts, FACT_IDENTITY), *told = text_of(pool_facts, FACT_TOLD);
	char *ours = database_def_identity(sh->def), *tells = identity_words(sh->room->config);
	bool same = theirs && strcmp(theirs, ours) == 0 && strcmp(told ? told : " ", tells) == 0;

	free(ours);
	free(tells);
	return same;
}

static void take_pool(struct heir *h, struct span facts)
{
	const char *database = text_of(facts, FACT_DATABASE_NAME), *account = text_of(facts, FACT_ACCOUNT), *why;
	struct share *sh = database && account ? find_share(h, database, account, facts, &why) : NULL;
	const char *secret = text_of(facts, FACT_SECRET);
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
	if (!h->same_parameters || !find_fact(facts, FACT_GREETING, &greeting))
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

/* --- what clients and servers have in common ------------------------------------------- */

static void refuse(struct inherited_row *r, const char *why)
{
	if (!r->refused)
		r->refused = why;
}

static struct inherited_row *partner_of(const struct heir *h, const struct inherited_row *r)
{
	struct inherited_row *p = r->link ? hash_get(&h->rows, &r->link, sizeof(r->link)) : NULL;

	return p && p->link == r->number && p->is_server != r->is_server ? p : NULL;
}

/* As the kernel knows the other end; by the columns if that is gone. */
static void address_of(const struct inherited_row *r, union sock_addr *a)
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

static bool restore_conn(struct conn *c, const struct inherited_row *r)
{
	return conn_restore(c, bytes_of(r->facts, FACT_IN), bytes_of(r->facts, FACT_OUT));
}

/* --- servers ------------------------------------------------------------------------------ */

/* Which item of the host list it is; only the old process could say for sure. */
static void guess_host(struct server *sv)
{
	const char *list = sv->share->def->host;
	struct peer_addr peer;

	if (!list)
		return;
	if (!strchr(list, ',')) {
		snprintf(sv->host, sizeof(sv->host), "%s", list);
		return;
	}
	peer_addr_from(&peer, &sv->addr);
	if (peer.family != AF_UNIX)
		peer_addr_host(&peer, sv->host, sizeof(sv->host));
}

static bool read_request(const struct heir *h, struct server *sv, struct span value)
{
	struct reader r = reader_over_span(value);
	uint8_t type = reader_u8(&r), action = reader_u8(&r), doubtful;
	uint64_t number = (uint64_t)reader_u32(&r) << 32;
	struct statement *st = NULL;
	struct server_statement *e = NULL;

	number |= reader_u32(&r);
	doubtful = reader_u8(&r);
	if (!reader_ok(&r) || action > REQUEST_FAKE || !type || !strchr("QFSPBDECcf", type))
		return false;
	if (number > 0 && !(st = statement_number(h, number)))
		return false;
	if (st && type == 'C' && action == REQUEST_FAKE) {
		struct client_statement *cs =
			client_statement_new(span_of(r.at, reader_left(&r)), statement_ref(st), doubtful);

		if (!cs)
			return false;
		if (outstanding_push(&sv->requests, type, REQUEST_FAKE, cs))
			return true;
		client_statement_free(cs);
		return false;
	}
	if (reader_left(&r) > 0)
		return false;
	if (st && !(e = server_statements_touch(&sv->statements, st)))
		return false;
	if (!outstanding_push(&sv->requests, type, action, e)) {
		if (e)
			server_statement_unused(sv->statements, e);
		return false;
	}
	tracking_restored(sv, outstanding_at(&sv->requests, sv->requests.count - 1));
	return true;
}

static bool read_statements(const struct heir *h, struct server *sv, struct span facts)
{
	struct fact f;
	struct span rest = facts;

	while (fact_next(&rest, &f)) {
		struct statement *st = f.tag == FACT_HELD ? statement_number(h, fact_number(&f)) : NULL;

		if (f.tag == FACT_HELD && (!st || !server_statements_restore(&sv->statements, st)))
			return false;
	}
	/* Behind what it has: each of them changes that. */
	for (rest = facts; fact_next(&rest, &f);)
		if (f.tag == FACT_REQUEST && !read_request(h, sv, f.value))
			return false;
	sv->requests.saw_error = has_flag(facts, "saw_error");
	return true;
}

static void read_server_facts(struct server *sv, struct span facts)
{
	const char *host = text_of(facts, FACT_HOST);

	snprintf(sv->host, sizeof(sv->host), "%s", host ? host : "");
	sv->pass_left = number_of(facts, FACT_PASS_LEFT);
	sv->copy_state = (char)number_of(facts, FACT_COPY_STATE);
#define X(name) sv->name = has_flag(facts, #name);
	SERVER_FLAGS(X)
#undef X
}

/* Could this server have been opened now, by the settings in force? */
static bool is_obsolete(const struct heir *h, const struct server *sv)
{
	const struct share *sh = sv->share;

	if (hash_get(&h->obsolete, &sh->pool, sizeof(sh->pool)))
		return true;
	/* A parameter of which it is not known what it is there could not be set for the next client. */
	if (!h->same_parameters)
		return true;
	/* What was taken over is plain. */
	return !sv->conn.is_unix && sh->room->settings->server_tls_sslmode >= TLS_REQUIRE;
}

static bool has_no_key(const struct inherited_row *r)
{
	static const uint8_t none[sizeof(r->key)];

	return memcmp(r->key, none, sizeof(none)) == 0;
}

static void take_keys(struct share *sh, const struct inherited_row *r)
{
	if (!r->keys.known || strcmp(r->user, sh->pool->account->name) != 0)
		return;
	sh->keys = r->keys;
	user_set_keys(&sh->room->pooler->registry, sh->pool->account, &r->keys);
}

static void take_server(const struct heir *h, struct inherited_row *r)
{
	usec_t now = clock_monotonic();
	const char *why = NULL;
	struct share *sh;
	struct server *sv;

	/* In log-in: only its own process could go on with that. */
	if (!r->user || !r->database || (!r->link && has_no_key(r))) {
		refuse(r, "server not logged in");
		return;
	}
	sh = find_share(h, r->database, r->user, r->facts, &why);
	if (!sh) {
		refuse(r, why);
		return;
	}
	sv = server_inherit(sh, r->fd, r->link != 0);
	r->fd = -1;
	if (!sv) {
		refuse(r, NO_MEMORY);
		return;
	}
	r->server = sv;
	address_of(r, &sv->addr);
	sv->conn.is_unix = sv->addr.sa.sa_family == AF_UNIX;
	memcpy(sv->key, r->key, sizeof(sv->key));
	sv->connected_at = time_of(r->facts, FACT_CONNECTED_AT, now, now);
	sv->used_at = time_of(r->facts, FACT_ACTIVE_AT, now, now);
	take_keys(sh, r);
	if (h->from->is_told_all) {
		sv->id = number_of(r->facts, FACT_ID);
		sv->connect_wall = (time_t)number_of(r->facts, FACT_CONNECT_WALL);
		read_server_facts(sv, r->facts);
	} else {
		sv->id = room_next_id(sh->room);
		sv->connect_wall = time(NULL);
		sv->is_ready = r->link == 0;
		guess_host(sv);
	}
	sv->wants_close |= is_obsolete(h, sv);
	if (!params_of_row(&sv->params, r) || !restore_conn(&sv->conn, r))
		refuse(r, NO_MEMORY);
	else if (!read_statements(h, sv, r->facts))
		refuse(r, "prepared statements were not understood");
}

/* --- clients -------------------------------------------------------------------------------- */

/*
 * By the columns alone. While a log-in runs they may name a user who is not proven yet, and the key may hold a salt;
 * what the server says of its parameters comes with the greeting.
 */
static bool looks_logged_in(const struct inherited_row *r)
{
	static const uint8_t none[4];

	return r->user && r->database && memcmp(r->key + 4, none, sizeof(none)) != 0 && r->client_encoding &&
	       r->std_strings && r->datestyle && r->timezone;
}

static bool is_in_login(const struct heir *h, const struct inherited_row *r)
{
	const char *state = text_of(r->facts, FACT_STATE);

	return h->from->is_told_all ? !state || strcmp(state, "login") == 0 || !r->user || !r->database
				    : !looks_logged_in(r);
}

/* What has said nothing that counts begins anew here, on any Worker. */
static void take_login(const struct heir *h, struct inherited_row *r, const union sock_addr *addr)
{
	usec_t now = clock_monotonic();
	struct room *room = room_of(crew_least_loaded(h->pooler->crew));
	struct peer_addr from;
	struct client *c;

	if (has_flag(r->facts, "login_is_under_way")) {
		refuse(r, LOGIN_LOST);
		return;
	}
	peer_addr_from(&from, addr);
	if (from.family == AF_UNIX)
		from.port = (uint16_t)room->settings->listen_port;
	c = client_bare(room, r->fd, &from, from.family == AF_UNIX);
	r->fd = -1;
	if (!c) {
		refuse(r, NO_MEMORY);
		return;
	}
	r->client = c;
	c->id = h->from->is_told_all ? number_of(r->facts, FACT_ID) : room_next_id(room);
	c->connected_at = time_of(r->facts, FACT_CONNECTED_AT, now, now);
	clist_add_tail(&room->logins, &c->link);
	if (!login_begin(c) || !restore_conn(&c->conn, r))
		refuse(r, NO_MEMORY);
}

/* The server-side user of a client; NULL: the database is not defined any more. */
static const char *account_of(const struct heir *h, const struct inherited_row *r, const struct inherited_row *partner)
{
	const struct room *room = room_number(h, 0);
	const struct database_def *def = room_database_def(room, r->database);
	const char *told = text_of(r->facts, FACT_ACCOUNT);
	struct wallet_address wallet;

	if (told && (r->link || !def || def->user || !has_flag(r->facts, "is_forced") || has_flag(r->facts, "has_mapped_role")))
		return told;
	/* The database has no forced user any more: it goes on by its own name, as it would come again. */
	if (partner)
		return partner->user;
	if (!def)
		return NULL;
	if (wallet_address_parse(r->user, strlen(r->user), &wallet))
		return wallet_login_role(room->settings, def, NULL, r->user);
	return def->user ? def->user : r->user;
}

static bool read_named(const struct heir *h, struct client *c, struct span facts)
{
	struct fact f;

	while (fact_next(&facts, &f)) {
		struct reader r = reader_over_span(f.value);
		struct client_statement *cs;
		struct statement *st;
		uint64_t number;
		uint8_t doubtful;
		struct span name;

		if (f.tag != FACT_NAMED)
			continue;
		number = (uint64_t)reader_u32(&r) << 32;
		number |= reader_u32(&r);
		doubtful = reader_u8(&r);
		name = span_of(r.at, reader_left(&r));
		st = reader_ok(&r) ? statement_number(h, number) : NULL;
		cs = st ? client_statement_new(name, statement_ref(st), doubtful != 0) : NULL;
		if (!cs)
			return false;
		client_statements_restore(&c->statements, cs);
	}
	return true;
}

static void read_client_facts(struct client *c, struct span facts, usec_t now)
{
	struct fact wallet;

	c->pass_left = number_of(facts, FACT_PASS_LEFT);
	c->query_start = time_of(facts, FACT_QUERY_START, 0, now);
	c->xact_start = time_of(facts, FACT_XACT_START, 0, now);
	c->wait_start = time_of(facts, FACT_WAIT_START, now, now);
	if (find_fact(facts, FACT_WALLET, &wallet) && wallet.value.len == sizeof(c->wallet.bytes)) {
		c->is_wallet = true;
		memcpy(c->wallet.bytes, wallet.value.ptr, sizeof(c->wallet.bytes));
	}
#define X(name) c->name = has_flag(facts, #name);
	CLIENT_FLAGS(X)
#undef X
}

static bool count_client(const struct heir *h, struct client *c, const struct inherited_row *r)
{
	struct registry *reg = &h->pooler->registry;
	bool is_new;

	c->database = autodb_get(reg, r->database, c->share->def, &is_new);
	c->user = user_get(reg, r->user);
	if (!c->database || !c->user)
		return false;
	c->counted_database = c->counted_user = true;
	/* It was within the limits when it came, and stays now whatever they are. */
	tally_add_client(reg, &c->database->tally, 0);
	tally_add_client(reg, &c->user->tally, 0);
	if (r->password || has_flag(r->facts, "user_is_known"))
		user_mark_known(reg, c->user);
	if (r->password && strcmp(r->user, c->share->pool->account->name) == 0)
		pool_set_secret(reg, c->share->pool, r->password);
	return true;
}

static void take_logged_in(const struct heir *h, struct inherited_row *r, const union sock_addr *addr)
{
	usec_t now = clock_monotonic();
	const struct inherited_row *partner = partner_of(h, r);
	const char *account = account_of(h, r, partner), *why = DATABASE_GONE, *state = text_of(r->facts, FACT_STATE);
	struct share *sh = account ? find_share(h, r->database, account, r->facts, &why) : NULL;
	struct peer_addr from;
	struct client *c;

	if (!sh) {
		refuse(r, why);
		return;
	}
	/* Who has that role for himself does not become the next one. */
	if (has_flag(r->facts, "has_mapped_role") && strcmp(account, sh->pool->account->name) != 0)
		refuse(r, "admin forced disconnect");
	peer_addr_from(&from, addr);
	if (from.family == AF_UNIX)
		from.port = (uint16_t)sh->room->settings->listen_port;
	c = client_bare(sh->room, r->fd, &from, from.family == AF_UNIX);
	r->fd = -1;
	if (!c) {
		refuse(r, NO_MEMORY);
		return;
	}
	r->client = c;
	c->share = sh;
	c->was_seen = true;
	c->state = state && strcmp(state, "waiting") == 0 ? CL_WAITING : CL_ACTIVE;
	clist_add_tail(c->state == CL_WAITING ? &sh->waiting : &sh->active, &c->link);
	memcpy(c->key, r->key, sizeof(c->key));
	c->connected_at = time_of(r->facts, FACT_CONNECTED_AT, now, now);
	c->active_at = time_of(r->facts, FACT_ACTIVE_AT, now, now);
	take_keys(sh, r);
	if (h->from->is_told_all) {
		c->id = number_of(r->facts, FACT_ID);
		c->connect_wall = (time_t)number_of(r->facts, FACT_CONNECT_WALL);
		read_client_facts(c, r->facts, now);
	} else {
		c->id = room_next_id(sh->room);
		c->is_wallet = wallet_address_parse(r->user, strlen(r->user), &c->wallet);
	}
	if (!count_client(h, c, r) || !params_of_row(&c->params, r) || !restore_conn(&c->conn, r))
		refuse(r, NO_MEMORY);
	else if (!read_named(h, c, r->facts))
		refuse(r, "prepared statements were not understood");
	if (c->state == CL_WAITING)
		client_pause(c, PAUSE_WAITING);
}

static void take_client(const struct heir *h, struct inherited_row *r)
{
	union sock_addr addr;

	address_of(r, &addr);
	if (is_in_login(h, r))
		take_login(h, r, &addr);
	else
		take_logged_in(h, r, &addr);
}

/* --- pairs ------------------------------------------------------------------------------------ */

static void pair_up(const struct heir *h, struct inherited_row *r)
{
	struct inherited_row *p = partner_of(h, r);
	struct client *c = r->client;
	struct server *sv = p ? p->server : NULL;

	if (!c || !sv || r->refused || p->refused || c->share != sv->share || c->state != CL_ACTIVE) {
		refuse(r, LINK_LOST);
		if (p)
			refuse(p, LINK_LOST);
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
		else if (!partner_of(h, r))
			refuse(r, LINK_LOST);
	}
}

/* --- all of it ----------------------------------------------------------------------------------- */

/* Each row gets the facts of its descriptor. */
static void match_facts(struct heir *h)
{
	for (size_t i = 0; i < h->from->n; i++) {
		struct inherited_row *r = &h->from->rows[i];

		if (!hash_put(&h->rows, &r->number, sizeof(r->number), r))
			refuse(r, NO_MEMORY);
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
			refuse(r, "closed meanwhile");
			close(r->fd);
			r->fd = -1;
		} else if (r->is_server)
			take_server(&h, r);
		else
			take_client(&h, r);
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

void inherit_settle(struct pooler *p, struct inheritance *in)
{
	for (size_t i = 0; i < in->n; i++)
		settle_row(&in->rows[i]);
	for (int i = 0; i < p->crew->n; i++) {
		struct room *room = room_of(p->crew->workers[i]);

		LIST_FOR(node, &room->shares)
			settle_share(LIST_ITEM(node, struct share, link));
		LIST_FOR(node, &room->logins.head)
			client_deadline(LIST_ITEM(node, struct client, link));
	}
}
