/* Unit tests of src/auth: every method, both halves of SCRAM against each other, and hostile messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/auth.h"
#include "auth/saslprep.h"
#include "auth/scram.h"
#include "auth/secret.h"
#include "auth/server_auth.h"
#include "config/ident.h"
#include "lib/buf.h"
#include "proto/frame.h"
#include "wallet/check.h"

#define BYTES(text) text, sizeof(text) - 1

/* Of the password secret and the user bob; then the answer to the salt "salt". */
#define MD5_OF_SECRET "md521f3163f8f86fa10bdefbfbd502a8f06"
#define MD5_ANSWER "md5a472781a92412d8a652b427f4c5b7f3f"

static const uint8_t mock_nonce[32] = "thirty-two bytes of this process";

/* ---- an allocator that fails when told to (room.mk links with --wrap) ---- */

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);

static int fail_at; /* the allocation that fails, counting from 1; 0: none */

static bool fails_now(void)
{
	return fail_at > 0 && --fail_at == 0;
}

void *__wrap_malloc(size_t bytes)
{
	return fails_now() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
	return fails_now() ? NULL : __real_calloc(n, bytes);
}

/* ---- helpers ---- */

/* The body of the one message in b; its type must be as said. */
static struct span body_of(const struct buf *b, char type)
{
	struct frame f = {0};

	assert_true(buf_ok(b));
	assert_int_equal(frame_parse(buf_data(b), buf_len(b), 1 << 20, 0, &f), PROTO_OK);
	assert_int_equal(f.type, type);
	assert_int_equal(f.len, buf_len(b));
	return span_of(buf_data(b) + f.header_len, f.len - f.header_len);
}

static void stored_scram(const char *password, int iterations, struct buf *out)
{
	static const uint8_t salt[16] = "sixteen bytes...";
	uint8_t salted[32], client_key[32], stored_key[32], server_key[32];

	buf_init(out);
	assert_true(scram_salted_password(password, salt, 16, iterations, salted));
	assert_true(scram_client_key(salted, client_key) && scram_hash(client_key, 32, stored_key));
	assert_true(scram_server_key(salted, server_key));
	buf_printf(out, "SCRAM-SHA-256$%d:", iterations);
	base64_put(out, salt, 16);
	buf_put_u8(out, '$');
	base64_put(out, stored_key, 32);
	buf_put_u8(out, ':');
	base64_put(out, server_key, 32);
	buf_put_u8(out, 0);
}

static struct auth_input input(enum auth_kind kind, const char *secret)
{
	return (struct auth_input){
		.kind = kind, .user = "bob", .secret = secret, .scram_iterations = 64, .mock_nonce = mock_nonce};
}

static enum auth_verdict feed(struct auth *a, const void *body, size_t len, struct buf *out)
{
	uint8_t *exact = malloc(len + !len); /* its own block, for the address sanitizer */
	enum auth_verdict v;

	memcpy(exact, body, len);
	buf_clear(out);
	v = auth_message(a, span_of(exact, len), out);
	free(exact);
	if (v == AUTH_PENDING) {
		assert_int_equal(a->need, NEED_WORK);
		auth_work(a);
		v = auth_resume(a, out);
	}
	return v;
}

static int derivations; /* how often a server half asked for PBKDF2 */

static enum auth_verdict server_feed(struct server_auth *s, struct span body, struct buf *out)
{
	enum auth_verdict v;

	buf_clear(out);
	v = server_auth_message(s, body, out);
	if (v == AUTH_PENDING) {
		derivations++;
		server_auth_work(s);
		v = server_auth_resume(s, out);
	}
	return v;
}

/*
 * Our server half and our client half talk to each other until one has a last
 * word. a keeps its results; end it. True when both are content.
 */
static bool converse(const struct auth_input *in, struct auth *a, struct server_auth *s)
{
	static const uint8_t ok[4] = {0};
	struct buf down, up;
	enum auth_verdict v, c = AUTH_CONTINUE;

	buf_init(&down);
	buf_init(&up);
	memset(a, 0, sizeof(*a));
	v = auth_start(a, in, &down);
	while (v == AUTH_CONTINUE) {
		c = server_feed(s, body_of(&down, 'R'), &up);
		if (c != AUTH_CONTINUE)
			break;
		v = feed(a, body_of(&up, 'p').ptr, body_of(&up, 'p').len, &down);
	}
	if (v == AUTH_OK && buf_len(&down))
		c = server_feed(s, body_of(&down, 'R'), &up);
	if (v == AUTH_OK && c == AUTH_CONTINUE)
		c = server_feed(s, span_of(ok, 4), &up);
	buf_free(&down);
	buf_free(&up);
	server_auth_end(s);
	server_auth_end(s);
	return v == AUTH_OK && c == AUTH_OK;
}

static void refused(const char *says, const struct auth *a, const char *sqlstate, const char *text, const char *reason)
{
	if (strcmp(a->reject.sqlstate, sqlstate) || strcmp(a->reject.text, text) ||
	    (reason && strcmp(a->reject.reason, reason)))
		fail_msg("%s: %s '%s' (%s)", says, a->reject.sqlstate, a->reject.text, a->reject.reason);
}

/* ---- the small things ---- */

static void methods_are_found_by_their_words(void **state)
{
	(void)state;
	for (int kind = 0; kind < AUTH_KINDS; kind++)
		assert_int_equal(auth_kind_by_name(auth_method_names[kind]), kind);
	assert_int_equal(auth_kind_by_name("scram-sha-256"), AUTH_KIND_SCRAM);
	assert_int_equal(auth_kind_by_name("kerberos"), -1);
	assert_int_equal(auth_kind_by_name(""), -1);
}

static void base64_is_strict_and_there_and_back(void **state)
{
	static const struct {
		const char *text, *bytes;
		int len; /* -1: refused */
	} rows[] = {
		{"", "", 0}, {"YQ==", "a", 1}, {"YWI=", "ab", 2}, {"YWJj", "abc", 3}, {"YWJjZA==", "abcd", 4},
		{"YQ=", "", -1}, {"YQ", "", -1}, {"YQ===", "", -1}, {"=YQ=", "", -1}, {"Y===", "", -1},
		{"====", "", -1}, {"YR==", "", -1}, {"YWK=", "", -1}, {"YW J", "", -1}, {"YWJ\n", "", -1},
		{"YWJjZGU=", "", -1}, /* five bytes do not fit */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t out[4];
		size_t len = 0;
		bool good = base64_decode(span_str(rows[i].text), out, sizeof(out), &len);

		if (good != (rows[i].len >= 0) || (good && (len != (size_t)rows[i].len ||
		    memcmp(out, rows[i].bytes, len))))
			fail_msg("'%s'", rows[i].text);
		if (good) {
			struct buf b;

			buf_init(&b);
			base64_put(&b, out, len);
			assert_true(span_is(buf_span(&b), rows[i].text));
			buf_free(&b);
		}
	}
}

#define KEY64 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

