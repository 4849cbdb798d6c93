/* Unit tests of the memory of used proofs: ecdsa-login.md section 18. Attack 36. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/replay.h"
#include "lib/log.h"
#include "lib/util.h"

#define NOW ((int64_t)1750000000)

static int allocations_left = -1; /* -1: any number */

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_calloc(size_t n, size_t size)
{
	if (allocations_left == 0)
		return NULL;
	if (allocations_left > 0)
		allocations_left--;
	return __real_calloc(n, size);
}

struct proof {
	uint8_t key[PROOF_KEY_BYTES];
	struct wallet_address wallet;
};

static struct proof proof_of(unsigned wallet, unsigned number)
{
	struct proof p = {{0}, {{0}}};

	memcpy(p.key, &number, sizeof(number));
	memcpy(p.key + 8, &wallet, sizeof(wallet));
	memcpy(p.wallet.bytes, &wallet, sizeof(wallet));
	return p;
}

static struct ip_address from(uint8_t last)
{
	return replay_source(&(struct ip_address){{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, last}});
}

static enum ecdsa_reason use_with(struct replay *r, enum replay_mode mode, struct proof p, struct ip_address source,
				  int64_t now, int64_t expires)
{
	struct replay_use u = {.mode = mode, .key = p.key, .wallet = &p.wallet, .source = source, .issued = now,
			       .expires = expires};

	return replay_use(r, &u, now);
}

static enum ecdsa_reason once(struct replay *r, struct proof p, int64_t now, int64_t expires)
{
	return use_with(r, REPLAY_ONCE, p, from(1), now, expires);
}

static struct replay *replay_of(int entries)
{
	struct replay *r = replay_new(entries);

	assert_non_null(r);
	return r;
}

static void a_proof_is_good_once(void **state)
{
	struct replay *r = replay_of(1024);

	(void)state;
	assert_int_equal(once(r, proof_of(1, 1), NOW, NOW + 10), ECDSA_OK);
	assert_int_equal(once(r, proof_of(1, 1), NOW, NOW + 10), ECDSA_REPLAYED);
	assert_int_equal(once(r, proof_of(1, 1), NOW + 9, NOW + 10), ECDSA_REPLAYED);
	assert_int_equal(once(r, proof_of(1, 2), NOW, NOW + 10), ECDSA_OK);
	assert_int_equal(replay_count(r, NOW), 2);
	/* From its first bad second on the check refuses it for age, and its place is free. */
	assert_int_equal(replay_count(r, NOW + 10), 0);
	replay_free(r);
}

static void a_proof_is_good_from_one_source(void **state)
{
	static const uint8_t v6[16] = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1};
	static const uint8_t same_64[16] = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9};
	static const uint8_t other_64[16] = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1};
	struct ip_address home = ip_from_v6(v6), neighbour = ip_from_v6(same_64), away = ip_from_v6(other_64);
	struct replay *r = replay_of(1024);
	const int64_t end = NOW + 10;

	(void)state;
	assert_int_equal(use_with(r, REPLAY_SOURCE, proof_of(1, 1), from(1), NOW, end), ECDSA_OK);
	for (int i = 0; i < 50; i++)
		assert_int_equal(use_with(r, REPLAY_SOURCE, proof_of(1, 1), from(1), NOW, end), ECDSA_OK);
	assert_int_equal(use_with(r, REPLAY_SOURCE, proof_of(1, 1), from(2), NOW, end), ECDSA_REPLAY_OTHER_SOURCE);
	assert_int_equal(use_with(r, REPLAY_SOURCE, proof_of(1, 1), replay_source(NULL), NOW, end),
			 ECDSA_REPLAY_OTHER_SOURCE);
	/* An attempt from elsewhere has not moved it. */
	assert_int_equal(use_with(r, REPLAY_SOURCE, proof_of(1, 1), from(1), NOW, end), ECDSA_OK);
	assert_int_equal(use_with(r, REPLAY_SOURCE, proof_of(1, 2), replay_source(NULL), NOW, end), ECDSA_OK);
	assert_int_equal(use_with(r, REPLAY_SOURCE, proof_of(1, 2), replay_source(NULL), NOW, end), ECDSA_OK);
	assert_int_equal(use_with(r, REPLAY_SOURCE, proof_of(1, 3), replay_source(&home), NOW, end), ECDSA_OK);
	assert_int_equal(use_with(r, REPLAY_SOURCE, proof_of(1, 3), replay_source(&neighbour), NOW, end), ECDSA_OK);
	assert_int_equal(use_with(r, REPLAY_SOURCE, proof_of(1, 3), replay_source(&away), NOW, end),
			 ECDSA_REPLAY_OTHER_SOURCE);
	/* Lines of the two modes share the memory. */
	assert_int_equal(once(r, proof_of(1, 1), NOW, end), ECDSA_REPLAYED);
	assert_int_equal(replay_count(r, NOW), 3);
	replay_free(r);
}

