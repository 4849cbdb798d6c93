#include "pool/method.h"

#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "pool/login_limit.h"
#include "pool/login_state.h"
#include "pool/route.h"
#include "pool/share.h"
#include "pool/secret.h"
#include "pool/wallet_login.h"

static struct room *room_at(const struct client *c)
{
	return conn_room(&c->conn);
}

static struct registry *registry_at(const struct client *c)
{
	return &room_at(c)->pooler->registry;
}

static enum auth_kind kind_of(int auth_type)
{
	switch ((enum auth_type)auth_type) {
	case AUTH_TYPE_ANY:
		return AUTH_KIND_ANY;
	case AUTH_TYPE_TRUST:
		return AUTH_KIND_TRUST;
	case AUTH_TYPE_PLAIN:
		return AUTH_KIND_PLAIN;
	case AUTH_TYPE_MD5:
		return AUTH_KIND_MD5;
	case AUTH_TYPE_SCRAM:
		return AUTH_KIND_SCRAM;
	case AUTH_TYPE_ECDSA:
		return AUTH_KIND_ECDSA;
	case AUTH_TYPE_CERT:
		return AUTH_KIND_CERT;
	case AUTH_TYPE_PAM:
		return AUTH_KIND_PAM;
	case AUTH_TYPE_LDAP:
		return AUTH_KIND_LDAP;
	case AUTH_TYPE_HBA:
		break; /* a rule decides */
	}
	return AUTH_KINDS;
}

/* --- HBA rules ---------------------------------------------------------------- */

struct hba_facts method_facts(const struct client *c, const char *database, const char *user)
{
	return (struct hba_facts){
		.is_unix = c->is_unix,
		.is_tls = c->conn.tls != NULL,
		.family = c->addr.family,
		.address = c->addr.bytes,
		.database = database,
		.user = user,
		.replication = c->replication,
	};
}

/* Finds login->rule and the method. Not NULL: by the rules the client has no chance, and is to be told this. */
static const char *choose_rule(struct client *c, enum auth_kind *kind)
{
	static const enum auth_kind kinds[] = {
		[HBA_TRUST] = AUTH_KIND_TRUST, [HBA_MD5] = AUTH_KIND_MD5,     [HBA_PASSWORD] = AUTH_KIND_PLAIN,
		[HBA_PEER] = AUTH_KIND_PEER,   [HBA_CERT] = AUTH_KIND_CERT,   [HBA_SCRAM] = AUTH_KIND_SCRAM,
		[HBA_LDAP] = AUTH_KIND_LDAP,   [HBA_ECDSA] = AUTH_KIND_ECDSA, [HBA_REJECT] = AUTH_KINDS,
	};
	struct login *l = c->login;
	const struct hba_facts facts = method_facts(c, l->wishes.database, l->wishes.user);

	l->rule = hba_match(config_hba(l->config), &facts);
	if (!l->rule)
		return "no authentication method is found";
	*kind = kinds[l->rule->method];
	if (l->rule->method == HBA_REJECT)
		return "login rejected";
	return auth_kind_is_built(*kind) ? NULL : "ldap is not supported by this build";
}

static const struct stored_secret console_user = {CONSOLE_DATABASE, ""};

