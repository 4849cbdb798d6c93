#include "pool/client.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/hex.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/oom.h"
#include "pool/cancel.h"
#include "pool/cancel_key.h"
#include "pool/deadline.h"
#include "pool/evict.h"
#include "pool/identity.h"
#include "pool/login.h"
#include "pool/lookup.h"
#include "pool/prepared.h"
#include "pool/relay.h"
#include "pool/replication.h"
#include "pool/server.h"
#include "pool/server_login.h"
#include "pool/share.h"
#include "pool/wallet_login.h"
#include "pool/wallet_session.h"
#include "proto/writer.h"

static struct client *of(struct conn *c)
{
	return CONTAINER_OF(c, struct client, conn);
}

static struct room *room_at(const struct client *c)
{
	return conn_room(&c->conn);
}

static usec_t now_of(const struct client *c)
{
	return worker_now(c->conn.worker);
}

const char *client_user_name(const struct client *c)
{
	if (c->is_seat)
		return lookup_user_name(c);
	return c->user ? user_shown(c->user) : login_user_name(c);
}

bool client_is_operator(const struct client *c)
{
	return c->is_unix && c->is_own_uid && strcmp(client_user_name(c), CONSOLE_DATABASE) == 0;
}

const char *client_database_name(const struct client *c)
{
	if (c->is_seat)
		return lookup_database_name(c);
	if (c->database)
		return c->database->name;
	/* A cancel request has not logged in to one, but it is in the pool whose query it is about. */
	return c->share ? share_database_name(c->share) : login_database_name(c);
}

const char *client_prefix(const struct client *c, char *out, size_t cap)
{
	char where[80];

	snprintf(out, cap, "C-%p: %s/%s@%s ", (const void *)c, client_database_name(c), client_user_name(c),
		 peer_addr_text(&c->addr, where, sizeof(where)));
	return out;
}

/* --- lists and pauses ------------------------------------------------------ */

static struct counted_list *list_of(struct client *c)
{
	switch (c->state) {
	case CL_LOGIN:
		return &room_at(c)->logins;
	case CL_CONSOLE:
		return &room_at(c)->consoles;
	case CL_ACTIVE:
		return &c->share->active;
	case CL_WAITING:
		return &c->share->waiting;
	case CL_LOOKUP:
		return &c->share->lookups;
	case CL_WAITING_CANCEL:
		return &c->share->cancels_waiting;
	case CL_ACTIVE_CANCEL:
		return &c->share->cancels_active;
	case CL_ORPHAN_CANCEL:
		break;
	}
	return NULL;
}

static void count_waiting(struct client *c, int by)
{
	if (c->state == CL_WAITING && c->replication != REPLICATION_NONE)
		c->share->replication_waiting += by;
}

static void leave_list(struct client *c)
{
	/* A traveller has left its list already, though not its state. */
	struct counted_list *from = c->pauses & PAUSE_TRAVEL ? NULL : list_of(c);

	if (from && !list_empty(&c->link)) {
		clist_del(from, &c->link);
		count_waiting(c, -1);
	} else
		list_del(&c->link);
}

void client_set_state(struct client *c, enum client_state next)
{
	struct counted_list *to;

	leave_list(c);
	if (c->share && (c->state == CL_WAITING || next == CL_WAITING))
		evict_note(c->share);
	c->state = next;
	count_waiting(c, 1);
	to = list_of(c);
	if (to)
		clist_add_tail(to, &c->link);
	else
		list_add_tail(&room_at(c)->orphans, &c->link);
}

void client_pause(struct client *c, enum pause_reason why)
{
	c->pauses |= (uint16_t)why;
	conn_pause(&c->conn);
}

void client_unpause(struct client *c, enum pause_reason why)
{
	if (!(c->pauses & why))
		return;
	c->pauses &= (uint16_t)~why;
	if (c->pauses == 0)
		conn_resume(&c->conn);
}

/* --- birth ----------------------------------------------------------------- */

struct client *client_bare(struct room *r, int fd, const struct peer_addr *addr, bool is_unix)
{
	struct client *c = calloc(1, sizeof(*c));
	pid_t pid;
	uid_t uid;

