/*
 * backup/object_name.h - names of objects: <prefix>/<YYYYmmdd_HHMMSS>.backup.enc.
 *
 * Pure. A name that is not exactly of this pattern, with a valid date and
 * time (UTC) directly under the prefix, is not ours: it is never chosen,
 * counted or deleted. Manifests and marks stand beside the prefix, under
 * _manifest/, since earlier tools take everything under it for a backup.
 *
 * Rules: backup specification, section 12.1, 12.3, 13.4.
 * Tests: test/unit/test_backup_names.c (with the published vectors), test/fuzz/fuzz_object_name.c
 */
#ifndef BACKUP_OBJECT_NAME_H
#define BACKUP_OBJECT_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PREFIX_MAX 512	   /* bytes */
#define BACKUP_NAME_MAX 28 /* "20260101_000000.backup.enc2" with its NUL */
#define BACKUP_KEY_MAX (PREFIX_MAX + 1 + BACKUP_NAME_MAX + 24) /* of a manifest, too */

enum backup_format { BACKUP_PLAIN = 0, BACKUP_FORMAT_1 = 1, BACKUP_FORMAT_2 = 2 };

/*
 * What the configuration calls prefix, as it is used: trailing slashes are
 * taken off (*had_slashes: worth a warning). false: why says what is wrong
 * with it; a leading slash, nothing, control characters, too long.
 */
bool prefix_clean(const char *given, char clean[PREFIX_MAX + 1], bool *had_slashes, const char **why);

/* key is <prefix>/ and one of our names. */
bool backup_name_parse(const char *prefix, const char *key, int64_t *when, enum backup_format *);
/* The name alone, without prefix; name is no longer than BACKUP_NAME_MAX - 1. */
bool backup_name_parse_bare(const char *name, int64_t *when, enum backup_format *);

/* when is 0 .. 253402300799 (year 9999). */
void backup_name_make(int64_t when, enum backup_format, char name[BACKUP_NAME_MAX]);
void backup_key_make(const char *prefix, int64_t when, enum backup_format, char key[BACKUP_KEY_MAX]);
void manifest_key_make(const char *prefix, int64_t when, enum backup_format, char key[BACKUP_KEY_MAX]);
void hold_key_make(const char *prefix, int64_t when, enum backup_format, char key[BACKUP_KEY_MAX]);
/* What stands under _manifest/<prefix>/: ".json" or ".hold" of one of our names. */
enum mark { MARK_NONE, MARK_MANIFEST, MARK_HOLD };
enum mark mark_parse(const char *prefix, const char *key, int64_t *when, enum backup_format *);
/* "_manifest/<prefix>/" */
void marks_prefix_make(const char *prefix, char out[BACKUP_KEY_MAX]);

/*
 * A point in time as people write it: 20260101_000000, 2026-01-01,
 * 2026-01-01 12:30[:15], the same with T and an optional Z, or seconds since
 * 1970 after an '@'. UTC. false: none of these.
 */
bool backup_time_parse(const char *text, int64_t *when);

#endif
