#include "pool/outstanding.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAP 8

const uint8_t outstanding_request_of[256] = {
	['1'] = 'P', ['2'] = 'B', ['3'] = 'C', ['C'] = 'E', ['I'] = 'E', ['s'] = 'E', ['T'] = 'D', ['n'] = 'D',
};

void outstanding_init(struct outstanding *q)
{
	memset(q, 0, sizeof(*q));
}

void outstanding_free(struct outstanding *q)
{
	free(q->ring);
	outstanding_init(q);
}

bool outstanding_grow(struct outstanding *q)
{
	uint32_t cap = q->cap ? q->cap * 2 : FIRST_CAP;
	struct request *ring;

	if (cap < q->cap)
		return false;
	ring = malloc(cap * sizeof(*ring));
	if (!ring)
		return false;
	for (uint32_t i = 0; i < q->count; i++)
		ring[i] = *outstanding_at(q, i);
	free(q->ring);
	q->ring = ring;
	q->first = 0;
	q->cap = cap;
	return true;
}

static void drop_until(struct outstanding *q, const char *last, bool keep_last, outstanding_dropped *dropped, void *ctx)
{
	while (q->count > 0) {
		bool is_last = strchr(last, q->ring[q->first].type) != NULL;
		struct request r;

		if (is_last && keep_last)
			return;
		outstanding_pop(q, &r);
		if (dropped)
			dropped(ctx, &r);
		if (is_last)
			return;
	}
}

/* Only when one is there: else the whole queue would be emptied. */
static bool has(const struct outstanding *q, const char *types)
{
	for (uint32_t i = 0; i < q->count; i++)
		if (strchr(types, outstanding_at(q, i)->type))
			return true;
	return false;
}

/*
 * The head is what runs the COPY. A simple query has its ReadyForQuery still to come, so it stays: without it a query
 * sent behind the COPY would be taken for answered, and the server for free.
 */
static void drop_copy(struct outstanding *q, const char *last, outstanding_dropped *dropped, void *ctx)
{
	bool keeps_head = q->count > 0 && q->ring[q->first].type == 'Q';
	struct request head;

	if (!has(q, last))
		return;
	if (keeps_head)
		outstanding_pop(q, &head);
	drop_until(q, last, false, dropped, ctx);
	if (keeps_head) {
		q->first = (q->first - 1) & (q->cap - 1);
		q->ring[q->first] = head;
		q->count++;
	}
}

void outstanding_error(struct outstanding *q, bool in_copy, outstanding_dropped *dropped, void *ctx)
{
	/* With nothing outstanding no batch can have failed. */
	if (q->count > 0)
		q->saw_error = true;
	if (in_copy)
		drop_copy(q, "cf", dropped, ctx);
}

void outstanding_before_ready(struct outstanding *q, outstanding_dropped *dropped, void *ctx)
{
	if (q->saw_error && q->count > 0 && !outstanding_answers(q->ring[q->first].type, 'Z'))
		drop_until(q, "S", true, dropped, ctx);
	q->saw_error = false;
}

void outstanding_copy_done(struct outstanding *q, outstanding_dropped *dropped, void *ctx)
{
	drop_copy(q, "c", dropped, ctx);
}

bool outstanding_nothing_sent(const struct outstanding *q)
{
	for (uint32_t i = 0; i < q->count; i++)
		if (outstanding_at(q, i)->action != REQUEST_FAKE)
			return false;
	return true;
}

bool outstanding_take_fake(struct outstanding *q, struct request *out)
{
	if (!outstanding_fake_is_next(q))
		return false;
	outstanding_pop(q, out);
	return true;
}

void outstanding_drop_all(struct outstanding *q, outstanding_dropped *dropped, void *ctx)
{
	struct request r;

	while (q->count > 0) {
		outstanding_pop(q, &r);
		dropped(ctx, &r);
	}
}
