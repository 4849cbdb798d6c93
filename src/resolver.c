#include "resolver.h"

#include <stdlib.h>
#include <string.h>

#include "lib/list.h"
#include "lib/log.h"
#include "lib/mem.h"

/* A question on its way to the control role, and its answer on the way back. */
struct question {
	struct message message; /* first */
	struct list link;	/* in the_resolver.open while the DNS works on it */
	struct worker *asker;	/* borrowed */
	struct pool *pool;	/* counted */
	uint64_t server_id;
	union sock_addr addr;
	bool has_addr;
	char host[]; /* a name, NUL-terminated */
};

struct lost_address {
	struct message message; /* first */
	union sock_addr addr;
	char host[];
};

/* The control role's; the Workers read pooler only, which is set before they start. */
static struct {
	struct pooler *pooler; /* borrowed */
	struct dns *dns;       /* owned */
	struct list open;
} the_resolver;

static void question_free(struct question *q)
{
	pool_put(&the_resolver.pooler->registry, q->pool);
	free(q);
}

static void deliver_answer(struct worker *w, struct message *m)
{
	struct question *q = CONTAINER_OF(m, struct question, message);

	room_resolved(room_of(w), q->pool, q->server_id, q->has_addr ? &q->addr : NULL);
	question_free(q);
}

static void copy_addr(union sock_addr *to, const struct sockaddr *from)
{
	memset(to, 0, sizeof(*to));
	if (from->sa_family == AF_INET6)
		memcpy(&to->in6, from, sizeof(to->in6));
	else
		memcpy(&to->in, from, sizeof(to->in));
}

static void answer(void *arg, struct dns_addrs *addrs, int result UNUSED)
{
	struct question *q = arg;

	list_del(&q->link);
	if (addrs) {
		/* The DNS begins each answer with the next address in turn. */
		copy_addr(&q->addr, &addrs->addr[0].sa);
		q->has_addr = true;
		free(addrs);
	}
	q->message.deliver = deliver_answer;
	worker_post(the_resolver.pooler->crew->control, q->asker, &q->message);
}

static void deliver_question(struct worker *control UNUSED, struct message *m)
{
	struct question *q = CONTAINER_OF(m, struct question, message);

	list_add_tail(&the_resolver.open, &q->link);
	dns_lookup(the_resolver.dns, q->host, answer, q);
}

static void resolve(struct worker *asker, const char *host, uint64_t server_id, struct pool *pool)
{
	size_t len = strlen(host);
	struct question *q = xcalloc(1, sizeof(*q) + len + 1);

	memcpy(q->host, host, len);
	list_init(&q->link);
	q->asker = asker;
	q->server_id = server_id;
	q->pool = pool_ref(&the_resolver.pooler->registry, pool);
	q->message.deliver = deliver_question;
	worker_post(asker, asker->crew->control, &q->message);
}

const struct resolver resolver_ops = {.resolve = resolve};

static void deliver_lost(struct worker *w, struct message *m)
{
	struct lost_address *lost = CONTAINER_OF(m, struct lost_address, message);

	room_address_lost(room_of(w), lost->host, &lost->addr);
	free(lost);
}

static void address_lost(void *arg, const char *host, const struct sockaddr *addr)
{
	struct crew *crew = ((struct pooler *)arg)->crew;
	size_t len = strlen(host);

	for (int i = 0; i < crew->n; i++) {
		struct lost_address *lost = xcalloc(1, sizeof(*lost) + len + 1);

		memcpy(lost->host, host, len);
		copy_addr(&lost->addr, addr);
		lost->message.deliver = deliver_lost;
		worker_post(crew->control, crew->workers[i], &lost->message);
	}
}

struct dns_times resolver_times(const struct settings *s)
{
	return (struct dns_times){
		.max_ttl = s->dns_max_ttl,
		.nxdomain_ttl = s->dns_nxdomain_ttl,
		.zone_check_period = s->dns_zone_check_period,
	};
}

struct dns *resolver_start(struct pooler *pooler, const struct settings *s)
{
	const struct dns_events events = {.address_lost = address_lost, .arg = pooler};
	const struct dns_times times = resolver_times(s);

	the_resolver.pooler = pooler;
	list_init(&the_resolver.open);
	the_resolver.dns = dns_new(pooler->crew->control->base, s->resolv_conf, &times, &events);
	return the_resolver.dns;
}

void resolver_stop(void)
{
	if (!the_resolver.dns)
		return;
	dns_free(the_resolver.dns);
	the_resolver.dns = NULL;
	LIST_FOR_SAFE(node, &the_resolver.open) {
		list_del(node);
		question_free(LIST_ITEM(node, struct question, link));
	}
}
