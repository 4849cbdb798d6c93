#include "auth/secret.h"

#include <openssl/evp.h>
#include <string.h>

#include "auth/scram.h"
#include "lib/hex.h"
#include "lib/mem.h"

enum secret_kind secret_kind_of(const char *secret)
{
	static const char scram_prefix[] = SCRAM_MECHANISM "$";

	if (!secret || !*secret)
		return SECRET_NONE;
	if (strncmp(secret, "md5", 3) == 0 && strlen(secret) == MD5_TEXT_LEN &&
	    strspn(secret + 3, "0123456789abcdef") == MD5_TEXT_LEN - 3)
		return SECRET_MD5;
	if (strncmp(secret, scram_prefix, sizeof(scram_prefix) - 1) == 0) {
		struct scram_secret parsed;
		bool is_good = scram_secret_parse(secret, &parsed);

		mem_wipe(&parsed, sizeof(parsed));
		return is_good ? SECRET_SCRAM : SECRET_PLAIN;
	}
	return SECRET_PLAIN;
}

static bool md5_text(const void *a, size_t a_len, const void *b, size_t b_len, char out[MD5_TEXT_LEN + 1])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t digest[16];
	bool done = ctx && EVP_DigestInit_ex(ctx, EVP_md5(), NULL) && EVP_DigestUpdate(ctx, a, a_len) &&
		    EVP_DigestUpdate(ctx, b, b_len) && EVP_DigestFinal_ex(ctx, digest, NULL);

	EVP_MD_CTX_free(ctx);
	if (!done)
		return false;
	memcpy(out, "md5", 3);
	hex_encode(digest, sizeof(digest), out + 3);
	mem_wipe(digest, sizeof(digest));
	return true;
}

bool md5_secret(const char *password, const char *user, char out[MD5_TEXT_LEN + 1])
{
	return md5_text(password, strlen(password), user, strlen(user), out);
}

bool md5_answer(const char *secret, const uint8_t salt[4], char out[MD5_TEXT_LEN + 1])
{
	return md5_text(secret + 3, MD5_TEXT_LEN - 3, salt, 4, out);
}

bool secret_equal(const char *a, const char *b)
{
	uint8_t hash_a[SCRAM_KEY_LEN], hash_b[SCRAM_KEY_LEN];
	bool equal = scram_hash(a, strlen(a), hash_a) && scram_hash(b, strlen(b), hash_b) &&
		     mem_equal_const_time(hash_a, hash_b, sizeof(hash_a));

	mem_wipe(hash_a, sizeof(hash_a));
	mem_wipe(hash_b, sizeof(hash_b));
	return equal;
}