static void what_was_issued_before_the_memory_began_is_refused(void **state)
{
	struct replay *r = replay_of(1024);
	struct proof p = proof_of(1, 1);
	struct replay_use u = {.mode = REPLAY_ONCE, .key = p.key, .wallet = &p.wallet, .expires = NOW + 100};

	(void)state;
	replay_begins(r, NOW);
	u.issued = NOW;
	assert_int_equal(replay_use(r, &u, NOW + 1), ECDSA_REPLAYED);
	assert_string_equal(u.detail, "issued before start");
	replay_begins(r, NOW - 10); /* later it never gets earlier */
	assert_int_equal(replay_use(r, &u, NOW + 1), ECDSA_REPLAYED);
	u.issued = NOW + 1;
	assert_int_equal(replay_use(r, &u, NOW + 1), ECDSA_OK);
	assert_null(u.detail);

	replay_free(r);
}

static enum ecdsa_reason once_by_window(struct replay *r, struct proof p, int64_t issued, int64_t window, int64_t now)
{
	struct replay_use u = {.mode = REPLAY_ONCE, .key = p.key, .wallet = &p.wallet, .issued = issued,
			       .expires = issued + window + 1, .ends_by_window = true};

	return replay_use(r, &u, now);
}

static void a_window_that_grows_opens_nothing(void **state)
{
	struct replay *r = replay_of(1024);

	(void)state;
	replay_set_window(r, 10);
	assert_int_equal(once_by_window(r, proof_of(1, 1), NOW, 10, NOW), ECDSA_OK);
	assert_int_equal(once_by_window(r, proof_of(1, 2), NOW + 4, 10, NOW + 4), ECDSA_OK);
	assert_int_equal(once(r, proof_of(1, 3), NOW, NOW + 12), ECDSA_OK);
	/* The first one is forgotten, the second one is not. */
	assert_int_equal(replay_count(r, NOW + 11), 2);
	replay_set_window(r, 100);
	assert_int_equal(once_by_window(r, proof_of(1, 1), NOW, 100, NOW + 11), ECDSA_REPLAYED);
	assert_int_equal(once_by_window(r, proof_of(1, 2), NOW + 4, 100, NOW + 104), ECDSA_REPLAYED);
	assert_int_equal(replay_count(r, NOW + 104), 1);
	assert_int_equal(replay_count(r, NOW + 105), 0);
	/* Others of that time are refused with the first one; later ones, and what does not end by a window, are not. */
	assert_int_equal(once_by_window(r, proof_of(1, 4), NOW, 100, NOW + 11), ECDSA_REPLAYED);
	assert_int_equal(once_by_window(r, proof_of(1, 5), NOW + 1, 100, NOW + 11), ECDSA_OK);
	assert_int_equal(once(r, proof_of(1, 6), NOW, NOW + 50), ECDSA_OK);
	replay_free(r);
}

