#include "backup/s3_credentials.h"

#include <assert.h>
#include <curl/curl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backup/s3_call.h"
#include "lib/file.h"
#include "lib/mem.h"
#include "lib/rfc3339.h"

#define REFRESH_EARLY 300 /* seconds before they expire */
#define ANSWER_MAX ((size_t)64 << 10)
#define TRIES 4
#define ONE_REQUEST (5 * USEC_PER_SEC)
#define FAILED_GRACE 60 /* seconds in which keys that are not expired yet go on after a failed refresh */
#define TOKEN_TTL "21600"

/* What a fetch is about to ask for. */
enum step { STEP_IDLE, STEP_FILE, STEP_IMDS_TOKEN, STEP_IMDS_ROLE, STEP_IMDS_KEYS, STEP_CONTAINER, STEP_STS };

struct s3_keys {
	struct s3_store *s3; /* borrowed; told by s3_keys_came() */
	struct loop *loop;
	struct http *http;
	const char *region; /* borrowed */
	enum s3_key_source source;
	struct s3_key_set now;
	int64_t refresh_at, failed_at; /* 0: never */
	bool is_stale;

	enum step step;
	unsigned tries;
	bool is_over; /* no request is under way */
	struct loop_timer timer;
	struct http_request http_request;
	struct storage_body body;
	struct buf answer;
	int status;
	char *imds_token, *role;			 /* owned; of the fetch under way */
	char *url, *lines[4], *form;			 /* owned; of the request under way */
	char trouble[300];
};

