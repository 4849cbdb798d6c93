#include "pool/route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "pool/login_state.h"
#include "pool/share.h"
#include "pool/wallet_login.h"

static struct room *room_at(const struct client *c)
{
	return conn_room(&c->conn);
}

static struct registry *registry_at(const struct client *c)
{
	return &room_at(c)->pooler->registry;
}

static int user_client_limit(const struct client *c, const char *user)
{
	const struct config *config = c->login->config;
	const struct user_def *u = config_find_user(config, user);

	return u && u->max_user_client_connections > 0 ? u->max_user_client_connections
						       : config_settings(config)->max_user_client_connections;
}

bool route_is_console_admin(const struct client *c)
{
	const struct login *l = c->login;

	return l->is_console && config_list_has(config_settings(l->config)->admin_users, l->wishes.user);
}

/* Takes the user entity and its place among the client connections. false: refused and closed. */
bool route_count_user(struct client *c, const char *name)
{
	struct registry *reg = registry_at(c);

	/* Whoever turns out to be somebody else gives the first one's place back. */
	if (c->counted_user)
		tally_remove_client(reg, &c->user->tally);
	c->counted_user = false;
	user_put(reg, c->user);
	c->user = user_get(reg, name);
	if (!c->user) {
		client_fail(c, "out of memory");
		return false;
	}
	c->counted_user = true;
	if (!tally_add_client(reg, &c->user->tally, user_client_limit(c, name)) && !route_is_console_admin(c)) {
		client_fail(c, "client connections exceeded (max_user_client_connections)");
		return false;
	}
	return true;
}

void route_audit(struct client *c, bool ok, const char *role)
{
	struct login *l = c->login;
	char where[80], tls[128], rule[400] = "", database[AUTH_AUDIT_VALUE_MAX + 1], *slash;

	if (!l->auth.audit[0] || !config_settings(l->config)->log_connections)
		return;
	conn_tls_describe(&c->conn, tls, sizeof(tls));
	slash = strchr(tls, '/');
	if (slash)
		*slash = 0;
	peer_addr_text(&c->addr, where, sizeof(where));
	auth_audit_value(l->wishes.database, database);
	if (l->rule)
		snprintf(rule, sizeof(rule), " hba=%d%s%s", l->rule->line, l->rule->map ? " map=" : "",
			 l->rule->map ? l->rule->map->name : "");
	if (ok)
		log_info("login: %s role=%s db=%s source=%s tls=%s%s", l->auth.audit, role, database, where,
			 tls[0] ? tls : "no", rule);
	else
		log_info("login failed: %s db=%s source=%s tls=%s%s text=\"password authentication failed\"%s%s",
			 l->auth.audit, database, where, tls[0] ? tls : "no", rule,
			 l->auth.reject.reason[0] ? " hint=" : "", l->auth.reject.reason);
}

/* --- proven -------------------------------------------------------------------------- */

static void open_console(struct client *c)
{
	struct login *l = c->login;
	const struct settings *s = config_settings(l->config);
	const char *name = l->wishes.user;

	if (!c->is_admin)
		c->is_admin = config_list_has(s->admin_users, name);
	if (!c->is_admin && s->auth_type != AUTH_TYPE_ANY && !config_list_has(s->stats_users, name)) {
		client_fail(c, "not allowed");
		return;
	}
	if (!wallet_admitted_now(c)) {
		client_fail(c, "admin forced disconnect");
		return;
	}
	client_make_key(c);
	client_set_state(c, CL_CONSOLE);
	conn_set_deadline(&c->conn, 0);
	client_deadline(c);
	login_free(c);
	room_at(c)->pooler->console->opened(c);
}

/* %w wallet, %a what the client sent, %u user name, %h source address, %%: ecdsa-login.md section 20. */
static bool name_application(struct client *c)
{
	const struct login *l = c->login;
	const char *template = config_settings(l->config)->ecdsa_application_name;
	char wallet[WALLET_TEXT_LEN + 1], host[64];
	struct buf b;
	bool ok;

	if (!template || !template[0])
		return true;
	wallet_address_eip55(&c->wallet, wallet);
	buf_init(&b);
	for (const char *p = template; *p; p++) {
		if (*p != '%' || !p[1]) {
			buf_put_u8(&b, (uint8_t)*p);
			continue;
		}
		switch (*++p) {
		case 'w':
			buf_put_text(&b, wallet);
			break;
		case 'a':
			buf_put_text(&b, l->wishes.app_name ? l->wishes.app_name : "");
			break;
		case 'u':
			buf_put_text(&b, l->wishes.user);
			break;
		case 'h':
			buf_put_text(&b, peer_addr_host(&c->addr, host, sizeof(host)));
			break;
		case '%':
			buf_put_u8(&b, '%');
			break;
		default:
			buf_put_u8(&b, '%');
			buf_put_u8(&b, (uint8_t)*p);
		}
	}
	/* PostgreSQL cuts at 63 bytes; a longer wish would never equal what it reports. */
	if (buf_len(&b) > 63)
		b.end = b.start + 63;
	buf_put_u8(&b, 0);
	ok = buf_ok(&b) && params_set(&c->params, PARAM_APPLICATION_NAME, (const char *)buf_data(&b));
	buf_free(&b);
	return ok;
}

