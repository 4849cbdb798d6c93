/* The store itself: its settings judged, its parts made, its functions listed. */
#include <assert.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <arpa/inet.h>

#include "backup/s3_credentials.h"
#include "backup/s3_work.h"
#include "lib/mem.h"

void s3_library_start(void)
{
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		abort();
}

void s3_library_stop(void)
{
	curl_global_cleanup();
}

static void s3_free(struct storage *st)
{
	struct s3_store *s3;

	if (!st)
		return;
	s3 = s3_of(st);
	if (s3->keys)
		s3_keys_stop(s3->keys);
	assert(list_empty(&s3->calls));
	s3_keys_free(s3->keys);
	http_free(s3->http);
	loop_timer_clear(st->loop, &s3->pump);
	sigv4_key_wipe(&s3->day_key);
	free(s3->scheme);
	free(s3->host);
	free(s3->base_path);
	free(s3->bucket);
	free(s3->path_root);
	free(s3->url_root);
	free(s3->storage_class);
	free(s3->sse);
	free(s3->sse_kms_key);
	free(s3->tags);
	free(s3->acl);
	free(s3);
}

static void s3_describe(const struct storage *st, char *out, size_t size)
{
	const struct s3_store *s3 = CONTAINER_OF(st, struct s3_store, base);
	const char *tls = !s3->is_tls	  ? "not encrypted on its way"
			  : s3->is_insecure ? "over TLS, but the certificate is NOT checked"
					    : "over TLS, certificate checked";

	snprintf(out, size, "%s%s, region %s, %s", s3->url_root, s3->path_root, s3->region, tls);
}

static const struct storage_ops s3_ops = {
	.name = "s3",
	.put = s3_put,
	.replace = s3_replace,
	.head = s3_head,
	.get = s3_get,
	.remove = s3_remove,
	.list = s3_list,
	.upload_begin = s3_upload_begin,
	.upload_part = s3_upload_part,
	.upload_complete = s3_upload_complete,
	.upload_abort = s3_upload_abort,
	.upload_id = s3_upload_id,
	.upload_free = s3_upload_free,
	.list_uploads = s3_list_uploads,
	.abort_stale = s3_abort_stale,
	.describe = s3_describe,
	.cancel = s3_work_cancel,
	.free = s3_free,
};

/* ---- settings ---- */

/* With or without a port. */
static bool is_address(const char *host)
{
	char bare[64];
	unsigned char bytes[16];

	snprintf(bare, sizeof(bare), "%.*s", (int)strcspn(host, ":"), host);
	return *host == '[' || inet_pton(AF_INET, bare, bytes) == 1;
}

static bool is_loopback(const char *host)
{
	return strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
	       (strncmp(host, "127.", 4) == 0 && is_address(host));
}

static char *part_of(CURLU *u, CURLUPart what)
{
	char *text = NULL, *copy;

	if (curl_url_get(u, what, &text, 0) != CURLUE_OK)
		return NULL;
	copy = xstrdup(text);
	curl_free(text);
	return copy;
}

static void lower(char *s)
{
	for (; *s; s++)
		if (*s >= 'A' && *s <= 'Z')
			*s = (char)(*s + ('a' - 'A'));
}

/* scheme, host with its port, base path. NULL or why not. */
static const char *read_endpoint(struct s3_store *s3, const char *endpoint, bool may_use_http)
{
	CURLU *u = curl_url();
	const char *why = NULL;
	char *port, *user, *query;

	if (!strstr(endpoint, "://")) {
		curl_url_cleanup(u);
		return "the endpoint has no scheme: https://host";
	}
	if (!u || curl_url_set(u, CURLUPART_URL, endpoint, CURLU_PATH_AS_IS) != CURLUE_OK) {
		curl_url_cleanup(u);
		return "the endpoint is no URL";
	}
	s3->scheme = part_of(u, CURLUPART_SCHEME);
	s3->host = part_of(u, CURLUPART_HOST);
	s3->base_path = part_of(u, CURLUPART_PATH);
	port = part_of(u, CURLUPART_PORT);
	user = part_of(u, CURLUPART_USER);
	query = part_of(u, CURLUPART_QUERY);
	curl_url_cleanup(u);
	if (!s3->scheme || (strcasecmp(s3->scheme, "https") != 0 && strcasecmp(s3->scheme, "http") != 0)) {
		why = "the endpoint's scheme is neither https nor http";
	} else if (!s3->host || user || query) {
		why = "the endpoint is more or less than scheme, host, port and path";
	} else {
		lower(s3->scheme);
		lower(s3->host);
		s3->is_tls = strcmp(s3->scheme, "https") == 0;
		if (!s3->is_tls && !may_use_http && !is_loopback(s3->host))
			why = "http:// to another machine would show everything but the dump itself; allow_http "
			      "permits it";
	}
	if (!why && port && strcmp(port, s3->is_tls ? "443" : "80") != 0) {
		char *host = xasprintf("%s:%s", s3->host, port);

		free(s3->host);
		s3->host = host;
	}
	for (char *end = s3->base_path ? strchr(s3->base_path, 0) : NULL; end && end > s3->base_path && end[-1] == '/';)
		*--end = 0;
	free(port);
	free(user);
	free(query);
	return why;
}

