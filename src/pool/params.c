#include "pool/params.h"

#include <ctype.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/hash.h"
#include "lib/log.h"
#include "lib/mem.h"

struct interned {
	int refs; /* under the lock */
	char text[];
};

struct param_set {
	int refs;		   /* under the lock */
	struct interned *values[]; /* counted; by index, that of application_name is always NULL */
};

static struct {
	pthread_mutex_t lock;
	struct hash texts, sets;
	const char *names[PARAMS_MAX];
	int count;
} table = {.lock = PTHREAD_MUTEX_INITIALIZER,
	   .names = {"DateStyle", "client_encoding", "TimeZone", "standard_conforming_strings", "application_name"},
	   .count = 5};

int params_setup(const char *extra)
{
	char *list, *at, *save = NULL;
	int ret = 0;

	table.count = 5;
	if (!extra)
		return 0;
	list = xstrdup(extra);
	for (at = strtok_r(list, ", \t", &save); at; at = strtok_r(NULL, ", \t", &save)) {
		if (params_index(at) >= 0)
			continue;
		if (table.count == PARAMS_MAX) {
			log_error("track_extra_parameters: more than %d names", PARAMS_MAX - 5);
			ret = -1;
			break;
		}
		table.names[table.count++] = xstrdup(at);
	}
	free(list);
	return ret;
}

int params_count(void)
{
	return table.count;
}

const char *params_name(int i)
{
	return table.names[i];
}

int params_index(const char *name)
{
	for (int i = 0; i < table.count; i++)
		if (strcasecmp(table.names[i], name) == 0)
			return i;
	return -1;
}

/* The functions below that end in _locked want table.lock. */

static struct interned *text_get_locked(const char *text)
{
	struct interned *t = hash_get_str(&table.texts, text);
	size_t len;

	if (t) {
		t->refs++;
		return t;
	}
	len = strlen(text) + 1;
	t = malloc(sizeof(*t) + len);
	if (!t)
		return NULL;
	t->refs = 1;
	memcpy(t->text, text, len);
	if (!hash_put_str(&table.texts, t->text, t)) {
		free(t);
		return NULL;
	}
	return t;
}

static void text_put_locked(struct interned *t)
{
	if (!t || --t->refs > 0)
		return;
	hash_del_str(&table.texts, t->text);
	free(t);
}

static size_t set_bytes(void)
{
	return (size_t)table.count * sizeof(struct interned *);
}

/* Takes the counts in values, also on failure. */
static struct param_set *set_get_locked(struct interned **values)
{
	struct param_set *s = hash_get(&table.sets, values, set_bytes());

	if (s) {
		for (int i = 0; i < table.count; i++)
			text_put_locked(values[i]);
		s->refs++;
		return s;
	}
	s = malloc(sizeof(*s) + set_bytes());
	if (s) {
		s->refs = 1;
		memcpy(s->values, values, set_bytes());
		if (hash_put(&table.sets, s->values, set_bytes(), s))
			return s;
	}
	free(s);
	for (int i = 0; i < table.count; i++)
		text_put_locked(values[i]);
	return NULL;
}

static void set_put_locked(struct param_set *s)
{
	if (!s || --s->refs > 0)
		return;
	hash_del(&table.sets, s->values, set_bytes());
	for (int i = 0; i < table.count; i++)
		text_put_locked(s->values[i]);
	free(s);
}

const char *params_get(const struct params *p, int i)
{
	const struct interned *t = i == PARAM_APPLICATION_NAME ? p->app_name : p->set ? p->set->values[i] : NULL;

	return t ? t->text : NULL;
}

