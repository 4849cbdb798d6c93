/* Unit tests of HBA rules, ident maps and the dates in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/hba.h"
#include "config/config.h"
#include "config/words.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/rfc3339.h"
#include "wallet/check.h"
#include "lib/util.h"

#define WALLET "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
#define WALLET_LOWER "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"
#define WALLET_WRONG "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
#define OTHER_LOWER "0xfb6916095ca1df60bb79ce92ce3ea74c37c5d359"

static char log_text[1 << 16];

/* What was logged since the last call, without time and process. */
static const char *logged(void)
{
	char all[sizeof(log_text)], *at = all, *line;
	int fd = open("log", O_RDWR);
	ssize_t n = read(fd, all, sizeof(all) - 1);
	size_t len = 0;

	all[n < 0 ? 0 : n] = 0;
	assert_int_equal(ftruncate(fd, 0), 0);
	close(fd);
	log_text[0] = 0;
	while ((line = strsep(&at, "\n"))) {
		const char *text = strstr(line, "] ");

		if (text)
			len += (size_t)snprintf(log_text + len, sizeof(log_text) - len, "%s\n", text + 2);
	}
	return log_text;
}

static int in_own_directory(void **state)
{
	static char dir[] = "/tmp/test_hba.XXXXXX";
	FILE *f;

	if (!mkdtemp(dir) || chdir(dir) != 0)
		return -1;
	*state = dir;
	f = fopen("log", "w");
	if (!f || fclose(f) != 0)
		return -1;
	return log_configure(&(struct log_setup){.to_stderr = false, .file = "log"});
}

static int remove_directory(void **state)
{
	char command[PATH_MAX + 20];

	log_configure(&(struct log_setup){.to_stderr = false});
	snprintf(command, sizeof(command), "rm -rf %s", (const char *)*state);
	return chdir("/") == 0 ? system(command) : -1;
}

/* The @files there are. */
static const struct {
	const char *path, *text;
} files[] = {
	{"/etc/x/dbs", "a, b\nc,\n# comment\n\n\"d d\" e # more\n"},
	{"/etc/x/nested", "@sub/inner\n"},
	{"/etc/x/sub/inner", "z @\"with blank\"\n"},
	{"/etc/x/sub/with blank", "y\n"},
	{"/etc/x/loop", "@loop\n"},
	{"/etc/x/bomb", "@1 @1 @1 @1\n"},
	{"/etc/x/1", "@2 @2 @2 @2\n"}, {"/etc/x/2", "@3 @3 @3 @3\n"}, {"/etc/x/3", "@4 @4 @4 @4\n"},
	{"/etc/x/4", "@5 @5 @5 @5\n"}, {"/etc/x/5", "@6 @6 @6 @6\n"}, {"/etc/x/6", "@7 @7 @7 @7\n"},
	{"/etc/x/7", "@8 @8 @8 @8\n"}, {"/etc/x/8", "@9 @9 @9 @9\n"}, {"/etc/x/9", "x\n"},
	{"/etc/x/empty", "# nobody\n"},
	{"/etc/x/comma", ", a\n"},
	{"/etc/x/role", "+grp\n"},
	{"/etc/x/keywords", "all\n"},
	{"/abs", "abs\n"},
	{"/etc/x/misspelled", "a\n" WALLET_WRONG "\n"},
};

static int read_test_file(void *ctx, const char *path, struct file_text *out)
{
	(void)ctx;
	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		if (strcmp(files[i].path, path) == 0) {
			out->text = xstrdup(files[i].text);
			out->len = strlen(files[i].text);
			return 0;
		}
	errno = ENOENT;
	return -1;
}

static struct ident_maps *maps_of(const char *text)
{
	char *copy = xstrdup(text);
	struct ident_maps *maps = ident_parse(copy, strlen(copy), "/etc/x/ident");

	free(copy);
	return maps;
}

static struct hba_rules *rules_of_bytes(const char *text, size_t len)
{
	struct ident_maps *maps = maps_of("m1 sys app\nwallets " WALLET " analyst\n");
	char *copy = xmalloc(len + 1);
	struct hba_rules *rules;

	memcpy(copy, text, len);
	rules = hba_parse(copy, len, "/etc/x/hba", maps, read_test_file, NULL);
	free(copy);
	ident_unref(maps);
	return rules;
}

static struct hba_rules *rules_of(const char *text)
{
	return rules_of_bytes(text, strlen(text));
}

/* --- lines ---------------------------------------------------------------------- */

#define SKIPPED "WARNING could not parse hba config line 1\n"
#define H "WARNING hba line 1: "

