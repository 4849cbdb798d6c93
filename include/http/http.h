/*
 * http/http.h - what browsers, Prometheus and platforms may ask the pooler.
 *
 *	/livez /readyz /health	    everybody
 *	/connect, /connect.json	    everybody: signing in with a browser wallet
 *	/attestation?nonce=HEX	    everybody
 *	/ /status.json /metrics	    loopback, and the networks of http_allow
 *
 * It lives on the control role's loop (libevent's HTTP) and asks the console
 * for what it shows, so that a number here is the number there. Off unless
 * http_listen is set.
 *
 * A request that a reverse proxy on this machine has forwarded does not come
 * from loopback: the last address of X-Forwarded-For counts.
 *
 * Tests: test/system/test_http.py, test/unit/test_http.c
 */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include "admin/console.h"

struct event_base;

/*
 * Before the threads start and after console_init(), on the control role's
 * base. 0 also when http_listen is empty; -1: an address cannot be listened
 * on, logged as fatal.
 */
int http_start(struct event_base *) MUST_CHECK;
/* After the threads have ended, before console_stop(). Harmless when it never started. */
void http_stop(void);

#endif