static void stored_secrets_are_told_apart(void **state)
{
	static const struct {
		const char *secret;
		enum secret_kind kind;
	} rows[] = {
		{NULL, SECRET_NONE},
		{"", SECRET_NONE},
		{"secret", SECRET_PLAIN},
		{"md5", SECRET_PLAIN},
		{"md50123456789abcdef0123456789abcdef", SECRET_MD5},
		{"md50123456789ABCDEF0123456789abcdef", SECRET_PLAIN},
		{"md50123456789abcdef0123456789abcdeg", SECRET_PLAIN},
		{"md50123456789abcdef0123456789abcdef0", SECRET_PLAIN},
		{"SCRAM-SHA-256$4096:AAAA$" KEY64 ":" KEY64, SECRET_SCRAM},
		{"SCRAM-SHA-256$10000000:AAAA$" KEY64 ":" KEY64, SECRET_SCRAM},
		{"SCRAM-SHA-256$10000001:AAAA$" KEY64 ":" KEY64, SECRET_PLAIN},
		{"SCRAM-SHA-256$99999999999:AAAA$" KEY64 ":" KEY64, SECRET_PLAIN},
		{"SCRAM-SHA-256$0:AAAA$" KEY64 ":" KEY64, SECRET_PLAIN},
		{"SCRAM-SHA-256$-1:AAAA$" KEY64 ":" KEY64, SECRET_PLAIN},
		{"SCRAM-SHA-256$04:AAAA$" KEY64 ":" KEY64, SECRET_PLAIN},
		{"SCRAM-SHA-256$:AAAA$" KEY64 ":" KEY64, SECRET_PLAIN},
		{"SCRAM-SHA-256$4096:$" KEY64 ":" KEY64, SECRET_PLAIN},
		{"SCRAM-SHA-256$4096:AAA$" KEY64 ":" KEY64, SECRET_PLAIN},
		{"SCRAM-SHA-256$4096:AAAA$AAAA:" KEY64, SECRET_PLAIN},
		{"SCRAM-SHA-256$4096:AAAA$" KEY64 ":AAAA", SECRET_PLAIN},
		{"SCRAM-SHA-256$4096:AAAA$" KEY64 ":" KEY64 " ", SECRET_PLAIN},
		{"SCRAM-SHA-256$4096:AAAA$" KEY64, SECRET_PLAIN},
		{"SCRAM-SHA-256$4096", SECRET_PLAIN},
		{"SCRAM-SHA-256$", SECRET_PLAIN},
		{"SCRAM-SHA-256", SECRET_PLAIN},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (secret_kind_of(rows[i].secret) != rows[i].kind)
			fail_msg("'%s'", rows[i].secret ? rows[i].secret : "NULL");
}

static void iterations_and_nonces_are_bounded(void **state)
{
	char nonce[SCRAM_NONCE_MAX + 2];

	(void)state;
	assert_int_equal(scram_iterations_of(span_str("1")), 1);
	assert_int_equal(scram_iterations_of(span_str("9999999")), 9999999);
	assert_int_equal(scram_iterations_of(span_str("10000000")), 10000000);
	assert_int_equal(scram_iterations_of(span_str("10000001")), -1);
	assert_int_equal(scram_iterations_of(span_str("2147483648")), -1);
	assert_int_equal(scram_iterations_of(span_str("")), -1);
	assert_int_equal(scram_iterations_of(span_str("0")), -1);
	assert_int_equal(scram_iterations_of(span_str("+1")), -1);
	assert_int_equal(scram_iterations_of(span_str("1 ")), -1);
	memset(nonce, 'x', sizeof(nonce));
	assert_false(scram_nonce_ok(span_of(nonce, 0)));
	assert_true(scram_nonce_ok(span_of(nonce, 1)));
	assert_true(scram_nonce_ok(span_of(nonce, SCRAM_NONCE_MAX)));
	assert_false(scram_nonce_ok(span_of(nonce, SCRAM_NONCE_MAX + 1)));
	assert_false(scram_nonce_ok(span_str("a,b")));
	assert_false(scram_nonce_ok(span_str("a b")));
	assert_false(scram_nonce_ok(span_str("a\x7f")));
}

static void arithmetic_is_that_of_rfc_7677(void **state)
{
	static const char auth_message[] =
		"n=user,r=rOprNGfwEbeRWgbNEkqO,"
		"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
		"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
	uint8_t salt[16], salted[32], client_key[32], stored_key[32], server_key[32], proof[32], signature[32];
	size_t len;
	struct buf b;

	(void)state;
	assert_true(base64_decode(span_str("W22ZaJ0SNY7soEsUEjb6gQ=="), salt, 16, &len));
	assert_true(scram_salted_password("pencil", salt, 16, 4096, salted));
	assert_true(scram_client_key(salted, client_key) && scram_hash(client_key, 32, stored_key));
	assert_true(scram_server_key(salted, server_key));
	assert_true(scram_cross(client_key, stored_key, span_str(auth_message), proof));
	assert_true(scram_hmac(server_key, span_str(auth_message), signature));
	buf_init(&b);
	base64_put(&b, proof, 32);
	assert_true(span_is(buf_span(&b), "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="));
	buf_clear(&b);
	base64_put(&b, signature, 32);
	assert_true(span_is(buf_span(&b), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
	buf_free(&b);
}

static void md5_texts_are_those_of_postgresql(void **state)
{
	char secret[MD5_TEXT_LEN + 1], answer[MD5_TEXT_LEN + 1];

	(void)state;
	assert_true(md5_secret("secret", "bob", secret));
	assert_string_equal(secret, MD5_OF_SECRET);
	assert_true(md5_answer(secret, (const uint8_t *)"salt", answer));
	assert_string_equal(answer, MD5_ANSWER);
	assert_true(secret_equal("a", "a"));
	assert_false(secret_equal("a", "aa"));
	assert_false(secret_equal("", "a"));
}

static const struct {
	const char *says, *password, *prepared; /* NULL: taken as it is */
} preparations[] = {
	{"ASCII", "plain", NULL},
	{"ASCII, control characters included", "tab\tand\x01", NULL},
	{"nothing", "", NULL},
	{"a letter with its accent", "p\xc3\xa4ss", NULL},
	{"a letter and its accent apart", "pa\xcc\x88ss", "p\xc3\xa4ss"},
	{"soft hyphen (RFC 4013, example 1)", "I\xc2\xadX", "IX"},
	{"case is kept (example 3)", "USER\xc3\xa4", "USER\xc3\xa4"},
	{"feminine ordinal (example 4)", "\xc2\xaa", "a"},
	{"roman nine (example 5)", "\xe2\x85\xa8", "IX"},
	{"a control character beside others (example 6)", "\x07\xc2\xaa", NULL},
	{"Arabic, then a digit (example 7)", "\xd8\xa7" "1", NULL},
	{"Arabic, a digit, Arabic", "\xd8\xa7" "1\xd8\xa8", "\xd8\xa7" "1\xd8\xa8"},
	{"Arabic and Latin", "\xd8\xa7" "a\xd8\xa7", NULL},
	{"ligature", "\xef\xac\x81sh", "fish"},
	{"fullwidth letters", "\xef\xbc\xa1\xef\xbc\xa2", "AB"},
	{"no-break space", "a\xc2\xa0" "b", "a b"},
	{"zero width space is a space, as in PostgreSQL", "a\xe2\x80\x8b" "b", "a b"},
	{"zero width joiner is nothing", "a\xe2\x80\x8d" "b", "ab"},
	{"nothing is left", "\xc2\xad\xe2\x80\x8d", NULL},
	{"eighteen characters of one", "\xef\xb7\xba",
	 "\xd8\xb5\xd9\x84\xd9\x89 \xd8\xa7\xd9\x84\xd9\x84\xd9\x87 "
	 "\xd8\xb9\xd9\x84\xd9\x8a\xd9\x87 \xd9\x88\xd8\xb3\xd9\x84\xd9\x85"},
	{"not assigned in Unicode 3.2", "\xc2\xaa\xf0\x9f\x98\x80", NULL},
	{"private use", "\xc2\xaa\xee\x80\x80", NULL},
	{"not UTF-8", "\xff", NULL},
	{"Latin-1", "p\xe4ss", NULL},
	{"cut short", "\xc2\xaa\xc3", NULL},
	{"overlong", "\xc2\xaa\xc0\xaf", NULL},
	{"a surrogate", "\xc2\xaa\xed\xa0\x80", NULL},
	{"beyond Unicode", "\xc2\xaa\xf4\x90\x80\x80", NULL},
};

#ifdef HAVE_LIBIDN
#define PREPARES true
#else
#define PREPARES false
#endif

static void passwords_are_prepared_as_postgresql_does(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(preparations) / sizeof(preparations[0]); i++) {
		const char *wanted = PREPARES && preparations[i].prepared ? preparations[i].prepared : preparations[i].password;
		struct span got;
		struct buf room;

		buf_init(&room);
		assert_true(saslprep(preparations[i].password, &room, &got));
		if (!span_is(got, wanted))
			fail_msg("%s: '%.*s'", preparations[i].says, (int)got.len, (const char *)got.ptr);
		buf_wipe_free(&room);
	}
}

/* The library's work grows with the square of the length, and anybody may ask for it. */
static void long_passwords_are_prepared_up_to_a_bound(void **state)
{
	static char text[SASLPREP_MAX + 3];
	struct span got;
	struct buf room;

	(void)state;
	for (size_t i = 0; i < SASLPREP_MAX; i += 2)
		memcpy(text + i, "\xc2\xaa", 2);
	buf_init(&room);
	assert_true(saslprep(text, &room, &got));
	assert_int_equal(got.len, PREPARES ? SASLPREP_MAX / 2 : SASLPREP_MAX);
	assert_int_equal(got.ptr[0], PREPARES ? 'a' : 0xc2);
	memcpy(text + SASLPREP_MAX, "\xc2\xaa", 2);
	buf_wipe_free(&room);
	assert_true(saslprep(text, &room, &got));
	assert_int_equal(got.len, SASLPREP_MAX + 2);
	assert_ptr_equal(got.ptr, text);
	buf_wipe_free(&room);
}

/* ---- methods fed by hand ---- */

static const struct {
	const char *says;
	enum auth_kind kind;
	const char *secret;
	bool is_mock;
	const char *body;
	size_t len;
	const char *text; /* NULL: let in */
} logins[] = {
	{"the right password", AUTH_KIND_PLAIN, "secret", false, BYTES("secret\0"), NULL},
	{"a wrong password", AUTH_KIND_PLAIN, "secret", false, BYTES("secre\0"), "password authentication failed"},
	{"a longer password", AUTH_KIND_PLAIN, "secret", false, BYTES("secrets\0"), "password authentication failed"},
	{"the right password of an md5 secret", AUTH_KIND_PLAIN, MD5_OF_SECRET, false, BYTES("secret\0"), NULL},
	{"the md5 secret itself", AUTH_KIND_PLAIN, MD5_OF_SECRET, false, BYTES(MD5_OF_SECRET "\0"),
	 "password authentication failed"},
	{"a mock user", AUTH_KIND_PLAIN, NULL, true, BYTES("secret\0"), "password authentication failed"},
	{"a mock user, whatever its secret", AUTH_KIND_PLAIN, "secret", true, BYTES("secret\0"),
	 "password authentication failed"},
	{"a NULL password", AUTH_KIND_PLAIN, NULL, false, BYTES("secret\0"), "password authentication failed"},
	{"an empty stored password", AUTH_KIND_PLAIN, "", false, BYTES("secret\0"), "password authentication failed"},
	{"a text that only begins like a SCRAM secret is a password", AUTH_KIND_PLAIN, "SCRAM-SHA-256$x", false,
	 BYTES("SCRAM-SHA-256$x\0"), NULL},
	{"an empty password", AUTH_KIND_PLAIN, "secret", false, BYTES("\0"), "empty password returned by client"},
	{"empty meets empty", AUTH_KIND_PLAIN, "", false, BYTES("\0"), "empty password returned by client"},
	{"an empty body", AUTH_KIND_PLAIN, "secret", false, BYTES(""), "password authentication failed"},
	{"no NUL", AUTH_KIND_PLAIN, "secret", false, BYTES("secret"), "password authentication failed"},
	{"two NULs", AUTH_KIND_PLAIN, "secret", false, BYTES("secret\0\0"), "password authentication failed"},
	{"a NUL in the middle", AUTH_KIND_PLAIN, "secret", false, BYTES("secret\0x\0"),
	 "password authentication failed"},
	{"md5: an empty answer", AUTH_KIND_MD5, "secret", false, BYTES("\0"), "empty password returned by client"},
	{"md5: the password itself", AUTH_KIND_MD5, "secret", false, BYTES("secret\0"),
	 "password authentication failed"},
	{"md5: the stored secret", AUTH_KIND_MD5, MD5_OF_SECRET, false, BYTES(MD5_OF_SECRET "\0"),
	 "password authentication failed"},
	{"md5: an empty body", AUTH_KIND_MD5, "secret", false, BYTES(""), "password authentication failed"},
	{"md5: no NUL", AUTH_KIND_MD5, "secret", false, BYTES(MD5_OF_SECRET), "password authentication failed"},
};

static void passwords_are_judged(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(logins) / sizeof(logins[0]); i++) {
		struct auth_input in = input(logins[i].kind, logins[i].secret);
		struct auth a = {0};
		struct buf out;
		enum auth_verdict v;

		buf_init(&out);
		in.is_mock = logins[i].is_mock;
		assert_int_equal(auth_start(&a, &in, &out), AUTH_CONTINUE);
		v = feed(&a, logins[i].body, logins[i].len, &out);
		if (v != (logins[i].text ? AUTH_REJECT : AUTH_OK))
			fail_msg("%s: verdict %d", logins[i].says, v);
		if (logins[i].text)
			refused(logins[i].says, &a, "08P01", logins[i].text, NULL);
		assert_int_equal(buf_len(&out), 0);
		/* A second password does not help. */
		assert_int_equal(feed(&a, BYTES("secret\0"), &out), AUTH_REJECT);
		auth_end(&a);
		auth_end(&a);
		buf_free(&out);
	}
}

static void any_and_trust_ask_nothing(void **state)
{
	static const struct {
		enum auth_kind kind;
		const char *secret;
		bool is_mock;
		enum auth_verdict v;
	} rows[] = {
		{AUTH_KIND_ANY, NULL, true, AUTH_OK},
		{AUTH_KIND_ANY, "secret", false, AUTH_OK},
		{AUTH_KIND_TRUST, "secret", false, AUTH_OK},
		{AUTH_KIND_TRUST, NULL, false, AUTH_OK},
		{AUTH_KIND_TRUST, NULL, true, AUTH_REJECT},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct auth_input in = input(rows[i].kind, rows[i].secret);
		struct auth a = {0};
		struct buf out;

		in.is_mock = rows[i].is_mock;
		buf_init(&out);
		assert_int_equal(auth_start(&a, &in, &out), rows[i].v);
		assert_int_equal(buf_len(&out), 0);
		if (rows[i].v == AUTH_REJECT)
			refused("trust", &a, "08P01", "\"trust\" authentication failed", "");
		assert_int_equal(feed(&a, BYTES("x\0"), &out), AUTH_REJECT);
		auth_end(&a);
		buf_free(&out);
	}
}

/* A certificate for bob and alice. */
static bool test_certificate_names(void *ctx, const char *name)
{
	assert_ptr_equal(ctx, mock_nonce);
	return strcmp(name, "bob") == 0 || strcmp(name, "alice") == 0;
}

static int64_t test_early(void *ctx)
{
	(void)ctx;
	return 1000;
}

static void certificates_are_judged_by_name_or_map(void **state)
{
	static struct ident_line lines[] = {
		{(char *)(uintptr_t)"alice", (char *)(uintptr_t)"carol", INT64_MAX},
		{(char *)(uintptr_t)"alice", (char *)(uintptr_t)"late", 1000},
		{(char *)(uintptr_t)"eve", NULL, INT64_MAX},
	};
	static const struct ident_map map = {.name = (char *)(uintptr_t)"m", .lines = lines, .count = ARRAY_LEN(lines)};
	static const struct {
		const char *says, *user;
		enum auth_certificate certificate;
		const struct ident_map *map;
		bool is_mock;
		const char *reason; /* NULL: let in */
	} rows[] = {
		{"his own", "bob", CERTIFICATE_VERIFIED, NULL, false, NULL},
		{"no TLS", "bob", CERTIFICATE_NO_TLS, NULL, false, "TLS connection required"},
		{"no certificate", "bob", CERTIFICATE_NONE, NULL, false, "TLS client certificate required"},
		{"another's", "carol", CERTIFICATE_VERIFIED, NULL, false, "TLS certificate name mismatch"},
		{"nobody's", "bob", CERTIFICATE_VERIFIED, NULL, true, ""},
		{"mapped", "carol", CERTIFICATE_VERIFIED, &map, false, NULL},
		{"not mapped", "bob", CERTIFICATE_VERIFIED, &map, false, "ident map: m does not have a match"},
		{"no longer mapped", "late", CERTIFICATE_VERIFIED, &map, false, "ident map: m does not have a match"},
		{"mapped, but nobody", "carol", CERTIFICATE_VERIFIED, &map, true, ""},
		{"a map does not replace a certificate", "carol", CERTIFICATE_NONE, &map, false,
		 "TLS client certificate required"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct auth_input in = input(AUTH_KIND_CERT, "secret");
		struct auth a = {0};
		struct buf out;

		in.user = rows[i].user;
		in.is_mock = rows[i].is_mock;
		in.map = rows[i].map;
		in.certificate = rows[i].certificate;
		in.certificate_names = test_certificate_names;
		in.certificate_ctx = (void *)(uintptr_t)mock_nonce;
		in.wall_clock = test_early;
		buf_init(&out);
		if (auth_start(&a, &in, &out) != (rows[i].reason ? AUTH_REJECT : AUTH_OK))
			fail_msg("%s", rows[i].says);
		if (rows[i].reason)
			refused(rows[i].says, &a, "08P01", "certificate authentication failed", rows[i].reason);
		assert_int_equal(buf_len(&out), 0);
		auth_end(&a);
		buf_free(&out);
	}
}

static void unix_users_are_judged_by_name_or_map(void **state)
{
	struct passwd *me = getpwuid(geteuid());
	struct ident_line lines[] = {
		{(char *)(uintptr_t)"nobody at all", (char *)(uintptr_t)"carol", INT64_MAX},
		{me->pw_name, (char *)(uintptr_t)"bob", INT64_MAX},
	};
	const struct ident_map map = {.name = (char *)(uintptr_t)"m", .lines = lines, .count = ARRAY_LEN(lines)};
	const struct {
		const char *says, *user;
		int64_t uid;
		const struct ident_map *map;
		bool is_mock;
		const char *reason; /* NULL: let in */
	} rows[] = {
		{"himself", me->pw_name, geteuid(), NULL, false, NULL},
		{"not by a Unix socket", me->pw_name, -1, NULL, false, ""},
		{"somebody else", "bob", geteuid(), NULL, false, "the peer is Unix user "},
		{"a uid without name", "bob", INT64_C(4000000001), NULL, false, "Unix user 4000000001 has no name"},
		{"no user of ours", me->pw_name, geteuid(), NULL, true, ""},
		{"mapped", "bob", geteuid(), &map, false, NULL},
		{"not mapped", "carol", geteuid(), &map, false, "ident map m cannot be matched"},
		{"not mapped to himself", me->pw_name, geteuid(), &map, false, "ident map m cannot be matched"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct auth_input in = input(AUTH_KIND_PEER, "secret");
		struct auth a = {0};
		enum auth_verdict v;
		struct buf out;

		in.user = rows[i].user;
		in.is_mock = rows[i].is_mock;
		in.map = rows[i].map;
		in.peer_uid = rows[i].uid;
		in.wall_clock = test_early;
		buf_init(&out);
		v = auth_start(&a, &in, &out);
		if (v == AUTH_PENDING) {
			auth_work(&a);
			v = auth_resume(&a, &out);
		}
		if (v != (rows[i].reason ? AUTH_REJECT : AUTH_OK))
			fail_msg("%s", rows[i].says);
		if (rows[i].reason) {
			assert_string_equal(a.reject.text, "unix socket login rejected");
			assert_true(strncmp(a.reject.reason, rows[i].reason, strlen(rows[i].reason)) == 0);
		}
		assert_int_equal(buf_len(&out), 0);
		auth_end(&a);
		buf_free(&out);
	}
}

static void passwords_of_65530_bytes_are_taken_and_longer_ones_not(void **state)
{
	char *password = malloc(65532);
	struct auth_input in = input(AUTH_KIND_PLAIN, password);
	struct buf out;

	(void)state;
	buf_init(&out);
	memset(password, 'x', 65531);
	password[65531] = 0;
	for (size_t len = 65529; len <= 65531; len++) {
		struct auth a = {0};

		in.secret = password + 65531 - len;
		assert_int_equal(auth_start(&a, &in, &out), AUTH_CONTINUE);
		assert_int_equal(auth_max_body(&a), 65531);
		assert_int_equal(feed(&a, in.secret, len + 1, &out), len <= 65530 ? AUTH_OK : AUTH_REJECT);
		if (len > 65530)
			refused("too long", &a, "08P01", "password too long", "");
		auth_end(&a);
	}
	buf_free(&out);
	free(password);
}

static void running_out_of_memory_refuses_the_login(void **state)
{
	struct auth_input in = input(AUTH_KIND_PLAIN, "secret");
	struct auth a = {0};
	struct buf out;

	(void)state;
	buf_init(&out);
	buf_reserve(&out, SIZE_MAX / 2);
	assert_int_equal(auth_start(&a, &in, &out), AUTH_REJECT);
	refused("memory", &a, "08P01", "out of memory", "");
	auth_end(&a);
	buf_free(&out);
}

/* ---- our two halves ---- */

enum { AS_PLAIN, AS_MD5, AS_SCRAM, AS_NONE };

static const struct {
	const char *says;
	enum auth_kind kind;
	int stored;	  /* how the pooler stores "secret" */
	int given;	  /* what the client half holds */
	const char *word; /* its password, if AS_PLAIN */
	bool is_mock;
	bool ok;
	const char *text, *reason; /* of the refusal by the server half; NULL: the client half gave up */
} pairs[] = {
	{"plain against plain", AUTH_KIND_PLAIN, AS_PLAIN, AS_PLAIN, "secret", 0, 1, NULL, NULL},
	{"plain against md5", AUTH_KIND_PLAIN, AS_MD5, AS_PLAIN, "secret", 0, 1, NULL, NULL},
	{"plain against SCRAM", AUTH_KIND_PLAIN, AS_SCRAM, AS_PLAIN, "secret", 0, 1, NULL, NULL},
	{"plain against SCRAM, wrong", AUTH_KIND_PLAIN, AS_SCRAM, AS_PLAIN, "wrong", 0, 0,
	 "password authentication failed", ""},
	{"plain, nothing to send", AUTH_KIND_PLAIN, AS_PLAIN, AS_NONE, NULL, 0, 0,
	 "empty password returned by client", ""},
	{"md5 against plain", AUTH_KIND_MD5, AS_PLAIN, AS_PLAIN, "secret", 0, 1, NULL, NULL},
	{"md5 against md5", AUTH_KIND_MD5, AS_MD5, AS_PLAIN, "secret", 0, 1, NULL, NULL},
	{"md5 from md5", AUTH_KIND_MD5, AS_PLAIN, AS_MD5, NULL, 0, 1, NULL, NULL},
	{"md5, wrong", AUTH_KIND_MD5, AS_PLAIN, AS_PLAIN, "wrong", 0, 0, "password authentication failed", ""},
	{"md5, mock", AUTH_KIND_MD5, AS_PLAIN, AS_PLAIN, "secret", 1, 0, "password authentication failed", ""},
	{"plain against SCRAM, mock (attack 15)", AUTH_KIND_PLAIN, AS_SCRAM, AS_PLAIN, "secret", 1, 0,
	 "password authentication failed", ""},
	{"plain against md5, mock (attack 15)", AUTH_KIND_PLAIN, AS_MD5, AS_PLAIN, "secret", 1, 0,
	 "password authentication failed", ""},
	{"md5 turned SCRAM, mock (attack 15)", AUTH_KIND_MD5, AS_SCRAM, AS_PLAIN, "secret", 1, 0,
	 "SASL authentication failed", ""},
	{"SCRAM against SCRAM, mock (attack 15)", AUTH_KIND_SCRAM, AS_SCRAM, AS_PLAIN, "secret", 1, 0,
	 "SASL authentication failed", ""},
	{"SCRAM against plain, mock (attack 15)", AUTH_KIND_SCRAM, AS_PLAIN, AS_PLAIN, "secret", 1, 0,
	 "SASL authentication failed", ""},
	{"md5, no stored password", AUTH_KIND_MD5, AS_NONE, AS_PLAIN, "secret", 0, 0,
	 "password authentication failed", ""},
	{"md5 with a stored SCRAM secret turns to SCRAM", AUTH_KIND_MD5, AS_SCRAM, AS_PLAIN, "secret", 0, 1, NULL,
	 NULL},
	{"md5 turned SCRAM, wrong", AUTH_KIND_MD5, AS_SCRAM, AS_PLAIN, "wrong", 0, 0, "SASL authentication failed", ""},
	{"a SCRAM secret cannot answer md5", AUTH_KIND_MD5, AS_PLAIN, AS_SCRAM, NULL, 0, 0, NULL, NULL},
	{"SCRAM against plain", AUTH_KIND_SCRAM, AS_PLAIN, AS_PLAIN, "secret", 0, 1, NULL, NULL},
	{"SCRAM against SCRAM", AUTH_KIND_SCRAM, AS_SCRAM, AS_PLAIN, "secret", 0, 1, NULL, NULL},
	{"SCRAM, wrong", AUTH_KIND_SCRAM, AS_SCRAM, AS_PLAIN, "wrong", 0, 0, "SASL authentication failed", ""},
	{"SCRAM against plain, wrong", AUTH_KIND_SCRAM, AS_PLAIN, AS_PLAIN, "wrong", 0, 0,
	 "SASL authentication failed", ""},
	{"SCRAM against md5", AUTH_KIND_SCRAM, AS_MD5, AS_PLAIN, "secret", 0, 0, "SASL authentication failed",
	 "SCRAM authentication failed: user has MD5 secret"},
	{"SCRAM, no stored password", AUTH_KIND_SCRAM, AS_NONE, AS_PLAIN, "secret", 0, 0,
	 "SASL authentication failed", "SCRAM authentication failed: user has no password"},
	{"SCRAM, empty meets none", AUTH_KIND_SCRAM, AS_NONE, AS_NONE, NULL, 0, 0, "SASL authentication failed",
	 "SCRAM authentication failed: user has no password"},
	{"SCRAM, mock", AUTH_KIND_SCRAM, AS_PLAIN, AS_PLAIN, "secret", 1, 0, "SASL authentication failed", ""},
	{"md5 secrets cannot do SCRAM", AUTH_KIND_SCRAM, AS_PLAIN, AS_MD5, NULL, 0, 0, NULL, NULL},
	{"SCRAM secrets alone cannot either", AUTH_KIND_SCRAM, AS_SCRAM, AS_SCRAM, NULL, 0, 0, NULL, NULL},
};

static void both_halves_talk_to_each_other(void **state)
{
	struct buf scram;

	(void)state;
	stored_scram("secret", 32, &scram);
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		const char *forms[] = {"secret", MD5_OF_SECRET, (const char *)buf_data(&scram), NULL};
		struct auth_input in = input(pairs[i].kind, forms[pairs[i].stored]);
		struct server_auth s = {.user = "bob", .secret = pairs[i].word ? pairs[i].word : forms[pairs[i].given]};
		struct auth a;
		bool ok;

		in.is_mock = pairs[i].is_mock;
		ok = converse(&in, &a, &s);
		if (ok != pairs[i].ok)
			fail_msg("%s: %s / %s", pairs[i].says, a.reject.text, s.log_text);
		if (!ok && pairs[i].text)
			refused(pairs[i].says, &a, "08P01", pairs[i].text, pairs[i].reason);
		if (!ok && !pairs[i].text)
			assert_string_equal(s.client_text, "server login failed: wrong password type");
		/* Keys are passed through only from a stored SCRAM secret, and never after a refusal. */
		assert_int_equal(a.keys.known, ok && pairs[i].stored == AS_SCRAM && pairs[i].kind != AUTH_KIND_PLAIN);
		auth_end(&a);
		assert_false(a.keys.known);
	}
	buf_free(&scram);
}

static void keys_of_a_client_login_open_the_server(void **state)
{
	struct buf scram;
	struct auth client, server;
	struct auth_input in;
	struct server_auth s = {.user = "bob", .secret = "secret"}, pass = {.user = "bob"};
	struct scram_keys wrong = {.known = true};

	(void)state;
	stored_scram("secret", 32, &scram);
	in = input(AUTH_KIND_SCRAM, (const char *)buf_data(&scram));
	assert_true(converse(&in, &client, &s));
	assert_true(client.keys.known);
	pass.secret = in.secret;
	pass.keys = &client.keys;
	assert_true(converse(&in, &server, &pass));
	auth_end(&server);
	pass = (struct server_auth){.user = "bob", .secret = in.secret, .keys = &wrong};
	assert_false(converse(&in, &server, &pass));
	assert_string_equal(pass.client_text, "server login failed: wrong password type");
	auth_end(&server);
	/* Attack 13: the secret was replaced after that login. */
	buf_free(&scram);
	stored_scram("another", 32, &scram);
	in.secret = (const char *)buf_data(&scram);
	pass = (struct server_auth){.user = "bob", .secret = in.secret, .keys = &client.keys};
	assert_false(converse(&in, &server, &pass));
	assert_string_equal(pass.client_text, "server login failed: wrong password type");
	auth_end(&server);
	auth_end(&client);
	buf_free(&scram);
}

static void keys_derived_for_a_server_are_used_again_for_the_same_secret_salt_and_count(void **state)
{
	static const struct {
		const char *says, *secret;
		int of; /* which of the stored secrets the server has */
		bool works, is_derived;
	} rows[] = {
		{"the first time", "secret", 0, true, true},
		{"the same again", "secret", 0, true, false},
		{"another secret", "other", 0, false, true},
		{"a failure changes nothing", "secret", 0, true, false},
		{"another count, as another salt would", "secret", 1, true, true},
		{"that again", "secret", 1, true, false},
		{"the first once more: one is kept", "secret", 0, true, true},
	};
	struct scram_derived derived = {0};
	struct buf stored[2];

	(void)state;
	stored_scram("secret", 32, &stored[0]);
	stored_scram("secret", 64, &stored[1]);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct auth_input in = input(AUTH_KIND_SCRAM, (const char *)buf_data(&stored[rows[i].of]));
		struct server_auth s = {.user = "bob", .secret = rows[i].secret, .derived = &derived};
		struct auth a;

		derivations = 0;
		if (converse(&in, &a, &s) != rows[i].works)
			fail_msg("%s: %s", rows[i].says, rows[i].works ? "refused" : "let in");
		if (derivations != rows[i].is_derived)
			fail_msg("%s: derived %d times", rows[i].says, derivations);
		auth_end(&a);
	}
	buf_free(&stored[0]);
	buf_free(&stored[1]);
}

static void derived_verifiers_can_be_kept_and_used_again(void **state)
{
	struct auth_input in = input(AUTH_KIND_SCRAM, "secret");
	struct server_auth s = {.user = "bob", .secret = "secret"};
	struct scram_verifier kept;
	struct auth a = {0};
	struct buf out;

	(void)state;
	assert_true(converse(&in, &a, &s));
	assert_true(a.derived.known);
	assert_int_equal(a.derived.iterations, 64);
	kept = a.derived;
	auth_end(&a);
	in.verifier = &kept;
	s = (struct server_auth){.user = "bob", .secret = "secret"};
	assert_true(converse(&in, &a, &s));
	assert_false(a.derived.known);
	assert_false(a.keys.known);
	auth_end(&a);
	/* With a verifier there is nothing to wait for. */
	memset(&a, 0, sizeof(a));
	buf_init(&out);
	assert_int_equal(auth_start(&a, &in, &out), AUTH_CONTINUE);
	assert_int_equal(auth_message(&a, span_of(BYTES("SCRAM-SHA-256\0\0\0\0\014n,,n=,r=abcd")), &out), AUTH_CONTINUE);
	auth_end(&a);
	/* Without one there is, and a message that comes meanwhile ends the login. */
	memset(&a, 0, sizeof(a));
	in.verifier = NULL;
	buf_clear(&out);
	assert_int_equal(auth_start(&a, &in, &out), AUTH_CONTINUE);
	assert_int_equal(auth_message(&a, span_of(BYTES("SCRAM-SHA-256\0\0\0\0\014n,,n=,r=abcd")), &out), AUTH_PENDING);
	assert_int_equal(auth_message(&a, span_of(BYTES("x")), &out), AUTH_REJECT);
	auth_end(&a);
	buf_free(&out);
}

/* The attribute's value in the message that was sent. */
static void sent_attr(const struct buf *out, char name, char *value, size_t cap)
{
	struct span body = body_of(out, 'R');
	struct scram_attrs attrs = scram_attrs_of(span_of(body.ptr + 4, body.len - 4));
	struct span found;
	char letter;

	while (scram_attr_next(&attrs, &letter, &found))
		if (letter == name) {
			assert_true(found.len < cap);
			memcpy(value, found.ptr, found.len);
			value[found.len] = 0;
			return;
		}
	fail_msg("no %c=", name);
}

static void mock_salts_stay_the_same_and_differ_by_user(void **state)
{
	static const char *const users[] = {"nobody", "nobody", "somebody", "md5user"};
	char salts[4][64], iterations[16];

	(void)state;
	for (int i = 0; i < 4; i++) {
		struct auth_input in = input(AUTH_KIND_SCRAM, i == 3 ? MD5_OF_SECRET : NULL);
		struct auth a = {0};
		struct buf out;

		in.user = users[i];
		in.is_mock = i < 3;
		buf_init(&out);
		assert_int_equal(auth_start(&a, &in, &out), AUTH_CONTINUE);
		assert_int_equal(feed(&a, BYTES("SCRAM-SHA-256\0\0\0\0\014n,,n=,r=abcd"), &out), AUTH_CONTINUE);
		sent_attr(&out, 's', salts[i], sizeof(salts[i]));
		sent_attr(&out, 'i', iterations, sizeof(iterations));
		assert_string_equal(iterations, "64");
		auth_end(&a);
		buf_free(&out);
	}
	assert_string_equal(salts[0], salts[1]);
	assert_string_not_equal(salts[0], salts[2]);
	assert_string_not_equal(salts[2], salts[3]);
}

/* The salt and iterations that a login is shown; is_slow: whether deriving keys came first. */
static void probe(struct auth_input *in, char salt[64], char iterations[16], bool *is_slow)
{
	struct auth a = {0};
	struct buf out;
	enum auth_verdict v;

	buf_init(&out);
	assert_int_equal(auth_start(&a, in, &out), AUTH_CONTINUE);
	buf_clear(&out);
	v = auth_message(&a, span_of(BYTES("SCRAM-SHA-256\0\0\0\0\014n,,n=,r=abcd")), &out);
	*is_slow = v == AUTH_PENDING;
	if (*is_slow) {
		auth_work(&a);
		v = auth_resume(&a, &out);
	}
	assert_int_equal(v, AUTH_CONTINUE);
	sent_attr(&out, 's', salt, 64);
	sent_attr(&out, 'i', iterations, 16);
	auth_end(&a);
	buf_free(&out);
}

/* Attack 15: whoever asks for a salt and goes away learns the same of a name that exists and of one that does not. */
static void salts_of_plain_secrets_stay_as_those_of_nobody_do(void **state)
{
	struct auth_input known = input(AUTH_KIND_SCRAM, "secret"), unknown = input(AUTH_KIND_SCRAM, "secret");
	struct scram_verifier old = {.iterations = 32, .known = true};
	char salts[3][64], iterations[16];
	bool is_slow;

	(void)state;
	probe(&known, salts[0], iterations, &is_slow);
	assert_true(is_slow);
	known.secret = "changed";
	probe(&known, salts[1], iterations, &is_slow);
	assert_string_equal(salts[0], salts[1]);
	unknown.is_mock = true;
	probe(&unknown, salts[2], iterations, &is_slow);
	assert_string_equal(salts[0], salts[2]);
	assert_false(is_slow);
	/* Keys of other times do not show by their iterations. */
	known.verifier = &old;
	probe(&known, salts[1], iterations, &is_slow);
	assert_true(is_slow);
	assert_string_equal(iterations, "64");
}

/* Attack 15: the secret that a mock was given for show says how many iterations and how long a salt. */
static void mocks_look_like_their_neighbours(void **state)
{
	struct auth_input in;
	char salt[64], iterations[16];
	bool is_slow;
	struct buf scram, out;
	struct auth a = {0};

	(void)state;
	stored_scram("secret", 32, &scram);
	in = input(AUTH_KIND_SCRAM, (const char *)buf_data(&scram));
	in.is_mock = true;
	probe(&in, salt, iterations, &is_slow);
	assert_string_equal(iterations, "32");
	/* Cleartext against a SCRAM secret is PBKDF2, for a name that does not exist as well. */
	in.kind = AUTH_KIND_PLAIN;
	buf_init(&out);
	assert_int_equal(auth_start(&a, &in, &out), AUTH_CONTINUE);
	assert_int_equal(auth_message(&a, span_of(BYTES("secret\0")), &out), AUTH_PENDING);
	auth_work(&a);
	assert_int_equal(auth_resume(&a, &out), AUTH_REJECT);
	auth_end(&a);
	buf_free(&out);
	buf_free(&scram);
}

/* A login between the two halves in which the Nth allocation of this program (not of OpenSSL) fails. */
static bool converse_short_of_memory(const struct auth_input *in, const char *password, int nth)
{
	static const uint8_t ok[4] = {0};
	struct server_auth s = {.user = "bob", .secret = password};
	struct auth a = {0};
	struct buf down, up;
	enum auth_verdict v, c = AUTH_CONTINUE;

	buf_init(&down);
	buf_init(&up);
	fail_at = nth;
	v = auth_start(&a, in, &down);
	while (v == AUTH_CONTINUE && buf_ok(&down)) {
		c = server_feed(&s, body_of(&down, 'R'), &up);
		if (c != AUTH_CONTINUE || !buf_ok(&up))
			break;
		buf_clear(&down);
		v = auth_message(&a, body_of(&up, 'p'), &down);
		if (v == AUTH_PENDING) {
			auth_work(&a);
			v = auth_resume(&a, &down);
		}
	}
	if (v == AUTH_OK && buf_len(&down))
		c = server_feed(&s, body_of(&down, 'R'), &up);
	if (v == AUTH_OK && c == AUTH_CONTINUE)
		c = server_feed(&s, span_of(ok, 4), &up);
	fail_at = 0;
	if (v == AUTH_REJECT)
		assert_true(a.reject.text[0] && !a.keys.known);
	if (c == AUTH_REJECT)
		assert_true(s.log_text[0] && s.close_text[0]);
	auth_end(&a);
	server_auth_end(&s);
	buf_free(&down);
	buf_free(&up);
	return v == AUTH_OK && c == AUTH_OK;
}

static void any_allocation_may_fail_and_nobody_gets_in_by_it(void **state)
{
	static const enum auth_kind kinds[] = {AUTH_KIND_PLAIN, AUTH_KIND_MD5, AUTH_KIND_SCRAM};
	struct buf scram;

	(void)state;
	stored_scram("secret", 1, &scram);
	for (size_t k = 0; k < 3; k++)
		for (int form = 0; form < 2; form++) {
			struct auth_input in = input(kinds[k], form ? (const char *)buf_data(&scram) : "secret");
			int refusals = 0;

			in.scram_iterations = 1;
			for (int nth = 1; nth <= 40; nth++) {
				refusals += !converse_short_of_memory(&in, "secret", nth);
				assert_false(converse_short_of_memory(&in, "wrong", nth));
			}
			assert_in_range(refusals, 1, 39); /* each login allocates, and fewer than 40 times */
		}
	buf_free(&scram);
}

/* ---- malformed messages to the server half ---- */

#define INITIAL(count, text) "SCRAM-SHA-256\0\0\0\0" count text

static const struct {
	const char *says;
	const char *body;
	size_t len;
	const char *reason; /* NULL: the dialogue goes on */
} initials[] = {
	{"a client-first-message", BYTES(INITIAL("\014", "n,,n=,r=abcd")), NULL},
	{"flag y", BYTES(INITIAL("\014", "y,,n=,r=abcd")), NULL},
	{"a user name, which is ignored", BYTES(INITIAL("\017", "n,,n=eve,r=abcd")), NULL},
	{"an extension after the nonce", BYTES(INITIAL("\020", "n,,n=,r=abcd,x=1")), NULL},
	{"no response yet", BYTES("SCRAM-SHA-256\0\xff\xff\xff\xff"), NULL},
	{"empty body", BYTES(""), "malformed SASL initial response"},
	{"mechanism without NUL", BYTES("SCRAM-SHA-256"), "malformed SASL initial response"},
	{"no length", BYTES("SCRAM-SHA-256\0"), "malformed SASL initial response"},
	{"half a length", BYTES("SCRAM-SHA-256\0\0\0"), "malformed SASL initial response"},
	{"inner length -1 with bytes after it (attack 1)", BYTES("SCRAM-SHA-256\0\xff\xff\xff\xffn,,n=,r=abcd"),
	 "malformed SASL initial response"},
	{"inner length 0xFFFFFFFE (attack 1)", BYTES("SCRAM-SHA-256\0\xff\xff\xff\xfen,,n=,r=abcd"),
	 "malformed SASL initial response"},
	{"inner length 0x80000000 (attack 1)", BYTES("SCRAM-SHA-256\0\x80\0\0\0n,,n=,r=abcd"),
	 "malformed SASL initial response"},
	{"inner length one too large", BYTES(INITIAL("\015", "n,,n=,r=abcd")), "malformed SASL initial response"},
	{"inner length one too small", BYTES(INITIAL("\013", "n,,n=,r=abcd")), "malformed SASL initial response"},
	{"inner length zero", BYTES(INITIAL("\0", "")), "malformed SCRAM message: channel binding flag"},
	{"channel binding demanded", BYTES(INITIAL("\027", "p=tls-unique,,n=,r=abcd")),
	 "client requires SCRAM channel binding, but it is not supported"},
	{"another flag", BYTES(INITIAL("\014", "x,,n=,r=abcd")), "malformed SCRAM message: channel binding flag"},
	{"no comma after the flag", BYTES(INITIAL("\014", "nn,n=,r=abcd")),
	 "malformed SCRAM message: channel binding flag"},
	{"a flag alone", BYTES(INITIAL("\001", "n")), "malformed SCRAM message: channel binding flag"},
	{"a flag and a comma", BYTES(INITIAL("\002", "n,")), "malformed SCRAM message: channel binding flag"},
	{"the gs2 header alone", BYTES(INITIAL("\003", "n,,")), "malformed SCRAM message: user name"},
	{"an authorization identity", BYTES(INITIAL("\021", "n,a=eve,n=,r=abcd")),
	 "client uses authorization identity, but it is not supported"},
	{"junk for an authorization identity", BYTES(INITIAL("\015", "n,b,n=,r=abcd")),
	 "malformed SCRAM message: authorization identity"},
	{"a mandatory extension", BYTES(INITIAL("\020", "n,,m=x,n=,r=abcd")),
	 "client requires an unsupported SCRAM extension"},
	{"no user name attribute", BYTES(INITIAL("\011", "n,,r=abcd")), "malformed SCRAM message: user name"},
	{"no nonce", BYTES(INITIAL("\005", "n,,n=")), "malformed SCRAM message: nonce"},
	{"a comma in place of the nonce", BYTES(INITIAL("\006", "n,,n=,")), "malformed SCRAM message: nonce"},
	{"an empty nonce", BYTES(INITIAL("\010", "n,,n=,r=")), "malformed SCRAM message: nonce"},
	{"a blank in the nonce", BYTES(INITIAL("\013", "n,,n=,r=a b")), "malformed SCRAM message: nonce"},
	{"a byte above ASCII in the nonce", BYTES(INITIAL("\012", "n,,n=,r=a\xe9")), "malformed SCRAM message: nonce"},
	{"a NUL in the nonce", BYTES(INITIAL("\013", "n,,n=,r=a\0b")), "malformed SCRAM message: nonce"},
	{"a NUL at the end", BYTES(INITIAL("\015", "n,,n=,r=abcd\0")), "malformed SCRAM message: nonce"},
	{"a comma at the end", BYTES(INITIAL("\015", "n,,n=,r=abcd,")), "malformed SCRAM message: extension"},
	{"an extension without =", BYTES(INITIAL("\016", "n,,n=,r=abcd,x")), "malformed SCRAM message: extension"},
	{"an extension that is no letter", BYTES(INITIAL("\020", "n,,n=,r=abcd,1=1")),
	 "malformed SCRAM message: extension"},
};

static void initial_responses_are_taken_strictly(void **state)
{
	struct buf scram;

	(void)state;
	stored_scram("secret", 32, &scram);
	for (size_t i = 0; i < sizeof(initials) / sizeof(initials[0]); i++) {
		struct auth_input in = input(AUTH_KIND_SCRAM, (const char *)buf_data(&scram));
		struct auth a = {0};
		struct buf out;
		enum auth_verdict v;

		buf_init(&out);
		assert_int_equal(auth_start(&a, &in, &out), AUTH_CONTINUE);
		assert_memory_equal(body_of(&out, 'R').ptr, "\0\0\0\012SCRAM-SHA-256\0", 19);
		assert_int_equal(body_of(&out, 'R').len, 19);
		v = feed(&a, initials[i].body, initials[i].len, &out);
		if (v != (initials[i].reason ? AUTH_REJECT : AUTH_CONTINUE))
			fail_msg("%s: verdict %d", initials[i].says, v);
		if (v == AUTH_REJECT)
			refused(initials[i].says, &a, "08P01", "SASL authentication failed", initials[i].reason);
		auth_end(&a);
		/* Cut anywhere, it is refused or waits for a first message, but never lets anybody in. */
		for (size_t n = 0; n < initials[i].len; n++) {
			memset(&a, 0, sizeof(a));
			auth_start(&a, &in, &out);
			assert_int_not_equal(feed(&a, initials[i].body, n, &out), AUTH_OK);
			auth_end(&a);
		}
		buf_free(&out);
	}
	buf_free(&scram);
}

static void other_mechanisms_are_refused(void **state)
{
	static const struct {
		const char *body;
		size_t len;
	} rows[] = {
		{BYTES("SCRAM-SHA-256-PLUS\0\0\0\0\014n,,n=,r=abcd")},
		{BYTES("PLAIN\0\0\0\0\0")},
		{BYTES("\0\0\0\0\0")},
		{BYTES("scram-sha-256\0\0\0\0\014n,,n=,r=abcd")},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct auth_input in = input(AUTH_KIND_SCRAM, "secret");
		struct auth a = {0};
		struct buf out;

		buf_init(&out);
		auth_start(&a, &in, &out);
		assert_int_equal(feed(&a, rows[i].body, rows[i].len, &out), AUTH_REJECT);
		refused("mechanism", &a, "08P01", "client selected an invalid SASL authentication mechanism", "");
		auth_end(&a);
		buf_free(&out);
	}
}

static void client_nonces_are_bounded(void **state)
{
	enum { LIMIT = SCRAM_NONCE_MAX - SCRAM_NONCE_TEXT };

	(void)state;
	for (size_t n = LIMIT - 1; n <= LIMIT + 1; n++) {
		struct auth_input in = input(AUTH_KIND_SCRAM, "secret");
		struct auth a = {0};
		struct buf out, body;

		buf_init(&out);
		buf_init(&body);
		auth_start(&a, &in, &out);
		buf_put_str(&body, "SCRAM-SHA-256");
		buf_put_u32(&body, (uint32_t)n + 8);
		buf_put_text(&body, "n,,n=,r=");
		for (size_t i = 0; i < n; i++)
			buf_put_u8(&body, 'x');
		assert_int_equal(feed(&a, buf_data(&body), buf_len(&body), &out),
				 n <= LIMIT ? AUTH_CONTINUE : AUTH_REJECT);
		auth_end(&a);
		buf_free(&out);
		buf_free(&body);
	}
}

/* % stands for the nonce. KEY64 is a proof of the right size that is wrong. */
static const struct {
	const char *says, *text, *reason;
} finals[] = {
	{"a wrong proof", "c=biws,r=%,p=" KEY64, ""},
	{"a wrong proof after an extension", "c=biws,r=%,x=1,p=" KEY64, ""},
	{"nothing (attack 2)", "", "malformed SCRAM message: channel binding"},
	{"no channel binding (attack 2)", "r=%,p=" KEY64, "malformed SCRAM message: channel binding"},
	{"no nonce (attack 2)", "c=biws,p=" KEY64, "malformed SCRAM message: nonce does not match"},
	{"no proof (attack 2)", "c=biws,r=%", "malformed SCRAM message: no proof"},
	{"channel binding alone (attack 2)", "c=biws", "malformed SCRAM message: nonce does not match"},
	{"the flag was n, not y", "c=eSws,r=%,p=" KEY64, "malformed SCRAM message: channel binding"},
	{"empty channel binding", "c=,r=%,p=" KEY64, "malformed SCRAM message: channel binding"},
	{"a nonce cut short", "c=biws,r=abcd,p=" KEY64, "malformed SCRAM message: nonce does not match"},
	{"a nonce drawn out", "c=biws,r=%x,p=" KEY64, "malformed SCRAM message: nonce does not match"},
	{"an empty nonce", "c=biws,r=,p=" KEY64, "malformed SCRAM message: nonce does not match"},
	{"an empty proof", "c=biws,r=%,p=", "malformed SCRAM message: proof"},
	{"a short proof", "c=biws,r=%,p=AAAA", "malformed SCRAM message: proof"},
	{"a long proof", "c=biws,r=%,p=AAAA" KEY64, "malformed SCRAM message: proof"},
	{"a proof that is no base64", "c=biws,r=%,p=????", "malformed SCRAM message: proof"},
	{"something after the proof", "c=biws,r=%,p=" KEY64 ",x=1", "malformed SCRAM message: proof"},
	{"a comma after the proof", "c=biws,r=%,p=" KEY64 ",", "malformed SCRAM message: proof"},
	{"attributes in another order", "r=%,c=biws,p=" KEY64, "malformed SCRAM message: channel binding"},
	{"an extension without =", "c=biws,r=%,x,p=" KEY64, "malformed SCRAM message: no proof"},
};

static void final_messages_are_taken_strictly(void **state)
{
	struct buf scram;

	(void)state;
	stored_scram("secret", 32, &scram);
	for (size_t i = 0; i < sizeof(finals) / sizeof(finals[0]); i++) {
		/* Known and mock users get the same answer. */
		for (int mock = 0; mock < 2; mock++) {
			struct auth_input in = input(AUTH_KIND_SCRAM, mock ? NULL : (const char *)buf_data(&scram));
			struct auth a = {0};
			struct buf out, text;
			char nonce[64];

			in.is_mock = mock;
			buf_init(&out);
			buf_init(&text);
			auth_start(&a, &in, &out);
			/* By way of the empty challenge, so that it is exercised too. */
			assert_int_equal(feed(&a, BYTES("SCRAM-SHA-256\0\xff\xff\xff\xff"), &out), AUTH_CONTINUE);
			assert_int_equal(body_of(&out, 'R').len, 4);
			assert_memory_equal(body_of(&out, 'R').ptr, "\0\0\0\013", 4);
			assert_int_equal(feed(&a, BYTES("n,,n=,r=abcd"), &out), AUTH_CONTINUE);
			sent_attr(&out, 'r', nonce, sizeof(nonce));
			assert_int_equal(strlen(nonce), 4 + SCRAM_NONCE_TEXT);
			for (const char *c = finals[i].text; *c; c++)
				if (*c == '%')
					buf_put_text(&text, nonce);
				else
					buf_put_u8(&text, (uint8_t)*c);
			if (feed(&a, buf_span(&text).ptr, buf_len(&text), &out) != AUTH_REJECT)
				fail_msg("%s: not refused", finals[i].says);
			refused(finals[i].says, &a, "08P01", "SASL authentication failed", finals[i].reason);
			assert_int_equal(buf_len(&out), 0);
			auth_end(&a);
			buf_free(&out);
			buf_free(&text);
		}
	}
	buf_free(&scram);
}

/* ---- hostile servers ---- */

#define SCRAM_OFFER "\0\0\0\012SCRAM-SHA-256\0"
#define GAVE_UP "malformed authentication message from server"
#define BAD_SCRAM "malformed SCRAM message from server, or one beyond our limits"

/* % stands for our nonce; each row is one message, after those of the first column were sent. */
static const struct {
	const char *says;
	const char *before; /* NULL, or a SASL offer */
	size_t before_len;
	const char *body;
	size_t len;
	const char *log; /* NULL: goes on */
} servers[] = {
	{"nothing", NULL, 0, BYTES(""), GAVE_UP},
	{"half a number", NULL, 0, BYTES("\0\0\0"), GAVE_UP},
	{"Ok with something after it", NULL, 0, BYTES("\0\0\0\0x"), GAVE_UP},
	{"Kerberos", NULL, 0, BYTES("\0\0\0\2"), "unknown/unsupported auth method: 2"},
	{"GSS", NULL, 0, BYTES("\0\0\0\7"), "unknown/unsupported auth method: 7"},
	{"a large number", NULL, 0, BYTES("\xff\xff\xff\xff"), "unknown/unsupported auth method: 4294967295"},
	{"md5 without a salt", NULL, 0, BYTES("\0\0\0\5"), GAVE_UP},
	{"md5 with three bytes of salt", NULL, 0, BYTES("\0\0\0\5abc"), GAVE_UP},
	{"md5 with five bytes of salt", NULL, 0, BYTES("\0\0\0\5abcde"), GAVE_UP},
	{"cleartext with something after it", NULL, 0, BYTES("\0\0\0\3x"), GAVE_UP},
	{"an offer among others", NULL, 0, BYTES("\0\0\0\012SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"), NULL},
	{"no mechanism of ours", NULL, 0, BYTES("\0\0\0\012SCRAM-SHA-256-PLUS\0\0"),
	 "none of the server's SASL authentication mechanisms are supported"},
	{"an empty list", NULL, 0, BYTES("\0\0\0\012\0"),
	 "none of the server's SASL authentication mechanisms are supported"},
	{"a list without its end", NULL, 0, BYTES("\0\0\0\012SCRAM-SHA-256\0"), "malformed list of SASL mechanisms"},
	{"a list that goes on after its end", NULL, 0, BYTES("\0\0\0\012SCRAM-SHA-256\0\0x"),
	 "malformed list of SASL mechanisms"},
	{"SASL out of the blue", NULL, 0, BYTES("\0\0\0\013r=x,s=AAAA,i=1"), "unexpected SASL message from server"},
	{"the end out of the blue", NULL, 0, BYTES("\0\0\0\014v=" KEY64), "unexpected SASL message from server"},
	{"a good first message", BYTES(SCRAM_OFFER "\0"), BYTES("\0\0\0\013r=%x,s=AAAA,i=1"), NULL},
	{"another method after the offer", BYTES(SCRAM_OFFER "\0"), BYTES("\0\0\0\3"),
	 "server asked for authentication twice"},
	{"the offer again", BYTES(SCRAM_OFFER "\0"), BYTES(SCRAM_OFFER "\0"), "server asked for authentication twice"},
	{"the end before the beginning", BYTES(SCRAM_OFFER "\0"), BYTES("\0\0\0\014v=" KEY64),
	 "unexpected SASL message from server"},
	{"Ok without a signature", BYTES(SCRAM_OFFER "\0"), BYTES("\0\0\0\0"),
	 "server ended the SASL exchange without its signature"},
	{"an empty first message", BYTES(SCRAM_OFFER "\0"), BYTES("\0\0\0\013"), BAD_SCRAM},
	{"no nonce", BYTES(SCRAM_OFFER "\0"), BYTES("\0\0\0\013s=AAAA,i=1"), BAD_SCRAM},
	{"no salt", BYTES(SCRAM_OFFER "\0"), BYTES("\0\0\0\013r=%x,i=1"), BAD_SCRAM},
	{"no count", BYTES(SCRAM_OFFER "\0"), BYTES("\0\0\0\013r=%x,s=AAAA"), BAD_SCRAM},
	{"our nonce and nothing added", BYTES(SCRAM_OFFER "\0"), BYTES("\0\0\0\013r=%,s=AAAA,i=1"), BAD_SCRAM},
	{"another nonce", BYTES(SCRAM_OFFER "\0"), BYTES("\0\0\0\013r=xxxxxxxxxxxxxxxxxxxxxxxxxx,s=AAAA,i=1"), BAD_SCRAM},
	{"an empty salt", BYTES(SCRAM_OFFER "\0"), BYTES("\0\0\0\013r=%x,s=,i=1"), BAD_SCRAM},
	{"a salt that is no base64", BYTES(SCRAM_OFFER "\0"), BYTES("\0\0\0\013r=%x,s=A?==,i=1"), BAD_SCRAM},
	{"a count of 2^31 (attack 20)", BYTES(SCRAM_OFFER "\0"), BYTES("\0\0\0\013r=%x,s=AAAA,i=2147483648"), BAD_SCRAM},
	{"a count above the limit", BYTES(SCRAM_OFFER "\0"), BYTES("\0\0\0\013r=%x,s=AAAA,i=10000001"), BAD_SCRAM},
	{"a count of zero", BYTES(SCRAM_OFFER "\0"), BYTES("\0\0\0\013r=%x,s=AAAA,i=0"), BAD_SCRAM},
	{"a negative count", BYTES(SCRAM_OFFER "\0"), BYTES("\0\0\0\013r=%x,s=AAAA,i=-1"), BAD_SCRAM},
	{"a mandatory extension", BYTES(SCRAM_OFFER "\0"), BYTES("\0\0\0\013m=x,r=%x,s=AAAA,i=1"), BAD_SCRAM},
	{"something after the count", BYTES(SCRAM_OFFER "\0"), BYTES("\0\0\0\013r=%x,s=AAAA,i=1,x=1"), BAD_SCRAM},
};

static void nonce_sent(const struct buf *out, char nonce[SCRAM_NONCE_TEXT + 1])
{
	struct span body = body_of(out, 'p');

	assert_true(body.len == 14 + 4 + 8 + SCRAM_NONCE_TEXT);
	assert_memory_equal(body.ptr, "SCRAM-SHA-256\0\0\0\0\x20n,,n=,r=", 26);
	memcpy(nonce, body.ptr + 26, SCRAM_NONCE_TEXT);
	nonce[SCRAM_NONCE_TEXT] = 0;
}

static void hostile_servers_are_left(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(servers) / sizeof(servers[0]); i++) {
		struct server_auth s = {.user = "bob", .secret = "secret"};
		char nonce[SCRAM_NONCE_TEXT + 1] = "";
		struct buf out, body;
		enum auth_verdict v;

		buf_init(&out);
		buf_init(&body);
		if (servers[i].before) {
			assert_int_equal(server_feed(&s, span_of(servers[i].before, servers[i].before_len), &out),
					 AUTH_CONTINUE);
			nonce_sent(&out, nonce);
		}
		for (size_t n = 0; n < servers[i].len; n++)
			if (servers[i].body[n] == '%')
				buf_put_text(&body, nonce);
			else
				buf_put_u8(&body, (uint8_t)servers[i].body[n]);
		v = server_feed(&s, buf_span(&body), &out);
		if (v != (servers[i].log ? AUTH_REJECT : AUTH_CONTINUE) ||
		    (servers[i].log && strcmp(s.log_text, servers[i].log)))
			fail_msg("%s: verdict %d, %s", servers[i].says, v, s.log_text);
		if (v == AUTH_REJECT)
			assert_string_equal(s.close_text, "failed to answer authreq");
		server_auth_end(&s);
		buf_free(&out);
		buf_free(&body);
	}
}

