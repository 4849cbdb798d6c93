/* Unit tests of Keccak-256 and the wallet room. Section numbers are those of ecdsa-login.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hex.h"
#include "lib/keccak.h"
#include "lib/util.h"
#include "wallet/check.h"
#include "wallet/claim.h"
#include "wallet/eip191.h"
#include "wallet/sign.h"

#define NOW 1750000000
#define USER "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
#define KEY "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
#define RS "7043095b22e39d516a46cc33a7c967ff57794320250201d1845ae5a90f9672a7" \
	   "2e66a21f72122abd8096a96d3ca1e42e55f032bf14f6b3acf723a9cc0e94c04d"
#define R_OF_RS "7043095b22e39d516a46cc33a7c967ff57794320250201d1845ae5a90f9672a7"
#define ZERO32 "0000000000000000000000000000000000000000000000000000000000000000"
#define N "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
#define HALF_N "7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0"
#define HALF_N_PLUS_1 "7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a1"
#define GOOD "1750000000:0x" RS "1b"

static const struct wallet_policy usual = {.formats = BIT(ECDSA_FORMAT_TIMESTAMP), .window_seconds = 300, .role_login = false};

static enum ecdsa_reason check(const char *user, const char *password)
{
	struct ecdsa_claim claim;

	return ecdsa_check(user, password, strlen(password), NOW, &usual, &claim);
}

static struct wallet_key key_of(const char *digits)
{
	struct wallet_key key;

	assert_true(hex_decode(digits, key.bytes, sizeof(key.bytes)));
	return key;
}

/* ---- hashes: section 6 ---- */

