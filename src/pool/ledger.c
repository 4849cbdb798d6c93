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

	/* It may still use the room: see ledger_evicted(). */
	if (p->is_evicting)
		return;
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
	return p->count[KIND_LOGIN] + p->count[KIND_CONNECTED] + p->count[KIND_REPLICATION] + p->count[KIND_CANCEL];
}

static int connected(const struct ledger_pool *p)
{
	return p->count[KIND_CONNECTED] + p->count[KIND_REPLICATION];
}

/* Somebody waits for it, which is worth an eviction and a place in line: rule 8. */
static bool is_of_client(const struct ledger_wish *wish)
{
	return wish->purpose == FOR_CLIENT || wish->purpose == FOR_REPLICATION;
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
	p->last_login_failed = p->last_connect_failed = p->last_replication_failed = false;
	p->error[0] = 0;
	p->attempt_at = p->replication_attempt_at = 0;
}

/* --- deciding --------------------------------------------------------------- */

static enum ledger_answer grant(struct ledger *l, struct ledger_pool *p, enum ledger_answer how,
				const struct ledger_wish *wish, usec_t now)
{
	p->login_taken = true;
	p->login_is_replication = wish->purpose == FOR_REPLICATION;
	if (p->login_is_replication)
		p->replication_attempt_at = now;
	else
		p->attempt_at = now;
	p->count[KIND_LOGIN]++;
	p->database->servers++;
	p->user->servers++;
	l->servers++;
	return how;
}

/*
 * Rules 6, 7: limits over several pools. true: there is room, or *victim can
 * make some. What one limit needs is not closed before the other is known to
 * be no obstacle.
 */
static bool find_room(struct ledger_pool *p, const struct ledger_limits *lim, const struct ledger_wish *wish,
		      struct ledger_pool **victim)
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
		if (!is_of_client(wish))
			return false;
		block(p, (enum group_kind)kind, wish->waiting_since); /* before looking: see ledger_spare() */
		spare = longest_spare(p->group[kind], (enum group_kind)kind);
		/* The pool's own are not published while others wait for them, behind this one. */
		if (!spare && wish->own_unused > 0)
			spare = p;
		if (!spare) {
			/* It was told in vain. What it was told of the other limit is for others to use. */
			p->nudges &= ~BIT(kind);
			return false;
		}
		unblock(p);
		if (!first)
			first = spare;
	}
	*victim = first;
	return true;
}

static bool is_over(usec_t start, usec_t pause, usec_t now, usec_t *until)
{
	if (now - start >= pause)
		return true;
	*until = start + pause;
	return false;
}

/* Rule 2: a pause after a failure, counted from the start of the attempt. */
static bool pause_is_over(const struct ledger_pool *p, const struct ledger_limits *lim, const struct ledger_wish *wish,
			  usec_t now, usec_t *until)
{
	if (wish->purpose != FOR_REPLICATION)
		return !(p->last_login_failed || p->last_connect_failed) ||
		       is_over(p->attempt_at, lim->login_retry, now, until);
	return (!p->last_connect_failed || is_over(p->attempt_at, lim->login_retry, now, until)) &&
	       (!p->last_replication_failed || is_over(p->replication_attempt_at, lim->login_retry, now, until));
}

static enum ledger_answer evict(struct ledger_pool *p, struct ledger_pool *victim, struct ledger_reply *reply)
{
	reply->victim = victim;
	victim->refs++;
	p->login_taken = p->is_evicting = true;
	return LEDGER_EVICT;
}

/* has_own_slot: a server of this very pool has just been closed for it, maybe one of the reserve. */
static enum ledger_answer decide(struct ledger *l, struct ledger_pool *p, const struct ledger_limits *lim,
				 const struct ledger_wish *wish, bool has_own_slot, usec_t now,
				 struct ledger_reply *reply)
{
	enum ledger_answer how = LEDGER_LAUNCH;
	struct ledger_pool *victim = NULL;
	/* Without a greeting a pool must be able to recover; whoever gets his own server has no use for the pool's. */
	bool is_sized = lim->pool_size > 0 && (p->has_greeting || wish->purpose == FOR_REPLICATION);

	*reply = (struct ledger_reply){0};
	if (is_of_client(wish))
		unblock(p);
	/* 1. One attempt a pool at a time. */
	if (p->login_taken)
		return LEDGER_WAIT;
	if (!pause_is_over(p, lim, wish, now, &reply->until))
		return LEDGER_WAIT;
	/* 3. The pool of a peer has nothing but these. */
	if (wish->purpose == FOR_PEER)
		return lim->pool_size > 0 && total(p) >= lim->pool_size ? LEDGER_WAIT : grant(l, p, how, wish, now);
	/* 4. A cancel request passes by the other limits. */
	if (wish->purpose == FOR_CANCEL) {
		if (lim->pool_size > 0 && total(p) >= 2 * lim->pool_size)
			return LEDGER_WAIT;
		p->nudges = 0;
		return grant(l, p, how, wish, now);
	}
	if (wish->purpose == FOR_MIN_SIZE && (connected(p) >= lim->min_pool_size ||
					      (lim->pool_size > 0 && connected(p) >= lim->pool_size)))
		return LEDGER_WAIT;
	/* 5. The pool's own size, then its reserve, then what of its own it can give up. */
	if (is_sized && total(p) >= lim->pool_size && !(has_own_slot && total(p) < lim->pool_size + lim->reserve_size)) {
		bool has_reserve = is_of_client(wish) && lim->reserve_size > 0 && lim->reserve_timeout > 0 &&
				   total(p) < lim->pool_size + lim->reserve_size;

		if (has_reserve && now - wish->waiting_since >= lim->reserve_timeout)
			how = LEDGER_LAUNCH_RESERVE;
		else if (wish->own_unused > 0)
			return evict(p, p, reply);
		else {
			if (has_reserve)
				reply->until = wish->waiting_since + lim->reserve_timeout;
			return LEDGER_WAIT;
		}
	}
	if (!find_room(p, lim, wish, &victim)) {
		reply->is_in_line = is_of_client(wish) && !list_empty(&p->blocked_link);
		return LEDGER_WAIT;
	}
	if (victim)
		return evict(p, victim, reply);
	/* Who got the slot of one of his own has made no use of the room that he was told of. */
	if (!has_own_slot)
		p->nudges = 0;
	return grant(l, p, how, wish, now);
}

