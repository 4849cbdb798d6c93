#include "backup/http.h"

#include <assert.h>
#include <curl/curl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/loop.h"
#include "lib/mem.h"

#define IDLE_HANDLES 4
/* One system call, and with TLS one burst of records, for so many bytes. */
#define SEND_BUFFER (256 << 10)
#define RECEIVE_BUFFER (256 << 10)

/* What may be sent or received now; a debt is paid by waiting. */
struct allowance {
	uint64_t rate; /* 0: no limit */
	double bytes;
	usec_t since;
};

struct http {
	struct loop *loop; /* borrowed */
	CURLM *multi;
	struct loop_timer timer;	/* of libcurl */
	struct loop_timer cancel_timer; /* for requests that were cancelled */
	struct loop_timer rate_timer;
	struct list running;
	CURL *idle[IDLE_HANDLES];
	char *ca_file, *user_agent; /* owned */
	bool is_insecure;
	usec_t connect_timeout, stall_timeout;
	struct allowance up, down;
};

struct socket_watch {
	struct loop_watch watch;
	struct http *http;
};

/* ---- rate limits ---- */

static void allowance_grow(struct allowance *a)
{
	usec_t now = loop_now();
	double most = (double)a->rate / 4;

	if (most < 4096)
		most = 4096;
	a->bytes += (double)(now - a->since) * (double)a->rate / USEC_PER_SEC;
	if (a->bytes > most)
		a->bytes = most;
	a->since = now;
}

/* At least a usable piece, or nothing. */
static size_t allowance_take(struct allowance *a, size_t wanted)
{
	size_t given;

	if (!a->rate)
		return wanted;
	allowance_grow(a);
	if (a->bytes < 1024 && a->bytes < (double)wanted)
		return 0;
	given = a->bytes < (double)wanted ? (size_t)a->bytes : wanted;
	a->bytes -= (double)given;
	return given;
}

static void hold(struct http_request *r)
{
	struct http *h = r->http;

	r->is_held = true;
	if (!h->rate_timer.due)
		loop_timer_set(h->loop, &h->rate_timer, loop_now() + USEC_PER_SEC / 20);
}

/* ---- what libcurl calls ---- */

static size_t read_body(char *out, size_t size, size_t n, void *ctx)
{
	struct http_request *r = ctx;
	const struct storage_body *b = r->body;
	uint64_t left = b->len - r->at;
	size_t wanted = size * n, given;
	ssize_t got;

	if (r->was_cancelled)
		return CURL_READFUNC_ABORT;
	if (left < wanted)
		wanted = (size_t)left;
	if (wanted == 0)
		return 0;
	given = allowance_take(&r->http->up, wanted);
	if (given == 0) {
		hold(r);
		return CURL_READFUNC_PAUSE;
	}
	if (b->fd < 0) {
		memcpy(out, b->bytes.ptr + r->at, given);
	} else {
		got = pread(b->fd, out, given, (off_t)(b->offset + r->at));
		if (got <= 0)
			return CURL_READFUNC_ABORT;
		given = (size_t)got;
	}
	r->at += given;
	return given;
}

static int seek_body(void *ctx, curl_off_t offset, int origin)
{
	struct http_request *r = ctx;

	if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > r->body->len)
		return CURL_SEEKFUNC_FAIL;
	r->at = (uint64_t)offset;
	return CURL_SEEKFUNC_OK;
}

static size_t take_line(char *bytes, size_t size, size_t n, void *ctx)
{
	struct http_request *r = ctx;

	if (r->head && !r->was_cancelled)
		r->head(r, span_of(bytes, size * n));
	return size * n;
}

