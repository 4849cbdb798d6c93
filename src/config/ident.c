#include "config/ident.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/setting_checks.h"
#include "config/words.h"
#include "lib/file.h"
#include "lib/hash.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/rfc3339.h"

#define VALID_UNTIL "valid-until="

struct ident_wallet {
	struct wallet_address address;
	uint32_t line; /* index into lines */
};

struct ident_maps {
	atomic_uint refs;
	struct ident_map **maps; /* owned */
	size_t count;
	struct hash by_name;
};

struct reading {
	struct ident_maps *maps;
	const char *path;
	int line;
	bool is_refused;
};

/* --- a line ------------------------------------------------------------------ */

static bool take_name(struct words *w, char **out)
{
	/* There are no includes here, so @ is a letter like others. */
	if (w->kind == WORD_PLAIN && w->is_file && w->text[-1] == '@') {
		w->text--;
		w->len++;
	}
	if (w->kind != WORD_PLAIN && w->kind != WORD_QUOTED)
		return false;
	*out = xstrndup(w->text, w->len);
	words_next(w);
	return true;
}

static void take_validity(struct reading *r, struct words *w, struct ident_line *line)
{
	static const size_t skip = sizeof(VALID_UNTIL) - 1;

	if (w->kind != WORD_PLAIN || w->len < skip || memcmp(w->text, VALID_UNTIL, skip) != 0)
		return;
	if (!rfc3339_parse(w->text + skip, w->len - skip, &line->valid_until)) {
		log_error("ident line %d: found \"%.*s\", expected " VALID_UNTIL "YYYY-MM-DDThh:mm:ssZ (%s:%d)", r->line,
			  (int)(w->len > 100 ? 100 : w->len), w->text, r->path, r->line);
		r->is_refused = true;
	}
	words_next(w);
}

static void line_free(struct ident_line *line)
{
	free(line->system_user);
	free(line->database_user);
}

/* false: not a line; what was filled in is freed by the caller. */
static bool parse_line(struct reading *r, struct words *w, char **map, struct ident_line *line)
{
	bool is_all;

	if (w->kind != WORD_PLAIN || !take_name(w, map) || !take_name(w, &line->system_user))
		return false;
	is_all = words_is(w, "all");
	if (w->len > USER_NAME_MAX) {
		log_warning("ident line %d: user name too long", r->line);
		return false;
	}
	if (!take_name(w, &line->database_user))
		return false;
	if (is_all) {
		free(line->database_user);
		line->database_user = NULL;
	}
	take_validity(r, w, line);
	if (w->kind != WORD_END) {
		log_warning("ident line %d: unsupported parameters", r->line);
		return false;
	}
	return true;
}

static bool is_power_of_two(size_t n)
{
	return (n & (n - 1)) == 0;
}

static struct ident_map *map_named(struct ident_maps *maps, const char *name)
{
	struct ident_map *m = hash_get_str(&maps->by_name, name);

	if (m)
		return m;
	m = xcalloc(1, sizeof(*m));
	m->name = xstrdup(name);
	if (is_power_of_two(maps->count))
		maps->maps = xrealloc(maps->maps, (maps->count ? maps->count * 2 : 1) * sizeof(struct ident_map *));
	maps->maps[maps->count++] = m;
	if (!hash_put_str(&maps->by_name, m->name, m)) {
		log_fatal("out of memory");
		abort();
	}
	return m;
}

static void add_line(struct ident_map *m, const struct ident_line *line)
{
	if (is_power_of_two(m->count))
		m->lines = xrealloc(m->lines, (m->count ? m->count * 2 : 1) * sizeof(*m->lines));
	m->lines[m->count++] = *line;
}

static void read_line(struct reading *r, char *text, size_t len)
{
	struct words w = words_over(text, len);
	struct ident_line line = {.valid_until = INT64_MAX};
	char *map = NULL, where[512];

	if (words_next(&w) == WORD_END)
		return;
	if (parse_line(r, &w, &map, &line)) {
		snprintf(where, sizeof(where), " (%s:%d)", r->path, r->line);
		if (!check_wallet_spelling(line.system_user, "auth_ident_file", where))
			r->is_refused = true;
		add_line(map_named(r->maps, map), &line);
	} else {
		log_warning("could not parse ident config line %d", r->line);
		line_free(&line);
	}
	free(map);
}