static void server_nonces_and_salts_are_bounded(void **state)
{
	static const struct {
		size_t nonce, salt_groups;
		enum auth_verdict v;
	} rows[] = {
		{SCRAM_NONCE_MAX, 1, AUTH_CONTINUE},
		{SCRAM_NONCE_MAX + 1, 1, AUTH_REJECT},
		{30, SCRAM_SALT_MAX / 3, AUTH_CONTINUE},
		{30, SCRAM_SALT_MAX / 3 + 1, AUTH_REJECT},
		{30, 300000, AUTH_REJECT},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct server_auth s = {.user = "bob", .secret = "secret"};
		char nonce[SCRAM_NONCE_TEXT + 1];
		struct buf out, body;

		buf_init(&out);
		buf_init(&body);
		server_feed(&s, span_of(BYTES(SCRAM_OFFER "\0")), &out);
		nonce_sent(&out, nonce);
		buf_put_u32(&body, 11);
		buf_printf(&body, "r=%s", nonce);
		for (size_t n = SCRAM_NONCE_TEXT; n < rows[i].nonce; n++)
			buf_put_u8(&body, 'x');
		buf_put_text(&body, ",s=");
		for (size_t n = 0; n < rows[i].salt_groups; n++)
			buf_put_text(&body, "AAAA");
		buf_put_text(&body, ",i=1");
		assert_int_equal(server_feed(&s, buf_span(&body), &out), rows[i].v);
		server_auth_end(&s);
		buf_free(&out);
		buf_free(&body);
	}
}