static size_t take_bytes(char *bytes, size_t size, size_t n, void *ctx)
{
	struct http_request *r = ctx;
	struct allowance *a = &r->http->down;
	size_t len = size * n;

	if (r->was_cancelled)
		return 0;
	if (a->rate) {
		/* All or nothing: libcurl shows the same bytes again. So it runs into debt and then waits. */
		allowance_grow(a);
		if (a->bytes < 0) {
			hold(r);
			return CURL_WRITEFUNC_PAUSE;
		}
		a->bytes -= (double)len;
	}
	r->received += len;
	return !r->bytes || r->bytes(r, span_of(bytes, len)) ? len : 0;
}

static void check_done(struct http *);

static void socket_ready(struct loop_watch *w, short revents)
{
	struct http *h = CONTAINER_OF(w, struct socket_watch, watch)->http;
	int events = 0, running;

	if (revents & POLLIN)
		events |= CURL_CSELECT_IN;
	if (revents & POLLOUT)
		events |= CURL_CSELECT_OUT;
	if (revents & (POLLERR | POLLHUP | POLLNVAL))
		events |= CURL_CSELECT_ERR | CURL_CSELECT_IN | CURL_CSELECT_OUT;
	/* w may be gone when this returns. */
	curl_multi_socket_action(h->multi, w->fd, events, &running);
	check_done(h);
}

static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *kept)
{
	struct http *h = ctx;
	struct socket_watch *w = kept;
	short events = 0;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (w) {
			loop_watch_clear(h->loop, &w->watch);
			free(w);
		}
		curl_multi_assign(h->multi, fd, NULL);
		return 0;
	}
	if (!w) {
		w = xcalloc(1, sizeof(*w));
		w->http = h;
		w->watch.ready = socket_ready;
		curl_multi_assign(h->multi, fd, w);
	}
	if (what & CURL_POLL_IN)
		events |= POLLIN;
	if (what & CURL_POLL_OUT)
		events |= POLLOUT;
	loop_watch_set(h->loop, &w->watch, fd, events);
	return 0;
}

static int set_timer(CURLM *multi, long ms, void *ctx)
{
	struct http *h = ctx;

	(void)multi;
	if (ms < 0)
		loop_timer_clear(h->loop, &h->timer);
	else
		loop_timer_set(h->loop, &h->timer, loop_now() + (usec_t)ms * 1000);
	return 0;
}

static void timer_fires(struct loop_timer *t)
{
	struct http *h = CONTAINER_OF(t, struct http, timer);
	int running;

	curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	check_done(h);
}

static void rate_timer_fires(struct loop_timer *t)
{
	struct http *h = CONTAINER_OF(t, struct http, rate_timer);
	int running;

	LIST_FOR_SAFE(n, &h->running) {
		struct http_request *r = LIST_ITEM(n, struct http_request, link);

		if (r->is_held) {
			r->is_held = false;
			curl_easy_pause(r->easy, CURLPAUSE_CONT);
		}
	}
	curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	check_done(h);
}

/* ---- requests ---- */

/*
 * Takes the request off; connections stay with libcurl. Its handle goes back
 * to the idle ones when all went well: after a failure it may still hold
 * buffers of another size than the next request asks for.
 */
static void release(struct http_request *r)
{
	struct http *h = r->http;
	CURL *easy = r->easy;

	curl_multi_remove_handle(h->multi, easy);
	list_del(&r->link);
	for (int i = 0; i < IDLE_HANDLES && easy && r->curl_result == CURLE_OK; i++)
		if (!h->idle[i]) {
			curl_easy_reset(easy);
			h->idle[i] = easy;
			easy = NULL;
		}
	curl_easy_cleanup(easy);
	curl_slist_free_all(r->lines);
	r->easy = r->lines = NULL;
}

