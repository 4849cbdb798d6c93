/* Unit tests of the config room: grammar, settings, loads on top of each other, auth_file, wallets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/auth_file.h"
#include "config/config.h"
#include "config/connstr.h"
#include "config/settings.h"
#include "config/snapshot.h"
#include "lib/file.h"
#include "lib/ini.h"
#include "lib/log.h"
#include "lib/mem.h"

#define WALLET "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
#define WALLET_LOWER "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"
#define WALLET_WRONG "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
#define OTHER_LOWER "0xfb6916095ca1df60bb79ce92ce3ea74c37c5d359"

static char log_text[1 << 16];

static void write_file(const char *name, const char *text)
{
	FILE *f = fopen(name, "w");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

/* What was logged since the last call. */
static const char *logged(void)
{
	int fd = open("log", O_RDWR);
	ssize_t n = read(fd, log_text, sizeof(log_text) - 1);

	log_text[n < 0 ? 0 : n] = 0;
	assert_int_equal(ftruncate(fd, 0), 0);
	close(fd);
	return log_text;
}

static void assert_logged(const char *text)
{
	const char *have = logged();

	if (!strstr(have, text))
		fail_msg("expected in the log: %s\nfound: %s", text, have);
}

static void assert_quiet(void)
{
	assert_string_equal(logged(), "");
}

static struct config *load(const char *text, const struct config *prev)
{
	write_file("t.ini", text);
	return config_load("t.ini", prev, 0);
}

static struct config *must_load(const char *text, const struct config *prev)
{
	struct config *c;

	logged();
	c = load(text, prev);
	if (!c)
		fail_msg("load failed: %s", logged());
	return c;
}

static const char *shown(const struct config *c, const char *name)
{
	static char buf[64];

	return setting_print(config_settings(c), (size_t)setting_find(name), buf, sizeof(buf));
}

static int in_own_directory(void **state)
{
	static char dir[] = "/tmp/test_config.XXXXXX";

	(void)state;
	if (!mkdtemp(dir) || chdir(dir) != 0)
		return -1;
	*state = dir;
	write_file("log", "");
	return log_configure(&(struct log_setup){.to_stderr = false, .file = "log"});
}

static int remove_directory(void **state)
{
	char command[PATH_MAX + 20];

	log_configure(&(struct log_setup){.to_stderr = false});
	snprintf(command, sizeof(command), "rm -rf %s", (const char *)*state);
	return chdir("/") == 0 ? system(command) : -1;
}

/* Grammar */

