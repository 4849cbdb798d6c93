#include "token/connector.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/mem.h"
#include "lib/tls_context.h"
#include "proto/frame.h"
#include "proto/reader.h"
#include "proto/startup.h"
#include "proto/writer.h"
#include "token/link.h"
#include "token/local_socket.h"
#include "token/token.h"

#define CONNECTIONS_MAX 500
#define LOGIN_MS 60000	 /* for everything up to the pooler's question */
#define LEAVE_MS 200
#define GOODBYE_MS 10000 /* for what is still to be delivered when one side has ended */
#define PENDING_MAX 65536
#define MESSAGE_MAX (1 << 20) /* of a log-in */
#define STATE_PROTOCOL "08P01"
#define STATE_FAILED "08001"

/* What the threads share. */
struct shared {
	const struct connector *c;
	SSL_CTX *tls; /* NULL: in the clear */
	atomic_int connections;
	pthread_mutex_t lock; /* of what follows: a password that is used again */
	char *password, *database; /* owned */
	int64_t until;		   /* Unix seconds */
};

struct session {
	struct shared *shared;
	struct link local, remote;
	int64_t deadline_ms;
	uint32_t version;
	struct startup startup;
	struct buf startup_text; /* what startup points into */
};

/* ---- errors ---- */

static void tell(struct session *s, const char *sqlstate, const char *text)
{
	struct buf b;

	complain("%s", text);
	buf_init(&b);
	put_error(&b, "FATAL", sqlstate, text);
	link_put(&s->local, buf_data(&b), buf_len(&b));
	buf_free(&b);
	link_flush(&s->local, clock_ms() + GOODBYE_MS);
}

static void tell_link(struct session *s, const char *what)
{
	char text[600];

	snprintf(text, sizeof(text), "%s %s: %s", what, s->shared->c->host,
		 s->remote.error[0] ? s->remote.error : "the connection ended");
	tell(s, STATE_FAILED, text);
}

/* ---- passwords ---- */

static bool is_good_for(const struct shared *sh, const char *database, int64_t now)
{
	return sh->password && now < sh->until && strcmp(sh->database, database) == 0;
}

static void keep_password(struct shared *sh, const char *password, const char *database, int64_t now)
{
	const struct connector *c = sh->c;
	int64_t life = c->grant->format == ECDSA_FORMAT_TIMESTAMP ? 300 : c->grant->life;

	str_wipe_free(sh->password);
	free(sh->database);
	sh->password = xstrdup(password);
	sh->database = xstrdup(database);
	sh->until = now + life / 2;
}

/* Appends it and a NUL. One at a time, so that a person is asked once for many connections. */
static int get_password(struct shared *sh, const char *database, struct buf *out)
{
	const struct connector *c = sh->c;
	int64_t now = (int64_t)time(NULL);
	int ret = 0;

	if (!c->reuses)
		return grant_make(c->grant, c->signer, now, c->grant->database ? NULL : database, out);
	pthread_mutex_lock(&sh->lock);
	if (is_good_for(sh, database, now)) {
		buf_put_str(out, sh->password);
	} else {
		ret = grant_make(c->grant, c->signer, now, c->grant->database ? NULL : database, out);
		if (ret == 0 && buf_ok(out))
			keep_password(sh, (const char *)buf_data(out), database, now);
	}
	pthread_mutex_unlock(&sh->lock);
	return buf_ok(out) ? ret : -1;
}

/* ---- the program's side ---- */

/* The whole message at the front of in; its bytes stay there. false: told, or it is gone. */
static bool await_message(struct session *s, struct link *from, int allow_startup, struct frame *f)
{
	for (;;) {
		switch (frame_parse(buf_span(&from->in).ptr, buf_len(&from->in), MESSAGE_MAX, allow_startup, f)) {
		case PROTO_OK:
			return link_await(from, f->len, s->deadline_ms);
		case PROTO_BAD:
			tell(s, STATE_PROTOCOL, "malformed message");
			return false;
		case PROTO_MORE:
			if (!link_await(from, buf_len(&from->in) + 1, s->deadline_ms))
				return false;
		}
	}
}

