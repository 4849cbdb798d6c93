/* Unit tests of the formats bound, siwe and typed. Section numbers are those of ecdsa-login.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base64.h"
#include "lib/hex.h"
#include "lib/keccak.h"
#include "lib/rfc3339.h"
#include "lib/util.h"
#include "wallet/bound.h"
#include "wallet/check.h"
#include "wallet/eip191.h"
#include "wallet/sign.h"
#include "wallet/siwe.h"
#include "wallet/typed.h"

#define NOW 1750000000
#define USER "0xa8e9e6A57CcB930561c2923c303B3b4bd9b977a0"
#define KEY "e6cf511748fb499a7fae4e12262f7bdaa350ae6aa63bca4529d2d6e844398130"
#define OTHER_KEY "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
#define NONCE "k3J9x0QpZ2Lm"

/* The sample of section 14. */
#define SERVER "server: db.example.org\n"
#define DATABASE "database: appdb\n"
#define WALLET "wallet: " USER "\n"
#define TIMES "issued: 1749999900\nexpires: 1750003500\n"
#define FIRST "PostgreSQL sign-in v1\n"
#define SAMPLE FIRST SERVER DATABASE WALLET TIMES "nonce: " NONCE
#define SAMPLE_WITH_ROLE FIRST SERVER DATABASE WALLET "role: analyst\n" TIMES "nonce: " NONCE

#define SIWE_HEAD "app.example.org wants you to sign in with your Ethereum account:\n" USER "\n\n"
#define SIWE_FIELDS "URI: https://app.example.org/login\nVersion: 1\nChain ID: 1\nNonce: " NONCE "\n"
#define SIWE_ISSUED "Issued At: 2025-06-15T15:05:00.000Z"
#define SIWE_EXPIRES "\nExpiration Time: 2025-06-15T16:05:00.000Z"
#define SIWE_RESOURCE "\nResources:\n- postgresql://db.example.org/appdb"
#define SIWE SIWE_HEAD "\n" SIWE_FIELDS SIWE_ISSUED SIWE_EXPIRES SIWE_RESOURCE

static const struct wallet_policy policy = {
	.formats = BIT(ECDSA_FORMATS) - 1,
	.window_seconds = 300,
	.skew_seconds = 60,
	.max_lifetime_seconds = 86400,
	.siwe_requires_database = true,
	.server_names = "db.example.org, 127.0.0.1:6432",
	.siwe_domains = "app.example.org,localhost:3000",
	.chain_ids = "1 8453",
	.database = "appdb",
};

static struct wallet_key key_of(const char *digits)
{
	struct wallet_key key;

	assert_true(hex_decode(digits, key.bytes, sizeof(key.bytes)));
	return key;
}

/* A password over any bytes; typed signs the struct of a text that parses. */
static void sign(const char *key_digits, enum ecdsa_format format, struct span text, char out[WALLET_PASSWORD_MAX])
{
	struct wallet_key key = key_of(key_digits);
	struct bound_message m;
	uint8_t hash[32], signature[65];
	struct buf b;

	if (format == ECDSA_FORMAT_TYPED && bound_parse(text, &m))
		typed_digest(&m, hash);
	else
		eip191_hash(text.ptr, text.len, hash);
	assert_int_equal(wallet_sign_hash(&key, hash, signature), 0);
	buf_init(&b);
	buf_printf(&b, "%s:", ecdsa_format_word(format));
	base64url_put(&b, text.ptr, text.len);
	buf_put_text(&b, ":0x");
	buf_put_u8(&b, 0);
	assert_true(buf_ok(&b) && buf_len(&b) + 130 < WALLET_PASSWORD_MAX);
	memcpy(out, buf_data(&b), buf_len(&b));
	hex_encode(signature, sizeof(signature), out + strlen(out));
	buf_free(&b);
}

static void sign_time(const char *key_digits, int64_t when, char out[WALLET_PASSWORD_MAX])
{
	struct wallet_key key = key_of(key_digits);
	uint8_t hash[32], signature[65];
	int len = snprintf(out, WALLET_PASSWORD_MAX, "%lld", (long long)when);

	eip191_hash(out, (size_t)len, hash);
	assert_int_equal(wallet_sign_hash(&key, hash, signature), 0);
	strcpy(out + len, ":0x");
	hex_encode(signature, sizeof(signature), out + len + 3);
}

static enum ecdsa_reason check_with(const struct wallet_policy *p, const char *user, const char *password,
				    struct ecdsa_claim *claim)
{
	return ecdsa_check(user, password, strlen(password), NOW, p, claim);
}

static enum ecdsa_reason check_text(enum ecdsa_format format, const char *text)
{
	char password[WALLET_PASSWORD_MAX];
	struct ecdsa_claim claim;

	sign(KEY, format, span_str(text), password);
	return check_with(&policy, USER, password, &claim);
}

/* ---- base64: section 14 ---- */

