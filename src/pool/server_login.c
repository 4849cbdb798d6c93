#include "pool/server_login.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "pool/cancel.h"
#include "pool/client.h"
#include "pool/replication.h"
#include "pool/share.h"
#include "proto/fields.h"
#include "proto/frame.h"
#include "proto/reader.h"
#include "proto/writer.h"

static struct room *room_at(const struct server *sv)
{
	return sv->share->room;
}

/* Log-in errors concern everybody who waits for this pool, but for those that have a log-in of their own. */
static void fail_waiters(struct share *sh, const char *sqlstate, const char *text)
{
	LIST_FOR_SAFE(node, &sh->waiting.head) {
		struct client *c = LIST_ITEM(node, struct client, link);

		if (c->replication == REPLICATION_NONE)
			client_close(c, sqlstate, text, text);
	}
}

static const char *or_null(const char *s)
{
	return s && s[0] ? s : NULL;
}

/*
 * Whose password is it: the forced user's own, else the auth_file entry of the account, else what auth_query said of
 * the client. *out: NULL or owned by the caller. false: out of memory.
 */
static bool stored_secret(const struct server *sv, char **out)
{
	const struct share *sh = sv->share;
	const struct stored_secret *secret = config_find_secret(sh->room->config, share_role(sh));
	const char *text = NULL;

	if (sh->is_forced && or_null(sh->def->password))
		text = sh->def->password;
	else if (secret)
		text = or_null(secret->text);
	else if (!sh->is_forced)
		return pool_secret(&sh->room->pooler->registry, sh->pool, out);
	*out = text ? strdup(text) : NULL;
	return *out || !text;
}

struct pairs {
	const char *texts[2 * (PARAMS_MAX + 8)]; /* names and values, in turn */
	size_t n;
};

static void add_pair(struct pairs *p, const char *name, const char *value)
{
	if (!value)
		return;
	p->texts[2 * p->n] = name;
	p->texts[2 * p->n++ + 1] = value;
}

static void send_startup(struct server *sv)
{
	const struct share *sh = sv->share;
	const struct database_def *d = sh->def;
	const struct client *own = sv->client; /* the replication client it is for */
	struct pairs p = {.n = 0};
	struct buf b;

	add_pair(&p, "database", or_null(d->dbname) ? d->dbname : share_database_name(sh));
	add_pair(&p, "client_encoding", d->client_encoding);
	add_pair(&p, "datestyle", d->datestyle);
	add_pair(&p, "timezone", d->timezone);
	add_pair(&p, "application_name", d->application_name);
	if (own) {
		add_pair(&p, "replication", replication_word(sv->replication));
		for (int i = 0; i < params_count(); i++)
			add_pair(&p, params_name(i), params_get(&own->params, i));
		add_pair(&p, "options", own->options);
	}
	add_pair(&p, "user", share_role(sh));
	sv->login->phase = PHASE_STARTUP;
	buf_init(&b);
	put_startup(&b, p.texts, p.n);
	conn_send_buf(&sv->conn, &b);
	buf_free(&b);
}

static void log_connected(struct server *sv)
{
	union sock_addr local;
	socklen_t len = sizeof(local);
	struct peer_addr peer;
	char prefix[400], where[80];

	if (!room_at(sv)->settings->log_connections)
		return;
	server_prefix(sv, prefix, sizeof(prefix));
	if (sv->conn.is_unix || getsockname(sv->conn.fd, &local.sa, &len) < 0) {
		log_info("%snew connection to server", prefix);
		return;
	}
	peer_addr_from(&peer, &local);
	log_info("%snew connection to server (from %s)", prefix, peer_addr_text(&peer, where, sizeof(where)));
}

