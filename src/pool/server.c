#include "pool/server.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "pool/cancel.h"
#include "pool/client.h"
#include "pool/deadline.h"
#include "pool/evict.h"
#include "pool/relay.h"
#include "pool/replication.h"
#include "pool/server_login.h"
#include "pool/share.h"
#include "pool/tracking.h"
#include "proto/writer.h"

static const unsigned may_become[SERVER_STATES] = {
	[SV_LOGIN] = BIT(SV_IDLE) | BIT(SV_ACTIVE) | BIT(SV_ACTIVE_CANCEL),
	[SV_IDLE] = BIT(SV_ACTIVE) | BIT(SV_USED),
	[SV_ACTIVE] = BIT(SV_IDLE) | BIT(SV_TESTED) | BIT(SV_USED) | BIT(SV_BEING_CANCELED),
	[SV_USED] = BIT(SV_IDLE) | BIT(SV_TESTED),
	[SV_TESTED] = BIT(SV_IDLE) | BIT(SV_BEING_CANCELED),
	[SV_ACTIVE_CANCEL] = 0,
	[SV_BEING_CANCELED] = BIT(SV_IDLE) | BIT(SV_TESTED) | BIT(SV_USED),
};

static void on_ended(struct conn *c, enum conn_end why, int err);
static void on_drained(struct conn *c);
static void on_deadline(struct conn *c);

static const struct conn_ops ops = {
	.bytes = relay_server_bytes,
	.drained = on_drained,
	.ended = on_ended,
	.deadline = on_deadline,
	.connected = server_login_connected,
	.tls_up = server_login_tls_up,
};

static struct server *of(struct conn *c)
{
	return CONTAINER_OF(c, struct server, conn);
}

const char *server_state_word(const struct server *sv)
{
	static const char *const words[] = {
#define X(id, word) word,
		SERVER_STATES_LIST(X)
#undef X
	};

	return words[sv->state];
}

/* HOST:PORT; the name alone as long as it has no address. */
static const char *where_is(const struct server *sv, char *out, size_t cap)
{
	struct peer_addr peer;

	if (!sv->addr.sa.sa_family) {
		snprintf(out, cap, "%s", sv->host);
		return out;
	}
	peer_addr_from(&peer, &sv->addr);
	if (peer.family == AF_UNIX)
		peer.port = (uint16_t)(sv->share->def ? sv->share->def->port : 0);
	return peer_addr_text(&peer, out, cap);
}

const char *server_prefix(const struct server *sv, char *out, size_t cap)
{
	char where[sizeof(sv->host)];

	where_is(sv, where, sizeof(where));
	if (share_is_peer(sv->share))
		snprintf(out, cap, "S-%p: peer-%d@%s ", (const void *)sv, sv->share->pool->peer_id, where);
	else
		snprintf(out, cap, "S-%p: %s/%s@%s ", (const void *)sv, share_database_name(sv->share),
			 sv->share->pool->account->name, where);
	return out;
}

static struct ledger *ledger_of(const struct server *sv)
{
	return &sv->share->room->pooler->registry.ledger;
}

static usec_t now_of(const struct server *sv)
{
	return worker_now(sv->share->room->worker);
}

void server_enter(struct server *sv, enum server_state next)
{
	struct share *sh = sv->share;

	assert(may_become[sv->state] & BIT(next));
	clist_del(&sh->servers[sv->state], &sv->link);
	sv->state = next;
	/* The idle list is a stack, so that surplus servers grow old; a queue when asked for. */
	if (next == SV_IDLE && (sh->room->settings->server_round_robin || sv->wants_close))
		clist_add_tail(&sh->servers[next], &sv->link);
	else
		clist_add_head(&sh->servers[next], &sv->link);
	evict_note(sh);
}

/* --- birth --------------------------------------------------------------- */

/* Which item of a host list comes next: behaviour specification, section 28. */
static void choose_host(struct server *sv)
{
	struct share *sh = sv->share;
	const char *list = sh->def->host, *at = list, *end;
	unsigned items = 1, pick;

	if (!list) {
		sv->host[0] = 0;
		return;
	}
	for (const char *p = list; *p; p++)
		items += *p == ',';
	if (items > 1 && sh->def->load_balance_hosts == BALANCE_DISABLE && sh->last_connect_failed)
		sh->host_index++;
	pick = sh->host_index % items;
	if (items > 1 && sh->def->load_balance_hosts == BALANCE_ROUND_ROBIN)
		sh->host_index++;
	while (pick-- > 0)
		at = strchr(at, ',') + 1;
	at += strspn(at, " ");
	end = at + strcspn(at, ",");
	while (end > at && end[-1] == ' ')
		end--;
	snprintf(sv->host, sizeof(sv->host), "%.*s", (int)(end - at), at);
}

