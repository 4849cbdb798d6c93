#include "backup/pg.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/loop.h"
#include "backup/resolve.h"
#include "lib/mem.h"

#define ONE_TRY (30 * USEC_PER_SEC)
#define TRY_PAUSE (USEC_PER_SEC)
#define ADDRESSES_MAX 1024
#define KEYWORDS_MAX 24

struct pg {
	struct loop *loop; /* borrowed */
	PGconn *conn;	   /* owned */
	enum pg_failure failure;
	char why[1024], sqlstate[6];

	/* What is waited for: a step of the connection, or results. */
	struct loop_watch watch;
	bool is_ready;

	/* A statement of pg_ask_later(). */
	void (*done)(void *ctx, PGresult *);
	void *ctx;
	PGresult *kept; /* owned; the result so far */
	bool is_idle; /* no such statement is under way */
};

struct pg_target pg_target_of(const struct config *c, const char *database)
{
	return (struct pg_target){.host = c->postgres_host ? c->postgres_host : "", .port = (int)c->postgres_port,
				  .user = c->postgres_user, .database = database ? database : c->postgres_database,
				  .password = &c->postgres_password, .passfile = c->pgpassfile,
				  .sslmode = c->postgres_sslmode, .sslrootcert = c->postgres_sslrootcert};
}

struct pg_target pg_dump_target_of(const struct config *c, const char *database)
{
	struct pg_target t = pg_target_of(c, database);

	if (c->postgres_dump_from == DUMP_FROM_STANDBY) {
		t.host = c->postgres_standby_host;
		if (c->postgres_standby_port > 0)
			t.port = (int)c->postgres_standby_port;
	}
	return t;
}

/* libpq's messages have several lines; a log line has one. */
static void set_why(struct pg *p, enum pg_failure f, const char *text)
{
	size_t len = 0;

	p->failure = f;
	for (; *text && len + 1 < sizeof(p->why); text++)
		p->why[len++] = *text == '\n' || *text == '\t' ? ' ' : *text;
	while (len > 0 && p->why[len - 1] == ' ')
		len--;
	p->why[len] = 0;
}

/* The first line alone: DETAIL may quote rows. */
static void set_error(struct pg *p, const PGresult *r)
{
	const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE), *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
	bool is_broken = PQstatus(p->conn) == CONNECTION_BAD;

	snprintf(p->sqlstate, sizeof(p->sqlstate), "%s", state ? state : "");
	set_why(p, is_broken ? PG_BROKEN : PG_ERROR, text ? text : PQresultErrorMessage(r));
}

enum pg_failure pg_failure(const struct pg *p)
{
	return p->failure;
}

const char *pg_why(const struct pg *p)
{
	return p->why;
}

const char *pg_sqlstate(const struct pg *p)
{
	return p->sqlstate;
}

bool pg_is_usable(const struct pg *p)
{
	return p->conn && PQstatus(p->conn) == CONNECTION_OK && p->failure != PG_TIMED_OUT;
}

int pg_version(const struct pg *p)
{
	return PQserverVersion(p->conn);
}

bool pg_is_busy(const struct pg *p)
{
	return !p->is_idle;
}

/* ---- connecting ---- */

static void ignore_notice(void *arg, const PGresult *r)
{
	(void)arg;
	(void)r;
}

static void on_socket(struct loop_watch *w, short revents)
{
	struct pg *p = CONTAINER_OF(w, struct pg, watch);

	(void)revents;
	p->is_ready = true;
	loop_watch_clear(p->loop, w);
}

static bool wants_resolving(const char *host)
{
	struct in6_addr v6;
	struct in_addr v4;

	/* A directory, a list for libpq to walk, or an address already. */
	return *host && *host != '/' && *host != '@' && !strchr(host, ',') && inet_pton(AF_INET, host, &v4) != 1 &&
	       inet_pton(AF_INET6, host, &v6) != 1;
}

