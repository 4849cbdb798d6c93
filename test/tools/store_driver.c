/*
 * A store by hand, for the system tests: one JSON object a line asks, one
 * answers. Settings come as the first line.
 *
 *	{"endpoint": "http://127.0.0.1:8080", "bucket": "b", "access_key": "k", "secret_key": "s"}
 *	{"op": "put", "key": "a/b", "file": "/tmp/x", "run_id": "r1"}
 *	{"result": "ok"}
 *
 * What the store's watcher is told comes in between as {"event": ...}.
 */
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/resource.h>
#include <unistd.h>

#include "backup/catalog.h"
#include "backup/dir_store.h"
#include "backup/loop.h"
#include "backup/s3.h"
#include "lib/buf.h"
#include "lib/mem.h"

static struct loop *loop;
static struct storage *store;
static struct storage_upload *uploads[64];

static void say(json_t *o)
{
	char *text = json_dumps(o, JSON_COMPACT | JSON_ENSURE_ASCII);

	if (!text)
		abort();
	puts(text);
	fflush(stdout);
	free(text);
	json_decref(o);
}

/* Bytes as a JSON string: what is no UTF-8 as Latin-1. */
static json_t *bytes_of(const char *s)
{
	json_t *t = json_string(s);
	struct buf b;

	if (t)
		return t;
	buf_init(&b);
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c < 0x80) {
			buf_put_u8(&b, c);
		} else {
			buf_put_u8(&b, (uint8_t)(0xc0 | c >> 6));
			buf_put_u8(&b, (uint8_t)(0x80 | (c & 0x3f)));
		}
	}
	t = json_stringn((const char *)buf_data(&b), buf_len(&b));
	buf_free(&b);
	return t;
}

static const char *text(const json_t *q, const char *name)
{
	return json_string_value(json_object_get(q, name));
}

static int64_t number(const json_t *q, const char *name, int64_t otherwise)
{
	const json_t *v = json_object_get(q, name);

	return json_is_integer(v) ? json_integer_value(v) : otherwise;
}

static bool flag(const json_t *q, const char *name)
{
	return json_is_true(json_object_get(q, name));
}

/* ---- the watcher ---- */

static void on_request(void *ctx, const char *op, int http, usec_t took, uint64_t sent, uint64_t received)
{
	(void)ctx;
	say(json_pack("{s:s,s:s,s:i,s:I,s:I,s:I}", "event", "request", "op", op, "http", http, "usec", (json_int_t)took,
		      "sent", (json_int_t)sent, "received", (json_int_t)received));
}

static void on_retry(void *ctx, const char *op, unsigned attempt, const char *reason, const struct storage_error *e,
		     usec_t wait)
{
	(void)ctx;
	say(json_pack("{s:s,s:s,s:i,s:o,s:o,s:I}", "event", "retry", "op", op, "attempt", (int)attempt, "reason",
		      bytes_of(reason), "message", bytes_of(e->message), "wait", (json_int_t)wait));
}

static void on_notice(void *ctx, const char *what)
{
	(void)ctx;
	say(json_pack("{s:s,s:o}", "event", "notice", "text", bytes_of(what)));
}

/* ---- operations ---- */

static json_t *outcome(enum storage_result r, const struct storage_op *op)
{
	json_t *o = json_pack("{s:s}", "result", storage_result_word(r));

	if (r != STORAGE_OK) {
		json_object_set_new(o, "http", json_integer(op->error.http));
		json_object_set_new(o, "code", bytes_of(op->error.code));
		json_object_set_new(o, "message", bytes_of(op->error.message));
		json_object_set_new(o, "request_id", bytes_of(op->error.request_id));
	}
	if (store->has_clock)
		json_object_set_new(o, "clock_offset", json_integer(store->clock_offset));
	return o;
}

struct mapped {
	int fd;
	void *bytes;
	size_t len;
};

static struct mapped map(const char *path)
{
	struct mapped m = {.fd = open(path, O_RDONLY | O_CLOEXEC)};
	struct stat st;

