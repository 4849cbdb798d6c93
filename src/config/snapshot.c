#include "config/snapshot.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config/setting_checks.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/network.h"

struct config *snapshot_new(const struct config *prev)
{
	struct config *c = xcalloc(1, sizeof(*c));

	atomic_init(&c->refs, 1);
	c->generation = prev ? prev->generation + 1 : 1;
	if (prev)
		settings_copy(&c->settings, &prev->settings);
	else
		settings_init(&c->settings);
	return c;
}

const char *origin_text(const struct origin *o, char *buf, size_t cap)
{
	if (o && o->line)
		snprintf(buf, cap, " (%s:%d)", o->file, o->line);
	else
		buf[0] = 0;
	return buf;
}

void origins_free(struct origin *origins)
{
	for (size_t i = 0; origins && i < setting_count(); i++)
		free(origins[i].file);
	free(origins);
}

const char *config_place(const struct config *c, const char *setting, int *line)
{
	int i = setting_find(setting);
	const struct origin *o = c->origins && i >= 0 ? &c->origins[i] : NULL;

	*line = o ? o->line : 0;
	return o && o->line ? o->file : NULL;
}

static const struct origin *origin_of(const struct origin *origins, const char *setting)
{
	return origins ? &origins[setting_find(setting)] : NULL;
}

static bool is_empty(const char *text)
{
	return !text || !*text;
}

static bool bring_wallets(struct config *c, const struct config *prev, const struct origin *origins)
{
	const char *value = c->settings.ecdsa_allowed_addresses;
	char where[512];

	if (is_empty(value))
		return true;
	c->wallets = wallet_list_load(value, prev ? prev->wallets : NULL,
				      origin_text(origin_of(origins, "ecdsa_allowed_addresses"), where, sizeof(where)));
	return c->wallets != NULL;
}

static bool bring_auth_file(struct config *c, const struct config *prev)
{
	struct auth_file *known = prev ? prev->auth_file : NULL;

	if (is_empty(c->settings.auth_file))
		return true;
	if (c->settings.auth_type == AUTH_TYPE_ANY || c->settings.auth_type == AUTH_TYPE_PAM) {
		/* Not needed for logins, but forced users may still have their passwords from it. */
		c->auth_file = auth_file_ref(known);
		return true;
	}
	return auth_file_load(c->settings.auth_file, known, c->is_checked, &c->auth_file);
}

/* Read anew by every load, since @files may have changed. The rules keep the maps alive. */
static bool bring_hba(struct config *c)
{
	const struct settings *s = &c->settings;
	struct ident_maps *maps;

	if (s->auth_type != AUTH_TYPE_HBA)
		return true;
	maps = ident_load(s->auth_ident_file);
	if (!maps)
		return false;
	c->hba = hba_load(s->auth_hba_file, maps);
	ident_unref(maps);
	return c->hba != NULL;
}

static bool has_wallet_source(const struct config *c)
{
	if (c->auth_file && c->auth_file->wallet_count > 0)
		return true;
	/* An @file may be empty for now; a list that names nobody is a mistake. */
	return c->wallets && (c->wallets->count > 0 || c->wallets->value[0] == '@');
}

void snapshot_derive(struct config *c)
{
	const char *at = c->settings.ecdsa_limit_exempt, *item;
	size_t len, n = 0;

	while (list_item(&at, &len))
		n++;
	c->limit_exempt = xcalloc(n, sizeof(*c->limit_exempt));
	at = c->settings.ecdsa_limit_exempt;
	while ((item = list_item(&at, &len)))
		if (network_parse(item, len, &c->limit_exempt[c->limit_exempt_count]) == NETWORK_OK)
			c->limit_exempt_count++;
}

bool snapshot_complete(struct config *c, const struct config *prev, const struct origin *origins)
{
	char where[512];
	bool ok = bring_wallets(c, prev, origins);

	snapshot_derive(c);
	ok &= bring_auth_file(c, prev);
	if (origins)
		ok &= bring_hba(c);
	else
		c->hba = hba_ref(prev->hba);
	if (ok && c->settings.auth_type == AUTH_TYPE_ECDSA && !has_wallet_source(c)) {
		log_error("auth_type=ecdsa lets nobody in: ecdsa_allowed_addresses is empty and auth_file names no "
			  "wallet%s", origin_text(origin_of(origins, "auth_type"), where, sizeof(where)));
		ok = false;
	}
	return ok;
}

