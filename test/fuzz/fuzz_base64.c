/* Bytes as base64 of either alphabet: encoding what came out gives the same letters, but for alphabet and padding. */
#include <stdlib.h>
#include <string.h>

#include "lib/base64.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
	if (!holds)
		abort();
}

static uint8_t plain(uint8_t c)
{
	return c == '-' ? '+' : c == '_' ? '/' : c;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t out[2048], strict[2048];
	struct span text = span_of(data, size);
	size_t len = 0, strict_len = 0;
	bool any = base64_decode_any(text, out, sizeof(out), &len);
	struct buf b;

	/* The strict reader takes nothing else, and reads the same. */
	if (base64_decode(text, strict, sizeof(strict), &strict_len))
		must(any && len == strict_len && memcmp(out, strict, len) == 0);
	if (!any)
		return 0;
	must(len <= sizeof(out));
	buf_init(&b);
	base64_put(&b, out, len);
	must(buf_ok(&b) && size <= buf_len(&b));
	for (size_t i = 0; i < size; i++)
		must(plain(data[i]) == buf_data(&b)[i]);
	for (size_t i = size; i < buf_len(&b); i++)
		must(buf_data(&b)[i] == '=');
	must(size == buf_len(&b) || size == 0 || data[size - 1] != '=');
	buf_free(&b);
	return 0;
}