static void server_signatures_are_verified(void **state)
{
	static const struct {
		const char *says;
		const char *body;
		size_t len;
	} rows[] = {
		{"a wrong signature", BYTES("\0\0\0\014v=" KEY64)},
		{"an empty signature", BYTES("\0\0\0\014v=")},
		{"an error", BYTES("\0\0\0\014e=other-error")},
		{"nothing", BYTES("\0\0\0\014")},
		{"a short signature", BYTES("\0\0\0\014v=AAAA")},
		{"something after the signature", BYTES("\0\0\0\014v=" KEY64 ",x=1")},
		{"Ok instead", BYTES("\0\0\0\0")},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct server_auth s = {.user = "bob", .secret = "secret"};
		char nonce[SCRAM_NONCE_TEXT + 1];
		struct buf out, body;

		buf_init(&out);
		buf_init(&body);
		server_feed(&s, span_of(BYTES(SCRAM_OFFER "\0")), &out);
		nonce_sent(&out, nonce);
		buf_put_u32(&body, 11);
		buf_printf(&body, "r=%sx,s=AAAA,i=1", nonce);
		assert_int_equal(server_feed(&s, buf_span(&body), &out), AUTH_CONTINUE);
		if (server_feed(&s, span_of(rows[i].body, rows[i].len), &out) != AUTH_REJECT)
			fail_msg("%s", rows[i].says);
		assert_string_equal(s.client_text, "server login failed: invalid server signature");
		server_auth_end(&s);
		buf_free(&out);
		buf_free(&body);
	}
}

