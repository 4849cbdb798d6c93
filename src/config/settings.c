#include "config/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/setting_checks.h"
#include "config/setting_types.h"
#include "lib/log.h"
#include "lib/mem.h"

#define AT_RELOAD true
#define AT_START false
#define BUILT true
#define LATER false

struct setting {
	struct setting_row row;
	const struct setting_type *type;
	size_t offset; /* in struct settings */
	struct setting_range range;
	bool is_built;
};

static const struct setting table[] = {
#define SETTING(name, type, def, lo, hi, when, built, help)                                                            \
	{{#name, def, when, help}, &setting_##type, offsetof(struct settings, name), {lo, hi}, built},
#include "config/settings.def"
#undef SETTING
};

#define COUNT ARRAY_LEN(table)

static void *field_of(struct settings *s, const struct setting *row)
{
	return (char *)s + row->offset;
}

static const void *const_field_of(const struct settings *s, const struct setting *row)
{
	return (const char *)s + row->offset;
}

static void to_default(struct settings *s, const struct setting *row)
{
	bool in_range = true;

	if (row->row.default_text &&
	    !row->type->parse(row->type, row->row.default_text, row->range, field_of(s, row), &in_range))
		abort(); /* a mistake in settings.def, seen by every test */
}

void settings_init(struct settings *s)
{
	memset(s, 0, sizeof(*s));
	for (size_t i = 0; i < COUNT; i++)
		to_default(s, &table[i]);
}

void settings_copy(struct settings *to, const struct settings *from)
{
	*to = *from;
	for (size_t i = 0; i < COUNT; i++)
		if (table[i].type->is_text) {
			char **text = field_of(to, &table[i]);

			*text = xstrdup(*text);
		}
}

void settings_free(struct settings *s)
{
	for (size_t i = 0; i < COUNT; i++)
		if (table[i].type->is_text) {
			char **text = field_of(s, &table[i]);

			str_wipe_free(*text);
			*text = NULL;
		}
}

void settings_reset(struct settings *s, bool is_first_load)
{
	for (size_t i = 0; i < COUNT; i++)
		if (is_first_load || table[i].row.changeable)
			to_default(s, &table[i]);
}

int setting_find(const char *name)
{
	for (size_t i = 0; i < COUNT; i++)
		if (strcmp(table[i].row.name, name) == 0)
			return (int)i;
	return -1;
}

bool setting_is_restart_only(size_t i)
{
	return !table[i].row.changeable;
}

bool setting_is_built(size_t i)
{
	return table[i].is_built;
}

bool setting_is_default(const struct settings *s, size_t i)
{
	const struct setting *row = &table[i];
	char buf[64];
	const char *now = setting_print(s, i, buf, sizeof(buf)), *def = row->row.default_text;

	if (!now || !def)
		return !now || !*now;
	return strcmp(now, def) == 0;
}

bool setting_set(struct settings *s, size_t i, const char *value, const char *where)
{
	const struct setting *row = &table[i];
	bool in_range = true;

	if (!setting_check(row->row.name, value, where))
		return false;
	if (!row->type->parse(row->type, value, row->range, field_of(s, row), &in_range)) {
		if (!in_range)
			log_error("%s must be between %lld and %lld, not %s%s", row->row.name, (long long)row->range.lo,
				  (long long)row->range.hi, value, where);
		return false;
	}
	return true;
}

size_t setting_count(void)
{
	return COUNT;
}

const struct setting_row *setting_at(size_t i)
{
	return &table[i].row;
}

const char *setting_print(const struct settings *s, size_t i, char *buf, size_t cap)
{
	const struct setting *row = &table[i];

	return row->type->print(row->type, const_field_of(s, row), buf, cap);
}

const char *pool_mode_name(enum pool_mode mode)
{
	return mode == POOL_MODE_UNSET ? NULL : setting_POOL_MODE.words[mode];
}

static void describe_bounds(FILE *out, const struct setting *row)
{
	bool has_lo = row->range.lo != INT_MIN, has_hi;

	if (row->type->words) {
		for (size_t i = 0; row->type->words[i]; i++)
			fprintf(out, "%s `%s`", i ? "," : ":", row->type->words[i]);
		return;
	}
	if (row->type->is_text || row->type == &setting_BOOL)
		return;
	has_hi = row->range.hi != INT_MAX && row->range.hi != UINT_MAX && row->range.hi != TIME_MAX;
	if (has_lo && has_hi)
		fprintf(out, ", %lld to %lld", (long long)row->range.lo, (long long)row->range.hi);
	else if (has_lo)
		fprintf(out, ", at least %lld", (long long)row->range.lo);
}

void settings_describe(FILE *out)
{
	for (size_t i = 0; i < COUNT; i++) {
		const struct setting *row = &table[i];
		const char *def = row->row.default_text;

		fprintf(out, "### %s\n\n%s\n\n", row->row.name, row->row.help);
		fprintf(out, "- Type: %s", row->type->name);
		describe_bounds(out, row);
		if (!def)
			fprintf(out, "\n- Default: not set\n");
		else if (!*def)
			fprintf(out, "\n- Default: empty\n");
		else
			fprintf(out, "\n- Default: `%s`\n", def);
		fprintf(out, "- Changeable: %s\n", row->row.changeable ? "by RELOAD and SET" : "by a restart only");
		if (!row->is_built)
			fprintf(out, "- Accepted, but without effect in this version.\n");
		fputc('\n', out);
	}
}
