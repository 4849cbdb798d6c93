/* What each console command does; on the control role, one at a time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "admin/show.h"
#include "admin/waiting.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "pool/autodb.h"
#include "pool/client.h"
#include "pool/share.h"
#include "proto/writer.h"

#define SET_TAG_MAX 511

static const struct control_ops *ops(void)
{
	return console_host.ops;
}

static struct registry *registry(void)
{
	return &console_host.pooler->registry;
}

static bool fail(struct ask *a, const char *text)
{
	ask_fail(a, CONSOLE_SQLSTATE, "%s", text);
	return false;
}

/* ---- SET ---- */

static void set_done(void *ctx, bool was_set, bool tls_ok)
{
	struct ask *a = ctx;
	char tag[SET_TAG_MAX + 1];

	if (!was_set) {
		fail(a, "SET failed");
		return;
	}
	if (!tls_ok)
		put_notice(&a->answer, "00000", "TLS settings could not be applied, still using old configuration",
			   NULL);
	snprintf(tag, sizeof(tag), "SET %s=%s", a->command.argument, a->command.value);
	ask_done(a, tag);
}

static void run_set(struct ask *a)
{
	if (is_fake_parameter(a->command.argument)) {
		put_notice(&a->answer, "00000", "SET ignored", NULL);
		ask_done(a, "SET");
	} else if (!a->is_admin)
		fail(a, "admin access needed");
	else
		ops()->set(a->command.argument, a->command.value, set_done, a);
}

/* ---- RELOAD, SHUTDOWN ---- */

static void reload_done(void *ctx, bool loaded, bool tls_ok)
{
	struct ask *a = ctx;

	if (!loaded)
		log_error("RELOAD Failed, see logs for more details");
	if (loaded && tls_ok)
		ask_done(a, "RELOAD");
	else
		ask_fail(a, "F0000", "RELOAD failed, see logs for additional details");
}

static void run_reload(struct ask *a)
{
	log_info("RELOAD command issued");
	ops()->reload(reload_done, a);
}

static enum shutdown_mode shutdown_word(const struct command *c)
{
	if (!c->has_argument)
		return SHUTDOWN_IMMEDIATE;
	if (strcasecmp(c->argument, "wait_for_servers") == 0)
		return SHUTDOWN_WAIT_SERVERS;
	if (strcasecmp(c->argument, "wait_for_clients") == 0)
		return SHUTDOWN_WAIT_CLIENTS;
	return SHUTDOWN_NONE;
}

static void run_shutdown(struct ask *a)
{
	enum shutdown_mode mode = shutdown_word(&a->command);

	if (mode == SHUTDOWN_IMMEDIATE) {
		log_info("SHUTDOWN command issued");
		ops()->shutdown(mode);
		ask_silent(a);
		return;
	}
	log_info("SHUTDOWN %s command issued", mode == SHUTDOWN_WAIT_SERVERS ? "WAIT_FOR_SERVERS" : "WAIT_FOR_CLIENTS");
	ops()->shutdown(mode);
	ask_done(a, "SHUTDOWN");
}

/* ---- databases by name ---- */

static bool is_known(const char *name, bool template_counts)
{
	const struct config *c = ops()->config();
	struct database *db = database_find(registry(), name);
	bool in_use = db;

	database_put(registry(), db);
	return in_use || config_find_database(c, name) || (template_counts && config_template(c));
}

/* Before the command finds out whether it can: what was asked for stands in the log, as with PgBouncer. */
static void log_issued(const struct ask *a, const char *word)
{
	if (a->command.has_argument)
		log_info("%s '%s' command issued", word, a->command.argument);
	else
		log_info("%s command issued", word);
}

/*
 * Counts the database that the command names into the ask. false: there is
 * none, or it is the console and may not be; the ask has failed then. verb
 * goes into "cannot VERB admin db".
 */
