/*
 * token/output.h - how a password is printed: alone, as a line of a password
 * file (~/.pgpass), or inside a connection URI.
 *
 * Tests: test/system/test_token_formats.py
 */
#ifndef TOKEN_OUTPUT_H
#define TOKEN_OUTPUT_H

#include "lib/buf.h"

enum output_kind { OUTPUT_PASSWORD, OUTPUT_PGPASS, OUTPUT_URI };

/* NULL: any, or libpq's own default. */
struct destination {
	const char *host, *port, *database, *user;
};

/* Appends a line, with its end. */
void output_put(struct buf *, enum output_kind, const struct destination *, const char *password);

#endif
