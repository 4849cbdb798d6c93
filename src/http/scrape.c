#include "http/scrape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/ask.h"
#include "lib/mem.h"
#include "pool/share.h"

static struct list under_way = {&under_way, &under_way};

/* What the Workers add to it, each under its own index. */
struct times_gathering {
	struct scrape *scrape;
	struct {
		struct database_times *at; /* owned */
		size_t n;
		struct login_times logins;
	} workers[WORKERS_MAX];
};

void scrape_free(struct scrape *s)
{
	if (!s)
		return;
	list_del(&s->link);
	for (int i = 0; i < SCRAPED_TABLES; i++)
		table_free(&s->result.tables[i]);
	free(s->times);
	free(s);
}

void scrapes_forget(void)
{
	while (!list_empty(&under_way))
		scrape_free(LIST_ITEM(under_way.next, struct scrape, link));
}

/* ---- times ---- */

static void note_share(struct database_times *d, const struct share *sh)
{
	snprintf(d->database, sizeof(d->database), "%s", share_database_name(sh));
	d->wait = sh->wait_times;
	d->query = sh->query_times;
	d->xact = sh->xact_times;
}

static void visit_times(struct worker *w, void *ctx)
{
	struct times_gathering *g = ctx;
	struct room *room = room_of(w);
	size_t shares = 0, n = 0;
	struct database_times *at;

	LIST_FOR(node, &room->shares)
		shares++;
	at = xcalloc(shares + 1, sizeof(*at));
	LIST_FOR(node, &room->shares) {
		note_share(&at[n++], LIST_ITEM(node, struct share, link));
	}
	g->workers[w->index].at = at;
	g->workers[w->index].n = n;
	g->workers[w->index].logins = room->login_times;
}

static int by_database(const void *a, const void *b)
{
	return strcmp(((const struct database_times *)a)->database, ((const struct database_times *)b)->database);
}

/* A database may have several pools, on several Workers. */
static void merge_times(struct scrape *s)
{
	size_t kept = 0, n = s->result.time_count;

	qsort(s->times, n, sizeof(*s->times), by_database);
	for (size_t i = 1; i < n; i++) {
		struct database_times *to = &s->times[kept];

		if (by_database(to, &s->times[i]) != 0) {
			s->times[++kept] = s->times[i];
			continue;
		}
		histogram_add(&to->wait, &s->times[i].wait);
		histogram_add(&to->query, &s->times[i].query);
		histogram_add(&to->xact, &s->times[i].xact);
	}
	s->result.time_count = n ? kept + 1 : 0;
	s->result.times = s->times;
	s->result.logins = &s->logins;
}

static void times_gathered(struct worker *control UNUSED, void *ctx)
{
	struct times_gathering *g = ctx;
	struct scrape *s = g->scrape;
	int workers = console_host.pooler->crew->n;
	size_t total = 0;

	for (int i = 0; i < workers; i++)
		total += g->workers[i].n;
	s->times = xcalloc(total + 1, sizeof(*s->times));
	for (int i = 0; i < workers; i++) {
		memcpy(s->times + s->result.time_count, g->workers[i].at, g->workers[i].n * sizeof(*s->times));
		s->result.time_count += g->workers[i].n;
		login_times_add(&s->logins, &g->workers[i].logins);
		free(g->workers[i].at);
	}
	free(g);
	merge_times(s);
	s->done(s, true);
}

/* ---- tables ---- */

static void ask_next(struct scrape *);

static void answered(struct ask *a)
{
	struct scrape *s = a->ctx;
	bool ok = !a->error && buf_ok(&a->answer) &&
		  table_read(buf_span(&a->answer), &s->result.tables[s->next]);

	ask_free(a);
	if (!ok) {
		s->done(s, false);
		return;
	}
	s->next++;
	ask_next(s);
}

static void ask_next(struct scrape *s)
{
	struct times_gathering *g;

	if (s->next < SCRAPED_TABLES) {
		if (!ask_here(scraped_commands[s->next], answered, s))
			s->done(s, false);
		return;
	}
	g = xcalloc(1, sizeof(*g));
	g->scrape = s;
	crew_gather(console_host.pooler->crew, visit_times, times_gathered, g);
}

bool scrape_begin(void (*done)(struct scrape *, bool ok), void *ctx)
{
	struct scrape *s = calloc(1, sizeof(*s));

	if (!s)
		return false;
	list_init(&s->link);
	list_add_tail(&under_way, &s->link);
	s->done = done;
	s->ctx = ctx;
	ask_next(s);
	return true;
}
