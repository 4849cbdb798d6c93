#include "net/dns.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include <arpa/nameser.h>
/* What newer releases would rather see used is not in the oldest we build with. */
#define CARES_NO_DEPRECATED
#include <ares.h>
#include <event2/event.h>

#include "lib/hash.h"
#include "lib/list.h"
#include "lib/log.h"

#define MAX_ADDRS 256 /* more than anybody uses, and few enough to compare each with each */

struct zone {
	struct list link; /* linked; in dns->zones */
	char *name;	  /* owned */
	uint32_t serial;
	bool serial_known;
	int hosts;
};

struct host {
	struct list link; /* linked; in dns->hosts */
	struct dns *dns;  /* borrowed */
	char *name;	  /* owned; key in dns->by_name */
	struct zone *zone; /* borrowed; NULL: none, or zones were never checked */
	struct dns_addrs *addrs; /* owned; of the last success; NULL: none so far */
	int result;		 /* of the last query, ARES_SUCCESS or not */
	usec_t expires;		 /* 0: not asked yet */
	size_t turn;		 /* which address the next answer starts with */
	bool is_asked;		 /* a query is on its way */
	bool is_starting;	 /* inside ares_getaddrinfo(), which may answer at once */
	struct list waiters;	 /* of struct dns_request */
};

struct dns_request {
	struct list link; /* linked; in host->waiters, or being answered */
	struct dns *dns;  /* borrowed */
	dns_done_cb done;
	void *arg; /* borrowed */
};

/* A socket of c-ares and its event. */
struct watch {
	struct list link;    /* linked; in dns->watches */
	struct dns *dns;     /* borrowed */
	struct event *event; /* owned */
	ares_socket_t fd;    /* borrowed; c-ares closes it */
};

struct dns {
	struct event_base *base; /* borrowed */
	ares_channel channel;	 /* owned */
	struct event *timer;	 /* owned; the next time-out of c-ares */
	struct event *zone_timer; /* owned; the next round of zone checks */
	struct dns_times times;
	struct dns_events events;
	struct hash by_name; /* of struct host */
	struct list hosts;   /* owned; in the order they came */
	struct list zones;   /* owned */
	struct list watches; /* owned */
	struct zone *checked; /* borrowed; the zone being asked for; NULL: no round under way */
	int host_count, zone_count, asked, pending;
	bool is_ending; /* what c-ares still calls is to be ignored */
};

static usec_t now_usec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (usec_t)ts.tv_sec * USEC_PER_SEC + ts.tv_nsec / 1000;
}

static struct timeval timeval_of(usec_t t)
{
	return (struct timeval){.tv_sec = t / USEC_PER_SEC, .tv_usec = t % USEC_PER_SEC};
}

/* ---- c-ares on libevent ---- */

/* After anything that may have changed what c-ares waits for. */
static void rearm_timer(struct dns *d)
{
	struct timeval tv, *next = ares_timeout(d->channel, NULL, &tv);

	if (next)
		event_add(d->timer, next);
	else
		event_del(d->timer);
}

static void on_timer(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct dns *d = arg;

	ares_process_fd(d->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	rearm_timer(d);
}

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
	struct dns *d = ((struct watch *)arg)->dns; /* the watch may be gone after the call */

	ares_process_fd(d->channel, what & EV_READ ? fd : ARES_SOCKET_BAD, what & EV_WRITE ? fd : ARES_SOCKET_BAD);
	rearm_timer(d);
}

static void watch_free(struct watch *w)
{
	list_del(&w->link);
	if (w->event)
		event_free(w->event);
	free(w);
}

static struct watch *watch_of(struct dns *d, ares_socket_t fd)
{
	struct watch *w;

	LIST_FOR(at, &d->watches) {
		w = LIST_ITEM(at, struct watch, link);
		if (w->fd == fd)
			return w;
	}
	w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	w->dns = d;
	w->fd = fd;
	list_add_tail(&d->watches, &w->link);
	return w;
}

/* Called by c-ares when it wants to hear about a socket, or is about to close it. */
static void on_socket_state(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct dns *d = arg;
	struct watch *w = watch_of(d, fd);
	short what = (short)((readable ? EV_READ : 0) | (writable ? EV_WRITE : 0));

	if (!w) {
		/* Nobody will hear the answer; the query ends by its time-out. */
		log_warning("out of memory watching a DNS socket");
		return;
	}
	if (w->event)
		event_free(w->event);
	w->event = what ? event_new(d->base, fd, (short)(what | EV_PERSIST), on_socket, w) : NULL;
	if (!w->event || event_add(w->event, NULL) != 0)
		watch_free(w);
}

