#include "pool/login.h"

#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "auth/auth.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "pool/autodb.h"
#include "pool/cancel.h"
#include "pool/login_limit.h"
#include "pool/login_state.h"
#include "pool/lookup.h"
#include "pool/method.h"
#include "pool/route.h"
#include "pool/share.h"
#include "proto/frame.h"
#include "proto/reader.h"
#include "proto/writer.h"
#include "wallet/check.h"

static struct room *room_at(const struct client *c)
{
	return conn_room(&c->conn);
}

static struct registry *registry_at(const struct client *c)
{
	return &room_at(c)->pooler->registry;
}

const char *login_user_name(const struct client *c)
{
	return c->login && c->login->wishes.user ? c->login->wishes.user : "(nouser)";
}

const char *login_database_name(const struct client *c)
{
	return c->login && c->login->wishes.database ? c->login->wishes.database : "(nodb)";
}

const struct scram_keys *login_keys(const struct client *c)
{
	return c->login ? &c->login->auth.keys : NULL;
}

bool login_begin(struct client *c)
{
	c->login = calloc(1, sizeof(*c->login));
	return c->login != NULL;
}

static void destroy(struct login *l)
{
	auth_end(&l->auth);
	mem_wipe(&l->verifier, sizeof(l->verifier));
	startup_wishes_free(&l->wishes);
	str_wipe_free(l->looked_up_text);
	wallet_answer_free(&l->answer);
	config_unref(l->config);
	free(l);
}

void login_free(struct client *c)
{
	struct login *l = c->login;

	if (!l)
		return;
	c->login = NULL;
	if (l->lookup)
		lookup_abandon(l->lookup);
	if (l->pool) {
		pool_put(registry_at(c), l->pool);
		l->pool = NULL;
	}
	if (l->state == LOGIN_WORK)
		l->is_orphan = true;
	else
		destroy(l);
}

const struct pool *login_lookup_pool(const struct client *c)
{
	return c->login && c->login->lookup ? c->login->lookup->pool : NULL;
}

bool login_is_under_way(const struct client *c)
{
	return c->login && c->login->state != LOGIN_STARTUP;
}

void login_adopt(struct room *r)
{
	LIST_FOR(node, &r->logins.head)
		client_deadline(LIST_ITEM(node, struct client, link));
}

/* --- before the protocol proper --------------------------------------------- */

static bool tls_is_offered(const struct client *c)
{
	const struct room *r = room_at(c);

	return !c->is_unix && r->client_tls && r->settings->client_tls_sslmode != TLS_DISABLE;
}

/* Returns the bytes used. */
static size_t answer_ssl(struct client *c, size_t n)
{
	if (n > 8) {
		/* Whoever wrote that had no key: it may not be taken for what comes encrypted. */
		client_fail(c, "received unencrypted data after SSL request");
		return n;
	}
	if (c->conn.tls) {
		client_close(c, NULL, NULL, "SSL req inside SSL");
		return n;
	}
	if (!tls_is_offered(c)) {
		conn_send(&c->conn, "N", 1);
		return 8;
	}
	conn_send(&c->conn, "S", 1);
	if (!conn_start_tls(&c->conn, room_at(c)->client_tls, true, NULL, false, false))
		client_close(c, NULL, NULL, "failed to accept SSL");
	return 8;
}

static size_t answer_gssenc(struct client *c, size_t n)
{
	if (n > 8) {
		client_fail(c, "received unencrypted data after GSSAPI encryption request");
		return n;
	}
	conn_send(&c->conn, "N", 1);
	return 8;
}

static void take_cancel(struct client *c, const uint8_t *p, size_t len)
{
	if (len != 16) {
		client_close(c, NULL, NULL, "bad cancel request");
		return;
	}
	login_free(c);
	cancel_begin(c, p + 8);
}

/* --- who and where ------------------------------------------------------------- */

