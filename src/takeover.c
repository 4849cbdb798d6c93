#include "takeover.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/hex.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "old_process.h"
#include "pool/inherit.h"
#include "process.h"

#define LISTENERS_MAX 256
#define ANSWER_PATIENCE (60 * USEC_PER_SEC)
#define NUMBER_TEXT_MAX 24

struct takeover {
	struct old_process *old; /* owned */
	struct inheritance from; /* owned */
	int listeners[LISTENERS_MAX]; /* owned until takeover_listeners() */
	int listener_count;
};

int takeover_exit_status(void)
{
	return old_process_exit_status();
}

/* Developer builds stop at these points, so that a test can kill either side there. */
static void pause_at(const char *fault)
{
	if (conn_fault(fault))
		raise(SIGSTOP);
	else
		(void)fault;
}

/* --- values of a row ------------------------------------------------------------- */

/* Owned by the caller; NULL for SQL NULL. */
static char *text_of(const struct old_row *row, const char *column)
{
	const struct span *v = old_row_get(row, column);

	return v ? xstrndup((const char *)v->ptr, v->len) : NULL;
}

/* 64 bits; PgBouncer prints a key as it is, without a sign. 0 when it is no number. */
static uint64_t number_of(const struct old_row *row, const char *column)
{
	const struct span *v = old_row_get(row, column);
	char text[NUMBER_TEXT_MAX + 1];

	if (!v || v->len > NUMBER_TEXT_MAX)
		return 0;
	memcpy(text, v->ptr, v->len);
	text[v->len] = 0;
	return text[0] == '-' ? (uint64_t)strtoll(text, NULL, 10) : strtoull(text, NULL, 10);
}

static bool is_text(const struct old_row *row, const char *column, const char *text)
{
	const struct span *v = old_row_get(row, column);

	return v && span_is(*v, text);
}

/* \x and hexadecimal digits. */
static bool is_bytea(const struct span *v)
{
	return v && v->len >= 2 && v->len % 2 == 0 && v->ptr[0] == '\\' && v->ptr[1] == 'x';
}

static bool key_of(const struct old_row *row, const char *column, uint8_t *key, size_t bytes)
{
	const struct span *v = old_row_get(row, column);

	return is_bytea(v) && v->len == 2 + 2 * bytes && hex_decode((const char *)v->ptr + 2, key, bytes);
}

/* --- SHOW FDS ---------------------------------------------------------------------- */

static bool take_listener(struct takeover *t, const struct old_row *row, int fd)
{
	char *addr = text_of(row, "addr");

	if (t->listener_count == LISTENERS_MAX) {
		log_fatal("takeover failed: more than %d listening sockets", LISTENERS_MAX);
		close(fd);
		free(addr);
		return false;
	}
	t->listeners[t->listener_count++] = fd;
	log_info(addr && strchr(addr, ':') ? "got pooler socket: [%s]:%d" : "got pooler socket: %s:%d",
		 addr ? addr : "", (int)number_of(row, "port"));
	free(addr);
	return true;
}

static void take_connection(struct takeover *t, const struct old_row *row, int fd, bool is_server)
{
	struct inherited_row *r = inheritance_add_row(&t->from);
	uint64_t key = number_of(row, "cancel");

	r->is_server = is_server;
	r->fd = fd;
	r->number = (int)number_of(row, "fd");
	r->link = (int)number_of(row, "link");
	r->port = (int)number_of(row, "port");
	r->user = text_of(row, "user");
	r->database = text_of(row, "database");
	r->addr = text_of(row, "addr");
	r->password = text_of(row, "password");
	r->client_encoding = text_of(row, "client_encoding");
	r->std_strings = text_of(row, "std_strings");
	r->datestyle = text_of(row, "datestyle");
	r->timezone = text_of(row, "timezone");
	for (int i = 0; i < 8; i++)
		r->key[i] = (uint8_t)(key >> (8 * (7 - i)));
	r->keys.known = key_of(row, "scram_client_key", r->keys.client_key, sizeof(r->keys.client_key)) &&
			key_of(row, "scram_server_key", r->keys.server_key, sizeof(r->keys.server_key));
}

