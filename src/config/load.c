/*
 * config_load() and config_set(): a snapshot from its predecessor
 * (configuration specification, section 3).
 */
#include <stdlib.h>
#include <string.h>

#include "config/snapshot.h"
#include "lib/ini.h"
#include "lib/log.h"
#include "lib/mem.h"

enum section { NO_SECTION, UNKNOWN_SECTION, SECTION_PGBOUNCER, SECTION_DATABASES, SECTION_USERS, SECTION_PEERS };

struct loading {
	struct config *next;	   /* owned */
	const struct config *prev; /* borrowed; NULL: the first load */
	enum section section;
	bool saw_main;
	bool goes_on; /* after a problem: whoever checks a file wants to hear of all */
	struct origin *origins; /* owned; one a setting */
};

static bool enter_section(void *ctx, const char *name, struct ini_place place)
{
	struct loading *l = ctx;

	if (strcmp(name, "pgbouncer") == 0) {
		l->section = SECTION_PGBOUNCER;
		l->saw_main = true;
		settings_reset(&l->next->settings, l->prev == NULL);
	} else if (strcmp(name, "databases") == 0)
		l->section = SECTION_DATABASES;
	else if (strcmp(name, "users") == 0)
		l->section = SECTION_USERS;
	else if (strcmp(name, "peers") == 0)
		l->section = SECTION_PEERS;
	else {
		log_error("invalid section \"%s\" in configuration (%s:%d)", name, place.file, place.line);
		l->section = UNKNOWN_SECTION;
		return false;
	}
	return true;
}

static bool take_setting(struct loading *l, const char *key, const char *value, struct ini_place place)
{
	struct origin here = {xstrdup(place.file), place.line};
	int i = setting_find(key);
	char where[512];
	bool ok;

	if (i < 0)
		log_error("unknown parameter: pgbouncer/%s", key);
	/* A restart-only one is not even judged: until the restart the running value is what counts. */
	ok = i >= 0 && ((l->prev && setting_is_restart_only((size_t)i)) ||
			setting_set(&l->next->settings, (size_t)i, value, origin_text(&here, where, sizeof(where))));
	if (!ok) {
		free(here.file);
		return false;
	}
	free(l->origins[i].file);
	l->origins[i] = here;
	return true;
}

static bool take_key(struct loading *l, const char *key, const char *value, struct ini_place place)
{
	struct entries *e = l->next->entries;

	switch (l->section) {
	case NO_SECTION:
		log_error("load_init_file: value without section: %s", key);
		return false;
	case UNKNOWN_SECTION:
		return true; /* has been complained of as a whole */
	case SECTION_PGBOUNCER:
		return take_setting(l, key, value, place);
	case SECTION_DATABASES:
		return entries_add_database(e, l->prev ? l->prev->entries : NULL, key, value);
	case SECTION_USERS:
		return entries_add_user(e, key, value);
	case SECTION_PEERS:
		return entries_add_peer(e, key, value);
	}
	return false;
}

/* How much of a connection string may be logged: nothing from its first password on. */
static int bytes_to_show(const char *value)
{
	const char *secret = strcasestr(value, "password");

	return secret ? (int)(secret - value) + 8 : (int)strlen(value);
}

/* Nothing a start would mind: the last line counts. But where a file is checked it is worth a word. */
static void note_repetition(const struct loading *l, const char *key, struct ini_place place)
{
	const struct entries *e = l->next->entries;

	if (l->goes_on && ((l->section == SECTION_DATABASES && entries_have_database(e, key)) ||
			   (l->section == SECTION_USERS && entries_have_user(e, key))))
		log_warning("%s has a line further up, which does not count any more (%s:%d)", key, place.file,
			    place.line);
}