static bool count_database(struct client *c)
{
	struct login *l = c->login;
	struct registry *reg = registry_at(c);
	const struct settings *s = config_settings(l->config);
	int max = l->def && l->def->max_db_client_connections > 0 ? l->def->max_db_client_connections
								  : s->max_db_client_connections;
	char prefix[400];
	bool is_new;

	/* Names that nobody has configured make no entity. */
	if (!l->def && !l->is_console)
		return true;
	c->database = autodb_get(reg, l->wishes.database, l->def, &is_new);
	if (!c->database) {
		client_fail(c, "out of memory");
		return false;
	}
	if (is_new)
		log_info("%sregistered new auto-database: %s", client_prefix(c, prefix, sizeof(prefix)),
			 l->wishes.database);
	c->counted_database = true;
	if (!tally_add_client(reg, &c->database->tally, max) && !route_is_console_admin(c)) {
		client_fail(c, "client connections exceeded (max_db_client_connections)");
		return false;
	}
	return true;
}

static void reject(struct client *c);
static void proceed(struct client *c, enum auth_verdict, struct buf *out);

static void log_attempt(const struct client *c)
{
	char prefix[400], tls[128];

	if (!config_settings(c->login->config)->log_connections)
		return;
	conn_tls_describe(&c->conn, tls, sizeof(tls));
	log_info("%slogin attempt: db=%s user=%s tls=%s replication=%s", client_prefix(c, prefix, sizeof(prefix)),
		 c->login->wishes.database, c->login->wishes.user, tls[0] ? tls : "no",
		 replication_word(c->replication));
}

bool login_admit(struct client *c)
{
	if (!count_database(c))
		return false;
	log_attempt(c);
	return true;
}

static void start_auth(struct client *c)
{
	struct login *l = c->login;
	struct buf out;

	if (!method_choose(c))
		return;
	l->state = LOGIN_AUTH;
	buf_init(&out);
	proceed(c, auth_start(&l->auth, &l->input, &out), &out);
	buf_free(&out);
}

void login_resume(struct client *c)
{
	client_unpause(c, PAUSE_WORK);
	start_auth(c);
}

static void take_startup(struct client *c, uint32_t version, struct span body)
{
	struct login *l = c->login;
	struct room *r = room_at(c);
	const struct settings *s;
	char prefix[400];

	l->config = config_ref(r->config);
	s = config_settings(l->config);
	if (!c->is_unix && !c->conn.tls && s->client_tls_sslmode >= TLS_REQUIRE) {
		client_fail(c, "SSL required");
		return;
	}
	if (!startup_read(c, version, body, &l->wishes))
		return;
	if (buf_len(&l->wishes.negotiate) > 0)
		conn_send_buf(&c->conn, &l->wishes.negotiate);
	l->is_console = strcmp(l->wishes.database, CONSOLE_DATABASE) == 0;
	/* Relaxed: the count is exact, only its moment is loose. */
	if (!l->is_console &&
	    atomic_load_explicit(&r->pooler->registry.clients, memory_order_relaxed) > s->max_client_conn) {
		client_fail(c, "no more connections allowed (max_client_conn)");
		return;
	}
	if (strlen(l->wishes.user) > USER_NAME_MAX) {
		client_fail(c, "username too long");
		return;
	}
	if (!l->is_console && strlen(l->wishes.database) <= DATABASE_NAME_MAX)
		l->def = room_database_def(r, l->wishes.database);
	if (l->is_console && client_is_operator(c)) {
		if (!login_admit(c))
			return;
		if (s->log_connections)
			log_info("%spgbouncer access from unix socket", client_prefix(c, prefix, sizeof(prefix)));
		c->is_admin = true;
		if (route_count_user(c, l->wishes.user))
			route_proven(c);
		return;
	}
	start_auth(c);
}

/* --- the conversation --------------------------------------------------------------- */

struct auth_job {
	struct job job; /* first */
	struct client *client; /* valid unless login is an orphan */
	struct login *login;
};

static void run_auth(struct job *j)
{
	auth_work(&CONTAINER_OF(j, struct auth_job, job)->login->auth);
}