static void begin_connect(struct server *sv, socklen_t len)
{
	char where[sizeof(sv->addr.un.sun_path) + 8];
	const struct settings *s = sv->share->room->settings;
	const struct tcp_options tcp = {s->tcp_keepalive,    s->tcp_keepcnt,	  s->tcp_keepidle,
					s->tcp_keepintvl, s->tcp_user_timeout, s->tcp_socket_buffer};
	int err = 0;

	if (conn_connect(&sv->conn, sv->share->room->worker, &sv->addr.sa, len, &tcp, &ops, &err) < 0) {
		const char *path = sv->addr.un.sun_path;

		/* Of a Unix socket it is the file that tells what is wrong; an abstract one has no file. */
		if (sv->addr.sa.sa_family == AF_UNIX)
			snprintf(where, sizeof(where), "unix:%s%s", path[0] ? "" : "@", path[0] ? path : path + 1);
		else
			where_is(sv, where, sizeof(where));
		log_warning("sbuf_connect failed to connect to %s: %s", where, strerror(err));
		server_close(sv, "connect failed", false);
		return;
	}
	server_deadline(sv);
}

void server_resolved(struct server *sv, const union sock_addr *addr)
{
	if (!sv->login || sv->login->phase != PHASE_RESOLVING)
		return;
	if (!addr) {
		server_close(sv, "server DNS lookup failed", false);
		return;
	}
	sv->addr = *addr;
	sock_addr_set_port(&sv->addr, sv->share->def->port);
	sv->login->phase = PHASE_CONNECTING;
	begin_connect(sv, sock_addr_len(&sv->addr));
}

static void find_address(struct server *sv)
{
	struct share *sh = sv->share;
	const char *dir = sh->room->settings->unix_socket_dir;
	socklen_t len;

	choose_host(sv);
	if (!sv->host[0] || sv->host[0] == '/' || sv->host[0] == '@') {
		if (sv->host[0])
			dir = sv->host;
		if (!dir || !dir[0]) {
			log_error("unix socket dir not configured: %s", share_database_name(sh));
			server_close(sv, "cannot connect", false);
			return;
		}
		if (!sock_addr_unix(dir, sh->def->port, &sv->addr, &len)) {
			server_close(sv, "connect failed", false);
			return;
		}
		begin_connect(sv, len);
		return;
	}
	if (sock_addr_literal(sv->host, sh->def->port, &sv->addr, &len)) {
		begin_connect(sv, len);
		return;
	}
	sv->addr.sa.sa_family = 0;
	sv->login->phase = PHASE_RESOLVING;
	sh->room->pooler->resolver->resolve(sh->room->worker, sv->host, sv->id, sh->pool);
}

void server_launch(struct share *sh, const struct server *target, struct client *replication)
{
	struct room *r = sh->room;
	struct server *sv = calloc(1, sizeof(*sv));

	if (!sv || !(sv->login = calloc(1, sizeof(*sv->login)))) {
		free(sv);
		log_error("out of memory: no connection to database %s", share_database_name(sh));
		ledger_server_gone(&r->pooler->registry.ledger, &sh->pool->ledger, KIND_LOGIN, true, "out of memory");
		return;
	}
	sv->share = sh;
	sv->conn.fd = -1;
	sv->id = room_next_id(r);
	sv->batch = ++r->last_batch;
	sv->connected_at = sv->used_at = worker_now(r->worker);
	sv->connect_wall = time(NULL);
	sv->state = SV_LOGIN;
	sv->login->phase = PHASE_CONNECTING;
	outstanding_init(&sv->requests);
	list_init(&sv->link);
	clist_add_tail(&sh->servers[SV_LOGIN], &sv->link);
	sh->used_at = sv->connected_at;
	sv->login->is_for_cancel = target || share_is_peer(sh);
	if (replication)
		replication_link(replication, sv);
	if (target && target->addr.sa.sa_family) {
		/* A cancel goes to the very server that runs the query, whatever the host list says. */
		socklen_t len = sock_addr_len(&target->addr);

		sv->addr = target->addr;
		snprintf(sv->host, sizeof(sv->host), "%s", target->host);
		if (sv->addr.sa.sa_family == AF_UNIX && !sock_addr_unix(sv->host[0] ? sv->host : r->settings->unix_socket_dir,
									sh->def->port, &sv->addr, &len)) {
			server_close(sv, "connect failed", false);
			return;
		}
		begin_connect(sv, len);
		return;
	}
	find_address(sv);
}

