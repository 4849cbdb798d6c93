#include "pool/startup.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "proto/startup.h"
#include "proto/writer.h"

static bool unsupported(struct client *c, const char *what, const char *name, const char *value)
{
	char text[192], prefix[400];

	snprintf(text, sizeof(text), "unsupported startup parameter%s: %.100s", what, name);
	log_warning("%sunsupported startup parameter%s: %s=%s", client_prefix(c, prefix, sizeof(prefix)), what, name,
		    value);
	client_fail(c, text);
	return false;
}

/* Tracked: kept. Ignored: dropped. Anything else: refused. */
static bool take_parameter(struct client *c, const char *where, const char *name, const char *value)
{
	const char *ignored = conn_room(&c->conn)->settings->ignore_startup_parameters;
	int index = params_index(name);

	if (index >= 0) {
		if (params_set(&c->params, index, value))
			return true;
		client_fail(c, "out of memory");
		return false;
	}
	if (config_list_has(ignored, name) || (where[0] && config_list_has(ignored, "options")))
		return true;
	return unsupported(c, where, name, value);
}

static bool take_options(struct client *c, const char *value)
{
	const char *ignored = conn_room(&c->conn)->settings->ignore_startup_parameters;
	const char *at = value, *name, *option;
	struct buf scratch;
	bool ok = true;

	buf_init(&scratch);
	while (ok) {
		enum options_verdict v = options_next(&at, &scratch, &name, &option);

		if (v == OPTIONS_END)
			break;
		if (v == OPTIONS_PAIR) {
			ok = take_parameter(c, " in options", name, option);
			continue;
		}
		if (config_list_has(ignored, "options"))
			break;
		client_fail(c, "unsupported options startup parameter: only '-c config=val' and '--config=val' are "
			       "allowed");
		ok = false;
	}
	buf_free(&scratch);
	return ok;
}

/*
 * A replication client's options go to its server as they are. What they say of tracked parameters is remembered
 * beside: the server lets start-up parameters win over options, and the database's entry may have some.
 */
static bool keep_options(struct client *c, const char *value)
{
	const char *at = value, *name, *option;
	struct buf scratch;
	enum options_verdict v;
	bool ok;

	free(c->options);
	c->options = strdup(value);
	ok = c->options != NULL;
	buf_init(&scratch);
	while (ok && (v = options_next(&at, &scratch, &name, &option)) != OPTIONS_END)
		if (v == OPTIONS_PAIR && params_index(name) >= 0)
			ok = params_set(&c->params, params_index(name), option);
	buf_free(&scratch);
	if (!ok)
		client_fail(c, "out of memory");
	return ok;
}

static void add_host_to_app_name(struct client *c)
{
	const char *have = params_get(&c->params, PARAM_APPLICATION_NAME);
	char name[256], where[128], host[HOST_NAME_MAX + 1] = "";

	if (c->is_unix) {
		gethostname(host, sizeof(host) - 1);
		snprintf(where, sizeof(where), "unix(%d@%.64s):%d", (int)c->addr.pid, host, c->addr.port);
	} else
		peer_addr_text(&c->addr, where, sizeof(where));
	snprintf(name, sizeof(name), "%.100s - %s", have ? have : "app", where);
	params_set(&c->params, PARAM_APPLICATION_NAME, name);
}

bool startup_read(struct client *c, uint32_t version, struct span body, struct startup_wishes *w)
{
	const char *unknown[UNSUPPORTED_MAX], *app;
	const char *replication, *options;
	struct startup s;
	size_t n_unknown = 0;
	bool ok = true;

	memset(w, 0, sizeof(*w));
	if (startup_parse(body, &s) != PROTO_OK) {
		startup_free(&s);
		client_fail(c, "invalid startup packet layout: expected terminator as last byte");
		return false;
	}
	replication = startup_get(&s, "replication");
	options = startup_get(&s, "options");
	if (replication)
		c->replication = replication_parse(replication);
	if (options && c->replication != REPLICATION_NONE)
		ok = keep_options(c, options);
	for (size_t i = 0; ok && i < s.n; i++) {
		const char *name = s.params[i].name, *value = s.params[i].value;

		if (strcmp(name, "user") == 0 || strcmp(name, "database") == 0 || strcmp(name, "replication") == 0)
			continue;
		if (strncmp(name, "_pq_.", 5) == 0) {
			if (n_unknown < UNSUPPORTED_MAX)
				unknown[n_unknown++] = name;
		} else if (strcmp(name, "options") == 0)
			ok = c->replication != REPLICATION_NONE || take_options(c, value);
		else
			ok = take_parameter(c, "", name, value);
	}
	if (ok) {
		const char *user = startup_get(&s, "user"), *database = startup_get(&s, "database");

		if (!user || !user[0]) {
			client_fail(c, "no username supplied");
			ok = false;
		} else {
			app = params_get(&c->params, PARAM_APPLICATION_NAME);
			w->user = strdup(user);
			w->database = strdup(database && database[0] ? database : user);
			w->app_name = app ? strdup(app) : NULL;
			ok = w->user && w->database && (!app || w->app_name);
			if (!ok)
				client_fail(c, "out of memory");
		}
	}
	if (ok) {
		if (conn_room(&c->conn)->settings->application_name_add_host)
			add_host_to_app_name(c);
		if ((version & 0xffff) > 0 || n_unknown > 0)
			put_negotiate_version(&w->negotiate, PROTO_V3, unknown, n_unknown);
	}
	startup_free(&s);
	return ok;
}

void startup_wishes_free(struct startup_wishes *w)
{
	free(w->user);
	free(w->database);
	free(w->app_name);
	buf_free(&w->negotiate);
	memset(w, 0, sizeof(*w));
}
