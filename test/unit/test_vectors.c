/* The published login vectors, test/vectors/ecdsa-vectors.json: accepted or refused (ecdsa-login.md section 27). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "lib/util.h"
#include "wallet/check.h"

struct vector {
	const char *name, *address, *password;
	size_t len; /* of the password, which may hold any byte */
	int64_t now, window;
	bool accepted;
};

#include "test/vectors/ecdsa_vectors.h"

static void every_vector_is_judged_as_published(void **state)
{
	unsigned accepted = 0, wrong = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		const struct vector *v = &vectors[i];
		struct wallet_policy policy = {BIT(ECDSA_FORMAT_TIMESTAMP), v->window, false};
		struct ecdsa_claim claim;
		enum ecdsa_reason reason = ecdsa_check(v->address, v->password, v->len, v->now, &policy, &claim);

		accepted += reason == ECDSA_OK;
		if ((reason == ECDSA_OK) != v->accepted) {
			print_error("%s: %s\n", v->name, ecdsa_reason_word(reason));
			wrong++;
		}
	}
	assert_int_equal(wrong, 0);
	/* A list that was cut short must not look like success. */
	assert_int_equal(ARRAY_LEN(vectors), 96);
	assert_int_equal(accepted, 30);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_vector_is_judged_as_published),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
