#include "admin/command.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_word_byte(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
}

static const char *skip_space(const char *at)
{
	while (is_space(*at))
		at++;
	return at;
}

/* A part of the text on its way into a fixed array. */
struct part {
	char *out;
	size_t len, max;
	bool is_too_long;
};

static void part_add(struct part *p, char c)
{
	if (p->len < p->max)
		p->out[p->len++] = c;
	else
		p->is_too_long = true;
	p->out[p->len] = 0;
}

/* What stands between two quotes; a doubled one is a quote. NULL: it does not end. */
static const char *take_quoted(const char *at, struct part *p)
{
	char quote = *at++;

	for (; *at; at++) {
		if (*at == quote && *++at != quote)
			return at;
		part_add(p, *at);
	}
	return NULL;
}

static const char *take_word(const char *at, struct part *p)
{
	const char *start = at;

	if (*at == '"')
		return take_quoted(at, p);
	for (; is_word_byte(*at); at++)
		part_add(p, *at);
	return at == start ? NULL : at;
}

static bool at_end(const char *at)
{
	at = skip_space(at);
	if (*at == ';')
		at = skip_space(at + 1);
	return *at == 0;
}

/* What follows the name in a SET. */
static const char *take_value(const char *at, struct part *p)
{
	at = skip_space(at);
	if (*at == '=')
		at++;
	else if (strncasecmp(at, "to", 2) == 0)
		at += 2;
	else
		return NULL;
	at = skip_space(at);
	return *at == '\'' ? take_quoted(at, p) : take_word(at, p);
}

enum command_verdict command_parse(const char *text, struct command *c)
{
	struct part verb = {c->verb, 0, COMMAND_VERB_MAX, false};
	struct part argument = {c->argument, 0, COMMAND_ARGUMENT_MAX, false};
	struct part value = {c->value, 0, COMMAND_VALUE_MAX, false};
	const char *at, *before;

	memset(c, 0, sizeof(*c));
	before = skip_space(text);
	at = take_word(before, &verb);
	if (!at)
		return COMMAND_INVALID;
	if (!at_end(at)) {
		if (!is_space(*at))
			return COMMAND_INVALID;
		at = take_word(skip_space(at), &argument);
		if (!at)
			return COMMAND_INVALID;
		c->has_argument = true;
	}
	if (!at_end(at)) {
		/* The word SET is part of the grammar, so here it cannot be quoted. */
		if (*before == '"' || strcasecmp(c->verb, "set") != 0)
			return COMMAND_INVALID;
		at = take_value(at, &value);
		if (!at || !at_end(at))
			return COMMAND_INVALID;
		c->is_set = true;
	}
	return verb.is_too_long || argument.is_too_long || value.is_too_long ? COMMAND_BAD_ARGUMENTS : COMMAND_OK;
}
