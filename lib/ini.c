#include "lib/ini.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/file.h"
#include "lib/log.h"
#include "lib/mem.h"

/*
 *	   key = value of the key  \n
 *	   ^at                     ^end of the line
 */
struct cursor {
	const char *at, *end; /* of the whole text */
	struct ini_place place;
	const struct ini_events *events;
	void *ctx;
};

/* By hand, because isspace() and isalnum() follow the locale. */
static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_space(char c)
{
	return is_blank(c) || (c >= '\n' && c <= '\r');
}

static bool is_key_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("_.-*", c));
}

static bool syntax_error(const struct cursor *c)
{
	log_error("syntax error in configuration (%s:%d)%s", c->place.file, c->place.line,
		  c->events->goes_on ? "" : ", stopping loading");
	return false;
}

static const char *line_end(const struct cursor *c)
{
	const char *nl = memchr(c->at, '\n', (size_t)(c->end - c->at));

	return nl ? nl : c->end;
}

static void skip_blanks(struct cursor *c)
{
	while (c->at < c->end && is_blank(*c->at))
		c->at++;
}

/* From at to the end of the line without trailing white space; NULL when a NUL byte is in it. */
static char *take_rest_of_line(struct cursor *c)
{
	const char *from = c->at, *end = line_end(c);

	c->at = end;
	while (end > from && is_space(end[-1]))
		end--;
	if (memchr(from, 0, (size_t)(end - from)))
		return NULL;
	return xstrndup(from, (size_t)(end - from));
}

static bool read_section(struct cursor *c)
{
	const char *end = line_end(c), *close = memchr(c->at, ']', (size_t)(end - c->at));
	char *name;
	bool ok;

	if (!close || memchr(c->at, 0, (size_t)(close - c->at)))
		return syntax_error(c);
	name = xstrndup(c->at + 1, (size_t)(close - c->at - 1));
	c->at = close + 1;
	ok = c->events->section(c->ctx, name, c->place);
	free(name);
	return ok;
}

static bool read_include(struct cursor *c)
{
	static const char word[] = "%include";
	size_t len = sizeof(word) - 1;
	char *file;
	bool ok;

	if ((size_t)(c->end - c->at) <= len || memcmp(c->at, word, len) != 0 || !is_blank(c->at[len]))
		return syntax_error(c);
	c->at += len;
	skip_blanks(c);
	file = take_rest_of_line(c);
	if (!file)
		return syntax_error(c);
	ok = c->events->include(c->ctx, file, c->place);
	free(file);
	return ok;
}

/* NULL: no key begins here. */
static char *take_quoted_key(struct cursor *c)
{
	const char *end = line_end(c);
	char quote = *c->at++, *key = xmalloc((size_t)(end - c->at) + 1);
	size_t len = 0;

	for (; c->at < end && *c->at; c->at++) {
		if (*c->at == quote) {
			c->at++;
			/* 'a''b' is a'b, but '' alone is an empty key. */
			if (c->at == end || *c->at != quote) {
				if (len == 0)
					break;
				key[len] = 0;
				return key;
			}
		}
		key[len++] = *c->at;
	}
	free(key);
	return NULL;
}

static char *take_key(struct cursor *c)
{
	const char *from = c->at;

	if (*c->at == '\'' || *c->at == '"')
		return take_quoted_key(c);
	while (c->at < c->end && is_key_byte(*c->at))
		c->at++;
	return c->at > from ? xstrndup(from, (size_t)(c->at - from)) : NULL;
}

static bool read_key(struct cursor *c)
{
	char *key = take_key(c), *value = NULL;
	bool ok;

	if (!key)
		return syntax_error(c);
	skip_blanks(c);
	if (c->at < c->end && *c->at == '=') {
		c->at++;
		skip_blanks(c);
		value = take_rest_of_line(c);
	}
	ok = value ? c->events->key(c->ctx, key, value, c->place) : syntax_error(c);
	free(key);
	str_wipe_free(value);
	return ok;
}

bool ini_parse(struct span text, const char *file, const struct ini_events *events, void *ctx)
{
	struct cursor c = {
		.at = (const char *)text.ptr, .end = (const char *)text.ptr + text.len,
		.place = {.file = file, .line = 1}, .events = events, .ctx = ctx,
	};
	bool ok = true, all_ok = true;

	while (ok && c.at < c.end) {
		switch (*c.at) {
		case '\n':
			c.place.line++;
			c.at++;
			break;
		case ';':
		case '#':
			c.at = line_end(&c);
			break;
		case '[':
			ok = read_section(&c);
			break;
		case '%':
			ok = read_include(&c);
			break;
		default:
			if (is_space(*c.at))
				c.at++;
			else
				ok = read_key(&c);
		}
		all_ok &= ok;
		if (!ok && events->goes_on) {
			c.at = line_end(&c);
			ok = true;
		}
	}
	return all_ok;
}

/* One of the files on the way from the named one to the innermost include. */
struct nesting {
	const struct ini_events *outer;
	void *ctx;
	int depth, files;
	bool is_too_deep; /* has been said; with goes_on nothing more is included */
};

static bool load_nested(struct nesting *, const char *file);

static bool nested_section(void *ctx, const char *name, struct ini_place place)
{
	struct nesting *n = ctx;

	return n->outer->section(n->ctx, name, place);
}

static bool nested_key(void *ctx, const char *key, const char *value, struct ini_place place)
{
	struct nesting *n = ctx;

	return n->outer->key(n->ctx, key, value, place);
}

static bool nested_include(void *ctx, const char *file, struct ini_place place)
{
	struct nesting *n = ctx;
	bool ok;

	if (n->is_too_deep)
		return false;
	if (n->depth == INI_INCLUDE_DEPTH) {
		n->is_too_deep = true;
		log_error("include nesting level too deep (%s:%d)%s", place.file, place.line,
			  n->outer->goes_on ? "" : ", stopping loading");
		return false;
	}
	n->depth++;
	ok = load_nested(n, file);
	n->depth--;
	if (!ok)
		log_error("error processing include file in configuration (%s:%d)%s", place.file, place.line,
			  n->outer->goes_on ? "" : ", stopping loading");
	return ok;
}

static bool load_nested(struct nesting *n, const char *file)
{
	const struct ini_events events = {nested_section, nested_key, nested_include, n->outer->goes_on};
	struct file_text f;
	bool ok;

	if (++n->files > INI_FILES_MAX) {
		n->is_too_deep = true;
		log_error("more than %d files are included", INI_FILES_MAX);
		return false;
	}
	if (file_read(file, INI_FILE_MAX, NULL, &f) < 0) {
		log_error("could not load file \"%s\": %s", file, strerror(errno));
		return false;
	}
	ok = ini_parse(span_of(f.text, f.len), file, &events, n);
	file_text_free(&f);
	return ok;
}

bool ini_load(const char *file, const struct ini_events *events, void *ctx)
{
	struct nesting n = {.outer = events, .ctx = ctx, .depth = 0};

	return load_nested(&n, file);
}
