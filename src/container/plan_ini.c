/* pgbouncer.ini, from the variables. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "container/names.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "plan_parts.h"

#define VARIABLE_MAX 80

static const char *const settings[] = {
#define SETTING(name, ...) #name,
#include "config/settings.def"
#undef SETTING
};

static const char *get(const struct plan *p, const char *name)
{
	return variables_get(p->variables, name);
}

static void end_line(struct plan *p, const char *variable, bool is_secret)
{
	buf_put_text(&p->ini, "\n");
	p->origins = xrealloc(p->origins, (size_t)(p->lines + 1) * sizeof(*p->origins));
	p->origins[p->lines++] = (struct origin){.variable = xstrdup(variable), .is_secret = is_secret};
}

/* ---- the allow list ---- */

/* One a line, as the file of ecdsa_allowed_addresses has them: by commas or by lines in a variable. */
static bool add_wallets(struct plan *p, const char *variable)
{
	const char *text = get(p, variable);

	if (!text || text[0] == '@')
		return false;
	while (*text) {
		size_t len = strcspn(text, ",\n");

		buf_put(&p->wallets, text, len);
		buf_put_text(&p->wallets, "\n");
		p->wallet_origins = xrealloc(p->wallet_origins,
					     (size_t)(p->wallet_lines + 1) * sizeof(*p->wallet_origins));
		p->wallet_origins[p->wallet_lines++] = variables_called(p->variables, variable);
		text += len + (text[len] != 0);
	}
	return true;
}

/* The value of ecdsa_allowed_addresses; NULL: none. */
static const char *write_wallets(struct plan *p, bool *ok)
{
	const char *own = get(p, "ECDSA_ALLOWED_ADDRESSES");
	bool any = add_wallets(p, "ALLOWED_ADDRESS") | add_wallets(p, "ALLOWED_ADDRESSES") |
		   add_wallets(p, "ECDSA_ALLOWED_ADDRESSES");
	static const char *const sources[] = {"ECDSA_ALLOWED_ADDRESSES", "ECDSA_AUTH_QUERY", "AUTH_USER", "AUTH_FILE"};
	const char *type = get(p, "AUTH_TYPE");

	if (own && own[0] == '@' && any) {
		log_error("ECDSA_ALLOWED_ADDRESSES names a file, and ALLOWED_ADDRESS names wallets: only one of them can be");
		*ok = false;
	}
	if (any)
		return "";
	for (size_t i = 0; i < ARRAY_LEN(sources); i++)
		if (get(p, sources[i]))
			return own;
	if (!type || strcasecmp(type, "ecdsa") == 0) {
		log_error("ALLOWED_ADDRESS is not set: nobody could sign in. It names the wallet that may (several: "
			  "ALLOWED_ADDRESSES)");
		*ok = false;
	}
	return NULL;
}

/* ---- PostgreSQL ---- */

/* In quotes of the connection string, where two mean one. */
static void put_quoted(struct buf *b, const char *key, const char *value)
{
	buf_printf(b, " %s='", key);
	for (; *value; value++)
		buf_printf(b, *value == '\'' ? "''" : "%c", *value);
	buf_put_text(b, "'");
}

static void put_doubled(struct buf *b, const char *value)
{
	buf_put_text(b, "\"");
	for (; *value; value++)
		buf_printf(b, *value == '"' ? "\"\"" : "%c", *value);
	buf_put_text(b, "\"");
}

static void write_database(struct plan *p, const char *name, bool with_password)
{
	if (name)
		put_doubled(&p->ini, name);
	else
		buf_put_text(&p->ini, "*");
	buf_put_text(&p->ini, " =");
	put_quoted(&p->ini, "host", p->host);
	put_quoted(&p->ini, "port", p->port);
	put_quoted(&p->ini, "user", p->role);
	if (with_password)
		put_quoted(&p->ini, "password", p->password);
	end_line(p, p->is_inside ? "PG_USER, PG_DATABASE" : "PG_HOST, PG_PORT, PG_USER, PG_DATABASE", with_password);
}

/* Any name a client asks for is a database of the server, as with the earlier tool. */
static void write_databases(struct plan *p)
{
	const char *type = get(p, "AUTH_TYPE");
	/*
	 * A user list of one's own may name other users, or this one; the line wins for the service account. With
	 * auth_type = any no list is read.
	 */
	bool in_line = get(p, "AUTH_FILE") || (type && strcasecmp(type, "any") == 0);

	buf_put_text(&p->ini, "[databases]");
	end_line(p, "PG_HOST", false);
	write_database(p, p->database, in_line);
	write_database(p, NULL, in_line);
	if (!in_line) {
		put_doubled(&p->userlist, p->role);
		buf_put_text(&p->userlist, " ");
		put_doubled(&p->userlist, p->password);
		buf_put_text(&p->userlist, "\n");
	}
}

/* ---- [pgbouncer] ---- */