enum ledger_answer ledger_want(struct ledger *l, struct ledger_pool *p, const struct ledger_limits *lim,
			       const struct ledger_wish *wish, usec_t now, struct ledger_reply *reply)
{
	enum ledger_answer answer;

	pthread_mutex_lock(&l->lock);
	answer = decide(l, p, lim, wish, false, now, reply);
	pthread_mutex_unlock(&l->lock);
	return answer;
}

/* --- room under limits over several pools ------------------------------------ */

static bool is_launch(enum ledger_answer answer)
{
	return answer == LEDGER_LAUNCH || answer == LEDGER_LAUNCH_RESERVE;
}

enum ledger_answer ledger_evicted(struct ledger *l, struct ledger_pool *victim, struct ledger_pool *asker,
				  const struct ledger_limits *lim, const struct ledger_wish *wish, usec_t now,
				  struct ledger_reply *reply)
{
	enum ledger_answer answer;

	pthread_mutex_lock(&l->lock);
	victim->count[KIND_CONNECTED]--;
	victim->database->servers--;
	victim->user->servers--;
	l->servers--;
	asker->login_taken = asker->is_evicting = false;
	answer = decide(l, asker, lim, wish, victim == asker, now, reply);
	/* What the asker has not taken is for others. */
	for (int kind = 0; kind < GROUPS; kind++)
		if (!is_launch(answer) || victim->group[kind] != asker->group[kind])
			nudge_first(l, victim->group[kind], (enum group_kind)kind);
	nudge_over(l, asker);
	pthread_mutex_unlock(&l->lock);
	return answer;
}

void ledger_not_evicted(struct ledger *l, struct ledger_pool *asker)
{
	pthread_mutex_lock(&l->lock);
	asker->login_taken = asker->is_evicting = false;
	nudge_over(l, asker);
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

/* That somebody listens at the address is all that others learn from a replication client's log-in. */
static void forget_connect_failure(struct ledger_pool *p)
{
	if (!p->last_connect_failed)
		return;
	p->last_login_failed = p->last_connect_failed = false;
	p->error[0] = 0;
}

void ledger_login_done(struct ledger *l, struct ledger_pool *p)
{
	pthread_mutex_lock(&l->lock);
	p->login_taken = false;
	p->count[KIND_LOGIN]--;
	if (p->login_is_replication) {
		p->last_replication_failed = false;
		p->count[KIND_REPLICATION]++;
	} else
		p->count[KIND_CONNECTED]++;
	if (p->login_is_replication)
		forget_connect_failure(p);
	else {
		p->last_login_failed = p->last_connect_failed = false;
		p->error[0] = 0;
	}
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

static void note_failure(struct ledger_pool *p, bool while_connecting, const char *error)
{
	if (p->login_is_replication && !while_connecting) {
		p->last_replication_failed = true;
		forget_connect_failure(p);
		return;
	}
	if (p->login_is_replication)
		p->attempt_at = p->replication_attempt_at;
	p->last_login_failed = true;
	p->last_connect_failed = while_connecting;
	snprintf(p->error, sizeof(p->error), "%s", error);
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
		if (error)
			note_failure(p, while_connecting, error);
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
	below = connected(p) < lim->min_pool_size && (lim->pool_size <= 0 || connected(p) < lim->pool_size);
	pthread_mutex_unlock(&l->lock);
	return below;
}

int ledger_surplus(struct ledger *l, struct ledger_pool *p, const struct ledger_limits *lim)
{
	int over = 0;

	pthread_mutex_lock(&l->lock);
	if (lim->pool_size > 0)
		over = connected(p) - lim->pool_size - (lim->reserve_size > 0 ? lim->reserve_size : 0);
	pthread_mutex_unlock(&l->lock);
	return over > 0 ? over : 0;
}

int ledger_connected(struct ledger *l, struct ledger_pool *p)
{
	int n;

	pthread_mutex_lock(&l->lock);
	n = connected(p);
	pthread_mutex_unlock(&l->lock);
	return n;
}

int ledger_serving(struct ledger *l, struct ledger_pool *p)
{
	int n;

	pthread_mutex_lock(&l->lock);
	n = p->count[KIND_CONNECTED];
	pthread_mutex_unlock(&l->lock);
	return n;
}
