/* Unit tests of backup/config.h, backup/dump_args.h and backup/secret.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/config.h"
#include "backup/dump_args.h"
#include "backup/event.h"
#include "lib/mem.h"

#define SEC USEC_PER_SEC

/* ---- one load, with what it says ---- */

static char dir[] = "/tmp/test-backup-config-XXXXXX";
static char ini_path[64], secret_path[64], said[16384];

static int make_dir(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(ini_path, sizeof(ini_path), "%s/b.ini", dir);
	snprintf(secret_path, sizeof(secret_path), "%s/secret", dir);
	event_open(EVENT_TEXT, false, false);
	secret_heap_open();
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	unlink(ini_path);
	unlink(secret_path);
	return rmdir(dir);
}

static void put_file(const char *path, const char *text, size_t len, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);

	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, mode), 0);
	assert_int_equal(write(fd, text, len), (ssize_t)len);
	close(fd);
}

/* variables: "NAME=value" apart by '|'. Its environment is private, and writable as the real one is. */
static struct config *load(const char *variables, const char *ini)
{
	char *copy = xstrdup(variables), *envp[32], *at;
	struct environment *e;
	struct config *c;
	FILE *log = tmpfile();
	int real = dup(2), n = 0;
	size_t len;

	for (at = strtok(copy, "|"); at; at = strtok(NULL, "|"))
		envp[n++] = at;
	envp[n] = NULL;
	if (ini)
		put_file(ini_path, ini, strlen(ini), 0600);
	dup2(fileno(log), 2);
	e = environment_take(envp);
	c = config_load(ini ? ini_path : NULL, e, NULL);
	environment_free(e);
	dup2(real, 2);
	close(real);
	rewind(log);
	len = fread(said, 1, sizeof(said) - 1, log);
	said[len] = 0;
	fclose(log);
	free(copy);
	return c;
}

static void refuses(const char *variables, const char *ini, const char *variable, const char *why)
{
	struct config *c = load(variables, ini);

	if (c || !strstr(said, variable) || !strstr(said, why))
		fail_msg("{%s} {%s}: %s, said: %s", variables, ini ? ini : "", c ? "taken" : "refused", said);
	config_free(c);
}

static struct config *takes(const char *variables, const char *ini)
{
	struct config *c = load(variables, ini);

	if (!c)
		fail_msg("{%s} {%s} refused: %s", variables, ini ? ini : "", said);
	return c;
}

/* ---- values ---- */

static void spans_and_sizes(void **state)
{
	static const struct {
		const char *text;
		int64_t value; /* -1: refused */
	} spans[] = {{"90", 90}, {"90s", 90}, {"15m", 900}, {"12h", 43200}, {"7d", 604800}, {"0", 0}, {"", -1},
		     {"-1", -1}, {"+1", -1}, {" 1", -1}, {"1 ", -1}, {"1.5h", -1}, {"1h30m", -1}, {"h", -1}, {"1w", -1},
		     {"9223372036854775808", -1}, {"9223372036854", 9223372036854}, {"9223372036855", -1},
		     {"99999999999999999d", -1}, {"0x10", -1}},
	  sizes[] = {{"65536", 65536}, {"64k", 65536}, {"64K", 65536}, {"8M", 8388608}, {"5G", 5368709120},
		     {"0", 0}, {"", -1}, {"8MB", -1}, {"-8M", -1}, {"8589934592G", -1}, {"8589934591G", 8589934591LL << 30},
		     {"9223372036854775807", INT64_MAX}, {"1T", -1}};
	usec_t span;
	uint64_t size;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(spans); i++)
		if (parse_span(spans[i].text, &span) != (spans[i].value >= 0) ||
		    (spans[i].value >= 0 && span != spans[i].value * SEC))
			fail_msg("span '%s'", spans[i].text);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
		if (parse_size(sizes[i].text, &size) != (sizes[i].value >= 0) ||
		    (sizes[i].value >= 0 && size != (uint64_t)sizes[i].value))
			fail_msg("size '%s'", sizes[i].text);
}

