#include "tls_setup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "lib/tls_context.h"

#define REASON_MAX 1024

static bool given(const char *text)
{
	return text && *text;
}

/* The settings judged together; the order is the specification's. setting: whose line is to be looked at. */
struct disagreement {
	bool is_so;
	const char *setting, *text;
};

static size_t client_disagreements(const struct settings *s, struct disagreement out[4])
{
	bool is_on = s->client_tls_sslmode != TLS_DISABLE, by_cert = s->auth_type == AUTH_TYPE_CERT;
	bool has_ca = given(s->client_tls_ca_file), is_full = s->client_tls_sslmode == TLS_VERIFY_FULL;
	const struct disagreement all[] = {
		{is_on && (!given(s->client_tls_key_file) || !given(s->client_tls_cert_file)), "client_tls_sslmode",
		 "To allow TLS connections from clients, client_tls_key_file and client_tls_cert_file must be set."},
		{by_cert && !is_full, "auth_type", "auth_type=cert requires client_tls_sslmode=SSLMODE_VERIFY_FULL"},
		{by_cert && !has_ca, "auth_type", "auth_type=cert requires client_tls_ca_file"},
		{is_full && !has_ca, "client_tls_sslmode", "client_tls_sslmode requires client_tls_ca_file"},
	};
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (all[i].is_so)
			out[n++] = all[i];
	return n;
}

static bool client_settings_agree(const struct settings *s)
{
	struct disagreement found[4];
	size_t n = client_disagreements(s, found);

	if (n > 0)
		log_error("%s", found[0].text);
	return n == 0;
}

static struct tls_options client_options(const struct settings *s)
{
	return (struct tls_options){
		.for_clients = true,
		.verify = s->client_tls_sslmode >= TLS_VERIFY_CA ? TLS_VERIFY_REQUIRED : TLS_VERIFY_OPTIONAL,
		.protocols = s->client_tls_protocols,
		.ciphers = s->client_tls_ciphers,
		.tls13_ciphers = s->client_tls13_ciphers,
		.ca_file = s->client_tls_ca_file,
		.cert_file = s->client_tls_cert_file,
		.key_file = s->client_tls_key_file,
		.dheparams = s->client_tls_dheparams,
		.ecdhcurve = s->client_tls_ecdhcurve,
	};
}

static struct tls_options server_options(const struct settings *s)
{
	return (struct tls_options){
		.verify = s->server_tls_sslmode >= TLS_VERIFY_CA ? TLS_VERIFY_REQUIRED : TLS_NO_VERIFY,
		.verify_name = s->server_tls_sslmode == TLS_VERIFY_FULL,
		.protocols = s->server_tls_protocols,
		.ciphers = s->server_tls_ciphers,
		.tls13_ciphers = s->server_tls13_ciphers,
		.ca_file = s->server_tls_ca_file,
		.cert_file = s->server_tls_cert_file,
		.key_file = s->server_tls_key_file,
	};
}

static int fill(SSL_CTX **contexts, int n, const struct tls_options *options, const char *prefix)
{
	char reason[REASON_MAX];

	for (int i = 0; i < n; i++) {
		contexts[i] = tls_context_new(options, prefix, reason, sizeof(reason));
		if (!contexts[i]) {
			log_error("%s", reason);
			return -1;
		}
	}
	return 0;
}

int tls_setup_make(struct tls_setup *t, const struct settings *s, int workers)
{
	const struct tls_options for_clients = client_options(s), for_servers = server_options(s);

	*t = (struct tls_setup){.n = workers};
	t->client = xcalloc((size_t)workers, sizeof(SSL_CTX *));
	t->server = xcalloc((size_t)workers, sizeof(SSL_CTX *));
	if (!client_settings_agree(s))
		goto failed;
	if (s->client_tls_sslmode != TLS_DISABLE && fill(t->client, workers, &for_clients, "client") < 0)
		goto failed;
	if (s->server_tls_sslmode != TLS_DISABLE && fill(t->server, workers, &for_servers, "server") < 0)
		goto failed;
	return 0;
failed:
	tls_setup_free(t);
	return -1;
}

