/*
 * backup/config.h - the settings, from environment and file.
 *
 * Precedence: command line (see config_override), environment, file, default.
 * An environment variable that is empty counts as unset. What does not parse,
 * an unknown key and a contradiction are errors that name where they stand;
 * all of them are logged, and then the load yields NULL.
 *
 * The environment is read once, at the very start: what is secret in it is
 * copied to locked memory, overwritten in place and taken out, so that neither
 * /proc/PID/environ nor a child has it. Later loads (SIGHUP) use the copy.
 *
 * Rules: backup specification, sections 1, 4, 9.  Tests: test/unit/test_backup_config.c
 */
#ifndef BACKUP_CONFIG_H
#define BACKUP_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "backup/secret.h"
#include "lib/util.h"

/* In the order of the words in config_values.c. */
enum encryption_mode { ENCRYPT_MNEMONIC, ENCRYPT_KEY, ENCRYPT_NONE };
enum dump_from { DUMP_FROM_PRIMARY, DUMP_FROM_STANDBY };
enum s3_credentials { CREDENTIALS_STATIC, CREDENTIALS_FILE, CREDENTIALS_CONTAINER, CREDENTIALS_IMDS,
		      CREDENTIALS_WEB_IDENTITY, CREDENTIALS_AUTO };
enum s3_addressing { ADDRESS_PATH, ADDRESS_VIRTUAL };
enum part_mode { PARTS_UNIFORM, PARTS_GROWING };
enum s3_checksum { CHECKSUM_NONE, CHECKSUM_MD5, CHECKSUM_SHA256, CHECKSUM_CRC32C };
enum retention_mode { RETENTION_ANY, RETENTION_ALL };
enum on_failure { FAILURE_HALT, FAILURE_CONTINUE };
enum empty_check { EMPTY_STRICT, EMPTY_TABLES };
enum verify_level { VERIFY_NONE, VERIFY_HEAD, VERIFY_AUTH, VERIFY_ARCHIVE, VERIFY_DRILL };
enum drill_pick { DRILL_NEWEST, DRILL_ROTATE };

#define SETTING_C_TEXT char *	      /* owned */
#define SETTING_C_SECRET struct secret /* owned */
#define SETTING_C_BOOL bool
#define SETTING_C_INT int64_t
#define SETTING_C_SIZE uint64_t
#define SETTING_C_SPAN usec_t
#define SETTING_C_WORD int

enum setting_id {
#define SETTING(section, key, env, type, def, lo, hi, help) SETTING_##section##_##key,
#include "backup/settings.def"
#undef SETTING
	SETTING_COUNT
};

struct config {
#define SETTING(section, key, env, type, def, lo, hi, help) SETTING_C_##type section##_##key;
#include "backup/settings.def"
#undef SETTING
	bool is_given[SETTING_COUNT];  /* by anybody: not the default */
	struct secret encryption_key;  /* what is in key_file */
	char *pgpassfile;	       /* owned; PGPASSFILE of our environment; NULL: none */
	char *path;		       /* owned; the file it came from; NULL: none */
	struct secret aws_access_key, aws_secret_key, aws_session_token; /* AWS_*, for credentials = auto */
};

struct environment;
/* Takes what concerns us out of envp (environ); to be called before any thread begins. Never NULL. */
struct environment *environment_take(char **envp);
void environment_free(struct environment *);

/* From the command line: beats everything. */
struct config_override {
	enum setting_id id;
	const char *text; /* borrowed */
};

/* path may be NULL: no file. overrides end with text NULL, or are NULL. NULL: the reasons are logged. */
MUST_CHECK struct config *config_load(const char *path, const struct environment *, const struct config_override *);
void config_free(struct config *);

/* A place to store in has been given; else there is nothing to do (backup specification, section 1). */
bool config_is_enabled(const struct config *);
bool config_is_directory(const struct config *); /* endpoint is file:///path */
/* The directory of such an endpoint. */
const char *config_directory(const struct config *);
usec_t config_min_spacing(const struct config *);
usec_t config_jitter(const struct config *);
const char *config_spool_dir(const struct config *);

/* One setting's place: "section", "key", and the variable's name. */
const char *setting_section(enum setting_id);
const char *setting_key(enum setting_id);
const char *setting_variable(enum setting_id);
/* The value as text, for a person; secrets as "set (12 bytes)". out is NUL-terminated, cut to fit. */
void config_show(const struct config *, enum setting_id, char *out, size_t cap);
/* The word of a WORD setting. */
const char *config_word(enum setting_id, int value);
/* Every setting as a table in markdown. */
void settings_describe(void);

/* 90, 90s, 15m, 12h, 7d. false: it is not one. */
bool parse_span(const char *text, usec_t *out);
/* 65536, 64k, 8M, 5G */
bool parse_size(const char *text, uint64_t *out);

#endif