static void nothing_said_is_the_contract(void **state)
{
	struct config *c = takes("", NULL);

	(void)state;
	assert_string_equal(c->s3_prefix, "pg-backup");
	assert_int_equal(c->schedule_interval, 86400 * SEC);
	assert_int_equal(c->retention_count, -1);
	assert_int_equal(c->retention_days, -1);
	assert_string_equal(c->postgres_host, "localhost");
	assert_int_equal(c->postgres_port, 5432);
	assert_string_equal(c->postgres_user, "postgres");
	assert_string_equal(c->postgres_password.bytes, "postgres");
	assert_string_equal(c->postgres_database, "postgres");
	assert_string_equal(c->s3_region, "auto");
	assert_int_equal(c->encryption_format, 1);
	assert_int_equal(c->schedule_initial_delay, 60 * SEC);
	assert_int_equal(config_min_spacing(c), 300 * SEC);
	assert_int_equal(config_jitter(c), 300 * SEC);
	assert_false(config_is_enabled(c));
	assert_false(c->is_given[SETTING_s3_prefix]);
	assert_string_equal(said, "");
	config_free(c);
}

static void every_variable_of_the_contract_is_taken(void **state)
{
	struct config *c = takes("BACKUP_S3_ENDPOINT=https://s3.example.org:9000/base|BACKUP_S3_BUCKET=b|"
				 "BACKUP_S3_ACCESS_KEY=ak|BACKUP_S3_SECRET_KEY=sk|BACKUP_S3_REGION=eu-1|BACKUP_PREFIX=my-app|"
				 "BACKUP_INTERVAL_SECS=3600|BACKUP_RETENTION_COUNT=7|BACKUP_RETENTION_DAYS=30|"
				 "MNEMONIC=one two three four five six seven eight nine ten eleven twelve|"
				 "PG_HOST=db|PG_PORT=5433|PG_USER=u|PG_PASSWORD=p|PG_DATABASE=d", NULL);

	(void)state;
	assert_string_equal(c->s3_endpoint, "https://s3.example.org:9000/base");
	assert_string_equal(c->s3_bucket, "b");
	assert_string_equal(c->s3_access_key.bytes, "ak");
	assert_string_equal(c->s3_secret_key.bytes, "sk");
	assert_string_equal(c->s3_region, "eu-1");
	assert_string_equal(c->s3_prefix, "my-app");
	assert_int_equal(c->schedule_interval, 3600 * SEC);
	assert_int_equal(c->retention_count, 7);
	assert_int_equal(c->retention_days, 30);
	assert_int_equal(c->encryption_mnemonic.len, 62);
	assert_string_equal(c->postgres_host, "db");
	assert_int_equal(c->postgres_port, 5433);
	assert_string_equal(c->postgres_password.bytes, "p");
	assert_true(config_is_enabled(c));
	assert_string_equal(said, "");
	config_free(c);
}

static void an_empty_variable_is_unset(void **state)
{
	struct config *c = takes("MNEMONIC=|BACKUP_PREFIX=|PG_HOST=|BACKUP_RETENTION_COUNT=|BACKUP_S3_ENDPOINT=|"
				 "PG_PASSWORD=|PG_PASSWORD_FILE=", NULL);

	(void)state;
	assert_null(c->encryption_mnemonic.bytes);
	assert_string_equal(c->s3_prefix, "pg-backup");
	assert_string_equal(c->postgres_host, "localhost");
	assert_int_equal(c->retention_count, -1);
	assert_string_equal(c->postgres_password.bytes, "postgres");
	config_free(c);
}

