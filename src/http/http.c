#include "http/http.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin/ask.h"
#include "config/config.h"
#include "config/setting_checks.h"
#include "http/access.h"
#include "http/attest.h"
#include "http/pages.h"
#include "http/scrape.h"
#include "http/status.h"
#include "lib/file.h"
#include "lib/log.h"
#include "lib/mem.h"

#define HEADERS_MAX 8192
#define BODY_MAX 4096
#define SILENCE_SECONDS 10 /* of a connection, in either direction */
#define GUESTS_MAX 256
#define STAY_USEC (60 * USEC_PER_SEC) /* a connection's whole life */
#define SWEEP_USEC 250000
#define BACKUP_STATUS_MAX (64 * 1024)

struct guest {
	struct bufferevent *bev; /* counted */
	usec_t since;
};

/* The control role's thread only. */
static struct {
	struct evhttp *server; /* owned; NULL: off */
	struct evconnlistener **listeners; /* owned array; each belongs to server */
	size_t listener_count;
	struct guest guests[GUESTS_MAX];
	size_t guest_count;
	struct event *sweeper; /* owned: runs while there are guests */
} http;

static const struct settings *settings(void)
{
	return config_settings(console_host.ops->config());
}

/* ---- answers ---- */

static void put_header(struct evhttp_request *q, const char *name, const char *value)
{
	evhttp_add_header(evhttp_request_get_output_headers(q), name, value);
}

static void answer(struct evhttp_request *q, int code, const char *type, const void *bytes, size_t n)
{
	struct evbuffer *body = evbuffer_new();

	put_header(q, "Content-Type", type);
	put_header(q, "Cache-Control", "no-store");
	put_header(q, "X-Content-Type-Options", "nosniff");
	put_header(q, "Referrer-Policy", "no-referrer");
	if (!body || evbuffer_add(body, bytes, n) < 0)
		code = HTTP_SERVUNAVAIL;
	evhttp_send_reply(q, code, NULL, code == HTTP_SERVUNAVAIL && !body ? NULL : body);
	if (body)
		evbuffer_free(body);
}

static void answer_text(struct evhttp_request *q, int code, const char *text)
{
	answer(q, code, "text/plain; charset=utf-8", text, strlen(text));
}

static void answer_buf(struct evhttp_request *q, const char *type, struct buf *b)
{
	if (buf_ok(b))
		answer(q, HTTP_OK, type, buf_data(b), buf_len(b));
	else
		answer_text(q, HTTP_SERVUNAVAIL, "out of memory\n");
	buf_free(b);
}