static void a_window_that_shrinks_and_grows_opens_nothing(void **state)
{
	struct replay *r = replay_of(1024);

	(void)state;
	replay_set_window(r, 100);
	assert_int_equal(once_by_window(r, proof_of(1, 1), NOW, 100, NOW), ECDSA_OK);
	replay_set_window(r, 10);
	assert_int_equal(once_by_window(r, proof_of(1, 2), NOW + 50, 10, NOW + 50), ECDSA_OK);
	replay_set_window(r, 1000);
	for (int64_t t = NOW; t <= NOW + 1000; t++)
		assert_int_equal(once_by_window(r, proof_of(1, 1), NOW, 1000, t), ECDSA_REPLAYED);
	for (int64_t t = NOW + 50; t <= NOW + 1050; t++)
		assert_int_equal(once_by_window(r, proof_of(1, 2), NOW + 50, 1000, t), ECDSA_REPLAYED);
	replay_free(r);
}

/* A line of the HBA file with a smaller window does not shorten what the largest one asks for. */
static void the_largest_window_counts(void **state)
{
	struct replay *r = replay_of(1024);

	(void)state;
	replay_set_window(r, 100);
	assert_int_equal(once_by_window(r, proof_of(1, 1), NOW, 1, NOW), ECDSA_OK);
	assert_int_equal(once_by_window(r, proof_of(1, 1), NOW, 100, NOW + 100), ECDSA_REPLAYED);
	assert_int_equal(replay_count(r, NOW + 101), 0);
	replay_free(r);
}

static void numbers_at_the_end_of_time_do_not_turn_round(void **state)
{
	struct replay *r = replay_of(1024);

	(void)state;
	replay_set_window(r, 10);
	assert_int_equal(once(r, proof_of(1, 1), NOW, INT64_MAX), ECDSA_OK);
	assert_int_equal(once(r, proof_of(1, 2), NOW, INT64_MAX - 1), ECDSA_OK);
	assert_int_equal(once_by_window(r, proof_of(1, 3), INT64_MAX - 11, 10, NOW), ECDSA_OK);
	assert_int_equal(once_by_window(r, proof_of(1, 4), INT64_MAX / 2 - 5, 1, NOW), ECDSA_OK);
	replay_set_window(r, 100);
	for (unsigned i = 1; i <= 4; i++)
		assert_int_equal(once(r, proof_of(1, i), NOW + 1000000000, NOW + 2000000000), ECDSA_REPLAYED);
	replay_free(r);
}

/* Windows come and go, and what was used once is never good again while some window would take it. */
static void windows_that_change_all_the_time(void **state)
{
	enum { PROOFS = 300 };
	static int64_t issued[PROOFS];
	static bool is_used[PROOFS];
	struct replay *r = replay_of(16 * 4096);
	unsigned seed = 7, good = 0;
	int64_t now = NOW, window = 20;

	(void)state;
	replay_set_window(r, window);
	for (unsigned i = 0; i < PROOFS; i++)
		issued[i] = NOW + i / 2;
	for (unsigned step = 0; step < 100000; step++) {
		unsigned which;
		enum ecdsa_reason reason;

		seed = seed * 1103515245 + 12345;
		if (step % 97 == 0) {
			window = 1 + seed / 65536 % 60;
			replay_set_window(r, window);
		}
		if (step % 400 == 0)
			now++;
		which = seed / 65536 % PROOFS;
		if (issued[which] > now || now > issued[which] + window)
			continue; /* the check refuses it for age */
		reason = once_by_window(r, proof_of(which, which), issued[which], window, now);
		assert_true(reason == ECDSA_OK || reason == ECDSA_REPLAYED);
		if (is_used[which])
			assert_int_equal(reason, ECDSA_REPLAYED);
		is_used[which] |= reason == ECDSA_OK;
		good += reason == ECDSA_OK;
	}
	assert_true(good > PROOFS / 2);
	replay_free(r);
}