/* hosts: the one name, as often as there are addresses, as libpq wants it. */
static char *repeat(const char *host, const char *addresses)
{
	size_t n = 1, len = strlen(host);
	char *all, *at;

	for (const char *p = addresses; *p; p++)
		n += *p == ',';
	all = at = xmalloc(n * (len + 1));
	for (size_t i = 0; i < n; i++) {
		memcpy(at, host, len);
		at += len;
		*at++ = ',';
	}
	at[-1] = 0;
	return all;
}

struct parameters {
	const char *keys[KEYWORDS_MAX], *values[KEYWORDS_MAX];
	size_t n;
};

/* What is not said is left to libpq. */
static void say(struct parameters *p, const char *key, const char *value)
{
	if (!value || !*value)
		return;
	p->keys[p->n] = key;
	p->values[p->n++] = value;
}

static void start_connecting(struct pg *p, const struct pg_target *t, const char *addresses)
{
	char port[16], *hosts = *addresses ? repeat(t->host, addresses) : xstrdup(t->host);
	struct parameters q = {.n = 0};

	snprintf(port, sizeof(port), "%d", t->port);
	say(&q, "host", hosts);
	say(&q, "hostaddr", addresses);
	say(&q, "port", port);
	say(&q, "user", t->user);
	say(&q, "dbname", t->database);
	say(&q, "password", t->password ? t->password->bytes : NULL);
	say(&q, "passfile", t->passfile);
	say(&q, "sslmode", t->sslmode);
	say(&q, "sslrootcert", t->sslrootcert);
	say(&q, "application_name", "pg-ecdsa-backup");
	say(&q, "client_encoding", "UTF8");
	say(&q, "keepalives", "1");
	say(&q, "keepalives_idle", "30");
	say(&q, "keepalives_interval", "10");
	say(&q, "keepalives_count", "3");
	say(&q, "tcp_user_timeout", "60000");
	/* Not expanded: a database name with '=' in it is a name. */
	p->conn = PQconnectStartParams(q.keys, q.values, 0);
	free(hosts);
}

/* Steps until connected, failed, or late. */
static void poll_connection(struct pg *p, usec_t deadline)
{
	PostgresPollingStatusType step = PGRES_POLLING_WRITING;

	if (!p->conn || PQstatus(p->conn) == CONNECTION_BAD) {
		set_why(p, PG_UNREACHABLE, p->conn ? PQerrorMessage(p->conn) : "out of memory");
		return;
	}
	while (step != PGRES_POLLING_OK) {
		enum loop_end end;

		p->is_ready = false;
		loop_watch_set(p->loop, &p->watch, PQsocket(p->conn), step == PGRES_POLLING_READING ? POLLIN : POLLOUT);
		end = loop_wait_until(p->loop, &p->is_ready, deadline);
		/* libpq may open another socket in its next step. */
		loop_watch_clear(p->loop, &p->watch);
		if (end != LOOP_DONE) {
			set_why(p, end == LOOP_TIMED_OUT ? PG_UNREACHABLE : PG_INTERRUPTED,
				end == LOOP_TIMED_OUT ? "the connection took too long" : "interrupted");
			return;
		}
		step = PQconnectPoll(p->conn);
		if (step == PGRES_POLLING_FAILED) {
			/* Behind the password only what is wrong by configuration is said. */
			set_why(p, PQconnectionUsedPassword(p->conn) || PQconnectionNeedsPassword(p->conn) ? PG_REFUSED :
				PG_UNREACHABLE, PQerrorMessage(p->conn));
			return;
		}
	}
	PQsetNoticeReceiver(p->conn, ignore_notice, NULL);
	if (PQsetnonblocking(p->conn, 1) < 0)
		set_why(p, PG_BROKEN, PQerrorMessage(p->conn));
}

