#include "http/attest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "admin/ask.h"
#include "http/json.h"
#include "lib/hex.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/mem.h"

#define EVIDENCE_MAX (256 * 1024)
#define PATIENCE_SECONDS 10 /* with the platform, for each read and write */
#define UNDER_WAY_MAX 8

enum { NONCE_MIN = 16, NONCE_MAX = 64 };

struct binding {
	char nonce[NONCE_MAX + 1];
	bool has_certificate;
	uint8_t certificate[32]; /* SHA-256 of its DER form */
	uint8_t report[64];	 /* SHA-512 over both; what a quote carries */
};

/* ---- platforms ---- */

static void hex_text(struct buf *b, const uint8_t *bytes, size_t n)
{
	char digits[2 * 64 + 1];

	hex_encode(bytes, n, digits);
	buf_put_text(b, digits);
}

/* EigenCompute runs on Confidential Space: a token that repeats what it was given as nonces. */
static void ask_confidential_space(struct buf *body, const struct binding *on)
{
	buf_printf(body, "{\"audience\":\"pg-ecdsa-proxy\",\"token_type\":\"OIDC\",\"nonces\":[\"%s\"", on->nonce);
	if (on->has_certificate) {
		buf_put_text(body, ",\"");
		hex_text(body, on->certificate, sizeof(on->certificate));
		buf_put_text(body, "\"");
	}
	buf_put_text(body, "]}");
}

/* dstack: a TDX quote with 64 bytes of report data. */
static void ask_dstack(struct buf *body, const struct binding *on)
{
	buf_put_text(body, "{\"report_data\":\"");
	hex_text(body, on->report, sizeof(on->report));
	buf_put_text(body, "\"}");
}

static const struct platform {
	const char *name;
	const char *socket;
	const char *path;
	void (*ask)(struct buf *body, const struct binding *);
} platforms[] = {
	{"eigencompute", "/run/container_launcher/teeserver.sock", "/v1/token", ask_confidential_space},
	{"dstack", "/var/run/dstack.sock", "/GetQuote", ask_dstack},
};

/* auto: the one whose socket is there. NULL: none, or off. */
static const struct platform *choose(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(platforms); i++)
		if (strcmp(name, platforms[i].name) == 0 ||
		    (strcmp(name, "auto") == 0 && access(platforms[i].socket, F_OK) == 0))
			return &platforms[i];
	return NULL;
}

/* ---- one conversation, in a helper thread ---- */