static void a_full_table_forgets_nobody(void **state)
{
	struct replay *r = replay_of(320);
	unsigned in = 0, tried = 0, full = 0;

	(void)state;
	assert_int_equal(replay_capacity(r), 320);
	/* So many wallets that none reaches its own share. */
	for (unsigned i = 0; i < 2000; i++, tried++) {
		enum ecdsa_reason reason = once(r, proof_of(i, i), NOW, NOW + 100 + i % 7);

		in += reason == ECDSA_OK;
		full += reason == ECDSA_REPLAY_CACHE_FULL;
	}
	assert_int_equal(in, 320);
	assert_int_equal(in + full, tried);
	/* Everyone who got in is still known. */
	for (unsigned i = 0, known = 0; i < 2000; i++) {
		known += once(r, proof_of(i, i), NOW, NOW + 100) == ECDSA_REPLAYED;
		if (i == 1999)
			assert_int_equal(known, 320);
	}
	/* And when they have expired there is room again. */
	assert_int_equal(replay_count(r, NOW + 200), 0);
	assert_int_equal(once(r, proof_of(9999, 9999), NOW + 200, NOW + 300), ECDSA_OK);
	replay_free(r);
}

static void a_wallet_gets_a_sixteenth(void **state)
{
	struct replay *r = replay_of(16 * 64);
	unsigned in = 0, warnings = 0;

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		struct proof p = proof_of(1, i);
		struct replay_use u = {.mode = REPLAY_ONCE, .key = p.key, .wallet = &p.wallet, .issued = NOW,
				       .expires = NOW + 100};
		enum ecdsa_reason reason = replay_use(r, &u, NOW + i / 500 * 60);

		in += reason == ECDSA_OK;
		warnings += u.wants_warning;
		assert_true(reason == ECDSA_OK || reason == ECDSA_REPLAY_CACHE_FULL);
	}
	assert_int_equal(in, 64);
	assert_int_equal(warnings, 2);
	/* Others notice nothing. */
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(once(r, proof_of(2 + i, i), NOW, NOW + 100), ECDSA_OK);
	/* What has expired no longer counts against it. */
	assert_int_equal(once(r, proof_of(1, 0), NOW + 100, NOW + 200), ECDSA_OK);
	replay_free(r);
}

/* A model: a plain array with the same rules, where there is room for all. */
static void the_table_agrees_with_a_plain_list(void **state)
{
	enum { PROOFS = 400, WALLETS = 40 };
	static int64_t ends[PROOFS];
	struct replay *r = replay_of(16 * 4096);
	int64_t now = NOW;
	unsigned seed = 1;

	(void)state;
	for (unsigned i = 0; i < 200000; i++) {
		unsigned which, wallet;
		int64_t life;
		size_t in_use = 0;
		bool was_known;

		seed = seed * 1103515245 + 12345;
		which = seed / 65536 % PROOFS;
		wallet = which % WALLETS;
		life = 1 + which % 23;
		if (i % 50 == 0)
			now += seed / 65536 % 3;
		was_known = ends[which] > now;
		if (once(r, proof_of(wallet, which), now, now + life) != (was_known ? ECDSA_REPLAYED : ECDSA_OK))
			fail_msg("step %u, proof %u", i, which);
		if (!was_known)
			ends[which] = now + life;
		if (i % 1000)
			continue;
		for (unsigned k = 0; k < PROOFS; k++)
			in_use += ends[k] > now;
		assert_int_equal(replay_count(r, now), in_use);
	}
	replay_free(r);
}

/* ---- several threads ---- */

#define RACERS 8
#define RACES 3000

struct race {
	struct replay *replay;
	atomic_uint winners[RACES];
	pthread_barrier_t start;
};