	if (!c) {
		close(fd);
		return NULL;
	}
	if (conn_open(&c->conn, r->worker, fd, &client_conn_ops) < 0) {
		free(c);
		return NULL;
	}
	c->addr = *addr;
	c->is_unix = is_unix;
	/* By TCP only what was on its way comes in then. */
	c->is_late = is_unix && r->shutdown != SHUTDOWN_NONE;
	c->conn.is_unix = is_unix;
	if (is_unix && socket_peer_cred(fd, &pid, &uid)) {
		c->addr.pid = (int32_t)pid;
		c->is_own_uid = uid == geteuid();
	}
	c->connected_at = c->active_at = worker_now(r->worker);
	c->connect_wall = time(NULL);
	list_init(&c->link);
	c->state = CL_LOGIN;
	atomic_fetch_add_explicit(&r->pooler->registry.clients, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&r->worker->client_count, 1, memory_order_relaxed);
	return c;
}

struct client *client_new(struct room *r, int fd, const struct peer_addr *addr, bool is_unix)
{
	struct client *c = client_bare(r, fd, addr, is_unix);

	if (!c)
		return NULL;
	c->id = room_next_id(r);
	clist_add_tail(&r->logins, &c->link);
	if (!login_begin(c)) {
		client_close(c, NULL, NULL, "out of memory");
		return NULL;
	}
	client_deadline(c);
	/* With a deferred accept the start-up message is here already. */
	if (!is_unix && r->settings->tcp_defer_accept)
		conn_poke(&c->conn);
	return c;
}

/* --- death ----------------------------------------------------------------- */

static void release_memory(struct retiree *r)
{
	struct client *c = CONTAINER_OF(CONTAINER_OF(r, struct conn, retiree), struct client, conn);

	free(c);
}

/* Half a message has been sent to it: a text of ours would be taken for the rest. */
static bool is_amid_message(const struct client *c)
{
	return c->state == CL_ACTIVE && c->server && server_is_amid_answer(c->server);
}

/* What becomes of a server whose client leaves: behaviour specification, section 16. */
static void leave_server(struct client *c)
{
	struct server *sv = c->server;

	if (!sv || c->state == CL_ACTIVE_CANCEL)
		return;
	c->server = NULL;
	sv->client = NULL;
	sv->wants_release = false;
	sv->is_amid_request = c->pass_left > 0 && !c->drops_message;
	if (sv->state == SV_LOGIN)
		replication_abandon(sv);
	else if (!sv->is_ready || sv->is_setting_params)
		server_close(sv, "client disconnect while server was not ready", false);
	else if (!outstanding_empty(&sv->requests))
		server_close(sv, "client disconnected with query in progress", false);
	else if (conn_unsent(&sv->conn) > 0)
		server_close(sv, "client disconnect before everything was sent to the server", false);
	else
		server_release(sv);
}

static void leave_cancel(struct client *c)
{
	struct server *target = c->cancel_target, *sv = c->server;

	if (c->state == CL_WAITING_CANCEL && target) {
		target->cancels_queued--;
		c->cancel_target = NULL;
	}
	if (c->state == CL_ACTIVE_CANCEL && sv) {
		c->server = NULL;
		sv->client = NULL;
		server_close(sv, "client gave up on cancel request, so we also give up forwarding to server", false);
	}
}

void client_close(struct client *c, const char *sqlstate, const char *text, const char *reason)
{
	struct room *r = room_at(c);
	struct registry *reg = &r->pooler->registry;
	char prefix[400];
	struct buf b;

	if (c->conn.is_retired)
		return;
	if (c->is_seat) {
		lookup_seat_close(c, sqlstate, text, reason);
		return;
	}
	if (text && !is_amid_message(c)) {
		if (r->settings->log_pooler_errors)
			log_warning("%spooler error: %s", client_prefix(c, prefix, sizeof(prefix)), text);
		buf_init(&b);
		put_error(&b, "FATAL", sqlstate ? sqlstate : "08P01", text);
		conn_uncork(&c->conn);
		if (!c->conn.is_failed)
			conn_send_buf(&c->conn, &b);
		buf_free(&b);
	}
	if (reason && r->settings->log_disconnections)
		log_info("%sclosing because: %s (age=%llds)", client_prefix(c, prefix, sizeof(prefix)), reason,
			 (long long)((now_of(c) - c->connected_at) / USEC_PER_SEC));
	if (c->state == CL_CONSOLE)
		r->pooler->console->closed(c);
	if (c->state == CL_LOGIN && text && c->login)
		login_was_refused(c, text);
	leave_cancel(c);
	leave_list(c);
	/* The Conn goes first, so that nothing that happens to the server can come back here. */
	conn_close(&c->conn);
	leave_server(c);
	login_free(c);
	if (c->counted_database)
		tally_remove_client(reg, &c->database->tally);
	if (c->counted_user)
		tally_remove_client(reg, &c->user->tally);
	if (c->share) {
		c->share->used_at = worker_now(r->worker);
		evict_note(c->share);
	}
	database_put(reg, c->database);
	user_put(reg, c->user);
	client_statements_forget(&c->statements, NULL, NULL);
	params_free(&c->params);
	free(c->options);
	mem_wipe(c->key, sizeof(c->key));
	atomic_fetch_sub_explicit(&reg->clients, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&r->worker->client_count, 1, memory_order_relaxed);
	worker_retire(r->worker, &c->conn.retiree, release_memory);
}