struct attestation {
	struct job job; /* first */
	struct list link;
	const struct platform *platform;
	char socket[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	struct binding binding;
	struct buf evidence;
	const char *error; /* for the log; NULL: evidence is good */
	void (*done)(void *ctx, int code, struct buf *json); /* NULL: nobody waits any more */
	void *ctx;
};

static struct list under_way = {&under_way, &under_way};
static int under_way_count;

static int dial(const char *path)
{
	const struct timeval patience = {PATIENCE_SECONDS, 0};
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static bool send_all(int fd, struct buf *b)
{
	if (!buf_ok(b))
		return false;
	while (buf_len(b) > 0) {
		ssize_t n = send(fd, buf_data(b), buf_len(b), MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		buf_take(b, (size_t)n);
	}
	return true;
}

static bool receive_all(int fd, struct buf *b)
{
	char piece[4096];
	ssize_t n;

	while ((n = recv(fd, piece, sizeof(piece), 0)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || buf_len(b) + (size_t)n > EVIDENCE_MAX)
			return false;
		buf_put(b, piece, (size_t)n);
	}
	buf_put_u8(b, 0);
	return buf_ok(b);
}

/* Leaves the body in reply, a NUL behind it. HTTP/1.0: it ends with the connection, and is in one piece. */
static const char *take_body(struct buf *reply)
{
	const char *text = (const char *)buf_data(reply), *body;
	int code = 0;

	if (sscanf(text, "HTTP/1.%*1d %d", &code) != 1)
		return "the answer is no HTTP";
	if (code != 200)
		return "the platform refused";
	body = strstr(text, "\r\n\r\n");
	if (!body)
		return "the answer has no body";
	buf_take(reply, (size_t)(body + 4 - text));
	return NULL;
}

static const char *converse(struct attestation *a, int fd)
{
	struct buf body, request;
	bool ok;

	buf_init(&body);
	buf_init(&request);
	a->platform->ask(&body, &a->binding);
	buf_printf(&request,
		   "POST %s HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
		   "Connection: close\r\n\r\n",
		   a->platform->path, buf_len(&body));
	buf_put(&request, buf_span(&body).ptr, buf_len(&body));
	ok = buf_ok(&body) && send_all(fd, &request);
	buf_free(&body);
	buf_free(&request);
	if (!ok || !receive_all(fd, &a->evidence))
		return "the platform's socket broke off, or says too much";
	return take_body(&a->evidence);
}

static void run(struct job *j)
{
	struct attestation *a = CONTAINER_OF(j, struct attestation, job);
	int fd = dial(a->socket);

	if (fd < 0) {
		a->error = "cannot connect to the platform's socket";
		return;
	}
	a->error = converse(a, fd);
	close(fd);
}

/* ---- the answer ---- */

static void put_hex_field(struct buf *b, const char *name, const uint8_t *bytes, size_t n)
{
	buf_printf(b, ",\"%s\":", name);
	if (!bytes) {
		buf_put_text(b, "null");
		return;
	}
	buf_put_u8(b, '"');
	hex_text(b, bytes, n);
	buf_put_u8(b, '"');
}

static void write_answer(struct buf *b, const struct attestation *a)
{
	buf_printf(b, "{\"platform\":\"%s\",\"nonce\":\"%s\"", a->platform->name, a->binding.nonce);
	put_hex_field(b, "certificate_sha256", a->binding.has_certificate ? a->binding.certificate : NULL,
		      sizeof(a->binding.certificate));
	put_hex_field(b, "report_data", a->binding.report, sizeof(a->binding.report));
	buf_put_text(b, ",\"evidence\":");
	json_put_string(b, (const char *)buf_data(&a->evidence));
	buf_put_text(b, "}\n");
}

static void write_error(struct buf *b, const char *text)
{
	buf_put_text(b, "{\"error\":");
	json_put_string(b, text);
	buf_put_text(b, "}\n");
}

static void job_done(struct worker *w UNUSED, struct job *j)
{
	struct attestation *a = CONTAINER_OF(j, struct attestation, job);
	struct buf b;

	list_del(&a->link);
	under_way_count--;
	buf_init(&b);
	if (a->error) {
		log_warning("attestation: %s (%s)", a->error, a->socket);
		write_error(&b, "the platform gave no evidence");
	} else
		write_answer(&b, a);
	if (a->done)
		a->done(a->ctx, a->error ? 502 : 200, &b);
	buf_free(&b);
	buf_free(&a->evidence);
	free(a);
}

static void refuse(void (*done)(void *ctx, int code, struct buf *json), void *ctx, int code, const char *text)
{
	struct buf b;

	buf_init(&b);
	write_error(&b, text);
	done(ctx, code, &b);
	buf_free(&b);
}

static bool nonce_is_good(const char *nonce)
{
	size_t n = nonce ? strspn(nonce, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") : 0;

	return n >= NONCE_MIN && n <= NONCE_MAX && !nonce[n];
}

/* report = SHA-512("pg-ecdsa-proxy attestation 1" 0x00, certificate or nothing, nonce) */
static bool bind_report(struct binding *on)
{
	static const char purpose[] = "pg-ecdsa-proxy attestation 1";
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	unsigned n = 0;
	bool ok = md && EVP_DigestInit_ex(md, EVP_sha512(), NULL) && EVP_DigestUpdate(md, purpose, sizeof(purpose)) &&
		  (!on->has_certificate || EVP_DigestUpdate(md, on->certificate, sizeof(on->certificate))) &&
		  EVP_DigestUpdate(md, on->nonce, strlen(on->nonce)) && EVP_DigestFinal_ex(md, on->report, &n) &&
		  n == sizeof(on->report);

	EVP_MD_CTX_free(md);
	return ok;
}

void attest_begin(const struct settings *s, const char *nonce, void (*done)(void *ctx, int code, struct buf *json),
		  void *ctx)
{
	const struct platform *p = choose(s->http_attestation ? s->http_attestation : "");
	struct attestation *a;

	if (!nonce_is_good(nonce)) {
		refuse(done, ctx, 400, "nonce: 16 to 64 letters, digits, '-' or '_' are needed");
		return;
	}
	if (!p) {
		refuse(done, ctx, 404, "there is no attestation here");
		return;
	}
	a = under_way_count < UNDER_WAY_MAX ? calloc(1, sizeof(*a)) : NULL;
	if (!a) {
		refuse(done, ctx, 503, "too many at once, try again");
		return;
	}
	list_init(&a->link);
	buf_init(&a->evidence);
	a->platform = p;
	snprintf(a->socket, sizeof(a->socket), "%s",
		 s->http_attestation_socket && s->http_attestation_socket[0] ? s->http_attestation_socket : p->socket);
	snprintf(a->binding.nonce, sizeof(a->binding.nonce), "%s", nonce);
	a->binding.has_certificate = console_host.ops->certificate(a->binding.certificate);
	a->done = done;
	a->ctx = ctx;
	if (!bind_report(&a->binding)) {
		free(a);
		refuse(done, ctx, 503, "out of memory");
		return;
	}
	list_add_tail(&under_way, &a->link);
	under_way_count++;
	a->job.run = run;
	a->job.done = job_done;
	crew_submit(console_host.pooler->crew->control, LANE_ATTEST, &a->job);
}

void attest_forget(void)
{
	LIST_FOR(node, &under_way)
		LIST_ITEM(node, struct attestation, link)->done = NULL;
}