void server_login_connected(struct conn *c, int err)
{
	struct server *sv = CONTAINER_OF(c, struct server, conn);
	const struct settings *s = room_at(sv)->settings;
	char prefix[400];

	if (err) {
		log_debug("%sconnect: %s", server_prefix(sv, prefix, sizeof(prefix)), strerror(err));
		server_close(sv, "connect failed", false);
		return;
	}
	sv->share->last_connect_failed = false;
	/* There is no log-in that could still fail. */
	if (share_is_peer(sv->share))
		ledger_forget_failure(&room_at(sv)->pooler->registry.ledger, &sv->share->pool->ledger);
	log_connected(sv);
	/* Whoever waits for a cancel goes first; its request is sent before TLS and log-in. */
	if (cancel_use_connection(sv))
		return;
	if (sv->login->is_for_cancel) {
		sv->login->was_unneeded = true;
		server_close(sv,
			     share_is_peer(sv->share) ? "peer server was not necessary anymore, because client cancel "
							"connection was already closed"
						      : "not sending cancel request for client that is now idle",
			     false);
		return;
	}
	if (!sv->conn.is_unix && s->server_tls_sslmode > TLS_DISABLE && room_at(sv)->server_tls) {
		struct buf b;

		sv->login->phase = PHASE_SSL_REQUEST;
		buf_init(&b);
		put_ssl_request(&b);
		conn_send_buf(&sv->conn, &b);
		buf_free(&b);
		return;
	}
	send_startup(sv);
}

void server_login_tls_up(struct conn *c)
{
	struct server *sv = CONTAINER_OF(c, struct server, conn);
	char prefix[400], tls[128];

	if (room_at(sv)->settings->log_connections) {
		conn_tls_describe(c, tls, sizeof(tls));
		log_info("%sSSL established: %s", server_prefix(sv, prefix, sizeof(prefix)), tls);
	}
	send_startup(sv);
}

static size_t ssl_answer(struct server *sv, const uint8_t *p, size_t n)
{
	int mode = room_at(sv)->settings->server_tls_sslmode;

	if (p[0] == 'S') {
		/* What came with the answer was sent before there was a key: somebody in between wrote it. */
		if (n > 1) {
			server_close(sv, "received unencrypted data after SSL response", false);
			return n;
		}
		sv->login->phase = PHASE_TLS;
		if (!conn_start_tls(&sv->conn, room_at(sv)->server_tls, false, sv->host, mode == TLS_VERIFY_FULL, false))
			server_close(sv, "TLS startup failed", false);
		return 1;
	}
	if (p[0] == 'N' && mode < TLS_REQUIRE) {
		if (n > 1) {
			server_close(sv, "received unencrypted data after SSL response", false);
			return n;
		}
		send_startup(sv);
		return 1;
	}
	server_close(sv, p[0] == 'N' ? "server refused SSL" : "bad sslreq answer", false);
	return n;
}

struct auth_job {
	struct job job; /* first */
	struct server *server; /* valid unless login is an orphan */
	struct server_login *login;
};

static void login_destroy(struct server_login *l)
{
	server_auth_end(&l->auth);
	mem_wipe(&l->keys, sizeof(l->keys));
	str_wipe_free(l->secret);
	free(l->user);
	buf_free(&l->greeting);
	params_free(&l->greeting_params);
	free(l);
}

void server_login_free(struct server *sv)
{
	struct server_login *l = sv->login;

	if (!l)
		return;
	sv->login = NULL;
	if (l->is_working)
		l->is_orphan = true;
	else
		login_destroy(l);
}

static void after_auth(struct server *sv, enum auth_verdict verdict, struct buf *out);

static void run_auth(struct job *j)
{
	server_auth_work(&CONTAINER_OF(j, struct auth_job, job)->login->auth);
}

static void auth_done(struct worker *w UNUSED, struct job *j)
{
	struct auth_job *aj = CONTAINER_OF(j, struct auth_job, job);
	struct server_login *l = aj->login;
	struct server *sv = aj->server;
	struct buf out;

	free(aj);
	l->is_working = false;
	if (l->is_orphan) {
		login_destroy(l);
		return;
	}
	l->phase = PHASE_STARTUP;
	buf_init(&out);
	conn_resume(&sv->conn);
	after_auth(sv, server_auth_resume(&l->auth, &out), &out);
	buf_wipe_free(&out);
}