static const char *variable(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

static void key_set_free(struct s3_key_set *k)
{
	str_wipe_free(k->access_key);
	str_wipe_free(k->secret_key);
	str_wipe_free(k->session_token);
	*k = (struct s3_key_set){0};
}

static void drop_request(struct s3_keys *k)
{
	free(k->url);
	k->url = NULL;
	for (size_t i = 0; i < ARRAY_LEN(k->lines); i++) {
		str_wipe_free(k->lines[i]);
		k->lines[i] = NULL;
	}
	str_wipe_free(k->form);
	k->form = NULL;
	buf_wipe_free(&k->answer);
}

/* ---- the end of a fetch ---- */

static void came(struct s3_keys *k, const char *trouble)
{
	k->step = STEP_IDLE;
	str_wipe_free(k->imds_token);
	str_wipe_free(k->role);
	k->imds_token = k->role = NULL;
	drop_request(k);
	if (trouble) {
		k->failed_at = time(NULL);
		/* What is not expired yet still opens the door. */
		if (k->now.access_key && !k->is_stale && k->now.expires > k->failed_at)
			trouble = NULL;
	}
	s3_keys_came(k->s3, trouble);
}

/* Takes the strings. false: one is missing or could not stand in a header. */
static bool accept_keys(struct s3_keys *k, struct s3_key_set *made)
{
	int64_t now = time(NULL), life = made->expires - now;

	if (made->session_token && !*made->session_token) {
		free(made->session_token);
		made->session_token = NULL;
	}
	if (!made->access_key || !made->secret_key || !*made->access_key || !*made->secret_key ||
	    strpbrk(made->access_key, " \r\n\t,") || (made->session_token && strpbrk(made->session_token, "\r\n"))) {
		key_set_free(made);
		return false;
	}
	key_set_free(&k->now);
	k->now = *made;
	k->is_stale = false;
	k->failed_at = 0;
	k->refresh_at = 0;
	/* Expired ones by our clock: the store decides, and we ask again soon. */
	if (made->expires)
		k->refresh_at = life <= 0 ? now + FAILED_GRACE
					  : made->expires - (life / 2 < REFRESH_EARLY ? life / 2 : REFRESH_EARLY);
	return true;
}

/* ---- the shared credentials file ---- */

static char *trim(char *s)
{
	char *end;

	s += strspn(s, " \t\r");
	end = s + strlen(s);
	while (end > s && strchr(" \t\r", end[-1]))
		*--end = 0;
	return s;
}

static char *file_path(void)
{
	const char *path = variable("AWS_SHARED_CREDENTIALS_FILE"), *home = variable("HOME");

	if (path)
		return xstrdup(path);
	return home ? xasprintf("%s/.aws/credentials", home) : NULL;
}

/* [profile] and name = value; what other tools put there is passed over. */
static bool read_file(struct s3_key_set *out, char *why, size_t why_size)
{
	const char *profile = variable("AWS_PROFILE");
	char *path = file_path(), *line, *at;
	struct file_text f = {0};
	bool in_profile = false, seen = false;

	*out = (struct s3_key_set){0};
	if (!path || file_read(path, (size_t)1 << 20, NULL, &f) < 0) {
		snprintf(why, why_size, "no credentials file %s", path ? path : "without HOME");
		free(path);
		return false;
	}
	at = f.text;
	while ((line = strsep(&at, "\n"))) {
		char *equals, *end, *name, *value;

		line = trim(line);
		if (*line == '[' && (end = strchr(line, ']'))) {
			*end = 0;
			in_profile = strcmp(trim(line + 1), profile ? profile : "default") == 0;
			seen = seen || in_profile;
			continue;
		}
		equals = strchr(line, '=');
		if (!in_profile || !equals || *line == '#' || *line == ';')
			continue;
		*equals = 0;
		name = trim(line);
		value = trim(equals + 1);
		if (strcmp(name, "aws_access_key_id") == 0) {
			str_wipe_free(out->access_key);
			out->access_key = xstrdup(value);
		} else if (strcmp(name, "aws_secret_access_key") == 0) {
			str_wipe_free(out->secret_key);
			out->secret_key = xstrdup(value);
		} else if (strcmp(name, "aws_session_token") == 0) {
			str_wipe_free(out->session_token);
			out->session_token = xstrdup(value);
		}
	}
	if (!out->access_key || !out->secret_key) {
		snprintf(why, why_size, "%s: %s [%s]", path, seen ? "no keys in" : "no section",
			 profile ? profile : "default");
		key_set_free(out);
	}
	file_text_free(&f);
	free(path);
	return out->access_key != NULL;
}

/* ---- requests ---- */

static bool on_bytes(struct http_request *r, struct span bytes)
{
	struct s3_keys *k = r->owner;

	if (buf_len(&k->answer) + bytes.len > ANSWER_MAX)
		return false;
	buf_put(&k->answer, bytes.ptr, bytes.len);
	return buf_ok(&k->answer);
}

static void on_line(struct http_request *r, struct span line)
{
	struct s3_keys *k = r->owner;
	struct s3_answer a;

	s3_answer_clear(&a);
	s3_answer_line(&a, line);
	if (a.status)
		k->status = a.status;
}

static void on_done(struct http_request *);

static void ask(struct s3_keys *k, const char *method, bool has_body)
{
	buf_clear(&k->answer);
	k->status = 0;
	k->body = (struct storage_body){.bytes = span_str(k->form ? k->form : ""), .fd = -1,
					.len = k->form ? strlen(k->form) : 0};
	k->http_request = (struct http_request){
		.method = method,
		.url = k->url,
		.headers = (const char *const *)k->lines,
		.body = has_body ? &k->body : NULL,
		.skips_proxy = k->source != S3_KEYS_WEB_IDENTITY,
		.timeout = ONE_REQUEST,
		.head = on_line,
		.bytes = on_bytes,
		.done = on_done,
		.owner = k,
	};
	k->is_over = false;
	http_start(k->http, &k->http_request);
}

static const char *imds_root(void)
{
	const char *given = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT");

	return given ? given : "http://169.254.169.254";
}

/* A token, or text that goes into a header: one line of it. */
static char *one_line(struct span s)
{
	const uint8_t *end = memchr(s.ptr, '\n', s.len);
	size_t n = end ? (size_t)(end - s.ptr) : s.len;

	while (n && s.ptr[n - 1] == '\r')
		n--;
	return xstrndup((const char *)s.ptr, n);
}

static bool host_may_be_plain(const char *url)
{
	static const char *const hosts[] = {"127.0.0.1", "localhost", "[::1]", "169.254.170.2", "169.254.170.23",
					    "[fd00:ec2::23]"};
	CURLU *u = curl_url();
	char *host = NULL;
	bool ok = false;

	if (u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK)
		for (size_t i = 0; i < ARRAY_LEN(hosts); i++)
			ok = ok || strcmp(host, hosts[i]) == 0;
	curl_free(host);
	curl_url_cleanup(u);
	return ok;
}

static bool ask_container(struct s3_keys *k)
{
	const char *relative = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	const char *full = variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
	const char *file = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
	const char *token = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN");
	struct file_text f = {0};

	if (!relative && !full) {
		snprintf(k->trouble, sizeof(k->trouble), "no AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI");
		return false;
	}
	k->url = relative ? xasprintf("http://169.254.170.2%s", relative) : xstrdup(full);
	if (!relative && strncmp(full, "https://", 8) != 0 && !host_may_be_plain(full)) {
		snprintf(k->trouble, sizeof(k->trouble),
			 "AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https nor local");
		return false;
	}
	if (file && file_read(file, (size_t)1 << 16, NULL, &f) < 0) {
		snprintf(k->trouble, sizeof(k->trouble), "cannot read %s", file);
		return false;
	}
	if (file || token) {
		char *line = one_line(file ? span_of(f.text, f.len) : span_str(token));

		k->lines[0] = xasprintf("Authorization: %s", line);
		str_wipe_free(line);
	}
	if (file)
		file_text_free(&f);
	ask(k, "GET", false);
	return true;
}

static void put_form(struct buf *b, const char *name, const char *value)
{
	buf_printf(b, "&%s=", name);
	sigv4_encode(b, value, false);
}

static bool ask_sts(struct s3_keys *k)
{
	const char *file = variable("AWS_WEB_IDENTITY_TOKEN_FILE"), *role = variable("AWS_ROLE_ARN");
	const char *session = variable("AWS_ROLE_SESSION_NAME"), *endpoint = variable("AWS_ENDPOINT_URL_STS");
	bool is_aws_region = strcmp(k->region, "auto") != 0;
	struct file_text f = {0};
	struct buf b;
	char *token;

	if (!file || !role || file_read(file, (size_t)1 << 16, NULL, &f) < 0) {
		snprintf(k->trouble, sizeof(k->trouble), "web identity needs AWS_ROLE_ARN and a readable "
			 "AWS_WEB_IDENTITY_TOKEN_FILE");
		return false;
	}
	token = one_line(span_of(f.text, f.len));
	file_text_free(&f);
	buf_init(&b);
	buf_put_text(&b, "Action=AssumeRoleWithWebIdentity&Version=2011-06-15");
	put_form(&b, "RoleArn", role);
	put_form(&b, "RoleSessionName", session ? session : "pg-ecdsa-backup");
	put_form(&b, "WebIdentityToken", token);
	str_wipe_free(token);
	buf_put_u8(&b, 0);
	if (!buf_ok(&b))
		abort();
	k->form = xstrdup((const char *)buf_data(&b));
	buf_wipe_free(&b);
	k->url = endpoint	 ? xasprintf("%s/", endpoint)
		 : is_aws_region ? xasprintf("https://sts.%s.amazonaws.com/", k->region)
				 : xstrdup("https://sts.amazonaws.com/");
	k->lines[0] = xstrdup("Content-Type: application/x-www-form-urlencoded");
	ask(k, "POST", true);
	return true;
}

static void ask_imds(struct s3_keys *k)
{
	const char *path = k->step == STEP_IMDS_TOKEN ? "/latest/api/token"
						      : "/latest/meta-data/iam/security-credentials/";

	k->url = xasprintf("%s%s%s", imds_root(), path, k->step == STEP_IMDS_KEYS ? k->role : "");
	k->lines[0] = k->step == STEP_IMDS_TOKEN
			      ? xstrdup("X-aws-ec2-metadata-token-ttl-seconds: " TOKEN_TTL)
			      : xasprintf("X-aws-ec2-metadata-token: %s", k->imds_token);
	ask(k, k->step == STEP_IMDS_TOKEN ? "PUT" : "GET", k->step == STEP_IMDS_TOKEN);
}

static void do_step(struct loop_timer *t)
{
	struct s3_keys *k = CONTAINER_OF(t, struct s3_keys, timer);
	struct s3_key_set made;

	drop_request(k);
	switch (k->step) {
	case STEP_FILE:
		if (!read_file(&made, k->trouble, sizeof(k->trouble)))
			came(k, k->trouble);
		else
			came(k, accept_keys(k, &made) ? NULL : "the credentials file has no usable keys");
		break;
	case STEP_CONTAINER:
		if (!ask_container(k))
			came(k, k->trouble);
		break;
	case STEP_STS:
		if (!ask_sts(k))
			came(k, k->trouble);
		break;
	case STEP_IMDS_TOKEN:
	case STEP_IMDS_ROLE:
	case STEP_IMDS_KEYS:
		ask_imds(k);
		break;
	case STEP_IDLE:
		break;
	}
}

/* ---- answers ---- */

static char *json_text(const json_t *doc, const char *name)
{
	return xstrdup(json_string_value(json_object_get(doc, name)));
}

static bool keys_from_json(struct s3_keys *k)
{
	struct span s = buf_span(&k->answer);
	json_t *doc = json_loadb((const char *)s.ptr, s.len, 0, NULL);
	const char *expires = json_string_value(json_object_get(doc, "Expiration"));
	struct s3_key_set made = {json_text(doc, "AccessKeyId"), json_text(doc, "SecretAccessKey"),
				  json_text(doc, "Token"), 0};

	if (expires && !rfc3339_parse(expires, strlen(expires), &made.expires))
		made.expires = 0;
	json_decref(doc);
	return accept_keys(k, &made);
}

static bool keys_from_sts(struct s3_keys *k)
{
	struct s3_doc d;
	struct s3_key_set made;

	s3_doc_start(&d, ANSWER_MAX);
	if (s3_doc_feed(&d, buf_span(&k->answer)))
		(void)s3_doc_finish(&d);
	if (d.fault || d.root != S3_ROOT_ASSUME_ROLE) {
		s3_doc_free(&d);
		return false;
	}
	made = (struct s3_key_set){d.access_key, d.secret_key, d.session_token, d.expires};
	d.access_key = d.secret_key = d.session_token = NULL;
	s3_doc_free(&d);
	return accept_keys(k, &made);
}

static bool is_role_name(const char *s)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+=,.@-";

	return *s && strlen(s) <= 128 && s[strspn(s, allowed)] == 0;
}