static void base64_takes_either_alphabet_and_no_second_spelling(void **state)
{
	static const struct {
		const char *text, *hex; /* NULL: refused */
	} rows[] = {
		{"", ""},	   {"Zg", "66"},	{"Zg==", "66"},	     {"Zm8", "666f"},	 {"Zm8=", "666f"},
		{"Zm9v", "666f6f"}, {"-_-_", "fbffbf"},	{"+/+/", "fbffbf"}, {"-/+_", "fbffbf"}, {"_w", "ff"},
		{"Z", NULL},	   {"Zg=", NULL},	{"Zg===", NULL},    {"Zm8==", NULL},	 {"Zm9v=", NULL},
		{"Zm9v====", NULL}, {"Zh", NULL},	{"Zm9", NULL},	    {"Zm9=", NULL},	 {" Zg", NULL},
		{"Zg\n", NULL},	   {"Z:g", NULL},	{"=", NULL},	    {"==", NULL},	 {"Zg==Zg==", NULL},
		{"Zm9v\t", NULL},  {"Zm,v", NULL},	{"\xc3\xa9", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint8_t out[16];
		char hex[33];
		size_t len = 99;
		bool good = base64_decode_any(span_str(rows[i].text), out, sizeof(out), &len);

		if (good != (rows[i].hex != NULL))
			fail_msg("\"%s\" is %s", rows[i].text, good ? "taken" : "refused");
		if (!good)
			continue;
		hex_encode(out, len, hex);
		assert_string_equal(hex, rows[i].hex);
	}
}

static void base64_keeps_to_its_room(void **state)
{
	uint8_t out[4] = {0, 0, 0, 0xaa};
	size_t len;

	(void)state;
	assert_true(base64_decode_any(span_str("Zm9v"), out, 3, &len));
	assert_int_equal(out[3], 0xaa);
	assert_false(base64_decode_any(span_str("Zm9vZg"), out, 3, &len));
	assert_false(base64_decode_any(span_str("Zm9v"), out, 2, &len));
	assert_int_equal(out[3], 0xaa);
}

/* ---- dates: section 15 ---- */

static void dates_are_instants(void **state)
{
	static const struct {
		const char *text;
		int64_t seconds; /* -1: refused */
	} rows[] = {
		{"1970-01-01T00:00:00Z", 0},
		{"2025-06-15T15:06:40Z", NOW},
		{"2025-06-15t15:06:40z", NOW},
		{"2025-06-15T15:06:40.999999999999Z", NOW},
		{"2025-06-15T17:06:40+02:00", NOW},
		{"2025-06-15T09:36:40-05:30", NOW},
		{"2024-02-29T00:00:00Z", 1709164800},
		{"2000-02-29T00:00:00Z", 951782400},
		{"2016-12-31T23:59:60Z", 1483228800},
		{"9999-12-31T23:59:59Z", INT64_C(253402300799)},
		{"2025-06-15", -1},
		{"2025-06-15 15:06:40Z", -1},
		{"2025-06-15T15:06:40", -1},
		{"2025-06-15T15:06Z", -1},
		{"2025-06-15T15:06:40.Z", -1},
		{"2025-06-15T24:00:00Z", -1},
		{"2025-06-15T15:60:00Z", -1},
		{"2025-06-15T15:06:61Z", -1},
		{"2025-06-15T15:06:40+24:00", -1},
		{"2025-06-15T15:06:40+02:60", -1},
		{"2025-06-15T15:06:40+0200", -1},
		{"2025-02-29T00:00:00Z", -1},
		{"1900-02-29T00:00:00Z", -1},
		{"2025-13-01T00:00:00Z", -1},
		{"2025-00-01T00:00:00Z", -1},
		{"2025-01-00T00:00:00Z", -1},
		{"2025-04-31T00:00:00Z", -1},
		{"+025-04-30T00:00:00Z", -1},
		{" 2025-04-30T00:00:00Z", -1},
		{"2025-04-30T00:00:00Z ", -1},
		{"25-04-30T00:00:00Z", -1},
		{"yesterday", -1},
		{"", -1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t seconds = -2;
		bool good = rfc3339_parse_instant(rows[i].text, strlen(rows[i].text), &seconds);

		if (good != (rows[i].seconds >= 0) || (good && seconds != rows[i].seconds))
			fail_msg("%s: %lld", rows[i].text, good ? (long long)seconds : -1);
	}
}

/* ---- bound: section 14 ---- */

static void a_bound_message_has_one_spelling(void **state)
{
	static char long_server[1000], long_nonce[1000], big[SIWE_TEXT_MAX + 1];
	static const struct {
		const char *what, *text;
		bool good;
	} rows[] = {
		{"the sample", SAMPLE, true},
		{"with a role", SAMPLE_WITH_ROLE, true},
		{"any database", FIRST SERVER "database: *\n" WALLET TIMES "nonce: " NONCE, true},
		{"a name of two words", FIRST SERVER "database: app db\n" WALLET TIMES "nonce: " NONCE, true},
		{"a name in UTF-8", FIRST SERVER "database: caf\xc3\xa9\n" WALLET TIMES "nonce: " NONCE, true},
		{"a name of 63 bytes", FIRST SERVER "database: "
		 "0123456789012345678901234567890123456789012345678901234567890ab\n" WALLET TIMES "nonce: " NONCE, true},
		{"a name with colons", FIRST SERVER "database: a: b: c\n" WALLET TIMES "nonce: " NONCE, true},
		{"nonce of 8", FIRST SERVER DATABASE WALLET TIMES "nonce: abcd1234", true},
		{"nothing", "", false},
		{"the first line alone", "PostgreSQL sign-in v1", false},
		{"the first line and LF", FIRST, false},
		{"version 2", "PostgreSQL sign-in v2\n" SERVER DATABASE WALLET TIMES "nonce: " NONCE, false},
		{"first line longer", "PostgreSQL sign-in v1 \n" SERVER DATABASE WALLET TIMES "nonce: " NONCE, false},
		{"LF at the end", SAMPLE "\n", false},
		{"something at the end", SAMPLE "\nmore: x", false},
		{"empty line inside", FIRST SERVER "\n" DATABASE WALLET TIMES "nonce: " NONCE, false},
		{"CR", FIRST "server: db.example.org\r\n" DATABASE WALLET TIMES "nonce: " NONCE, false},
		{"no space", FIRST "server:db.example.org\n" DATABASE WALLET TIMES "nonce: " NONCE, false},
		{"two spaces", FIRST "server:  db.example.org\n" DATABASE WALLET TIMES "nonce: " NONCE, false},
		{"space behind", FIRST "server: db.example.org \n" DATABASE WALLET TIMES "nonce: " NONCE, false},
		{"no server", FIRST "server: \n" DATABASE WALLET TIMES "nonce: " NONCE, false},
		{"server not ASCII", FIRST "server: d\xc3\xa9\n" DATABASE WALLET TIMES "nonce: " NONCE, false},
		{"space in front of a name", FIRST SERVER "database:  appdb\n" WALLET TIMES "nonce: " NONCE, false},
		{"space behind a name", FIRST SERVER "database: appdb \n" WALLET TIMES "nonce: " NONCE, false},
		{"a control byte", FIRST SERVER "database: a\tb\n" WALLET TIMES "nonce: " NONCE, false},
		{"DEL", FIRST SERVER "database: a\x7f\n" WALLET TIMES "nonce: " NONCE, false},
		{"not UTF-8", FIRST SERVER "database: \xff\n" WALLET TIMES "nonce: " NONCE, false},
		{"UTF-8 cut off", FIRST SERVER "database: a\xc3\n" WALLET TIMES "nonce: " NONCE, false},
		{"UTF-8 too long", FIRST SERVER "database: \xc0\xaf\n" WALLET TIMES "nonce: " NONCE, false},
		{"a surrogate", FIRST SERVER "database: \xed\xa0\x80\n" WALLET TIMES "nonce: " NONCE, false},
		{"above U+10FFFF", FIRST SERVER "database: \xf4\x90\x80\x80\n" WALLET TIMES "nonce: " NONCE, false},
		{"a name of 64 bytes", FIRST SERVER "database: "
		 "0123456789012345678901234567890123456789012345678901234567890abc\n" WALLET TIMES "nonce: " NONCE, false},
		{"wallet in lower case", FIRST SERVER DATABASE "wallet: 0xa8e9e6a57ccb930561c2923c303b3b4bd9b977a0\n" TIMES
		 "nonce: " NONCE, false},
		{"wallet with wrong checksum", FIRST SERVER DATABASE "wallet: 0xA8e9e6A57CcB930561c2923c303B3b4bd9b977a0\n"
		 TIMES "nonce: " NONCE, false},
		{"an empty role", FIRST SERVER DATABASE WALLET "role: \n" TIMES "nonce: " NONCE, false},
		{"two roles", FIRST SERVER DATABASE WALLET "role: a\nrole: b\n" TIMES "nonce: " NONCE, false},
		{"role before wallet", FIRST SERVER DATABASE "role: a\n" WALLET TIMES "nonce: " NONCE, false},
		{"leading zero", FIRST SERVER DATABASE WALLET "issued: 01749999900\nexpires: 1750003500\nnonce: " NONCE, false},
		{"a sign", FIRST SERVER DATABASE WALLET "issued: +1749999900\nexpires: 1750003500\nnonce: " NONCE, false},
		{"a point", FIRST SERVER DATABASE WALLET "issued: 1749999900.0\nexpires: 1750003500\nnonce: " NONCE, false},
		{"2^63", FIRST SERVER DATABASE WALLET "issued: 1749999900\nexpires: 9223372036854775808\nnonce: " NONCE, false},
		{"20 digits", FIRST SERVER DATABASE WALLET "issued: 1749999900\nexpires: 18446744073709551616\nnonce: " NONCE,
		 false},
		{"no expiry", FIRST SERVER DATABASE WALLET "issued: 1749999900\nnonce: " NONCE, false},
		{"nonce of 7", FIRST SERVER DATABASE WALLET TIMES "nonce: abc1234", false},
		{"nonce with a hyphen", FIRST SERVER DATABASE WALLET TIMES "nonce: abcd-1234", false},
		{"no nonce", FIRST SERVER DATABASE WALLET "issued: 1749999900\nexpires: 1750003500", false},
		{"server of 256 bytes", long_server, false},
		{"nonce of 129", long_nonce, false},
		{"2048 bytes", big, false},
	};

	(void)state;
	sprintf(long_server, FIRST "server: %0256d\n" DATABASE WALLET TIMES "nonce: " NONCE, 0);
	sprintf(long_nonce, FIRST SERVER DATABASE WALLET TIMES "nonce: %0129d", 0);
	sprintf(big, FIRST SERVER "database: %0*d", SIWE_TEXT_MAX - (int)strlen(FIRST SERVER "database: "), 0);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct bound_message m;

		if (bound_parse(span_str(rows[i].text), &m) != rows[i].good)
			fail_msg("%s is %s", rows[i].what, rows[i].good ? "refused" : "taken");
	}
	sprintf(long_server, FIRST "server: %0255d\n" DATABASE WALLET TIMES "nonce: %0128d", 0, 0);
	assert_true(bound_parse(span_str(long_server), &(struct bound_message){0}));
}

static void a_bound_message_is_read_as_it_says(void **state)
{
	struct bound_message m;
	char wallet[WALLET_TEXT_LEN + 1];

	(void)state;
	assert_true(bound_parse(span_str(SAMPLE_WITH_ROLE), &m));
	assert_true(span_is(m.server, "db.example.org") && span_is(m.database, "appdb") && span_is(m.role, "analyst"));
	assert_true(span_is(m.nonce, NONCE));
	assert_int_equal(m.issued, 1749999900);
	assert_int_equal(m.expires, 1750003500);
	wallet_address_eip55(&m.wallet, wallet);
	assert_string_equal(wallet, USER);
	assert_true(bound_parse(span_str(SAMPLE), &m));
	assert_null(m.role.ptr);
}

/* ---- typed: section 16 ---- */

static void the_constants_of_typed_data_are_what_they_say(void **state)
{
	static const char domain[] = "EIP712Domain(string name,string version)";
	static const char type[] = "SignIn(string server,string database,address wallet,string role,uint64 issued,"
				   "uint64 expires,string nonce)";
	uint8_t hash[32], parts[3][32];
	struct keccak256 k;
	struct bound_message m;
	char hex[65];

	(void)state;
	keccak256(domain, strlen(domain), parts[0]);
	hex_encode(parts[0], 32, hex);
	assert_string_equal(hex, "b03948446334eb9b2196d5eb166f69b9d49403eb4a12f36de8d3f9f3cb8e15c3");
	keccak256("PostgreSQL sign-in", 18, parts[1]);
	keccak256("1", 1, parts[2]);
	keccak256(parts, sizeof(parts), hash);
	assert_memory_equal(hash, typed_domain_separator, 32);
	hex_encode(hash, 32, hex);
	assert_string_equal(hex, "f9eda811a26227e97d3737657d15add224a67ae394f07f67915b3cfad80b7ff7");

	keccak256(type, strlen(type), hash);
	hex_encode(hash, 32, hex);
	assert_string_equal(hex, "748d680a6f0be419117d056788872f38827a179d6edd041033e53a8ca2de3166");
	assert_true(bound_parse(span_str(SAMPLE), &m));
	typed_struct_hash(&m, hash);
	hex_encode(hash, 32, hex);
	assert_string_equal(hex, "1a00e087518cbc8851c38e4f8ffb68abc34aebccaeab532664033f1f09385811");
	typed_digest(&m, hash);
	hex_encode(hash, 32, hex);
	assert_string_equal(hex, "e6c924f86e257144a181ad1ac31b798a07056ad4206b298bc1cad166d77ba9de");

	/* And again by hand, the type's hash included. */
	keccak256_init(&k);
	keccak256_add(&k, "\x19\x01", 2);
	keccak256_add(&k, typed_domain_separator, 32);
	typed_struct_hash(&m, parts[0]);
	keccak256_add(&k, parts[0], 32);
	keccak256_end(&k, parts[1]);
	assert_memory_equal(parts[1], hash, 32);
	eip191_hash(SAMPLE, strlen(SAMPLE), hash);
	hex_encode(hash, 32, hex);
	assert_string_equal(hex, "491d50f05253c0d16c93e1d37230e04799c46708ce6227f6dfd159aa6c2ef992");
}

/* ---- siwe: section 15 ---- */

static void a_siwe_message_has_the_grammar_of_the_eip(void **state)
{
	static const struct {
		const char *what, *text;
		bool good;
	} rows[] = {
		{"the usual", SIWE, true},
		{"without resources", SIWE_HEAD "\n" SIWE_FIELDS SIWE_ISSUED, true},
		{"a statement", SIWE_HEAD "Sign in (please)!\n\n" SIWE_FIELDS SIWE_ISSUED, true},
		{"an empty statement", SIWE_HEAD "\n\n" SIWE_FIELDS SIWE_ISSUED, true},
		{"a statement that looks like a field", SIWE_HEAD "URI: https://a\n\n" SIWE_FIELDS SIWE_ISSUED, true},
		{"all fields", SIWE_HEAD "\n" SIWE_FIELDS SIWE_ISSUED SIWE_EXPIRES "\nNot Before: 2025-06-15T15:05:00Z"
		 "\nRequest ID: a%20b:c@d\nResources:\n- ipfs://x\n- https://y/", true},
		{"an empty request id", SIWE_HEAD "\n" SIWE_FIELDS SIWE_ISSUED "\nRequest ID: ", true},
		{"resources without any", SIWE_HEAD "\n" SIWE_FIELDS SIWE_ISSUED "\nResources:", true},
		{"a scheme", "https://" SIWE, true},
		{"a scheme with odd letters", "a+b-c.1://" SIWE, true},
		{"16 resources", SIWE_HEAD "\n" SIWE_FIELDS SIWE_ISSUED "\nResources:\n- a:\n- a:\n- a:\n- a:\n- a:\n- a:\n- a:"
		 "\n- a:\n- a:\n- a:\n- a:\n- a:\n- a:\n- a:\n- a:\n- a:", true},
		{"17 resources", SIWE_HEAD "\n" SIWE_FIELDS SIWE_ISSUED "\nResources:\n- a:\n- a:\n- a:\n- a:\n- a:\n- a:\n- a:"
		 "\n- a:\n- a:\n- a:\n- a:\n- a:\n- a:\n- a:\n- a:\n- a:\n- a:", false},
		{"nothing", "", false},
		{"no scheme before ://", "://" SIWE, false},
		{"a scheme that begins with a digit", "1a://" SIWE, false},
		{"one empty line", SIWE_HEAD SIWE_FIELDS SIWE_ISSUED, false},
		{"three empty lines and no statement", SIWE_HEAD "\n\n\n" SIWE_FIELDS SIWE_ISSUED, false},
		{"a statement of two lines", SIWE_HEAD "a\nb\n\n" SIWE_FIELDS SIWE_ISSUED, false},
		{"a quote in the statement", SIWE_HEAD "say \"yes\"\n\n" SIWE_FIELDS SIWE_ISSUED, false},
		{"a percent sign in the statement", SIWE_HEAD "100%\n\n" SIWE_FIELDS SIWE_ISSUED, false},
		{"LF at the end", SIWE "\n", false},
		{"CR LF", "app.example.org wants you to sign in with your Ethereum account:\r\n" USER "\n\n\n" SIWE_FIELDS
		 SIWE_ISSUED, false},
		{"userinfo", "app.example.org@" SIWE, false},
		{"a path in the domain", "x/" SIWE, false},
		{"a space in the domain", "x " SIWE, false},
		{"no domain", " wants you to sign in with your Ethereum account:\n" USER "\n\n\n" SIWE_FIELDS SIWE_ISSUED, false},
		{"address in lower case", "app.example.org wants you to sign in with your Ethereum account:\n"
		 "0xa8e9e6a57ccb930561c2923c303b3b4bd9b977a0\n\n\n" SIWE_FIELDS SIWE_ISSUED, false},
		{"no URI", SIWE_HEAD "\nURI: \nVersion: 1\nChain ID: 1\nNonce: " NONCE "\n" SIWE_ISSUED, false},
		{"URI without scheme", SIWE_HEAD "\nURI: //x\nVersion: 1\nChain ID: 1\nNonce: " NONCE "\n" SIWE_ISSUED, false},
		{"URI with a bad escape", SIWE_HEAD "\nURI: a:%zz\nVersion: 1\nChain ID: 1\nNonce: " NONCE "\n" SIWE_ISSUED,
		 false},
		{"URI with half an escape", SIWE_HEAD "\nURI: a:%4\nVersion: 1\nChain ID: 1\nNonce: " NONCE "\n" SIWE_ISSUED,
		 false},
		{"URI with a space", SIWE_HEAD "\nURI: a: b\nVersion: 1\nChain ID: 1\nNonce: " NONCE "\n" SIWE_ISSUED, false},
		{"URI not ASCII", SIWE_HEAD "\nURI: a:\xc3\xa9\nVersion: 1\nChain ID: 1\nNonce: " NONCE "\n" SIWE_ISSUED, false},
		{"version 2", SIWE_HEAD "\nURI: a:\nVersion: 2\nChain ID: 1\nNonce: " NONCE "\n" SIWE_ISSUED, false},
		{"version 1 and a space", SIWE_HEAD "\nURI: a:\nVersion: 1 \nChain ID: 1\nNonce: " NONCE "\n" SIWE_ISSUED,
		 false},
		{"no chain", SIWE_HEAD "\nURI: a:\nVersion: 1\nChain ID: \nNonce: " NONCE "\n" SIWE_ISSUED, false},
		{"chain of 19 digits", SIWE_HEAD "\nURI: a:\nVersion: 1\nChain ID: 1000000000000000000\nNonce: " NONCE "\n"
		 SIWE_ISSUED, false},
		{"a negative chain", SIWE_HEAD "\nURI: a:\nVersion: 1\nChain ID: -1\nNonce: " NONCE "\n" SIWE_ISSUED, false},
		{"fields in another order", SIWE_HEAD "\nURI: a:\nChain ID: 1\nVersion: 1\nNonce: " NONCE "\n" SIWE_ISSUED, false},
		{"a field twice", SIWE_HEAD "\n" SIWE_FIELDS SIWE_ISSUED "\n" SIWE_ISSUED, false},
		{"not before before expiration", SIWE_HEAD "\n" SIWE_FIELDS SIWE_ISSUED "\nNot Before: 2025-06-15T15:05:00Z"
		 SIWE_EXPIRES, false},
		{"a date alone", SIWE_HEAD "\n" SIWE_FIELDS "Issued At: 2025-06-15", false},
		{"an empty expiration", SIWE_HEAD "\n" SIWE_FIELDS SIWE_ISSUED "\nExpiration Time: ", false},
		{"a space in the request id", SIWE_HEAD "\n" SIWE_FIELDS SIWE_ISSUED "\nRequest ID: a b", false},
		{"a slash in the request id", SIWE_HEAD "\n" SIWE_FIELDS SIWE_ISSUED "\nRequest ID: a/b", false},
		{"a resource that is no URI", SIWE_HEAD "\n" SIWE_FIELDS SIWE_ISSUED "\nResources:\n- x", false},
		{"an item without a list", SIWE_HEAD "\n" SIWE_FIELDS SIWE_ISSUED "\n- a:", false},
		{"Resources: and more", SIWE_HEAD "\n" SIWE_FIELDS SIWE_ISSUED "\nResources: x", false},
		{"something behind the list", SIWE "\nmore", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct siwe_message m;

		if (siwe_parse(span_str(rows[i].text), &m) != rows[i].good)
			fail_msg("%s is %s", rows[i].what, rows[i].good ? "refused" : "taken");
	}
}

static void a_siwe_message_ends_at_2048_bytes(void **state)
{
	char text[SIWE_TEXT_MAX + 2];
	struct siwe_message m;

	(void)state;
	for (size_t len = SIWE_TEXT_MAX; len <= SIWE_TEXT_MAX + 1; len++) {
		size_t n = (size_t)sprintf(text, "%s\nRequest ID: ", SIWE_HEAD "\n" SIWE_FIELDS SIWE_ISSUED);

		memset(text + n, 'a', len - n);
		assert_int_equal(siwe_parse(span_of(text, len), &m), len == SIWE_TEXT_MAX);
	}
}

static void domains_are_hosts_with_a_port(void **state)
{
	static const struct {
		const char *text;
		bool good;
	} rows[] = {
		{"a", true},	   {"app.example.org", true}, {"a:1", true},	   {"a:", true},      {"[::1]", true},
		{"[::1]:80", true}, {"1.2.3.4:5", true},       {"a%20b", true},	   {"", false},	      {":1", false},
		{"a:b", false},	   {"a:1:2", false},	       {"a b", false},	   {"a/b", false},    {"a@b", false},
		{"[]", false},	   {"[::1", false},	       {"[::1]x", false},  {"a?b", false},    {"a#b", false},
		{"a%2", false},	   {"[%31]", false},	       {"a\xc3\xa9", false}, {"a[b]", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (siwe_domain_is_good(span_str(rows[i].text)) != rows[i].good)
			fail_msg("%s is %s", rows[i].text, rows[i].good ? "refused" : "taken");
}

static void a_database_uri_names_server_database_and_role(void **state)
{
	static const struct {
		const char *uri;
		bool speaks, fits; /* of appdb */
		const char *role;
	} rows[] = {
		{"postgresql://db.example.org/appdb", true, true, ""},
		{"postgres://db.example.org/appdb", true, true, ""},
		{"PostgreSQL://db.example.org/appdb", true, true, ""},
		{"postgresql://DB.Example.Org/appdb", true, true, ""},
		{"postgresql://127.0.0.1:6432/appdb", true, true, ""},
		{"postgresql://db.example.org/*", true, true, ""},
		{"postgresql://db.example.org/%61ppdb", true, true, ""},
		{"postgresql://db.example.org/appdb?role=analyst", true, true, "analyst"},
		{"postgresql://db.example.org/appdb?role=a%26b", true, true, "a&b"},
		{"postgresql://db.example.org/*?role=a/b?c=d", true, true, "a/b?c=d"},
		{"https://db.example.org/appdb", false, false, ""},
		{"postgresqlx://db.example.org/appdb", false, false, ""},
		{"postgresql:db.example.org/appdb", true, false, ""},
		{"postgresql:/appdb", true, false, ""},
		{"postgresql://db.example.org", true, false, ""},
		{"postgresql://db.example.org/", true, false, ""},
		{"postgresql:///appdb", true, false, ""},
		{"postgresql://db.example.org/APPDB", true, false, ""},
		{"postgresql://db.example.org/appdb/", true, false, ""},
		{"postgresql://db.example.org/appdb/x", true, false, ""},
		{"postgresql://db.example.org//appdb", true, false, ""},
		{"postgresql://db.example.org/appdb%00", true, false, ""},
		{"postgresql://db.example.org/%00appdb", true, false, ""},
		{"postgresql://db.example.org:5432/appdb", true, false, ""},
		{"postgresql://db.example.com/appdb", true, false, ""},
		{"postgresql://me@db.example.org/appdb", true, false, ""},
		{"postgresql://me:pw@db.example.org/appdb", true, false, ""},
		{"postgresql://db.example.org@evil/appdb", true, false, ""},
		{"postgresql://db.example.org/appdb#x", true, false, ""},
		{"postgresql://db.example.org/appdb?role=a#x", true, false, ""},
		{"postgresql://db.example.org/appdb?", true, false, ""},
		{"postgresql://db.example.org/appdb?role=", true, false, ""},
		{"postgresql://db.example.org/appdb?role=a&x=y", true, false, ""},
		{"postgresql://db.example.org/appdb?x=y", true, false, ""},
		{"postgresql://db.example.org/appdb?ROLE=a", true, false, ""},
		{"postgresql://db.example.org/appdb?role=a%00", true, false, ""},
		{"postgresql://db.example.org/app+db", true, false, ""},
		{"postgresql://db.example.org,127.0.0.1:6432/appdb", true, false, ""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct span uri = span_str(rows[i].uri);
		char role[128] = "";
		bool fits = siwe_uri_matches(uri, policy.server_names, "appdb", role, sizeof(role));

		if (siwe_names_database(uri) != rows[i].speaks || fits != rows[i].fits ||
		    (fits && strcmp(role, rows[i].role) != 0))
			fail_msg("%s: %d, role \"%s\"", rows[i].uri, fits, role);
	}
	assert_false(siwe_uri_matches(span_str(rows[0].uri), "", "appdb", (char[128]){0}, 128));
	assert_false(siwe_uri_matches(span_str(rows[0].uri), NULL, "appdb", (char[128]){0}, 128));
	/* Room is asked for before anything is written. */
	assert_false(siwe_uri_matches(span_str(rows[0].uri), policy.server_names, "appdb", (char[4]){0}, 4));
}

/* ---- the check ---- */

static void each_fault_of_a_message_has_its_reason(void **state)
{
	static const struct {
		const char *what;
		enum ecdsa_format format;
		const char *text;
		enum ecdsa_reason reason;
	} rows[] = {
		{"bound", ECDSA_FORMAT_BOUND, SAMPLE, ECDSA_OK},
		{"typed", ECDSA_FORMAT_TYPED, SAMPLE, ECDSA_OK},
		{"siwe", ECDSA_FORMAT_SIWE, SIWE, ECDSA_OK},
		{"no message", ECDSA_FORMAT_BOUND, "", ECDSA_MESSAGE_MALFORMED},
		{"siwe as bound", ECDSA_FORMAT_BOUND, SIWE, ECDSA_MESSAGE_MALFORMED},
		{"bound as siwe", ECDSA_FORMAT_SIWE, SAMPLE, ECDSA_MESSAGE_MALFORMED},
		{"another server", ECDSA_FORMAT_BOUND,
		 FIRST "server: DB.example.org\n" DATABASE WALLET TIMES "nonce: " NONCE, ECDSA_WRONG_SERVER},
		{"both servers", ECDSA_FORMAT_BOUND,
		 FIRST "server: db.example.org,127.0.0.1:6432\n" DATABASE WALLET TIMES "nonce: " NONCE, ECDSA_WRONG_SERVER},
		{"another database", ECDSA_FORMAT_TYPED, FIRST SERVER "database: Appdb\n" WALLET TIMES "nonce: " NONCE,
		 ECDSA_WRONG_DATABASE},
		{"another wallet", ECDSA_FORMAT_BOUND,
		 FIRST SERVER DATABASE "wallet: 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\n" TIMES "nonce: " NONCE,
		 ECDSA_WALLET_DIFFERS},
		{"expired", ECDSA_FORMAT_BOUND, FIRST SERVER DATABASE WALLET
		 "issued: 1749999900\nexpires: 1750000000\nnonce: " NONCE, ECDSA_EXPIRED},
		{"expires before it is issued", ECDSA_FORMAT_BOUND, FIRST SERVER DATABASE WALLET
		 "issued: 1750000060\nexpires: 1750000059\nnonce: " NONCE, ECDSA_EXPIRED},
		{"from the future", ECDSA_FORMAT_BOUND, FIRST SERVER DATABASE WALLET
		 "issued: 1750000061\nexpires: 1750003500\nnonce: " NONCE, ECDSA_FROM_FUTURE},
		{"milliseconds", ECDSA_FORMAT_BOUND, FIRST SERVER DATABASE WALLET
		 "issued: 1749999900000\nexpires: 1750003500000\nnonce: " NONCE, ECDSA_TIMESTAMP_MILLISECONDS},
		{"for ever", ECDSA_FORMAT_BOUND, FIRST SERVER DATABASE WALLET
		 "issued: 1749999900\nexpires: 9223372036854775807\nnonce: " NONCE, ECDSA_LIFETIME_TOO_LONG},
		{"since ever", ECDSA_FORMAT_BOUND, FIRST SERVER DATABASE WALLET
		 "issued: 0\nexpires: 9223372036854775807\nnonce: " NONCE, ECDSA_LIFETIME_TOO_LONG},
		{"siwe for ever", ECDSA_FORMAT_SIWE, SIWE_HEAD "\n" SIWE_FIELDS "Issued At: 0000-01-01T00:00:00Z"
		 "\nExpiration Time: 9999-12-31T23:59:59Z" SIWE_RESOURCE, ECDSA_LIFETIME_TOO_LONG},
		{"siwe not yet", ECDSA_FORMAT_SIWE, SIWE_HEAD "\n" SIWE_FIELDS SIWE_ISSUED
		 SIWE_EXPIRES "\nNot Before: 2025-06-15T15:07:41Z" SIWE_RESOURCE, ECDSA_NOT_YET_VALID},
		{"siwe just so", ECDSA_FORMAT_SIWE, SIWE_HEAD "\n" SIWE_FIELDS SIWE_ISSUED
		 SIWE_EXPIRES "\nNot Before: 2025-06-15T15:07:40Z" SIWE_RESOURCE, ECDSA_OK},
		{"siwe without a database", ECDSA_FORMAT_SIWE, SIWE_HEAD "\n" SIWE_FIELDS SIWE_ISSUED SIWE_EXPIRES,
		 ECDSA_WRONG_DATABASE},
		{"siwe of another domain", ECDSA_FORMAT_SIWE, "www." SIWE, ECDSA_WRONG_DOMAIN},
		{"siwe of another port", ECDSA_FORMAT_SIWE, "app.example.org:80 wants you to sign in with your Ethereum"
		 " account:\n" USER "\n\n\n" SIWE_FIELDS SIWE_ISSUED SIWE_EXPIRES SIWE_RESOURCE, ECDSA_WRONG_DOMAIN},
		{"siwe, domain in upper case", ECDSA_FORMAT_SIWE, "APP.example.org wants you to sign in with your Ethereum"
		 " account:\n" USER "\n\n\n" SIWE_FIELDS SIWE_ISSUED SIWE_EXPIRES SIWE_RESOURCE, ECDSA_OK},
		{"siwe of another chain", ECDSA_FORMAT_SIWE, SIWE_HEAD "\nURI: a:\nVersion: 1\nChain ID: 18453\nNonce: " NONCE
		 "\n" SIWE_ISSUED SIWE_EXPIRES SIWE_RESOURCE, ECDSA_WRONG_CHAIN},
		{"siwe, chain with zeros", ECDSA_FORMAT_SIWE, SIWE_HEAD "\nURI: a:\nVersion: 1\nChain ID: 0001\nNonce: " NONCE
		 "\n" SIWE_ISSUED SIWE_EXPIRES SIWE_RESOURCE, ECDSA_OK},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		enum ecdsa_reason reason = check_text(rows[i].format, rows[i].text);

		if (reason != rows[i].reason)
			fail_msg("%s: %s, expected %s", rows[i].what, ecdsa_reason_word(reason),
				 ecdsa_reason_word(rows[i].reason));
	}
}

static void what_is_around_the_message_has_its_reason_too(void **state)
{
	static const struct {
		const char *password;
		enum ecdsa_reason reason;
	} rows[] = {
		{"bound", ECDSA_MESSAGE_MALFORMED},
		{"bound:", ECDSA_MESSAGE_MALFORMED},
		{"bound::", ECDSA_MESSAGE_MALFORMED},
		{"bound:!!!!:0x00", ECDSA_MESSAGE_ENCODING},
		{"siwe:Zg=:0x00", ECDSA_MESSAGE_ENCODING},
		{"timestamp:1750000000:0x00", ECDSA_FORMAT_UNKNOWN},
		{"Bound:Zg:0x00", ECDSA_FORMAT_UNKNOWN},
		{"bound :Zg:0x00", ECDSA_FORMAT_UNKNOWN},
		{" bound:Zg:0x00", ECDSA_TIMESTAMP_MALFORMED},
	};
	char password[WALLET_PASSWORD_MAX];
	struct ecdsa_claim claim;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		enum ecdsa_reason reason = check_with(&policy, USER, rows[i].password, &claim);

		if (reason != rows[i].reason)
			fail_msg("%s: %s", rows[i].password, ecdsa_reason_word(reason));
	}
	sign(KEY, ECDSA_FORMAT_BOUND, span_str(SAMPLE), password);
	strcat(password, ":");
	assert_int_equal(check_with(&policy, USER, password, &claim), ECDSA_SIGNATURE_LENGTH);
	*strrchr(password, ':') = 0;
	*strrchr(password, ':') = 0;
	assert_int_equal(check_with(&policy, USER, password, &claim), ECDSA_SIGNATURE_LENGTH);
	/* What a signature's fault hides is in the audit line all the same. */
	assert_true(claim.has_format && claim.has_time && claim.expires == 1750003500);
}

static void a_format_that_is_not_listed_is_disabled(void **state)
{
	char password[WALLET_PASSWORD_MAX];
	struct ecdsa_claim claim;

	(void)state;
	for (int format = ECDSA_FORMAT_BOUND; format < ECDSA_FORMATS; format++) {
		struct wallet_policy p = policy;

		sign(KEY, (enum ecdsa_format)format, span_str(format == ECDSA_FORMAT_SIWE ? SIWE : SAMPLE), password);
		p.formats = BIT(format);
		assert_int_equal(check_with(&p, USER, password, &claim), ECDSA_OK);
		assert_int_equal(claim.format, format);
		p.formats = (BIT(ECDSA_FORMATS) - 1) & ~BIT(format);
		assert_int_equal(check_with(&p, USER, password, &claim), ECDSA_FORMAT_DISABLED);
	}
}

static void roles_are_those_of_the_uris_that_fit(void **state)
{
	static const struct {
		const char *resources, *admits, *refuses; /* refuses NULL: admits any */
	} rows[] = {
		{"\n- postgresql://db.example.org/appdb?role=a", "a", "b"},
		{"\n- postgresql://db.example.org/appdb?role=a\n- postgres://db.example.org/*?role=b", "b", "c"},
		{"\n- postgresql://db.example.org/appdb?role=a\n- postgresql://db.example.org/appdb", "z", NULL},
		{"\n- postgresql://db.example.org/appdb?role=a\n- postgresql://db.example.org/other?role=b", "a", "b"},
		{"\n- postgresql://db.example.org/appdb?role=a\n- postgresql://db.example.com/appdb", "a", "b"},
		{"\n- postgresql://db.example.org/appdb?role=a%20b", "a b", "a"},
	};
	char text[SIWE_TEXT_MAX], password[WALLET_PASSWORD_MAX];
	struct ecdsa_claim claim;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		sprintf(text, "%s\nResources:%s", SIWE_HEAD "\n" SIWE_FIELDS SIWE_ISSUED SIWE_EXPIRES, rows[i].resources);
		sign(KEY, ECDSA_FORMAT_SIWE, span_str(text), password);
		assert_int_equal(check_with(&policy, USER, password, &claim), ECDSA_OK);
		assert_true(ecdsa_claim_admits(&claim, rows[i].admits));
		if (rows[i].refuses)
			assert_false(ecdsa_claim_admits(&claim, rows[i].refuses));
	}
	sign(KEY, ECDSA_FORMAT_BOUND, span_str(SAMPLE_WITH_ROLE), password);
	assert_int_equal(check_with(&policy, USER, password, &claim), ECDSA_OK);
	assert_true(ecdsa_claim_admits(&claim, "analyst"));
	assert_false(ecdsa_claim_admits(&claim, "analyst2"));
	assert_false(ecdsa_claim_admits(&claim, ""));
}

static void policies_of_siwe_are_kept(void **state)
{
	char password[WALLET_PASSWORD_MAX];
	struct wallet_policy p = policy;
	struct ecdsa_claim claim;

	(void)state;
	sign(KEY, ECDSA_FORMAT_SIWE, span_str(SIWE), password);
	p.siwe_domains = "";
	assert_int_equal(check_with(&p, USER, password, &claim), ECDSA_WRONG_DOMAIN);
	p = policy;
	p.siwe_schemes = "https";
	assert_int_equal(check_with(&p, USER, password, &claim), ECDSA_WRONG_DOMAIN);
	sign(KEY, ECDSA_FORMAT_SIWE, span_str("HTTPS://" SIWE), password);
	assert_int_equal(check_with(&p, USER, password, &claim), ECDSA_OK);
	sign(KEY, ECDSA_FORMAT_SIWE, span_str("http://" SIWE), password);
	assert_int_equal(check_with(&p, USER, password, &claim), ECDSA_WRONG_DOMAIN);
	p = policy;
	p.chain_ids = NULL;
	sign(KEY, ECDSA_FORMAT_SIWE, span_str(SIWE_HEAD "\nURI: a:\nVersion: 1\nChain ID: 137\nNonce: " NONCE "\n"
					      SIWE_ISSUED SIWE_EXPIRES SIWE_RESOURCE), password);
	assert_int_equal(check_with(&p, USER, password, &claim), ECDSA_OK);
	p.siwe_requires_database = false;
	sign(KEY, ECDSA_FORMAT_SIWE, span_str(SIWE_HEAD "\n" SIWE_FIELDS SIWE_ISSUED), password);
	assert_int_equal(check_with(&p, USER, password, &claim), ECDSA_OK);
	/* Whoever names a database means it. */
	sign(KEY, ECDSA_FORMAT_SIWE, span_str(SIWE_HEAD "\n" SIWE_FIELDS SIWE_ISSUED
					      "\nResources:\n- postgresql://db.example.org/other"), password);
	assert_int_equal(check_with(&p, USER, password, &claim), ECDSA_WRONG_DATABASE);
}

static void in_role_login_the_message_names_the_signer(void **state)
{
	char password[WALLET_PASSWORD_MAX];
	struct wallet_policy p = policy;
	struct ecdsa_claim claim;

	(void)state;
	p.role_login = true;
	for (int format = ECDSA_FORMAT_BOUND; format < ECDSA_FORMATS; format++) {
		struct span text = span_str(format == ECDSA_FORMAT_SIWE ? SIWE : SAMPLE);

		sign(KEY, (enum ecdsa_format)format, text, password);
		assert_int_equal(check_with(&p, "analyst", password, &claim), ECDSA_OK);
		assert_int_equal(check_with(&policy, "analyst", password, &claim), ECDSA_ADDRESS_MALFORMED);
		sign(OTHER_KEY, (enum ecdsa_format)format, text, password);
		assert_int_equal(check_with(&p, "analyst", password, &claim), ECDSA_WALLET_DIFFERS);
		assert_int_equal(check_with(&p, USER, password, &claim), ECDSA_WRONG_SIGNER);
	}
}

static void proofs_of_one_use_are_not_dated_ahead(void **state)
{
	static const struct {
		int64_t ahead, window;
		bool limited;
		enum ecdsa_reason reason;
	} rows[] = {
		{60, 300, true, ECDSA_OK},  {61, 300, true, ECDSA_FROM_FUTURE}, {61, 300, false, ECDSA_OK},
		{10, 10, true, ECDSA_OK},   {11, 10, true, ECDSA_FROM_FUTURE},	{-300, 300, true, ECDSA_OK},
	};
	struct wallet_key key = key_of(KEY);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct wallet_policy p = policy;
		char password[WALLET_LOGIN_LEN + 1];
		struct ecdsa_claim claim;

		p.limits_future = rows[i].limited;
		p.window_seconds = rows[i].window;
		assert_int_equal(wallet_sign_login(&key, NOW + rows[i].ahead, password), 0);
		assert_int_equal(check_with(&p, USER, password, &claim), rows[i].reason);
	}
}

/* ---- properties ---- */

static const struct {
	enum ecdsa_format format;
	const char *text;
} proofs[] = {
	{ECDSA_FORMAT_BOUND, SAMPLE_WITH_ROLE}, {ECDSA_FORMAT_TYPED, SAMPLE_WITH_ROLE}, {ECDSA_FORMAT_SIWE, SIWE},
};

/* In role login nobody claims a wallet; a flipped bit may then name somebody else, but never him. */
static void expect_no_entry(const char *password, const char *what, size_t bit)
{
	struct wallet_policy by_role = policy;
	struct wallet_address owner;
	struct ecdsa_claim claim;

	assert_true(wallet_address_parse(USER, WALLET_TEXT_LEN, &owner));
	if (check_with(&policy, USER, password, &claim) == ECDSA_OK)
		fail_msg("%s, bit %zu: accepted", what, bit);
	by_role.role_login = true;
	if (check_with(&by_role, "analyst", password, &claim) == ECDSA_OK &&
	    memcmp(claim.signer.bytes, owner.bytes, sizeof(owner.bytes)) == 0)
		fail_msg("%s, bit %zu: recovers the owner", what, bit);
}

static void no_flipped_bit_of_a_signature_passes(void **state)
{
	char password[WALLET_PASSWORD_MAX], bent[WALLET_PASSWORD_MAX];
	uint8_t good[65], compact[64], bad[65];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(proofs); i++) {
		char *digits;

		sign(KEY, proofs[i].format, span_str(proofs[i].text), password);
		digits = strrchr(password, ':') + 3;
		assert_true(hex_decode(digits, good, sizeof(good)));
		memcpy(compact, good, sizeof(compact));
		compact[32] |= (uint8_t)((good[64] - 27) << 7);
		for (size_t bytes = 64; bytes <= 65; bytes++) {
			struct ecdsa_claim claim;

			strcpy(bent, password);
			hex_encode(bytes == 65 ? good : compact, bytes, bent + (digits - password));
			assert_int_equal(check_with(&policy, USER, bent, &claim), ECDSA_OK);
			for (size_t bit = 0; bit < bytes * 8; bit++) {
				memcpy(bad, bytes == 65 ? good : compact, bytes);
				bad[bit / 8] ^= (uint8_t)(1u << bit % 8);
				hex_encode(bad, bytes, bent + (digits - password));
				expect_no_entry(bent, ecdsa_format_word(proofs[i].format), bit);
			}
		}
	}
}

static void no_flipped_bit_of_a_message_passes(void **state)
{
	char password[WALLET_PASSWORD_MAX], bent[WALLET_PASSWORD_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(proofs); i++) {
		size_t len = strlen(proofs[i].text);
		const char *signature;

		sign(KEY, proofs[i].format, span_str(proofs[i].text), password);
		signature = strrchr(password, ':');
		for (size_t bit = 0; bit < len * 8; bit++) {
			char text[SIWE_TEXT_MAX];
			struct buf b;

			memcpy(text, proofs[i].text, len);
			text[bit / 8] = (char)(text[bit / 8] ^ (1 << bit % 8));
			buf_init(&b);
			buf_printf(&b, "%s:", ecdsa_format_word(proofs[i].format));
			base64url_put(&b, text, len);
			buf_put_str(&b, signature);
			assert_true(buf_ok(&b));
			memcpy(bent, buf_data(&b), buf_len(&b));
			buf_free(&b);
			expect_no_entry(bent, ecdsa_format_word(proofs[i].format), bit);
		}
	}
}

/* Of the whole password: what is still accepted is the same proof, with a digit of the signature in the other case. */
static void no_flipped_bit_of_a_password_is_another_proof(void **state)
{
	char password[WALLET_PASSWORD_MAX];
	size_t accepted = 0;

	(void)state;
	for (size_t i = 0; i <= ARRAY_LEN(proofs); i++) {
		const char *what = i < ARRAY_LEN(proofs) ? ecdsa_format_word(proofs[i].format) : "timestamp";
		struct ecdsa_claim whole, claim;
		const char *digits;

		if (i < ARRAY_LEN(proofs))
			sign(KEY, proofs[i].format, span_str(proofs[i].text), password);
		else
			sign_time(KEY, NOW, password);
		digits = strrchr(password, ':') + 3;
		assert_int_equal(check_with(&policy, USER, password, &whole), ECDSA_OK);
		for (size_t bit = 0, bits = strlen(password) * 8; bit < bits; bit++) {
			char *at = password + bit / 8, was = *at;

			*at = (char)(was ^ (1 << bit % 8));
			if (check_with(&policy, USER, password, &claim) == ECDSA_OK) {
				bool is_other_case = at >= digits && (was | 0x20) == (*at | 0x20) && (was | 0x20) >= 'a';

				if (!is_other_case || memcmp(claim.digest, whole.digest, sizeof(whole.digest)) != 0)
					fail_msg("%s, bit %zu: accepted", what, bit);
				accepted++;
			}
			*at = was;
		}
	}
	/* About 3 of 8 digits are letters: the test would notice if it tested nothing. */
	assert_true(accepted > 4 * 130 / 8);
}

/* Every byte in place of every other, and every length: one spelling only. */
static void no_changed_byte_is_the_same_message(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(proofs); i++) {
		bool is_siwe = proofs[i].format == ECDSA_FORMAT_SIWE;
		size_t len = strlen(proofs[i].text);
		char text[SIWE_TEXT_MAX], again[SIWE_TEXT_MAX];

		for (size_t at = 0; at <= len; at++)
			for (int byte = 0; byte < 256; byte++) {
				struct siwe_message siwe;
				struct bound_message bound;
				size_t n = 0;

				memcpy(text, proofs[i].text, len);
				text[at] = (char)byte;
				/* At the end it is a byte more. */
				if (is_siwe && siwe_parse(span_of(text, at == len ? len + 1 : len), &siwe))
					n = siwe_write(&siwe, again, sizeof(again));
				else if (!is_siwe && bound_parse(span_of(text, at == len ? len + 1 : len), &bound))
					n = bound_write(&bound, again);
				if (n && (n != (at == len ? len + 1 : len) || memcmp(text, again, n) != 0))
					fail_msg("%s: byte %d at %zu is lost", ecdsa_format_word(proofs[i].format), byte, at);
			}
		for (size_t cut = 0; cut < len; cut++) {
			struct siwe_message siwe;
			struct bound_message bound;

			if (is_siwe)
				siwe_parse(span_of(proofs[i].text, cut), &siwe);
			else
				bound_parse(span_of(proofs[i].text, cut), &bound);
		}
	}
}

