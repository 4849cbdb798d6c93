#include "token/options.h"

#include <getopt.h>
#include <string.h>

#include "lib/mem.h"
#include "token/key.h"
#include "token/local_socket.h"
#include "token/token.h"

#define WINDOW_MAX 86400 /* the upper bound of ecdsa_window */
#define LIFE_MAX (INT64_C(10) * 365 * 86400)

const char options_usage[] =
	"Makes login passwords for pg-ecdsa-proxy by an Ethereum wallet.\n"
	"\n"
	"  pg-ecdsa-token KEY [PROOF] [OUTPUT]              print a login password\n"
	"  pg-ecdsa-token KEY --address                     print the wallet's address\n"
	"  pg-ecdsa-token KEY [PROOF] --connect --listen SOCKET --host HOST\n"
	"                                                   sign for programs that connect to SOCKET\n"
	"  pg-ecdsa-token --new FILE                        make a key, print its address\n"
	"  pg-ecdsa-token --check USER [EXPECTED]           judge a password read from standard input\n"
	"\n"
	"KEY: where the key is. The key itself never belongs on the command line.\n"
	"  --key FILE             a file of 64 hexadecimal digits; - is standard input\n"
	"  --key-env VAR          an environment variable\n"
	"  --keystore FILE        an encrypted key in JSON (Web3 Secret Storage, version 3)\n"
	"  --passphrase-file FILE its passphrase; default: the terminal is asked\n"
	"  --signer COMMAND       a command that signs, for --wallet ADDRESS\n"
	"  --signer-timeout SEC   how long it may take; default: 120, 0 = for ever\n"
	"\n"
	"PROOF: what is signed.\n"
	"  --format F             timestamp (default), bound, siwe or typed\n"
	"  --server NAME          the name that the pooler goes by\n"
	"  --database NAME        default: any; with --connect: what the program asks for\n"
	"  --role NAME            for this PostgreSQL role alone\n"
	"  --life SECONDS         how long it is good; default: 300\n"
	"  --domain D --siwe-uri U --statement S --chain N --request-id I --resource U\n"
	"                         of Sign-In with Ethereum\n"
	"  --nonce N              8 to 128 letters and digits; default: random\n"
	"  --at UNIXTIME          sign, or check, as if this were the time\n"
	"\n"
	"OUTPUT: how it is printed.\n"
	"  --pgpass               as a line of a password file\n"
	"  --uri                  as a connection URI, which needs --host\n"
	"  --host H --port P --user U  for these two and --connect; user: a role, default: the wallet\n"
	"\n"
	"EXPECTED: the pooler's settings. What is not given is not judged.\n"
	"  --server LIST --domain LIST --chain LIST --database NAME --role NAME --wallet ADDRESS\n"
	"  --window SEC (300)  --skew SEC (60)  --max-lifetime SEC (86400)\n"
	"\n"
	"With --connect:\n"
	"  --listen SOCKET        a directory, a path, or 127.0.0.1:PORT with --listen-password-file FILE\n"
	"  --sslmode MODE         verify-full (default), verify-ca, require, disable\n"
	"  --sslrootcert FILE     whom to trust; default: the system's authorities\n"
	"  --reuse                use a password for half its life, not for one connection\n"
	"\n"
	"  --help, --version\n"
	"\n"
	"  export PGUSER=$(pg-ecdsa-token --key wallet.key --address)\n"
	"  PGPASSWORD=$(pg-ecdsa-token --key wallet.key) psql -h HOST\n";

bool options_hold_keys(int argc, char **argv)
{
	bool found = false;

	for (int i = 1; i < argc; i++)
		if (key_is_spelled_in(argv[i])) {
			mem_wipe(argv[i], strlen(argv[i])); /* so that ps stops showing it */
			found = true;
		}
	if (found)
		complain("an argument looks like a private key. Other users can read command lines, and shells keep "
			 "them: treat that key as known to others. Put a key into a file and use --key FILE");
	return found;
}

/* ---- values ---- */

