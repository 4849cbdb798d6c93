/*
 * admin/session.h - what a console client has open: statements and portals of
 * the extended protocol.
 *
 * A statement is one console command, a portal the same command bound to
 * nothing. Belongs to the client's Worker.
 */
#ifndef ADMIN_SESSION_H
#define ADMIN_SESSION_H

#include <stdbool.h>

#include "lib/span.h"
#include "lib/util.h"

struct client;
struct command;
struct session;

#define SESSION_NAMES_MAX 256 /* statements, and as many portals */
#define SESSION_TEXT_MAX 1024 /* no command that works is longer, but for white space */

struct session *session_new(void); /* NULL: out of memory */
void session_free(struct session *);
/* An error happened: everything up to Sync is dropped. */
bool session_skips(const struct session *);
/* A command leaves for the control role. */
void session_note(struct session *, const struct command *);
bool session_has_suspended(const struct session *); /* or tried to */

/*
 * One message of the extended protocol. false: it is one that the console
 * refuses (parameters, binary results, malformed), and nothing has been said.
 */
bool session_message(struct client *, char type, struct span body) MUST_CHECK;
/* An error of an Execute: what follows is dropped up to Sync. */
void session_failed(struct client *, const char *sqlstate, const char *text);

#endif
