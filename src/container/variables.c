#include "container/variables.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/file.h"
#include "lib/log.h"
#include "lib/mem.h"

#define VALUE_MAX 1048576
#define FILE_SUFFIX "_FILE"

struct variable {
	char *name;  /* owned */
	char *value; /* owned; a secret for all we know */
	char *from;  /* owned; the NAME_FILE it came from, or NULL */
};

struct variables {
	struct variable *list; /* owned */
	size_t count;
};

/* ---- the names that mean something ---- */

static const char *const settings[] = {
#define SETTING(name, ...) #name,
#include "config/settings.def"
#undef SETTING
};

static const struct {
	const char *section, *key, *variable;
} backup_settings[] = {
#define SETTING(section, key, variable, ...) {#section, #key, variable},
#include "backup/settings.def"
#undef SETTING
};

static const char *const others[] = {
#define ALIAS(variable, setting) variable,
#define OWN(variable) variable,
#include "container/names.def"
#undef ALIAS
#undef OWN
};

static void to_upper(char *text)
{
	for (; *text; text++)
		*text = (char)toupper((unsigned char)*text);
}

void variable_of_setting(const char *setting, char *out, size_t size)
{
	snprintf(out, size, "%s", setting);
	to_upper(out);
}

bool is_backup_variable(const char *name)
{
	char made[80];

	for (size_t i = 0; i < ARRAY_LEN(backup_settings); i++) {
		if (backup_settings[i].variable)
			snprintf(made, sizeof(made), "%s", backup_settings[i].variable);
		else {
			snprintf(made, sizeof(made), "BACKUP_%s_%s", backup_settings[i].section, backup_settings[i].key);
			to_upper(made);
		}
		if (strcmp(made, name) == 0)
			return true;
	}
	return false;
}

static bool is_known(const char *name)
{
	char made[80];

	for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
		variable_of_setting(settings[i], made, sizeof(made));
		if (strcmp(made, name) == 0)
			return true;
	}
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		if (strcmp(others[i], name) == 0)
			return true;
	return is_backup_variable(name);
}

/* ---- the list ---- */

static struct variable *find(const struct variables *v, const char *name)
{
	for (size_t i = 0; i < v->count; i++)
		if (strcmp(v->list[i].name, name) == 0)
			return &v->list[i];
	return NULL;
}

static struct variable *add(struct variables *v, const char *name)
{
	v->list = xrealloc(v->list, (v->count + 1) * sizeof(*v->list));
	v->list[v->count] = (struct variable){.name = xstrdup(name)};
	return &v->list[v->count++];
}

static void drop(struct variable *x)
{
	free(x->name);
	str_wipe_free(x->value);
	free(x->from);
}

void variables_set(struct variables *v, const char *name, const char *value)
{
	struct variable *x = find(v, name);
	char *fresh = xstrdup(value);

	if (!x)
		x = add(v, name);
	str_wipe_free(x->value);
	x->value = fresh;
}

const char *variables_get(const struct variables *v, const char *name)
{
	const struct variable *x = find(v, name);

	return x && x->value[0] ? x->value : NULL;
}

const char *variables_called(const struct variables *v, const char *name)
{
	const struct variable *x = find(v, name);

	return x && x->from ? x->from : name;
}

bool variables_each(const struct variables *v, size_t i, const char **name, const char **value)
{
	if (i >= v->count)
		return false;
	*name = v->list[i].name;
	*value = v->list[i].value;
	return true;
}

void variables_free(struct variables *v)
{
	if (!v)
		return;
	for (size_t i = 0; i < v->count; i++)
		drop(&v->list[i]);
	free(v->list);
	free(v);
}

/* ---- values in files ---- */

static bool read_value(struct variables *v, const char *name, const char *file_name, const char *path)
{
	struct file_text f;
	bool ok = false;

	if (find(v, name)) {
		log_error("%s and %s are both set", name, file_name);
		return false;
	}
	if (file_read(path, VALUE_MAX, NULL, &f) < 0) {
		log_error("%s: could not read %s: %s", file_name, path, errno == EFBIG ? "it is too large" : strerror(errno));
		return false;
	}
	if (f.len > 0 && f.text[f.len - 1] == '\n') {
		f.text[--f.len] = 0;
		if (f.len > 0 && f.text[f.len - 1] == '\r')
			f.text[--f.len] = 0;
	}
	if (f.len == 0)
		log_error("%s: %s is empty", file_name, path);
	else if (memchr(f.text, 0, f.len))
		log_error("%s: there is a zero byte in %s", file_name, path);
	else {
		struct variable *x = add(v, name);

		x->value = xstrdup(f.text);
		x->from = xstrdup(file_name);
		ok = true;
	}
	file_text_free(&f);
	return ok;
}

static bool resolve_files(struct variables *v)
{
	const size_t suffix = strlen(FILE_SUFFIX), given = v->count;
	bool ok = true;

	/* What is added meanwhile stands behind. */
	for (size_t i = 0; i < given; i++) {
		size_t len = strlen(v->list[i].name);
		char *base;

		if (len <= suffix || strcmp(v->list[i].name + len - suffix, FILE_SUFFIX) != 0 || is_known(v->list[i].name))
			continue;
		base = xstrndup(v->list[i].name, len - suffix);
		if (is_known(base)) {
			ok &= read_value(v, base, v->list[i].name, v->list[i].value);
			v->list[i].value[0] = 0; /* pg-ecdsa-backup would read it a second time */
		}
		free(base);
	}
	return ok;
}

bool variables_take(char **envp, struct variables **out)
{
	struct variables *v = xcalloc(1, sizeof(*v));

	for (char **at = envp; *at; at++) {
		char *equals = strchr(*at, '=');

		if (!equals)
			continue;
		*equals = 0;
		/* Of two with one name the first counts, as in getenv(3). */
		if (equals[1] && !find(v, *at))
			add(v, *at)->value = xstrdup(equals + 1);
		*equals = '=';
		mem_wipe(equals + 1, strlen(equals + 1));
	}
	*out = v;
	return resolve_files(v);
}

/* ---- what values are ---- */

bool variables_bool(const struct variables *v, const char *name, bool otherwise, bool *value)
{
	static const char *const yes[] = {"yes", "true", "on", "1"}, *const no[] = {"no", "false", "off", "0"};
	const char *text = variables_get(v, name);

	*value = otherwise;
	if (!text)
		return true;
	for (size_t i = 0; i < ARRAY_LEN(yes); i++)
		if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
			*value = strcasecmp(text, yes[i]) == 0;
			return true;
		}
	log_error("%s: \"%s\" is neither yes nor no", variables_called(v, name), text);
	return false;
}

bool variables_number(const struct variables *v, const char *name, long lo, long hi, long otherwise, long *value)
{
	const char *text = variables_get(v, name);
	char *end;

	*value = otherwise;
	if (!text)
		return true;
	errno = 0;
	*value = strtol(text, &end, 10);
	if (!isdigit((unsigned char)text[0]) || *end || errno || *value < lo || *value > hi) {
		log_error("%s: \"%s\" is no number from %ld to %ld", variables_called(v, name), text, lo, hi);
		return false;
	}
	return true;
}
