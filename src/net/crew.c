#include "net/crew.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/mem.h"

#define HELPER_THREADS 2
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
	worker_run(arg);
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

/* The helper threads: started with the first job, so never before the last fork. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct list jobs; /* through job.reply.link */
	pthread_t threads[HELPER_THREADS];
	int started;
	bool wants_stop;
} helpers = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

static void deliver_job(struct worker *w, struct message *m)
{
	struct job *j = CONTAINER_OF(m, struct job, reply);

	j->done(w, j);
}

static void *helper_thread(void *arg UNUSED)
{
	pthread_mutex_lock(&helpers.lock);
	while (!helpers.wants_stop) {
		struct job *j;

		if (list_empty(&helpers.jobs)) {
			pthread_cond_wait(&helpers.more, &helpers.lock);
			continue;
		}
		j = LIST_ITEM(helpers.jobs.next, struct job, reply.link);
		list_del(&j->reply.link);
		pthread_mutex_unlock(&helpers.lock);
		j->run(j);
		j->reply.deliver = deliver_job;
		worker_post_foreign(j->asker, &j->reply);
		pthread_mutex_lock(&helpers.lock);
	}
	pthread_mutex_unlock(&helpers.lock);
	return NULL;
}

void crew_submit(struct worker *asker, struct job *j)
{
	sigset_t all, old;

	j->asker = asker;
	list_init(&j->reply.link);
	pthread_mutex_lock(&helpers.lock);
	if (!helpers.jobs.next)
		list_init(&helpers.jobs);
	if (helpers.started < HELPER_THREADS) {
		sigfillset(&all);
		pthread_sigmask(SIG_BLOCK, &all, &old);
		if (pthread_create(&helpers.threads[helpers.started], NULL, helper_thread, NULL) == 0)
			helpers.started++;
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	if (helpers.started > 0) {
		list_add_tail(&helpers.jobs, &j->reply.link);
		pthread_cond_signal(&helpers.more);
		pthread_mutex_unlock(&helpers.lock);
		return;
	}
	pthread_mutex_unlock(&helpers.lock);
	/* No thread to be had: slow is better than a login that never ends. */
	log_warning("could not start a helper thread, working in the loop");
	j->run(j);
	j->reply.deliver = deliver_job;
	worker_post(asker, asker, &j->reply);
}

void crew_helpers_stop(void)
{
	pthread_mutex_lock(&helpers.lock);
	helpers.wants_stop = true;
	pthread_cond_broadcast(&helpers.more);
	pthread_mutex_unlock(&helpers.lock);
	for (int i = 0; i < helpers.started; i++)
		pthread_join(helpers.threads[i], NULL);
}