/* Weaknesses 10, 12, 14 of the backup specification, section 2. */
static void what_does_not_parse_is_an_error_that_names_it(void **state)
{
	static const char *const rows[][3] = {
		{"BACKUP_RETENTION_COUNT=0", "BACKUP_RETENTION_COUNT", "out of range"},
		{"BACKUP_RETENTION_COUNT=seven", "BACKUP_RETENTION_COUNT", "'seven' is not a whole number"},
		{"BACKUP_RETENTION_COUNT=-1", "BACKUP_RETENTION_COUNT", "not a whole number"},
		{"BACKUP_RETENTION_DAYS=30d", "BACKUP_RETENTION_DAYS", "not a whole number"},
		{"BACKUP_INTERVAL_SECS=0", "BACKUP_INTERVAL_SECS", "out of range"},
		{"BACKUP_INTERVAL_SECS=daily", "BACKUP_INTERVAL_SECS", "not a duration"},
		{"PG_PORT=0", "PG_PORT", "out of range"},
		{"PG_PORT=65536", "PG_PORT", "out of range"},
		{"BACKUP_FORMAT=3", "BACKUP_FORMAT", "out of range"},
		{"BACKUP_ENCRYPTION=aes", "BACKUP_ENCRYPTION", "none of: mnemonic key none"},
		{"BACKUP_PREFIX=/", "BACKUP_PREFIX", "slash"},
		{"BACKUP_PREFIX=/a", "BACKUP_PREFIX", "slash"},
		{"BACKUP_PREFIX=a\tb", "BACKUP_PREFIX", "control"},
		{"BACKUP_PREFIX=_manifest/x", "BACKUP_PREFIX", "manifests"},
		{"BACKUP_S3_ENDPOINT=s3.example.org", "BACKUP_S3_ENDPOINT", "scheme"},
		{"BACKUP_S3_ENDPOINT=http://s3.example.org", "BACKUP_S3_ENDPOINT", "allow_http"},
		{"BACKUP_S3_ENDPOINT=http://127.example.org", "BACKUP_S3_ENDPOINT", "allow_http"},
		{"BACKUP_S3_ENDPOINT=http://127.0.0.1.example.org", "BACKUP_S3_ENDPOINT", "allow_http"},
		{"BACKUP_S3_ENDPOINT=https://user:pw@s3.example.org", "BACKUP_S3_ENDPOINT", "nothing else"},
		{"BACKUP_S3_ENDPOINT=https://", "BACKUP_S3_ENDPOINT", "no host"},
		{"BACKUP_S3_ENDPOINT=file://relative", "BACKUP_S3_ENDPOINT", "absolute"},
		{"BACKUP_S3_INSECURE=yes", "BACKUP_S3_INSECURE", "i_understand"},
		{"BACKUP_S3_INSECURE=maybe", "BACKUP_S3_INSECURE", "neither yes nor no"},
		{"BACKUP_S3_PART_SIZE=1M", "BACKUP_S3_PART_SIZE", "out of range"},
		{"BACKUP_S3_PART_SIZE=8MB", "BACKUP_S3_PART_SIZE", "not a size"},
		{"BACKUP_ENCRYPTION_SEGMENT_SIZE=5000", "BACKUP_ENCRYPTION_SEGMENT_SIZE", "power of two"},
		{"BACKUP_ENCRYPTION=key", "BACKUP_ENCRYPTION_KEY_FILE", "is needed"},
		{"BACKUP_AT=03:00|BACKUP_INTERVAL_SECS=3600", "BACKUP_AT", "exclude each other"},
		{"BACKUP_AT=25:00", "BACKUP_AT", "not a time of day"},
		{"BACKUP_AT=0 0 31 2 *", "BACKUP_AT", "never comes"},
		{"BACKUP_AT=03:00|BACKUP_SCHEDULE_TIMEZONE=Europe/Atlantis", "BACKUP_SCHEDULE_TIMEZONE", "not a time zone"},
		{"BACKUP_METRICS_PING_URL=ftp://x", "BACKUP_METRICS_PING_URL", "must begin"},
		{"BACKUP_DUMP_ARGS=--file=/tmp/x", "BACKUP_DUMP_ARGS", "may be given"},
		{"BACKUP_COMPRESS=zip", "BACKUP_COMPRESS", "none of"},
		{"BACKUP_METRICS_LISTEN=0.0.0.0:9188", "BACKUP_METRICS_LISTEN", "loopback"},
		{"BACKUP_METRICS_HOOK=hook.sh", "BACKUP_METRICS_HOOK", "absolute"},
		{"BACKUP_VERIFY_DRILL_DATABASE_PREFIX=app", "BACKUP_VERIFY_DRILL_DATABASE_PREFIX", "6 to 40"},
		{"BACKUP_POSTGRES_DUMP_FROM=standby", "BACKUP_POSTGRES_STANDBY_HOST", "is needed"},
		{"MNEMONIC=a|MNEMONIC_FILE=/b", "MNEMONIC", "both set"},
		{"MNEMONIC_FILE=/nowhere/at/all", "MNEMONIC_FILE", "could not read"},
	};
	char prefix[600] = "BACKUP_PREFIX=";

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		refuses(rows[i][0], NULL, rows[i][1], rows[i][2]);
	memset(prefix + 14, 'a', 513);
	refuses(prefix, NULL, "BACKUP_PREFIX", "512");
}

