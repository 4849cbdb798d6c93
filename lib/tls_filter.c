#include "lib/tls_filter.h"

#include <arpa/inet.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#define RECORD_BYTES 16384	/* most plaintext in one record, RFC 8446, 5.1 */
#define RECORD_OVERHEAD 128	/* more than any cipher adds to one */

struct tls_filter {
	SSL *ssl;	     /* owned; its one BIO comes back to this filter */
	struct span in;	     /* what of the fed bytes is unread; in the owner's memory or in kept */
	struct buf kept;     /* owned; holds in after tls_filter_keep(), else empty and without memory */
	struct buf *out;     /* borrowed for one call, else NULL */
	char *host;	     /* owned; the name to verify; NULL: none */
	char *error;	     /* owned; NULL: none */
	int dh_bits;	     /* of the prime in the ServerKeyExchange; 0: there was none */
	bool has_failed;     /* even without memory for the text */
	bool peer_has_closed;
};

/* ---- the BIO: reads f->in, writes to *f->out ---- */

static BIO_METHOD *bio_method; /* made once, never changed, never freed */
static pthread_once_t bio_method_once = PTHREAD_ONCE_INIT;

static int filter_bio_read(BIO *bio, char *to, size_t cap, size_t *n)
{
	struct tls_filter *f = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	*n = f->in.len < cap ? f->in.len : cap;
	if (*n == 0) {
		BIO_set_retry_read(bio);
		return 0;
	}
	memcpy(to, f->in.ptr, *n);
	f->in.ptr += *n;
	f->in.len -= *n;
	return 1;
}

static int filter_bio_write(BIO *bio, const char *from, size_t len, size_t *n)
{
	struct tls_filter *f = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	*n = 0;
	if (!f->out)
		return 0;
	buf_put(f->out, from, len);
	if (!buf_ok(f->out))
		return 0;
	*n = len;
	return 1;
}

static long filter_bio_ctrl(BIO *bio UNUSED, int cmd, long num UNUSED, void *ptr UNUSED)
{
	return cmd == BIO_CTRL_FLUSH;
}

static int filter_bio_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

static void make_bio_method(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "filter");

	if (m && BIO_meth_set_read_ex(m, filter_bio_read) && BIO_meth_set_write_ex(m, filter_bio_write) &&
	    BIO_meth_set_ctrl(m, filter_bio_ctrl) && BIO_meth_set_create(m, filter_bio_create))
		bio_method = m;
	else
		BIO_meth_free(m);
}

/* ---- names in certificates ---- */

/*
 * "*.example.org" is for one label in front of ".example.org"; what follows
 * the wildcard must itself have two labels, so that "*.org" is for nothing.
 */
static bool wildcard_matches(const char *pattern, const char *name)
{
	const char *rest = pattern + 1, *name_rest = strchr(name, '.');

	if (pattern[0] != '*' || rest[0] != '.' || rest[1] == '\0' || rest[1] == '.' || !strchr(rest + 1, '.'))
		return false;
	return name_rest && name_rest != name && strcasecmp(rest, name_rest) == 0;
}

/* text may hold a NUL that somebody put there to be taken for another: then it is for nothing. */
static bool text_matches(const unsigned char *text, int len, const char *name, bool is_ip)
{
	char pattern[256];

	if (len <= 0 || (size_t)len >= sizeof(pattern) || memchr(text, 0, (size_t)len))
		return false;
	memcpy(pattern, text, (size_t)len);
	pattern[len] = '\0';
	return strcasecmp(pattern, name) == 0 || (!is_ip && wildcard_matches(pattern, name));
}

/* The length of the address in out, or 0 when host is none. */
static size_t parse_ip(const char *host, unsigned char out[16])
{
	if (inet_pton(AF_INET, host, out) == 1)
		return 4;
	return inet_pton(AF_INET6, host, out) == 1 ? 16 : 0;
}

static bool alt_name_matches(const GENERAL_NAME *alt, const char *name, const unsigned char *ip, size_t ip_len)
{
	int type;
	const ASN1_STRING *value = GENERAL_NAME_get0_value(alt, &type);

	if (type == GEN_DNS)
		return ip_len == 0 && text_matches(ASN1_STRING_get0_data(value), ASN1_STRING_length(value), name, false);
	if (type == GEN_IPADD)
		return ip_len > 0 && (size_t)ASN1_STRING_length(value) == ip_len &&
		       memcmp(ASN1_STRING_get0_data(value), ip, ip_len) == 0;
	return false;
}