static bool take_database(struct ask *a, const char *verb, bool template_counts)
{
	const char *name = a->command.argument;
	const struct database_def *def;
	bool is_new;

	if (verb && strcmp(name, CONSOLE_DATABASE) == 0) {
		ask_fail(a, CONSOLE_SQLSTATE, "cannot %s admin db: %s", verb, name);
		return false;
	}
	if (strcmp(name, CONSOLE_DATABASE) != 0 && !is_known(name, template_counts)) {
		ask_fail(a, CONSOLE_SQLSTATE, "no such database: %s", name);
		return false;
	}
	def = config_find_database(ops()->config(), name);
	if (!def && template_counts && strcmp(name, CONSOLE_DATABASE) != 0)
		def = config_template(ops()->config());
	a->database = autodb_get(registry(), name, def, &is_new);
	if (is_new)
		log_info("registered new auto-database: %s", name);
	return a->database || fail(a, "out of memory");
}

/* Read by every Worker at its next look; an entity with a flag outlives its last connection. */
static void set_flag(atomic_bool *flag, bool on)
{
	atomic_store_explicit(flag, on, memory_order_relaxed);
}

/* Runs visit on every Worker, then done; both get the ask. */
static void on_workers(struct ask *a, gather_visit *visit, gather_done *done)
{
	crew_gather(console_host.pooler->crew, visit, done, a);
}

static bool concerns(const struct ask *a, const struct share *s)
{
	return !a->database || s->pool->database == a->database;
}

struct waking {
	struct database *database; /* counted */
};

static void wake_database(struct worker *w, void *ctx)
{
	LIST_FOR(node, &room_of(w)->shares) {
		struct share *s = LIST_ITEM(node, struct share, link);

		if (s->pool->database == ((const struct waking *)ctx)->database)
			share_hunger(s);
	}
}

static void woken(struct worker *control UNUSED, void *ctx)
{
	struct waking *k = ctx;

	database_put(registry(), k->database);
	free(k);
}

void verb_end_pause(struct database *db)
{
	struct waking *k = xcalloc(1, sizeof(*k));

	k->database = database_get(registry(), db->name);
	set_flag(&db->is_paused, false);
	crew_gather(console_host.pooler->crew, wake_database, woken, k);
}

static void wake_shares(struct worker *w, void *ctx)
{
	LIST_FOR(node, &room_of(w)->shares) {
		struct share *s = LIST_ITEM(node, struct share, link);

		if (concerns(ctx, s))
			share_hunger(s);
	}
}

/* ---- PAUSE, RESUME, SUSPEND ---- */

static void pause_set(void *ctx)
{
	ask_wait(ctx, WAITS_PAUSE);
}

static void database_paused(struct worker *control UNUSED, void *ctx)
{
	ask_wait(ctx, WAITS_DATABASE_PAUSE);
}

static void run_pause(struct ask *a)
{
	if (ops()->pause() != RUNNING) {
		fail(a, "already suspended/paused");
		return;
	}
	log_issued(a, "PAUSE");
	if (!a->command.has_argument) {
		ops()->set_pause(PAUSED, pause_set, a);
		return;
	}
	if (!take_database(a, "pause", true))
		return;
	set_flag(&a->database->is_paused, true);
	on_workers(a, wake_shares, database_paused);
}

static void resume_set(void *ctx)
{
	ask_done(ctx, "RESUME");
}

static void database_resumed(struct worker *control UNUSED, void *ctx)
{
	ask_done(ctx, "RESUME");
}

static void run_resume(struct ask *a)
{
	log_issued(a, "RESUME");
	if (!a->command.has_argument) {
		if (ops()->shutdown_mode() != SHUTDOWN_NONE)
			fail(a, "pooler is shutting down");
		else if (ops()->pause() == RUNNING)
			fail(a, "pooler is not paused/suspended");
		else
			ops()->set_pause(RUNNING, resume_set, a);
		return;
	}
	if (!take_database(a, NULL, false))
		return;
	if (!atomic_load_explicit(&a->database->is_paused, memory_order_relaxed)) {
		ask_fail(a, CONSOLE_SQLSTATE, "database %s is not paused", a->command.argument);
		return;
	}
	set_flag(&a->database->is_paused, false);
	on_workers(a, wake_shares, database_resumed);
}

