#include "config/wallet_list.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/setting_checks.h"
#include "lib/log.h"
#include "lib/mem.h"

#define SETTING "ecdsa_allowed_addresses"
/* One wrong file can hold a million wrong lines; the log need not. */
#define ERRORS_SHOWN 20

static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct wallet_address));
}

size_t wallets_sort(struct wallet_address *rows, size_t count)
{
	size_t kept = 0;

	if (count == 0)
		return 0;
	qsort(rows, count, sizeof(*rows), by_bytes);
	for (size_t i = 1; i < count; i++)
		if (by_bytes(&rows[kept], &rows[i]) != 0)
			rows[++kept] = rows[i];
	return kept + 1;
}

bool wallets_have(const struct wallet_address *rows, size_t count, const struct wallet_address *a)
{
	return count > 0 && bsearch(a, rows, count, sizeof(*rows), by_bytes) != NULL;
}

struct reading {
	struct wallet_list *list;
	size_t cap;
	size_t errors;
};

static void add_address(struct reading *r, const char *text, size_t len, const char *where)
{
	struct wallet_list *l = r->list;
	struct wallet_address address;
	char right[WALLET_TEXT_LEN + 1];

	switch (wallet_address_parse_strict(text, len, &address)) {
	case ADDRESS_OK:
		if (l->count == r->cap) {
			r->cap = r->cap ? r->cap * 2 : 16;
			l->rows = xrealloc(l->rows, r->cap * sizeof(*l->rows));
		}
		l->rows[l->count++] = address;
		return;
	case ADDRESS_BAD_CHECKSUM:
		wallet_address_eip55(&address, right);
		if (r->errors++ < ERRORS_SHOWN)
			log_error("%s: wallet address %.*s has a wrong checksum, the correct spelling is %s%s", SETTING,
				  (int)len, text, right, where);
		return;
	case ADDRESS_MALFORMED:
		if (r->errors++ < ERRORS_SHOWN)
			log_error("%s: found \"%.*s\", expected 0x and 40 hexadecimal digits%s", SETTING,
				  len > 100 ? 100 : (int)len, text, where);
	}
}

static void read_list(struct reading *r, const char *value, const char *where)
{
	const char *item;
	size_t len;

	while ((item = list_item(&value, &len)))
		add_address(r, item, len, where);
}

static void read_line(struct reading *r, char *line, const char *file, int number)
{
	static const char blanks[] = " \t\r\v\f";
	char where[512];
	size_t len;

	line[strcspn(line, "#")] = 0;
	line += strspn(line, blanks);
	len = strcspn(line, blanks);
	if (len == 0)
		return;
	snprintf(where, sizeof(where), " (%s:%d)", file, number);
	add_address(r, line, len, where);
	line += len;
	line += strspn(line, blanks);
	if (!*line || r->errors++ >= ERRORS_SHOWN)
		return;
	if (strncmp(line, "valid-until=", 12) == 0)
		log_error("%s: valid-until is not available in this version%s", SETTING, where);
	else
		log_error("%s: found \"%.100s\" after the address, expected the end of the line%s", SETTING, line, where);
}

static void read_text(struct reading *r, struct file_text *f, const char *file)
{
	char *line = f->text, *end = f->text + f->len;

	for (int number = 1; line < end; number++) {
		char *nl = memchr(line, '\n', (size_t)(end - line));

		if (!nl)
			nl = end;
		*nl = 0;
		/* A NUL would hide the rest of its line. */
		if (strlen(line) != (size_t)(nl - line) && r->errors++ < ERRORS_SHOWN)
			log_error("%s: found a NUL byte, expected text (%s:%d)", SETTING, file, number);
		read_line(r, line, file, number);
		line = nl + 1;
	}
}

static bool same_value(const struct wallet_list *known, const char *value)
{
	return known && strcmp(known->value, value) == 0;
}

/* false: the file cannot be read. *unchanged: known says it all. */
static bool read_file(struct reading *r, const char *file, const struct wallet_list *known, bool *unchanged,
		      const char *where)
{
	struct file_text f;

	if (file_read(file, WALLET_FILE_MAX, known ? &known->identity : NULL, &f) < 0) {
		log_error("%s: could not open \"%s\": %s%s", SETTING, file, strerror(errno), where);
		return false;
	}
	*unchanged = f.text == NULL;
	r->list->identity = f.identity;
	if (f.text)
		read_text(r, &f, file);
	file_text_free(&f);
	return true;
}

struct wallet_list *wallet_list_load(const char *value, struct wallet_list *known, const char *where)
{
	struct reading r = {.list = xcalloc(1, sizeof(*r.list))};
	bool unchanged = false;

	if (!same_value(known, value))
		known = NULL;
	if (known && value[0] != '@') {
		free(r.list);
		return wallet_list_ref(known);
	}
	atomic_init(&r.list->refs, 1);
	r.list->value = xstrdup(value);
	if (value[0] != '@')
		read_list(&r, value, where);
	else if (!read_file(&r, value + 1, known, &unchanged, where))
		r.errors++;
	if (r.errors > ERRORS_SHOWN)
		log_error("%s: %zu more errors%s", SETTING, r.errors - ERRORS_SHOWN, where);
	if (r.errors || unchanged) {
		wallet_list_unref(r.list);
		return unchanged ? wallet_list_ref(known) : NULL;
	}
	r.list->count = wallets_sort(r.list->rows, r.list->count);
	return r.list;
}

struct wallet_list *wallet_list_ref(struct wallet_list *l)
{
	if (l)
		atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
	return l;
}

void wallet_list_unref(struct wallet_list *l)
{
	/* acq_rel: whoever frees has seen everything the others did with it. */
	if (!l || atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) > 1)
		return;
	free(l->value);
	free(l->rows);
	free(l);
}

bool wallet_list_has(const struct wallet_list *l, const struct wallet_address *a)
{
	return l && wallets_have(l->rows, l->count, a);
}