/* --- wallets ------------------------------------------------------------------- */

static int by_address(const void *a, const void *b)
{
	const struct ident_wallet *x = a, *y = b;
	int order = memcmp(&x->address, &y->address, sizeof(x->address));

	return order ? order : (x->line > y->line) - (x->line < y->line);
}

static void index_wallets(struct ident_map *m)
{
	m->wallets = xcalloc(m->count, sizeof(*m->wallets));
	for (size_t i = 0; i < m->count; i++) {
		const char *name = m->lines[i].system_user;

		if (!wallet_address_parse(name, strlen(name), &m->wallets[m->wallet_count].address))
			continue;
		m->wallets[m->wallet_count++].line = (uint32_t)i;
	}
	if (m->wallet_count)
		qsort(m->wallets, m->wallet_count, sizeof(*m->wallets), by_address);
}

/* Index of the wallet's first line; wallet_count when it has none. */
static size_t first_of(const struct ident_map *m, const struct wallet_address *a)
{
	size_t lo = 0, hi = m->wallet_count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (memcmp(&m->wallets[mid].address, a, sizeof(*a)) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

enum ident_verdict ident_judge_wallet(const struct ident_map *m, const struct wallet_address *a, const char *user,
				      int64_t now, const char **role)
{
	enum ident_verdict verdict = IDENT_NO_LINE;

	*role = NULL;
	for (size_t i = first_of(m, a); i < m->wallet_count && memcmp(&m->wallets[i].address, a, sizeof(*a)) == 0; i++) {
		const struct ident_line *line = &m->lines[m->wallets[i].line];

		if (user && line->database_user && strcmp(line->database_user, user) != 0)
			continue;
		if (now >= line->valid_until) {
			verdict = IDENT_EXPIRED;
			continue;
		}
		*role = user ? user : line->database_user;
		return IDENT_FOUND;
	}
	return verdict;
}

bool ident_line_allows(const struct ident_line *line, const char *user, int64_t now)
{
	return now < line->valid_until && (!line->database_user || strcmp(line->database_user, user) == 0);
}

/* --- the whole ------------------------------------------------------------------- */

struct ident_maps *ident_parse(char *text, size_t len, const char *path)
{
	struct reading r = {.maps = xcalloc(1, sizeof(*r.maps)), .path = path};
	char *at = text, *line;
	size_t line_len;

	atomic_init(&r.maps->refs, 1);
	hash_init(&r.maps->by_name);
	while ((line = line_next(&at, text + len, &line_len))) {
		r.line++;
		log_at(path, r.line);
		read_line(&r, line, line_len);
	}
	log_at(NULL, 0);
	for (size_t i = 0; i < r.maps->count; i++)
		index_wallets(r.maps->maps[i]);
	if (r.is_refused) {
		ident_unref(r.maps);
		return NULL;
	}
	return r.maps;
}

struct ident_maps *ident_load(const char *path)
{
	struct file_text f = {.text = NULL};
	struct ident_maps *maps;
	char nothing[1] = "";

	if (path && *path && file_read(path, IDENT_FILE_MAX, NULL, &f) < 0)
		log_error("could not open ident config file %s: %s", path, strerror(errno));
	maps = ident_parse(f.text ? f.text : nothing, f.len, path);
	file_text_free(&f);
	return maps;
}

struct ident_maps *ident_ref(struct ident_maps *maps)
{
	if (maps)
		atomic_fetch_add_explicit(&maps->refs, 1, memory_order_relaxed);
	return maps;
}

static void map_free(struct ident_map *m)
{
	for (size_t i = 0; i < m->count; i++)
		line_free(&m->lines[i]);
	free(m->lines);
	free(m->wallets);
	free(m->name);
	free(m);
}

void ident_unref(struct ident_maps *maps)
{
	/* acq_rel: whoever frees has seen everything the others did with it. */
	if (!maps || atomic_fetch_sub_explicit(&maps->refs, 1, memory_order_acq_rel) > 1)
		return;
	for (size_t i = 0; i < maps->count; i++)
		map_free(maps->maps[i]);
	free(maps->maps);
	hash_free(&maps->by_name);
	free(maps);
}

const struct ident_map *ident_find(const struct ident_maps *maps, const char *name)
{
	return maps ? hash_get_str(&maps->by_name, name) : NULL;
}
