#include "backup/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "backup/command.h"
#include "backup/event.h"
#include "backup/fetch.h"

#include "backup/work.h"
#include "lib/hex.h"
#include "lib/mem.h"

#define BLOCK ((size_t)1 << 20)
#define DIGEST_BYTES 32
#define DATE_SLACK 2	    /* seconds between a name and the header below it */
#define SPOOL_MARGIN ((uint64_t)64 << 20)

struct reader {
	struct reader_spec spec;
	char why[1024], sha256[DIGEST_BYTES * 2 + 1];
	enum file_format format;
	const struct key *key; /* borrowed */
	uint64_t plaintext;
	bool has_passed; /* the first of two passes is done */

	uint8_t *digests; /* owned; of each block */
	size_t blocks;
	int spool; /* owned; -1: none */
};

static struct {
	enum read_result result;
	enum outcome outcome;
} const outcomes[] = {
	{READ_OK, OUTCOME_DONE}, {READ_STOPPED, OUTCOME_FAILED}, {READ_INTEGRITY, OUTCOME_INTEGRITY},
	{READ_WRONG_KEY, OUTCOME_INTEGRITY}, {READ_UNENCRYPTED, OUTCOME_INTEGRITY}, {READ_CHANGED, OUTCOME_STORAGE},
	{READ_NOT_FOUND, OUTCOME_NO_BACKUP}, {READ_STORAGE, OUTCOME_STORAGE}, {READ_LOCAL, OUTCOME_FAILED},
	{READ_INTERRUPTED, OUTCOME_INTERRUPTED},
};

enum outcome read_outcome(enum read_result r)
{
	for (size_t i = 0; i < ARRAY_LEN(outcomes); i++)
		if (outcomes[i].result == r)
			return outcomes[i].outcome;
	return OUTCOME_FAILED;
}

struct reader *reader_new(const struct reader_spec *spec)
{
	struct reader *r = xcalloc(1, sizeof(*r));

	r->spec = *spec;
	r->spool = -1;
	return r;
}

void reader_free(struct reader *r)
{
	if (!r)
		return;
	if (r->spool >= 0)
		close(r->spool);
	free(r->digests);
	free(r);
}

bool reader_is_judged(const struct reader *r)
{
	return r->has_passed;
}

const char *reader_why(const struct reader *r)
{
	return r->why;
}

enum file_format reader_format(const struct reader *r)
{
	return r->format;
}

uint64_t reader_plaintext(const struct reader *r)
{
	return r->plaintext;
}

const char *reader_sha256(const struct reader *r)
{
	return r->sha256;
}

const char *reader_key_id(const struct reader *r)
{
	return r->key ? r->key->id_text : "";
}

static enum read_result fail(struct reader *r, enum read_result result, const char *fmt, ...) PRINTF_LIKE(3, 4);
static enum read_result fail(struct reader *r, enum read_result result, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->why, sizeof(r->why), fmt, ap);
	va_end(ap);
	return result;
}

/* ---- one pass over the stored bytes ---- */

static struct fetch *open_source(struct reader *r, uint64_t size)
{
	if (r->spool >= 0 && r->has_passed)
		return fetch_file(r->spool, size);
	if (r->spec.store)
		return fetch_object(r->spec.store, r->spec.key, r->spec.etag ? r->spec.etag : "", size);
	return fetch_file(r->spec.fd, size);
}

static enum read_result fetch_result_of(struct reader *r, const struct fetch *f)
{
	const char *why;

	switch (fetch_failure(f, &why)) {
	case STORAGE_CANCELLED:
		return fail(r, READ_INTERRUPTED, "%s", work_interruption_text(r->spec.work));
	case STORAGE_CHANGED:
		return fail(r, READ_CHANGED, "it was replaced while it was read");
	case STORAGE_NOT_FOUND:
		return fail(r, READ_NOT_FOUND, "%s", why);
	case STORAGE_INTEGRITY:
		return fail(r, READ_INTEGRITY, "%s", why);
	default:
		return fail(r, r->spec.store ? READ_STORAGE : READ_LOCAL, "%s", why);
	}
}

static enum read_result unseal_result_of(struct reader *r, const struct unsealer *u, enum unseal_result result)
{
	char text[256];

	switch (result) {
	case UNSEAL_OK:
		return READ_OK;
	case UNSEAL_STOPPED:
		return READ_STOPPED;
	case UNSEAL_WRONG_KEY:
		return fail(r, READ_WRONG_KEY, "%s", unsealer_explain(u, result, text));
	default:
		return fail(r, READ_INTEGRITY, "%s", unsealer_explain(u, result, text));
	}
}

