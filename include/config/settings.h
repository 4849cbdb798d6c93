/*
 * config/settings.h - struct settings, and the walk over its rows.
 *
 * The struct, the parser, SET, SHOW CONFIG and the reference page all come
 * from config/settings.def. Text belongs to the struct that holds it; a
 * struct settings is changed only while its snapshot is being built.
 *
 * Tests: test/unit/test_config.c
 */
#ifndef CONFIG_SETTINGS_H
#define CONFIG_SETTINGS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/util.h"

/* Seconds. The sum of any two such times and of the clock still fits in a usec_t. */
#define TIME_MAX INT64_C(1000000000000)

#ifdef __linux__
#define TCP_DEFER_ACCEPT_DEFAULT "1"
#else
#define TCP_DEFER_ACCEPT_DEFAULT "0"
#endif

#define WORKERS_AUTO 0 /* of worker_threads: one a processor core */

#define CTYPE_INT int
#define CTYPE_UINT unsigned
#define CTYPE_BOOL int /* the number as it was given */
#define CTYPE_TIME usec_t
#define CTYPE_STRING const char * /* owned; NULL: SQL NULL */
#define CTYPE_WORKERS int
#define CTYPE_POOL_MODE int
#define CTYPE_SSLMODE int
#define CTYPE_AUTH_TYPE int
#define CTYPE_REQUIRE_TLS int
#define CTYPE_REPLAY int

struct settings {
#define SETTING(name, type, def, lo, hi, when, built, help) CTYPE_##type name;
#include "config/settings.def"
#undef SETTING
};

/* Every setting at its default. */
void settings_init(struct settings *);
void settings_copy(struct settings *to, const struct settings *from);
void settings_free(struct settings *); /* wipes the text: LDAP options may hold a password */

/* What a [pgbouncer] header does: back to the default, but for NULL defaults and what only a restart changes. */
void settings_reset(struct settings *, bool is_first_load);

/* Index of a setting; -1 when there is none of this name. */
int setting_find(const char *name);
bool setting_is_restart_only(size_t i);
bool setting_is_default(const struct settings *, size_t i);
/* false: accepted, without effect in this version. */
bool setting_is_built(size_t i);

/*
 * Takes the text of a value. On a bad one nothing changes; if the reason is
 * not obvious it is logged, with where (" (FILE:LINE)" or "") behind it.
 */
MUST_CHECK bool setting_set(struct settings *, size_t i, const char *value, const char *where);

#endif