/* warnings: all that is logged; NULL: nothing, and the line is taken. */
static const struct {
	const char *says, *line, *warnings;
} lines[] = {
	{"an empty line is no rule", "", ""},
	{"blanks are no rule", " \t\r", ""},
	{"a comment is no rule", "  # local all all trust", ""},
	{"a rule for Unix sockets", "local all all trust", NULL},
	{"a comment behind it", "local all all trust # yes", NULL},
	{"a comment without a blank", "local all all trust#yes", NULL},
	{"a carriage return at its end", "local all all trust\r", NULL},
	{"TCP, bits", "host all all 127.0.0.0/8 trust", NULL},
	{"TCP, no bits at all", "host all all 0.0.0.0/0 trust", NULL},
	{"TCP, every address", "host all all all trust", NULL},
	{"TCP, a mask", "host all all 127.0.0.0 255.0.0.0 trust", NULL},
	{"TCP, a mask with a hole", "host all all 10.0.0.0 255.0.255.0 trust", NULL},
	{"IPv6", "hostssl all all ::1/128 trust", NULL},
	{"IPv6, a mask", "hostnossl all all fe80:: ffff:: trust", NULL},
	{"lists", "host a,b,\"c d\" u1 , u2 all md5", NULL},
	{"a quote in a name", "host \"a\"\"b\" all all md5", NULL},
	{"an empty name", "host \"\" all all md5", NULL},
	{"all methods: reject", "local all all reject", NULL},
	{"md5", "local all all md5", NULL},
	{"password", "local all all password", NULL},
	{"peer", "local all all peer", NULL},
	{"cert", "hostssl all all all cert", NULL},
	{"scram-sha-256", "host all all all scram-sha-256", NULL},
	{"ldap with whatever follows", "host all all all ldap ldapserver=a \"x, y\" , z", NULL},
	{"a map", "local all all peer map=m1", NULL},
	{"a map of no use", "local all all md5 map=m1", NULL},
	{"quoted keywords are names", "host \"samerole\",\"all\" \"+grp\" all md5", NULL},
	{"a file of names", "host @dbs @dbs all md5", NULL},
	{"files in files, relative to the one that names them", "host @nested @/abs all md5", NULL},

	{"an unknown type", "foo all all trust", H "unknown type\n" SKIPPED},
	{"types are in lower case", "LOCAL all all trust", H "unknown type\n" SKIPPED},
	{"a quoted type", "\"host\" all all all trust", H "unknown type\n" SKIPPED},
	{"a type alone", "host", SKIPPED},
	{"no user", "host all", SKIPPED},
	{"a role where a database was due", "host +grp all all trust", SKIPPED},
	{"no address", "host all all", H "did not find address - 4 - 'all'\n" SKIPPED},
	{"a quoted address", "host all all \"127.0.0.1/32\" trust",
	 H "did not find address - 0 - '127.0.0.1/32'\n" SKIPPED},
	{"a comma where the address was due", "host all all , trust", H "did not find address - 4 - 'trust'\n" SKIPPED},
	{"a method where the address was due", "host all all trust", H "failed to parse address - trust\n" SKIPPED},
	{"a host name", "host all all example.org trust", H "failed to parse address - example.org\n" SKIPPED},
	{"samehost", "host all all samehost trust", H "failed to parse address - samehost\n" SKIPPED},
	{"samenet", "host all all samenet trust", H "failed to parse address - samenet\n" SKIPPED},
	{"33 bits", "host all all 127.0.0.1/33 trust", H "invalid mask\n" SKIPPED},
	{"129 bits", "host all all ::1/129 trust", H "invalid mask\n" SKIPPED},
	{"bits that are no number", "host all all 127.0.0.1/x trust", H "invalid mask\n" SKIPPED},
	{"bits with a sign", "host all all 127.0.0.0/+8 trust", H "invalid mask\n" SKIPPED},
	{"no bits behind the slash", "host all all 0.0.0.0/ trust", H "invalid mask\n" SKIPPED},
	{"more bits than fit a number", "host all all 0.0.0.0/4294967296 trust", H "invalid mask\n" SKIPPED},
	{"an address without mask", "host all all 127.0.0.1", H "did not find mask\n" SKIPPED},
	{"a method where the mask was due", "host all all 127.0.0.1 trust", H "failed to parse mask: trust\n" SKIPPED},
	{"a mask of the other family", "host all all 127.0.0.1 :: trust", H "failed to parse mask: ::\n" SKIPPED},
	{"no method", "host all all 127.0.0.1/32", H "unsupported method: buf=127.0.0.1\n" SKIPPED},
	{"method any", "local all all any", H "unsupported method: buf=any\n" SKIPPED},
	{"method pam", "local all all pam", H "unsupported method: buf=pam\n" SKIPPED},
	{"a quoted method", "local all all \"trust\"", H "unsupported method: buf=trust\n" SKIPPED},
	{"methods are in lower case", "local all all Trust", H "unsupported method: buf=Trust\n" SKIPPED},
	{"an option that is no map", "local all all trust extra",
	 H "Ident map extra is malformed. It is not in map=value format.\n" SKIPPED},
	{"a map without name", "local all all peer map=",
	 H "Ident map map= is malformed. It is not in map=value format.\n" SKIPPED},
	{"a map that is not there", "local all all peer map=nope",
	 H "Ident map nope is not found in ident config file\n" SKIPPED},
	{"a quoted option", "local all all peer \"map=m1\"", H "unsupported parameters\n" SKIPPED},
	{"something behind the map", "local all all peer map=m1 x", H "unsupported parameters\n" SKIPPED},
	{"a comma behind the method", "local all all trust,", H "unsupported parameters\n" SKIPPED},
	{"samerole", "local samerole all trust", "WARNING samerole is not supported\n" SKIPPED},
	{"samegroup", "local x,samegroup all trust", "WARNING samegroup is not supported\n" SKIPPED},
	{"a role's members", "local all +grp trust", SKIPPED},
	{"the same from a file", "local all @role trust", H "could not read line 1 of /etc/x/role\n" SKIPPED},
	{"two commas", "local a,,b all trust", SKIPPED},
	{"a quote that does not end", "local \"a all trust", SKIPPED},
	{"a quote that ends on no line of its own", "local all all \"trust", H "unsupported method: buf=trust\n" SKIPPED},
	{"a file that is not there", "local @nope all trust",
	 H "could not open /etc/x/nope: No such file or directory\n" SKIPPED},
	{"a file without name", "local @ all trust", SKIPPED},
	{"a file of nobody", "local @empty all trust", H "no name in /etc/x/empty\n" SKIPPED},
	{"a file that begins with a comma", "local @comma all trust",
	 H "could not read line 1 of /etc/x/comma\n" SKIPPED},

	{"ecdsa", "hostssl app all 0.0.0.0/0 ecdsa", NULL},
	{"ecdsa with all that there is", "host all all all ecdsa map=m1 formats=timestamp window=60 tls=never replay=off",
	 NULL},
	{"ecdsa with a map that is not there", "local all all ecdsa map=nope",
	 H "Ident map nope is not found in ident config file\n" SKIPPED},
};

