/*
 * net/conn.h - an fd, maybe TLS, some bytes, a deadline. It has never heard
 * of PostgreSQL.
 *
 * Registered once, edge-triggered; pausing is not reading, so waiting clients
 * and back-pressure cost no system call. An idle connection owns no buffer:
 * bytes are read into the Worker's scratch and shown to the owner, what he
 * leaves (an incomplete header, a message that has to wait) is kept in `in`
 * and shown again, in front of what comes next.
 *
 * A small send waits for the end of the Worker's turn (net/send_batch.h), a
 * larger one goes straight to the socket; what that refuses waits in `out`,
 * and `drained` tells when it is gone. TLS is a filter below that the owner
 * cannot tell apart.
 *
 * A Conn lives inside its owner (client, server) and belongs to one Worker.
 * To change Worker: conn_detach() there, send the owner, conn_attach() here;
 * unread bytes, unsent bytes and TLS state travel along.
 *
 * Developer builds read the environment variable PGECDSA_FAULTS, a list of:
 * read1 (recv takes one byte), send1 (send takes one byte), nouring (the
 * kernel has no io_uring), uringbreaks (it has, but takes nothing), nobelt
 * (who waits in a pool is not made to ask again by maintenance: pool/share.c).
 */
#ifndef NET_CONN_H
#define NET_CONN_H

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "lib/span.h"
#include "net/sockets.h"
#include "net/worker.h"

#define CONN_MAGIC 0x434f4e4e
#define CONN_HIGH_MARK (64 * 1024) /* above it the other side is not read */

struct tls_filter;
struct conn;

enum conn_end {
	CONN_EOF,	  /* the peer closed, after everything before was shown */
	CONN_ERROR,	  /* socket error; errno value beside it */
	CONN_TLS_FAILED,  /* handshake or record error; see conn_tls_error() */
	CONN_NO_MEMORY
};

/* Any of them may retire the Conn. */
struct conn_ops {
	/*
	 * Returns how many bytes are used up. The rest is shown again with
	 * what comes behind it, or after conn_resume().
	 */
	size_t (*bytes)(struct conn *, const uint8_t *bytes, size_t n);
	void (*drained)(struct conn *);				/* out became empty */
	void (*ended)(struct conn *, enum conn_end, int err);	/* nothing more will come */
	void (*deadline)(struct conn *);			/* the filed time has come */
	void (*connected)(struct conn *, int err);		/* err 0: the socket is up */
	void (*tls_up)(struct conn *);				/* handshake done; may be NULL */
};

struct conn {
	const struct conn_ops *ops; /* borrowed */
	struct worker *worker;	    /* borrowed; NULL in transit */
	struct event event;
	struct event *write_event; /* owned; only between a refused send and its drain, or while connecting */
	struct list ready_link;
	struct list confirm_link; /* on the Worker's list of short reads to be confirmed */
	struct wheel_node deadline;
	struct retiree retiree;
	struct tls_filter *tls; /* owned; NULL: plain */
	struct buf *in;		/* owned; NULL when empty */
	struct buf *out;	/* owned; NULL when empty */
	size_t read_limit;	/* the next read takes no more; 0: no limit. Not with TLS, where it makes no sense */
	uint32_t magic;
	int fd; /* owned */
	int error;
	uint8_t batch_slot;	/* 0, or one more than its index in the Worker's send batch */
	bool may_read : 1;	/* an edge was seen, and no short read since */
	bool peer_closed : 1;	/* EV_CLOSED was seen: read on to the end */
	bool is_paused : 1;
	bool is_suspended : 1;	/* nothing is read, told or timed out until conn_unsuspend() */
	bool is_frozen : 1;	/* nor sent */
	bool has_big_reads : 1;	/* reads with read_cap instead of idle_read_cap */
	bool wants_redelivery : 1;
	bool is_connecting : 1;
	bool is_handshaking : 1;
	bool is_failed : 1;
	bool is_retired : 1;
	bool in_is_cipher : 1;	/* `in` holds what TLS is to be fed */
	bool is_corked : 1;
	bool tls_closed : 1;	/* close_notify came while paused */
	bool is_unix : 1;
};