/* false: the client is closed, or secret_ask() goes on with it when its user is known. */
static bool choose_user(struct client *c, enum auth_kind kind)
{
	struct login *l = c->login;
	char prefix[400];

	if (login_is_looked_up(l))
		return true;
	/* The requested name means nothing; whoever the database names is who it is. */
	if (kind == AUTH_KIND_ANY && !l->is_console) {
		if (!l->def || !l->def->user) {
			log_error("%sauth_type=any requires forced user", client_prefix(c, prefix, sizeof(prefix)));
			client_fail(c, "bouncer config error");
			return false;
		}
		free(l->wishes.user);
		l->wishes.user = strdup(l->def->user);
		if (!l->wishes.user) {
			client_fail(c, "out of memory");
			return false;
		}
		return route_count_user(c, l->wishes.user);
	}
	/* A wallet becomes a user once it is proven: strangers cost no memory. */
	if (kind == AUTH_KIND_ECDSA)
		return true;
	/* Somebody outside knows who exists. */
	if (kind == AUTH_KIND_PAM || kind == AUTH_KIND_LDAP) {
		if (l->def && l->def->auth_user) {
			log_error("%s%s can't be used together with database authentication",
				  client_prefix(c, prefix, sizeof(prefix)), kind == AUTH_KIND_PAM ? "PAM" : "LDAP");
			client_fail(c, "bouncer config error");
			return false;
		}
		return route_count_user(c, l->wishes.user);
	}
	l->secret = config_find_secret(l->config, l->wishes.user);
	/* The console's own user is known always, without a password if nobody gave it one. */
	if (!l->secret && strcmp(l->wishes.user, CONSOLE_DATABASE) == 0)
		l->secret = &console_user;
	if (l->secret || (l->is_console && kind == AUTH_KIND_ANY))
		return route_count_user(c, l->wishes.user);
	if (secret_is_asked_for(c)) {
		secret_ask(c);
		return false;
	}
	log_info("%sno such user: %s", client_prefix(c, prefix, sizeof(prefix)), l->wishes.user);
	l->stand_in = config_stand_in(l->config, l->wishes.user);
	return true;
}

/* --- what the methods need to know ---------------------------------------------- */

static enum auth_certificate certificate_of(const struct client *c)
{
	if (!c->conn.tls)
		return CERTIFICATE_NO_TLS;
	return conn_peer_is_verified(&c->conn) ? CERTIFICATE_VERIFIED : CERTIFICATE_NONE;
}

static bool certificate_names(void *ctx, const char *name)
{
	const struct client *c = ctx;

	return conn_peer_has_name(&c->conn, name);
}

static int64_t peer_uid(const struct client *c)
{
	pid_t pid;
	uid_t uid;

	return c->is_unix && socket_peer_cred(c->conn.fd, &pid, &uid) ? (int64_t)uid : -1;
}

bool method_choose(struct client *c)
{
	struct login *l = c->login;
	const struct settings *s = config_settings(l->config);
	struct pooler *pooler = room_at(c)->pooler;
	enum auth_kind kind = kind_of(s->auth_type);
	const char *refusal = NULL;

	if (s->auth_type == AUTH_TYPE_HBA)
		refusal = choose_rule(c, &kind);
	/* Asked about a proof to come, so early that a flood costs nothing and fills no log; and once. */
	if (!login_is_looked_up(l) && ((!refusal && !login_limit_ask(c, kind)) || !login_admit(c)))
		return false;
	if (refusal) {
		client_fail(c, refusal);
		return false;
	}
	if (kind == AUTH_KIND_ECDSA && wallet_login_needs_tls(c)) {
		client_close(c, "28000", "wallet login requires TLS", "wallet login requires TLS");
		return false;
	}
	if (!choose_user(c, kind))
		return false;
	l->input = (struct auth_input){
		.kind = kind,
		.user = l->wishes.user,
		.secret = l->secret ? l->secret->text : l->stand_in ? l->stand_in->text : NULL,
		.is_mock = !c->user,
		.scram_iterations = s->scram_iterations,
		.mock_nonce = pooler->mock_nonce,
		.wall_clock = wallet_login_clock,
		.clock_ctx = c,
		.map = l->rule ? l->rule->map : NULL,
		.certificate = certificate_of(c),
		.certificate_names = certificate_names,
		.certificate_ctx = c,
		.peer_uid = kind == AUTH_KIND_PEER ? peer_uid(c) : -1,
		.remote_host = c->is_unix ? NULL : peer_addr_host(&c->addr, l->remote_host, sizeof(l->remote_host)),
		.ldap_options = l->rule ? l->rule->options : s->auth_ldap_options,
		.may_explain = login_limit_may_explain,
		.explain_ctx = c,
	};
	if (kind == AUTH_KIND_ECDSA)
		wallet_login_input(c, &l->input);
	if (l->secret && !login_is_looked_up(l) && c->user &&
	    user_verifier(registry_at(c), c->user, l->secret->text, &l->verifier))
		l->input.verifier = &l->verifier;
	return true;
}