/* ---- addresses ---- */

static bool same_addr(const union dns_addr *a, const union dns_addr *b)
{
	if (a->sa.sa_family != b->sa.sa_family)
		return false;
	if (a->sa.sa_family == AF_INET)
		return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
	return memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr)) == 0;
}

static bool contains(const struct dns_addrs *list, const union dns_addr *addr)
{
	for (size_t i = 0; i < list->count; i++)
		if (same_addr(&list->addr[i], addr))
			return true;
	return false;
}

/* Connecting a UDP socket sends nothing; it asks the kernel for a route. */
static bool has_route(const union dns_addr *addr)
{
	union dns_addr to = *addr;
	int fd = socket(addr->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool ok;

	if (fd < 0)
		return false;
	if (addr->sa.sa_family == AF_INET)
		to.in.sin_port = htons(53);
	else
		to.in6.sin6_port = htons(53);
	ok = connect(fd, &to.sa, addr->sa.sa_family == AF_INET ? sizeof(to.in) : sizeof(to.in6)) == 0;
	close(fd);
	return ok;
}

/*
 * A machine without IPv6 (or without IPv4) is still told such addresses;
 * handing them out in turn would make every second connection fail. If
 * nothing has a route all are kept, so that connecting gives the error.
 */
static void drop_unroutable(struct dns_addrs *list)
{
	bool routable[MAX_ADDRS];
	size_t n = 0;

	if (list->count < 2)
		return;
	for (size_t i = 0; i < list->count; i++) {
		routable[i] = has_route(&list->addr[i]);
		n += routable[i];
	}
	if (n == 0 || n == list->count)
		return;
	n = 0;
	for (size_t i = 0; i < list->count; i++)
		if (routable[i])
			list->addr[n++] = list->addr[i];
	list->count = n;
}

/* NULL: none in it, or out of memory. Owned by the caller. */
static struct dns_addrs *addrs_from(const struct ares_addrinfo *found)
{
	struct dns_addrs *list;
	size_t n = 0;

	for (const struct ares_addrinfo_node *at = found->nodes; at && n < MAX_ADDRS; at = at->ai_next)
		n++;
	list = calloc(1, sizeof(*list) + n * sizeof(list->addr[0]));
	if (!list)
		return NULL;
	for (const struct ares_addrinfo_node *at = found->nodes; at && n > 0; at = at->ai_next, n--) {
		union dns_addr addr;

		memset(&addr, 0, sizeof(addr));
		if ((at->ai_family != AF_INET && at->ai_family != AF_INET6) || (size_t)at->ai_addrlen > sizeof(addr))
			continue;
		memcpy(&addr, at->ai_addr, (size_t)at->ai_addrlen);
		if (addr.sa.sa_family == AF_INET)
			addr.in.sin_port = 0;
		else
			addr.in6.sin6_port = 0;
		if (!contains(list, &addr))
			list->addr[list->count++] = addr;
	}
	drop_unroutable(list);
	if (list->count > 0)
		return list;
	free(list);
	return NULL;
}

/* A copy that starts with the address whose turn it is. NULL: out of memory. */
static struct dns_addrs *take_turn(struct host *h)
{
	const struct dns_addrs *from = h->addrs;
	struct dns_addrs *copy = malloc(sizeof(*copy) + from->count * sizeof(copy->addr[0]));
	size_t first;

	if (!copy)
		return NULL;
	first = h->turn++ % from->count;
	copy->count = from->count;
	for (size_t i = 0; i < from->count; i++)
		copy->addr[i] = from->addr[(first + i) % from->count];
	return copy;
}

/* ---- hosts ---- */

static void answer(struct host *h, dns_done_cb done, void *arg)
{
	struct dns_addrs *addrs = NULL;
	int result = h->result;

	if (result == ARES_SUCCESS) {
		addrs = take_turn(h);
		if (!addrs)
			result = ARES_ENOMEM;
	}
	done(arg, addrs, result);
}

/* Callbacks may ask again (and join a new query), or cancel those not yet answered. */
static void answer_waiters(struct host *h)
{
	struct list due;

	list_init(&due);
	list_splice_tail(&due, &h->waiters);
	while (!list_empty(&due)) {
		struct dns_request *r = LIST_ITEM(due.next, struct dns_request, link);
		dns_done_cb done = r->done;
		void *arg = r->arg;

		dns_cancel(r);
		answer(h, done, arg);
	}
}

static void replace_addrs(struct host *h, struct dns_addrs *addrs)
{
	const struct dns_events *ev = &h->dns->events;
	struct dns_addrs *old = h->addrs;

	h->addrs = addrs;
	for (size_t i = 0; old && ev->address_lost && i < old->count; i++)
		if (!contains(addrs, &old->addr[i]))
			ev->address_lost(ev->arg, h->name, &old->addr[i].sa);
	free(old);
}

static void on_addresses(void *arg, int status, int timeouts UNUSED, struct ares_addrinfo *found)
{
	struct host *h = arg;
	struct dns *d = h->dns;
	struct dns_addrs *addrs = NULL;

	if (status == ARES_SUCCESS && found) {
		addrs = addrs_from(found);
		if (!addrs)
			status = found->nodes ? ARES_ENOMEM : ARES_ENODATA;
	}
	if (found)
		ares_freeaddrinfo(found);
	if (d->is_ending) {
		free(addrs);
		return;
	}
	h->is_asked = false;
	d->asked--;
	h->result = status;
	h->expires = now_usec() + (addrs ? d->times.max_ttl : d->times.nxdomain_ttl);
	if (addrs)
		replace_addrs(h, addrs);
	else
		log_warning("DNS lookup failed: %s: result=%d", h->name, status);
	/* Else host_ask() answers, once c-ares has returned. */
	if (!h->is_starting)
		answer_waiters(h);
}

/* Starts a query. true: the result came at once and the waiters are answered; false: it is on its way. */
static bool host_ask(struct host *h)
{
	struct dns *d = h->dns;
	bool is_done;
	struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};

	h->is_asked = true;
	d->asked++;
	h->is_starting = true;
	ares_getaddrinfo(d->channel, h->name, NULL, &hints, on_addresses, h);
	h->is_starting = false;
	rearm_timer(d);
	is_done = !h->is_asked; /* before the callbacks: they may start another */
	if (is_done)
		answer_waiters(h);
	return is_done;
}

