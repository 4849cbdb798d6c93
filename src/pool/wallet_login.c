#include "pool/wallet_login.h"

#include <string.h>

#include "auth/replay.h"
#include "pool/login_state.h"
#include "pool/method.h"
#include "pool/share.h"
#include "pool/wallet_clock.h"
#include "pool/wallet_query.h"

static struct room *room_at(const struct client *c)
{
	return conn_room(&c->conn);
}

int64_t wallet_login_clock(void *ctx)
{
	const struct client *c = ctx;

	return wallet_clock(room_at(c)->pooler, config_settings(c->login->config));
}

/* --- who may enter, and as whom ---------------------------------------------------- */

/* What decides about a proven wallet; a NULL rule: auth_type is ecdsa. */
struct wallet_case {
	const struct config *config;
	const struct hba_rule *rule;
	const char *user; /* as asked for: a wallet name, or a role */
	int64_t now;	  /* Unix seconds */
};

/*
 * What the files say. *role: what the map says; NULL: nothing. ECDSA_NOT_ALLOWED: they do not know the wallet, and
 * somebody else may.
 */
static enum ecdsa_reason judge(const struct wallet_case *w, const struct wallet_address *a, const char **role)
{
	const struct ident_map *map = w->rule ? w->rule->map : NULL;
	struct wallet_address own;
	bool is_role = !wallet_address_parse(w->user, strlen(w->user), &own);

	*role = NULL;
	if (map) {
		switch (ident_judge_wallet(map, a, is_role ? w->user : NULL, w->now, role)) {
		case IDENT_NO_LINE:
			return ECDSA_NO_MAPPING;
		case IDENT_EXPIRED:
			return ECDSA_WALLET_EXPIRED;
		case IDENT_FOUND:
			return ECDSA_OK;
		}
	}
	/* Without a map nobody can tell whose a role is. */
	if (is_role)
		return ECDSA_ADDRESS_MALFORMED;
	switch (config_wallet_standing(w->config, a, w->now)) {
	case WALLET_UNKNOWN:
		break;
	case WALLET_EXPIRED:
		return ECDSA_WALLET_EXPIRED;
	case WALLET_ALLOWED:
		return ECDSA_OK;
	}
	return ECDSA_NOT_ALLOWED;
}

const char *wallet_login_role(const struct settings *s, const struct database_def *def, const char *queried,
			      const char *own)
{
	if (def->user)
		return def->user;
	if (queried)
		return queried;
	return s->ecdsa_user && s->ecdsa_user[0] ? s->ecdsa_user : own;
}

/*
 * What the proof means by role: the one that the pool logs in as. On the console, and where there is no such database,
 * there is no pool; then it is the name by which the wallet is known.
 */
static const char *role_of(const struct login *l, const char *own)
{
	if (l->mapped_role)
		return l->mapped_role;
	return l->is_console || !l->def ? own
					: wallet_login_role(config_settings(l->config), l->def, l->answer.role, own);
}

/* Of a wallet that the files know: is its role the database's to say? */
static bool wants_role(const struct login *l, enum wallet_query_kind kind)
{
	return kind == QUERY_OWN && !l->mapped_role && l->def && !l->def->user;
}

static enum ecdsa_reason judge_answer(struct login *l, enum ecdsa_reason by_files, const char **detail)
{
	switch (l->answer.state) {
	case ANSWER_NONE:
		return ECDSA_UNDECIDED;
	case ANSWER_FAILED:
		*detail = l->answer.reason;
		return ECDSA_LOOKUP_FAILED;
	case ANSWER_NO:
		return by_files;
	case ANSWER_NULL:
		break;
	case ANSWER_ROLE:
		return ECDSA_OK;
	}
	return ECDSA_NOT_ALLOWED;
}

static enum ecdsa_reason judge_login(void *ctx, const struct ecdsa_claim *claim, const char **detail)
{
	struct client *c = ctx;
	struct login *l = c->login;
	const struct wallet_case w = {l->config, l->rule, l->wishes.user, wallet_login_clock(c)};
	enum ecdsa_reason reason = judge(&w, &claim->signer, &l->mapped_role);
	enum wallet_query_kind kind = wallet_query_kind(config_settings(l->config), l->def, l->is_console);
	char own[WALLET_TEXT_LEN + 1];

	if ((reason == ECDSA_NOT_ALLOWED && kind != QUERY_NONE) || (reason == ECDSA_OK && wants_role(l, kind))) {
		if (l->answer.state == ANSWER_NONE)
			wallet_query_remembers(c, &claim->signer);
		reason = judge_answer(l, reason, detail);
		if (reason == ECDSA_UNDECIDED) {
			l->signer = claim->signer;
			l->is_wallet_asked = true;
		}
	}
	wallet_address_lower(&claim->signer, own);
	if (reason == ECDSA_OK && !ecdsa_claim_admits(claim, role_of(l, own)))
		reason = ECDSA_WRONG_ROLE;
	return reason;
}

