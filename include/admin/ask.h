/*
 * admin/ask.h - one console command on its way: from the client's Worker to
 * the control role, and back with the answer.
 *
 *	Worker   ask_new, ask_send
 *	control  queued; one runs at a time; what it runs ends in exactly one of
 *		 ask_done, ask_fail, ask_invalid, ask_silent, or waits (ask_wait)
 *	Worker   console_answer(), which frees it
 *
 * A command that waits for servers to go (PAUSE, WAIT_CLOSE) steps out of the
 * queue, so that a RESUME can get through; a timer looks after it.
 */
#ifndef ADMIN_ASK_H
#define ADMIN_ASK_H

#include "admin/command.h"
#include "admin/console.h"
#include "admin/table.h"
#include "lib/buf.h"
#include "net/crew.h"
#include "pool/room.h"

#define CONSOLE_SQLSTATE "08P01"

enum waits_for { WAITS_NOT, WAITS_PAUSE, WAITS_DATABASE_PAUSE, WAITS_SUSPEND, WAITS_CLOSE };

struct ask {
	struct message message; /* first */
	struct list link;	/* the queue, or those that wait; control role */
	int worker;		/* where the client is; it may be gone */
	uint64_t client_id;
	bool is_admin;
	bool is_own_uid; /* user pgbouncer, by the Unix socket, of the process's own Unix user */
	bool wants_heading; /* the extended protocol has sent it with Describe */
	enum command_verdict verdict;
	struct command command;
	char *text; /* owned: as the client sent it */

	enum waits_for waits_for;
	bool is_cancelled; /* while it waited */
	bool is_orphan;	   /* the client has gone before the command began */
	struct database *database; /* counted: what the command names; NULL: none, or all */

	/* The answer: messages without ReadyForQuery, or an error. */
	struct buf answer;
	char *error; /* owned; NULL: none */
	const char *sqlstate;
	struct fds_answer *fds; /* owned: of SHOW FDS, the descriptors that go with its rows; NULL: none */
	bool is_silent; /* nothing is said, the client is left paused */

	/* Asked by the process itself, not by a client: called on the control role, and takes the ask. */
	void (*answered)(struct ask *);
	void *ctx; /* of answered */
};

/* NULL: out of memory. text is copied. */
struct ask *ask_new(struct client *, const char *text);
void ask_free(struct ask *);
void ask_forget(struct ask *); /* at the end of the process: off its list, and freed */
void ask_send(struct worker *, struct ask *); /* takes it */
/*
 * On the control role, for itself: with the rights of a stats user. It may be
 * answered before this returns; what is still queued at the end of the process
 * never is. false: out of memory.
 */
MUST_CHECK bool ask_here(const char *text, void (*answered)(struct ask *), void *ctx);

/* The rest is the control role's. Each of these takes the ask. */
void ask_done(struct ask *, const char *tag); /* CommandComplete behind what is in answer */
void ask_fail(struct ask *, const char *sqlstate, const char *fmt, ...) PRINTF_LIKE(3, 4);
void ask_invalid(struct ask *);
void ask_silent(struct ask *);
void ask_wait(struct ask *, enum waits_for); /* waiting.c */
/* Out of the queue without an answer; then ask_go_on(). */
void ask_step_aside(struct ask *);
void ask_go_on(void);
bool ask_is_running(uint64_t client_id);

/* The client's end (console.c); runs on the client's Worker and takes the ask. */
void console_answer(struct worker *, struct message *);

/* What the console knows of the process; written once by console_init(). */
struct console_host {
	struct pooler *pooler;
	const struct control_ops *ops;
};
extern struct console_host console_host;

/*
 * The console's own pool has no share: what it would count. Relaxed: written
 * by every Worker, read for display.
 */
struct console_counters {
	atomic_uint_least64_t commands, logins;
};
extern struct console_counters console_counters;

/* verbs.c: runs a command whose turn has come. */
void verb_run(struct ask *);
/* kill_wallet.c: one of them, with a file of its own. */
void kill_wallet_run(struct ask *);
/* Clears the flag of PAUSE db, on every Worker. */
void verb_end_pause(struct database *);

/* From the client's Worker: it is going; a cancel request has its key. */
void console_client_gone(struct client *);
void console_cancelled(struct client *);

#endif
