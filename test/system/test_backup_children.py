"""Scripts in place of pg_dump and pg_restore: whatever they do, no backup comes of it, and the log says why (row 43)."""
import os
import signal
import time

import pytest
from harness import env
from harness.backup import DATABASE, DONE, INTEGRITY, TIMED_OUT, children_of

TABLE = ("CREATE TABLE t AS SELECT g AS id, md5(g::text) AS word FROM generate_series(1, 2000) g",)

# name, script in place of pg_dump, exit status, what the log must say
DUMPS = [
    ("exits_1_after_n_bytes", 'printf PGDMP; head -c 300000 /dev/zero; echo "pg_dump: error: gone" >&2; exit 1', DATABASE,
     "exited with status 1: pg_dump: error: gone"),
    ("writes_all_and_exits_1", '$real "$@"; exit 1', DATABASE, "exited with status 1"),
    ("killed", 'printf PGDMP; head -c 300000 /dev/zero; kill -9 $$', DATABASE, "signal 9"),
    ("segfault", 'kill -SEGV $$', DATABASE, "signal 11"),
    ("exit_0_and_nothing", "exit 0", INTEGRITY, "wrote 0 bytes"),
    ("exit_0_and_four_bytes", "printf PGDM", INTEGRITY, "wrote 4 bytes"),
    ("exit_0_and_no_archive", "head -c 100000 /dev/zero", INTEGRITY, "no archive"),
    ("plain_sql", "echo 'CREATE TABLE t ();'", INTEGRITY, "no archive"),
    ("ten_mib_of_words_first", 'head -c 10485760 /dev/zero | tr "\\0" x >&2; echo >&2; echo "the last words" >&2; exit 3',
     DATABASE, "the last words"),
    ("many_lines_and_exits", 'for i in $(seq 100000); do echo "line $i"; done >&2; exit 1', DATABASE, "line 100000"),
    ("not_executable_format", None, DATABASE, "could not run"),
    ("not_there", "", DATABASE, "is not in"),
]


@pytest.fixture
def b(backup, databases):
    return backup(database=databases.make(*TABLE))


def nothing_is_left(b):
    assert not b.objects() and not b.uploads(), (b.objects(), b.uploads())


@pytest.mark.parametrize("big", [False, True], ids=["one_part", "parts"])
@pytest.mark.parametrize("name, script, status, words", DUMPS, ids=["row_43-" + d[0] for d in DUMPS])
def test_a_dump_that_is_none(b, name, script, status, words, big):
    if big and script:
        # More than a part comes first, so that an upload is open by then.
        script = script.replace("head -c 300000", "head -c 12000000").replace("head -c 100000", "head -c 12000000")
    bin_dir = b.stub(pg_dump=script)
    if name == "not_executable_format":
        env.write(os.path.join(bin_dir, "pg_dump"), "#!/nonexistent/interpreter\n", 0o755)
    if name == "not_there":
        os.unlink(os.path.join(bin_dir, "pg_dump"))
    r = b.run("backup", PG_BIN_DIR=bin_dir, BACKUP_S3_PART_SIZE="5M", expect=status)
    assert words in r.log, r
    assert r.events("backup_failed") and r.out == ""
    nothing_is_left(b)


@pytest.mark.parametrize("big", [False, True], ids=["one_part", "parts"])
@pytest.mark.parametrize("how", ["hangs", "closes_its_output_and_lives_on", "ignores_sigterm"])
def test_row_43_a_dump_that_never_ends(b, how, big):
    """schedule.stall ends it, and its children."""
    flow = "printf PGDMP; head -c %d /dev/zero; " % (12000000 if big else 1000)
    script = {"hangs": flow + "sleep 1000",
              "closes_its_output_and_lives_on": flow + "exec >&-; sleep 1000",
              "ignores_sigterm": "trap '' TERM INT HUP; " + flow + "sleep 1000 & wait; sleep 1000"}[how]
    begun = time.monotonic()
    r = b.run("backup", PG_BIN_DIR=b.stub(pg_dump=script), BACKUP_SCHEDULE_STALL="2s", BACKUP_S3_PART_SIZE="5M", expect=TIMED_OUT)
    assert "no progress" in r.log
    assert time.monotonic() - begun < 30 * env.SLOW
    nothing_is_left(b)


def test_row_43_a_dump_that_takes_too_long(b):
    script = "printf PGDMP; while :; do head -c 1000 /dev/zero; sleep 0.1; done"
    r = b.run("backup", PG_BIN_DIR=b.stub(pg_dump=script), BACKUP_SCHEDULE_MAX_DURATION="3s", expect=TIMED_OUT)
    assert "max_duration" in r.log
    nothing_is_left(b)


@pytest.mark.parametrize("script", ["sleep 1000", "trap '' TERM; sleep 1000 & wait; sleep 1000",
                                    "printf PGDMP; head -c 12000000 /dev/zero; sleep 1000"])
