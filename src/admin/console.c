/* The client side of the console: greeting, messages in, answers out. On the client's Worker. */
#include "admin/console.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/ask.h"
#include "admin/console_client.h"
#include "admin/session.h"
#include "admin/show.h"
#include "lib/log.h"
#include "pool/params.h"
#include "proto/frame.h"
#include "proto/reader.h"
#include "proto/writer.h"

#define CONSOLE_MESSAGE_MAX (64 * 1024)

static const struct settings *settings_of(const struct client *c)
{
	return conn_room(&c->conn)->settings;
}

/* Console specification, section 2. */
static void put_greeting(struct buf *b, const struct client *c)
{
	static const char *const fixed[][2] = {
		{"server_version", PROGRAM_SERVER_VERSION},
		{"client_encoding", "UTF8"},
		{"server_encoding", "UTF8"},
		{"DateStyle", "ISO"},
		{"TimeZone", "GMT"},
		{"standard_conforming_strings", "on"},
		{"is_superuser", "on"},
	};
	const char *notice = settings_of(c)->login_notify_message;

	put_auth_request(b, 0, NULL, 0);
	for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
		put_parameter_status(b, fixed[i][0], fixed[i][1]);
	for (int i = 0; i < params_count(); i++) {
		const char *value = params_get(&c->params, i);

		if (value)
			put_parameter_status(b, params_name(i), value);
	}
	put_backend_key(b, c->key);
	if (notice && notice[0])
		put_notice(b, "00000", notice, NULL);
	put_ready(b, 'I');
}

static void opened(struct client *c)
{
	struct buf b;

	c->console = session_new();
	if (!c->console) {
		client_close(c, NULL, NULL, "out of memory");
		return;
	}
	atomic_fetch_add_explicit(&console_counters.logins, 1, memory_order_relaxed);
	buf_init(&b);
	put_greeting(&b, c);
	conn_send_buf(&c->conn, &b);
	buf_free(&b);
}

static void closed(struct client *c)
{
	if (session_has_suspended(c->console))
		console_client_gone(c);
	session_free(c->console);
	c->console = NULL;
}

void console_error(struct client *c, struct buf *out, const char *sqlstate, const char *text)
{
	char prefix[512];

	if (settings_of(c)->log_pooler_errors)
		log_warning("%spooler error: %s", client_prefix(c, prefix, sizeof(prefix)), text);
	put_error(out, "ERROR", sqlstate, text);
}

void console_submit(struct client *c, const char *text, bool extended)
{
	struct ask *a = ask_new(c, text);

	if (!a) {
		client_fail(c, "out of memory");
		return;
	}
	a->wants_heading = !extended;
	session_note(c->console, &a->command);
	atomic_fetch_add_explicit(&console_counters.commands, 1, memory_order_relaxed);
	client_pause(c, PAUSE_CONSOLE);
	ask_send(c->conn.worker, a);
}

/* ---- messages ---- */

/* What the console does not speak costs the connection (section 3). */
static void refuse(struct client *c, const char *text)
{
	struct buf b;

	log_error("%s", text);
	buf_init(&b);
	console_error(c, &b, CONSOLE_SQLSTATE, text);
	put_ready(&b, 'I');
	conn_send_buf(&c->conn, &b);
	buf_free(&b);
	client_fail(c, "bad packet");
}

static void query(struct client *c, struct span body)
{
	struct reader r = reader_over_span(body);
	const char *text = reader_str(&r);

	if (session_skips(c->console))
		return;
	if (settings_of(c)->disable_pqexec) {
		char prefix[512];

		log_info("%sclient used \"Query\" packet type", client_prefix(c, prefix, sizeof(prefix)));
		client_fail(c, "PQexec disallowed");
	} else if (!reader_ok(&r))
		client_fail(c, "incomplete query");
	else if (!reader_done(&r))
		client_fail(c, "bad packet");
	else
		console_submit(c, text, false);
}

