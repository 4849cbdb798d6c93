#include "config/setting_checks.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config/config.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/network.h"
#include "wallet/address.h"
#include "wallet/bound.h"
#include "wallet/check.h"
#include "wallet/decimal.h"
#include "wallet/siwe.h"

#define IDENTITY_SETTING_MAX 63

bool check_wallet_spelling(const char *text, const char *what, const char *where)
{
	struct wallet_address address;
	char right[WALLET_TEXT_LEN + 1];
	size_t len = strlen(text);

	if (wallet_address_parse_strict(text, len, &address) != ADDRESS_BAD_CHECKSUM)
		return true;
	wallet_address_eip55(&address, right);
	log_error("%s: wallet address %s has a wrong checksum, the correct spelling is %s%s", what, text, right, where);
	return false;
}

static bool check_auth_dbname(const char *name, const char *value, const char *where)
{
	(void)name;
	if (strcmp(value, CONSOLE_DATABASE) != 0)
		return true;
	log_error("cannot use the reserved \"%s\" database as an auth_dbname%s", CONSOLE_DATABASE, where);
	return false;
}

static bool check_auth_type(const char *name, const char *value, const char *where)
{
	static const char *const left_out[] = {
#ifndef HAVE_PAM
		"pam",
#endif
#ifndef HAVE_LDAP
		"ldap",
#endif
		NULL,
	};

	for (size_t i = 0; left_out[i]; i++)
		if (strcasecmp(value, left_out[i]) == 0) {
			log_error("%s=%s is not supported by this build%s", name, left_out[i], where);
			return false;
		}
	return true;
}

static bool check_format(const char *word, const char *name, const char *where)
{
	if (ecdsa_format_by_word(word, strlen(word)) >= 0)
		return true;
	log_error("%s: unknown format %.100s, expected timestamp, bound, siwe or typed%s", name, word, where);
	return false;
}

/* A name that a message may hold; * would be one, and is surely meant otherwise. */
static bool check_server_name(const char *word, const char *name, const char *where)
{
	bool is_good = strlen(word) <= BOUND_SERVER_MAX && strcmp(word, "*") != 0;

	for (const char *p = word; *p; p++)
		is_good &= *p >= 0x21 && *p <= 0x7e;
	if (!is_good)
		log_error("%s: found \"%.300s\", expected a name of at most %d printable ASCII characters%s", name, word,
			  BOUND_SERVER_MAX, where);
	return is_good;
}

static bool check_domain(const char *word, const char *name, const char *where)
{
	if (siwe_domain_is_good(span_str(word)))
		return true;
	log_error("%s: found \"%.300s\", expected HOST or HOST:PORT, without a scheme or a path%s", name, word, where);
	return false;
}

static bool check_scheme(const char *word, const char *name, const char *where)
{
	if (siwe_scheme_is_good(span_str(word)))
		return true;
	log_error("%s: found \"%.100s\", expected the scheme of a URI, such as https%s", name, word, where);
	return false;
}

static bool check_chain_id(const char *word, const char *name, const char *where)
{
	if (strlen(word) <= 18 && span_is_digits(span_str(word)))
		return true;
	log_error("%s: found \"%.100s\", expected a chain id of 1 to 18 digits%s", name, word, where);
	return false;
}

static bool check_items(const char *name, const char *list, const char *where,
			bool (*check)(const char *item, const char *name, const char *where))
{
	const char *item;
	size_t len;
	bool ok = true;

	while ((item = list_item(&list, &len))) {
		char *word = xstrndup(item, len);

		ok &= check(word, name, where);
		free(word);
	}
	return ok;
}

static bool check_formats(const char *name, const char *value, const char *where)
{
	const char *at = value;
	size_t len;

	if (!list_item(&at, &len)) {
		log_error("%s must name at least one format%s", name, where);
		return false;
	}
	return check_items(name, value, where, check_format);
}

static bool check_server_names(const char *name, const char *value, const char *where)
{
	return check_items(name, value, where, check_server_name);
}

static bool check_domains(const char *name, const char *value, const char *where)
{
	return check_items(name, value, where, check_domain);
}

static bool check_schemes(const char *name, const char *value, const char *where)
{
	return check_items(name, value, where, check_scheme);
}

static bool check_chain_ids(const char *name, const char *value, const char *where)
{
	return check_items(name, value, where, check_chain_id);
}

