/*
 * config/setting_checks.h - what a single value must satisfy beyond its type.
 *
 * What needs more than one setting, or a file, is judged when the snapshot is
 * complete: see config/snapshot.h.
 *
 * Tests: test/unit/test_config.c
 */
#ifndef CONFIG_SETTING_CHECKS_H
#define CONFIG_SETTING_CHECKS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/comma_list.h"

/* false: refused, and the reason is logged with where behind it. */
bool setting_check(const char *name, const char *value, const char *where);

/* true when a wallet name is spelled well or the text is none; otherwise logs what was meant. */
bool check_wallet_spelling(const char *text, const char *what, const char *where);

#endif
