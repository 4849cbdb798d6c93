#include "lib/tls_context.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <openssl/err.h>

#define VERIFY_DEPTH 6
#define ALL_PROTOCOLS (TLS_PROTOCOL_1_0 | TLS_PROTOCOL_1_1 | TLS_PROTOCOL_1_2 | TLS_PROTOCOL_1_3)
#define OLD_PROTOCOLS (TLS_PROTOCOL_1_0 | TLS_PROTOCOL_1_1)

/* The one name PostgreSQL has registered for ALPN, as it stands on the wire. */
static const unsigned char alpn_name[] = "\012postgresql";

/* In ascending order. */
static const struct {
	unsigned bit;
	int version;
	uint64_t without;
} protocols[] = {
	{TLS_PROTOCOL_1_0, TLS1_VERSION, SSL_OP_NO_TLSv1},
	{TLS_PROTOCOL_1_1, TLS1_1_VERSION, SSL_OP_NO_TLSv1_1},
	{TLS_PROTOCOL_1_2, TLS1_2_VERSION, SSL_OP_NO_TLSv1_2},
	{TLS_PROTOCOL_1_3, TLS1_3_VERSION, SSL_OP_NO_TLSv1_3},
};

static const struct {
	const char *word;
	unsigned set;
} protocol_words[] = {
	{"tlsv1.0", TLS_PROTOCOL_1_0},
	{"tlsv1.1", TLS_PROTOCOL_1_1},
	{"tlsv1.2", TLS_PROTOCOL_1_2},
	{"tlsv1.3", TLS_PROTOCOL_1_3},
	{"tlsv1", ALL_PROTOCOLS},
	{"all", ALL_PROTOCOLS},
	{"secure", TLS_PROTOCOL_1_2 | TLS_PROTOCOL_1_3},
	{"default", TLS_PROTOCOL_1_2 | TLS_PROTOCOL_1_3},
};

/* What the steps of tls_context_new() share. */
struct making {
	const struct tls_options *opt;
	const char *prefix;
	SSL_CTX *ctx;
	char *err;
	size_t cap;
};

static bool given(const char *text)
{
	return text && *text;
}

static unsigned protocol_word(const char *word, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(protocol_words); i++)
		if (strlen(protocol_words[i].word) == len && strncasecmp(word, protocol_words[i].word, len) == 0)
			return protocol_words[i].set;
	return 0;
}

bool tls_protocols_parse(const char *list, unsigned *set)
{
	unsigned chosen = 0;
	bool first = true;

	for (const char *p = list;; first = false) {
		size_t len = strcspn(p, ",:"), blanks;
		const char *next = p + len;
		bool removes = false;
		unsigned item;

		blanks = strspn(p, " \t");
		p += blanks;
		len -= blanks;
		if (*p == '!') {
			removes = true;
			p++;
			len--;
		}
		while (len > 0 && isspace((unsigned char)p[len - 1]))
			len--;
		item = protocol_word(p, len);
		if (!item)
			return false;
		if (removes)
			chosen = (first ? ALL_PROTOCOLS : chosen) & ~item;
		else
			chosen |= item;
		if (!*next)
			break;
		p = next + 1;
	}
	*set = chosen;
	return chosen != 0;
}

static bool fail(struct making *m, const char *fmt, ...) PRINTF_LIKE(2, 3);

static bool fail(struct making *m, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(m->err, m->cap, fmt, ap);
	va_end(ap);
	return false;
}

/* The first reason in OpenSSL's queue: what follows is only who passed it on. */
static const char *library_reason(void)
{
	unsigned long code = ERR_peek_error();
	const char *reason = ERR_SYSTEM_ERROR(code) ? strerror((int)ERR_GET_REASON(code)) : ERR_reason_error_string(code);

	return reason ? reason : "unknown error";
}

/*
 * Opened by ourselves first: for a missing file OpenSSL's own story begins
 * differently from release to release, and the system's text is wanted.
 */
