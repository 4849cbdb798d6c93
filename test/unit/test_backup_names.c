/*
 * Signatures, names of objects, part sizes, retention and manifests: the pure
 * half of the backup's storage, with the published vectors of
 * test/vectors/backup-vectors.json.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "backup/manifest.h"
#include "backup/object_name.h"
#include "backup/part_size.h"
#include "backup/retention.h"
#include "backup/seal.h"
#include "backup/sigv4.h"
#include "lib/buf.h"
#include "lib/hex.h"
#include "lib/util.h"

struct sign_vector {
	const char *name, *method, *path;
	struct sigv4_pair query[8];
	size_t query_count;
	struct sigv4_pair headers[8];
	size_t header_count;
	const char *payload_hash, *when, *region, *uri, *query_text, *signed_names, *canonical_hash, *to_sign,
		*authorization;
};
struct part_vector {
	int64_t estimate;
	uint64_t size;
};
struct name_vector {
	const char *prefix, *key;
	bool match;
	int64_t when;
	int format;
};
struct retention_vector {
	const char *name, *prefix;
	int64_t now;
	int count, days;
	bool all;
	unsigned min_keep;
	const char *keys[32], *deleted[32];
};

#include "test/vectors/backup_store_vectors.h"

/* ---- signatures ---- */

static char *text_of(struct buf *b)
{
	assert_true(buf_ok(b));
	buf_put_u8(b, 0);
	return (char *)b->data + b->start;
}

static struct sigv4_request request_of(const struct sign_vector *v)
{
	return (struct sigv4_request){v->method, v->path, v->query, v->query_count, v->headers, v->header_count,
				      v->payload_hash};
}

static void every_signature_is_the_published_one(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sign_vectors); i++) {
		const struct sign_vector *v = &sign_vectors[i];
		struct sigv4_request r = request_of(v);
		struct sigv4_key kept = {0};
		struct sigv4_signer signer = {access_key, secret_key, v->region, &kept};
		struct buf uri, query, canonical, names, to_sign, authorization;
		unsigned char hash[32];
		char hex[65];

		buf_init(&uri), buf_init(&query), buf_init(&canonical), buf_init(&names), buf_init(&to_sign);
		buf_init(&authorization);
		sigv4_encode(&uri, v->path, true);
		assert_string_equal(text_of(&uri), v->uri);
		sigv4_query(&query, v->query, v->query_count);
		assert_string_equal(text_of(&query), v->query_text);
		sigv4_canonical(&r, &canonical, &names);
		assert_true(EVP_Digest(buf_span(&canonical).ptr, buf_len(&canonical), hash, NULL, EVP_sha256(), NULL));
		hex_encode(hash, 32, hex);
		assert_string_equal(hex, v->canonical_hash);
		sigv4_string_to_sign(buf_span(&canonical), v->when, v->region, &to_sign);
		assert_string_equal(text_of(&to_sign), v->to_sign);
		assert_string_equal(text_of(&names), v->signed_names);
		/* The second time by the kept key of the day. */
		for (int again = 0; again < 2; again++) {
			buf_clear(&authorization);
			sigv4_authorize(&r, &signer, v->when, &authorization);
			assert_string_equal(text_of(&authorization), v->authorization);
		}
		buf_free(&uri), buf_free(&query), buf_free(&canonical), buf_free(&names), buf_free(&to_sign);
		buf_free(&authorization);
	}
	assert_int_equal(ARRAY_LEN(sign_vectors), 10);
}

static void a_kept_key_is_for_its_day_and_region_alone(void **state)
{
	const struct sign_vector *v = &sign_vectors[0];
	struct sigv4_request r = request_of(v);
	struct sigv4_key kept = {0};
	struct sigv4_signer signer = {access_key, secret_key, v->region, &kept};
	struct buf b;

	(void)state;
	buf_init(&b);
	sigv4_authorize(&r, &signer, "20130525T000000Z", &b);
	signer.region = "eu-central-1";
	sigv4_authorize(&r, &signer, v->when, &b);
	signer.region = v->region;
	buf_clear(&b);
	sigv4_authorize(&r, &signer, v->when, &b);
	assert_string_equal(text_of(&b), v->authorization);
	buf_free(&b);
}

