/* Unit tests of src/net/dns.c, against the hosts file and a name server of our own on the loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <ares.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "net/dns.h"

enum { TYPE_A = 1, TYPE_SOA = 6 };

/* ---- a name server ---- */

static struct {
	int fd;
	unsigned port;
	pthread_t thread;
	pthread_mutex_t lock;	/* over what follows */
	const char *addrs[4];	/* of db.test; NULL: no more. No address at all: NXDOMAIN */
	uint32_t serial;	/* of the zone test */
	int a_asked, soa_asked; /* queries for any name */
} ns = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint8_t *put(uint8_t *to, const void *from, size_t n)
{
	memcpy(to, from, n);
	return to + n;
}

static uint8_t *put_u32(uint8_t *to, uint32_t v)
{
	v = htonl(v);
	return put(to, &v, 4);
}

/* A record for the name at offset 12, kept for an hour if we believed it. */
static uint8_t *put_record_head(uint8_t *to, uint8_t type, uint8_t len)
{
	const uint8_t head[] = {0xc0, 12, 0, type, 0, 1, 0, 0, 0x0e, 0x10, 0, len};

	return put(to, head, sizeof(head));
}

/* Appends the answers; their number. */
static int put_answers(uint8_t **end, const char *name, int type)
{
	int n = 0;

	if (type == TYPE_SOA && strcasecmp(name, "test") == 0) {
		ns.soa_asked++;
		*end = put_record_head(*end, TYPE_SOA, 22);
		*end = put(*end, "\0\0", 2);
		*end = put_u32(*end, ns.serial);
		for (int i = 0; i < 4; i++)
			*end = put_u32(*end, 60);
		return 1;
	}
	if (type == TYPE_A)
		ns.a_asked++;
	for (; type == TYPE_A && strcasecmp(name, "db.test") == 0 && n < 4 && ns.addrs[n]; n++) {
		*end = put_record_head(*end, TYPE_A, 4);
		*end = put_u32(*end, ntohl(inet_addr(ns.addrs[n])));
	}
	return n;
}

static void *serve(void *arg)
{
	(void)arg;
	for (;;) {
		uint8_t q[1024], *end;
		struct sockaddr_in from;
		socklen_t from_len = sizeof(from);
		ssize_t n = recvfrom(ns.fd, q, 512, 0, (struct sockaddr *)&from, &from_len);
		char name[256] = "";
		int at = 12, type, answers;

		if (n < 17)
			return NULL; /* told to stop */
		for (; q[at]; at += q[at] + 1)
			snprintf(name + strlen(name), sizeof(name) - strlen(name), "%s%.*s", name[0] ? "." : "", q[at],
				 q + at + 1);
		type = q[at + 2];
		end = q + at + 5;
		pthread_mutex_lock(&ns.lock);
		answers = put_answers(&end, name, type);
		q[3] = strcasecmp(name, "db.test") == 0 && ns.addrs[0] ? 0x80 : answers ? 0x80 : 0x83;
		pthread_mutex_unlock(&ns.lock);
		q[2] = 0x85;
		memcpy(q + 6, (uint8_t[]){0, (uint8_t)answers, 0, 0, 0, 0}, 6);
		sendto(ns.fd, q, (size_t)(end - q), 0, (struct sockaddr *)&from, from_len);
	}
}

static void ns_says(const char *a, const char *b, const char *c)
{
	pthread_mutex_lock(&ns.lock);
	ns.addrs[0] = a;
	ns.addrs[1] = b;
	ns.addrs[2] = c;
	pthread_mutex_unlock(&ns.lock);
}

static void ns_serial(uint32_t serial)
{
	pthread_mutex_lock(&ns.lock);
	ns.serial = serial;
	pthread_mutex_unlock(&ns.lock);
}

static int ns_asked(int *counter)
{
	int n;

	pthread_mutex_lock(&ns.lock);
	n = *counter;
	pthread_mutex_unlock(&ns.lock);
	return n;
}

static int start_name_server(void **state)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);

	(void)state;
	ns.fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (bind(ns.fd, (struct sockaddr *)&addr, len) || getsockname(ns.fd, (struct sockaddr *)&addr, &len))
		return -1;
	ns.port = ntohs(addr.sin_port);
	return pthread_create(&ns.thread, NULL, serve, NULL);
}

static int stop_name_server(void **state)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)ns.port),
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	(void)state;
	sendto(ns.fd, "", 1, 0, (struct sockaddr *)&addr, sizeof(addr));
	pthread_join(ns.thread, NULL);
	return close(ns.fd);
}