def test_a_signal_ends_the_children_too(b, script):
    """Weakness 19: they do not live on; acceptance 15: within 12 s."""
    begun = os.path.join(b.dir, "begun")
    p = b.popen(("backup",), PG_BIN_DIR=b.stub(pg_dump="touch %s; %s" % (begun, script)), BACKUP_S3_PART_SIZE="5M")
    env.wait_for(lambda: os.path.exists(begun) and children_of(p.pid), "the dump")
    children = children_of(p.pid)
    start = time.monotonic()
    p.send_signal(signal.SIGTERM)
    _, log = p.communicate(timeout=60 * env.SLOW)
    assert p.returncode == 128 + 15, log
    assert time.monotonic() - start < 12 + 10 * (env.SLOW - 1)
    assert not [c for c in children if os.path.exists("/proc/%d" % c)]
    nothing_is_left(b)


def test_a_killed_backup_takes_its_children_along(b):
    """Row 44: kill -9 leaves nobody behind; pg_dump is told by the kernel."""
    begun = os.path.join(b.dir, "begun")
    p = b.popen(("backup",), PG_BIN_DIR=b.stub(pg_dump="touch %s; exec sleep 1000" % begun))
    env.wait_for(lambda: os.path.exists(begun), "the dump")
    children = env.wait_for(lambda: children_of(p.pid), "the child")
    p.kill()
    p.communicate()
    env.wait_for(lambda: not [c for c in children if os.path.exists("/proc/%d/exe" % c)], "the child to go")
    nothing_is_left(b)


def test_weakness_22_a_tool_that_is_too_old_is_refused(b):
    bin_dir = b.stub()
    os.unlink(os.path.join(bin_dir, "pg_dump"))
    env.write(os.path.join(bin_dir, "pg_dump"), "#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n", 0o755)
    r = b.run("backup", PG_BIN_DIR=bin_dir, expect=DATABASE)
    major = str(b.pg.sql("SHOW server_version_num")[0][0])[:2]
    assert "9.6.24" in r.log and "version %s of the server" % major in r.log, r
    nothing_is_left(b)


def test_a_versioned_directory_is_found(b):
    """A tool of before stands in PATH; the one that fits the server is where the distribution keeps it."""
    if not b.pg.bin.startswith("/usr/lib/postgresql/"):
        pytest.fail("this machine keeps PostgreSQL elsewhere: %s" % b.pg.bin)
    r = b.run("-v", "backup", expect=DONE)
    assert len(b.objects()) == 1, r


def test_the_reason_is_in_the_log_and_rows_are_not(b):
    script = ("echo 'pg_dump: error: query failed' >&2; echo 'DETAIL:  Key (mail)=(a@example.org) exists.' >&2;"
              "echo 'CONTEXT:  COPY people, line 17, column pin: \"1234\"' >&2; exit 1")
    r = b.run("-vvv", "backup", PG_BIN_DIR=b.stub(pg_dump=script), expect=DATABASE)
    assert "query failed" in r.log and "line 17" in r.log
    assert "example.org" not in r.log and "1234" not in r.log


# ---- pg_restore ----

RESTORES = [
    ("exits_1_at_once", "exit 1", DATABASE, "exited with status 1"),
    ("exits_1_with_a_reason", "echo 'pg_restore: error: no good' >&2; exit 1", DATABASE, "no good"),
    ("killed", "head -c 100 >/dev/null; kill -9 $$", DATABASE, "signal 9"),
    ("reads_all_and_exits_1", "cat >/dev/null; exit 1", DATABASE, "exited with status 1"),
    ("exits_0_without_reading_all", "head -c 1000 >/dev/null; exit 0", DATABASE, "without having read all"),
    ("ten_mib_of_words", "head -c 10485760 /dev/zero >&2; cat >/dev/null; exit 1", DATABASE, "exited with status 1"),
]


@pytest.mark.parametrize("form", ["1", "2"])
@pytest.mark.parametrize("name, script, status, words", RESTORES, ids=["row_47-" + x[0] for x in RESTORES])
def test_a_restore_that_is_none(b, databases, name, script, status, words, form):
    """Weaknesses 23, 24, 25: a status other than 0 is a failure, whatever it says."""
    big = databases.make("CREATE TABLE t AS SELECT g, repeat(md5(g::text), 20) FROM generate_series(1, 12000) g")
    b.backup(PG_DATABASE=big, BACKUP_COMPRESS="none", BACKUP_FORMAT=form)
    target = databases.make()
    only_real = 'case "$*" in *--list*|*--file*) exec $real "$@";; esac; '
    r = b.run("restore", "--target-db", target, PG_BIN_DIR=b.stub(pg_restore=only_real + script), expect=status)
    assert words in r.log and r.events("restore_failed"), r
    assert databases.relations(target) == 0


def test_a_restore_that_reads_slowly_is_waited_for(b, databases):
    b.backup()
    target = databases.make()
    script = 'case "$*" in *--list*) exec $real "$@";; esac; (sleep 3; exec cat) | $real "$@"'
    b.run("restore", "--target-db", target, PG_BIN_DIR=b.stub(pg_restore=script), BACKUP_SCHEDULE_STALL="60s", expect=DONE)
    assert databases.relations(target) == 1


def test_a_restore_that_hangs_is_ended(b, databases):
    b.backup()
    target = databases.make()
    script = 'case "$*" in *--list*) exec $real "$@";; esac; sleep 1000'
    r = b.run("restore", "--target-db", target, PG_BIN_DIR=b.stub(pg_restore=script), BACKUP_SCHEDULE_STALL="2s", expect=TIMED_OUT)
    assert "no progress" in r.log
    assert databases.relations(target) == 0