static void all_problems_are_named_at_once(void **state)
{
	(void)state;
	refuses("PG_PORT=x|BACKUP_RETENTION_COUNT=0", NULL, "PG_PORT", "BACKUP_RETENTION_COUNT");
	refuses("BACKUP_PREFIX=/a|BACKUP_METRICS_HOOK=x", NULL, "BACKUP_PREFIX", "BACKUP_METRICS_HOOK");
}

static void warnings_do_not_stop(void **state)
{
	static const char *const rows[][3] = {
		{"BACKUP_PREFIX=a//", "BACKUP_PREFIX", "dropped"},
		{"BACKUP_INTERVAL_SECS=59", "BACKUP_INTERVAL_SECS", "less than a minute"},
		{"BACKUP_RETENTON_COUNT=7", "BACKUP_RETENTON_COUNT", "no such setting"},
		{"MNEMONIC=too short", "MNEMONIC", "fewer than 12"},
		{"MNEMONIC=one two three four five six seven eight nine ten eleven twelve ", "MNEMONIC", "white space"},
		{"MNEMONIC=test test test test test test test test test test test junk", "MNEMONIC", "published"},
		{"BACKUP_S3_INSECURE=yes|BACKUP_S3_I_UNDERSTAND=yes", "BACKUP_S3_INSECURE", "not checked"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		config_free(takes(rows[i][0], NULL));
		assert_non_null(strstr(said, rows[i][1]));
		assert_non_null(strstr(said, rows[i][2]));
	}
	config_free(takes("BACKUP_S3_ENDPOINT=http://127.0.0.1:9000|BACKUP_PREFIX=a//", NULL));
	config_free(takes("BACKUP_S3_ENDPOINT=http://[::1]:9000", NULL));
	config_free(takes("BACKUP_S3_ENDPOINT=http://localhost", NULL));
	config_free(takes("BACKUP_S3_ENDPOINT=http://s3.example.org|BACKUP_S3_ALLOW_HTTP=yes", NULL));
}

static void environment_beats_file(void **state)
{
	struct config *c = takes("PG_PORT=6000|BACKUP_RETENTION_DAYS=",
				 "# words\n[postgres]\nport = 7000\nuser = from_file\nhost =\n"
				 "[retention]\ndays = 9\n[encryption]\nmnemonic = file words\n[s3]\nendpoint = file:///var/b\n");

	(void)state;
	assert_int_equal(c->postgres_port, 6000);
	assert_string_equal(c->postgres_user, "from_file");
	assert_string_equal(c->postgres_host, "");
	assert_int_equal(c->retention_days, 9);
	assert_string_equal(c->encryption_mnemonic.bytes, "file words");
	assert_true(config_is_enabled(c));
	assert_string_equal(config_directory(c), "/var/b");
	config_free(c);
}

static void a_bad_file_says_where(void **state)
{
	(void)state;
	refuses("", "[postgres]\nprot = 1\n", "b.ini:2", "no such setting");
	refuses("", "[postgres]\nport = 1\n[postgre]\nport = 1\n", "b.ini:3", "no section");
	refuses("", "port = 1\n", "b.ini:1", "section");
	refuses("", "[s3]\nprefix =\n", "BACKUP_PREFIX", "empty");
	refuses("", "[postgres]\nport\n", "b.ini:2", "syntax error");
	refuses("", "[encryption]\nmnemonic = a\nmnemonic_file = /b\n", "b.ini:3", "both set");
	refuses("", "[postgres]\nport = 1\n[retention]\ncount = 0\ndays = x\n", "b.ini:4", "b.ini:5");
}

static void a_secret_may_come_from_a_file(void **state)
{
	static const struct {
		const char *content, *secret;
		size_t len;
	} rows[] = {{"one two\n", "one two", 7}, {"one two\r\n", "one two", 7}, {"one two\n\n", "one two\n", 8},
		    {" one two ", " one two ", 9}, {"a\0b\n", "a\0b", 3}};
	char variable[128];

	(void)state;
	snprintf(variable, sizeof(variable), "MNEMONIC_FILE=%s", secret_path);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct config *c;

		put_file(secret_path, rows[i].content, i == 4 ? 4 : strlen(rows[i].content), 0600);
		c = takes(variable, NULL);
		assert_int_equal(c->encryption_mnemonic.len, rows[i].len);
		assert_memory_equal(c->encryption_mnemonic.bytes, rows[i].secret, rows[i].len);
		assert_null(strstr(said, "readable"));
		config_free(c);
	}
	put_file(secret_path, "one two\n", 8, 0644);
	config_free(takes(variable, NULL));
	assert_non_null(strstr(said, "readable by every user"));
	put_file(secret_path, "\n", 1, 0600);
	refuses(variable, NULL, "MNEMONIC_FILE", "is empty");
}

