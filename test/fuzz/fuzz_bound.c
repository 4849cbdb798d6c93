/* Bytes as the text of a bound message: what is taken is written again as the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "wallet/bound.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bound_message m, again;
	char text[BOUND_TEXT_MAX];
	size_t len;

	if (!bound_parse(span_of(data, size), &m))
		return 0;
	must(size < BOUND_TEXT_MAX && !memchr(data, '\r', size) && !memchr(data, 0, size) && data[size - 1] != '\n');
	must(m.server.len >= 1 && m.server.len <= BOUND_SERVER_MAX);
	must(m.database.len >= 1 && m.database.len <= BOUND_NAME_MAX);
	must(!m.role.ptr || (m.role.len >= 1 && m.role.len <= BOUND_NAME_MAX));
	must(m.issued >= 0 && m.expires >= 0 && wallet_nonce_is_good(m.nonce));
	len = bound_write(&m, text);
	must(len == size && memcmp(text, data, len) == 0);
	must(bound_parse(span_of(text, len), &again) && again.issued == m.issued && again.expires == m.expires);
	return 0;
}
