#include "proto/startup.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proto/reader.h"

static int startup_add(struct startup *st, size_t *cap, const char *name, const char *value)
{
	if (st->n == *cap) {
		size_t grown = *cap ? 2 * *cap : 8;
		struct startup_param *params = realloc(st->params, grown * sizeof(*params));

		if (!params)
			return -1;
		st->params = params;
		*cap = grown;
	}
	st->params[st->n++] = (struct startup_param){name, value};
	return 0;
}

enum proto_verdict startup_parse(struct span body, struct startup *st)
{
	struct reader r = reader_over_span(body);
	size_t cap = 0;

	*st = (struct startup){0};
	for (;;) {
		const char *name = reader_str(&r), *value;

		if (!reader_ok(&r))
			return PROTO_BAD;
		if (!*name)
			return reader_done(&r) ? PROTO_OK : PROTO_BAD;
		value = reader_str(&r);
		if (!reader_ok(&r) || st->n == STARTUP_PARAMS_MAX || startup_add(st, &cap, name, value) < 0)
			return PROTO_BAD;
	}
}

void startup_free(struct startup *st)
{
	free(st->params);
	*st = (struct startup){0};
}

const char *startup_get(const struct startup *st, const char *name)
{
	for (size_t i = st->n; i > 0; i--)
		if (strcmp(st->params[i - 1].name, name) == 0)
			return st->params[i - 1].value;
	return NULL;
}

/* isspace() of the C locale, whatever locale the process is in. */
static int is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/*
 * Appends the next argument, unescaped and with its NUL, to out. Splitting is
 * that of the server (postmaster's pg_split_opts): a backslash takes the next
 * byte as it is, one at the very end is dropped. 0: there is no argument.
 */
static int next_argument(const char **at, struct buf *out)
{
	const char *p = *at;

	while (is_space(*p))
		p++;
	if (!*p) {
		*at = p;
		return 0;
	}
	for (; *p && !is_space(*p); p++) {
		if (*p == '\\' && !*++p)
			break;
		buf_put_u8(out, (uint8_t)*p);
	}
	buf_put_u8(out, 0);
	*at = p;
	return 1;
}

/* name=value in place. As in the server (ParseLongOption) a '-' in a name means '_'. */
static enum options_verdict split_pair(char *pair, const char **name, const char **value)
{
	char *equals = strchr(pair, '=');

	if (!equals || equals == pair)
		return OPTIONS_UNSUPPORTED;
	*equals = 0;
	for (char *c = pair; c < equals; c++)
		if (*c == '-')
			*c = '_';
	*name = pair;
	*value = equals + 1;
	return OPTIONS_PAIR;
}

enum options_verdict options_next(const char **at, struct buf *scratch, const char **name, const char **value)
{
	char *arg;

	buf_clear(scratch);
	if (!next_argument(at, scratch))
		return OPTIONS_END;
	if (!buf_ok(scratch))
		return OPTIONS_UNSUPPORTED;
	arg = (char *)scratch->data + scratch->start;
	if (strcmp(arg, "-c") == 0) {
		buf_clear(scratch);
		if (!next_argument(at, scratch) || !buf_ok(scratch))
			return OPTIONS_UNSUPPORTED;
		return split_pair((char *)scratch->data + scratch->start, name, value);
	}
	if (strncmp(arg, "-c", 2) == 0 || strncmp(arg, "--", 2) == 0)
		return split_pair(arg + 2, name, value);
	return OPTIONS_UNSUPPORTED;
}

enum replication replication_parse(const char *value)
{
	if (strcasecmp(value, "database") == 0)
		return REPLICATION_LOGICAL;
	return bool_word(value) == 1 ? REPLICATION_PHYSICAL : REPLICATION_NONE;
}

const char *replication_word(enum replication r)
{
	static const char *const words[] = {
		[REPLICATION_NONE] = "no", [REPLICATION_LOGICAL] = "database", [REPLICATION_PHYSICAL] = "yes"};

	return words[r];
}

int bool_word(const char *word)
{
	/* The fewest letters that tell a word from the others: "o" alone is neither on nor off. */
	static const struct {
		const char *word;
		size_t least;
		int means;
	} words[] = {
		{"true", 1, 1}, {"yes", 1, 1}, {"on", 2, 1}, {"1", 1, 1},
		{"false", 1, 0}, {"no", 1, 0}, {"off", 2, 0}, {"0", 1, 0},
	};
	size_t len = strlen(word);

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (len >= words[i].least && len <= strlen(words[i].word) &&
		    strncasecmp(word, words[i].word, len) == 0)
			return words[i].means;
	return -1;
}
