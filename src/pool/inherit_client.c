/* One client connection of an old process: pool/inherit.h. */
#include <string.h>

#include "pool/autodb.h"
#include "pool/client.h"
#include "pool/handover.h"
#include "pool/heir.h"
#include "pool/login.h"
#include "pool/prepared.h"
#include "pool/share.h"
#include "pool/wallet_login.h"
#include "proto/reader.h"

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
	const char *state = facts_text(r->facts, FACT_STATE);

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

	if (facts_have_flag(r->facts, "login_is_under_way")) {
		heir_refuse(r, INHERIT_LOGIN_LOST);
		return;
	}
	peer_addr_from(&from, addr);
	if (from.family == AF_UNIX)
		from.port = (uint16_t)room->settings->listen_port;
	c = client_bare(room, r->fd, &from, from.family == AF_UNIX);
	r->fd = -1;
	if (!c) {
		heir_refuse(r, INHERIT_NO_MEMORY);
		return;
	}
	r->client = c;
	c->id = h->from->is_told_all ? facts_number(r->facts, FACT_ID) : room_next_id(room);
	c->connected_at = heir_time(r->facts, FACT_CONNECTED_AT, now, now);
	clist_add_tail(&room->logins, &c->link);
	if (!login_begin(c) || !heir_conn(&c->conn, r))
		heir_refuse(r, INHERIT_NO_MEMORY);
}

/* The server-side user of a client; NULL: the database is not defined any more. */
static const char *account_of(const struct heir *h, const struct inherited_row *r, const struct inherited_row *partner)
{
	const struct room *room = heir_room(h);
	const struct database_def *def = room_database_def(room, r->database);
	const char *told = facts_text(r->facts, FACT_ACCOUNT);
	bool is_forced = facts_have_flag(r->facts, "is_forced") && !facts_have_flag(r->facts, "has_mapped_role");
	struct wallet_address wallet;

	/* If the database has no forced user any more, it goes on by its own name, as it would come again. */
	if (told && (!is_forced || !def || def->user || r->link))
		return told;
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
		st = reader_ok(&r) ? heir_statement(h, number) : NULL;
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

	c->pass_left = facts_number(facts, FACT_PASS_LEFT);
	c->query_start = heir_time(facts, FACT_QUERY_START, 0, now);
	c->xact_start = heir_time(facts, FACT_XACT_START, 0, now);
	c->wait_start = heir_time(facts, FACT_WAIT_START, now, now);
	if (facts_find(facts, FACT_WALLET, &wallet) && wallet.value.len == sizeof(c->wallet.bytes)) {
		c->is_wallet = true;
		memcpy(c->wallet.bytes, wallet.value.ptr, sizeof(c->wallet.bytes));
	}
#define X(name) c->name = facts_have_flag(facts, #name);
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
	if (r->password || facts_have_flag(r->facts, "user_is_known"))
		user_mark_known(reg, c->user);
	if (r->password && strcmp(r->user, c->share->pool->account->name) == 0)
		pool_set_secret(reg, c->share->pool, r->password);
	return true;
}

static void take_logged_in(const struct heir *h, struct inherited_row *r, const union sock_addr *addr)
{
	usec_t now = clock_monotonic();
	const struct inherited_row *partner = heir_partner(h, r);
	const char *account = account_of(h, r, partner), *state = facts_text(r->facts, FACT_STATE);
	const char *why = INHERIT_DATABASE_GONE;
	struct share *sh = account ? heir_share(h, r->database, account, r->facts, &why) : NULL;
	struct peer_addr from;
	struct client *c;

	if (!sh) {
		heir_refuse(r, why);
		return;
	}
	/* Who has that role for himself does not become the next one. */
	if (facts_have_flag(r->facts, "has_mapped_role") && strcmp(account, sh->pool->account->name) != 0)
		heir_refuse(r, "admin forced disconnect");
	peer_addr_from(&from, addr);
	if (from.family == AF_UNIX)
		from.port = (uint16_t)sh->room->settings->listen_port;
	c = client_bare(sh->room, r->fd, &from, from.family == AF_UNIX);
	r->fd = -1;
	if (!c) {
		heir_refuse(r, INHERIT_NO_MEMORY);
		return;
	}
	r->client = c;
	c->share = sh;
	c->was_seen = true;
	c->state = state && strcmp(state, "waiting") == 0 ? CL_WAITING : CL_ACTIVE;
	clist_add_tail(c->state == CL_WAITING ? &sh->waiting : &sh->active, &c->link);
	memcpy(c->key, r->key, sizeof(c->key));
	c->connected_at = heir_time(r->facts, FACT_CONNECTED_AT, now, now);
	c->active_at = heir_time(r->facts, FACT_ACTIVE_AT, now, now);
	heir_keys(sh, r);
	if (h->from->is_told_all) {
		c->id = facts_number(r->facts, FACT_ID);
		c->connect_wall = (time_t)facts_number(r->facts, FACT_CONNECT_WALL);
		read_client_facts(c, r->facts, now);
	} else {
		c->id = room_next_id(sh->room);
		c->is_wallet = wallet_address_parse(r->user, strlen(r->user), &c->wallet);
	}
	if (!count_client(h, c, r) || !heir_params(&c->params, r) || !heir_conn(&c->conn, r))
		heir_refuse(r, INHERIT_NO_MEMORY);
	else if (!read_named(h, c, r->facts))
		heir_refuse(r, INHERIT_NOT_UNDERSTOOD);
	if (c->state == CL_WAITING)
		client_pause(c, PAUSE_WAITING);
}

void inherit_client(const struct heir *h, struct inherited_row *r)
{
	union sock_addr addr;

	heir_address(r, &addr);
	if (is_in_login(h, r))
		take_login(h, r, &addr);
	else
		take_logged_in(h, r, &addr);
}