static void message(struct client *c, char type, struct span body)
{
	char text[80];

	switch (type) {
	case 'Q':
		query(c, body);
		return;
	case 'X':
		client_close(c, NULL, NULL, "client close request");
		return;
	case 'P':
	case 'B':
	case 'D':
	case 'E':
	case 'C':
	case 'S':
	case 'H':
		if (!session_message(c, type, body))
			refuse(c, "extended query protocol not supported by admin console");
		return;
	case 'F':
	case 'c':
	case 'd':
	case 'f':
		snprintf(text, sizeof(text), "unsupported packet type for admin console: %d", type);
		refuse(c, text);
		return;
	default:
		log_info("unknown pkt from client: %u/0x%x", (uint8_t)type, (uint8_t)type);
		client_fail(c, "unknown pkt");
	}
}

static void bad_header(struct client *c, const uint8_t *bytes, size_t n)
{
	char text[64], *at = text;

	at += sprintf(at, "bad packet header: '");
	for (size_t i = 0; i < n && i < 8; i++)
		at += sprintf(at, "%02x", bytes[i]);
	sprintf(at, "'");
	client_fail(c, text);
}

/* A client that does not read its answers is not read either: what it may pile up is bounded. */
static bool is_too_far_behind(const struct client *c)
{
	return conn_backlog(&c->conn) > CONN_HIGH_MARK;
}

static size_t bytes(struct client *c, const uint8_t *start, size_t n)
{
	size_t used = 0;

	while (used < n && !c->conn.is_retired && !c->pauses) {
		struct frame f;
		enum proto_verdict v = frame_parse(start + used, n - used, settings_of(c)->max_packet_size, 1, &f);

		if (v == PROTO_MORE)
			break;
		if (v == PROTO_BAD) {
			bad_header(c, start + used, n - used);
			return n;
		}
		if (f.len > CONSOLE_MESSAGE_MAX) {
			client_fail(c, "incomplete pkt");
			return n;
		}
		if (f.len > n - used)
			break;
		c->active_at = worker_now(c->conn.worker);
		message(c, (char)f.type, span_of(start + used + f.header_len, f.len - f.header_len));
		if (c->conn.is_retired)
			return n;
		used += f.len;
		if (is_too_far_behind(c))
			client_pause(c, PAUSE_PEER_FULL);
	}
	return used;
}

static void drained(struct client *c)
{
	if (c->pauses & PAUSE_PEER_FULL)
		client_unpause(c, PAUSE_PEER_FULL);
}

const struct console_ops console_ops = {opened, bytes, closed, drained, console_cancelled};

/* ---- answers ---- */

static struct client *find_client(const struct room *room, uint64_t id)
{
	LIST_FOR(node, &room->consoles.head) {
		struct client *c = LIST_ITEM(node, struct client, link);

		if (c->id == id)
			return c;
	}
	return NULL;
}

static void deliver(struct client *c, struct ask *a)
{
	if (a->error && !a->wants_heading)
		session_failed(c, a->sqlstate, a->error);
	else {
		if (a->error) {
			buf_clear(&a->answer);
			console_error(c, &a->answer, a->sqlstate, a->error);
		}
		if (a->wants_heading)
			put_ready(&a->answer, 'I');
		if (!a->fds)
			conn_send_buf(&c->conn, &a->answer);
		else if (!fds_send(&c->conn, a)) {
			client_close(c, NULL, NULL, strerror(errno));
			return;
		}
	}
	if (is_too_far_behind(c))
		client_pause(c, PAUSE_PEER_FULL);
	client_unpause(c, PAUSE_CONSOLE);
}

void console_answer(struct worker *w, struct message *m)
{
	struct ask *a = CONTAINER_OF(m, struct ask, message);
	struct client *c = find_client(room_of(w), a->client_id);

	if (c && !a->is_silent)
		deliver(c, a);
	ask_free(a);
}