static void each_mistake_is_told_with_its_place(void **state)
{
	static const struct {
		const char *sentence, *text, *log;
	} rows[] = {
		{"a key before any section", "foo=1", "ERROR load_init_file: value without section: foo"},
		{"and where it stands", "\nfoo=1", "ERROR invalid value \"1\" for parameter foo in configuration (t.ini:2)"},
		{"no main section", "[databases]\nx=", "ERROR load_init_file: main section missing from config file"},
		{"an empty file", "", "main section missing from config file"},
		{"an unknown section", "[nope]\na=1", "ERROR invalid section \"nope\" in configuration (t.ini:1)"},
		{"sections are case-sensitive", "[PgBouncer]", "invalid section \"PgBouncer\""},
		{"an unknown key", "[pgbouncer]\nfoo=1", "ERROR unknown parameter: pgbouncer/foo"},
		{"keys are case-sensitive", "[pgbouncer]\nLISTEN_PORT=1", "unknown parameter: pgbouncer/LISTEN_PORT"},
		{"and its place", "[pgbouncer]\nfoo=1", "invalid value \"1\" for parameter foo in configuration (t.ini:2)"},
		{"a section that does not close", "[pgbouncer]\n [databases\n]",
		 "ERROR syntax error in configuration (t.ini:2), stopping loading"},
		{"a key without =", "[pgbouncer]\nxx yy", "syntax error in configuration (t.ini:2)"},
		{"a key at the end of the file", "[pgbouncer]\nxx", "syntax error in configuration (t.ini:2)"},
		{"an empty quoted key", "[databases]\n'' = ", "syntax error in configuration (t.ini:2)"},
		{"a quoted key that does not close", "[databases]\n'a = \n'", "syntax error in configuration (t.ini:2)"},
		{"a strange byte", "[pgbouncer]\n\n!x=1", "syntax error in configuration (t.ini:3)"},
		{"a % that is no include", "%inc x", "syntax error in configuration (t.ini:1)"},
		{"an include without a blank", "%include", "syntax error in configuration (t.ini:1)"},
		{"an include without a name", "%include ", "ERROR could not load file \"\": No such file or directory"},
		{"an include that is not there", "%include /nope",
		 "ERROR could not load file \"/nope\": No such file or directory"},
		{"and where it stands", "\n%include /nope",
		 "ERROR error processing include file in configuration (t.ini:2), stopping loading"},
		{"an include of itself", "%include t.ini",
		 "ERROR include nesting level too deep (t.ini:1), stopping loading"},
		{"an int that is none", "[pgbouncer]\nlisten_backlog=", "invalid value \"\" for parameter listen_backlog"},
		{"an int with a tail", "[pgbouncer]\nlisten_backlog=1 x", "invalid value \"1 x\""},
		{"; does not begin a comment later", "[pgbouncer]\nlisten_backlog = 1 ; c", "invalid value \"1 ; c\""},
		{"a word for a bool", "[pgbouncer]\nlog_stats=yes",
		 "ERROR invalid value \"yes\" for parameter log_stats in configuration (t.ini:2)"},
		{"a word of no enum", "[pgbouncer]\npool_mode=bad", "invalid value \"bad\" for parameter pool_mode"},
		{"after the section on one line", "[pgbouncer] pool_mode=zz",
		 "invalid value \"zz\" for parameter pool_mode in configuration (t.ini:1)"},
		{"a negative time", "[pgbouncer]\nserver_lifetime=-1", "invalid value \"-1\" for parameter server_lifetime"},
		{"an empty time", "[pgbouncer]\nserver_lifetime=", "invalid value \"\" for parameter server_lifetime"},
		{"a time with a comma", "[pgbouncer]\nserver_lifetime=1,5", "invalid value \"1,5\""},
		{"no number at all", "[pgbouncer]\nserver_lifetime=nan", "invalid value \"nan\""},
		{"a port above 65535", "[pgbouncer]\nlisten_port=65536",
		 "listen_port must be between 0 and 65535, not 65536 (t.ini:2)"},
		{"no worker", "[pgbouncer]\nworker_threads=0", "worker_threads must be between 1 and 1024, not 0"},
		{"a day's window at most", "[pgbouncer]\necdsa_window=86401", "ecdsa_window must be between 0 and 86400"},
		{"a half-life of nothing", "[pgbouncer]\necdsa_limit_halflife=0",
		 "ecdsa_limit_halflife must be between 1 and 86400, not 0 (t.ini:2)"},
		{"no network", "[pgbouncer]\necdsa_limit_exempt=10.0.0.0/8, balancer",
		 "ecdsa_limit_exempt: found \"balancer\", expected an address or ADDRESS/BITS (t.ini:2)"},
		{"a network's prefix", "[pgbouncer]\necdsa_limit_exempt=10.0.0.0/33",
		 "ecdsa_limit_exempt: found \"10.0.0.0/33\", expected an address or ADDRESS/BITS (t.ini:2)"},
		{"bits behind a network's prefix", "[pgbouncer]\necdsa_limit_exempt=10.0.0.1/8",
		 "ecdsa_limit_exempt: 10.0.0.1/8 has bits set behind its prefix, the network is 10.0.0.0/8 (t.ini:2)"},
		{"an unknown method", "[pgbouncer]\nlogin_limit_methods=ecdsa, scram",
		 "login_limit_methods: unknown method scram, expected any, trust, plain, md5, scram-sha-256, cert, pam, "
		 "ldap or ecdsa (t.ini:2)"},
		{"hba is no method", "[pgbouncer]\nlogin_limit_methods=hba", "login_limit_methods: unknown method hba"},
		{"the console as auth_dbname", "[pgbouncer]\nauth_dbname=pgbouncer",
		 "cannot use the reserved \"pgbouncer\" database as an auth_dbname"},
		{"bound without a name", "[pgbouncer]\necdsa_formats=timestamp, bound",
		 "ecdsa_formats: format bound lets nobody in while ecdsa_server_names is empty (t.ini:2)"},
		{"typed without a name", "[pgbouncer]\necdsa_formats=typed\necdsa_server_names=,",
		 "ecdsa_formats: format typed lets nobody in while ecdsa_server_names is empty (t.ini:2)"},
		{"siwe without a domain", "[pgbouncer]\necdsa_server_names=a\necdsa_formats=siwe",
		 "ecdsa_formats: format siwe lets nobody in while ecdsa_siwe_domains is empty (t.ini:3)"},
		{"siwe whose database cannot be named", "[pgbouncer]\necdsa_siwe_domains=a\necdsa_formats=siwe",
		 "format siwe lets nobody in while ecdsa_server_names is empty and ecdsa_siwe_require_database is on (t.ini:3)"},
		{"a format in upper case", "[pgbouncer]\necdsa_formats=Bound", "ecdsa_formats: unknown format Bound, expected"},
		{"any server", "[pgbouncer]\necdsa_server_names=db, *", "ecdsa_server_names: found \"*\", expected a name"},
		{"a server that is not ASCII", "[pgbouncer]\necdsa_server_names=d\xc3\xa9", "ecdsa_server_names: found"},
		{"a domain with a scheme", "[pgbouncer]\necdsa_siwe_domains=https://app.example.org",
		 "ecdsa_siwe_domains: found \"https://app.example.org\", expected HOST or HOST:PORT"},
		{"a domain with userinfo", "[pgbouncer]\necdsa_siwe_domains=me@app", "ecdsa_siwe_domains: found \"me@app\""},
		{"a scheme with a colon", "[pgbouncer]\necdsa_siwe_schemes=https:", "ecdsa_siwe_schemes: found \"https:\""},
		{"a chain by name", "[pgbouncer]\necdsa_chain_ids=1 base", "ecdsa_chain_ids: found \"base\", expected a chain"},
		{"a chain of 19 digits", "[pgbouncer]\necdsa_chain_ids=1000000000000000000", "ecdsa_chain_ids: found"},
		{"no life at all", "[pgbouncer]\necdsa_max_lifetime=0", "ecdsa_max_lifetime must be between 1 and"},
		{"an unknown format", "[pgbouncer]\necdsa_formats=x", "ecdsa_formats: unknown format x, expected"},
		{"no format", "[pgbouncer]\necdsa_formats=", "ecdsa_formats must name at least one format (t.ini:2)"},
		{"the console's name", "[databases]\npgbouncer=host=a", "ERROR database name \"pgbouncer\" is reserved"},
		{"an unknown key of a database", "[databases]\na=host=x foo=3",
		 "ERROR unrecognized connection parameter: foo"},
		{"and its place", "[databases]\na=host=x foo=3",
		 "ERROR invalid value \"host=x foo=3\" for parameter a in configuration (t.ini:2)"},
		{"port 0", "[databases]\na=port=0", "ERROR invalid port: 0"},
		{"a port that is a word", "[databases]\na=port=x", "ERROR invalid port: x"},
		{"a bad mode of a database", "[databases]\na=pool_mode=x", "ERROR invalid pool mode: x"},
		{"a bad balance", "[databases]\na=load_balance_hosts=x", "ERROR invalid load_balance_hosts: x"},
		{"an empty value", "[databases]\na=host=", "ERROR syntax error in connection string"},
		{"a quote that does not close", "[databases]\na=host='x", "syntax error in connection string"},
		{"a user's syntax", "[users]\na=foo", "ERROR syntax error in user settings"},
		{"a user's unknown key", "[users]\na=foo=1", "ERROR unrecognized user parameter: foo"},
		{"a user's bad mode", "[users]\na=pool_mode=1", "invalid pool mode: 1"},
		{"a wallet of [users] that is spelled wrong", "[users]\n" WALLET_WRONG " = pool_size=1",
		 "the correct spelling is " WALLET},
		{"peer 0", "[peers]\n0=host=x", "ids of peers must be a number larger than 0 and at most 65536"},
		{"peer word", "[peers]\nx=host=x", "ids of peers must be a number"},
		{"peer 65536", "[peers]\n65536=host=x", "ids of peers must be a number"},
		{"a peer without host", "[peers]\n7=port=1", "host was not provided for peer 7"},
		{"a peer's unknown key", "[peers]\n7=host=x user=1", "unrecognized connection parameter: user"},
		{"a wallet admin that is spelled wrong", "[pgbouncer]\nadmin_users = joe, " WALLET_WRONG,
		 "admin_users: wallet address " WALLET_WRONG " has a wrong checksum, the correct spelling is " WALLET
		 " (t.ini:2)"},
		{"or one of stats_users", "[pgbouncer]\nstats_users=" WALLET_WRONG, "stats_users: wallet address"},
		{"nobody may enter", "[pgbouncer]\n\nauth_type=ecdsa",
		 "auth_type=ecdsa lets nobody in: ecdsa_allowed_addresses is empty, auth_file names no wallet, and auth_user, who "
		 "would ask a database, is not set (t.ini:3)"},
		{"an identity in a setting of PostgreSQL's own", "[pgbouncer]\necdsa_identity_setting=role",
		 "ecdsa_identity_setting: found \"role\", expected the name of a custom setting, such as ecdsa.wallet (t.ini:2)"},
		{"an identity and nothing behind the point", "[pgbouncer]\necdsa_identity_setting=ecdsa.", "expected the name of"},
		{"no claim key", "[pgbouncer]\necdsa_claim_key_file=nope",
		 "ecdsa_claim_key_file: could not read \"nope\": No such file or directory (t.ini:2)"},
		{"no file for a claim key", "[pgbouncer]\necdsa_claim_key_file=.", "ecdsa_claim_key_file: "},
		{"claims of no life", "[pgbouncer]\necdsa_claim_ttl=0", "ecdsa_claim_ttl must be between 1 and 86400"},
		{"a question that nobody asks", "[pgbouncer]\necdsa_auth_query=SELECT 1",
		 "ecdsa_auth_query is asked by nobody: auth_user is not set (t.ini:2)"},
		{"the same of a database", "[databases]\ndb = ecdsa_auth_query='SELECT 1'\n[pgbouncer]\n",
		 "database db: ecdsa_auth_query is asked by nobody: auth_user is not set"},
		{"a list of nobody", "[pgbouncer]\nauth_type=ecdsa\necdsa_allowed_addresses=,", "lets nobody in"},
		{"a wrong checksum", "[pgbouncer]\necdsa_allowed_addresses=" WALLET_WRONG,
		 "ecdsa_allowed_addresses: wallet address " WALLET_WRONG
		 " has a wrong checksum, the correct spelling is " WALLET " (t.ini:2)"},
		{"no address", "[pgbouncer]\necdsa_allowed_addresses=alice.eth",
		 "found \"alice.eth\", expected 0x and 40 hexadecimal digits (t.ini:2)"},
		{"no list", "[pgbouncer]\necdsa_allowed_addresses=@nope",
		 "could not open \"nope\": No such file or directory (t.ini:2)"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		logged();
		if (load(rows[i].text, NULL))
			fail_msg("%s: loaded", rows[i].sentence);
		if (!strstr(logged(), rows[i].log))
			fail_msg("%s: expected %s\nfound: %s", rows[i].sentence, rows[i].log, log_text);
	}
	assert_null(config_load("not-there.ini", NULL, 0));
	assert_logged("ERROR could not load file \"not-there.ini\": No such file or directory");
}

static void the_grammar_takes_what_pgbouncer_takes(void **state)
{
	struct config *c = must_load("  ; a comment\n\t# another\n"
				     "[databases] one = host=h\r\n"
				     "\t'my db' = port=1\n\"my \"\"other\"\" db\" = port=2\n'it''s'=port=3\n"
				     "a.b-c_* =\n* =\n"
				     "  [pgbouncer]\n"
				     "listen_port\t =\t 0x10  \nlisten_backlog=010\nlogfile = a = b ; c \npidfile =\n"
				     "listen_port = 17\n",
				     NULL);

	(void)state;
	assert_quiet();
	assert_int_equal(config_database_count(c), 5);
	assert_string_equal(config_database_at(c, 0)->name, "a.b-c_*");
	assert_string_equal(config_find_database(c, "one")->host, "h");
	assert_int_equal(config_find_database(c, "my db")->port, 1);
	assert_int_equal(config_find_database(c, "my \"other\" db")->port, 2);
	assert_int_equal(config_find_database(c, "it's")->port, 3);
	assert_null(config_find_database(c, "*"));
	assert_true(config_template(c)->is_template);
	assert_int_equal(config_settings(c)->listen_port, 17);
	assert_int_equal(config_settings(c)->listen_backlog, 8);
	assert_string_equal(config_settings(c)->logfile, "a = b ; c");
	assert_string_equal(config_settings(c)->pidfile, "");
	assert_string_equal(config_settings(c)->conffile, "t.ini");
	config_unref(c);
}

static void includes_nest_ten_deep_and_carry_the_section(void **state)
{
	char name[32], text[64];
	struct config *c;

	(void)state;
	for (int i = 1; i < INI_INCLUDE_DEPTH; i++) {
		snprintf(name, sizeof(name), "i%d", i);
		snprintf(text, sizeof(text), "%%include i%d", i + 1);
		write_file(name, text);
	}
	write_file("i10", "listen_port = 1\n[databases]\n");
	c = must_load("[pgbouncer]\n%include \t i1  \nx = host=y\n", NULL);
	assert_int_equal(config_settings(c)->listen_port, 1);
	assert_string_equal(config_find_database(c, "x")->host, "y");
	config_unref(c);

	write_file("i10", "%include i11");
	assert_null(load("[pgbouncer]\n%include i1\n", NULL));
	assert_logged("include nesting level too deep (i10:1), stopping loading");
}

static void a_nul_byte_is_a_syntax_error(void **state)
{
	static const char text[] = "[pgbouncer]\nlogfile = a\0b\n";
	FILE *f = fopen("nul.ini", "w");

	(void)state;
	fwrite(text, 1, sizeof(text) - 1, f);
	fclose(f);
	assert_null(config_load("nul.ini", NULL, 0));
	assert_logged("syntax error in configuration (nul.ini:2)");
}

static void passwords_of_a_bad_line_are_not_logged(void **state)
{
	(void)state;
	assert_null(load("[databases]\na = host=h password=secret foo=1", NULL));
	assert_null(strstr(logged(), "secret"));
	assert_non_null(strstr(log_text, "invalid value \"host=h password=...\" for parameter a"));
	assert_null(load("[databases]\na = PassWord=secret", NULL));
	assert_null(strstr(logged(), "secret"));
}

static void connection_strings_follow_their_grammar(void **state)
{
	static const struct {
		const char *sentence, *text, *pairs; /* key|value; and ! for an error */
	} rows[] = {
		{"nothing", "", ""},
		{"only spaces", "   ", ""},
		{"two pairs", "a=1 b=2", "a|1;b|2;"},
		{"spaces around =", "max = 1  b= 2", "max|1;b|2;"},
		{"a tab does not separate", "a=1\tb=2", "a|1\tb=2;"},
		{"quotes keep spaces", "a='x y' b=2", "a|x y;b|2;"},
		{"a doubled quote is one", "a='it''s' b=2", "a|it's;b|2;"},
		{"one byte after the quote is dropped", "a='x'yb=2", "a|x;b|2;"},
		{"a quote inside is text", "a=x'y'", "a|x'y';"},
		{"only a quote", "a=''''", "a|';"},
		{"= in a value", "a=b=c", "a|b=c;"},
		{"an empty value", "a=", "!"},
		{"an empty value before another", "a= b", "a|b;"},
		{"an empty quoted value", "a='' b=1", "!"},
		{"no =", "a", "!"},
		{"no key", "=1", "!"},
		{"an open quote", "b=1 a='x", "b|1;!"},
		{"an open doubled quote", "a='x''", "!"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *text = xstrdup(rows[i].text), *at = text, *key, *value, got[100] = "";
		enum connstr_step step;

		while ((step = connstr_next(&at, &key, &value)) == CONNSTR_PAIR)
			snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s|%s;", key, value);
		if (step == CONNSTR_BAD)
			strcat(got, "!");
		if (strcmp(got, rows[i].pairs) != 0)
			fail_msg("%s: expected %s, found %s", rows[i].sentence, rows[i].pairs, got);
		free(text);
	}
}

/* Settings */

static void every_setting_is_read_set_to_itself_and_read_again(void **state)
{
	struct config *first = must_load("[pgbouncer]\n", NULL), *c = first;

	(void)state;
	assert_quiet();
	for (size_t i = 0; i < setting_count(); i++) {
		const struct setting_row *row = setting_at(i);
		char buf[64], *before = xstrdup(setting_print(config_settings(c), i, buf, sizeof(buf)));
		struct config *next;
		const char *after;

		if (row->default_text)
			assert_string_equal(before, row->default_text[0] == '0' && row->default_text[1] ? "511"
													: row->default_text);
		next = config_set(c, row->name, before ? before : "x");
		if (!next)
			fail_msg("%s: %s", row->name, logged());
		after = setting_print(config_settings(next), i, buf, sizeof(buf));
		if (!row->changeable)
			assert_ptr_equal(next, c);
		else if (before)
			assert_string_equal(before, after);
		else
			assert_string_equal("x", after);
		config_unref(c);
		c = next;
		free(before);
	}
	assert_true(config_generation(c) > 1);
	config_unref(c);
}

static void the_list_is_that_of_show_config(void **state)
{
	(void)state;
	assert_string_equal(setting_at(0)->name, "admin_users");
	assert_int_equal(setting_find("pool_idle_timeout"), setting_find("pool_mode") + 1);
	assert_int_equal(setting_find("worker_threads"), setting_find("verbose") + 1);
	assert_string_equal(setting_at(setting_count() - 1)->name, "login_limit_methods");
	assert_int_equal(setting_find("service_name"), -1);
	for (int i = 1; i < setting_find("worker_threads"); i++) {
		const char *a = setting_at((size_t)i - 1)->name, *b = setting_at((size_t)i)->name;

		if (strcmp(b, "pool_idle_timeout") != 0 && strcmp(a, "pool_idle_timeout") != 0 &&
		    !strstr(a, "_tls13_") && !strstr(b, "_tls13_"))
			assert_true(strcmp(a, b) < 0);
	}
}

static void values_print_as_show_config_prints_them(void **state)
{
	static const struct {
		const char *setting, *value, *printed;
	} rows[] = {
		{"listen_backlog", "0x1f", "31"},
		{"listen_backlog", "0777", "511"},
		{"listen_backlog", "99999999999999999999999", "2147483647"},
		{"max_packet_size", "4294967295", "4294967295"},
		{"max_packet_size", "-1", "4294967295"},
		{"default_pool_size", "-5", "-5"},
		{"log_stats", "5", "5"},
		{"server_lifetime", "3600", "3600"},
		{"server_lifetime", ".5", "0.5"},
		{"server_lifetime", "1e6", "1e+06"},
		{"server_lifetime", "1e300", "1e+12"},
		{"pool_mode", "TRANSACTION", "transaction"},
		{"client_tls_sslmode", "Verify-CA", "verify-ca"},
		{"auth_type", "SCRAM-SHA-256", "scram-sha-256"},
		{"worker_threads", "AUTO", "auto"},
		{"worker_threads", "4", "4"},
		{"ecdsa_require_tls", "always", "always"},
		{"unix_socket_dir", "@x", "@x"},
		{"verbose", "2", "2"},
		{"user", "", ""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[100];
		struct config *c;

		snprintf(text, sizeof(text), "[pgbouncer]\n%s = %s\n", rows[i].setting, rows[i].value);
		c = must_load(text, NULL);
		assert_string_equal(shown(c, rows[i].setting), rows[i].printed);
		config_unref(c);
	}
}

static void the_locale_does_not_matter(void **state)
{
	static const char *const with_comma[] = {"de_DE.UTF-8", "de_DE", "fr_FR.UTF-8"};
	struct config *c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(with_comma); i++)
		if (setlocale(LC_NUMERIC, with_comma[i]))
			break;
	c = must_load("[pgbouncer]\nserver_lifetime = 1.5\n", NULL);
	assert_true(config_settings(c)->server_lifetime == 1500000);
	assert_string_equal(shown(c, "server_lifetime"), "1.5");
	setlocale(LC_NUMERIC, "C");
	config_unref(c);
}

/* What SET asks for is judged together with what is in force, like a file. */
static void formats_that_cannot_work_are_refused_by_set_too(void **state)
{
	struct config *a = must_load("[pgbouncer]\necdsa_server_names=db\necdsa_formats=bound\n", NULL), *b;

	(void)state;
	assert_null(config_set(a, "ecdsa_server_names", ""));
	assert_logged("ecdsa_formats: format bound lets nobody in while ecdsa_server_names is empty");
	assert_null(config_set(a, "ecdsa_formats", "bound,siwe"));
	assert_null(config_set(a, "ecdsa_formats", "bound,x"));
	b = config_set(a, "ecdsa_siwe_domains", "app");
	config_unref(a);
	a = config_set(b, "ecdsa_formats", "bound,siwe");
	assert_non_null(a);
	assert_null(config_set(a, "ecdsa_siwe_domains", ""));
	config_unref(b);
	config_unref(a);
	/* Without a database to name, no server need have one. */
	a = must_load("[pgbouncer]\necdsa_siwe_domains=app\necdsa_formats=siwe\necdsa_siwe_require_database=0\n", NULL);
	assert_null(config_set(a, "ecdsa_siwe_require_database", "1"));
	config_unref(a);
}

static void the_key_of_the_claim_is_its_owners_alone(void **state)
{
	static const struct {
		const char *text;
		mode_t mode;
		bool good;
	} rows[] = {
		{"0123456789abcdef0123456789abcdef", 0600, true},
		{"0123456789abcdef0123456789abcdef", 0400, true},
		{"0123456789abcdef0123456789abcdef", 0640, false},
		{"0123456789abcdef0123456789abcdef", 0604, false},
		{"0123456789abcdef0123456789abcde", 0600, false},
		{"30313233343536373839616263646566303132333435363738396162636465" "66\n", 0600, true},
		{"30313233343536373839616263646566303132333435363738396162636465" "66\r\n", 0600, true},
		{"30313233343536373839616263646566303132333435363738396162636465" "6x", 0600, false},
		{"", 0600, false},
	};
	struct config *c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		write_file("ck", rows[i].text);
		assert_int_equal(chmod("ck", rows[i].mode), 0);
		c = load("[pgbouncer]\necdsa_claim_key_file=ck\n", NULL);
		if (!c != !rows[i].good)
			fail_msg("row %zu is %s", i, c ? "taken" : "refused");
		if (c)
			assert_memory_equal(config_claim_key(c), "0123456789abcdef0123456789abcdef", 32);
		config_unref(c);
		logged();
		unlink("ck");
	}
	c = must_load("[pgbouncer]\n", NULL);
	assert_null(config_claim_key(c));
	config_unref(c);
}

static void settings_describe_has_a_block_for_each(void **state)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	(void)state;
	settings_describe(out);
	fclose(out);
	for (size_t i = 0; i < setting_count(); i++) {
		char heading[100];

		snprintf(heading, sizeof(heading), "### %s\n", setting_at(i)->name);
		assert_non_null(strstr(text, heading));
	}
	assert_non_null(strstr(text, "- Type: int, 0 to 65535\n- Default: `6432`\n- Changeable: by a restart only\n"));
	free(text);
}

