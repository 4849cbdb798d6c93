#include "backup/dump_args.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/util.h"

static const char *const with_value[] = {
	"--exclude-table", "--exclude-table-data", "--exclude-table-and-children",
	"--exclude-table-data-and-children", "--exclude-schema", "--schema", "--table", "--compress",
};
static const char *const alone[] = {
	"--no-comments", "--no-publications", "--no-subscriptions", "--no-large-objects", "--no-blobs",
};

static bool is_allowed(const char *word)
{
	const char *equals = strchr(word, '=');

	for (size_t i = 0; i < ARRAY_LEN(alone); i++)
		if (strcmp(word, alone[i]) == 0)
			return true;
	for (size_t i = 0; equals && i < ARRAY_LEN(with_value); i++)
		if (strlen(with_value[i]) == (size_t)(equals - word) &&
		    strncmp(word, with_value[i], (size_t)(equals - word)) == 0)
			return equals[1] != 0;
	return false;
}

/* The next word without its quotes, owned by the caller; NULL: a quote is not closed. */
static char *take_word(const char **at)
{
	char *word = xmalloc(strlen(*at) + 1), quote = 0;
	size_t len = 0;

	for (; **at && (quote || (**at != ' ' && **at != '\t')); (*at)++) {
		if (quote && **at == quote)
			quote = 0;
		else if (!quote && (**at == '\'' || **at == '"'))
			quote = **at;
		else
			word[len++] = **at;
	}
	word[len] = 0;
	if (!quote)
		return word;
	free(word);
	return NULL;
}

bool dump_args_parse(const char *text, struct dump_args *a, char *why, size_t cap)
{
	*a = (struct dump_args){.count = 0};
	while (text && *(text += strspn(text, " \t"))) {
		char *word = take_word(&text);

		if (!word)
			snprintf(why, cap, "a quote is not closed");
		else if (a->count == DUMP_ARGS_MAX)
			snprintf(why, cap, "more than %d arguments", DUMP_ARGS_MAX);
		else if (!is_allowed(word))
			snprintf(why, cap, "'%.200s' is not an argument that may be given to pg_dump here", word);
		else {
			a->words[a->count++] = word;
			continue;
		}
		free(word);
		dump_args_free(a);
		return false;
	}
	return true;
}

void dump_args_free(struct dump_args *a)
{
	for (size_t i = 0; i < a->count; i++)
		free(a->words[i]);
	*a = (struct dump_args){.count = 0};
}

bool compress_parse(const char *text, struct compress *c)
{
	static const struct {
		const char *word;
		enum compress_method method;
		int most;
	} methods[] = {{"none", COMPRESS_NONE, 0}, {"gzip", COMPRESS_GZIP, 9}, {"zstd", COMPRESS_ZSTD, 19}, {"lz4", COMPRESS_LZ4, 0}};
	size_t len = strcspn(text, ":");
	char *end;

	for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
		if (strlen(methods[i].word) != len || strncmp(text, methods[i].word, len) != 0)
			continue;
		*c = (struct compress){methods[i].method, -1};
		if (!text[len])
			return true;
		if (text[len + 1] < '1' || text[len + 1] > '9' || strlen(text + len + 1) > 2)
			return false;
		c->level = (int)strtol(text + len + 1, &end, 10);
		return !*end && c->level <= methods[i].most;
	}
	return false;
}

const char *compress_argument(const struct compress *c, int major, char out[64])
{
	static const char *const names[] = {NULL, "none", "gzip", "zstd", "lz4"};
	int n;

	if (c->method == COMPRESS_DEFAULT)
		return NULL;
	if (major < 16) {
		if (c->method != COMPRESS_NONE && c->method != COMPRESS_GZIP)
			return NULL;
		/* zlib's own default is level 6, and the older option takes a number alone. */
		snprintf(out, 64, "--compress=%d", c->method == COMPRESS_NONE ? 0 : c->level < 0 ? 6 : c->level);
		return out;
	}
	n = snprintf(out, 64, "--compress=%s", names[c->method]);
	if (c->level >= 0)
		snprintf(out + n, 64 - (size_t)n, ":%d", c->level);
	return out;
}