static void note_outcome(struct http_request *r, CURLcode result)
{
	curl_off_t sent = 0;

	curl_easy_getinfo(r->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
	r->sent = (uint64_t)sent;
	r->curl_result = result;
	r->may_have_arrived = result != CURLE_COULDNT_RESOLVE_HOST && result != CURLE_COULDNT_RESOLVE_PROXY &&
			      result != CURLE_COULDNT_CONNECT && result != CURLE_SSL_CONNECT_ERROR &&
			      result != CURLE_PEER_FAILED_VERIFICATION && result != CURLE_SSL_CACERT_BADFILE;
	if (!*r->detail && result != CURLE_OK)
		snprintf(r->detail, sizeof(r->detail), "%s", curl_easy_strerror(result));
}

static void check_done(struct http *h)
{
	struct CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(h->multi, &left))) {
		struct http_request *r = NULL;

		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&r);
		note_outcome(r, m->data.result);
		release(r); /* m is gone with it */
		r->done(r);
	}
}

static void cancel_timer_fires(struct loop_timer *t)
{
	struct http *h = CONTAINER_OF(t, struct http, cancel_timer);
	struct list gone;

	list_init(&gone);
	LIST_FOR_SAFE(n, &h->running) {
		struct http_request *r = LIST_ITEM(n, struct http_request, link);

		if (r->was_cancelled) {
			note_outcome(r, CURLE_ABORTED_BY_CALLBACK);
			release(r);
			list_add_tail(&gone, &r->link);
		}
	}
	while (!list_empty(&gone)) {
		struct http_request *r = LIST_ITEM(gone.next, struct http_request, link);

		list_del(&r->link);
		r->done(r);
	}
}

void http_cancel(struct http_request *r)
{
	struct http *h = r->http;

	/* Perhaps from within a callback of libcurl's, which may not take a handle away. */
	r->was_cancelled = true;
	loop_timer_set(h->loop, &h->cancel_timer, loop_now());
}

static CURL *take_handle(struct http *h)
{
	CURL *easy;

	for (int i = 0; i < IDLE_HANDLES; i++)
		if (h->idle[i]) {
			easy = h->idle[i];
			h->idle[i] = NULL;
			return easy;
		}
	easy = curl_easy_init();
	if (!easy)
		abort();
	return easy;
}

/* An option that this libcurl does not take is our bug: all of them are older than what configure asks for. */
#define SET(easy, option, value)                                       \
	do {                                                           \
		if (curl_easy_setopt(easy, option, value) != CURLE_OK) \
			abort();                                       \
	} while (0)

