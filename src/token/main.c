/*
 * pg-ecdsa-token: makes the password that lets a wallet log in, and says what
 * is wrong with one that does not. Manual: doc/man/pg-ecdsa-token.1.md
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

#include "lib/mem.h"
#include "token/key.h"
#include "token/token.h"
#include "wallet/address.h"
#include "wallet/sign.h"

#define DEFAULT_WINDOW 300 /* seconds; that of ecdsa_window */
#define WINDOW_MAX 86400   /* its upper bound too */

/* A test build with AddressSanitizer looks at its own memory from a second process at exit. */
#if defined(__SANITIZE_ADDRESS__)
#define WATCHED_BY_LEAK_CHECKER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WATCHED_BY_LEAK_CHECKER
#endif
#endif

static const char usage[] =
	"Makes login passwords for pg-ecdsa-proxy from an Ethereum private key.\n"
	"\n"
	"  pg-ecdsa-token --key FILE [--at UNIXTIME]        print a login password\n"
	"  pg-ecdsa-token --key FILE --address              print the wallet's address\n"
	"  pg-ecdsa-token --new FILE                        make a key, print its address\n"
	"  pg-ecdsa-token --check USER [--at UNIXTIME] [--window SECONDS]\n"
	"                                                   judge a password read from standard input\n"
	"\n"
	"Where the key is:\n"
	"  --key FILE       a file of 64 hexadecimal digits; - is standard input\n"
	"  --key-env VAR    an environment variable\n"
	"The key itself never belongs on the command line.\n"
	"\n"
	"  --at UNIXTIME    sign, or check, as if this were the time; default: now\n"
	"  --window SECONDS with --check: how old or new a password may be; default: 300\n"
	"  --help           this text\n"
	"  --version        the version\n"
	"\n"
	"  export PGUSER=$(pg-ecdsa-token --key wallet.key --address)\n"
	"  PGPASSWORD=$(pg-ecdsa-token --key wallet.key) psql -h HOST\n";

struct options {
	const char *key_file, *key_variable, *new_file, *check_user; /* borrowed from argv; NULL: not given */
	bool wants_address, wants_help, wants_version, has_at, has_window;
	int64_t at, window; /* seconds */
};