/* What the container itself decides, where no variable does. NULL: what the program does by itself. */
static const char *own_value(const struct plan *p, const char *setting, const char *wallets)
{
	static char made[PATH_MAX + 1];
	const char *app_port = get(p, "APP_PORT"), *status = get(p, "BACKUP_METRICS_STATUS_FILE");

	if (strcmp(setting, "ecdsa_allowed_addresses") == 0 && wallets)
		snprintf(made, sizeof(made), "@%s", run_path(p, "proxy/wallets"));
	else if (strcmp(setting, "auth_type") == 0)
		return "ecdsa";
	else if (strcmp(setting, "auth_file") == 0)
		return run_path(p, "proxy/userlist.txt");
	else if (strcmp(setting, "listen_addr") == 0)
		return "0.0.0.0";
	else if (strcmp(setting, "listen_port") == 0)
		return "5433";
	else if (strcmp(setting, "unix_socket_dir") == 0)
		return run_path(p, "proxy");
	else if (strcmp(setting, "http_listen") == 0)
		snprintf(made, sizeof(made), "0.0.0.0:%s", app_port ? app_port : "3000");
	else if (strcmp(setting, "http_backup_status") == 0 && p->has_backups)
		return status ? status : run_path(p, "status/backup.json");
	else if (strcmp(setting, "http_attestation") == 0 &&
		 (access("/run/container_launcher/teeserver.sock", F_OK) == 0 || access("/var/run/dstack.sock", F_OK) == 0))
		return "auto";
	else if (strcmp(setting, "ignore_startup_parameters") == 0)
		return "extra_float_digits"; /* what JDBC sends, and the earlier tool let pass */
	else if (strcmp(setting, "server_tls_sslmode") == 0 && p->is_inside)
		return "disable"; /* a Unix socket */
	else if (strcmp(setting, "client_tls_sslmode") == 0 && p->cert_file)
		return "prefer"; /* who must use it, says ecdsa_require_tls */
	else
		return NULL;
	return made;
}

/* These are the container's; a variable of that name is somebody's mistake, or nothing that is meant for us. */
static bool is_reserved(struct plan *p, const char *setting, bool *ok)
{
	static const char *const refused[] = {"conffile", "pidfile"};
	char variable[VARIABLE_MAX];

	if (strcmp(setting, "user") == 0)
		return true; /* shells set USER */
	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		if (strcmp(setting, refused[i]) == 0) {
			variable_of_setting(setting, variable, sizeof(variable));
			if (get(p, variable)) {
				log_error("%s: in a container this is not to be chosen", variable);
				*ok = false;
			}
			return true;
		}
	return false;
}

/* The value that variables give to a setting, and the name of the one that does. NULL: none does. */
static const char *given_value(const struct plan *p, const char *setting, char name[VARIABLE_MAX], bool *ok)
{
	const char *value;

	variable_of_setting(setting, name, VARIABLE_MAX);
	value = get(p, name);
	for (size_t i = 0; i < ARRAY_LEN(aliases); i++) {
		const char *other = get(p, aliases[i].variable);

		if (strcmp(aliases[i].setting, setting) != 0 || !other)
			continue;
		if (value && strcmp(value, other) != 0) {
			log_error("%s and %s contradict each other: they are two names of one setting", name, aliases[i].variable);
			*ok = false;
		}
		value = other;
		snprintf(name, VARIABLE_MAX, "%s", aliases[i].variable);
	}
	return value;
}

static bool write_setting(struct plan *p, const char *setting, const char *wallets)
{
	bool ok = true, is_wallets = strcmp(setting, "ecdsa_allowed_addresses") == 0;
	char name[VARIABLE_MAX];
	const char *value;

	if (is_reserved(p, setting, &ok))
		return ok;
	if (is_wallets) {
		snprintf(name, sizeof(name), "%s",
			 wallets && wallets[0] == '@' ? "ECDSA_ALLOWED_ADDRESSES" : "ALLOWED_ADDRESS");
		value = !wallets ? NULL : wallets[0] == '@' ? wallets : own_value(p, setting, wallets);
	} else {
		value = given_value(p, setting, name, &ok);
		if (p->is_inside && strcmp(setting, "server_tls_sslmode") == 0)
			value = NULL; /* what the variable says is about another server */
	}
	/* The pooler gets copies that it can read: see certificate.c. */
	if (strcmp(setting, "client_tls_cert_file") == 0 || strcmp(setting, "client_tls_key_file") == 0) {
		bool is_cert = strcmp(setting, "client_tls_cert_file") == 0;

		if (!value && p->cert_file)
			snprintf(name, sizeof(name), "%.*s", VARIABLE_MAX - 1, is_cert ? p->cert_file : p->key_file);
		value = p->cert_file ? run_path(p, is_cert ? "proxy/tls.crt" : "proxy/tls.key") : NULL;
	} else if (!value && !is_wallets) {
		value = own_value(p, setting, wallets);
		if (strcmp(setting, "http_listen") == 0)
			snprintf(name, sizeof(name), "APP_PORT");
	}
	if (!value)
		return ok;
	buf_printf(&p->ini, "%s = %s", setting, value);
	end_line(p, variables_called(p->variables, name), strcmp(setting, "auth_ldap_options") == 0);
	return ok & is_one_line(p, name, value);
}

bool plan_write_ini(struct plan *p)
{
	bool ok = true;
	const char *wallets = write_wallets(p, &ok);
	long app_port;

	if (get(p, "RATE_LIMIT_MAX_ADDR"))
		log_warning("RATE_LIMIT_MAX_ADDR has no effect: it would let strangers lock a wallet out by its name");
	ok &= variables_number(p->variables, "APP_PORT", 1, 65535, 3000, &app_port);
	write_databases(p);
	buf_put_text(&p->ini, "[pgbouncer]");
	end_line(p, "pgbouncer.ini", false);
	for (size_t i = 0; i < ARRAY_LEN(settings); i++)
		ok &= write_setting(p, settings[i], wallets);
	return ok;
}
