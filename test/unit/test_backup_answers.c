/* Answers of an S3 store: heads, bodies, verdicts; and the digests that go with requests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/digest.h"
#include "backup/s3_answer.h"
#include "backup/s3_xml.h"
#include "lib/mem.h"

static void head(struct s3_answer *a, const char *lines)
{
	s3_answer_clear(a);
	while (*lines) {
		size_t n = strcspn(lines, "\n") + 1;

		s3_answer_line(a, span_of(lines, n));
		lines += n;
	}
}

static void a_head_is_read(void **state)
{
	struct s3_answer a;

	(void)state;
	head(&a, "HTTP/1.1 100 Continue\r\nETag: \"early\"\r\n\r\nHTTP/1.1 206 Partial Content\r\n"
		 "Date: Thu, 01 Jan 2026 00:00:10 GMT\r\nLAST-MODIFIED: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
		 "Content-Length: 10\r\nContent-Range: bytes 5-14/100\r\nETag:   \"x-1\"  \r\nX-Amz-Meta-Run-Id: r\r\n"
		 "x-amz-request-id: req\r\nx-amz-bucket-region: eu\r\nRetry-After: 7\r\nx-amz-meta-other: o\r\nno "
		 "colon\r\n\r\n");
	assert_int_equal(a.status, 206);
	assert_string_equal(a.etag, "\"x-1\"");
	assert_int_equal(a.length, 10);
	assert_true(a.has_range && a.range_first == 5 && a.range_last == 14 && a.range_total == 100);
	assert_int_equal(a.date, 1767225610);
	assert_int_equal(a.last_modified, 1767225600);
	assert_int_equal(a.retry_after, 7);
	assert_string_equal(a.meta.run_id, "r");
	assert_string_equal(a.request_id, "req");
	assert_string_equal(a.region, "eu");
}

static void heads_that_are_odd(void **state)
{
	static const struct {
		const char *name, *lines;
		bool has_range;
		int64_t length, total, retry_after;
	} rows[] = {
		{"nothing", "", false, -1, -1, -1},
		{"no status", "HTTP/1.1\r\n", false, -1, -1, -1},
		{"length is no number", "HTTP/1.1 200 OK\r\nContent-Length: 10x\r\n", false, -1, -1, -1},
		{"length is negative", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n", false, -1, -1, -1},
		{"length does not fit", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n", false, -1, -1,
		 -1},
		{"length at the limit", "HTTP/1.1 200 OK\r\nContent-Length: 922337203685477580\r\n", false,
		 922337203685477580, -1, -1},
		{"unknown total", "HTTP/1.1 206 OK\r\nContent-Range: bytes 0-1/*\r\n", true, -1, -1, -1},
		{"backwards", "HTTP/1.1 206 OK\r\nContent-Range: bytes 5-4/10\r\n", false, -1, -1, -1},
		{"past the total", "HTTP/1.1 206 OK\r\nContent-Range: bytes 5-10/10\r\n", false, -1, 10, -1},
		{"of another unit", "HTTP/1.1 206 OK\r\nContent-Range: lines 0-1/10\r\n", false, -1, -1, -1},
		{"with more", "HTTP/1.1 206 OK\r\nContent-Range: bytes 0-1/10 x\r\n", false, -1, 10, -1},
		{"retry at a date",
		 "HTTP/1.1 503 X\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
		 "Retry-After: Thu, 01 Jan 2026 00:01:00 GMT\r\n",
		 false, -1, -1, 60},
		{"retry in the past",
		 "HTTP/1.1 503 X\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
		 "Retry-After: Wed, 31 Dec 2025 00:01:00 GMT\r\n",
		 false, -1, -1, 0},
		{"retry at some time", "HTTP/1.1 503 X\r\nRetry-After: soon\r\n", false, -1, -1, -1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct s3_answer a;

		head(&a, rows[i].lines);
		if (a.has_range != rows[i].has_range || a.length != rows[i].length || a.range_total != rows[i].total ||
		    a.retry_after != rows[i].retry_after)
			fail_msg("%s: %d %lld %lld %lld", rows[i].name, a.has_range, (long long)a.length,
				 (long long)a.range_total, (long long)a.retry_after);
	}
}

static void an_etag_that_is_too_long_is_noticed(void **state)
{
	char line[600];
	struct s3_answer a;

	(void)state;
	memset(line, 'e', sizeof(line));
	memcpy(line, "HTTP/1.1 200 OK\r\n", 17);
	s3_answer_line(&a, span_of(line, 17));
	memcpy(line, "ETag: ", 6);
	s3_answer_line(&a, span_of(line, 6 + STORAGE_ETAG_MAX - 1));
	assert_false(a.is_etag_cut);
	s3_answer_line(&a, span_of(line, 6 + STORAGE_ETAG_MAX));
	assert_true(a.is_etag_cut);
}

/* ---- bodies ---- */

