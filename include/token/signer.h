/*
 * token/signer.h - whoever signs: a private key in this process, or a command
 * that asks a hardware wallet, a key service or another program.
 *
 * The command is run by /bin/sh. It reads on standard input what is to be
 * signed, and prints the signature:
 *
 *	PGECDSA_FORMAT	timestamp, bound, siwe: the text, for personal_sign
 *			typed: the JSON of eth_signTypedData_v4
 *	PGECDSA_WALLET	who must sign
 *	PGECDSA_DIGEST	0x and the 32 bytes that are signed in the end, for those
 *			who sign a hash
 *
 * The signature is 65 or 64 bytes, or DER, in hexadecimal or base64. What a
 * key service leaves out is put right: s in the lower half, and the parity.
 *
 * Tests: test/unit/test_token.c, test/fuzz/fuzz_signature.c, test/system/test_token_keys.py
 */
#ifndef TOKEN_SIGNER_H
#define TOKEN_SIGNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/span.h"
#include "lib/util.h"
#include "wallet/check.h"
#include "wallet/sign.h"

struct signer {
	const char *command; /* borrowed; NULL: by key */
	int timeout_seconds; /* of the command; 0: none */
	struct wallet_key key; /* wiped by signer_end() */
	struct wallet_address wallet;
};

struct signing {
	enum ecdsa_format format;
	struct span text;	/* what a person sees; of typed: its JSON */
	const uint8_t *digest;	/* 32 bytes */
};

/* r, s, v. -1: complained of. Several threads may ask at a time. */
MUST_CHECK int signer_sign(const struct signer *, const struct signing *, uint8_t out[65]);
void signer_end(struct signer *);

/*
 * A signature as people and programs print it, over a digest by a wallet, as
 * the pooler takes it. false: it is none, or somebody else's.
 */
bool signature_from_text(struct span text, const uint8_t digest[32], const struct wallet_address *, uint8_t out[65]);

#endif