struct pass {
	struct reader *reader;
	struct unsealer *unsealer; /* NULL: plain */
	seal_sink *sink;
	void *ctx;
	EVP_MD_CTX *whole, *block; /* NULL: not wanted */
	size_t in_block, block_number;
	bool records, compares;
};

/* The name of a backup says when it was made; the header is authenticated, the name is not. */
static enum read_result compare_dates(struct reader *r, const struct unsealer *u)
{
	const struct unseal_header *h = unsealer_header(u);
	char named[ISO_TIME_MAX], made[ISO_TIME_MAX];

	if (!h)
		return READ_OK;
	if (r->spec.content != CONTENT_UNSPECIFIED && h->content != CONTENT_UNSPECIFIED && h->content != r->spec.content)
		return fail(r, READ_INTEGRITY, "what is in it is of kind %d, not %d", h->content, r->spec.content);
	if (r->spec.named_at < 0 || (h->created_at - r->spec.named_at <= DATE_SLACK && r->spec.named_at - h->created_at <= DATE_SLACK))
		return READ_OK;
	return fail(r, READ_INTEGRITY, "its name says %s, but it was made at %s: renamed",
		    iso_time(r->spec.named_at, named), iso_time(h->created_at, made));
}

static enum read_result end_block(struct pass *p)
{
	uint8_t digest[DIGEST_BYTES];
	struct reader *r = p->reader;

	EVP_DigestFinal_ex(p->block, digest, NULL);
	EVP_DigestInit_ex(p->block, EVP_sha256(), NULL);
	p->in_block = 0;
	if (p->compares) {
		if (p->block_number >= r->blocks ||
		    memcmp(r->digests + p->block_number * DIGEST_BYTES, digest, DIGEST_BYTES) != 0)
			return fail(r, READ_INTEGRITY, "other bytes came the second time than the first");
	} else {
		if ((r->blocks & (r->blocks - 1)) == 0)
			r->digests = xrealloc(r->digests, (r->blocks ? r->blocks * 2 : 1) * DIGEST_BYTES);
		memcpy(r->digests + r->blocks++ * DIGEST_BYTES, digest, DIGEST_BYTES);
	}
	p->block_number++;
	return READ_OK;
}

/* Splits a piece at block borders and digests it. Nothing of a block is used before all of it has been compared. */
static enum read_result digest_piece(struct pass *p, struct span piece)
{
	enum read_result result = READ_OK;

	while (p->block && piece.len > 0 && result == READ_OK) {
		size_t n = BLOCK - p->in_block < piece.len ? BLOCK - p->in_block : piece.len;

		EVP_DigestUpdate(p->block, piece.ptr, n);
		p->in_block += n;
		piece = span_of(piece.ptr + n, piece.len - n);
		if (p->in_block == BLOCK)
			result = end_block(p);
	}
	return result;
}

static enum read_result write_spool(struct reader *r, struct span s)
{
	while (s.len > 0) {
		ssize_t n = write(r->spool, s.ptr, s.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return fail(r, READ_LOCAL, "could not write to %s: %s", r->spec.spool_dir, strerror(errno));
		s = span_of(s.ptr + n, s.len - (size_t)n);
	}
	return READ_OK;
}

static enum read_result use_piece(struct pass *p, struct span piece)
{
	struct reader *r = p->reader;
	bool had_header = p->unsealer && unsealer_header(p->unsealer);
	enum read_result result;

	if (!p->unsealer) {
		r->plaintext += piece.len;
		return !p->sink || p->sink(p->ctx, piece) ? READ_OK : READ_STOPPED;
	}
	if (!had_header && r->format == FORMAT_2 && r->spec.size > SEAL2_HEADER_BYTES + SEAL_TAG_BYTES) {
		/* The header by itself, so that its date is judged before the first segment is handed out. */
		size_t first = SEAL2_HEADER_BYTES + SEAL_TAG_BYTES;

		first = piece.len < first ? piece.len : first;
		result = unseal_result_of(r, p->unsealer, unsealer_feed(p->unsealer, span_of(piece.ptr, first)));
		if (result == READ_OK)
			result = compare_dates(r, p->unsealer);
		if (result != READ_OK)
			return result;
		piece = span_of(piece.ptr + first, piece.len - first);
	}
	return unseal_result_of(r, p->unsealer, unsealer_feed(p->unsealer, piece));
}

/*
 * A range of 8 MiB is a whole number of blocks, and a piece of a file at most
 * one: so comparing a piece before using it holds back no more than a block.
 */
static enum read_result run_pieces(struct pass *p, struct fetch *f)
{
	struct reader *r = p->reader;
	struct span piece;

