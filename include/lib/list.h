/*
 * lib/list.h - circular doubly linked lists through the objects themselves.
 *
 * A node that is on no list points to itself after list_init(), so removing
 * it again is harmless. A counted list adds the number of its members,
 * because the console and every limit ask for it.
 */
#ifndef LIB_LIST_H
#define LIB_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/util.h"

struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *n)
{
	n->next = n->prev = n;
}

static inline bool list_empty(const struct list *head)
{
	return head->next == head;
}

static inline void list_add_tail(struct list *head, struct list *n)
{
	n->prev = head->prev;
	n->next = head;
	head->prev->next = n;
	head->prev = n;
}

static inline void list_add_head(struct list *head, struct list *n)
{
	n->next = head->next;
	n->prev = head;
	head->next->prev = n;
	head->next = n;
}

/* Leaves the node pointing to itself, so that a second removal is harmless. */
static inline void list_del(struct list *n)
{
	n->next->prev = n->prev;
	n->prev->next = n->next;
	list_init(n);
}

/* Moves every member of from to the tail of head; from is left empty. */
static inline void list_splice_tail(struct list *head, struct list *from)
{
	if (list_empty(from))
		return;
	from->next->prev = head->prev;
	head->prev->next = from->next;
	from->prev->next = head;
	head->prev = from->prev;
	list_init(from);
}

#define LIST_ITEM(node, type, member) CONTAINER_OF(node, type, member)
#define LIST_FOR(node, head) for (struct list *node = (head)->next; node != (head); node = node->next)
/* The body may remove the node it stands on. */
#define LIST_FOR_SAFE(node, head)                                                                  \
	for (struct list *node = (head)->next, *node##_next = node->next; node != (head);          \
	     node = node##_next, node##_next = node->next)

struct counted_list {
	struct list head;
	int count;
};

static inline void clist_init(struct counted_list *l)
{
	list_init(&l->head);
	l->count = 0;
}

static inline void clist_add_tail(struct counted_list *l, struct list *n)
{
	list_add_tail(&l->head, n);
	l->count++;
}

static inline void clist_add_head(struct counted_list *l, struct list *n)
{
	list_add_head(&l->head, n);
	l->count++;
}

static inline void clist_del(struct counted_list *l, struct list *n)
{
	list_del(n);
	l->count--;
}

#endif