struct pg *pg_connect(struct loop *loop, const struct pg_target *t, usec_t timeout)
{
	struct pg *p = xcalloc(1, sizeof(*p));
	usec_t deadline = loop_now() + timeout;
	char addresses[ADDRESSES_MAX] = "";

	p->loop = loop;
	p->is_idle = true;
	p->watch.ready = on_socket;
	if (wants_resolving(t->host)) {
		enum resolve_result r = resolve_host(loop, t->host, deadline, addresses, sizeof(addresses));

		if (r != RESOLVE_OK) {
			set_why(p, r == RESOLVE_INTERRUPTED ? PG_INTERRUPTED : PG_UNREACHABLE, addresses);
			return p;
		}
	}
	start_connecting(p, t, addresses);
	poll_connection(p, deadline);
	return p;
}

struct pg *pg_connect_patiently(struct loop *loop, const struct pg_target *t, usec_t patience)
{
	usec_t end = loop_now() + patience;

	for (;;) {
		struct pg *p = pg_connect(loop, t, ONE_TRY);
		const bool never = false;

		if (p->failure != PG_UNREACHABLE || loop_now() + TRY_PAUSE >= end)
			return p;
		if (loop_wait_until(loop, &never, loop_now() + TRY_PAUSE) == LOOP_INTERRUPTED) {
			set_why(p, PG_INTERRUPTED, "interrupted");
			return p;
		}
		pg_close(p);
	}
}

void pg_close(struct pg *p)
{
	if (!p)
		return;
	loop_watch_clear(p->loop, &p->watch);
	PQclear(p->kept);
	PQfinish(p->conn); /* sends Terminate; the socket does not block */
	free(p);
}

/* ---- statements ---- */

static bool send_statement(struct pg *p, const char *sql, int n, const char *const *params)
{
	p->sqlstate[0] = 0;
	if (!pg_is_usable(p)) {
		if (p->failure == PG_FINE)
			set_why(p, PG_BROKEN, "the connection is gone");
		return false;
	}
	p->failure = PG_FINE;
	p->why[0] = 0;
	/* Statements without parameters may be several, by the simple protocol. */
	if (n == 0 ? PQsendQuery(p->conn, sql) : PQsendQueryParams(p->conn, sql, n, NULL, params, NULL, NULL, 0))
		return true;
	set_why(p, PG_BROKEN, PQerrorMessage(p->conn));
	return false;
}

static short wanted_events(struct pg *p)
{
	return PQflush(p->conn) == 1 ? POLLIN | POLLOUT : POLLIN;
}

/* Takes what has come. true: the statement is over, and kept is its last result, or the first error. */
static bool take_results(struct pg *p)
{
	if (!PQconsumeInput(p->conn)) {
		set_why(p, PG_BROKEN, PQerrorMessage(p->conn));
		return true;
	}
	while (!PQisBusy(p->conn)) {
		PGresult *r = PQgetResult(p->conn);

		if (!r)
			return true;
		if (p->failure != PG_FINE) {
			PQclear(r);
			continue;
		}
		if (PQresultStatus(r) != PGRES_TUPLES_OK && PQresultStatus(r) != PGRES_COMMAND_OK)
			set_error(p, r);
		PQclear(p->kept);
		p->kept = r;
	}
	return false;
}

static PGresult *hand_over(struct pg *p)
{
	PGresult *r = p->kept;

	p->kept = NULL;
	if (p->failure == PG_FINE && r)
		return r;
	if (p->failure == PG_FINE)
		set_why(p, PG_BROKEN, "no answer");
	PQclear(r);
	return NULL;
}

static void *cancel_it(void *arg)
{
	char error[256];

	(void)!PQcancel(arg, error, sizeof(error));
	PQfreeCancel(arg);
	return NULL;
}

/* So that the server does not go on with what nobody waits for. PQcancel() blocks, hence a thread that nobody awaits. */
static void cancel_elsewhere(struct pg *p)
{
	PGcancel *c = PQgetCancel(p->conn);
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, old;

	if (!c)
		return;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attr, cancel_it, c) != 0)
		PQfreeCancel(c);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

