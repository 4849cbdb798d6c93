/*
 * auth/saslprep.h - a password as SCRAM hashes it (RFC 4013).
 *
 * PostgreSQL takes an ASCII password as it is, prepares valid UTF-8, and falls
 * back to the raw bytes when preparation is not possible. This program carries
 * no Unicode tables, so a password with non-ASCII bytes is always taken raw.
 *
 * What that means for a user: a password that Unicode normalisation (NFKC)
 * would change - ligatures, full-width letters, letters with a separate
 * accent, no-break spaces, soft hyphens - does not match a SCRAM secret that
 * PostgreSQL made of it. Others, such as "pässwörd" typed the usual way, do.
 */
#ifndef AUTH_SASLPREP_H
#define AUTH_SASLPREP_H

#include "lib/span.h"

/* The bytes to hash; borrowed from password. */
struct span saslprep(const char *password);

#endif