static void mistakes_with_messages_are_recognised(void **state)
{
	static const struct {
		enum ecdsa_format said;
		const char *text;
		int how; /* 0: as it should be; 1: LF behind; 2: typed as text and the other way round; 3: no prefix */
		const char *word;
	} rows[] = {
		{ECDSA_FORMAT_BOUND, SAMPLE, 1, "line feed"},	 {ECDSA_FORMAT_SIWE, SIWE, 1, "line feed"},
		{ECDSA_FORMAT_BOUND, SAMPLE, 2, "format typed"}, {ECDSA_FORMAT_TYPED, SAMPLE, 2, "format bound"},
		{ECDSA_FORMAT_BOUND, SAMPLE, 3, "EIP-191"},	 {ECDSA_FORMAT_SIWE, SIWE, 3, "EIP-191"},
		{ECDSA_FORMAT_BOUND, SAMPLE, 0, NULL},		 {ECDSA_FORMAT_TYPED, SAMPLE, 0, NULL},
	};
	struct wallet_key key = key_of(KEY);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char password[WALLET_PASSWORD_MAX], line[SIWE_TEXT_MAX];
		struct bound_message m;
		uint8_t hash[32], signature[65];
		struct ecdsa_claim claim;
		const char *text;

		sign(KEY, rows[i].said, span_str(rows[i].text), password);
		switch (rows[i].how) {
		case 1:
			sprintf(line, "%s\n", rows[i].text);
			eip191_hash(line, strlen(line), hash);
			break;
		case 2:
			assert_true(bound_parse(span_str(rows[i].text), &m));
			if (rows[i].said == ECDSA_FORMAT_BOUND)
				typed_digest(&m, hash);
			else
				eip191_hash(rows[i].text, strlen(rows[i].text), hash);
			break;
		case 3:
			keccak256(rows[i].text, strlen(rows[i].text), hash);
			break;
		}
		if (rows[i].how) {
			assert_int_equal(wallet_sign_hash(&key, hash, signature), 0);
			hex_encode(signature, sizeof(signature), strrchr(password, ':') + 3);
			assert_int_equal(check_with(&policy, USER, password, &claim), ECDSA_WRONG_SIGNER);
		}
		text = ecdsa_explain_wrong_signer(USER, password, strlen(password));
		if (!rows[i].word)
			assert_null(text);
		else if (!text || !strstr(text, rows[i].word))
			fail_msg("row %zu: %s", i, text ? text : "not recognised");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(base64_takes_either_alphabet_and_no_second_spelling),
		cmocka_unit_test(base64_keeps_to_its_room),
		cmocka_unit_test(dates_are_instants),
		cmocka_unit_test(a_bound_message_has_one_spelling),
		cmocka_unit_test(a_bound_message_is_read_as_it_says),
		cmocka_unit_test(the_constants_of_typed_data_are_what_they_say),
		cmocka_unit_test(a_siwe_message_has_the_grammar_of_the_eip),
		cmocka_unit_test(a_siwe_message_ends_at_2048_bytes),
		cmocka_unit_test(domains_are_hosts_with_a_port),
		cmocka_unit_test(a_database_uri_names_server_database_and_role),
		cmocka_unit_test(each_fault_of_a_message_has_its_reason),
		cmocka_unit_test(what_is_around_the_message_has_its_reason_too),
		cmocka_unit_test(a_format_that_is_not_listed_is_disabled),
		cmocka_unit_test(roles_are_those_of_the_uris_that_fit),
		cmocka_unit_test(policies_of_siwe_are_kept),
		cmocka_unit_test(in_role_login_the_message_names_the_signer),
		cmocka_unit_test(proofs_of_one_use_are_not_dated_ahead),
		cmocka_unit_test(no_flipped_bit_of_a_signature_passes),
		cmocka_unit_test(no_flipped_bit_of_a_message_passes),
		cmocka_unit_test(no_flipped_bit_of_a_password_is_another_proof),
		cmocka_unit_test(no_changed_byte_is_the_same_message),
		cmocka_unit_test(mistakes_with_messages_are_recognised),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
