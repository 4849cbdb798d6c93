/* What the daemon shows: /metrics, /healthz, /readyz, /status, and the command status. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/event.h"
#include "backup/http.h"
#include "backup/metrics.h"
#include "daemon_parts.h"
#include "lib/file_write.h"
#include "lib/mem.h"

#define ANSWER_MAX 65536
#define ASK_LIMIT (10 * USEC_PER_SEC)

static void put_time(struct buf *b, const char *key, int64_t t)
{
	char text[ISO_TIME_MAX];

	if (t > 0)
		buf_printf(b, "\"%s\":\"%s\",", key, iso_time(t, text));
	else
		buf_printf(b, "\"%s\":null,", key);
}

static void put_status(const struct daemon *d, struct buf *b)
{
	int64_t now = time(NULL);

	buf_put_text(b, "{");
	put_time(b, "last_success", d->last_success);
	if (d->last_success > 0)
		buf_printf(b, "\"age_seconds\":%" PRId64 ",", now > d->last_success ? now - d->last_success : 0);
	else
		buf_put_text(b, "\"age_seconds\":null,");
	put_time(b, "next_run", daemon_next_run(d));
	buf_printf(b, "\"consecutive_failures\":%u,\"leader\":%s,\"ready\":%s,\"busy_with\":", d->failures,
		   (d->lock ? lock_seems_held(d->lock) : d->is_ready) ? "true" : "false", d->is_ready ? "true" : "false");
	if (d->busy_with)
		event_put_json(b, d->busy_with, strlen(d->busy_with));
	else
		buf_put_text(b, "null");
	buf_printf(b, ",\"encrypted\":%s,\"prune_blocked\":%s,\"version\":\"%s\"}\n", d->program->key_id ? "true" : "false",
		   d->restore_failed ? "true" : "false", PACKAGE_VERSION);
}

static int answer(void *ctx, const char *path, struct buf *body, const char **type)
{
	struct daemon *d = ctx;
	int64_t now = time(NULL);

	if (strcmp(path, "/metrics") == 0) {
		if (d->last_success)
			metric_set(METRIC_age_seconds, NULL, (double)(now > d->last_success ? now - d->last_success : 0));
		*type = "text/plain; version=0.0.4; charset=utf-8";
		metrics_write(body);
		return 200;
	}
	if (strcmp(path, "/healthz") == 0) {
		buf_put_text(body, "ok\n");
		return 200;
	}
	if (strcmp(path, "/readyz") == 0) {
		buf_put_text(body, d->is_ready && !d->stopped_by ? "ready\n" : "not ready\n");
		return d->is_ready && !d->stopped_by ? 200 : 503;
	}
	if (strcmp(path, "/status") == 0) {
		*type = "application/json";
		put_status(d, body);
		return 200;
	}
	buf_put_text(body, "Not Found\n");
	return 404;
}

bool daemon_reopen_listener(struct daemon *d)
{
	const char *address = d->program->config->metrics_listen;
	char why[256];

	listener_free(d->listener);
	d->listener = NULL;
	if (!address)
		return true;
	d->listener = listener_new(d->program->loop, address, answer, d, why, sizeof(why));
	if (!d->listener)
		EVENT(LEVEL_ERROR, "config", F_TEXT("where", setting_variable(SETTING_metrics_listen)), F_TEXT("error", why));
	return d->listener != NULL;
}

static void replace_file(const char *path, const struct buf *b)
{
	int fault = buf_ok(b) ? file_replace(path, buf_span(b), 0644, NULL) : ENOMEM;

	if (fault)
		EVENT(LEVEL_WARNING, "metrics", F_TEXT("path", path), F_TEXT("error", strerror(fault)));
}

static void put_text(struct buf *b, const char *key, const char *text)
{
	buf_printf(b, "\"%s\":", key);
	if (text)
		event_put_json(b, text, strlen(text));
	else
		buf_put_text(b, "null");
	buf_put_u8(b, ',');
}

static void put_verified(const struct state *s, struct buf *b)
{
	const char *level = state_text(s, "verified_level");

	if (!level)
		return;
	buf_put_text(b, "\"verified\":{");
	put_text(b, "level", level);
	buf_printf(b, "\"at\":%" PRId64 ",\"result\":\"%s\"},", state_number(s, "verified_at", 0),
		   state_number(s, "verified_well", 0) ? "ok" : "failed");
}

/* The newest verification of this process, which the metrics know by level, is kept for the next one, too. */
static void remember_verification(struct state *s)
{
	for (int i = VERIFY_HEAD; i <= VERIFY_DRILL; i++) {
		const char *level = verify_level_word((enum verify_level)i);
		char labels[48];
		int64_t at;

		snprintf(labels, sizeof(labels), "level=\"%s\"", level);
		at = (int64_t)metric_get(METRIC_verify_last_timestamp_seconds, labels);
		/* Of two within a second the deeper one says more. */
		if (at == 0 || at < state_number(s, "verified_at", 0))
			continue;
		state_set_text(s, "verified_level", level);
		state_set_number(s, "verified_at", at);
		state_set_number(s, "verified_well", metric_get(METRIC_verify_last_result, labels) != 0);
	}
}

