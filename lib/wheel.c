#include "lib/wheel.h"

#include <string.h>

#define LEVEL_BITS 6
#define SLOT_MASK (WHEEL_SLOTS - 1)

void wheel_init(struct wheel *w, usec_t now)
{
	for (int l = 0; l < WHEEL_LEVELS; l++)
		for (int s = 0; s < WHEEL_SLOTS; s++)
			list_init(&w->slots[l][s]);
	memset(w->maybe, 0, sizeof(w->maybe));
	w->tick = now / WHEEL_SLOT_USEC;
	w->count = 0;
}

void wheel_node_init(struct wheel_node *n)
{
	list_init(&n->link);
	n->due = 0;
}

/* The slot whose emptying is the first moment at or after due. */
static int64_t tick_of(usec_t due)
{
	return (due + WHEEL_SLOT_USEC - 1) / WHEEL_SLOT_USEC;
}

static void place(struct wheel *w, struct wheel_node *n)
{
	int64_t at = tick_of(n->due), ahead, slot;
	int level = 0;

	if (at <= w->tick)
		at = w->tick + 1;
	ahead = at - w->tick;
	if (ahead >= (int64_t)1 << (LEVEL_BITS * WHEEL_LEVELS))
		at = w->tick + ((int64_t)1 << (LEVEL_BITS * WHEEL_LEVELS)) - 1;
	while (level < WHEEL_LEVELS - 1 &&
	       (at >> (LEVEL_BITS * level)) - (w->tick >> (LEVEL_BITS * level)) >= WHEEL_SLOTS)
		level++;
	if ((at >> (LEVEL_BITS * level)) - (w->tick >> (LEVEL_BITS * level)) >= WHEEL_SLOTS)
		at = ((w->tick >> (LEVEL_BITS * level)) + SLOT_MASK) << (LEVEL_BITS * level);
	slot = (at >> (LEVEL_BITS * level)) & SLOT_MASK;
	list_add_tail(&w->slots[level][slot], &n->link);
	w->maybe[level] |= UINT64_C(1) << slot;
}

void wheel_file(struct wheel *w, struct wheel_node *n, usec_t due)
{
	wheel_forget(w, n);
	n->due = due > 0 ? due : 1;
	w->count++;
	place(w, n);
}

void wheel_forget(struct wheel *w, struct wheel_node *n)
{
	/* A node that has just come due may still stand on the caller's list. */
	list_del(&n->link);
	if (n->due == 0)
		return;
	n->due = 0;
	w->count--;
}

void wheel_advance(struct wheel *w, usec_t now, struct list *out)
{
	int64_t until = now / WHEEL_SLOT_USEC;

	if (w->count == 0 && until > w->tick)
		w->tick = until;
	while (w->tick < until) {
		struct list moving;

		w->tick++;
		list_init(&moving);
		/* A coarser slot is spread over the finer ones when its first tick comes. */
		for (int l = WHEEL_LEVELS - 1; l > 0; l--)
			if ((w->tick & (((int64_t)1 << (LEVEL_BITS * l)) - 1)) == 0)
				list_splice_tail(&moving,
						 &w->slots[l][(w->tick >> (LEVEL_BITS * l)) & SLOT_MASK]);
		list_splice_tail(&moving, &w->slots[0][w->tick & SLOT_MASK]);
		LIST_FOR_SAFE(node, &moving) {
			struct wheel_node *n = LIST_ITEM(node, struct wheel_node, link);

			list_del(node);
			if (tick_of(n->due) <= w->tick) {
				n->due = 0;
				w->count--;
				list_add_tail(out, node);
			} else
				place(w, n);
		}
	}
}

/* How many slots after the one of base the next filled one comes, 1..64; 0: none. Asked once a turn of the loop. */
static int next_filled(struct wheel *w, int level, int64_t base)
{
	while (w->maybe[level]) {
		/* The slot after base becomes bit 0. */
		int first = (int)((base + 1) & SLOT_MASK);
		uint64_t ahead = w->maybe[level] >> first | w->maybe[level] << (-first & SLOT_MASK);
		int skip = __builtin_ctzll(ahead);
		int slot = (first + skip) & SLOT_MASK;

		if (!list_empty(&w->slots[level][slot]))
			return skip + 1;
		w->maybe[level] &= ~(UINT64_C(1) << slot);
	}
	return 0;
}

usec_t wheel_next(struct wheel *w)
{
	int64_t first = INT64_MAX;

	if (w->count == 0)
		return -1;
	/* A coarse slot that was far ahead when it was filled may by now begin before the next fine one. */
	for (int l = 0; l < WHEEL_LEVELS; l++) {
		int64_t base = w->tick >> (LEVEL_BITS * l);
		int skip = next_filled(w, l, base);

		if (skip > 0) {
			int64_t at = (base + skip) << (LEVEL_BITS * l);

			first = at < first ? at : first;
		}
	}
	return (first < INT64_MAX ? first : w->tick + 1) * WHEEL_SLOT_USEC;
}