static void suspend_set(void *ctx)
{
	ask_wait(ctx, WAITS_SUSPEND);
}

static void run_suspend(struct ask *a)
{
	if (ops()->pause() != RUNNING)
		fail(a, "already suspended/paused");
	else if (registry_has_paused(registry()))
		fail(a, "cannot suspend with paused databases");
	else if (a->is_orphan)
		fail(a, "console client is gone");
	else {
		log_info("SUSPEND command issued");
		waiting_begin_suspend(a, a->command.has_argument);
		ops()->set_pause(SUSPENDED, suspend_set, a);
	}
}

/* ---- DISABLE, ENABLE ---- */

static void run_disable(struct ask *a)
{
	if (!a->command.has_argument) {
		fail(a, "a database is required");
		return;
	}
	log_issued(a, "DISABLE");
	if (!take_database(a, "disable", true))
		return;
	set_flag(&a->database->is_disabled, true);
	ask_done(a, "DISABLE");
}

static void run_enable(struct ask *a)
{
	if (!a->command.has_argument) {
		fail(a, "a database is required");
		return;
	}
	log_issued(a, "ENABLE");
	if (!take_database(a, "enable", false))
		return;
	set_flag(&a->database->is_disabled, false);
	ask_done(a, "ENABLE");
}

/* ---- RECONNECT, WAIT_CLOSE ---- */

static void reconnect_room(struct worker *w, void *ctx)
{
	room_reconnect(room_of(w), ((const struct ask *)ctx)->database);
}

static void reconnected(struct worker *control UNUSED, void *ctx)
{
	ask_done(ctx, "RECONNECT");
}

static void run_reconnect(struct ask *a)
{
	log_issued(a, "RECONNECT");
	if (a->command.has_argument && !take_database(a, "reconnect", false))
		return;
	on_workers(a, reconnect_room, reconnected);
}

static void run_wait_close(struct ask *a)
{
	log_issued(a, "WAIT_CLOSE");
	if (a->command.has_argument && !take_database(a, "wait in", false))
		return;
	ask_wait(a, WAITS_CLOSE);
}

/* ---- KILL, KILL_CLIENT ---- */

static void kill_room(struct worker *w, void *ctx)
{
	room_kill(room_of(w), ((const struct ask *)ctx)->database);
}

static void killed(struct worker *control UNUSED, void *ctx)
{
	ask_done(ctx, "KILL");
}

static void run_kill(struct ask *a)
{
	if (ops()->pause() != RUNNING) {
		fail(a, "already suspended/paused");
		return;
	}
	log_issued(a, "KILL");
	if (a->command.has_argument && !take_database(a, "kill", false))
		return;
	if (a->database)
		set_flag(&a->database->is_paused, true);
	on_workers(a, kill_room, killed);
}

struct client_killing {
	struct ask *ask;
	uint64_t id;
	atomic_bool found; /* set by at most one Worker */
};

static struct client *client_on(const struct list *clients, uint64_t id)
{
	LIST_FOR(node, clients) {
		struct client *c = LIST_ITEM(node, struct client, link);

		if (c->id == id)
			return c;
	}
	return NULL;
}

static struct client *client_in(const struct room *room, uint64_t id)
{
	struct client *c = client_on(&room->consoles.head, id);

