#include "pool/lookup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "pool/client.h"
#include "pool/relay.h"
#include "pool/share.h"
#include "proto/fields.h"
#include "proto/frame.h"

/* Longest message that is looked into: a row with the longest password, and room for the rest. */
#define LOOKUP_MESSAGE_MAX (PASSWORD_MAX + 8192)

struct seat {
	struct client client; /* first */
	struct lookup *lookup; /* owned, until it is sent back */
	int columns;	       /* described by the server; -1: not yet */
	bool is_in_prelude;    /* the answer to what sets the path is still to come */
	bool is_running;       /* the query was sent */
	bool has_tag;	       /* CommandComplete came */
	bool is_over;	       /* ReadyForQuery came: only the rest of the read is looked at */
};

static struct seat *seat_of(const struct client *c)
{
	return CONTAINER_OF(c, struct seat, client);
}

const char *lookup_user_name(const struct client *c)
{
	return seat_of(c)->lookup->user;
}

const char *lookup_database_name(const struct client *c)
{
	return seat_of(c)->lookup->database;
}

/* --- the asker's side -------------------------------------------------------- */

struct lookup *lookup_new(const struct lookup_kind *kind, struct registry *reg, struct pool *pool, const char *sql,
			  const char *const *params, size_t n)
{
	struct lookup *l = xcalloc(1, sizeof(*l));

	l->kind = kind;
	l->pool = pool_ref(reg, pool);
	l->sql = xstrdup(sql);
	for (; l->n_params < n && l->n_params < LOOKUP_PARAMS_MAX; l->n_params++)
		l->params[l->n_params] = xstrdup(params[l->n_params]);
	return l;
}

static void forget_row(struct lookup *l)
{
	for (size_t i = 0; i < LOOKUP_COLUMNS_MAX; i++) {
		str_wipe_free(l->values[i]);
		l->values[i] = NULL;
	}
	l->has_row = false;
}

void lookup_free(struct registry *reg, struct lookup *l)
{
	forget_row(l);
	for (size_t i = 0; i < l->n_params; i++)
		free(l->params[i]);
	free(l->sql);
	free(l->user);
	free(l->database);
	pool_put(reg, l->pool);
	free(l);
}

static void deliver_question(struct worker *home, struct message *m);

void lookup_ask(struct lookup *l, struct client *c, const char *user, const char *database)
{
	struct worker *w = c->conn.worker;

	l->client = c;
	l->client_id = c->id;
	l->active_at = c->active_at;
	l->user = xstrdup(user);
	l->database = xstrdup(database);
	l->asker = w;
	l->message.deliver = deliver_question;
	worker_post(w, w->crew->workers[l->pool->home], &l->message);
}

static void deliver_answer(struct worker *w, struct message *m)
{
	struct lookup *l = CONTAINER_OF(m, struct lookup, message);

	if (l->client)
		l->kind->answered(l->client, l);
	lookup_free(&room_of(w)->pooler->registry, l);
}

/* By id: the lookup itself may be on its way back already. */
struct abandonment {
	struct message message; /* first */
	uint64_t client_id;
};

static void deliver_abandonment(struct worker *w, struct message *m)
{
	struct abandonment *a = CONTAINER_OF(m, struct abandonment, message);
	struct seat *s = hash_get(&room_of(w)->seats, &a->client_id, sizeof(a->client_id));

	free(a);
	if (s)
		client_close(&s->client, NULL, NULL, "client is gone");
}

void lookup_abandon(struct lookup *l)
{
	struct abandonment *a = calloc(1, sizeof(*a));

	l->client = NULL;
	/* Without memory for the message the query runs to its end for nobody. */
	if (!a)
		return;
	a->message.deliver = deliver_abandonment;
	a->client_id = l->client_id;
	worker_post(l->asker, l->asker->crew->workers[l->pool->home], &a->message);
}

/* --- a seat: from the question to the answer ----------------------------------- */

static void send_back(struct worker *home, struct lookup *l)
{
	l->message.deliver = deliver_answer;
	worker_post(home, l->asker, &l->message);
}

static void set_failure(struct lookup *l, const char *sqlstate, const char *text, const char *reason)
{
	snprintf(l->sqlstate, sizeof(l->sqlstate), "%s", sqlstate ? sqlstate : "");
	snprintf(l->text, sizeof(l->text), "%s", text ? text : "");
	snprintf(l->reason, sizeof(l->reason), "%s", reason ? reason : "");
}

static struct seat *seat_new(struct share *sh, struct lookup *l)
{
	struct seat *s = calloc(1, sizeof(*s));
	struct client *c;

