#include "admin/session.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "admin/ask.h"
#include "admin/console_client.h"
#include "admin/show.h"
#include "lib/log.h"
#include "proto/reader.h"
#include "proto/writer.h"

struct session {
	struct list statements, portals;
	int statement_count, portal_count;
	bool skips_to_sync;
	bool has_suspended;
};

/* A statement or a portal. */
struct named {
	struct list link;
	char *name; /* owned, as is text */
	char *text;
	struct command command;
};

struct session *session_new(void)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	list_init(&s->statements);
	list_init(&s->portals);
	return s;
}

static void drop(struct named *n, int *count)
{
	list_del(&n->link);
	free(n->name);
	free(n->text);
	free(n);
	--*count;
}

static void drop_all(struct list *l, int *count)
{
	while (!list_empty(l))
		drop(LIST_ITEM(l->next, struct named, link), count);
}

void session_free(struct session *s)
{
	if (!s)
		return;
	drop_all(&s->statements, &s->statement_count);
	drop_all(&s->portals, &s->portal_count);
	free(s);
}

bool session_skips(const struct session *s)
{
	return s->skips_to_sync;
}

void session_note(struct session *s, const struct command *c)
{
	s->has_suspended |= strcasecmp(c->verb, "suspend") == 0;
}

bool session_has_suspended(const struct session *s)
{
	return s && s->has_suspended;
}

static struct named *find(const struct list *l, const char *name)
{
	LIST_FOR(node, l) {
		struct named *n = LIST_ITEM(node, struct named, link);

		if (strcmp(n->name, name) == 0)
			return n;
	}
	return NULL;
}

/* Replaces one of the same name. NULL: out of memory, or too many of them. */
static struct named *put(struct list *l, int *count, const char *name, const char *text, const struct command *command)
{
	struct named *n = calloc(1, sizeof(*n)), *old = find(l, name);

	if (!n || (!old && *count >= SESSION_NAMES_MAX)) {
		free(n);
		return NULL;
	}
	n->name = strdup(name);
	n->text = strdup(text);
	n->command = *command;
	if (!n->name || !n->text) {
		free(n->name);
		free(n->text);
		free(n);
		return NULL;
	}
	if (old)
		drop(old, count);
	list_add_tail(l, &n->link);
	++*count;
	return n;
}

/* ---- answers ---- */

static void say(struct client *c, uint8_t type)
{
	struct buf b;

	buf_init(&b);
	msg_end(&b, msg_begin(&b, type));
	conn_send_buf(&c->conn, &b);
	buf_free(&b);
}

void session_failed(struct client *c, const char *sqlstate, const char *text)
{
	struct session *s = c->console;
	struct buf b;

	s->skips_to_sync = true;
	buf_init(&b);
	console_error(c, &b, sqlstate, text);
	conn_send_buf(&c->conn, &b);
	buf_free(&b);
}

static void fail(struct client *c, const char *text)
{
	log_error("%s", text);
	session_failed(c, CONSOLE_SQLSTATE, text);
}

static void fail_invalid(struct client *c, const char *text)
{
	struct buf b;

	buf_init(&b);
	buf_printf(&b, "invalid command '%.*s', use SHOW HELP;", SESSION_TEXT_MAX, text);
	buf_put_u8(&b, 0);
	fail(c, buf_ok(&b) ? (const char *)buf_data(&b) : "out of memory");
	buf_free(&b);
}

/* ---- one function a message ---- */

static bool take_parse(struct client *c, struct reader *r)
{
	struct session *s = c->console;
	const char *name = reader_str(r), *text = reader_str(r);
	struct command command;

	/* A number of parameter types other than 0 means parameters. */
	if (reader_u16(r) != 0 || !reader_done(r))
		return false;
	switch (strlen(text) > SESSION_TEXT_MAX ? COMMAND_INVALID : command_parse(text, &command)) {
	case COMMAND_INVALID:
		fail_invalid(c, text);
		return true;
	case COMMAND_BAD_ARGUMENTS:
		fail(c, "bad arguments");
		return true;
	case COMMAND_OK:
		break;
	}
	if (put(&s->statements, &s->statement_count, name, text, &command))
		say(c, '1');
	else
		fail(c, "too many prepared statements");
	return true;
}

