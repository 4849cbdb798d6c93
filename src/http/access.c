#include "http/access.h"

#include <string.h>

#include "config/setting_checks.h"

static bool parse_address(const char *text, size_t len, struct ip_address *out)
{
	struct network n;
	const char *zone;

	/* [v6], [v6]:port and v4:port are written, too. */
	if (len > 0 && text[0] == '[') {
		const char *end = memchr(text, ']', len);

		if (!end)
			return false;
		text++;
		len = (size_t)(end - text);
	} else if (memchr(text, '.', len)) {
		const char *port = memchr(text, ':', len);

		/* ::ffff:1.2.3.4 has its dots behind the colons. */
		if (port && port > (const char *)memchr(text, '.', len))
			len = (size_t)(port - text);
	}
	zone = memchr(text, '%', len);
	if (zone)
		len = (size_t)(zone - text);
	if (memchr(text, '/', len) || network_parse(text, len, &n) != NETWORK_OK || n.bits != 128)
		return false;
	*out = n.address;
	return true;
}

bool access_is_loopback(const struct ip_address *a)
{
	static const uint8_t one[16] = {[15] = 1};

	return memcmp(a->bytes, one, sizeof(one)) == 0 || (ip_is_v4(a) && a->bytes[12] == 127);
}

bool access_source(const char *peer, const char *forwarded, struct ip_address *out)
{
	const char *last, *end;

	if (!parse_address(peer, strlen(peer), out))
		return false;
	if (!forwarded || !access_is_loopback(out))
		return true;
	last = strrchr(forwarded, ',');
	last = last ? last + 1 : forwarded;
	last += strspn(last, " \t");
	end = last + strcspn(last, " \t");
	return parse_address(last, (size_t)(end - last), out);
}

bool access_allows(const char *list, const struct ip_address *a)
{
	const char *item;
	struct network n;
	size_t len;

	while (list && (item = list_item(&list, &len)))
		if (network_parse(item, len, &n) != NETWORK_MALFORMED && network_has(&n, a))
			return true;
	return false;
}