/* The spelling that the login takes too: 0 | [1-9][0-9]*, at most max. */
static bool parse_number(const char *text, int64_t max, int64_t *out)
{
	int64_t value = 0;

	if (!*text || (text[0] == '0' && text[1]))
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || __builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, *text - '0', &value))
			return false;
	}
	*out = value;
	return value <= max;
}

static bool take_number(const char *option, const char *text, int64_t min, int64_t max, int64_t *out)
{
	if (parse_number(text, max, out) && *out >= min)
		return true;
	if (max == INT64_MAX)
		complain("--%s wants Unix time in whole seconds, not \"%s\"", option, text);
	else
		complain("--%s wants seconds from %lld to %lld, not \"%s\"", option, (long long)min, (long long)max, text);
	return false;
}

static bool take_word(const char *option, const char *text, const char *const *words, int *out)
{
	char list[128] = "";

	for (int i = 0; words[i]; i++) {
		if (strcmp(words[i], text) == 0) {
			*out = i;
			return true;
		}
		strcat(strcat(list, i ? ", " : ""), words[i]);
	}
	complain("--%s wants one of %s, not \"%s\"", option, list, text);
	return false;
}

/* ---- one option ---- */

enum {
	OPT_KEY = 256, OPT_KEY_ENV, OPT_KEYSTORE, OPT_PASSPHRASE_FILE, OPT_SIGNER, OPT_SIGNER_TIMEOUT, OPT_WALLET,
	OPT_NEW, OPT_CHECK, OPT_LISTEN, OPT_SERVER, OPT_DATABASE, OPT_ROLE, OPT_NONCE, OPT_DOMAIN, OPT_SIWE_URI,
	OPT_STATEMENT, OPT_CHAIN, OPT_REQUEST_ID, OPT_HOST, OPT_PORT, OPT_USER, OPT_SSLROOTCERT, OPT_LISTEN_PASSWORD_FILE,
	OPT_AT, OPT_WINDOW, OPT_SKEW, OPT_MAX_LIFETIME, OPT_LIFE, OPT_FORMAT, OPT_SSLMODE, OPT_RESOURCE, OPT_ADDRESS,
	OPT_CONNECT, OPT_PGPASS, OPT_URI, OPT_REUSE, OPT_HELP, OPT_VERSION, OPT_END
};

