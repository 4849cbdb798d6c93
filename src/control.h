/*
 * control.h - the control role: what exists once in the process.
 *
 * Listeners and accept, signals, the current configuration snapshot, DNS, the
 * period of the statistics, shutdown. With one worker it shares that worker's
 * thread and loop, with more it has the main thread to itself.
 *
 * RELOAD, SET, PAUSE and the like are tasks: they are taken one at a time, in
 * the order they came, whoever asked (a signal or the console). A task builds
 * what is new, has every Worker take it over (crew_gather), and then answers;
 * so what is seen after the answer holds everywhere.
 *
 * Rules: configuration specification, sections 3, 16, 19; behaviour, 31.
 * Tests: test/system/test_start.py
 */
#ifndef CONTROL_H
#define CONTROL_H

#include <stdbool.h>

#include "config/config.h"
#include "lib/log.h"
#include "lib/util.h"
#include "takeover.h"
#include "tls_setup.h"

/* worker_threads, with "auto" made a number. */
int control_worker_count(const struct settings *);
struct log_setup control_log_setup(const struct settings *, bool to_stderr);

/*
 * After the last fork: event bases, DNS, signals, listeners. Takes the
 * reference to config, and the contexts of tls. With a takeover (else NULL;
 * borrowed) the old process has ended when it is done. -1: logged, FATAL.
 */
int control_start(struct config *, struct tls_setup *, struct takeover *, bool log_to_stderr) MUST_CHECK;
/* Starts the threads, logs "process up" and runs until the end. The exit status. */
int control_run(void);
/* Closes and frees everything; after a control_start() that failed as well. */
void control_stop(void);

#endif