static void answer_page(struct evhttp_request *q, const struct page *p)
{
	put_header(q, "X-Frame-Options", "DENY");
	/* Everything is in the page; it may fetch from here only. */
	put_header(q, "Content-Security-Policy",
		   "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
		   "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
	answer(q, HTTP_OK, "text/html; charset=utf-8", p->text, p->len);
}

/* ---- health ---- */

static bool is_draining(void)
{
	return console_host.ops->shutdown_mode() != SHUTDOWN_NONE;
}

static void livez(struct evhttp_request *q)
{
	answer_text(q, HTTP_OK, "ok\n");
}

static void readyz(struct evhttp_request *q)
{
	if (is_draining())
		answer_text(q, HTTP_SERVUNAVAIL, "draining\n");
	else if (console_host.ops->pause() == SUSPENDED)
		answer_text(q, HTTP_SERVUNAVAIL, "suspended\n");
	else
		answer_text(q, HTTP_OK, "ok\n");
}

static void health(struct evhttp_request *q)
{
	struct buf b;

	buf_init(&b);
	buf_printf(&b, "{\"status\":\"%s\"}\n", is_draining() ? "draining" : "ok");
	answer_buf(q, "application/json", &b);
}

/* ---- numbers ---- */

static void metrics_scraped(struct scrape *s, bool ok)
{
	struct evhttp_request *q = s->ctx;
	struct buf b;

	buf_init(&b);
	if (ok) {
		metrics_write(&b, &s->result);
		metrics_write_process(&b);
	}
	scrape_free(s);
	if (ok)
		answer_buf(q, "text/plain; version=0.0.4; charset=utf-8", &b);
	else
		answer_text(q, HTTP_SERVUNAVAIL, "the console does not answer\n");
}

static void status_scraped(struct scrape *s, bool ok)
{
	struct evhttp_request *q = s->ctx;
	struct buf b;

	buf_init(&b);
	if (ok)
		status_write(&b, &s->result, console_host.ops->pause(), is_draining());
	scrape_free(s);
	if (ok)
		answer_buf(q, "application/json", &b);
	else
		answer_text(q, HTTP_SERVUNAVAIL, "the console does not answer\n");
}

static void scrape_for(struct evhttp_request *q, void (*done)(struct scrape *, bool ok))
{
	if (!scrape_begin(done, q))
		answer_text(q, HTTP_SERVUNAVAIL, "out of memory\n");
}

static void metrics(struct evhttp_request *q)
{
	scrape_for(q, metrics_scraped);
}

static void status_json(struct evhttp_request *q)
{
	scrape_for(q, status_scraped);
}

/* What the backup daemon wrote, as it is; the page judges its age by Last-Modified. */
static void backup_json(struct evhttp_request *q)
{
	const char *path = settings()->http_backup_status;
	struct file_text f;
	char when[64];
	struct tm tm;

	if (!path || !path[0] || file_read(path, BACKUP_STATUS_MAX, NULL, &f) < 0) {
		answer_text(q, HTTP_NOTFOUND, "unknown\n");
		return;
	}
	gmtime_r(&f.identity.mtime.tv_sec, &tm);
	strftime(when, sizeof(when), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	put_header(q, "Last-Modified", when);
	answer(q, HTTP_OK, "application/json", f.text, f.len);
	file_text_free(&f);
}

/* ---- pages ---- */

static void status_page(struct evhttp_request *q)
{
	answer_page(q, &page_status);
}

static void connect_page(struct evhttp_request *q)
{
	answer_page(q, &page_connect);
}

static void connect_json(struct evhttp_request *q)
{
	struct buf b;

	buf_init(&b);
	status_write_connect(&b, settings());
	answer_buf(q, "application/json", &b);
}

/* ---- attestation ---- */

static void attested(void *ctx, int code, struct buf *json)
{
	struct evhttp_request *q = ctx;

	if (buf_ok(json))
		answer(q, code, "application/json", buf_data(json), buf_len(json));
	else
		answer_text(q, HTTP_SERVUNAVAIL, "out of memory\n");
}

static void attestation(struct evhttp_request *q)
{
	const char *text = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(q)), *nonce = NULL;
	struct evkeyvalq query;

	/* Nothing in a nonce needs an escape, and an escaped NUL would end it early. */
	if (evhttp_parse_query_str(text && !strchr(text, '%') ? text : "", &query) == 0)
		nonce = evhttp_find_header(&query, "nonce");
	attest_begin(settings(), nonce, attested, q);
	evhttp_clear_headers(&query);
}

/* ---- routes ---- */

static const struct route {
	const char *path;
	bool is_public;
	void (*serve)(struct evhttp_request *);
} routes[] = {
	{"/livez", true, livez},
	{"/readyz", true, readyz},
	{"/health", true, health},
	{"/connect", true, connect_page},
	{"/connect.json", true, connect_json},
	{"/attestation", true, attestation},
	{"/", false, status_page},
	{"/status.json", false, status_json},
	{"/backup.json", false, backup_json},
	{"/metrics", false, metrics},
};

static bool may_see_numbers(struct evhttp_request *q)
{
	struct ip_address from;
	const char *forwarded;
	char *peer;
	ev_uint16_t port;

	evhttp_connection_get_peer(evhttp_request_get_connection(q), &peer, &port);
	forwarded = evhttp_find_header(evhttp_request_get_input_headers(q), "X-Forwarded-For");
	return peer && access_source(peer, forwarded, &from) &&
	       (access_is_loopback(&from) || access_allows(settings()->http_allow, &from));
}

static void serve(struct evhttp_request *q, void *arg UNUSED)
{
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(q);
	const char *path = uri ? evhttp_uri_get_path(uri) : NULL;

	if (!path || !path[0])
		path = "/";
	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		if (strcmp(routes[i].path, path) != 0)
			continue;
		if (routes[i].is_public || may_see_numbers(q))
			routes[i].serve(q);
		else
			answer_text(q, 403, "not from here: see http_allow\n");
		return;
	}
	answer_text(q, HTTP_NOTFOUND, "not found\n");
}

/*
 * ---- connections ----
 *
 * evhttp tells nobody when it is done with one, and has no limit of its own.
 * So each is counted once more here: what evhttp has let go has no callbacks
 * any longer, and is then closed. Who is still there after a while is shown the
 * door, so that a byte now and then does not keep a place.
 */

static void set_listening(bool on)
{
	for (size_t i = 0; i < http.listener_count; i++)
		if (on)
			evconnlistener_enable(http.listeners[i]);
		else
			evconnlistener_disable(http.listeners[i]);
}

static bool has_left(struct bufferevent *bev)
{
	bufferevent_event_cb on_event;

	bufferevent_getcb(bev, NULL, NULL, &on_event, NULL);
	return !on_event;
}