static void a_key_file_has_exactly_32_bytes(void **state)
{
	char variables[160];
	struct config *c;

	(void)state;
	snprintf(variables, sizeof(variables), "BACKUP_ENCRYPTION=key|BACKUP_ENCRYPTION_KEY_FILE=%s", secret_path);
	put_file(secret_path, "0123456789abcdef0123456789abcde\n", 32, 0600); /* a line end is a byte of it */
	c = takes(variables, NULL);
	assert_int_equal(c->encryption_key.len, 32);
	config_free(c);
	put_file(secret_path, "0123456789abcdef0123456789abcdef\n", 33, 0600);
	refuses(variables, NULL, "BACKUP_ENCRYPTION_KEY_FILE", "32 bytes");
}

static void secrets_leave_the_environment_and_are_not_shown(void **state)
{
	char mnemonic[] = "MNEMONIC=alpha beta", key[] = "BACKUP_S3_SECRET_KEY=hush", host[] = "PG_HOST=db",
	     aws[] = "AWS_SECRET_ACCESS_KEY=amazonian", *envp[] = {mnemonic, key, host, aws, NULL};
	struct environment *e = environment_take(envp);
	struct config *c = config_load(NULL, e, NULL);
	char shown[256];

	(void)state;
	assert_non_null(c);
	assert_string_equal(c->encryption_mnemonic.bytes, "alpha beta");
	assert_string_equal(c->aws_secret_key.bytes, "amazonian");
	assert_string_equal(mnemonic + 9, "");
	for (size_t i = 0; i < 10; i++)
		assert_int_equal(mnemonic[9 + i], 0);
	assert_string_equal(key + 21, "");
	assert_string_equal(aws + 22, "");
	assert_string_equal(host, "PG_HOST=db");
	config_show(c, SETTING_encryption_mnemonic, shown, sizeof(shown));
	assert_string_equal(shown, "set (10 bytes)");
	config_show(c, SETTING_schedule_interval, shown, sizeof(shown));
	assert_string_equal(shown, "1d");
	config_show(c, SETTING_encryption_segment_size, shown, sizeof(shown));
	assert_string_equal(shown, "1M");
	config_free(c);
	/* Loading again, as SIGHUP does, still knows them. */
	c = config_load(NULL, e, NULL);
	assert_string_equal(c->encryption_mnemonic.bytes, "alpha beta");
	config_free(c);
	environment_free(e);
}

static void the_command_line_beats_all(void **state)
{
	static const struct config_override o[] = {{SETTING_postgres_database, "third"}, {0, NULL}};
	char var[] = "PG_DATABASE=second", *envp[] = {var, NULL};
	struct environment *e = environment_take(envp);
	struct config *c = config_load(NULL, e, o);

	(void)state;
	assert_string_equal(c->postgres_database, "third");
	config_free(c);
	environment_free(e);
}

/* Every setting by its variable and by its key: none is swallowed, none collides. */
static void every_setting_has_its_own_name(void **state)
{
	(void)state;
	for (enum setting_id a = 0; a < SETTING_COUNT; a++)
		for (enum setting_id b = a + 1; b < SETTING_COUNT; b++) {
			assert_string_not_equal(setting_variable(a), setting_variable(b));
			assert_true(strcmp(setting_section(a), setting_section(b)) != 0 ||
				    strcmp(setting_key(a), setting_key(b)) != 0);
		}
	assert_string_equal(setting_variable(SETTING_restore_on_failure), "BACKUP_RESTORE_ON_FAILURE");
	assert_string_equal(setting_variable(SETTING_schedule_initial_delay), "BACKUP_SCHEDULE_INITIAL_DELAY");
}