static const struct option known[] = {
	{"key", required_argument, NULL, OPT_KEY},
	{"key-env", required_argument, NULL, OPT_KEY_ENV},
	{"keystore", required_argument, NULL, OPT_KEYSTORE},
	{"passphrase-file", required_argument, NULL, OPT_PASSPHRASE_FILE},
	{"signer", required_argument, NULL, OPT_SIGNER},
	{"signer-timeout", required_argument, NULL, OPT_SIGNER_TIMEOUT},
	{"wallet", required_argument, NULL, OPT_WALLET},
	{"new", required_argument, NULL, OPT_NEW},
	{"check", required_argument, NULL, OPT_CHECK},
	{"listen", required_argument, NULL, OPT_LISTEN},
	{"server", required_argument, NULL, OPT_SERVER},
	{"database", required_argument, NULL, OPT_DATABASE},
	{"role", required_argument, NULL, OPT_ROLE},
	{"nonce", required_argument, NULL, OPT_NONCE},
	{"domain", required_argument, NULL, OPT_DOMAIN},
	{"siwe-uri", required_argument, NULL, OPT_SIWE_URI},
	{"statement", required_argument, NULL, OPT_STATEMENT},
	{"chain", required_argument, NULL, OPT_CHAIN},
	{"request-id", required_argument, NULL, OPT_REQUEST_ID},
	{"resource", required_argument, NULL, OPT_RESOURCE},
	{"host", required_argument, NULL, OPT_HOST},
	{"port", required_argument, NULL, OPT_PORT},
	{"user", required_argument, NULL, OPT_USER},
	{"sslmode", required_argument, NULL, OPT_SSLMODE},
	{"sslrootcert", required_argument, NULL, OPT_SSLROOTCERT},
	{"listen-password-file", required_argument, NULL, OPT_LISTEN_PASSWORD_FILE},
	{"format", required_argument, NULL, OPT_FORMAT},
	{"life", required_argument, NULL, OPT_LIFE},
	{"at", required_argument, NULL, OPT_AT},
	{"window", required_argument, NULL, OPT_WINDOW},
	{"skew", required_argument, NULL, OPT_SKEW},
	{"max-lifetime", required_argument, NULL, OPT_MAX_LIFETIME},
	{"address", no_argument, NULL, OPT_ADDRESS},
	{"connect", no_argument, NULL, OPT_CONNECT},
	{"pgpass", no_argument, NULL, OPT_PGPASS},
	{"uri", no_argument, NULL, OPT_URI},
	{"reuse", no_argument, NULL, OPT_REUSE},
	{"help", no_argument, NULL, OPT_HELP},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

static const char *name_of(int option)
{
	for (size_t i = 0; known[i].name; i++)
		if (known[i].val == option)
			return known[i].name;
	return "";
}

/* Where the text of an option goes; NULL: it is no text. */
static const char **text_field(struct options *o, int option)
{
	switch (option) {
	case OPT_KEY:
		return &o->key_file;
	case OPT_KEY_ENV:
		return &o->key_variable;
	case OPT_KEYSTORE:
		return &o->keystore;
	case OPT_PASSPHRASE_FILE:
		return &o->passphrase_file;
	case OPT_SIGNER:
		return &o->signer;
	case OPT_WALLET:
		return &o->wallet;
	case OPT_NEW:
		return &o->new_file;
	case OPT_CHECK:
		return &o->check_user;
	case OPT_LISTEN:
		return &o->listen;
	case OPT_SERVER:
		return &o->grant.server;
	case OPT_DATABASE:
		return &o->grant.database;
	case OPT_ROLE:
		return &o->grant.role;
	case OPT_NONCE:
		return &o->grant.nonce;
	case OPT_DOMAIN:
		return &o->grant.domain;
	case OPT_SIWE_URI:
		return &o->grant.uri;
	case OPT_STATEMENT:
		return &o->grant.statement;
	case OPT_CHAIN:
		return &o->grant.chain;
	case OPT_REQUEST_ID:
		return &o->grant.request_id;
	case OPT_HOST:
		return &o->destination.host;
	case OPT_PORT:
		return &o->destination.port;
	case OPT_USER:
		return &o->destination.user;
	case OPT_SSLROOTCERT:
		return &o->ca_file;
	case OPT_LISTEN_PASSWORD_FILE:
		return &o->listen_password_file;
	}
	return NULL;
}

static bool take_action(struct options *o, enum action action)
{
	if (o->action != ACTION_SIGN && o->action != action) {
		complain("--new, --check, --connect and --address exclude each other");
		return false;
	}
	o->action = action;
	return true;
}

static bool take_text(struct options *o, int option, const char *value)
{
	const char **field = text_field(o, option);

	if (*field) {
		complain("--%s is given twice", name_of(option));
		return false;
	}
	*field = value;
	if (option == OPT_NEW || option == OPT_CHECK)
		return take_action(o, option == OPT_NEW ? ACTION_NEW : ACTION_CHECK);
	return true;
}

static bool take_format(struct options *o, const char *value)
{
	int format = ecdsa_format_by_word(value, strlen(value));

	if (format < 0) {
		complain("--format wants one of timestamp, bound, siwe, typed, not \"%s\"", value);
		return false;
	}
	o->grant.format = (enum ecdsa_format)format;
	return true;
}

static bool take_resource(struct options *o, const char *value)
{
	if (o->grant.resource_count == GRANT_RESOURCES_MAX) {
		complain("--resource may be given %d times", GRANT_RESOURCES_MAX);
		return false;
	}
	o->grant.resources[o->grant.resource_count++] = value;
	return true;
}

/* given: for each option, whether it was. */
static bool take(struct options *o, int option, const char *value)
{
	static const char *const modes[] = {"disable", "require", "verify-ca", "verify-full", NULL};
	const char *name = name_of(option);
	int64_t number;
	int word;

	if (text_field(o, option))
		return take_text(o, option, value);
	switch (option) {
	case OPT_AT:
		o->has_at = true;
		return take_number(name, value, 0, INT64_MAX, &o->at);
	case OPT_LIFE:
		return take_number(name, value, 1, LIFE_MAX, &o->grant.life);
	case OPT_WINDOW:
		return take_number(name, value, 0, WINDOW_MAX, &o->window);
	case OPT_SKEW:
		return take_number(name, value, 0, LIFE_MAX, &o->skew);
	case OPT_MAX_LIFETIME:
		return take_number(name, value, 1, LIFE_MAX, &o->max_lifetime);
	case OPT_SIGNER_TIMEOUT:
		if (!take_number(name, value, 0, WINDOW_MAX, &number))
			return false;
		o->signer_timeout = (int)number;
		return true;
	case OPT_FORMAT:
		return take_format(o, value);
	case OPT_SSLMODE:
		if (!take_word(name, value, modes, &word))
			return false;
		o->tls = (enum connector_tls)word;
		return true;
	case OPT_RESOURCE:
		return take_resource(o, value);
	case OPT_ADDRESS:
		return take_action(o, ACTION_ADDRESS);
	case OPT_CONNECT:
		return take_action(o, ACTION_CONNECT);
	case OPT_PGPASS:
	case OPT_URI:
		o->output = option == OPT_PGPASS ? OUTPUT_PGPASS : OUTPUT_URI;
		return true;
	case OPT_REUSE:
		o->reuses = true;
		return true;
	}
	return false;
}

/* ---- do they go together? ---- */

static bool has_key(const struct options *o)
{
	return o->key_file || o->key_variable || o->keystore || o->signer;
}

static const char *judge_key(const struct options *o)
{
	int sources = !!o->key_file + !!o->key_variable + !!o->keystore + !!o->signer;

	if (sources > 1)
		return o->key_file && o->key_variable ? "--key and --key-env exclude each other"
						      : "--key, --key-env, --keystore and --signer exclude each other";
	if ((o->action == ACTION_NEW || o->action == ACTION_CHECK) && has_key(o))
		return "--new and --check take no key";
	if (o->action != ACTION_NEW && o->action != ACTION_CHECK && !has_key(o))
		return "where is the key? Give --key FILE, --key -, --key-env VAR, --keystore FILE or --signer COMMAND";
	if (o->passphrase_file && !o->keystore)
		return "--passphrase-file goes with --keystore only";
	if (o->signer && !o->wallet)
		return "--signer needs --wallet ADDRESS: the wallet that it signs for";
	if (o->wallet && !o->signer && o->action != ACTION_CHECK)
		return "--wallet goes with --signer and --check only";
	return NULL;
}

/* Of options that belong to some actions alone. seen: a flag for each option. */
static const char *judge_scope(const struct options *o, const bool *seen)
{
	static const struct {
		int first, last;
		unsigned actions;
		const char *fault;
	} scopes[] = {
		{OPT_AT, OPT_AT, BIT(ACTION_SIGN) | BIT(ACTION_CHECK), "--at goes with signing and with --check only"},
		{OPT_WINDOW, OPT_WINDOW, BIT(ACTION_CHECK), "--window goes with --check only"},
		{OPT_SKEW, OPT_MAX_LIFETIME, BIT(ACTION_CHECK), "--skew and --max-lifetime go with --check only"},
		{OPT_PGPASS, OPT_URI, BIT(ACTION_SIGN), "--pgpass and --uri say how a password is printed"},
		{OPT_REUSE, OPT_REUSE, BIT(ACTION_CONNECT), "--reuse goes with --connect only"},
		{OPT_LISTEN, OPT_LISTEN, BIT(ACTION_CONNECT), "--listen goes with --connect only"},
		{OPT_SSLROOTCERT, OPT_LISTEN_PASSWORD_FILE, BIT(ACTION_CONNECT),
		 "--sslrootcert and --listen-password-file go with --connect only"},
		{OPT_SSLMODE, OPT_SSLMODE, BIT(ACTION_CONNECT), "--sslmode goes with --connect only"},
		{OPT_HOST, OPT_USER, BIT(ACTION_SIGN) | BIT(ACTION_CONNECT),
		 "--host, --port and --user go with --pgpass, --uri and --connect"},
		{OPT_FORMAT, OPT_FORMAT, BIT(ACTION_SIGN) | BIT(ACTION_CONNECT), "--format goes with signing only"},
		{OPT_LIFE, OPT_LIFE, BIT(ACTION_SIGN) | BIT(ACTION_CONNECT), "--life goes with signing only"},
	};

	for (size_t i = 0; i < ARRAY_LEN(scopes); i++)
		for (int option = scopes[i].first; option <= scopes[i].last; option++)
			if (seen[option] && !(scopes[i].actions & BIT(o->action)))
				return scopes[i].fault;
	if (o->action == ACTION_SIGN && o->output == OUTPUT_PASSWORD && (seen[OPT_HOST] || seen[OPT_PORT] || seen[OPT_USER]))
		return "--host, --port and --user go with --pgpass, --uri and --connect";
	return NULL;
}

static const char *judge_action(const struct options *o)
{
	const struct grant *g = &o->grant;

	switch (o->action) {
	case ACTION_NEW:
	case ACTION_ADDRESS:
		if (g->server || g->database || g->role || g->nonce || g->domain || g->uri || g->statement || g->chain ||
		    g->request_id || g->resource_count > 0)
			return "what a proof says goes with signing and with --check only";
		break;
	case ACTION_CHECK:
		if (g->nonce || g->uri || g->statement || g->request_id || g->resource_count > 0)
			return "--check judges by --server, --domain, --chain, --database, --role and --wallet";
		break;
	case ACTION_CONNECT:
		if (!o->listen || !o->destination.host)
			return "--connect needs --listen SOCKET and --host HOST";
		if (g->nonce)
			return "--nonce is of one password alone, and --connect makes many";
		if (local_socket_is_port(o->listen) != (o->listen_password_file != NULL))
			return "--listen ADDRESS:PORT needs --listen-password-file FILE, since anybody on the machine can "
			       "connect; a Unix socket needs none";
		break;
	case ACTION_SIGN:
		if (o->output == OUTPUT_URI && !o->destination.host)
			return "--uri needs --host HOST";
		break;
	case ACTION_HELP:
	case ACTION_VERSION:
		break;
	}
	return NULL;
}

static bool options_agree(const struct options *o, const bool *seen)
{
	const char *fault = judge_scope(o, seen);

	if (!fault)
		fault = judge_key(o);
	if (!fault)
		fault = judge_action(o);
	if (fault)
		complain("%s", fault);
	else if (o->action == ACTION_SIGN || o->action == ACTION_CONNECT)
		return grant_is_complete(&o->grant);
	return !fault;
}

bool options_parse(int argc, char **argv, struct options *o)
{
	bool seen[OPT_END] = {false};
	int option;

	*o = (struct options){
		.signer_timeout = 120,
		.grant.life = 300,
		.window = 300,
		.skew = 60,
		.max_lifetime = 86400,
		.tls = CONNECT_VERIFY_FULL,
	};
	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (option == '?')
			return false; /* getopt has said what */
		if (option == OPT_HELP || option == OPT_VERSION) {
			o->action = option == OPT_HELP ? ACTION_HELP : ACTION_VERSION;
			return true;
		}
		if (!take(o, option, optarg))
			return false;
		seen[option] = true;
	}
	if (optind < argc) {
		complain("\"%s\" is not an option, and nothing else is expected", argv[optind]);
		return false;
	}
	return options_agree(o, seen);
}