static void header_values_are_trimmed_and_repeated_names_joined(void **state)
{
	static const struct sigv4_pair headers[] = {
		{"X-Amz-Meta-B", "  two   words\t here "}, {"host", "h"}, {"x-amz-meta-a", "1"}, {"X-AMZ-META-A", "0"}};
	struct sigv4_request r = {"GET", "", NULL, 0, headers, 4, SIGV4_UNSIGNED};
	struct buf canonical, names;

	(void)state;
	buf_init(&canonical), buf_init(&names);
	sigv4_canonical(&r, &canonical, &names);
	assert_string_equal(text_of(&canonical),
			    "GET\n/\n\nhost:h\nx-amz-meta-a:1,0\nx-amz-meta-b:two words here\n\n"
			    "host;x-amz-meta-a;x-amz-meta-b\nUNSIGNED-PAYLOAD");
	buf_free(&canonical), buf_free(&names);
}

static void a_query_is_sorted_by_encoded_name_then_value(void **state)
{
	static const struct sigv4_pair query[] = {{"b", "2"}, {"b", "1"}, {"a b", NULL}, {"a", "\xc3\xa9"}, {"B", "/"}};
	struct buf b;

	(void)state;
	buf_init(&b);
	sigv4_query(&b, query, ARRAY_LEN(query));
	assert_string_equal(text_of(&b), "B=%2F&a=%C3%A9&a%20b=&b=1&b=2");
	buf_free(&b);
}

/* ---- names ---- */

static void every_name_is_judged_as_published(void **state)
{
	unsigned matched = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(name_vectors); i++) {
		const struct name_vector *v = &name_vectors[i];
		enum backup_format format;
		int64_t when;
		bool ours = backup_name_parse(v->prefix, v->key, &when, &format);

		if (ours != v->match)
			fail_msg("%s", v->key);
		if (ours) {
			char key[BACKUP_KEY_MAX];

			assert_int_equal(when, v->when);
			assert_int_equal(format, v->format);
			backup_key_make(v->prefix, when, format, key);
			assert_string_equal(key, v->key);
			matched++;
		}
	}
	assert_int_equal(ARRAY_LEN(name_vectors), 13);
	assert_int_equal(matched, 4);
}

static void names_that_are_nearly_ours(void **state)
{
	static const char *const names[] = {
		"", "p/", "p", "p/20260101_000000", "p/20260101_000000.", "p/20260101_000000.backup.en",
		"p/20260101_000000.backup.enc.tmp", "p/20260101_000060.backup.enc", "p/2026010１_000000.backup",
		"p/20260101_006000.backup.enc", "p/20260100_000000.backup.enc", "p/20260001_000000.backup.enc",
		"p/19691231_235959.backup.enc", "p/00000101_000000.backup.enc", "p/../p/20260101_000000.backup.enc",
		"p/ 0260101_000000.backup.enc", "p/+0260101_000000.backup.enc", "P/20260101_000000.backup.enc",
		"p/20260101_000000.backup.enc/", "p/20260101_000000.backup.enc\n", "p/20260101_000000.BACKUP.ENC",
	};
	enum backup_format format;
	int64_t when;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (backup_name_parse("p", names[i], &when, &format))
			fail_msg("%s", names[i]);
	assert_true(backup_name_parse("p", "p/99991231_235959.backup.enc", &when, &format));
	assert_true(backup_name_parse("p", "p/19700101_000000.backup", &when, &format) && when == 0);
}

static void marks_stand_beside_the_prefix(void **state)
{
	char key[BACKUP_KEY_MAX];
	enum backup_format format;
	int64_t when;

	(void)state;
	manifest_key_make("my/app", 1767225600, BACKUP_FORMAT_2, key);
	assert_string_equal(key, "_manifest/my/app/20260101_000000.backup.enc2.json");
	assert_int_equal(mark_parse("my/app", key, &when, &format), MARK_MANIFEST);
	assert_int_equal(when, 1767225600);
	assert_int_equal(format, BACKUP_FORMAT_2);
	assert_int_equal(mark_parse("my", key, &when, &format), MARK_NONE);
	hold_key_make("my/app", 1767225600, BACKUP_PLAIN, key);
	assert_string_equal(key, "_manifest/my/app/20260101_000000.backup.hold");
	assert_int_equal(mark_parse("my/app", key, &when, &format), MARK_HOLD);
	assert_int_equal(mark_parse("my/app", "_manifest/my/app/.json", &when, &format), MARK_NONE);
	assert_int_equal(mark_parse("my/app", "_manifest/my/app/json", &when, &format), MARK_NONE);
	assert_int_equal(mark_parse("my/app", "_manifest/my/app/20260101_000000.json", &when, &format), MARK_NONE);
	assert_int_equal(mark_parse("my/app", "_manifest/my/app", &when, &format), MARK_NONE);
}

