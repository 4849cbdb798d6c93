/*
 * lib/net_order.h - 32 bit numbers in network order, at any address.
 */
#ifndef LIB_NET_ORDER_H
#define LIB_NET_ORDER_H

#include <stdint.h>

static inline uint32_t get_u32(const uint8_t *from)
{
	return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static inline void set_u32(uint8_t *to, uint32_t v)
{
	to[0] = (uint8_t)(v >> 24);
	to[1] = (uint8_t)(v >> 16);
	to[2] = (uint8_t)(v >> 8);
	to[3] = (uint8_t)v;
}

#endif
