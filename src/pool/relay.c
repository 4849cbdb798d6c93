#include "pool/relay.h"

#include <stdio.h>
#include <string.h>

#include "lib/log.h"
#include "pool/gather.h"
#include "pool/lookup.h"
#include "pool/prepared.h"
#include "pool/server_login.h"
#include "pool/share.h"
#include "pool/suspend.h"
#include "pool/tracking.h"
#include "pool/wallet_session.h"
#include "proto/fields.h"
#include "proto/frame.h"
#include "proto/reader.h"
#include "proto/writer.h"

/* A ParameterStatus longer than this is forwarded, but nobody remembers it. */
#define PARAMETER_MAX (64 * 1024)

static usec_t now_of(const struct share *sh)
{
	return worker_now(sh->room->worker);
}

/* --- client to server --------------------------------------------------------- */

/* Sends what was gathered, and behind it bytes [from, to) of the read, to the linked server. */
static void to_server(struct gather *g, const uint8_t *p, size_t from, size_t to)
{
	g->client->share->stats.client_bytes += to - from;
	gather_add(g, span_of(p + from, to - from));
	gather_send(g);
}

static void start_work(struct client *c)
{
	struct stats *st = &c->share->stats;

	if (!c->query_start) {
		c->query_start = c->active_at;
		st->queries++;
	}
	if (!c->xact_start) {
		c->xact_start = c->active_at;
		st->xacts++;
	}
}

enum acquired relay_acquire(struct client *c)
{
	start_work(c);
	return c->server ? ACQUIRED : client_acquire(c);
}

enum step { STEP_FORWARD, STEP_DROP, STEP_TRACK, STEP_LATER, STEP_GONE };

/* A message that makes the server work: notes the request, with a server linked. */
static enum step request(struct client *c, uint8_t type, bool has_answer)
{
	struct server *sv;

	switch (relay_acquire(c)) {
	case ACQUIRED:
		break;
	case QUEUED:
		return STEP_LATER;
	case ACQUIRE_CLOSED:
		return STEP_GONE;
	}
	sv = c->server;
	/* Whoever asks for something new has heard that the COPY failed, and has no late data for it. */
	if (!sv->copy_state)
		c->in_copy = false;
	if (has_answer && !outstanding_push(&sv->requests, type, REQUEST_FORWARD, NULL)) {
		client_fail(c, "out of memory");
		return STEP_GONE;
	}
	/* Behind it an error of what came before has no effect any more; a Query would still be passed over. */
	if (type == 'S')
		sv->batch = ++sv->share->room->last_batch;
	sv->is_ready = false;
	sv->is_idle_tx = false;
	return STEP_FORWARD;
}

/* Between transactions: does the pool's mode, or a close that is due, end the link? */
static bool wants_release_when_ready(const struct server *sv)
{
	return server_mode(sv) != POOL_SESSION || (sv->wants_close && sv->share->room->settings->server_fast_close);
}

static enum step copy_end(struct client *c, uint8_t type)
{
	struct server *sv = c->server;
	bool was_ended = !c->in_copy;

	c->in_copy = false;
	if (!sv)
		return STEP_DROP;
	/* A second end of one COPY gets no reply either: expecting one would hold the server for good. */
	if (sv->copy_state && was_ended)
		return STEP_FORWARD;
	/* After the server gave up on the COPY a late CopyDone gets no reply, so none is expected. */
	if (sv->copy_state) {
		if (!outstanding_push(&sv->requests, type, REQUEST_FORWARD, NULL)) {
			client_fail(c, "out of memory");
			return STEP_GONE;
		}
		sv->is_ready = false;
		sv->is_idle_tx = false;
	} else if (sv->is_ready && outstanding_empty(&sv->requests))
		sv->wants_release = wants_release_when_ready(sv); /* it may have been kept for the late end of this COPY */
	else
		c->ended_copy_early = true;
	return STEP_FORWARD;
}

static bool is_tracked(const struct client *c)
{
	return c->share->max_prepared > 0 && c->replication == REPLICATION_NONE;
}

static enum step classify(struct client *c, uint8_t type)
{
	char prefix[400];