static void prefixes(void **state)
{
	static const struct {
		const char *given, *clean;
		bool slashes;
	} rows[] = {
		{"app", "app", false},	 {"app/", "app", true},
		{"a/b///", "a/b", true}, {"a//b", "a//b", false},
		{"", NULL, false},	 {"/", NULL, true},
		{"/app", NULL, false},	 {"a\nb", NULL, false},
		{"a\x7f", NULL, false},	 {"h\xc3\xa9 p", "h\xc3\xa9 p", false},
	};
	char clean[PREFIX_MAX + 1], longest[PREFIX_MAX + 3];
	const char *why;
	bool slashes;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (prefix_clean(rows[i].given, clean, &slashes, &why) != (rows[i].clean != NULL))
			fail_msg("%s", rows[i].given);
		if (rows[i].clean)
			assert_string_equal(clean, rows[i].clean);
		else
			assert_non_null(why);
		assert_int_equal(slashes, rows[i].slashes);
	}
	memset(longest, 'x', sizeof(longest));
	longest[PREFIX_MAX] = 0;
	assert_true(prefix_clean(longest, clean, &slashes, &why));
	longest[PREFIX_MAX] = 'x';
	longest[PREFIX_MAX + 1] = 0;
	assert_false(prefix_clean(longest, clean, &slashes, &why));
}

static void times_as_people_write_them(void **state)
{
	static const struct {
		const char *text;
		int64_t when;
	} rows[] = {
		{"20260101_000000", 1767225600},
		{"2026-01-01", 1767225600},
		{"2026-01-01 00:01", 1767225660},
		{"2026-01-01T00:00:30", 1767225630},
		{"2026-01-01 00:00:30", 1767225630},
		{"@1767225600", 1767225600},
		{"2026-01-01T01:00:00+01:00", 1767225600},
		{"2026-01-01T00:00:00.5Z", 1767225600},
		{"2026-13-01", -1},
		{"latest", -1},
		{"", -1},
		{"@", -1},
		{"@12x", -1},
		{"2026-1-1", -1},
		{"@99999999999999", -1},
		{"2026-01-01 24:00", -1},
		{"20260230_000000", -1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t when = -1;

		if (!backup_time_parse(rows[i].text, &when))
			when = -1;
		if (when != rows[i].when)
			fail_msg("%s: %lld", rows[i].text, (long long)when);
	}
}

/* ---- part sizes ---- */

static void part_sizes_are_the_published_ones(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(part_vectors); i++)
		assert_int_equal(part_size_choose(part_vectors[i].estimate, part_smallest, part_max),
				 part_vectors[i].size);
	assert_int_equal(ARRAY_LEN(part_vectors), 7);
}

static void part_sizes_at_their_ends(void **state)
{
	uint64_t sum = 0;
	unsigned n = 0;

	(void)state;
	assert_int_equal(part_size_choose(INT64_MAX, PART_SMALLEST_CHOSEN, PARTS_MAX), 0);
	assert_int_equal(part_size_choose(-1, PART_MAX, PARTS_MAX), PART_MAX);
	assert_int_equal(part_size_choose(0, 1, PARTS_MAX), PART_MIN);
	assert_int_equal(part_size_choose(1, PART_SMALLEST_CHOSEN, 1), 0);
	/* A store of a thousand parts. */
	assert_int_equal(part_size_choose((int64_t)100 << 30, PART_SMALLEST_CHOSEN, 1000), (uint64_t)143 << 20);
	assert_int_equal(part_size_growing(1), PART_SMALLEST_CHOSEN);
	assert_int_equal(part_size_growing(1000), PART_SMALLEST_CHOSEN);
	assert_int_equal(part_size_growing(1001), 2 * PART_SMALLEST_CHOSEN);
	assert_int_equal(part_size_growing(10000), (uint64_t)4 << 30);
	while (sum < OBJECT_MAX)
		sum += part_size_growing(++n);
	assert_int_equal(n, 9282);
}

