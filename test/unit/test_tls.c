/* Unit tests of lib/tls_context.c and lib/tls_filter.c: both ends talk within this process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "lib/tls_context.h"
#include "lib/tls_filter.h"

/* ---- certificates, made anew for each run ---- */

enum { CA, OTHER_CA, SITE, CN_ONLY, WILDCARD, IP, CLIENT, STRANGER, NUL_NAME, RSA_SITE, CERTS };

static char dir[] = "/tmp/test_tls.XXXXXX";
static struct made {
	const char *name, *cn, *alt;
	int issuer;
	X509 *cert;
	EVP_PKEY *key;
	char cert_file[64], key_file[64];
} made[CERTS] = {
	[CA] = {"ca", "Test CA", NULL, CA, NULL, NULL, "", ""},
	[OTHER_CA] = {"other", "Other CA", NULL, OTHER_CA, NULL, NULL, "", ""},
	[SITE] = {"site", "common.example", "DNS:db.example.org,DNS:alias.example.org", CA, NULL, NULL, "", ""},
	[CN_ONLY] = {"cn", "Old.example.org", NULL, CA, NULL, NULL, "", ""},
	[WILDCARD] = {"wild", "none", "DNS:*.example.org,DNS:*.org,DNS:*", CA, NULL, NULL, "", ""},
	[IP] = {"ip", "none", "IP:127.0.0.1,IP:::1,DNS:10.0.0.1", CA, NULL, NULL, "", ""},
	[CLIENT] = {"client", "bouncer", NULL, CA, NULL, NULL, "", ""},
	[STRANGER] = {"stranger", "bouncer", NULL, OTHER_CA, NULL, NULL, "", ""},
	[NUL_NAME] = {"nul", "none", "NUL", CA, NULL, NULL, "", ""},
	[RSA_SITE] = {"rsa", "db.example.org", NULL, CA, NULL, NULL, "", ""},
};

static void add_extension(X509 *cert, int nid, const char *value)
{
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	assert_non_null(ext);
	assert_int_equal(X509_add_ext(cert, ext, -1), 1);
	X509_EXTENSION_free(ext);
}

/* "db.example.org\0.evil", which a careless strcmp() would take for its beginning. */
static void add_name_with_nul(X509 *cert)
{
	static const char text[] = "db.example.org\0.evil";
	GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_IA5STRING *ia5 = ASN1_IA5STRING_new();

	ASN1_STRING_set(ia5, text, sizeof(text) - 1);
	GENERAL_NAME_set0_value(name, GEN_DNS, ia5);
	sk_GENERAL_NAME_push(names, name);
	assert_int_equal(X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0), 1);
	GENERAL_NAMES_free(names);
}

