/* Unit tests of the token room: keystores, scrypt, and what signers print. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hex.h"
#include "lib/util.h"
#include "token/keystore.h"
#include "token/output.h"
#include "token/scrypt.h"
#include "token/signer.h"
#include "wallet/eip191.h"

/* ---- scrypt: RFC 7914 section 12, and beyond it ---- */

static void scrypt_gives_the_published_keys(void **state)
{
	static const struct {
		const char *passphrase, *salt;
		uint64_t n, r, p;
		const char *hex;
	} rows[] = {
		{"", "", 16, 1, 1,
		 "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442"
		 "fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906"},
		{"password", "NaCl", 1024, 8, 16,
		 "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
		 "2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640"},
		{"pleaseletmein", "SodiumChloride", 16384, 8, 1,
		 "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
		 "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint8_t out[64];
		char hex[129];

		assert_true(scrypt_derive(rows[i].passphrase, (const uint8_t *)rows[i].salt, strlen(rows[i].salt), rows[i].n,
					  rows[i].r, rows[i].p, out, sizeof(out)));
		hex_encode(out, sizeof(out), hex);
		assert_string_equal(hex, rows[i].hex);
	}
}

static void scrypt_agrees_with_openssl(void **state)
{
	static const struct {
		uint64_t n, r, p;
	} rows[] = {{2, 1, 1}, {4096, 8, 6}, {1024, 3, 2}, {32768, 1, 1}, {64, 16, 5}};
	static const uint8_t salt[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint8_t ours[32], theirs[32];

		assert_true(scrypt_derive("horse", salt, sizeof(salt), rows[i].n, rows[i].r, rows[i].p, ours, 32));
		assert_int_equal(EVP_PBE_scrypt("horse", 5, salt, sizeof(salt), rows[i].n, rows[i].r, rows[i].p, 1 << 28,
						theirs, 32), 1);
		assert_memory_equal(ours, theirs, 32);
	}
}

/* ---- keystores ---- */

#ifdef HAVE_JANSSON

#define CIPHER "\"cipher\":\"aes-128-ctr\",\"cipherparams\":{\"iv\":\"6087dab2f9fdbbfaddc31a909735c1e6\"}," \
	"\"ciphertext\":\"5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46\","
#define SALT "\"salt\":\"ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd\""
#define SUM ",\"mac\":\"517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2\""
#define PBKDF2 "\"kdf\":\"pbkdf2\",\"kdfparams\":{\"c\":262144,\"dklen\":32,\"prf\":\"hmac-sha256\"," SALT "}" SUM
#define SCRYPT(params) "\"kdf\":\"scrypt\",\"kdfparams\":{\"dklen\":32," params "," SALT "}" SUM
#define TAIL ",\"id\":\"3198bc9c-6672-5ab3-d995-4942343ae5b6\",\"version\":3}"
#define KEYSTORE(inside) "{\"crypto\":{" CIPHER inside "}" TAIL

/* The test vectors of the Web3 Secret Storage Definition. */
static const char secret[] = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";
static const char by_pbkdf2[] = KEYSTORE(PBKDF2);
static const char by_scrypt[] =
	"{\"crypto\":{\"cipher\":\"aes-128-ctr\",\"cipherparams\":{\"iv\":\"83dbcc02d8ccb40e466191a123791e0e\"},"
	"\"ciphertext\":\"d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c\",\"kdf\":\"scrypt\","
	"\"kdfparams\":{\"dklen\":32,\"n\":262144,\"p\":8,\"r\":1,"
	"\"salt\":\"ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19\"},"
	"\"mac\":\"2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097\"},"
	"\"address\":\"0x008AeEda4D805471dF9b2A5B0f38A0C3bCBA786b\"" TAIL;

static void keystores_open_by_their_passphrase(void **state)
{
	static const char *const texts[] = {by_pbkdf2, by_scrypt};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct wallet_key key;
		struct keystore k;
		char hex[65];

		assert_null(keystore_parse(texts[i], strlen(texts[i]), &k));
		assert_int_equal(keystore_decrypt(&k, "testpassword", &key), KEYSTORE_OPEN);
		hex_encode(key.bytes, 32, hex);
		assert_string_equal(hex, secret);
	}
}

