#include "backup/s3_call.h"

#include <assert.h>
#include <curl/curl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "backup/digest.h"
#include "backup/s3_credentials.h"
#include "lib/mem.h"

#define RETRY_AFTER_MOST (300 * USEC_PER_SEC)
#define DAMAGED_MOST 2
#define PATIENCE (5 * USEC_PER_SEC)
/* A body is given a second more for so much of it. */
#define SLOWEST_BODY ((uint64_t)256 << 10)
/* From this size on libcurl sends Expect: 100-continue. */
#define EXPECT_FROM ((uint64_t)1 << 20)
#define SILENT_MOST 2
/* So much is hashed before the loop gets its turn. */
#define HASH_SLICE ((uint64_t)16 << 20)
#define FILE_BLOCK ((size_t)256 << 10)
#define SLOW_TRIES 3
#define QUICK_PARTS 20

static void take_keys(struct s3_call *);
static void hash_body(struct s3_call *);

struct s3_call *s3_call_new(struct s3_store *s3, const char *what, const char *method, const char *key)
{
	struct s3_call *c = xcalloc(1, sizeof(*c));

	c->s3 = s3;
	c->what = what;
	c->method = method;
	c->key = xstrdup(key);
	c->attempts = s3->attempts;
	c->budget = s3->request_timeout;
	c->doc_max = S3_XML_MAX;
	c->result = STORAGE_CANCELLED;
	c->state = S3_ENDED;
	list_init(&c->line);
	list_add_tail(&s3->calls, &c->link);
	s3_answer_clear(&c->answer);
	return c;
}

void s3_call_query(struct s3_call *c, const char *name, const char *value)
{
	assert(c->query_count < S3_QUERY_MAX);
	c->query[c->query_count++] = (struct sigv4_pair){name, xstrdup(value)};
}

void s3_call_header(struct s3_call *c, const char *name, const char *value)
{
	size_t i = 0;

	while (i < c->header_count && strcasecmp(c->headers[i].name, name) != 0)
		i++;
	if (i < c->header_count) {
		free((char *)c->headers[i].value);
		c->headers[i] = c->headers[--c->header_count];
	}
	if (!value || !*value)
		return;
	assert(c->header_count < S3_HEADERS_MAX);
	c->headers[c->header_count++] = (struct sigv4_pair){name, xstrdup(value)};
}

static void forget_try(struct s3_call *c)
{
	s3_doc_free(&c->doc);
	free(c->url);
	c->url = NULL;
	for (size_t i = 0; i < ARRAY_LEN(c->lines); i++) {
		/* The session token is in one of them. */
		str_wipe_free(c->lines[i]);
		c->lines[i] = NULL;
	}
}

void s3_call_free(struct s3_call *c)
{
	if (!c)
		return;
	assert(c->state == S3_ENDED);
	forget_try(c);
	for (size_t i = 0; i < c->query_count; i++)
		free((char *)c->query[i].value);
	for (size_t i = 0; i < c->header_count; i++)
		free((char *)c->headers[i].value);
	digest_free(c->digest);
	list_del(&c->link);
	free(c->key);
	free(c);
}

void s3_notice(struct s3_store *s3, const char *fmt, ...)
{
	char text[512];
	va_list args;

	if (!s3->base.watcher.notice)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	s3->base.watcher.notice(s3->base.watcher.ctx, text);
}

/* ---- the end of a call ---- */

/* A store that keeps us waiting gets fewer parts at once; it earns the others back slowly. */
static void note_pace(struct s3_call *c)
{
	struct s3_store *s3 = c->s3;

	if (c->tries > SLOW_TRIES) {
		s3->quick_in_row = 0;
		if (++s3->slow_in_row >= 2) {
			s3->slow_in_row = 0;
			if (s3->parts_max > 1)
				s3_notice(s3, "the store is slow: %u parts at once, instead of %u", s3->parts_max / 2,
					  s3->parts_max);
			s3->parts_max = s3->parts_max > 1 ? s3->parts_max / 2 : 1;
		}
		return;
	}
	s3->slow_in_row = 0;
	if (c->result == STORAGE_OK && c->tries == 1 && s3->parts_max < s3->parts_wanted &&
	    ++s3->quick_in_row >= QUICK_PARTS) {
		s3->quick_in_row = 0;
		s3->parts_max++;
	}
}