static bool read_doc(struct s3_doc *d, const char *text, size_t piece, size_t max)
{
	size_t len = strlen(text);

	s3_doc_start(d, max);
	for (size_t at = 0; at < len; at += piece)
		if (!s3_doc_feed(d, span_of(text + at, len - at < piece ? len - at : piece)))
			return false;
	return s3_doc_finish(d);
}

static void a_listing_is_read_whole_and_bytewise(void **state)
{
	static const char text[] =
		"\n \t<?xml version=\"1.0\"?><ListBucketResult "
		"xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name>"
		"<IsTruncated>true</IsTruncated><NextContinuationToken>t&amp;1</NextContinuationToken>"
		"<Contents><Key>p/a+b%2B</Key><LastModified>2026-01-01T00:00:00.000Z</"
		"LastModified><ETag>&quot;e&quot;</ETag>"
		"<Size>18446744073709551609</Size><StorageClass>STANDARD</StorageClass><Owner><ID>Key</ID><Key>no</"
		"Key></Owner>"
		"</Contents><Contents><Key>p/%</Key><Size>0</Size></Contents><CommonPrefixes><Prefix>p/x/</Prefix></"
		"CommonPrefixes>"
		"<EncodingType>url</EncodingType></ListBucketResult>";

	(void)state;
	for (size_t piece = 1; piece < sizeof(text); piece = piece * 3 + 1) {
		struct s3_doc d;
		struct s3_item i;
		size_t at = 0;

		assert_true(read_doc(&d, text, piece, S3_XML_MAX));
		assert_int_equal(d.root, S3_ROOT_LIST);
		assert_true(d.is_truncated);
		assert_string_equal(d.token, "t&1");
		assert_true(s3_doc_next(&d, &at, &i));
		assert_string_equal(i.key, "p/a b+");
		assert_string_equal(i.etag, "\"e\"");
		assert_int_equal(i.when, 1767225600);
		assert_true(i.size == UINT64_MAX - 6);
		assert_true(s3_doc_next(&d, &at, &i));
		assert_string_equal(i.key, "p/%");
		assert_int_equal(i.when, 0);
		assert_false(s3_doc_next(&d, &at, &i));
		s3_doc_free(&d);
		s3_doc_free(&d);
	}
}

