#include "pool/login_limit.h"

#include <stdio.h>
#include <string.h>

#include "lib/log.h"
#include "pool/login_state.h"
#include "proto/writer.h"

struct limit_rules login_limit_rules(const struct settings *s)
{
	return (struct limit_rules){
		.burst = s->ecdsa_limit_burst,
		.halflife = s->ecdsa_limit_halflife,
		.block = s->ecdsa_limit_block,
		.block_max = s->ecdsa_limit_block_max,
		.checks_per_second = s->ecdsa_limit_checks_per_second,
		.entries = s->ecdsa_limit_entries,
	};
}

/* false: of a kind that is never limited. */
static bool find_source(const struct client *c, const struct config *config, struct ip_address *source)
{
	const struct settings *s = config_settings(config);
	struct ip_address address;

	switch (c->addr.family) {
	case AF_INET:
		address = ip_from_v4(c->addr.bytes);
		break;
	case AF_INET6:
		address = ip_from_v6(c->addr.bytes);
		break;
	default:
		return false;
	}
	if (config_limit_exempts(config, &address))
		return false;
	*source = limit_source(&address, s->ecdsa_limit_ipv4_prefix, s->ecdsa_limit_ipv6_prefix);
	return true;
}

/* The one line about many; each refused client by itself leaves none. */
static void log_refusals(const struct client *c, const char *method, const struct limit_refusal *r)
{
	char where[80];

	if (!r->wants_log)
		return;
	peer_addr_text(&c->addr, where, sizeof(where));
	log_info("login failed: method=%s reason=%s source=%s retry_after=%ds suppressed=%u "
		 "text=\"too many failed login attempts\"", method, r->is_ceiling ? "too_many_checks" : "throttled",
		 where, r->retry_seconds, r->suppressed);
}

static void refuse(struct client *c, int retry_seconds)
{
	char text[80];
	struct buf b;

	snprintf(text, sizeof(text), "too many failed login attempts, retry after %d seconds", retry_seconds);
	buf_init(&b);
	put_error(&b, "FATAL", "53300", text);
	conn_send_buf(&c->conn, &b);
	buf_free(&b);
	/* No reason, no text: a flood may not fill the log either. */
	client_close(c, NULL, NULL, NULL);
}

bool login_limit_ask(struct client *c, enum auth_kind kind)
{
	struct login *l = c->login;
	struct room *r = conn_room(&c->conn);
	const char *method = auth_method_names[kind];
	struct limit_refusal refusal;

	if (!config_limits_method(l->config, method) || !find_source(c, l->config, &l->limit_source))
		return true;
	l->is_limited = true;
	if (limiter_ask(r->pooler->limiter, &l->limit_source, worker_now(r->worker), &refusal))
		return true;
	if (refusal.is_ceiling)
		r->login_counts.crowded_out++;
	else
		r->login_counts.throttled++;
	log_refusals(c, method, &refusal);
	refuse(c, refusal.retry_seconds);
	return false;
}

bool login_limit_may_explain(void *ctx)
{
	const struct client *c = ctx;
	struct room *r = conn_room(&c->conn);

	return !c->login->is_limited ||
	       limiter_may_explain(r->pooler->limiter, &c->login->limit_source, worker_now(r->worker));
}

void login_limit_failed(struct client *c)
{
	struct login *l = c->login;
	struct room *r = conn_room(&c->conn);

	if (l->input.kind == AUTH_KIND_ECDSA)
		r->login_counts.refused[l->auth.wallet_reason]++;
	if (l->is_limited && !auth_reject_is_ours(&l->auth))
		limiter_failed(r->pooler->limiter, &l->limit_source, worker_now(r->worker));
}

void login_limit_passed(struct client *c)
{
	struct login *l = c->login;
	struct room *r = conn_room(&c->conn);

	if (l->input.kind == AUTH_KIND_ECDSA)
		r->login_counts.accepted[l->auth.wallet_format]++;
	if (l->is_limited)
		limiter_passed(r->pooler->limiter, &l->limit_source, worker_now(r->worker));
}
