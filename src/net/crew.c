#include "net/crew.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/log.h"
#include "lib/mem.h"

#define HELPER_THREADS 2
#define HELPER_PATIENCE_SEC 1
#define LONG_QUEUE 20 /* log-ins that wait for PAM or LDAP, from which on it is worth a warning */
#define SETTLE_ROUNDS 16

struct crew *crew_new(int workers)
{
	struct crew *crew = xcalloc(1, sizeof(*crew));

	crew->n = workers;
	crew->total = workers == 1 ? 1 : workers + 1;
	crew->workers = xcalloc((size_t)crew->total, sizeof(*crew->workers));
	for (int i = 0; i < crew->total; i++) {
		crew->workers[i] = worker_new(crew, i);
		if (!crew->workers[i]) {
			crew_free(crew);
			return NULL;
		}
	}
	crew->control = crew->workers[crew->total - 1];
	return crew;
}

static void *worker_thread(void *arg)
{
	struct worker *w = arg;

	worker_run(w);
	send_batch_stop(&w->sends);
	return NULL;
}

int crew_start(struct crew *crew)
{
	sigset_t all, old;

	if (crew->total == 1)
		return 0;
	/* Signals are the control role's, whatever thread the kernel would pick. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	for (int i = 0; i < crew->n; i++) {
		int err = pthread_create(&crew->workers[i]->thread, NULL, worker_thread, crew->workers[i]);

		if (err) {
			log_error("could not start worker thread: %s", strerror(err));
			pthread_sigmask(SIG_SETMASK, &old, NULL);
			return -1;
		}
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return 0;
}

static void deliver_stop(struct worker *w, struct message *m)
{
	worker_stop(w);
	free(m);
}

void crew_stop(struct crew *crew)
{
	if (crew->total == 1)
		return;
	for (int i = 0; i < crew->n; i++) {
		struct message *m = xcalloc(1, sizeof(*m));

		m->deliver = deliver_stop;
		worker_post_foreign(crew->workers[i], m);
	}
	for (int i = 0; i < crew->n; i++)
		pthread_join(crew->workers[i]->thread, NULL);
}

void crew_settle(struct crew *crew)
{
	bool busy = true;

	/* An answer may ask again, but not for ever: nothing comes in any more. */
	for (int round = 0; busy && round < SETTLE_ROUNDS; round++) {
		busy = false;
		for (int i = 0; i < crew->total; i++)
			busy |= worker_settle(crew->workers[i]);
	}
}

void crew_free(struct crew *crew)
{
	for (int i = 0; i < crew->total; i++)
		worker_free(crew->workers[i]);
	free(crew->workers);
	free(crew);
}

struct worker *crew_least_loaded(struct crew *crew)
{
	struct worker *best = crew->workers[0];

	/* Relaxed: a number that is a moment old places a socket just as well. */
	for (int i = 1; i < crew->n; i++)
		if (atomic_load_explicit(&crew->workers[i]->client_count, memory_order_relaxed) <
		    atomic_load_explicit(&best->client_count, memory_order_relaxed))
			best = crew->workers[i];
	return best;
}

struct gather {
	gather_visit *visit;
	gather_done *done;
	void *ctx;
	int left; /* control role's */
};

struct gather_message {
	struct message message; /* first */
	struct gather *gather;
};

static void deliver_gathered(struct worker *control, struct message *m)
{
	struct gather *g = CONTAINER_OF(m, struct gather_message, message)->gather;

	free(CONTAINER_OF(m, struct gather_message, message));
	if (--g->left == 0) {
		g->done(control, g->ctx);
		free(g);
	}
}

static void deliver_visit(struct worker *w, struct message *m)
{
	struct gather_message *gm = CONTAINER_OF(m, struct gather_message, message);

	gm->gather->visit(w, gm->gather->ctx);
	m->deliver = deliver_gathered;
	worker_post(w, w->crew->control, m);
}

void crew_gather(struct crew *crew, gather_visit *visit, gather_done *done, void *ctx)
{
	struct gather *g = xcalloc(1, sizeof(*g));

	*g = (struct gather){visit, done, ctx, crew->n};
	for (int i = 0; i < crew->n; i++) {
		struct gather_message *gm = xcalloc(1, sizeof(*gm));

		gm->gather = g;
		gm->message.deliver = deliver_visit;
		worker_post(crew->control, crew->workers[i], &gm->message);
	}
}