/* ---- retention ---- */

static bool in(const char *const *list, const char *key)
{
	for (; *list; list++)
		if (strcmp(*list, key) == 0)
			return true;
	return false;
}

static void retention_is_as_published(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(retention_vectors); i++) {
		const struct retention_vector *v = &retention_vectors[i];
		struct retention_rules rules = RETENTION_DEFAULT;
		struct backup_entry entries[32] = {0};
		size_t count = 0, deleted, wanted = 0;

		rules.count = v->count, rules.days = v->days, rules.all = v->all, rules.min_keep = v->min_keep;
		for (const char *const *k = v->keys; *k; k++) {
			enum backup_format format;
			struct backup_entry e = {.size = 1};

			if (!backup_name_parse(v->prefix, *k, &e.when, &format))
				continue;
			e.format = (uint8_t)format;
			entries[count++] = e;
		}
		backup_entries_sort(entries, count);
		deleted = retention_judge(&rules, v->now, entries, count);
		for (size_t n = 0; n < count; n++) {
			char key[BACKUP_KEY_MAX];

			backup_key_make(v->prefix, entries[n].when, (enum backup_format)entries[n].format, key);
			if (entries[n].is_deleted != in(v->deleted, key))
				fail_msg("%s: %s: %s", v->name, key,
					 retention_rule_word((enum retention_rule)entries[n].rule));
		}
		while (v->deleted[wanted])
			wanted++;
		assert_int_equal(deleted, wanted);
	}
	assert_int_equal(ARRAY_LEN(retention_vectors), 11);
}

#define NOW INT64_C(1767225600) /* 2026-01-01, a Thursday */
#define DAYS(n) (NOW - (n) * 86400)

static size_t judge(const struct retention_rules *r, struct backup_entry *e, size_t n)
{
	backup_entries_sort(e, n);
	return retention_judge(r, NOW, e, n);
}

static void held_proven_and_newest_good_ones_stay(void **state)
{
	struct retention_rules rules = RETENTION_DEFAULT;
	struct backup_entry e[] = {
		{.when = DAYS(0), .size = 1, .is_suspect = true},
		{.when = DAYS(1), .size = 0},
		{.when = DAYS(2), .size = 1},
		{.when = DAYS(3), .size = 1},
		{.when = DAYS(4), .size = 1, .is_held = true},
		{.when = DAYS(5), .size = 1, .is_proven = true},
		{.when = DAYS(6), .size = 1, .is_proven = true},
		{.when = DAYS(7), .size = 1, .is_failed = true},
		{.when = DAYS(40), .size = 1, .is_suspect = true},
		{.when = DAYS(41), .size = 1, .is_suspect = true, .is_held = true},
	};

	(void)state;
	rules.count = 1;
	rules.days = 30;
	assert_int_equal(judge(&rules, e, ARRAY_LEN(e)), 3);
	assert_int_equal(e[0].rule, RULE_SUSPECT);
	assert_int_equal(e[1].rule, RULE_SUSPECT);
	assert_int_equal(e[2].rule, RULE_NEWEST);
	assert_true(e[3].is_deleted && e[3].rule == RULE_OVER_COUNT);
	assert_int_equal(e[4].rule, RULE_HELD);
	assert_int_equal(e[5].rule, RULE_PROVEN);
	assert_true(e[6].is_deleted);
	assert_false(e[7].is_deleted);
	assert_true(e[8].is_deleted && e[8].rule == RULE_OVER_DAYS);
	assert_true(!e[9].is_deleted && e[9].rule == RULE_HELD);
}

static void the_oldest_go_first_when_many_would(void **state)
{
	struct retention_rules rules = RETENTION_DEFAULT;
	struct backup_entry e[150] = {0};

	(void)state;
	rules.count = 1;
	for (int i = 0; i < 150; i++)
		e[i] = (struct backup_entry){.when = DAYS(i), .size = 1};
	assert_int_equal(judge(&rules, e, 150), 100);
	assert_int_equal(e[49].rule, RULE_MAX_DELETE);
	assert_false(e[49].is_deleted);
	assert_true(e[50].is_deleted && e[149].is_deleted);
	rules.max_delete = 0;
	assert_int_equal(judge(&rules, e, 150), 149);
}