static bool take_row(void *ctx, const struct old_row *row)
{
	struct takeover *t = ctx;
	int fd = old_process_take_fd(t->old);

	if (fd < 0) {
		log_fatal("takeover failed: the old process sent a row without its descriptor");
		return false;
	}
	if (is_text(row, "task", "pooler"))
		return take_listener(t, row, fd);
	if (is_text(row, "task", "client") || is_text(row, "task", "server"))
		take_connection(t, row, fd, is_text(row, "task", "server"));
	else {
		log_warning("the old process handed over something unknown, it is closed");
		close(fd);
	}
	return true;
}

/* --- SHOW HANDOVER ------------------------------------------------------------------- */

static bool put_bytea(struct buf *b, const struct span *v)
{
	size_t n = (v->len - 2) / 2;

	if (!buf_reserve(b, n) || !hex_decode((const char *)v->ptr + 2, b->data + b->end, n))
		return false;
	b->end += n;
	return true;
}

struct telling {
	struct takeover *takeover;
	struct inherited_record *open; /* the next row goes on with it */
};

static bool take_facts(void *ctx, const struct old_row *row)
{
	struct telling *told = ctx;
	const struct span *facts = old_row_get(row, "facts");
	struct inherited_record *r = told->open;

	if (!r) {
		char *kind = text_of(row, "kind");

		r = inheritance_add_record(&told->takeover->from, kind ? kind : "", (int)number_of(row, "fd"));
		free(kind);
	}
	if (!is_bytea(facts) || !put_bytea(&r->facts, facts)) {
		log_fatal("takeover failed: SHOW HANDOVER was not understood");
		return false;
	}
	told->open = number_of(row, "has_more") ? r : NULL;
	return true;
}

/* --- the dialogue ---------------------------------------------------------------------- */

static enum old_verdict suspend(struct takeover *t)
{
	/* As long as it takes there: suspend_timeout of the old process is over some time. */
	enum old_verdict v = old_process_ask(t->old, "SUSPEND HANDOVER;", 0, NULL, NULL);

	t->from.is_told_all = v == OLD_OK;
	/* PgBouncer, or an older version of ours: the columns of SHOW FDS are all that it tells. */
	if (v == OLD_REFUSED && strstr(old_process_error(t->old), "invalid command"))
		v = old_process_ask(t->old, "SUSPEND;", 0, NULL, NULL);
	return v;
}

static enum old_verdict converse(struct takeover *t)
{
	struct telling told = {.takeover = t};
	enum old_verdict v;

	log_info("%slogin OK, sending SUSPEND", old_process_prefix(t->old));
	v = suspend(t);
	if (v != OLD_OK)
		return v;
	pause_at("takeover-suspended");
	log_info("SUSPEND finished, sending SHOW FDS");
	v = old_process_ask(t->old, "SHOW FDS;", ANSWER_PATIENCE, take_row, t);
	if (v == OLD_OK && t->from.is_told_all)
		v = old_process_ask(t->old, "SHOW HANDOVER;", ANSWER_PATIENCE, take_facts, &told);
	if (v != OLD_OK)
		return v;
	log_info("SHOW FDS finished");
	pause_at("takeover-told");
	return OLD_OK;
}

void takeover_free(struct takeover *t)
{
	if (!t)
		return;
	for (int i = 0; i < t->listener_count; i++)
		close(t->listeners[i]);
	inheritance_free(&t->from);
	old_process_free(t->old);
	free(t);
}

enum takeover_outcome takeover_begin(const struct settings *s, struct takeover **out)
{
	struct takeover *t = xcalloc(1, sizeof(*t));
	enum old_verdict v = old_process_connect(s->unix_socket_dir, s->listen_port, &t->old);

