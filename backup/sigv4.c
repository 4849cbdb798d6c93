#include "backup/sigv4.h"

#include <assert.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/hex.h"
#include "lib/mem.h"

void sigv4_time(time_t t, char out[SIGV4_TIME_SIZE])
{
	struct tm tm;

	if (!gmtime_r(&t, &tm) || strftime(out, SIGV4_TIME_SIZE, "%Y%m%dT%H%M%SZ", &tm) != SIGV4_TIME_SIZE - 1)
		memcpy(out, "19700101T000000Z", SIGV4_TIME_SIZE);
}

static bool is_unreserved(unsigned char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
	       c == '_' || c == '~';
}

void sigv4_encode(struct buf *b, const char *raw, bool keep_slash)
{
	static const char digits[] = "0123456789ABCDEF";

	for (const unsigned char *p = (const unsigned char *)raw; *p; p++) {
		if (is_unreserved(*p) || (*p == '/' && keep_slash)) {
			buf_put_u8(b, *p);
		} else {
			buf_put_u8(b, '%');
			buf_put_u8(b, (uint8_t)digits[*p >> 4]);
			buf_put_u8(b, (uint8_t)digits[*p & 15]);
		}
	}
}

/* A pair as it is sorted and written: encoded, or lower-cased and trimmed. Owned. */
struct written {
	char *name, *value;
};

static char *take_text(struct buf *b)
{
	char *text;

	assert(buf_ok(b));
	text = xstrndup((const char *)buf_span(b).ptr, buf_len(b));
	buf_clear(b);
	return text;
}

static int by_name_and_value(const void *a, const void *b)
{
	const struct written *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : strcmp(x->value, y->value);
}

static void written_free(struct written *w, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(w[i].name);
		free(w[i].value);
	}
	free(w);
}

void sigv4_query(struct buf *out, const struct sigv4_pair *pairs, size_t count)
{
	struct written *w = xcalloc(count + 1, sizeof(*w));
	struct buf scratch;

	buf_init(&scratch);
	for (size_t i = 0; i < count; i++) {
		sigv4_encode(&scratch, pairs[i].name, false);
		w[i].name = take_text(&scratch);
		sigv4_encode(&scratch, pairs[i].value ? pairs[i].value : "", false);
		w[i].value = take_text(&scratch);
	}
	qsort(w, count, sizeof(*w), by_name_and_value);
	for (size_t i = 0; i < count; i++)
		buf_printf(out, "%s%s=%s", i ? "&" : "", w[i].name, w[i].value);
	buf_free(&scratch);
	written_free(w, count);
}

/* Trimmed, and runs of blanks made single. */
static void put_header_value(struct buf *b, const char *value)
{
	bool is_first = true;

	for (const char *p = value; *p;) {
		size_t blanks = strspn(p, " \t"), word = strcspn(p + blanks, " \t");

		if (word && blanks && !is_first)
			buf_put_u8(b, ' ');
		buf_put(b, p + blanks, word);
		is_first = is_first && !word;
		p += blanks + word;
	}
}

/* By name alone, and otherwise as they were given: values of one name are joined in their order. */
static struct written *sorted_headers(const struct sigv4_request *r)
{
	struct written *w = xcalloc(r->header_count + 1, sizeof(*w));
	struct buf scratch;

	buf_init(&scratch);
	for (size_t i = 0; i < r->header_count; i++) {
		struct written made;
		size_t at = i;

		for (const char *p = r->headers[i].name; *p; p++)
			buf_put_u8(&scratch, (uint8_t)(*p >= 'A' && *p <= 'Z' ? *p + ('a' - 'A') : *p));
		made.name = take_text(&scratch);
		put_header_value(&scratch, r->headers[i].value);
		made.value = take_text(&scratch);
		for (; at > 0 && strcmp(w[at - 1].name, made.name) > 0; at--)
			w[at] = w[at - 1];
		w[at] = made;
	}
	buf_free(&scratch);
	return w;
}

