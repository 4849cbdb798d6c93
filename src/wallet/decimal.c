#include "wallet/decimal.h"

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

bool span_is_digits(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!is_digit(s.ptr[i]))
			return false;
	return s.len > 0;
}

bool span_is_alphanumeric(struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		uint8_t letter = s.ptr[i] | 0x20;

		if (!is_digit(s.ptr[i]) && !(letter >= 'a' && letter <= 'z'))
			return false;
	}
	return s.len > 0;
}

enum decimal decimal_parse(struct span text, int64_t *out)
{
	uint64_t value = 0; /* 19 digits stay below 2^64 */

	if (text.len > DECIMAL_DIGITS_MAX || !span_is_digits(text) || (text.len > 1 && text.ptr[0] == '0'))
		return DECIMAL_MALFORMED;
	for (size_t i = 0; i < text.len; i++)
		value = value * 10 + (uint64_t)(text.ptr[i] - '0');
	if (value > INT64_MAX)
		return DECIMAL_OVERFLOW;
	*out = (int64_t)value;
	return DECIMAL_OK;
}
