/* Fuzz target: the facts of one record, each read as everything that it could be, and written again. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "pool/facts.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct span rest = span_of(bytes, len);
	struct fact f;
	struct buf again;
	size_t used;

	buf_init(&again);
	while (fact_next(&rest, &f)) {
		const char *text = fact_text(&f);

		assert(f.value.ptr >= bytes && f.value.ptr + f.value.len <= bytes + len);
		assert(!text || strlen(text) + 1 == f.value.len);
		if (f.value.len != 8)
			assert(fact_number(&f) == 0);
		fact_put_bytes(&again, (enum fact_tag)f.tag, f.value);
	}
	used = len - rest.len;
	facts_have_flag(span_of(bytes, len), "in_copy");
	facts_text(span_of(bytes, len), FACT_HOST);
	assert(facts_bytes(span_of(bytes, len), FACT_IN).len <= len);
	assert(buf_len(&again) == used && memcmp(buf_span(&again).ptr, bytes, used) == 0);
	buf_free(&again);
	return 0;
}