	for (;;) {
		enum fetch_result got = fetch_next(f, &piece);
		enum read_result result = READ_OK;

		if (got == FETCH_FAILED)
			return fetch_result_of(r, f);
		if (got == FETCH_END)
			break;
		r->spec.work->stored += piece.len;
		work_moved(r->spec.work);
		if (p->whole)
			EVP_DigestUpdate(p->whole, piece.ptr, piece.len);
		if (r->spool >= 0 && p->records)
			result = write_spool(r, piece);
		if (result == READ_OK)
			result = digest_piece(p, piece);
		/* The last block of all is short. */
		if (result == READ_OK && p->compares && p->in_block > 0) {
			uint64_t done = (uint64_t)p->block_number * BLOCK + p->in_block;

			if (done != r->spec.size)
				return fail(r, READ_INTEGRITY, "pieces came in other sizes than they were asked for");
			result = end_block(p);
		}
		if (result == READ_OK)
			result = use_piece(p, piece);
		if (result != READ_OK)
			return result;
		/* A file never makes us wait, but signals and timers must be served all the same. */
		if (!loop_breathe(r->spec.work->program->loop))
			return fail(r, READ_INTERRUPTED, "%s", work_interruption_text(r->spec.work));
	}
	if (p->block && !p->compares && p->in_block > 0) {
		enum read_result result = end_block(p);

		if (result != READ_OK)
			return result;
	}
	return p->unsealer ? unseal_result_of(r, p->unsealer, unsealer_finish(p->unsealer)) : READ_OK;
}

static EVP_MD_CTX *new_sha256(void)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1)
		abort(); /* no memory, or no SHA-256 */
	return ctx;
}

/* All of it once. With a sink it is the pass that hands out. */
static enum read_result run_pass(struct reader *r, enum file_format format, seal_sink *sink, void *ctx)
{
	bool is_judging = !sink;
	struct pass p = {.reader = r, .sink = sink, .ctx = ctx, .records = is_judging, .compares = !is_judging && r->has_passed};
	struct fetch *f = open_source(r, r->spec.size);
	enum read_result result;
	uint8_t digest[DIGEST_BYTES];

	r->plaintext = 0;
	if (format == FORMAT_2)
		p.unsealer = unsealer_new_2(r->spec.keys, sink, ctx);
	else if (format == FORMAT_1)
		p.unsealer = unsealer_new_1(r->spec.keys, is_judging ? NULL : r->key, sink, ctx);
	if (is_judging || (!r->has_passed && r->spec.must_hash))
		p.whole = new_sha256();
	/* Nobody else has the unlinked spool, so what was judged is what is read again. */
	if (r->spool < 0 && (is_judging || r->has_passed))
		p.block = new_sha256();
	result = run_pieces(&p, f);
	if (result == READ_OK) {
		if (p.unsealer) {
			r->key = unsealer_key(p.unsealer);
			r->plaintext = unsealer_plaintext(p.unsealer);
		}
		if (p.whole) {
			EVP_DigestFinal_ex(p.whole, digest, NULL);
			hex_encode(digest, sizeof(digest), r->sha256);
		}
	}
	EVP_MD_CTX_free(p.whole);
	EVP_MD_CTX_free(p.block);
	unsealer_free(p.unsealer);
	fetch_free(f);
	return result;
}

/* ---- what comes before ---- */

static void open_spool(struct reader *r)
{
	const char *dir = r->spec.spool_dir;
	struct statvfs fs;
	char *path;

	if (!r->spec.store || !r->spec.may_spool || statvfs(dir, &fs) < 0 ||
	    (uint64_t)fs.f_bavail * fs.f_frsize < r->spec.size + SPOOL_MARGIN)
		return;
	r->spool = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (r->spool >= 0)
		return;
	path = xasprintf("%s/pg-ecdsa-backup-XXXXXX", dir);
	r->spool = mkostemp(path, O_CLOEXEC);
	if (r->spool >= 0)
		unlink(path);
	free(path);
}

static void forget_pass(struct reader *r)
{
	if (r->spool >= 0)
		close(r->spool);
	r->spool = -1;
	free(r->digests);
	r->digests = NULL;
	r->blocks = 0;
	r->has_passed = false;
}