void client_fail(struct client *c, const char *text)
{
	client_close(c, NULL, text, text);
}

void client_bad_header(struct client *c, const uint8_t *p, size_t n)
{
	char hex[17] = "", text[64];

	hex_encode(p, n < 8 ? n : 8, hex);
	snprintf(text, sizeof(text), "bad packet header: '%s'", hex);
	client_fail(c, text);
}

/* --- greeting --------------------------------------------------------------- */

void client_make_key(struct client *c)
{
	cancel_key_make(c->key, room_at(c)->settings->peer_id);
}

/* untracked: ParameterStatus messages, as a server sent them. */
static void put_settings(struct buf *b, const struct buf *untracked, const struct params *tracked)
{
	buf_reserve(b, buf_len(untracked) + 512);
	put_auth_request(b, 0, NULL, 0);
	buf_put(b, buf_span(untracked).ptr, buf_len(untracked));
	for (int i = 0; i < params_count(); i++) {
		const char *value = params_get(tracked, i);

		if (value)
			put_parameter_status(b, params_name(i), value);
	}
}

/*
 * The part of the welcome that depends on nothing but the values in force.
 * Many clients come with the same ones, one after the other: the last text is kept.
 */
static void put_settings_of_pool(struct share *sh, const struct params *params, struct buf *out)
{
	struct buf *b = &sh->welcome;

	if (buf_len(b) == 0 || !buf_ok(b) || !params_same(params, &sh->welcome_params)) {
		buf_clear(b);
		put_settings(b, &sh->greeting, params);
		params_copy(&sh->welcome_params, params);
	}
	if (buf_ok(b))
		buf_put(out, buf_span(b).ptr, buf_len(b));
	else
		out->failed = true;
}

/* What the client is told is what it has from now on; but its own server is to be told only what it asked for. */
static void put_settings_for(struct client *c, const struct server *own, struct buf *out)
{
	struct share *sh = c->share;
	struct params copy = {0}, *told = c->replication == REPLICATION_NONE ? &c->params : &copy;

	if (own) {
		params_copy(told, &own->params);
		if (buf_ok(&own->login->greeting) && params_fill(told, &c->params))
			put_settings(out, &own->login->greeting, told);
		else
			out->failed = true;
	} else {
		params_copy(told, &c->params);
		if (params_fill(told, &sh->greeting_params))
			put_settings_of_pool(sh, told, out);
		else
			out->failed = true;
	}
	params_free(&copy);
}

bool client_welcome(struct client *c, const struct server *own)
{
	struct share *sh = c->share;
	const struct settings *s = sh->room->settings;
	bool waits_on = c->replication != REPLICATION_NONE;
	struct buf b;
	bool ok;

	client_make_key(c);
	buf_init(&b);
	buf_reserve(&b, buf_len(&sh->welcome) + 128);
	put_settings_for(c, own, &b);
	put_backend_key(&b, c->key);
	if (s->login_notify_message && s->login_notify_message[0])
		put_notice(&b, "00000", s->login_notify_message, NULL);
	put_ready(&b, 'I');
	c->needs_greeting = false;
	c->active_at = now_of(c);
	if (c->state != CL_ACTIVE && !waits_on)
		client_set_state(c, CL_ACTIVE);
	ok = buf_ok(&b);
	if (!ok)
		client_fail(c, "failed to prepare welcome message");
	else
		conn_send_buf(&c->conn, &b);
	buf_free(&b);
	if (ok) {
		conn_set_deadline(&c->conn, 0);
		client_deadline(c);
		if (!waits_on)
			client_unpause(c, PAUSE_WAITING);
		oom_arm();
	}
	return ok;
}

