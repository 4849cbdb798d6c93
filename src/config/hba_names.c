#include "config/hba_names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/setting_checks.h"
#include "lib/log.h"
#include "lib/mem.h"

/* Where the words of a field come from: the line itself, or an @file. */
struct place {
	const char *path;
	int line;
	int depth;
};

static bool include_file(struct hba_reading *, const struct place *, const char *name, size_t len, enum hba_field,
			 struct hba_names *);

static void add_name(struct hba_reading *r, const struct place *p, const char *text, size_t len, struct hba_names *n)
{
	char *name = xstrndup(text, len), where[512];
	struct wallet_address wallet;

	if (wallet_address_parse(name, len, &wallet)) {
		snprintf(where, sizeof(where), " (%s:%d)", p->path, p->line);
		if (!check_wallet_spelling(name, "auth_hba_file", where))
			r->is_refused = true;
		wallet_address_lower(&wallet, name);
	}
	if ((n->count & (n->count - 1)) == 0)
		n->names = xrealloc(n->names, (n->count ? n->count * 2 : 1) * sizeof(*n->names));
	n->names[n->count++] = name;
}

/* The current word. false: it may not stand here. */
static bool take_item(struct hba_reading *r, const struct place *p, struct words *w, enum hba_field field,
		      struct hba_names *n)
{
	if (w->kind == WORD_QUOTED) {
		add_name(r, p, w->text, w->len, n);
		return true;
	}
	if (w->kind != WORD_PLAIN)
		return false;
	if (w->is_file)
		return include_file(r, p, w->text, w->len, field, n);
	if (words_is(w, "all")) {
		n->is_all = true;
		return true;
	}
	/* Membership of a role; in the field of databases it means nothing, and no more to PgBouncer. */
	if (w->len > 0 && w->text[0] == '+')
		return false;
	if (field == HBA_DATABASE && (words_is(w, "samerole") || words_is(w, "samegroup"))) {
		log_warning("%.*s is not supported", (int)w->len, w->text);
		return false;
	}
	if (field == HBA_DATABASE && words_is(w, "sameuser")) {
		n->is_same_user = true;
		return true;
	}
	if (field == HBA_DATABASE && words_is(w, "replication")) {
		n->is_replication = true;
		return true;
	}
	add_name(r, p, w->text, w->len, n);
	return true;
}

/* In an @file names are separated by white space, commas and lines, as in PostgreSQL's. */
static bool read_names(struct hba_reading *r, struct place *p, struct file_text *f, enum hba_field field,
		       struct hba_names *n)
{
	char *at = f->text, *line;
	size_t len, items = 0;

	while ((line = line_next(&at, f->text + f->len, &len))) {
		struct words w = words_over(line, len);

		p->line++;
		while (words_next(&w) != WORD_END) {
			if (w.kind == WORD_COMMA && items > 0)
				continue;
			if (!take_item(r, p, &w, field, n)) {
				log_warning("hba line %d: could not read line %d of %s", r->line, p->line, p->path);
				return false;
			}
			items++;
		}
	}
	if (items == 0)
		log_warning("hba line %d: no name in %s", r->line, p->path);
	return items > 0;
}

/* A name that is not absolute belongs beside the file that holds it. */
static char *path_of(const char *holder, const char *name, size_t len)
{
	const char *slash = strrchr(holder, '/');
	int dir = slash && name[0] != '/' ? (int)(slash - holder) + 1 : 0;

	return xasprintf("%.*s%.*s", dir, holder, (int)len, name);
}

static bool include_file(struct hba_reading *r, const struct place *from, const char *name, size_t len,
			 enum hba_field field, struct hba_names *n)
{
	struct place here = {.depth = from->depth + 1};
	struct file_text f;
	char *path;
	bool ok;

	if (len == 0)
		return false;
	if (here.depth > HBA_INCLUDE_DEPTH || ++r->included_files > HBA_INCLUDES_MAX) {
		log_warning("hba line %d: too many files in files", r->line);
		return false;
	}
	here.path = path = path_of(from->path, name, len);
	if (r->read(r->read_ctx, path, &f) < 0) {
		log_warning("hba line %d: could not open %s: %s", r->line, path, strerror(errno));
		free(path);
		return false;
	}
	r->included_bytes += f.len;
	ok = r->included_bytes <= 4 * HBA_FILE_MAX;
	if (ok)
		ok = read_names(r, &here, &f, field, n);
	else
		log_warning("hba line %d: included files are too large", r->line);
	file_text_free(&f);
	free(path);
	return ok;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

bool hba_names_parse(struct hba_reading *r, struct words *w, enum hba_field field, struct hba_names *n)
{
	const struct place here = {.path = r->path, .line = r->line};

	for (;;) {
		if (!take_item(r, &here, w, field, n))
			return false;
		if (words_next(w) != WORD_COMMA)
			break;
		words_next(w);
	}
	if (n->count > 1)
		qsort(n->names, n->count, sizeof(*n->names), by_text);
	return true;
}

void hba_names_free(struct hba_names *n)
{
	for (size_t i = 0; i < n->count; i++)
		free(n->names[i]);
	free(n->names);
}

bool hba_names_have(const struct hba_names *n, const char *name)
{
	return n->count > 0 && bsearch(&name, n->names, n->count, sizeof(*n->names), by_text) != NULL;
}