static bool read_key(void *ctx, const char *key, const char *value, struct ini_place place)
{
	struct loading *l = ctx;
	int shown;
	bool ok;

	note_repetition(l, key, place);
	log_at(place.file, place.line);
	ok = take_key(l, key, value, place);
	log_at(NULL, 0);
	if (ok)
		return true;
	shown = l->section == SECTION_DATABASES ? bytes_to_show(value) : (int)strlen(value);
	log_error("invalid value \"%.*s%s\" for parameter %s in configuration (%s:%d)", shown, value,
		  value[shown] ? "=..." : "", key, place.file, place.line);
	return false;
}

static void warn_of_unbuilt(const struct config *c)
{
	char where[512];

	for (size_t i = 0; i < setting_count(); i++)
		if (!setting_is_built(i) && !setting_is_default(&c->settings, i))
			log_warning("setting %s has no effect in this version%s", setting_at(i)->name,
				    origin_text(c->origins ? &c->origins[i] : NULL, where, sizeof(where)));
}

static bool run_load(struct loading *l, const char *path)
{
	const struct ini_events events = {.section = enter_section, .key = read_key, .goes_on = l->goes_on};
	bool ok = ini_load(path, &events, l);

	if (ok && !l->saw_main) {
		log_error("load_init_file: main section missing from config file");
		ok = false;
	}
	if (!ok && !l->goes_on)
		return false;
	entries_finish(l->next->entries);
	return snapshot_complete(l->next, l->prev, l->origins) && ok;
}

static struct config *load(const char *path, const struct config *prev, int command_line_verbosity, bool goes_on)
{
	struct loading l = {.prev = prev, .next = snapshot_new(prev), .goes_on = goes_on};

	l.origins = xcalloc(setting_count(), sizeof(*l.origins));
	l.next->is_checked = goes_on;
	if (goes_on)
		l.next->origins = l.origins;
	l.next->entries = entries_new(prev ? prev->entries : NULL);
	if (!prev) {
		l.next->settings.conffile = xstrdup(path);
		l.next->settings.verbose = command_line_verbosity;
	}
	if (run_load(&l, path) || goes_on)
		warn_of_unbuilt(l.next);
	else {
		config_unref(l.next);
		l.next = NULL;
		if (prev)
			log_error("config file loading failed");
	}
	if (!goes_on)
		origins_free(l.origins);
	return l.next;
}

struct config *config_load(const char *path, const struct config *prev, int command_line_verbosity)
{
	return load(path, prev, command_line_verbosity, false);
}

struct config *config_check(const char *path)
{
	return load(path, NULL, 0, true);
}

/* What is judged together with other settings. Not auth_file: a new one is read by RELOAD (console, section 9). */
static bool concerns_parts(const char *key)
{
	return strcmp(key, "auth_type") == 0 || strcmp(key, "ecdsa_allowed_addresses") == 0 ||
	       strcmp(key, "ecdsa_claim_key_file") == 0;
}

struct config *config_set(struct config *prev, const char *key, const char *value)
{
	int i = setting_find(key);
	struct config *c;
	bool ok;

	if (i < 0) {
		log_error("unknown parameter: pgbouncer/%s", key);
		return NULL;
	}
	if (setting_is_restart_only((size_t)i))
		return config_ref(prev);
	c = snapshot_new(prev);
	c->entries = entries_ref(prev->entries);
	ok = setting_set(&c->settings, (size_t)i, value, "");
	if (ok && concerns_parts(key))
		ok = snapshot_complete(c, prev, NULL);
	else if (ok) {
		/* A SET of something else is no RELOAD: changed files wait for one. */
		c->auth_file = auth_file_ref(prev->auth_file);
		c->wallets = wallet_list_ref(prev->wallets);
		c->claim_key = claim_key_ref(prev->claim_key);
		c->hba = hba_ref(prev->hba);
		snapshot_derive(c);
		ok = snapshot_judge(c, NULL);
	}
	if (!ok) {
		config_unref(c);
		return NULL;
	}
	if (!setting_is_built((size_t)i) && !setting_is_default(&c->settings, (size_t)i))
		log_warning("setting %s has no effect in this version", key);
	return c;
}