/* ---- the asking side ---- */

struct asker {
	struct event_base *base;
	struct dns *dns;
	int answered, failed, result, lost;
	char addrs[256]; /* of the last answer, comma-separated */
	char lost_addr[64], lost_host[64];
};

static void addr_text(const struct sockaddr *sa, char *out, size_t cap)
{
	const void *at = sa->sa_family == AF_INET ? (const void *)&((const struct sockaddr_in *)(const void *)sa)->sin_addr
						  : &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;

	inet_ntop(sa->sa_family, at, out, (socklen_t)cap);
}

static void list_text(const struct dns_addrs *addrs, char *out, size_t cap)
{
	out[0] = '\0';
	for (size_t i = 0; addrs && i < addrs->count; i++) {
		char one[64];

		addr_text(&addrs->addr[i].sa, one, sizeof(one));
		snprintf(out + strlen(out), cap - strlen(out), "%s%s", i ? "," : "", one);
	}
}

static void on_done(void *arg, struct dns_addrs *addrs, int result)
{
	struct asker *a = arg;

	a->answered++;
	a->failed += addrs == NULL;
	a->result = result;
	list_text(addrs, a->addrs, sizeof(a->addrs));
	free(addrs);
}

static void on_lost(void *arg, const char *host, const struct sockaddr *sa)
{
	struct asker *a = arg;

	a->lost++;
	addr_text(sa, a->lost_addr, sizeof(a->lost_addr));
	snprintf(a->lost_host, sizeof(a->lost_host), "%s", host);
}

static void begin(struct asker *a, usec_t max_ttl, usec_t nxdomain_ttl)
{
	struct event_config *config = event_config_new();
	struct dns_times times = {max_ttl, nxdomain_ttl, 0};
	struct dns_events events = {on_lost, a};
	char csv[32];

	memset(a, 0, sizeof(*a));
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	a->base = event_base_new_with_config(config);
	event_config_free(config);
	a->dns = dns_new(a->base, NULL, &times, &events);
	assert_non_null(a->dns);
	snprintf(csv, sizeof(csv), "127.0.0.1:%u", ns.port);
	assert_int_equal(dns_set_servers(a->dns, csv), 0);
	ns_says("192.0.2.1", "192.0.2.2", "192.0.2.3");
}

static void finish(struct asker *a)
{
	dns_free(a->dns);
	event_base_free(a->base);
}

static void on_too_late(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	*(bool *)arg = true;
}

/* Turns the loop until so many answers have come. */
static void await(struct asker *a, int *counter, int wanted)
{
	bool too_late = false;
	struct event *guard = event_new(a->base, -1, 0, on_too_late, &too_late);

	event_add(guard, &(struct timeval){20, 0});
	while (*counter < wanted && !too_late)
		event_base_loop(a->base, EVLOOP_ONCE);
	event_free(guard);
	assert_int_equal(*counter, wanted);
}

static const char *ask(struct asker *a, const char *host)
{
	int before = a->answered;

	dns_lookup(a->dns, host, on_done, a);
	await(a, &a->answered, before + 1);
	return a->addrs;
}

/* ---- tests ---- */

static void localhost_comes_from_the_hosts_file(void **state)
{
	struct asker a;
	int before = ns_asked(&ns.a_asked);

	(void)state;
	begin(&a, 15 * USEC_PER_SEC, USEC_PER_SEC);
	assert_non_null(strstr(ask(&a, "localhost"), "127.0.0.1"));
	assert_int_equal(a.failed, 0);
	assert_int_equal(ns_asked(&ns.a_asked), before);
	/* The second time at once. */
	assert_null(dns_lookup(a.dns, "localhost", on_done, &a));
	assert_int_equal(a.answered, 2);
	finish(&a);
}

static void a_failure_is_told_and_remembered(void **state)
{
	struct asker a;
	int asked;

	(void)state;
	begin(&a, 15 * USEC_PER_SEC, 15 * USEC_PER_SEC);
	ask(&a, "absent.test");
	assert_int_equal(a.failed, 1);
	assert_int_equal(a.result, ARES_ENOTFOUND);
	asked = ns_asked(&ns.a_asked);
	assert_null(dns_lookup(a.dns, "absent.test", on_done, &a));
	assert_int_equal(a.failed, 2);
	assert_int_equal(a.result, ARES_ENOTFOUND);
	assert_int_equal(ns_asked(&ns.a_asked), asked);
	/* What is no name at all. */
	ask(&a, "");
	ask(&a, "..");
	assert_int_equal(a.failed, 4);
	finish(&a);
}