static void keccak_gives_the_published_hashes_however_the_bytes_come(void **state)
{
	static const struct {
		size_t letters;	  /* this many times 'a', where text is NULL */
		const char *text;
		const char *hash;
	} rows[] = {
		{0, "", "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"},
		{0, "abc", "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"},
		{135, NULL, "34367dc248bbd832f4e3e69dfaac2f92638bd0bbd18f2912ba4ef454919cf446"},
		{136, NULL, "a6c4d403279fe3e0af03729caada8374b5ca54d8065329a3ebcaeb4b60aa386e"},
		{137, NULL, "d869f639c7046b4929fc92a4d988a8b22c55fbadb802c0c66ebcd484f1915f39"},
		{272, NULL, "cf7fcd4f705ee749930d19ca84561a9bf62516bd90a471545fa2f49fdc7e63c8"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char bytes[272], hex[65];
		uint8_t hash[32];
		size_t len = rows[i].text ? strlen(rows[i].text) : rows[i].letters;

		memset(bytes, 'a', sizeof(bytes));
		if (rows[i].text)
			memcpy(bytes, rows[i].text, len);
		keccak256(bytes, len, hash);
		hex_encode(hash, 32, hex);
		assert_string_equal(hex, rows[i].hash);
		for (size_t step = 1; step < 140; step += 3) {
			struct keccak256 k;

			keccak256_init(&k);
			for (size_t at = 0; at < len; at += step)
				keccak256_add(&k, bytes + at, len - at < step ? len - at : step);
			keccak256_end(&k, hash);
			hex_encode(hash, 32, hex);
			assert_string_equal(hex, rows[i].hash);
		}
	}
}

static void keccak_is_not_sha3(void **state)
{
	uint8_t hash[32];
	char hex[65];

	(void)state;
	keccak256("", 0, hash);
	hex_encode(hash, 32, hex);
	assert_string_not_equal(hex, "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a");
}

static void eip191_gives_the_published_hashes(void **state)
{
	static const struct {
		const char *text, *hash;
	} rows[] = {
		{"1700000000", "af6281224cd6dd4a18d476c0ce7ea72d5fe4805327b7aa1b901f73a2b1d9b87c"},
		{"1750000000", "ee3967763116087d0c91bfd244be7afef6c855a9e05873f0c55daf3a63b06444"},
		{"01750000000", "92ce79735e4abfef5636071e2df2a3a4a80005def252326b9aa02b92e2b6ff15"},
		{"7", "cc324079ce165f7c477e4296ff9832f1e76911037d6fb064a3f911f9c4ebd460"},
		{"Hello World", "a1de988600a42c4b4ab089b619297c17d53cffae5d5120d82d8a92d0bb3b78f2"},
		{"It's a small(er) world", "ac33ec93c768b669bdb542a85baebaf7342d35fc9ad8fc0bbc1b852c6f8bf021"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint8_t hash[32];
		char hex[65];

		eip191_hash(rows[i].text, strlen(rows[i].text), hash);
		hex_encode(hash, 32, hex);
		assert_string_equal(hex, rows[i].hash);
	}
}

/* ---- addresses: section 3 ---- */

static const char *const well_spelled[] = {
	"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
	"0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB", "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
	"0x52908400098527886E0F7030069857D2E4169EE7", "0xde709f2102306220921060314715629080e2fb77",
	"0x4b42346Dc086c2Df0183c39CC5D9bC674329E403", "0x00d9b7f2683a84B126730bd990Bd622d1EB6e169",
};

static void addresses_are_spelled_as_eip55_says(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(well_spelled); i++) {
		struct wallet_address a, b;
		char text[WALLET_TEXT_LEN + 1];

		assert_true(wallet_address_parse(well_spelled[i], WALLET_TEXT_LEN, &a));
		wallet_address_eip55(&a, text);
		assert_string_equal(text, well_spelled[i]);
		wallet_address_lower(&a, text);
		assert_true(strpbrk(text, "ABCDEF") == NULL);
		assert_true(wallet_address_parse(text, WALLET_TEXT_LEN, &b));
		assert_memory_equal(a.bytes, b.bytes, sizeof(a.bytes));
	}
}

static void configuration_wants_right_checksums_or_none(void **state)
{
	struct wallet_address a;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(well_spelled); i++)
		assert_int_equal(wallet_address_parse_strict(well_spelled[i], WALLET_TEXT_LEN, &a), ADDRESS_OK);
	assert_int_equal(wallet_address_parse_strict("0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266", 42, &a), ADDRESS_OK);
	assert_int_equal(wallet_address_parse_strict("0xF39FD6E51AAD88F6F4CE6AB8827279CFFFB92266", 42, &a), ADDRESS_OK);
	assert_int_equal(wallet_address_parse_strict("0x0000000000000000000000000000000000000001", 42, &a), ADDRESS_OK);
	memset(&a, 0, sizeof(a));
	assert_int_equal(wallet_address_parse_strict("0xF39Fd6e51aad88F6F4ce6aB8827279cffFb92266", 42, &a),
			 ADDRESS_BAD_CHECKSUM);
	assert_int_equal(a.bytes[0], 0xf3);
	assert_int_equal(wallet_address_parse_strict(USER "0", 43, &a), ADDRESS_MALFORMED);
}

static void a_wallet_name_has_one_shape(void **state)
{
	static const char *const rows[] = {
		"",
		"0x",
		"alice.eth",
		"f39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
		"0Xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
		"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb9226",
		"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb922660",
		"0xg39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
		"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb9226 ",
		" 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
		"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\n",
	};
	struct wallet_address a;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_false(wallet_address_parse(rows[i], strlen(rows[i]), &a));
		assert_int_equal(check(rows[i], GOOD), ECDSA_ADDRESS_MALFORMED);
	}
	/* At login, case never matters, not even a wrong checksum. */
	assert_int_equal(check("0xF39fd6e51aad88f6f4ce6ab8827279cfffb92266", GOOD), ECDSA_OK);
}

/* ---- the check: sections 4 to 9 ---- */