static void each_line_is_taken_or_skipped_with_its_warning(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		struct hba_rules *rules;
		const char *have;

		logged();
		rules = rules_of(lines[i].line);
		have = logged();
		if (!rules)
			fail_msg("%s: refused: %s", lines[i].says, have);
		if (strcmp(have, lines[i].warnings ? lines[i].warnings : "") != 0)
			fail_msg("%s: logged %s", lines[i].says, have);
		if (hba_count(rules) != !lines[i].warnings)
			fail_msg("%s: %zu rules", lines[i].says, hba_count(rules));
		hba_unref(rules);
	}
}

static void host_bits_make_a_line_that_fits_nobody(void **state)
{
	static const uint8_t home[4] = {127, 0, 0, 1};
	struct hba_rules *rules = rules_of("\nhost all all 127.0.0.1/24 trust");

	(void)state;
	assert_string_equal(logged(),
			    "WARNING address does not match mask in /etc/x/hba line #2: 127.0.0.1 / 255.255.255.0\n");
	assert_int_equal(hba_count(rules), 1);
	assert_null(hba_match(rules, &(struct hba_facts){.family = AF_INET, .address = home, .database = "a", .user = "b"}));
	hba_unref(rules);
}

static void a_bad_line_does_not_harm_its_neighbours(void **state)
{
	static const char text[] = "local a all trust\nlocal \"b all trust\nlocal c\0 all trust\n\nlocal d all trust";
	struct hba_rules *rules = rules_of_bytes(text, sizeof(text) - 1);
	const struct hba_rule *rule;

	(void)state;
	assert_string_equal(logged(), "WARNING could not parse hba config line 2\n"
				      "WARNING could not parse hba config line 3\n");
	assert_int_equal(hba_count(rules), 2);
	rule = hba_match(rules, &(struct hba_facts){.is_unix = true, .database = "d", .user = "x"});
	assert_non_null(rule);
	assert_int_equal(rule->line, 5);
	hba_unref(rules);
}

static void files_in_files_are_bounded(void **state)
{
	static const char *const names[] = {"local @loop all trust", "local @bomb all trust"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct hba_rules *rules = rules_of(names[i]);

		assert_non_null(strstr(logged(), "too many files in files"));
		assert_int_equal(hba_count(rules), 0);
		hba_unref(rules);
	}
}

/* --- what refuses the load -------------------------------------------------------- */