	switch (type) {
	case 'Q':
		if (c->share->room->settings->disable_pqexec) {
			log_error("%sclient used \"Query\" packet type", client_prefix(c, prefix, sizeof(prefix)));
			client_fail(c, "PQexec disallowed");
			return STEP_GONE;
		}
		return request(c, type, true);
	case 'P':
	case 'B':
	case 'D':
	case 'C':
		if (is_tracked(c))
			return STEP_TRACK;
		return request(c, type, true);
	case 'F':
	case 'S':
	case 'E':
		return request(c, type, true);
	case 'H':
		/* Without a server nothing was sent that could be flushed. */
		return c->server ? STEP_FORWARD : STEP_DROP;
	case 'd':
		return c->server ? STEP_FORWARD : STEP_DROP;
	case 'c':
	case 'f':
		return copy_end(c, type);
	case 'X':
		client_close(c, NULL, NULL, "client close request");
		return STEP_GONE;
	}
	log_error("%sunknown pkt from client: %d/0x%x", client_prefix(c, prefix, sizeof(prefix)), type, type);
	client_fail(c, "unknown pkt");
	return STEP_GONE;
}

/* Execute of the unnamed portal without a limit of rows: nothing is left of it. Its body: the empty name, and 0. */
#define UNNAMED_BYTES 5

static bool may_be_unnamed(const struct client *c, const struct frame *f)
{
	return f->type == 'E' && f->len == f->header_len + UNNAMED_BYTES && c->share->max_prepared > 0;
}

static bool is_unnamed_to_its_end(const struct frame *f, const uint8_t *p)
{
	static const uint8_t body[UNNAMED_BYTES];

	return memcmp(p + f->header_len, body, sizeof(body)) == 0;
}

static void release_if_done(struct server *sv);

/*
 * The short way of the commonest messages, those of a pipeline behind its first: all there, and nothing about them to
 * look into. Returns how many bytes that is; what it does not know goes the long way.
 */
static size_t pass_requests(struct client *c, const uint8_t *p, size_t n, uint32_t max_packet)
{
	struct server *sv = c->server;
	size_t at = 0;
	struct frame f;

	if (!sv || !c->query_start || !c->xact_start || sv->copy_state || c->in_copy)
		return 0;
	while (frame_parse(p + at, n - at, max_packet, 0, &f) == PROTO_OK && f.len <= n - at) {
		if (f.type == 'E') {
			if (may_be_unnamed(c, &f) && is_unnamed_to_its_end(&f, p + at))
				server_statements_unnamed_is_over(sv->statements);
		} else if (f.type != 'P' && f.type != 'B' && f.type != 'D') {
			break;
		} else if (is_tracked(c) && !tracking_is_plain(c, &f, p + at, n - at)) {
			break;
		}
		if (!outstanding_push(&sv->requests, f.type, REQUEST_FORWARD, NULL))
			break; /* the long way finds no memory either, and says so */
		at += f.len;
	}
	if (at > 0) {
		sv->is_ready = sv->is_idle_tx = false;
		c->drops_message = false;
	}
	return at;
}

