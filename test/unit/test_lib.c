/* Unit tests of lib/: buffers, hash table, hex, deadline wheel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/hash.h"
#include "lib/hex.h"
#include "lib/mem.h"
#include "lib/wheel.h"

static void buf_keeps_bytes_in_order_while_growing_and_shrinking(void **state)
{
	struct buf b;
	uint32_t put = 0, taken = 0;

	(void)state;
	buf_init(&b);
	srand(1);
	for (int round = 0; round < 2000; round++) {
		for (int n = rand() % 20; n > 0; n--)
			buf_put_u32(&b, put++);
		for (int n = rand() % 20; n > 0 && taken < put; n--) {
			const uint8_t *p = buf_data(&b);

			assert_int_equal(taken++, (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]);
			buf_take(&b, 4);
		}
		assert_int_equal(buf_len(&b), (put - taken) * 4);
	}
	assert_true(buf_ok(&b));
	buf_free(&b);
}

static void buf_refuses_absurd_sizes_and_stays_failed(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b);
	assert_false(buf_reserve(&b, SIZE_MAX / 2));
	buf_put_u8(&b, 1);
	assert_false(buf_ok(&b));
	assert_int_equal(buf_len(&b), 0);
	buf_clear(&b);
	buf_printf(&b, "%d-%s", 7, "x");
	assert_memory_equal(buf_data(&b), "7-x", 3);
	buf_free(&b);
}

static void hash_finds_what_was_put_and_not_what_was_deleted(void **state)
{
	enum { N = 3000 };
	static char keys[N][16];
	static bool in[N];
	struct hash h;
	size_t at = 0, seen = 0, expected = 0;

	(void)state;
	hash_init(&h);
	srand(2);
	for (int i = 0; i < N; i++)
		snprintf(keys[i], sizeof(keys[i]), "key%d", i);
	for (int step = 0; step < 20000; step++) {
		int i = rand() % N;

		if (rand() % 2) {
			assert_true(hash_put_str(&h, keys[i], keys[i]));
			in[i] = true;
		} else {
			assert_ptr_equal(hash_del_str(&h, keys[i]), in[i] ? keys[i] : NULL);
			in[i] = false;
		}
	}
	for (int i = 0; i < N; i++) {
		assert_ptr_equal(hash_get_str(&h, keys[i]), in[i] ? keys[i] : NULL);
		expected += in[i];
	}
	while (hash_next(&h, &at))
		seen++;
	assert_int_equal(seen, expected);
	assert_int_equal(h.count, expected);
	hash_free(&h);
}

static void hex_takes_digits_of_either_case_and_nothing_else(void **state)
{
	uint8_t out[2];
	char text[5];

	(void)state;
	assert_true(hex_decode("aBfF", out, 2));
	assert_int_equal(out[0], 0xab);
	hex_encode(out, 2, text);
	assert_string_equal(text, "abff");
	assert_false(hex_decode("aG", out, 1));
	assert_false(hex_decode("\xff" "0", out, 1));
}

static void wheel_hands_out_every_node_once_and_not_early(void **state)
{
	enum { N = 2000 };
	static struct wheel_node nodes[N];
	static usec_t due[N];
	static bool done[N];
	struct wheel w;
	usec_t now = 5 * USEC_PER_SEC;
	int left = N;

	(void)state;
	wheel_init(&w, now);
	srand(3);
	for (int i = 0; i < N; i++) {
		/* from a microsecond to some ten days, more than the wheel spans */
		usec_t ahead = (usec_t)1 << (rand() % 40);

		wheel_node_init(&nodes[i]);
		due[i] = now + ahead;
		wheel_file(&w, &nodes[i], due[i]);
	}
	while (left > 0) {
		struct list out;
		usec_t next = wheel_next(&w);

		assert_true(next > now);
		now = next;
		list_init(&out);
		wheel_advance(&w, now, &out);
		LIST_FOR_SAFE(node, &out) {
			struct wheel_node *n = LIST_ITEM(node, struct wheel_node, link);
			int i = (int)(n - nodes);

			list_del(node);
			assert_false(done[i]);
			done[i] = true;
			assert_true(due[i] <= now);
			assert_true(now - due[i] <= WHEEL_SLOT_USEC);
			left--;
		}
	}
	assert_int_equal(w.count, 0);
	assert_int_equal(wheel_next(&w), -1);
}

static void wheel_forgets(void **state)
{
	struct wheel w;
	struct wheel_node n;
	struct list out;

	(void)state;
	wheel_init(&w, USEC_PER_SEC);
	wheel_node_init(&n);
	list_init(&out);
	wheel_forget(&w, &n);
	wheel_file(&w, &n, 2 * USEC_PER_SEC);
	wheel_file(&w, &n, 3 * USEC_PER_SEC);
	assert_int_equal(w.count, 1);
	wheel_forget(&w, &n);
	wheel_advance(&w, 9 * USEC_PER_SEC, &out);
	assert_true(list_empty(&out));
}

static void wheel_wakes_for_a_coarse_slot_before_a_later_fine_one(void **state)
{
	struct wheel w;
	struct wheel_node early, late;
	struct list out;

	(void)state;
	wheel_init(&w, 0);
	wheel_node_init(&early);
	wheel_node_init(&late);
	list_init(&out);
	wheel_file(&w, &early, 70 * WHEEL_SLOT_USEC); /* too far for the finest level */
	wheel_advance(&w, 50 * WHEEL_SLOT_USEC, &out);
	wheel_file(&w, &late, 110 * WHEEL_SLOT_USEC); /* near enough by now */
	assert_true(wheel_next(&w) <= early.due);
	wheel_advance(&w, wheel_next(&w), &out);
	assert_true(list_empty(&out));
	assert_int_equal(wheel_next(&w), 70 * WHEEL_SLOT_USEC);
	wheel_advance(&w, wheel_next(&w), &out);
	assert_ptr_equal(out.next, &early.link);
	assert_int_equal(wheel_next(&w), 110 * WHEEL_SLOT_USEC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buf_keeps_bytes_in_order_while_growing_and_shrinking),
		cmocka_unit_test(buf_refuses_absurd_sizes_and_stays_failed),
		cmocka_unit_test(hash_finds_what_was_put_and_not_what_was_deleted),
		cmocka_unit_test(hex_takes_digits_of_either_case_and_nothing_else),
		cmocka_unit_test(wheel_hands_out_every_node_once_and_not_early),
		cmocka_unit_test(wheel_forgets),
		cmocka_unit_test(wheel_wakes_for_a_coarse_slot_before_a_later_fine_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