struct server *server_inherit(struct share *sh, int fd, bool is_linked)
{
	struct server *sv = calloc(1, sizeof(*sv));

	if (!sv) {
		close(fd);
		return NULL;
	}
	if (conn_open(&sv->conn, sh->room->worker, fd, &ops) < 0) {
		free(sv);
		return NULL;
	}
	sv->share = sh;
	sv->conn.has_big_reads = true;
	sv->state = is_linked ? SV_ACTIVE : SV_IDLE;
	outstanding_init(&sv->requests);
	list_init(&sv->link);
	/* As told: the first of the idle ones is the next to be used. */
	clist_add_tail(&sh->servers[sv->state], &sv->link);
	ledger_server_inherited(&sh->room->pooler->registry.ledger, &sh->pool->ledger);
	evict_note(sh);
	return sv;
}

/* --- death --------------------------------------------------------------- */

static void release_memory(struct retiree *r)
{
	struct server *sv = CONTAINER_OF(CONTAINER_OF(r, struct conn, retiree), struct server, conn);

	tracking_free(sv);
	outstanding_free(&sv->requests);
	params_free(&sv->params);
	mem_wipe(sv->key, sizeof(sv->key));
	free(sv);
}

static void leave_client(struct server *sv, const char *reason, bool tell)
{
	struct client *c = sv->client;

	if (!c)
		return;
	if (sv->state == SV_LOGIN) {
		replication_part(sv);
		return;
	}
	sv->client = NULL;
	c->server = NULL;
	if (c->state == CL_ACTIVE_CANCEL || server_is_amid_answer(sv))
		tell = false;
	client_close(c, NULL, tell ? reason : NULL, reason);
}

void server_close(struct server *sv, const char *reason, bool tell_client)
{
	struct share *sh = sv->share;
	struct room *r = sh->room;
	bool was_login = sv->state == SV_LOGIN;
	bool while_connecting = was_login && sv->login && sv->login->phase <= PHASE_CONNECTING;
	enum server_kind kind = was_login				    ? KIND_LOGIN
				: sv->state == SV_ACTIVE_CANCEL		    ? KIND_CANCEL
				: sv->replication != REPLICATION_NONE ? KIND_REPLICATION
									    : KIND_CONNECTED;
	bool is_amid_request = sv->is_amid_request || (sv->client && sv->client->state == CL_ACTIVE &&
						       sv->client->pass_left > 0 && !sv->client->drops_message);
	bool expected = was_login && (sv->login->was_unneeded || strcmp(reason, "pause mode") == 0);
	char prefix[400];

	if (r->settings->log_disconnections)
		log_info("%sclosing because: %s (age=%llds)", server_prefix(sv, prefix, sizeof(prefix)), reason,
			 (long long)((now_of(sv) - sv->connected_at) / USEC_PER_SEC));
	clist_del(&sh->servers[sv->state], &sv->link);
	if (was_login)
		sh->last_connect_failed = while_connecting && !expected;
	evict_note(sh);
	if (sv->evicted_for)
		evict_server_gone(ledger_of(sv), sv->evicted_for);
	else
		ledger_server_gone(ledger_of(sv), &sh->pool->ledger, kind, while_connecting,
				   was_login && !expected ? reason : NULL);
	cancel_target_gone(sv);
	if (kind == KIND_CANCEL)
		cancel_finished(sv);
	leave_client(sv, reason, tell_client);
	server_login_free(sv);
	if (sv->conn.fd >= 0) {
		/* Only between messages: in the middle of one it would be read as its body. */
		if ((kind == KIND_CONNECTED || kind == KIND_REPLICATION) && !is_amid_request &&
		    !conn_unsent(&sv->conn) && !sv->conn.is_failed) {
			struct buf b;

			buf_init(&b);
			put_terminate(&b);
			conn_send_buf(&sv->conn, &b);
			buf_free(&b);
		}
		conn_close(&sv->conn);
	} else {
		sv->conn.is_retired = true;
	}
	worker_retire(r->worker, &sv->conn.retiree, release_memory);
	share_hunger(sh);
}

static void on_ended(struct conn *c, enum conn_end why, int err)
{
	struct server *sv = of(c);
	char prefix[400];

	(void)err;
	switch (why) {
	case CONN_TLS_FAILED:
		log_warning("%sTLS handshake error: %s", server_prefix(sv, prefix, sizeof(prefix)), conn_tls_error(c));
		break;
	case CONN_NO_MEMORY:
		server_close(sv, "out of memory", true);
		return;
	case CONN_EOF:
	case CONN_ERROR:
		break;
	}
	if (sv->state == SV_ACTIVE_CANCEL) {
		server_close(sv, "successfully sent cancel request", false);
		return;
	}
	server_close(sv, "server conn crashed?", true);
}

