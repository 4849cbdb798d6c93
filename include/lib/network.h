/*
 * lib/network.h - IP addresses as sixteen bytes, and networks of them.
 *
 * An IPv4 address is its IPv4-mapped form ::ffff:a.b.c.d, so the two
 * spellings of one host are the same bytes. In texts the prefix of an IPv4
 * network counts its own 32 bits; in a struct network it counts all 128.
 *
 * Pure: nothing is resolved.  Tests: test/unit/test_lib.c
 */
#ifndef LIB_NETWORK_H
#define LIB_NETWORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/util.h"

#define NETWORK_TEXT_MAX 64 /* with the NUL */

struct ip_address {
	uint8_t bytes[16];
};

struct network {
	struct ip_address address; /* bits behind the prefix are 0 */
	uint8_t bits;		   /* 0 to 128 */
};

struct ip_address ip_from_v4(const uint8_t bytes[4]);
struct ip_address ip_from_v6(const uint8_t bytes[16]);
bool ip_is_v4(const struct ip_address *);
/* Clears what stands behind the prefix; v4_bits (0 to 32) for IPv4, v6_bits (0 to 128) for others. */
struct ip_address ip_mask(const struct ip_address *, int v4_bits, int v6_bits);

enum network_parse { NETWORK_OK, NETWORK_MALFORMED, NETWORK_HOST_BITS };
/*
 * ADDRESS or ADDRESS/BITS, of len bytes and nothing around. NETWORK_HOST_BITS:
 * bits behind the prefix are set, which out has cleared. An IPv4-mapped IPv6
 * network of 96 bits and more is the IPv4 network.
 */
enum network_parse network_parse(const char *text, size_t len, struct network *out) MUST_CHECK;
bool network_has(const struct network *, const struct ip_address *);
/* ADDRESS, with /BITS unless it is a single address. Returns out. */
const char *network_text(const struct network *, char out[NETWORK_TEXT_MAX]);

#endif
