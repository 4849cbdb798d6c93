/*
 * takeover.h - the online restart (-R): sockets, clients and servers of the
 * running process go on in this one.
 *
 *	takeover_begin()	SUSPEND, SHOW FDS, SHOW HANDOVER: all is here, and
 *				the old process could still go on by itself
 *	(background, rooms)
 *	takeover_listeners()	this process's listeners
 *	takeover_replay()	its memory of used proofs
 *	takeover_adopt()	connections become clients and servers
 *	takeover_finish()	SHUTDOWN; the old process is gone, and this one goes on
 *
 * Whatever fails before the last step leaves the old process at work: its
 * console is closed, and it resumes. If it is the old one that dies, then
 * before it has told everything this start is an ordinary one, and after that
 * it goes on as if the old process had been told to end.
 *
 * Rules: behaviour specification, section 32; configuration, 16 to 19.
 * Tests: test/system/test_reboot.py, test_reboot_faults.py
 */
#ifndef TAKEOVER_H
#define TAKEOVER_H

#include "auth/replay.h"
#include "config/config.h"
#include "net/listener.h"
#include "pool/room.h"

struct takeover;

enum takeover_outcome {
	TAKEOVER_NONE,	/* there is no old process: an ordinary start */
	TAKEOVER_READY, /* *out is to be carried on */
	TAKEOVER_FAILED /* logged; takeover_exit_status() */
};

/* Before any fork and thread. */
enum takeover_outcome takeover_begin(const struct settings *, struct takeover **out) MUST_CHECK;
/* NULL: logged, FATAL. */
struct listeners *takeover_listeners(struct takeover *, const struct listen_options *) MUST_CHECK;
/* The used proofs that the old process remembers. false: it has told of none; or not of all, which is logged. */
bool takeover_replay(const struct takeover *, struct replay *, int64_t now) MUST_CHECK;
/* Rooms are there, threads are not. */
void takeover_adopt(struct takeover *, struct pooler *);
/* -1: logged, FATAL. */
int takeover_finish(struct takeover *, struct pooler *, const char *pidfile) MUST_CHECK;
void takeover_free(struct takeover *); /* NULL is fine */
int takeover_exit_status(void);

#endif