static void each_fault_has_its_reason(void **state)
{
	static const struct {
		const char *what, *password;
		enum ecdsa_reason reason;
	} rows[] = {
		{"a good one", GOOD, ECDSA_OK},
		{"without 0x", "1750000000:" RS "1b", ECDSA_OK},
		{"compact", "1750000000:0x" RS, ECDSA_OK},
		{"nothing", "", ECDSA_PASSWORD_EMPTY},
		{"a word", "secret", ECDSA_FORMAT_UNKNOWN},
		{"an unknown tag", "jwt:0x" RS "1b", ECDSA_FORMAT_UNKNOWN},
		{"a tag in upper case", "SIWE:bWVzc2FnZQ:0x" RS "1b", ECDSA_FORMAT_UNKNOWN},
		{"bound, which is not enabled", "bound:bWVzc2FnZQ:0x" RS "1b", ECDSA_FORMAT_DISABLED},
		{"siwe, which is not enabled", "siwe:bWVzc2FnZQ:0x" RS "1b", ECDSA_FORMAT_DISABLED},
		{"typed, which is not enabled", "typed:bWVzc2FnZQ:0x" RS "1b", ECDSA_FORMAT_DISABLED},
		{"no time", ":0x" RS "1b", ECDSA_TIMESTAMP_MALFORMED},
		{"leading zero", "01750000000:0x" RS "1b", ECDSA_TIMESTAMP_MALFORMED},
		{"two zeros", "00:0x" RS "1b", ECDSA_TIMESTAMP_MALFORMED},
		{"plus", "+1750000000:0x" RS "1b", ECDSA_TIMESTAMP_MALFORMED},
		{"minus", "-1750000000:0x" RS "1b", ECDSA_TIMESTAMP_MALFORMED},
		{"space before", " 1750000000:0x" RS "1b", ECDSA_TIMESTAMP_MALFORMED},
		{"space behind", "1750000000 :0x" RS "1b", ECDSA_TIMESTAMP_MALFORMED},
		{"a point", "1750000000.0:0x" RS "1b", ECDSA_TIMESTAMP_MALFORMED},
		{"an exponent", "175e7:0x" RS "1b", ECDSA_TIMESTAMP_MALFORMED},
		{"hexadecimal", "0x684ee180:0x" RS "1b", ECDSA_TIMESTAMP_MALFORMED},
		{"twenty digits", "18446744075459551616:0x" RS "1b", ECDSA_TIMESTAMP_MALFORMED},
		{"2^63", "9223372036854775808:0x" RS "1b", ECDSA_TIMESTAMP_OVERFLOW},
		{"all nines", "9999999999999999999:0x" RS "1b", ECDSA_TIMESTAMP_OVERFLOW},
		{"2^63-1 is a number", "9223372036854775807:0x" RS "1b", ECDSA_FROM_FUTURE},
		{"zero is a number", "0:0x" RS "1b", ECDSA_EXPIRED},
		{"no colon", "1750000000", ECDSA_SIGNATURE_LENGTH},
		{"no signature", "1750000000:", ECDSA_SIGNATURE_LENGTH},
		{"129 digits", "1750000000:0x" RS "1", ECDSA_SIGNATURE_LENGTH},
		{"66 bytes", "1750000000:0x" RS "1b00", ECDSA_SIGNATURE_LENGTH},
		{"upper-case 0X", "1750000000:0X" RS "1b", ECDSA_SIGNATURE_LENGTH},
		{"0x twice", "1750000000:0x0x" RS "1b", ECDSA_SIGNATURE_LENGTH},
		{"a line feed", GOOD "\n", ECDSA_SIGNATURE_LENGTH},
		{"a third field", GOOD ":", ECDSA_SIGNATURE_LENGTH},
		{"not hex", "1750000000:0x" RS "1g", ECDSA_SIGNATURE_NOT_HEX},
		{"a space in it", "1750000000:0x" RS " 1", ECDSA_SIGNATURE_NOT_HEX},
		{"v of a transaction", "1750000000:0x" RS "25", ECDSA_V_OUT_OF_RANGE},
		{"r = 0", "1750000000:0x" ZERO32 R_OF_RS "1b", ECDSA_SCALAR_OUT_OF_RANGE},
		{"s = 0", "1750000000:0x" R_OF_RS ZERO32 "1b", ECDSA_SCALAR_OUT_OF_RANGE},
		{"s = 0, compact, parity 1", "1750000000:0x" R_OF_RS "80" "00000000000000000000000000000000000000000000"
		 "000000000000000000", ECDSA_SCALAR_OUT_OF_RANGE},
		{"r = n", "1750000000:0x" N HALF_N "1b", ECDSA_SCALAR_OUT_OF_RANGE},
		{"s = n", "1750000000:0x" R_OF_RS N "1b", ECDSA_SCALAR_OUT_OF_RANGE},
		{"the largest low s", "1750000000:0x" R_OF_RS HALF_N "1b", ECDSA_WRONG_SIGNER},
		{"the smallest high s", "1750000000:0x" R_OF_RS HALF_N_PLUS_1 "1b", ECDSA_HIGH_S},
		{"the smallest high s, compact", "1750000000:0x" R_OF_RS HALF_N_PLUS_1, ECDSA_HIGH_S},
		{"another second", "1750000001:0x" RS "1b", ECDSA_WRONG_SIGNER},
		{"milliseconds", "1750000000123:0x" RS "1b", ECDSA_TIMESTAMP_MILLISECONDS},
		{"r on no point", "1750000000:0x000000000000000000000000000000000000000000000000000000000000000"
		 "5" HALF_N "1b", ECDSA_RECOVERY_FAILED},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		enum ecdsa_reason reason = check(USER, rows[i].password);

		if (reason != rows[i].reason)
			fail_msg("%s: %s, expected %s", rows[i].what, ecdsa_reason_word(reason),
				 ecdsa_reason_word(rows[i].reason));
	}
}