struct config *config_ref(struct config *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void config_unref(struct config *c)
{
	/* acq_rel: whoever frees has seen everything the others did with it. */
	if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) > 1)
		return;
	settings_free(&c->settings);
	entries_unref(c->entries);
	auth_file_unref(c->auth_file);
	wallet_list_unref(c->wallets);
	hba_unref(c->hba);
	free(c->limit_exempt);
	origins_free(c->origins);
	free(c);
}

const struct settings *config_settings(const struct config *c)
{
	return &c->settings;
}

uint64_t config_generation(const struct config *c)
{
	return c->generation;
}

const struct database_def *config_find_database(const struct config *c, const char *name)
{
	return hash_get_str(&c->entries->databases.by_key, name);
}

const struct database_def *config_template(const struct config *c)
{
	return c->entries->template;
}

size_t config_database_count(const struct config *c)
{
	return c->entries->databases.count;
}

const struct database_def *config_database_at(const struct config *c, size_t i)
{
	return c->entries->databases.rows[i];
}

const struct user_def *config_find_user(const struct config *c, const char *name)
{
	struct wallet_address address;
	char lower[WALLET_TEXT_LEN + 1];

	if (wallet_address_parse(name, strlen(name), &address)) {
		wallet_address_lower(&address, lower);
		name = lower;
	}
	return hash_get_str(&c->entries->users.by_key, name);
}

size_t config_user_count(const struct config *c)
{
	return c->entries->users.count;
}

const struct user_def *config_user_at(const struct config *c, size_t i)
{
	return c->entries->users.rows[i];
}

const struct stored_secret *config_find_secret(const struct config *c, const char *user)
{
	/* Always a known user, without a password if the file names none (console section 1). */
	static const struct stored_secret console_user = {"pgbouncer", ""};
	const struct stored_secret *found = auth_file_find(c->auth_file, user);

	return found || strcmp(user, console_user.user) != 0 ? found : &console_user;
}

const struct stored_secret *config_stand_in(const struct config *c, const char *user)
{
	size_t from = 0, to = config_secret_count(c);

	if (to == 0)
		return NULL;
	while (from < to) {
		size_t middle = from + (to - from) / 2;

		if (strcmp(config_secret_at(c, middle)->user, user) < 0)
			from = middle + 1;
		else
			to = middle;
	}
	return config_secret_at(c, from < config_secret_count(c) ? from : 0);
}

size_t config_secret_count(const struct config *c)
{
	return c->auth_file ? c->auth_file->count : 0;
}

const struct stored_secret *config_secret_at(const struct config *c, size_t i)
{
	return &c->auth_file->rows[i];
}

const struct peer_def *config_find_peer(const struct config *c, int id)
{
	return hash_get(&c->entries->peers.by_key, &id, sizeof(id));
}

size_t config_peer_count(const struct config *c)
{
	return c->entries->peers.count;
}

const struct peer_def *config_peer_at(const struct config *c, size_t i)
{
	return c->entries->peers.rows[i];
}

enum wallet_standing config_wallet_standing(const struct config *c, const struct wallet_address *a, int64_t now)
{
	if (c->auth_file && wallets_have(c->auth_file->wallets, c->auth_file->wallet_count, a))
		return WALLET_ALLOWED;
	return wallet_list_judge(c->wallets, a, now);
}

const struct hba_rules *config_hba(const struct config *c)
{
	return c->hba;
}

bool config_limit_exempts(const struct config *c, const struct ip_address *a)
{
	for (size_t i = 0; i < c->limit_exempt_count; i++)
		if (network_has(&c->limit_exempt[i], a))
			return true;
	return false;
}

bool config_limits_method(const struct config *c, const char *method)
{
	const char *at = c->settings.login_limit_methods, *item;
	size_t len;

	while ((item = list_item(&at, &len)))
		if (strlen(method) == len && strncasecmp(item, method, len) == 0)
			return true;
	return false;
}

bool config_list_has(const char *list, const char *word)
{
	size_t len = strlen(word), item_len;
	struct wallet_address address;
	bool is_wallet = wallet_address_parse(word, len, &address);
	const char *item;

	while (list && (item = list_item(&list, &item_len)))
		if (item_len == len &&
		    (is_wallet ? strncasecmp(item, word, len) == 0 : memcmp(item, word, len) == 0))
			return true;
	return false;
}