static bool common_name_matches(const X509 *cert, const char *name, bool is_ip)
{
	X509_NAME *subject = X509_get_subject_name(cert);
	int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1), len;
	unsigned char *text = NULL;
	bool matches;

	if (at < 0)
		return false;
	len = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
	matches = len > 0 && text_matches(text, len, name, is_ip);
	OPENSSL_free(text);
	return matches;
}

static bool certificate_names(const X509 *cert, const char *name)
{
	unsigned char ip[16];
	size_t ip_len = parse_ip(name, ip);
	GENERAL_NAMES *alts = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	bool matches = false;

	for (int i = 0; i < sk_GENERAL_NAME_num(alts) && !matches; i++)
		matches = alt_name_matches(sk_GENERAL_NAME_value(alts, i), name, ip, ip_len);
	GENERAL_NAMES_free(alts);
	return matches || common_name_matches(cert, name, ip_len > 0);
}

/* Called by OpenSSL for each certificate of a chain, ours to be named last. */
static int verify_peer(int ok, X509_STORE_CTX *store)
{
	const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	const struct tls_filter *f = SSL_get_app_data(ssl);

	if (ok && f->host && X509_STORE_CTX_get_error_depth(store) == 0 &&
	    !certificate_names(X509_STORE_CTX_get0_cert(store), f->host)) {
		X509_STORE_CTX_set_error(store, X509_V_ERR_HOSTNAME_MISMATCH);
		return 0;
	}
	return ok;
}

/* ---- life ---- */

/*
 * The side that has chosen the prime of a Diffie-Hellman exchange forgets it
 * with the handshake, so it is noted as it passes: RFC 5246, 7.4.3. With
 * elliptic curves there is another structure in its place, which is not read.
 */
static void see_message(int sent UNUSED, int version UNUSED, int type, const void *message, size_t len,
			SSL *ssl UNUSED, void *arg)
{
	struct tls_filter *f = arg;
	const uint8_t *m = message;
	size_t prime;
	int top = 8;

	if (type != SSL3_RT_HANDSHAKE || len < 7 || m[0] != SSL3_MT_SERVER_KEY_EXCHANGE)
		return;
	prime = (size_t)m[4] << 8 | m[5];
	if (prime == 0 || prime > len - 6)
		return;
	while (top > 0 && !(m[6] >> (top - 1)))
		top--;
	f->dh_bits = (int)(prime - 1) * 8 + top;
}

struct tls_filter *tls_filter_new(SSL_CTX *ctx, bool accept_side, const char *host, bool verify_name)
{
	struct tls_filter *f = calloc(1, sizeof(*f));
	unsigned char ip[16];
	BIO *bio;

	pthread_once(&bio_method_once, make_bio_method);
	if (!f || !bio_method)
		goto failed;
	buf_init(&f->kept);
	f->ssl = SSL_new(ctx);
	bio = f->ssl ? BIO_new(bio_method) : NULL;
	if (!bio)
		goto failed;
	BIO_set_data(bio, f);
	SSL_set_bio(f->ssl, bio, bio);
	SSL_set_app_data(f->ssl, f);
	SSL_set_msg_callback(f->ssl, see_message);
	SSL_set_msg_callback_arg(f->ssl, f);
	if (accept_side) {
		SSL_set_accept_state(f->ssl);
		return f;
	}
	SSL_set_connect_state(f->ssl);
	if (!host || !*host)
		/* Nothing to hold the certificate against must not mean that any will do. */
		host = verify_name ? "" : NULL;
	/* RFC 6066, section 3: no literal addresses in SNI. */
	else if (parse_ip(host, ip) == 0 && !SSL_set_tlsext_host_name(f->ssl, host))
		ERR_clear_error(); /* too long for SNI, which is optional */
	if (verify_name) {
		f->host = strdup(host);
		if (!f->host)
			goto failed;
		SSL_set_verify(f->ssl, SSL_get_verify_mode(f->ssl), verify_peer);
	}
	return f;
failed:
	tls_filter_free(f);
	ERR_clear_error();
	return NULL;
}

void tls_filter_free(struct tls_filter *f)
{
	if (!f)
		return;
	SSL_free(f->ssl); /* with its BIO */
	buf_free(&f->kept);
	free(f->host);
	free(f->error);
	free(f);
}

