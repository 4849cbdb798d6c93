/*
 * net/dns.h - host names to addresses, without blocking, with a cache.
 *
 * One query per name at a time; who asks meanwhile shares it. Success is kept
 * for max_ttl, failure for nxdomain_ttl; what the name server says about TTLs
 * is ignored. An expired name is asked for again when it is next used. Each
 * answer starts with another address of the name, in turn. The hosts file
 * counts. A failed query is logged here, once, as a warning.
 *
 * Zone check: every zone_check_period the SOA serials of the hosts' zones are
 * asked, one after the other; a larger serial makes the zone's hosts be asked
 * again. The zone of a host is its name after the first dot.
 *
 * Belongs to the control role: one thread, one event base.
 * Behaviour specification, section 29; console, 8.11 and 8.16.
 * Tests: test/unit/test_dns.c
 */
#ifndef NET_DNS_H
#define NET_DNS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "lib/util.h"

struct event_base;
struct dns;
struct dns_request;

union dns_addr {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* No pointers inside: one free(), or one memcpy, does for all. Ports are 0. */
struct dns_addrs {
	size_t count; /* at least 1 */
	union dns_addr addr[];
};

/* All of them settings of the same names. */
struct dns_times {
	usec_t max_ttl;
	usec_t nxdomain_ttl;
	usec_t zone_check_period; /* 0: never */
};

struct dns_events {
	/*
	 * A refreshed answer for host lacks this address, which was there before:
	 * servers connected to it through that host are to be closed. Comes
	 * before the waiters are answered, and may not look anything up. May be NULL.
	 */
	void (*address_lost)(void *arg, const char *host, const struct sockaddr *);
	void *arg; /* borrowed */
};

/* addrs: owned by the called side, free() it; NULL: the lookup failed, and result says how (a number of c-ares). */
typedef void (*dns_done_cb)(void *arg, struct dns_addrs *addrs, int result);

/*
 * resolv_conf: path, or NULL or "" for the system's. Times and events are
 * copied. NULL: could not be set up (logged); start-up ends with it.
 */
struct dns *dns_new(struct event_base *, const char *resolv_conf, const struct dns_times *,
		    const struct dns_events *) MUST_CHECK;
/* Forgets everything; open requests get no answer. Not from within a callback of its own. */
void dns_free(struct dns *);
/* After RELOAD. What is cached keeps the expiry it has, but no longer than the new times allow. */
void dns_set_times(struct dns *, const struct dns_times *);
/* Name servers as "addr:port,addr:port", instead of those of resolv.conf. For tests. -1: not understood. */
int dns_set_servers(struct dns *, const char *csv) MUST_CHECK;

/*
 * Asks for the addresses of host. With the answer in the cache (or the hosts
 * file, or out of memory) done is called before this returns, which then
 * returns NULL; else a request that lives until done is called or it is
 * cancelled.
 */
struct dns_request *dns_lookup(struct dns *, const char *host, dns_done_cb done, void *arg);
/* done will not be called. The query itself goes on, for the cache. */
void dns_cancel(struct dns_request *);

struct dns_counts {
	int names, zones, queries, pending; /* rows dns_* of SHOW LISTS; pending: requests that wait */
};
void dns_count(const struct dns *, struct dns_counts *);

struct dns_host_row {
	const char *host; /* borrowed, like addrs, for the call */
	int64_t ttl_sec;  /* left; never negative */
	const struct dns_addrs *addrs; /* NULL: none known */
};
struct dns_zone_row {
	const char *zone; /* borrowed for the call */
	uint32_t serial;  /* 0: not yet known */
	int host_count;
};
/* Calls row() for each name or zone known; row() may not look anything up. */
void dns_each_host(const struct dns *, void (*row)(void *arg, const struct dns_host_row *), void *arg);
void dns_each_zone(const struct dns *, void (*row)(void *arg, const struct dns_zone_row *), void *arg);

/* "c-ares 1.18.1", of the library that is loaded; for --version and the process-up line. */
const char *dns_backend_name(void);

#endif