static void wait_in_line(struct client *c)
{
	c->wait_start = now_of(c);
	/* Whoever waits for a server of his own is read until he speaks, so that his end is noticed: on_bytes(). */
	if (c->replication == REPLICATION_NONE)
		client_pause(c, PAUSE_WAITING);
	client_set_state(c, CL_WAITING);
	client_deadline(c);
	share_hunger(c->share);
}

void client_join(struct client *c, struct pool *pool)
{
	struct room *r = room_at(c);
	struct share *sh = room_share(r, pool);
	const struct scram_keys *keys = login_keys(c);

	if (!sh || !sh->def) {
		client_fail(c, sh ? "database removed" : "no memory for pool");
		return;
	}
	leave_list(c);
	c->share = sh;
	c->state = CL_ACTIVE;
	clist_add_tail(&sh->active, &c->link);
	if (!wallet_admitted_now(c)) {
		client_fail(c, "admin forced disconnect");
		return;
	}
	sh->stats.client_logins++;
	/* Keys belong to the account only when the client logged in as that account. */
	if (keys && keys->known && strcmp(c->user->name, share_role(sh)) == 0) {
		sh->keys = *keys;
		user_set_keys(&r->pooler->registry, pool->account, keys);
	}
	login_free(c);
	c->conn.has_big_reads = false;
	c->needs_greeting = !sh->has_greeting;
	if (sh->has_greeting && !client_welcome(c, NULL))
		return;
	if (c->needs_greeting || c->replication != REPLICATION_NONE)
		wait_in_line(c);
}

/* --- getting a server --------------------------------------------------------- */

static enum acquired queue_up(struct client *c)
{
	struct share *sh = c->share;

	if (sh->room->shutdown == SHUTDOWN_WAIT_SERVERS) {
		client_fail(c, "server shutting down");
		return ACQUIRE_CLOSED;
	}
	c->was_told_of_wait = false;
	wait_in_line(c);
	return QUEUED;
}

void client_link(struct client *c, struct server *sv)
{
	struct share *sh = c->share;
	struct buf sql;
	bool wants_set;

	assert((!c->server && !sv->client) || (c->server == sv && sv->client == c));
	if (c->is_seat) {
		lookup_link(c, sv);
		return;
	}
	server_enter(sv, SV_ACTIVE);
	sv->client = c;
	c->server = sv;
	c->conn.has_big_reads = true;
	sv->conn.has_big_reads = true;
	sh->stats.server_assignments++;
	/* It was opened with the client's wishes; a walsender may not know SET. */
	if (c->replication != REPLICATION_NONE) {
		params_copy(&c->params, &sv->params);
		return;
	}
	buf_init(&sql);
	wants_set = !params_same(&c->params, &sv->params) && params_diff_sql(&c->params, &sv->params, &sql);
	/* Without what follows: a claim is worth something for as long as it lasts. */
	if (wants_set && log_enabled(LEVEL_DEBUG)) {
		char prefix[400];

		log_debug("%svarcache_apply: %.*s", server_prefix(sv, prefix, sizeof(prefix)), (int)buf_len(&sql),
			  (const char *)buf_span(&sql).ptr);
	}
	wants_set |= identity_sql(c, sv, &sql);
	if (wants_set) {
		struct buf b;

		buf_put_u8(&sql, 0);
		buf_init(&b);
		if (buf_ok(&sql))
			put_query(&b, (const char *)buf_data(&sql));
		if (!buf_ok(&sql) || !outstanding_push(&sv->requests, 'Q', REQUEST_SKIP, NULL)) {
			server_close(sv, "var change failed", true);
		} else {
			sv->is_ready = false;
			sv->is_setting_params = true;
			client_pause(c, PAUSE_SETTING);
			conn_send_buf(&sv->conn, &b);
		}
		buf_wipe_free(&b);
	}
	/* What differs in spelling only stays as it is: the client's own is what the next server may be asked for. */
	buf_wipe_free(&sql);
}

void client_activate(struct client *c, struct server *sv)
{
	struct share *sh = c->share;

	sh->stats.wait_usec += (uint64_t)(now_of(c) - c->wait_start);
	histogram_note(&sh->wait_times, now_of(c) - c->wait_start);
	client_set_state(c, c->is_seat ? CL_LOOKUP : CL_ACTIVE);
	conn_set_deadline(&c->conn, 0);
	client_link(c, sv);
	if (!c->conn.is_retired) {
		client_deadline(c);
		client_unpause(c, PAUSE_WAITING);
	}
}

