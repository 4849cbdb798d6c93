#include "backup/sql_split.h"

#include <stddef.h>
#include <string.h>

#include "lib/mem.h"

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_name_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c < 0;
}

static const char *end_of_line(const char *at)
{
	return at + strcspn(at, "\n");
}

/* Block comments of PostgreSQL nest. */
static const char *behind_comment(const char *at)
{
	int depth = 0;

	do {
		if (at[0] == '/' && at[1] == '*') {
			depth++;
			at += 2;
		} else if (at[0] == '*' && at[1] == '/') {
			depth--;
			at += 2;
		} else
			at++;
	} while (depth > 0 && *at);
	return at;
}

static const char *behind_quote(const char *at, char quote, bool has_escapes)
{
	for (at++; *at; at++) {
		if (*at == '\\' && has_escapes && at[1])
			at++;
		else if (*at == quote && at[1] == quote)
			at++;
		else if (*at == quote)
			return at + 1;
	}
	return at;
}

/* $tag$ ... $tag$; at itself when none begins here. */
static const char *behind_dollars(const char *at)
{
	size_t n = 1;
	const char *end;
	char tag[66];

	while (is_name_byte(at[n]) && n < sizeof(tag) - 2)
		n++;
	if (at[n] != '$')
		return at;
	n++;
	memcpy(tag, at, n);
	tag[n] = 0;
	end = strstr(at + n, tag);
	return end ? end + n : at + strlen(at);
}

/* Blanks, comments and lines for psql, which stand between statements. */
static const char *skip_between(const char *at)
{
	for (;;) {
		if (is_space(*at) || *at == ';')
			at++;
		else if (at[0] == '-' && at[1] == '-')
			at = end_of_line(at);
		else if (at[0] == '/' && at[1] == '*')
			at = behind_comment(at);
		else if (*at == '\\')
			at = end_of_line(at);
		else
			return at;
	}
}

static const char *end_of_statement(const char *at)
{
	char before = 0;

	while (*at && *at != ';') {
		const char *start = at;

		if (*at == '\'')
			at = behind_quote(at, '\'', before == 'E' || before == 'e');
		else if (*at == '"')
			at = behind_quote(at, '"', false);
		else if (*at == '$' && !is_name_byte(before))
			at = behind_dollars(at);
		else if (at[0] == '-' && at[1] == '-')
			at = end_of_line(at);
		else if (at[0] == '/' && at[1] == '*')
			at = behind_comment(at);
		if (at == start)
			at++;
		before = at[-1];
	}
	return at;
}

char *sql_next(const char **at)
{
	const char *from = skip_between(*at), *end = end_of_statement(from), *stop = end;

	*at = *end ? end + 1 : end;
	while (stop > from && is_space(stop[-1]))
		stop--;
	return stop > from ? xstrndup(from, (size_t)(stop - from)) : NULL;
}