static enum read_result judge(struct reader *r, enum file_format format)
{
	enum read_result result;

	forget_pass(r);
	open_spool(r);
	EVENT(LEVEL_DEBUG, "two_pass", F_TEXT("object", r->spec.key), F_TEXT("by", r->spool >= 0 ? "spool" : "digests"));
	r->spec.work->stored = 0;
	result = run_pass(r, format, NULL, NULL);
	/* A spool that filled up after all: without it the same is possible. */
	if (result == READ_LOCAL && r->spool >= 0) {
		EVENT(LEVEL_WARNING, "spool", F_TEXT("warning", r->why));
		r->spec.may_spool = false;
		return judge(r, format);
	}
	r->has_passed = result == READ_OK;
	return result;
}

/* The first bytes, as many as the earliest answer needs. */
static enum read_result peek(struct reader *r, uint8_t *buf, size_t *len)
{
	uint64_t most = SEAL2_HEADER_BYTES + SEAL_TAG_BYTES;
	struct fetch *f;
	struct span piece;
	enum read_result result = READ_OK;

	*len = 0;
	if (r->spec.size < most)
		most = r->spec.size;
	f = open_source(r, most);
	for (;;) {
		enum fetch_result got = fetch_next(f, &piece);

		if (got == FETCH_FAILED)
			result = fetch_result_of(r, f);
		if (got != FETCH_OK)
			break;
		memcpy(buf + *len, piece.ptr, piece.len);
		*len += piece.len;
	}
	fetch_free(f);
	return result;
}

static enum read_result prepare_plain(struct reader *r)
{
	enum read_result result;

	if (!r->spec.accept_plain)
		return fail(r, READ_UNENCRYPTED, "it is not encrypted, and whoever can write to the store could have put any SQL "
						 "there; accept_unencrypted = yes takes it all the same");
	r->format = FORMAT_PLAIN;
	if (r->spec.streams && !r->spec.expect_sha256)
		return READ_OK;
	result = judge(r, FORMAT_PLAIN);
	if (result == READ_OK && r->spec.expect_sha256 && strcmp(r->spec.expect_sha256, r->sha256) != 0)
		return fail(r, READ_INTEGRITY, "its SHA-256 is not the one in its manifest");
	return result;
}

/* With the header alone: a wrong key or date is told before gigabytes are fetched. */
static enum read_result judge_header(struct reader *r, struct span first)
{
	struct unsealer *u = unsealer_new_2(r->spec.keys, NULL, NULL);
	enum read_result result = unseal_result_of(r, u, unsealer_feed(u, first));

	if (result == READ_OK && !unsealer_header(u))
		result = unseal_result_of(r, u, unsealer_finish(u)); /* too short */
	if (result == READ_OK)
		result = compare_dates(r, u);
	r->key = unsealer_key(u);
	unsealer_free(u);
	return result;
}

enum read_result reader_prepare(struct reader *r)
{
	uint8_t first[SEAL2_HEADER_BYTES + SEAL_TAG_BYTES];
	size_t len;
	enum read_result result = peek(r, first, &len);

	if (result != READ_OK)
		return result;
	r->format = sealed_format(span_of(first, len));
	if (r->format == FORMAT_PLAIN) {
		/* A nonce of format 1 looks like that once in 2^40. */
		if (r->spec.named != FORMAT_PLAIN && r->spec.keys->count > 0 && judge(r, FORMAT_1) == READ_OK) {
			r->format = FORMAT_1;
			return READ_OK;
		}
		return prepare_plain(r);
	}
	/* A script has no magic: where plain files are accepted its name says what it is. */
	if (r->format == FORMAT_1 && r->spec.content == CONTENT_GLOBALS && r->spec.named == FORMAT_PLAIN)
		return prepare_plain(r);
	if (r->spec.keys->count == 0)
		return fail(r, READ_WRONG_KEY, "it is encrypted, and there is no key: MNEMONIC is not set");
	if (r->format == FORMAT_1)
		return judge(r, FORMAT_1);
	result = judge_header(r, span_of(first, len));
	if (result != READ_OK || r->spec.streams)
		return result;
	return judge(r, FORMAT_2);
}

enum read_result reader_pour(struct reader *r, seal_sink *sink, void *ctx)
{
	r->spec.work->stored = 0;
	return run_pass(r, r->format, sink, ctx);
}