static bool check_network(const char *item, const char *name, const char *where)
{
	char text[NETWORK_TEXT_MAX];
	struct network n;

	switch (network_parse(item, strlen(item), &n)) {
	case NETWORK_OK:
		return true;
	case NETWORK_HOST_BITS:
		log_error("%s: %s has bits set behind its prefix, the network is %s%s", name, item,
			  network_text(&n, text), where);
		return false;
	case NETWORK_MALFORMED:
		break;
	}
	log_error("%s: found \"%.100s\", expected an address or ADDRESS/BITS%s", name, item, where);
	return false;
}

static bool check_networks(const char *name, const char *value, const char *where)
{
	return check_items(name, value, where, check_network);
}

/* ADDRESS:PORT, [ADDRESS]:PORT, *:PORT or :PORT. */
static bool check_listen_item(const char *item, const char *name, const char *where)
{
	const char *port = strrchr(item, ':'), *end = item[0] == '[' ? strchr(item, ']') : port;
	char *rest;
	long n = port ? strtol(port + 1, &rest, 10) : 0;

	if (port && end && n > 0 && n <= 65535 && port[1] >= '0' && port[1] <= '9' && !*rest &&
	    (item[0] == '[' ? end + 1 == port : !memchr(item, ':', (size_t)(port - item))))
		return true;
	log_error("%s: %.100s is no address with a port, expected ADDRESS:PORT, [IPV6]:PORT or *:PORT%s", name, item, where);
	return false;
}

static bool check_listen(const char *name, const char *value, const char *where)
{
	return check_items(name, value, where, check_listen_item);
}

static bool check_attestation(const char *name, const char *value, const char *where)
{
	if (!value[0] || strcmp(value, "auto") == 0 || strcmp(value, "eigencompute") == 0 || strcmp(value, "dstack") == 0)
		return true;
	log_error("%s: unknown platform %.100s, expected eigencompute, dstack or auto%s", name, value, where);
	return false;
}

/* The words of auth_type but for hba, which chooses among the others. */
static bool check_method(const char *word, const char *name, const char *where)
{
	static const char *const known[] = {"any", "trust", "plain", "md5",	      "scram-sha-256",
					    "cert", "pam",  "ldap", "ecdsa"};

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (strcasecmp(word, known[i]) == 0)
			return true;
	log_error("%s: unknown method %.100s, expected any, trust, plain, md5, scram-sha-256, cert, pam, ldap or "
		  "ecdsa%s", name, word, where);
	return false;
}

static bool check_methods(const char *name, const char *value, const char *where)
{
	return check_items(name, value, where, check_method);
}

/* A name with a point in it is nobody else's: PostgreSQL has no setting of its own like that. */
static bool check_identity_setting(const char *name, const char *value, const char *where)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_", more[] = "0123456789$";
	bool is_good = strlen(value) <= IDENTITY_SETTING_MAX, begins = true, has_point = false;

	for (const char *p = value; *p; p++) {
		if (*p == '.') {
			is_good &= !begins;
			has_point = begins = true;
		} else {
			is_good &= strchr(letters, *p) || (!begins && strchr(more, *p));
			begins = false;
		}
	}
	if (!*value || (is_good && has_point && !begins))
		return true;
	log_error("%s: found \"%.100s\", expected the name of a custom setting, such as ecdsa.wallet%s", name, value,
		  where);
	return false;
}

static bool check_users(const char *name, const char *value, const char *where)
{
	return check_items(name, value, where, check_wallet_spelling);
}

bool setting_check(const char *name, const char *value, const char *where)
{
	static const struct {
		const char *name;
		bool (*check)(const char *name, const char *value, const char *where);
	} checks[] = {
		{"admin_users", check_users},  {"auth_dbname", check_auth_dbname}, {"auth_type", check_auth_type},
		{"ecdsa_chain_ids", check_chain_ids}, {"ecdsa_formats", check_formats},
		{"ecdsa_identity_setting", check_identity_setting}, {"ecdsa_limit_exempt", check_networks},
		{"ecdsa_server_names", check_server_names},
		{"ecdsa_siwe_domains", check_domains}, {"ecdsa_siwe_schemes", check_schemes},
		{"http_allow", check_networks}, {"http_attestation", check_attestation}, {"http_listen", check_listen},
		{"login_limit_methods", check_methods}, {"stats_users", check_users},
	};

	for (size_t i = 0; i < ARRAY_LEN(checks); i++)
		if (strcmp(name, checks[i].name) == 0)
			return checks[i].check(name, value, where);
	return true;
}