/* Loads on top of each other */

static void a_reload_undoes_set_but_not_of_null_defaults(void **state)
{
	struct config *a = must_load("[pgbouncer]\ndefault_pool_size=5\nauth_user=file\n", NULL), *b, *c, *d, *e;

	(void)state;
	b = config_set(a, "default_pool_size", "7");
	c = config_set(b, "auth_dbname", "authdb");
	d = config_set(c, "query_timeout", "3");
	assert_int_equal(config_settings(d)->default_pool_size, 7);
	assert_int_equal(config_settings(a)->default_pool_size, 5);
	e = must_load("[pgbouncer]\ndefault_pool_size=5\n", d);
	assert_int_equal(config_settings(e)->default_pool_size, 5);
	assert_string_equal(config_settings(e)->auth_dbname, "authdb");
	assert_string_equal(config_settings(e)->auth_user, "file");
	assert_true(config_settings(e)->query_timeout == 0);
	assert_int_equal(config_generation(e), 5);
	config_unref(a);
	config_unref(b);
	config_unref(c);
	config_unref(d);
	config_unref(e);
}

static struct ip_address address(const char *text)
{
	struct network n;

	assert_int_equal(network_parse(text, strlen(text), &n), NETWORK_OK);
	return n.address;
}

static void the_limiter_knows_whom_it_concerns_after_load_and_set(void **state)
{
	struct config *a = must_load("[pgbouncer]\nlogin_limit_methods=ecdsa, MD5\n"
				     "ecdsa_limit_exempt=10.0.0.0/8 2001:db8::/32,192.0.2.1\n", NULL), *b, *c, *d;
	struct ip_address inside = address("10.9.9.9"), v6 = address("2001:db8:5::1"), one = address("192.0.2.1"),
			  outside = address("192.0.2.2");

	(void)state;
	assert_true(config_limits_method(a, "ecdsa") && config_limits_method(a, "md5"));
	assert_false(config_limits_method(a, "plain") || config_limits_method(a, "md"));
	assert_true(config_limit_exempts(a, &inside) && config_limit_exempts(a, &v6) && config_limit_exempts(a, &one));
	assert_false(config_limit_exempts(a, &outside));
	b = config_set(a, "default_pool_size", "7");
	assert_true(config_limit_exempts(b, &inside) && !config_limit_exempts(b, &outside));
	c = config_set(b, "ecdsa_limit_exempt", "192.0.2.2");
	assert_true(!config_limit_exempts(c, &inside) && config_limit_exempts(c, &outside));
	assert_null(config_set(c, "ecdsa_limit_exempt", "x"));
	d = must_load("[pgbouncer]\nlogin_limit_methods=\n", c);
	assert_false(config_limits_method(d, "ecdsa") || config_limit_exempts(d, &outside));
	config_unref(a);
	config_unref(b);
	config_unref(c);
	config_unref(d);
}

