/* Rules that concern more than one setting, or more than its type. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "backup/dump_args.h"
#include "backup/object_name.h"
#include "backup/schedule.h"
#include "config_parts.h"
#include "lib/mem.h"

#define URL_MAX 2048

static bool complain(enum setting_id id, const char *why)
{
	config_complain(setting_variable(id), "%s", why);
	return false;
}

static void warn(enum setting_id id, const char *why)
{
	config_warn(setting_variable(id), "%s", why);
}

static bool has_control(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return true;
	return false;
}

static bool check_prefix(struct config *c)
{
	char clean[PREFIX_MAX + 1];
	const char *why, *p = c->s3_prefix;
	const enum setting_id id = SETTING_s3_prefix;
	bool had_slashes;

	if (!prefix_clean(p, clean, &had_slashes, &why))
		return complain(id, why);
	/* Folders named by nothing would lie between prefix and backups. */
	if (had_slashes)
		warn(id, "slashes at the end are dropped");
	free(c->s3_prefix);
	c->s3_prefix = xstrdup(clean);
	if (strcmp(clean, "_manifest") == 0 || strncmp(clean, "_manifest/", 10) == 0)
		return complain(id, "_manifest is where manifests are kept");
	return true;
}

/* host of scheme://host[:port][/path], without brackets. */
static bool host_is_loopback(const char *url)
{
	const char *host = strstr(url, "://") + 3;
	size_t len = strcspn(host, ":/");
	struct in_addr v4;
	char text[64];

	if (strncmp(host, "[::1]", 5) == 0)
		return true;
	if (len == 9 && strncasecmp(host, "localhost", 9) == 0)
		return true;
	if (len >= sizeof(text))
		return false;
	memcpy(text, host, len);
	text[len] = 0;
	/* As an address, so that 127.example.org is not one. */
	return inet_pton(AF_INET, text, &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127;
}

static bool check_endpoint(struct config *c)
{
	const char *e = c->s3_endpoint;
	const enum setting_id id = SETTING_s3_endpoint;
	const char *host;

	if (!e)
		return true;
	if (strlen(e) > URL_MAX || has_control(e) || strchr(e, ' '))
		return complain(id, "is not an address");
	if (config_is_directory(c))
		return config_directory(c)[0] == '/' || complain(id, "file:// needs an absolute path: file:///path");
	if (strncasecmp(e, "https://", 8) != 0 && strncasecmp(e, "http://", 7) != 0)
		return complain(id, "needs a scheme: https://host, or file:///directory");
	host = strstr(e, "://") + 3;
	if (!*host || *host == '/' || *host == ':')
		return complain(id, "has no host in it");
	if (strchr(e, '@') || strchr(e, '?') || strchr(e, '#'))
		return complain(id, "may have a host, a port and a path, nothing else");
	if (strncasecmp(e, "http://", 7) == 0 && !host_is_loopback(e) && !c->s3_allow_http)
		return complain(id, "http:// would show data and names to the network; allow_http = yes permits it");
	return true;
}

static bool check_store(struct config *c)
{
	bool ok = check_prefix(c) & check_endpoint(c);

	if (c->s3_insecure && !c->s3_i_understand)
		ok = complain(SETTING_s3_insecure, "needs i_understand = yes as well: anybody on the way could read and change backups");
	if (c->s3_insecure)
		warn(SETTING_s3_insecure, "the store's certificate is not checked");
	if (c->s3_unsigned_payload && c->s3_endpoint && strncasecmp(c->s3_endpoint, "https://", 8) != 0)
		ok = complain(SETTING_s3_unsigned_payload, "needs https://");
	if (c->s3_bucket && (strchr(c->s3_bucket, '/') || has_control(c->s3_bucket)))
		ok = complain(SETTING_s3_bucket, "is not the name of a bucket");
	if (c->s3_part_size == 0 && c->is_given[SETTING_s3_part_size])
		ok = complain(SETTING_s3_part_size, "may not be 0");
	return ok;
}

static int words_in(const char *text, size_t len)
{
	int n = 0;

	for (size_t i = 0; i < len; i++)
		n += text[i] != ' ' && (i == 0 || text[i - 1] == ' ');
	return n;
}

/* What wallets and test networks print in their manuals. */
static const char *const published[] = {
	"test test test test test test test test test test test junk",
	"abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about",
	"legal winner thank year wave sausage worth useful legal winner thank yellow",
	"letter advice cage absurd amount doctor acoustic avoid letter advice cage above",
	"zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo wrong",
	"candy maple cake sugar pudding cream honey rich smooth crumble sweet treat",
	"myth like bonus scare over problem client lizard pioneer submit female collect",
};

static void warn_about_mnemonic(const struct secret *m)
{
	const enum setting_id id = SETTING_encryption_mnemonic;

	if (!m->bytes)
		return;
	if (m->len < 24 || words_in(m->bytes, m->len) < 12)
		warn(id, "has fewer than 12 words or 24 bytes: it could be guessed");
	if (strchr(" \t\r\n", m->bytes[0]) || strchr(" \t\r\n", m->bytes[m->len - 1]))
		warn(id, "begins or ends with white space, which makes it another key");
	for (size_t i = 0; i < ARRAY_LEN(published); i++)
		if (strcmp(m->bytes, published[i]) == 0)
			warn(id, "is a published test mnemonic: everybody has this key");
}

static bool check_encryption(struct config *c)
{
	bool ok = true;
	uint64_t s = c->encryption_segment_size;

	if ((s & (s - 1)) != 0)
		ok = complain(SETTING_encryption_segment_size, "must be a power of two");
	if (c->encryption_mode == ENCRYPT_KEY && !c->encryption_key_file)
		ok = complain(SETTING_encryption_key_file, "is needed for the encryption mode 'key'");
	if (c->encryption_mode != ENCRYPT_KEY && c->encryption_key_file)
		ok = complain(SETTING_encryption_key_file, "is for the encryption mode 'key' alone");
	if (c->encryption_key_file && ok) {
		ok = config_read_secret(&c->encryption_key, c->encryption_key_file,
					setting_variable(SETTING_encryption_key_file), true);
		if (ok && c->encryption_key.len != 32)
			ok = complain(SETTING_encryption_key_file, "names a file that has not exactly 32 bytes");
	}
	if (c->encryption_mode == ENCRYPT_MNEMONIC)
		warn_about_mnemonic(&c->encryption_mnemonic);
	return ok;
}

static bool check_schedule(struct config *c)
{
	struct cron cron;
	char why[256];
	bool ok = true;

	if (c->schedule_at && !cron_parse(c->schedule_at, &cron, why, sizeof(why)))
		ok = complain(SETTING_schedule_at, why);
	else if (c->schedule_at && cron_next(&cron, "UTC", time(NULL)) == (time_t)-1)
		ok = complain(SETTING_schedule_at, "never comes");
	if (c->schedule_timezone && !timezone_exists(c->schedule_timezone))
		ok = complain(SETTING_schedule_timezone, "is not a time zone of this machine, such as Europe/Berlin");

	if (c->schedule_at && c->is_given[SETTING_schedule_interval])
		ok = complain(SETTING_schedule_at, "and interval exclude each other");
	if (c->schedule_timezone && !c->schedule_at)
		warn(SETTING_schedule_timezone, "has no effect without at");
	if (!c->schedule_at && c->schedule_interval < 60 * USEC_PER_SEC)
		warn(SETTING_schedule_interval, "is less than a minute");
	return ok;
}

static bool check_postgres(struct config *c)
{
	struct dump_args args;
	struct compress compress;
	char why[256];
	bool ok = true;

	if (!c->postgres_password.bytes && !c->pgpassfile)
		secret_set(&c->postgres_password, "postgres", 8);
	if (!c->postgres_user || !*c->postgres_user)
		ok = complain(SETTING_postgres_user, "may not be empty");
	if (c->postgres_dump_from == DUMP_FROM_STANDBY && !c->postgres_standby_host)
		ok = complain(SETTING_postgres_standby_host, "is needed for dump_from = standby");
	if (c->postgres_exclude_databases && (!c->postgres_databases || strcmp(c->postgres_databases, "*") != 0))
		ok = complain(SETTING_postgres_exclude_databases, "is for databases = * alone");
	if (c->postgres_compress && !compress_parse(c->postgres_compress, &compress))
		ok = complain(SETTING_postgres_compress, "is none of: none, gzip:1..9, zstd:1..19, lz4");
	if (!dump_args_parse(c->postgres_dump_args, &args, why, sizeof(why)))
		return complain(SETTING_postgres_dump_args, why);
	for (size_t i = 0; i < args.count; i++)
		if (c->postgres_compress && strncmp(args.words[i], "--compress=", 11) == 0)
			ok = complain(SETTING_postgres_dump_args, "and compress both say how to compress");
	dump_args_free(&args);
	return ok;
}

static bool check_drill(struct config *c)
{
	const char *p = c->verify_drill_database_prefix;
	bool ok = true;

	/* The names are dropped again: nothing of the user's may look like one. */
	if (!p || strlen(p) < 6 || strlen(p) > 40 || strspn(p, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(p) ||
	    p[strlen(p) - 1] != '_')
		ok = complain(SETTING_verify_drill_database_prefix,
			      "must be 6 to 40 of a-z, 0-9 and _, and end with _");
	if ((c->verify_drill_port >= 0 || c->verify_drill_user || c->verify_drill_password.bytes) && !c->verify_drill_host)
		ok = complain(SETTING_verify_drill_host, "is needed beside drill_port, drill_user and drill_password");
	if ((c->verify_drill_newest_row == NULL) != (c->verify_drill_newest_row_max_age < 0))
		ok = complain(SETTING_verify_drill_newest_row, "and drill_newest_row_max_age need each other");
	return ok;
}

static bool check_metrics(struct config *c)
{
	const char *url = c->metrics_ping_url.bytes;
	bool ok = true;

	if (url && strncasecmp(url, "https://", 8) != 0 && strncasecmp(url, "http://", 7) != 0)
		ok = complain(SETTING_metrics_ping_url, "must begin with https:// or http://");
	if (c->metrics_hook && c->metrics_hook[0] != '/')
		ok = complain(SETTING_metrics_hook, "must be an absolute path");
	if (c->metrics_listen && strncmp(c->metrics_listen, "127.", 4) != 0 && strncmp(c->metrics_listen, "[::1]:", 6) != 0)
		ok = complain(SETTING_metrics_listen, "must be a loopback address and a port, such as 127.0.0.1:9188");
	return ok;
}

bool config_check(struct config *c)
{
	/* All of them: whoever mends one mistake wants to hear of the next at once. */
	return check_store(c) & check_encryption(c) & check_schedule(c) & check_postgres(c) & check_drill(c) &
	       check_metrics(c);
}
