/* Bytes as a keystore: whatever is taken is within the bounds that keep its derivation harmless. */
#include <stdlib.h>

#include "token/keystore.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct keystore k;

	if (keystore_parse((const char *)data, size, &k))
		return 0;
	must(size <= KEYSTORE_FILE_MAX && k.salt_len >= 1 && k.salt_len <= KEYSTORE_SALT_MAX);
	if (k.is_scrypt)
		must(k.n >= 2 && !(k.n & (k.n - 1)) && k.r >= 1 && k.p >= 1 && k.n * k.r <= (1 << 23) &&
		     k.n * k.r * k.p <= (1 << 24));
	else
		must(k.rounds >= 1 && k.rounds <= 10000000);
	return 0;
}
