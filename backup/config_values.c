/* Settings one by one: their names, their types, and what they look like as text. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "backup/event.h"
#include "config_parts.h"
#include "lib/mem.h"

enum type { TEXT, SECRET, BOOL, INT, SIZE, SPAN, WORD };

struct row {
	const char *section, *key, *variable, *text; /* text: of the default */
	enum type type;
	size_t offset;
	int64_t lo, hi;
	const char *help;
};

static const struct row rows[] = {
#define SETTING(section, key, env, type, def, lo, hi, help) \
	{#section, #key, env, def, type, offsetof(struct config, section##_##key), lo, hi, help},
#include "backup/settings.def"
#undef SETTING
};

/* In the order of the enums in config.h. */
static const char *const words[SETTING_COUNT] = {
	[SETTING_postgres_dump_from] = "primary standby",
	[SETTING_s3_credentials] = "static file container imds web-identity auto",
	[SETTING_s3_addressing] = "path virtual",
	[SETTING_s3_part_mode] = "uniform growing",
	[SETTING_s3_checksum] = "none md5 sha256 crc32c",
	[SETTING_encryption_mode] = "mnemonic key none",
	[SETTING_retention_mode] = "any all",
	[SETTING_restore_on_failure] = "halt continue",
	[SETTING_restore_empty_check] = "strict tables",
	[SETTING_verify_after_backup] = "none head auth archive",
	[SETTING_verify_drill_pick] = "newest rotate",
	[SETTING_log_format] = "text json logfmt",
};

const char *setting_section(enum setting_id id)
{
	return rows[id].section;
}

const char *setting_key(enum setting_id id)
{
	return rows[id].key;
}

bool setting_is_secret(enum setting_id id)
{
	return rows[id].type == SECRET;
}

const char *setting_variable(enum setting_id id)
{
	static char made[SETTING_COUNT][64];

	if (rows[id].variable)
		return rows[id].variable;
	if (!made[id][0]) {
		snprintf(made[id], sizeof(made[id]), "BACKUP_%s_%s", rows[id].section, rows[id].key);
		for (char *p = made[id]; *p; p++)
			*p = (char)toupper((unsigned char)*p);
	}
	return made[id];
}

static void *member(struct config *c, enum setting_id id)
{
	return (char *)c + rows[id].offset;
}

/* Digits alone: no sign, no blank, no overflow. *end is behind them. */
static bool take_digits(const char *text, uint64_t *out, const char **end)
{
	uint64_t n = 0;

	if (*text < '0' || *text > '9')
		return false;
	for (; *text >= '0' && *text <= '9'; text++) {
		uint64_t digit = (uint64_t)(*text - '0');

		if (n > (INT64_MAX - digit) / 10)
			return false;
		n = n * 10 + digit;
	}
	*out = n;
	*end = text;
	return true;
}

/* A number and at most one letter, which multiplies. */
static bool take_scaled(const char *text, const char *letters, const uint64_t *factors, uint64_t *out)
{
	const char *end, *at;
	uint64_t factor = 1;

	if (!take_digits(text, out, &end))
		return false;
	if (*end) {
		at = strchr(letters, *end);
		if (!at || end[1])
			return false;
		factor = factors[at - letters];
	}
	if (*out > INT64_MAX / factor)
		return false;
	*out *= factor;
	return true;
}

bool parse_span(const char *text, usec_t *out)
{
	static const uint64_t seconds[] = {1, 60, 3600, 86400};
	uint64_t n;

	if (!take_scaled(text, "smhd", seconds, &n) || n > INT64_MAX / (uint64_t)USEC_PER_SEC)
		return false;
	*out = (usec_t)n * USEC_PER_SEC;
	return true;
}

bool parse_size(const char *text, uint64_t *out)
{
	static const uint64_t bytes[] = {1 << 10, 1 << 10, 1 << 20, 1 << 20, 1 << 30, 1 << 30};

	return take_scaled(text, "kKmMgG", bytes, out);
}

static bool parse_bool(const char *text, bool *out)
{
	static const char *const yes[] = {"yes", "true", "on", "1"}, *const no[] = {"no", "false", "off", "0"};

	for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
		if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
			*out = strcasecmp(text, yes[i]) == 0;
			return true;
		}
	}
	return false;
}