static void grandfathers(void **state)
{
	struct retention_rules rules = RETENTION_DEFAULT;
	struct backup_entry e[1200] = {0};
	size_t kept = 0, daily = 0, weekly = 0, monthly = 0, yearly = 0;

	(void)state;
	rules.daily = 7, rules.weekly = 5, rules.monthly = 12, rules.yearly = 3;
	rules.max_delete = 0;
	/* Two a day: the later one is its day's newest. */
	for (int i = 0; i < 1200; i++)
		e[i] = (struct backup_entry){.when = NOW - i * INT64_C(43200), .size = 1};
	judge(&rules, e, 1200);
	for (int i = 0; i < 1200; i++) {
		kept += !e[i].is_deleted;
		daily += e[i].rule == RULE_DAILY || e[i].rule == RULE_NEWEST;
		weekly += e[i].rule == RULE_WEEKLY;
		monthly += e[i].rule == RULE_MONTHLY;
		yearly += e[i].rule == RULE_YEARLY;
		if (e[i].rule == RULE_DAILY && i > 1)
			assert_int_equal(e[i].when % 86400, 43200);
	}
	/* 26 December to 1 January; weeks that end on 21, 14 and 7 December, since the 28th is a day already, as are
	 * the newest of this month, of December and of 2025; November back to February; the last of 2024. */
	assert_int_equal(daily, 7);
	assert_int_equal(weekly, 3);
	assert_int_equal(monthly, 10);
	assert_int_equal(yearly, 1);
	assert_int_equal(kept, daily + weekly + monthly + yearly);
	/* With a count as well only what is over it may go. */
	rules.count = 1190;
	judge(&rules, e, 1200);
	kept = 0;
	for (int i = 0; i < 1200; i++)
		kept += !e[i].is_deleted;
	assert_int_equal(kept, 1190);
}

/* ---- manifests ---- */

static const uint8_t first_key[MANIFEST_MAC_KEY] = {1}, second_key[MANIFEST_MAC_KEY] = {2};
static const uint8_t *const keys_of_two[2] = {first_key, second_key};
static const struct manifest_keys new_key = {.key = keys_of_two, .count = 1}, both = {.key = keys_of_two, .count = 2},
				  old_key = {.key = keys_of_two + 1, .count = 1},
				  none = {.count = 0};

static struct manifest *sample(void)
{
	struct manifest *m = manifest_new();

	manifest_set_text(m, "database", "caf\xc3\xa9");
	manifest_set_text(m, "label", "bad \xff byte");
	manifest_set_text(m, "host", "gone");
	manifest_set_text(m, "host", NULL);
	manifest_set_number(m, "size", INT64_MAX);
	manifest_set_flag(m, "suspect", true);
	manifest_add_row_count(m, "public.t", 3);
	return m;
}

static void a_manifest_comes_back_as_it_was_written(void **state)
{
	struct manifest *m = sample(), *back;
	struct manifest_verdict v;
	int64_t n;
	char *text;

	(void)state;
	manifest_add_verified(m, "archive", "2026-01-01T00:00:00Z", "ok", 5);
	text = manifest_write(m, &old_key);
	manifest_free(m);
	assert_non_null(strstr(text, "\"mac\":\""));
	assert_null(strpbrk(text, "\n\t"));
	assert_int_equal(manifest_read(span_str(text), &both, &back), MANIFEST_OK);
	assert_string_equal(manifest_text(back, "database"), "caf\xc3\xa9");
	assert_string_equal(manifest_text(back, "label"), "bad ? byte");
	assert_null(manifest_text(back, "host"));
	assert_true(manifest_number(back, "size", &n) && n == INT64_MAX);
	assert_false(manifest_number(back, "parts", &n));
	assert_true(manifest_flag(back, "suspect"));
	assert_true(manifest_row_count(back, "public.t", &n) && n == 3);
	v = manifest_verified(back);
	assert_true(v.is_proven && !v.is_failed);
	manifest_add_verified(back, "auth", "2026-01-02T00:00:00Z", "failed", 5);
	v = manifest_verified(back);
	assert_true(!v.is_proven && v.is_failed);
	assert_string_equal(v.level, "auth");
	manifest_free(back);
	assert_int_equal(manifest_read(span_str(text), &new_key, &back), MANIFEST_FORGED);
	assert_null(back);
	/* Without keys there is nothing to compare it with. */
	assert_int_equal(manifest_read(span_str(text), &none, &back), MANIFEST_OK);
	manifest_free(back);
	free(text);
}

