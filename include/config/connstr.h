/*
 * config/connstr.h - key=value pairs on one line, as [databases], [users]
 * and [peers] use them (configuration specification, section 8).
 *
 * The text is taken apart in place:
 *
 *	char *at = text, *key, *value;
 *	while ((got = connstr_next(&at, &key, &value)) == CONNSTR_PAIR)
 *		...
 *
 * Only the space separates; after a closing quote one byte is dropped,
 * whatever it is, because PgBouncer does so.
 *
 * Tests: test/unit/test_config.c, test/fuzz/fuzz_ini.c
 */
#ifndef CONFIG_CONNSTR_H
#define CONFIG_CONNSTR_H

enum connstr_step { CONNSTR_END, CONNSTR_PAIR, CONNSTR_BAD };

/* key and value point into the text and are NUL-terminated; the value is never empty. */
enum connstr_step connstr_next(char **at, char **key, char **value);

#endif