size_t relay_client_bytes(struct client *c, const uint8_t *p, size_t n)
{
	const uint32_t max_packet = c->share->room->settings->max_packet_size;
	size_t at = 0, run = 0; /* [run, at) is for the server and not gathered yet */
	struct gather g;

	gather_init(&g, c);
	c->active_at = now_of(c->share);
	while (at < n) {
		struct frame f;
		enum step step;
		size_t rest;

		if (c->pass_left > 0) {
			size_t take = c->pass_left < n - at ? (size_t)c->pass_left : n - at;

			at += take;
			c->pass_left -= take;
			if (c->drops_message)
				run = at;
			continue;
		}
		at += pass_requests(c, p + at, n - at, max_packet);
		switch (frame_parse(p + at, n - at, max_packet, 1, &f)) {
		case PROTO_MORE:
			goto out;
		case PROTO_BAD:
			if (c->server)
				to_server(&g, p, run, at);
			client_bad_header(c, p + at, n - at);
			return n;
		case PROTO_OK:
			break;
		}
		/* A message that ends the link must come after what was sent through it. */
		if (f.type == 'X' && c->server) {
			to_server(&g, p, run, at);
			run = at;
		}
		if (may_be_unnamed(c, &f) && f.len > n - at)
			goto out;
		step = classify(c, f.type);
		if (step == STEP_TRACK && tracking_is_plain(c, &f, p + at, n - at))
			step = request(c, f.type, true);
		else if (step == STEP_TRACK) {
			struct span before = span_of(p + run, at - run);
			size_t used;

			switch (tracking_message(c, &f, span_of(p + at, n - at), before, &g, &used)) {
			case TRACKED_PLAIN:
				step = request(c, f.type, true);
				break;
			case TRACKED_DONE:
				c->share->stats.client_bytes += before.len;
				at += used;
				run = at;
				rest = f.len - used;
				c->drops_message = false;
				if (rest <= n - at)
					at += rest;
				else
					c->pass_left = rest;
				/* A short message may have become a long one: no more of them than the server takes. */
				if (c->pauses & PAUSE_PEER_FULL)
					goto out;
				continue;
			case TRACKED_MORE:
			case TRACKED_LATER:
				goto out;
			case TRACKED_GONE:
				return n;
			}
		}
		if (step == STEP_GONE)
			return n;
		if (step == STEP_LATER)
			goto out;
		if (may_be_unnamed(c, &f) && is_unnamed_to_its_end(&f, p + at))
			server_statements_unnamed_is_over(c->server->statements);
		c->drops_message = step == STEP_DROP;
		if (step == STEP_DROP && c->server)
			to_server(&g, p, run, at);
		/* A message that is there in full is passed at once. */
		if (f.len <= n - at)
			at += f.len;
		else
			c->pass_left = f.len;
		if (step == STEP_DROP)
			run = at;
	}
out:
	if (c->server && (run < at || g.n > 0)) {
		struct server *sv = c->server;

		to_server(&g, p, run, at);
		if (sv->wants_release && c->pass_left == 0)
			release_if_done(sv);
	}
	if (c->share->is_flushing)
		suspend_after_read(&c->conn, true, c->pass_left, p + at, n - at);
	return at;
}

/* --- server to client --------------------------------------------------------- */

static void dirty(struct server *sv)
{
	server_close(sv, sv->state == SV_USED ? "SV_USED server got dirty" : "SV_IDLE server got dirty", false);
}

static void end_of_query(struct server *sv, char status)
{
	struct client *c = sv->client;
	struct stats *st = &sv->share->stats;
	usec_t now = now_of(sv->share);

	if (c->query_start) {
		st->query_usec += (uint64_t)(now - c->query_start);
		histogram_note(&sv->share->query_times, now - c->query_start);
		c->query_start = 0;
	}
	if (status == 'I' && c->xact_start) {
		st->xact_usec += (uint64_t)(now - c->xact_start);
		histogram_note(&sv->share->xact_times, now - c->xact_start);
		c->xact_start = 0;
	}
}

/* The parameters that were to be set are set: the client takes the server's spelling and goes on. */
static void params_are_set(struct server *sv)
{
	struct client *c = sv->client;

	sv->is_setting_params = false;
	if (log_enabled(LEVEL_DEBUG))
		for (int i = 0; i < params_count(); i++) {
			const char *mine = params_get(&c->params, i), *its = params_get(&sv->params, i);
			char prefix[400];

			if (mine && its && strcmp(mine, its) != 0)
				log_debug("%svarcache_set_canonical: setting %s to its canonical version %s -> %s",
					  client_prefix(c, prefix, sizeof(prefix)), params_name(i), mine, its);
		}
	params_fill(&c->params, &sv->params);
	params_copy(&c->params, &sv->params);
	client_unpause(c, PAUSE_SETTING);
}

/* false: the server is gone. */
static bool on_ready(struct server *sv, char status)
{
	struct client *c = sv->client;
	struct request popped;
	bool is_last;

	outstanding_before_ready(&sv->requests, tracking_dropped, sv);
	sv->skips_message = outstanding_answer(&sv->requests, 'Z', &popped) && popped.action == REQUEST_SKIP;
	/* Whatever was sent behind the query that this answers is still running. */
	is_last = outstanding_nothing_sent(&sv->requests);
	sv->is_ready = status == 'I' && is_last;
	sv->is_idle_tx = status != 'I' && is_last;
	if (status != 'I' && server_mode(sv) == POOL_STATEMENT) {
		server_close(sv, "transaction blocks not allowed in statement pooling mode", true);
		return false;
	}
	if (!c)
		return true;
	if (sv->is_setting_params) {
		if (sv->set_failed) {
			server_close(sv, "invalid server parameter", true);
			return false;
		}
		params_are_set(sv);
		return true;
	}
	if (is_last) {
		c->ended_copy_early = false;
		end_of_query(sv, status);
	}
	if (sv->is_ready && wants_release_when_ready(sv))
		sv->wants_release = true;
	if (sv->is_ready && outstanding_empty(&sv->requests))
		wallet_session_after_transaction(c);
	return true;
}