static void host_free(struct host *h)
{
	LIST_FOR_SAFE(at, &h->waiters)
		dns_cancel(LIST_ITEM(at, struct dns_request, link));
	list_del(&h->link);
	free(h->addrs);
	free(h->name);
	free(h);
}

static void join_zone(struct host *h);

static struct host *host_new(struct dns *d, const char *name)
{
	struct host *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	list_init(&h->link);
	list_init(&h->waiters);
	h->dns = d;
	h->name = strdup(name);
	if (!h->name || !hash_put_str(&d->by_name, h->name, h)) {
		host_free(h);
		return NULL;
	}
	list_add_tail(&d->hosts, &h->link);
	d->host_count++;
	if (d->times.zone_check_period > 0)
		join_zone(h);
	return h;
}

struct dns_request *dns_lookup(struct dns *d, const char *name, dns_done_cb done, void *arg)
{
	struct host *h = hash_get_str(&d->by_name, name);
	struct dns_request *r;

	if (!h)
		h = host_new(d, name);
	if (h && !h->is_asked && now_usec() < h->expires) {
		answer(h, done, arg);
		return NULL;
	}
	r = h ? calloc(1, sizeof(*r)) : NULL;
	if (!r) {
		done(arg, NULL, ARES_ENOMEM);
		return NULL;
	}
	r->dns = d;
	r->done = done;
	r->arg = arg;
	list_add_tail(&h->waiters, &r->link);
	d->pending++;
	if (h->is_asked)
		return r;
	return host_ask(h) ? NULL : r;
}

void dns_cancel(struct dns_request *r)
{
	list_del(&r->link);
	r->dns->pending--;
	free(r);
}

/* ---- zones ---- */

static void ask_zone(struct dns *d, struct list *at);

/* The zone of a host is its name after the first dot; without one it has none. */
static void join_zone(struct host *h)
{
	struct dns *d = h->dns;
	const char *dot = strchr(h->name, '.');
	struct zone *z;

	if (h->zone || !dot || !dot[1])
		return;
	LIST_FOR(at, &d->zones) {
		z = LIST_ITEM(at, struct zone, link);
		if (strcasecmp(z->name, dot + 1) == 0)
			goto found;
	}
	z = calloc(1, sizeof(*z));
	if (!z)
		return;
	z->name = strdup(dot + 1);
	if (!z->name) {
		free(z);
		return;
	}
	list_add_tail(&d->zones, &z->link);
	d->zone_count++;
found:
	h->zone = z;
	z->hosts++;
}