static void a_second_header_wipes_the_first(void **state)
{
	struct config *c = must_load("[pgbouncer]\nlisten_port=1\nauth_file=x\n[databases]\n[pgbouncer]\nmax_client_conn=2\n",
				     NULL);

	(void)state;
	assert_int_equal(config_settings(c)->listen_port, 6432);
	assert_int_equal(config_settings(c)->max_client_conn, 2);
	assert_string_equal(config_settings(c)->auth_file, "x");
	config_unref(c);
}

static void restart_only_settings_are_ignored_in_silence(void **state)
{
	struct config *a = must_load("[pgbouncer]\nlisten_port=1\nuser=u\n", NULL), *b, *c;

	(void)state;
	b = must_load("[pgbouncer]\nlisten_port=99999\nuser=v\nworker_threads=zero\n", a);
	assert_quiet();
	assert_int_equal(config_settings(b)->listen_port, 1);
	assert_string_equal(config_settings(b)->user, "u");
	c = config_set(b, "listen_port", "2");
	assert_ptr_equal(b, c);
	config_unref(a);
	config_unref(b);
	config_unref(c);
}

static void a_failed_load_changes_nothing(void **state)
{
	struct config *a = must_load("[pgbouncer]\ndefault_pool_size=5\n[databases]\nx=host=h\n", NULL);

	(void)state;
	assert_null(load("[pgbouncer]\ndefault_pool_size=6\n[databases]\ny=\n[users]\nz=pool_size=1\n[nope]\n", a));
	assert_logged("ERROR config file loading failed");
	assert_int_equal(config_settings(a)->default_pool_size, 5);
	assert_non_null(config_find_database(a, "x"));
	assert_int_equal(config_user_count(a), 0);
	config_unref(a);
}