/* ---- bytes in ---- */

bool tls_filter_feed(struct tls_filter *f, struct span cipher)
{
	if (f->in.len == 0) {
		f->in = cipher;
		return true;
	}
	if (cipher.len == 0)
		return true;
	if (!tls_filter_keep(f))
		return false;
	buf_put(&f->kept, cipher.ptr, cipher.len);
	f->in = buf_span(&f->kept);
	return buf_ok(&f->kept);
}

bool tls_filter_keep(struct tls_filter *f)
{
	if (f->in.len == 0)
		return true;
	if (buf_len(&f->kept) > 0) {
		/* Already ours; drop what was read of it. */
		buf_take(&f->kept, buf_len(&f->kept) - f->in.len);
		f->in = buf_span(&f->kept);
		return true;
	}
	buf_put(&f->kept, f->in.ptr, f->in.len);
	f->in = buf_span(&f->kept);
	return buf_ok(&f->kept);
}

bool tls_filter_has_input(const struct tls_filter *f)
{
	return f->in.len > 0 || SSL_pending(f->ssl) > 0;
}

/* ---- steps ---- */

static void begin(struct tls_filter *f, struct buf *cipher_out)
{
	ERR_clear_error();
	f->out = cipher_out;
}

/* Every way out of a step passes here. */
static enum tls_step end(struct tls_filter *f, enum tls_step step)
{
	f->out = NULL;
	if (f->in.len == 0 || step == TLS_STEP_CLOSED || step == TLS_STEP_FAILED) {
		f->in = span_of("", 0);
		if (f->kept.data)
			buf_free(&f->kept);
	}
	return step;
}

static const char *reason_of(unsigned long code)
{
	const char *reason = ERR_SYSTEM_ERROR(code) ? NULL : ERR_reason_error_string(code);

	return reason ? reason : "out of memory or internal error";
}

static enum tls_step failed(struct tls_filter *f)
{
	unsigned long code = ERR_peek_error();
	long verdict = SSL_get_verify_result(f->ssl);
	char text[256];

	if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED &&
	    verdict != X509_V_OK)
		snprintf(text, sizeof(text), "%s (%s)", reason_of(code), X509_verify_cert_error_string(verdict));
	else
		snprintf(text, sizeof(text), "%s", reason_of(code));
	ERR_clear_error();
	f->has_failed = true;
	if (!f->error)
		f->error = strdup(text);
	return TLS_STEP_FAILED;
}

/* What a call that did not succeed means. */
static enum tls_step judge(struct tls_filter *f, int ret)
{
	switch (SSL_get_error(f->ssl, ret)) {
	case SSL_ERROR_WANT_READ:
		return TLS_STEP_MORE;
	case SSL_ERROR_ZERO_RETURN:
		f->peer_has_closed = true;
		return TLS_STEP_CLOSED;
	default:
		return failed(f);
	}
}

enum tls_step tls_filter_handshake(struct tls_filter *f, struct buf *cipher_out)
{
	int ret;

	if (f->has_failed)
		return end(f, TLS_STEP_FAILED);
	begin(f, cipher_out);
	ret = SSL_do_handshake(f->ssl);
	if (ret == 1)
		SSL_set_msg_callback(f->ssl, NULL);
	return end(f, ret == 1 ? TLS_STEP_OK : judge(f, ret));
}

size_t tls_filter_read(struct tls_filter *f, void *plain, size_t cap, struct buf *cipher_out, enum tls_step *step)
{
	size_t filled = 0;

	if (f->has_failed || f->peer_has_closed) {
		*step = end(f, f->has_failed ? TLS_STEP_FAILED : TLS_STEP_CLOSED);
		return 0;
	}
	begin(f, cipher_out);
	for (*step = TLS_STEP_OK; *step == TLS_STEP_OK;) {
		size_t n;
		int ret;

		/* Asked before the library is: it cannot have anything more without input. */
		if (!tls_filter_has_input(f)) {
			*step = TLS_STEP_MORE;
			break;
		}
		if (filled == cap)
			break;
		ret = SSL_read_ex(f->ssl, (char *)plain + filled, cap - filled, &n);
		if (ret == 1)
			filled += n;
		else
			*step = judge(f, ret);
	}
	*step = end(f, *step);
	return filled;
}

/* ---- bytes out ---- */

