/*
 * net/crew.h - all Workers of the process, and the control role.
 *
 * With one worker the control role shares its thread and loop; with several
 * it has the main thread to itself and carries no clients, so that neither a
 * RELOAD nor a handshake delays an accept.
 */
#ifndef NET_CREW_H
#define NET_CREW_H

#include "net/worker.h"

#define WORKERS_MAX 256

struct crew {
	struct worker **workers; /* owned: those with clients come first */
	int n;			 /* Workers with clients */
	int total;		 /* n, or n + 1 when the control role is apart */
	struct worker *control;	 /* borrowed: one of the above */
};

/* After the last fork. NULL: logged. */
struct crew *crew_new(int workers);
/* Starts the threads of all Workers but the control role's. */
int crew_start(struct crew *) MUST_CHECK;
/* Stops and joins the threads; the control role's loop must have returned. */
void crew_stop(struct crew *);
/* Then: delivers, on the calling thread, the messages that were under way, so that their owners can free them. */
void crew_settle(struct crew *);
void crew_free(struct crew *);

/* The Worker with the fewest clients. Control role only. */
struct worker *crew_least_loaded(struct crew *);

/*
 * Runs visit on every Worker with clients, each on its own thread, then done
 * on the control role. ctx is shared: visit gets the Worker's index to keep
 * its result apart. Control role only; the caller takes care that only one
 * gather with side effects runs at a time.
 */
typedef void gather_visit(struct worker *, void *ctx);
typedef void gather_done(struct worker *control, void *ctx);
void crew_gather(struct crew *, gather_visit *visit, gather_done *done, void *ctx);

/*
 * Blocking work: run is called in a helper thread, then done on the Worker
 * that asked. The job is the caller's and must live until done. Each lane has
 * its own threads and its own queue: LANE_COMPUTE some, the others one.
 */
enum lane { LANE_COMPUTE, LANE_PAM, LANE_LDAP, LANE_ATTEST, LANES };

struct job {
	struct message reply;
	struct worker *asker;
	void (*run)(struct job *);
	void (*done)(struct worker *, struct job *);
};
void crew_submit(struct worker *asker, enum lane, struct job *);
/*
 * Lets every helper finish what it is at. false: one is stuck in something
 * that does not come back soon; then nothing that its job uses may be freed.
 */
bool crew_helpers_stop(void) MUST_CHECK;

#endif
