/*
 * proto/fields.h - what an ErrorResponse or NoticeResponse says.
 *
 * A broken server may leave out any field, or the terminator: what is missing
 * reads as NULL and unknown fields are passed over, so that nobody has to
 * trust the server (attacks.md row 21).  Tests: test/unit/test_proto.c
 */
#ifndef PROTO_FIELDS_H
#define PROTO_FIELDS_H

#include "lib/span.h"

struct error_fields {
	const char *severity; /* borrowed from the body; NULL when absent */
	const char *sqlstate; /* NULL unless exactly five of [0-9A-Z] */
	const char *message;
};

void error_fields_parse(struct span body, struct error_fields *);

#endif
