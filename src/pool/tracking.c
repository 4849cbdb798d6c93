#include "pool/tracking.h"

#include <stdio.h>

#include "lib/log.h"
#include "lib/net_order.h"
#include "pool/prepared.h"
#include "pool/relay.h"
#include "pool/share.h"
#include "proto/reader.h"

#define HEADER_BYTES 5

/* One message on its way. */
struct named {
	struct client *client;
	const struct frame *frame;
	struct span seen, before;
	struct gather *out;
	size_t *used;
};

/* --- ways to fail ----------------------------------------------------------- */

static enum tracked fail(const struct named *m, const char *text)
{
	/* What came before it is not the reason. */
	if (m->client->server) {
		gather_add(m->out, m->before);
		gather_send(m->out);
	}
	client_fail(m->client, text);
	return TRACKED_GONE;
}

static enum tracked out_of_memory(const struct named *m)
{
	/* What was gathered is lost with the server, which something was expected of. */
	client_fail(m->client, "out of memory");
	return TRACKED_GONE;
}

static enum tracked fail_name(const struct named *m, struct span name, const char *what, const char *text)
{
	char prefix[400];

	log_error("%sprepared statement '%.*s' %s", client_prefix(m->client, prefix, sizeof(prefix)),
		  name.len < 256 ? (int)name.len : 256, (const char *)name.ptr, what);
	return fail(m, text);
}

/* --- what goes to the server -------------------------------------------------- */

static void put_header(uint8_t *to, uint8_t type, size_t body_bytes)
{
	to[0] = type;
	set_u32(to + 1, (uint32_t)(body_bytes + 4));
}

/* The request is remembered before it is sent. false: out of memory. */
static bool remember(const struct named *m, uint8_t type, enum request_action action, struct server_statement *e,
		     enum statement_request what)
{
	struct server *sv = m->client->server;

	if (!outstanding_push(&sv->requests, type, action, e))
		return false;
	server_statement_begin(sv->statements, e, what);
	if (action != REQUEST_FAKE) {
		sv->is_ready = false;
		sv->is_idle_tx = false;
	}
	return true;
}

/* Describe or Close, type, of a statement by our name for it. */
static void gather_target(const struct named *m, uint8_t type, const struct statement *st)
{
	uint8_t bytes[HEADER_BYTES + 1 + STATEMENT_NAME_MAX];

	put_header(bytes, type, 1 + st->name_len + 1);
	bytes[HEADER_BYTES] = 'S';
	memcpy(bytes + HEADER_BYTES + 1, st->name, st->name_len + 1);
	gather_copy(m->out, bytes, HEADER_BYTES + 1 + st->name_len + 1);
}

static bool send_close(const struct named *m, struct server_statement *e)
{
	if (!remember(m, 'C', REQUEST_SKIP, e, STATEMENT_CLOSE))
		return false;
	gather_target(m, 'C', e->statement);
	return true;
}

static bool send_parse(const struct named *m, struct server_statement *e, enum request_action action)
{
	const struct statement *st = e->statement;
	struct server *sv = m->client->server;
	uint8_t bytes[HEADER_BYTES + STATEMENT_NAME_MAX];
	struct server_statement *old;

	/* Whether the Close under way succeeds is not known yet; to close what is not there is no error. */
	if (e->changes > 0 && !send_close(m, e))
		return false;
	if (!remember(m, 'P', action, e, action == REQUEST_SKIP ? STATEMENT_PARSE : STATEMENT_NAMED))
		return false;
	e->parsed_in = sv->batch;
	put_header(bytes, 'P', st->name_len + 1 + st->text_len);
	memcpy(bytes + HEADER_BYTES, st->name, st->name_len + 1);
	gather_copy(m->out, bytes, HEADER_BYTES + st->name_len + 1);
	/* The entry keeps the text until the answer has come. */
	gather_add(m->out, span_of(st->text, st->text_len));
	sv->share->stats.server_parses++;
	/* A text that the client has sent itself is as much as the Close; one that is sent again and again for short Binds is not. */
	while ((old = server_statements_surplus(sv->statements, (size_t)sv->share->max_prepared, action == REQUEST_FORWARD)))
		if (!send_close(m, old))
			return false;
	return true;
}

/*
 * Will the server have it when what is sent now is looked at? A Parse without
 * its answer may be lost with its batch, and then the next batch is not.
 */
static bool is_sure(const struct server *sv, const struct server_statement *e)
{
	return e->is_held && (e->changes == 0 || e->parsed_in == sv->batch);
}

/*
 * true: whether the server has it will be known soon, since the batch of its Parse is complete; the client is paused
 * until then. A second Parse would do as well, but one a batch, of a long text, is more than the client has sent. A name
 * that was given with that very Parse is lost with it, as the server's own would be.
 */
