#include "config/connstr.h"

#include <stddef.h>
#include <string.h>

static char *skip_spaces(char *p)
{
	while (*p == ' ')
		p++;
	return p;
}

/* p stands behind the opening quote. NULL: no closing quote. */
static char *unquote(char *p)
{
	char *to = p;

	for (; *p; p++) {
		if (*p == '\'' && *++p != '\'') {
			char *next = *p ? p + 1 : p;

			*to = 0;
			return next;
		}
		*to++ = *p;
	}
	return NULL;
}

enum connstr_step connstr_next(char **at, char **key, char **value)
{
	char *p = skip_spaces(*at), *key_end;

	if (!*p)
		return CONNSTR_END;
	*key = p;
	p += strcspn(p, "= ");
	key_end = p;
	p = skip_spaces(p);
	if (*p != '=' || key_end == *key)
		return CONNSTR_BAD;
	*key_end = 0;
	p = skip_spaces(p + 1);
	if (*p == '\'') {
		*value = ++p;
		p = unquote(p);
		if (!p)
			return CONNSTR_BAD;
	} else {
		*value = p;
		p += strcspn(p, " ");
		if (*p)
			*p++ = 0;
	}
	*at = p;
	return **value ? CONNSTR_PAIR : CONNSTR_BAD;
}
