/* Unit tests of lib/: buffers, files written anew, hash table, hex, deadline wheel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/file_write.h"
#include "lib/hash.h"
#include "lib/hex.h"
#include "lib/mem.h"
#include "lib/network.h"
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

static void network_reads_prefixes_and_knows_its_members(void **state)
{
	static const struct {
		const char *row, *text;
		enum network_parse want;
		const char *shown;   /* NULL: as text */
		const char *in, *out; /* addresses; NULL: not asked */
	} rows[] = {
		{"a single address", "203.0.113.7", NETWORK_OK, NULL, "203.0.113.7", "203.0.113.8"},
		{"a single one with its prefix", "203.0.113.7/32", NETWORK_OK, "203.0.113.7", NULL, NULL},
		{"a prefix inside a byte", "10.32.0.0/11", NETWORK_OK, NULL, "10.63.255.255", "10.64.0.0"},
		{"all of IPv4, and only that", "0.0.0.0/0", NETWORK_OK, NULL, "255.1.2.3", "2001:db8::1"},
		{"all of IPv6, and only that", "::/0", NETWORK_OK, NULL, "2001:db8::1", "10.0.0.1"},
		{"a net of IPv6", "2001:db8::/33", NETWORK_OK, NULL, "2001:db8:7fff::1", "2001:db8:8000::1"},
		{"an address of IPv6", "::1", NETWORK_OK, NULL, "::1", "::2"},
		{"IPv4-mapped is IPv4", "::ffff:10.0.0.0/104", NETWORK_OK, "10.0.0.0/8", "10.1.2.3", "11.0.0.1"},
		{"a mapped host is its IPv4 host", "10.1.2.3", NETWORK_OK, NULL, "::ffff:10.1.2.3", "::ffff:10.1.2.4"},
		{"bits behind the prefix", "10.1.2.3/8", NETWORK_HOST_BITS, "10.0.0.0/8", NULL, NULL},
		{"prefix one too long", "10.0.0.0/33", NETWORK_MALFORMED, NULL, NULL, NULL},
		{"prefix of IPv6 one too long", "::/129", NETWORK_MALFORMED, NULL, NULL, NULL},
		{"prefix beyond any int", "10.0.0.0/99999999999999999999", NETWORK_MALFORMED, NULL, NULL, NULL},
		{"prefix without digits", "10.0.0.0/", NETWORK_MALFORMED, NULL, NULL, NULL},
		{"prefix with a sign", "10.0.0.0/+8", NETWORK_MALFORMED, NULL, NULL, NULL},
		{"prefix with a leading zero", "10.0.0.0/08", NETWORK_MALFORMED, NULL, NULL, NULL},
		{"a mask in place of a prefix", "10.0.0.0/255.0.0.0", NETWORK_MALFORMED, NULL, NULL, NULL},
		{"three bytes", "10.0.0/8", NETWORK_MALFORMED, NULL, NULL, NULL},
		{"a name", "localhost", NETWORK_MALFORMED, NULL, NULL, NULL},
		{"nothing", "", NETWORK_MALFORMED, NULL, NULL, NULL},
		{"longer than any address", "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000",
		 NETWORK_MALFORMED, NULL, NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct network n, host;
		char text[NETWORK_TEXT_MAX];

		print_message("%s\n", rows[i].row);
		assert_int_equal(network_parse(rows[i].text, strlen(rows[i].text), &n), rows[i].want);
		if (rows[i].want == NETWORK_MALFORMED)
			continue;
		assert_string_equal(network_text(&n, text), rows[i].shown ? rows[i].shown : rows[i].text);
		if (!rows[i].in)
			continue;
		assert_int_equal(network_parse(rows[i].in, strlen(rows[i].in), &host), NETWORK_OK);
		assert_true(network_has(&n, &host.address));
		assert_int_equal(network_parse(rows[i].out, strlen(rows[i].out), &host), NETWORK_OK);
		assert_false(network_has(&n, &host.address));
	}
}

/* What path is: its mode and its bytes, as text. */
static const char *looks(const char *path)
{
	static char text[64];
	char bytes[32] = "";
	struct stat st;
	int fd = open(path, O_RDONLY | O_NOFOLLOW);

	if (fd < 0)
		return strerror(errno);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(read(fd, bytes, sizeof(bytes) - 1) >= 0);
	close(fd);
	snprintf(text, sizeof(text), "%03o %s", (unsigned)(st.st_mode & 07777), bytes);
	return text;
}

static void file_replace_leaves_the_new_one_or_the_old_one(void **state)
{
	char dir[] = "/tmp/test_lib-XXXXXX";
	mode_t mask = umask(077);
	struct file_owner nobody = {65534, 65534};

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(file_replace("f", span_str("one"), 0644, NULL), 0);
	assert_string_equal(looks("f"), "644 one");
	/* What a writer that was killed has left, and what somebody puts there for us to follow. */
	assert_int_equal(file_replace("f.new", span_str("half of"), 0444, NULL), 0);
	assert_int_equal(file_replace("f", span_str("two"), 0600, NULL), 0);
	assert_string_equal(looks("f"), "600 two");
	assert_int_equal(symlink("elsewhere", "f.new"), 0);
	assert_int_equal(file_replace("f", span_str(""), 0400, NULL), 0);
	assert_string_equal(looks("f"), "400 ");
	assert_string_equal(looks("elsewhere"), strerror(ENOENT));
	assert_string_equal(looks("f.new"), strerror(ENOENT));

	assert_int_equal(file_replace("no/f", span_str("x"), 0600, NULL), ENOENT);
	assert_int_equal(mkdir("d", 0700), 0);
	assert_int_equal(file_replace("d", span_str("x"), 0600, NULL), EISDIR);
	assert_string_equal(looks("d.new"), strerror(ENOENT));
	if (geteuid() != 0) {
		assert_int_equal(file_replace("f", span_str("x"), 0600, &nobody), EPERM);
		assert_string_equal(looks("f"), "400 ");
		assert_string_equal(looks("f.new"), strerror(ENOENT));
	}
	unlink("f");
	rmdir("d");
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(rmdir(dir), 0);
	umask(mask);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buf_keeps_bytes_in_order_while_growing_and_shrinking),
		cmocka_unit_test(buf_refuses_absurd_sizes_and_stays_failed),
		cmocka_unit_test(file_replace_leaves_the_new_one_or_the_old_one),
		cmocka_unit_test(hash_finds_what_was_put_and_not_what_was_deleted),
		cmocka_unit_test(hex_takes_digits_of_either_case_and_nothing_else),
		cmocka_unit_test(network_reads_prefixes_and_knows_its_members),
		cmocka_unit_test(wheel_hands_out_every_node_once_and_not_early),
		cmocka_unit_test(wheel_forgets),
		cmocka_unit_test(wheel_wakes_for_a_coarse_slot_before_a_later_fine_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