static usec_t took(const struct client *c)
{
	return worker_now(c->conn.worker) - c->connected_at;
}

void login_was_refused(const struct client *c, const char *text)
{
	const struct login *l = c->login;
	int method = l->auth.method ? (int)l->input.kind : AUTH_KINDS;

	if (method == AUTH_KIND_ECDSA && l->auth.is_over && l->auth.wallet_reason != ECDSA_OK)
		text = ecdsa_reason_word(l->auth.wallet_reason);
	login_refused(&room_at(c)->login_times, method, text, took(c));
}

static void cache_verifier(struct client *c)
{
	struct login *l = c->login;

	if (l->auth.derived.known && l->secret && !login_is_looked_up(l) && c->user)
		user_set_verifier(registry_at(c), c->user, l->secret->text, &l->auth.derived);
}

static void auth_job_done(struct worker *w UNUSED, struct job *j)
{
	struct auth_job *aj = CONTAINER_OF(j, struct auth_job, job);
	struct client *c = aj->client;
	struct login *l = aj->login;
	enum auth_verdict verdict;
	struct buf out;

	free(aj);
	l->state = LOGIN_AUTH;
	if (l->is_orphan) {
		destroy(l);
		return;
	}
	buf_init(&out);
	client_unpause(c, PAUSE_WORK);
	verdict = auth_resume(&l->auth, &out);
	/* Whatever becomes of this login: who asks for the salt again shall not cause the work again. */
	cache_verifier(c);
	proceed(c, verdict, &out);
	buf_wipe_free(&out);
}

static enum lane lane_of(enum auth_need need)
{
	return need == NEED_PAM ? LANE_PAM : need == NEED_LDAP ? LANE_LDAP : LANE_COMPUTE;
}

static void proceed(struct client *c, enum auth_verdict verdict, struct buf *out)
{
	struct login *l = c->login;
	struct auth_job *aj;

	/* The last answer of the method leaves with the greeting. */
	if (verdict == AUTH_OK)
		conn_cork(&c->conn);
	if (buf_len(out) > 0)
		conn_send_buf(&c->conn, out);
	switch (verdict) {
	case AUTH_CONTINUE:
		return;
	case AUTH_PENDING:
		if (l->auth.need == NEED_WALLET) {
			l->state = LOGIN_LOOKUP;
			wallet_query_ask(c);
			return;
		}
		aj = calloc(1, sizeof(*aj));
		if (!aj) {
			client_fail(c, "out of memory");
			return;
		}
		aj->job.run = run_auth;
		aj->job.done = auth_job_done;
		aj->client = c;
		aj->login = l;
		l->state = LOGIN_WORK;
		client_pause(c, PAUSE_WORK);
		crew_submit(c->conn.worker, lane_of(l->auth.need), &aj->job);
		return;
	case AUTH_OK:
		login_limit_passed(c);
		login_accepted(&room_at(c)->login_times, l->input.kind, took(c));
		route_proven(c);
		if (!c->conn.is_retired)
			conn_uncork(&c->conn);
		return;
	case AUTH_REJECT:
		login_limit_failed(c);
		reject(c);
		return;
	}
}

void login_answered(struct client *c)
{
	struct login *l = c->login;
	struct buf out;

	l->state = LOGIN_AUTH;
	client_unpause(c, PAUSE_WORK);
	buf_init(&out);
	proceed(c, auth_resume(&l->auth, &out), &out);
	buf_free(&out);
}

const struct wallet_address *login_wallet(const struct client *c)
{
	return c->login && c->login->is_wallet_asked ? &c->login->signer : NULL;
}

static void reject(struct client *c)
{
	struct login *l = c->login;
	struct auth_reject r = l->auth.reject;
	char prefix[400];

	if (l->auth.audit[0])
		route_audit(c, false, NULL);
	else if (r.reason[0])
		log_info("%s%s", client_prefix(c, prefix, sizeof(prefix)), r.reason);
	client_close(c, r.sqlstate[0] ? r.sqlstate : NULL, r.text, r.text);
}