static void bad_sets_change_nothing(void **state)
{
	struct config *a = must_load("[pgbouncer]\n", NULL);

	(void)state;
	assert_null(config_set(a, "nope", "1"));
	assert_logged("unknown parameter: pgbouncer/nope");
	assert_null(config_set(a, "default_pool_size", "x"));
	assert_null(config_set(a, "auth_dbname", "pgbouncer"));
	assert_logged("cannot use the reserved \"pgbouncer\" database as an auth_dbname");
	assert_null(config_set(a, "auth_type", "ecdsa"));
	assert_logged("auth_type=ecdsa lets nobody in");
	config_unref(a);
}

static void verbosity_comes_from_the_command_line_then_the_file(void **state)
{
	struct config *a, *b, *c;

	(void)state;
	write_file("t.ini", "[pgbouncer]\n");
	a = config_load("t.ini", NULL, 2);
	assert_int_equal(config_settings(a)->verbose, 2);
	b = config_load("t.ini", a, 0);
	assert_int_equal(config_settings(b)->verbose, 2);
	write_file("t.ini", "[pgbouncer]\nverbose=1\n");
	c = config_load("t.ini", b, 2);
	assert_int_equal(config_settings(c)->verbose, 1);
	config_unref(a);
	config_unref(b);
	config_unref(c);
}

/* Entries */

static void databases_have_their_keys_and_defaults(void **state)
{
	struct config *c = must_load(
		"[pgbouncer]\n[databases]\nplain =\n"
		"full = dbname=d host=a,b port=99 user=u password='p w' pool_size=0 min_pool_size=2 reserve_pool=3"
		" max_db_connections=4 max_db_client_connections=5 pool_mode=Statement query_wait_timeout=6"
		" server_lifetime=7 load_balance_hosts=disable connect_query='select ''x''' client_encoding=utf8"
		" datestyle=iso timezone=utc application_name=app\n"
		"odd = pool_size=12abc reserve_pool_size=x query_wait_timeout=-3 password=unused\n",
		NULL);
	const struct database_def *d = config_find_database(c, "plain");

	(void)state;
	assert_quiet();
	assert_null(d->host);
	assert_null(d->dbname);
	assert_null(d->user);
	assert_int_equal(d->port, 5432);
	assert_int_equal(d->pool_size, -1);
	assert_int_equal(d->min_pool_size, -1);
	assert_int_equal(d->reserve_pool_size, -1);
	assert_int_equal(d->pool_mode, POOL_MODE_UNSET);
	assert_int_equal(d->query_wait_timeout, -1);
	assert_int_equal(d->load_balance_hosts, BALANCE_ROUND_ROBIN);
	d = config_find_database(c, "full");
	assert_string_equal(d->dbname, "d");
	assert_string_equal(d->host, "a,b");
	assert_int_equal(d->port, 99);
	assert_string_equal(d->user, "u");
	assert_string_equal(d->password, "p w");
	assert_int_equal(d->pool_size, 0);
	assert_int_equal(d->min_pool_size, 2);
	assert_int_equal(d->reserve_pool_size, 3);
	assert_int_equal(d->max_db_connections, 4);
	assert_int_equal(d->max_db_client_connections, 5);
	assert_int_equal(d->pool_mode, POOL_STATEMENT);
	assert_int_equal(d->query_wait_timeout, 6 * USEC_PER_SEC);
	assert_int_equal(d->server_lifetime, 7 * USEC_PER_SEC);
	assert_int_equal(d->load_balance_hosts, BALANCE_DISABLE);
	assert_string_equal(d->connect_query, "select 'x'");
	assert_string_equal(d->client_encoding, "utf8");
	assert_string_equal(d->datestyle, "iso");
	assert_string_equal(d->timezone, "utc");
	assert_string_equal(d->application_name, "app");
	d = config_find_database(c, "odd");
	assert_int_equal(d->pool_size, 12);
	assert_int_equal(d->reserve_pool_size, 0);
	assert_int_equal(d->query_wait_timeout, -1);
	assert_null(d->password);
	config_unref(c);
}

