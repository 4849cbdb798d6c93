#include "lib/network.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define V4_AT 12 /* where the four bytes stand in the mapped form */

static const uint8_t mapped[V4_AT] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

struct ip_address ip_from_v4(const uint8_t bytes[4])
{
	struct ip_address a;

	memcpy(a.bytes, mapped, V4_AT);
	memcpy(a.bytes + V4_AT, bytes, 4);
	return a;
}

struct ip_address ip_from_v6(const uint8_t bytes[16])
{
	struct ip_address a;

	memcpy(a.bytes, bytes, 16);
	return a;
}

bool ip_is_v4(const struct ip_address *a)
{
	return memcmp(a->bytes, mapped, V4_AT) == 0;
}

static struct ip_address cut(struct ip_address a, int bits)
{
	for (int i = 0; i < 16; i++) {
		int left = bits - i * 8;

		if (left <= 0)
			a.bytes[i] = 0;
		else if (left < 8)
			a.bytes[i] &= (uint8_t)(0xff << (8 - left));
	}
	return a;
}

struct ip_address ip_mask(const struct ip_address *a, int v4_bits, int v6_bits)
{
	return cut(*a, ip_is_v4(a) ? V4_AT * 8 + v4_bits : v6_bits);
}

/* Plain decimal without leading zeros, 0 to max; -1 when it is not. */
static int prefix_of(const char *text, int max)
{
	int n = 0;

	if (!text[0] || (text[0] == '0' && text[1]))
		return -1;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		n = n * 10 + (*text - '0');
		if (n > max)
			return -1;
	}
	return n;
}

enum network_parse network_parse(const char *text, size_t len, struct network *out)
{
	char copy[NETWORK_TEXT_MAX];
	uint8_t bytes[16];
	struct ip_address whole;
	char *slash;
	int bits;

	if (len >= sizeof(copy) || memchr(text, 0, len))
		return NETWORK_MALFORMED;
	memcpy(copy, text, len);
	copy[len] = 0;
	slash = strchr(copy, '/');
	if (slash)
		*slash = 0;
	if (inet_pton(AF_INET, copy, bytes) == 1) {
		whole = ip_from_v4(bytes);
		bits = slash ? prefix_of(slash + 1, 32) : 32;
		if (bits >= 0)
			bits += V4_AT * 8;
	} else if (inet_pton(AF_INET6, copy, bytes) == 1) {
		whole = ip_from_v6(bytes);
		bits = slash ? prefix_of(slash + 1, 128) : 128;
	} else
		return NETWORK_MALFORMED;
	if (bits < 0)
		return NETWORK_MALFORMED;
	out->address = cut(whole, bits);
	out->bits = (uint8_t)bits;
	return memcmp(&out->address, &whole, sizeof(whole)) == 0 ? NETWORK_OK : NETWORK_HOST_BITS;
}

bool network_has(const struct network *n, const struct ip_address *a)
{
	struct ip_address start = cut(*a, n->bits);

	/* ::/0 and its like mean IPv6: IPv4 has networks of its own. */
	if (n->bits < V4_AT * 8 && ip_is_v4(a))
		return false;
	return memcmp(&start, &n->address, sizeof(start)) == 0;
}

const char *network_text(const struct network *n, char out[NETWORK_TEXT_MAX])
{
	bool is_v4 = n->bits >= V4_AT * 8 && ip_is_v4(&n->address);
	int bits = is_v4 ? n->bits - V4_AT * 8 : n->bits;
	char host[INET6_ADDRSTRLEN] = "";

	inet_ntop(is_v4 ? AF_INET : AF_INET6, n->address.bytes + (is_v4 ? V4_AT : 0), host, sizeof(host));
	if (bits == (is_v4 ? 32 : 128))
		snprintf(out, NETWORK_TEXT_MAX, "%s", host);
	else
		snprintf(out, NETWORK_TEXT_MAX, "%s/%d", host, bits);
	return out;
}