static void keystores_stay_shut_otherwise(void **state)
{
	struct keystore k;
	struct wallet_key key;

	(void)state;
	assert_null(keystore_parse(by_pbkdf2, strlen(by_pbkdf2), &k));
	k.rounds = 2;
	assert_int_equal(keystore_decrypt(&k, "testpassword", &key), KEYSTORE_WRONG_PASSPHRASE);
	k.rounds = 262144;
	assert_int_equal(keystore_decrypt(&k, "testpassworD", &key), KEYSTORE_WRONG_PASSPHRASE);
	assert_int_equal(keystore_decrypt(&k, "", &key), KEYSTORE_WRONG_PASSPHRASE);
	k.ciphertext[31] ^= 1;
	assert_int_equal(keystore_decrypt(&k, "testpassword", &key), KEYSTORE_WRONG_PASSPHRASE);
	k.ciphertext[31] ^= 1;
	/* The SUM does not cover the iv; the address tells. */
	k.iv[0] ^= 1;
	k.has_address = true;
	assert_int_equal(keystore_decrypt(&k, "testpassword", &key), KEYSTORE_WRONG_ADDRESS);
	for (size_t i = 0; i < sizeof(key.bytes); i++)
		assert_int_equal(key.bytes[i], 0);
}

static void keystores_are_read_within_bounds(void **state)
{
	static char big[KEYSTORE_FILE_MAX + 2];
	static const struct {
		const char *text, *fault; /* NULL: taken */
	} rows[] = {
		{KEYSTORE(PBKDF2), NULL},
		{KEYSTORE(SCRYPT("\"n\":262144,\"r\":8,\"p\":1")), NULL},
		{KEYSTORE(SCRYPT("\"n\":1048576,\"r\":8,\"p\":1")), NULL},
		{"{\"Crypto\":{" CIPHER PBKDF2 "}" TAIL, NULL},
		{"", "is no JSON text"},
		{"[]", "is no JSON object"},
		{"{\"version\":3", "is no JSON text"},
		{KEYSTORE(PBKDF2) "x", "is no JSON text"},
		{"{\"version\":3,\"version\":3}", "is no JSON text"},
		{"{\"version\":1}", "is of another version than 3"},
		{"{\"version\":\"3\"}", "is of another version than 3"},
		{"{\"version\":3}", "has no member crypto"},
		{"{\"version\":3,\"crypto\":[]}", "has no member crypto"},
		{"{\"version\":3,\"crypto\":{}}", "is encrypted by something else"},
		{"{\"crypto\":{\"cipher\":\"aes-128-cbc\"}" TAIL, "is encrypted by something else"},
		{"{\"crypto\":{\"cipher\":\"aes-128-ctr\"}" TAIL, "has no iv"},
		{"{\"crypto\":{\"cipher\":\"aes-128-ctr\",\"cipherparams\":{\"iv\":\"60\"}}" TAIL, "has no iv"},
		{"{\"crypto\":{\"cipher\":\"aes-128-ctr\",\"cipherparams\":{\"iv\":\"6087dab2f9fdbbfaddc31a909735c1e6\"},"
		 "\"ciphertext\":\"00\"}" TAIL, "does not hold a private key"},
		{"{\"crypto\":{" CIPHER "\"mac\":1}" TAIL, "has no mac"},
		{"{\"crypto\":{" CIPHER "\"kdf\":\"pbkdf2\"" SUM "}" TAIL, "does not say how"},
		{KEYSTORE("\"kdf\":\"argon2\",\"kdfparams\":{\"dklen\":32}" SUM), "by something else than scrypt and pbkdf2"},
		{KEYSTORE("\"kdf\":\"scrypt\",\"kdfparams\":{\"dklen\":64}" SUM), "of another length"},
		{KEYSTORE(SCRYPT("\"n\":2097152,\"r\":8,\"p\":1")), "asks for more memory or work"},
		{KEYSTORE(SCRYPT("\"n\":1048576,\"r\":8,\"p\":4")), "asks for more memory or work"},
		{KEYSTORE(SCRYPT("\"n\":9223372036854775807,\"r\":8,\"p\":1")), "not possible"},
		{KEYSTORE(SCRYPT("\"n\":4611686018427387904,\"r\":8,\"p\":1")), "asks for more memory or work"},
		{KEYSTORE(SCRYPT("\"n\":2,\"r\":4294967297,\"p\":1")), "asks for more memory or work"},
		{KEYSTORE(SCRYPT("\"n\":1000,\"r\":8,\"p\":1")), "not possible"},
		{KEYSTORE(SCRYPT("\"n\":1,\"r\":8,\"p\":1")), "not possible"},
		{KEYSTORE(SCRYPT("\"n\":1024,\"r\":0,\"p\":1")), "not possible"},
		{KEYSTORE(SCRYPT("\"n\":1024,\"r\":8,\"p\":-1")), "not possible"},
		{KEYSTORE(SCRYPT("\"n\":1024.0,\"r\":8,\"p\":1")), "not possible"},
		{KEYSTORE(SCRYPT("\"n\":1e400,\"r\":8,\"p\":1")), "is no JSON text"},
		{KEYSTORE("\"kdf\":\"pbkdf2\",\"kdfparams\":{\"c\":10000001,\"dklen\":32,\"prf\":\"hmac-sha256\"," SALT "}" SUM),
		 "asks for more memory or work"},
		{KEYSTORE("\"kdf\":\"pbkdf2\",\"kdfparams\":{\"c\":0,\"dklen\":32,\"prf\":\"hmac-sha256\"," SALT "}" SUM),
		 "not possible"},
		{KEYSTORE("\"kdf\":\"pbkdf2\",\"kdfparams\":{\"c\":1,\"dklen\":32,\"prf\":\"hmac-sha1\"," SALT "}" SUM),
		 "another function than hmac-sha256"},
		{KEYSTORE("\"kdf\":\"pbkdf2\",\"kdfparams\":{\"c\":1,\"dklen\":32,\"prf\":\"hmac-sha256\"}" SUM), "no salt"},
		{KEYSTORE("\"kdf\":\"pbkdf2\",\"kdfparams\":{\"c\":1,\"dklen\":32,\"prf\":\"hmac-sha256\",\"salt\":\"abc\"}" SUM),
		 "no salt"},
		{"{\"crypto\":{" CIPHER PBKDF2 "},\"address\":\"0x12\"" TAIL, "names an address that is none"},
		{big, "is no JSON text"},
	};

	(void)state;
	memset(big, ' ', sizeof(big) - 1);
	memcpy(big, by_pbkdf2, strlen(by_pbkdf2));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct keystore k;
		const char *fault = keystore_parse(rows[i].text, strlen(rows[i].text), &k);

		if (!fault != !rows[i].fault || (fault && !strstr(fault, rows[i].fault)))
			fail_msg("row %zu: %s", i, fault ? fault : "taken");
	}
	big[KEYSTORE_FILE_MAX] = 0;
	assert_null(keystore_parse(big, strlen(big), &(struct keystore){0}));
}

