/* Unit tests of backup/child.h with small shell scripts. Attack row 43. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backup/child.h"
#include "backup/loop.h"

#define PATIENCE (60 * USEC_PER_SEC) /* a limit, never waited for */

static struct loop *loop;
static struct family *family;

static int set_up(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	loop = loop_new();
	family = family_new(loop);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	family_free(family);
	loop_free(loop);
	return 0;
}

static char *const plain_env[] = {"PATH=/usr/bin:/bin", "LC_ALL=C", NULL};

static struct child *sh(const char *script, bool wants_stdin, bool wants_stdout)
{
	char why[256], *argv[] = {"sh", "-c", (char *)(uintptr_t)script, NULL};
	const struct child_spec spec = {.name = "sh", .path = "/bin/sh", .argv = argv, .envp = plain_env,
					.wants_stdin = wants_stdin, .wants_stdout = wants_stdout};
	struct child *c = child_start(family, &spec, why, sizeof(why));

	if (!c)
		fail_msg("%s", why);
	return c;
}

/* All output; the length of it. */
static size_t read_all(struct child *c, char *out, size_t cap)
{
	size_t len = 0, got;
	char spill[65536];

	for (;;) {
		enum child_io io = child_read(c, spill, sizeof(spill), &got);

		if (io == CHILD_END)
			break;
		assert_int_equal(io, CHILD_OK);
		if (len + got < cap)
			memcpy(out + len, spill, got);
		len += got;
	}
	if (len < cap)
		out[len] = 0;
	return len;
}

static void output_and_status_are_told_apart(void **state)
{
	struct child *c = sh("printf hello; exit 3", false, true);
	char out[64], fate[96];

	(void)state;
	assert_int_equal(read_all(c, out, sizeof(out)), 5);
	assert_string_equal(out, "hello");
	assert_true(child_wait(c));
	assert_false(child_succeeded(c));
	assert_int_equal(child_exit_code(c), 3);
	assert_string_equal(child_fate(c, fate), "exited with status 3");
	child_free(c);
}

static void a_signal_is_not_an_exit(void **state)
{
	struct child *c = sh("kill -9 $$", false, true);
	char out[64], fate[96];

	(void)state;
	read_all(c, out, sizeof(out));
	assert_true(child_wait(c));
	assert_false(child_succeeded(c));
	assert_int_equal(child_exit_code(c), -1);
	assert_non_null(strstr(child_fate(c, fate), "signal 9"));
	child_free(c);
}

/* Weaknesses 17, 18 of the backup specification, section 2: much on standard error, before any output. */
static void row_43_standard_error_never_blocks_and_its_end_is_kept(void **state)
{
	struct child *c = sh("i=0; while [ $i -lt 40000 ]; do echo line $i of the many words that it says >&2; "
			     "i=$((i+1)); done; echo out; exit 1", false, true);
	char out[64];

	(void)state;
	assert_int_equal(read_all(c, out, sizeof(out)), 4);
	assert_true(child_wait(c));
	assert_non_null(strstr(child_last_words(c, 200), "line 39999 of"));
	assert_true(strncmp(child_last_words(c, 200), "line ", 5) == 0);
	assert_true(strlen(child_last_words(c, 200)) <= 200);
	assert_true(strlen(child_last_words(c, CHILD_LAST_WORDS)) > CHILD_LAST_WORDS - 100);
	assert_false(child_said(c, "line 0 of"));
	child_free(c);
}

/* Weakness 25: much in both directions at once. */
static void input_and_output_flow_together(void **state)
{
	struct child *c = sh("head -c 3000000 /dev/zero >&2; cat >/dev/null; echo done", true, true);
	static char zeros[1 << 20];
	char out[64];

	(void)state;
	for (int i = 0; i < 8; i++)
		assert_int_equal(child_write(c, span_of(zeros, sizeof(zeros))), CHILD_OK);
	child_close_stdin(c);
	assert_int_equal(read_all(c, out, sizeof(out)), 5);
	assert_true(child_wait(c));
	assert_true(child_succeeded(c));
	child_free(c);
}

static void who_reads_no_more_is_noticed_without_a_signal(void **state)
{
	struct child *c = sh("exit 1", true, false);
	static char zeros[1 << 20];
	enum child_io io = CHILD_OK;

	(void)state;
	for (int i = 0; i < 8 && io == CHILD_OK; i++)
		io = child_write(c, span_of(zeros, sizeof(zeros)));
	assert_int_equal(io, CHILD_END);
	assert_true(child_wait(c));
	assert_int_equal(child_exit_code(c), 1);
	child_free(c);
}

static void a_wrapper_dies_with_what_it_started(void **state)
{
	struct child *c = sh("trap '' TERM; (trap '' TERM; echo $BASHPID; sleep 1000) & echo begun; wait", false, true);
	char out[64];
	size_t got;
	usec_t begun;

	(void)state;
	assert_int_equal(child_read(c, out, sizeof(out), &got), CHILD_OK);
	begun = loop_now();
	child_kill(c, USEC_PER_SEC / 5); /* deaf to SIGTERM, so SIGKILL follows */
	assert_true(child_is_over(c));
	assert_true(loop_now() - begun < PATIENCE);
	child_free(c);
}

