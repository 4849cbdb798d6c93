#include "pool/ledger.h"

#include <stdio.h>
#include <string.h>

void ledger_init(struct ledger *l)
{
	pthread_mutex_init(&l->lock, NULL);
	l->servers = 0;
}

void ledger_destroy(struct ledger *l)
{
	pthread_mutex_destroy(&l->lock);
}

static int total(const struct ledger_pool *p)
{
	return p->count[KIND_LOGIN] + p->count[KIND_CONNECTED] + p->count[KIND_CANCEL];
}

static enum ledger_answer grant(struct ledger *l, struct ledger_pool *p, enum ledger_answer how, usec_t now)
{
	p->login_taken = true;
	p->attempt_at = now;
	p->count[KIND_LOGIN]++;
	p->database->servers++;
	p->user->servers++;
	l->servers++;
	return how;
}

static enum ledger_answer decide(struct ledger *l, struct ledger_pool *p, const struct ledger_limits *lim,
				 enum ledger_purpose purpose, usec_t waiting_since, usec_t now, usec_t *until)
{
	enum ledger_answer how = LEDGER_LAUNCH;

	*until = 0;
	/* 1. One attempt a pool at a time. */
	if (p->login_taken)
		return LEDGER_WAIT;
	/* 2. A pause after a failure, counted from the start of the attempt. */
	if ((p->last_login_failed || p->last_connect_failed) && now - p->attempt_at < lim->login_retry) {
		*until = p->attempt_at + lim->login_retry;
		return LEDGER_WAIT;
	}
	/* 4. A cancel request passes by the other limits. */
	if (purpose == FOR_CANCEL) {
		if (lim->pool_size > 0 && total(p) >= 2 * lim->pool_size)
			return LEDGER_WAIT;
		return grant(l, p, how, now);
	}
	if (purpose == FOR_MIN_SIZE && (p->count[KIND_CONNECTED] >= lim->min_pool_size ||
					(lim->pool_size > 0 && p->count[KIND_CONNECTED] >= lim->pool_size)))
		return LEDGER_WAIT;
	/* 5. The pool's own size, then its reserve. Without a greeting a pool must be able to recover. */
	if (lim->pool_size > 0 && total(p) >= lim->pool_size && p->has_greeting) {
		if (purpose != FOR_CLIENT || lim->reserve_size <= 0 || lim->reserve_timeout <= 0 ||
		    total(p) >= lim->pool_size + lim->reserve_size)
			return LEDGER_WAIT;
		if (now - waiting_since < lim->reserve_timeout) {
			*until = waiting_since + lim->reserve_timeout;
			return LEDGER_WAIT;
		}
		how = LEDGER_LAUNCH_RESERVE;
	}
	/* 6, 7. Limits over several pools; rule 8: only a client's need is worth an eviction. */
	if (lim->max_db_connections > 0 && p->database->servers >= lim->max_db_connections)
		return purpose == FOR_CLIENT ? LEDGER_EVICT_DATABASE : LEDGER_WAIT;
	if (lim->max_user_connections > 0 && p->user->servers >= lim->max_user_connections)
		return purpose == FOR_CLIENT ? LEDGER_EVICT_USER : LEDGER_WAIT;
	return grant(l, p, how, now);
}

enum ledger_answer ledger_want(struct ledger *l, struct ledger_pool *p, const struct ledger_limits *lim,
			       enum ledger_purpose purpose, usec_t waiting_since, usec_t now, usec_t *until)
{
	enum ledger_answer answer;

	pthread_mutex_lock(&l->lock);
	answer = decide(l, p, lim, purpose, waiting_since, now, until);
	pthread_mutex_unlock(&l->lock);
	return answer;
}

void ledger_login_done(struct ledger *l, struct ledger_pool *p)
{
	pthread_mutex_lock(&l->lock);
	p->login_taken = false;
	p->last_login_failed = p->last_connect_failed = false;
	p->error[0] = 0;
	p->count[KIND_LOGIN]--;
	p->count[KIND_CONNECTED]++;
	pthread_mutex_unlock(&l->lock);
}

void ledger_login_to_cancel(struct ledger *l, struct ledger_pool *p)
{
	pthread_mutex_lock(&l->lock);
	p->login_taken = false;
	p->last_connect_failed = false;
	p->count[KIND_LOGIN]--;
	p->count[KIND_CANCEL]++;
	pthread_mutex_unlock(&l->lock);
}

void ledger_server_gone(struct ledger *l, struct ledger_pool *p, enum server_kind kind, bool while_connecting,
			const char *error)
{
	pthread_mutex_lock(&l->lock);
	p->count[kind]--;
	p->database->servers--;
	p->user->servers--;
	l->servers--;
	if (kind == KIND_LOGIN) {
		p->login_taken = false;
		if (error) {
			p->last_login_failed = true;
			p->last_connect_failed = while_connecting;
			snprintf(p->error, sizeof(p->error), "%s", error);
		}
	}
	pthread_mutex_unlock(&l->lock);
}

bool ledger_failing(struct ledger *l, struct ledger_pool *p, char *error, size_t cap)
{
	bool failing;

	pthread_mutex_lock(&l->lock);
	failing = p->last_login_failed && p->count[KIND_CONNECTED] + p->count[KIND_CANCEL] == 0;
	if (failing)
		snprintf(error, cap, "%s", p->error);
	pthread_mutex_unlock(&l->lock);
	return failing;
}

bool ledger_lifetime_close(struct ledger *l, struct ledger_pool *p, usec_t lifetime, int pool_size, usec_t now)
{
	bool may;

	/* Spread over time, so that a pool does not lose all its servers at once. */
	pthread_mutex_lock(&l->lock);
	may = p->lifetime_close_at == 0 || pool_size <= 0 || now - p->lifetime_close_at >= lifetime / pool_size;
	if (may)
		p->lifetime_close_at = now;
	pthread_mutex_unlock(&l->lock);
	return may;
}

void ledger_set_greeting(struct ledger *l, struct ledger_pool *p, bool known)
{
	pthread_mutex_lock(&l->lock);
	p->has_greeting = known;
	pthread_mutex_unlock(&l->lock);
}

bool ledger_below_min(struct ledger *l, struct ledger_pool *p, const struct ledger_limits *lim)
{
	bool below;

	pthread_mutex_lock(&l->lock);
	below = p->count[KIND_CONNECTED] < lim->min_pool_size &&
		(lim->pool_size <= 0 || p->count[KIND_CONNECTED] < lim->pool_size);
	pthread_mutex_unlock(&l->lock);
	return below;
}

int ledger_surplus(struct ledger *l, struct ledger_pool *p, const struct ledger_limits *lim)
{
	int over = 0;

	pthread_mutex_lock(&l->lock);
	if (lim->pool_size > 0)
		over = p->count[KIND_CONNECTED] - lim->pool_size - (lim->reserve_size > 0 ? lim->reserve_size : 0);
	pthread_mutex_unlock(&l->lock);
	return over > 0 ? over : 0;
}

int ledger_connected(struct ledger *l, struct ledger_pool *p)
{
	int n;

	pthread_mutex_lock(&l->lock);
	n = p->count[KIND_CONNECTED];
	pthread_mutex_unlock(&l->lock);
	return n;
}
