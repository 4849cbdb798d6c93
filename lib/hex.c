#include "lib/hex.h"

#include <stdint.h>

int hex_digit(int c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool hex_decode(const char *text, void *out, size_t bytes)
{
	uint8_t *to = out;

	for (size_t i = 0; i < bytes; i++) {
		int high = hex_digit((unsigned char)text[2 * i]);
		int low = high < 0 ? -1 : hex_digit((unsigned char)text[2 * i + 1]);

		if (low < 0)
			return false;
		to[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

void hex_encode(const void *in, size_t bytes, char *out)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *from = in;

	for (size_t i = 0; i < bytes; i++) {
		out[2 * i] = digits[from[i] >> 4];
		out[2 * i + 1] = digits[from[i] & 15];
	}
	out[2 * bytes] = 0;
}