/* Pieces on their way into records. */
struct gather {
	struct tls_filter *f;
	size_t used;
	bool ok;
	unsigned char record[RECORD_BYTES];
};

static void encrypt(struct gather *g, const void *from, size_t n)
{
	size_t done;

	if (n > 0 && g->ok && SSL_write_ex(g->f->ssl, from, n, &done) != 1) {
		failed(g->f);
		g->ok = false;
	}
}

static void gather_piece(struct gather *g, const unsigned char *p, size_t left)
{
	while (left > 0 && g->ok) {
		size_t n;

		if (g->used == 0 && left >= RECORD_BYTES) {
			/* Whole records need not be copied together. */
			n = left - left % RECORD_BYTES;
			encrypt(g, p, n);
		} else {
			n = RECORD_BYTES - g->used < left ? RECORD_BYTES - g->used : left;
			memcpy(g->record + g->used, p, n);
			g->used += n;
			if (g->used == RECORD_BYTES) {
				encrypt(g, g->record, RECORD_BYTES);
				g->used = 0;
			}
		}
		p += n;
		left -= n;
	}
}

bool tls_filter_write(struct tls_filter *f, const struct iovec *iov, int n, struct buf *cipher_out)
{
	struct gather g;
	size_t total = 0;

	if (f->has_failed)
		return false;
	for (int i = 0; i < n; i++)
		total += iov[i].iov_len;
	if (!buf_reserve(cipher_out, total + (total / RECORD_BYTES + 1) * RECORD_OVERHEAD))
		return false;
	begin(f, cipher_out);
	g.f = f;
	g.used = 0;
	g.ok = true;
	if (n == 1)
		encrypt(&g, iov[0].iov_base, iov[0].iov_len);
	else
		for (int i = 0; i < n; i++)
			gather_piece(&g, iov[i].iov_base, iov[i].iov_len);
	encrypt(&g, g.record, g.used);
	f->out = NULL;
	return g.ok;
}

void tls_filter_shutdown(struct tls_filter *f, struct buf *cipher_out)
{
	/* OpenSSL forbids it after a fatal error, and before the end of a handshake it makes an error of it. */
	if (f->has_failed || !SSL_is_init_finished(f->ssl) || (SSL_get_shutdown(f->ssl) & SSL_SENT_SHUTDOWN))
		return;
	begin(f, cipher_out);
	(void)SSL_shutdown(f->ssl); /* 0 or 1: the peer's is not waited for; -1: the buffer says so itself */
	ERR_clear_error();
	f->out = NULL;
}

/* ---- questions ---- */

void tls_filter_describe(const struct tls_filter *f, char *out, size_t cap)
{
	const SSL_CIPHER *cipher = SSL_get_current_cipher(f->ssl);
	int used;

	if (cap > 0)
		out[0] = '\0';
	if (!cipher || !SSL_is_init_finished(f->ssl))
		return;
	used = snprintf(out, cap, "%s/%s", SSL_get_version(f->ssl), SSL_CIPHER_get_name(cipher));
	if (used < 0 || (size_t)used >= cap)
		return;
	switch (SSL_CIPHER_get_kx_nid(cipher)) {
	case NID_kx_ecdhe: {
		int group = (int)SSL_get_negotiated_group(f->ssl);
		const char *name = group > 0 ? OBJ_nid2sn(group) : NULL;

		if (name)
			snprintf(out + used, cap - (size_t)used, "/ECDH=%s", name);
		break;
	}
	case NID_kx_dhe:
		if (f->dh_bits)
			snprintf(out + used, cap - (size_t)used, "/DH=%d", f->dh_bits);
		break;
	}
	ERR_clear_error();
}

const char *tls_filter_error(const struct tls_filter *f)
{
	if (!f->has_failed)
		return "";
	return f->error ? f->error : "out of memory";
}

bool tls_filter_peer_is_verified(const struct tls_filter *f)
{
	return SSL_get0_peer_certificate(f->ssl) && (SSL_get_verify_mode(f->ssl) & SSL_VERIFY_PEER) &&
	       SSL_get_verify_result(f->ssl) == X509_V_OK;
}

bool tls_filter_peer_name_matches(const struct tls_filter *f, const char *name)
{
	const X509 *cert = SSL_get0_peer_certificate(f->ssl);
	bool matches = cert && certificate_names(cert, name);

	ERR_clear_error();
	return matches;
}
