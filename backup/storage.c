#include "backup/storage.h"

#include <stdlib.h>

#include "backup/loop.h"

/* What was cancelled ends by itself; until then the op, which lies on the caller's stack, is in use. */
static void cancel_and_wait(struct storage *st, struct storage_op *op)
{
	st->ops->cancel(op);
	if (!loop_wait_through(st->loop, &op->is_done, 0))
		abort();
}

enum storage_result storage_wait(struct storage *st, struct storage_op *op)
{
	if (!loop_wait(st->loop, &op->is_done))
		cancel_and_wait(st, op);
	return op->result;
}

enum storage_result storage_wait_through(struct storage *st, struct storage_op *op, usec_t budget)
{
	if (!loop_wait_through(st->loop, &op->is_done, budget ? loop_now() + budget : 0))
		cancel_and_wait(st, op);
	return op->result;
}

const char *storage_result_word(enum storage_result r)
{
	static const char *const words[] = {
		[STORAGE_OK] = "ok",		    [STORAGE_NOT_FOUND] = "not found",
		[STORAGE_EXISTS] = "exists",	    [STORAGE_CHANGED] = "changed",
		[STORAGE_DENIED] = "denied",	    [STORAGE_NETWORK] = "network",
		[STORAGE_TIMED_OUT] = "timed out",  [STORAGE_FULL] = "full",
		[STORAGE_INTEGRITY] = "integrity",  [STORAGE_TOO_LARGE] = "too large",
		[STORAGE_UNSUPPORTED] = "unsupported", [STORAGE_CANCELLED] = "cancelled",
		[STORAGE_FAILED] = "failed",
	};

	return words[r];
}

enum outcome storage_outcome(enum storage_result r)
{
	switch (r) {
	case STORAGE_OK:
		return OUTCOME_DONE;
	case STORAGE_EXISTS:
		return OUTCOME_REFUSED;
	case STORAGE_INTEGRITY:
		return OUTCOME_INTEGRITY;
	case STORAGE_TIMED_OUT:
		return OUTCOME_TIMED_OUT;
	case STORAGE_CANCELLED:
		return OUTCOME_INTERRUPTED;
	case STORAGE_NOT_FOUND:
	case STORAGE_CHANGED:
	case STORAGE_DENIED:
	case STORAGE_NETWORK:
	case STORAGE_FULL:
	case STORAGE_TOO_LARGE:
	case STORAGE_UNSUPPORTED:
	case STORAGE_FAILED:
		break;
	}
	return OUTCOME_STORAGE;
}