static void the_mac_is_over_sorted_keys_without_white_space(void **state)
{
	/* HMAC-SHA256 with key 01 00 ... over {"a":[1,2],"schema":1}, made with python3 hmac and json. */
	static const char spaced[] = "{ \"schema\": 1,\n \"a\" : [1, 2], \"mac\":"
				     "\"201c3913d1117ed626837c96fe4f99be21c065e1012c347b18a4fd928ab0d835\" }";
	struct manifest *m;

	(void)state;
	assert_int_equal(manifest_read(span_str(spaced), &new_key, &m), MANIFEST_OK);
	manifest_free(m);
}

static void manifests_that_are_not_believed(void **state)
{
	static const struct {
		const char *text;
		enum manifest_result result;
	} rows[] = {
		{"", MANIFEST_MALFORMED},
		{"[]", MANIFEST_MALFORMED},
		{"{\"schema\":1}", MANIFEST_UNSIGNED},
		{"{\"schema\":1,\"mac\":5}", MANIFEST_UNSIGNED},
		{"{\"schema\":1,\"mac\":\"00\"}", MANIFEST_FORGED},
		{"{\"schema\":1,\"schema\":1}", MANIFEST_MALFORMED},
		{"{\"schema\":1} x", MANIFEST_MALFORMED},
	}, plain[] = {
		{"{\"schema\":1}", MANIFEST_OK},
		{"{\"schema\":2}", MANIFEST_MALFORMED},
		{"{\"schema\":1,\"size\":\"1\"}", MANIFEST_MALFORMED},
		{"{\"schema\":1,\"size\":1.5}", MANIFEST_MALFORMED},
		{"{\"schema\":1,\"database\":7}", MANIFEST_MALFORMED},
		{"{\"schema\":1,\"database\":\"a\\u0000b\"}", MANIFEST_MALFORMED},
		{"{\"schema\":1,\"verified\":{}}", MANIFEST_MALFORMED},
		{"{\"schema\":1,\"verified\":[{\"level\":\"auth\"}]}", MANIFEST_MALFORMED},
		{"{\"schema\":1,\"row_counts\":[1]}", MANIFEST_MALFORMED},
		{"{\"schema\":1,\"row_counts\":{\"t\":\"1\"}}", MANIFEST_MALFORMED},
	};
	struct manifest *m;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (manifest_read(span_str(rows[i].text), &both, &m) != rows[i].result)
			fail_msg("%s", rows[i].text);
	for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
		if (manifest_read(span_str(plain[i].text), &none, &m) != plain[i].result)
			fail_msg("%s", plain[i].text);
		manifest_free(m);
	}
}

static void any_flipped_byte_of_a_manifest_is_noticed(void **state)
{
	struct manifest *m = sample(), *back;
	char *text = manifest_write(m, &new_key);
	size_t len = strlen(text);

	(void)state;
	manifest_free(m);
	for (size_t i = 0; i < len; i++)
		for (int bit = 0; bit < 8; bit++) {
			text[i] = (char)(text[i] ^ (1 << bit));
			if (manifest_read(span_of(text, len), &new_key, &back) == MANIFEST_OK)
				fail_msg("byte %zu bit %d", i, bit);
			text[i] = (char)(text[i] ^ (1 << bit));
		}
	for (size_t cut = 0; cut < len; cut++)
		assert_int_not_equal(manifest_read(span_of(text, cut), &new_key, &back), MANIFEST_OK);
	free(text);
}

static void what_a_later_version_wrote_is_kept(void **state)
{
	struct manifest *m;
	char *text;

	(void)state;
	assert_int_equal(manifest_read(span_str("{\"schema\":1,\"later\":{\"x\":[true,null]}}"), &none, &m),
			 MANIFEST_OK);
	manifest_add_verified(m, "head", "t", "ok", 1);
	text = manifest_write(m, &none);
	assert_string_equal(text, "{\"later\":{\"x\":[true,null]},\"schema\":1,\"verified\":"
				  "[{\"at\":\"t\",\"duration_ms\":1,\"level\":\"head\",\"result\":\"ok\"}]}");
	manifest_free(m);
	free(text);
}