	if (m.fd < 0 || fstat(m.fd, &st) < 0) {
		perror(path);
		exit(2);
	}
	m.len = (size_t)st.st_size;
	m.bytes = m.len ? mmap(NULL, m.len, PROT_READ, MAP_PRIVATE, m.fd, 0) : NULL;
	return m;
}

static void unmap(struct mapped *m)
{
	if (m->bytes)
		munmap(m->bytes, m->len);
	close(m->fd);
}

/* by_fd: as from a spool file. */
static struct storage_body slice(const struct mapped *m, bool by_fd, uint64_t offset, uint64_t len)
{
	if (by_fd)
		return (struct storage_body){.fd = m->fd, .offset = offset, .len = len};
	return (struct storage_body){
		.bytes = span_of(m->bytes ? (uint8_t *)m->bytes + offset : (const uint8_t *)"", len),
		.fd = -1,
		.len = len};
}

static struct object_meta meta_of(const json_t *q)
{
	struct object_meta m = {.tool_version = "test", .format = "2"};

	if (text(q, "run_id"))
		snprintf(m.run_id, sizeof(m.run_id), "%s", text(q, "run_id"));
	if (text(q, "database"))
		snprintf(m.database, sizeof(m.database), "%s", text(q, "database"));
	return m;
}

static void put_info(json_t *o, const struct object_info *i)
{
	json_object_set_new(o, "size", json_integer((json_int_t)i->size));
	json_object_set_new(o, "modified", json_integer(i->modified));
	json_object_set_new(o, "etag", bytes_of(i->etag));
	json_object_set_new(o, "run_id", bytes_of(i->meta.run_id));
	json_object_set_new(o, "database", bytes_of(i->meta.database));
}

static json_t *do_put(const json_t *q, bool replaces)
{
	struct mapped m = map(text(q, "file"));
	struct storage_body body = slice(&m, flag(q, "by_fd"), 0, m.len);
	struct object_meta meta = meta_of(q);
	struct storage_op op = {0};
	enum storage_result r;

	if (replaces)
		store->ops->replace(store, &op, text(q, "key"), "application/json", &body);
	else
		store->ops->put(store, &op, text(q, "key"), "application/octet-stream", &meta, &body);
	r = storage_wait(store, &op);
	unmap(&m);
	return outcome(r, &op);
}

static json_t *do_head(const json_t *q)
{
	struct object_info info;
	struct storage_op op = {0};
	enum storage_result r;
	json_t *o;

	store->ops->head(store, &op, text(q, "key"), &info);
	r = storage_wait(store, &op);
	o = outcome(r, &op);
	if (r == STORAGE_OK)
		put_info(o, &info);
	return o;
}

struct receiver {
	int fd;
	int64_t seen, stop_at;
};

static bool receive(void *ctx, struct span bytes)
{
	struct receiver *r = ctx;

	if (r->fd >= 0 && write(r->fd, bytes.ptr, bytes.len) != (ssize_t)bytes.len)
		return false;
	r->seen += (int64_t)bytes.len;
	return r->stop_at < 0 || r->seen < r->stop_at;
}

