/*
 * net/worker.h - one thread, one event loop, one inbox.
 *
 * A turn of the loop (worker_run):
 *
 *	1 deadlines that are due	4 messages of the inbox
 *	2 socket events			5 shares with something to decide (on_turn)
 *	3 the ready list		6 the send batch and the outboxes are sent
 *					7 memory of retired objects is freed
 *
 * Reading happens at 2 and 3 only, so the scratch buffers have one user at a
 * time and recursion is one level deep: read, owner, send. Whoever wants a
 * connection to go on puts it on the ready list.
 *
 * Retire now, free at the end of the turn: a retired object has left its
 * lists and gets no more events, but its memory stays until step 7, because
 * somebody further up the stack may still hold it.
 *
 * Everything a Worker owns is touched by its thread only. What crosses
 * threads is a message: it goes into the outbox of its destination, and at
 * the end of the turn all of them at once into the inbox there (one lock, one
 * append, one eventfd write if it was empty). Order between two threads is
 * kept.
 *
 * The control role (net/crew.h) is a Worker too: the only one with
 * worker_threads = 1, a further one without clients otherwise.
 */
#ifndef NET_WORKER_H
#define NET_WORKER_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "lib/buf.h"
#include "lib/list.h"
#include "lib/wheel.h"
#include "net/send_batch.h"

#define WORKER_SCRATCH_BYTES (64 * 1024)
#define WORKER_HEADROOM_BYTES 4096	 /* a remainder of the last read goes before the next one */
#define WORKER_SPARES 32		 /* buffers that wait for their next use, */
#define WORKER_SPARE_BYTES (8 * 1024)	 /* none larger than this */
#define WORKER_HANDSHAKES_A_TURN 16 /* so that a login storm does not hold up queries */

struct worker;
struct crew;

/* First member of whatever is sent. deliver runs on the receiver's thread and owns the message. */
struct message {
	struct list link;
	void (*deliver)(struct worker *, struct message *);
};

/* First member of, or inside, an object that dies by worker_retire(). */
struct retiree {
	struct list link;
	void (*release)(struct retiree *);
};

struct worker {
	struct crew *crew;	 /* borrowed */
	int index;		 /* in crew->workers */
	void *room;		 /* of the pool room; borrowed */
	void (*on_turn)(struct worker *); /* step 5; set by the pool room */
	struct event_base *base; /* owned */
	usec_t turn_now;
	bool clock_is_read;
	bool wants_stop;

	uint8_t *scratch;	 /* owned: headroom + 64 KiB of plain bytes */
	uint8_t *cipher_scratch; /* owned: what TLS connections receive */
	struct buf cipher_out;	 /* owned: what TLS filters produced in this call */
	size_t read_cap;	 /* bytes a linked connection reads at once */
	size_t idle_read_cap;	 /* the same for a client without server */
	int loop_reads;		 /* sbuf_loopcnt; 0: no limit */
	int handshakes_left;
	struct send_batch sends;
	struct buf *spares[WORKER_SPARES]; /* owned; empty and wiped, for what connections have to keep */
	int spare_count;

	struct list ready;	 /* conns, through conn.ready_link */
	struct list retired;
	struct wheel wheel;
	struct event wheel_timer;
	usec_t wheel_armed; /* 0: not */

	/* conns whose last read was short, and that were not asked again since: see conn_confirm() */
	struct list unconfirmed, unconfirmed_old;
	struct event confirm_timer;
	bool confirm_armed;

	struct list *outboxes; /* owned array, one a destination */
	struct list self_box;  /* messages to ourselves */
	int inbox_fd;	       /* eventfd */
	bool inbox_rang;       /* since the list was last taken */
	struct event inbox_event;
	pthread_mutex_t inbox_lock;
	struct list inbox; /* under inbox_lock */
	pthread_t thread;
	atomic_int client_count; /* with those on their way here; read by the control role to place sockets */
};

/* NULL: no event base with edge triggers, or out of memory; logged. Threads: the caller's only. */
struct worker *worker_new(struct crew *, int index);
void worker_free(struct worker *);
void worker_run(struct worker *); /* until worker_stop() */
void worker_stop(struct worker *);
/* For crew_settle(), after the thread has ended: one round of step 4 and 6. false: there was nothing. */
bool worker_settle(struct worker *);

usec_t clock_monotonic(void);
/* Monotonic time, read once a turn. */
static inline usec_t worker_now(struct worker *w)
{
	if (!w->clock_is_read) {
		w->turn_now = clock_monotonic();
		w->clock_is_read = true;
	}
	return w->turn_now;
}

/* Takes the message. from is the calling Worker. */
void worker_post(struct worker *from, struct worker *to, struct message *);
/* The same from a thread that is no Worker. */
void worker_post_foreign(struct worker *to, struct message *);

void worker_retire(struct worker *, struct retiree *, void (*release)(struct retiree *));
/* Sends what waits for the end of the turn: for whoever is about to keep the processor for long. */
static inline void worker_send_now(struct worker *w)
{
	send_batch_flush(&w->sends);
}

/* For conns: see conn_confirm(). */
void worker_confirm_later(struct worker *, struct list *confirm_link);

#endif
