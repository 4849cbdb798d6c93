/* Bytes as the ini file, a connection string, an auth_file and a wallet list: nothing may crash or leak. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/auth_file.h"
#include "config/connstr.h"
#include "config/definitions.h"
#include "config/settings.h"
#include "config/wallet_list.h"
#include "lib/ini.h"
#include "lib/log.h"
#include "lib/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static bool section(void *ctx, const char *name, struct ini_place place)
{
	(void)ctx;
	return strlen(name) < SIZE_MAX && place.line > 0;
}

static bool key(void *ctx, const char *name, const char *value, struct ini_place place)
{
	int i = setting_find(name);

	if (!*name || place.line < 1)
		abort();
	if (i >= 0 && !setting_set(ctx, (size_t)i, value, ""))
		return false;
	database_def_free(database_def_parse(name, value));
	user_def_free(user_def_parse(name, value));
	peer_def_free(peer_def_parse(name, value));
	return true;
}

static bool include(void *ctx, const char *file, struct ini_place place)
{
	(void)ctx;
	return *file && place.line > 0;
}

static void as_ini(const uint8_t *bytes, size_t len)
{
	static const struct ini_events events = {section, key, include};
	struct settings s;

	settings_init(&s);
	(void)ini_parse(span_of(bytes, len), "fuzz", &events, &s);
	settings_free(&s);
}

static void as_connection_string(const uint8_t *bytes, size_t len)
{
	char *text = xstrndup((const char *)bytes, len), *at = text, *word, *value;

	while (connstr_next(&at, &word, &value) == CONNSTR_PAIR)
		if (!*word || !*value || at > text + len)
			abort();
	free(text);
}

static void as_auth_file(const uint8_t *bytes, size_t len)
{
	struct file_text source = {.text = xstrndup((const char *)bytes, len), .len = len};
	struct auth_file *f = auth_file_parse(&source, "fuzz", len % 2);

	for (size_t i = 0; f && i < f->count; i++)
		if (!auth_file_find(f, f->rows[i].user))
			abort();
	auth_file_unref(f);
}

static void as_wallet_list(const uint8_t *bytes, size_t len)
{
	char *text = xstrndup((const char *)bytes, len);

	/* @ would read whatever file it names. */
	if (*text != '@')
		wallet_list_unref(wallet_list_load(text, NULL, ""));
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static bool is_quiet;

	if (!is_quiet) {
		is_quiet = true;
		(void)log_configure(&(struct log_setup){.to_stderr = false});
	}
	as_ini(bytes, len);
	as_connection_string(bytes, len);
	as_auth_file(bytes, len);
	as_wallet_list(bytes, len);
	return 0;
}