static void other_documents(void **state)
{
	struct s3_doc d;
	struct s3_item i;
	size_t at = 0;

	(void)state;
	assert_true(read_doc(&d, "<Error><Code>SlowDown</Code><Message>a</Message><Region>eu</Region>"
				 "<RequestId>r</RequestId><Detail><Code>no</Code></Detail></Error>", 7, S3_ERROR_MAX));
	assert_int_equal(d.root, S3_ROOT_ERROR);
	assert_string_equal(d.code, "SlowDown");
	assert_string_equal(d.region, "eu");
	assert_string_equal(d.request_id, "r");
	s3_doc_free(&d);
	assert_true(read_doc(&d, "<ErrorResponse><Error><Code>ExpiredTokenException</Code></Error></ErrorResponse>", 7,
			     S3_ERROR_MAX));
	assert_string_equal(d.code, "ExpiredTokenException");
	s3_doc_free(&d);
	assert_true(read_doc(&d,
			     "<InitiateMultipartUploadResult><UploadId> u </UploadId></InitiateMultipartUploadResult>",
			     7, S3_XML_MAX));
	assert_string_equal(d.upload_id, " u ");
	s3_doc_free(&d);
	assert_true(
		read_doc(&d,
			 "<ListMultipartUploadsResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
			 "<NextKeyMarker>a%20b</NextKeyMarker><NextUploadIdMarker>%20</NextUploadIdMarker><Upload>"
			 "<Key>k+1</Key><UploadId>i+d</UploadId><Initiated>2026-01-01T00:00:00Z</Initiated></Upload>"
			 "</ListMultipartUploadsResult>",
			 7, S3_XML_MAX));
	assert_string_equal(d.next_key, "a b");
	/* An id is opaque, encoding-type is about keys. */
	assert_string_equal(d.next_upload_id, "%20");
	assert_true(s3_doc_next(&d, &at, &i));
	assert_string_equal(i.key, "k 1");
	assert_string_equal(i.upload_id, "i+d");
	assert_int_equal(i.when, 1767225600);
	s3_doc_free(&d);
	assert_true(read_doc(
		&d,
		"<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
		"<AccessKeyId>a</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
		"<Expiration>2026-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
		"</AssumeRoleWithWebIdentityResponse>",
		7, S3_XML_MAX));
	assert_string_equal(d.secret_key, "s");
	assert_int_equal(d.expires, 1767225600);
	s3_doc_free(&d);
}

static char *repeated(const char *before, char what, size_t count, const char *after)
{
	char *text = xmalloc(strlen(before) + count + strlen(after) + 1);

	memset(mempcpy(text, before, strlen(before)), what, count);
	strcpy(text + strlen(before) + count, after);
	return text;
}

static void texts_depth_and_length_have_limits(void **state)
{
	static const struct {
		size_t count;
		bool ok;
	} rows[] = {{8191, true}, {8192, true}, {8193, false}};
	struct s3_doc d;
	char nested[400] = "";

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *text = repeated("<Error><Code>", 'x', rows[i].count, "</Code></Error>");

		assert_int_equal(read_doc(&d, text, 1000, S3_ERROR_MAX), rows[i].ok);
		s3_doc_free(&d);
		free(text);
	}
	for (int depth = 15; depth <= 17; depth++) {
		nested[0] = 0;
		for (int i = 0; i < depth; i++)
			strcat(nested, "<a>");
		for (int i = 0; i < depth; i++)
			strcat(nested, "</a>");
		assert_int_equal(read_doc(&d, nested, 5, S3_XML_MAX), depth <= 16);
		s3_doc_free(&d);
	}
	assert_true(read_doc(&d, "<a></a>", 7, 7));
	s3_doc_free(&d);
	assert_false(read_doc(&d, "<a> </a>", 7, 7));
	assert_string_equal(d.fault, "an answer that is too long");
	s3_doc_free(&d);
	assert_false(read_doc(&d, " \r\n\t", 1, 100));
	assert_string_equal(d.fault, "an empty body");
	s3_doc_free(&d);
	assert_false(read_doc(&d, "<!DOCTYPE a><a/>", 3, 100));
	assert_string_equal(d.fault, "a document type declaration");
	s3_doc_free(&d);
}

static void url_escapes(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{"", ""},   {"a", "a"},	  {"%41", "A"},	  {"%c3%A9", "\xc3\xa9"}, {"+", " "},	  {"%2B", "+"},
		{"%", "%"}, {"%4", "%4"}, {"%4g", "%4g"}, {"%%41", "%A"},	  {"a%00b", "a"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[32];

		strcpy(text, rows[i].in);
		s3_url_decode(text);
		assert_string_equal(text, rows[i].out);
	}
}

/* ---- verdicts ---- */