enum acquired client_acquire(struct client *c)
{
	struct share *sh = c->share;
	struct server *sv;
	char error[LEDGER_ERROR_MAX], text[LEDGER_ERROR_MAX + 80];

	if (c->server)
		return ACQUIRED;
	assert(c->replication == REPLICATION_NONE); /* it has its own, or waits */
	if (share_is_paused(sh))
		return queue_up(c);
	sv = share_idle_server(sh);
	/* Who waits already goes first. */
	if (sv && !share_first_waiter(sh)) {
		client_link(c, sv);
		if (c->conn.is_retired)
			return ACQUIRE_CLOSED;
		return c->pauses ? QUEUED : ACQUIRED;
	}
	if (!sv && sh->servers[SV_USED].count + sh->servers[SV_TESTED].count == 0 &&
	    ledger_failing(&sh->room->pooler->registry.ledger, &sh->pool->ledger, error, sizeof(error))) {
		/* A new attempt is made all the same, for the others, when its time has come. */
		share_hunger(sh);
		sh->wants_retry = true;
		snprintf(text, sizeof(text), "server login has been failing, cached error: %s (server_login_retry)",
			 error);
		client_fail(c, text);
		return ACQUIRE_CLOSED;
	}
	return queue_up(c);
}

/* --- events --------------------------------------------------------------------- */

static size_t on_bytes(struct conn *conn, const uint8_t *p, size_t n)
{
	struct client *c = of(conn);
	size_t used;

	switch (c->state) {
	case CL_LOGIN:
		used = login_bytes(c, p, n);
		/* Queries may have come with the last message of the log-in. */
		if (used < n && !c->conn.is_retired && c->state != CL_LOGIN && c->pauses == 0)
			used += on_bytes(conn, p + used, n - used);
		return used;
	case CL_CONSOLE:
		return room_at(c)->pooler->console->bytes(c, p, n);
	case CL_ACTIVE:
		return relay_client_bytes(c, p, n);
	case CL_WAITING:
		client_pause(c, PAUSE_WAITING);
		return 0;
	case CL_LOOKUP:
		return 0;
	case CL_WAITING_CANCEL:
	case CL_ACTIVE_CANCEL:
	case CL_ORPHAN_CANCEL:
		return n; /* whatever a cancel request says after its key means nothing */
	}
	return n;
}

static void on_drained(struct conn *conn)
{
	struct client *c = of(conn);

	if (c->state == CL_CONSOLE)
		room_at(c)->pooler->console->drained(c);
	else
		relay_client_drained(c);
}

static void on_ended(struct conn *conn, enum conn_end why, int err)
{
	struct client *c = of(conn);
	char prefix[400];

	(void)err;
	switch (why) {
	case CONN_TLS_FAILED:
		log_warning("%sTLS handshake error: %s", client_prefix(c, prefix, sizeof(prefix)),
			    conn_tls_error(conn));
		client_close(c, NULL, NULL, "client unexpected eof");
		return;
	case CONN_NO_MEMORY:
		client_close(c, NULL, "out of memory", "out of memory");
		return;
	case CONN_EOF:
	case CONN_ERROR:
		break;
	}
	if (c->state == CL_WAITING_CANCEL || c->state == CL_ACTIVE_CANCEL)
		client_close(c, NULL, NULL, "client gave up on cancel request, so we also give up forwarding to server");
	else
		/* A port scanner or a health check that says nothing is not worth a line. */
		client_close(c, NULL, NULL, c->was_seen ? "client unexpected eof" : NULL);
}

static usec_t wait_timeout_of(const struct client *c)
{
	const struct room *r = room_at(c);
	const struct user_def *u = config_find_user(r->config, client_user_name(c));
	/* Of the database that the client wants; a seat waits in the pool of another. */
	const struct database_def *d = c->is_seat ? room_database_def(r, client_database_name(c)) : c->share->def;

	if (u && u->query_wait_timeout >= 0)
		return u->query_wait_timeout;
	if (d && d->query_wait_timeout >= 0)
		return d->query_wait_timeout;
	return r->settings->query_wait_timeout;
}

static usec_t idle_timeout_of(const struct client *c)
{
	const struct room *r = room_at(c);
	const struct user_def *u = config_find_user(r->config, client_user_name(c));

	return u && u->client_idle_timeout > 0 ? u->client_idle_timeout : r->settings->client_idle_timeout;
}

/*
 * How long may it be without greeting? A replication client is greeted by its own server if the pool has no greeting;
 * as long as other servers are there it is not down, and what the client waits for is room.
 */
