/*
 * http/pages.h - the pages, compiled in: src/http/pages/ holds their text.
 */
#ifndef HTTP_PAGES_H
#define HTTP_PAGES_H

#include <stddef.h>

struct page {
	const char *text; /* UTF-8 */
	size_t len;
};

extern const struct page page_status, page_connect;

#endif