/* ---- arguments of pg_dump ---- */

static void only_harmless_arguments_reach_pg_dump(void **state)
{
	static const struct {
		const char *text;
		int count; /* -1: refused */
	} rows[] = {
		{"", 0}, {"   ", 0}, {NULL, 0},
		{"--exclude-table=a --schema='my schema' --no-comments", 3},
		{"--exclude-table-data=public.*", 1}, {"--table=\"a b\"\t--no-blobs --no-large-objects", 3},
		{"--compress=9", 1}, {"--no-publications --no-subscriptions", 2},
		{"--file=x", -1}, {"-f x", -1}, {"--format=p", -1}, {"--jobs=2", -1}, {"--dbname=x", -1}, {"--schema", -1},
		{"--schema=", -1}, {"--schemax=a", -1}, {"--no-comments=1", -1}, {"--schema='a", -1}, {"x", -1},
		{"--encoding=LATIN1", -1}, {"--exclude-table-evil=x", -1}, {"''", -1},
	};
	struct dump_args a;
	char why[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		bool ok = dump_args_parse(rows[i].text, &a, why, sizeof(why));

		if (ok != (rows[i].count >= 0) || (ok && a.count != (size_t)rows[i].count))
			fail_msg("'%s': %d", rows[i].text, ok ? (int)a.count : -1);
		dump_args_free(&a);
	}
	assert_true(dump_args_parse("--schema='my schema'", &a, why, sizeof(why)));
	assert_string_equal(a.words[0], "--schema=my schema");
	assert_null(a.words[1]);
	dump_args_free(&a);
}

static void compression_is_said_as_the_tool_understands_it(void **state)
{
	static const struct {
		const char *text;
		int major;
		const char *argument; /* NULL: it cannot */
	} rows[] = {{"gzip:9", 15, "--compress=9"}, {"gzip:9", 16, "--compress=gzip:9"}, {"gzip", 15, "--compress=6"},
		    {"none", 14, "--compress=0"}, {"none", 17, "--compress=none"}, {"zstd:19", 15, NULL},
		    {"zstd:19", 16, "--compress=zstd:19"}, {"lz4", 16, "--compress=lz4"}, {"lz4", 15, NULL}};
	static const char *const wrong[] = {"", "gzip:", "gzip:0", "gzip:10", "zstd:20", "lz4:1", "none:1", "gzip:1x", "GZIP"};
	struct compress c;
	char out[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *got;

		assert_true(compress_parse(rows[i].text, &c));
		got = compress_argument(&c, rows[i].major, out);
		if ((got == NULL) != (rows[i].argument == NULL) || (got && strcmp(got, rows[i].argument) != 0))
			fail_msg("%s for %d: %s", rows[i].text, rows[i].major, got ? got : "nothing");
	}
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_false(compress_parse(wrong[i], &c));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spans_and_sizes),
		cmocka_unit_test(nothing_said_is_the_contract),
		cmocka_unit_test(every_variable_of_the_contract_is_taken),
		cmocka_unit_test(an_empty_variable_is_unset),
		cmocka_unit_test(what_does_not_parse_is_an_error_that_names_it),
		cmocka_unit_test(all_problems_are_named_at_once),
		cmocka_unit_test(warnings_do_not_stop),
		cmocka_unit_test(environment_beats_file),
		cmocka_unit_test(a_bad_file_says_where),
		cmocka_unit_test(a_secret_may_come_from_a_file),
		cmocka_unit_test(a_key_file_has_exactly_32_bytes),
		cmocka_unit_test(secrets_leave_the_environment_and_are_not_shown),
		cmocka_unit_test(the_command_line_beats_all),
		cmocka_unit_test(every_setting_has_its_own_name),
		cmocka_unit_test(only_harmless_arguments_reach_pg_dump),
		cmocka_unit_test(compression_is_said_as_the_tool_understands_it),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
