#include "pool/ledger.h"

#include <stdio.h>
#include <string.h>

void ledger_init(struct ledger *l)
{
	pthread_mutex_init(&l->lock, NULL);
	l->servers = 0;
	list_init(&l->nudged);
	atomic_init(&l->nudged_count, 0);
}

void ledger_destroy(struct ledger *l)
{
	pthread_mutex_destroy(&l->lock);
}

void ledger_group_init(struct ledger_group *g)
{
	list_init(&g->pools);
	list_init(&g->blocked);
	atomic_init(&g->blocked_count, 0);
}

/* --- who waits for whom; all with the lock held ---------------------------- */

static void unblock(struct ledger_pool *p)
{
	if (list_empty(&p->blocked_link))
		return;
	list_del(&p->blocked_link);
	atomic_fetch_sub(&p->group[p->blocked_on]->blocked_count, 1);
}

/* In line for what the others of this group give up. Whoever waits longest is asked first. */
static void block(struct ledger_pool *p, enum group_kind kind, usec_t since)
{
	struct list *after = p->group[kind]->blocked.prev;

	while (after != &p->group[kind]->blocked &&
	       LIST_ITEM(after, struct ledger_pool, blocked_link)->blocked_since > since)
		after = after->prev;
	p->blocked_on = kind;
	p->blocked_since = since;
	list_add_head(after, &p->blocked_link);
	atomic_fetch_add(&p->group[kind]->blocked_count, 1);
	p->nudges &= ~BIT(kind);
}

/* There may be room for one more: the first in line is to ask again. */
static void nudge_first(struct ledger *l, struct ledger_group *g, enum group_kind kind)
{
	struct ledger_pool *p;

	if (list_empty(&g->blocked))
		return;
	p = LIST_ITEM(g->blocked.next, struct ledger_pool, blocked_link);
	unblock(p);
	p->nudges |= BIT(kind);
	if (!list_empty(&p->nudged_link))
		return;
	list_add_tail(&l->nudged, &p->nudged_link);
	atomic_fetch_add(&l->nudged_count, 1);
}

static void nudge_over(struct ledger *l, struct ledger_pool *p)
{
	unsigned left = p->nudges;

	p->nudges = 0;
	for (int kind = 0; kind < GROUPS; kind++)
		if (left & BIT(kind))
			nudge_first(l, p->group[kind], (enum group_kind)kind);
}

/* Of the pools that have something to spare: the one that has not used it for longest. */
static struct ledger_pool *longest_spare(const struct ledger_group *g, enum group_kind kind)
{
	struct ledger_pool *best = NULL;
	usec_t best_since = 0;

	LIST_FOR(node, &g->pools) {
		struct ledger_pool *p = LIST_ITEM(node - kind, struct ledger_pool, member[0]);
		usec_t since = atomic_load(&p->spare_since);

		if (since && (!best || since < best_since)) {
			best = p;
			best_since = since;
		}
	}
	return best;
}

void ledger_pool_open(struct ledger_pool *p, struct ledger_group *database, struct ledger_group *user)
{
	p->group[OF_DATABASE] = database;
	p->group[OF_USER] = user;
	for (int kind = 0; kind < GROUPS; kind++)
		list_add_tail(&p->group[kind]->pools, &p->member[kind]);
	list_init(&p->blocked_link);
	list_init(&p->nudged_link);
	atomic_init(&p->spare_since, 0);
}

void ledger_pool_close(struct ledger *l, struct ledger_pool *p)
{
	unblock(p);
	if (!list_empty(&p->nudged_link)) {
		list_del(&p->nudged_link);
		atomic_fetch_sub(&l->nudged_count, 1);
	}
	nudge_over(l, p);
	for (int kind = 0; kind < GROUPS; kind++)
		list_del(&p->member[kind]);
}

static int total(const struct ledger_pool *p)
{
	return p->count[KIND_LOGIN] + p->count[KIND_CONNECTED] + p->count[KIND_CANCEL];
}