/* --- one problem after the other ----------------------------------------------- */

struct checking {
	void (*at)(void *ctx, const char *setting);
	void *ctx;
	bool is_good;
};

static void complain(struct checking *c, const char *setting, const char *text)
{
	c->at(c->ctx, setting);
	log_error("%s", text);
	c->at(c->ctx, NULL);
	c->is_good = false;
}

/* false: it is named and cannot be read, so that there is no sense in looking further. */
static bool check_file(struct checking *c, const char *setting, const char *path)
{
	char text[REASON_MAX];
	int fd = given(path) ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;

	if (fd < 0 && given(path)) {
		snprintf(text, sizeof(text), "%s = %.500s: %s", setting, path, strerror(errno));
		complain(c, setting, text);
		return false;
	}
	if (fd >= 0)
		close(fd);
	return true;
}

/* The library tells one problem only; it is about a setting of that side. */
static void check_context(struct checking *c, const struct tls_options *options, const char *prefix,
			  const char *setting)
{
	char reason[REASON_MAX];
	SSL_CTX *ctx = tls_context_new(options, prefix, reason, sizeof(reason));

	if (!ctx)
		complain(c, setting, reason);
	SSL_CTX_free(ctx);
}

bool tls_setup_check(const struct settings *s, void (*at)(void *ctx, const char *setting), void *ctx)
{
	const struct tls_options for_clients = client_options(s), for_servers = server_options(s);
	struct checking c = {at, ctx, true};
	struct disagreement found[4];
	size_t n = client_disagreements(s, found);

	for (size_t i = 0; i < n; i++)
		complain(&c, found[i].setting, found[i].text);
	if (s->client_tls_sslmode != TLS_DISABLE &&
	    check_file(&c, "client_tls_key_file", s->client_tls_key_file) &
	    check_file(&c, "client_tls_cert_file", s->client_tls_cert_file) &
	    check_file(&c, "client_tls_ca_file", s->client_tls_ca_file))
		check_context(&c, &for_clients, "client", "client_tls_sslmode");
	if (s->server_tls_sslmode != TLS_DISABLE &&
	    check_file(&c, "server_tls_key_file", s->server_tls_key_file) &
	    check_file(&c, "server_tls_cert_file", s->server_tls_cert_file) &
	    check_file(&c, "server_tls_ca_file", s->server_tls_ca_file))
		check_context(&c, &for_servers, "server", "server_tls_sslmode");
	return c.is_good;
}

void tls_setup_free(struct tls_setup *t)
{
	for (int i = 0; i < t->n; i++) {
		SSL_CTX_free(t->client[i]);
		SSL_CTX_free(t->server[i]);
	}
	free(t->client);
	free(t->server);
	*t = (struct tls_setup){0};
}

bool tls_setup_certificate(const struct tls_setup *t, uint8_t sha256[32])
{
	X509 *x = t->n > 0 && t->client[0] ? SSL_CTX_get0_certificate(t->client[0]) : NULL;
	unsigned n = 0;

	return x && X509_digest(x, EVP_sha256(), sha256, &n) && n == 32;
}

static const char *text_of(const char *value)
{
	return value ? value : "";
}

char *tls_setup_server_text(const struct settings *s)
{
	/* Values are single lines, so a newline keeps them apart. */
	return xasprintf("%d\n%s\n%s\n%s\n%s\n%s\n%s", s->server_tls_sslmode, text_of(s->server_tls_protocols),
			 text_of(s->server_tls_ciphers), text_of(s->server_tls13_ciphers),
			 text_of(s->server_tls_ca_file), text_of(s->server_tls_cert_file),
			 text_of(s->server_tls_key_file));
}