bool params_set(struct params *p, int index, const char *value)
{
	const char *have = params_get(p, index);
	struct interned *values[PARAMS_MAX] = {0}, *t;
	bool ok = true;

	if (have && strcmp(have, value) == 0)
		return true;
	pthread_mutex_lock(&table.lock);
	t = text_get_locked(value);
	if (!t)
		ok = false;
	else if (index == PARAM_APPLICATION_NAME) {
		text_put_locked(p->app_name);
		p->app_name = t;
	} else {
		struct param_set *fresh;

		for (int i = 0; i < table.count; i++) {
			values[i] = i == index ? t : p->set ? p->set->values[i] : NULL;
			if (values[i] && i != index)
				values[i]->refs++;
		}
		fresh = set_get_locked(values);
		ok = fresh != NULL;
		if (ok) {
			set_put_locked(p->set);
			p->set = fresh;
		}
	}
	pthread_mutex_unlock(&table.lock);
	return ok;
}

bool params_copy(struct params *to, const struct params *from)
{
	struct params old = *to;

	if (params_same(to, from))
		return true;
	pthread_mutex_lock(&table.lock);
	*to = *from;
	if (to->set)
		to->set->refs++;
	if (to->app_name)
		to->app_name->refs++;
	set_put_locked(old.set);
	text_put_locked(old.app_name);
	pthread_mutex_unlock(&table.lock);
	return true;
}

void params_free(struct params *p)
{
	if (!p->set && !p->app_name)
		return;
	pthread_mutex_lock(&table.lock);
	set_put_locked(p->set);
	text_put_locked(p->app_name);
	pthread_mutex_unlock(&table.lock);
	p->set = NULL;
	p->app_name = NULL;
}

bool params_fill(struct params *p, const struct params *defaults)
{
	bool ok = true;

	if (!p->set && defaults->set) {
		struct params only_set = {defaults->set, p->app_name};

		params_copy(p, &only_set);
	}
	for (int i = 0; i < table.count; i++) {
		const char *value = params_get(defaults, i);

		if (value && !params_get(p, i))
			ok = params_set(p, i, value) && ok;
	}
	return ok;
}

void params_put_literal(struct buf *sql, const char *value)
{
	if (strchr(value, '\\'))
		buf_put_u8(sql, 'E');
	buf_put_u8(sql, '\'');
	for (; *value; value++) {
		if (*value == '\'' || *value == '\\')
			buf_put_u8(sql, (uint8_t)*value);
		buf_put_u8(sql, (uint8_t)*value);
	}
	buf_put_u8(sql, '\'');
}

static bool is_name_byte(char c, bool first)
{
	return isalpha((unsigned char)c) || c == '_' || (c & 0x80) || (!first && (isdigit((unsigned char)c) || c == '$'));
}

/* A list as the server prints one: names, plain or in double quotes, with commas between. Nothing else can be in it. */
static bool is_name_list(const char *at)
{
	for (;;) {
		at += strspn(at, " ");
		if (*at == '"') {
			do {
				at = strchr(at + 1, '"');
				if (!at)
					return false;
				at++;
			} while (*at == '"');
		} else {
			if (!is_name_byte(*at, true))
				return false;
			while (is_name_byte(*at, false))
				at++;
		}
		at += strspn(at, " ");
		if (!*at)
			return true;
		if (*at++ != ',')
			return false;
	}
}

bool params_diff_sql(const struct params *client, const struct params *server, struct buf *sql)
{
	bool any = false;

	if (params_same(client, server))
		return false;
	for (int i = 0; i < table.count; i++) {
		const char *want = params_get(client, i), *have = params_get(server, i);

		if (!want || !have || strcasecmp(want, have) == 0)
			continue;
		any = true;
		buf_printf(sql, "SET %s=", table.names[i]);
		/* search_path is a list that the server quoted itself. */
		if (strcasecmp(table.names[i], "search_path") == 0 && (!*want || strcmp(want, "\"\"") == 0))
			buf_put_text(sql, "''");
		else if (strcasecmp(table.names[i], "search_path") == 0 && is_name_list(want))
			buf_put_text(sql, want);
		else
			params_put_literal(sql, want);
		buf_put_u8(sql, ';');
	}
	return any;
}
