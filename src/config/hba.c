#include "config/hba.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "config/config.h"
#include "config/hba_names.h"
#include "config/setting_checks.h"
#include "config/words.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "wallet/check.h"

struct hba_rules {
	atomic_uint refs;
	struct ident_maps *maps; /* counted */
	struct hba_rule *rules;	 /* owned */
	size_t count;
};

/* Of texts that a warning repeats. */
#define SHOWN(len) ((int)((len) > 200 ? 200 : (len)))

static int find_word(const char *const *words, const struct words *w)
{
	for (int i = 0; words[i]; i++)
		if (words_is(w, words[i]))
			return i;
	return -1;
}

/* --- ADDRESS ------------------------------------------------------------------- */

static size_t address_bytes(int family)
{
	return family == AF_INET ? 4 : 16;
}

static int parse_ip(const char *text, uint8_t out[16])
{
	if (inet_pton(AF_INET, text, out) == 1)
		return AF_INET;
	return inet_pton(AF_INET6, text, out) == 1 ? AF_INET6 : 0;
}

static bool parse_bits(const char *text, int family, uint8_t mask[16])
{
	unsigned bits = 0, most = family == AF_INET ? 32 : 128;

	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		bits = bits * 10 + (unsigned)(*text - '0');
		if (bits > most)
			return false;
	}
	for (unsigned i = 0; i < 16; i++)
		mask[i] = bits >= 8 * (i + 1) ? 0xff : bits > 8 * i ? (uint8_t)(0xff00 >> (bits - 8 * i)) : 0;
	return true;
}

static bool is_masked(const uint8_t *address, const uint8_t *mask, const uint8_t *net, int family)
{
	for (size_t i = 0; i < address_bytes(family); i++)
		if ((address[i] & mask[i]) != net[i])
			return false;
	return true;
}

/* The current word is ADDRESS[/BITS]; without bits the next one is the mask. */
static bool parse_network(struct hba_reading *r, struct words *w, struct hba_rule *rule)
{
	size_t len = w->len;
	char *text = xstrndup(w->text, len), *slash = strchr(text, '/');
	bool ok = false;

	if (slash) {
		*slash = 0;
		w->len = (size_t)(slash - text);
	}
	rule->family = parse_ip(text, rule->address);
	if (!rule->family) {
		log_warning("hba line %d: failed to parse address - %.200s", r->line, text);
	} else if (slash) {
		ok = parse_bits(slash + 1, rule->family, rule->mask);
		if (!ok)
			log_warning("hba line %d: invalid mask", r->line);
	} else if (words_next(w) != WORD_PLAIN || w->is_file) {
		log_warning("hba line %d: did not find mask", r->line);
	} else {
		free(text);
		text = xstrndup(w->text, w->len);
		ok = parse_ip(text, rule->mask) == rule->family;
		if (!ok)
			log_warning("hba line %d: failed to parse mask: %.200s", r->line, text);
	}
	free(text);
	return ok;
}

static bool parse_address(struct hba_reading *r, struct words *w, struct hba_rule *rule)
{
	char address[INET6_ADDRSTRLEN], mask[INET6_ADDRSTRLEN];

	if (w->kind != WORD_PLAIN || w->is_file) {
		log_warning("hba line %d: did not find address - %d - '%.*s'", r->line, (int)w->kind, SHOWN(w->len),
			    w->text);
		return false;
	}
	if (words_is(w, "all")) {
		words_next(w);
		return true;
	}
	if (!parse_network(r, w, rule))
		return false;
	words_next(w);
	/* Kept all the same, as a line that fits nobody. */
	if (!is_masked(rule->address, rule->mask, rule->address, rule->family))
		log_warning("address does not match mask in %s line #%d: %s / %s", r->path, r->line,
			    inet_ntop(rule->family, rule->address, address, sizeof(address)),
			    inet_ntop(rule->family, rule->mask, mask, sizeof(mask)));
	return true;
}

/* --- options -------------------------------------------------------------------- */

static bool find_map(struct hba_reading *r, const char *text, struct hba_rule *rule)
{
	if (strncmp(text, "map=", 4) != 0 || !text[4]) {
		log_warning("hba line %d: Ident map %.200s is malformed. It is not in map=value format.", r->line, text);
		return false;
	}
	rule->map = ident_find(r->rules->maps, text + 4);
	if (!rule->map)
		log_warning("hba line %d: Ident map %.200s is not found in ident config file", r->line, text + 4);
	return rule->map != NULL;
}

