#include "pool/wallet_session.h"

#include "pool/deadline.h"
#include "pool/server.h"

static usec_t limit_of(const struct client *c)
{
	return c->is_wallet ? conn_room(&c->conn)->settings->ecdsa_session_max : 0;
}

static bool is_over(const struct client *c)
{
	return deadline_over(worker_now(c->conn.worker), c->connected_at, limit_of(c));
}

void wallet_session_consider(const struct client *c, usec_t *due)
{
	deadline_consider(due, c->connected_at, limit_of(c));
}

void wallet_session_after_transaction(struct client *c)
{
	if (!is_over(c))
		return;
	/* Not closed in here: the end of the answer has still to be sent. */
	client_pause(c, PAUSE_EXPIRED);
	conn_set_deadline(&c->conn, worker_now(c->conn.worker));
}

static bool is_between_transactions(struct client *c)
{
	const struct server *sv = c->server;

	/* A stream knows no transactions, and has no end to wait for. */
	if (c->state == CL_ACTIVE && sv && sv->copy_state == 'W')
		return true;
	if (conn_unsent(&c->conn) > 0)
		return false;
	if (c->state == CL_CONSOLE)
		return !(c->pauses & PAUSE_CONSOLE);
	return c->state == CL_ACTIVE &&
	       (!sv || (sv->is_ready && !sv->is_setting_params && outstanding_empty(&sv->requests)));
}

void wallet_session_on_deadline(struct client *c)
{
	if (!is_over(c)) {
		/* A RELOAD has given it more time. */
		client_unpause(c, PAUSE_EXPIRED);
		return;
	}
	if (is_between_transactions(c))
		client_close(c, "57P01", "session has lasted for its longest time (ecdsa_session_max)",
			     "ecdsa_session_max");
}