/* The helper threads: started with the first job of their lane, so never before the last fork. */
struct helpers {
	pthread_cond_t more;
	struct list jobs; /* through job.reply.link */
	pthread_t threads[HELPER_THREADS];
	int started, queued;
	usec_t warned_at;
};

static pthread_mutex_t helpers_lock = PTHREAD_MUTEX_INITIALIZER;
static struct helpers helpers[LANES] = {
	{.more = PTHREAD_COND_INITIALIZER}, {.more = PTHREAD_COND_INITIALIZER}, {.more = PTHREAD_COND_INITIALIZER},
	{.more = PTHREAD_COND_INITIALIZER}};
static bool helpers_end;
static const int lane_threads[LANES] = {[LANE_COMPUTE] = HELPER_THREADS, [LANE_PAM] = 1, [LANE_LDAP] = 1, [LANE_ATTEST] = 1};
static const char *const lane_names[LANES] = {
	[LANE_COMPUTE] = "helper", [LANE_PAM] = "PAM", [LANE_LDAP] = "LDAP", [LANE_ATTEST] = "attestation"};

static void deliver_job(struct worker *w, struct message *m)
{
	struct job *j = CONTAINER_OF(m, struct job, reply);

	j->done(w, j);
}

static void *helper_thread(void *arg)
{
	struct helpers *h = arg;

	pthread_mutex_lock(&helpers_lock);
	while (!helpers_end) {
		struct job *j;

		if (list_empty(&h->jobs)) {
			pthread_cond_wait(&h->more, &helpers_lock);
			continue;
		}
		j = LIST_ITEM(h->jobs.next, struct job, reply.link);
		list_del(&j->reply.link);
		h->queued--;
		pthread_mutex_unlock(&helpers_lock);
		j->run(j);
		j->reply.deliver = deliver_job;
		worker_post_foreign(j->asker, &j->reply);
		pthread_mutex_lock(&helpers_lock);
	}
	pthread_mutex_unlock(&helpers_lock);
	return NULL;
}

/* With the lock held. */
static void start_helper(struct helpers *h)
{
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	if (pthread_create(&h->threads[h->started], NULL, helper_thread, h) == 0)
		h->started++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void crew_submit(struct worker *asker, enum lane lane, struct job *j)
{
	struct helpers *h = &helpers[lane];
	bool is_taken, is_long = false;

	j->asker = asker;
	list_init(&j->reply.link);
	pthread_mutex_lock(&helpers_lock);
	if (!h->jobs.next)
		list_init(&h->jobs);
	if (h->started < lane_threads[lane])
		start_helper(h);
	is_taken = h->started > 0;
	if (is_taken) {
		list_add_tail(&h->jobs, &j->reply.link);
		h->queued++;
		if (h->queued > LONG_QUEUE && worker_now(asker) - h->warned_at > USEC_PER_SEC) {
			h->warned_at = worker_now(asker);
			is_long = true;
		}
		pthread_cond_signal(&h->more);
	}
	pthread_mutex_unlock(&helpers_lock);
	if (is_long)
		log_warning("%s queue is full, waiting", lane_names[lane]);
	if (is_taken)
		return;
	/* No thread to be had: slow is better than a login that never ends. */
	log_warning("could not start a helper thread, working in the loop");
	j->run(j);
	j->reply.deliver = deliver_job;
	worker_post(asker, asker, &j->reply);
}

bool crew_helpers_stop(void)
{
	struct timespec until;
	bool all = true;

	pthread_mutex_lock(&helpers_lock);
	helpers_end = true;
	for (int lane = 0; lane < LANES; lane++)
		pthread_cond_broadcast(&helpers[lane].more);
	pthread_mutex_unlock(&helpers_lock);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += HELPER_PATIENCE_SEC;
	for (int lane = 0; lane < LANES; lane++)
		for (int i = 0; i < helpers[lane].started; i++)
			/* Computing ends; the others may be waiting for a server that is not there. */
			if (lane == LANE_COMPUTE)
				pthread_join(helpers[lane].threads[i], NULL);
			else
				all &= pthread_timedjoin_np(helpers[lane].threads[i], NULL, &until) == 0;
	return all;
}