/* Without a socket: it has a deadline and nothing else. */
void conn_init(struct conn *, struct worker *, const struct conn_ops *);
/* Takes fd. 0, or -1 without memory or epoll room; the fd is closed then. */
int conn_open(struct conn *, struct worker *, int fd, const struct conn_ops *) MUST_CHECK;
/* A non-blocking connect; `connected` is called later, never from in here. err: errno value on -1. */
int conn_connect(struct conn *, struct worker *, const struct sockaddr *, socklen_t, const struct tcp_options *,
		 const struct conn_ops *, int *err) MUST_CHECK;
/* Releases everything but the memory of the Conn itself; worker_retire() the owner afterwards. */
void conn_close(struct conn *);

/* Sends, in order. What the socket does not take is copied. false: the connection has failed; `ended` follows. */
bool conn_write(struct conn *, const struct iovec *, int n);
bool conn_send(struct conn *, const void *bytes, size_t n);
bool conn_send_buf(struct conn *, struct buf *); /* and clears it */
/* Without waiting for the end of the turn. */
void conn_send_now(struct conn *);
/* Bytes that the socket has not taken; those that wait for the end of the turn are offered to it first. */
size_t conn_unsent(struct conn *);
/* Bytes that the socket has refused so far: what back-pressure looks at after each write. */
static inline size_t conn_backlog(const struct conn *c)
{
	return c->out ? buf_len(c->out) : 0;
}
/* What is sent while corked waits, so that several answers leave in one piece; conn_uncork() sends it. */
void conn_cork(struct conn *);
void conn_uncork(struct conn *);

void conn_pause(struct conn *);
void conn_resume(struct conn *); /* what waits is shown at the next step 3, not from in here */
/*
 * SUSPEND of the whole process: beside the owner's own pauses. Nothing is read, no end is told, deadlines wait. The
 * owner may still send.
 */
void conn_suspend(struct conn *);
/* Neither may the owner: what is unsent stays as it is, so that another process can be told. */
void conn_freeze(struct conn *);
void conn_unsuspend(struct conn *);
/* Nothing was read that has not been used up, and no handshake is under way. */
bool conn_has_read_all(const struct conn *);
/* Puts it on the ready list to be read, as if an edge had come. */
void conn_poke(struct conn *);

/*
 * Begins the handshake as accepting or connecting side. With input_is_cipher the bytes that the owner now leaves are
 * the peer's first records. false: out of memory, or the Conn has failed.
 */
bool conn_start_tls(struct conn *, SSL_CTX *, bool accepting, const char *host, bool verify_name, bool input_is_cipher);
const char *conn_tls_error(const struct conn *);
/* "TLSv1.3/SUITE", or "" without TLS. */
void conn_tls_describe(const struct conn *, char *out, size_t cap);

/* The peer showed a certificate, and it passed verification. */
bool conn_peer_is_verified(const struct conn *);
/* That certificate carries this name: see tls_filter_peer_name_matches(). */
bool conn_peer_has_name(const struct conn *, const char *name);

/* Files it at due, unless it is filed earlier already; 0 forgets it. */
void conn_set_deadline(struct conn *, usec_t due);

/* Is this word among the faults asked for? */
#ifdef DEVELOPER
bool conn_fault(const char *word);
#else
#define conn_fault(word) false
#endif

void conn_detach(struct conn *);
int conn_attach(struct conn *, struct worker *) MUST_CHECK;

/*
 * Online restart. What another process had read and its owner not used up, and what the socket had not taken from it:
 * shown and sent as if it had happened here. false: out of memory.
 */
bool conn_restore(struct conn *, struct span in, struct span out) MUST_CHECK;
/* The other way round: another process goes on with the socket, so nothing may be said through it any more. */
void conn_abandon(struct conn *);

/* For the send batch: the Conn's own bytes come back, sent with this result of send(2) (negative: -errno), or not yet. */
void conn_sent(struct conn *, const struct iovec *, int result);
void conn_send_late(struct conn *, const struct iovec *);

/* For the Worker. */
void conn_ready_turn(struct conn *);
void conn_deadline_due(struct wheel_node *);
/*
 * A short read is taken for an empty socket, which saves the recv that would say EAGAIN. A reset that shares the edge
 * with data is lost that way, since libevent reports it as readable and no more. So a Conn that fell silent after a
 * short read is asked once, a second later.
 */
void conn_confirm(struct conn *);

#endif
