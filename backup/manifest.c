#include "backup/manifest.h"

#include <assert.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hex.h"
#include "lib/mem.h"

#define MAC_LEN 32
#define VERIFIED_KEPT 50
/* As jansson writes it: keys sorted, no white space. This is what the MAC is over. */
#define CANONICAL (JSON_COMPACT | JSON_SORT_KEYS)

struct manifest {
	json_t *doc; /* owned; an object; without mac */
};

static const struct {
	const char *name;
	char type;
} fields[] = {
#define S(n) {#n, 'S'},
#define N(n) {#n, 'N'},
#define B(n) {#n, 'B'},
	MANIFEST_FIELDS(S, N, B)
#undef S
#undef N
#undef B
};

static char type_of(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		if (strcmp(fields[i].name, name) == 0)
			return fields[i].type;
	return 0;
}

static void must(int result)
{
	if (result != 0)
		abort(); /* out of memory, as with xmalloc */
}

struct manifest *manifest_new(void)
{
	struct manifest *m = xcalloc(1, sizeof(*m));

	m->doc = json_object();
	if (!m->doc)
		abort();
	manifest_set_number(m, "schema", 1);
	return m;
}

void manifest_free(struct manifest *m)
{
	if (!m)
		return;
	json_decref(m->doc);
	free(m);
}

void manifest_set_text(struct manifest *m, const char *field, const char *utf8)
{
	json_t *value;

	assert(type_of(field) == 'S');
	if (!utf8) {
		(void)json_object_del(m->doc, field);
		return;
	}
	value = json_string(utf8);
	if (!value) {
		/* Not UTF-8, as a label from a command line or a host name may be: what is not ASCII is replaced. */
		char *ascii = xstrdup(utf8);

		for (char *p = ascii; *p; p++)
			if ((unsigned char)*p >= 0x80)
				*p = '?';
		value = json_string(ascii);
		free(ascii);
	}
	must(json_object_set_new(m->doc, field, value));
}

void manifest_set_number(struct manifest *m, const char *field, int64_t n)
{
	assert(type_of(field) == 'N');
	must(json_object_set_new(m->doc, field, json_integer(n)));
}

void manifest_set_flag(struct manifest *m, const char *field, bool is)
{
	assert(type_of(field) == 'B');
	must(json_object_set_new(m->doc, field, json_boolean(is)));
}

static json_t *member(struct manifest *m, const char *name, json_t *(*make)(void))
{
	json_t *there = json_object_get(m->doc, name);

	if (!there) {
		must(json_object_set_new(m->doc, name, make()));
		there = json_object_get(m->doc, name);
	}
	return there;
}

void manifest_add_row_count(struct manifest *m, const char *table, int64_t rows)
{
	must(json_object_set_new(member(m, "row_counts", json_object), table, json_integer(rows)));
}

void manifest_add_verified(struct manifest *m, const char *level, const char *at, const char *result,
			   int64_t duration_ms)
{
	json_t *list = member(m, "verified", json_array);

	must(json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:I}", "level", level, "at", at, "result", result,
						   "duration_ms", (json_int_t)duration_ms)));
	while (json_array_size(list) > VERIFIED_KEPT)
		must(json_array_remove(list, 0));
}

const char *manifest_text(const struct manifest *m, const char *field)
{
	assert(type_of(field) == 'S');
	return json_string_value(json_object_get(m->doc, field));
}

bool manifest_number(const struct manifest *m, const char *field, int64_t *n)
{
	const json_t *value = json_object_get(m->doc, field);

	assert(type_of(field) == 'N');
	if (!value)
		return false;
	*n = json_integer_value(value);
	return true;
}

bool manifest_flag(const struct manifest *m, const char *field)
{
	assert(type_of(field) == 'B');
	return json_is_true(json_object_get(m->doc, field));
}

bool manifest_row_count(const struct manifest *m, const char *table, int64_t *rows)
{
	const json_t *value = json_object_get(json_object_get(m->doc, "row_counts"), table);

	if (!value)
		return false;
	*rows = json_integer_value(value);
	return true;
}

size_t manifest_row_tables(const struct manifest *m, void (*each)(void *ctx, const char *table, int64_t rows),
			   void *ctx)
{
	json_t *counts = json_object_get(m->doc, "row_counts"), *value;
	const char *table;

	json_object_foreach(counts, table, value)
		each(ctx, table, json_integer_value(value));
	return json_object_size(counts);
}

static bool proves(const char *level)
{
	return strcmp(level, "archive") == 0 || strcmp(level, "drill") == 0;
}

