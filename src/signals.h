/*
 * signals.h - what the process does when it is sent a signal.
 *
 * They are blocked everywhere, before the first thread starts, and read from
 * a signalfd by the control role, so that a handler is an ordinary event. What
 * they mean is asked for by the same functions as the console uses.
 *
 * Rules: configuration specification, section 19.
 */
#ifndef SIGNALS_H
#define SIGNALS_H

#include "admin/console.h"
#include "lib/util.h"

struct event_base;

/* ops is borrowed. -1: logged, FATAL. */
int signals_start(struct event_base *, const struct control_ops *ops) MUST_CHECK;
void signals_stop(void); /* they stay blocked */
/* 1 when a signal broke something off; else 0. */
int signals_exit_status(void);

#endif
