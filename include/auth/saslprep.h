/*
 * auth/saslprep.h - a password as SCRAM hashes it (RFC 4013).
 *
 * As PostgreSQL does it: ASCII is taken as it is, valid UTF-8 is prepared
 * (spaces become one kind, soft hyphens and the like vanish, NFKC), and what
 * cannot be prepared - other encodings, control characters, characters that
 * Unicode 3.2 did not know, letters of both directions - is taken as it is,
 * too. So a password of any bytes works, and one that is typed in another
 * way that looks the same works as well. In a build without libidn every
 * password is taken as it is.
 *
 * Tests: test/unit/test_auth.c, test/system/test_saslprep.py
 */
#ifndef AUTH_SASLPREP_H
#define AUTH_SASLPREP_H

#include <stdbool.h>

#include "lib/buf.h"
#include "lib/span.h"
#include "lib/util.h"

/*
 * Bytes. A longer password with bytes above ASCII is taken as it is: putting
 * many accents in order takes time by the square of their number, and whoever
 * has not logged in yet may ask for it.
 */
#define SASLPREP_MAX 4096

/*
 * *prepared is borrowed from password or from room, which the caller wipes
 * and frees when done. May take a millisecond. false: out of memory.
 */
bool saslprep(const char *password, struct buf *room, struct span *prepared) MUST_CHECK;

#endif