struct manifest_verdict manifest_verified(const struct manifest *m)
{
	const json_t *list = json_object_get(m->doc, "verified"), *item;
	struct manifest_verdict v = {0};
	size_t i;

	/* In the order they were made: the last one stands. */
	json_array_foreach(list, i, item) {
		bool ok;

		v.level = json_string_value(json_object_get(item, "level"));
		v.at = json_string_value(json_object_get(item, "at"));
		v.result = json_string_value(json_object_get(item, "result"));
		ok = strcmp(v.result, "ok") == 0;
		v.is_failed = !ok;
		v.is_proven = ok && (v.is_proven || proves(v.level));
	}
	return v;
}

static void mac_of(const char *text, const uint8_t key[MANIFEST_MAC_KEY], char hex[2 * MAC_LEN + 1])
{
	unsigned char mac[MAC_LEN];
	unsigned n = sizeof(mac);

	if (!HMAC(EVP_sha256(), key, MANIFEST_MAC_KEY, (const unsigned char *)text, strlen(text), mac, &n))
		abort();
	hex_encode(mac, sizeof(mac), hex);
}

static char *dump(const json_t *doc)
{
	char *text = json_dumps(doc, CANONICAL);

	if (!text)
		abort();
	return text;
}

char *manifest_write(const struct manifest *m, const struct manifest_keys *keys)
{
	char hex[2 * MAC_LEN + 1], *text = dump(m->doc);
	json_t *whole;

	if (keys->count == 0)
		return text;
	mac_of(text, keys->key[0], hex);
	free(text);
	whole = json_copy(m->doc);
	must(json_object_set_new(whole, "mac", json_string(hex)));
	text = dump(whole);
	json_decref(whole);
	return text;
}

static bool has_right_types(const json_t *doc)
{
	const json_t *counts = json_object_get(doc, "row_counts"), *verified = json_object_get(doc, "verified"), *item;
	const char *table;
	json_t *value;
	size_t i;

	for (size_t f = 0; f < ARRAY_LEN(fields); f++) {
		value = json_object_get(doc, fields[f].name);
		if (value && !(fields[f].type == 'S'   ? json_is_string(value)
			       : fields[f].type == 'N' ? json_is_integer(value)
						       : json_is_boolean(value)))
			return false;
	}
	if ((counts && !json_is_object(counts)) || (verified && !json_is_array(verified)))
		return false;
	json_object_foreach((json_t *)counts, table, value)
		if (!json_is_integer(value))
			return false;
	json_array_foreach(verified, i, item)
		if (!json_is_string(json_object_get(item, "level")) || !json_is_string(json_object_get(item, "at")) ||
		    !json_is_string(json_object_get(item, "result")))
			return false;
	return json_integer_value(json_object_get(doc, "schema")) == 1;
}

/* Takes mac out of the document and compares it. */
static enum manifest_result believe(json_t *doc, const struct manifest_keys *keys)
{
	const char *mac = json_string_value(json_object_get(doc, "mac"));
	char given[2 * MAC_LEN + 1] = "", made[2 * MAC_LEN + 1], *text;
	bool is_right = false;

	if (keys->count && !mac)
		return MANIFEST_UNSIGNED;
	if (mac && strlen(mac) == 2 * MAC_LEN)
		strcpy(given, mac);
	must(mac ? json_object_del(doc, "mac") : 0);
	if (keys->count == 0)
		return MANIFEST_OK;
	text = dump(doc);
	for (size_t i = 0; i < keys->count && *given; i++) {
		mac_of(text, keys->key[i], made);
		is_right = mem_equal_const_time(given, made, 2 * MAC_LEN) || is_right;
	}
	free(text);
	return is_right ? MANIFEST_OK : MANIFEST_FORGED;
}

enum manifest_result manifest_read(struct span text, const struct manifest_keys *keys, struct manifest **out)
{
	enum manifest_result result;
	json_t *doc;

	*out = NULL;
	if (text.len > MANIFEST_MAX)
		return MANIFEST_MALFORMED;
	doc = json_loadb((const char *)text.ptr, text.len, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(doc)) {
		json_decref(doc);
		return MANIFEST_MALFORMED;
	}
	/* First who wrote it, then what it says. */
	result = believe(doc, keys);
	if (result == MANIFEST_OK && !has_right_types(doc))
		result = MANIFEST_MALFORMED;
	if (result != MANIFEST_OK) {
		json_decref(doc);
		return result;
	}
	*out = xcalloc(1, sizeof(**out));
	(*out)->doc = doc;
	return MANIFEST_OK;
}
