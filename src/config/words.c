#include "config/words.h"

#include <string.h>

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

struct words words_over(char *line, size_t len)
{
	return (struct words){.at = line, .end = line + len, .kind = WORD_END, .text = line};
}

/* Behind the opening quote. */
static enum word_kind take_quoted(struct words *w)
{
	char *to = w->at;

	w->text = to;
	for (; w->at < w->end && *w->at; w->at++) {
		if (*w->at == '"') {
			bool is_doubled = w->at + 1 < w->end && w->at[1] == '"';

			w->at++;
			if (!is_doubled) {
				w->len = (size_t)(to - w->text);
				return WORD_QUOTED;
			}
		}
		*to++ = *w->at;
	}
	w->len = (size_t)(to - w->text);
	w->at = w->end;
	return WORD_BAD;
}

static bool ends_plain(char c)
{
	return is_blank(c) || c == ',' || c == '#' || c == '"';
}

static enum word_kind take_plain(struct words *w)
{
	w->is_file = *w->at == '@';
	if (w->is_file)
		w->at++;
	if (w->is_file && w->at < w->end && *w->at == '"') {
		w->at++;
		return take_quoted(w) == WORD_BAD ? WORD_BAD : WORD_PLAIN;
	}
	w->text = w->at;
	while (w->at < w->end && !ends_plain(*w->at))
		w->at++;
	w->len = (size_t)(w->at - w->text);
	return memchr(w->text, 0, w->len) ? WORD_BAD : WORD_PLAIN;
}

enum word_kind words_next(struct words *w)
{
	w->is_file = false;
	while (w->at < w->end && is_blank(*w->at))
		w->at++;
	if (w->at == w->end || *w->at == '#') {
		w->at = w->end;
		w->kind = WORD_END;
	} else if (*w->at == ',') {
		w->text = w->at++;
		w->len = 1;
		w->kind = WORD_COMMA;
	} else if (*w->at == '"') {
		w->at++;
		w->kind = take_quoted(w);
	} else
		w->kind = take_plain(w);
	return w->kind;
}

bool words_is(const struct words *w, const char *plain)
{
	return w->kind == WORD_PLAIN && !w->is_file && w->len == strlen(plain) && memcmp(w->text, plain, w->len) == 0;
}

char *words_rest(struct words *w, size_t *len)
{
	char *from = w->at, *to;
	bool is_quoted = false;

	while (from < w->end && is_blank(*from))
		from++;
	for (to = from; to < w->end && (is_quoted || *to != '#'); to++)
		if (*to == '"')
			is_quoted = !is_quoted;
	while (to > from && is_blank(to[-1]))
		to--;
	w->at = w->end;
	*len = (size_t)(to - from);
	return from;
}

char *line_next(char **at, char *end, size_t *len)
{
	char *line = *at, *nl;

	if (line >= end)
		return NULL;
	nl = memchr(line, '\n', (size_t)(end - line));
	*len = (size_t)((nl ? nl : end) - line);
	*at = nl ? nl + 1 : end;
	return line;
}