/* --- between clients ------------------------------------------------------ */

static void go_idle(struct server *sv)
{
	server_enter(sv, SV_IDLE);
	sv->used_at = now_of(sv);
	sv->conn.has_big_reads = true;
	share_serve_waiter(sv->share);
}

/* A query of our own, whose answers are dropped; the next ReadyForQuery ends it. */
static void send_own_query(struct server *sv, const char *sql)
{
	struct buf b;

	sv->tested_at = now_of(sv);
	buf_init(&b);
	put_query(&b, sql);
	sv->is_ready = false;
	if (!outstanding_push(&sv->requests, 'Q', REQUEST_SKIP, NULL))
		server_close(sv, "out of memory", false);
	else
		conn_send_buf(&sv->conn, &b);
	buf_free(&b);
}

void server_check(struct server *sv)
{
	const struct settings *s = sv->share->room->settings;
	const char *sql = s->server_check_query;

	if (!sql || !sql[0] || (s->server_check_delay > 0 && now_of(sv) - sv->used_at < s->server_check_delay)) {
		go_idle(sv);
		return;
	}
	server_enter(sv, SV_TESTED);
	sv->is_resetting = false;
	send_own_query(sv, strcmp(sql, "<empty>") == 0 ? "" : sql);
}

static bool lifetime_is_over(struct server *sv)
{
	struct share *sh = sv->share;
	usec_t now = now_of(sv);

	return now - sv->connected_at >= sh->server_lifetime &&
	       ledger_lifetime_close(ledger_of(sv), &sh->pool->ledger, sh->server_lifetime, sh->limits.pool_size, now);
}

void server_release(struct server *sv)
{
	struct share *sh = sv->share;
	const struct settings *s = sh->room->settings;
	struct client *c = sv->client;
	bool wants_reset = sv->state == SV_ACTIVE && s->server_reset_query && s->server_reset_query[0] &&
			   (sh->mode == POOL_SESSION || s->server_reset_query_always);

	sv->wants_release = false;
	if (c) {
		sv->client = NULL;
		c->server = NULL;
		c->in_copy = false;
		client_unpause(c, PAUSE_PEER_FULL);
		c->conn.has_big_reads = false;
	}
	if (sv->client_paused_me) {
		sv->client_paused_me = false;
		conn_resume(&sv->conn);
	}
	sv->copy_state = 0;
	sv->used_at = now_of(sv);
	if (sv->cancels_queued > 0)
		cancel_detach_target(sv);
	if (!sh->def) {
		server_close(sv, "database removed", false);
		return;
	}
	if (lifetime_is_over(sv)) {
		server_close(sv, "server lifetime over", false);
		return;
	}
	if (!outstanding_empty(&sv->requests)) {
		server_close(sv, "client disconnected with queries in progress", false);
		return;
	}
	if (sv->wants_close) {
		server_close(sv, "close_needed", false);
		return;
	}
	if (sv->replication != REPLICATION_NONE) {
		server_close(sv, "replication client was closed", false);
		return;
	}
	if (sv->cancels_in_flight > 0) {
		/* A late cancel must not hit the next client's query. */
		sv->is_resetting = wants_reset;
		server_enter(sv, SV_BEING_CANCELED);
		return;
	}
	if (wants_reset) {
		server_enter(sv, SV_TESTED);
		sv->is_resetting = true;
		send_own_query(sv, s->server_reset_query);
	} else if (s->server_check_delay == 0 && s->server_check_query && s->server_check_query[0] &&
		   sv->state != SV_TESTED) {
		server_enter(sv, SV_USED);
		if (sh->waiting.count > 0)
			share_hunger(sh);
	} else
		go_idle(sv);
}

void server_cancel_ended(struct server *sv)
{
	sv->cancels_in_flight--;
	if (sv->cancels_in_flight > 0 || sv->state != SV_BEING_CANCELED)
		return;
	if (sv->is_resetting && sv->share->def) {
		server_enter(sv, SV_TESTED);
		send_own_query(sv, sv->share->room->settings->server_reset_query);
	} else
		go_idle(sv);
}

/* --- back-pressure and time ------------------------------------------------ */

static void on_drained(struct conn *c)
{
	relay_server_drained(of(c));
}

/*
 * The earliest moment at which anything may be due. Whatever begins after now
 * cannot be due before now + its time-out, so a change of state needs no filing.
 */