static const struct {
	const char *says, *line, *logs;
} refusals[] = {
	{"a misspelled wallet", "local all " WALLET_WRONG " ecdsa",
	 "auth_hba_file: wallet address " WALLET_WRONG " has a wrong checksum, the correct spelling is " WALLET
	 " (/etc/x/hba:1)"},
	{"the same in a file", "local all @misspelled ecdsa", "the correct spelling is " WALLET " (/etc/x/misspelled:2)"},
	{"an option that there is not", "local all all ecdsa foo=1", "ecdsa option foo=1 is unknown, expected map,"},
	{"a word alone", "local all all ecdsa foo", "ecdsa option foo is unknown"},
	{"a format that there is not", "local all all ecdsa formats=bound,x", "unknown format x, expected timestamp,"},
	{"no format", "local all all ecdsa formats=", "ecdsa_formats must name at least one format"},
	{"an option twice", "local all all ecdsa window=1 tls=never window=2", "ecdsa option window=2 is given twice"},
	{"a use that there is not", "local all all ecdsa replay=twice",
	 "ecdsa option replay=twice has a value that is not possible (/etc/x/hba:1)"},
	{"no lifetime", "local all all ecdsa max_lifetime=0", "ecdsa_max_lifetime must be between 1 and"},
	{"a window beyond a day", "local all all ecdsa window=86401", "ecdsa_window must be between 0 and 86400"},
	{"a window that is no number", "local all all ecdsa window=x", "window=x has a value that is not possible"},
	{"TLS perhaps", "local all all ecdsa tls=perhaps", "tls=perhaps has a value that is not possible"},
};

static void what_must_not_be_skipped_refuses_the_load(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
		const char *have;

		logged();
		if (rules_of(refusals[i].line))
			fail_msg("%s: taken", refusals[i].says);
		have = logged();
		if (!strstr(have, refusals[i].logs))
			fail_msg("%s: logged %s", refusals[i].says, have);
	}
}

static void options_of_ecdsa_override_settings(void **state)
{
	struct hba_rules *rules = rules_of("local a all ecdsa window=60 tls=always map=wallets formats=siwe,bound max_lifetime=90 replay=once\n"
					   "local b all ecdsa");
	const struct hba_rule *rule = hba_match(rules, &(struct hba_facts){.is_unix = true, .database = "a", .user = "x"});

	(void)state;
	assert_true(rule->ecdsa.has_window && rule->ecdsa.has_tls && rule->ecdsa.has_formats &&
		    rule->ecdsa.has_max_lifetime && rule->ecdsa.has_replay);
	assert_int_equal(rule->ecdsa.replay, REPLAY_ONCE);
	assert_int_equal(rule->ecdsa.formats, BIT(ECDSA_FORMAT_SIWE) | BIT(ECDSA_FORMAT_BOUND));
	assert_int_equal(rule->ecdsa.max_lifetime, 90 * USEC_PER_SEC);
	assert_int_equal(rule->ecdsa.window, 60 * USEC_PER_SEC);
	assert_int_equal(rule->ecdsa.require_tls, REQUIRE_TLS_ALWAYS);
	assert_string_equal(rule->map->name, "wallets");
	rule = hba_match(rules, &(struct hba_facts){.is_unix = true, .database = "b", .user = "x"});
	assert_false(rule->ecdsa.has_window || rule->ecdsa.has_tls || rule->ecdsa.has_formats ||
		     rule->ecdsa.has_max_lifetime || rule->ecdsa.has_replay);
	assert_null(rule->map);
	hba_unref(rules);
}

static void ldap_options_are_kept_as_they_stand(void **state)
{
	struct hba_rules *rules = rules_of("local all all ldap  ldapserver=\"a # b\", x=\"\"\"\" \t# comment");
	const struct hba_rule *rule = hba_match(rules, &(struct hba_facts){.is_unix = true, .database = "a", .user = "x"});

	(void)state;
	assert_string_equal(rule->options, "ldapserver=\"a # b\", x=\"\"\"\"");
	hba_unref(rules);
}

/* --- matching ------------------------------------------------------------------------ */

static const char many_rules[] =
	"local     all         unixuser             trust\n"	      /* 1 */
	"hostssl   tlsdb       all    all           trust\n"	      /* 2 */
	"hostnossl plaindb     all    all           trust\n"	      /* 3 */
	"host      netdb       all    10.1.0.0/16   trust\n"	      /* 4 */
	"host      netdb       all    10.0.0.0 255.0.0.0 md5\n"	      /* 5 */
	"host      netdb       all    2001:db8::/33 trust\n"	      /* 6 */
	"host      sameuser    all    all           trust\n"	      /* 7 */
	"host      replication all    all           trust\n"	      /* 8 */
	"host      \"replication\" all all          md5\n"	      /* 9 */
	"host      @dbs        u1,\"u 2\" all       trust\n"	      /* 10 */
	"host      wdb         " WALLET " all       ecdsa\n"	      /* 11 */
	"host      \"all\"     \"all\" all          trust\n"	      /* 12 */
	"host      last        all    0.0.0.0/0     reject\n"	      /* 13 */
	"local     wdb,x       all                  peer\n";	      /* 14 */