static void server_questions_are_answered_from_each_stored_form(void **state)
{
	static const char wrong[] = "server login failed: wrong password type";
	struct buf scram, out;
	const char *forms[4];
	static const struct {
		const char *ask;
		size_t len;
		const char *log[4]; /* by stored form; NULL: answered */
	} rows[] = {
		{BYTES("\0\0\0\3"), {NULL, NULL, NULL, NULL}},
		{BYTES("\0\0\0\5salt"),
		 {NULL, NULL, "cannot do MD5 authentication: wrong password type", NULL}},
		{BYTES(SCRAM_OFFER "\0"),
		 {NULL, "cannot do SCRAM authentication: wrong password type",
		  "cannot do SCRAM authentication: password is SCRAM secret but client authentication did not provide SCRAM keys",
		  NULL}},
	};

	(void)state;
	buf_init(&out);
	stored_scram("secret", 32, &scram);
	forms[AS_PLAIN] = "secret";
	forms[AS_MD5] = MD5_OF_SECRET;
	forms[AS_SCRAM] = (const char *)buf_data(&scram);
	forms[AS_NONE] = NULL;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (int form = 0; form < 4; form++) {
			struct server_auth s = {.user = "bob", .secret = forms[form]};
			enum auth_verdict v = server_feed(&s, span_of(rows[i].ask, rows[i].len), &out);

			assert_int_equal(v, rows[i].log[form] ? AUTH_REJECT : AUTH_CONTINUE);
			if (v == AUTH_REJECT) {
				assert_string_equal(s.log_text, rows[i].log[form]);
				assert_string_equal(s.client_text, wrong);
			} else if (rows[i].ask[3] == 3) { /* sent as it is */
				assert_string_equal((const char *)body_of(&out, 'p').ptr, forms[form] ? forms[form] : "");
			} else if (rows[i].ask[3] == 5 && form != AS_NONE) {
				assert_string_equal((const char *)body_of(&out, 'p').ptr, MD5_ANSWER);
			}
			server_auth_end(&s);
		}
	buf_free(&scram);
	buf_free(&out);
}