static void deep_json_is_refused(void **state)
{
	static char text[KEYSTORE_FILE_MAX];
	struct keystore k;

	(void)state;
	memset(text, '[', sizeof(text));
	assert_non_null(keystore_parse(text, sizeof(text), &k));
}

#endif

/* ---- what signers print ---- */

#define R "7043095b22e39d516a46cc33a7c967ff57794320250201d1845ae5a90f9672a7"
#define S "2e66a21f72122abd8096a96d3ca1e42e55f032bf14f6b3acf723a9cc0e94c04d"
#define HIGH_S "d1995de08dedd5427f695692c35e1bd064beaa279a51ec8ec8aeb4c0c1a180f4"

static void every_spelling_becomes_the_one(void **state)
{
	static const char *const good[] = {
		"0x" R S "1b", R S "1b", R S "00", "0X" R S "1c", R S, "0x" R S "\n", "  0x" R S "1b \r\n", "\"0x" R S "1b\"\n",
		R HIGH_S "1c", R HIGH_S "00", R HIGH_S,
		"304402207043095b22e39d516a46cc33a7c967ff57794320250201d1845ae5a90f9672a702202e66a21f72122abd8096a96d3ca1e42e55"
		"f032bf14f6b3acf723a9cc0e94c04d",
		"MEUCIHBDCVsi451RakbMM6fJZ/9XeUMgJQIB0YRa5akPlnKnAiEA0Zld4I3t1UJ/aVaSw14b0GS+qieaUeyOyK60wMGhgPQ=",
		"MEUCIHBDCVsi451RakbMM6fJZ_9XeUMgJQIB0YRa5akPlnKnAiEA0Zld4I3t1UJ_aVaSw14b0GS-qieaUeyOyK60wMGhgPQ\n",
	};
	static const char *const bad[] = {
		"", "\n", "0x", "0x" R, "nonsense", "0x" R S "1b00", "0x" R S "1", R S "1g", "\"", "\"\"",
		"0x00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
		"0000000000000000000000",
		"0xffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff" S "1b",
		/* Of another wallet. */
		"0x1cf7ed1a3b6bd5fef54cd65cb2f9e50f4fefefbd3497db565cec5884feb391f4"
		"06aea18fc8bf0b4ac6ad35f142aae453ce0f786170458998ac289c587c01abcd1b",
	};
	struct wallet_address wallet;
	uint8_t digest[32], out[65];
	char hex[131];

	(void)state;
	assert_true(wallet_address_parse("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", 42, &wallet));
	eip191_hash("1750000000", 10, digest);
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		if (!signature_from_text(span_str(good[i]), digest, &wallet, out))
			fail_msg("%s is refused", good[i]);
		hex_encode(out, sizeof(out), hex);
		assert_string_equal(hex, R S "1b");
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (signature_from_text(span_str(bad[i]), digest, &wallet, out))
			fail_msg("%s is taken", bad[i]);
}