static void *racer(void *arg)
{
	struct race *race = arg;

	pthread_barrier_wait(&race->start);
	for (unsigned i = 0; i < RACES; i++)
		if (once(race->replay, proof_of(i % 700, i), NOW, NOW + 100) == ECDSA_OK)
			atomic_fetch_add(&race->winners[i], 1);
	return NULL;
}

static void of_those_who_race_with_one_proof_exactly_one_wins(void **state)
{
	static struct race race;
	pthread_t threads[RACERS];

	(void)state;
	race.replay = replay_of(65536);
	pthread_barrier_init(&race.start, NULL, RACERS);
	for (int i = 0; i < RACERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, racer, &race), 0);
	for (int i = 0; i < RACERS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < RACES; i++)
		assert_int_equal(atomic_load(&race.winners[i]), 1);
	pthread_barrier_destroy(&race.start);
	replay_free(race.replay);
}

/* ---- from one process to the next ---- */

static struct replay *filled(unsigned n)
{
	struct replay *r = replay_of(65536);

	for (unsigned i = 0; i < n; i++)
		assert_int_equal(use_with(r, REPLAY_SOURCE, proof_of(i % 500, i), from((uint8_t)(i % 5)), NOW,
					  NOW + 10 + i % 50), ECDSA_OK);
	return r;
}

static struct buf saved(struct replay *r, int64_t now)
{
	struct buf b;

	buf_init(&b);
	replay_save(r, &b, now);
	assert_true(buf_ok(&b));
	return b;
}

static void load(struct replay *r, struct buf *b, int64_t now)
{
	assert_null(replay_load(r, buf_span(b), now));
	buf_free(b);
}

static void the_memory_goes_to_the_next_process(void **state)
{
	struct replay *a = filled(900), *b = replay_of(65536);
	struct buf bytes = saved(a, NOW + 20);

	(void)state;
	load(b, &bytes, NOW + 20);
	assert_int_equal(replay_count(b, NOW + 20), replay_count(a, NOW + 20));
	for (unsigned i = 0; i < 900; i++) {
		bool is_good = i % 50 > 10;
		struct proof p = proof_of(i % 500, i);

		if (!is_good)
			continue;
		assert_int_equal(use_with(b, REPLAY_SOURCE, p, from((uint8_t)(i % 5)), NOW + 20, NOW + 60), ECDSA_OK);
		assert_int_equal(use_with(b, REPLAY_SOURCE, p, from(99), NOW + 20, NOW + 60), ECDSA_REPLAY_OTHER_SOURCE);
		assert_int_equal(once(b, p, NOW + 20, NOW + 60), ECDSA_REPLAYED);
	}
	replay_free(a);
	replay_free(b);
}

static void what_is_not_whole_is_not_believed(void **state)
{
	struct replay *a = filled(40);
	struct buf bytes = saved(a, NOW);
	size_t len = buf_len(&bytes);
	uint8_t bent[16384];

	(void)state;
	assert_int_equal(len, 56 + 40 * 64 + 32);
	for (size_t cut = 0; cut <= len; cut += cut < 96 ? 1 : 37) {
		struct replay *b = replay_of(65536);
		uint8_t *exact = malloc(cut + 1);

		memcpy(exact, buf_data(&bytes), cut);
		assert_true(!replay_load(b, span_of(exact, cut), NOW) == (cut == len));
		assert_int_equal(replay_count(b, NOW), cut == len ? 40 : 0);
		free(exact);
		replay_free(b);
	}
	memcpy(bent, buf_data(&bytes), len);
	for (size_t at = 0; at < len; at += 11) {
		struct replay *b = replay_of(65536);

		bent[at] ^= 0x40;
		assert_non_null(replay_load(b, span_of(bent, len), NOW));
		assert_int_equal(replay_count(b, NOW), 0);
		bent[at] ^= 0x40;
		replay_free(b);
	}
	buf_free(&bytes);
	replay_free(a);
}

