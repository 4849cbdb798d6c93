/*
 * pool/outstanding.h - which answers a server still owes, in order.
 *
 * An entry for each request that was sent and has an answer of its own:
 * forward it, skip it (the client never asked), or fake it (nothing was sent,
 * the answer is made here when its turn comes). Pure: no sockets.
 *
 * Rules: behaviour specification, section 19.  Tests: test/unit/test_pool.c
 */
#ifndef POOL_OUTSTANDING_H
#define POOL_OUTSTANDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum request_action { REQUEST_FORWARD, REQUEST_SKIP, REQUEST_FAKE };

struct request {
	uint8_t type; /* of the client's message: Q F S P B D E C c f */
	uint8_t action;
	void *statement; /* of P, B, D and C, for whoever keeps statements; NULL otherwise */
};

struct outstanding {
	struct request *ring; /* owned */
	uint32_t first, count, cap;
	bool saw_error; /* an ErrorResponse since the last ReadyForQuery */
};

/* Told about each entry that is dropped because the batch failed. */
typedef void outstanding_dropped(void *ctx, const struct request *);

void outstanding_init(struct outstanding *);
void outstanding_free(struct outstanding *);
static inline bool outstanding_empty(const struct outstanding *q)
{
	return q->count == 0;
}
/* Room for one more. false: out of memory. */
bool outstanding_grow(struct outstanding *);
/* false: out of memory. Here, like outstanding_answer(), because it is done for every message that passes. */
static inline bool outstanding_push(struct outstanding *q, uint8_t type, enum request_action action, void *statement)
{
	if (q->count == q->cap && !outstanding_grow(q))
		return false;
	q->ring[(q->first + q->count++) & (q->cap - 1)] = (struct request){type, (uint8_t)action, statement};
	return true;
}
static inline void outstanding_drop_first(struct outstanding *q)
{
	q->first = (q->first + 1) & (q->cap - 1);
	q->count--;
}
static inline void outstanding_pop(struct outstanding *q, struct request *out)
{
	*out = q->ring[q->first];
	outstanding_drop_first(q);
}
/* By type of a server message: the type of the requests it answers; 0: none. Z, which answers three, is not in it. */
extern const uint8_t outstanding_request_of[256];
/* Does a message of this type from the server answer such a request? */
static inline bool outstanding_answers(uint8_t request, uint8_t server_type)
{
	if (server_type == 'Z')
		return request == 'S' || request == 'Q' || request == 'F';
	return request && outstanding_request_of[server_type] == request;
}
/*
 * A message of this type came from the server. Pops the entry it answers, if
 * the head is one, into *popped and says so. Types: Z C I s 1 2 3 n T.
 */
static inline bool outstanding_answer(struct outstanding *q, uint8_t server_type, struct request *popped)
{
	/* A fake entry was never sent, so nothing the server says can answer it. */
	if (q->count == 0 || q->ring[q->first].action == REQUEST_FAKE ||
	    !outstanding_answers(q->ring[q->first].type, server_type))
		return false;
	outstanding_pop(q, popped);
	return true;
}
/* ErrorResponse: marks the batch failed. in_copy: drops entries through the next CopyDone or CopyFail. */
void outstanding_error(struct outstanding *, bool in_copy, outstanding_dropped *, void *ctx);
/*
 * Before a ReadyForQuery is answered: after an error, when the head is not
 * Sync, Query or FunctionCall, drops entries up to the next Sync (which the
 * ReadyForQuery then answers).
 */
void outstanding_before_ready(struct outstanding *, outstanding_dropped *, void *ctx);
/* CommandComplete that ends copy mode: drops entries through the next CopyDone. In both the Query that copies stays. */
void outstanding_copy_done(struct outstanding *, outstanding_dropped *, void *ctx);
/* The i-th of them, i < count. */
static inline const struct request *outstanding_at(const struct outstanding *q, uint32_t i)
{
	return &q->ring[(q->first + i) & (q->cap - 1)];
}
/* The server owes nothing: what is left, if anything, is answered here. */
bool outstanding_nothing_sent(const struct outstanding *);
/* Is the head a fake entry whose turn has come? In a failed batch it never comes. */
static inline bool outstanding_fake_is_next(const struct outstanding *q)
{
	return q->count > 0 && q->ring[q->first].action == REQUEST_FAKE && !q->saw_error;
}
/* Takes such an entry from the head. */
bool outstanding_take_fake(struct outstanding *, struct request *);
/* The connection is gone, and no answer will come. */
void outstanding_drop_all(struct outstanding *, outstanding_dropped *, void *ctx);

#endif