static void a_database_name_has_at_most_63_bytes(void **state)
{
	char text[200], name[65];

	(void)state;
	memset(name, 'x', 64);
	name[64] = 0;
	snprintf(text, sizeof(text), "[pgbouncer]\n[databases]\n%s =\n", name + 1);
	config_unref(must_load(text, NULL));
	snprintf(text, sizeof(text), "[pgbouncer]\n[databases]\n%s =\n", name);
	assert_null(load(text, NULL));
	assert_logged("WARNING too long db name: xxx");
}

static void databases_go_users_stay(void **state)
{
	struct config *a = must_load("[pgbouncer]\n[databases]\nx=\ny=\n[users]\nu = pool_size=1 query_timeout=2\nv =\n"
				     "[peers]\n2 = host=h\n1 = host=g port=7 pool_size=3\n1 = host=i\n", NULL);
	struct config *b = must_load("[pgbouncer]\n[databases]\nx=\n[users]\nv = max_user_connections = 1\n", a);

	(void)state;
	assert_int_equal(config_peer_count(a), 2);
	assert_string_equal(config_peer_at(a, 0)->host, "i");
	assert_int_equal(config_peer_at(a, 0)->port, 6432);
	assert_int_equal(config_peer_at(a, 0)->pool_size, -1);
	assert_int_equal(config_peer_at(a, 1)->id, 2);
	config_unref(a);
	assert_int_equal(config_database_count(b), 1);
	assert_int_equal(config_peer_count(b), 0);
	assert_int_equal(config_user_count(b), 2);
	assert_int_equal(config_find_user(b, "u")->pool_size, 1);
	assert_int_equal(config_find_user(b, "u")->query_timeout, 2 * USEC_PER_SEC);
	assert_int_equal(config_find_user(b, "u")->query_wait_timeout, -1);
	assert_string_equal(config_user_at(b, 1)->name, "v");
	assert_int_equal(config_find_user(b, "v")->max_user_connections, 1);
	assert_null(config_find_user(b, "w"));
	config_unref(b);
}

static void a_forced_user_is_not_lost(void **state)
{
	struct config *a = must_load("[pgbouncer]\n[databases]\nx = user=u password=p\n* = user=t\n", NULL), *b;

	(void)state;
	b = must_load("[pgbouncer]\n[databases]\nx = host=h\n* = user=s\n", a);
	assert_logged("WARNING losing forced user not supported, keeping old setting");
	assert_string_equal(config_find_database(b, "x")->user, "u");
	assert_string_equal(config_find_database(b, "x")->password, "p");
	assert_string_equal(config_template(b)->user, "s");
	config_unref(a);
	config_unref(b);
}

