/*
 * config/config.h - the configuration as one immutable, counted snapshot.
 *
 * A snapshot is built from its predecessor: settings without a default, what
 * [users] said, and parts that did not change carry over (configuration
 * specification section 3). A load that fails changes nothing. After it is
 * published nobody writes to it, so every Worker reads it without a lock;
 * only the count is atomic.
 *
 * Long-lived objects never keep a pointer into a snapshot: they hold an
 * entity (pool/entity.h) and look the definition up each turn.
 *
 * Tests: test/unit/test_config.c, test/fuzz/fuzz_ini.c
 */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "config/hba.h"
#include "config/wallet_list.h"
#include "lib/hash.h"
#include "lib/network.h"
#include "lib/util.h"
#include "wallet/address.h"

#define DATABASE_NAME_MAX 63
#define USER_NAME_MAX 127
#define PASSWORD_MAX 65530
#define CONSOLE_DATABASE "pgbouncer"

enum pool_mode { POOL_MODE_UNSET = -1, POOL_SESSION, POOL_TRANSACTION, POOL_STATEMENT };
enum tls_mode { TLS_DISABLE, TLS_ALLOW, TLS_PREFER, TLS_REQUIRE, TLS_VERIFY_CA, TLS_VERIFY_FULL };
enum load_balance { BALANCE_ROUND_ROBIN, BALANCE_DISABLE };
enum replay_mode { REPLAY_OFF, REPLAY_SOURCE, REPLAY_ONCE };
enum require_tls { REQUIRE_TLS_NEVER, REQUIRE_TLS_REMOTE, REQUIRE_TLS_ALWAYS };
enum auth_type { /* words of auth_type; pam and ldap come with later work */
	AUTH_TYPE_ANY, AUTH_TYPE_TRUST, AUTH_TYPE_PLAIN, AUTH_TYPE_MD5, AUTH_TYPE_CERT, AUTH_TYPE_HBA,
	AUTH_TYPE_PAM, AUTH_TYPE_LDAP, AUTH_TYPE_SCRAM, AUTH_TYPE_ECDSA
};

/*
 * One field a row of config/settings.def. C types by row type: INT int,
 * UINT unsigned, BOOL int, TIME usec_t, STRING const char * (NULL when SQL
 * NULL), ENUM int.
 */
struct settings;
#include "config/settings.h"

/* One line of auth_file. */
struct stored_secret {
	const char *user; /* wallet names in lower case */
	const char *text; /* auth/secret.h tells its kinds apart */
};

struct database_def {
	const char *name;
	bool is_template;	/* the entry * */
	const char *host;	/* NULL: Unix socket in unix_socket_dir; may be a comma list */
	int port;
	const char *dbname;	/* NULL: as name (of the auto-database, for the template) */
	const char *user, *password;		/* forced user; NULL when none */
	const char *auth_user, *auth_query, *auth_dbname, *ecdsa_auth_query; /* NULL: global */
	const char *connect_query;
	int pool_size, min_pool_size, reserve_pool_size;  /* -1: not set */
	int max_db_connections, max_db_client_connections; /* <= 0: global */
	enum pool_mode pool_mode;
	usec_t query_wait_timeout; /* -1: not set */
	usec_t server_lifetime;	   /* <= 0: global */
	enum load_balance load_balance_hosts;
	const char *client_encoding, *datestyle, *timezone, *application_name; /* NULL when not given */
};

struct user_def { /* a line of [users] */
	const char *name;
	enum pool_mode pool_mode;
	int pool_size, reserve_pool_size;		       /* -1: not set */
	int max_user_connections, max_user_client_connections; /* <= 0: global */
	usec_t query_timeout, idle_transaction_timeout, transaction_timeout, client_idle_timeout; /* <= 0: global */
	usec_t query_wait_timeout; /* -1: not set; 0: wait forever */
};

struct peer_def {
	int id;
	const char *host;
	int port, pool_size; /* pool_size -1: default_pool_size */
};

struct config; /* opaque but for what follows */

