#include "backup/s3_answer.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/util.h"

#define SKEW_MAX 300 /* seconds; more explains a 403 */

void s3_answer_clear(struct s3_answer *a)
{
	*a = (struct s3_answer){.length = -1, .range_total = -1, .retry_after = -1};
}

static bool take_number(struct span *s, uint64_t *n)
{
	size_t i = 0;

	for (*n = 0; i < s->len && s->ptr[i] >= '0' && s->ptr[i] <= '9'; i++) {
		if (*n > (INT64_MAX - 9) / 10)
			return false;
		*n = *n * 10 + (uint64_t)(s->ptr[i] - '0');
	}
	*s = span_of(s->ptr + i, s->len - i);
	return i > 0;
}

static bool take_text(struct span *s, const char *text)
{
	size_t len = strlen(text);

	if (s->len < len || strncasecmp((const char *)s->ptr, text, len) != 0)
		return false;
	*s = span_of(s->ptr + len, s->len - len);
	return true;
}

static bool whole_number(struct span s, int64_t *out)
{
	uint64_t n;

	if (!take_number(&s, &n) || s.len)
		return false;
	*out = (int64_t)n;
	return true;
}

/* Printable bytes; whatever else a header may carry is replaced. false: it did not fit. */
static bool copy(char *out, size_t cap, struct span s)
{
	size_t n = s.len < cap ? s.len : cap - 1;

	for (size_t i = 0; i < n; i++)
		out[i] = s.ptr[i] >= 0x20 && s.ptr[i] != 0x7f ? (char)s.ptr[i] : '?';
	out[n] = 0;
	return n == s.len;
}

static int64_t date_of(struct span s)
{
	char text[64];
	time_t t;

	if (!copy(text, sizeof(text), s))
		return 0;
	t = curl_getdate(text, NULL);
	return t > 0 ? t : 0;
}

static void read_range(struct s3_answer *a, struct span s)
{
	uint64_t total;

	a->has_range = false;
	if (!take_text(&s, "bytes ") || !take_number(&s, &a->range_first) || !take_text(&s, "-") ||
	    !take_number(&s, &a->range_last) || !take_text(&s, "/") || a->range_last < a->range_first)
		return;
	a->range_total = -1;
	if (take_number(&s, &total))
		a->range_total = (int64_t)total;
	else if (!take_text(&s, "*"))
		return;
	a->has_range = s.len == 0 && (a->range_total < 0 || a->range_last < (uint64_t)a->range_total);
}

static void read_retry_after(struct s3_answer *a, struct span s)
{
	int64_t date;

	if (whole_number(s, &a->retry_after))
		return;
	date = date_of(s);
	/* Measured against the answer's own Date when that stands in front, else against nothing: then it is not told.
	 */
	a->retry_after = date && a->date ? (date > a->date ? date - a->date : 0) : -1;
}

static void read_meta(struct s3_answer *a, struct span name, struct span value)
{
	static const struct {
		const char *name;
		size_t offset, size;
	} metas[] = {
#define META(text, field) {text, offsetof(struct object_meta, field), sizeof(((struct object_meta *)0)->field)}
		META("run-id", run_id), META("tool-version", tool_version), META("format", format),
		META("key-id", key_id), META("database", database),
#undef META
	};

	for (size_t i = 0; i < ARRAY_LEN(metas); i++)
		if (name.len == strlen(metas[i].name) &&
		    strncasecmp((const char *)name.ptr, metas[i].name, name.len) == 0)
			copy((char *)&a->meta + metas[i].offset, metas[i].size, value);
}

static bool named(struct span name, const char *text)
{
	return name.len == strlen(text) && strncasecmp((const char *)name.ptr, text, name.len) == 0;
}

static void read_header(struct s3_answer *a, struct span name, struct span value)
{
	if (named(name, "etag"))
		a->is_etag_cut = !copy(a->etag, sizeof(a->etag), value);
	else if (named(name, "content-length") && !whole_number(value, &a->length))
		a->length = -1;
	else if (named(name, "content-range"))
		read_range(a, value);
	else if (named(name, "date"))
		a->date = date_of(value);
	else if (named(name, "last-modified"))
		a->last_modified = date_of(value);
	else if (named(name, "retry-after"))
		read_retry_after(a, value);
	else if (named(name, "x-amz-request-id") || (named(name, "x-trans-id") && !*a->request_id))
		copy(a->request_id, sizeof(a->request_id), value);
	else if (named(name, "x-amz-bucket-region"))
		copy(a->region, sizeof(a->region), value);
	else if (named(name, "x-amz-checksum-crc32c") || named(name, "x-amz-checksum-sha256"))
		copy(a->checksum, sizeof(a->checksum), value);
	else if (take_text(&name, "x-amz-meta-"))
		read_meta(a, name, value);
}

