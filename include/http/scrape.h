/*
 * http/scrape.h - asks the console for what a page needs, and hands it over.
 *
 * A scrape belongs to one request. It queues with the commands of console
 * clients; a RELOAD under way makes it wait, nothing else does.
 * Control role only.
 */
#ifndef HTTP_SCRAPE_H
#define HTTP_SCRAPE_H

#include "http/metrics.h"
#include "lib/list.h"

struct scrape {
	struct list link; /* of those under way */
	struct scrape_result result;
	struct database_times *times; /* owned; result.times */
	struct login_times logins;    /* result.logins */
	int next;		      /* of scraped_commands: what is asked now */
	void (*done)(struct scrape *, bool ok); /* takes it */
	void *ctx;
};

/*
 * Everything of scraped_commands, and the times of every Worker. done may be
 * called before it returns. false: out of memory, done is not called.
 */
bool scrape_begin(void (*done)(struct scrape *, bool ok), void *ctx) MUST_CHECK;
void scrape_free(struct scrape *);
void scrapes_forget(void); /* at the end: those that were never answered */

#endif