static bool append(void *ctx, struct span bytes)
{
	buf_put(ctx, bytes.ptr, bytes.len);
	return true;
}

static void a_manifest_may_be_sealed(void **state)
{
	struct keyring *ring = keyring_of(KEY_FROM_MNEMONIC, "a mnemonic", 10);
	struct keyring *other = keyring_of(KEY_FROM_MNEMONIC, "another one", 11);
	const uint8_t *macs[] = {ring->keys[0].manifest};
	struct manifest_keys keys = {macs, 1, ring, true};
	struct seal_spec spec = {
		.format = FORMAT_2, .key = &ring->keys[0], .content = CONTENT_DUMP, .segment_bytes = 4096};
	struct manifest *m = sample(), *back;
	struct sealer *s;
	struct buf stored;
	char *text;

	(void)state;
	buf_init(&stored);
	manifest_pack(m, &keys, &stored);
	assert_null(memmem(buf_data(&stored), buf_len(&stored), "database", 8));
	assert_int_equal(manifest_unpack(buf_span(&stored), &keys, &back), MANIFEST_OK);
	assert_string_equal(manifest_text(back, "database"), "caf\xc3\xa9");
	manifest_free(back);
	for (size_t i = 0; i < buf_len(&stored); i++) {
		stored.data[i] ^= 1;
		assert_int_not_equal(manifest_unpack(buf_span(&stored), &keys, &back), MANIFEST_OK);
		stored.data[i] ^= 1;
	}
	keys.ring = other;
	assert_int_equal(manifest_unpack(buf_span(&stored), &keys, &back), MANIFEST_FORGED);
	keys.ring = NULL;
	assert_int_equal(manifest_unpack(buf_span(&stored), &keys, &back), MANIFEST_MALFORMED);
	/* The same key, but sealed as something else. */
	keys.ring = ring;
	buf_clear(&stored);
	text = manifest_write(m, &keys);
	s = sealer_new(&spec, append, &stored);
	assert_int_equal(sealer_put(s, span_str(text)), SEAL_OK);
	assert_int_equal(sealer_finish(s), SEAL_OK);
	sealer_free(s);
	assert_int_equal(manifest_unpack(buf_span(&stored), &keys, &back), MANIFEST_FORGED);
	/* Those that lie there as they are go on being read. */
	assert_int_equal(manifest_unpack(span_str(text), &keys, &back), MANIFEST_OK);
	manifest_free(back);
	free(text);
	buf_free(&stored);
	manifest_free(m);
	keyring_free(ring);
	keyring_free(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_signature_is_the_published_one),
		cmocka_unit_test(a_kept_key_is_for_its_day_and_region_alone),
		cmocka_unit_test(header_values_are_trimmed_and_repeated_names_joined),
		cmocka_unit_test(a_query_is_sorted_by_encoded_name_then_value),
		cmocka_unit_test(every_name_is_judged_as_published),
		cmocka_unit_test(names_that_are_nearly_ours),
		cmocka_unit_test(marks_stand_beside_the_prefix),
		cmocka_unit_test(prefixes),
		cmocka_unit_test(times_as_people_write_them),
		cmocka_unit_test(part_sizes_are_the_published_ones),
		cmocka_unit_test(part_sizes_at_their_ends),
		cmocka_unit_test(retention_is_as_published),
		cmocka_unit_test(held_proven_and_newest_good_ones_stay),
		cmocka_unit_test(the_oldest_go_first_when_many_would),
		cmocka_unit_test(grandfathers),
		cmocka_unit_test(a_manifest_comes_back_as_it_was_written),
		cmocka_unit_test(the_mac_is_over_sorted_keys_without_white_space),
		cmocka_unit_test(manifests_that_are_not_believed),
		cmocka_unit_test(any_flipped_byte_of_a_manifest_is_noticed),
		cmocka_unit_test(what_a_later_version_wrote_is_kept),
		cmocka_unit_test(a_manifest_may_be_sealed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