static void refresh_hosts_of(struct dns *d, const struct zone *z)
{
	LIST_FOR(at, &d->hosts) {
		struct host *h = LIST_ITEM(at, struct host, link);

		if (h->zone == z && !h->is_asked)
			host_ask(h);
	}
}

static void note_serial(struct dns *d, struct zone *z, uint32_t serial)
{
	uint32_t old = z->serial;
	bool is_newer = z->serial_known && (int32_t)(serial - old) > 0; /* RFC 1982 */

	z->serial = serial;
	z->serial_known = true;
	if (!is_newer)
		return;
	log_info("zone '%s' serial changed: old=%u new=%u", z->name, old, serial);
	refresh_hosts_of(d, z);
}

static void on_soa(void *arg, int status, int timeouts UNUSED, unsigned char *reply, int len)
{
	struct dns *d = arg;
	struct ares_soa_reply *soa = NULL;
	struct zone *z = d->checked;

	if (d->is_ending)
		return;
	d->asked--;
	if (status == ARES_SUCCESS && ares_parse_soa_reply(reply, len, &soa) == ARES_SUCCESS) {
		note_serial(d, z, soa->serial);
		ares_free_data(soa);
	} else {
		log_debug("zone '%s': SOA lookup failed: result=%d", z->name, status);
	}
	ask_zone(d, z->link.next);
}

/* One after the other; at the end of the round the next is timed. */
static void ask_zone(struct dns *d, struct list *at)
{
	struct timeval period = timeval_of(d->times.zone_check_period);

	if (d->times.zone_check_period <= 0 || at == &d->zones) {
		d->checked = NULL;
		if (d->times.zone_check_period > 0)
			event_add(d->zone_timer, &period);
		return;
	}
	d->checked = LIST_ITEM(at, struct zone, link);
	d->asked++;
	ares_query(d->channel, d->checked->name, ns_c_in, ns_t_soa, on_soa, d);
	rearm_timer(d);
}

static void on_zone_timer(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct dns *d = arg;

	if (!d->checked)
		ask_zone(d, d->zones.next);
}

/* ---- life ---- */

/*
 * Releases of c-ares before 1.20 do not know name servers with a port, "nameserver [address]:port". So when there is one
 * in the file all of them are taken from it here; otherwise those that c-ares has read stand.
 */
static void take_servers_with_ports(struct dns *d, const char *path)
{
	char line[256], csv[1024] = "";
	bool has_port = false;
	size_t used = 0;
	FILE *f = fopen(path, "re");

	while (f && fgets(line, sizeof(line), f)) {
		char *at = line + strspn(line, " \t"), *end;

		if (strncmp(at, "nameserver", 10) != 0 || (at[10] != ' ' && at[10] != '\t'))
			continue;
		at += 10 + strspn(at + 10, " \t");
		at[strcspn(at, " \t\r\n#;")] = 0;
		if (used + strlen(at) + 2 > sizeof(csv))
			break;
		end = at[0] == '[' ? strstr(at, "]:") : NULL;
		has_port |= end != NULL;
		/* In the list that c-ares takes brackets are for IPv6 only. */
		if (end && !memchr(at, ':', (size_t)(end - at))) {
			memmove(end, end + 1, strlen(end));
			at++;
		}
		used += (size_t)snprintf(csv + used, sizeof(csv) - used, "%s%s", used ? "," : "", at);
	}
	if (f)
		fclose(f);
	if (has_port && dns_set_servers(d, csv) < 0)
		log_warning("resolv_conf \"%s\": name servers \"%s\" are not understood", path, csv);
}

