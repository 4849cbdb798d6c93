/* Fuzz target: a start-up body, each parameter looked up again, and options walked to its end. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "lib/buf.h"
#include "proto/startup.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void walk_options(const char *text)
{
	const char *at = text, *end = text + strlen(text), *name, *value;
	struct buf scratch;

	buf_init(&scratch);
	for (;;) {
		const char *before = at;
		enum options_verdict v = options_next(&at, &scratch, &name, &value);

		assert(at <= end);
		if (v == OPTIONS_END)
			break;
		assert(at > before); /* or the walk would never end */
		if (v == OPTIONS_UNSUPPORTED)
			continue;
		assert(strlen(name) > 0 && strlen(name) + strlen(value) < (size_t)(end - text));
	}
	buf_free(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct startup st;

	if (startup_parse(span_of(bytes, len), &st) == PROTO_OK) {
		for (size_t i = 0; i < st.n; i++) {
			assert(startup_get(&st, st.params[i].name));
			bool_word(st.params[i].value);
			assert(replication_word(replication_parse(st.params[i].value)));
			walk_options(st.params[i].value);
		}
	}
	startup_free(&st);
	return 0;
}
