/*
 * pg-ecdsa-token: makes the password that lets a wallet log in, says what is
 * wrong with one that does not, and signs for programs that know nothing of
 * wallets. Manual: doc/man/pg-ecdsa-token.1.md
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

#include "lib/mem.h"
#include "token/connector.h"
#include "token/key.h"
#include "token/keystore.h"
#include "token/options.h"
#include "token/passphrase.h"
#include "token/token.h"
#include "token/verify.h"

/* A test build with AddressSanitizer looks at its own memory from a second process at exit. */
#if defined(__SANITIZE_ADDRESS__)
#define WATCHED_BY_LEAK_CHECKER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WATCHED_BY_LEAK_CHECKER
#endif
#endif

/* Nobody but the key's owner may see our memory, not even after a crash. */
static void keep_memory_private(void)
{
	const struct rlimit none = {0, 0};

	setrlimit(RLIMIT_CORE, &none);
#ifndef WATCHED_BY_LEAK_CHECKER
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

static int print_address(const struct wallet_address *address)
{
	char text[WALLET_TEXT_LEN + 1];

	wallet_address_eip55(address, text);
	printf("%s\n", text);
	return 0;
}

static int print_password(const struct options *o, const struct signer *signer)
{
	int64_t at = o->has_at ? o->at : (int64_t)time(NULL);
	char wallet[WALLET_TEXT_LEN + 1];
	struct destination to = o->destination;
	struct buf password, line;
	int result;

	wallet_address_eip55(&signer->wallet, wallet);
	if (!to.user)
		to.user = wallet;
	to.database = o->grant.database && strcmp(o->grant.database, "*") != 0 ? o->grant.database : NULL;
	buf_init(&password);
	buf_init(&line);
	result = grant_make(&o->grant, signer, at, NULL, &password);
	if (result == 0) {
		output_put(&line, o->output, &to, (const char *)buf_data(&password));
		fwrite(buf_data(&line), 1, buf_len(&line), stdout);
	}
	buf_wipe_free(&password);
	buf_wipe_free(&line);
	return result == 0 ? 0 : 1;
}

static int connect_for_others(const struct options *o, const struct signer *signer)
{
	char password[PASSPHRASE_MAX + 1];
	struct connector c = {
		.listen = o->listen,
		.host = o->destination.host,
		.port = o->destination.port ? o->destination.port : "6432",
		.user = o->destination.user,
		.tls = o->tls,
		.ca_file = o->ca_file,
		.reuses = o->reuses,
		.grant = &o->grant,
		.signer = signer,
	};
	int status;

	if (o->listen_password_file) {
		if (passphrase_get(o->listen_password_file, "the connector", password) != 0)
			return 1;
		c.password = password;
		if (!*password) {
			complain("the password for the connector is empty");
			return 1;
		}
	}
	status = connector_run(&c);
	mem_wipe(password, sizeof(password));
	return status;
}

static int check(const struct options *o)
{
	const struct expectation e = {
		.user = o->check_user,
		.wallet = o->wallet,
		.server_names = o->grant.server,
		.siwe_domains = o->grant.domain,
		.chain_ids = o->grant.chain,
		.database = o->grant.database,
		.role = o->grant.role,
		.window = o->window,
		.skew = o->skew,
		.max_lifetime = o->max_lifetime,
	};

	return verify_password(&e, o->has_at ? o->at : (int64_t)time(NULL));
}

static bool is_wallet_good(const struct options *o, struct wallet_address *out)
{
	char right[WALLET_TEXT_LEN + 1];

	if (!o->wallet)
		return true;
	switch (wallet_address_parse_strict(o->wallet, strlen(o->wallet), out)) {
	case ADDRESS_OK:
		return true;
	case ADDRESS_BAD_CHECKSUM:
		wallet_address_eip55(out, right);
		complain("--wallet %s has a wrong checksum, the correct spelling is %s", o->wallet, right);
		return false;
	case ADDRESS_MALFORMED:
		complain("--wallet wants an address, 0x and 40 hexadecimal digits, not \"%s\"", o->wallet);
	}
	return false;
}

/* -1: complained of. */
static int open_signer(const struct options *o, struct signer *s)
{
	int got = 0;

	s->command = o->signer;
	s->timeout_seconds = o->signer_timeout;
	if (o->signer) {
		/* A command that does not read its standard input is not to end us. */
		signal(SIGPIPE, SIG_IGN);
		return 0;
	}
	if (o->new_file)
		got = key_create_file(o->new_file, &s->key);
	else if (o->key_file)
		got = key_from_file(o->key_file, &s->key);
	else if (o->keystore)
		got = keystore_from_file(o->keystore, o->passphrase_file, &s->key);
	else
		got = key_from_environment(o->key_variable, &s->key);
	if (got == 0 && wallet_key_address(&s->key, &s->wallet) != 0) {
		complain("cannot compute the address");
		got = -1;
	}
	return got;
}

static int run(const struct options *o)
{
	struct signer signer = {0};
	int status = 1;

	if (!is_wallet_good(o, &signer.wallet))
		return EXIT_USAGE;
	if (o->action == ACTION_CHECK)
		return check(o);
	if (open_signer(o, &signer) == 0)
		status = o->action == ACTION_NEW || o->action == ACTION_ADDRESS ? print_address(&signer.wallet)
			 : o->action == ACTION_CONNECT				? connect_for_others(o, &signer)
										: print_password(o, &signer);
	signer_end(&signer);
	return status;
}

int main(int argc, char **argv)
{
	static char out[8192]; /* stdio's, so that it can be wiped */
	struct options o;
	int status;

	keep_memory_private();
	setvbuf(stdout, out, _IOFBF, sizeof(out));
	if (options_hold_keys(argc, argv))
		return EXIT_USAGE;
	if (!options_parse(argc, argv, &o)) {
		complain("try --help");
		return EXIT_USAGE;
	}
	if (o.action == ACTION_HELP) {
		fputs(options_usage, stdout);
		status = 0;
	} else if (o.action == ACTION_VERSION) {
		puts("pg-ecdsa-token (" PACKAGE_NAME ") " PACKAGE_VERSION);
		status = 0;
	} else
		status = run(&o);
	/* A script that got half a password must hear of it: a full disk shows only now. */
	if (fflush(stdout) != 0 || ferror(stdout)) {
		complain("cannot write to standard output: %s", strerror(errno));
		status = 1;
	}
	mem_wipe(out, sizeof(out));
	return status;
}