static void set_addressing(struct s3_store *s3, bool is_virtual)
{
	const char *base = s3->base_path ? s3->base_path : "";

	if (is_virtual && is_address(s3->host)) {
		is_virtual = false;
	} else if (is_virtual && s3->is_tls && strchr(s3->bucket, '.')) {
		/* Wildcard certificates are for one label. Said when somebody can hear it: see s3_store_new. */
		is_virtual = false;
	}
	if (is_virtual) {
		char *host = xasprintf("%s.%s", s3->bucket, s3->host);

		free(s3->host);
		s3->host = host;
		s3->path_root = xstrdup(base);
	} else {
		s3->path_root = xasprintf("%s/%s", base, s3->bucket);
	}
	s3->url_root = xasprintf("%s://%s", s3->scheme, s3->host);
}

static bool fits_header(const char *text)
{
	if (!text)
		return true;
	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		if (*p < 0x20 || *p >= 0x7f)
			return false;
	return true;
}

static const char *judge_settings(const struct s3_settings *s)
{
	if (!s->endpoint || !*s->endpoint)
		return "no endpoint";
	if (!s->bucket || !*s->bucket || strchr(s->bucket, '/') || strlen(s->bucket) > 255 || !fits_header(s->bucket))
		return "the bucket's name is empty or not one";
	if (s->region && (strlen(s->region) >= sizeof(((struct s3_store *)0)->region) || strchr(s->region, '/') ||
			  !fits_header(s->region)))
		return "the region is not one";
	if (!fits_header(s->storage_class) || !fits_header(s->sse) || !fits_header(s->sse_kms_key) ||
	    !fits_header(s->tags) || !fits_header(s->acl))
		return "storage_class, sse, sse_kms_key, tags and acl are plain ASCII";
	return NULL;
}

static usec_t or_else(usec_t given, usec_t otherwise)
{
	return given > 0 ? given : otherwise;
}

struct storage *s3_store_new(struct loop *loop, const struct s3_settings *s, char *why, size_t why_size)
{
	const char *wrong = judge_settings(s);
	struct s3_store *s3;
	struct http_settings h;

	if (wrong) {
		snprintf(why, why_size, "%s", wrong);
		return NULL;
	}
	s3 = xcalloc(1, sizeof(*s3));
	s3->base.ops = &s3_ops;
	s3->base.loop = loop;
	list_init(&s3->queued);
	list_init(&s3->waiting_for_keys);
	list_init(&s3->calls);
	s3->pump.fire = s3_pump;
	wrong = read_endpoint(s3, s->endpoint, s->may_use_http);
	if (wrong) {
		snprintf(why, why_size, "%s", wrong);
		s3_free(&s3->base);
		return NULL;
	}
	s3->bucket = xstrdup(s->bucket);
	set_addressing(s3, s->is_virtual_host);
	snprintf(s3->region, sizeof(s3->region), "%s", s->region && *s->region ? s->region : "auto");
	s3->is_region_auto = strcmp(s3->region, "auto") == 0;
	s3->is_unsigned_body = s->is_unsigned_body;
	s3->is_insecure = s->is_insecure;
	s3->check = s->checksum;
	s3->storage_class = xstrdup(s->storage_class);
	s3->sse = xstrdup(s->sse);
	s3->sse_kms_key = xstrdup(s->sse_kms_key);
	s3->tags = xstrdup(s->tags);
	s3->acl = xstrdup(s->acl);
	s3->request_timeout = or_else(s->request_timeout, 15 * 60 * USEC_PER_SEC);
	s3->backoff_first = or_else(s->backoff_first, USEC_PER_SEC / 2);
	s3->backoff_most = or_else(s->backoff_most, 30 * USEC_PER_SEC);
	s3->attempts = s->attempts ? s->attempts : 8;
	s3->page_size = s->page_size && s->page_size <= 1000 ? s->page_size : 1000;
	s3->parts_wanted = s3->parts_max = s->concurrency ? s->concurrency : 2;
	s3->running_max = s3->parts_wanted + 1;
	h = (struct http_settings){
		.ca_file = s->ca_file,
		.user_agent = s->user_agent ? s->user_agent : "pg-ecdsa-backup",
		.is_insecure = s->is_insecure,
		.connect_timeout = or_else(s->connect_timeout, 10 * USEC_PER_SEC),
		.stall_timeout = or_else(s->stall_timeout, 60 * USEC_PER_SEC),
		.upload_rate = s->upload_rate,
		.download_rate = s->download_rate,
	};
	s3->http = http_new(loop, &h);
	s3->keys = s3_keys_new(s3, loop, s3->http, s, s3->region, why, why_size);
	if (!s3->keys) {
		s3_free(&s3->base);
		return NULL;
	}
	return &s3->base;
}