static bool connect_remote(struct session *s);

static void forward_cancel(struct session *s, const struct frame *f)
{
	if (!connect_remote(s))
		return;
	link_put(&s->remote, buf_data(&s->local.in), f->len);
	/* The pooler hangs up when it is done. */
	if (link_flush(&s->remote, s->deadline_ms))
		link_await(&s->remote, 1, s->deadline_ms);
}

/* false: there will be no session. */
static bool read_startup(struct session *s)
{
	struct frame f;

	for (;;) {
		if (!await_message(s, &s->local, 1, &f))
			return false;
		if (f.type) {
			tell(s, STATE_PROTOCOL, "a start-up message is expected");
			return false;
		}
		if (f.code == PROTO_CANCEL && f.len > 8) {
			forward_cancel(s, &f);
			return false;
		}
		if ((f.code != PROTO_SSL && f.code != PROTO_GSSENC) || f.len != 8)
			break;
		/* The way to here does not leave the machine. */
		link_put(&s->local, "N", 1);
		buf_take(&s->local.in, f.len);
	}
	s->version = f.code;
	buf_put(&s->startup_text, buf_data(&s->local.in) + 8, f.len - 8);
	buf_take(&s->local.in, f.len);
	if (f.code >> 16 == PROTO_V3 >> 16 && buf_ok(&s->startup_text) &&
	    startup_parse(buf_span(&s->startup_text), &s->startup) == PROTO_OK)
		return true;
	tell(s, STATE_PROTOCOL, "unsupported start-up message");
	return false;
}

/* At a port anybody on the machine could come in. */
static bool check_local_password(struct session *s)
{
	const char *expected = s->shared->c->password, *given;
	struct frame f;
	struct buf b;
	bool good;

	if (!expected)
		return true;
	buf_init(&b);
	put_auth_request(&b, 3, NULL, 0);
	link_put(&s->local, buf_data(&b), buf_len(&b));
	buf_free(&b);
	if (!await_message(s, &s->local, 0, &f))
		return false;
	given = (const char *)buf_data(&s->local.in) + f.header_len;
	good = f.type == 'p' && f.len - f.header_len == strlen(expected) + 1 &&
	       mem_equal_const_time(given, expected, strlen(expected) + 1);
	mem_wipe((void *)(uintptr_t)buf_data(&s->local.in), f.len);
	buf_take(&s->local.in, f.len);
	if (!good)
		tell(s, "28P01", "the password for the connector is wrong");
	return good;
}

/* ---- the pooler's side ---- */

static bool connect_remote(struct session *s)
{
	const struct connector *c = s->shared->c;
	struct buf b;
	char answer;

	if (!link_connect(&s->remote, c->host, c->port, s->deadline_ms)) {
		tell_link(s, "cannot connect to");
		return false;
	}
	if (!s->shared->tls)
		return true;
	buf_init(&b);
	put_ssl_request(&b);
	link_put(&s->remote, buf_data(&b), buf_len(&b));
	buf_free(&b);
	if (!link_await(&s->remote, 1, s->deadline_ms)) {
		tell_link(s, "no TLS with");
		return false;
	}
	answer = (char)buf_data(&s->remote.in)[0];
	/* Behind it nothing may have come yet: it would be taken for encrypted (attacks.md row 17). */
	if (answer != 'S' || buf_len(&s->remote.in) != 1) {
		tell(s, STATE_FAILED, answer == 'N' ? "the pooler does not offer TLS, and a password in the clear could be "
						      "used by whoever reads it" : "the pooler answers with nonsense");
		return false;
	}
	buf_clear(&s->remote.in);
	if (link_start_tls(&s->remote, s->shared->tls, c->host, c->tls == CONNECT_VERIFY_FULL, s->deadline_ms))
		return true;
	tell_link(s, "cannot connect securely to");
	return false;
}

static const char *database_of(const struct session *s)
{
	const char *database = startup_get(&s->startup, "database"), *user = startup_get(&s->startup, "user");

	/* As PostgreSQL has it: of the program's user, since ours is another. */
	return database && *database ? database : user && *user ? user : "postgres";
}

