#include "pool/handover.h"

#include <stdlib.h>
#include <unistd.h>

#include "auth/replay.h"
#include "lib/mem.h"
#include "pool/identity.h"
#include "pool/login.h"
#include "pool/prepared.h"
#include "pool/wallet_clock.h"

/*
 * TLS cannot be handed over, and half a pair is of no use. Nor do replication
 * connections go: no column says so, and the next process would give such a
 * server to others.
 */
bool handover_can_go(const struct client *c, const struct server *sv)
{
	if ((c && c->replication != REPLICATION_NONE) || (sv && sv->replication != REPLICATION_NONE))
		return false;
	return (!c || (!c->conn.tls && !c->conn.is_failed)) && (!sv || (!sv->conn.tls && !sv->conn.is_failed));
}

/* --- what clients and servers have in common ------------------------------------ */

static void put_conn(struct buf *b, const struct conn *c)
{
	if (c->in)
		fact_put_bytes(b, FACT_IN, buf_span(c->in));
	if (c->out)
		fact_put_bytes(b, FACT_OUT, buf_span(c->out));
}

static void put_params(struct buf *b, const struct params *p)
{
	for (int i = 0; i < params_count(); i++) {
		const char *value = params_get(p, i);
		size_t mark;

		if (!value)
			continue;
		mark = fact_begin(b, FACT_PARAM);
		buf_put_str(b, params_name(i));
		buf_put_str(b, value);
		fact_end(b, mark);
	}
}

static void put_word(struct buf *b, bool is_so, const char *word)
{
	if (!is_so)
		return;
	buf_put_text(b, word);
	buf_put_u8(b, ' ');
}

/* --- the process, and what connections refer to ----------------------------------- */

void handover_process(struct buf *b, struct pooler *p)
{
	size_t mark;

	fact_put_number(b, FACT_PID, (uint64_t)getpid());
	/* Relaxed: everything is suspended, nobody takes one. */
	fact_put_number(b, FACT_NEXT_ID, atomic_load_explicit(&p->registry.next_id, memory_order_relaxed));
	fact_put_number(b, FACT_LAST_STATEMENT, p->statements.last_number);
	mark = fact_begin(b, FACT_TRACKED);
	for (int i = 0; i < params_count(); i++) {
		buf_put_text(b, params_name(i));
		buf_put_u8(b, ',');
	}
	buf_put_u8(b, 0);
	fact_end(b, mark);
}

void handover_replay(struct buf *b, struct pooler *p)
{
	size_t mark = fact_begin(b, FACT_USED_PROOFS);

	replay_save(p->replay, b, wallet_clock(p, room_of(p->crew->workers[0])->settings));
	fact_end(b, mark);
}

void handover_statement(struct buf *b, const struct statement *st)
{
	fact_put_number(b, FACT_NUMBER, st->number);
	fact_put_bytes(b, FACT_TEXT, span_of(st->text, st->text_len));
}

bool handover_database(struct buf *b, const struct database *db)
{
	size_t mark;

	if (!atomic_load_explicit(&db->is_disabled, memory_order_relaxed))
		return false;
	fact_put_text(b, FACT_DATABASE_NAME, db->name);
	mark = fact_begin(b, FACT_FLAGS);
	put_word(b, true, "is_disabled");
	buf_put_u8(b, 0);
	fact_end(b, mark);
	return true;
}

void handover_pool(struct buf *b, const struct share *sh)
{
	char *told, *secret = NULL;
	size_t mark;

	fact_put_text(b, FACT_DATABASE_NAME, share_database_name(sh));
	fact_put_text(b, FACT_ACCOUNT, sh->pool->account->name);
	mark = fact_begin(b, FACT_FLAGS);
	put_word(b, sh->is_forced, "is_forced");
	buf_put_u8(b, 0);
	fact_end(b, mark);
	if (sh->def) {
		char *identity = database_def_identity(sh->def);

		fact_put_text(b, FACT_IDENTITY, identity);
		free(identity);
	}
	told = identity_words(sh->room->config);
	fact_put_text(b, FACT_TOLD, told);
	free(told);
	if (!config_find_secret(sh->room->config, sh->pool->account->name) &&
	    !pool_secret(&sh->room->pooler->registry, sh->pool, &secret))
		b->failed = true;
	fact_put_text(b, FACT_SECRET, secret);
	str_wipe_free(secret);
	if (sh->has_greeting) {
		fact_put_bytes(b, FACT_GREETING, buf_span(&sh->greeting));
		put_params(b, &sh->greeting_params);
	}
}

/* --- a client ------------------------------------------------------------------------ */

static const char *state_word(const struct client *c)
{
	return c->state == CL_LOGIN ? "login" : c->state == CL_WAITING ? "waiting" : "active";
}