/* What the status page of the pooler shows (src/http/pages/status.html); times in seconds since 1970. */
static void put_page_status(const struct daemon *d, struct buf *b)
{
	buf_printf(b, "{\"written\":%" PRId64 ",\"last_success\":%" PRId64 ",\"next_run\":%" PRId64 ",", (int64_t)time(NULL),
		   d->last_success, daemon_next_run(d));
	put_text(b, "object", state_text(d->state, "last_object"));
	buf_printf(b, "\"consecutive_failures\":%u,", d->failures);
	put_text(b, "last_error", d->failures ? state_text(d->state, "last_error") : NULL);
	put_verified(d->state, b);
	buf_printf(b, "\"interval_seconds\":%" PRId64 ",\"encrypted\":%s}\n", (int64_t)(d->program->config->schedule_interval / USEC_PER_SEC),
		   d->program->key_id ? "true" : "false");
}

void daemon_write_files(struct daemon *d)
{
	const struct config *c = d->program->config;
	struct buf b;

	remember_verification(d->state);
	buf_init(&b);
	if (c->metrics_textfile) {
		metrics_write(&b);
		replace_file(c->metrics_textfile, &b);
	}
	buf_free(&b);
	buf_init(&b);
	if (c->metrics_status_file) {
		put_page_status(d, &b);
		replace_file(c->metrics_status_file, &b);
	}
	buf_free(&b);
}

static bool append(void *ctx, struct span s)
{
	struct buf *b = ctx;

	buf_put(b, s.ptr, s.len);
	return buf_ok(b) && buf_len(b) <= MANIFEST_MAX;
}

bool read_manifest_unchecked(struct program *p, struct catalog *c, const struct backup_entry *e, struct manifest **m)
{
	static const struct manifest_keys none = {.count = 0};
	struct storage_op op = {0};
	char key[BACKUP_KEY_MAX];
	struct buf text;
	bool ok;

	*m = NULL;
	manifest_key_make(c->prefix, e->when, (enum backup_format)e->format, key);
	buf_init(&text);
	p->storage->ops->get(p->storage, &op, key, NULL, 0, 0, NULL, append, &text);
	ok = storage_wait(p->storage, &op) == STORAGE_OK && manifest_read(buf_span(&text), &none, m) == MANIFEST_OK;
	buf_free(&text);
	return ok;
}

/* ---- the command status ---- */

struct question {
	struct http_request request;
	struct buf body;
	bool is_done;
};

static bool on_bytes(struct http_request *r, struct span s)
{
	struct question *q = CONTAINER_OF(r, struct question, request);

	buf_put(&q->body, s.ptr, s.len);
	return buf_ok(&q->body) && buf_len(&q->body) <= ANSWER_MAX;
}

static void on_head(struct http_request *r, struct span line)
{
	(void)r;
	(void)line;
}

static void on_done(struct http_request *r)
{
	CONTAINER_OF(r, struct question, request)->is_done = true;
}

/* What monitoring wants to know: a good backup, and no older than that. max_age 0: of any age. */
static enum outcome judge_age(int64_t last_success, usec_t max_age)
{
	int64_t age = time(NULL) - last_success, most = max_age / USEC_PER_SEC;

	if (last_success == 0) {
		EVENT(LEVEL_ERROR, "no_backup", F_TEXT("error", "there is no good backup yet"));
		return OUTCOME_NO_BACKUP;
	}
	if (max_age == 0 || age <= most)
		return OUTCOME_DONE;
	EVENT(LEVEL_ERROR, "status", F_TEXT("error", "the last good backup is too old"), F_INT("age", age), F_INT("max_age", most));
	return OUTCOME_FAILED;
}