static bool must_wait(const struct named *m, const struct client_statement *known)
{
	struct client *c = m->client;
	const struct server_statement *e = c->server ? server_statements_find(c->server->statements, known->statement) : NULL;

	if (!e || !e->is_held || is_sure(c->server, e) || known->named_in == e->parsed_in)
		return false;
	client_pause(c, PAUSE_ANSWER);
	return true;
}

/* The linked server's entry; what is not there yet is sent ahead. NULL: out of memory. */
static struct server_statement *have_prepared(const struct named *m, struct statement *st)
{
	struct server *sv = m->client->server;
	struct server_statement *e = server_statements_touch(&sv->statements, st);

	if (!e || e->is_held || send_parse(m, e, REQUEST_SKIP))
		return e;
	server_statement_unused(sv->statements, e);
	return NULL;
}

/* --- answers that are made here ------------------------------------------------- */

static void answer_client(struct client *c, const void *bytes, size_t n)
{
	conn_send(&c->conn, bytes, n);
	/* Whoever asks without end and never reads is not heard until he does. */
	if (conn_backlog(&c->conn) > CONN_HIGH_MARK)
		client_pause(c, PAUSE_UNREAD);
}

void tracking_answer_fakes(struct server *sv)
{
	uint8_t bytes[64 * HEADER_BYTES];
	size_t n = 0;
	struct request r;

	while (outstanding_take_fake(&sv->requests, &r)) {
		put_header(bytes + n, r.type == 'P' ? '1' : '3', 0);
		n += HEADER_BYTES;
		tracking_answered(sv, &r);
		if (n == sizeof(bytes) && sv->client) {
			answer_client(sv->client, bytes, n);
			n = 0;
		}
	}
	if (n > 0 && sv->client)
		answer_client(sv->client, bytes, n);
}

/* --- the four messages ---------------------------------------------------------- */

static enum tracked acquire(const struct named *m)
{
	switch (relay_acquire(m->client)) {
	case ACQUIRED:
		gather_add(m->out, m->before);
		return TRACKED_DONE;
	case QUEUED:
		return TRACKED_LATER;
	case ACQUIRE_CLOSED:
		break;
	}
	return TRACKED_GONE;
}

static enum tracked on_parse(const struct named *m)
{
	struct client *c = m->client;
	const struct client_statement *known;
	struct server_statement *e;
	struct statement *st;
	struct reader r;
	struct span name, text;
	enum tracked step;
	bool ok;

	if (m->frame->len <= HEADER_BYTES)
		return fail(m, "broken Parse packet");
	if (m->seen.len <= HEADER_BYTES)
		return TRACKED_MORE;
	if (m->seen.ptr[HEADER_BYTES] == 0)
		return TRACKED_PLAIN;
	if (m->seen.len < m->frame->len)
		return TRACKED_MORE;
	/* Others will get this text sent on their behalf, so it must be sound. */
	r = reader_over(m->seen.ptr + HEADER_BYTES, m->frame->len - HEADER_BYTES);
	name = span_str(reader_str(&r));
	text = span_of(r.at, reader_left(&r));
	reader_str(&r);
	reader_bytes(&r, (size_t)4 * reader_u16(&r));
	if (!reader_done(&r) || name.len > NAMES_MAX)
		return fail(m, "broken Parse packet");
	known = client_statements_find(c->statements, name);
	if (known && !known->is_doubtful)
		return fail_name(m, name, "was already prepared", "prepared statement name is already in use");
	step = acquire(m);
	if (step != TRACKED_DONE)
		return step;
	*m->used = m->frame->len;
	c->share->stats.client_parses++;
	c->share->stats.client_bytes += m->frame->len;
	st = statement_get(&c->share->room->pooler->statements, text);
	if (!st)
		return out_of_memory(m);
	e = server_statements_touch(&c->server->statements, st);
	if (!e)
		ok = false;
	else if (is_sure(c->server, e))
		ok = remember(m, 'P', REQUEST_FAKE, e, STATEMENT_NAMED_HERE);
	else {
		ok = send_parse(m, e, REQUEST_FORWARD);
		if (!ok)
			server_statement_unused(c->server->statements, e);
	}
	if (!ok) {
		statement_put(st);
		return out_of_memory(m);
	}
	if (!client_statements_add(&c->statements, name, st, c->server->batch))
		return out_of_memory(m);
	if (c->server->pass_left == 0)
		tracking_answer_fakes(c->server);
	return TRACKED_DONE;
}

/* The string at `from` of what was seen, its NUL not counted. */
static enum proto_verdict find_string(const struct named *m, size_t from, struct span *out)
{
	size_t have = m->seen.len < m->frame->len ? m->seen.len : m->frame->len;
	const uint8_t *end = from < have ? memchr(m->seen.ptr + from, 0, have - from) : NULL;