/* Nobody but the key's owner may see our memory, not even after a crash. */
static void keep_memory_private(void)
{
	const struct rlimit none = {0, 0};

	setrlimit(RLIMIT_CORE, &none);
#ifndef WATCHED_BY_LEAK_CHECKER
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

/* The spelling that the login takes too: 0 | [1-9][0-9]*, at most max. */
static bool parse_seconds(const char *text, int64_t max, int64_t *out)
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

/* Before anything could repeat the word in a message. Blanks it, so that ps stops showing it. */
static bool refuse_keys_among(int argc, char **argv)
{
	bool found = false;

	for (int i = 1; i < argc; i++)
		if (key_is_spelled_in(argv[i])) {
			mem_wipe(argv[i], strlen(argv[i]));
			found = true;
		}
	if (found)
		complain("an argument looks like a private key. Other users can read command lines, and shells keep "
			 "them: treat that key as known to others. Put a key into a file and use --key FILE");
	return found;
}

static bool give_once(const char **where, const char *value, const char *name)
{
	if (*where) {
		complain("%s is given twice", name);
		return false;
	}
	*where = value;
	return true;
}

/* false: complained already. */
static bool parse_options(int argc, char **argv, struct options *o)
{
	enum { OPT_KEY = 256, OPT_KEY_ENV, OPT_AT, OPT_ADDRESS, OPT_NEW, OPT_CHECK, OPT_WINDOW, OPT_HELP, OPT_VERSION };
	static const struct option known[] = {
		{"key", required_argument, NULL, OPT_KEY},
		{"key-env", required_argument, NULL, OPT_KEY_ENV},
		{"at", required_argument, NULL, OPT_AT},
		{"address", no_argument, NULL, OPT_ADDRESS},
		{"new", required_argument, NULL, OPT_NEW},
		{"check", required_argument, NULL, OPT_CHECK},
		{"window", required_argument, NULL, OPT_WINDOW},
		{"help", no_argument, NULL, OPT_HELP},
		{"version", no_argument, NULL, OPT_VERSION},
		{NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		bool good = true;

		switch (option) {
		case OPT_KEY:
			good = give_once(&o->key_file, optarg, "--key");
			break;
		case OPT_KEY_ENV:
			good = give_once(&o->key_variable, optarg, "--key-env");
			break;
		case OPT_NEW:
			good = give_once(&o->new_file, optarg, "--new");
			break;
		case OPT_CHECK:
			good = give_once(&o->check_user, optarg, "--check");
			break;
		case OPT_AT:
			o->has_at = good = parse_seconds(optarg, INT64_MAX, &o->at);
			if (!good)
				complain("--at wants Unix time in whole seconds, not \"%s\"", optarg);
			break;
		case OPT_WINDOW:
			o->has_window = good = parse_seconds(optarg, WINDOW_MAX, &o->window);
			if (!good)
				complain("--window wants seconds from 0 to %d, not \"%s\"", WINDOW_MAX, optarg);
			break;
		case OPT_ADDRESS:
			o->wants_address = true;
			break;
		case OPT_HELP:
			o->wants_help = true;
			break;
		case OPT_VERSION:
			o->wants_version = true;
			break;
		default:
			return false; /* getopt has said what */
		}
		if (!good)
			return false;
	}
	if (optind < argc) {
		complain("\"%s\" is not an option, and nothing else is expected", argv[optind]);
		return false;
	}
	return true;
}

/* Do the options go together? false: complained already. */
static bool options_agree(const struct options *o)
{
	bool has_key = o->key_file || o->key_variable;
	const char *fault = NULL;

	if (!!o->new_file + !!o->check_user + o->wants_address > 1)
		fault = "--new, --check and --address exclude each other";
	else if (o->key_file && o->key_variable)
		fault = "--key and --key-env exclude each other";
	else if ((o->new_file || o->check_user) && has_key)
		fault = "--new and --check take no key";
	else if (o->has_at && (o->new_file || o->wants_address))
		fault = "--at goes with signing and with --check only";
	else if (o->has_window && !o->check_user)
		fault = "--window goes with --check only";
	else if (!o->new_file && !o->check_user && !has_key)
		fault = "where is the key? Give --key FILE, --key - or --key-env VAR";
	if (fault)
		complain("%s", fault);
	return !fault;
}

static int print_address(const struct wallet_key *key)
{
	struct wallet_address address;
	char text[WALLET_TEXT_LEN + 1];

	if (wallet_key_address(key, &address) != 0) {
		complain("cannot compute the address");
		return 1;
	}
	wallet_address_eip55(&address, text);
	printf("%s\n", text);
	return 0;
}

static int print_password(const struct wallet_key *key, int64_t at)
{
	char password[WALLET_LOGIN_LEN + 1];
	int result = wallet_sign_login(key, at, password);

	if (result != 0)
		complain("cannot sign");
	else
		printf("%s\n", password);
	mem_wipe(password, sizeof(password));
	return result == 0 ? 0 : 1;
}

static int run(const struct options *o)
{
	int64_t at = o->has_at ? o->at : (int64_t)time(NULL);
	struct wallet_key key;
	int got, status;

	if (o->check_user)
		return verify_password(o->check_user, at, o->has_window ? o->window : DEFAULT_WINDOW);
	if (o->new_file)
		got = key_create_file(o->new_file, &key);
	else if (o->key_file)
		got = key_from_file(o->key_file, &key);
	else
		got = key_from_environment(o->key_variable, &key);
	if (got != 0)
		return 1;
	status = o->new_file || o->wants_address ? print_address(&key) : print_password(&key, at);
	wallet_key_wipe(&key);
	return status;
}

int main(int argc, char **argv)
{
	static char out[1024]; /* stdio's, so that it can be wiped */
	struct options o = {0};
	int status;

	keep_memory_private();
	setvbuf(stdout, out, _IOFBF, sizeof(out));
	if (refuse_keys_among(argc, argv))
		return EXIT_USAGE;
	if (!parse_options(argc, argv, &o)) {
		complain("try --help");
		return EXIT_USAGE;
	}
	if (o.wants_help) {
		fputs(usage, stdout);
		status = 0;
	} else if (o.wants_version) {
		puts("pg-ecdsa-token (" PACKAGE_NAME ") " PACKAGE_VERSION);
		status = 0;
	} else if (!options_agree(&o)) {
		complain("try --help");
		return EXIT_USAGE;
	} else {
		status = run(&o);
	}
	/* A script that got half a password must hear of it: a full disk shows only now. */
	if (fflush(stdout) != 0 || ferror(stdout)) {
		complain("cannot write to standard output: %s", strerror(errno));
		status = 1;
	}
	mem_wipe(out, sizeof(out));
	return status;
}