static void packet_faults_and_lengths_are_seen_before_the_text(void **state)
{
	static char big[WALLET_PASSWORD_MAX + 1];
	struct ecdsa_claim claim;
	struct wallet_policy none = {.formats = 0, .window_seconds = 300, .role_login = false};

	(void)state;
	memset(big, '1', sizeof(big));
	/* With its NUL the first is a body of 4096 bytes, the second of 4097. */
	assert_int_equal(ecdsa_check(USER, big, WALLET_PASSWORD_MAX - 1, NOW, &usual, &claim),
			 ECDSA_TIMESTAMP_MALFORMED);
	assert_int_equal(ecdsa_check(USER, big, WALLET_PASSWORD_MAX, NOW, &usual, &claim), ECDSA_PASSWORD_TOO_LONG);
	assert_int_equal(ecdsa_check(USER, GOOD, strlen(GOOD) + 1, NOW, &usual, &claim), ECDSA_PACKET_MALFORMED);
	assert_int_equal(ecdsa_check(USER, "", 1, NOW, &usual, &claim), ECDSA_PACKET_MALFORMED);
	assert_int_equal(ecdsa_check(USER, GOOD, strlen(GOOD), NOW, &none, &claim), ECDSA_FORMAT_DISABLED);
}

static void the_window_is_inclusive_on_both_sides(void **state)
{
	static const struct {
		int64_t now, window;
		enum ecdsa_reason reason;
	} rows[] = {
		{NOW - 301, 300, ECDSA_FROM_FUTURE}, {NOW - 300, 300, ECDSA_OK}, {NOW + 300, 300, ECDSA_OK},
		{NOW + 301, 300, ECDSA_EXPIRED},     {NOW - 1, 0, ECDSA_FROM_FUTURE}, {NOW, 0, ECDSA_OK},
		{NOW + 1, 0, ECDSA_EXPIRED},	     {INT64_MIN, 300, ECDSA_FROM_FUTURE},
		{INT64_MAX, 300, ECDSA_EXPIRED},     {INT64_MIN, INT64_MAX, ECDSA_FROM_FUTURE},
		{INT64_MAX, INT64_MAX, ECDSA_OK},    {NOW, -1, ECDSA_FROM_FUTURE},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct wallet_policy policy = {.formats = BIT(ECDSA_FORMAT_TIMESTAMP), .window_seconds = rows[i].window, .role_login = false};
		struct ecdsa_claim claim;
		enum ecdsa_reason reason = ecdsa_check(USER, GOOD, strlen(GOOD), rows[i].now, &policy, &claim);

		assert_int_equal(reason, rows[i].reason);
		assert_true(claim.has_time);
		assert_int_equal(claim.issued, NOW);
		if (rows[i].window == 300)
			assert_int_equal(claim.expires, NOW + 301);
		if (rows[i].window == INT64_MAX)
			assert_true(claim.expires == INT64_MAX);
	}
}

