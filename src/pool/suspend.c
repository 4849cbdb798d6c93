#include "pool/suspend.h"

#include "lib/net_order.h"
#include "pool/client.h"
#include "pool/handover.h"
#include "pool/login.h"
#include "pool/server.h"
#include "pool/server_login.h"
#include "pool/share.h"

#define TIMED_OUT "suspend_timeout"
#define UNSAFE "close unsafe file descriptors on suspend"
/* Whoever answers our authentication request at all does so at once; a person at a prompt is not waited for. */
#define LOGIN_PATIENCE USEC_PER_SEC
#define HEADER_BYTES 5

static void go_on(struct conn *c)
{
	c->read_limit = 0;
	conn_unsuspend(c);
}

/*
 * What a client has sent is on its way to the server, and what a server has
 * said on its way to its client: so the output of one belongs to the other.
 */
static bool client_has_read_all(const struct client *c)
{
	return c->pass_left == 0 && conn_has_read_all(&c->conn) && !(c->pauses & (PAUSE_WORK | PAUSE_TRAVEL));
}

/* Without its server it could go: between two transactions. */
static bool is_held_by_server(const struct client *c)
{
	return c->server && handover_can_go(c, NULL) && !handover_can_go(NULL, c->server) &&
	       c->share->mode != POOL_SESSION;
}

/* All but what only this process can bring to its end. */
static bool client_can_be_told_of(const struct client *c, const struct suspension *how)
{
	if (c->pauses & (PAUSE_WORK | PAUSE_TRAVEL | PAUSE_SETTING) || login_lookup_pool(c))
		return false;
	if (how->is_patient && is_held_by_server(c))
		return false;
	return !login_is_under_way(c) || worker_now(c->conn.worker) - c->active_at > LOGIN_PATIENCE;
}

static bool client_at_rest(struct client *c, const struct suspension *how)
{
	/* What a seat asks is short, and the log-in that waits for it cannot be suspended. */
	if (c->is_seat)
		return false;
	if (how->hands_over) {
		if (!client_can_be_told_of(c, how)) {
			/* It may have stopped by itself, before it was known that it should not. */
			go_on(&c->conn);
			return false;
		}
		conn_freeze(&c->conn);
		return true;
	}
	if (!client_has_read_all(c))
		return false;
	conn_suspend(&c->conn);
	return conn_unsent(c->server ? &c->server->conn : &c->conn) == 0;
}

static bool server_at_rest(struct server *sv, const struct suspension *how)
{
	if (sv->is_setting_params)
		return false;
	if (how->hands_over) {
		conn_freeze(&sv->conn);
		return true;
	}
	if (sv->pass_left > 0 || !conn_has_read_all(&sv->conn))
		return false;
	conn_suspend(&sv->conn);
	return conn_unsent(&sv->conn) == 0 && (!sv->client || conn_unsent(&sv->client->conn) == 0);
}

/* Returns how many are left over. */
static int step_clients(struct list *clients, const struct suspension *how)
{
	int left = 0;

	LIST_FOR_SAFE(node, clients) {
		struct client *c = LIST_ITEM(node, struct client, link);

		if (client_at_rest(c, how))
			continue;
		if (how->closes_rest)
			client_fail(c, TIMED_OUT);
		else
			left++;
	}
	return left;
}

static int step_cancels(struct list *cancels, const struct suspension *how)
{
	int left = 0;

	LIST_FOR_SAFE(node, cancels) {
		if (how->closes_rest)
			client_close(LIST_ITEM(node, struct client, link), NULL, NULL, TIMED_OUT);
		else
			left++;
	}
	return left;
}

/* Not a failure of theirs: nobody wants them any more. */
static void drop_servers(struct counted_list *servers, const char *reason)
{
	while (servers->count > 0) {
		struct server *sv = LIST_ITEM(servers->head.next, struct server, link);

		if (sv->login)
			sv->login->was_unneeded = true;
		server_close(sv, reason, false);
	}
}

