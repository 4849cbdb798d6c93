#include "backup/notify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "backup/child.h"
#include "backup/command.h"
#include "backup/event.h"
#include "backup/http.h"
#include "lib/mem.h"

#define PING_LIMIT (10 * USEC_PER_SEC)
#define HOOK_LIMIT (30 * USEC_PER_SEC)
#define HOOK_SAYS_MAX 500
#define STOP_LIMIT USEC_PER_SEC /* for either, once the program is to end */

struct ping {
	struct http_request request;
	int status;
	bool is_done;
};

static void on_head(struct http_request *r, struct span line)
{
	struct ping *p = CONTAINER_OF(r, struct ping, request);
	char text[64];

	if (line.len < 12 || memcmp(line.ptr, "HTTP/", 5) != 0)
		return;
	snprintf(text, sizeof(text), "%.*s", (int)(line.len < 63 ? line.len : 63), (const char *)line.ptr);
	p->status = strchr(text, ' ') ? atoi(strchr(text, ' ') + 1) : 0;
}

static bool on_bytes(struct http_request *r, struct span s)
{
	(void)r;
	(void)s;
	return true; /* of no interest, and bounded by time */
}

static void on_done(struct http_request *r)
{
	CONTAINER_OF(r, struct ping, request)->is_done = true;
}

/* A stop does not wait for services that do not answer. false: given up. */
static bool wait_for(struct program *p, const bool *done, usec_t limit)
{
	enum loop_end end = loop_wait_until(p->loop, done, loop_now() + limit);

	return end == LOOP_DONE || (end == LOOP_INTERRUPTED && loop_wait_through(p->loop, done, loop_now() + STOP_LIMIT));
}

/* The convention of dead-man services: the address itself for success, /start and /fail below it. */
static void ping(struct program *p, enum notify_kind kind)
{
	const char *base = p->config->metrics_ping_url.bytes, *suffix = kind == NOTIFY_START ? "/start" :
				kind == NOTIFY_FAILURE ? "/fail" : "";
	const struct http_settings settings = {.ca_file = p->config->s3_ca_file, .user_agent = PACKAGE_NAME "-backup/" PACKAGE_VERSION,
					       .connect_timeout = PING_LIMIT, .stall_timeout = PING_LIMIT};
	struct ping q = {.is_done = false};
	struct http *http;
	char *url;

	if (!base || kind == NOTIFY_OTHER)
		return;
	http = http_new(p->loop, &settings);
	url = xasprintf("%.*s%s", (int)(strlen(base) - (base[strlen(base) - 1] == '/')), base, suffix);
	q.request = (struct http_request){.method = "GET", .url = url, .timeout = PING_LIMIT, .head = on_head,
					  .bytes = on_bytes, .done = on_done};
	http_start(http, &q.request);
	if (!wait_for(p, &q.is_done, PING_LIMIT + USEC_PER_SEC)) {
		http_cancel(&q.request);
		(void)!loop_wait_through(p->loop, &q.is_done, 0);
	}
	/* The address is a secret: whoever has it can say that all is well. */
	if (q.request.curl_result != 0 || q.status < 200 || q.status > 299)
		EVENT(LEVEL_WARNING, "ping", F_TEXT("error", "the ping did not get through"), F_INT("http", q.status),
		      F_INT("curl", q.request.curl_result));
	http_free(http);
	str_wipe_free(url);
}

static void run_hook(struct program *p, const char *event, const char *object, struct span json)
{
	const char *hook = p->config->metrics_hook;
	char *argv[] = {(char *)(uintptr_t)hook, (char *)(uintptr_t)event, (char *)(uintptr_t)object, NULL},
	     *envp[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/", "LC_ALL=C", "TZ=UTC", NULL}, why[512], fate[96];
	const struct child_spec spec = {.name = "hook", .path = hook, .argv = argv, .envp = envp, .wants_stdin = true};
	struct child *c;

	if (!hook)
		return;
	c = child_start(p->family, &spec, why, sizeof(why));
	if (!c) {
		EVENT(LEVEL_WARNING, "hook", F_TEXT("error", why));
		return;
	}
	child_give(c, json); /* small enough for the pipe */
	child_close_stdin(c);
	if (!child_wait_until(c, loop_now() + HOOK_LIMIT) && !child_wait_through(c, loop_now() + STOP_LIMIT))
		EVENT(LEVEL_WARNING, "hook", F_TEXT("of", event), F_TEXT("error", loop_is_interrupted(p->loop) ?
		      "was ended, since the program ends" : "took more than 30 s and was ended"));
	else if (!child_succeeded(c))
		EVENT(LEVEL_WARNING, "hook", F_TEXT("of", event), F_TEXT("error", child_fate(c, fate)),
		      F_TEXT("said", child_last_words(c, HOOK_SAYS_MAX)));
	child_kill(c, loop_is_interrupted(p->loop) ? 0 : 2 * USEC_PER_SEC);
	child_free(c);
}

void notify(struct program *p, enum notify_kind kind, const char *event, const char *object, struct span json)
{
	ping(p, kind);
	run_hook(p, event, object, json);
}

void notify_systemd(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	socklen_t len;
	int fd;

	if (!path || (*path != '/' && *path != '@') || strlen(path) >= sizeof(to.sun_path))
		return;
	memcpy(to.sun_path, path, strlen(path));
	len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	if (*path == '@')
		to.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&to, len) < 0)
		EVENT(LEVEL_WARNING, "notify", F_TEXT("error", "systemd did not take a message"));
	close(fd);
}