bool relay_parameter_status(struct server *sv, struct span body)
{
	struct reader r = reader_over_span(body);
	const char *name = reader_str(&r), *value = reader_str(&r);
	int index;

	if (!reader_done(&r)) {
		server_close(sv, "broken ParameterStatus packet", true);
		return false;
	}
	index = params_index(name);
	if (index < 0)
		return true;
	if (!params_set(&sv->params, index, value))
		return true;
	/* Of the answers to our own SET the client hears nothing, and keeps its wish until all are in. */
	if (sv->client && !sv->is_setting_params)
		params_set(&sv->client->params, index, value);
	return true;
}

static void on_set_error(struct server *sv, struct span body)
{
	struct error_fields e;
	char prefix[400];

	error_fields_parse(body, &e);
	log_error("%svarcache_apply failed: %s: %s", server_prefix(sv, prefix, sizeof(prefix)),
		  e.severity ? e.severity : "ERROR", e.message ? e.message : "");
	sv->set_failed = true;
}

static bool answer(struct server *sv, uint8_t type)
{
	struct request popped;

	if (!outstanding_answer(&sv->requests, type, &popped))
		return false;
	if (popped.statement)
		tracking_answered(sv, &popped);
	return popped.action == REQUEST_SKIP;
}

static void unknown_message(struct server *sv, uint8_t type)
{
	char prefix[400];

	log_error("%sunknown pkt: '%c'", server_prefix(sv, prefix, sizeof(prefix)), type >= 32 && type < 127 ? type : '?');
	server_close(sv, "unknown pkt", true);
}

/*
 * Looks at one message of a server that serves a client. Sets skips_message.
 * whole: its body is there. false: the server is gone.
 */
static bool inspect(struct server *sv, const struct frame *f, const uint8_t *p, bool whole)
{
	struct span body = span_of(p + f->header_len, whole ? f->len - f->header_len : 0);
	struct client *c = sv->client;

	sv->skips_message = sv->is_setting_params;
	switch (f->type) {
	case 'Z':
		return on_ready(sv, f->len == 6 ? (char)body.ptr[0] : 'I');
	case 'S':
		return !whole || relay_parameter_status(sv, body);
	case 'E':
		sv->is_ready = false;
		if (sv->is_setting_params)
			on_set_error(sv, body);
		outstanding_error(&sv->requests, sv->copy_state != 0, tracking_dropped, sv);
		sv->copy_state = 0;
		return true;
	case 'N':
		sv->is_ready = false;
		return true;
	case 'C':
		if (sv->copy_state) {
			sv->copy_state = 0;
			if (c)
				c->in_copy = false;
			outstanding_copy_done(&sv->requests, tracking_dropped, sv);
		}
		if (whole && tracking_wants_tag(sv, f))
			tracking_command_complete(sv, body);
		sv->skips_message |= answer(sv, f->type);
		return true;
	case 'G':
	case 'W':
		sv->copy_state = (char)f->type;
		if (c) {
			c->in_copy = !c->ended_copy_early;
			c->ended_copy_early = false;
			/* A stream is no query that takes long: it is meant to go on for ever. */
			if (f->type == 'W')
				end_of_query(sv, 'I');
		}
		return true;
	case '1':
	case '2':
	case '3':
	case 'n':
	case 'T':
	case 'I':
	case 's':
		sv->skips_message |= answer(sv, f->type);
		return true;
	case 'A':
	case 't':
	case 'D':
	case 'd':
	case 'c':
	case 'f':
	case 'H':
	case 'V':
		return true;
	}
	unknown_message(sv, f->type);
	return false;
}