void ledger_pool_move(struct ledger *l, struct ledger_pool *p, struct tally *user, struct ledger_group *group)
{
	int servers = total(p);

	unblock(p);
	nudge_over(l, p);
	list_del(&p->member[OF_USER]);
	p->user->servers -= servers;
	for (int i = 0; i < servers; i++)
		nudge_first(l, p->group[OF_USER], OF_USER);
	p->user = user;
	p->user->servers += servers;
	p->group[OF_USER] = group;
	list_add_tail(&group->pools, &p->member[OF_USER]);
	p->last_login_failed = p->last_connect_failed = false;
	p->error[0] = 0;
	p->attempt_at = 0;
}

/* --- deciding --------------------------------------------------------------- */

static enum ledger_answer grant(struct ledger *l, struct ledger_pool *p, enum ledger_answer how, usec_t now)
{
	p->login_taken = true;
	p->attempt_at = now;
	p->count[KIND_LOGIN]++;
	p->database->servers++;
	p->user->servers++;
	l->servers++;
	p->nudges = 0;
	return how;
}

/*
 * Rules 6, 7: limits over several pools. true: there is room, or *victim can
 * make some. What one limit needs is not closed before the other is known to
 * be no obstacle.
 */
static bool find_room(struct ledger_pool *p, const struct ledger_limits *lim, enum ledger_purpose purpose,
		      usec_t waiting_since, struct ledger_pool **victim)
{
	const bool is_full[GROUPS] = {
		[OF_DATABASE] = lim->max_db_connections > 0 && p->database->servers >= lim->max_db_connections,
		[OF_USER] = lim->max_user_connections > 0 && p->user->servers >= lim->max_user_connections,
	};
	struct ledger_pool *first = NULL;

	for (int kind = 0; kind < GROUPS; kind++) {
		struct ledger_pool *spare;

		if (!is_full[kind])
			continue;
		/* Rule 8: only a client's need is worth an eviction. */
		if (purpose != FOR_CLIENT)
			return false;
		block(p, (enum group_kind)kind, waiting_since); /* before looking: see ledger_spare() */
		spare = longest_spare(p->group[kind], (enum group_kind)kind);
		if (!spare)
			return false;
		unblock(p);
		if (!first)
			first = spare;
	}
	*victim = first;
	return true;
}

static enum ledger_answer decide(struct ledger *l, struct ledger_pool *p, const struct ledger_limits *lim,
				 enum ledger_purpose purpose, usec_t waiting_since, usec_t now,
				 struct ledger_reply *reply)
{
	enum ledger_answer how = LEDGER_LAUNCH;

	*reply = (struct ledger_reply){0};
	if (purpose == FOR_CLIENT)
		unblock(p);
	/* 1. One attempt a pool at a time. */
	if (p->login_taken)
		return LEDGER_WAIT;
	/* 2. A pause after a failure, counted from the start of the attempt. */
	if ((p->last_login_failed || p->last_connect_failed) && now - p->attempt_at < lim->login_retry) {
		reply->until = p->attempt_at + lim->login_retry;
		return LEDGER_WAIT;
	}
	/* 3. The pool of a peer has nothing but these. */
	if (purpose == FOR_PEER)
		return lim->pool_size > 0 && total(p) >= lim->pool_size ? LEDGER_WAIT : grant(l, p, how, now);
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
			reply->until = waiting_since + lim->reserve_timeout;
			return LEDGER_WAIT;
		}
		how = LEDGER_LAUNCH_RESERVE;
	}
	if (!find_room(p, lim, purpose, waiting_since, &reply->victim))
		return LEDGER_WAIT;
	if (!reply->victim)
		return grant(l, p, how, now);
	reply->victim->refs++;
	p->login_taken = true;
	p->nudges = 0;
	return LEDGER_EVICT;
}

