#include "backup/object_name.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/rfc3339.h"

#define STAMP_LEN 15 /* 20260101_000000 */
#define LAST_SECOND INT64_C(253402300799)
#define MARKS "_manifest/"

static const char *const suffixes[] = {
	[BACKUP_PLAIN] = ".backup",
	[BACKUP_FORMAT_1] = ".backup.enc",
	[BACKUP_FORMAT_2] = ".backup.enc2",
};

bool prefix_clean(const char *given, char clean[PREFIX_MAX + 1], bool *had_slashes, const char **why)
{
	size_t len = strlen(given), kept = len;

	while (kept > 0 && given[kept - 1] == '/')
		kept--;
	*had_slashes = kept < len;
	*why = NULL;
	if (len == 0)
		*why = "it is empty, so every object of the bucket would be under it";
	else if (given[0] == '/')
		*why = "it starts with a slash";
	else if (kept > PREFIX_MAX)
		*why = "it is longer than 512 bytes";
	for (size_t i = 0; i < kept; i++)
		if ((unsigned char)given[i] < 0x20 || given[i] == 0x7f)
			*why = "it has control characters in it";
	if (*why)
		return false;
	memcpy(clean, given, kept);
	clean[kept] = 0;
	return true;
}

static bool stamp_parse(const char *text, int64_t *when)
{
	char iso[21];

	for (int i = 0; i < STAMP_LEN; i++)
		if (i == 8 ? text[i] != '_' : text[i] < '0' || text[i] > '9')
			return false;
	/* A leap second has no place in a name that counts seconds. */
	if (text[13] == '6')
		return false;
	snprintf(iso, sizeof(iso), "%.4s-%.2s-%.2sT%.2s:%.2s:%.2sZ", text, text + 4, text + 6, text + 9, text + 11,
		 text + 13);
	return rfc3339_parse(iso, strlen(iso), when) && *when >= 0;
}

bool backup_name_parse_bare(const char *name, int64_t *when, enum backup_format *format)
{
	if (strnlen(name, STAMP_LEN) < STAMP_LEN || !stamp_parse(name, when))
		return false;
	for (int i = BACKUP_PLAIN; i <= BACKUP_FORMAT_2; i++)
		if (strcmp(name + STAMP_LEN, suffixes[i]) == 0) {
			*format = (enum backup_format)i;
			return true;
		}
	return false;
}

bool backup_name_parse(const char *prefix, const char *key, int64_t *when, enum backup_format *format)
{
	size_t len = strlen(prefix);

	return strncmp(key, prefix, len) == 0 && key[len] == '/' && backup_name_parse_bare(key + len + 1, when, format);
}

void backup_name_make(int64_t when, enum backup_format format, char name[BACKUP_NAME_MAX])
{
	time_t t = (time_t)when;
	struct tm tm;
	size_t n;

	assert(when >= 0 && when <= LAST_SECOND);
	if (!gmtime_r(&t, &tm))
		abort();
	n = strftime(name, BACKUP_NAME_MAX, "%Y%m%d_%H%M%S", &tm);
	assert(n == STAMP_LEN);
	strcpy(name + n, suffixes[format]);
}

static void key_make(const char *before, const char *prefix, int64_t when, enum backup_format format,
		     const char *after, char key[BACKUP_KEY_MAX])
{
	char name[BACKUP_NAME_MAX];
	int n;

	backup_name_make(when, format, name);
	n = snprintf(key, BACKUP_KEY_MAX, "%s%s/%s%s", before, prefix, name, after);
	assert(n > 0 && n < BACKUP_KEY_MAX);
	(void)n;
}

void backup_key_make(const char *prefix, int64_t when, enum backup_format format, char key[BACKUP_KEY_MAX])
{
	key_make("", prefix, when, format, "", key);
}

void manifest_key_make(const char *prefix, int64_t when, enum backup_format format, char key[BACKUP_KEY_MAX])
{
	key_make(MARKS, prefix, when, format, ".json", key);
}

void hold_key_make(const char *prefix, int64_t when, enum backup_format format, char key[BACKUP_KEY_MAX])
{
	key_make(MARKS, prefix, when, format, ".hold", key);
}

void marks_prefix_make(const char *prefix, char out[BACKUP_KEY_MAX])
{
	int n = snprintf(out, BACKUP_KEY_MAX, MARKS "%s/", prefix);

	assert(n > 0 && n < BACKUP_KEY_MAX);
	(void)n;
}

enum mark mark_parse(const char *prefix, const char *key, int64_t *when, enum backup_format *format)
{
	static const struct {
		const char *suffix;
		enum mark mark;
	} kinds[] = {{".json", MARK_MANIFEST}, {".hold", MARK_HOLD}};
	size_t len = strlen(MARKS);
	char bare[BACKUP_NAME_MAX + 8];

	if (strncmp(key, MARKS, len) != 0)
		return MARK_NONE;
	key += len;
	len = strlen(prefix);
	if (strncmp(key, prefix, len) != 0 || key[len] != '/')
		return MARK_NONE;
	key += len + 1;
	len = strlen(key);
	if (len < 5 || len >= sizeof(bare))
		return MARK_NONE;
	memcpy(bare, key, len - 5);
	bare[len - 5] = 0;
	for (int i = 0; i < 2; i++)
		if (strcmp(key + len - 5, kinds[i].suffix) == 0)
			return backup_name_parse_bare(bare, when, format) ? kinds[i].mark : MARK_NONE;
	return MARK_NONE;
}

bool backup_time_parse(const char *text, int64_t *when)
{
	size_t len = strlen(text);
	char iso[40], *end;

	if (text[0] == '@') {
		if (text[1] < '0' || text[1] > '9' || len > 13)
			return false;
		*when = strtoll(text + 1, &end, 10);
		return !*end && *when <= LAST_SECOND;
	}
	if (len == STAMP_LEN && stamp_parse(text, when))
		return true;
	/* Hours and minutes are enough, and no zone is UTC. */
	if (len < 10 || len > 32)
		return false;
	memcpy(iso, text, len + 1);
	if (len == 16 && (iso[10] == ' ' || iso[10] == 'T'))
		strcpy(iso + 16, ":00Z");
	else if (len == 19)
		strcpy(iso + 19, "Z");
	return rfc3339_parse(iso, strlen(iso), when) && *when >= 0 && *when <= LAST_SECOND;
}