/* A server that serves nobody may only say what it says unasked, or answer our own query. false: it is gone. */
static bool unlinked_message(struct server *sv, const struct frame *f, const uint8_t *p, bool whole)
{
	struct span body = span_of(p + f->header_len, whole ? f->len - f->header_len : 0);
	char prefix[400];

	sv->skips_message = true;
	if (f->type == 'S')
		return !whole || relay_parameter_status(sv, body);
	if (sv->state == SV_TESTED) {
		struct request popped;

		if (f->type == 'E') {
			struct error_fields e;

			error_fields_parse(body, &e);
			server_prefix(sv, prefix, sizeof(prefix));
			log_warning("%s%s query failed: %s", prefix, sv->is_resetting ? "reset" : "test",
				    e.message ? e.message : "");
			server_close(sv, sv->is_resetting ? "reset query failed" : "test query failed", false);
			return false;
		}
		if (f->type == 'C' && whole && tracking_wants_tag(sv, f))
			tracking_command_complete(sv, body);
		if (f->type == 'Z') {
			outstanding_answer(&sv->requests, 'Z', &popped);
			sv->is_ready = f->len == 6 && body.ptr[0] == 'I';
			if (!sv->is_ready) {
				server_close(sv, sv->is_resetting ? "reset query failed" : "test query failed", false);
				return false;
			}
			sv->wants_release = true;
		}
		return true;
	}
	if (f->type == 'A')
		return true;
	if (f->type != 'E' && f->type != 'N')
		log_warning("%sgot packet '%c' from server when not linked", server_prefix(sv, prefix, sizeof(prefix)),
			    f->type >= 32 && f->type < 127 ? f->type : '?');
	else if (f->type == 'E' && whole) {
		struct error_fields e;

		error_fields_parse(body, &e);
		log_info("%sserver said while idle: %s", server_prefix(sv, prefix, sizeof(prefix)),
			 e.message ? e.message : "");
	}
	dirty(sv);
	return false;
}

/*
 * A released server that still had bytes of this read to say belongs to its
 * client until they are looked at, so that nothing of one client's batch can
 * reach the next owner.
 */
static void release_if_done(struct server *sv)
{
	struct client *c = sv->client;

	if (!sv->wants_release)
		return;
	if (!c) {
		if (sv->state == SV_TESTED && outstanding_empty(&sv->requests)) {
			/* The check or reset is over; BEING_CANCELED waits for its cancels by itself. */
			sv->wants_release = false;
			if (sv->wants_close)
				server_close(sv, "close_needed", false);
			else {
				server_enter(sv, SV_IDLE);
				sv->used_at = now_of(sv->share);
				share_serve_waiter(sv->share);
			}
		}
		return;
	}
	/* A new request, or a notice that makes it unclean: the next ReadyForQuery decides. */
	if (!sv->is_ready || sv->is_setting_params || !outstanding_empty(&sv->requests) ||
	    !wants_release_when_ready(sv)) {
		sv->wants_release = false;
		return;
	}
	/* Late CopyData must go to the server that failed the COPY, and be swallowed there. */
	if (c->in_copy || c->pass_left > 0)
		return;
	if (conn_backlog(&c->conn) > 0 || conn_unsent(&sv->conn) > 0)
		return; /* relay_client_drained() asks again */
	if (server_mode(sv) == POOL_SESSION) {
		server_close(sv, "database configuration changed", true);
		return;
	}
	/* Only an answer made here came behind the last ReadyForQuery: nothing else will end this query. */
	if (c->query_start)
		end_of_query(sv, 'I');
	server_release(sv);
}

void relay_client_drained(struct client *c)
{
	struct server *sv = c->server;

	client_unpause(c, PAUSE_UNREAD);
	if (!sv)
		return;
	if (sv->client_paused_me) {
		sv->client_paused_me = false;
		conn_resume(&sv->conn);
	}
	release_if_done(sv);
}

void relay_server_drained(struct server *sv)
{
	if (!sv->client)
		return;
	client_unpause(sv->client, PAUSE_PEER_FULL);
	release_if_done(sv);
}

/* Sends bytes [from, to) of a read to the linked client. */
static void to_client(struct server *sv, const uint8_t *p, size_t from, size_t to)
{
	struct client *c = sv->client;

	if (!c || to == from)
		return;
	if (conn_send(&c->conn, p + from, to - from) && conn_backlog(&c->conn) > CONN_HIGH_MARK) {
		sv->client_paused_me = true;
		conn_pause(&sv->conn);
	}
}

/* These are looked into, so they must be whole; a ParameterStatus of absurd size passes by unread. */
static bool wants_body(const struct server *sv, const struct frame *f)
{
	switch (f->type) {
	case 'Z':
		return f->len == 6;
	case 'S':
		return f->len <= PARAMETER_MAX;
	case 'C':
		return tracking_wants_tag(sv, f);
	case 'E':
		return (sv->is_setting_params || !sv->client) && f->len <= PARAMETER_MAX;
	}
	return false;
}

