#include "backup/state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/command.h"
#include "backup/event.h"
#include "backup/lock.h"
#include "lib/buf.h"
#include "lib/file.h"
#include "lib/file_write.h"
#include "lib/mem.h"

#define STATE_MAX 65536
#define WORDS_MAX 64

struct state {
	char *path; /* owned; NULL: nowhere to write */
	struct {
		char *key, *text; /* owned */
	} words[WORDS_MAX];
	size_t count;
	bool is_changed, has_complained;
};

static void put(struct state *s, const char *key, size_t key_len, const char *text, size_t len)
{
	for (size_t i = 0; i < s->count; i++)
		if (strlen(s->words[i].key) == key_len && memcmp(s->words[i].key, key, key_len) == 0) {
			free(s->words[i].text);
			s->words[i].text = xstrndup(text, len);
			return;
		}
	if (s->count == WORDS_MAX)
		return;
	s->words[s->count].key = xstrndup(key, key_len);
	s->words[s->count++].text = xstrndup(text, len);
}

static void parse(struct state *s, const char *text)
{
	while (*text) {
		size_t len = strcspn(text, "\n"), key = strcspn(text, " \n");

		if (key > 0 && key < len)
			put(s, text, key, text + key + 1, len - key - 1);
		text += len + (text[len] != 0);
	}
}

struct state *state_open(struct program *p)
{
	struct state *s = xcalloc(1, sizeof(*s));
	const struct config *c = p->config;
	struct file_text f;

	if (!c->state_dir)
		return s;
	/* Several stores may share the directory. */
	s->path = xasprintf("%s/pg-ecdsa-backup-%08x.state", c->state_dir,
			    (unsigned)lock_number("state", program_bucket(p), c->s3_prefix));
	if (file_read(s->path, STATE_MAX, NULL, &f) == 0) {
		parse(s, f.text);
		file_text_free(&f);
	} else if (errno != ENOENT)
		EVENT(LEVEL_WARNING, "state", F_TEXT("path", s->path), F_TEXT("error", strerror(errno)));
	return s;
}

void state_free(struct state *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->count; i++) {
		free(s->words[i].key);
		free(s->words[i].text);
	}
	free(s->path);
	free(s);
}

const char *state_path(const struct state *s)
{
	return s->path;
}

const char *state_text(const struct state *s, const char *key)
{
	for (size_t i = 0; i < s->count; i++)
		if (strcmp(s->words[i].key, key) == 0)
			return s->words[i].text[0] ? s->words[i].text : NULL;
	return NULL;
}

int64_t state_number(const struct state *s, const char *key, int64_t otherwise)
{
	const char *text = state_text(s, key);
	char *end;
	int64_t n;

	if (!text)
		return otherwise;
	errno = 0;
	n = strtoll(text, &end, 10);
	return *end || errno ? otherwise : n;
}

void state_set_text(struct state *s, const char *key, const char *text)
{
	const char *now = state_text(s, key);

	text = text ? text : "";
	if (strcmp(now ? now : "", text) == 0)
		return;
	put(s, key, strlen(key), text, strcspn(text, "\n"));
	s->is_changed = true;
}

void state_set_number(struct state *s, const char *key, int64_t n)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRId64, n);
	state_set_text(s, key, text);
}

void state_save(struct state *s)
{
	struct buf b;
	int fault;

	if (!s->path || !s->is_changed)
		return;
	buf_init(&b);
	for (size_t i = 0; i < s->count; i++)
		if (s->words[i].text[0])
			buf_printf(&b, "%s %s\n", s->words[i].key, s->words[i].text);
	fault = buf_ok(&b) ? file_replace(s->path, buf_span(&b), 0600, NULL) : ENOMEM;
	if (!fault)
		s->is_changed = s->has_complained = false;
	else if (!s->has_complained) {
		EVENT(LEVEL_WARNING, "state", F_TEXT("path", s->path), F_TEXT("error", strerror(fault)));
		s->has_complained = true;
	}
	buf_free(&b);
}