/* The nth word of a list, NULL behind the last. */
static const char *nth_word(const char *list, int n, size_t *len)
{
	for (; list; n--) {
		const char *blank = strchr(list, ' ');

		*len = blank ? (size_t)(blank - list) : strlen(list);
		if (n == 0)
			return list;
		list = blank ? blank + 1 : NULL;
	}
	return NULL;
}

static bool parse_word(const char *list, const char *text, int *out)
{
	const char *word;
	size_t len;

	for (int n = 0; (word = nth_word(list, n, &len)) != NULL; n++)
		if (strlen(text) == len && strncasecmp(word, text, len) == 0) {
			*out = n;
			return true;
		}
	return false;
}

const char *config_word(enum setting_id id, int value)
{
	static char out[32];
	size_t len = 0;
	const char *word = nth_word(words[id], value, &len);

	snprintf(out, sizeof(out), "%.*s", (int)len, word ? word : "");
	return out;
}

static bool in_bounds(const struct row *r, int64_t value, const char *where)
{
	if (value >= r->lo && value <= r->hi)
		return true;
	config_complain(where, "%" PRId64 " is out of range: %" PRId64 " to %" PRId64, value, r->lo, r->hi);
	return false;
}

/* Values are quoted in messages; secrets never come here. */
static bool set_scalar(struct config *c, enum setting_id id, const char *text, const char *where)
{
	const struct row *r = &rows[id];
	const char *end;
	uint64_t n;

	switch (r->type) {
	case BOOL:
		if (parse_bool(text, member(c, id)))
			return true;
		config_complain(where, "'%s' is neither yes nor no", text);
		return false;
	case WORD:
		if (parse_word(words[id], text, member(c, id)))
			return true;
		config_complain(where, "'%s' is none of: %s", text, words[id]);
		return false;
	case INT:
		if (!take_digits(text, &n, &end) || *end) {
			config_complain(where, "'%s' is not a whole number", text);
			return false;
		}
		*(int64_t *)member(c, id) = (int64_t)n;
		return in_bounds(r, (int64_t)n, where);
	case SIZE:
		if (!parse_size(text, member(c, id))) {
			config_complain(where, "'%s' is not a size, such as 65536, 64k, 8M or 5G", text);
			return false;
		}
		return in_bounds(r, (int64_t)*(uint64_t *)member(c, id), where);
	case SPAN:
		if (!parse_span(text, member(c, id))) {
			config_complain(where, "'%s' is not a duration, such as 90, 90s, 15m, 12h or 7d", text);
			return false;
		}
		return in_bounds(r, *(usec_t *)member(c, id) / USEC_PER_SEC, where);
	case TEXT:
	case SECRET:
		break;
	}
	return false;
}

static void set_unset(struct config *c, enum setting_id id)
{
	switch (rows[id].type) {
	case INT:
		*(int64_t *)member(c, id) = -1;
		break;
	case SPAN:
		*(usec_t *)member(c, id) = -1;
		break;
	case SIZE:
		*(uint64_t *)member(c, id) = 0;
		break;
	case TEXT:
		free(*(char **)member(c, id));
		*(char **)member(c, id) = NULL;
		break;
	case SECRET:
		secret_free(member(c, id));
		break;
	case BOOL:
	case WORD:
		break;
	}
}

/* A text means something by being empty: no host is libpq's socket directory. */
static bool empty_is_a_value(enum setting_id id)
{
	return id == SETTING_postgres_host || id == SETTING_s3_prefix;
}

bool config_set(struct config *c, enum setting_id id, const char *text, size_t len, const char *where)
{
	if (rows[id].type != SECRET && strlen(text) != len) {
		config_complain(where, "there is a NUL byte in it");
		return false;
	}
	if (len == 0 && !empty_is_a_value(id)) {
		/* A line that says nothing leaves what the default says. */
		c->is_given[id] = false;
		set_unset(c, id);
		return !rows[id].text || config_set(c, id, rows[id].text, strlen(rows[id].text), where);
	}
	c->is_given[id] = true;
	if (rows[id].type == SECRET) {
		secret_set(member(c, id), text, len);
		return true;
	}
	if (rows[id].type == TEXT) {
		char **at = member(c, id);

		free(*at);
		*at = xstrndup(text, len);
		return true;
	}
	return set_scalar(c, id, text, where);
}