static bool check_readable(struct making *m, const char *what, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return fail(m, "TLS setup failed: failed to open %s file \"%s\": %s", what, path, strerror(errno));
	close(fd);
	return true;
}

static bool refuse_file(struct making *m, const char *what, const char *path)
{
	return fail(m, "TLS setup failed: failed to load %s file \"%s\": %s", what, path, library_reason());
}

/* A key that wants a pass phrase must not make a daemon ask its terminal. */
static int no_pass_phrase(char *out UNUSED, int cap UNUSED, int writing UNUSED, void *arg UNUSED)
{
	return 0;
}

static bool set_protocols(struct making *m)
{
	const char *list = given(m->opt->protocols) ? m->opt->protocols : "secure";
	int lowest = 0, highest = 0;
	unsigned set;

	if (!tls_protocols_parse(list, &set))
		return fail(m, "invalid %s_tls_protocols: %s", m->prefix, list);
	for (size_t i = 0; i < ARRAY_LEN(protocols); i++) {
		if (!(set & protocols[i].bit)) {
			SSL_CTX_set_options(m->ctx, protocols[i].without);
			continue;
		}
		SSL_CTX_clear_options(m->ctx, protocols[i].without);
		lowest = lowest ? lowest : protocols[i].version;
		highest = protocols[i].version;
	}
	/* Set even when they are what one expects: openssl.cnf may forbid what was asked for here. */
	if (!SSL_CTX_set_min_proto_version(m->ctx, lowest) || !SSL_CTX_set_max_proto_version(m->ctx, highest))
		return fail(m, "TLS setup failed: failed to set the protocol versions: %s", library_reason());
	/* MD5-SHA1 signatures, all that TLS 1.0 and 1.1 have, are below level 1. A later @SECLEVEL in ciphers wins. */
	if (set & OLD_PROTOCOLS)
		SSL_CTX_set_security_level(m->ctx, 0);
	return true;
}

static bool means_library_default(const char *ciphers)
{
	static const char *const words[] = {"default", "secure", "normal", "fast"};

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcasecmp(ciphers, words[i]) == 0)
			return true;
	return !*ciphers;
}

static bool set_ciphers(struct making *m)
{
	const struct tls_options *opt = m->opt;

	if (opt->ciphers && !means_library_default(opt->ciphers) && !SSL_CTX_set_cipher_list(m->ctx, opt->ciphers))
		return fail(m, "invalid %s_tls_ciphers: %s", m->prefix, opt->ciphers);
	if (given(opt->tls13_ciphers) && !SSL_CTX_set_ciphersuites(m->ctx, opt->tls13_ciphers))
		return fail(m, "TLS setup failed: failed to set the TLSv1.3 cipher suites");
	return true;
}

static bool set_key_exchange(struct making *m)
{
	const char *dh = m->opt->dheparams, *curve = m->opt->ecdhcurve;

	/* legacy is in PgBouncer's manual; the library chooses by the key's size, which is no worse. */
	if (!given(dh) || strcasecmp(dh, "auto") == 0 || strcasecmp(dh, "legacy") == 0)
		SSL_CTX_set_dh_auto(m->ctx, 1);
	else if (strcasecmp(dh, "none") != 0)
		return fail(m, "invalid %s_tls_dheparams: %s", m->prefix, dh);
	/* none leaves the library's groups, too: TLS 1.3 cannot do without. */
	if (!given(curve) || strcasecmp(curve, "auto") == 0 || strcasecmp(curve, "none") == 0)
		return true;
	if (!SSL_CTX_set1_groups_list(m->ctx, curve))
		return fail(m, "invalid %s_tls_ecdhecurve: %s", m->prefix, curve);
	return true;
}