	LIST_FOR(node, &room->shares) {
		const struct share *s = LIST_ITEM(node, struct share, link);
		const struct list *const lists[] = {&s->active.head, &s->waiting.head, &s->cancels_active.head,
						    &s->cancels_waiting.head, &s->lookups.head};

		for (size_t i = 0; i < ARRAY_LEN(lists) && !c; i++)
			c = client_on(lists[i], id);
	}
	LIST_FOR(node, &room->peers) {
		const struct share *s = LIST_ITEM(node, struct share, link);

		if (!c)
			c = client_on(&s->cancels_active.head, id);
		if (!c)
			c = client_on(&s->cancels_waiting.head, id);
	}
	return c;
}

static void kill_client(struct worker *w, void *ctx)
{
	struct client_killing *k = ctx;
	struct client *c = client_in(room_of(w), k->id);

	if (!c)
		return;
	atomic_store_explicit(&k->found, true, memory_order_relaxed);
	/* Who has sent a cancel request expects no answer. */
	if (c->state == CL_WAITING_CANCEL || c->state == CL_ACTIVE_CANCEL)
		client_close(c, NULL, NULL, "admin forced disconnect");
	else
		client_fail(c, "admin forced disconnect");
}

static void client_killed(struct worker *control UNUSED, void *ctx)
{
	struct client_killing *k = ctx;

	/* The gather's messages ordered the store before this. */
	if (atomic_load_explicit(&k->found, memory_order_relaxed))
		ask_done(k->ask, "KILL_CLIENT");
	else
		fail(k->ask, "client not found");
	free(k);
}

static void run_kill_client(struct ask *a)
{
	struct client_killing *k;
	char first = a->command.argument[0];

	if (first < '0' || first > '9') {
		fail(a, "invalid client pointer supplied");
		return;
	}
	k = xcalloc(1, sizeof(*k));
	k->ask = a;
	k->id = strtoull(a->command.argument, NULL, 10);
	crew_gather(console_host.pooler->crew, kill_client, client_killed, k);
}

/* ---- the table ---- */

static const struct verb {
	const char *word;
	bool needs_admin;
	bool takes_argument;
	void (*run)(struct ask *); /* takes the ask */
} verbs[] = {
	{"show", false, true, show_run},	   {"select", false, true, show_run},
	{"reload", true, false, run_reload},	   {"pause", true, true, run_pause},
	{"resume", true, true, run_resume},	   {"suspend", true, true, run_suspend},
	{"disable", true, true, run_disable},	   {"enable", true, true, run_enable},
	{"reconnect", true, true, run_reconnect},  {"wait_close", true, true, run_wait_close},
	{"kill", true, true, run_kill},		   {"kill_client", true, true, run_kill_client},
	{"kill_wallet", true, true, kill_wallet_run},
	{"shutdown", true, true, run_shutdown},
};

/* SUSPEND HANDOVER is the successor's own. */
static bool is_handover(const struct ask *a)
{
	return a->is_own_uid && strcasecmp(a->command.argument, "handover") == 0;
}

static const struct verb *find_verb(const struct ask *a)
{
	const struct command *c = &a->command;

	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		const struct verb *v = &verbs[i];

		if (strcasecmp(v->word, c->verb) != 0)
			continue;
		if (c->has_argument && !v->takes_argument)
			return NULL;
		if (c->has_argument && v->run == run_suspend && !is_handover(a))
			return NULL;
		return v->run == run_shutdown && shutdown_word(c) == SHUTDOWN_NONE ? NULL : v;
	}
	return NULL;
}

void verb_run(struct ask *a)
{
	const struct verb *v;

	switch (a->verdict) {
	case COMMAND_INVALID:
		ask_invalid(a);
		return;
	case COMMAND_BAD_ARGUMENTS:
		fail(a, "bad arguments");
		return;
	case COMMAND_OK:
		break;
	}
	if (a->command.is_set) {
		run_set(a);
		return;
	}
	v = find_verb(a);
	if (!v)
		ask_invalid(a);
	else if (v->needs_admin && !a->is_admin)
		fail(a, "admin access needed");
	else
		v->run(a);
}