/* Which role does the pool log in as: behaviour specification 5, ecdsa-login.md 19. */
static const char *account_of(const struct client *c)
{
	const struct login *l = c->login;
	const struct settings *s = config_settings(l->config);
	/* Of now: a RELOAD during the log-in may have given the database another user. */
	const struct database_def *now = room_database_def(room_at(c), c->database->name), *def = now ? now : l->def;

	if (l->mapped_role)
		return l->mapped_role;
	if (c->is_wallet)
		return wallet_login_role(s, def, l->answer.role, c->user->name);
	return def->user ? def->user : c->user->name;
}

static void route(struct client *c)
{
	struct login *l = c->login;
	struct room *r = room_at(c);
	struct registry *reg = registry_at(c);
	struct user *account = user_get(reg, account_of(c));
	struct pool *pool = account ? pool_get(reg, c->database, account) : NULL;

	if (!pool) {
		user_put(reg, account);
		client_fail(c, "no memory for pool");
		return;
	}
	route_audit(c, true, account->name);
	user_put(reg, account);
	c->has_mapped_role = l->mapped_role != NULL;
	/* It opens servers with the password by which it was let in. */
	if (login_is_looked_up(l) && !l->def->user)
		pool_set_secret(reg, pool, l->secret->text);
	else if (l->auth.cleartext && !l->def->user)
		pool_set_secret(reg, pool, l->auth.cleartext);
	else if (l->answer.secret && !l->def->user && strcmp(l->answer.role, pool->account->name) == 0)
		pool_set_secret(reg, pool, l->answer.secret);
	l->state = LOGIN_ROUTED;
	l->pool = pool;
	if (pool->home == r->worker->index) {
		pool_ref(reg, pool);
		client_join(c, pool);
		pool_put(reg, pool);
		return;
	}
	/* Not from in here: what it sent already must be put away first. */
	client_pause(c, PAUSE_TRAVEL);
	clist_del(&r->logins, &c->link);
	list_add_tail(&r->travellers, &c->link);
}

/* Where clients are waited for, who was connected before has a right to be served: nobody else has his connection. */
static bool is_turned_away(const struct client *c)
{
	enum shutdown_mode mode = room_at(c)->shutdown;

	return mode != SHUTDOWN_NONE && (mode != SHUTDOWN_WAIT_CLIENTS || c->is_late);
}

void route_proven(struct client *c)
{
	struct login *l = c->login;
	char name[WALLET_TEXT_LEN + 1], text[128], prefix[400];
	struct wallet_address claimed;

	if (l->auth.is_wallet) {
		c->is_wallet = true;
		c->wallet = l->auth.wallet;
		c->is_wallet_queried = l->answer.state == ANSWER_ROLE;
		wallet_address_lower(&c->wallet, name);
		/* In role login the role is the user, and the wallet only who answers for it. */
		if (!route_count_user(c, wallet_address_parse(l->wishes.user, strlen(l->wishes.user), &claimed)
						 ? name : l->wishes.user))
			return;
	}
	if (login_is_looked_up(l))
		user_mark_known(registry_at(c), c->user);
	if (l->is_console) {
		route_audit(c, true, "-");
		open_console(c);
		return;
	}
	if (!l->def) {
		log_info("%slogin failed: db=%s user=%s", client_prefix(c, prefix, sizeof(prefix)), l->wishes.database,
			 l->wishes.user);
		snprintf(text, sizeof(text), "no such database: %.80s", l->wishes.database);
		client_fail(c, text);
		return;
	}
	if (atomic_load_explicit(&c->database->is_disabled, memory_order_relaxed)) {
		snprintf(text, sizeof(text), "database \"%s\" is disabled", c->database->name);
		client_fail(c, text);
		return;
	}
	if (is_turned_away(c)) {
		client_fail(c, "pooler is shutting down");
		return;
	}
	if (c->is_wallet && !name_application(c)) {
		client_fail(c, "out of memory");
		return;
	}
	route(c);
}

/* --- the journey ---------------------------------------------------------------------- */

struct parcel {
	struct message message; /* first */
	struct client *client;
};

static void deliver_client(struct worker *w, struct message *m)
{
	struct parcel *p = CONTAINER_OF(m, struct parcel, message);
	struct client *c = p->client;
	struct room *r = w->room;
	struct registry *reg = &r->pooler->registry;
	struct pool *pool;

	free(p);
	atomic_fetch_add_explicit(&w->client_count, 1, memory_order_relaxed);
	clist_add_tail(&r->logins, &c->link);
	c->pauses &= (uint16_t)~PAUSE_TRAVEL;
	if (conn_attach(&c->conn, w) < 0) {
		client_close(c, NULL, NULL, "out of memory");
		return;
	}
	if (is_turned_away(c)) {
		client_fail(c, "pooler is shutting down");
		return;
	}
	if (c->pauses == 0)
		conn_resume(&c->conn);
	pool = pool_ref(reg, c->login->pool);
	client_join(c, pool);
	pool_put(reg, pool);
}

void route_send_travellers(struct room *r)
{
	while (!list_empty(&r->travellers)) {
		struct client *c = LIST_ITEM(r->travellers.next, struct client, link);
		struct parcel *p = calloc(1, sizeof(*p));

		if (!p) {
			client_close(c, NULL, NULL, "out of memory");
			continue;
		}
		list_del(&c->link);
		conn_detach(&c->conn);
		atomic_fetch_sub_explicit(&r->worker->client_count, 1, memory_order_relaxed);
		p->client = c;
		p->message.deliver = deliver_client;
		worker_post(r->worker, r->worker->crew->workers[c->login->pool->home], &p->message);
	}
}