static const struct {
	const char *says, *from; /* NULL: a Unix socket */
	bool is_tls;
	const char *database, *user;
	enum replication replication;
	int line; /* 0: no rule */
} matches[] = {
	{"a Unix socket", NULL, false, "any", "unixuser", REPLICATION_NONE, 1},
	{"not over TCP", "127.0.0.1", false, "any", "unixuser", REPLICATION_NONE, 0},
	{"TCP rules are not for Unix sockets", NULL, false, "last", "u", REPLICATION_NONE, 0},
	{"TLS", "127.0.0.1", true, "tlsdb", "u", REPLICATION_NONE, 2},
	{"TLS needed", "127.0.0.1", false, "tlsdb", "u", REPLICATION_NONE, 0},
	{"no TLS", "::1", false, "plaindb", "u", REPLICATION_NONE, 3},
	{"TLS too much", "::1", true, "plaindb", "u", REPLICATION_NONE, 0},
	{"the first line counts", "10.1.255.255", false, "netdb", "u", REPLICATION_NONE, 4},
	{"the mask of the second", "10.2.0.0", false, "netdb", "u", REPLICATION_NONE, 5},
	{"outside of both", "11.1.0.0", false, "netdb", "u", REPLICATION_NONE, 0},
	{"bits that are no whole byte", "2001:db8:7fff::1", false, "netdb", "u", REPLICATION_NONE, 6},
	{"one bit beyond", "2001:db8:8000::1", false, "netdb", "u", REPLICATION_NONE, 0},
	{"sameuser", "127.0.0.1", false, "joe", "joe", REPLICATION_NONE, 7},
	{"physical replication needs the word", "127.0.0.1", false, "u", "u", REPLICATION_PHYSICAL, 8},
	{"logical replication goes by name", "127.0.0.1", false, "c", "u1", REPLICATION_LOGICAL, 10},
	{"a database of that name", "127.0.0.1", false, "replication", "u", REPLICATION_NONE, 9},
	{"names of a file", "127.0.0.1", false, "d d", "u 2", REPLICATION_NONE, 10},
	{"names are told apart by case", "127.0.0.1", false, "D d", "u 2", REPLICATION_NONE, 0},
	{"a wallet in any case", "127.0.0.1", false, "wdb", WALLET_LOWER, REPLICATION_NONE, 11},
	{"a wallet with a wrong checksum", "127.0.0.1", false, "wdb", WALLET_WRONG, REPLICATION_NONE, 11},
	{"another wallet", "127.0.0.1", false, "wdb", OTHER_LOWER, REPLICATION_NONE, 0},
	{"all in quotes is a name", "127.0.0.1", false, "all", "all", REPLICATION_NONE, 7},
	{"IPv4 only", "127.0.0.1", false, "last", "u", REPLICATION_NONE, 13},
	{"not IPv6", "::1", false, "last", "u", REPLICATION_NONE, 0},
	{"a list without file", NULL, false, "x", "u", REPLICATION_NONE, 14},
};

static void the_first_line_that_fits_decides(void **state)
{
	struct hba_rules *rules = rules_of(many_rules);

	(void)state;
	assert_string_equal(logged(), "");
	for (size_t i = 0; i < ARRAY_LEN(matches); i++) {
		const struct hba_rule *rule;
		uint8_t address[16] = {0};
		struct hba_facts f = {.is_unix = !matches[i].from, .is_tls = matches[i].is_tls, .address = address,
				      .database = matches[i].database, .user = matches[i].user,
				      .replication = matches[i].replication};

		if (matches[i].from) {
			f.family = strchr(matches[i].from, ':') ? AF_INET6 : AF_INET;
			assert_int_equal(inet_pton(f.family, matches[i].from, address), 1);
		}
		rule = hba_match(rules, &f);
		if ((rule ? rule->line : 0) != matches[i].line)
			fail_msg("%s: line %d", matches[i].says, rule ? rule->line : 0);
	}
	hba_unref(rules);
}

static void no_rules_fit_nobody(void **state)
{
	(void)state;
	assert_null(hba_match(NULL, &(struct hba_facts){.is_unix = true, .database = "a", .user = "b"}));
	assert_int_equal(hba_count(NULL), 0);
}

static void a_wallet_is_sameuser_in_any_case(void **state)
{
	struct hba_rules *rules = rules_of("local sameuser all ecdsa");

	(void)state;
	assert_non_null(hba_match(rules, &(struct hba_facts){.is_unix = true, .database = WALLET_LOWER, .user = WALLET}));
	hba_unref(rules);
}

