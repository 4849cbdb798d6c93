/*
 * proto/writer.h - PostgreSQL messages appended to a buf.
 *
 *	size_t at = msg_begin(&b, 'R');
 *	buf_put_u32(&b, 3);
 *	msg_end(&b, at);
 *
 * Out of memory marks the buf failed (lib/buf.h).  Tests: test/unit/test_proto.c
 */
#ifndef PROTO_WRITER_H
#define PROTO_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"

/* type 0: a start-up style message, length only. The result goes to msg_end(). */
size_t msg_begin(struct buf *, uint8_t type);
void msg_end(struct buf *, size_t mark);

/* Back-end messages. */
void put_auth_request(struct buf *, uint32_t kind, const void *extra, size_t extra_len); /* 'R' */
void put_error(struct buf *, const char *severity, const char *sqlstate, const char *text); /* 'E': S, C, M */
void put_notice(struct buf *, const char *sqlstate, const char *text, const char *detail); /* 'N'; detail may be NULL */
void put_parameter_status(struct buf *, const char *name, const char *value);
void put_backend_key(struct buf *, const uint8_t key[8]);
void put_ready(struct buf *, char status);
void put_command_complete(struct buf *, const char *tag);
/* NegotiateProtocolVersion: newest version we speak, and the unsupported _pq_. names. */
void put_negotiate_version(struct buf *, uint32_t version, const char *const *names, size_t n);

/* Front-end messages. */
void put_query(struct buf *, const char *sql);
void put_password(struct buf *, const void *bytes, size_t len, int with_nul); /* 'p' */
void put_terminate(struct buf *);
void put_cancel_request(struct buf *, const uint8_t key[8]);
void put_ssl_request(struct buf *);
/* Start-up message 3.0: name, value pairs, n of them (2 n strings). */
void put_startup(struct buf *, const char *const *pairs, size_t n);

#endif