	if (!s)
		return NULL;
	c = &s->client;
	conn_init(&c->conn, sh->room->worker, &client_conn_ops);
	list_init(&c->link);
	c->is_seat = true;
	c->id = l->client_id;
	c->share = sh;
	c->connected_at = c->active_at = l->active_at;
	c->state = CL_LOOKUP;
	s->columns = -1;
	s->lookup = l;
	if (!hash_put(&sh->room->seats, &c->id, sizeof(c->id), s)) {
		free(s);
		return NULL;
	}
	clist_add_tail(&sh->lookups, &c->link);
	return s;
}

static void deliver_question(struct worker *home, struct message *m)
{
	struct lookup *l = CONTAINER_OF(m, struct lookup, message);
	struct share *sh = room_share(home->room, l->pool);
	struct seat *s = sh && sh->def ? seat_new(sh, l) : NULL;

	if (s) {
		client_acquire(&s->client);
		return;
	}
	if (sh && !sh->def) {
		log_error("authentication database \"%s\" is not configured.", l->pool->database->name);
		set_failure(l, NULL, "bouncer config error", "bouncer config error");
	} else
		set_failure(l, NULL, "out of memory", "out of memory");
	send_back(home, l);
}

static void release_memory(struct retiree *r)
{
	free(CONTAINER_OF(r, struct seat, client.conn.retiree));
}

/* The answer goes back; the seat is on no list and has no server any more. */
static void vacate(struct seat *s)
{
	struct client *c = &s->client;
	struct share *sh = c->share;
	struct worker *w = sh->room->worker;
	struct lookup *l = s->lookup;

	hash_del(&sh->room->seats, &c->id, sizeof(c->id));
	clist_del(c->state == CL_WAITING ? &sh->waiting : &sh->lookups, &c->link);
	conn_close(&c->conn);
	params_free(&c->params);
	sh->used_at = worker_now(w);
	s->lookup = NULL;
	worker_retire(w, &c->conn.retiree, release_memory);
	send_back(w, l);
}

void lookup_seat_close(struct client *c, const char *sqlstate, const char *text, const char *reason)
{
	struct seat *s = seat_of(c);
	struct server *sv = c->server;

	if (s->is_over)
		s->lookup->is_answered = true;
	else if (s->is_running && !sv)
		/* The server went first. What went wrong with it is no stranger's business, but for the log. */
		set_failure(s->lookup, NULL, "bouncer config error", reason);
	else
		set_failure(s->lookup, sqlstate, text, reason);
	if (sv) {
		c->server = NULL;
		sv->client = NULL;
		/* Its answer is still to come, and nobody is there to take it. */
		server_close(sv, "client disconnect while server was not ready", false);
	}
	vacate(s);
}

/* --- the query ------------------------------------------------------------------ */

void lookup_link(struct client *c, struct server *sv)
{
	struct seat *s = seat_of(c);
	const struct lookup *l = s->lookup;
	struct buf b;

	server_enter(sv, SV_ACTIVE);
	sv->client = c;
	c->server = sv;
	s->is_running = true;
	sv->conn.has_big_reads = true;
	c->share->stats.server_assignments++;
	c->query_start = worker_now(c->share->room->worker); /* query_timeout holds for it, too */
	buf_init(&b);
	if (l->kind->has_fixed_path) {
		/* Local to the transaction, which the Sync ends: whoever used the server before may have set any path. */
		put_prelude(&b, "SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)");
		s->is_in_prelude = true;
		put_text_query(&b, l->sql, (const char *const *)l->params, l->n_params);
	} else
		put_extended_query(&b, l->sql, (const char *const *)l->params, l->n_params);
	if (!buf_ok(&b) || !outstanding_push(&sv->requests, 'S', REQUEST_SKIP, NULL))
		server_close(sv, "out of memory", false);
	else {
		sv->is_ready = false;
		sv->is_idle_tx = false;
		conn_send_buf(&sv->conn, &b);
	}
	buf_free(&b);
}

void lookup_keep(struct lookup *l, const struct row *row)
{
	forget_row(l);
	l->has_row = true;
	for (int i = 0; i < row->n && i < LOOKUP_COLUMNS_MAX; i++)
		if (!row->columns[i].is_null)
			l->values[i] = xstrndup((const char *)row->columns[i].text.ptr, row->columns[i].text.len);
}

static bool refuse(struct server *sv, const char *reason)
{
	server_close(sv, reason, false);
	return false;
}

static bool take_columns(struct server *sv, int n)
{
	struct seat *s = seat_of(sv->client);
	const struct lookup_kind *kind = s->lookup->kind;
	char reason[128];

	if (n < 0 || s->columns >= 0)
		return refuse(sv, "broken RowDescription packet");
	s->columns = n;
	if (n >= kind->min_columns && n <= kind->max_columns)
		return true;
	snprintf(reason, sizeof(reason), "expected %s columns from %s, not %d", kind->columns_text, kind->name, n);
	return refuse(sv, reason);
}

/* A text with a NUL inside would be another one for us than for the server. */
static bool has_nul(const struct row *row)
{
	for (int i = 0; i < row->n; i++)
		if (memchr(row->columns[i].text.ptr, 0, row->columns[i].text.len))
			return true;
	return false;
}

