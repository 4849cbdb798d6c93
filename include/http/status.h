/*
 * http/status.h - what the pages fetch: /status.json and /connect.json.
 *
 * The words are those of SHOW. Pure.  Tests: test/unit/test_http.c
 */
#ifndef HTTP_STATUS_H
#define HTTP_STATUS_H

#include "config/config.h"
#include "http/metrics.h"
#include "pool/room.h"

void status_write(struct buf *, const struct scrape_result *, enum pause_mode, bool is_draining);
/* What a wallet's proof has to name, so that a page can make one. Nothing of it is secret. */
void status_write_connect(struct buf *, const struct settings *);

#endif