static void compact_signatures_of_either_parity_are_read(void **state)
{
	/* 1749999961, whose parity is 1: EIP-2098 sets the top bit of s. */
	static const char rs[] = "8c2e3f16aff7258704e03688a8e149c225caf227bd0e7a82e4af4b4b87176a39"
				 "84409da0355ef44eb7f1c61c37c6995002a4a9fea835c281d8821ddea24688e3";
	struct wallet_address wallet;
	uint8_t digest[32], out[65];
	char hex[131];

	(void)state;
	assert_true(wallet_address_parse("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", 42, &wallet));
	eip191_hash("1749999961", 10, digest);
	assert_true(signature_from_text(span_str(rs), digest, &wallet, out));
	hex_encode(out, sizeof(out), hex);
	assert_string_equal(hex, "8c2e3f16aff7258704e03688a8e149c225caf227bd0e7a82e4af4b4b87176a39"
				 "04409da0355ef44eb7f1c61c37c6995002a4a9fea835c281d8821ddea24688e31c");
}

/* ---- output ---- */

static void what_has_a_meaning_is_escaped(void **state)
{
	static const struct {
		enum output_kind kind;
		struct destination to;
		const char *password, *line;
	} rows[] = {
		{OUTPUT_PASSWORD, {0}, "a:b", "a:b\n"},
		{OUTPUT_PGPASS, {.user = "0x1"}, "1:0x2", "*:*:*:0x1:1\\:0x2\n"},
		{OUTPUT_PGPASS, {"::1", "6432", "a:b\\c", "u"}, "p\\q", "\\:\\:1:6432:a\\:b\\\\c:u:p\\\\q\n"},
		{OUTPUT_URI, {"h", NULL, NULL, "0x1"}, "1:0x2", "postgresql://0x1:1%3A0x2@h/\n"},
		{OUTPUT_URI, {"::1", "6432", "a b/c", "u@v"}, "x+/=", "postgresql://u%40v:x%2B%2F%3D@[::1]:6432/a%20b%2Fc\n"},
		{OUTPUT_URI, {"/run/p", "1", "d", "\xc3\xa9"}, "x", "postgresql://%C3%A9:x@%2Frun%2Fp:1/d\n"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf b;

		buf_init(&b);
		output_put(&b, rows[i].kind, &rows[i].to, rows[i].password);
		buf_put_u8(&b, 0);
		assert_string_equal((const char *)buf_data(&b), rows[i].line);
		buf_free(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(scrypt_gives_the_published_keys),
		cmocka_unit_test(scrypt_agrees_with_openssl),
#ifdef HAVE_JANSSON
		cmocka_unit_test(keystores_open_by_their_passphrase),
		cmocka_unit_test(keystores_stay_shut_otherwise),
		cmocka_unit_test(keystores_are_read_within_bounds),
		cmocka_unit_test(deep_json_is_refused),
#endif
		cmocka_unit_test(every_spelling_becomes_the_one),
		cmocka_unit_test(compact_signatures_of_either_parity_are_read),
		cmocka_unit_test(what_has_a_meaning_is_escaped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
