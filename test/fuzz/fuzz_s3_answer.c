/* Bytes as the lines of an answer's head. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backup/s3_answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct s3_answer a;
	struct s3_judgement j;
	size_t at = 0;

	s3_answer_clear(&a);
	while (at < len) {
		const uint8_t *end = memchr(bytes + at, '\n', len - at);
		size_t n = end ? (size_t)(end - (bytes + at)) + 1 : len - at;

		s3_answer_line(&a, span_of(bytes + at, n));
		at += n;
	}
	if (strlen(a.etag) >= sizeof(a.etag) || strlen(a.meta.database) >= sizeof(a.meta.database) || a.length < -1 ||
	    a.retry_after < -1 || a.date < 0 || a.last_modified < 0)
		abort();
	if (a.has_range &&
	    (a.range_first > a.range_last || (a.range_total >= 0 && a.range_last >= (uint64_t)a.range_total)))
		abort();
	j = s3_judge_answer(a.status, a.region, *a.region, a.date);
	if (j.verdict == S3_DONE && (a.status < 200 || a.status > 299))
		abort();
	return 0;
}