static bool send_startup(struct session *s)
{
	char wallet[WALLET_TEXT_LEN + 1];
	const char *user = s->shared->c->user;
	struct buf b;
	size_t at;
	bool ok;

	wallet_address_eip55(&s->shared->c->signer->wallet, wallet);
	buf_init(&b);
	at = msg_begin(&b, 0);
	buf_put_u32(&b, s->version);
	buf_put_str(&b, "user");
	buf_put_str(&b, user ? user : wallet);
	buf_put_str(&b, "database");
	buf_put_str(&b, database_of(s));
	for (size_t i = 0; i < s->startup.n; i++) {
		const struct startup_param *p = &s->startup.params[i];

		if (strcmp(p->name, "user") == 0 || strcmp(p->name, "database") == 0)
			continue;
		buf_put_str(&b, p->name);
		buf_put_str(&b, p->value);
	}
	buf_put_u8(&b, 0);
	msg_end(&b, at);
	ok = buf_ok(&b) && link_put(&s->remote, buf_data(&b), buf_len(&b));
	buf_free(&b);
	return ok;
}

static bool send_password(struct session *s)
{
	struct buf password, message;
	bool ok;

	buf_init(&password);
	buf_init(&message);
	ok = get_password(s->shared, database_of(s), &password) == 0;
	if (!ok)
		tell(s, "28000", "the wallet did not sign; see what pg-ecdsa-token says");
	else {
		/* It may have taken a person his time. */
		s->deadline_ms = clock_ms() + LOGIN_MS;
		put_password(&message, buf_data(&password), buf_len(&password) - 1, 1);
		ok = buf_ok(&message) && link_put(&s->remote, buf_data(&message), buf_len(&message));
	}
	buf_wipe_free(&password);
	buf_wipe_free(&message);
	return ok;
}

enum answer { ANSWER_GO_ON, ANSWER_LOGGED_IN, ANSWER_END };

static enum answer take_answer(struct session *s, const struct frame *f, bool *has_signed)
{
	const uint8_t *message = buf_data(&s->remote.in);
	struct reader r = reader_over(message + f->header_len, f->len - f->header_len);
	uint32_t code = f->type == 'R' ? reader_u32(&r) : 0;

	if (f->type == 'R' && code == 3 && !*has_signed) {
		*has_signed = true;
		return send_password(s) ? ANSWER_GO_ON : ANSWER_END;
	}
	if (f->type == 'R' && code != 0) {
		tell(s, STATE_FAILED, "the pooler asks for something else than a wallet's password");
		return ANSWER_END;
	}
	link_put(&s->local, message, f->len);
	if (f->type == 'R')
		return ANSWER_LOGGED_IN;
	return f->type == 'E' ? ANSWER_END : ANSWER_GO_ON;
}

/* Until the pooler has let us in; what it says is passed on. */
static bool log_in(struct session *s)
{
	enum answer answer = ANSWER_GO_ON;
	bool has_signed = false;
	struct frame f;

	if (!send_startup(s))
		return false;
	while (answer == ANSWER_GO_ON) {
		if (!await_message(s, &s->remote, 0, &f)) {
			if (s->remote.is_ended)
				tell_link(s, "lost the connection to");
			return false;
		}
		answer = take_answer(s, &f, &has_signed);
		buf_take(&s->remote.in, f.len);
	}
	if (answer == ANSWER_END)
		link_flush(&s->local, clock_ms() + GOODBYE_MS);
	return answer == ANSWER_LOGGED_IN;
}

/* ---- afterwards ---- */

static void pass_on(struct link *from, struct link *to)
{
	if (buf_len(&from->in) == 0)
		return;
	link_put(to, buf_data(&from->in), buf_len(&from->in));
	buf_clear(&from->in);
}

