#include "pool/method.h"

#include <stdlib.h>
#include <time.h>

#include "lib/log.h"
#include "lib/mem.h"
#include "pool/login_state.h"
#include "pool/route.h"

static struct room *room_at(const struct client *c)
{
	return conn_room(&c->conn);
}

static struct registry *registry_at(const struct client *c)
{
	return &room_at(c)->pooler->registry;
}

static bool wallet_allowed(void *ctx, const struct wallet_address *a)
{
	return config_wallet_allowed(ctx, a);
}

static int64_t wall_clock(void)
{
	return (int64_t)time(NULL);
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
	case AUTH_TYPE_HBA:
	case AUTH_TYPE_PAM:
	case AUTH_TYPE_LDAP:
		break; /* refused when the configuration is loaded */
	}
	return AUTH_KINDS;
}

/* A proof in the clear works for whoever reads it: demanded before the password is asked for. */
static bool wallet_needs_tls(const struct client *c)
{
	switch ((enum require_tls)config_settings(c->login->config)->ecdsa_require_tls) {
	case REQUIRE_TLS_NEVER:
		return false;
	case REQUIRE_TLS_REMOTE:
		return !c->conn.tls && !c->is_unix && !peer_addr_is_loopback(&c->addr);
	case REQUIRE_TLS_ALWAYS:
		return !c->conn.tls;
	}
	return true;
}

static bool choose_user(struct client *c, enum auth_kind kind)
{
	struct login *l = c->login;
	char prefix[400];

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
	l->secret = config_find_secret(l->config, l->wishes.user);
	if (l->secret || (l->is_console && kind == AUTH_KIND_ANY))
		return route_count_user(c, l->wishes.user);
	log_info("%sno such user: %s", client_prefix(c, prefix, sizeof(prefix)), l->wishes.user);
	return true;
}

bool method_choose(struct client *c)
{
	struct login *l = c->login;
	const struct settings *s = config_settings(l->config);
	struct pooler *pooler = room_at(c)->pooler;
	enum auth_kind kind = kind_of(s->auth_type);

	if (kind == AUTH_KIND_ECDSA && wallet_needs_tls(c)) {
		client_close(c, "28000", "wallet login requires TLS", "wallet login requires TLS");
		return false;
	}
	if (!choose_user(c, kind))
		return false;
	l->policy = (struct wallet_policy){BIT(ECDSA_FORMAT_TIMESTAMP), s->ecdsa_window / USEC_PER_SEC};
	l->input = (struct auth_input){
		.kind = kind,
		.user = l->wishes.user,
		.secret = l->secret ? l->secret->text : NULL,
		.is_mock = !c->user,
		.scram_iterations = s->scram_iterations,
		.mock_nonce = pooler->mock_nonce,
		.wallet_policy = &l->policy,
		.wall_clock = wall_clock,
		.wallet_allowed = wallet_allowed,
		.wallet_ctx = l->config,
	};
	if (l->secret && c->user &&
	    user_verifier(registry_at(c), c->user, l->secret->text, &l->verifier))
		l->input.verifier = &l->verifier;
	return true;
}