static void trusting_servers_need_no_answer(void **state)
{
	struct server_auth s = {.user = "bob"};
	struct buf out;

	(void)state;
	buf_init(&out);
	assert_int_equal(server_feed(&s, span_of(BYTES("\0\0\0\0")), &out), AUTH_OK);
	assert_true(s.was_ok);
	assert_int_equal(buf_len(&out), 0);
	assert_int_equal(server_feed(&s, span_of(BYTES("\0\0\0\3")), &out), AUTH_REJECT);
	server_auth_end(&s);
	buf_free(&out);
}

/* ---- wallets ---- */

#define WALLET "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
#define SIGNATURE                                                                                  \
	"0x7043095b22e39d516a46cc33a7c967ff57794320250201d1845ae5a90f9672a7"                      \
	"2e66a21f72122abd8096a96d3ca1e42e55f032bf14f6b3acf723a9cc0e94c04d1b"
#define PROOF "1750000000:" SIGNATURE
#define OTHERS_PROOF                                                                               \
	"1750000000:0x1cf7ed1a3b6bd5fef54cd65cb2f9e50f4fefefbd3497db565cec5884feb391f4"           \
	"06aea18fc8bf0b4ac6ad35f142aae453ce0f786170458998ac289c587c01abcd1b"
#define UNIFORM "password authentication failed for user \"" WALLET "\""