void sigv4_canonical(const struct sigv4_request *r, struct buf *out, struct buf *signed_names)
{
	struct written *h = sorted_headers(r);

	buf_printf(out, "%s\n", r->method);
	sigv4_encode(out, *r->path ? r->path : "/", true);
	buf_put_u8(out, '\n');
	sigv4_query(out, r->query, r->query_count);
	buf_put_u8(out, '\n');
	for (size_t i = 0; i < r->header_count; i++) {
		bool is_again = i && strcmp(h[i].name, h[i - 1].name) == 0;
		bool is_last = i + 1 == r->header_count || strcmp(h[i].name, h[i + 1].name) != 0;

		if (is_again)
			buf_printf(out, ",%s", h[i].value);
		else
			buf_printf(out, "%s:%s", h[i].name, h[i].value);
		if (is_last)
			buf_put_u8(out, '\n');
		if (!is_again)
			buf_printf(signed_names, "%s%s", i ? ";" : "", h[i].name);
	}
	buf_put_u8(out, '\n');
	buf_put(out, buf_span(signed_names).ptr, buf_len(signed_names));
	buf_printf(out, "\n%s", r->payload_hash);
	written_free(h, r->header_count);
}

void sigv4_string_to_sign(struct span canonical, const char *when, const char *region, struct buf *out)
{
	unsigned char hash[32];
	char hex[65];

	if (!EVP_Digest(canonical.ptr, canonical.len, hash, NULL, EVP_sha256(), NULL))
		abort();
	hex_encode(hash, sizeof(hash), hex);
	buf_printf(out, "AWS4-HMAC-SHA256\n%s\n%.8s/%s/s3/aws4_request\n%s", when, when, region, hex);
}

static void hmac(const void *key, size_t key_len, const void *text, size_t len, unsigned char out[32])
{
	unsigned n = 32;

	if (!HMAC(EVP_sha256(), key, (int)key_len, text, len, out, &n) || n != 32)
		abort();
}

static void day_key(const struct sigv4_signer *s, const char *when)
{
	struct sigv4_key *k = s->kept;
	size_t secret_len = strlen(s->secret_key);
	char *first;

	if (k->is_set && memcmp(k->date, when, 8) == 0 && strcmp(k->region, s->region) == 0)
		return;
	first = xmalloc(secret_len + 5);
	memcpy(first, "AWS4", 4);
	memcpy(first + 4, s->secret_key, secret_len + 1);
	memcpy(k->date, when, 8);
	k->date[8] = 0;
	snprintf(k->region, sizeof(k->region), "%s", s->region);
	hmac(first, secret_len + 4, k->date, 8, k->key);
	hmac(k->key, 32, k->region, strlen(k->region), k->key);
	hmac(k->key, 32, "s3", 2, k->key);
	hmac(k->key, 32, "aws4_request", 12, k->key);
	k->is_set = true;
	str_wipe_free(first);
}

void sigv4_authorize(const struct sigv4_request *r, const struct sigv4_signer *s, const char when[SIGV4_TIME_SIZE],
		     struct buf *out)
{
	struct buf canonical, names, text;
	unsigned char mac[32];
	char hex[65];

	buf_init(&canonical);
	buf_init(&names);
	buf_init(&text);
	sigv4_canonical(r, &canonical, &names);
	sigv4_string_to_sign(buf_span(&canonical), when, s->region, &text);
	assert(buf_ok(&canonical) && buf_ok(&names) && buf_ok(&text));
	day_key(s, when);
	hmac(s->kept->key, 32, buf_span(&text).ptr, buf_len(&text), mac);
	hex_encode(mac, sizeof(mac), hex);
	buf_printf(out, "AWS4-HMAC-SHA256 Credential=%s/%.8s/%s/s3/aws4_request, SignedHeaders=%.*s, Signature=%s",
		   s->access_key, when, s->region, (int)buf_len(&names), (const char *)buf_span(&names).ptr, hex);
	/* The session token is in it. */
	buf_wipe_free(&canonical);
	buf_free(&names);
	buf_free(&text);
}

void sigv4_key_wipe(struct sigv4_key *k)
{
	mem_wipe(k, sizeof(*k));
}
