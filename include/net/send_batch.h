/*
 * net/send_batch.h - what a Worker's connections have to say in one turn of
 * its loop, kept until its end and then sent together.
 *
 * Most of what a pooler costs is send(): each one wakes its receiver, who may
 * take the processor from us before the next is sent. Kept back until
 * everything that was ready has been read, and handed to the kernel by one
 * system call (io_uring, where it is to be had), the sends of a turn cost a
 * quarter less, and those who wake up find more to do at once. Elsewhere they
 * go one by one at the same place, which is already cheaper than between the
 * reads.
 *
 * A connection has at most one entry, since two of them could overtake each
 * other where the first is taken in part. Nothing here waits: a socket that is
 * full takes nothing, and the Conn hears what was taken by conn_sent().
 *
 * Part of a Worker, touched by its thread only.
 */
#ifndef NET_SEND_BATCH_H
#define NET_SEND_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define SEND_BATCH_ENTRIES 64
#define SEND_BATCH_BYTES (64 * 1024)
/* What is larger goes out at once: a copy would cost more than it saves. */
#define SEND_BATCH_PIECE (8 * 1024)

struct conn;
struct send_ring;

struct send_entry {
	struct conn *conn; /* borrowed; NULL: it went another way meanwhile */
	uint32_t at, len;  /* in bytes */
};

struct send_batch {
	uint8_t *bytes; /* owned, SEND_BATCH_BYTES */
	size_t used;
	int n;
	struct send_entry entries[SEND_BATCH_ENTRIES];
	bool wants_ring;	/* the setting io_uring */
	bool has_no_ring;	/* the kernel has refused one, or it broke: not tried again */
	bool is_quiet;		/* another Worker's says why */
	struct send_ring *ring; /* owned; NULL: not yet, or not to be had */
};

void send_batch_init(struct send_batch *);
/* The setting io_uring: on the thread that uses the batch, or before there is one. */
void send_batch_want(struct send_batch *, bool wants_ring);
/* On the thread that will use it, so that the log says early whether there is io_uring. */
void send_batch_start(struct send_batch *);
/* And at that thread's end: another one that gave the ring up would lose the registration of its own. */
void send_batch_stop(struct send_batch *);
void send_batch_free(struct send_batch *);

/*
 * Copies the pieces behind what the connection has here already. false: they are too large, or the entry was sent to
 * make room and not all of it was taken; then nothing was copied.
 */
bool send_batch_add(struct send_batch *, struct conn *, const struct iovec *, int n);
/* Sends everything; the connections hear of it in here. */
void send_batch_flush(struct send_batch *);
/* Takes the connection's bytes out again, borrowed until the next call of anything here; to is empty if there are none. */
void send_batch_take(struct send_batch *, struct conn *, struct iovec *to);

#endif