static void set_common(struct http *h, CURL *easy, struct http_request *r)
{
	/* A rate limit below the stall limit would stall by itself. */
	uint64_t slowest = 1024;

	if (h->up.rate && h->up.rate / 8 < slowest)
		slowest = h->up.rate / 8;
	if (h->down.rate && h->down.rate / 8 < slowest)
		slowest = h->down.rate / 8;
	SET(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(easy, CURLOPT_PATH_AS_IS, 1L);
	SET(easy, CURLOPT_FOLLOWLOCATION, 0L);
#if LIBCURL_VERSION_NUM >= 0x075500
	SET(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
	SET(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
	SET(easy, CURLOPT_SSL_VERIFYPEER, h->is_insecure ? 0L : 1L);
	SET(easy, CURLOPT_SSL_VERIFYHOST, h->is_insecure ? 0L : 2L);
	SET(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (h->ca_file)
		SET(easy, CURLOPT_CAINFO, h->ca_file);
	SET(easy, CURLOPT_NOSIGNAL, 1L);
	SET(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	SET(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(h->connect_timeout / 1000));
	if (!r->may_be_slow && h->stall_timeout) {
		SET(easy, CURLOPT_LOW_SPEED_LIMIT, (long)slowest);
		SET(easy, CURLOPT_LOW_SPEED_TIME, (long)((h->stall_timeout + USEC_PER_SEC - 1) / USEC_PER_SEC));
	}
	if (r->timeout)
		SET(easy, CURLOPT_TIMEOUT_MS, (long)((r->timeout + 999) / 1000));
	SET(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	SET(easy, CURLOPT_EXPECT_100_TIMEOUT_MS, 1000L);
	SET(easy, CURLOPT_USERAGENT, h->user_agent);
	/* Only for speed: without them it goes on with what libcurl has. */
	(void)curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)RECEIVE_BUFFER);
	(void)curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)SEND_BUFFER);
	/* Nobody notices for long that an old connection is dead. */
	SET(easy, CURLOPT_FRESH_CONNECT, r->may_be_slow ? 1L : 0L);
	if (r->skips_proxy)
		SET(easy, CURLOPT_NOPROXY, "*");
}

void http_start(struct http *h, struct http_request *r)
{
	CURL *easy = take_handle(h);
	struct curl_slist *lines = NULL;

	_Static_assert(sizeof(r->detail) >= CURL_ERROR_SIZE, "libcurl writes so much");
	r->http = h;
	r->easy = easy;
	r->curl_result = CURLE_OK;
	r->detail[0] = 0;
	r->sent = r->received = r->at = 0;
	r->was_cancelled = r->may_have_arrived = r->is_held = false;
	set_common(h, easy, r);
	SET(easy, CURLOPT_PRIVATE, r);
	SET(easy, CURLOPT_ERRORBUFFER, r->detail);
	SET(easy, CURLOPT_URL, r->url);
	for (const char *const *line = r->headers; line && *line; line++) {
		struct curl_slist *longer = curl_slist_append(lines, *line);

		if (!longer)
			abort();
		lines = longer;
	}
	r->lines = lines;
	SET(easy, CURLOPT_HTTPHEADER, lines);
	SET(easy, CURLOPT_HEADERFUNCTION, take_line);
	SET(easy, CURLOPT_HEADERDATA, r);
	SET(easy, CURLOPT_WRITEFUNCTION, take_bytes);
	SET(easy, CURLOPT_WRITEDATA, r);
	if (r->body) {
		SET(easy, CURLOPT_UPLOAD, 1L);
		SET(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)r->body->len);
		SET(easy, CURLOPT_READFUNCTION, read_body);
		SET(easy, CURLOPT_READDATA, r);
		SET(easy, CURLOPT_SEEKFUNCTION, seek_body);
		SET(easy, CURLOPT_SEEKDATA, r);
	} else if (strcmp(r->method, "HEAD") == 0) {
		SET(easy, CURLOPT_NOBODY, 1L);
	}
	SET(easy, CURLOPT_CUSTOMREQUEST, r->method);
	list_add_tail(&h->running, &r->link);
	if (curl_multi_add_handle(h->multi, easy) != CURLM_OK)
		abort();
}

struct http *http_new(struct loop *loop, const struct http_settings *s)
{
	struct http *h = xcalloc(1, sizeof(*h));

	h->loop = loop;
	h->multi = curl_multi_init();
	if (!h->multi)
		abort();
	list_init(&h->running);
	h->timer.fire = timer_fires;
	h->cancel_timer.fire = cancel_timer_fires;
	h->rate_timer.fire = rate_timer_fires;
	h->ca_file = xstrdup(s->ca_file);
	h->user_agent = xstrdup(s->user_agent);
	h->is_insecure = s->is_insecure;
	h->connect_timeout = s->connect_timeout;
	h->stall_timeout = s->stall_timeout;
	h->up = (struct allowance){.rate = s->upload_rate, .since = loop_now()};
	h->down = (struct allowance){.rate = s->download_rate, .since = loop_now()};
	curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
	curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
	curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
	return h;
}

void http_free(struct http *h)
{
	if (!h)
		return;
	assert(list_empty(&h->running));
	for (int i = 0; i < IDLE_HANDLES; i++)
		curl_easy_cleanup(h->idle[i]);
	curl_multi_cleanup(h->multi);
	loop_timer_clear(h->loop, &h->timer);
	loop_timer_clear(h->loop, &h->cancel_timer);
	loop_timer_clear(h->loop, &h->rate_timer);
	free(h->ca_file);
	free(h->user_agent);
	free(h);
}
