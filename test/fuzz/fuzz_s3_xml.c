/* Bytes as the body of an S3 answer: nothing may crash, and what is told keeps its limits. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backup/s3_xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void walk(struct s3_doc *d)
{
	struct s3_item i;
	size_t at = 0, count = 0;

	while (s3_doc_next(d, &at, &i)) {
		if (!i.key || !i.etag || !i.upload_id || strlen(i.key) > 8192)
			abort();
		count++;
	}
	if (count != d->items)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	/* The first byte says in how large pieces the rest comes. */
	size_t piece = len ? (size_t)*bytes + 1 : 1;
	struct s3_doc d;

	s3_doc_start(&d, S3_ERROR_MAX);
	for (size_t at = 1; at < len; at += piece)
		if (!s3_doc_feed(&d, span_of(bytes + at, len - at < piece ? len - at : piece)))
			break;
	if (!d.fault && s3_doc_finish(&d))
		walk(&d);
	s3_doc_free(&d);
	return 0;
}
