/*
 * admin/console.h - the console: database pgbouncer, behind which there is no server.
 *
 * A console client stays on the Worker that accepted it. A command travels to
 * the control role, which takes one at a time, asks every Worker for its part
 * where needed (crew_gather), and sends the finished answer back; the client,
 * named by Worker and id, may be gone by then.
 *
 * Rules: console specification.  Tests: test/unit/test_console.c, test/system/test_console.py
 */
#ifndef ADMIN_CONSOLE_H
#define ADMIN_CONSOLE_H

#include "net/dns.h"
#include "net/listener.h"
#include "pool/client.h"
#include "pool/room.h"

/* What the console asks of the process; given by main, called on the control role's thread only. */
struct control_ops {
	/* done may be called before it returns. loaded: the file was good; tls_ok: so were the TLS settings. */
	void (*reload)(void (*done)(void *ctx, bool loaded, bool tls_ok), void *ctx);
	void (*set)(const char *key, const char *value, void (*done)(void *ctx, bool set, bool tls_ok), void *ctx);
	/* SHUTDOWN_IMMEDIATE ends the loop at the end of this turn. */
	void (*shutdown)(enum shutdown_mode);
	struct config *(*config)(void); /* the current snapshot, borrowed for the call */
	struct dns *(*dns)(void);
	enum pause_mode (*pause)(void);
	/* PAUSE, RESUME, SUSPEND of everything: sets the mode on every Worker, then done. */
	void (*set_pause)(enum pause_mode, void (*done)(void *ctx), void *ctx);
	enum shutdown_mode (*shutdown_mode)(void);
	void (*each_listener)(listeners_row *, void *arg);
	/* The sockets of a suspended process were given to a successor: unless a RESUME comes, they are his. */
	void (*handed_over)(void);
	void (*status)(const char *text); /* one line for the service manager, each stats_period */
	bool (*certificate)(uint8_t sha256[32]); /* of the certificate that clients see; false: none */
};

/* Line 1 of --version, also the value of SHOW VERSION. */
#define PROGRAM_VERSION_LINE "PgBouncer 1.25.2 (pg-ecdsa-proxy " PACKAGE_VERSION ")"
#define PROGRAM_SERVER_VERSION "1.25.2/bouncer"

/* Once, before the first client. Both structs are borrowed for the life of the process. */
void console_init(struct pooler *, const struct control_ops *);
extern const struct console_ops console_ops;
/* SHOW STATS' averages and the log line: called by the control role's timer every stats_period. */
void console_stats_tick(void);
/* After the threads have ended and crew_settle(), before rooms and registry go: forgets the commands that wait. */
void console_stop(void);

#endif