/* --- what the method asks --------------------------------------------------------- */

/* A proof in the clear works for whoever reads it: demanded before the password is asked for. */
bool wallet_login_needs_tls(const struct client *c)
{
	const struct hba_rule *rule = c->login->rule;
	int required = rule && rule->ecdsa.has_tls ? rule->ecdsa.require_tls
						   : config_settings(c->login->config)->ecdsa_require_tls;

	switch ((enum require_tls)required) {
	case REQUIRE_TLS_NEVER:
		return false;
	case REQUIRE_TLS_REMOTE:
		return !c->conn.tls && !c->is_unix && !peer_addr_is_loopback(&c->addr);
	case REQUIRE_TLS_ALWAYS:
		return !c->conn.tls;
	}
	return true;
}

static enum replay_mode replay_mode(const struct login *l)
{
	bool is_own = l->rule && l->rule->ecdsa.has_replay;

	return (enum replay_mode)(is_own ? l->rule->ecdsa.replay : config_settings(l->config)->ecdsa_replay);
}

static struct ip_address source_of(const struct client *c)
{
	struct ip_address address;

	if (c->is_unix)
		return replay_source(NULL);
	address = c->addr.family == AF_INET ? ip_from_v4(c->addr.bytes) : ip_from_v6(c->addr.bytes);
	return replay_source(&address);
}

static struct wallet_policy policy_of(const struct login *l)
{
	static const struct hba_ecdsa nothing;
	const struct hba_ecdsa *line = l->rule ? &l->rule->ecdsa : &nothing;
	const struct settings *s = config_settings(l->config);
	usec_t window = line->has_window ? line->window : s->ecdsa_window;
	usec_t lifetime = line->has_max_lifetime ? line->max_lifetime : s->ecdsa_max_lifetime;

	enum replay_mode replay = replay_mode(l);

	return (struct wallet_policy){
		.formats = line->has_formats ? line->formats : ecdsa_formats_of(s->ecdsa_formats),
		.window_seconds = window / USEC_PER_SEC,
		.role_login = l->rule && l->rule->map,
		.limits_future = replay != REPLAY_OFF,
		.skew_seconds = s->ecdsa_skew / USEC_PER_SEC,
		.max_lifetime_seconds = lifetime / USEC_PER_SEC,
		.siwe_requires_database = s->ecdsa_siwe_require_database != 0,
		.server_names = s->ecdsa_server_names,
		.siwe_domains = s->ecdsa_siwe_domains,
		.siwe_schemes = s->ecdsa_siwe_schemes,
		.chain_ids = s->ecdsa_chain_ids,
		.database = l->wishes.database,
	};
}

void wallet_login_input(struct client *c, struct auth_input *in)
{
	struct login *l = c->login;

	l->policy = policy_of(l);
	in->wallet_policy = &l->policy;
	in->judge_wallet = judge_login;
	in->wallet_ctx = c;
	in->replay = room_at(c)->pooler->replay;
	in->replay_mode = replay_mode(l);
	in->replay_source = source_of(c);
}

/* --- afterwards -------------------------------------------------------------------- */

bool wallet_still_admitted(const struct client *c)
{
	const struct room *r = room_at(c);
	const struct database_def *def = c->share ? room_database_def(r, c->database->name) : NULL;
	struct wallet_case w = {.config = r->config, .user = c->user->name, .now = wallet_clock(r->pooler, r->settings)};
	const char *role;

	if (r->settings->auth_type == AUTH_TYPE_HBA) {
		const struct hba_facts facts = method_facts(c, c->database->name, c->user->name);

		/* After SET auth_type there are no lines before the next RELOAD; that one judges. */
		if (!config_hba(r->config))
			return true;
		/* Whoever was let in by a wallet needs a line that lets wallets in. */
		w.rule = hba_match(config_hba(r->config), &facts);
		if (!w.rule || w.rule->method != HBA_ECDSA)
			return false;
	}
	switch (judge(&w, &c->wallet, &role)) {
	case ECDSA_OK:
		break;
	case ECDSA_NOT_ALLOWED:
		/* Nobody asks the database again: KILL_WALLET ends what it no longer wants. But it must be one that is asked. */
		if (c->is_wallet_queried && wallet_query_kind(r->settings, def, !c->share) != QUERY_NONE)
			break;
		return false;
	default:
		return false;
	}
	if (!def)
		return true; /* the console; or a database that is going, with all its clients */
	if (!role)
		role = wallet_login_role(r->settings, def, c->is_wallet_queried ? share_role(c->share) : NULL,
					 c->user->name);
	return strcmp(role, share_role(c->share)) == 0;
}

bool wallet_admitted_now(const struct client *c)
{
	return !c->is_wallet || c->login->config == room_at(c)->config || wallet_still_admitted(c);
}