static void thousands_of_lines_and_names_are_matched(void **state)
{
	enum { LINES = 5000 };
	char *text = xmalloc(LINES * 40), *at = text;
	struct hba_rules *rules;
	const struct hba_rule *rule;

	(void)state;
	for (int i = 1; i <= LINES; i++)
		at += sprintf(at, "local d%d a%d,b%d,c%d md5\n", i, i, i, i);
	rules = rules_of(text);
	assert_int_equal(hba_count(rules), LINES);
	for (int i = 1; i <= LINES; i += 499) {
		char database[20], user[20];

		sprintf(database, "d%d", i);
		sprintf(user, "b%d", i);
		rule = hba_match(rules, &(struct hba_facts){.is_unix = true, .database = database, .user = user});
		assert_non_null(rule);
		assert_int_equal(rule->line, i);
	}
	hba_unref(rules);
	free(text);
}

/* --- ident maps ----------------------------------------------------------------------- */

#define IDENT_SKIPPED "WARNING could not parse ident config line 1\n"

static const struct {
	const char *says, *line, *warnings; /* NULL: taken without a word */
} ident_lines[] = {
	{"three names", "m sys user", NULL},
	{"quoted names", "m \"s y s\" \"u\"\"x\"", NULL},
	{"all", "m sys all # comment", NULL},
	{"a date", "m sys user valid-until=2030-01-01T00:00:00Z", NULL},
	{"signs of other files are letters here", "m @f +g", NULL},
	{"a quoted map", "\"m\" sys user", IDENT_SKIPPED},
	{"two names", "m sys", IDENT_SKIPPED},
	{"one name", "m", IDENT_SKIPPED},
	{"a list", "m a,b c", IDENT_SKIPPED},
	{"a quote that does not end", "m \"a b", IDENT_SKIPPED},
	{"four names", "m sys user more", "WARNING ident line 1: unsupported parameters\n" IDENT_SKIPPED},
	{"a comma behind", "m sys user,", "WARNING ident line 1: unsupported parameters\n" IDENT_SKIPPED},
	{"two dates", "m sys user valid-until=2030-01-01 valid-until=2030-01-01",
	 "WARNING ident line 1: unsupported parameters\n" IDENT_SKIPPED},
};

static void each_ident_line_is_taken_or_skipped(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ident_lines); i++) {
		struct ident_maps *maps;
		const char *have;

		logged();
		maps = maps_of(ident_lines[i].line);
		have = logged();
		if (strcmp(have, ident_lines[i].warnings ? ident_lines[i].warnings : "") != 0)
			fail_msg("%s: logged %s", ident_lines[i].says, have);
		if (!ident_find(maps, "m") != !!ident_lines[i].warnings)
			fail_msg("%s: taken or not", ident_lines[i].says);
		ident_unref(maps);
	}
}

static void what_would_let_another_line_decide_refuses_the_maps(void **state)
{
	(void)state;
	assert_null(maps_of("\nm " WALLET_WRONG " user\n"));
	assert_non_null(strstr(logged(), "auth_ident_file: wallet address " WALLET_WRONG
				" has a wrong checksum, the correct spelling is " WALLET " (/etc/x/ident:2)"));
	assert_null(maps_of("m sys user valid-until=soon\n"));
	assert_non_null(strstr(logged(), "found \"valid-until=soon\", expected valid-until=YYYY-MM-DDThh:mm:ssZ"));
}

static void lines_of_one_map_add_up(void **state)
{
	struct ident_maps *maps = maps_of("a s1 u1\nb s2 u2\na s3 all valid-until=1970-01-01T00:00:10Z\n");
	const struct ident_map *m = ident_find(maps, "a");

	(void)state;
	assert_int_equal(m->count, 2);
	assert_string_equal(m->lines[0].system_user, "s1");
	assert_true(ident_line_allows(&m->lines[0], "u1", INT64_MAX - 1));
	assert_false(ident_line_allows(&m->lines[0], "u2", 0));
	assert_true(ident_line_allows(&m->lines[1], "anybody", 9));
	assert_false(ident_line_allows(&m->lines[1], "anybody", 10));
	assert_null(ident_find(maps, "c"));
	assert_null(ident_find(NULL, "a"));
	ident_unref(maps);
}