static int64_t now;
static int asked;
static bool is_listed;

static int64_t test_clock(void *ctx)
{
	(void)ctx;
	return now;
}

static enum ecdsa_reason test_allowed(void *ctx, const struct ecdsa_claim *claim, const char **detail)
{
	(void)detail;
	char text[WALLET_TEXT_LEN + 1];

	asked++;
	wallet_address_eip55(&claim->signer, text);
	assert_string_equal(text, ctx);
	return is_listed ? ECDSA_OK : ECDSA_NOT_ALLOWED;
}

static const struct wallet_policy policy = {.formats = BIT(ECDSA_FORMAT_TIMESTAMP), .window_seconds = 300, .role_login = false};

static struct auth_input wallet_input(const char *user)
{
	struct auth_input in = input(AUTH_KIND_ECDSA, NULL);

	in.user = user;
	in.is_mock = true; /* of no meaning here */
	in.wallet_policy = &policy;
	in.wall_clock = test_clock;
	in.judge_wallet = test_allowed;
	in.wallet_ctx = (void *)(uintptr_t)WALLET;
	return in;
}

static const struct {
	const char *says, *user;
	const char *body;
	size_t len;
	int64_t now;
	bool is_listed;
	int asked;
	const char *audit; /* how it begins */
	const char *sqlstate, *text; /* NULL: let in */
} wallets[] = {
	{"a good proof", WALLET, BYTES(PROOF "\0"), 1750000012, true, 1,
	 "method=ecdsa result=ok wallet=" WALLET " user=" WALLET " format=timestamp age=12s expires_in=288s proof=", NULL,
	 NULL},
	{"a name in lower case", "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266", BYTES(PROOF "\0"), 1750000300, true, 1,
	 "method=ecdsa result=ok wallet=" WALLET
	 " user=0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266 format=timestamp age=300s expires_in=0s proof=",
	 NULL, NULL},
	{"a client clock ahead", WALLET, BYTES(PROOF "\0"), 1749999700, true, 1,
	 "method=ecdsa result=ok wallet=" WALLET " user=" WALLET " format=timestamp age=-300s expires_in=600s proof=",
	 NULL, NULL},
	{"a wallet that is not listed", WALLET, BYTES(PROOF "\0"), 1750000000, false, 1,
	 "method=ecdsa reason=not_allowed wallet=" WALLET " recovered=" WALLET " format=timestamp age=0s proof=", "28P01",
	 UNIFORM},
	{"an old proof", WALLET, BYTES(PROOF "\0"), 1750000412, true, 0,
	 "method=ecdsa reason=expired wallet=" WALLET " recovered=- format=timestamp age=412s proof=-", "28P01", UNIFORM},
	{"a proof from the future", WALLET, BYTES(PROOF "\0"), 1749999588, true, 0,
	 "method=ecdsa reason=from_future wallet=" WALLET " recovered=- format=timestamp age=-412s proof=-", "28P01",
	 UNIFORM},
	{"somebody else's proof", WALLET, BYTES(OTHERS_PROOF "\0"), 1750000000, true, 0,
	 "method=ecdsa reason=wrong_signer wallet=" WALLET " recovered=0x", "28P01", UNIFORM},
	{"an empty password", WALLET, BYTES("\0"), 1750000000, true, 0,
	 "method=ecdsa reason=password_empty wallet=", "28P01", UNIFORM},
	{"an empty body", WALLET, BYTES(""), 1750000000, true, 0, "method=ecdsa reason=packet_malformed wallet=",
	 "08P01", "invalid password packet"},
	{"no NUL", WALLET, BYTES(PROOF), 1750000000, true, 0, "method=ecdsa reason=packet_malformed wallet=", "08P01",
	 "invalid password packet"},
	{"two NULs", WALLET, BYTES(PROOF "\0\0"), 1750000000, true, 0, "method=ecdsa reason=packet_malformed wallet=",
	 "08P01", "invalid password packet"},
	{"a NUL in the middle", WALLET, BYTES("1750000000:\0" SIGNATURE "\0"), 1750000000, true, 0,
	 "method=ecdsa reason=packet_malformed wallet=", "08P01", "invalid password packet"},
	{"a role name", "bob", BYTES(PROOF "\0"), 1750000000, true, 0,
	 "method=ecdsa reason=address_malformed wallet=bob recovered=- format=- age=- proof=-", "28P01",
	 "password authentication failed for user \"bob\""},
	{"a name that would forge the log", "a b\"\\\n\xe9 reason=ok", BYTES(PROOF "\0"), 1750000000, true, 0,
	 "method=ecdsa reason=address_malformed wallet=a\\x20b\\x22\\x5c\\x0a\\xe9\\x20reason=ok recovered=-", "28P01",
	 "password authentication failed for user \"a b\"\\?\xe9 reason=ok\""},
};