static void end(struct s3_call *c, enum storage_result result)
{
	struct s3_store *s3 = c->s3;

	c->result = result;
	if (result == STORAGE_OK)
		c->error = (struct storage_error){0};
	list_del(&c->line);
	loop_timer_clear(s3->base.loop, &c->timer);
	digest_free(c->digest);
	c->digest = NULL;
	if (c->is_part && c->has_slot)
		note_pace(c);
	if (c->has_slot) {
		s3->running--;
		s3->parts_running -= c->is_part;
		c->has_slot = false;
	}
	loop_timer_set(s3->base.loop, &s3->pump, loop_now());
	c->state = S3_ENDED;
	/* May free the call. */
	c->ended(c);
}

static void fail(struct s3_call *c, enum storage_result result, const char *code, const char *message)
{
	c->error.http = 0;
	snprintf(c->error.code, sizeof(c->error.code), "%s", code);
	snprintf(c->error.message, sizeof(c->error.message), "%s", message);
	end(c, result);
}

/* ---- trying again ---- */

static void timer_fires(struct loop_timer *t)
{
	struct s3_call *c = CONTAINER_OF(t, struct s3_call, timer);

	if (c->is_cancelled && c->state == S3_SENT) {
		http_cancel(&c->http);
	} else if (c->is_cancelled) {
		end(c, STORAGE_CANCELLED);
	} else if (c->state == S3_HASHING) {
		hash_body(c);
	} else {
		if (c->again && c->tries)
			c->again(c);
		take_keys(c);
	}
}

static uint64_t random_number(void)
{
	uint64_t n;

	mem_random(&n, sizeof(n));
	return n;
}

static void rest(struct s3_call *c, enum storage_result result)
{
	struct s3_store *s3 = c->s3;
	usec_t wait = s3_backoff(s3->backoff_first, s3->backoff_most, c->tries - 1, random_number()), now = loop_now();

	if (c->answer.retry_after >= 0) {
		wait = c->answer.retry_after > RETRY_AFTER_MOST / USEC_PER_SEC ? RETRY_AFTER_MOST
									      : c->answer.retry_after * USEC_PER_SEC;
	}
	if (c->tries >= c->attempts || now + wait >= c->deadline) {
		end(c, result);
		return;
	}
	if (s3->base.watcher.retry)
		s3->base.watcher.retry(s3->base.watcher.ctx, c->what, c->tries, c->error.code, &c->error, wait);
	c->state = S3_RESTING;
	loop_timer_set(s3->base.loop, &c->timer, now + wait);
}

static void adjust_clock(struct s3_call *c, enum storage_result result)
{
	struct s3_store *s3 = c->s3;

	if (c->has_adjusted_clock || !c->answer.date) {
		end(c, result);
		return;
	}
	c->has_adjusted_clock = true;
	s3->skew = c->answer.date - time(NULL);
	s3_notice(s3, "the store's clock is %lld s %s ours; signatures follow it", llabs((long long)s3->skew),
		  s3->skew < 0 ? "behind" : "ahead of");
	take_keys(c);
}

static void adjust_keys(struct s3_call *c, enum storage_result result)
{
	if (c->has_adjusted_keys || !s3_keys_expire(c->s3->keys)) {
		end(c, result);
		return;
	}
	c->has_adjusted_keys = true;
	take_keys(c);
}

static const char *region_told(const struct s3_call *c)
{
	return *c->doc.region ? c->doc.region : c->answer.region;
}

static void adjust_region(struct s3_call *c, enum storage_result result)
{
	struct s3_store *s3 = c->s3;
	const char *region = region_told(c);

	if (!s3->is_region_auto || c->has_adjusted_region) {
		size_t len = strlen(c->error.message);

		if (!s3->is_region_auto && strcmp(region, s3->region) != 0)
			snprintf(c->error.message + len, sizeof(c->error.message) - len, " (set the region to \"%s\")",
				 region);
		end(c, result);
		return;
	}
	c->has_adjusted_region = true;
	if (strcmp(region, s3->region) != 0) {
		snprintf(s3->region, sizeof(s3->region), "%s", region);
		s3_notice(s3, "the store's region is \"%s\"", region);
	}
	take_keys(c);
}