/* A process that began without a memory hands that on: else its own end would open what it refused. */
static void what_was_unknown_stays_unknown(void **state)
{
	struct replay *a = replay_of(64), *b = replay_of(64);
	struct buf bytes;

	(void)state;
	replay_set_window(a, 5);
	replay_set_window(b, 100);
	replay_begins(a, NOW);
	assert_int_equal(once_by_window(a, proof_of(1, 1), NOW + 1, 5, NOW + 1), ECDSA_OK);
	assert_int_equal(replay_count(a, NOW + 7), 0);
	bytes = saved(a, NOW + 7);
	load(b, &bytes, NOW + 7);
	assert_int_equal(once(b, proof_of(1, 2), NOW, NOW + 100), ECDSA_REPLAYED);
	assert_int_equal(once_by_window(b, proof_of(1, 1), NOW + 1, 100, NOW + 7), ECDSA_REPLAYED);
	assert_int_equal(once_by_window(b, proof_of(1, 3), NOW + 2, 100, NOW + 7), ECDSA_OK);
	/* And so do those after it. */
	bytes = saved(b, NOW + 8);
	replay_free(a);
	a = replay_of(64);
	replay_set_window(a, 100);
	load(a, &bytes, NOW + 8);
	assert_int_equal(once(a, proof_of(1, 2), NOW, NOW + 100), ECDSA_REPLAYED);
	assert_int_equal(once_by_window(a, proof_of(1, 1), NOW + 1, 100, NOW + 7), ECDSA_REPLAYED);
	assert_int_equal(once_by_window(a, proof_of(1, 3), NOW + 2, 100, NOW + 8), ECDSA_REPLAYED);
	replay_free(a);
	replay_free(b);
}

/* The next process may have another window: the same as when it changes by RELOAD. */
static void the_next_process_has_another_window(void **state)
{
	static const int64_t windows[] = {10, 100, 30, 300};
	struct replay *r = replay_of(1024);

	(void)state;
	replay_set_window(r, windows[0]);
	assert_int_equal(once_by_window(r, proof_of(1, 1), NOW, windows[0], NOW), ECDSA_OK);
	assert_int_equal(once_by_window(r, proof_of(1, 2), NOW + 9, windows[0], NOW + 9), ECDSA_OK);
	for (unsigned i = 1; i < ARRAY_LEN(windows); i++) {
		struct buf bytes = saved(r, NOW + 11);

		replay_free(r);
		r = replay_of(1024);
		replay_set_window(r, windows[i]);
		/* Time has passed meanwhile. */
		load(r, &bytes, NOW + 12);
		for (int64_t t = NOW + 12; t <= NOW + windows[i]; t++)
			assert_int_equal(once_by_window(r, proof_of(1, 1), NOW, windows[i], t), ECDSA_REPLAYED);
		for (int64_t t = NOW + 12; t <= NOW + 9 + windows[i] && i == ARRAY_LEN(windows) - 1; t++)
			assert_int_equal(once_by_window(r, proof_of(1, 2), NOW + 9, windows[i], t), ECDSA_REPLAYED);
	}
	replay_free(r);
}

static void what_does_not_fit_is_said(void **state)
{
	struct replay *a = filled(900), *small = replay_of(16);
	struct buf bytes = saved(a, NOW);

	(void)state;
	assert_non_null(strstr(replay_load(small, buf_span(&bytes), NOW), "no room"));
	/* What has expired meanwhile needs none. */
	replay_free(small);
	small = replay_of(16);
	load(small, &bytes, NOW + 60);
	replay_free(a);
	replay_free(small);
}