static struct span trimmed(struct span s)
{
	while (s.len && (s.ptr[s.len - 1] <= ' '))
		s.len--;
	while (s.len && *s.ptr <= ' ')
		s = span_of(s.ptr + 1, s.len - 1);
	return s;
}

void s3_answer_line(struct s3_answer *a, struct span line)
{
	const uint8_t *colon;
	struct span rest = line;
	uint64_t status;

	if (take_text(&rest, "HTTP/")) {
		const uint8_t *blank = memchr(rest.ptr, ' ', rest.len);

		s3_answer_clear(a);
		if (!blank)
			return;
		rest = span_of(blank + 1, rest.len - (size_t)(blank + 1 - rest.ptr));
		if (take_number(&rest, &status) && status < 1000)
			a->status = (int)status;
		return;
	}
	colon = memchr(line.ptr, ':', line.len);
	if (colon)
		read_header(a, trimmed(span_of(line.ptr, (size_t)(colon - line.ptr))),
			    trimmed(span_of(colon + 1, line.len - (size_t)(colon + 1 - line.ptr))));
}

/* ---- verdicts ---- */

static const struct {
	const char *code;
	enum s3_verdict verdict;
	enum storage_result result;
} codes[] = {
	{"InternalError", S3_RETRY, STORAGE_NETWORK},
	{"SlowDown", S3_RETRY, STORAGE_NETWORK},
	{"ServiceUnavailable", S3_RETRY, STORAGE_NETWORK},
	{"RequestTimeout", S3_RETRY, STORAGE_TIMED_OUT},
	{"TooManyRequests", S3_RETRY, STORAGE_NETWORK},
	{"Throttling", S3_RETRY, STORAGE_NETWORK},
	{"OperationAborted", S3_RETRY, STORAGE_NETWORK},
	{"BadDigest", S3_RETRY_TWICE, STORAGE_INTEGRITY},
	{"XAmzContentSHA256Mismatch", S3_RETRY_TWICE, STORAGE_INTEGRITY},
	{"XAmzContentChecksumMismatch", S3_RETRY_TWICE, STORAGE_INTEGRITY},
	{"IncompleteBody", S3_RETRY_TWICE, STORAGE_INTEGRITY},
	{"RequestTimeTooSkewed", S3_ADJUST_CLOCK, STORAGE_DENIED},
	{"ExpiredToken", S3_ADJUST_KEYS, STORAGE_DENIED},
	{"ExpiredTokenException", S3_ADJUST_KEYS, STORAGE_DENIED},
	{"TokenRefreshRequired", S3_ADJUST_KEYS, STORAGE_DENIED},
	{"AuthorizationHeaderMalformed", S3_ADJUST_REGION, STORAGE_DENIED},
	{"PermanentRedirect", S3_ADJUST_REGION, STORAGE_FAILED},
	{"AccessDenied", S3_GIVE_UP, STORAGE_DENIED},
	{"SignatureDoesNotMatch", S3_GIVE_UP, STORAGE_DENIED},
	{"InvalidAccessKeyId", S3_GIVE_UP, STORAGE_DENIED},
	{"InvalidToken", S3_GIVE_UP, STORAGE_DENIED},
	{"NoSuchBucket", S3_GIVE_UP, STORAGE_NOT_FOUND},
	{"NoSuchKey", S3_GIVE_UP, STORAGE_NOT_FOUND},
	{"NoSuchUpload", S3_GIVE_UP, STORAGE_NOT_FOUND},
	{"PreconditionFailed", S3_GIVE_UP, STORAGE_CHANGED},
	{"ConditionalRequestConflict", S3_GIVE_UP, STORAGE_CHANGED},
	{"EntityTooLarge", S3_GIVE_UP, STORAGE_TOO_LARGE},
	{"MaxMessageLengthExceeded", S3_GIVE_UP, STORAGE_TOO_LARGE},
	{"QuotaExceeded", S3_GIVE_UP, STORAGE_FULL},
	{"StorageQuotaExceeded", S3_GIVE_UP, STORAGE_FULL},
	{"UserQuotaExceeded", S3_GIVE_UP, STORAGE_FULL},
	{"InsufficientCapacity", S3_GIVE_UP, STORAGE_FULL},
	{"XMinioStorageFull", S3_GIVE_UP, STORAGE_FULL},
	{"NotImplemented", S3_GIVE_UP, STORAGE_UNSUPPORTED},
	{"MethodNotAllowed", S3_GIVE_UP, STORAGE_UNSUPPORTED},
};