static void follow(struct s3_call *c, struct s3_judgement j)
{
	if (c->is_cancelled && j.verdict != S3_DONE) {
		end(c, STORAGE_CANCELLED);
		return;
	}
	switch (j.verdict) {
	case S3_DONE:
		end(c, STORAGE_OK);
		break;
	case S3_RETRY:
		rest(c, j.result);
		break;
	case S3_RETRY_TWICE:
		if (++c->damaged > DAMAGED_MOST)
			end(c, j.result);
		else
			rest(c, j.result);
		break;
	case S3_ADJUST_CLOCK:
		adjust_clock(c, j.result);
		break;
	case S3_ADJUST_KEYS:
		adjust_keys(c, j.result);
		break;
	case S3_ADJUST_REGION:
		adjust_region(c, j.result);
		break;
	case S3_GIVE_UP:
		end(c, j.result);
		break;
	}
}

/* ---- the answer ---- */

static void head_line(struct http_request *r, struct span line)
{
	struct s3_call *c = r->owner;

	s3_answer_line(&c->answer, line);
	c->was_asked = c->was_asked || c->answer.status == 100;
	/* Of several heads (100 Continue) the last one stays. */
	if (line.len > 2 || c->answer.status < 200)
		return;
	c->is_payload = c->payload && c->answer.status < 300;
	if (c->is_payload) {
		c->is_refused = c->accept && !c->accept(c);
	} else {
		s3_doc_free(&c->doc);
		s3_doc_start(&c->doc, c->answer.status < 300 ? c->doc_max : S3_ERROR_MAX);
	}
}

static bool body_bytes(struct http_request *r, struct span bytes)
{
	struct s3_call *c = r->owner;

	if (c->is_refused)
		return false;
	if (c->is_payload) {
		c->is_refused = !c->payload(c, bytes);
		return !c->is_refused;
	}
	return !c->doc.reader || s3_doc_feed(&c->doc, bytes) || !c->doc.fault ||
	       strcmp(c->doc.fault, "an answer that is too long") != 0;
}

static void note_error(struct s3_call *c)
{
	struct storage_error *e = &c->error;
	bool has_doc = c->doc.root == S3_ROOT_ERROR && *c->doc.code;

	memset(e, 0, sizeof(*e));
	e->http = c->answer.status;
	snprintf(e->request_id, sizeof(e->request_id), "%s", *c->doc.request_id ? c->doc.request_id
									       : c->answer.request_id);
	if (has_doc) {
		snprintf(e->code, sizeof(e->code), "%s", c->doc.code);
		snprintf(e->message, sizeof(e->message), "%s", c->doc.message);
	} else if (c->http.curl_result != CURLE_OK && c->answer.status < 300) {
		snprintf(e->code, sizeof(e->code), "curl %d", c->http.curl_result);
		snprintf(e->message, sizeof(e->message), "%s", c->http.detail);
	} else {
		snprintf(e->code, sizeof(e->code), "HTTP %d", c->answer.status);
		/* Not what is wrong with a body that was not to have one. */
		snprintf(e->message, sizeof(e->message), "%s", c->http.received && c->doc.fault ? c->doc.fault : "");
	}
}

/* A success whose body is not the document that it should be. */
static void malformed(struct s3_call *c)
{
	const char *fault = c->doc.fault ? c->doc.fault : "a document of another kind";
	/* What was cut on its way may come whole the next time. What is hostile will not get better. */
	bool may_change = !c->doc.fault || strcmp(fault, "no well-formed XML") == 0 ||
			  strcmp(fault, "XML that ends too early") == 0 || strcmp(fault, "an empty body") == 0;

	note_error(c);
	snprintf(c->error.code, sizeof(c->error.code), "MalformedAnswer");
	snprintf(c->error.message, sizeof(c->error.message), "the answer is %s", fault);
	follow(c, (struct s3_judgement){may_change ? S3_RETRY : S3_GIVE_UP, STORAGE_FAILED});
}

/* The answer to a HEAD has no body that could name the region: the same is asked once by GET. */
static bool wants_probe(const struct s3_call *c)
{
	int s = c->answer.status;

	return strcmp(c->method, "HEAD") == 0 && c->s3->is_region_auto && !c->has_probed &&
	       (s == 400 || s == 301 || s == 307) && !*c->answer.region;
}