/* The step has its answer: true when it is what was asked for. */
static bool take_answer(struct s3_keys *k)
{
	switch (k->step) {
	case STEP_IMDS_TOKEN:
		k->imds_token = one_line(buf_span(&k->answer));
		k->step = STEP_IMDS_ROLE;
		return *k->imds_token;
	case STEP_IMDS_ROLE:
		k->role = one_line(buf_span(&k->answer));
		k->step = STEP_IMDS_KEYS;
		return is_role_name(k->role);
	case STEP_IMDS_KEYS:
	case STEP_CONTAINER:
		k->step = STEP_IDLE;
		return keys_from_json(k);
	case STEP_STS:
		k->step = STEP_IDLE;
		return keys_from_sts(k);
	case STEP_FILE:
	case STEP_IDLE:
		break;
	}
	return false;
}

static const char *source_word(const struct s3_keys *k)
{
	switch (k->source) {
	case S3_KEYS_CONTAINER:
		return "the container's endpoint";
	case S3_KEYS_IMDS:
		return "the instance's metadata";
	case S3_KEYS_WEB_IDENTITY:
		return "the security token service";
	case S3_KEYS_FILE:
		return "the credentials file";
	case S3_KEYS_STATIC:
	case S3_KEYS_AUTO:
		break;
	}
	return "the configuration";
}