static bool take_bind(struct client *c, struct reader *r)
{
	struct session *s = c->console;
	const char *portal = reader_str(r), *name = reader_str(r);
	const struct named *statement = find(&s->statements, name);

	/* Formats of parameters, and parameters. */
	for (uint16_t n = reader_u16(r); n > 0; n--)
		reader_u16(r);
	if (reader_u16(r) != 0)
		return false;
	for (uint16_t n = reader_u16(r); n > 0; n--)
		if (reader_u16(r) != 0)
			return false; /* a binary result */
	if (!reader_done(r))
		return false;
	if (!statement)
		fail(c, "prepared statement does not exist");
	else if (put(&s->portals, &s->portal_count, portal, statement->text, &statement->command))
		say(c, '2');
	else
		fail(c, "too many portals");
	return true;
}

static struct named *target(struct client *c, char kind, const char *name)
{
	struct session *s = c->console;

	return find(kind == 'S' ? &s->statements : &s->portals, name);
}

static bool take_describe(struct client *c, struct reader *r)
{
	char kind = (char)reader_u8(r);
	const struct named *n;
	const struct column *columns;
	size_t count;
	struct buf b;

	n = target(c, kind, reader_str(r));
	if (!reader_done(r) || (kind != 'S' && kind != 'P'))
		return false;
	if (!n) {
		fail(c, kind == 'S' ? "prepared statement does not exist" : "portal does not exist");
		return true;
	}
	buf_init(&b);
	if (kind == 'S') {
		size_t at = msg_begin(&b, 't');

		buf_put_u16(&b, 0);
		msg_end(&b, at);
	}
	columns = show_columns(&n->command, &count);
	if (columns)
		put_heading(&b, columns, count);
	else
		msg_end(&b, msg_begin(&b, 'n'));
	conn_send_buf(&c->conn, &b);
	buf_free(&b);
	return true;
}

static bool take_execute(struct client *c, struct reader *r)
{
	const struct named *n = target(c, 'P', reader_str(r));

	/* A limit on rows is passed over: the tables are small, and no portal is kept half read. */
	reader_u32(r);
	if (!reader_done(r))
		return false;
	if (n)
		console_submit(c, n->text, true);
	else
		fail(c, "portal does not exist");
	return true;
}

static bool take_close(struct client *c, struct reader *r)
{
	struct session *s = c->console;
	char kind = (char)reader_u8(r);
	struct named *n = target(c, kind, reader_str(r));

	if (!reader_done(r) || (kind != 'S' && kind != 'P'))
		return false;
	if (n)
		drop(n, kind == 'S' ? &s->statement_count : &s->portal_count);
	say(c, '3');
	return true;
}

static bool take_sync(struct client *c, struct reader *r)
{
	struct session *s = c->console;
	struct buf b;

	if (!reader_done(r))
		return false;
	s->skips_to_sync = false;
	/* The transaction that Sync ends takes its portals along. */
	drop_all(&s->portals, &s->portal_count);
	buf_init(&b);
	put_ready(&b, 'I');
	conn_send_buf(&c->conn, &b);
	buf_free(&b);
	return true;
}

bool session_message(struct client *c, char type, struct span body)
{
	struct session *s = c->console;
	struct reader r = reader_over_span(body);

	if (s->skips_to_sync && type != 'S')
		return true;
	switch (type) {
	case 'P':
		return take_parse(c, &r);
	case 'B':
		return take_bind(c, &r);
	case 'D':
		return take_describe(c, &r);
	case 'E':
		return take_execute(c, &r);
	case 'C':
		return take_close(c, &r);
	case 'S':
		return take_sync(c, &r);
	case 'H':
		return reader_done(&r);
	default:
		return false;
	}
}