static void answers_are_judged(void **state)
{
	static const struct {
		int status;
		const char *code;
		bool has_region;
		int64_t clock;
		enum s3_verdict verdict;
		enum storage_result result;
	} rows[] = {
		{200, "", false, 0, S3_DONE, STORAGE_OK},
		{204, "", false, 999999, S3_DONE, STORAGE_OK},
		{200, "InternalError", false, 0, S3_RETRY, STORAGE_NETWORK},
		{200, "AccessDenied", false, 0, S3_GIVE_UP, STORAGE_DENIED},
		{200, "Unknown", false, 0, S3_RETRY, STORAGE_NETWORK},
		{500, "", false, 0, S3_RETRY, STORAGE_NETWORK},
		{503, "SlowDown", false, 0, S3_RETRY, STORAGE_NETWORK},
		{429, "", false, 0, S3_RETRY, STORAGE_NETWORK},
		{408, "", false, 0, S3_RETRY, STORAGE_TIMED_OUT},
		{400, "RequestTimeout", false, 0, S3_RETRY, STORAGE_TIMED_OUT},
		{400, "BadDigest", false, 0, S3_RETRY_TWICE, STORAGE_INTEGRITY},
		{400, "XAmzContentSHA256Mismatch", false, 0, S3_RETRY_TWICE, STORAGE_INTEGRITY},
		{400, "", false, 0, S3_GIVE_UP, STORAGE_FAILED},
		{403, "", false, 0, S3_GIVE_UP, STORAGE_DENIED},
		{403, "", false, 301, S3_ADJUST_CLOCK, STORAGE_DENIED},
		{403, "AccessDenied", false, -301, S3_ADJUST_CLOCK, STORAGE_DENIED},
		{403, "AccessDenied", false, 300, S3_GIVE_UP, STORAGE_DENIED},
		{403, "RequestTimeTooSkewed", false, 0, S3_ADJUST_CLOCK, STORAGE_DENIED},
		{400, "ExpiredToken", false, 0, S3_ADJUST_KEYS, STORAGE_DENIED},
		{400, "AuthorizationHeaderMalformed", true, 0, S3_ADJUST_REGION, STORAGE_DENIED},
		{400, "AuthorizationHeaderMalformed", false, 0, S3_GIVE_UP, STORAGE_DENIED},
		{301, "", true, 0, S3_ADJUST_REGION, STORAGE_FAILED},
		{301, "", false, 0, S3_GIVE_UP, STORAGE_FAILED},
		{302, "", true, 0, S3_GIVE_UP, STORAGE_FAILED},
		{404, "NoSuchKey", false, 0, S3_GIVE_UP, STORAGE_NOT_FOUND},
		{405, "", false, 0, S3_GIVE_UP, STORAGE_UNSUPPORTED},
		{501, "", false, 0, S3_GIVE_UP, STORAGE_UNSUPPORTED},
		{412, "", false, 0, S3_GIVE_UP, STORAGE_CHANGED},
		{409, "ConditionalRequestConflict", false, 0, S3_GIVE_UP, STORAGE_CHANGED},
		{409, "OperationAborted", false, 0, S3_RETRY, STORAGE_NETWORK},
		{413, "", false, 0, S3_GIVE_UP, STORAGE_TOO_LARGE},
		{507, "", false, 0, S3_GIVE_UP, STORAGE_FULL},
		{403, "QuotaExceeded", false, 0, S3_GIVE_UP, STORAGE_FULL},
		{999, "", false, 0, S3_GIVE_UP, STORAGE_FAILED},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct s3_judgement j =
			s3_judge_answer(rows[i].status, rows[i].code, rows[i].has_region, rows[i].clock);

		if (j.verdict != rows[i].verdict || (j.verdict != S3_DONE && j.result != rows[i].result))
			fail_msg("%d %s: %d %s", rows[i].status, rows[i].code, j.verdict,
				 storage_result_word(j.result));
	}
}