static void an_interruption_ends_the_wait_not_the_child(void **state)
{
	struct child *c = sh("sleep 1000", false, true);
	char out[64];
	size_t got;

	(void)state;
	loop_interrupt(loop);
	assert_int_equal(child_read(c, out, sizeof(out), &got), CHILD_INTERRUPTED);
	assert_false(child_wait(c));
	assert_false(child_is_over(c));
	child_kill(c, USEC_PER_SEC);
	assert_true(child_is_over(c));
	child_free(c);
}

static void what_cannot_be_run_says_why(void **state)
{
	char why[256], *argv[] = {"nothing", NULL};
	const struct child_spec spec = {.name = "nothing", .path = "/nonexistent/nothing", .argv = argv, .envp = plain_env};

	(void)state;
	assert_null(child_start(family, &spec, why, sizeof(why)));
	assert_non_null(strstr(why, "/nonexistent/nothing"));
	assert_non_null(strstr(why, "No such file"));
}

/* Weakness 6, rule 5.2: nothing of ours is inherited but what is passed. */
static void a_child_inherits_only_what_it_is_given(void **state)
{
	int leak = open("/dev/null", O_RDONLY), pass = open("/dev/null", O_RDONLY | O_CLOEXEC);
	char script[128], out[1024], why[256], *argv[] = {"sh", "-c", script, NULL};
	const struct child_spec spec = {.name = "sh", .path = "/bin/sh", .argv = argv, .envp = plain_env, .pass_fd = pass};

	(void)state;
	setenv("MNEMONIC", "secret words", 1);
	signal(SIGPIPE, SIG_IGN);
	snprintf(script, sizeof(script), "env; ls /proc/self/fd; pwd; umask; grep SigIgn /proc/self/status");
	assert_true(child_run(family, &spec, out, sizeof(out), why, sizeof(why)));
	unsetenv("MNEMONIC");
	assert_null(strstr(out, "MNEMONIC"));
	/* But for the two that the C library keeps to itself, and lets nobody set. */
	assert_non_null(strstr(out, "SigIgn:"));
	assert_int_equal(strtoull(strstr(out, "SigIgn:") + strlen("SigIgn:"), NULL, 16) & ~(3ull << 31), 0);
	assert_non_null(strstr(out, "\n/\n"));
	assert_non_null(strstr(out, "0077\n"));
	snprintf(script, sizeof(script), "test -e /proc/self/fd/%d && test ! -e /proc/self/fd/%d && echo good", pass, leak);
	assert_true(child_run(family, &spec, out, sizeof(out), why, sizeof(why)));
	assert_string_equal(out, "good\n");
	close(leak);
	close(pass);
}

static void rows_of_the_database_do_not_reach_the_log(void **state)
{
	struct child *c = sh("echo 'pg_restore: error: could not execute' >&2; echo 'DETAIL:  Key (mail)=(a@b) exists.' >&2;"
			     "echo 'CONTEXT:  COPY people, line 17, column pin: \"1234\"' >&2; exit 1", false, false);

	(void)state;
	assert_true(child_wait(c));
	assert_string_equal(child_last_words(c, 1000), "pg_restore: error: could not execute\nDETAIL: (withheld)\n"
						       "CONTEXT:  COPY people, line 17\n");
	child_free(c);
}

static void a_failed_run_tells_its_last_words(void **state)
{
	char out[64], why[256], *argv[] = {"sh", "-c", "echo no such thing >&2; exit 4", NULL};
	const struct child_spec spec = {.name = "sh", .path = "/bin/sh", .argv = argv, .envp = plain_env};

	(void)state;
	assert_false(child_run(family, &spec, out, sizeof(out), why, sizeof(why)));
	assert_non_null(strstr(why, "status 4"));
	assert_non_null(strstr(why, "no such thing"));
}

static void a_grandchild_that_keeps_standard_error_does_not_hold_us_up(void **state)
{
	struct child *c = sh("sleep 1000 & exit 0", false, false);

	(void)state;
	assert_true(child_wait(c));
	assert_true(child_succeeded(c));
	child_kill(c, 0);
	child_free(c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(output_and_status_are_told_apart),
		TEST(a_signal_is_not_an_exit),
		TEST(row_43_standard_error_never_blocks_and_its_end_is_kept),
		TEST(input_and_output_flow_together),
		TEST(who_reads_no_more_is_noticed_without_a_signal),
		TEST(a_wrapper_dies_with_what_it_started),
		TEST(an_interruption_ends_the_wait_not_the_child),
		TEST(what_cannot_be_run_says_why),
		TEST(a_child_inherits_only_what_it_is_given),
		TEST(rows_of_the_database_do_not_reach_the_log),
		TEST(a_failed_run_tells_its_last_words),
		TEST(a_grandchild_that_keeps_standard_error_does_not_hold_us_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