static void a_claim_says_how_far_the_check_got(void **state)
{
	struct ecdsa_claim claim;
	const char *late = "1750000000:0x" RS;
	char text[WALLET_TEXT_LEN + 1];

	(void)state;
	assert_int_equal(ecdsa_check("bob", GOOD, strlen(GOOD), NOW, &usual, &claim), ECDSA_ADDRESS_MALFORMED);
	assert_false(claim.has_claimed || claim.has_time || claim.has_signer);
	assert_int_equal(ecdsa_check(USER, "x", 1, NOW, &usual, &claim), ECDSA_FORMAT_UNKNOWN);
	assert_true(claim.has_claimed && !claim.has_time && !claim.has_signer);
	assert_int_equal(ecdsa_check(USER, late, strlen(late), NOW + 999, &usual, &claim), ECDSA_EXPIRED);
	assert_true(claim.has_claimed && claim.has_time && !claim.has_signer);
	assert_int_equal(ecdsa_check(USER, GOOD, strlen(GOOD), NOW, &usual, &claim), ECDSA_OK);
	assert_true(claim.has_claimed && claim.has_time && claim.has_signer);
	wallet_address_eip55(&claim.signer, text);
	assert_string_equal(text, USER);
	assert_int_equal(claim.expires, NOW + 301);
}