static const struct {
	const char *says, *map, *wallet, *user;
	int64_t now;
	enum ident_verdict verdict;
	const char *role;
} wallet_lines[] = {
	{"the first line gives the role", "m", WALLET, NULL, 0, IDENT_FOUND, "analyst"},
	{"a wallet without line", "m", "0xde709f2102306220921060314715629080e2fb77", NULL, 0, IDENT_NO_LINE, NULL},
	{"all gives none", "m", OTHER_LOWER, NULL, 0, IDENT_FOUND, NULL},
	{"as a role", "m", WALLET, "analyst", 0, IDENT_FOUND, "analyst"},
	{"as another role of the same wallet", "m", WALLET, "writer", 0, IDENT_FOUND, "writer"},
	{"as nobody's role", "m", WALLET, "postgres", 0, IDENT_NO_LINE, NULL},
	{"all is any role", "m", OTHER_LOWER, "postgres", 0, IDENT_FOUND, "postgres"},
	{"all in quotes is a role", "quoted", WALLET, NULL, 0, IDENT_FOUND, "all"},
	{"and no other", "quoted", WALLET, "postgres", 0, IDENT_NO_LINE, NULL},
	{"a map of one line", "dated", WALLET, NULL, 99, IDENT_FOUND, "guest"},
	{"its last second has passed", "dated", WALLET, NULL, 100, IDENT_EXPIRED, NULL},
	{"an expired line is passed over", "two", WALLET, NULL, 100, IDENT_FOUND, "later"},
	{"which only one role had", "two", WALLET, "first", 100, IDENT_EXPIRED, NULL},
};

static void wallets_find_their_line(void **state)
{
	struct ident_maps *maps = maps_of("m joe analyst\nm " WALLET " analyst\nm " OTHER_LOWER " all\nm " WALLET_LOWER
					  " writer\ndated " WALLET " guest valid-until=1970-01-01T00:01:40Z\ntwo " WALLET
					  " first valid-until=1970-01-01T00:01:40Z\ntwo " WALLET
					  " later\nquoted " WALLET " \"all\"\n");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wallet_lines); i++) {
		struct wallet_address a;
		const char *role = "unset";

		assert_true(wallet_address_parse(wallet_lines[i].wallet, WALLET_TEXT_LEN, &a));
		if (ident_judge_wallet(ident_find(maps, wallet_lines[i].map), &a, wallet_lines[i].user,
				       wallet_lines[i].now, &role) != wallet_lines[i].verdict)
			fail_msg("%s: verdict", wallet_lines[i].says);
		if (!role != !wallet_lines[i].role || (role && strcmp(role, wallet_lines[i].role) != 0))
			fail_msg("%s: role %s", wallet_lines[i].says, role ? role : "none");
	}
	ident_unref(maps);
}

/* --- files ------------------------------------------------------------------------------ */