static void a_file_is_read_once(void **state)
{
	struct replay *a = filled(30), *b = replay_of(65536);
	struct stat st;

	(void)state;
	unlink("replay-file");
	assert_true(replay_write_file(a, "replay-file", NOW));
	assert_int_equal(stat("replay-file", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	/* Over an older one. */
	assert_true(replay_write_file(a, "replay-file", NOW));
	assert_true(replay_read_file(b, "replay-file", NOW));
	assert_int_equal(replay_count(b, NOW), 30);
	assert_int_equal(stat("replay-file", &st), -1);
	assert_false(replay_read_file(b, "replay-file", NOW));

	/* Others could have changed it. */
	assert_true(replay_write_file(a, "replay-file", NOW));
	assert_int_equal(chmod("replay-file", 0640), 0);
	assert_false(replay_read_file(b, "replay-file", NOW));
	assert_int_equal(unlink("replay-file"), 0);

	/* A link may lead anywhere. */
	assert_int_equal(symlink("elsewhere", "replay-file"), 0);
	assert_false(replay_read_file(b, "replay-file", NOW));
	assert_false(replay_write_file(a, "replay-file", NOW));
	assert_int_equal(unlink("replay-file"), 0);
	assert_false(replay_write_file(a, "no-such-directory/replay", NOW));
	replay_free(a);
	replay_free(b);
}

static void a_file_of_somebody_else_stays_as_it_is(void **state)
{
	struct replay *a = filled(3);
	char text[32] = "";
	FILE *f = fopen("replay-other", "w");

	(void)state;
	fputs("\"joe\" \"secret\"\n", f);
	fclose(f);
	chmod("replay-other", 0600);
	assert_false(replay_read_file(a, "replay-other", NOW));
	assert_false(replay_write_file(a, "replay-other", NOW));
	f = fopen("replay-other", "r");
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	assert_string_equal(text, "\"joe\" \"secret\"\n");
	unlink("replay-other");
	replay_free(a);
}

static void without_memory_there_is_none(void **state)
{
	(void)state;
	for (int n = 0; n < 200; n++) {
		struct replay *r;

		allocations_left = n;
		r = replay_new(1024);
		allocations_left = -1;
		if (r) {
			assert_true(n > REPLAY_ENTRIES_STEP + 2);
			replay_free(r);
			return;
		}
	}
	fail();
}

static int into_scratch(void **state)
{
	static char dir[] = "/tmp/replay-XXXXXX";
	const struct log_setup quiet = {.file = "log"};

	(void)state;
	return mkdtemp(dir) && chdir(dir) == 0 ? log_configure(&quiet) : -1;
}

static int out_of_scratch(void **state)
{
	char dir[64];

	(void)state;
	unlink("log");
	return getcwd(dir, sizeof(dir)) && chdir("/") == 0 ? rmdir(dir) : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_proof_is_good_once),
		cmocka_unit_test(a_proof_is_good_from_one_source),
		cmocka_unit_test(what_was_issued_before_the_memory_began_is_refused),
		cmocka_unit_test(a_window_that_grows_opens_nothing),
		cmocka_unit_test(a_window_that_shrinks_and_grows_opens_nothing),
		cmocka_unit_test(the_largest_window_counts),
		cmocka_unit_test(numbers_at_the_end_of_time_do_not_turn_round),
		cmocka_unit_test(windows_that_change_all_the_time),
		cmocka_unit_test(a_full_table_forgets_nobody),
		cmocka_unit_test(a_wallet_gets_a_sixteenth),
		cmocka_unit_test(the_table_agrees_with_a_plain_list),
		cmocka_unit_test(of_those_who_race_with_one_proof_exactly_one_wins),
		cmocka_unit_test(the_memory_goes_to_the_next_process),
		cmocka_unit_test(what_is_not_whole_is_not_believed),
		cmocka_unit_test(what_was_unknown_stays_unknown),
		cmocka_unit_test(the_next_process_has_another_window),
		cmocka_unit_test(what_does_not_fit_is_said),
		cmocka_unit_test(a_file_is_read_once),
		cmocka_unit_test(a_file_of_somebody_else_stays_as_it_is),
		cmocka_unit_test(without_memory_there_is_none),
	};

	return cmocka_run_group_tests(tests, into_scratch, out_of_scratch);
}