/* Nothing, or map=NAME. */
static bool parse_map(struct hba_reading *r, struct words *w, struct hba_rule *rule)
{
	char *text;
	bool ok;

	if (words_next(w) == WORD_PLAIN && !w->is_file) {
		text = xstrndup(w->text, w->len);
		ok = find_map(r, text, rule);
		free(text);
		if (!ok)
			return false;
		words_next(w);
	}
	if (w->kind != WORD_END)
		log_warning("hba line %d: unsupported parameters", r->line);
	return w->kind == WORD_END;
}

static void refuse_option(struct hba_reading *r, const char *option, const char *why)
{
	log_error("hba line %d: ecdsa option %.200s %s (%s:%d)", r->line, option, why, r->path, r->line);
	r->is_refused = true;
}

/* An option is judged and read as the setting ecdsa_NAME, into scratch. */
static void take_override(struct hba_reading *r, const char *option, struct settings *scratch, struct hba_ecdsa *out)
{
	const struct {
		const char *option, *setting;
		bool *has;
	} known[] = {
		{"formats=", "ecdsa_formats", &out->has_formats},
		{"window=", "ecdsa_window", &out->has_window},
		{"max_lifetime=", "ecdsa_max_lifetime", &out->has_max_lifetime},
		{"replay=", "ecdsa_replay", &out->has_replay},
		{"tls=", "ecdsa_require_tls", &out->has_tls},
	};
	char where[512];

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		size_t len = strlen(known[i].option);

		if (strncmp(option, known[i].option, len) != 0)
			continue;
		snprintf(where, sizeof(where), " (%s:%d)", r->path, r->line);
		if (*known[i].has)
			refuse_option(r, option, "is given twice");
		else if (!setting_set(scratch, (size_t)setting_find(known[i].setting), option + len, where))
			refuse_option(r, option, "has a value that is not possible");
		*known[i].has = true;
		return;
	}
	refuse_option(r, option, "is unknown, expected map, formats, window, max_lifetime, replay or tls");
}

static bool parse_ecdsa_options(struct hba_reading *r, char *options, struct hba_rule *rule)
{
	static const char blanks[] = " \t\r\v\f";
	struct hba_ecdsa *e = &rule->ecdsa;
	struct settings scratch;
	char *save = NULL;
	bool ok = true;

	settings_init(&scratch);
	for (char *o = strtok_r(options, blanks, &save); o; o = strtok_r(NULL, blanks, &save))
		if (strncmp(o, "map=", 4) == 0)
			ok &= find_map(r, o, rule);
		else
			take_override(r, o, &scratch, e);
	e->formats = ecdsa_formats_of(scratch.ecdsa_formats);
	e->window = scratch.ecdsa_window;
	e->max_lifetime = scratch.ecdsa_max_lifetime;
	e->replay = scratch.ecdsa_replay;
	e->require_tls = scratch.ecdsa_require_tls;
	settings_free(&scratch);
	return ok;
}

/* --- METHOD ---------------------------------------------------------------------- */

static bool parse_method(struct hba_reading *r, struct words *w, struct hba_rule *rule)
{
	static const char *const words[] = {"trust", "reject", "md5", "password", "peer", "cert", "scram-sha-256",
					    "ldap", "ecdsa", NULL};
	int method = find_word(words, w);
	char *options;
	size_t len;
	bool ok;

	if (method < 0) {
		log_warning("hba line %d: unsupported method: buf=%.*s", r->line, SHOWN(w->len), w->text);
		return false;
	}
	rule->method = (enum hba_method)method;
	if (rule->method != HBA_LDAP && rule->method != HBA_ECDSA)
		return parse_map(r, w, rule);
	options = words_rest(w, &len);
	if (memchr(options, 0, len)) {
		log_warning("hba line %d: unsupported parameters", r->line);
		return false;
	}
	options = xstrndup(options, len);
	if (rule->method == HBA_LDAP) {
		rule->options = options;
		return true;
	}
	ok = parse_ecdsa_options(r, options, rule);
	free(options);
	return ok;
}

/* --- lines ------------------------------------------------------------------------ */

static void rule_free(struct hba_rule *rule)
{
	hba_names_free(&rule->databases);
	hba_names_free(&rule->users);
	str_wipe_free(rule->options); /* LDAP options may hold a password */
}

static bool parse_rule(struct hba_reading *r, struct words *w, struct hba_rule *rule)
{
	static const char *const types[] = {"local", "host", "hostssl", "hostnossl", NULL};
	int type = find_word(types, w);

	if (type < 0) {
		log_warning("hba line %d: unknown type", r->line);
		return false;
	}
	rule->type = (enum hba_type)type;
	words_next(w);
	return hba_names_parse(r, w, HBA_DATABASE, &rule->databases) &&
	       hba_names_parse(r, w, HBA_USER, &rule->users) &&
	       (rule->type == HBA_LOCAL || parse_address(r, w, rule)) && parse_method(r, w, rule);
}

