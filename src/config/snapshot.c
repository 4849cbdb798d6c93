#include "config/snapshot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config/setting_checks.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/network.h"
#include "wallet/check.h"

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

/* Read anew by every load: that is how a key is changed. */
static bool bring_claim_key(struct config *c, const struct origin *origins)
{
	const char *path = c->settings.ecdsa_claim_key_file;
	char where[512];

	if (is_empty(path))
		return true;
	c->claim_key = claim_key_load(path, origin_text(origin_of(origins, "ecdsa_claim_key_file"), where, sizeof(where)));
	return c->claim_key != NULL;
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

/* Is there a database that may be asked about wallets? It is asked in the name of auth_user. */
static bool has_wallet_query(const struct config *c)
{
	bool any = !is_empty(c->settings.auth_user);

	for (size_t i = 0; i < config_database_count(c); i++)
		any |= !is_empty(config_database_at(c, i)->auth_user);
	return any || (config_template(c) && !is_empty(config_template(c)->auth_user));
}

/* A question that nobody asks lets nobody in. */
static bool judge_query(const struct settings *s, const struct database_def *d)
{
	if (!d || !!is_empty(d->ecdsa_auth_query) || !is_empty(d->auth_user) || !is_empty(s->auth_user))
		return true;
	log_error("database %s: ecdsa_auth_query is asked by nobody: auth_user is not set", d->name);
	return false;
}

static bool judge_queries(const struct config *c, const char *where)
{
	bool ok = judge_query(&c->settings, config_template(c));

	for (size_t i = 0; i < config_database_count(c); i++)
		ok &= judge_query(&c->settings, config_database_at(c, i));
	if (!is_empty(c->settings.ecdsa_auth_query) && !has_wallet_query(c)) {
		log_error("ecdsa_auth_query is asked by nobody: auth_user is not set%s", where);
		ok = false;
	}
	return ok;
}

static bool has_wallet_source(const struct config *c)
{
	if (has_wallet_query(c))
		return true;
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

	c->window_max = c->settings.ecdsa_window;
	for (size_t i = 0; i < hba_count(c->hba); i++) {
		const struct hba_ecdsa *line = &hba_at(c->hba, i)->ecdsa;

		if (line->has_window && line->window > c->window_max)
			c->window_max = line->window;
	}
}

/* Can anybody get in by these formats? what says whose they are. */
static bool judge_formats(const struct settings *s, uint32_t formats, const char *what, const char *where)
{
	const char *names = s->ecdsa_server_names, *domains = s->ecdsa_siwe_domains;
	size_t len;
	bool has_names = list_item(&names, &len) != NULL, has_domains = list_item(&domains, &len) != NULL;
	bool ok = true;

	if (formats & (BIT(ECDSA_FORMAT_BOUND) | BIT(ECDSA_FORMAT_TYPED)) && !has_names) {
		log_error("%s: format %s lets nobody in while ecdsa_server_names is empty%s", what,
			  ecdsa_format_word(formats & BIT(ECDSA_FORMAT_BOUND) ? ECDSA_FORMAT_BOUND : ECDSA_FORMAT_TYPED),
			  where);
		ok = false;
	}
	if (formats & BIT(ECDSA_FORMAT_SIWE) && !has_domains) {
		log_error("%s: format siwe lets nobody in while ecdsa_siwe_domains is empty%s", what, where);
		ok = false;
	}
	if (formats & BIT(ECDSA_FORMAT_SIWE) && s->ecdsa_siwe_require_database && !has_names) {
		log_error("%s: format siwe lets nobody in while ecdsa_server_names is empty and "
			  "ecdsa_siwe_require_database is on%s", what, where);
		ok = false;
	}
	return ok;
}

static bool judge_hba(const struct config *c)
{
	char what[64], where[512];
	bool ok = true;

	for (size_t i = 0; i < hba_count(c->hba); i++) {
		const struct hba_rule *rule = hba_at(c->hba, i);

		if (!rule->ecdsa.has_formats)
			continue;
		snprintf(what, sizeof(what), "hba line %d", rule->line);
		snprintf(where, sizeof(where), " (%s:%d)", c->settings.auth_hba_file, rule->line);
		ok &= judge_formats(&c->settings, rule->ecdsa.formats, what, where);
	}
	return ok;
}

bool snapshot_judge(const struct config *c, const struct origin *origins)
{
	char where[512];
	bool ok = judge_formats(&c->settings, ecdsa_formats_of(c->settings.ecdsa_formats), "ecdsa_formats",
				origin_text(origin_of(origins, "ecdsa_formats"), where, sizeof(where)));

	if (!is_empty(c->settings.ecdsa_claim_key_file) && !is_empty(c->settings.ecdsa_identity_setting) &&
	    strcasecmp(c->settings.ecdsa_identity_setting, CLAIM_SETTING) == 0) {
		log_error("ecdsa_identity_setting: " CLAIM_SETTING " carries the signed claim while ecdsa_claim_key_file is set"
			  "%s", origin_text(origin_of(origins, "ecdsa_identity_setting"), where, sizeof(where)));
		ok = false;
	}
	ok &= judge_hba(c);
	ok &= judge_queries(c, origin_text(origin_of(origins, "ecdsa_auth_query"), where, sizeof(where)));
	if (c->settings.auth_type == AUTH_TYPE_ECDSA && !has_wallet_source(c)) {
		log_error("auth_type=ecdsa lets nobody in: ecdsa_allowed_addresses is empty, auth_file names no wallet, "
			  "and auth_user, who would ask a database, is not set%s", origin_text(origin_of(origins, "auth_type"), where, sizeof(where)));
		ok = false;
	}
	return ok;
}

bool snapshot_complete(struct config *c, const struct config *prev, const struct origin *origins)
{
	bool ok = bring_wallets(c, prev, origins);

	ok &= bring_auth_file(c, prev);
	ok &= bring_claim_key(c, origins);
	if (origins)
		ok &= bring_hba(c);
	else
		c->hba = hba_ref(prev->hba);
	snapshot_derive(c);
	return ok && snapshot_judge(c, origins);
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
	claim_key_unref(c->claim_key);
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

usec_t config_window_max(const struct config *c)
{
	return c->window_max;
}

const uint8_t *config_claim_key(const struct config *c)
{
	return c->claim_key ? c->claim_key->bytes : NULL;
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
