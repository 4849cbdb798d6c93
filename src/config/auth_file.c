#include "config/auth_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/wallet_list.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "wallet/address.h"

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/*
 *	"user name" anything "secret" anything else
 *	^at
 */
struct reading {
	struct auth_file *file;
	char *at, *end;
	int line;
	size_t cap;
	bool bad_wallet;
};

static void skip_space(struct reading *r)
{
	for (; r->at < r->end && is_space(*r->at); r->at++)
		if (*r->at == '\n')
			r->line++;
}

static void skip_line(struct reading *r)
{
	char *nl = memchr(r->at, '\n', (size_t)(r->end - r->at));

	r->at = nl ? nl : r->end;
}

/*
 * As PgBouncer does: white space, line ends too, and whatever else stands
 * between the two fields is passed over. But words end with their line, or the
 * next line's user would become this one's password.
 */
static void skip_to_quote(struct reading *r)
{
	skip_space(r);
	while (r->at < r->end && *r->at && *r->at != '"' && *r->at != '\n')
		r->at++;
}

/* Undoes the quoting in place; NULL: no field stands here, or it does not end. */
static char *take_field(struct reading *r, size_t *len)
{
	char *from, *to;

	if (r->at == r->end || *r->at != '"')
		return NULL;
	from = to = ++r->at;
	for (; r->at < r->end && *r->at; r->at++) {
		if (*r->at == '\n')
			r->line++;
		if (*r->at == '"') {
			bool is_doubled = r->at + 1 < r->end && r->at[1] == '"';

			if (!is_doubled) {
				r->at++;
				*to = 0;
				*len = (size_t)(to - from);
				return from;
			}
			r->at++;
		}
		*to++ = *r->at;
	}
	return NULL;
}

static void lower_wallet_name(struct reading *r, char *user, size_t len, int line)
{
	struct wallet_address address;
	char right[WALLET_TEXT_LEN + 1];

	if (!wallet_address_parse(user, len, &address))
		return;
	if (wallet_address_parse_strict(user, len, &address) == ADDRESS_BAD_CHECKSUM) {
		wallet_address_eip55(&address, right);
		log_error("auth_file: wallet address %s has a wrong checksum, the correct spelling is %s (%s:%d)", user,
			  right, r->file->path, line);
		r->bad_wallet = true;
	}
	wallet_address_lower(&address, right);
	memcpy(user, right, len);
}

static void add_row(struct reading *r, const char *user, const char *secret)
{
	struct auth_file *f = r->file;

	if (f->count == r->cap) {
		r->cap = r->cap ? r->cap * 2 : 16;
		f->rows = xrealloc(f->rows, r->cap * sizeof(*f->rows));
	}
	f->rows[f->count++] = (struct stored_secret){user, secret};
}

/* false: reading ends here. */
static bool read_line(struct reading *r)
{
	int line = r->line;
	char *user, *secret = NULL;
	size_t user_len, secret_len;

	user = take_field(r, &user_len);
	if (user && user_len > USER_NAME_MAX) {
		log_error("username too long in auth file");
		return false;
	}
	if (user) {
		skip_to_quote(r);
		secret = take_field(r, &secret_len);
	}
	if (!secret) {
		log_error("broken auth file");
		return false;
	}
	if (secret_len > PASSWORD_MAX) {
		log_error("password too long in auth file");
		return false;
	}
	skip_line(r);
	lower_wallet_name(r, user, user_len, line);
	add_row(r, user, secret);
	return true;
}

/* Rows of one user stand in the order of the file, which is that of their addresses. */
static int by_user(const void *a, const void *b)
{
	const struct stored_secret *x = a, *y = b;
	int order = strcmp(x->user, y->user);

	return order ? order : (x->user > y->user) - (x->user < y->user);
}

/* The last line of a user counts. */
static void sort_rows(struct auth_file *f)
{
	size_t kept = 0;

	if (f->count)
		qsort(f->rows, f->count, sizeof(*f->rows), by_user);
	for (size_t i = 0; i < f->count; i++)
		if (i + 1 == f->count || strcmp(f->rows[i].user, f->rows[i + 1].user) != 0)
			f->rows[kept++] = f->rows[i];
	f->count = kept;
}

static void index_rows(struct auth_file *f)
{
	f->wallets = xcalloc(f->count, sizeof(*f->wallets));
	for (size_t i = 0; i < f->count; i++) {
		struct stored_secret *row = &f->rows[i];

		if (!hash_put_str(&f->by_user, row->user, row)) {
			log_fatal("out of memory");
			abort();
		}
		if (wallet_address_parse(row->user, strlen(row->user), &f->wallets[f->wallet_count]))
			f->wallet_count++;
	}
	f->wallet_count = wallets_sort(f->wallets, f->wallet_count);
}

/* Behind the line that could not be read, wherever its quotes led. */
static void skip_bad_line(struct reading *r, char *from, int line)
{
	r->at = from;
	r->line = line;
	skip_line(r);
}

struct auth_file *auth_file_parse(struct file_text *source, const char *path, bool goes_on)
{
	struct auth_file *f = xcalloc(1, sizeof(*f));
	struct reading r = {.file = f, .at = source->text, .end = source->text + source->len, .line = 1};
	bool more = true;

	atomic_init(&f->refs, 1);
	hash_init(&f->by_user);
	f->path = xstrdup(path);
	f->source = *source;
	source->text = NULL;
	while (more) {
		skip_space(&r);
		if (r.at == r.end)
			break;
		if (*r.at == ';') {
			skip_line(&r);
			continue;
		}
		char *from = r.at;
		int line = r.line;

		log_at(path, line);
		more = read_line(&r);
		if (!more && goes_on) {
			skip_bad_line(&r, from, line);
			more = true;
		}
	}
	log_at(NULL, 0);
	if (r.bad_wallet) {
		auth_file_unref(f);
		return NULL;
	}
	sort_rows(f);
	index_rows(f);
	return f;
}

bool auth_file_load(const char *path, struct auth_file *known, bool goes_on, struct auth_file **out)
{
	struct file_text source;
	bool may_share = known && strcmp(known->path, path) == 0;

	*out = NULL;
	if (file_read(path, AUTH_FILE_MAX, may_share ? &known->source.identity : NULL, &source) < 0) {
		log_error("could not open auth_file %s: %s", path, strerror(errno));
		*out = auth_file_ref(known);
		return true;
	}
	*out = source.text ? auth_file_parse(&source, path, goes_on) : auth_file_ref(known);
	return *out != NULL;
}

struct auth_file *auth_file_ref(struct auth_file *f)
{
	if (f)
		atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
	return f;
}

void auth_file_unref(struct auth_file *f)
{
	/* acq_rel: whoever frees has seen everything the others did with it. */
	if (!f || atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) > 1)
		return;
	file_text_free(&f->source);
	hash_free(&f->by_user);
	free(f->wallets);
	free(f->rows);
	free(f->path);
	free(f);
}

const struct stored_secret *auth_file_find(const struct auth_file *f, const char *user)
{
	struct wallet_address address;
	char lower[WALLET_TEXT_LEN + 1];

	if (!f)
		return NULL;
	if (!wallet_address_parse(user, strlen(user), &address))
		return hash_get_str(&f->by_user, user);
	wallet_address_lower(&address, lower);
	return hash_get_str(&f->by_user, lower);
}