static json_t *do_get(const json_t *q)
{
	struct receiver to = {.fd = -1, .stop_at = number(q, "stop_at", -1)};
	struct object_info info = {0};
	struct storage_op op = {0};
	enum storage_result r;
	json_t *o;

	if (text(q, "file"))
		to.fd = open(text(q, "file"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	store->ops->get(store, &op, text(q, "key"), text(q, "if_match"), (uint64_t)number(q, "offset", 0),
			(uint64_t)number(q, "len", 0), &info, receive, &to);
	r = storage_wait(store, &op);
	if (to.fd >= 0)
		close(to.fd);
	o = outcome(r, &op);
	json_object_set_new(o, "received", json_integer(to.seen));
	put_info(o, &info);
	return o;
}

struct listing {
	json_t *items;
	int64_t count, stop_at;
	bool counts_only;
};

static bool list_item(void *ctx, const char *key, const struct object_info *i)
{
	struct listing *l = ctx;

	l->count++;
	if (!l->counts_only)
		json_array_append_new(l->items, json_pack("{s:o,s:I,s:I,s:o}", "key", bytes_of(key), "size",
							  (json_int_t)i->size, "modified", (json_int_t)i->modified,
							  "etag", bytes_of(i->etag)));
	return l->stop_at < 0 || l->count < l->stop_at;
}

static bool upload_item(void *ctx, const char *key, const char *id, time_t begun)
{
	struct listing *l = ctx;

	l->count++;
	json_array_append_new(l->items, json_pack("{s:o,s:o,s:I}", "key", bytes_of(key), "id", bytes_of(id), "begun",
						  (json_int_t)begun));
	return true;
}

/* Not ru_maxrss, which counts what the parent was before exec. */
static long peak_kb(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	char row[200];
	long kb = 0;

	while (f && fgets(row, sizeof(row), f))
		if (sscanf(row, "VmHWM: %ld", &kb) == 1)
			break;
	if (f)
		fclose(f);
	return kb;
}

static int64_t cpu_usec(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * USEC_PER_SEC + u.ru_utime.tv_usec + u.ru_stime.tv_usec;
}

static json_t *do_list(const json_t *q, bool of_uploads)
{
	struct listing l = {json_array(), 0, number(q, "stop_at", -1), flag(q, "counts_only")};
	struct storage_op op = {0};
	enum storage_result r;
	json_t *o;

	if (of_uploads)
		store->ops->list_uploads(store, &op, text(q, "prefix"), upload_item, &l);
	else
		store->ops->list(store, &op, text(q, "prefix"), flag(q, "flat"), list_item, &l);
	r = storage_wait(store, &op);
	o = outcome(r, &op);
	json_object_set_new(o, "items", l.items);
	json_object_set_new(o, "count", json_integer(l.count));
	json_object_set_new(o, "peak_kb", json_integer(peak_kb()));
	return o;
}

/* As every command begins: our backups alone are kept. */
static json_t *do_catalog(const json_t *q)
{
	static const struct manifest_keys none = {.count = 0};
	struct catalog c = {0};
	enum storage_result r = catalog_load(&c, store, text(q, "prefix"), &none, time(NULL), NULL, NULL);
	struct storage_op op = {.error = c.error};
	json_t *o = outcome(r, &op);

	json_object_set_new(o, "count", json_integer((json_int_t)c.count));
	json_object_set_new(o, "peak_kb", json_integer(peak_kb()));
	catalog_free(&c);
	return o;
}

static json_t *do_begin(const json_t *q)
{
	struct object_meta meta = meta_of(q);
	struct storage_upload **u = &uploads[number(q, "upload", 0)];
	struct storage_op op = {0};
	enum storage_result r;
	json_t *o;

	store->ops->upload_begin(store, &op, text(q, "key"), "application/octet-stream", &meta, u);
	r = storage_wait(store, &op);
	o = outcome(r, &op);
	if (*u)
		json_object_set_new(o, "id", bytes_of(store->ops->upload_id(*u)));
	return o;
}

static json_t *do_part(const json_t *q)
{
	struct mapped m = map(text(q, "file"));
	struct storage_body body = slice(&m, flag(q, "by_fd"), (uint64_t)number(q, "offset", 0),
					 (uint64_t)number(q, "len", (int64_t)m.len));
	struct storage_op op = {0};
	enum storage_result r;

	store->ops->upload_part(uploads[number(q, "upload", 0)], &op, (unsigned)number(q, "number", 1), &body);
	r = storage_wait(store, &op);
	unmap(&m);
	return outcome(r, &op);
}

static json_t *do_complete(const json_t *q)
{
	struct storage_op op = {0};
	enum storage_result r;

	store->ops->upload_complete(uploads[number(q, "upload", 0)], &op, (uint64_t)number(q, "size", 0));
	r = storage_wait(store, &op);
	return outcome(r, &op);
}

static json_t *do_abort(const json_t *q)
{
	struct storage_op op = {0};
	enum storage_result r;

	store->ops->upload_abort(uploads[number(q, "upload", 0)], &op);
	r = storage_wait_through(store, &op, 0);
	return outcome(r, &op);
}

/* As a job does it: parts under way at once, completed when all are there, aborted when one is not. */
static json_t *do_upload(const json_t *q)
{
	struct mapped m = map(text(q, "file"));
	uint64_t size = (uint64_t)number(q, "size", (int64_t)m.len), part = (uint64_t)number(q, "part", 5 << 20),
		 at = 0;
	unsigned width = (unsigned)number(q, "width", 2), started = 0, ended = 0;
	struct storage_op op = {0}, *ops = xcalloc(width, sizeof(*ops));
	struct storage_body *bodies = xcalloc(width, sizeof(*bodies));
	struct object_meta meta = meta_of(q);
	struct storage_upload *u;
	enum storage_result r;
	const char *phase = "begin";
	usec_t begun = loop_now();
	int64_t cpu = cpu_usec();
	json_t *o;

	store->ops->upload_begin(store, &op, text(q, "key"), "application/octet-stream", &meta, &u);
	r = storage_wait(store, &op);
	if (r == STORAGE_OK)
		phase = "part";
	while (r == STORAGE_OK && ended * part < size) {
		while (at < size && started - ended < width) {
			unsigned slot = started % width;
			uint64_t n = size - at < part ? size - at : part;

			ops[slot] = (struct storage_op){0};
			/* The same bytes again and again, when more is asked for than there is. */
			bodies[slot] = slice(&m, flag(q, "by_fd"), m.len >= size ? at : 0, n);
			store->ops->upload_part(u, &ops[slot], ++started, &bodies[slot]);
			at += n;
		}
		r = storage_wait(store, &ops[ended % width]);
		if (r != STORAGE_OK)
			op = ops[ended % width];
		ended++;
	}
	while (ended < started) {
		struct storage_op *left = &ops[ended++ % width];

		if (!left->is_done)
			store->ops->cancel(left);
		(void)storage_wait_through(store, left, 0);
	}
	if (r == STORAGE_OK) {
		phase = "complete";
		op = (struct storage_op){0};
		store->ops->upload_complete(u, &op, size);
		r = storage_wait(store, &op);
	}
	o = outcome(r, &op);
	if (u && r != STORAGE_OK) {
		struct storage_op gone = {0};

		store->ops->upload_abort(u, &gone);
		json_object_set_new(o, "abort",
				    json_string(storage_result_word(storage_wait_through(store, &gone, 0))));
	}
	json_object_set_new(o, "phase", json_string(phase));
	json_object_set_new(o, "usec", json_integer(loop_now() - begun));
	json_object_set_new(o, "cpu_usec", json_integer(cpu_usec() - cpu));
	json_object_set_new(o, "peak_kb", json_integer(peak_kb()));
	store->ops->upload_free(u);
	free(ops);
	free(bodies);
	unmap(&m);
	return o;
}

static json_t *do_key(const json_t *q, bool is_stale_upload)
{
	struct storage_op op = {0};
	enum storage_result r;

	if (is_stale_upload)
		store->ops->abort_stale(store, &op, text(q, "key"), text(q, "id"));
	else
		store->ops->remove(store, &op, text(q, "key"));
	r = storage_wait(store, &op);
	return outcome(r, &op);
}

static json_t *answer(const json_t *q)
{
	const char *op = text(q, "op");

	if (strcmp(op, "put") == 0 || strcmp(op, "replace") == 0)
		return do_put(q, *op == 'r');
	if (strcmp(op, "head") == 0)
		return do_head(q);
	if (strcmp(op, "get") == 0)
		return do_get(q);
	if (strcmp(op, "remove") == 0 || strcmp(op, "abort_stale") == 0)
		return do_key(q, *op == 'a');
	if (strcmp(op, "list") == 0 || strcmp(op, "list_uploads") == 0)
		return do_list(q, op[4]);
	if (strcmp(op, "catalog") == 0)
		return do_catalog(q);
	if (strcmp(op, "begin") == 0)
		return do_begin(q);
	if (strcmp(op, "part") == 0)
		return do_part(q);
	if (strcmp(op, "complete") == 0)
		return do_complete(q);
	if (strcmp(op, "abort") == 0)
		return do_abort(q);
	if (strcmp(op, "upload") == 0)
		return do_upload(q);
	if (strcmp(op, "free") == 0) {
		store->ops->upload_free(uploads[number(q, "upload", 0)]);
		uploads[number(q, "upload", 0)] = NULL;
		return json_pack("{s:s}", "result", "ok");
	}
	fprintf(stderr, "unknown operation %s\n", op);
	exit(2);
}

static struct loop_timer interrupter;

static void interrupt(struct loop_timer *t)
{
	(void)t;
	loop_interrupt(loop);
}

static struct storage *open_store(const json_t *q, char *why, size_t size)
{
	struct s3_settings s = {
		.endpoint = text(q, "endpoint"),
		.bucket = text(q, "bucket"),
		.region = text(q, "region"),
		.credentials = (enum s3_key_source)number(q, "credentials", S3_KEYS_STATIC),
		.access_key = text(q, "access_key"),
		.secret_key = text(q, "secret_key"),
		.session_token = text(q, "session_token"),
		.env_access_key = text(q, "env_access_key"),
		.env_secret_key = text(q, "env_secret_key"),
		.env_session_token = text(q, "env_session_token"),
		.is_virtual_host = flag(q, "virtual"),
		.ca_file = text(q, "ca_file"),
		.is_insecure = flag(q, "insecure"),
		.may_use_http = flag(q, "allow_http"),
		.is_unsigned_body = flag(q, "unsigned"),
		.checksum = (enum s3_body_check)number(q, "checksum", S3_CHECK_MD5),
		.storage_class = text(q, "storage_class"),
		.tags = text(q, "tags"),
		.upload_rate = (uint64_t)number(q, "upload_rate", 0),
		.download_rate = (uint64_t)number(q, "download_rate", 0),
		.connect_timeout = number(q, "connect_timeout", 0),
		.stall_timeout = number(q, "stall_timeout", 0),
		.request_timeout = number(q, "request_timeout", 0),
		.attempts = (unsigned)number(q, "attempts", 0),
		.concurrency = (unsigned)number(q, "concurrency", 0),
		.page_size = (unsigned)number(q, "page_size", 0),
		.backoff_first = number(q, "backoff_first", 0),
		.backoff_most = number(q, "backoff_most", 0),
	};

	if (text(q, "directory"))
		return dir_store_new(loop, text(q, "directory"), why, size);
	return s3_store_new(loop, &s, why, size);
}

int main(void)
{
	char why[300] = "", *line = NULL;
	size_t cap = 0;

	/* A peer that is gone is an error of the request. */
	signal(SIGPIPE, SIG_IGN);
	s3_library_start();
	loop = loop_new();
	while (getline(&line, &cap, stdin) > 0) {
		json_t *q = json_loads(line, 0, NULL);

		if (!q) {
			fprintf(stderr, "no JSON: %s", line);
			return 2;
		}
		if (!store) {
			store = open_store(q, why, sizeof(why));
			if (!store) {
				say(json_pack("{s:s,s:s}", "result", "refused", "message", why));
				json_decref(q);
				break;
			}
			store->watcher = (struct storage_watcher){on_request, on_retry, on_notice, NULL};
			say(json_pack("{s:s}", "result", "ok"));
		} else {
			json_t *o;

			interrupter.fire = interrupt;
			if (number(q, "interrupt_after", -1) >= 0)
				loop_timer_set(loop, &interrupter, loop_now() + number(q, "interrupt_after", 0));
			o = answer(q);
			loop_timer_clear(loop, &interrupter);
			loop_resume(loop);
			say(o);
		}
		json_decref(q);
	}
	for (size_t i = 0; store && i < ARRAY_LEN(uploads); i++)
		if (uploads[i])
			store->ops->upload_free(uploads[i]);
	if (store)
		store->ops->free(store);
	loop_free(loop);
	free(line);
	s3_library_stop();
	return 0;
}
