#include "config/wallet_list.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/setting_checks.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/rfc3339.h"

#define SETTING "ecdsa_allowed_addresses"
#define VALID_UNTIL "valid-until="
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

/* Of equal addresses the one that is good for longest comes last. */
static int by_address_and_date(const void *a, const void *b)
{
	const struct dated_wallet *x = a, *y = b;
	int order = by_bytes(&x->address, &y->address);

	return order ? order : (x->valid_until > y->valid_until) - (x->valid_until < y->valid_until);
}

static int by_address(const void *a, const void *b)
{
	return by_bytes(a, &((const struct dated_wallet *)b)->address);
}

static void sort_dated(struct wallet_list *l)
{
	size_t kept = 0;

	if (l->dated_count)
		qsort(l->dated, l->dated_count, sizeof(*l->dated), by_address_and_date);
	for (size_t i = 0; i < l->dated_count; i++)
		if (i + 1 == l->dated_count || by_bytes(&l->dated[i].address, &l->dated[i + 1].address) != 0)
			l->dated[kept++] = l->dated[i];
	l->dated_count = kept;
}

struct reading {
	struct wallet_list *list;
	const char *file; /* for messages */
	size_t cap, dated_cap;
	size_t errors;
};

static void keep_address(struct reading *r, const struct wallet_address *address, int64_t valid_until)
{
	struct wallet_list *l = r->list;

	if (valid_until < INT64_MAX) {
		if (l->dated_count == r->dated_cap) {
			r->dated_cap = r->dated_cap ? r->dated_cap * 2 : 16;
			l->dated = xrealloc(l->dated, r->dated_cap * sizeof(*l->dated));
		}
		l->dated[l->dated_count++] = (struct dated_wallet){*address, valid_until};
		return;
	}
	if (l->count == r->cap) {
		r->cap = r->cap ? r->cap * 2 : 16;
		l->rows = xrealloc(l->rows, r->cap * sizeof(*l->rows));
	}
	l->rows[l->count++] = *address;
}

static void add_address(struct reading *r, const char *text, size_t len, int64_t valid_until, const char *where)
{
	struct wallet_address address;
	char right[WALLET_TEXT_LEN + 1];

	switch (wallet_address_parse_strict(text, len, &address)) {
	case ADDRESS_OK:
		keep_address(r, &address, valid_until);
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
		add_address(r, item, len, INT64_MAX, where);
}

/* What stands behind the address. false: it may not. */
static bool read_validity(const char *text, int64_t *valid_until)
{
	static const size_t skip = sizeof(VALID_UNTIL) - 1;

	*valid_until = INT64_MAX;
	return !*text || (strncmp(text, VALID_UNTIL, skip) == 0 &&
			  rfc3339_parse(text + skip, strlen(text + skip), valid_until));
}

static void read_line(void *ctx, char *line, size_t line_len, int number)
{
	static const char blanks[] = " \t\r\v\f";
	struct reading *r = ctx;
	int64_t valid_until;
	char where[512], *end;
	size_t len;

	snprintf(where, sizeof(where), " (%s:%d)", r->file, number);
	/* A NUL would hide the rest of its line. */
	if (!line || strlen(line) != line_len) {
		if (r->errors++ < ERRORS_SHOWN)
			log_error("%s: found %s, expected text%s", SETTING, line ? "a NUL byte" : "a very long line", where);
		return;
	}
	line[strcspn(line, "#")] = 0;
	line += strspn(line, blanks);
	len = strcspn(line, blanks);
	if (len == 0)
		return;
	for (end = line + strlen(line); strchr(blanks, end[-1]); end--)
		end[-1] = 0;
	end = line + len + strspn(line + len, blanks);
	if (read_validity(end, &valid_until))
		add_address(r, line, len, valid_until, where);
	else if (r->errors++ < ERRORS_SHOWN)
		log_error("%s: found \"%.100s\" after the address, expected " VALID_UNTIL
			  "YYYY-MM-DDThh:mm:ssZ or the end of the line%s", SETTING, end, where);
}

static bool same_value(const struct wallet_list *known, const char *value)
{
	return known && strcmp(known->value, value) == 0;
}

/*
 * false: the file cannot be read. *unchanged: known says it all. Line by line, since the text of a million addresses is
 * more than twice their bytes.
 */
static bool read_file(struct reading *r, const char *file, const struct wallet_list *known, bool *unchanged,
		      const char *where)
{
	int got;

	r->file = file;
	got = file_each_line(file, WALLET_FILE_MAX, known ? &known->identity : NULL, &r->list->identity, read_line, r);
	if (got < 0)
		log_error("%s: could not open \"%s\": %s%s", SETTING, file, strerror(errno), where);
	*unchanged = got == 1;
	return got >= 0;
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
	sort_dated(r.list);
	/* What was made for the next address is not kept for it. */
	if (r.list->count > 0)
		r.list->rows = xrealloc(r.list->rows, r.list->count * sizeof(*r.list->rows));
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
	free(l->dated);
	free(l);
}

enum wallet_standing wallet_list_judge(const struct wallet_list *l, const struct wallet_address *a, int64_t now)
{
	const struct dated_wallet *dated;

	if (!l)
		return WALLET_UNKNOWN;
	if (wallets_have(l->rows, l->count, a))
		return WALLET_ALLOWED;
	dated = l->dated_count ? bsearch(a, l->dated, l->dated_count, sizeof(*l->dated), by_address) : NULL;
	if (!dated)
		return WALLET_UNKNOWN;
	return now < dated->valid_until ? WALLET_ALLOWED : WALLET_EXPIRED;
}