static void failures_have_their_own_ttl(void **state)
{
	struct asker a;

	(void)state;
	begin(&a, 15 * USEC_PER_SEC, 0);
	ns_says(NULL, NULL, NULL);
	ask(&a, "db.test");
	assert_int_equal(a.failed, 1);
	ns_says("192.0.2.7", NULL, NULL);
	assert_string_equal(ask(&a, "db.test"), "192.0.2.7");
	finish(&a);
}

static void addresses_are_handed_out_in_turn(void **state)
{
	struct asker a;
	char first[2][256];

	(void)state;
	begin(&a, 15 * USEC_PER_SEC, 0);
	for (int round = 0; round < 2; round++) {
		char order[3][256];

		for (int i = 0; i < 3; i++)
			strcpy(order[i], ask(&a, "db.test"));
		/* Each answer has all, and begins where the one before went on. */
		for (int i = 0; i < 3; i++) {
			const char *next = order[(i + 1) % 3];

			assert_non_null(strchr(order[i], ','));
			assert_int_equal(strncmp(strchr(order[i], ',') + 1, next, strcspn(next, ",")), 0);
		}
		strcpy(first[round], order[0]);
	}
	assert_string_equal(first[0], first[1]);
	finish(&a);
}

static void waiters_share_one_query(void **state)
{
	struct asker a, b;
	struct dns_counts counts;
	struct dns_request *r;
	int before = ns_asked(&ns.a_asked);

	(void)state;
	begin(&a, 15 * USEC_PER_SEC, 0);
	memset(&b, 0, sizeof(b));
	for (int i = 0; i < 5; i++)
		assert_non_null(dns_lookup(a.dns, "db.test", on_done, &a));
	r = dns_lookup(a.dns, "db.test", on_done, &b);
	dns_count(a.dns, &counts);
	assert_int_equal(counts.names, 1);
	assert_int_equal(counts.queries, 1);
	assert_int_equal(counts.pending, 6);
	dns_cancel(r);
	dns_count(a.dns, &counts);
	assert_int_equal(counts.pending, 5);
	await(&a, &a.answered, 5);
	assert_int_equal(b.answered, 0);
	assert_int_equal(ns_asked(&ns.a_asked), before + 1);
	dns_count(a.dns, &counts);
	assert_int_equal(counts.queries, 0);
	assert_int_equal(counts.pending, 0);
	finish(&a);
}

static void expired_names_are_asked_again_and_lost_addresses_told(void **state)
{
	struct asker a;
	int before;

	(void)state;
	begin(&a, 50000, 0);
	ask(&a, "db.test");
	before = ns_asked(&ns.a_asked);
	ns_says("192.0.2.3", "192.0.2.1", "192.0.2.9");
	ask(&a, "db.test");
	assert_int_equal(ns_asked(&ns.a_asked), before);
	usleep(60000);
	assert_non_null(strstr(ask(&a, "db.test"), "192.0.2.9"));
	assert_int_equal(ns_asked(&ns.a_asked), before + 1);
	assert_int_equal(a.lost, 1);
	assert_string_equal(a.lost_addr, "192.0.2.2");
	assert_string_equal(a.lost_host, "db.test");
	/* A failure in between loses nothing; the next success is held against what was there before it. */
	ns_says(NULL, NULL, NULL);
	usleep(60000);
	ask(&a, "db.test");
	assert_int_equal(a.failed, 1);
	assert_int_equal(a.lost, 1);
	ns_says("192.0.2.3", NULL, NULL);
	assert_string_equal(ask(&a, "db.test"), "192.0.2.3");
	assert_int_equal(a.lost, 3);
	finish(&a);
}

static void shorter_times_hold_for_what_is_cached(void **state)
{
	struct asker a;
	struct dns_times none = {0, 0, 0};
	int before;

	(void)state;
	begin(&a, 15 * USEC_PER_SEC, 15 * USEC_PER_SEC);
	ask(&a, "db.test");
	before = ns_asked(&ns.a_asked);
	dns_set_times(a.dns, &none);
	ask(&a, "db.test");
	assert_int_equal(ns_asked(&ns.a_asked), before + 1);
	finish(&a);
}

static void on_row(void *arg, const struct dns_host_row *row)
{
	char addrs[256];

	list_text(row->addrs, addrs, sizeof(addrs));
	assert_true(row->ttl_sec >= 0 && row->ttl_sec <= 15);
	snprintf((char *)arg + strlen(arg), 512 - strlen(arg), "%s=%s;", row->host, addrs);
}

