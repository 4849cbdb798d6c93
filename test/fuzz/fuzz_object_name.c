/* Bytes as names of objects, prefixes and times. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backup/object_name.h"
#include "lib/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	/* prefix NUL key */
	char *text = xstrndup((const char *)bytes, len), *key = xstrndup("", 0), again[BACKUP_KEY_MAX];
	char clean[PREFIX_MAX + 1];
	enum backup_format format;
	const char *why;
	bool had_slashes;
	int64_t when;
	size_t n = strlen(text);

	if (n < len) {
		free(key);
		key = xstrndup((const char *)bytes + n + 1, len - n - 1);
	}
	if (prefix_clean(text, clean, &had_slashes, &why)) {
		if (why || !*clean || clean[strlen(clean) - 1] == '/')
			abort();
		/* What is ours is made again byte by byte. */
		if (backup_name_parse(clean, key, &when, &format)) {
			backup_key_make(clean, when, format, again);
			if (strcmp(again, key) != 0)
				abort();
		}
		switch (mark_parse(clean, key, &when, &format)) {
		case MARK_MANIFEST:
			manifest_key_make(clean, when, format, again);
			break;
		case MARK_HOLD:
			hold_key_make(clean, when, format, again);
			break;
		case MARK_NONE:
			strcpy(again, "");
			break;
		}
		if (*again && strcmp(again, key) != 0)
			abort();
	} else if (!why) {
		abort();
	}
	if (backup_time_parse(text, &when) && (when < 0 || when > INT64_C(253402300799)))
		abort();
	free(text);
	free(key);
	return 0;
}
