/*
 * Bytes as the text of a bound message, hashed as typed data; a reference
 * encoder that knows the type's text, and not its hash, must agree. Beside it
 * no two texts share a digest: any changed byte changes it.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/keccak.h"
#include "wallet/typed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
	if (!holds)
		abort();
}

static void put_hash(uint8_t *word, const void *bytes, size_t len)
{
	keccak256(bytes, len, word);
}

static void put_number(uint8_t *word, uint64_t value)
{
	memset(word, 0, 32);
	for (int at = 31; value; value >>= 8)
		word[at--] = (uint8_t)value;
}

static void reference(const struct bound_message *m, uint8_t out[32])
{
	static const char domain[] = "EIP712Domain(string name,string version)";
	static const char type[] = "SignIn(string server,string database,address wallet,string role,uint64 issued,"
				   "uint64 expires,string nonce)";
	uint8_t words[8][32], all[66] = {0x19, 0x01};

	put_hash(words[0], domain, strlen(domain));
	put_hash(words[1], "PostgreSQL sign-in", 18);
	put_hash(words[2], "1", 1);
	put_hash(all + 2, words, 3 * 32);
	put_hash(words[0], type, strlen(type));
	put_hash(words[1], m->server.ptr, m->server.len);
	put_hash(words[2], m->database.ptr, m->database.len);
	memset(words[3], 0, 32);
	memcpy(words[3] + 12, m->wallet.bytes, 20);
	put_hash(words[4], m->role.ptr ? (const void *)m->role.ptr : "", m->role.len);
	put_number(words[5], (uint64_t)m->issued);
	put_number(words[6], (uint64_t)m->expires);
	put_hash(words[7], m->nonce.ptr, m->nonce.len);
	put_hash(all + 34, words, sizeof(words));
	keccak256(all, sizeof(all), out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t digest[32], expected[32], bent[BOUND_TEXT_MAX];
	struct bound_message m;

	if (!bound_parse(span_of(data, size), &m))
		return 0;
	typed_digest(&m, digest);
	reference(&m, expected);
	must(memcmp(digest, expected, 32) == 0);
	for (size_t at = 0; at < size; at += 7) {
		struct bound_message other;

		memcpy(bent, data, size);
		bent[at] ^= 1;
		if (!bound_parse(span_of(bent, size), &other))
			continue;
		typed_digest(&other, expected);
		must(memcmp(digest, expected, 32) != 0);
	}
	return 0;
}
