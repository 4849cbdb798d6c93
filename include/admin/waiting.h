/*
 * admin/waiting.h - commands that wait for something to end: PAUSE, SUSPEND,
 * WAIT_CLOSE.
 *
 * They have stepped out of the queue, so that a RESUME can get through. While
 * there are any, every Worker is asked some twenty times a second how far it
 * is; during SUSPEND the same visit brings it further (pool/suspend.h).
 *
 * Control role only.  Rules: console specification, sections 11, 13, 16.
 * Tests: test/system/test_console_commands.py, test_suspend.py
 */
#ifndef ADMIN_WAITING_H
#define ADMIN_WAITING_H

#include "admin/ask.h"

void waiting_open(void);
void waiting_stop(void);
/* The clock of suspend_timeout runs from here; the mode follows. hands_over: SUSPEND HANDOVER. */
void waiting_begin_suspend(const struct ask *, bool hands_over);
/* A console client is gone. If it has suspended the process, that ends. */
void waiting_client_gone(uint64_t client_id);
/* Somebody knows an admin's cancel key: what he waits for ends, and a pause or suspend with it. */
void waiting_cancel(uint64_t client_id);

#endif