static void make(struct made *m)
{
	struct made *issuer = &made[m->issuer];
	X509_NAME *name;
	FILE *f;

	m->key = m == &made[RSA_SITE] ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
	m->cert = X509_new();
	X509_set_version(m->cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(m->cert), (long)(m - made) + 1);
	X509_gmtime_adj(X509_getm_notBefore(m->cert), -3600);
	X509_gmtime_adj(X509_getm_notAfter(m->cert), 86400);
	name = X509_get_subject_name(m->cert);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)m->cn, -1, -1, 0);
	X509_set_issuer_name(m->cert, X509_get_subject_name(issuer->cert));
	X509_set_pubkey(m->cert, m->key);
	if (issuer == m)
		add_extension(m->cert, NID_basic_constraints, "critical,CA:TRUE");
	if (m->alt && strcmp(m->alt, "NUL") == 0)
		add_name_with_nul(m->cert);
	else if (m->alt)
		add_extension(m->cert, NID_subject_alt_name, m->alt);
	assert_true(X509_sign(m->cert, issuer->key, EVP_sha256()) > 0);
	snprintf(m->cert_file, sizeof(m->cert_file), "%s/%s.crt", dir, m->name);
	snprintf(m->key_file, sizeof(m->key_file), "%s/%s.key", dir, m->name);
	f = fopen(m->cert_file, "w");
	assert_int_equal(PEM_write_X509(f, m->cert), 1);
	fclose(f);
	f = fopen(m->key_file, "w");
	assert_int_equal(PEM_write_PrivateKey(f, m->key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(f);
}

static int make_certificates(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	for (int i = 0; i < CERTS; i++)
		make(&made[i]);
	return 0;
}

static int remove_certificates(void **state)
{
	(void)state;
	for (int i = 0; i < CERTS; i++) {
		unlink(made[i].cert_file);
		unlink(made[i].key_file);
		X509_free(made[i].cert);
		EVP_PKEY_free(made[i].key);
	}
	return rmdir(dir);
}

/* ---- two ends ---- */

struct ends {
	struct tls_filter *client, *server;
	struct buf up, down; /* ciphertext on its way to the server, to the client */
	enum tls_step client_step, server_step;
};

static SSL_CTX *context(const struct tls_options *opt)
{
	char err[256];
	SSL_CTX *ctx = tls_context_new(opt, opt->for_clients ? "client" : "server", err, sizeof(err));

	if (!ctx)
		fail_msg("%s", err);
	return ctx;
}

static struct tls_options serving(int cert)
{
	return (struct tls_options){.for_clients = true, .cert_file = made[cert].cert_file, .key_file = made[cert].key_file};
}

static void open_over(struct ends *e, SSL_CTX *client, SSL_CTX *server, const char *host, bool verify_name)
{
	memset(e, 0, sizeof(*e));
	e->client = tls_filter_new(client, false, host, verify_name);
	e->server = tls_filter_new(server, true, NULL, false);
	assert_non_null(e->client);
	assert_non_null(e->server);
	SSL_CTX_free(client);
	SSL_CTX_free(server);
}

static void open_ends(struct ends *e, const struct tls_options *client, const struct tls_options *server,
		      const char *host)
{
	open_over(e, context(client), context(server), host, client->verify_name);
}

static void close_ends(struct ends *e)
{
	tls_filter_free(e->client);
	tls_filter_free(e->server);
	buf_free(&e->up);
	buf_free(&e->down);
	assert_int_equal(ERR_peek_error(), 0);
}

/* Lets f see at most chunk bytes of what waits in from; they are gone from there afterwards, as in a socket. */
static void shake_one(struct tls_filter *f, enum tls_step *step, struct buf *from, struct buf *to, size_t chunk)
{
	uint8_t lent[4096];
	size_t n = buf_len(from) < chunk ? buf_len(from) : chunk;

	n = n < sizeof(lent) ? n : sizeof(lent);
	if (n > 0)
		memcpy(lent, buf_data(from), n);
	buf_take(from, n);
	assert_true(tls_filter_feed(f, span_of(lent, n)));
	if (*step == TLS_STEP_MORE)
		*step = tls_filter_handshake(f, to);
	assert_true(tls_filter_keep(f));
	memset(lent, 0xee, sizeof(lent));
}

static void shake_hands(struct ends *e, size_t chunk)
{
	e->client_step = e->server_step = TLS_STEP_MORE;
	do {
		shake_one(e->client, &e->client_step, &e->down, &e->up, chunk);
		shake_one(e->server, &e->server_step, &e->up, &e->down, chunk);
	} while (buf_len(&e->up) > 0 || buf_len(&e->down) > 0);
}

/* TLS 1.3 clients are done before the server has seen their certificate: its alert comes when they read. */
static enum tls_step client_reads_on(struct ends *e)
{
	char c;
	enum tls_step step;

	assert_int_equal(tls_filter_read(e->client, &c, 1, &e->up, &step), 0);
	return step;
}

static void write_text(struct tls_filter *f, const char *text, struct buf *out)
{
	struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};

	assert_true(tls_filter_write(f, &iov, 1, out));
}

static void say(struct tls_filter *from, struct tls_filter *to, struct buf *wire, struct buf *back, const char *text)
{
	char got[256];
	enum tls_step step;
	size_t n;

	write_text(from, text, wire);
	assert_true(tls_filter_feed(to, buf_span(wire)));
	n = tls_filter_read(to, got, sizeof(got), back, &step);
	assert_int_equal(step, TLS_STEP_MORE);
	assert_int_equal(n, strlen(text));
	assert_memory_equal(got, text, n);
	buf_clear(wire);
}

static void assert_contains(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" does not contain \"%s\"", text, part);
}

/* ---- protocol lists ---- */

#define ALL (TLS_PROTOCOL_1_0 | TLS_PROTOCOL_1_1 | TLS_PROTOCOL_1_2 | TLS_PROTOCOL_1_3)
#define NEW (TLS_PROTOCOL_1_2 | TLS_PROTOCOL_1_3)

