#include "auth/saslprep.h"

#ifdef HAVE_LIBIDN

#include <stdint.h>
#include <stdlib.h>
#include <stringprep.h>

#include "lib/mem.h"

/* No character becomes more than this many by NFKC (U+FDFA does). */
#define NFKC_GROWTH 18

static bool is_ascii(const char *s)
{
	while (*s && !(*s & 0x80))
		s++;
	return *s == 0;
}

static bool is_in(const Stringprep_table_element *table, uint32_t c)
{
	/* An end of 0: the range is one character. */
	for (; table->start; table++)
		if (c == table->start || (c > table->start && c <= table->end))
			return true;
	return false;
}

/*
 * The two mappings of RFC 4013 in one walk; returns the new length. The
 * library does the same, but starts over after each character it has found.
 * A zero width space stands in both tables and becomes a space.
 */
static size_t map_spaces_and_nothings(uint32_t *text, size_t len)
{
	size_t kept = 0;

	for (size_t i = 0; i < len; i++) {
		uint32_t c = text[i];

		if (c >= 0x80 && is_in(stringprep_rfc3454_C_1_2, c))
			text[kept++] = ' ';
		else if (c < 0x80 || !is_in(stringprep_rfc3454_B_1, c))
			text[kept++] = c;
	}
	return kept;
}

/* 1: room has the result. 0: may not be prepared. -1: out of memory. */
static int normalise(const uint32_t *mapped, size_t len, struct buf *room)
{
	size_t cap = len * NFKC_GROWTH + 1, bytes;
	uint32_t *text = calloc(cap, sizeof(*text));
	char *utf8;
	int rc;

	if (!text)
		return -1;
	memcpy(text, mapped, len * sizeof(*text));
	/* "Stored strings": PostgreSQL refuses unassigned characters on both sides. */
	rc = stringprep_4i(text, &len, cap, STRINGPREP_NO_UNASSIGNED, stringprep_saslprep);
	if (rc == STRINGPREP_OK) {
		utf8 = stringprep_ucs4_to_utf8(text, (ssize_t)len, NULL, &bytes);
		if (utf8) {
			buf_put(room, utf8, bytes);
			mem_wipe(utf8, bytes);
			free(utf8);
		} else
			room->failed = true;
	}
	mem_wipe(text, cap * sizeof(*text));
	free(text);
	if (rc == STRINGPREP_OK)
		return buf_ok(room) ? 1 : -1;
	return rc == STRINGPREP_MALLOC_ERROR || rc == STRINGPREP_NFKC_FAILED ? -1 : 0;
}

bool saslprep(const char *password, struct buf *room, struct span *prepared)
{
	size_t len, mapped;
	uint32_t *text;
	int done = 0;

	*prepared = span_str(password);
	if (prepared->len > SASLPREP_MAX || is_ascii(password))
		return true;
	text = stringprep_utf8_to_ucs4(password, (ssize_t)prepared->len, &len);
	if (!text)
		return true; /* no UTF-8 */
	mapped = map_spaces_and_nothings(text, len);
	if (mapped > 0)
		done = normalise(text, mapped, room);
	mem_wipe(text, len * sizeof(*text));
	free(text);
	if (done > 0)
		*prepared = buf_span(room);
	return done >= 0;
}

#else

/* Without the library only what is spelled the same is the same. */
bool saslprep(const char *password, struct buf *room UNUSED, struct span *prepared)
{
	*prepared = span_str(password);
	return true;
}

#endif
