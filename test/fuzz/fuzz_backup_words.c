/*
 * Texts that people and servers write, by the first byte: a schedule, arguments
 * of pg_dump, a script of statements, words of a setting.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backup/config.h"
#include "backup/dump_args.h"
#include "backup/event.h"
#include "backup/schedule.h"
#include "backup/sql_split.h"
#include "lib/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void schedule(const char *text)
{
	struct cron c;
	char why[256];
	time_t next;

	if (!cron_parse(text, &c, why, sizeof(why)))
		return;
	next = cron_next(&c, "UTC", 1767225600);
	if (next != (time_t)-1 && (next <= 1767225600 || next % 60 != 0))
		abort();
}

static void arguments(const char *text)
{
	struct dump_args a;
	struct compress c;
	char why[256];

	if (dump_args_parse(text, &a, why, sizeof(why))) {
		/* Never one that says where the dump goes, or what it is. */
		for (size_t i = 0; i < a.count; i++)
			if (strncmp(a.words[i], "--f", 3) == 0 || strncmp(a.words[i], "--j", 3) == 0 || strncmp(a.words[i], "--d", 3) == 0 ||
			    a.words[i][0] != '-' || a.words[i][1] != '-')
				abort();
		dump_args_free(&a);
	}
	(void)compress_parse(text, &c);
}

static void script(const char *text)
{
	const char *at = text, *before;
	char *statement;

	while (before = at, (statement = sql_next(&at)) != NULL) {
		if (at <= before || !*statement || strlen(statement) > (size_t)(at - before))
			abort();
		free(statement);
	}
	if (*at)
		abort(); /* all of it was looked at */
}

static void words(const char *text, size_t len)
{
	struct buf b;
	uint64_t size;
	usec_t span;

	(void)parse_size(text, &size);
	if (parse_span(text, &span) && span < 0)
		abort();
	buf_init(&b);
	event_put_json(&b, text, len);
	/* Nothing that a terminal would obey, or that would end the line. */
	for (size_t i = 0; i < buf_len(&b); i++)
		if (buf_span(&b).ptr[i] < 0x20 || buf_span(&b).ptr[i] == 0x7f)
			abort();
	buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	char *text;

	if (len == 0)
		return 0;
	text = xstrndup((const char *)bytes + 1, len - 1);
	switch (bytes[0] & 3) {
	case 0:
		schedule(text);
		break;
	case 1:
		arguments(text);
		break;
	case 2:
		script(text);
		break;
	default:
		words(text, strlen(text));
		break;
	}
	free(text);
	return 0;
}