static void of_all_v_exactly_two_pass_for_either_parity(void **state)
{
	static const struct {
		const char *password; /* without v */
		const uint8_t good[2];
	} rows[] = {
		{"1749999960:0x1cb0fb0ccc57ec188d04f8a769f3247d3a89bb61bb48140d1749c77f202841b2"
		 "760e59814a8f250f1839a2aa0d5c7b0cb8206bfe13ffab735ab421582aeca73b", {0, 27}},
		{"1749999961:0x8c2e3f16aff7258704e03688a8e149c225caf227bd0e7a82e4af4b4b87176a39"
		 "04409da0355ef44eb7f1c61c37c6995002a4a9fea835c281d8821ddea24688e3", {1, 28}},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		for (unsigned v = 0; v < 256; v++) {
			char password[WALLET_LOGIN_LEN + 1];
			enum ecdsa_reason reason;

			snprintf(password, sizeof(password), "%s%02x", rows[i].password, v);
			reason = check(USER, password);
			if (v == rows[i].good[0] || v == rows[i].good[1])
				assert_int_equal(reason, ECDSA_OK);
			else
				assert_int_equal(reason, v == 0 || v == 1 || v == 27 || v == 28 ?
							 ECDSA_WRONG_SIGNER : ECDSA_V_OUT_OF_RANGE);
		}
}

static void no_flipped_bit_of_a_signature_passes(void **state)
{
	uint8_t good[65], bad[65];

	(void)state;
	assert_true(hex_decode(RS "1b", good, sizeof(good)));
	for (size_t bytes = 64; bytes <= 65; bytes++)
		for (size_t bit = 0; bit < bytes * 8; bit++) {
			char password[WALLET_LOGIN_LEN + 1] = "1750000000:0x";

			memcpy(bad, good, sizeof(bad));
			bad[bit / 8] ^= (uint8_t)(1u << bit % 8);
			hex_encode(bad, bytes, password + strlen(password));
			assert_int_not_equal(check(USER, password), ECDSA_OK);
		}
}

static void no_changed_digit_of_the_time_passes(void **state)
{
	/* A window that age alone never fails, so that the signature has to. */
	const struct wallet_policy ever = {.formats = BIT(ECDSA_FORMAT_TIMESTAMP), .window_seconds = INT64_MAX, .role_login = false};

	(void)state;
	for (size_t at = 0; at < 10; at++)
		for (char digit = '0'; digit <= '9'; digit++) {
			char password[] = GOOD;
			struct ecdsa_claim claim;
			enum ecdsa_reason reason;

			password[at] = digit;
			reason = ecdsa_check(USER, password, strlen(password), NOW, &ever, &claim);
			if (GOOD[at] == digit)
				assert_int_equal(reason, ECDSA_OK);
			else
				assert_int_not_equal(reason, ECDSA_OK);
		}
}

static void common_mistakes_are_recognised(void **state)
{
	static const struct {
		const char *password, *expected; /* a word of the explanation; NULL: none */
	} rows[] = {
		{"1750000000:0x8b0eb8914cad8a4ca5715933c9cb9472a1024cdeafac14003d77320632b51b6e"
		 "625a41ebfad7379106882fda2286ca36cfc0a87e6ed8aecfdd5e836f5e1c72511c", "line feed"},
		{"1750000000:0xca9ced70a4e45333f4d05b5fea9be22ce44a9cca513d0d7514697595dc234cf0"
		 "346ede57b04dcd2c25538f8232cc613948321531185d9c10bdf0c896115d4fff1c", "hexadecimal"},
		{"1750000000:0x1a1124cc5f899e741eac6d26839213a2626f4feae0357b3fcf14678e54a6d7d1"
		 "46036bf2a9dc189f4b2499857d300000790d8afa813ace750ac8e8b0453e9bc01c", "hash of the"},
		{"1750000000:0x71d0e5c015768bd00d73527cf7ccdfa6bb95b32a05f987018bfafd41bad6cce3"
		 "639fed9971dc01feb1e5da254390ce1b7fbebe31f4c217e3e259cb85bc5bf5c51c", "EIP-191"},
		{"1750000000:0x1cf7ed1a3b6bd5fef54cd65cb2f9e50f4fefefbd3497db565cec5884feb391f4"
		 "06aea18fc8bf0b4ac6ad35f142aae453ce0f786170458998ac289c587c01abcd1b", NULL},
		{"1750000000:0xeb9c0ee97444a494a334eaeddbfcd61fda5db2973685c644f1f786e258e401b8"
		 "4ffcb036ff2c49b31172f50cc0f7467b34a35efcb18272b24b5350b013ec2eef1b", NULL},
		{GOOD, NULL},
		{"", NULL},
		{"1750000000", NULL},
		{"1750000000:0x" R_OF_RS HALF_N_PLUS_1 "1b", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *text = ecdsa_explain_wrong_signer(USER, rows[i].password, strlen(rows[i].password));

		if (!rows[i].expected) {
			assert_null(text);
			continue;
		}
		assert_int_equal(check(USER, rows[i].password), ECDSA_WRONG_SIGNER);
		assert_non_null(text);
		assert_non_null(strstr(text, rows[i].expected));
	}
	assert_null(ecdsa_explain_wrong_signer("bob", GOOD, strlen(GOOD)));
}

static void odd_counts_of_digits_are_explained_too(void **state)
{
	struct wallet_key key = key_of(KEY);
	static const uint8_t as_hex[] = {0x01, 0x23};
	uint8_t hash[32], signature[65];
	char password[WALLET_LOGIN_LEN + 1] = "123:0x";
	const char *text;

	(void)state;
	eip191_hash(as_hex, sizeof(as_hex), hash);
	assert_int_equal(wallet_sign_hash(&key, hash, signature), 0);
	hex_encode(signature, sizeof(signature), password + strlen(password));
	text = ecdsa_explain_wrong_signer(USER, password, strlen(password));
	assert_non_null(text);
	assert_non_null(strstr(text, "hexadecimal"));
}

static void a_fingerprint_names_the_grant_and_not_its_spelling(void **state)
{
	static const char *const spellings[] = {GOOD, "1750000000:" RS "1b", "1750000000:0x" RS "00", "1750000000:" RS};
	struct wallet_key key = key_of(KEY);
	struct ecdsa_claim claim;
	char first[17], again[17], other[WALLET_LOGIN_LEN + 1];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(spellings); i++) {
		assert_int_equal(ecdsa_check(USER, spellings[i], strlen(spellings[i]), NOW, &usual, &claim), ECDSA_OK);
		ecdsa_proof_fingerprint(&claim, i ? again : first);
		if (i)
			assert_string_equal(again, first);
	}
	assert_string_equal(first, "add8a0b3daa3778e");
	assert_int_equal(wallet_sign_login(&key, NOW + 1, other), 0);
	assert_int_equal(ecdsa_check(USER, other, strlen(other), NOW, &usual, &claim), ECDSA_OK);
	ecdsa_proof_fingerprint(&claim, again);
	assert_string_not_equal(again, first);
	assert_int_equal(ecdsa_check(USER, "x", 1, NOW, &usual, &claim), ECDSA_FORMAT_UNKNOWN);
	ecdsa_proof_fingerprint(&claim, again);
	assert_string_equal(again, "-");
}

static void reasons_have_their_words(void **state)
{
	(void)state;
	assert_string_equal(ecdsa_reason_word(ECDSA_OK), "ok");
	assert_string_equal(ecdsa_reason_word(ECDSA_HIGH_S), "high_s");
	assert_string_equal(ecdsa_reason_word(ECDSA_NOT_ALLOWED), "not_allowed");
}

/* ---- signing ---- */

static void keys_have_the_published_addresses(void **state)
{
	static const struct {
		const char *key, *address;
	} rows[] = {
		{KEY, USER},
		{"e6cf511748fb499a7fae4e12262f7bdaa350ae6aa63bca4529d2d6e844398130",
		 "0xa8e9e6A57CcB930561c2923c303B3b4bd9b977a0"},
		{"edf6f80ca49736da551afbbcdad2b3622ee2acb2cdb2bdf7a1a62e070b31071a",
		 "0x4b42346Dc086c2Df0183c39CC5D9bC674329E403"},
		{"1234567890123456789012345678901234567890123456789012345678901234",
		 "0x2e988A386a799F506693793c6A5AF6B54dfAaBfB"},
		{"fd1f9180ce9045781d39435d3f12e0f39cf94863afe2db86949dad85f7ab692a",
		 "0x00d9b7f2683a84B126730bd990Bd622d1EB6e169"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct wallet_key key = key_of(rows[i].key);
		struct wallet_address a;
		char text[WALLET_TEXT_LEN + 1];

		assert_int_equal(wallet_key_address(&key, &a), 0);
		wallet_address_eip55(&a, text);
		assert_string_equal(text, rows[i].address);
	}
}

static void signatures_are_the_bytes_that_eip2098_publishes(void **state)
{
	static const struct {
		const char *text, *signature;
	} rows[] = {
		{"Hello World",
		 "68a020a209d3d56c46f38cc50a33f704f4a9a10a59377f8dd762ac66910e9b90"
		 "7e865ad05c4035ab5792787d4a0297a43617ae897930a6fe4d822b8faea520641b"},
		{"It's a small(er) world",
		 "9328da16089fcba9bececa81663203989f2df5fe1faa6291a45381c81bd17f76"
		 "139c6d6b623b42da56557e5e734a43dc83345ddfadec52cbe24d0cc64f5507931c"},
	};
	struct wallet_key key = key_of("1234567890123456789012345678901234567890123456789012345678901234");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint8_t hash[32], signature[65];
		char hex[131];

		eip191_hash(rows[i].text, strlen(rows[i].text), hash);
		assert_int_equal(wallet_sign_hash(&key, hash, signature), 0);
		hex_encode(signature, sizeof(signature), hex);
		assert_string_equal(hex, rows[i].signature);
	}
}

static void what_is_signed_here_is_accepted_here(void **state)
{
	struct wallet_key key;
	struct wallet_address a;
	char password[WALLET_LOGIN_LEN + 1], user[WALLET_TEXT_LEN + 1];

	(void)state;
	key = key_of(KEY);
	assert_int_equal(wallet_sign_login(&key, NOW, password), 0);
	assert_string_equal(password, GOOD);
	assert_int_equal(wallet_sign_login(&key, INT64_MAX, password), 0);
	assert_int_equal(strlen(password), WALLET_LOGIN_LEN);
	assert_int_equal(wallet_sign_login(&key, -1, password), -1);
	for (int i = 0; i < 20; i++) {
		wallet_key_make(&key);
		assert_int_equal(wallet_key_address(&key, &a), 0);
		wallet_address_lower(&a, user);
		assert_int_equal(wallet_sign_login(&key, NOW + i, password), 0);
		assert_int_equal(check(user, password), ECDSA_OK);
	}
}

static void keys_outside_the_curve_are_refused(void **state)
{
	static const struct {
		const char *key;
		bool valid;
	} rows[] = {
		{ZERO32, false},
		{N, false},
		{"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", false},
		{"0000000000000000000000000000000000000000000000000000000000000001", true},
		{"fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364140", true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct wallet_key key = key_of(rows[i].key);
		struct wallet_address a;
		uint8_t signature[65];
		char password[WALLET_LOGIN_LEN + 1];

		assert_int_equal(wallet_key_is_valid(&key), rows[i].valid);
		assert_int_equal(wallet_key_address(&key, &a), rows[i].valid ? 0 : -1);
		assert_int_equal(wallet_sign_hash(&key, key.bytes, signature), rows[i].valid ? 0 : -1);
		assert_int_equal(wallet_sign_login(&key, NOW, password), rows[i].valid ? 0 : -1);
		wallet_key_wipe(&key);
		assert_false(wallet_key_is_valid(&key));
	}
}

/* ---- the signed claim: section 20 ---- */

static void a_claim_is_signed_as_it_reads(void **state)
{
	uint8_t key[CLAIM_KEY_BYTES];
	struct wallet_address a;
	struct buf b;

	(void)state;
	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)i;
	assert_true(wallet_address_parse(USER, WALLET_TEXT_LEN, &a));
	buf_init(&b);
	buf_put_text(&b, "in front ");
	claim_put(&b, key, &a, "va|ult", UINT32_MAX, NOW + 300);
	assert_true(buf_ok(&b));
	/* By Python's hmac. */
	assert_string_equal((const char *)buf_data(&b), "in front v1|0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266|va|ult|4294967295|1750000300|"
			    "406ba224f6cf000afaeba1f41d2fbdb967f811374950be0f7fe81a8d7fdf5bc0");
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keccak_gives_the_published_hashes_however_the_bytes_come),
		cmocka_unit_test(keccak_is_not_sha3),
		cmocka_unit_test(eip191_gives_the_published_hashes),
		cmocka_unit_test(addresses_are_spelled_as_eip55_says),
		cmocka_unit_test(configuration_wants_right_checksums_or_none),
		cmocka_unit_test(a_wallet_name_has_one_shape),
		cmocka_unit_test(each_fault_has_its_reason),
		cmocka_unit_test(packet_faults_and_lengths_are_seen_before_the_text),
		cmocka_unit_test(the_window_is_inclusive_on_both_sides),
		cmocka_unit_test(a_claim_says_how_far_the_check_got),
		cmocka_unit_test(of_all_v_exactly_two_pass_for_either_parity),
		cmocka_unit_test(no_flipped_bit_of_a_signature_passes),
		cmocka_unit_test(no_changed_digit_of_the_time_passes),
		cmocka_unit_test(common_mistakes_are_recognised),
		cmocka_unit_test(odd_counts_of_digits_are_explained_too),
		cmocka_unit_test(a_fingerprint_names_the_grant_and_not_its_spelling),
		cmocka_unit_test(reasons_have_their_words),
		cmocka_unit_test(keys_have_the_published_addresses),
		cmocka_unit_test(signatures_are_the_bytes_that_eip2098_publishes),
		cmocka_unit_test(what_is_signed_here_is_accepted_here),
		cmocka_unit_test(keys_outside_the_curve_are_refused),
		cmocka_unit_test(a_claim_is_signed_as_it_reads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
