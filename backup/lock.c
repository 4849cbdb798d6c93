#include "backup/lock.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/command.h"
#include "backup/event.h"
#include "backup/pg.h"
#include "lib/mem.h"
#include "lib/net_order.h"

#define ASK_EVERY (2 * USEC_PER_SEC)
#define KEEP_ALIVE (30 * USEC_PER_SEC)
#define ANSWER_LIMIT (30 * USEC_PER_SEC)

struct lock {
	struct program *program; /* borrowed */
	const char *kind;	 /* borrowed */
	char *database;		 /* owned; NULL: the configured one */
	struct pg *pg;		 /* owned; NULL: not connected */
	bool is_held, was_broken;
	struct loop_timer alive;
	char why[512];
};

int32_t lock_number(const char *kind, const char *bucket, const char *prefix)
{
	char *text = xasprintf("%s:%s/%s", kind, bucket, prefix);
	uint8_t digest[SHA256_DIGEST_LENGTH];

	SHA256((const uint8_t *)text, strlen(text), digest);
	free(text);
	return (int32_t)get_u32(digest);
}

static void hang_up(struct lock *l)
{
	loop_timer_clear(l->program->loop, &l->alive);
	pg_close(l->pg);
	l->pg = NULL;
	l->is_held = false;
}

static void lost(struct lock *l, const char *why)
{
	EVENT(LEVEL_WARNING, "lock_lost", F_TEXT("lock", l->kind), F_TEXT("reason", why));
	l->was_broken = true;
	l->is_held = false;
	/* The connection is closed by whoever asks next: this may be one of its callbacks. */
}

static void on_alive_answer(void *ctx, PGresult *r)
{
	struct lock *l = ctx;

	if (!r)
		lost(l, pg_why(l->pg));
	else
		loop_timer_set(l->program->loop, &l->alive, loop_now() + KEEP_ALIVE);
	PQclear(r);
}

static void on_alive(struct loop_timer *t)
{
	struct lock *l = CONTAINER_OF(t, struct lock, alive);

	if (!l->pg || !l->is_held)
		return;
	if (pg_is_busy(l->pg)) /* since half a minute: the server or the network is gone */
		lost(l, "no answer");
	else if (!pg_ask_later(l->pg, "SELECT 1", on_alive_answer, l))
		lost(l, pg_why(l->pg));
	else
		loop_timer_set(l->program->loop, &l->alive, loop_now() + KEEP_ALIVE);
}

struct lock *lock_new(struct program *p, const char *kind, const char *database)
{
	struct lock *l = xcalloc(1, sizeof(*l));

	l->program = p;
	l->kind = kind;
	l->database = xstrdup(database);
	l->alive.fire = on_alive;
	return l;
}

void lock_free(struct lock *l)
{
	if (!l)
		return;
	hang_up(l);
	free(l->database);
	free(l);
}

static enum lock_state unreachable(struct lock *l)
{
	enum pg_failure f = pg_failure(l->pg);

	snprintf(l->why, sizeof(l->why), "%s", pg_why(l->pg));
	hang_up(l);
	return f == PG_INTERRUPTED ? LOCK_INTERRUPTED : LOCK_UNREACHABLE;
}

static bool connect_to_primary(struct lock *l, usec_t patience)
{
	const struct pg_target t = pg_target_of(l->program->config, l->database);

	l->pg = pg_connect_patiently(l->program->loop, &t, patience);
	if (pg_failure(l->pg) != PG_FINE)
		return false;
	/* Nothing that a database or role has as its default may end this session. */
	return pg_do(l->pg, ANSWER_LIMIT, pg_version(l->pg) >= 140000 ?
		     "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_session_timeout = 0" :
		     "SET statement_timeout = 0; SET lock_timeout = 0");
}

static enum lock_state try_once(struct lock *l, usec_t connect_patience)
{
	const struct config *c = l->program->config;
	char sql[128], got[8];

	if (l->pg && (!pg_is_usable(l->pg) || l->was_broken))
		hang_up(l);
	if (!l->pg && !connect_to_primary(l, connect_patience))
		return unreachable(l);
	snprintf(sql, sizeof(sql), "SELECT pg_catalog.pg_try_advisory_lock(%d, %d)", LOCK_CLASS,
		 (int)lock_number(l->kind, program_bucket(l->program), c->s3_prefix));
	if (!pg_ask_text(l->pg, ANSWER_LIMIT, sql, 0, NULL, got, sizeof(got)))
		return unreachable(l);
	if (strcmp(got, "t") != 0)
		return LOCK_ELSEWHERE;
	l->is_held = true;
	loop_timer_set(l->program->loop, &l->alive, loop_now() + KEEP_ALIVE);
	return LOCK_HELD;
}

enum lock_state lock_take(struct lock *l, usec_t connect_patience, usec_t patience)
{
	usec_t end = loop_now() + patience;
	bool has_told = false;

	l->was_broken = false;
	for (;;) {
		const bool never = false;
		enum lock_state s = try_once(l, connect_patience);

		if (s != LOCK_ELSEWHERE || loop_now() >= end)
			return s;
		if (!has_told)
			EVENT(LEVEL_LOG, "lock_wait", F_TEXT("lock", l->kind),
			      F_REAL("at_most", (double)patience / (double)USEC_PER_SEC));
		has_told = true;
		if (loop_wait_until(l->program->loop, &never, loop_now() + ASK_EVERY) == LOOP_INTERRUPTED)
			return LOCK_INTERRUPTED;
	}
}

bool lock_seems_held(const struct lock *l)
{
	return l->is_held;
}

bool lock_was_broken(const struct lock *l)
{
	return l->was_broken;
}

enum lock_state lock_confirm(struct lock *l)
{
	enum lock_state s;

	if (l->is_held && pg_do(l->pg, ANSWER_LIMIT, "SELECT 1"))
		return LOCK_HELD;
	if (l->is_held)
		lost(l, pg_why(l->pg));
	s = try_once(l, ANSWER_LIMIT);
	l->was_broken = true;
	return s;
}

void lock_release(struct lock *l)
{
	hang_up(l);
}

const char *lock_why(const struct lock *l)
{
	return l->why;
}