PGresult *pg_ask(struct pg *p, usec_t timeout, const char *sql, int n, const char *const *params)
{
	usec_t deadline = timeout ? loop_now() + timeout : 0;
	enum loop_end end = loop_wait_until(p->loop, &p->is_idle, deadline); /* what was asked before */

	if (end == LOOP_DONE && !send_statement(p, sql, n, params))
		return NULL;
	while (end == LOOP_DONE) {
		p->is_ready = false;
		loop_watch_set(p->loop, &p->watch, PQsocket(p->conn), wanted_events(p));
		end = loop_wait_until(p->loop, &p->is_ready, deadline);
		loop_watch_clear(p->loop, &p->watch);
		if (end == LOOP_DONE && take_results(p))
			return hand_over(p);
	}
	set_why(p, end == LOOP_TIMED_OUT ? PG_TIMED_OUT : PG_INTERRUPTED,
		end == LOOP_TIMED_OUT ? "the statement took too long" : "interrupted");
	/* Results would still come: this session is of no more use. */
	loop_watch_clear(p->loop, &p->watch);
	p->is_idle = true;
	cancel_elsewhere(p);
	PQfinish(p->conn);
	p->conn = NULL;
	return hand_over(p);
}

bool pg_ask_text(struct pg *p, usec_t timeout, const char *sql, int n, const char *const *params, char *out, size_t cap)
{
	PGresult *r = pg_ask(p, timeout, sql, n, params);
	bool ok = r && PQntuples(r) == 1 && PQnfields(r) >= 1 && !PQgetisnull(r, 0, 0);

	if (ok)
		snprintf(out, cap, "%s", PQgetvalue(r, 0, 0));
	else if (r)
		set_why(p, PG_ERROR, "the answer is not one value");
	PQclear(r);
	return ok;
}

bool pg_ask_number(struct pg *p, usec_t timeout, const char *sql, int n, const char *const *params, int64_t *out)
{
	char text[64], *end;

	if (!pg_ask_text(p, timeout, sql, n, params, text, sizeof(text)))
		return false;
	errno = 0;
	*out = strtoll(text, &end, 10);
	if (end == text || *end || errno) {
		set_why(p, PG_ERROR, "the answer is not a number");
		return false;
	}
	return true;
}

bool pg_do(struct pg *p, usec_t timeout, const char *sql)
{
	PGresult *r = pg_ask(p, timeout, sql, 0, NULL);

	PQclear(r);
	return r != NULL;
}

char *pg_quote_name(const char *name)
{
	char *out = xmalloc(2 * strlen(name) + 3), *at = out;

	*at++ = '"';
	for (; *name; name++) {
		if (*name == '"')
			*at++ = '"';
		*at++ = *name;
	}
	*at++ = '"';
	*at = 0;
	return out;
}

/* ---- without waiting ---- */

static void on_later(struct loop_watch *w, short revents)
{
	struct pg *p = CONTAINER_OF(w, struct pg, watch);
	void (*done)(void *, PGresult *) = p->done;

	(void)revents;
	if (!take_results(p)) {
		loop_watch_set(p->loop, w, PQsocket(p->conn), wanted_events(p));
		return;
	}
	loop_watch_clear(p->loop, w);
	p->is_idle = true;
	w->ready = on_socket;
	done(p->ctx, hand_over(p));
}

bool pg_ask_later(struct pg *p, const char *sql, void (*done)(void *ctx, PGresult *), void *ctx)
{
	if (!p->is_idle || !send_statement(p, sql, 0, NULL))
		return false;
	p->is_idle = false;
	p->done = done;
	p->ctx = ctx;
	p->watch.ready = on_later;
	loop_watch_set(p->loop, &p->watch, PQsocket(p->conn), wanted_events(p));
	return true;
}
