#include "backup/event.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define TEXT_MAX 4096 /* bytes of one field */

static enum event_format format;
static bool quiet, coloured, watched;
static char status[256]; /* "": no such line */

static const char *const level_words[] = {"fatal", "error", "warning", "info", "debug", "trace"};

const char *iso_time(int64_t unix_seconds, char out[ISO_TIME_MAX])
{
	time_t t = (time_t)unix_seconds;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || strftime(out, ISO_TIME_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		snprintf(out, ISO_TIME_MAX, "%" PRId64, unix_seconds);
	return out;
}

/* Bytes of the UTF-8 sequence that begins at s, or 0: RFC 3629, table of section 4. */
static size_t utf8_length(const uint8_t *s, size_t left)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 :
		   s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;

	if (n == 0 || n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
	    (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

void event_put_json(struct buf *out, const char *text, size_t len)
{
	const uint8_t *s = (const uint8_t *)text;

	buf_put_u8(out, '"');
	for (size_t i = 0, n; i < len; i += n ? n : 1) {
		n = utf8_length(s + i, len - i);
		if (n == 0)
			buf_put_text(out, "\\ufffd");
		else if (s[i] == '"' || s[i] == '\\')
			buf_printf(out, "\\%c", s[i]);
		else if (s[i] == '\n')
			buf_put_text(out, "\\n");
		else if (s[i] == '\t')
			buf_put_text(out, "\\t");
		else if (s[i] < 0x20 || s[i] == 0x7f)
			buf_printf(out, "\\u%04x", s[i]);
		else
			buf_put(out, s + i, n);
	}
	buf_put_u8(out, '"');
}

static bool wants_quotes(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((uint8_t)text[i] <= ' ' || strchr("\"=\\", text[i]) || (uint8_t)text[i] >= 0x7f)
			return true;
	return len == 0;
}

static size_t cut_length(const char *text)
{
	size_t len = strnlen(text, TEXT_MAX + 1);

	if (len <= TEXT_MAX)
		return len;
	/* Not in the middle of a character. */
	len = TEXT_MAX;
	while (len > TEXT_MAX - 4 && ((uint8_t)text[len] & 0xc0) == 0x80)
		len--;
	return len;
}

static void put_value(struct buf *out, enum event_format how, const struct field *f)
{
	char when[ISO_TIME_MAX];
	const char *text = NULL;

	switch (f->kind) {
	case FIELD_TEXT:
		text = f->as.text;
		break;
	case FIELD_TIME:
		text = iso_time(f->as.integer, when);
		break;
	case FIELD_INT:
		buf_printf(out, "%" PRId64, f->as.integer);
		return;
	case FIELD_UINT:
		buf_printf(out, "%" PRIu64, f->as.whole);
		return;
	case FIELD_REAL:
		buf_printf(out, "%.3f", f->as.real);
		return;
	case FIELD_BOOL:
		buf_put_text(out, how == EVENT_JSON ? (f->as.integer ? "true" : "false") : (f->as.integer ? "yes" : "no"));
		return;
	case FIELD_END:
		return;
	}
	if (how == EVENT_JSON || wants_quotes(text, cut_length(text)))
		event_put_json(out, text, cut_length(text));
	else
		buf_put(out, text, cut_length(text));
}

static bool is_left_out(const struct field *f)
{
	return (f->kind == FIELD_TEXT && !f->as.text) || (f->kind == FIELD_TIME && f->as.integer == 0);
}

void event_format(enum event_format how, struct buf *out, const struct timespec *when, enum log_level level,
		  const char *name, const struct field *fields)
{
	char stamp[ISO_TIME_MAX + 8];
	struct tm tm;
	size_t n;

	gmtime_r(&when->tv_sec, &tm);
	n = strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(stamp + n, sizeof(stamp) - n, ".%03dZ", (int)(when->tv_nsec / 1000000 % 1000));
	switch (how) {
	case EVENT_TEXT:
		buf_printf(out, "%s %s %s", stamp, level_words[level], name);
		break;
	case EVENT_LOGFMT:
		buf_printf(out, "ts=%s level=%s event=%s", stamp, level_words[level], name);
		break;
	case EVENT_JSON:
		buf_printf(out, "{\"ts\":\"%s\",\"level\":\"%s\",\"event\":\"%s\"", stamp, level_words[level], name);
		break;
	}
	for (const struct field *f = fields; f->kind != FIELD_END; f++) {
		if (is_left_out(f))
			continue;
		buf_printf(out, how == EVENT_JSON ? ",\"%s\":" : " %s=", f->key);
		put_value(out, how, f);
	}
	buf_put_text(out, how == EVENT_JSON ? "}\n" : "\n");
}

static void write_line(const uint8_t *line, size_t len)
{
	while (len > 0) {
		ssize_t n = write(2, line, len);

		if (n <= 0)
			return; /* nowhere to report it */
		line += n;
		len -= (size_t)n;
	}
}

bool event_is_watched(void)
{
	return watched;
}

static void draw_status(void)
{
	struct winsize size = {.ws_col = 0};
	char line[sizeof(status) + 16];
	int width = ioctl(2, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1 : 79;

	/* One that wraps could not be written over. It is ASCII. */
	snprintf(line, sizeof(line), "\r%.*s\033[K", width, status);
	write_line((const uint8_t *)line, strlen(line));
}

static void erase_status(void)
{
	write_line((const uint8_t *)"\r\033[K", 4);
}

void event_status(const char *text)
{
	if (!watched || (!text && !status[0]))
		return;
	snprintf(status, sizeof(status), "%s", text ? text : "");
	if (text)
		draw_status();
	else
		erase_status();
}

void event_write(enum log_level level, const char *name, const struct field *fields)
{
	static const char *const colours[] = {"\033[1;31m", "\033[31m", "\033[33m", "", "\033[2m", "\033[2m"};
	bool with_colour = coloured && format == EVENT_TEXT && colours[level][0];
	struct timespec now;
	struct buf line;

	if (!log_enabled(level) || (quiet && level > LEVEL_WARNING))
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	buf_init(&line);
	if (with_colour)
		buf_put_text(&line, colours[level]);
	event_format(format, &line, &now, level, name, fields);
	if (with_colour && buf_ok(&line)) {
		line.end--;
		buf_put_text(&line, "\033[0m\n");
	}
	if (status[0])
		erase_status();
	if (buf_ok(&line))
		write_line(buf_data(&line), buf_len(&line));
	if (status[0])
		draw_status();
	buf_free(&line);
}

static void note(enum log_level level, const char *text)
{
	EVENT(level, "note", F_TEXT("text", text));
}

void event_open(enum event_format how, bool is_quiet, bool has_colour)
{
	const char *term = getenv("TERM");

	watched = how == EVENT_TEXT && !is_quiet && isatty(2) && term && strcmp(term, "dumb") != 0;
	format = how;
	quiet = is_quiet;
	coloured = has_colour;
	log_divert(note);
}
