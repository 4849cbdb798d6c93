/* The published login vectors, test/vectors/: accepted or refused (ecdsa-login.md section 27). */
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
	int64_t now;
	bool accepted;
	int64_t window;		     /* of the timestamps */
	const char *database, *role; /* of the other formats: asked for, and arrived at */
};

#include "test/vectors/ecdsa_vectors.h"

/* 0: judged as published. */
static unsigned judge(const struct vector *v, const struct wallet_policy *policy, unsigned *accepted)
{
	struct ecdsa_claim claim;
	enum ecdsa_reason reason = ecdsa_check(v->address, v->password, v->len, v->now, policy, &claim);

	if (reason == ECDSA_OK && v->role && !ecdsa_claim_admits(&claim, v->role))
		reason = ECDSA_WRONG_ROLE;
	*accepted += reason == ECDSA_OK;
	if ((reason == ECDSA_OK) == v->accepted)
		return 0;
	print_error("%s: %s\n", v->name, ecdsa_reason_word(reason));
	return 1;
}

static void every_timestamp_is_judged_as_published(void **state)
{
	unsigned accepted = 0, wrong = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(timestamp_vectors); i++) {
		struct wallet_policy policy = {.formats = BIT(ECDSA_FORMAT_TIMESTAMP), .window_seconds = timestamp_vectors[i].window, .role_login = false};

		wrong += judge(&timestamp_vectors[i], &policy, &accepted);
	}
	assert_int_equal(wrong, 0);
	/* A list that was cut short must not look like success. */
	assert_int_equal(ARRAY_LEN(timestamp_vectors), 96);
	assert_int_equal(accepted, 30);
}

static void every_message_is_judged_as_published(void **state)
{
	unsigned accepted = 0, wrong = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(format_vectors); i++) {
		struct wallet_policy policy = format_policy;

		policy.database = format_vectors[i].database;
		wrong += judge(&format_vectors[i], &policy, &accepted);
	}
	assert_int_equal(wrong, 0);
	assert_int_equal(ARRAY_LEN(format_vectors), 75);
	assert_int_equal(accepted, 26);
}

/* A list of formats is what lets the others in. */
static void no_message_passes_where_only_timestamps_may(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(format_vectors); i++) {
		struct wallet_policy policy = format_policy;
		struct ecdsa_claim claim;

		policy.formats = BIT(ECDSA_FORMAT_TIMESTAMP);
		policy.database = format_vectors[i].database;
		assert_int_not_equal(ecdsa_check(format_vectors[i].address, format_vectors[i].password,
						 format_vectors[i].len, format_vectors[i].now, &policy, &claim),
				     ECDSA_OK);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_timestamp_is_judged_as_published),
		cmocka_unit_test(every_message_is_judged_as_published),
		cmocka_unit_test(no_message_passes_where_only_timestamps_may),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
