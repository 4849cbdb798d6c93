#include "check.h"

#include <errno.h>
#include <netdb.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"
#include "control.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "tls_setup.h"

static bool given(const char *text)
{
	return text && *text;
}

static void check_user(const char *user)
{
	if (given(user)) {
		if (!getpwnam(user))
			log_error("could not find user '%s' to switch to", user);
	} else if (getuid() == 0)
		log_info("started by root it would refuse to run: setting user is empty");
}

/* The directory in which a start would make a file. */
static void check_place(const char *setting, const char *file)
{
	const char *slash;
	struct stat st;
	char *dir;

	if (!given(file))
		return;
	slash = strrchr(file, '/');
	dir = slash ? xstrndup(file, slash == file ? 1 : (size_t)(slash - file)) : xstrdup(".");
	if (stat(dir, &st) < 0)
		log_error("%s = %s: %s: %s", setting, file, dir, strerror(errno));
	else if (!S_ISDIR(st.st_mode))
		log_error("%s = %s: %s is not a directory", setting, file, dir);
	free(dir);
}

static void check_unix_dir(const char *dir)
{
	struct stat st;

	/* An abstract name has no place in the file system. */
	if (!given(dir) || dir[0] == '@')
		return;
	if (stat(dir, &st) < 0)
		log_error("unix_socket_dir = %s: %s", dir, strerror(errno));
	else if (!S_ISDIR(st.st_mode))
		log_error("unix_socket_dir = %s is not a directory", dir);
}

static void check_addresses(const struct settings *s)
{
	char *list, *at, *save = NULL;

	if (!given(s->listen_addr)) {
		if (!given(s->unix_socket_dir))
			log_error("nowhere to listen on: listen_addr and unix_socket_dir are empty");
		return;
	}
	list = xstrdup(s->listen_addr);
	for (at = strtok_r(list, ", \t", &save); at; at = strtok_r(NULL, ", \t", &save)) {
		const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
		struct addrinfo *found;
		int err;

		if (strcmp(at, "*") == 0)
			continue;
		err = getaddrinfo(at, NULL, &hints, &found);
		if (err)
			log_error("listen_addr: getaddrinfo('%s') = %s [%d]", at, gai_strerror(err), err);
		else
			freeaddrinfo(found);
	}
	free(list);
}

static void check_tls(const struct settings *s)
{
	struct tls_setup tls = {0};

	/* One Worker's contexts show as much as those of all. */
	if (tls_setup_make(&tls, s, 1) == 0)
		tls_setup_free(&tls);
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
	check_user(user ? user : s->user);
	check_tls(s);
	check_addresses(s);
	check_unix_dir(s->unix_socket_dir);
	check_place("logfile", s->logfile);
	check_place("pidfile", s->pidfile);
	config_unref(config);
	is_good = log_count(LEVEL_ERROR) + log_count(LEVEL_FATAL) == 0;
	fprintf(stderr, "%s: %s\n", path, is_good ? "ok" : "not ok");
	return is_good ? 0 : 1;
}