static struct s3_judgement by_status(int status)
{
	switch (status) {
	case 408:
		return (struct s3_judgement){S3_RETRY, STORAGE_TIMED_OUT};
	case 429:
	case 500:
	case 502:
	case 503:
	case 504:
		return (struct s3_judgement){S3_RETRY, STORAGE_NETWORK};
	case 301:
	case 307:
		return (struct s3_judgement){S3_ADJUST_REGION, STORAGE_FAILED};
	case 401:
	case 403:
		return (struct s3_judgement){S3_GIVE_UP, STORAGE_DENIED};
	case 404:
		return (struct s3_judgement){S3_GIVE_UP, STORAGE_NOT_FOUND};
	case 405:
	case 501:
		return (struct s3_judgement){S3_GIVE_UP, STORAGE_UNSUPPORTED};
	case 412:
		return (struct s3_judgement){S3_GIVE_UP, STORAGE_CHANGED};
	case 413:
		return (struct s3_judgement){S3_GIVE_UP, STORAGE_TOO_LARGE};
	case 507:
		return (struct s3_judgement){S3_GIVE_UP, STORAGE_FULL};
	default:
		return (struct s3_judgement){S3_GIVE_UP, STORAGE_FAILED};
	}
}

struct s3_judgement s3_judge_answer(int status, const char *code, bool has_region, int64_t clock_offset)
{
	struct s3_judgement j;
	bool is_known = false;

	if (status >= 200 && status < 300 && !*code)
		return (struct s3_judgement){S3_DONE, STORAGE_OK};
	/* An <Error> that came with 200: as if it had come with what it stands for. */
	j = by_status(status >= 200 && status < 300 ? 500 : status);
	for (size_t i = 0; i < ARRAY_LEN(codes) && !is_known; i++)
		if (strcmp(codes[i].code, code) == 0) {
			j = (struct s3_judgement){codes[i].verdict, codes[i].result};
			is_known = true;
		}
	/* Only a store that cannot check the date puts its refusal so vaguely. */
	if (status == 403 && j.verdict == S3_GIVE_UP && llabs(clock_offset) > SKEW_MAX)
		j.verdict = S3_ADJUST_CLOCK;
	if (j.verdict == S3_ADJUST_REGION && !has_region)
		j.verdict = S3_GIVE_UP;
	return j;
}

static bool says(const char *detail, const char *word)
{
	return detail && strstr(detail, word);
}

struct s3_judgement s3_judge_trouble(int curl_result, const char *detail)
{
	switch (curl_result) {
	case CURLE_OPERATION_TIMEDOUT:
		return (struct s3_judgement){S3_RETRY, STORAGE_TIMED_OUT};
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CRL_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
	case CURLE_SSL_INVALIDCERTSTATUS:
		return (struct s3_judgement){S3_GIVE_UP, STORAGE_NETWORK};
	case CURLE_SSL_CONNECT_ERROR:
		/* A handshake that was cut may go well the next time; two that speak different languages never do. */
		if (says(detail, "wrong version number") || says(detail, "unsupported protocol") ||
		    says(detail, "protocol version") || says(detail, "no protocols available") ||
		    says(detail, "handshake failure") || says(detail, "no shared cipher"))
			return (struct s3_judgement){S3_GIVE_UP, STORAGE_NETWORK};
		return (struct s3_judgement){S3_RETRY, STORAGE_NETWORK};
	case CURLE_UNSUPPORTED_PROTOCOL:
		/* What answered was no HTTP; a proxy that restarts may do that. */
		if (says(detail, "HTTP/0.9"))
			return (struct s3_judgement){S3_RETRY, STORAGE_NETWORK};
		return (struct s3_judgement){S3_GIVE_UP, STORAGE_FAILED};
	case CURLE_URL_MALFORMAT:
	case CURLE_NOT_BUILT_IN:
	case CURLE_FAILED_INIT:
	case CURLE_OUT_OF_MEMORY:
	case CURLE_BAD_FUNCTION_ARGUMENT:
	case CURLE_UNKNOWN_OPTION:
	case CURLE_READ_ERROR:
		return (struct s3_judgement){S3_GIVE_UP, STORAGE_FAILED};
	default:
		return (struct s3_judgement){S3_RETRY, STORAGE_NETWORK};
	}
}

usec_t s3_backoff(usec_t first, usec_t most, unsigned tries, uint64_t random)
{
	usec_t longest = first;

	for (; tries && longest < most; tries--)
		longest *= 2;
	if (longest > most)
		longest = most;
	return longest > 0 ? (usec_t)(random % ((uint64_t)longest + 1)) : 0;
}
