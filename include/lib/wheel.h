/*
 * lib/wheel.h - deadlines, cheap to file and to forget.
 *
 * Three levels of lists through the objects: slots of 1/8 s, then of 8 s,
 * then of 512 s; what lies further ahead waits in the last slot and is filed
 * again from there. An object is filed at most once, at the earliest deadline
 * it may have. When its slot comes the owner computes the true deadline and
 * either acts or files it again, so activity in between costs one time stamp
 * and never touches the wheel. Precision: one slot.
 *
 * Belongs to one Worker.  Tests: test/unit/test_lib.c
 */
#ifndef LIB_WHEEL_H
#define LIB_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/list.h"
#include "lib/util.h"

#define WHEEL_SLOT_USEC (USEC_PER_SEC / 8)
#define WHEEL_SLOTS 64
#define WHEEL_LEVELS 3

struct wheel_node {
	struct list link; /* linked; list_init'ed when not filed */
	usec_t due;	  /* 0: not filed */
};

struct wheel {
	struct list slots[WHEEL_LEVELS][WHEEL_SLOTS];
	uint64_t maybe[WHEEL_LEVELS]; /* a bit a slot: set when something is filed, cleared when it is found empty */
	int64_t tick; /* slots that have been emptied so far */
	int count;
};

void wheel_init(struct wheel *, usec_t now);
void wheel_node_init(struct wheel_node *);
/* Files or re-files the node; a time that has passed comes with the next slot. */
void wheel_file(struct wheel *, struct wheel_node *, usec_t due);
void wheel_forget(struct wheel *, struct wheel_node *);
/* Unfiles all nodes due by now and appends them to *out, through node->link. */
void wheel_advance(struct wheel *, usec_t now, struct list *out);
/* When the next slot with anything in it comes; -1 when nothing is filed. Never later than the true time. */
usec_t wheel_next(struct wheel *);

#endif
