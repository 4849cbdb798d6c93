/*
 * proto/startup.h - the start-up message and its options parameter.
 *
 * Tests: test/unit/test_proto.c, test/fuzz/fuzz_startup.c
 */
#ifndef PROTO_STARTUP_H
#define PROTO_STARTUP_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/buf.h"
#include "lib/span.h"
#include "proto/frame.h"

/* At most this many parameters in one message (each is at least 2 bytes of at most 64 KiB). */
#define STARTUP_PARAMS_MAX 4096

/* What the parameter `replication` asks for: a walsender of a database, or of the whole cluster. */
enum replication { REPLICATION_NONE, REPLICATION_LOGICAL, REPLICATION_PHYSICAL };
enum replication replication_parse(const char *value); /* what is not known is none */
const char *replication_word(enum replication);	       /* as it is sent to the server: "no", "database", "yes" */

struct startup_param {
	const char *name, *value; /* borrowed from the message */
};

struct startup {
	struct startup_param *params; /* owned */
	size_t n;
};

/*
 * body is what follows the version number: name NUL value NUL ... NUL.
 * PROTO_BAD: a missing terminator, bytes after it, or too many parameters.
 * Releases nothing on failure that startup_free() does not.
 */
enum proto_verdict startup_parse(struct span body, struct startup *);
void startup_free(struct startup *);
const char *startup_get(const struct startup *, const char *name); /* the last one; NULL when absent */

/*
 * Walks the value of the options parameter as the server would: arguments
 * split at white space, backslash escapes the next byte; "-c name=value",
 * "-cname=value", "--name=value". Start with *at = value. Name and value are
 * unescaped into scratch and live until the next call. What is UNSUPPORTED is
 * behind *at, so the walk may go on.
 */
enum options_verdict { OPTIONS_PAIR, OPTIONS_END, OPTIONS_UNSUPPORTED };
enum options_verdict options_next(const char **at, struct buf *scratch, const char **name, const char **value);

/* true (any of the boolean words true/yes/on/1 or a unique prefix), false words, or neither: 1, 0, -1. */
int bool_word(const char *word);

#endif