	if (v == OLD_OK)
		v = converse(t);
	if (v == OLD_OK) {
		*out = t;
		return TAKEOVER_READY;
	}
	if (v == OLD_REFUSED) {
		log_error("old bouncer sent: %s", old_process_error(t->old));
		log_fatal("takeover failed, the old process goes on");
	}
	/* Its listening sockets with it, or somebody would still seem to answer. */
	takeover_free(t);
	if (v != OLD_GONE)
		return TAKEOVER_FAILED;
	if (listeners_unix_in_use(s->unix_socket_dir, s->listen_port)) {
		log_fatal("takeover failed: lost the connection to the old process");
		return TAKEOVER_FAILED;
	}
	log_info("old process not found, try to continue normally");
	return TAKEOVER_NONE;
}

/* --- afterwards --------------------------------------------------------------------------- */

struct listeners *takeover_listeners(struct takeover *t, const struct listen_options *o)
{
	int n = t->listener_count;

	t->listener_count = 0;
	return listeners_take(o, t->listeners, n);
}

bool takeover_replay(const struct takeover *t, struct replay *replay, int64_t now)
{
	return inherit_replay(&t->from, replay, now);
}

void takeover_adopt(struct takeover *t, struct pooler *p)
{
	inherit(p, &t->from);
}

struct state {
	bool is_known, is_suspended;
};

static bool take_state(void *ctx, const struct old_row *row)
{
	struct state *state = ctx;

	if (!is_text(row, "key", "suspended"))
		return true;
	state->is_known = true;
	state->is_suspended = is_text(row, "value", "yes");
	return true;
}

/* Somebody else may have resumed it meanwhile: then it works with what is here, and this would be a second one. */
static enum old_verdict still_suspended(struct takeover *t)
{
	struct state state = {0};
	enum old_verdict v;

	if (!t->from.is_told_all)
		return OLD_OK;
	v = old_process_ask(t->old, "SHOW STATE;", ANSWER_PATIENCE, take_state, &state);
	if (v == OLD_OK && state.is_known && !state.is_suspended) {
		log_fatal("takeover failed: somebody has resumed the old process");
		return OLD_BROKEN;
	}
	return v;
}

/*
 * The number of the old process: as it has told, or else as its pidfile says; 0: not known. What the kernel remembers
 * of a listening socket is of no use, since that may have been handed over before.
 */
static pid_t find_pid(const struct takeover *t, const char *pidfile)
{
	int64_t told = inheritance_pid(&t->from);
	long written = told > 0 ? 0 : pidfile_read(pidfile);

	return (pid_t)(told > 0 ? told : written > 0 ? written : 0);
}

static enum old_verdict end_old_process(struct takeover *t, pid_t pid)
{
	enum old_verdict v = still_suspended(t);

	if (v == OLD_OK) {
		log_info("sending SHUTDOWN;");
		v = old_process_shut_down(t->old);
	}
	/* It went by itself. All that it had is here; but only if it is dead, and not just this connection. */
	if (v == OLD_GONE && pid > 0) {
		log_warning("the old process went away during the takeover");
		v = OLD_OK;
	} else if (v == OLD_GONE)
		log_fatal("takeover failed: lost the connection to the old process");
	return v;
}

/* A process that was killed cannot remove it. */
static void remove_stale(const char *pidfile, pid_t pid)
{
	if (pid > 0 && pidfile_read(pidfile) == pid && !process_runs(pid)) {
		log_info("stale pidfile, removing");
		unlink(pidfile);
	}
}

int takeover_finish(struct takeover *t, struct pooler *p, const char *pidfile)
{
	pid_t pid = find_pid(t, pidfile);
	enum old_verdict v;

	pause_at("takeover-shutdown");
	v = end_old_process(t, pid);
	if (v == OLD_REFUSED) {
		log_error("old bouncer sent: %s", old_process_error(t->old));
		log_fatal("takeover failed, the old process goes on");
	}
	if (v == OLD_OK) {
		if (pidfile && *pidfile)
			log_info("waiting for old pidfile to go away");
		v = old_process_wait_end(t->old, pid, pidfile);
	}
	if (v != OLD_OK)
		return -1;
	remove_stale(pidfile, pid);
	log_info("old process killed, resuming work");
	inherit_settle(p, &t->from);
	return 0;
}