static void put_named(struct buf *b, const struct client_statements *m)
{
	const struct client_statement *cs;

	if (!m)
		return;
	for (size_t at = 0; (cs = hash_next(&m->by_name, &at));) {
		size_t mark = fact_begin(b, FACT_NAMED);

		buf_put_u64(b, cs->statement->number);
		buf_put_u8(b, cs->is_doubtful);
		buf_put(b, cs->name, cs->name_len);
		fact_end(b, mark);
	}
}

void handover_client(struct buf *b, const struct client *c)
{
	size_t mark;

	fact_put_text(b, FACT_STATE, state_word(c));
	fact_put_number(b, FACT_ID, c->id);
	fact_put_number(b, FACT_CONNECTED_AT, (uint64_t)c->connected_at);
	fact_put_number(b, FACT_CONNECT_WALL, (uint64_t)c->connect_wall);
	fact_put_number(b, FACT_ACTIVE_AT, (uint64_t)c->active_at);
	mark = fact_begin(b, FACT_FLAGS);
#define X(name) put_word(b, c->name, #name);
	CLIENT_FLAGS(X)
#undef X
	put_word(b, login_is_under_way(c), "login_is_under_way");
	put_word(b, c->user && c->user->is_known, "user_is_known");
	put_word(b, c->share && c->share->is_forced, "is_forced");
	buf_put_u8(b, 0);
	fact_end(b, mark);
	put_conn(b, &c->conn);
	if (c->state == CL_LOGIN)
		return;
	fact_put_text(b, FACT_ACCOUNT, c->share->pool->account->name);
	fact_put_number(b, FACT_PASS_LEFT, c->pass_left);
	fact_put_number(b, FACT_QUERY_START, (uint64_t)c->query_start);
	fact_put_number(b, FACT_XACT_START, (uint64_t)c->xact_start);
	fact_put_number(b, FACT_WAIT_START, (uint64_t)c->wait_start);
	if (c->is_wallet)
		fact_put_bytes(b, FACT_WALLET, span_of(c->wallet.bytes, sizeof(c->wallet.bytes)));
	put_params(b, &c->params);
	put_named(b, c->statements);
}

/* --- a server ------------------------------------------------------------------------- */

/* A Close that is answered here holds the client's name, the others a statement of the server: pool/tracking.c. */
static void put_request(struct buf *b, const struct request *r)
{
	size_t mark = fact_begin(b, FACT_REQUEST);

	buf_put_u8(b, r->type);
	buf_put_u8(b, r->action);
	if (r->statement && r->type == 'C' && r->action == REQUEST_FAKE) {
		const struct client_statement *cs = r->statement;

		buf_put_u64(b, cs->statement->number);
		buf_put_u8(b, cs->is_doubtful);
		buf_put(b, cs->name, cs->name_len);
	} else {
		const struct server_statement *e = r->statement;

		buf_put_u64(b, e ? e->statement->number : 0);
		buf_put_u8(b, 0);
	}
	fact_end(b, mark);
}

static void put_held(struct buf *b, const struct list *entries)
{
	LIST_FOR(node, entries) {
		const struct server_statement *e = LIST_ITEM(node, struct server_statement, link);

		/* Whether it will be there after the requests under way follows from those. */
		if (e->is_there)
			fact_put_number(b, FACT_HELD, e->statement->number);
	}
}

void handover_server(struct buf *b, const struct server *sv)
{
	size_t mark;

	fact_put_number(b, FACT_ID, sv->id);
	fact_put_number(b, FACT_CONNECTED_AT, (uint64_t)sv->connected_at);
	fact_put_number(b, FACT_CONNECT_WALL, (uint64_t)sv->connect_wall);
	fact_put_number(b, FACT_ACTIVE_AT, (uint64_t)sv->used_at);
	fact_put_number(b, FACT_PASS_LEFT, sv->pass_left);
	fact_put_number(b, FACT_COPY_STATE, (uint8_t)sv->copy_state);
	fact_put_text(b, FACT_HOST, sv->host);
	mark = fact_begin(b, FACT_FLAGS);
#define X(name) put_word(b, sv->name, #name);
	SERVER_FLAGS(X)
#undef X
	put_word(b, sv->requests.saw_error, "saw_error");
	put_word(b, sv->share->is_forced, "is_forced");
	buf_put_u8(b, 0);
	fact_end(b, mark);
	put_conn(b, &sv->conn);
	put_params(b, &sv->params);
	if (sv->statements) {
		put_held(b, &sv->statements->others);
		put_held(b, &sv->statements->by_use);
	}
	for (uint32_t i = 0; i < sv->requests.count; i++)
		put_request(b, outstanding_at(&sv->requests, i));
}
