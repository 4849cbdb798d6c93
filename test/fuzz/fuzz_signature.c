/* Bytes as what a signer prints: what is made of them is the wallet's own signature, in the pooler's form, or nothing. */
#include <stdlib.h>
#include <string.h>

#include "lib/hex.h"
#include "token/signer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* The timestamp 1750000000 by the first key of development chains. */
	static const char digest_hex[] = "ee3967763116087d0c91bfd244be7afef6c855a9e05873f0c55daf3a63b06444";
	static const char user[] = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
	char password[256] = "1750000000:0x";
	const struct wallet_policy policy = {.formats = BIT(ECDSA_FORMAT_TIMESTAMP), .window_seconds = 300};
	struct wallet_address wallet;
	uint8_t digest[32], out[65];
	struct ecdsa_claim claim;

	if (!hex_decode(digest_hex, digest, sizeof(digest)) || !wallet_address_parse(user, strlen(user), &wallet))
		abort();
	if (!signature_from_text(span_of(data, size), digest, &wallet, out))
		return 0;
	hex_encode(out, sizeof(out), password + strlen(password));
	if (ecdsa_check(user, password, strlen(password), 1750000000, &policy, &claim) != ECDSA_OK)
		abort();
	return 0;
}
