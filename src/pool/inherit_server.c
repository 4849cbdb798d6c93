/* One server connection of an old process: pool/inherit.h. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "pool/handover.h"
#include "pool/heir.h"
#include "pool/prepared.h"
#include "pool/server.h"
#include "pool/share.h"
#include "pool/tracking.h"
#include "proto/reader.h"

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
	if (number > 0 && !(st = heir_statement(h, number)))
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
		struct statement *st = f.tag == FACT_HELD ? heir_statement(h, fact_number(&f)) : NULL;

		if (f.tag == FACT_HELD && (!st || !server_statements_restore(&sv->statements, st)))
			return false;
	}
	/* Behind what it has: each of them changes that. */
	for (rest = facts; fact_next(&rest, &f);)
		if (f.tag == FACT_REQUEST && !read_request(h, sv, f.value))
			return false;
	sv->requests.saw_error = facts_have_flag(facts, "saw_error");
	return true;
}

static void read_server_facts(struct server *sv, struct span facts)
{
	const char *host = facts_text(facts, FACT_HOST);

	snprintf(sv->host, sizeof(sv->host), "%s", host ? host : "");
	sv->pass_left = facts_number(facts, FACT_PASS_LEFT);
	sv->copy_state = (char)facts_number(facts, FACT_COPY_STATE);
#define X(name) sv->name = facts_have_flag(facts, #name);
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

void inherit_server(const struct heir *h, struct inherited_row *r)
{
	usec_t now = clock_monotonic();
	const char *why = NULL;
	struct share *sh;
	struct server *sv;

	/* In log-in: only its own process could go on with that. */
	if (!r->user || !r->database || (!r->link && has_no_key(r))) {
		heir_refuse(r, "server not logged in");
		return;
	}
	sh = heir_share(h, r->database, r->user, r->facts, &why);
	if (!sh) {
		heir_refuse(r, why);
		return;
	}
	sv = server_inherit(sh, r->fd, r->link != 0);
	r->fd = -1;
	if (!sv) {
		heir_refuse(r, INHERIT_NO_MEMORY);
		return;
	}
	r->server = sv;
	heir_address(r, &sv->addr);
	sv->conn.is_unix = sv->addr.sa.sa_family == AF_UNIX;
	memcpy(sv->key, r->key, sizeof(sv->key));
	sv->connected_at = heir_time(r->facts, FACT_CONNECTED_AT, now, now);
	sv->used_at = heir_time(r->facts, FACT_ACTIVE_AT, now, now);
	heir_keys(sh, r);
	if (h->from->is_told_all) {
		sv->id = facts_number(r->facts, FACT_ID);
		sv->connect_wall = (time_t)facts_number(r->facts, FACT_CONNECT_WALL);
		read_server_facts(sv, r->facts);
	} else {
		sv->id = room_next_id(sh->room);
		sv->connect_wall = time(NULL);
		sv->is_ready = r->link == 0;
		guess_host(sv);
	}
	sv->wants_close |= is_obsolete(h, sv);
	if (!heir_params(&sv->params, r) || !heir_conn(&sv->conn, r))
		heir_refuse(r, INHERIT_NO_MEMORY);
	else if (!read_statements(h, sv, r->facts))
		heir_refuse(r, INHERIT_NOT_UNDERSTOOD);
}