/* Up to `at`, where a message ends: an answer that is made here may come right behind it. [run, at) is not sent yet. */
static size_t end_of_message(struct server *sv, const uint8_t *p, size_t run, size_t at)
{
	if (sv->skips_message)
		run = at;
	if (!outstanding_fake_is_next(&sv->requests))
		return run;
	to_client(sv, p, run, at);
	tracking_answer_fakes(sv);
	return at;
}

/*
 * The short way of the commonest answers: all there, forwarded as they are, to requests that nobody keeps a record of.
 * Returns how many bytes that is; what it does not know goes the long way.
 */
static size_t pass_answers(struct server *sv, const uint8_t *p, size_t n, uint32_t max_packet)
{
	struct outstanding *q = &sv->requests;
	size_t at = 0;
	struct frame f;

	if (!sv->client || sv->is_setting_params || sv->copy_state)
		return 0;
	while (frame_parse(p + at, n - at, max_packet, 0, &f) == PROTO_OK && f.len <= n - at) {
		const struct request *head = q->count > 0 ? &q->ring[q->first] : NULL;
		uint8_t answered = outstanding_request_of[f.type];

		/* Behind this message it may be the turn of an answer that is made here. */
		if (head && (head->action != REQUEST_FORWARD || head->statement))
			break;
		if (f.type == 'C' && tracking_wants_tag(sv, &f))
			break;
		if (answered) {
			if (head && head->type == answered)
				outstanding_drop_first(q);
		} else if (f.type != 'D' && f.type != 't' && f.type != 'A') {
			break;
		}
		at += f.len;
	}
	return at;
}

size_t relay_server_bytes(struct conn *conn, const uint8_t *p, size_t n)
{
	struct server *sv = CONTAINER_OF(conn, struct server, conn);
	const uint32_t max_packet = sv->share->room->settings->max_packet_size;
	size_t at = 0, run = 0; /* [run, at) is for the client and not sent yet */

	if (sv->state == SV_LOGIN)
		return server_login_bytes(sv, p, n);
	if (sv->state == SV_ACTIVE_CANCEL)
		return n;
	sv->used_at = now_of(sv->share);
	sv->share->stats.server_bytes += n;
	if (sv->client && sv->client->is_seat)
		return lookup_server_bytes(sv, p, n);
	while (at < n) {
		struct frame f;
		size_t passed;
		bool whole;

		if (sv->pass_left > 0) {
			size_t take = sv->pass_left < n - at ? (size_t)sv->pass_left : n - at;

			at += take;
			sv->pass_left -= take;
			if (sv->skips_message)
				run = at;
			if (sv->pass_left == 0)
				run = end_of_message(sv, p, run, at);
			continue;
		}
		passed = pass_answers(sv, p + at, n - at, max_packet);
		if (passed > 0) {
			at += passed;
			sv->skips_message = false;
			run = end_of_message(sv, p, run, at);
		}
		switch (frame_parse(p + at, n - at, max_packet, 0, &f)) {
		case PROTO_MORE:
			goto out;
		case PROTO_BAD:
			to_client(sv, p, run, at);
			server_close(sv, "bad pkt header", true);
			return n;
		case PROTO_OK:
			break;
		}
		whole = f.len <= n - at;
		if (!whole && wants_body(sv, &f))
			goto out;
		if (!sv->client) {
			if (!unlinked_message(sv, &f, p + at, whole))
				return n;
		} else {
			/* What closes the pair must come after what was said before. */
			if (f.type == 'Z' && server_mode(sv) == POOL_STATEMENT) {
				to_client(sv, p, run, at);
				run = at;
			}
			if (!inspect(sv, &f, p + at, whole))
				return n;
		}
		if (sv->skips_message) {
			to_client(sv, p, run, at);
			run = at;
		}
		if (whole) {
			at += f.len;
			run = end_of_message(sv, p, run, at);
		} else
			sv->pass_left = f.len;
	}
out:
	to_client(sv, p, run, at);
	if (sv->share->is_flushing)
		suspend_after_read(conn, sv->share->stops_servers, sv->pass_left, p + at, n - at);
	/* With a piece of a message left over it is not between messages. */
	if (sv->wants_release && at == n && sv->pass_left == 0)
		release_if_done(sv);
	return at;
}