static void troubles_are_judged(void **state)
{
	(void)state;
	assert_int_equal(s3_judge_trouble(CURLE_COULDNT_RESOLVE_HOST, "").verdict, S3_RETRY);
	assert_int_equal(s3_judge_trouble(CURLE_RECV_ERROR, "").verdict, S3_RETRY);
	assert_int_equal(s3_judge_trouble(CURLE_PARTIAL_FILE, "").verdict, S3_RETRY);
	assert_int_equal(s3_judge_trouble(CURLE_OPERATION_TIMEDOUT, "").result, STORAGE_TIMED_OUT);
	assert_int_equal(s3_judge_trouble(CURLE_PEER_FAILED_VERIFICATION, "").verdict, S3_GIVE_UP);
	assert_int_equal(s3_judge_trouble(CURLE_SSL_CONNECT_ERROR, "OpenSSL SSL_connect: SSL_ERROR_SYSCALL").verdict,
			 S3_RETRY);
	assert_int_equal(s3_judge_trouble(CURLE_SSL_CONNECT_ERROR, "error:0A00010B: wrong version number").verdict,
			 S3_GIVE_UP);
	assert_int_equal(s3_judge_trouble(CURLE_UNSUPPORTED_PROTOCOL, "Received HTTP/0.9 when not allowed").verdict,
			 S3_RETRY);
	assert_int_equal(s3_judge_trouble(CURLE_UNSUPPORTED_PROTOCOL, "").verdict, S3_GIVE_UP);
}

static void waits_are_bounded(void **state)
{
	(void)state;
	assert_int_equal(s3_backoff(500, 30000, 0, 500), 500);
	assert_int_equal(s3_backoff(500, 30000, 0, 501), 0);
	assert_int_equal(s3_backoff(500, 30000, 3, 4000), 4000);
	assert_int_equal(s3_backoff(500, 30000, 3, 4001), 0);
	for (unsigned tries = 0; tries < 200; tries++) {
		assert_true(s3_backoff(500, 30000, tries, UINT64_MAX) <= 30000);
		assert_int_equal(s3_backoff(500, 30000, tries, 0), 0);
	}
	assert_int_equal(s3_backoff(500, 30000, 100, 30000), 30000);
}

/* ---- digests ---- */

static void digests_are_those_of_others(void **state)
{
	static const struct {
		enum digest_kind kind;
		const char *base64;
	} rows[] = {
		{DIGEST_NONE, ""},
		{DIGEST_MD5, "XrY7u+Ae7tCTyyK7j1rNww=="},
		{DIGEST_SHA256, "uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek="},
		{DIGEST_CRC32C, "yZRlqg=="}, /* 0xc99465aa */
	};
	char hex[65], base64[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct digest *d = digest_new(true, rows[i].kind);

		digest_feed(d, span_str("hello "));
		digest_feed(d, span_str("world"));
		digest_end(d, hex, base64);
		assert_string_equal(hex, "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9");
		assert_string_equal(base64, rows[i].base64);
	}
	digest_end(digest_new(false, DIGEST_MD5), hex, base64);
	assert_string_equal(hex, "");
	assert_string_equal(base64, "1B2M2Y8AsgTpgAmY7PhCfg==");
}

static void crc32c_by_pieces(void **state)
{
	unsigned char bytes[300];
	uint32_t whole;

	(void)state;
	/* RFC 3720, B.4 */
	memset(bytes, 0, 32);
	assert_int_equal(crc32c(0, bytes, 32), 0x8a9136aa);
	memset(bytes, 0xff, 32);
	assert_int_equal(crc32c(0, bytes, 32), 0x62a8ab43);
	for (int i = 0; i < 300; i++)
		bytes[i] = (unsigned char)(i * 7);
	whole = crc32c(0, bytes, 300);
	for (size_t cut = 0; cut <= 300; cut++)
		assert_int_equal(crc32c(crc32c(0, bytes, cut), bytes + cut, 300 - cut), whole);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_head_is_read),
		cmocka_unit_test(heads_that_are_odd),
		cmocka_unit_test(an_etag_that_is_too_long_is_noticed),
		cmocka_unit_test(a_listing_is_read_whole_and_bytewise),
		cmocka_unit_test(other_documents),
		cmocka_unit_test(texts_depth_and_length_have_limits),
		cmocka_unit_test(url_escapes),
		cmocka_unit_test(answers_are_judged),
		cmocka_unit_test(troubles_are_judged),
		cmocka_unit_test(waits_are_bounded),
		cmocka_unit_test(digests_are_those_of_others),
		cmocka_unit_test(crc32c_by_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