	if (end) {
		*out = span_of(m->seen.ptr + from, (size_t)(end - (m->seen.ptr + from)));
		return out->len > NAMES_MAX ? PROTO_BAD : PROTO_OK;
	}
	/* A bound, so that what is looked at again with each read stays short. */
	return have == m->frame->len || have > from + NAMES_MAX ? PROTO_BAD : PROTO_MORE;
}

static enum tracked on_bind(const struct named *m)
{
	struct client *c = m->client;
	const struct client_statement *known;
	struct server_statement *e;
	const struct statement *st;
	uint8_t header[HEADER_BYTES];
	struct span portal, name;
	enum proto_verdict verdict = find_string(m, HEADER_BYTES, &portal);
	enum tracked step;

	if (verdict == PROTO_OK)
		verdict = find_string(m, HEADER_BYTES + portal.len + 1, &name);
	if (verdict == PROTO_MORE)
		return TRACKED_MORE;
	if (verdict == PROTO_BAD)
		return fail(m, "broken Bind packet");
	if (name.len == 0) {
		if (portal.len == 0 && c->server)
			server_statements_unnamed_is_over(c->server->statements);
		return TRACKED_PLAIN;
	}
	known = client_statements_find(c->statements, name);
	if (!known)
		return fail_name(m, name, "not found", "prepared statement did not exist");
	if (must_wait(m, known))
		return TRACKED_LATER;
	step = acquire(m);
	if (step != TRACKED_DONE)
		return step;
	*m->used = HEADER_BYTES + portal.len + 1 + name.len + 1;
	c->share->stats.binds++;
	c->share->stats.client_bytes += *m->used;
	e = have_prepared(m, known->statement);
	if (!e || !remember(m, 'B', REQUEST_FORWARD, e, STATEMENT_USE))
		return out_of_memory(m);
	server_statement_bound(c->server->statements, e, portal.len == 0);
	st = known->statement;
	put_header(header, 'B', m->frame->len - HEADER_BYTES - name.len + st->name_len);
	gather_copy(m->out, header, sizeof(header));
	gather_add(m->out, span_of(portal.ptr, portal.len + 1));
	gather_copy(m->out, st->name, st->name_len + 1);
	return TRACKED_DONE;
}

/* Describe and Close: a kind and a name. OK: of a named statement, and whole. */
static enum proto_verdict find_target(const struct named *m, bool *is_ours, struct span *name)
{
	struct reader r;

	*is_ours = false;
	if (m->frame->len < HEADER_BYTES + 2)
		return PROTO_BAD;
	if (m->seen.len < HEADER_BYTES + 2)
		return PROTO_MORE;
	if (m->seen.ptr[HEADER_BYTES] != 'S' || m->seen.ptr[HEADER_BYTES + 1] == 0)
		return PROTO_OK;
	if (m->frame->len > HEADER_BYTES + 2 + NAMES_MAX)
		return PROTO_BAD;
	if (m->seen.len < m->frame->len)
		return PROTO_MORE;
	r = reader_over(m->seen.ptr + HEADER_BYTES + 1, m->frame->len - HEADER_BYTES - 1);
	*name = span_str(reader_str(&r));
	*is_ours = true;
	return reader_done(&r) ? PROTO_OK : PROTO_BAD;
}

static enum tracked on_describe(const struct named *m)
{
	struct client *c = m->client;
	const struct client_statement *known;
	struct server_statement *e;
	enum proto_verdict verdict;
	enum tracked step;
	struct span name;
	bool is_ours;

	verdict = find_target(m, &is_ours, &name);
	if (verdict == PROTO_MORE)
		return TRACKED_MORE;
	if (verdict == PROTO_BAD)
		return fail(m, "broken Describe packet");
	if (!is_ours)
		return TRACKED_PLAIN;
	known = client_statements_find(c->statements, name);
	if (!known)
		return fail_name(m, name, "not found", "prepared statement did not exist");
	if (must_wait(m, known))
		return TRACKED_LATER;
	step = acquire(m);
	if (step != TRACKED_DONE)
		return step;
	*m->used = m->frame->len;
	c->share->stats.client_bytes += m->frame->len;
	e = have_prepared(m, known->statement);
	if (!e || !remember(m, 'D', REQUEST_FORWARD, e, STATEMENT_USE))
		return out_of_memory(m);
	gather_target(m, 'D', known->statement);
	return TRACKED_DONE;
}

/* Only the client's name goes; what servers have prepared stays for others. */
static enum tracked on_close(const struct named *m)
{
	struct client *c = m->client;
	struct client_statement *taken;
	enum proto_verdict verdict;
	struct span name;
	bool is_ours;