static void sweep(usec_t now)
{
	size_t kept = 0;

	for (size_t i = 0; i < http.guest_count; i++) {
		struct guest g = http.guests[i];

		if (has_left(g.bev)) {
			bufferevent_decref(g.bev);
			continue;
		}
		if (now - g.since > (conn_fault("shortstay") ? USEC_PER_SEC : STAY_USEC))
			shutdown(bufferevent_getfd(g.bev), SHUT_RDWR);
		http.guests[kept++] = g;
	}
	if (http.guest_count == GUESTS_MAX && kept < GUESTS_MAX)
		set_listening(true);
	http.guest_count = kept;
}

static void on_sweep(evutil_socket_t fd UNUSED, short what UNUSED, void *arg UNUSED)
{
	const struct timeval again = {0, SWEEP_USEC};

	sweep(clock_monotonic());
	if (http.guest_count > 0)
		event_add(http.sweeper, &again);
}

static struct bufferevent *new_connection(struct event_base *base, void *arg UNUSED)
{
	const struct timeval soon = {0, SWEEP_USEC};
	struct bufferevent *bev;

	if (http.guest_count == GUESTS_MAX)
		sweep(clock_monotonic());
	/* The listener stops with the last place; whom it had accepted by then is sent away. */
	if (http.guest_count == GUESTS_MAX)
		return NULL;
	bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
	if (!bev)
		return NULL;
	bufferevent_incref(bev);
	http.guests[http.guest_count++] = (struct guest){bev, clock_monotonic()};
	if (!event_pending(http.sweeper, EV_TIMEOUT, NULL))
		event_add(http.sweeper, &soon);
	if (http.guest_count == GUESTS_MAX)
		set_listening(false);
	return bev;
}

/* ---- start and end ---- */

static bool listen_on(const struct addrinfo *ai)
{
	const int one = 1;
	struct evhttp_bound_socket *bound;
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return false;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (settings()->so_reuseport)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	if (ai->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, 128) < 0 ||
	    !(bound = evhttp_accept_socket_with_handle(http.server, fd))) {
		int err = errno;

		close(fd);
		errno = err;
		return false;
	}
	http.listeners = xrealloc(http.listeners, (http.listener_count + 1) * sizeof(*http.listeners));
	http.listeners[http.listener_count++] = evhttp_bound_socket_get_listener(bound);
	return true;
}

/* ADDRESS:PORT, [ADDRESS]:PORT; no address, or *: every one. The setting's check has seen it. */
static bool listen_at(const char *item, size_t len)
{
	const struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
	char *where = xstrndup(item, len), *port = strrchr(where, ':'), *host = where;
	struct addrinfo *found = NULL;
	int err, opened = 0;

	*port++ = 0;
	if (host[0] == '[') {
		host++;
		host[strcspn(host, "]")] = 0;
	}
	err = getaddrinfo(host[0] && strcmp(host, "*") != 0 ? host : NULL, port, &hints, &found);
	if (err)
		log_fatal("http_listen: getaddrinfo('%s', '%s') = %s [%d]", host, port, gai_strerror(err), err);
	for (const struct addrinfo *ai = found; ai; ai = ai->ai_next)
		if (listen_on(ai))
			opened++;
		else
			log_warning("http_listen: cannot listen on %.*s: %s", (int)len, item, strerror(errno));
	if (found)
		freeaddrinfo(found);
	if (!err && !opened)
		log_fatal("http_listen: failed to listen on %.*s", (int)len, item);
	else if (opened)
		log_info("http: listening on %.*s", (int)len, item);
	free(where);
	return opened > 0;
}

int http_start(struct event_base *base)
{
	const char *at = settings()->http_listen, *item;
	size_t len;

	if (!at || !at[0])
		return 0;
	http.server = evhttp_new(base);
	http.sweeper = evtimer_new(base, on_sweep, NULL);
	if (!http.server || !http.sweeper) {
		log_fatal("http_listen: out of memory");
		return -1;
	}
	evhttp_set_max_headers_size(http.server, HEADERS_MAX);
	evhttp_set_max_body_size(http.server, BODY_MAX);
	evhttp_set_timeout(http.server, SILENCE_SECONDS);
	evhttp_set_allowed_methods(http.server, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
	evhttp_set_bevcb(http.server, new_connection, NULL);
	evhttp_set_gencb(http.server, serve, NULL);
	while ((item = list_item(&at, &len)))
		if (!listen_at(item, len))
			return -1;
	return 0;
}

void http_stop(void)
{
	scrapes_forget();
	attest_forget();
	if (http.server)
		evhttp_free(http.server);
	if (http.sweeper)
		event_free(http.sweeper);
	for (size_t i = 0; i < http.guest_count; i++)
		bufferevent_decref(http.guests[i].bev);
	free(http.listeners);
	memset(&http, 0, sizeof(http));
}