static bool load_own_certificate(struct making *m)
{
	const char *cert = m->opt->cert_file, *key = m->opt->key_file;

	SSL_CTX_set_default_passwd_cb(m->ctx, no_pass_phrase);
	if (given(cert)) {
		if (!check_readable(m, "certificate", cert))
			return false;
		if (SSL_CTX_use_certificate_chain_file(m->ctx, cert) != 1)
			return refuse_file(m, "certificate", cert);
	}
	if (given(key)) {
		if (!check_readable(m, "private key", key))
			return false;
		if (SSL_CTX_use_PrivateKey_file(m->ctx, key, SSL_FILETYPE_PEM) != 1)
			return refuse_file(m, "private key", key);
	}
	if (given(cert) && given(key) && SSL_CTX_check_private_key(m->ctx) != 1)
		return fail(m, "TLS setup failed: private key and certificate do not match: %s", library_reason());
	return true;
}

static bool set_verification(struct making *m)
{
	const char *ca = m->opt->ca_file;
	int mode = SSL_VERIFY_NONE;

	SSL_CTX_set_verify_depth(m->ctx, VERIFY_DEPTH);
	if (m->opt->verify == TLS_VERIFY_REQUIRED)
		mode = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
	else if (m->opt->verify == TLS_VERIFY_OPTIONAL && given(ca))
		mode = SSL_VERIFY_PEER;
	SSL_CTX_set_verify(m->ctx, mode, NULL);
	if (mode == SSL_VERIFY_NONE)
		return true;
	if (!given(ca)) {
		if (SSL_CTX_set_default_verify_paths(m->ctx) != 1)
			return fail(m, "TLS setup failed: failed to load the system's CA bundle: %s", library_reason());
		return true;
	}
	if (!check_readable(m, "CA", ca))
		return false;
	/* The names of the CAs are not sent to clients: they may be a whole bundle, and none means any. */
	if (SSL_CTX_load_verify_file(m->ctx, ca) != 1)
		return refuse_file(m, "CA", ca);
	return true;
}

/* RFC 7301, 3.2: an offer without our name is refused; no offer does not come here. */
static int select_alpn(SSL *ssl UNUSED, const unsigned char **out, unsigned char *out_len, const unsigned char *offer,
		       unsigned offer_len, void *arg UNUSED)
{
	for (unsigned at = 0; at < offer_len; at += 1u + offer[at]) {
		unsigned item_len = 1u + offer[at];

		if (item_len > offer_len - at)
			break;
		if (item_len == sizeof(alpn_name) - 1 && memcmp(offer + at, alpn_name, item_len) == 0) {
			*out = offer + at + 1;
			*out_len = offer[at];
			return SSL_TLSEXT_ERR_OK;
		}
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static void set_behaviour(struct making *m)
{
	SSL_CTX *ctx = m->ctx;

	/* PostgreSQL clients do not resume: each ticket would be work for nothing. */
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET |
				 SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_read_ahead(ctx, 0);
	if (m->opt->for_clients)
		SSL_CTX_set_alpn_select_cb(ctx, select_alpn, NULL);
}

SSL_CTX *tls_context_new(const struct tls_options *opt, const char *setting_prefix, char *err, size_t cap)
{
	struct making m = {.opt = opt, .prefix = setting_prefix, .err = err, .cap = cap};

	ERR_clear_error();
	if (cap > 0)
		err[0] = '\0';
	m.ctx = SSL_CTX_new(opt->for_clients ? TLS_server_method() : TLS_client_method());
	if (!m.ctx) {
		fail(&m, "TLS setup failed: %s", library_reason());
		goto failed;
	}
	set_behaviour(&m);
	if (!set_protocols(&m) || !set_ciphers(&m) || !set_key_exchange(&m) || !load_own_certificate(&m) ||
	    !set_verification(&m))
		goto failed;
	/* Success may leave marks as well, such as the end of a PEM file. */
	ERR_clear_error();
	return m.ctx;
failed:
	SSL_CTX_free(m.ctx);
	ERR_clear_error();
	return NULL;
}
