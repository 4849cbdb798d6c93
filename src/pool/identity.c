#include "pool/identity.h"

#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/net_order.h"
#include "pool/share.h"
#include "pool/wallet_clock.h"
#include "wallet/claim.h"

#define SESSION_CLAIM_SECONDS 86400 /* in session mode a link lasts for as long as the session */

/* name is of plain identifiers with points between them: config/setting_checks.c. */
static void put_set(struct buf *sql, const char *name, const char *value)
{
	buf_put_text(sql, "SET \"");
	for (; *name; name++)
		if (*name == '.')
			buf_put_text(sql, "\".\"");
		else
			buf_put_u8(sql, (uint8_t)*name);
	buf_put_text(sql, "\"=");
	params_put_literal(sql, value);
	buf_put_u8(sql, ';');
}

static const char *server_database(const struct share *sh)
{
	return sh->def && sh->def->dbname && sh->def->dbname[0] ? sh->def->dbname : share_database_name(sh);
}

static uint32_t backend_pid(const struct server *sv)
{
	return get_u32(sv->key);
}

static void put_claim(const struct client *c, const struct server *sv, const uint8_t *key, struct buf *sql)
{
	const struct share *sh = sv->share;
	const struct settings *s = sh->room->settings;
	int64_t life = sh->mode == POOL_SESSION ? SESSION_CLAIM_SECONDS : s->ecdsa_claim_ttl / USEC_PER_SEC;
	struct buf claim;

	buf_init(&claim);
	claim_put(&claim, key, &c->wallet, server_database(sh), backend_pid(sv),
		  wallet_clock(sh->room->pooler, s) + life);
	if (buf_ok(&claim))
		put_set(sql, CLAIM_SETTING, (const char *)buf_data(&claim));
	else
		sql->failed = true;
	buf_wipe_free(&claim);
}

static const char *setting_of(const struct config *config)
{
	const char *name = config_settings(config)->ecdsa_identity_setting;

	return name ? name : "";
}

bool identity_sql(const struct client *c, const struct server *sv, struct buf *sql)
{
	const struct config *config = sv->share->room->config;
	const char *name = setting_of(config);
	const uint8_t *key = config_claim_key(config);
	char wallet[WALLET_TEXT_LEN + 1] = "";

	if (c->is_wallet)
		wallet_address_lower(&c->wallet, wallet);
	if (name[0])
		put_set(sql, name, wallet);
	if (key && c->is_wallet)
		put_claim(c, sv, key, sql);
	else if (key)
		put_set(sql, CLAIM_SETTING, "");
	return name[0] || key;
}

char *identity_words(const struct config *config)
{
	return xasprintf("%s %s", setting_of(config), config_claim_key(config) ? "claim" : "");
}

bool identity_differs(const struct config *a, const struct config *b)
{
	char *of_a = identity_words(a), *of_b = identity_words(b);
	bool differ = strcmp(of_a, of_b) != 0;

	free(of_a);
	free(of_b);
	return differ;
}