/* The settings of a snapshot; lives as long as it. */
const struct settings *config_settings(const struct config *);
/* Grows by one with every snapshot built from another. */
uint64_t config_generation(const struct config *);

const struct database_def *config_find_database(const struct config *, const char *name); /* exact; never "*" */
const struct database_def *config_template(const struct config *);			   /* "*", or NULL */
size_t config_database_count(const struct config *);
const struct database_def *config_database_at(const struct config *, size_t i); /* sorted by name, without "*" */
const struct user_def *config_find_user(const struct config *, const char *name);
size_t config_user_count(const struct config *);
const struct user_def *config_user_at(const struct config *, size_t i); /* sorted by name */
const struct stored_secret *config_find_secret(const struct config *, const char *user);
/*
 * Whose secret an unknown name is compared with, for show: the next in the order of names, so that one name has the
 * same as long as its neighbours stay. NULL: the file has none.
 */
const struct stored_secret *config_stand_in(const struct config *, const char *user);
size_t config_secret_count(const struct config *);
const struct stored_secret *config_secret_at(const struct config *, size_t i); /* sorted by user */
const struct peer_def *config_find_peer(const struct config *, int id);
size_t config_peer_count(const struct config *);
const struct peer_def *config_peer_at(const struct config *, size_t i);
/* By ecdsa_allowed_addresses and auth_file; now in Unix seconds. */
enum wallet_standing config_wallet_standing(const struct config *, const struct wallet_address *, int64_t now);
/* NULL unless auth_type was hba at the last load. */
const struct hba_rules *config_hba(const struct config *);
/* The largest of ecdsa_window and what HBA lines say in its place. */
usec_t config_window_max(const struct config *);
/* CLAIM_KEY_BYTES of ecdsa_claim_key_file; NULL: there is none, and no claim is made. */
const uint8_t *config_claim_key(const struct config *);
/* In one of the networks of ecdsa_limit_exempt. */
bool config_limit_exempts(const struct config *, const struct ip_address *);
/* Named by login_limit_methods; as auth_type spells it. */
bool config_limits_method(const struct config *, const char *method);
/* Whole tokens of a comma list, as admin_users wants them. Wallet names are compared without case. */
bool config_list_has(const char *list, const char *word);

/* true when two definitions differ in what a server connection depends on (specification, end of section 3). */
bool database_def_needs_reconnect(const struct database_def *, const struct database_def *);
/* All of that as one text, to be compared by another process; owned by the caller. */
char *database_def_identity(const struct database_def *);

/*
 * Reads path on top of prev (NULL: the first load). NULL when anything is
 * wrong: each problem has been logged as the specification words it. The
 * caller owns the one reference of the result.
 * command_line_verbosity is what -v said.
 */
struct config *config_load(const char *path, const struct config *prev, int command_line_verbosity);
/*
 * config_load() of a first start that goes on after a problem, so that every
 * one is logged. What is returned lacks what was wrong; never NULL.
 */
struct config *config_check(const char *path);
/* Of a checked one: where the files say this setting; NULL: nowhere. */
const char *config_place(const struct config *, const char *setting, int *line);
/*
 * SET: a copy of prev with one setting changed. NULL: unknown setting or bad
 * value, logged. A restart-only setting gives back prev with one more reference.
 */
struct config *config_set(struct config *prev, const char *key, const char *value);
struct config *config_ref(struct config *);
void config_unref(struct config *); /* NULL is fine */

/* Walking the settings table: for SHOW CONFIG, --describe-settings and the tests. */
struct setting_row {
	const char *name;
	const char *default_text; /* NULL: SQL NULL */
	bool changeable;	  /* without a restart */
	const char *help;
};
size_t setting_count(void);
const struct setting_row *setting_at(size_t i); /* in the order of SHOW CONFIG */
/* The value as SHOW CONFIG prints it, into buf unless it is text of the settings; NULL for SQL NULL. */
const char *setting_print(const struct settings *, size_t i, char *buf, size_t cap);

/* One block a setting, as markdown: what --describe-settings prints. */
void settings_describe(FILE *);

const char *pool_mode_name(enum pool_mode); /* NULL for POOL_MODE_UNSET */

#endif