static bool open_channel(struct dns *d, const char *resolv_conf)
{
	struct ares_options opt;
	int mask = ARES_OPT_SOCK_STATE_CB | ARES_OPT_LOOKUPS, err;
	char lookups[] = "fb"; /* the hosts file, then name servers, whatever nsswitch.conf says */

	memset(&opt, 0, sizeof(opt));
	opt.sock_state_cb = on_socket_state;
	opt.sock_state_cb_data = d;
	opt.lookups = lookups;
	if (resolv_conf && *resolv_conf) {
		/* c-ares would quietly go on with a name server on this machine. */
		if (access(resolv_conf, R_OK) != 0) {
			log_error("cannot read resolv_conf \"%s\": %s", resolv_conf, strerror(errno));
			return false;
		}
		opt.resolvconf_path = (char *)(uintptr_t)resolv_conf; /* copied, not changed */
		mask |= ARES_OPT_RESOLVCONF;
	}
	err = ares_init_options(&d->channel, &opt, mask);
	if (err != ARES_SUCCESS) {
		d->channel = NULL;
		log_error("c-ares: %s", ares_strerror(err));
		return false;
	}
	if (resolv_conf && *resolv_conf)
		take_servers_with_ports(d, resolv_conf);
	return true;
}

struct dns *dns_new(struct event_base *base, const char *resolv_conf, const struct dns_times *times,
		    const struct dns_events *events)
{
	struct dns *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->base = base;
	if (events)
		d->events = *events;
	hash_init(&d->by_name);
	list_init(&d->hosts);
	list_init(&d->zones);
	list_init(&d->watches);
	/* Counted by c-ares, so one more user in the process does no harm. */
	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
		log_error("c-ares: cannot be initialised");
		free(d);
		return NULL;
	}
	d->timer = event_new(base, -1, 0, on_timer, d);
	d->zone_timer = event_new(base, -1, 0, on_zone_timer, d);
	if (!d->timer || !d->zone_timer || !open_channel(d, resolv_conf)) {
		dns_free(d);
		return NULL;
	}
	dns_set_times(d, times);
	return d;
}

void dns_free(struct dns *d)
{
	if (!d)
		return;
	d->is_ending = true;
	if (d->channel)
		ares_destroy(d->channel); /* closes its sockets, so the watches go */
	LIST_FOR_SAFE(at, &d->watches)
		watch_free(LIST_ITEM(at, struct watch, link));
	LIST_FOR_SAFE(at, &d->hosts)
		host_free(LIST_ITEM(at, struct host, link));
	LIST_FOR_SAFE(at, &d->zones) {
		struct zone *z = LIST_ITEM(at, struct zone, link);

		free(z->name);
		free(z);
	}
	hash_free(&d->by_name);
	if (d->timer)
		event_free(d->timer);
	if (d->zone_timer)
		event_free(d->zone_timer);
	free(d);
	ares_library_cleanup();
}

void dns_set_times(struct dns *d, const struct dns_times *times)
{
	usec_t now = now_usec();
	struct timeval period = timeval_of(times->zone_check_period);

	d->times = *times;
	LIST_FOR(at, &d->hosts) {
		struct host *h = LIST_ITEM(at, struct host, link);
		usec_t latest = now + (h->result == ARES_SUCCESS ? times->max_ttl : times->nxdomain_ttl);

		if (h->expires > latest)
			h->expires = latest;
		if (times->zone_check_period > 0)
			join_zone(h);
	}
	if (times->zone_check_period <= 0)
		event_del(d->zone_timer);
	else if (!d->checked)
		event_add(d->zone_timer, &period);
}

int dns_set_servers(struct dns *d, const char *csv)
{
	return ares_set_servers_ports_csv(d->channel, csv) == ARES_SUCCESS ? 0 : -1;
}

/* ---- questions ---- */

void dns_count(const struct dns *d, struct dns_counts *counts)
{
	counts->names = d->host_count;
	counts->zones = d->zone_count;
	counts->queries = d->asked;
	counts->pending = d->pending;
}

void dns_each_host(const struct dns *d, void (*row)(void *arg, const struct dns_host_row *), void *arg)
{
	usec_t now = now_usec();

	LIST_FOR(at, &d->hosts) {
		const struct host *h = LIST_ITEM(at, const struct host, link);
		usec_t left = h->expires > now ? h->expires - now : 0;
		struct dns_host_row r = {h->name, left / USEC_PER_SEC, h->result == ARES_SUCCESS ? h->addrs : NULL};

		row(arg, &r);
	}
}

void dns_each_zone(const struct dns *d, void (*row)(void *arg, const struct dns_zone_row *), void *arg)
{
	LIST_FOR(at, &d->zones) {
		const struct zone *z = LIST_ITEM(at, const struct zone, link);
		struct dns_zone_row r = {z->name, z->serial, z->hosts};

		row(arg, &r);
	}
}

const char *dns_backend_name(void)
{
	static _Thread_local char name[32];

	snprintf(name, sizeof(name), "c-ares %s", ares_version(NULL));
	return name;
}
