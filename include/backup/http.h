/*
 * backup/http.h - HTTP requests on the loop, over libcurl's multi interface.
 *
 * One request, one answer; no redirects are followed, nothing is tried again,
 * nothing is known of S3. A body is sent from where it lies, without a copy of
 * our own. Callbacks run on the loop; done is the last one and is never called
 * from within http_start() or http_cancel().
 *
 * Rules: backup specification, section 10.1.  Tests: test/system/test_backup_faults.py
 */
#ifndef BACKUP_HTTP_H
#define BACKUP_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backup/storage.h"
#include "lib/list.h"
#include "lib/span.h"
#include "lib/util.h"

struct loop;
struct http;

struct http_settings {
	const char *ca_file;	/* NULL: the system's */
	const char *user_agent; /* copied, as everything here */
	bool is_insecure;
	usec_t connect_timeout, stall_timeout;
	uint64_t upload_rate, download_rate; /* bytes a second of all requests together; 0: no limit */
};

struct http_request {
	/* Set by the caller; all is borrowed until done. */
	const char *method, *url;
	const char *const *headers; /* "Name: value", ends with NULL; may be NULL */
	const struct storage_body *body; /* NULL: none; then no Content-Length is sent either */
	bool skips_proxy;	    /* addresses of metadata services */
	bool may_be_slow;	    /* an answer may take long: no stall limit */
	usec_t timeout;		    /* of the whole; 0: none */
	void (*head)(struct http_request *, struct span line); /* each line of the answer's head */
	bool (*bytes)(struct http_request *, struct span);     /* of its body; false ends the request */
	void (*done)(struct http_request *);
	void *owner;

	/* The outcome, for done. */
	int curl_result; /* CURLcode; CURLE_OK: an answer came, whatever its status */
	char detail[256];
	uint64_t sent, received; /* bytes of bodies */
	bool was_cancelled;
	bool may_have_arrived; /* the request, or a part of it, may have reached the server */

	/* private */
	struct list link;
	struct http *http;
	void *easy, *lines;
	uint64_t at; /* of the body */
	bool is_held; /* by a rate limit */
};

struct http *http_new(struct loop *, const struct http_settings *);
void http_free(struct http *); /* no request may be under way */
void http_start(struct http *, struct http_request *);
/* done comes soon, with was_cancelled. Harmless twice. */
void http_cancel(struct http_request *);

#endif