static void wallets_are_let_in_or_refused_alike(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(wallets) / sizeof(wallets[0]); i++) {
		struct auth_input in = wallet_input(wallets[i].user);
		struct auth a = {0};
		struct buf out;
		enum auth_verdict v;

		now = wallets[i].now;
		is_listed = wallets[i].is_listed;
		asked = 0;
		buf_init(&out);
		assert_int_equal(auth_start(&a, &in, &out), AUTH_CONTINUE);
		assert_int_equal(body_of(&out, 'R').len, 4);
		assert_memory_equal(body_of(&out, 'R').ptr, "\0\0\0\3", 4);
		v = feed(&a, wallets[i].body, wallets[i].len, &out);
		if (v != (wallets[i].text ? AUTH_REJECT : AUTH_OK) || asked != wallets[i].asked ||
		    strncmp(a.audit, wallets[i].audit, strlen(wallets[i].audit)))
			fail_msg("%s: verdict %d, asked %d, %s", wallets[i].says, v, asked, a.audit);
		assert_int_equal(a.is_wallet, v == AUTH_OK);
		if (v == AUTH_REJECT)
			refused(wallets[i].says, &a, wallets[i].sqlstate, wallets[i].text, NULL);
		assert_null(strstr(a.audit, "7043095b")); /* never the password, nor a part of it */
		assert_null(strstr(a.reject.reason, "7043095b"));
		auth_end(&a);
		buf_free(&out);
	}
}

static void wallet_packets_end_at_4096_bytes(void **state)
{
	static const size_t sizes[] = {0, 1, 4095, 4096, 4097};

	(void)state;
	is_listed = true;
	now = 1750000000;
	for (size_t i = 0; i < 5; i++) {
		struct auth_input in = wallet_input(WALLET);
		char *body = calloc(1, sizes[i] + 1);
		struct auth a = {0};
		struct buf out;

		buf_init(&out);
		memset(body, 'x', sizes[i]);
		if (sizes[i])
			body[sizes[i] - 1] = 0;
		auth_start(&a, &in, &out);
		assert_int_equal(auth_max_body(&a), 4096);
		assert_int_equal(feed(&a, body, sizes[i], &out), AUTH_REJECT);
		if (sizes[i] == 0)
			refused("0", &a, "08P01", "invalid password packet", "packet_malformed");
		else
			refused("size", &a, "28P01", UNIFORM,
				sizes[i] == 1 ? "password_empty"
				: sizes[i] == 4097 ? "password_too_long" : "format_unknown");
		auth_end(&a);
		/* Decided from the length field alone. */
		memset(&a, 0, sizeof(a));
		auth_start(&a, &in, &out);
		assert_int_equal(auth_too_long(&a), AUTH_REJECT);
		refused("length field", &a, "28P01", UNIFORM, "password_too_long");
		assert_non_null(strstr(a.audit, "reason=password_too_long"));
		auth_end(&a);
		buf_free(&out);
		free(body);
	}
}

static void long_names_are_echoed_up_to_128_bytes(void **state)
{
	char name[400], expected[256];

	(void)state;
	now = 1750000000;
	for (int multi_byte = 0; multi_byte < 2; multi_byte++) {
		struct auth_input in = wallet_input(name);
		struct auth a = {0};
		struct buf out;

		memset(name, 'n', sizeof(name));
		name[sizeof(name) - 1] = 0;
		if (multi_byte) /* its second byte would be the 129th */
			memcpy(name + 127, "\xc3\xa4", 2);
		buf_init(&out);
		auth_start(&a, &in, &out);
		assert_int_equal(feed(&a, BYTES(PROOF "\0"), &out), AUTH_REJECT);
		snprintf(expected, sizeof(expected), "password authentication failed for user \"%.*s\"",
			 multi_byte ? 127 : 128, name);
		assert_string_equal(a.reject.text, expected);
		auth_end(&a);
		buf_free(&out);
	}
}

static void a_role_is_entered_by_a_recovered_wallet(void **state)
{
	static const struct wallet_policy by_role = {.formats = BIT(ECDSA_FORMAT_TIMESTAMP), .window_seconds = 300, .role_login = true};
	static const struct {
		const char *user;
		const struct wallet_policy *policy;
		bool is_listed;
		const char *reason; /* NULL: let in */
	} rows[] = {
		{"analyst", &by_role, true, NULL},
		{"analyst", &by_role, false, "not_allowed"},
		{"analyst", &policy, true, "address_malformed"},
		{WALLET, &by_role, true, NULL},
		/* Whoever claims a wallet must be it. */
		{"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", &by_role, true, "wrong_signer"},
	};

	(void)state;
	now = 1750000000;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct auth_input in = wallet_input(rows[i].user);
		struct auth a = {0};
		char expected[100];
		struct buf out;

		in.wallet_policy = rows[i].policy;
		is_listed = rows[i].is_listed;
		buf_init(&out);
		auth_start(&a, &in, &out);
		assert_int_equal(feed(&a, BYTES(PROOF "\0"), &out), rows[i].reason ? AUTH_REJECT : AUTH_OK);
		if (rows[i].reason) {
			snprintf(expected, sizeof(expected), "password authentication failed for user \"%s\"", rows[i].user);
			refused(rows[i].user, &a, "28P01", expected, NULL);
			assert_true(strncmp(a.reject.reason, rows[i].reason, strlen(rows[i].reason)) == 0);
		} else {
			snprintf(expected, sizeof(expected), "wallet=" WALLET " user=%s ", rows[i].user);
			assert_non_null(strstr(a.audit, expected));
		}
		auth_end(&a);
		buf_free(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(methods_are_found_by_their_words),
		cmocka_unit_test(base64_is_strict_and_there_and_back),
		cmocka_unit_test(stored_secrets_are_told_apart),
		cmocka_unit_test(iterations_and_nonces_are_bounded),
		cmocka_unit_test(arithmetic_is_that_of_rfc_7677),
		cmocka_unit_test(md5_texts_are_those_of_postgresql),
		cmocka_unit_test(passwords_are_prepared_as_postgresql_does),
		cmocka_unit_test(long_passwords_are_prepared_up_to_a_bound),
		cmocka_unit_test(passwords_are_judged),
		cmocka_unit_test(any_and_trust_ask_nothing),
		cmocka_unit_test(certificates_are_judged_by_name_or_map),
		cmocka_unit_test(unix_users_are_judged_by_name_or_map),
		cmocka_unit_test(passwords_of_65530_bytes_are_taken_and_longer_ones_not),
		cmocka_unit_test(running_out_of_memory_refuses_the_login),
		cmocka_unit_test(both_halves_talk_to_each_other),
		cmocka_unit_test(keys_of_a_client_login_open_the_server),
		cmocka_unit_test(keys_derived_for_a_server_are_used_again_for_the_same_secret_salt_and_count),
		cmocka_unit_test(derived_verifiers_can_be_kept_and_used_again),
		cmocka_unit_test(mock_salts_stay_the_same_and_differ_by_user),
		cmocka_unit_test(salts_of_plain_secrets_stay_as_those_of_nobody_do),
		cmocka_unit_test(mocks_look_like_their_neighbours),
		cmocka_unit_test(any_allocation_may_fail_and_nobody_gets_in_by_it),
		cmocka_unit_test(initial_responses_are_taken_strictly),
		cmocka_unit_test(other_mechanisms_are_refused),
		cmocka_unit_test(client_nonces_are_bounded),
		cmocka_unit_test(final_messages_are_taken_strictly),
		cmocka_unit_test(hostile_servers_are_left),
		cmocka_unit_test(server_nonces_and_salts_are_bounded),
		cmocka_unit_test(server_signatures_are_verified),
		cmocka_unit_test(server_questions_are_answered_from_each_stored_form),
		cmocka_unit_test(trusting_servers_need_no_answer),
		cmocka_unit_test(wallets_are_let_in_or_refused_alike),
		cmocka_unit_test(wallet_packets_end_at_4096_bytes),
		cmocka_unit_test(long_names_are_echoed_up_to_128_bytes),
		cmocka_unit_test(a_role_is_entered_by_a_recovered_wallet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