static void after_auth(struct server *sv, enum auth_verdict verdict, struct buf *out)
{
	struct server_login *l = sv->login;
	char prefix[400];
	struct auth_job *aj;

	switch (verdict) {
	case AUTH_OK:
	case AUTH_CONTINUE:
		if (buf_len(out) > 0)
			conn_send_buf(&sv->conn, out);
		return;
	case AUTH_PENDING:
		aj = calloc(1, sizeof(*aj));
		if (!aj) {
			server_close(sv, "out of memory", false);
			return;
		}
		aj->job.run = run_auth;
		aj->job.done = auth_done;
		aj->server = sv;
		aj->login = l;
		l->is_working = true;
		l->phase = PHASE_AUTH_WORK;
		conn_pause(&sv->conn);
		crew_submit(room_at(sv)->worker, LANE_COMPUTE, &aj->job);
		return;
	case AUTH_REJECT:
		if (l->auth.log_text[0])
			log_error("%s%s", server_prefix(sv, prefix, sizeof(prefix)), l->auth.log_text);
		if (l->auth.client_text[0] && sv->client) {
			replication_refuse(sv, l->auth.client_text);
			return;
		}
		if (l->auth.client_text[0])
			fail_waiters(sv->share, NULL, l->auth.client_text);
		server_close(sv, l->auth.close_text[0] ? l->auth.close_text : "failed to answer authreq", false);
		return;
	}
}

static void answer_auth(struct server *sv, struct span body)
{
	struct server_login *l = sv->login;
	struct buf out;

	if (!l->auth.user) {
		l->user = strdup(share_role(sv->share));
		if (!l->user || !stored_secret(sv, &l->secret)) {
			server_close(sv, "out of memory", false);
			return;
		}
		/* Its last proof may have been for another database of the account. */
		if (!user_keys(&room_at(sv)->pooler->registry, sv->share->pool->account, &l->keys))
			l->keys = sv->share->keys;
		l->auth.user = l->user;
		l->auth.secret = l->secret;
		l->auth.keys = l->keys.known ? &l->keys : NULL;
		l->auth.derived = &sv->share->derived;
	}
	buf_init(&out);
	after_auth(sv, server_auth_message(&l->auth, body, &out), &out);
	buf_wipe_free(&out);
}

static void keep_parameter(struct server *sv, struct span message, struct span body)
{
	struct server_login *l = sv->login;
	struct reader r = reader_over_span(body);
	const char *name = reader_str(&r), *value = reader_str(&r);
	int index;

	if (!reader_done(&r)) {
		server_close(sv, "broken ParameterStatus packet", false);
		return;
	}
	index = params_index(name);
	if (index >= 0) {
		if (!params_set(&sv->params, index, value) || !params_set(&l->greeting_params, index, value))
			server_close(sv, "out of memory", false);
		return;
	}
	if (buf_len(&l->greeting) + message.len > SERVER_GREETING_MAX) {
		server_close(sv, "too many server parameters", false);
		return;
	}
	buf_put(&l->greeting, message.ptr, message.len);
}

static void become_idle(struct server *sv)
{
	struct share *sh = sv->share;
	struct ledger *ledger = &sh->room->pooler->registry.ledger;
	struct server_login *l = sv->login;

	if (!sh->has_greeting && buf_ok(&l->greeting)) {
		sh->has_greeting = true;
		buf_free(&sh->greeting);
		sh->greeting = l->greeting;
		buf_init(&l->greeting);
		params_copy(&sh->greeting_params, &l->greeting_params);
		ledger_set_greeting(ledger, &sh->pool->ledger, true);
		share_fill_params(sh);
	}
	ledger_login_done(ledger, &sh->pool->ledger);
	server_login_free(sv);
	sv->is_ready = true;
	sv->conn.has_big_reads = true;
	sv->used_at = worker_now(sh->room->worker);
	server_enter(sv, SV_IDLE);
	server_deadline(sv);
}