static void on_done(struct http_request *r)
{
	struct s3_keys *k = r->owner;
	bool has_answer = r->curl_result == CURLE_OK;
	enum step asked = k->step;

	k->is_over = true;
	if (r->was_cancelled) {
		came(k, "cancelled");
		return;
	}
	if (has_answer && k->status == 200) {
		k->tries = 0;
		if (!take_answer(k)) {
			snprintf(k->trouble, sizeof(k->trouble), "%s gave an answer without keys", source_word(k));
			came(k, k->trouble);
		} else if (k->step == STEP_IDLE) {
			came(k, NULL);
		} else {
			loop_timer_set(k->loop, &k->timer, loop_now());
		}
		return;
	}
	if (has_answer)
		snprintf(k->trouble, sizeof(k->trouble), "%s answered HTTP %d", source_word(k), k->status);
	else
		snprintf(k->trouble, sizeof(k->trouble), "%s: %s", source_word(k), r->detail);
	k->step = asked;
	/* A refusal stays one; what is busy or away may be back. */
	if (++k->tries >= TRIES || (has_answer && k->status < 500 && k->status != 429))
		came(k, k->trouble);
	else
		loop_timer_set(k->loop, &k->timer, loop_now() + k->tries * USEC_PER_SEC / 2);
}

/* ---- from outside ---- */