static usec_t greeting_timeout_of(const struct client *c)
{
	const struct share *sh = c->share;

	if (!c->needs_greeting || (c->replication != REPLICATION_NONE &&
				   ledger_connected(&sh->room->pooler->registry.ledger, &sh->pool->ledger) > 0))
		return 0;
	return sh->room->settings->client_login_timeout;
}

/* Never before the greeting: the client is in the middle of its log-in. */
static bool may_be_told_of_wait(const struct client *c)
{
	return room_at(c)->settings->query_wait_notify > 0 && !c->needs_greeting && !c->is_seat && !c->was_told_of_wait;
}

static usec_t notify_after(const struct client *c)
{
	/* "more than" that many whole seconds */
	return (usec_t)room_at(c)->settings->query_wait_notify * USEC_PER_SEC + USEC_PER_SEC;
}

void client_deadline(struct client *c)
{
	const struct settings *s = room_at(c)->settings;
	usec_t now = now_of(c), due = 0, since = c->query_start ? c->query_start : c->active_at;

	switch (c->state) {
	case CL_LOGIN:
		deadline_consider(&due, c->connected_at, s->client_login_timeout);
		break;
	case CL_WAITING:
		if (c->needs_greeting)
			deadline_consider(&due, c->connected_at, s->client_login_timeout);
		deadline_consider(&due, since, wait_timeout_of(c));
		deadline_consider(&due, since, s->query_timeout);
		if (may_be_told_of_wait(c))
			deadline_consider(&due, c->wait_start, notify_after(c));
		break;
	case CL_ACTIVE:
		deadline_consider(&due, c->active_at, idle_timeout_of(c));
		wallet_session_consider(c, &due);
		break;
	case CL_CONSOLE:
		wallet_session_consider(c, &due);
		break;
	case CL_WAITING_CANCEL:
		deadline_consider(&due, c->wait_start, s->cancel_wait_timeout);
		break;
	case CL_LOOKUP:
	case CL_ACTIVE_CANCEL:
	case CL_ORPHAN_CANCEL:
		break;
	}
	if (due && due <= now)
		due = now + USEC_PER_SEC / 3;
	if (due)
		conn_set_deadline(&c->conn, due);
}

static void waiting_deadline(struct client *c)
{
	const struct settings *s = room_at(c)->settings;
	usec_t now = now_of(c), since = c->query_start ? c->query_start : c->active_at;

	if (deadline_over(now, c->connected_at, greeting_timeout_of(c)))
		client_fail(c, "client_login_timeout (server down)");
	else if (deadline_over(now, since, wait_timeout_of(c)))
		client_fail(c, "query_wait_timeout");
	else if (deadline_over(now, since, s->query_timeout))
		client_fail(c, "query_timeout");
	else if (may_be_told_of_wait(c) && deadline_over(now, c->wait_start, notify_after(c))) {
		struct buf b;

		c->was_told_of_wait = true;
		buf_init(&b);
		put_notice(&b, "00000", "No server connection available in postgres backend, client being queued",
			   NULL);
		conn_send_buf(&c->conn, &b);
		buf_free(&b);
	}
}

static void on_deadline(struct conn *conn)
{
	struct client *c = of(conn);
	usec_t now = now_of(c);

	switch (c->state) {
	case CL_LOGIN:
		if (deadline_over(now, c->connected_at, room_at(c)->settings->client_login_timeout))
			client_fail(c, "client_login_timeout");
		break;
	case CL_WAITING:
		waiting_deadline(c);
		break;
	case CL_ACTIVE:
		if (!c->server && deadline_over(now, c->active_at, idle_timeout_of(c)))
			client_fail(c, "client_idle_timeout");
		else
			wallet_session_on_deadline(c);
		break;
	case CL_CONSOLE:
		wallet_session_on_deadline(c);
		break;
	case CL_WAITING_CANCEL:
		if (deadline_over(now, c->wait_start, room_at(c)->settings->cancel_wait_timeout))
			client_close(c, NULL, NULL, "cancel_wait_timeout");
		break;
	case CL_LOOKUP:
	case CL_ACTIVE_CANCEL:
	case CL_ORPHAN_CANCEL:
		break;
	}
	if (!c->conn.is_retired)
		client_deadline(c);
}

const struct conn_ops client_conn_ops = {
	.bytes = on_bytes,
	.drained = on_drained,
	.ended = on_ended,
	.deadline = on_deadline,
};
