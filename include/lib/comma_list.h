/*
 * lib/comma_list.h - lists of words in one text, as settings have them.
 *
 * Tests: test/unit/test_config.c
 */
#ifndef LIB_COMMA_LIST_H
#define LIB_COMMA_LIST_H

#include <stddef.h>
#include <string.h>

/* The next item of a list delimited by commas and white space; NULL at the end. */
static inline const char *list_item(const char **at, size_t *len)
{
	static const char delimiters[] = ", \t\r\n\f\v";
	const char *item = *at + strspn(*at, delimiters);

	*len = strcspn(item, delimiters);
	*at = item + *len;
	return *len ? item : NULL;
}

#endif