const struct s3_key_set *s3_keys_now(const struct s3_keys *k)
{
	int64_t now = time(NULL);

	if (!k->now.access_key || k->is_stale)
		return NULL;
	if (k->refresh_at && now >= k->refresh_at &&
	    !(k->failed_at && now < k->failed_at + FAILED_GRACE && now < k->now.expires))
		return NULL;
	return &k->now;
}

void s3_keys_fetch(struct s3_keys *k)
{
	static const enum step first[] = {
		[S3_KEYS_STATIC] = STEP_IDLE, [S3_KEYS_FILE] = STEP_FILE, [S3_KEYS_CONTAINER] = STEP_CONTAINER,
		[S3_KEYS_IMDS] = STEP_IMDS_TOKEN, [S3_KEYS_WEB_IDENTITY] = STEP_STS, [S3_KEYS_AUTO] = STEP_IDLE,
	};

	if (k->step != STEP_IDLE)
		return;
	assert(first[k->source] != STEP_IDLE);
	k->step = first[k->source];
	k->tries = 0;
	loop_timer_set(k->loop, &k->timer, loop_now());
}

bool s3_keys_expire(struct s3_keys *k)
{
	if (k->source == S3_KEYS_STATIC)
		return false;
	k->is_stale = true;
	return true;
}

void s3_keys_stop(struct s3_keys *k)
{
	loop_timer_clear(k->loop, &k->timer);
	if (!k->is_over) {
		http_cancel(&k->http_request);
		/* Without a deadline it comes back only when that has ended. */
		if (!loop_wait_through(k->loop, &k->is_over, 0))
			abort();
	}
	k->step = STEP_IDLE;
}

void s3_keys_free(struct s3_keys *k)
{
	if (!k)
		return;
	drop_request(k);
	str_wipe_free(k->imds_token);
	str_wipe_free(k->role);
	key_set_free(&k->now);
	free(k);
}

/* The first source that has any. */
static enum s3_key_source find_source(const struct s3_settings *s, struct s3_key_set *found)
{
	char why[300];

	if (s->access_key && s->secret_key) {
		*found = (struct s3_key_set){xstrdup(s->access_key), xstrdup(s->secret_key), xstrdup(s->session_token),
					     0};
		return S3_KEYS_STATIC;
	}
	if (s->env_access_key && s->env_secret_key) {
		*found = (struct s3_key_set){xstrdup(s->env_access_key), xstrdup(s->env_secret_key),
					     xstrdup(s->env_session_token), 0};
		return S3_KEYS_STATIC;
	}
	if (read_file(found, why, sizeof(why)))
		return S3_KEYS_FILE;
	if (variable("AWS_WEB_IDENTITY_TOKEN_FILE") && variable("AWS_ROLE_ARN"))
		return S3_KEYS_WEB_IDENTITY;
	if (variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") || variable("AWS_CONTAINER_CREDENTIALS_FULL_URI"))
		return S3_KEYS_CONTAINER;
	return S3_KEYS_IMDS;
}

struct s3_keys *s3_keys_new(struct s3_store *s3, struct loop *loop, struct http *http, const struct s3_settings *s,
			    const char *region, char *why, size_t why_size)
{
	const char *disabled = variable("AWS_EC2_METADATA_DISABLED");
	struct s3_keys *k = xcalloc(1, sizeof(*k));
	struct s3_key_set found = {0};

	k->s3 = s3;
	k->loop = loop;
	k->http = http;
	k->region = region;
	k->source = s->credentials;
	k->timer.fire = do_step;
	k->is_over = true;
	buf_init(&k->answer);
	if (k->source == S3_KEYS_AUTO) {
		k->source = find_source(s, &found);
		if (k->source == S3_KEYS_IMDS && disabled && strcasecmp(disabled, "true") == 0) {
			snprintf(why, why_size, "no credentials were found anywhere");
			s3_keys_free(k);
			return NULL;
		}
	} else if (k->source == S3_KEYS_STATIC) {
		found = (struct s3_key_set){xstrdup(s->access_key), xstrdup(s->secret_key), xstrdup(s->session_token),
					    0};
	}
	if ((found.access_key || k->source == S3_KEYS_STATIC) && !accept_keys(k, &found)) {
		snprintf(why, why_size, "access key or secret key is missing or malformed");
		s3_keys_free(k);
		return NULL;
	}
	return k;
}