static int step_servers(struct share *sh, bool clients_rest, const struct suspension *how)
{
	static const enum server_state busy[] = {SV_LOGIN, SV_ACTIVE_CANCEL, SV_BEING_CANCELED},
				       lasting[] = {SV_ACTIVE, SV_IDLE};
	int left = 0;

	drop_servers(&sh->servers[SV_TESTED], UNSAFE);
	drop_servers(&sh->servers[SV_USED], UNSAFE);
	/* The successor opens its own, for the same clients. */
	if (how->hands_over && clients_rest)
		drop_servers(&sh->servers[SV_LOGIN], UNSAFE);
	for (size_t i = 0; i < ARRAY_LEN(busy); i++) {
		if (how->closes_rest)
			drop_servers(&sh->servers[busy[i]], TIMED_OUT);
		left += sh->servers[busy[i]].count;
	}
	/*
	 * While clients are served their servers have to be read. Those that were frozen before a seat came from
	 * another Worker as well: it would be given one that keeps its question to itself.
	 */
	for (size_t i = 0; i < ARRAY_LEN(lasting); i++)
		LIST_FOR_SAFE(node, &sh->servers[lasting[i]].head) {
			struct server *sv = LIST_ITEM(node, struct server, link);

			if (!clients_rest) {
				if (sv->conn.is_frozen)
					go_on(&sv->conn);
				continue;
			}
			if (server_at_rest(sv, how))
				continue;
			if (how->closes_rest)
				server_close(sv, TIMED_OUT, true);
			else
				left++;
		}
	return left;
}

static int step_share(struct share *sh, const struct suspension *how)
{
	/* Those that wait first, so that none of them gets a server that is let go here. */
	int left = step_clients(&sh->waiting.head, how);

	left += step_clients(&sh->lookups.head, how);
	left += step_clients(&sh->active.head, how);
	left += step_cancels(&sh->cancels_waiting.head, how);
	left += step_cancels(&sh->cancels_active.head, how);
	sh->stops_servers = left == 0;
	left += step_servers(sh, sh->stops_servers, how);
	return left;
}

/* Is there something that takes a server, or several, to come to its end? */
static bool needs_servers(const struct share *sh, const struct suspension *how, int left)
{
	if (!how->hands_over)
		return left > 0;
	if (sh->lookups.count + sh->cancels_waiting.count > 0)
		return true;
	/* Clients that wait take theirs from the successor. */
	LIST_FOR(node, &sh->waiting.head)
		if (LIST_ITEM(node, struct client, link)->is_seat)
			return true;
	return false;
}

static int step_shares(struct list *shares, const struct suspension *how)
{
	int left = 0;

	LIST_FOR(node, shares) {
		struct share *sh = LIST_ITEM(node, struct share, link);
		int here = step_share(sh, how);

		left += here;
		sh->is_flushing = needs_servers(sh, how, here);
		if (sh->is_flushing)
			share_hunger(sh);
	}
	return left;
}

int suspend_step(struct room *r, const struct suspension *how)
{
	/* The change of mode is still on its way, behind a RELOAD maybe. */
	if (r->pause != SUSPENDED)
		return 1;
	return step_clients(&r->logins.head, how) + step_cancels(&r->orphans, how) + step_shares(&r->shares, how) +
	       step_shares(&r->peers, how);
}

static size_t bytes_left(uint64_t pass_left, const uint8_t *rest, size_t n)
{
	uint64_t len;

	if (pass_left > 0)
		return (size_t)pass_left;
	if (n < HEADER_BYTES)
		return HEADER_BYTES - n;
	len = 1 + (uint64_t)get_u32(rest + 1);
	/* Whole, and left all the same: it waits for something else. */
	return len > n ? (size_t)len - n : HEADER_BYTES;
}

void suspend_after_read(struct conn *c, bool may_stop, uint64_t pass_left, const uint8_t *rest, size_t n)
{
	/* Records of TLS end where they like, and what is decrypted has to be shown. */
	if (c->tls)
		return;
	c->read_limit = bytes_left(pass_left, rest, n);
	if (may_stop && pass_left == 0 && n == 0)
		conn_suspend(c);
}

static void go_on_clients(struct list *clients)
{
	LIST_FOR(node, clients)
		go_on(&LIST_ITEM(node, struct client, link)->conn);
}

static void go_on_shares(struct list *shares)
{
	LIST_FOR(node, shares) {
		struct share *sh = LIST_ITEM(node, struct share, link);

		sh->is_flushing = sh->stops_servers = false;
		go_on_clients(&sh->active.head);
		go_on_clients(&sh->waiting.head);
		for (int state = 0; state < SERVER_STATES; state++)
			LIST_FOR(snode, &sh->servers[state].head)
				go_on(&LIST_ITEM(snode, struct server, link)->conn);
	}
}

void suspend_end(struct room *r)
{
	go_on_clients(&r->logins.head);
	go_on_shares(&r->shares);
	go_on_shares(&r->peers);
}
