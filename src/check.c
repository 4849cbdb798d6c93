#include "check.h"

#include <errno.h>
#include <grp.h>
#include <netdb.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/ldap_options.h"
#include "config/config.h"
#include "config/hba.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "process.h"
#include "tls_setup.h"

static bool given(const char *text)
{
	return text && *text;
}

/* What follows is about this setting, and stands where the files say it; NULL: about none. */
static void at(void *config, const char *setting)
{
	int line = 0;
	const char *file = setting ? config_place(config, setting, &line) : NULL;

	log_at(file, line);
}

static void check_user(struct config *c, const char *user)
{
	at(c, "user");
	if (given(user)) {
		if (!getpwnam(user))
			log_error("could not find user '%s' to switch to", user);
		else if (getuid() != 0 && getpwnam(user)->pw_uid != getuid())
			log_error("only root can switch to user '%s'", user);
	} else if (getuid() == 0)
		log_info("started by root it would refuse to run: setting user is empty");
	at(c, NULL);
}

/* The directory in which a start would make a file, and the file, if it is there. */
static void check_place(struct config *c, const char *setting, const char *file)
{
	const char *slash;
	struct stat st;
	char *dir;

	if (!given(file))
		return;
	slash = strrchr(file, '/');
	dir = slash ? xstrndup(file, slash == file ? 1 : (size_t)(slash - file)) : xstrdup(".");
	at(c, setting);
	if (stat(dir, &st) < 0)
		log_error("%s = %s: %s: %s", setting, file, dir, strerror(errno));
	else if (!S_ISDIR(st.st_mode))
		log_error("%s = %s: %s is not a directory", setting, file, dir);
	else if (stat(file, &st) == 0 && S_ISDIR(st.st_mode))
		log_error("%s = %s: %s", setting, file, strerror(EISDIR));
	else if (access(file, W_OK) < 0 && (errno != ENOENT || access(dir, W_OK | X_OK) < 0))
		log_error("%s = %s: %s", setting, file, strerror(errno));
	at(c, NULL);
	free(dir);
}

static void check_unix_socket(struct config *c, const struct settings *s)
{
	const char *dir = s->unix_socket_dir, *group = s->unix_socket_group;
	struct stat st;
	char *end;

	/* An abstract name has no place in the file system. */
	if (!given(dir) || dir[0] == '@')
		return;
	at(c, "unix_socket_dir");
	if (stat(dir, &st) < 0)
		log_error("unix_socket_dir = %s: %s", dir, strerror(errno));
	else if (!S_ISDIR(st.st_mode))
		log_error("unix_socket_dir = %s is not a directory", dir);
	else if (access(dir, W_OK | X_OK) < 0)
		log_error("unix_socket_dir = %s: %s", dir, strerror(errno));
	at(c, "unix_socket_group");
	if (given(group) && (strtoul(group, &end, 10), *end) && !getgrnam(group))
		log_error("group for unix socket '%s' not found", group);
	at(c, NULL);
}

static void check_addresses(struct config *c, const struct settings *s)
{
	char *list, *item, *save = NULL;

	at(c, "listen_addr");
	if (!given(s->listen_addr) && !given(s->unix_socket_dir))
		log_error("nowhere to listen on: listen_addr and unix_socket_dir are empty");
	list = xstrdup(given(s->listen_addr) ? s->listen_addr : "");
	for (item = strtok_r(list, ", \t", &save); item; item = strtok_r(NULL, ", \t", &save)) {
		const struct addrinfo hints = {
			.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE,
		};
		struct addrinfo *found;
		int err;

		if (strcmp(item, "*") == 0)
			continue;
		err = getaddrinfo(item, NULL, &hints, &found);
		if (err)
			log_error("listen_addr: getaddrinfo('%s') = %s [%d]", item, gai_strerror(err), err);
		else
			freeaddrinfo(found);
	}
	free(list);
	at(c, NULL);
}

/* --- LDAP ------------------------------------------------------------------------- */

static void check_ldap_options(const char *text)
{
#ifdef HAVE_LDAP
	struct ldap_options o;
	char error[128];

	if (!ldap_options_parse(text, &o, error, sizeof(error))) {
		log_error("LDAP options: %s", error);
		return;
	}
	/* Not shown: it may be a part of a password. */
	if (o.is_cut)
		log_error("LDAP options: what stands behind the last key=value is not read");
	ldap_options_free(&o);
#else
	(void)text;
	log_error("LDAP is not supported by this build");
#endif
}

static void check_ldap(struct config *c, const struct settings *s)
{
	const struct hba_rules *rules = config_hba(c);

	if (s->auth_type == AUTH_TYPE_LDAP && !s->auth_ldap_options) {
		at(c, "auth_type");
		log_error("auth_ldap_options is null");
	} else if (s->auth_type == AUTH_TYPE_LDAP) {
		at(c, "auth_ldap_options");
		check_ldap_options(s->auth_ldap_options);
	}
	for (size_t i = 0; i < hba_count(rules); i++)
		if (hba_at(rules, i)->method == HBA_LDAP) {
			log_at(s->auth_hba_file, hba_at(rules, i)->line);
			check_ldap_options(hba_at(rules, i)->options);
		}
	at(c, NULL);
}

/* --- settings of their own ---------------------------------------------------------- */

static bool is_facility(const char *word)
{
	static const char *const words[] = {"auth",   "authpriv", "daemon", "user",   "local0", "local1",
					    "local2", "local3",	  "local4", "local5", "local6", "local7"};

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcmp(word, words[i]) == 0)
			return true;
	return false;
}

/* No mistake for a start, and not counted as one. */
static void warn_of(const struct config *c, const char *setting, const char *value, const char *what)
{
	int line;
	const char *file = config_place(c, setting, &line);

	log_warning("%s = %s %s (%s:%d)", setting, value, what, file ? file : "default", line);
}

static void check_odd(struct config *c, const struct settings *s)
{
	if (!is_facility(s->syslog_facility))
		warn_of(c, "syslog_facility", s->syslog_facility, "is unknown, and means daemon");
	if (given(s->auth_dbname) && !config_find_database(c, s->auth_dbname) && !config_template(c))
		warn_of(c, "auth_dbname", s->auth_dbname, "is no entry of [databases]");
	if (given(s->resolv_conf) && access(s->resolv_conf, R_OK) < 0) {
		at(c, "resolv_conf");
		log_error("resolv_conf = %s: %s", s->resolv_conf, strerror(errno));
	}
	at(c, NULL);
}

int check_run(const char *path, const char *user)
{
	const struct log_setup bare = {.to_stderr = true, .is_bare = true};
	const struct settings *s;
	struct config *config;
	bool is_good;

	if (log_configure(&bare) < 0)
		return 1;
	config = config_check(path);
	s = config_settings(config);
	check_ldap(config, s);
	tls_setup_check(s, at, config);
	user = user ? user : s->user;
	check_user(config, user);
	/* Where it writes, and what it opens late, is judged as the user that it will be. */
	if (given(user) && getuid() == 0 && getpwnam(user) && process_switch_user(user) < 0)
		log_fatal("the rest is not checked");
	check_addresses(config, s);
	check_unix_socket(config, s);
	check_place(config, "logfile", s->logfile);
	check_place(config, "pidfile", s->pidfile);
	check_odd(config, s);
	config_unref(config);
	is_good = log_count(LEVEL_ERROR) + log_count(LEVEL_FATAL) == 0;
	fprintf(stderr, "%s: %s\n", path, is_good ? "ok" : "not ok");
	return is_good ? 0 : 1;
}