/* Of the answer to /status; 0: none, or not to be understood. */
static int64_t last_success_of(struct span json)
{
	json_t *root = json_loadb((const char *)json.ptr, json.len, 0, NULL);
	const char *text = json_string_value(json_object_get(root, "last_success"));
	int64_t when = 0;

	if (text && !rfc3339_parse(text, strlen(text), &when))
		when = 0;
	json_decref(root);
	return when;
}

static enum outcome ask_daemon(struct program *p, usec_t max_age)
{
	const struct http_settings settings = {.user_agent = PACKAGE_NAME "-backup/" PACKAGE_VERSION, .connect_timeout = ASK_LIMIT,
					       .stall_timeout = ASK_LIMIT};
	char *url = xasprintf("http://%s/status", p->config->metrics_listen);
	struct http *http = http_new(p->loop, &settings);
	struct question q = {.is_done = false};
	enum outcome o = OUTCOME_FAILED;
	bool is_answered = false;

	buf_init(&q.body);
	q.request = (struct http_request){.method = "GET", .url = url, .timeout = ASK_LIMIT, .skips_proxy = true, .head = on_head,
					  .bytes = on_bytes, .done = on_done};
	http_start(http, &q.request);
	if (!loop_wait(p->loop, &q.is_done)) {
		http_cancel(&q.request);
		(void)!loop_wait_through(p->loop, &q.is_done, 0);
	} else if (q.request.curl_result == 0) {
		fwrite(buf_span(&q.body).ptr, 1, buf_len(&q.body), stdout);
		o = judge_age(last_success_of(buf_span(&q.body)), max_age);
		is_answered = true;
	}
	if (!is_answered)
		EVENT(LEVEL_ERROR, "status", F_TEXT("error", "no daemon answers"), F_TEXT("at", p->config->metrics_listen));
	http_free(http);
	buf_free(&q.body);
	free(url);
	return o;
}

static enum outcome read_state(struct program *p, bool json, usec_t max_age)
{
	struct state *s = state_open(p);
	int64_t last = state_number(s, "last_success", 0), next = state_number(s, "next_run", 0), now = time(NULL);
	char a[ISO_TIME_MAX], b[ISO_TIME_MAX];
	enum outcome o;

	if (access(state_path(s), R_OK) < 0) {
		EVENT(LEVEL_ERROR, "status", F_TEXT("path", state_path(s)), F_TEXT("error", strerror(errno)));
		state_free(s);
		return OUTCOME_FAILED;
	}
	if (json)
		printf("{\"last_success\":%s%s%s,\"age_seconds\":%" PRId64 ",\"next_run\":%s%s%s,\"consecutive_failures\":%" PRId64
		       ",\"leader\":%s}\n", last ? "\"" : "", last ? iso_time(last, a) : "null", last ? "\"" : "",
		       last ? now - last : 0, next ? "\"" : "", next ? iso_time(next, b) : "null", next ? "\"" : "",
		       state_number(s, "consecutive_failures", 0), state_number(s, "leader", 0) ? "true" : "false");
	else
		printf("last success          %s\nage                   %" PRId64 " s\nnext run              %s\n"
		       "consecutive failures  %" PRId64 "\nleader                %s\n", last ? iso_time(last, a) : "never",
		       last ? now - last : 0, next ? iso_time(next, b) : "none planned",
		       state_number(s, "consecutive_failures", 0), state_number(s, "leader", 0) ? "yes" : "no");
	o = judge_age(last, max_age);
	state_free(s);
	return o;
}

int run_status(struct program *p, int argc, char **argv)
{
	static const struct option longs[] = {{"json", no_argument, NULL, 'j'}, {"max-age", required_argument, NULL, 'a'},
					      {NULL, 0, NULL, 0}};
	usec_t max_age = 0;
	bool json = false;
	int c;

	while ((c = getopt_long(argc, argv, "ja:", longs, NULL)) != -1) {
		if (c == 'j')
			json = true;
		else if (c != 'a' || !parse_span(optarg, &max_age) || max_age == 0)
			return command_usage(argv[0], "usage: status [--json] [--max-age SPAN]");
	}
	if (optind != argc)
		return command_usage(argv[0], "takes no argument");
	if (p->config->state_dir)
		return read_state(p, json, max_age);
	if (p->config->metrics_listen)
		return ask_daemon(p, max_age);
	return command_usage(argv[0], "needs BACKUP_STATE_DIR or BACKUP_METRICS_LISTEN, as the daemon has it");
}
