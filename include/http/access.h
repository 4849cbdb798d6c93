/*
 * http/access.h - who asks, and may he see numbers?
 *
 * Pure.  Tests: test/unit/test_http.c
 */
#ifndef HTTP_ACCESS_H
#define HTTP_ACCESS_H

#include <stdbool.h>

#include "lib/network.h"

/*
 * The address that a request comes from. peer: of the connection, as text.
 * A peer on this machine may be a reverse proxy: the last address of its
 * X-Forwarded-For (forwarded, NULL: none) is who asked it. false: cannot be
 * told, so nobody.
 */
bool access_source(const char *peer, const char *forwarded, struct ip_address *out) MUST_CHECK;
bool access_is_loopback(const struct ip_address *);
/* A list as http_allow holds it: addresses and networks, by commas or blanks. */
bool access_allows(const char *list, const struct ip_address *);

#endif