static bool take_row(struct server *sv, struct span body)
{
	struct seat *s = seat_of(sv->client);
	const char *trouble;
	struct row row;

	if (!row_parse(body, &row) || row.n != s->columns || has_nul(&row))
		return refuse(sv, "broken DataRow packet");
	trouble = s->lookup->kind->row(s->lookup, &row);
	return trouble ? refuse(sv, trouble) : true;
}

static bool take_error(struct server *sv, struct span body)
{
	const char *name = seat_of(sv->client)->lookup->kind->name;
	char prefix[400], reason[64];
	struct error_fields e;

	error_fields_parse(body, &e);
	log_warning("%sS: error in %s: %s: %s", server_prefix(sv, prefix, sizeof(prefix)), name,
		    e.severity ? e.severity : "ERROR", e.message ? e.message : "");
	snprintf(reason, sizeof(reason), "error response from %s", name);
	return refuse(sv, reason);
}

static bool take_ready(struct server *sv, struct span body)
{
	struct seat *s = seat_of(sv->client);
	struct request popped;

	if (!s->has_tag || s->is_over || body.len != 1)
		return refuse(sv, "unexpected ReadyForQuery");
	outstanding_before_ready(&sv->requests, NULL, NULL);
	outstanding_answer(&sv->requests, 'Z', &popped);
	sv->is_ready = body.ptr[0] == 'I' && outstanding_empty(&sv->requests);
	/* What a transaction leaves behind would meet the next user of this connection. */
	if (!sv->is_ready)
		return refuse(sv, "query left a transaction open");
	s->is_over = true;
	return true;
}

/* false: the server is gone. */
static bool take(struct server *sv, uint8_t type, struct span body)
{
	struct seat *s = seat_of(sv->client);
	char prefix[400];

	switch (type) {
	case 'S':
		return relay_parameter_status(sv, body);
	case 'E':
		return take_error(sv, body);
	}
	if (s->is_over)
		return refuse(sv, "unexpected message behind ReadyForQuery");
	if (s->is_in_prelude && (type == 'D' || type == 'C')) {
		s->is_in_prelude = type == 'D';
		return true;
	}
	switch (type) {
	case '1':
	case '2':
		return true;
	case 'n':
		return take_columns(sv, 0);
	case 'T':
		return take_columns(sv, row_description_columns(body));
	case 'D':
		return take_row(sv, body);
	case 'C':
		s->has_tag = s->columns >= 0;
		return true;
	case 'Z':
		return take_ready(sv, body);
	}
	log_error("%sunknown pkt: '%c'", server_prefix(sv, prefix, sizeof(prefix)),
		  type >= 32 && type < 127 ? type : '?');
	return refuse(sv, "unknown pkt");
}

static void finish(struct server *sv)
{
	struct seat *s = seat_of(sv->client);

	s->lookup->is_answered = true;
	if (sv->is_ready)
		server_release(sv); /* unlinks them; the next one in the queue may have it at once */
	else {
		sv->client->server = NULL;
		sv->client = NULL;
		server_close(sv, "idle server got dirty", false);
	}
	vacate(s);
}

size_t lookup_server_bytes(struct server *sv, const uint8_t *p, size_t n)
{
	size_t at = 0;

	while (at < n) {
		struct frame f;
		bool good;

		if (sv->pass_left > 0) {
			size_t skip = sv->pass_left < n - at ? (size_t)sv->pass_left : n - at;

			at += skip;
			sv->pass_left -= skip;
			continue;
		}
		switch (frame_parse(p + at, n - at, sv->share->room->settings->max_packet_size, 0, &f)) {
		case PROTO_MORE:
			return at;
		case PROTO_BAD:
			server_close(sv, "bad pkt header", false);
			return n;
		case PROTO_OK:
			break;
		}
		/* Of what is merely passed over the body may be of any size. */
		if (f.type == 'N' || f.type == 'A' || (f.type == 'S' && f.len > LOOKUP_MESSAGE_MAX)) {
			/* Behind ReadyForQuery a notice makes the connection unclean, as for any client. */
			if (f.type == 'N')
				sv->is_ready = false;
			sv->pass_left = f.len;
			continue;
		}
		if (f.len > LOOKUP_MESSAGE_MAX) {
			refuse(sv, "message from server is too long");
			return n;
		}
		if (f.len > n - at)
			return at;
		good = take(sv, f.type, span_of(p + at + f.header_len, f.len - f.header_len));
		/* A secret works for ever: it may not linger in a buffer. */
		if (f.type == 'D')
			mem_wipe((uint8_t *)(uintptr_t)p + at + f.header_len, f.len - f.header_len);
		if (!good)
			return n;
		at += f.len;
	}
	if (seat_of(sv->client)->is_over && sv->pass_left == 0)
		finish(sv);
	return n;
}