static void read_line(struct hba_reading *r, char *text, size_t len)
{
	struct hba_rules *rules = r->rules;
	struct words w = words_over(text, len);
	struct hba_rule rule = {.line = r->line};

	if (words_next(&w) == WORD_END)
		return;
	if (!parse_rule(r, &w, &rule)) {
		log_warning("could not parse hba config line %d", r->line);
		rule_free(&rule);
		return;
	}
	if ((rules->count & (rules->count - 1)) == 0)
		rules->rules = xrealloc(rules->rules, (rules->count ? rules->count * 2 : 1) * sizeof(*rules->rules));
	rules->rules[rules->count++] = rule;
}

struct hba_rules *hba_parse(char *text, size_t len, const char *path, struct ident_maps *maps, hba_reader *read,
			    void *ctx)
{
	struct hba_reading r = {.path = path, .read = read, .read_ctx = ctx, .rules = xcalloc(1, sizeof(*r.rules))};
	char *at = text, *line;
	size_t line_len;

	atomic_init(&r.rules->refs, 1);
	r.rules->maps = ident_ref(maps);
	while ((line = line_next(&at, text + len, &line_len))) {
		r.line++;
		log_at(path, r.line);
		read_line(&r, line, line_len);
	}
	log_at(NULL, 0);
	if (r.is_refused) {
		hba_unref(r.rules);
		return NULL;
	}
	return r.rules;
}

static int read_whole(void *ctx UNUSED, const char *path, struct file_text *out)
{
	return file_read(path, HBA_FILE_MAX, NULL, out);
}

struct hba_rules *hba_load(const char *path, struct ident_maps *maps)
{
	char nothing[1] = "";
	struct file_text f;
	struct hba_rules *rules;

	path = path ? path : "";
	if (file_read(path, HBA_FILE_MAX, NULL, &f) < 0)
		log_error("could not open hba config file %s: %s", path, strerror(errno));
	rules = hba_parse(f.text ? f.text : nothing, f.len, path, maps, read_whole, NULL);
	file_text_free(&f);
	return rules;
}

struct hba_rules *hba_ref(struct hba_rules *rules)
{
	if (rules)
		atomic_fetch_add_explicit(&rules->refs, 1, memory_order_relaxed);
	return rules;
}

void hba_unref(struct hba_rules *rules)
{
	/* acq_rel: whoever frees has seen everything the others did with it. */
	if (!rules || atomic_fetch_sub_explicit(&rules->refs, 1, memory_order_acq_rel) > 1)
		return;
	for (size_t i = 0; i < rules->count; i++)
		rule_free(&rules->rules[i]);
	free(rules->rules);
	ident_unref(rules->maps);
	free(rules);
}

size_t hba_count(const struct hba_rules *rules)
{
	return rules ? rules->count : 0;
}

const struct hba_rule *hba_at(const struct hba_rules *rules, size_t i)
{
	return &rules->rules[i];
}

/* --- matching ---------------------------------------------------------------------- */

static bool fits_connection(const struct hba_rule *rule, const struct hba_facts *f)
{
	if (f->is_unix || rule->type == HBA_LOCAL)
		return f->is_unix && rule->type == HBA_LOCAL;
	if ((rule->type == HBA_HOSTSSL && !f->is_tls) || (rule->type == HBA_HOSTNOSSL && f->is_tls))
		return false;
	return !rule->family ||
	       (rule->family == f->family && is_masked(f->address, rule->mask, rule->address, rule->family));
}

/* wallet: the user's name in lower case, or the name itself. */
static bool fits_database(const struct hba_names *n, const struct hba_facts *f, const char *wallet)
{
	if (f->replication == REPLICATION_PHYSICAL)
		return n->is_replication;
	return n->is_all || hba_names_have(n, f->database) ||
	       (n->is_same_user && (strcmp(f->database, f->user) == 0 || strcmp(f->database, wallet) == 0));
}

const struct hba_rule *hba_match(const struct hba_rules *rules, const struct hba_facts *f)
{
	struct wallet_address address;
	char lower[WALLET_TEXT_LEN + 1];
	const char *user = f->user;

	if (wallet_address_parse(user, strlen(user), &address)) {
		wallet_address_lower(&address, lower);
		user = lower;
	}
	for (size_t i = 0; i < hba_count(rules); i++) {
		const struct hba_rule *rule = &rules->rules[i];

		if (fits_connection(rule, f) && fits_database(&rule->databases, f, user) &&
		    (rule->users.is_all || hba_names_have(&rule->users, user)))
			return rule;
	}
	return NULL;
}