/* A server that never asks for a body costs a second of waiting each time. */
static void note_expectation(struct s3_call *c)
{
	struct s3_store *s3 = c->s3;

	if (s3->missing.continues || !c->body || c->body->len <= EXPECT_FROM || c->answer.status >= 300)
		return;
	s3->silent_in_row = c->was_asked ? 0 : s3->silent_in_row + 1;
	if (s3->silent_in_row < SILENT_MOST)
		return;
	s3->missing.continues = true;
	s3_notice(s3, "the store does not answer Expect: 100-continue, so parts are sent at once");
}

static void judge(struct s3_call *c)
{
	struct s3_store *s3 = c->s3;
	int status = c->answer.status;
	bool is_whole;

	if (c->is_refused) {
		end(c, c->result);
		return;
	}
	if (status < 300 && c->http.curl_result != CURLE_OK && !(c->doc.fault && c->expects != S3_ROOT_NONE)) {
		note_error(c);
		c->was_ambiguous = c->was_ambiguous || c->http.may_have_arrived;
		follow(c, s3_judge_trouble(c->http.curl_result, c->http.detail));
		return;
	}
	is_whole = c->doc.reader && s3_doc_finish(&c->doc);
	if (c->is_probe) {
		c->is_probe = false;
		if (status < 300) {
			take_keys(c);
			return;
		}
	} else if (wants_probe(c)) {
		c->has_probed = c->is_probe = true;
		take_keys(c);
		return;
	}
	c->was_ambiguous = c->was_ambiguous || (status >= 500 && status != 501) || status == 408;
	if (status < 300 && c->doc.root != S3_ROOT_ERROR && c->expects != S3_ROOT_NONE &&
	    (!is_whole || c->doc.root != c->expects)) {
		c->was_ambiguous = true;
		malformed(c);
		return;
	}
	note_error(c);
	follow(c, s3_judge_answer(status, c->doc.root == S3_ROOT_ERROR ? c->doc.code : "", *region_told(c),
				  s3->base.has_clock ? s3->base.clock_offset - s3->skew : 0));
}

static void answered(struct http_request *r)
{
	struct s3_call *c = r->owner;
	struct s3_store *s3 = c->s3;

	if (c->answer.date) {
		s3->base.has_clock = true;
		s3->base.clock_offset = c->answer.date - time(NULL);
	}
	if (s3->base.watcher.request)
		s3->base.watcher.request(s3->base.watcher.ctx, c->what, c->answer.status, loop_now() - c->sent_at,
					 r->sent, r->received);
	if (r->curl_result == CURLE_OK)
		note_expectation(c);
	if (r->was_cancelled || (c->is_cancelled && !c->is_patient)) {
		c->was_ambiguous = c->was_ambiguous || r->may_have_arrived;
		end(c, STORAGE_CANCELLED);
		return;
	}
	judge(c);
}

/* ---- the request ---- */

static void put_line(struct s3_call *c, size_t *n, const char *name, const char *value)
{
	assert(*n + 1 < ARRAY_LEN(c->lines));
	c->lines[(*n)++] = xasprintf("%s: %s", name, value);
}

static char *buf_text(struct buf *b)
{
	char *text;

	buf_put_u8(b, 0);
	if (!buf_ok(b))
		abort();
	text = xstrdup((const char *)buf_data(b));
	buf_wipe_free(b);
	return text;
}

static const char *check_name(const struct s3_call *c)
{
	static const char *const names[] = {
		[S3_CHECK_NONE] = NULL,
		[S3_CHECK_MD5] = "content-md5",
		[S3_CHECK_SHA256] = "x-amz-checksum-sha256",
		[S3_CHECK_CRC32C] = "x-amz-checksum-crc32c",
	};

	/* With a Complete x-amz-checksum-* would speak of the object, not of this body. */
	if (strcmp(c->method, "PUT") != 0 && c->s3->check != S3_CHECK_MD5)
		return NULL;
	return c->body && *c->check_value ? names[c->s3->check] : NULL;
}

const char *s3_check_algorithm(const struct s3_store *s3)
{
	switch (s3->check) {
	case S3_CHECK_SHA256:
		return "SHA256";
	case S3_CHECK_CRC32C:
		return "CRC32C";
	case S3_CHECK_NONE:
	case S3_CHECK_MD5:
		break;
	}
	return NULL;
}

static void put_url(struct s3_call *c, const char *path)
{
	struct buf b;

	buf_init(&b);
	buf_put_text(&b, c->s3->url_root);
	sigv4_encode(&b, path, true);
	if (c->query_count) {
		buf_put_u8(&b, '?');
		sigv4_query(&b, c->query, c->query_count);
	}
	c->url = buf_text(&b);
}