void config_init(struct config *c)
{
	for (enum setting_id id = 0; id < SETTING_COUNT; id++) {
		set_unset(c, id);
		if (rows[id].text && !config_set(c, id, rows[id].text, strlen(rows[id].text), rows[id].key))
			abort(); /* our own default does not parse */
		c->is_given[id] = false;
	}
}

void config_free(struct config *c)
{
	if (!c)
		return;
	for (enum setting_id id = 0; id < SETTING_COUNT; id++)
		if (rows[id].type == TEXT || rows[id].type == SECRET)
			set_unset(c, id);
	secret_free(&c->encryption_key);
	secret_free(&c->aws_access_key);
	secret_free(&c->aws_secret_key);
	secret_free(&c->aws_session_token);
	free(c->pgpassfile);
	free(c->path);
	free(c);
}

static void show_span(usec_t span, char *out, size_t cap)
{
	int64_t s = span / USEC_PER_SEC;

	if (span < 0)
		snprintf(out, cap, "unset");
	else if (s > 0 && s % 86400 == 0)
		snprintf(out, cap, "%" PRId64 "d", s / 86400);
	else if (s > 0 && s % 3600 == 0)
		snprintf(out, cap, "%" PRId64 "h", s / 3600);
	else if (s > 0 && s % 60 == 0)
		snprintf(out, cap, "%" PRId64 "m", s / 60);
	else
		snprintf(out, cap, "%" PRId64 "s", s);
}

static void show_size(uint64_t n, char *out, size_t cap)
{
	if (n == 0)
		snprintf(out, cap, "unset");
	else if (n % (1 << 30) == 0)
		snprintf(out, cap, "%" PRIu64 "G", n >> 30);
	else if (n % (1 << 20) == 0)
		snprintf(out, cap, "%" PRIu64 "M", n >> 20);
	else
		snprintf(out, cap, "%" PRIu64, n);
}

void config_show(const struct config *c, enum setting_id id, char *out, size_t cap)
{
	const void *at = (const char *)c + rows[id].offset;

	switch (rows[id].type) {
	case TEXT:
		snprintf(out, cap, "%s", *(char *const *)at ? *(char *const *)at : "unset");
		break;
	case SECRET:
		if (((const struct secret *)at)->bytes)
			snprintf(out, cap, "set (%zu bytes)", ((const struct secret *)at)->len);
		else
			snprintf(out, cap, "unset");
		break;
	case BOOL:
		snprintf(out, cap, "%s", *(const bool *)at ? "yes" : "no");
		break;
	case INT:
		if (*(const int64_t *)at < 0)
			snprintf(out, cap, "unset");
		else
			snprintf(out, cap, "%" PRId64, *(const int64_t *)at);
		break;
	case SIZE:
		show_size(*(const uint64_t *)at, out, cap);
		break;
	case SPAN:
		show_span(*(const usec_t *)at, out, cap);
		break;
	case WORD:
		snprintf(out, cap, "%s", config_word(id, *(const int *)at));
		break;
	}
}

void settings_describe(void)
{
	const char *section = "";

	for (enum setting_id id = 0; id < SETTING_COUNT; id++) {
		const struct row *r = &rows[id];

		if (strcmp(section, r->section) != 0)
			printf("%s## [%s]\n\n| key | environment | default | |\n|---|---|---|---|\n",
			       *section ? "\n" : "", r->section);
		section = r->section;
		printf("| %s | `%s`%s%s%s | %s | %s%s%s |\n", r->key, setting_variable(id),
		       r->type == SECRET ? ", `" : "", r->type == SECRET ? setting_variable(id) : "",
		       r->type == SECRET ? "_FILE`" : "", r->text ? r->text : "unset", r->help,
		       words[id] && !strstr(r->help, " or ") ? " One of: " : "",
		       words[id] && !strstr(r->help, " or ") ? words[id] : "");
	}
}
