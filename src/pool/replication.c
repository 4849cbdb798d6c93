#include "pool/replication.h"

#include "pool/server_login.h"
#include "pool/share.h"

bool replication_wants_server(const struct client *c)
{
	/* During SUSPEND only those that have said something are in the way. */
	return c->replication != REPLICATION_NONE && !c->server &&
	       (!c->share->is_flushing || !conn_has_read_all(&c->conn));
}

struct client *replication_next(const struct share *sh)
{
	if (sh->replication_waiting == 0)
		return NULL;
	LIST_FOR(node, &sh->waiting.head) {
		struct client *c = LIST_ITEM(node, struct client, link);

		if (replication_wants_server(c))
			return c;
	}
	return NULL;
}

void replication_link(struct client *c, struct server *sv)
{
	sv->replication = c->replication;
	sv->client = c;
	c->server = sv;
}

void replication_part(struct server *sv)
{
	if (sv->client)
		sv->client->server = NULL;
	sv->client = NULL;
	sv->replication = REPLICATION_NONE;
}

void replication_abandon(struct server *sv)
{
	/* No failure of the server's. */
	sv->login->was_unneeded = true;
	server_close(sv, "replication client disconnected", false);
}

void replication_refuse(struct server *sv, const char *text)
{
	struct client *c = sv->client;

	server_close(sv, text, false);
	client_close(c, NULL, text, text);
}

void replication_login_done(struct server *sv)
{
	struct share *sh = sv->share;
	struct client *c = sv->client;

	/* Of the others nobody may be told what this client has set, or that there is no database. */
	if (c->needs_greeting && !client_welcome(c, sv))
		return;
	ledger_login_done(&sh->room->pooler->registry.ledger, &sh->pool->ledger);
	server_login_free(sv);
	sv->is_ready = true;
	sv->used_at = worker_now(sh->room->worker);
	client_activate(c, sv);
	server_deadline(sv);
}