static void login_done(struct server *sv)
{
	struct share *sh = sv->share;
	struct server_login *l = sv->login;

	if (or_null(sh->def->connect_query) && !l->sent_connect_query) {
		struct buf b;

		l->sent_connect_query = true;
		l->phase = PHASE_CONNECT_QUERY;
		buf_init(&b);
		put_query(&b, sh->def->connect_query);
		conn_send_buf(&sv->conn, &b);
		buf_free(&b);
		return;
	}
	if (sv->client)
		replication_login_done(sv);
	else
		become_idle(sv);
	share_serve_waiter(sh);
	/* The login right is free again. */
	if (sh->waiting.count > 0 || sh->cancels_waiting.count > 0)
		share_hunger(sh);
}

static void on_error(struct server *sv, struct span body)
{
	struct share *sh = sv->share;
	struct ledger *ledger = &sh->room->pooler->registry.ledger;
	struct error_fields e;
	char prefix[400], text[SERVER_ERROR_MAX];

	error_fields_parse(body, &e);
	server_prefix(sv, prefix, sizeof(prefix));
	if (sv->login->phase == PHASE_CONNECT_QUERY) {
		log_warning("%sS: error while executing exec_on_query: %s: %s", prefix, e.severity ? e.severity : "",
			    e.message ? e.message : "");
		return;
	}
	if (sv->client) {
		log_warning("%sS: login failed: %s: %s", prefix, e.severity ? e.severity : "ERROR",
			    e.message ? e.message : "");
		replication_refuse(sv, "login failed");
		return;
	}
	snprintf(text, sizeof(text), "%s", e.message ? e.message : "server login failed");
	log_warning("%sserver login failed: %s %s", prefix, e.severity ? e.severity : "ERROR",
		    e.message ? e.message : "");
	/* A server that is only starting up will be there soon: waiting is right. */
	if (!(e.sqlstate && strcmp(e.sqlstate, "57P03") == 0) &&
	    (ledger_serving(ledger, &sh->pool->ledger) == 0 || !sh->has_greeting))
		fail_waiters(sh, e.sqlstate, e.message ? e.message : "server login failed");
	server_close(sv, text, false);
}

static void on_message(struct server *sv, const struct frame *f, const uint8_t *p)
{
	struct span body = span_of(p + f->header_len, f->len - f->header_len);
	bool in_query = sv->login->phase == PHASE_CONNECT_QUERY;
	char prefix[400];

	switch (f->type) {
	case 'R':
		answer_auth(sv, body);
		return;
	case 'S':
		keep_parameter(sv, span_of(p, f->len), body);
		return;
	case 'K':
		if (body.len >= 8)
			memcpy(sv->key, body.ptr, 8);
		return;
	case 'E':
		on_error(sv, body);
		return;
	case 'N':
		return;
	case 'Z':
		if (!sv->login->auth.was_ok) {
			server_close(sv, "unexpected message before authentication", false);
			return;
		}
		login_done(sv);
		return;
	case 'T':
	case 'D':
	case 'C':
	case 'I':
	case 'A':
	case 's':
		if (in_query)
			return;
		break;
	}
	log_error("%sunknown pkt from server: '%c'", server_prefix(sv, prefix, sizeof(prefix)),
		  f->type >= 32 && f->type < 127 ? f->type : '?');
	server_close(sv, "unknown pkt from server", false);
}

size_t server_login_bytes(struct server *sv, const uint8_t *p, size_t n)
{
	size_t used = 0;

	if (sv->login->phase == PHASE_SSL_REQUEST)
		return ssl_answer(sv, p, n);
	while (used < n && sv->state == SV_LOGIN && !sv->conn.is_paused) {
		struct frame f;

		switch (frame_parse(p + used, n - used, SERVER_LOGIN_MESSAGE_MAX, 0, &f)) {
		case PROTO_BAD:
			server_close(sv, "bad pkt header", false);
			return n;
		case PROTO_MORE:
			return used;
		case PROTO_OK:
			break;
		}
		if (f.len > n - used)
			return used;
		on_message(sv, &f, p + used);
		if (sv->conn.is_retired)
			return n;
		used += f.len;
	}
	return used;
}
