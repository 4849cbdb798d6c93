/* What a URI of a Sign-In with Ethereum message says about databases. */
#include <string.h>
#include <strings.h>

#include "lib/comma_list.h"
#include "lib/hex.h"
#include "wallet/siwe.h"

static struct span after(struct span s, size_t n)
{
	return span_of(s.ptr + n, s.len - n);
}

/* Length of the scheme with its colon, when it is one of the two; 0. The case of a scheme never matters. */
static size_t scheme_length(struct span uri)
{
	static const char *const schemes[] = {"postgresql:", "postgres:"};

	for (size_t i = 0; i < 2; i++) {
		size_t n = strlen(schemes[i]);

		if (uri.len >= n && strncasecmp((const char *)uri.ptr, schemes[i], n) == 0)
			return n;
	}
	return 0;
}

bool siwe_names_database(struct span uri)
{
	return scheme_length(uri) > 0;
}

/* Undoes %XX; out gets a NUL, and is large enough. false: a NUL is among the bytes, or a % that means nothing. */
static bool decode(struct span s, char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < s.len; i++) {
		uint8_t byte = s.ptr[i];

		if (byte == '%') {
			if (s.len - i < 3 || !hex_decode((const char *)s.ptr + i + 1, &byte, 1))
				return false;
			i += 2;
		}
		if (!byte)
			return false;
		out[n++] = (char)byte;
	}
	out[n] = 0;
	return true;
}

static bool is_listed(const char *list, struct span name)
{
	const char *item;
	size_t len;

	while (list && (item = list_item(&list, &len)))
		if (len == name.len && strncasecmp(item, (const char *)name.ptr, len) == 0)
			return true;
	return false;
}

/* role=ROLE and nothing else. */
static bool read_query(struct span query, char *role)
{
	if (query.len <= 5 || memcmp(query.ptr, "role=", 5) != 0 || memchr(query.ptr, '&', query.len))
		return false;
	return decode(after(query, 5), role);
}

bool siwe_uri_matches(struct span uri, const char *server_names, const char *database, char *role, size_t role_cap)
{
	size_t scheme = scheme_length(uri);
	struct span rest, server, path;
	const uint8_t *at;

	if (scheme == 0 || role_cap <= uri.len)
		return false;
	rest = after(uri, scheme);
	if (rest.len < 2 || memcmp(rest.ptr, "//", 2) != 0 || memchr(rest.ptr, '#', rest.len))
		return false;
	rest = after(rest, 2);
	at = memchr(rest.ptr, '/', rest.len);
	if (!at)
		return false;
	server = span_of(rest.ptr, (size_t)(at - rest.ptr));
	if (memchr(server.ptr, '@', server.len) || !is_listed(server_names, server))
		return false;
	rest = after(rest, server.len + 1);
	at = memchr(rest.ptr, '?', rest.len);
	path = span_of(rest.ptr, at ? (size_t)(at - rest.ptr) : rest.len);
	if (memchr(path.ptr, '/', path.len) || !decode(path, role) ||
	    (strcmp(role, "*") != 0 && strcmp(role, database) != 0) || !role[0])
		return false;
	role[0] = 0;
	return !at || read_query(after(rest, path.len + 1), role);
}