static void sign_and_send(struct s3_call *c, const struct s3_key_set *keys)
{
	struct s3_store *s3 = c->s3;
	struct sigv4_pair headers[S3_HEADERS_MAX + 6];
	struct sigv4_signer signer = {keys->access_key, keys->secret_key, s3->region, &s3->day_key};
	struct sigv4_request request = {.method = c->is_probe ? "GET" : c->method, .headers = headers};
	char *path = xasprintf("%s%s%s", s3->path_root, c->key || !*s3->path_root ? "/" : "", c->key ? c->key : "");
	usec_t left = c->deadline - loop_now();
	char when[SIGV4_TIME_SIZE];
	size_t n = 0, line = 0;
	struct buf b;

	sigv4_time(time(NULL) + s3->skew, when);
	request.path = path;
	request.query = c->query;
	request.query_count = c->query_count;
	request.payload_hash = c->body ? c->hash : SIGV4_EMPTY_HASH;
	memcpy(headers, c->headers, c->header_count * sizeof(*headers));
	n = c->header_count;
	headers[n++] = (struct sigv4_pair){"host", s3->host};
	headers[n++] = (struct sigv4_pair){"x-amz-date", when};
	headers[n++] = (struct sigv4_pair){"x-amz-content-sha256", request.payload_hash};
	if (keys->session_token)
		headers[n++] = (struct sigv4_pair){"x-amz-security-token", keys->session_token};
	if (check_name(c))
		headers[n++] = (struct sigv4_pair){check_name(c), c->check_value};
	if (c->is_probe)
		headers[n++] = (struct sigv4_pair){"range", "bytes=0-0"};
	request.header_count = n;
	buf_init(&b);
	sigv4_authorize(&request, &signer, when, &b);
	forget_try(c);
	put_url(c, path);
	for (size_t i = 0; i < n; i++)
		put_line(c, &line, headers[i].name, headers[i].value);
	{
		char *authorization = buf_text(&b);

		put_line(c, &line, "Authorization", authorization);
		free(authorization);
	}
	if (c->body && s3->missing.continues)
		c->lines[line++] = xstrdup("Expect:");
	free(path);

	s3_answer_clear(&c->answer);
	c->is_refused = c->is_payload = c->was_asked = false;
	c->http = (struct http_request){
		.method = request.method,
		.url = c->url,
		.headers = (const char *const *)c->lines,
		.body = c->body,
		.may_be_slow = c->may_be_slow,
		.timeout = left > 1000 ? left : 1000,
		.head = head_line,
		.bytes = body_bytes,
		.done = answered,
		.owner = c,
	};
	c->state = S3_SENT;
	c->tries++;
	c->sent_at = loop_now();
	http_start(s3->http, &c->http);
}

/* ---- before it is sent ---- */

static bool feed_file(struct s3_call *c, uint64_t len)
{
	char *block = xmalloc(FILE_BLOCK);
	bool ok = true;

	while (len && ok) {
		ssize_t n = pread(c->body->fd, block, len < FILE_BLOCK ? (size_t)len : FILE_BLOCK,
				  (off_t)(c->body->offset + c->hashed));

		ok = n > 0;
		if (ok) {
			digest_feed(c->digest, span_of(block, (size_t)n));
			c->hashed += (uint64_t)n;
			len -= (uint64_t)n;
		}
	}
	free(block);
	return ok;
}

static bool is_signed(const struct s3_call *c)
{
	return c->is_signed_in_full || !c->s3->is_unsigned_body || !c->s3->is_tls;
}

/* Hashing may have taken so long that the keys have expired. */
static void send_now(struct s3_call *c)
{
	const struct s3_key_set *keys = s3_keys_now(c->s3->keys);

	if (keys)
		sign_and_send(c, keys);
	else
		take_keys(c);
}