void server_deadline(struct server *sv)
{
	const struct share *sh = sv->share;
	const struct settings *s = sh->room->settings;
	usec_t now = now_of(sv), due = 0;

	if (sv->conn.fd < 0)
		return;
	if (sv->state == SV_LOGIN || sv->state == SV_ACTIVE_CANCEL) {
		deadline_consider(&due, sv->connected_at, s->server_connect_timeout);
		if (share_is_peer(sh))
			deadline_consider(&due, sv->connected_at, s->cancel_wait_timeout);
	}
	deadline_consider(&due, now, sh->query_timeout);
	deadline_consider(&due, now, sh->idle_transaction_timeout);
	deadline_consider(&due, now, sh->transaction_timeout);
	deadline_consider(&due, now, s->server_idle_timeout);
	deadline_consider(&due, now, s->server_check_delay);
	/* What runs already may be due sooner. */
	if (sv->state == SV_ACTIVE && sv->client) {
		if (sv->client->query_start)
			deadline_consider(&due, sv->client->query_start, sh->query_timeout);
		if (sv->client->xact_start)
			deadline_consider(&due, sv->client->xact_start, sh->transaction_timeout);
		if (sv->is_idle_tx)
			deadline_consider(&due, sv->used_at, sh->idle_transaction_timeout);
	} else if (sv->state == SV_IDLE || sv->state == SV_USED || sv->state == SV_TESTED) {
		deadline_consider(&due, sv->used_at, s->server_idle_timeout);
		if (sv->state == SV_IDLE)
			deadline_consider(&due, sv->used_at, s->server_check_delay);
		if (sv->state == SV_TESTED)
			deadline_consider(&due, sv->tested_at, sh->query_timeout);
	}
	deadline_consider(&due, sv->connected_at, sh->server_lifetime);
	if (due && due <= now)
		due = now + USEC_PER_SEC / 3;
	conn_set_deadline(&sv->conn, due);
}

const char *server_is_late(const struct server *sv, usec_t now)
{
	const struct settings *s = sv->share->room->settings;
	bool is_peer = share_is_peer(sv->share);

	if (deadline_over(now, sv->connected_at, s->server_connect_timeout))
		return sv->state == SV_LOGIN && sv->login->phase <= PHASE_CONNECTING && sv->conn.fd >= 0 && !is_peer
			       ? "connect failed"
			       : "connect timeout";
	/* The request that it carries, or is opened for, has as long in all. */
	if (is_peer && deadline_over(now, sv->connected_at, s->cancel_wait_timeout))
		return "cancel_wait_timeout";
	return NULL;
}

static void on_deadline(struct conn *conn)
{
	struct server *sv = of(conn);
	const char *late;
	struct share *sh = sv->share;
	const struct settings *s = sh->room->settings;
	usec_t now = now_of(sv);
	struct client *c = sv->client;

	switch (sv->state) {
	case SV_LOGIN:
	case SV_ACTIVE_CANCEL:
		late = server_is_late(sv, now);
		if (late) {
			server_close(sv, late, false);
			return;
		}
		break;
	case SV_ACTIVE:
		if (c && c->query_start && !sv->is_idle_tx && deadline_over(now, c->query_start, sh->query_timeout)) {
			server_close(sv, "query timeout", true);
			return;
		}
		if (c && sv->is_idle_tx && deadline_over(now, sv->used_at, sh->idle_transaction_timeout)) {
			server_close(sv, "idle transaction timeout", true);
			return;
		}
		if (c && c->xact_start && !sv->is_ready && deadline_over(now, c->xact_start, sh->transaction_timeout)) {
			server_close(sv, "transaction timeout", true);
			return;
		}
		break;
	case SV_TESTED:
		if (deadline_over(now, sv->tested_at, sh->query_timeout)) {
			server_close(sv, "query timeout", false);
			return;
		}
		/* fall through */
	case SV_IDLE:
	case SV_USED:
		if (deadline_over(now, sv->used_at, s->server_idle_timeout) &&
		    ledger_connected(ledger_of(sv), &sh->pool->ledger) > sh->limits.min_pool_size) {
			server_close(sv, "server idle timeout", false);
			return;
		}
		if (now - sv->connected_at >= sh->server_lifetime && lifetime_is_over(sv)) {
			server_close(sv, "server lifetime over", false);
			return;
		}
		if (sv->state == SV_IDLE && s->server_check_query && s->server_check_query[0] &&
		    deadline_over(now, sv->used_at, s->server_check_delay))
			server_enter(sv, SV_USED);
		break;
	case SV_BEING_CANCELED:
	case SERVER_STATES:
		break;
	}
	server_deadline(sv);
}
