#include "backup/config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/event.h"
#include "config_parts.h"
#include "lib/file.h"
#include "lib/ini.h"
#include "lib/mem.h"

#define SECRET_FILE_MAX 65536
#define WHERE_MAX 512

void config_complain(const char *where, const char *fmt, ...)
{
	char why[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	EVENT(LEVEL_ERROR, "config", F_TEXT("where", where), F_TEXT("error", why));
}

void config_warn(const char *where, const char *fmt, ...)
{
	char why[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	EVENT(LEVEL_WARNING, "config", F_TEXT("where", where), F_TEXT("warning", why));
}

/* ---- the environment ---- */

struct variable {
	char *name;	     /* owned */
	struct secret value; /* owned; never empty */
};

struct environment {
	struct variable *list; /* owned */
	size_t count;
	char **unknown; /* owned, and its items: BACKUP_* that mean nothing */
	size_t unknowns;
};

static const char *const also_taken[] = {"PGPASSFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"};
static const char *const also_wiped[] = {"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"};

static bool is_named(const char *name, size_t len, const char *base, const char *suffix)
{
	size_t n = strlen(base);

	return len == n + strlen(suffix) && memcmp(name, base, n) == 0 && memcmp(name + n, suffix, len - n) == 0;
}

/* Is it one of ours, and does it hold a secret itself? */
static bool is_ours(const char *name, size_t len, bool *is_secret)
{
	for (enum setting_id id = 0; id < SETTING_COUNT; id++) {
		*is_secret = setting_is_secret(id);
		if (is_named(name, len, setting_variable(id), ""))
			return true;
		if (*is_secret && is_named(name, len, setting_variable(id), "_FILE")) {
			*is_secret = false;
			return true;
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(also_taken); i++) {
		if (!is_named(name, len, also_taken[i], ""))
			continue;
		*is_secret = false;
		for (size_t k = 0; k < ARRAY_LEN(also_wiped); k++)
			*is_secret |= is_named(name, len, also_wiped[k], "");
		return true;
	}
	return false;
}

static void note_unknown(struct environment *e, const char *name, size_t len)
{
	if (len < 7 || memcmp(name, "BACKUP_", 7) != 0)
		return;
	e->unknown = xrealloc(e->unknown, (e->unknowns + 1) * sizeof(char *));
	e->unknown[e->unknowns++] = xstrndup(name, len);
}

struct environment *environment_take(char **envp)
{
	struct environment *e = xcalloc(1, sizeof(*e));
	char **wiped = NULL;
	size_t wipes = 0;

	for (char **at = envp; *at; at++) {
		char *equals = strchr(*at, '='), *value;
		size_t name_len;
		bool is_secret;

		if (!equals)
			continue;
		name_len = (size_t)(equals - *at);
		value = equals + 1;
		if (!is_ours(*at, name_len, &is_secret)) {
			note_unknown(e, *at, name_len);
			continue;
		}
		/* Compose files set variables to nothing: that is no value. */
		if (*value) {
			struct variable *v;

			e->list = xrealloc(e->list, (e->count + 1) * sizeof(*e->list));
			v = &e->list[e->count++];
			*v = (struct variable){.name = xstrndup(*at, name_len)};
			secret_set(&v->value, value, strlen(value));
		}
		if (is_secret) {
			wiped = xrealloc(wiped, (wipes + 1) * sizeof(char *));
			wiped[wipes++] = xstrndup(*at, name_len);
			mem_wipe(value, strlen(value));
		}
	}
	for (size_t i = 0; i < wipes; i++) {
		unsetenv(wiped[i]);
		free(wiped[i]);
	}
	free(wiped);
	return e;
}

void environment_free(struct environment *e)
{
	if (!e)
		return;
	for (size_t i = 0; i < e->count; i++) {
		free(e->list[i].name);
		secret_free(&e->list[i].value);
	}
	for (size_t i = 0; i < e->unknowns; i++)
		free(e->unknown[i]);
	free(e->list);
	free(e->unknown);
	free(e);
}

static const struct secret *environment_get(const struct environment *e, const char *name)
{
	for (size_t i = 0; e && i < e->count; i++)
		if (strcmp(e->list[i].name, name) == 0)
			return &e->list[i].value;
	return NULL;
}

/* ---- secrets in files ---- */

bool config_read_secret(struct secret *s, const char *path, const char *where, bool is_raw)
{
	struct file_text f;
	size_t len;

	if (file_read(path, SECRET_FILE_MAX, NULL, &f) < 0) {
		config_complain(where, "could not read %s: %s", path,
				errno == EFBIG ? "larger than a secret can be" : strerror(errno));
		return false;
	}
	if (S_ISREG(f.identity.mode) && (f.identity.mode & S_IROTH))
		config_warn(where, "%s is readable by every user of this machine", path);
	len = f.len;
	if (!is_raw && len > 0 && f.text[len - 1] == '\n') {
		len--;
		if (len > 0 && f.text[len - 1] == '\r')
			len--;
	}
	secret_set(s, f.text, len);
	file_text_free(&f);
	return true;
}

static bool set_from_file(struct config *c, enum setting_id id, const char *path, const char *where)
{
	struct secret s = {0};
	bool ok = config_read_secret(&s, path, where, false);

	if (ok && s.len == 0) {
		config_complain(where, "%s is empty", path);
		ok = false;
	}
	ok = ok && config_set(c, id, s.bytes, s.len, where);
	secret_free(&s);
	return ok;
}

/* ---- the file ---- */

struct reading {
	struct config *c;
	char section[32];
	bool is_direct[SETTING_COUNT], is_by_file[SETTING_COUNT]; /* of secrets */
	bool ok;
};

static bool on_section(void *ctx, const char *name, struct ini_place place)
{
	struct reading *r = ctx;
	char where[WHERE_MAX];

	for (enum setting_id id = 0; id < SETTING_COUNT; id++)
		if (strcmp(setting_section(id), name) == 0) {
			snprintf(r->section, sizeof(r->section), "%s", name);
			return true;
		}
	snprintf(where, sizeof(where), "%s:%d", place.file, place.line);
	config_complain(where, "there is no section [%s]", name);
	/* What follows would only repeat the complaint. */
	snprintf(r->section, sizeof(r->section), "?");
	return false;
}

static bool on_key(void *ctx, const char *key, const char *value, struct ini_place place)
{
	struct reading *r = ctx;
	char where[WHERE_MAX];

	if (strcmp(r->section, "?") == 0)
		return true;
	snprintf(where, sizeof(where), "%s:%d: [%s] %s", place.file, place.line, r->section, key);
	for (enum setting_id id = 0; id < SETTING_COUNT; id++) {
		bool is_file;

		if (strcmp(setting_section(id), r->section) != 0)
			continue;
		is_file = setting_is_secret(id) && is_named(key, strlen(key), setting_key(id), "_file");
		if (!is_file && strcmp(setting_key(id), key) != 0)
			continue;
		if (setting_is_secret(id)) {
			*(is_file ? &r->is_by_file[id] : &r->is_direct[id]) |= *value != 0;
			if (r->is_by_file[id] && r->is_direct[id]) {
				config_complain(where, "%s and %s_file are both set", setting_key(id), setting_key(id));
				return false;
			}
		}
		return is_file && *value ? set_from_file(r->c, id, value, where) :
		       is_file ? true : config_set(r->c, id, value, strlen(value), where);
	}
	if (r->section[0])
		config_complain(where, "there is no such setting");
	else
		config_complain(where, "a setting stands below a [section]");
	return false;
}

static bool read_file(struct config *c, const char *path)
{
	static const struct ini_events events = {.section = on_section, .key = on_key, .goes_on = true};
	struct reading r = {.c = c};
	struct stat st;

	if (!ini_load(path, &events, &r))
		return false;
	for (enum setting_id id = 0; id < SETTING_COUNT; id++)
		if (r.is_direct[id] && stat(path, &st) == 0 && (st.st_mode & S_IROTH)) {
			config_warn(path, "holds secrets and is readable by every user of this machine");
			break;
		}
	return true;
}

/* ---- the load ---- */

static bool read_environment(struct config *c, const struct environment *e)
{
	const struct secret *direct, *by_file, *passfile = environment_get(e, "PGPASSFILE");
	bool ok = true;

	for (enum setting_id id = 0; id < SETTING_COUNT; id++) {
		char file_variable[80];
		const char *variable = setting_variable(id);

		direct = environment_get(e, variable);
		snprintf(file_variable, sizeof(file_variable), "%s_FILE", variable);
		by_file = setting_is_secret(id) ? environment_get(e, file_variable) : NULL;
		if (direct && by_file) {
			config_complain(variable, "%s and %s are both set", variable, file_variable);
			ok = false;
		} else if (by_file)
			ok &= set_from_file(c, id, by_file->bytes, file_variable);
		else if (direct)
			ok &= config_set(c, id, direct->bytes, direct->len, variable);
	}
	for (size_t i = 0; e && i < e->unknowns; i++)
		config_warn(e->unknown[i], "there is no such setting");
	if (passfile)
		c->pgpassfile = xstrdup(passfile->bytes);
	direct = environment_get(e, "AWS_ACCESS_KEY_ID");
	if (direct)
		secret_copy(&c->aws_access_key, direct);
	direct = environment_get(e, "AWS_SECRET_ACCESS_KEY");
	if (direct)
		secret_copy(&c->aws_secret_key, direct);
	direct = environment_get(e, "AWS_SESSION_TOKEN");
	if (direct)
		secret_copy(&c->aws_session_token, direct);
	return ok;
}

struct config *config_load(const char *path, const struct environment *e, const struct config_override *overrides)
{
	struct config *c = xcalloc(1, sizeof(*c));
	bool ok = true;

	config_init(c);
	c->path = xstrdup(path);
	if (path)
		ok &= read_file(c, path);
	ok &= read_environment(c, e);
	for (const struct config_override *o = overrides; o && o->text; o++)
		ok &= config_set(c, o->id, o->text, strlen(o->text), "command line");
	/* Rules about several settings would complain about what is only misspelt. */
	if (ok && config_check(c))
		return c;
	config_free(c);
	return NULL;
}

bool config_is_directory(const struct config *c)
{
	return c->s3_endpoint && strncmp(c->s3_endpoint, "file://", 7) == 0;
}

const char *config_directory(const struct config *c)
{
	return c->s3_endpoint + 7;
}

bool config_is_enabled(const struct config *c)
{
	if (!c->s3_endpoint)
		return false;
	if (config_is_directory(c))
		return true;
	return c->s3_bucket && (c->s3_credentials != CREDENTIALS_STATIC ||
				(c->s3_access_key.len > 0 && c->s3_secret_key.len > 0));
}

static usec_t at_most(usec_t a, usec_t b)
{
	return a < b ? a : b;
}

usec_t config_min_spacing(const struct config *c)
{
	if (c->schedule_min_spacing >= 0)
		return c->schedule_min_spacing;
	return c->schedule_at ? 300 * USEC_PER_SEC : at_most(c->schedule_interval / 2, 300 * USEC_PER_SEC);
}

usec_t config_jitter(const struct config *c)
{
	if (c->schedule_jitter >= 0)
		return c->schedule_jitter;
	return c->schedule_at ? 0 : at_most(c->schedule_interval / 20, 300 * USEC_PER_SEC);
}

const char *config_spool_dir(const struct config *c)
{
	const char *tmp = getenv("TMPDIR");

	return c->restore_spool_dir ? c->restore_spool_dir : tmp && *tmp ? tmp : "/tmp";
}