static void hash_body(struct s3_call *c)
{
	static const enum digest_kind kinds[] = {
		[S3_CHECK_NONE] = DIGEST_NONE,
		[S3_CHECK_MD5] = DIGEST_MD5,
		[S3_CHECK_SHA256] = DIGEST_SHA256,
		[S3_CHECK_CRC32C] = DIGEST_CRC32C,
	};
	const struct storage_body *b = c->body;
	uint64_t slice;

	if (!b || c->is_hashed) {
		send_now(c);
		return;
	}
	c->state = S3_HASHING;
	if (!c->digest) {
		c->hashed = 0;
		c->digest = digest_new(is_signed(c), kinds[c->s3->check]);
		if (!c->digest) {
			s3_notice(c->s3, "this OpenSSL makes no MD5: checksum = none");
			c->s3->check = S3_CHECK_NONE;
			c->digest = digest_new(is_signed(c), DIGEST_NONE);
		}
	}
	slice = b->len - c->hashed < HASH_SLICE ? b->len - c->hashed : HASH_SLICE;
	if (b->fd < 0) {
		digest_feed(c->digest, span_of(b->bytes.ptr + c->hashed, (size_t)slice));
		c->hashed += slice;
	} else if (!feed_file(c, slice)) {
		fail(c, STORAGE_FAILED, "local", "the part's temporary file cannot be read");
		return;
	}
	if (c->hashed < b->len) {
		loop_timer_set(c->s3->base.loop, &c->timer, loop_now());
		return;
	}
	digest_end(c->digest, c->hash, c->check_value);
	c->digest = NULL;
	if (!is_signed(c))
		snprintf(c->hash, sizeof(c->hash), SIGV4_UNSIGNED);
	c->is_hashed = true;
	send_now(c);
}

static void take_keys(struct s3_call *c)
{
	if (loop_now() >= c->deadline) {
		fail(c, STORAGE_TIMED_OUT, "timeout", "the time for this request is over");
		return;
	}
	if (s3_keys_now(c->s3->keys)) {
		hash_body(c);
		return;
	}
	c->state = S3_KEYS;
	list_add_tail(&c->s3->waiting_for_keys, &c->line);
	s3_keys_fetch(c->s3->keys);
}

void s3_keys_came(struct s3_store *s3, const char *trouble)
{
	struct list waited;

	/* A new secret makes another key of the day. */
	sigv4_key_wipe(&s3->day_key);
	list_init(&waited);
	list_splice_tail(&waited, &s3->waiting_for_keys);
	while (!list_empty(&waited)) {
		struct s3_call *c = LIST_ITEM(waited.next, struct s3_call, line);

		list_del(&c->line);
		if (trouble)
			fail(c, STORAGE_DENIED, "credentials", trouble);
		else
			take_keys(c);
	}
}

/* ---- the queue ---- */

void s3_pump(struct loop_timer *t)
{
	struct s3_store *s3 = CONTAINER_OF(t, struct s3_store, pump);

	LIST_FOR_SAFE(n, &s3->queued) {
		struct s3_call *c = LIST_ITEM(n, struct s3_call, line);

		if (s3->running >= s3->running_max)
			break;
		if (c->is_cancelled || (c->is_part && s3->parts_running >= s3->parts_max))
			continue;
		list_del(&c->line);
		c->has_slot = true;
		s3->running++;
		s3->parts_running += c->is_part;
		/* Time counts from when it could begin. */
		s3_call_renew(c);
		/* On the next turn, since its end may change this list. */
		c->state = S3_RESTING;
		loop_timer_set(s3->base.loop, &c->timer, loop_now());
	}
}

void s3_call_go(struct s3_call *c)
{
	struct s3_store *s3 = c->s3;

	assert(c->state == S3_ENDED && c->ended);
	c->state = S3_QUEUED;
	c->timer.fire = timer_fires;
	c->tries = c->damaged = 0;
	c->is_cancelled = c->was_ambiguous = false;
	list_add_tail(&s3->queued, &c->line);
	loop_timer_set(s3->base.loop, &s3->pump, loop_now());
}

void s3_call_cancel(struct s3_call *c)
{
	if (c->state == S3_ENDED || c->is_cancelled)
		return;
	c->is_cancelled = true;
	/* A body that is cut makes no object. */
	if (c->state == S3_SENT && c->is_patient && (!c->body || c->http.at == c->body->len))
		loop_timer_set(c->s3->base.loop, &c->timer, loop_now() + PATIENCE);
	else if (c->state == S3_SENT)
		http_cancel(&c->http);
	else
		loop_timer_set(c->s3->base.loop, &c->timer, loop_now());
}

void s3_call_renew(struct s3_call *c)
{
	c->deadline = loop_now() + c->budget;
	if (c->body)
		c->deadline += (usec_t)(c->body->len / SLOWEST_BODY) * USEC_PER_SEC;
}
