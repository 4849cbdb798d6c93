/* The command backup: one backup now. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "backup/command.h"
#include "backup/event.h"
#include "backup/jobs.h"
#include "backup/lock.h"
#include "backup/set.h"

#define CONNECT_PATIENCE (30 * USEC_PER_SEC)
#define LABEL_MAX 200

static enum outcome take_lock(struct program *p, struct lock *l, usec_t wait)
{
	switch (lock_take(l, CONNECT_PATIENCE, wait)) {
	case LOCK_HELD:
		return OUTCOME_DONE;
	case LOCK_ELSEWHERE:
		EVENT(LEVEL_ERROR, "lock_held_elsewhere", F_TEXT("lock", "backup"),
		      F_TEXT("hint", "a daemon that runs makes a backup at once when it gets SIGUSR1"));
		return OUTCOME_LOCKED;
	case LOCK_INTERRUPTED:
		return OUTCOME_INTERRUPTED;
	case LOCK_UNREACHABLE:
		break;
	}
	EVENT(LEVEL_ERROR, "backup_failed", F_TEXT("phase", "lock"), F_TEXT("reason", lock_why(l)));
	return loop_is_interrupted(p->loop) ? OUTCOME_INTERRUPTED : OUTCOME_DATABASE;
}

int run_backup(struct program *p, int argc, char **argv)
{
	static const struct option longs[] = {{"database", required_argument, NULL, 'd'}, {"wait-lock", required_argument, NULL, 'w'},
					      {"label", required_argument, NULL, 'l'}, {NULL, 0, NULL, 0}};
	struct backup_request request = {.database = NULL};
	struct set_report report;
	enum outcome o = OUTCOME_DONE;
	struct lock *lock = NULL;
	usec_t wait = 0;
	int c;

	while ((c = getopt_long(argc, argv, "d:", longs, NULL)) != -1) {
		if (c == 'd')
			request.database = optarg;
		else if (c == 'l' && strlen(optarg) <= LABEL_MAX)
			request.label = optarg;
		else if (c != 'w' || !parse_span(optarg, &wait))
			return command_usage(argv[0], "usage: backup [--database D] [--wait-lock SECS] [--label TEXT]");
	}
	if (optind != argc)
		return command_usage(argv[0], "takes no argument");
	if (p->config->schedule_leader) {
		lock = lock_new(p, "backup", NULL);
		o = take_lock(p, lock, wait);
	}
	if (o == OUTCOME_DONE) {
		request.lock = lock;
		set_run(p, &request, &report);
		o = report.outcome;
		if (report.last.outcome == OUTCOME_DONE || report.last.outcome == OUTCOME_FOLLOW_UP)
			printf("%s\n", report.last.key);
	}
	lock_free(lock);
	return o;
}
