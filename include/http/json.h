/*
 * http/json.h - JSON text (RFC 8259), written straight down.
 */
#ifndef HTTP_JSON_H
#define HTTP_JSON_H

#include "lib/buf.h"

/* A string with its quotes; NULL is null. What is no UTF-8 becomes '?'. */
void json_put_string(struct buf *, const char *text);
/* Length of the UTF-8 sequence at s, which ends with a NUL; 0: there is none (RFC 3629). */
size_t utf8_length(const char *s);

#endif