static void only_what_a_server_depends_on_needs_a_reconnect(void **state)
{
	static const struct {
		const char *was, *is;
		bool needed;
	} rows[] = {
		{"host=a", "host=a", false},		     {"host=a", "host=b", true},
		{"", "host=a", true},			     {"port=1", "port=2", true},
		{"", "dbname=x", false},		     {"", "dbname=y", true},
		{"user=a", "user=b", true},		     {"connect_query=a", "", true},
		{"auth_dbname=a", "", true},		     {"auth_query=a", "auth_query=b", true},
		{"load_balance_hosts=disable", "", true},    {"user=a password=a", "user=a password=b", false},
		{"pool_size=1", "pool_mode=session", false}, {"client_encoding=a", "", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct config *c[2];

		for (int n = 0; n < 2; n++) {
			char text[100];

			snprintf(text, sizeof(text), "[pgbouncer]\n[databases]\nx = %s", n ? rows[i].is : rows[i].was);
			c[n] = must_load(text, NULL);
		}
		assert_int_equal(database_def_needs_reconnect(config_find_database(c[0], "x"),
							      config_find_database(c[1], "x")),
				 rows[i].needed);
		config_unref(c[0]);
		config_unref(c[1]);
	}
}

/* auth_file */

#define AUTH_INI "[pgbouncer]\nauth_file = af\nauth_type = plain\n"

static void auth_file_lines_give_users(void **state)
{
	struct config *c;

	(void)state;
	write_file("af", "  ; comment\n\n\"a\" \"p\" rest \"of\" line\n\"q\"\"q\"\t\"x\"\"y\"\n\"e\" \"\"\n"
			 "\"b\"\n\"next line\"\n\"a\" \"later\"\n\"" WALLET "\" \"\"\n\"\" \"of nobody\"\n"
			 "\"c\",\"comma\"\n\"w\" : with words \"between\"\n");
	c = must_load(AUTH_INI, NULL);
	assert_quiet();
	assert_int_equal(config_secret_count(c), 8);
	assert_string_equal(config_find_secret(c, "")->text, "of nobody");
	assert_string_equal(config_find_secret(c, "c")->text, "comma");
	assert_string_equal(config_find_secret(c, "w")->text, "between");
	assert_string_equal(config_secret_at(c, 1)->user, WALLET_LOWER);
	assert_string_equal(config_secret_at(c, 2)->user, "a");
	assert_string_equal(config_find_secret(c, "a")->text, "later");
	assert_string_equal(config_find_secret(c, "q\"q")->text, "x\"y");
	assert_string_equal(config_find_secret(c, "b")->text, "next line");
	assert_string_equal(config_find_secret(c, "e")->text, "");
	assert_non_null(config_find_secret(c, WALLET_WRONG));
	assert_null(config_find_secret(c, "nobody"));
	config_unref(c);
}

static void a_broken_line_ends_the_auth_file(void **state)
{
	static const struct {
		const char *line, *log;
	} rows[] = {
		{"x", "ERROR broken auth file"},
		{"# no comment", "ERROR broken auth file"},
		{"\"x", "ERROR broken auth file"},
		{"'x' 'y'", "ERROR broken auth file"},
		{"\"x\" \"", "ERROR broken auth file"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[100];
		struct config *c;

		/* An open quote swallows what follows. */
		snprintf(text, sizeof(text), "\"a\" \"p\"\n%s\n%s", rows[i].line,
			 rows[i].line[0] != '"' ? "\"b\" \"p\"\n" : "");
		write_file("af", text);
		c = must_load(AUTH_INI, NULL);
		assert_logged(rows[i].log);
		assert_int_equal(config_secret_count(c), 1);
		assert_non_null(config_find_secret(c, "a"));
		config_unref(c);
	}
}

static void names_and_passwords_of_auth_file_are_bounded(void **state)
{
	static char text[PASSWORD_MAX + 300];
	struct config *c;

	(void)state;
	for (int user = USER_NAME_MAX; user <= USER_NAME_MAX + 1; user++) {
		snprintf(text, sizeof(text), "\"%0*d\" \"p\"\n", user, 0);
		write_file("af", text);
		c = must_load(AUTH_INI, NULL);
		assert_int_equal(config_secret_count(c), user == USER_NAME_MAX);
		if (user > USER_NAME_MAX)
			assert_logged("ERROR username too long in auth file");
		config_unref(c);
	}
	for (int secret = PASSWORD_MAX; secret <= PASSWORD_MAX + 1; secret++) {
		snprintf(text, sizeof(text), "\"u\" \"%0*d\"\n", secret, 0);
		write_file("af", text);
		c = must_load(AUTH_INI, NULL);
		assert_int_equal(config_secret_count(c), secret == PASSWORD_MAX);
		if (secret > PASSWORD_MAX)
			assert_logged("ERROR password too long in auth file");
		config_unref(c);
	}
}

static void an_unreadable_auth_file_does_not_stop_the_load(void **state)
{
	struct config *c;

	(void)state;
	c = must_load("[pgbouncer]\nauth_file = /nope\n", NULL);
	assert_logged("ERROR could not open auth_file /nope: No such file or directory");
	assert_int_equal(config_secret_count(c), 0);
	config_unref(c);
	c = must_load("[pgbouncer]\nauth_file = /nope\nauth_type = any\n", NULL);
	assert_quiet();
	config_unref(c);
}

static void an_auth_file_that_is_gone_takes_nobody_along(void **state)
{
	struct config *a, *b, *c;

	(void)state;
	write_file("af", "\"a\" \"1\"\n");
	a = must_load(AUTH_INI, NULL);
	assert_int_equal(unlink("af"), 0);
	b = must_load(AUTH_INI, a);
	assert_logged("ERROR could not open auth_file af: No such file or directory");
	assert_string_equal(config_find_secret(b, "a")->text, "1");
	/* Not by another name, either. */
	c = must_load("[pgbouncer]\nauth_file = /nope\nauth_type = plain\n", b);
	assert_string_equal(config_find_secret(c, "a")->text, "1");
	config_unref(a);
	config_unref(b);
	config_unref(c);
}

static void an_unchanged_auth_file_is_shared(void **state)
{
	struct config *a, *b, *c, *d;

	(void)state;
	write_file("af", "\"a\" \"1\"\n");
	a = must_load(AUTH_INI, NULL);
	b = must_load(AUTH_INI, a);
	assert_ptr_equal(a->auth_file, b->auth_file);
	write_file("af", "\"a\" \"22\"\n");
	c = config_set(b, "query_timeout", "1");
	assert_string_equal(config_find_secret(c, "a")->text, "1");
	d = must_load(AUTH_INI, c);
	assert_string_equal(config_find_secret(d, "a")->text, "22");
	assert_string_equal(config_find_secret(b, "a")->text, "1");
	config_unref(a);
	config_unref(b);
	config_unref(c);
	assert_int_equal(chmod("af", 0600), 0);
	a = must_load(AUTH_INI, d);
	assert_ptr_not_equal(a->auth_file, d->auth_file);
	config_unref(a);
	config_unref(d);
}

static void a_misspelled_wallet_in_auth_file_fails_the_load(void **state)
{
	(void)state;
	write_file("af", "\"a\" \"p\"\n\n\"" WALLET_WRONG "\" \"\"\n");
	assert_null(load(AUTH_INI, NULL));
	assert_logged("auth_file: wallet address " WALLET_WRONG " has a wrong checksum, the correct spelling is " WALLET
		      " (af:3)");
}

/* Wallets */

static struct wallet_address address_of(const char *text)
{
	struct wallet_address a;

	assert_true(wallet_address_parse(text, strlen(text), &a));
	return a;
}

static bool allows(const struct config *c, const char *wallet)
{
	struct wallet_address a = address_of(wallet);

	return config_wallet_standing(c, &a, 0) == WALLET_ALLOWED;
}

static void wallets_come_from_the_list_and_from_auth_file(void **state)
{
	struct config *c;

	(void)state;
	write_file("af", "\"" WALLET_LOWER "\" \"\"\n");
	c = must_load("[pgbouncer]\nauth_type=ecdsa\nauth_file=af\n", NULL);
	assert_true(allows(c, WALLET));
	assert_false(allows(c, OTHER_LOWER));
	config_unref(c);
	c = must_load("[pgbouncer]\nauth_type=ecdsa\necdsa_allowed_addresses = " OTHER_LOWER " ,"
		      "0xDE709F2102306220921060314715629080E2FB77, " OTHER_LOWER "\n", NULL);
	assert_int_equal(c->wallets->count, 2);
	assert_true(allows(c, OTHER_LOWER));
	assert_true(allows(c, "0xde709f2102306220921060314715629080e2fb77"));
	assert_false(allows(c, WALLET));
	config_unref(c);
}

#define LIST_INI "[pgbouncer]\nauth_type = ecdsa\necdsa_allowed_addresses = @wl\n"

static void a_wallet_file_has_one_a_line(void **state)
{
	struct config *a, *b;

	(void)state;
	write_file("wl", "# people\n\n  " WALLET "  # joe\r\n" OTHER_LOWER "#ann");
	a = must_load(LIST_INI, NULL);
	assert_int_equal(a->wallets->count, 2);
	assert_true(allows(a, WALLET));
	b = must_load(LIST_INI, a);
	assert_ptr_equal(a->wallets, b->wallets);
	config_unref(a);
	write_file("wl", "");
	a = must_load(LIST_INI, b);
	assert_false(allows(a, WALLET));
	config_unref(a);
	config_unref(b);
}

static void every_mistake_of_a_wallet_file_is_reported(void **state)
{
	(void)state;
	write_file("wl", WALLET_WRONG "\nx\n" OTHER_LOWER " valid-until=tomorrow\n" OTHER_LOWER " y\n");
	assert_null(load(LIST_INI, NULL));
	logged();
	assert_non_null(strstr(log_text, "the correct spelling is " WALLET " (wl:1)"));
	assert_non_null(strstr(log_text, "found \"x\", expected 0x and 40 hexadecimal digits (wl:2)"));
	assert_non_null(strstr(log_text, "found \"valid-until=tomorrow\" after the address, expected "
			       "valid-until=YYYY-MM-DDThh:mm:ssZ or the end of the line (wl:3)"));
	assert_non_null(strstr(log_text, "found \"y\" after the address, expected "));
}

/* What stands at the end of a very long line counts as much as its beginning. */
static void lines_of_a_wallet_file_are_read_whole_or_not_at_all(void **state)
{
	char text[9000];
	struct config *c;

	(void)state;
	for (int len = 4090; len <= 4100; len++) {
		memset(text, ' ', sizeof(text));
		memcpy(text, WALLET, strlen(WALLET));
		strcpy(text + len - 22, "valid-until=1970-01-01\n" OTHER_LOWER);
		write_file("wl", text);
		c = load(LIST_INI, NULL);
		if (len > 4095) {
			assert_null(c);
			assert_logged("found a very long line, expected text (wl:1)");
			continue;
		}
		assert_non_null(c);
		assert_int_equal(c->wallets->count, 1);
		assert_int_equal(c->wallets->dated_count, 1);
		config_unref(c);
	}
	/* Lines lie across the blocks that are read. */
	{
		FILE *f = fopen("wl", "w");

		for (int i = 0; i < 4000; i++)
			fprintf(f, "0x%040x%*s# %d\n", i, i % 61, "", i);
		fclose(f);
		c = must_load(LIST_INI, NULL);
		assert_int_equal(c->wallets->count, 4000);
		config_unref(c);
	}
	write_file("wl", "");
	{
		FILE *f = fopen("wl", "w");

		fwrite(WALLET "\0#\n", 1, strlen(WALLET) + 3, f);
		fclose(f);
		assert_null(load(LIST_INI, NULL));
		assert_logged("found a NUL byte, expected text (wl:1)");
	}
}

static enum wallet_standing standing(const struct config *c, const char *wallet, int64_t now)
{
	struct wallet_address a = address_of(wallet);

	return config_wallet_standing(c, &a, now);
}

static void a_wallet_may_have_a_last_day(void **state)
{
	struct config *c;

	(void)state;
	write_file("wl", WALLET " valid-until=1970-01-01T00:01:40Z # for now\n" WALLET
			 " valid-until=1970-01-01T00:01:30Z\n" OTHER_LOWER " valid-until=1970-01-01T01:00:00+01:00\r\n"
			 OTHER_LOWER "\n");
	c = must_load(LIST_INI, NULL);
	assert_int_equal(standing(c, WALLET, 99), WALLET_ALLOWED);
	assert_int_equal(standing(c, WALLET, 100), WALLET_EXPIRED);
	assert_int_equal(standing(c, OTHER_LOWER, 100), WALLET_ALLOWED);
	assert_int_equal(standing(c, "0xde709f2102306220921060314715629080e2fb77", 0), WALLET_UNKNOWN);
	config_unref(c);
}

static void a_hundred_thousand_wallets_are_found(void **state)
{
	FILE *f = fopen("wl", "w");
	struct config *c;

	(void)state;
	for (int i = 0; i < 100000; i++)
		fprintf(f, "0x%08x%032d\n", (unsigned)i * 2654435761u, i);
	fclose(f);
	c = must_load(LIST_INI, NULL);
	assert_int_equal(c->wallets->count, 100000);
	for (int i = 0; i < 100000; i += 777) {
		char text[WALLET_TEXT_LEN + 1];

		snprintf(text, sizeof(text), "0x%08x%032d", (unsigned)i * 2654435761u, i);
		assert_true(allows(c, text));
	}
	assert_false(allows(c, WALLET));
	config_unref(c);
}

static void user_lists_are_matched_as_whole_tokens(void **state)
{
	(void)state;
	assert_true(config_list_has("joe, ann\tbob", "ann"));
	assert_true(config_list_has("joe, ann\tbob", "bob"));
	assert_false(config_list_has("joe, ann\tbob", "an"));
	assert_false(config_list_has("joe, ann\tbob", "Joe"));
	assert_false(config_list_has("joe", ""));
	assert_false(config_list_has(NULL, "joe"));
	assert_true(config_list_has("joe," WALLET, WALLET_LOWER));
	assert_true(config_list_has(WALLET_LOWER, WALLET));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_mistake_is_told_with_its_place),
		cmocka_unit_test(the_grammar_takes_what_pgbouncer_takes),
		cmocka_unit_test(includes_nest_ten_deep_and_carry_the_section),
		cmocka_unit_test(a_nul_byte_is_a_syntax_error),
		cmocka_unit_test(passwords_of_a_bad_line_are_not_logged),
		cmocka_unit_test(connection_strings_follow_their_grammar),
		cmocka_unit_test(every_setting_is_read_set_to_itself_and_read_again),
		cmocka_unit_test(the_list_is_that_of_show_config),
		cmocka_unit_test(values_print_as_show_config_prints_them),
		cmocka_unit_test(the_locale_does_not_matter),
		cmocka_unit_test(formats_that_cannot_work_are_refused_by_set_too),
		cmocka_unit_test(the_key_of_the_claim_is_its_owners_alone),
		cmocka_unit_test(settings_describe_has_a_block_for_each),
		cmocka_unit_test(a_reload_undoes_set_but_not_of_null_defaults),
		cmocka_unit_test(the_limiter_knows_whom_it_concerns_after_load_and_set),
		cmocka_unit_test(a_second_header_wipes_the_first),
		cmocka_unit_test(restart_only_settings_are_ignored_in_silence),
		cmocka_unit_test(a_failed_load_changes_nothing),
		cmocka_unit_test(bad_sets_change_nothing),
		cmocka_unit_test(verbosity_comes_from_the_command_line_then_the_file),
		cmocka_unit_test(databases_have_their_keys_and_defaults),
		cmocka_unit_test(a_database_name_has_at_most_63_bytes),
		cmocka_unit_test(databases_go_users_stay),
		cmocka_unit_test(a_forced_user_is_not_lost),
		cmocka_unit_test(only_what_a_server_depends_on_needs_a_reconnect),
		cmocka_unit_test(auth_file_lines_give_users),
		cmocka_unit_test(a_broken_line_ends_the_auth_file),
		cmocka_unit_test(names_and_passwords_of_auth_file_are_bounded),
		cmocka_unit_test(an_unreadable_auth_file_does_not_stop_the_load),
		cmocka_unit_test(an_auth_file_that_is_gone_takes_nobody_along),
		cmocka_unit_test(an_unchanged_auth_file_is_shared),
		cmocka_unit_test(a_misspelled_wallet_in_auth_file_fails_the_load),
		cmocka_unit_test(wallets_come_from_the_list_and_from_auth_file),
		cmocka_unit_test(a_wallet_file_has_one_a_line),
		cmocka_unit_test(every_mistake_of_a_wallet_file_is_reported),
		cmocka_unit_test(lines_of_a_wallet_file_are_read_whole_or_not_at_all),
		cmocka_unit_test(a_wallet_may_have_a_last_day),
		cmocka_unit_test(a_hundred_thousand_wallets_are_found),
		cmocka_unit_test(user_lists_are_matched_as_whole_tokens),
	};

	return cmocka_run_group_tests_name("config", tests, in_own_directory, remove_directory);
}