static void rows_show_names_and_addresses(void **state)
{
	struct asker a;
	char text[512] = "";

	(void)state;
	begin(&a, 15 * USEC_PER_SEC, 0);
	ns_says("192.0.2.1", NULL, NULL);
	ask(&a, "db.test");
	ask(&a, "absent.test");
	dns_each_host(a.dns, on_row, text);
	assert_string_equal(text, "db.test=192.0.2.1;absent.test=;");
	finish(&a);
}

static void on_zone(void *arg, const struct dns_zone_row *row)
{
	snprintf((char *)arg + strlen(arg), 512 - strlen(arg), "%s=%u,%d;", row->zone, row->serial, row->host_count);
}

static void a_larger_serial_refreshes_the_hosts_of_a_zone(void **state)
{
	struct asker a;
	struct dns_times often = {15 * USEC_PER_SEC, 15 * USEC_PER_SEC, 20000};
	char text[512] = "";
	int soa;

	(void)state;
	begin(&a, 15 * USEC_PER_SEC, 15 * USEC_PER_SEC);
	ask(&a, "db.test");
	ask(&a, "absent.test");
	ask(&a, "localhost");
	ns_serial(0xfffffffe);
	dns_set_times(a.dns, &often);
	soa = ns_asked(&ns.soa_asked);
	while (ns_asked(&ns.soa_asked) < soa + 3)
		event_base_loop(a.base, EVLOOP_ONCE);
	assert_int_equal(a.lost, 0);
	dns_each_zone(a.dns, on_zone, text);
	assert_string_equal(text, "test=4294967294,2;");
	/* Nobody asks for the name, and yet the change is noticed. */
	ns_says("192.0.2.1", "192.0.2.2", NULL);
	ns_serial(1);
	await(&a, &a.lost, 1);
	assert_string_equal(a.lost_addr, "192.0.2.3");
	finish(&a);
}

static void asking_from_within_an_answer(void *arg, struct dns_addrs *addrs, int result)
{
	struct asker *a = arg;

	on_done(a, addrs, result);
	if (a->answered < 4)
		dns_lookup(a->dns, a->answered == 2 ? "localhost" : "db.test", asking_from_within_an_answer, a);
}

static void answers_may_lead_to_new_questions(void **state)
{
	struct asker a;

	(void)state;
	begin(&a, 0, 0);
	dns_lookup(a.dns, "localhost", asking_from_within_an_answer, &a);
	await(&a, &a.answered, 4);
	assert_int_equal(a.failed, 0);
	finish(&a);
}

static void the_end_comes_with_questions_open(void **state)
{
	struct asker a;

	(void)state;
	begin(&a, 0, 0);
	dns_lookup(a.dns, "db.test", on_done, &a);
	dns_lookup(a.dns, "absent.test", on_done, &a);
	finish(&a);
	assert_int_equal(a.answered, 0);
}

static void resolv_conf_is_used_and_must_exist(void **state)
{
	struct event_base *base = event_base_new();
	struct dns_times times = {0, 0, 0};
	char path[] = "/tmp/test_dns.XXXXXX";
	int fd = mkstemp(path);
	struct dns *d;

	(void)state;
	assert_true(write(fd, "nameserver 127.0.0.1\n", 21) == 21);
	close(fd);
	d = dns_new(base, path, &times, NULL);
	assert_non_null(d);
	assert_int_equal(dns_set_servers(d, "not an address"), -1);
	dns_free(d);
	unlink(path);
	assert_null(dns_new(base, path, &times, NULL));
	event_base_free(base);
	assert_int_equal(strncmp(dns_backend_name(), "c-ares 1.", 9), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(localhost_comes_from_the_hosts_file),
		cmocka_unit_test(a_failure_is_told_and_remembered),
		cmocka_unit_test(failures_have_their_own_ttl),
		cmocka_unit_test(addresses_are_handed_out_in_turn),
		cmocka_unit_test(waiters_share_one_query),
		cmocka_unit_test(expired_names_are_asked_again_and_lost_addresses_told),
		cmocka_unit_test(shorter_times_hold_for_what_is_cached),
		cmocka_unit_test(rows_show_names_and_addresses),
		cmocka_unit_test(a_larger_serial_refreshes_the_hosts_of_a_zone),
		cmocka_unit_test(answers_may_lead_to_new_questions),
		cmocka_unit_test(the_end_comes_with_questions_open),
		cmocka_unit_test(resolv_conf_is_used_and_must_exist),
	};

	alarm(120); /* an answer that never comes ends the run */
	return cmocka_run_group_tests_name("dns", tests, start_name_server, stop_name_server);
}
