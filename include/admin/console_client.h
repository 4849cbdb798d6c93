/*
 * admin/console_client.h - the client's end of the console, for the files that
 * speak to it.
 */
#ifndef ADMIN_CONSOLE_CLIENT_H
#define ADMIN_CONSOLE_CLIENT_H

#include "lib/buf.h"
#include "pool/client.h"

/* Sends a command to the control role and pauses the client until the answer. extended: it came by Execute. */
void console_submit(struct client *, const char *text, bool extended);
/* ErrorResponse of severity ERROR into out, and the log's line about it. */
void console_error(struct client *, struct buf *out, const char *sqlstate, const char *text);

#endif
