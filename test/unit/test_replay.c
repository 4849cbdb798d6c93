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

#define NOW 1750000000

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

	/* A window that has grown concerns those that end by it. */
	replay_window_grew(r, NOW + 5);
	p.key[0] = 7;
	u.issued = NOW + 5;
	u.ends_by_window = true;
	assert_int_equal(replay_use(r, &u, NOW + 6), ECDSA_REPLAYED);
	assert_non_null(u.detail);
	u.ends_by_window = false;
	assert_int_equal(replay_use(r, &u, NOW + 6), ECDSA_OK);
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

static void the_memory_goes_through_a_pipe(void **state)
{
	struct replay *a = filled(900), *b = replay_of(65536);
	int fds[2];
	char rest[4];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_true(fcntl(fds[1], F_SETPIPE_SZ, 1 << 17) >= 1 << 17);
	assert_int_equal(replay_save(a, fds[1], NOW + 20), 0);
	assert_int_equal(write(fds[1], "next", 4), 4);
	close(fds[1]);
	assert_int_equal(replay_load(b, fds[0], NOW + 20), 0);
	/* Whatever follows in the stream is somebody else's. */
	assert_int_equal(read(fds[0], rest, sizeof(rest)), 4);
	assert_memory_equal(rest, "next", 4);
	close(fds[0]);
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

static int file_with(const void *bytes, size_t len)
{
	int fd = open("replay-bytes", O_RDWR | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), (ssize_t)len);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	unlink("replay-bytes");
	return fd;
}

static void what_is_not_whole_is_not_believed(void **state)
{
	struct replay *a = filled(40);
	uint8_t bytes[16384], bent[16384];
	int fd = file_with("", 0);
	ssize_t len;

	(void)state;
	assert_int_equal(replay_save(a, fd, NOW), 0);
	len = pread(fd, bytes, sizeof(bytes), 0);
	assert_int_equal(len, 40 + 40 * 64 + 32);
	close(fd);
	for (ssize_t cut = 0; cut <= len; cut += cut < 64 ? 1 : 37) {
		struct replay *b = replay_of(65536);

		fd = file_with(bytes, (size_t)cut);
		assert_int_equal(replay_load(b, fd, NOW), cut == len ? 0 : -1);
		close(fd);
		replay_free(b);
	}
	for (ssize_t at = 0; at < len; at += 11) {
		struct replay *b = replay_of(65536);

		memcpy(bent, bytes, (size_t)len);
		bent[at] ^= 0x40;
		fd = file_with(bent, (size_t)len);
		assert_int_equal(replay_load(b, fd, NOW), -1);
		close(fd);
		replay_free(b);
	}
	replay_free(a);
}

/* A process that began without a memory hands that on: else its own end would open what it refused. */
static void what_was_unknown_stays_unknown(void **state)
{
	struct replay *a = replay_of(64), *b = replay_of(64);
	struct proof p = proof_of(1, 1);
	struct replay_use u = {.mode = REPLAY_ONCE, .key = p.key, .wallet = &p.wallet, .expires = NOW + 100,
			       .issued = NOW};
	int fd = file_with("", 0);

	(void)state;
	replay_begins(a, NOW);
	replay_window_grew(a, NOW + 5);
	assert_int_equal(replay_save(a, fd, NOW), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(replay_load(b, fd, NOW), 0);
	close(fd);
	assert_int_equal(replay_use(b, &u, NOW + 1), ECDSA_REPLAYED);
	u.issued = NOW + 5;
	u.ends_by_window = true;
	assert_int_equal(replay_use(b, &u, NOW + 6), ECDSA_REPLAYED);
	u.issued = NOW + 6;
	assert_int_equal(replay_use(b, &u, NOW + 6), ECDSA_OK);
	replay_free(a);
	replay_free(b);
}

static void what_does_not_fit_is_said(void **state)
{
	struct replay *a = filled(900), *small = replay_of(16);
	int fd = file_with("", 0);

	(void)state;
	assert_int_equal(replay_save(a, fd, NOW), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(replay_load(small, fd, NOW), -1);
	assert_int_equal(errno, ENOSPC);
	close(fd);
	/* A full pipe or disk is an error and not silence. */
	fd = open("/dev/full", O_WRONLY);
	assert_int_equal(replay_save(a, fd, NOW), -1);
	assert_int_equal(errno, ENOSPC);
	close(fd);
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
		cmocka_unit_test(a_full_table_forgets_nobody),
		cmocka_unit_test(a_wallet_gets_a_sixteenth),
		cmocka_unit_test(the_table_agrees_with_a_plain_list),
		cmocka_unit_test(of_those_who_race_with_one_proof_exactly_one_wins),
		cmocka_unit_test(the_memory_goes_through_a_pipe),
		cmocka_unit_test(what_is_not_whole_is_not_believed),
		cmocka_unit_test(what_was_unknown_stays_unknown),
		cmocka_unit_test(what_does_not_fit_is_said),
		cmocka_unit_test(a_file_is_read_once),
		cmocka_unit_test(a_file_of_somebody_else_stays_as_it_is),
		cmocka_unit_test(without_memory_there_is_none),
	};

	return cmocka_run_group_tests(tests, into_scratch, out_of_scratch);
}
