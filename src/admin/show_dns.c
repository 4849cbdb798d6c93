/* SHOW of the resolver: DNS_HOSTS, DNS_ZONES. It is the control role's own. */
#include "admin/show.h"
#include "net/sockets.h"
#include "proto/writer.h"

/* "address:port" separated by commas; "" when none is known. */
static const char *addrs_text(struct buf *text, const struct dns_addrs *addrs)
{
	buf_clear(text);
	for (size_t i = 0; addrs && i < addrs->count; i++) {
		union sock_addr sa = {.sa = {.sa_family = addrs->addr[i].sa.sa_family}};
		struct peer_addr peer;
		char one[80];

		if (sa.sa.sa_family == AF_INET6)
			sa.in6 = addrs->addr[i].in6;
		else
			sa.in = addrs->addr[i].in;
		peer_addr_from(&peer, &sa);
		buf_printf(text, "%s%s", i ? "," : "", peer_addr_text(&peer, one, sizeof(one)));
	}
	buf_put_u8(text, 0);
	return buf_ok(text) ? (const char *)buf_data(text) : "";
}

#define HOST_COLUMNS(COL)	     \
	COL(TEXT, hostname, h->host) \
	COL(BIGINT, ttl, h->ttl_sec) \
	COL(TEXT, addrs, addrs_text(&text, h->addrs))

static const struct column host_columns[] = {HOST_COLUMNS(COLUMN)};

static void put_host(void *arg, const struct dns_host_row *h)
{
	struct buf *b = arg, text;
	size_t at = row_begin(b, ARRAY_LEN(host_columns));

	buf_init(&text);
	HOST_COLUMNS(CELL)
	msg_end(b, at);
	buf_free(&text);
}

static void run_hosts(struct ask *a)
{
	struct dns *dns = console_host.ops->dns();

	if (dns)
		dns_each_host(dns, put_host, &a->answer);
	ask_done(a, "SHOW");
}

const struct show show_dns_hosts = SHOW_RUN("dns_hosts", host_columns, run_hosts);

#define ZONE_COLUMNS(COL)	      \
	COL(TEXT, zonename, z->zone)  \
	COL(BIGINT, serial, z->serial) \
	COL(INT, count, z->host_count)

static const struct column zone_columns[] = {ZONE_COLUMNS(COLUMN)};

static void put_zone(void *arg, const struct dns_zone_row *z)
{
	struct buf *b = arg;
	size_t at = row_begin(b, ARRAY_LEN(zone_columns));

	ZONE_COLUMNS(CELL)
	msg_end(b, at);
}

static void run_zones(struct ask *a)
{
	struct dns *dns = console_host.ops->dns();

	if (dns)
		dns_each_zone(dns, put_zone, &a->answer);
	ask_done(a, "SHOW");
}

const struct show show_dns_zones = SHOW_RUN("dns_zones", zone_columns, run_zones);