	verdict = find_target(m, &is_ours, &name);
	if (verdict == PROTO_MORE)
		return TRACKED_MORE;
	if (verdict == PROTO_BAD)
		return fail(m, "broken Close packet");
	if (!is_ours)
		return TRACKED_PLAIN;
	taken = client_statements_take(&c->statements, name);
	*m->used = m->frame->len;
	c->share->stats.client_bytes += m->frame->len;
	if (!c->server) {
		uint8_t complete[HEADER_BYTES];

		client_statement_free(taken);
		put_header(complete, '3', 0);
		answer_client(c, complete, sizeof(complete));
		return TRACKED_DONE;
	}
	gather_add(m->out, m->before);
	/* The name waits in the queue, in case the batch fails before its turn. */
	if (!outstanding_push(&c->server->requests, 'C', REQUEST_FAKE, taken)) {
		client_statement_free(taken);
		return out_of_memory(m);
	}
	if (c->server->pass_left == 0)
		tracking_answer_fakes(c->server);
	return TRACKED_DONE;
}

enum tracked tracking_message(struct client *c, const struct frame *f, struct span seen, struct span before,
			      struct gather *out, size_t *used)
{
	struct named m = {c, f, seen, before, out, used};

	switch (f->type) {
	case 'P':
		return on_parse(&m);
	case 'B':
		return on_bind(&m);
	case 'D':
		return on_describe(&m);
	case 'C':
		return on_close(&m);
	}
	return TRACKED_PLAIN;
}

/* --- what became of it ------------------------------------------------------------ */

/* It holds what the client called the statement; the others hold an entry of the server's map. */
static bool is_close_of_a_name(const struct request *r)
{
	return r->type == 'C' && r->action == REQUEST_FAKE;
}

static enum statement_request meaning_of(const struct request *r)
{
	if (r->type == 'C')
		return STATEMENT_CLOSE;
	if (r->type != 'P')
		return STATEMENT_USE;
	return r->action == REQUEST_SKIP      ? STATEMENT_PARSE
	       : r->action == REQUEST_FORWARD ? STATEMENT_NAMED
					      : STATEMENT_NAMED_HERE;
}

static void settle(struct server *sv, const struct request *r, enum statement_outcome outcome)
{
	struct server_statement *e = r->statement;
	enum statement_request what = meaning_of(r);

	if (!r->statement)
		return;
	if (is_close_of_a_name(r)) {
		if (outcome == STATEMENT_DROPPED && sv->client)
			client_statements_restore(&sv->client->statements, r->statement);
		else
			client_statement_free(r->statement);
		return;
	}
	/* Whoever waits for one of these looks again. */
	if (sv->client)
		client_unpause(sv->client, PAUSE_ANSWER);
	/* To the server's own eye that name was never given. */
	if (outcome == STATEMENT_DROPPED && (what == STATEMENT_NAMED || what == STATEMENT_NAMED_HERE) && sv->client)
		client_statements_doubt(sv->client->statements, e->statement);
	server_statement_end(sv->statements, e, what, outcome);
}

void tracking_restored(struct server *sv, const struct request *r)
{
	if (!r->statement || is_close_of_a_name(r))
		return;
	server_statement_begin(sv->statements, r->statement, meaning_of(r));
	/* Of which portal is not known any more. */
	if (r->type == 'B')
		server_statement_bound(sv->statements, r->statement, false);
}

void tracking_answered(struct server *sv, const struct request *r)
{
	settle(sv, r, STATEMENT_DONE);
}

void tracking_dropped(void *ctx, const struct request *r)
{
	settle(ctx, r, STATEMENT_DROPPED);
}

static const char deallocate_all[] = "DEALLOCATE ALL", discard_all[] = "DISCARD ALL";

static bool is_named_again(void *ctx, const struct statement *st)
{
	const struct server *sv = ctx;
	const struct server_statement *e = server_statements_find(sv->statements, st);

	return e && e->naming > 0;
}

void tracking_command_complete(struct server *sv, struct span body)
{
	if (!(body.len == sizeof(deallocate_all) && memcmp(body.ptr, deallocate_all, body.len) == 0) &&
	    !(body.len == sizeof(discard_all) && memcmp(body.ptr, discard_all, body.len) == 0))
		return;
	/* A Parse that has not been answered was sent behind this command. */
	if (sv->client)
		client_statements_forget(&sv->client->statements, is_named_again, sv);
	if (sv->statements)
		server_statements_clear(sv->statements);
}

void tracking_free(struct server *sv)
{
	outstanding_drop_all(&sv->requests, tracking_dropped, sv);
	server_statements_free(&sv->statements);
}