enum ledger_answer ledger_want(struct ledger *l, struct ledger_pool *p, const struct ledger_limits *lim,
			       enum ledger_purpose purpose, usec_t waiting_since, usec_t now,
			       struct ledger_reply *reply)
{
	enum ledger_answer answer;

	pthread_mutex_lock(&l->lock);
	answer = decide(l, p, lim, purpose, waiting_since, now, reply);
	pthread_mutex_unlock(&l->lock);
	return answer;
}

/* --- room under limits over several pools ------------------------------------ */

static bool is_launch(enum ledger_answer answer)
{
	return answer == LEDGER_LAUNCH || answer == LEDGER_LAUNCH_RESERVE;
}

enum ledger_answer ledger_evicted(struct ledger *l, struct ledger_pool *victim, struct ledger_pool *asker,
				  const struct ledger_limits *lim, usec_t waiting_since, usec_t now,
				  struct ledger_reply *reply)
{
	enum ledger_answer answer;

	pthread_mutex_lock(&l->lock);
	victim->count[KIND_CONNECTED]--;
	victim->database->servers--;
	victim->user->servers--;
	l->servers--;
	asker->login_taken = false;
	answer = decide(l, asker, lim, FOR_CLIENT, waiting_since, now, reply);
	/* What the asker has not taken is for others. */
	for (int kind = 0; kind < GROUPS; kind++)
		if (!is_launch(answer) || victim->group[kind] != asker->group[kind])
			nudge_first(l, victim->group[kind], (enum group_kind)kind);
	pthread_mutex_unlock(&l->lock);
	return answer;
}

void ledger_not_evicted(struct ledger *l, struct ledger_pool *asker)
{
	pthread_mutex_lock(&l->lock);
	asker->login_taken = false;
	pthread_mutex_unlock(&l->lock);
}

void ledger_spare(struct ledger *l, struct ledger_pool *p, usec_t since, int servers)
{
	atomic_store(&p->spare_since, since);
	if (since == 0)
		return;
	for (int kind = 0; kind < GROUPS; kind++) {
		struct ledger_group *g = p->group[kind];

		if (atomic_load(&g->blocked_count) == 0)
			continue;
		pthread_mutex_lock(&l->lock);
		for (int i = 0; i < servers; i++)
			nudge_first(l, g, (enum group_kind)kind);
		pthread_mutex_unlock(&l->lock);
	}
}

struct ledger_pool *ledger_take_nudged(struct ledger *l)
{
	struct ledger_pool *p = NULL;

	/* Whoever made it more than it was looks at it after that, on his own thread. */
	if (atomic_load(&l->nudged_count) == 0)
		return NULL;
	pthread_mutex_lock(&l->lock);
	if (!list_empty(&l->nudged)) {
		p = LIST_ITEM(l->nudged.next, struct ledger_pool, nudged_link);
		list_del(&p->nudged_link);
		atomic_fetch_sub(&l->nudged_count, 1);
		p->refs++;
	}
	pthread_mutex_unlock(&l->lock);
	return p;
}

void ledger_nudge_over(struct ledger *l, struct ledger_pool *p)
{
	pthread_mutex_lock(&l->lock);
	nudge_over(l, p);
	pthread_mutex_unlock(&l->lock);
}

/* --- a server's life ---------------------------------------------------------- */

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

void ledger_server_inherited(struct ledger *l, struct ledger_pool *p)
{
	pthread_mutex_lock(&l->lock);
	p->count[KIND_CONNECTED]++;
	p->database->servers++;
	p->user->servers++;
	l->servers++;
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
	for (int i = 0; i < GROUPS; i++)
		nudge_first(l, p->group[i], (enum group_kind)i);
	pthread_mutex_unlock(&l->lock);
}

void ledger_forget_failure(struct ledger *l, struct ledger_pool *p)
{
	pthread_mutex_lock(&l->lock);
	p->last_login_failed = p->last_connect_failed = false;
	p->error[0] = 0;
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