/* --- bytes ------------------------------------------------------------------------------ */

static void take_password(struct client *c, const struct frame *f, const uint8_t *p)
{
	struct login *l = c->login;
	struct buf out;

	buf_init(&out);
	proceed(c, auth_message(&l->auth, span_of(p + f->header_len, f->len - f->header_len), &out), &out);
	buf_wipe_free(&out);
}

/* A message without a type byte. Returns the bytes used; 0: wait for more. */
static size_t startup_style(struct client *c, const struct frame *f, const uint8_t *p, size_t n)
{
	struct login *l = c->login;

	if (l->state != LOGIN_STARTUP) {
		client_fail(c, "client re-sent startup pkt");
		return n;
	}
	if (f->code == PROTO_SSL && f->len == 8)
		return answer_ssl(c, n);
	if (f->code == PROTO_GSSENC && f->len == 8)
		return answer_gssenc(c, n);
	if (f->code == PROTO_V2) {
		client_fail(c, "old V2 protocol not supported");
		return n;
	}
	if (f->len > n)
		return 0;
	if (f->code == PROTO_CANCEL) {
		take_cancel(c, p, f->len);
		return n;
	}
	if (f->code >> 16 != PROTO_V3 >> 16) {
		client_bad_header(c, p, n);
		return n;
	}
	take_startup(c, f->code, span_of(p + 8, f->len - 8));
	return f->len;
}

/* The same for one with a type byte. */
static size_t typed(struct client *c, const struct frame *f, uint8_t *p, size_t n)
{
	struct login *l = c->login;

	if (f->type != 'p') {
		client_close(c, NULL, NULL, "bad packet");
		return n;
	}
	if (l->state != LOGIN_AUTH) {
		client_fail(c, "client password pkt before startup packet");
		return n;
	}
	if (f->len - f->header_len > auth_max_body(&l->auth)) {
		struct buf none;

		buf_init(&none);
		proceed(c, auth_too_long(&l->auth), &none);
		return n;
	}
	if (f->len > n)
		return 0;
	take_password(c, f, p);
	/* A proof works until it expires: it may not linger in a buffer. */
	mem_wipe(p + f->header_len, f->len - f->header_len);
	return f->len;
}

size_t login_bytes(struct client *c, const uint8_t *bytes, size_t n)
{
	size_t at = 0;

	c->was_seen = true;
	c->active_at = worker_now(c->conn.worker);
	/* A TLS record where a start-up message was due: direct TLS. */
	if (bytes[0] == 0x16 && c->login->state == LOGIN_STARTUP && !c->conn.tls && tls_is_offered(c)) {
		if (!conn_start_tls(&c->conn, room_at(c)->client_tls, true, NULL, false, true))
			client_close(c, NULL, NULL, "failed to accept SSL");
		return 0;
	}
	while (at < n && c->state == CL_LOGIN && !c->pauses) {
		struct frame f;
		size_t used;

		/* Until somebody speaks who has nothing to say yet it is read on, so that its end is noticed. */
		if (c->login->state == LOGIN_LOOKUP) {
			client_pause(c, PAUSE_WORK);
			return at;
		}
		switch (frame_parse(bytes + at, n - at, room_at(c)->settings->max_packet_size, 1, &f)) {
		case PROTO_MORE:
			return at;
		case PROTO_BAD:
			client_bad_header(c, bytes + at, n - at);
			return n;
		case PROTO_OK:
			break;
		}
		/* A proof may cost a millisecond of cryptography: what is ready for others goes out before. */
		if (f.type)
			worker_send_now(c->conn.worker);
		used = f.type ? typed(c, &f, (uint8_t *)(uintptr_t)bytes + at, n - at)
			      : startup_style(c, &f, bytes + at, n - at);
		if (c->conn.is_retired)
			return n;
		if (used == 0)
			return at;
		at += used;
		/* From here on the bytes are TLS records. */
		if (c->conn.is_handshaking)
			return at;
	}
	return at;
}
