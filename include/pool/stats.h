/*
 * pool/stats.h - what is counted per share, summed per database by the console.
 *
 * Rules: console specification, section 17.
 */
#ifndef POOL_STATS_H
#define POOL_STATS_H

#include <stdint.h>

/*	 field			name in SHOW STATS_TOTALS */
#define STATS_FIELDS(X) \
	X(server_assignments,	"server_assignment_count") \
	X(xacts,		"xact_count") \
	X(queries,		"query_count") \
	X(client_bytes,		"bytes_received") \
	X(server_bytes,		"bytes_sent") \
	X(xact_usec,		"xact_time") \
	X(query_usec,		"query_time") \
	X(wait_usec,		"wait_time") \
	X(client_parses,	"client_parse_count") \
	X(server_parses,	"server_parse_count") \
	X(binds,		"bind_count") \
	X(client_logins,	"client_login_count")

struct stats {
#define X(field, name) uint64_t field;
	STATS_FIELDS(X)
#undef X
};

static inline void stats_add(struct stats *to, const struct stats *from)
{
#define X(field, name) to->field += from->field;
	STATS_FIELDS(X)
#undef X
}

#endif