static void protocol_lists(void **state)
{
	static const struct {
		const char *says, *list;
		unsigned set; /* 0: refused */
	} rows[] = {
		{"secure is 1.2 and 1.3", "secure", NEW},
		{"so is default", "default", NEW},
		{"all is all", "all", ALL},
		{"tlsv1 is all of 1.x", "tlsv1", ALL},
		{"one old one", "tlsv1.0", TLS_PROTOCOL_1_0},
		{"letters of any case", "TLSv1.1", TLS_PROTOCOL_1_1},
		{"commas", "tlsv1.2,tlsv1.3", NEW},
		{"colons and blanks", "tlsv1.2: \ttlsv1.1", TLS_PROTOCOL_1_1 | TLS_PROTOCOL_1_2},
		{"a removal first starts from all", "!tlsv1.3", ALL & ~TLS_PROTOCOL_1_3},
		{"two removals", "!tlsv1.0,!tlsv1.1", NEW},
		{"a removal later starts from what is there", "secure,!tlsv1.2", TLS_PROTOCOL_1_3},
		{"a hole in the middle", "all,!tlsv1.1", ALL & ~TLS_PROTOCOL_1_1},
		{"nothing left", "tlsv1.2,!tlsv1.2", 0},
		{"an unknown item", "sslv3", 0},
		{"an unknown item later", "tlsv1.2,foo", 0},
		{"an unknown removal", "!foo", 0},
		{"a beginning is not enough", "tls", 0},
		{"nothing", "", 0},
		{"an empty item", "tlsv1.2,,tlsv1.3", 0},
		{"a lone exclamation mark", "!", 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		unsigned set = 0;
		bool ok = tls_protocols_parse(rows[i].list, &set);

		if (ok != (rows[i].set != 0) || (ok && set != rows[i].set))
			fail_msg("%s: \"%s\" gave %d, %#x", rows[i].says, rows[i].list, ok, set);
	}
}

/* ---- contexts ---- */

static void contexts_say_what_is_wrong(void **state)
{
	char *ca = made[CA].cert_file, *cert = made[SITE].cert_file, *key = made[SITE].key_file;
	const struct {
		struct tls_options opt;
		const char *prefix, *text;
	} rows[] = {
		{{.protocols = "tlsv9"}, "client", "invalid client_tls_protocols: tlsv9"},
		{{.protocols = "tlsv9"}, "server", "invalid server_tls_protocols: tlsv9"},
		{{.ciphers = "nonsense"}, "client", "invalid client_tls_ciphers: nonsense"},
		{{.dheparams = "2048"}, "client", "invalid client_tls_dheparams: 2048"},
		{{.ecdhcurve = "potato"}, "client", "invalid client_tls_ecdhecurve: potato"},
		{{.tls13_ciphers = "potato"}, "client", "TLS setup failed: failed to set the TLSv1.3 cipher suites"},
		{{.cert_file = "/nonexistent"}, "client", "No such file or directory"},
		{{.cert_file = cert, .key_file = "/nonexistent"}, "client", "No such file or directory"},
		{{.ca_file = "/nonexistent", .verify = TLS_VERIFY_OPTIONAL}, "client", "No such file or directory"},
		{{.ca_file = key, .verify = TLS_VERIFY_REQUIRED}, "client", "TLS setup failed: failed to load CA file"},
		{{.cert_file = key}, "client", "TLS setup failed: failed to load certificate file"},
		{{.key_file = ca}, "client", "TLS setup failed: failed to load private key file"},
		{{.cert_file = ca, .key_file = key}, "client", "TLS setup failed: "},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		for (int clients = 0; clients < 2; clients++) {
			struct tls_options opt = rows[i].opt;
			char err[256], small[8];

			opt.for_clients = clients;
			assert_null(tls_context_new(&opt, rows[i].prefix, err, sizeof(err)));
			assert_contains(err, rows[i].text);
			assert_null(strchr(err, '\n'));
			assert_null(tls_context_new(&opt, rows[i].prefix, small, sizeof(small)));
			assert_int_equal(strlen(small), 7);
			assert_int_equal(ERR_peek_error(), 0);
		}
}

static void contexts_take_what_the_manual_allows(void **state)
{
	static const struct tls_options rows[] = {
		{.protocols = "tlsv1.0"},
		{.protocols = "tlsv1.1,tlsv1.3"},
		{.ciphers = "default", .ecdhcurve = "auto", .dheparams = "auto"},
		{.ciphers = "FAST", .ecdhcurve = "NONE", .dheparams = "None"},
		{.ciphers = "normal", .ecdhcurve = "prime256v1", .dheparams = "legacy"},
		{.ciphers = "secure", .ecdhcurve = "secp384r1", .tls13_ciphers = ""},
		{.ciphers = "HIGH:!aNULL", .tls13_ciphers = "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256"},
		{.verify = TLS_VERIFY_REQUIRED},
		/* Not used, hence not read. */
		{.verify = TLS_NO_VERIFY, .ca_file = "/nonexistent"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		for (int clients = 0; clients < 2; clients++) {
			struct tls_options opt = rows[i];

			opt.for_clients = clients;
			SSL_CTX_free(context(&opt));
		}
}

/* ---- handshakes and bytes ---- */

static void handshakes_work_in_any_chunks_and_versions(void **state)
{
	static const struct {
		int cert;
		const char *protocols, *ciphers, *text;
	} rows[] = {
		{SITE, "tlsv1.3", NULL, "TLSv1.3/TLS_AES_256_GCM_SHA384"},
		{SITE, "tlsv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384",
		 "TLSv1.2/ECDHE-ECDSA-AES256-GCM-SHA384/ECDH=prime256v1"},
		{RSA_SITE, "tlsv1.2", "DHE-RSA-AES256-GCM-SHA384", "TLSv1.2/DHE-RSA-AES256-GCM-SHA384/DH=2048"},
		{RSA_SITE, "tlsv1.2", "AES256-GCM-SHA384", "TLSv1.2/AES256-GCM-SHA384"},
		{SITE, "tlsv1.1", NULL, "TLSv1.1/"},
		{SITE, "tlsv1.0", NULL, "TLSv1/"},
	};
	static const size_t chunks[] = {1, 2, 7, 4096};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		for (size_t c = 0; c < ARRAY_LEN(chunks); c++) {
			struct tls_options client = {.protocols = rows[i].protocols};
			struct tls_options server = serving(rows[i].cert);
			struct ends e;
			char text[128];

			server.protocols = rows[i].protocols;
			server.ciphers = rows[i].ciphers;
			server.ecdhcurve = "prime256v1";
			open_ends(&e, &client, &server, "db.example.org");
			tls_filter_describe(e.client, text, sizeof(text));
			assert_string_equal(text, "");
			shake_hands(&e, chunks[c]);
			assert_int_equal(e.client_step, TLS_STEP_OK);
			assert_int_equal(e.server_step, TLS_STEP_OK);
			tls_filter_describe(e.client, text, sizeof(text));
			assert_contains(text, rows[i].text);
			tls_filter_describe(e.server, text, sizeof(text));
			if (!strstr(rows[i].text, "/DH=")) /* the accepting side no longer knows */
				assert_contains(text, rows[i].text);
			say(e.client, e.server, &e.up, &e.down, "select 1");
			say(e.server, e.client, &e.down, &e.up, "1");
			assert_string_equal(tls_filter_error(e.client), "");
			close_ends(&e);
		}
}

static void versions_that_do_not_meet_fail_with_a_reason(void **state)
{
	struct tls_options client = {.protocols = "tlsv1.2"}, server = serving(SITE);
	struct ends e;

	(void)state;
	server.protocols = "tlsv1.3";
	open_ends(&e, &client, &server, NULL);
	shake_hands(&e, 4096);
	assert_int_equal(e.server_step, TLS_STEP_FAILED);
	assert_contains(tls_filter_error(e.server), "unsupported protocol");
	assert_int_equal(e.client_step, TLS_STEP_FAILED);
	assert_contains(tls_filter_error(e.client), "alert");
	assert_int_equal(tls_filter_handshake(e.server, &e.down), TLS_STEP_FAILED);
	tls_filter_shutdown(e.server, &e.down);
	assert_int_equal(buf_len(&e.down), 0);
	close_ends(&e);
}

static void open_plainly(struct ends *e, const char *protocols)
{
	struct tls_options client = {.protocols = protocols}, server = serving(SITE);

	server.protocols = protocols;
	open_ends(e, &client, &server, NULL);
	shake_hands(e, 4096);
	assert_int_equal(e->client_step, TLS_STEP_OK);
	assert_int_equal(e->server_step, TLS_STEP_OK);
}

static size_t count_records(const struct buf *b)
{
	size_t n = 0;

	for (size_t at = 0; at < buf_len(b); n++)
		at += 5u + ((size_t)buf_data(b)[at + 3] << 8) + buf_data(b)[at + 4];
	return n;
}

/* Big and small pieces, read through buffers of several sizes, fed in several sizes: the same bytes come out. */
static void big_writes_come_out_whole(void **state)
{
	static const size_t sizes[] = {1, 100, 16384, 5, 16384 * 3 + 7, 0, 50000, 16383, 2};
	static const size_t caps[] = {1000, 16384, 65536};
	static const size_t feeds[] = {1, 1000, 65536, SIZE_MAX};
	struct iovec iov[ARRAY_LEN(sizes)];
	size_t total = 0;
	uint8_t *sent, *got;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
		total += sizes[i];
	sent = malloc(total);
	got = malloc(total + 65536);
	for (size_t i = 0, at = 0; i < ARRAY_LEN(sizes); at += sizes[i++])
		iov[i] = (struct iovec){sent + at, sizes[i]};
	for (size_t i = 0; i < total; i++)
		sent[i] = (uint8_t)(i * 7 + i / 251);
	for (size_t c = 0; c < ARRAY_LEN(caps); c++)
		for (size_t d = 0; d < ARRAY_LEN(feeds); d++) {
			struct ends e;
			size_t filled = 0;
			enum tls_step step;

			open_plainly(&e, c % 2 ? "tlsv1.2" : "tlsv1.3");
			assert_true(tls_filter_write(e.client, iov, ARRAY_LEN(iov), &e.up));
			/* Nothing but full records and a rest. */
			assert_true(count_records(&e.up) <= total / 16384 + 2);
			while (buf_len(&e.up) > 0) {
				size_t n = buf_len(&e.up) < feeds[d] ? buf_len(&e.up) : feeds[d];

				assert_true(tls_filter_feed(e.server, span_of(buf_data(&e.up), n)));
				do {
					filled += tls_filter_read(e.server, got + filled, caps[c], &e.down, &step);
					assert_true(filled <= total);
				} while (step == TLS_STEP_OK);
				assert_int_equal(step, TLS_STEP_MORE);
				assert_false(tls_filter_has_input(e.server));
				buf_take(&e.up, n);
			}
			assert_int_equal(filled, total);
			assert_memory_equal(got, sent, total);
			close_ends(&e);
		}
	free(sent);
	free(got);
}

static void little_pieces_share_one_record(void **state)
{
	struct iovec iov[5] = {{(void *)(uintptr_t)"Z", 1}, {(void *)(uintptr_t)"\0\0\0\5", 4}, {(void *)(uintptr_t)"I", 1},
			       {NULL, 0}, {(void *)(uintptr_t)"C", 1}};
	struct ends e;
	char got[16];
	enum tls_step step;

	(void)state;
	open_plainly(&e, "tlsv1.3");
	assert_true(tls_filter_write(e.server, iov, 5, &e.down));
	assert_int_equal(count_records(&e.down), 1);
	assert_true(tls_filter_feed(e.client, buf_span(&e.down)));
	assert_int_equal(tls_filter_read(e.client, got, sizeof(got), &e.up, &step), 7);
	assert_memory_equal(got, "Z\0\0\0\5IC", 7);
	buf_clear(&e.down);
	/* Writing nothing is no record. */
	assert_true(tls_filter_write(e.server, iov + 3, 1, &e.down));
	assert_true(tls_filter_write(e.server, iov, 0, &e.down));
	assert_int_equal(buf_len(&e.down), 0);
	close_ends(&e);
}

static void data_and_close_notify_in_one_feed_are_both_seen(void **state)
{
	static const char *const versions[] = {"tlsv1.2", "tlsv1.3"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
		struct ends e;
		char got[16];
		enum tls_step step;
		size_t sent;

		open_plainly(&e, versions[i]);
		write_text(e.client, "bye", &e.up);
		tls_filter_shutdown(e.client, &e.up);
		sent = buf_len(&e.up);
		tls_filter_shutdown(e.client, &e.up);
		assert_int_equal(buf_len(&e.up), sent); /* once only */
		assert_true(tls_filter_feed(e.server, buf_span(&e.up)));
		assert_int_equal(tls_filter_read(e.server, got, sizeof(got), &e.down, &step), 3);
		assert_int_equal(step, TLS_STEP_CLOSED);
		assert_memory_equal(got, "bye", 3);
		assert_int_equal(tls_filter_read(e.server, got, sizeof(got), &e.down, &step), 0);
		assert_int_equal(step, TLS_STEP_CLOSED);
		assert_string_equal(tls_filter_error(e.server), "");
		/* The other direction is still open. */
		write_text(e.server, "last words", &e.down);
		assert_true(buf_len(&e.down) > 0);
		/* Whoever writes after its own end is told so. */
		assert_false(tls_filter_write(e.client, &(struct iovec){got, 1}, 1, &e.up));
		close_ends(&e);
	}
}

static void data_behind_the_handshake_is_kept_for_reading(void **state)
{
	struct tls_options client = {0}, server = serving(SITE);
	struct ends e;
	char got[16];
	enum tls_step step;
	size_t n;

	(void)state;
	open_ends(&e, &client, &server, NULL);
	assert_int_equal(tls_filter_handshake(e.client, &e.up), TLS_STEP_MORE);
	assert_true(tls_filter_feed(e.server, buf_span(&e.up)));
	assert_int_equal(tls_filter_handshake(e.server, &e.down), TLS_STEP_MORE);
	buf_clear(&e.up);
	assert_true(tls_filter_feed(e.client, buf_span(&e.down)));
	assert_int_equal(tls_filter_handshake(e.client, &e.up), TLS_STEP_OK);
	write_text(e.client, "startup", &e.up);
	assert_true(tls_filter_feed(e.server, buf_span(&e.up)));
	assert_int_equal(tls_filter_handshake(e.server, &e.down), TLS_STEP_OK);
	assert_true(tls_filter_has_input(e.server));
	assert_true(tls_filter_keep(e.server));
	buf_clear(&e.up);
	/* More arrives before the first is read. */
	write_text(e.client, ", then more", &e.up);
	assert_true(tls_filter_feed(e.server, buf_span(&e.up)));
	buf_clear(&e.up);
	n = tls_filter_read(e.server, got, 7, &e.down, &step);
	assert_int_equal(n, 7);
	assert_int_equal(step, TLS_STEP_OK);
	assert_memory_equal(got, "startup", 7);
	assert_true(tls_filter_keep(e.server));
	n = tls_filter_read(e.server, got, sizeof(got), &e.down, &step);
	assert_int_equal(n, 11);
	assert_int_equal(step, TLS_STEP_MORE);
	assert_memory_equal(got, ", then more", 11);
	close_ends(&e);
}

static void garbage_fails_with_an_alert_and_a_reason(void **state)
{
	struct ends e;
	char got[16];
	enum tls_step step;

	(void)state;
	open_plainly(&e, "tlsv1.3");
	write_text(e.client, "fine", &e.up);
	write_text(e.client, "damaged", &e.up);
	e.up.data[e.up.end - 1] ^= 1;
	assert_true(tls_filter_feed(e.server, buf_span(&e.up)));
	assert_int_equal(tls_filter_read(e.server, got, sizeof(got), &e.down, &step), 4);
	assert_int_equal(step, TLS_STEP_FAILED);
	assert_contains(tls_filter_error(e.server), "bad record mac");
	assert_true(buf_len(&e.down) > 0);
	assert_false(tls_filter_write(e.server, &(struct iovec){got, 1}, 1, &e.down));
	close_ends(&e);
}

static void plain_text_instead_of_tls_fails(void **state)
{
	struct tls_options server = serving(SITE);
	SSL_CTX *ctx = context(&server);
	struct tls_filter *f = tls_filter_new(ctx, true, NULL, false);
	struct buf out;

	(void)state;
	buf_init(&out);
	assert_true(tls_filter_feed(f, span_str("GET / HTTP/1.0\r\n\r\n")));
	assert_int_equal(tls_filter_handshake(f, &out), TLS_STEP_FAILED);
	assert_contains(tls_filter_error(f), "http request");
	tls_filter_free(f);
	SSL_CTX_free(ctx);
	buf_free(&out);
	assert_int_equal(ERR_peek_error(), 0);
}

static void an_output_that_cannot_grow_is_a_failure(void **state)
{
	struct ends e;

	(void)state;
	open_plainly(&e, "tlsv1.3");
	e.up.failed = true;
	assert_false(tls_filter_write(e.client, &(struct iovec){(void *)(uintptr_t)"x", 1}, 1, &e.up));
	close_ends(&e);
}

/* ---- ALPN ---- */

static void alpn_must_contain_postgresql_if_there_is_any(void **state)
{
	static const struct {
		const char *says, *offer;
		bool ok;
	} rows[] = {
		{"none", NULL, true},
		{"ours", "\012postgresql", true},
		{"ours among others", "\2h2\012postgresql\3foo", true},
		{"another", "\2h2", false},
		{"a longer one", "\013postgresql2", false},
		{"a shorter one", "\011postgresq", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct tls_options client = {0}, server = serving(SITE);
		SSL_CTX *client_ctx = context(&client);
		struct ends e;

		if (rows[i].offer)
			assert_int_equal(SSL_CTX_set_alpn_protos(client_ctx, (const unsigned char *)rows[i].offer,
								 (unsigned)strlen(rows[i].offer)), 0);
		open_over(&e, client_ctx, context(&server), NULL, false);
		shake_hands(&e, 4096);
		if ((e.server_step == TLS_STEP_OK) != rows[i].ok || (e.client_step == TLS_STEP_OK) != rows[i].ok)
			fail_msg("%s: %d %d", rows[i].says, e.server_step, e.client_step);
		if (!rows[i].ok)
			assert_contains(tls_filter_error(e.client), "no application protocol");
		close_ends(&e);
	}
}

/* ---- certificates of clients ---- */

static void client_certificates(void **state)
{
	static const struct {
		const char *says;
		enum tls_verify verify;
		bool with_ca;
		int cert; /* -1: none */
		bool ok, is_verified;
		const char *reason;
	} rows[] = {
		{"not asked for", TLS_NO_VERIFY, true, CLIENT, true, false, NULL},
		{"no CA, so not asked for", TLS_VERIFY_OPTIONAL, false, STRANGER, true, false, NULL},
		{"optional, none shown", TLS_VERIFY_OPTIONAL, true, -1, true, false, NULL},
		{"optional, a good one", TLS_VERIFY_OPTIONAL, true, CLIENT, true, true, NULL},
		{"optional, a bad one", TLS_VERIFY_OPTIONAL, true, STRANGER, false, false, "certificate verify failed"},
		{"required, none shown", TLS_VERIFY_REQUIRED, true, -1, false, false, "did not return a certificate"},
		{"required, a good one", TLS_VERIFY_REQUIRED, true, CLIENT, true, true, NULL},
		{"required, a bad one", TLS_VERIFY_REQUIRED, true, STRANGER, false, false, "certificate verify failed"},
	};
	static const char *const versions[] = {"tlsv1.2", "tlsv1.3"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
			struct tls_options client = {.protocols = versions[v]}, server = serving(SITE);
			struct ends e;

			server.verify = rows[i].verify;
			server.ca_file = rows[i].with_ca ? made[CA].cert_file : NULL;
			if (rows[i].cert >= 0) {
				client.cert_file = made[rows[i].cert].cert_file;
				client.key_file = made[rows[i].cert].key_file;
			}
			open_ends(&e, &client, &server, NULL);
			shake_hands(&e, 4096);
			if ((e.server_step == TLS_STEP_OK) != rows[i].ok)
				fail_msg("%s: %d %s", rows[i].says, e.server_step, tls_filter_error(e.server));
			if (rows[i].reason) {
				assert_contains(tls_filter_error(e.server), rows[i].reason);
				if (e.client_step == TLS_STEP_OK)
					assert_int_equal(client_reads_on(&e), TLS_STEP_FAILED);
				assert_contains(tls_filter_error(e.client), "alert");
			} else {
				bool shown = rows[i].is_verified;

				assert_int_equal(tls_filter_peer_is_verified(e.server), shown);
				assert_int_equal(tls_filter_peer_name_matches(e.server, "bouncer"), shown);
				assert_int_equal(tls_filter_peer_name_matches(e.server, "Bouncer"), shown);
				assert_false(tls_filter_peer_name_matches(e.server, "bounce"));
				assert_false(tls_filter_peer_name_matches(e.server, ""));
			}
			close_ends(&e);
		}
}

struct asked {
	bool for_certificate;
	int names; /* of authorities, in the request */
};

static int note_request(SSL *ssl, X509 **cert UNUSED, EVP_PKEY **key UNUSED)
{
	struct asked *asked = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	const STACK_OF(X509_NAME) *names = SSL_get0_peer_CA_list(ssl);

	asked->for_certificate = true;
	asked->names = names ? sk_X509_NAME_num(names) : 0;
	return 0;
}

/* A request costs bytes and, at some clients, a question to the user; the names of a CA bundle are many kilobytes. */
static void certificate_requests(void **state)
{
	static const struct {
		const char *says;
		enum tls_verify verify;
		bool with_ca, is_asked;
	} rows[] = {
		{"no verification", TLS_NO_VERIFY, false, false},
		{"no verification, though there is a CA", TLS_NO_VERIFY, true, false},
		{"optional without a CA", TLS_VERIFY_OPTIONAL, false, false},
		{"optional with a CA", TLS_VERIFY_OPTIONAL, true, true},
		{"required, by the system's CAs", TLS_VERIFY_REQUIRED, false, true},
		{"required, by a CA", TLS_VERIFY_REQUIRED, true, true},
	};
	static const char *const versions[] = {"tlsv1.2", "tlsv1.3"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
			struct tls_options client = {.protocols = versions[v]}, server = serving(SITE);
			struct asked asked = {false, 0};
			SSL_CTX *client_ctx = context(&client);
			struct ends e;

			server.verify = rows[i].verify;
			server.ca_file = rows[i].with_ca ? made[CA].cert_file : NULL;
			SSL_CTX_set_app_data(client_ctx, &asked);
			SSL_CTX_set_client_cert_cb(client_ctx, note_request);
			open_over(&e, client_ctx, context(&server), NULL, false);
			shake_hands(&e, 4096);
			if (asked.for_certificate != rows[i].is_asked)
				fail_msg("%s: %d", rows[i].says, asked.for_certificate);
			assert_int_equal(asked.names, 0);
			close_ends(&e);
		}
}

/* ---- certificates of servers ---- */

static void server_names(void **state)
{
	static const struct {
		int cert;
		const char *host;
		bool matches;
	} rows[] = {
		{SITE, "db.example.org", true},
		{SITE, "DB.Example.ORG", true},
		{SITE, "alias.example.org", true},
		{SITE, "common.example", true},
		{SITE, "example.org", false},
		{SITE, "x.db.example.org", false},
		{SITE, "127.0.0.1", false},
		{SITE, "", false},
		{SITE, NULL, false},
		{CN_ONLY, "old.example.org", true},
		{CN_ONLY, "new.example.org", false},
		{WILDCARD, "any.example.org", true},
		{WILDCARD, "ANY.EXAMPLE.ORG", true},
		{WILDCARD, "two.labels.example.org", false},
		{WILDCARD, "example.org", false},
		{WILDCARD, ".example.org", false},
		{WILDCARD, "localhost", false},
		{IP, "127.0.0.1", true},
		{IP, "::1", true},
		{IP, "0:0:0:0:0:0:0:1", true},
		{IP, "127.0.0.2", false},
		{IP, "10.0.0.1", false},
		{NUL_NAME, "db.example.org", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct tls_options client = {.verify = TLS_VERIFY_REQUIRED, .verify_name = true,
					     .ca_file = made[CA].cert_file};
		struct tls_options server = serving(rows[i].cert);
		struct ends e;

		open_ends(&e, &client, &server, rows[i].host);
		shake_hands(&e, 4096);
		if ((e.client_step == TLS_STEP_OK) != rows[i].matches)
			fail_msg("%s for %s: %s", made[rows[i].cert].name, rows[i].host, tls_filter_error(e.client));
		if (!rows[i].matches)
			assert_contains(tls_filter_error(e.client), "certificate verify failed (hostname mismatch)");
		if (rows[i].matches)
			assert_true(tls_filter_peer_is_verified(e.client));
		close_ends(&e);
	}
}

static void server_chains(void **state)
{
	static const struct {
		enum tls_verify verify;
		int ca;
		bool ok;
	} rows[] = {
		{TLS_NO_VERIFY, OTHER_CA, true},
		{TLS_VERIFY_REQUIRED, CA, true},
		{TLS_VERIFY_REQUIRED, OTHER_CA, false},
		{TLS_VERIFY_REQUIRED, -1, false}, /* the system's bundle does not know us */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct tls_options client = {.verify = rows[i].verify}, server = serving(SITE);
		struct ends e;

		client.ca_file = rows[i].ca >= 0 ? made[rows[i].ca].cert_file : "";
		open_ends(&e, &client, &server, "quite.another.name");
		shake_hands(&e, 1);
		assert_int_equal(e.client_step, rows[i].ok ? TLS_STEP_OK : TLS_STEP_FAILED);
		if (!rows[i].ok) {
			assert_contains(tls_filter_error(e.client), "certificate verify failed (unable to get");
			assert_contains(tls_filter_error(e.server), "unknown ca");
		}
		close_ends(&e);
	}
}

static void the_host_goes_into_sni_unless_it_is_an_address(void **state)
{
	static const struct {
		const char *host, *sni;
	} rows[] = {{"db.example.org", "db.example.org"}, {"127.0.0.1", NULL}, {"::1", NULL}, {NULL, NULL}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct tls_options client = {.protocols = "tlsv1.2"}, server = serving(SITE);
		struct ends e;
		bool found = false;

		open_ends(&e, &client, &server, rows[i].host);
		assert_int_equal(tls_filter_handshake(e.client, &e.up), TLS_STEP_MORE);
		/* A ClientHello is not encrypted. */
		if (rows[i].host)
			found = memmem(buf_data(&e.up), buf_len(&e.up), rows[i].host, strlen(rows[i].host));
		assert_int_equal(found, rows[i].sni != NULL);
		close_ends(&e);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(protocol_lists),
		cmocka_unit_test(contexts_say_what_is_wrong),
		cmocka_unit_test(contexts_take_what_the_manual_allows),
		cmocka_unit_test(handshakes_work_in_any_chunks_and_versions),
		cmocka_unit_test(versions_that_do_not_meet_fail_with_a_reason),
		cmocka_unit_test(big_writes_come_out_whole),
		cmocka_unit_test(little_pieces_share_one_record),
		cmocka_unit_test(data_and_close_notify_in_one_feed_are_both_seen),
		cmocka_unit_test(data_behind_the_handshake_is_kept_for_reading),
		cmocka_unit_test(garbage_fails_with_an_alert_and_a_reason),
		cmocka_unit_test(plain_text_instead_of_tls_fails),
		cmocka_unit_test(an_output_that_cannot_grow_is_a_failure),
		cmocka_unit_test(alpn_must_contain_postgresql_if_there_is_any),
		cmocka_unit_test(client_certificates),
		cmocka_unit_test(certificate_requests),
		cmocka_unit_test(server_names),
		cmocka_unit_test(server_chains),
		cmocka_unit_test(the_host_goes_into_sni_unless_it_is_an_address),
	};

	return cmocka_run_group_tests_name("tls", tests, make_certificates, remove_certificates);
}
