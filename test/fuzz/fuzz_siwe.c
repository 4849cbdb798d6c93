/*
 * Bytes as a Sign-In with Ethereum message: what is taken is written again as
 * the same bytes, and its URIs are asked about databases.
 */
#include <stdlib.h>
#include <string.h>

#include "wallet/bound.h"
#include "wallet/siwe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
	if (!holds)
		abort();
}

static void ask(struct span uri)
{
	char role[SIWE_TEXT_MAX + 1];
	bool fits = siwe_uri_matches(uri, "db.example.org, 127.0.0.1:6432", "appdb", role, sizeof(role));

	must(!fits || (siwe_names_database(uri) && strlen(role) <= uri.len));
	/* Userinfo, fragments and other databases match nothing. */
	must(!fits || !memchr(uri.ptr, '#', uri.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct siwe_message m;
	char text[SIWE_TEXT_MAX];

	if (size < SIWE_TEXT_MAX)
		ask(span_of(data, size));
	if (!siwe_parse(span_of(data, size), &m))
		return 0;
	must(size <= SIWE_TEXT_MAX && !memchr(data, '\r', size) && !memchr(data, 0, size));
	must(siwe_write(&m, text, sizeof(text)) == size && memcmp(text, data, size) == 0);
	must(siwe_domain_is_good(m.domain) && !memchr(m.domain.ptr, '@', m.domain.len));
	must(wallet_nonce_is_good(m.nonce) && m.chain_id.len <= 18 && m.resource_count <= SIWE_RESOURCES_MAX);
	ask(m.uri);
	for (size_t i = 0; i < m.resource_count; i++)
		ask(m.resources[i]);
	return 0;
}