/* Neither is read while the other has much to take. */
static void relay(struct session *s)
{
	struct link *a = &s->local, *b = &s->remote;

	pass_on(a, b);
	pass_on(b, a);
	while (!a->is_ended && !b->is_ended) {
		struct pollfd fds[2] = {{a->fd, link_events(a, buf_len(&b->out) < PENDING_MAX), 0},
					{b->fd, link_events(b, buf_len(&a->out) < PENDING_MAX), 0}};

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			break;
		link_step(a, fds[0].revents);
		link_step(b, fds[1].revents);
		pass_on(a, b);
		pass_on(b, a);
	}
	/* What one said before it went is for the other. */
	link_flush(a->is_ended ? b : a, clock_ms() + GOODBYE_MS);
}

static void serve(struct session *s)
{
	if (read_startup(s) && check_local_password(s) && connect_remote(s) && log_in(s))
		relay(s);
}

static void *run_session(void *arg)
{
	struct session *s = arg;
	struct shared *sh = s->shared;

	s->deadline_ms = clock_ms() + LOGIN_MS;
	serve(s);
	link_close(&s->remote);
	link_close(&s->local);
	startup_free(&s->startup);
	buf_free(&s->startup_text);
	free(s);
	/* Now, not when the thread is gone: the process may end before. */
	OPENSSL_thread_stop();
	atomic_fetch_sub(&sh->connections, 1);
	return NULL;
}

/* ---- the process ---- */

static void begin_session(struct shared *sh, int fd)
{
	struct session *s;
	pthread_attr_t attributes;
	pthread_t thread;
	int error = EAGAIN;

	if (!sh->c->password && local_socket_is_stranger(fd)) {
		complain("a connection of another user was refused");
		close(fd);
		return;
	}
	s = calloc(1, sizeof(*s));
	if (s && atomic_load(&sh->connections) < CONNECTIONS_MAX) {
		s->shared = sh;
		link_init(&s->local, fd);
		link_init(&s->remote, -1);
		buf_init(&s->startup_text);
		pthread_attr_init(&attributes);
		pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
		atomic_fetch_add(&sh->connections, 1);
		error = pthread_create(&thread, &attributes, run_session, s);
		pthread_attr_destroy(&attributes);
		if (error == 0)
			return;
		atomic_fetch_sub(&sh->connections, 1);
	}
	complain("a connection was refused: there are %d already, or there is no memory for another",
		 atomic_load(&sh->connections));
	close(fd);
	free(s);
}

static bool make_tls(struct shared *sh)
{
	const struct connector *c = sh->c;
	const struct tls_options options = {
		.verify = c->tls >= CONNECT_VERIFY_CA ? TLS_VERIFY_REQUIRED : TLS_NO_VERIFY,
		.verify_name = c->tls == CONNECT_VERIFY_FULL,
		.ca_file = c->ca_file,
	};
	char error[512];

	if (c->tls == CONNECT_PLAIN)
		return true;
	sh->tls = tls_context_new(&options, "server", error, sizeof(error));
	if (!sh->tls)
		complain("%s", error);
	return sh->tls != NULL;
}

/* SIGINT and SIGTERM, to be read; every thread has them blocked. */
static int open_signals(void)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static void accept_until_signal(struct shared *sh, int listener, int signals)
{
	for (;;) {
		struct pollfd fds[2] = {{signals, POLLIN, 0}, {listener, POLLIN, 0}};
		int fd;

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return;
		if (fds[0].revents)
			return;
		if (!fds[1].revents)
			continue;
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			begin_session(sh, fd);
		else if (errno == EMFILE || errno == ENFILE)
			poll(NULL, 0, 100); /* somebody will leave */
	}
}

int connector_run(const struct connector *c)
{
	static struct shared sh; /* threads that still run at the end use it */
	struct local_socket local;
	int signals;

	sh.c = c;
	pthread_mutex_init(&sh.lock, NULL);
	if (!make_tls(&sh) || local_socket_open(c->listen, &local) != 0)
		return 1;
	signals = open_signals();
	printf("listening on %s\n", local.path ? local.path : c->listen);
	fflush(stdout);
	accept_until_signal(&sh, local.fd, signals);
	local_socket_close(&local);
	/* Who is just leaving may finish. */
	for (int i = 0; i < LEAVE_MS && atomic_load(&sh.connections) > 0; i++)
		poll(NULL, 0, 1);
	/* Connections end with the process. Nobody signs any more from here on. */
	return 0;
}