static void write_file(const char *name, const char *text)
{
	FILE *f = fopen(name, "w");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static void an_unreadable_file_is_an_empty_one(void **state)
{
	struct ident_maps *maps;
	struct hba_rules *rules;

	(void)state;
	maps = ident_load("no-ident");
	assert_non_null(maps);
	assert_string_equal(logged(), "ERROR could not open ident config file no-ident: No such file or directory\n");
	rules = hba_load("no-hba", maps);
	assert_non_null(rules);
	assert_int_equal(hba_count(rules), 0);
	assert_string_equal(logged(), "ERROR could not open hba config file no-hba: No such file or directory\n");
	hba_unref(rules);
	ident_unref(maps);
	maps = ident_load(NULL);
	assert_string_equal(logged(), "");
	ident_unref(maps);
}

#define HBA_INI "[pgbouncer]\nauth_type=hba\nauth_hba_file=hba\nauth_ident_file=ident\n"

static struct config *load(const char *text, const struct config *prev)
{
	write_file("t.ini", text);
	return config_load("t.ini", prev, 0);
}

static void rules_are_read_by_loads_and_by_nothing_else(void **state)
{
	struct config *a, *b;

	(void)state;
	write_file("ident", "m a b\n");
	write_file("names", "n1\nn2\n");
	write_file("hba", "local all @names peer map=m\n");
	a = load(HBA_INI, NULL);
	assert_string_equal(logged(), "");
	assert_int_equal(hba_count(config_hba(a)), 1);

	/* SET keeps them. */
	write_file("hba", "local all all trust\nlocal all all md5\n");
	b = config_set(a, "default_pool_size", "3");
	assert_ptr_equal(config_hba(a), config_hba(b));
	config_unref(a);
	a = config_set(b, "auth_hba_file", "other");
	assert_ptr_equal(config_hba(a), config_hba(b));
	config_unref(b);

	b = load(HBA_INI, a);
	assert_int_equal(hba_count(config_hba(b)), 2);
	config_unref(a);

	/* A format that can let nobody in, by settings that came or went. */
	write_file("hba", "local all all trust\nlocal all all ecdsa formats=bound\n");
	logged();
	assert_null(load(HBA_INI, b));
	assert_non_null(strstr(logged(), "hba line 2: format bound lets nobody in while ecdsa_server_names is empty (hba:2)"));
	a = load(HBA_INI "ecdsa_server_names=db\n", b);
	assert_non_null(a);
	logged();
	assert_null(config_set(a, "ecdsa_server_names", ""));
	assert_non_null(strstr(logged(), "hba line 2: format bound"));
	config_unref(a);

	/* What refuses the rules refuses the load. */
	write_file("hba", "local all all ecdsa replay=twice\n");
	logged();
	assert_null(load(HBA_INI, b));
	assert_non_null(strstr(logged(), "config file loading failed"));

	/* Another auth_type drops them at the next load; SET back does not bring them. */
	a = load("[pgbouncer]\nauth_type=trust\n", b);
	assert_null(config_hba(a));
	config_unref(b);
	b = config_set(a, "auth_type", "hba");
	assert_non_null(b);
	assert_null(config_hba(b));
	config_unref(a);
	config_unref(b);
}

/* --- dates -------------------------------------------------------------------------------- */

static const struct {
	const char *text;
	int64_t seconds; /* -1: no date */
} dates[] = {
	{"1970-01-01T00:00:00Z", 0}, {"1970-01-01", 0}, {"2026-12-31", 1798675200},
	{"2026-12-31T23:59:59Z", 1798761599}, {"2026-12-31t23:59:59z", 1798761599},
	{"2026-12-31 23:59:59Z", 1798761599}, {"2026-12-31T23:59:59.999Z", 1798761599},
	{"2027-01-01T01:59:59+02:00", 1798761599}, {"2026-12-31T13:29:59-10:30", 1798761599},
	{"2024-02-29", 1709164800}, {"2000-02-29", 951782400}, {"2016-12-31T23:59:60Z", 1483228800},
	{"9999-12-31T23:59:59Z", INT64_C(253402300799)},
	{"2023-02-29", -1}, {"1900-02-29", -1}, {"2026-13-01", -1}, {"2026-00-01", -1}, {"2026-01-00", -1},
	{"2026-04-31", -1}, {"2026-1-1", -1}, {"26-01-01", -1}, {"", -1}, {"2026", -1}, {"2026-01-01T", -1},
	{"2026-01-01T00:00:00", -1}, {"2026-01-01T24:00:00Z", -1}, {"2026-01-01T00:60:00Z", -1},
	{"2026-01-01T00:00:61Z", -1}, {"2026-01-01T00:00:00.Z", -1}, {"2026-01-01T00:00:00+2", -1},
	{"2026-01-01T00:00:00+24:00", -1}, {"2026-01-01T00:00:00Zx", -1}, {" 2026-01-01", -1}, {"+2026-01-01", -1},
};

static void dates_are_read_as_rfc_3339_writes_them(void **state)
{
	int64_t seconds;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(dates); i++) {
		bool ok = rfc3339_parse(dates[i].text, strlen(dates[i].text), &seconds);

		if (ok != (dates[i].seconds >= 0) || (ok && seconds != dates[i].seconds))
			fail_msg("%s: %lld", dates[i].text, ok ? (long long)seconds : -1);
	}
	assert_true(rfc3339_parse("0000-01-01", 10, &seconds));
	assert_int_equal(seconds, INT64_C(-62167219200));
	assert_true(rfc3339_parse("0001-03-01", 10, &seconds));
	assert_int_equal(seconds, INT64_C(-62130499200));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_line_is_taken_or_skipped_with_its_warning),
		cmocka_unit_test(host_bits_make_a_line_that_fits_nobody),
		cmocka_unit_test(a_bad_line_does_not_harm_its_neighbours),
		cmocka_unit_test(files_in_files_are_bounded),
		cmocka_unit_test(what_must_not_be_skipped_refuses_the_load),
		cmocka_unit_test(options_of_ecdsa_override_settings),
		cmocka_unit_test(ldap_options_are_kept_as_they_stand),
		cmocka_unit_test(the_first_line_that_fits_decides),
		cmocka_unit_test(no_rules_fit_nobody),
		cmocka_unit_test(a_wallet_is_sameuser_in_any_case),
		cmocka_unit_test(thousands_of_lines_and_names_are_matched),
		cmocka_unit_test(each_ident_line_is_taken_or_skipped),
		cmocka_unit_test(what_would_let_another_line_decide_refuses_the_maps),
		cmocka_unit_test(lines_of_one_map_add_up),
		cmocka_unit_test(wallets_find_their_line),
		cmocka_unit_test(an_unreadable_file_is_an_empty_one),
		cmocka_unit_test(rules_are_read_by_loads_and_by_nothing_else),
		cmocka_unit_test(dates_are_read_as_rfc_3339_writes_them),
	};

	return cmocka_run_group_tests_name("hba", tests, in_own_directory, remove_directory);
}
