"""restore: into a real database, by hand and when it is empty. Row 47 of the attacks; weaknesses 23 to 30."""
import contextlib
import os
import re
import signal
import subprocess
import time

import psycopg
import pytest
from harness import env
from harness.backup import (DATABASE, DONE, INTEGRITY, LOCKED, NOTHING, REFUSED, STORAGE, USAGE, children_of, key_id, name_at,
                            seal_1, seal_2)

EVERYTHING = (
    "CREATE EXTENSION pgcrypto", "CREATE EXTENSION hstore SCHEMA public",
    'CREATE SCHEMA "späte Schicht"',
    'CREATE TABLE "späte Schicht"."Tafel ""eins""" (id serial PRIMARY KEY, "größe" text, x hstore, at timestamptz DEFAULT now())',
    'INSERT INTO "späte Schicht"."Tafel ""eins""" ("größe", x) SELECT repeat(chr(228), g), hstore(g::text, md5(g::text))'
    " FROM generate_series(1, 300) g",
    "CREATE TABLE parted (a int, b text) PARTITION BY RANGE (a)", "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100)",
    "INSERT INTO parted SELECT g, 'tab\t, newline\n, backslash \\ and \\. alone' FROM generate_series(0, 99) g",
    "CREATE MATERIALIZED VIEW mv AS SELECT count(*) FROM parted", "CREATE VIEW v AS SELECT * FROM mv",
    "CREATE FUNCTION f(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN $1 + 1; END $$",
    "CREATE TYPE mood AS ENUM ('good', 'übel')", "CREATE TABLE moods (m mood, d numeric, j jsonb, b bytea)",
    "INSERT INTO moods VALUES ('übel', 'NaN', '{\"a\": null}', '\\x00ff')",
    "SELECT lo_from_bytea(0, decode(repeat('00ff', 50000), 'hex'))", "SELECT lo_create(0)",
    "COMMENT ON TABLE moods IS 'it''s'", "ALTER TABLE moods OWNER TO svc", "GRANT SELECT ON moods TO svc2",
)
ONE = ("CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 1000) g",)


def text_of(pg, database, *args):
    """The database as text, sorted; owners and rights aside unless they are asked for."""
    out = subprocess.run([os.path.join(pg.bin, "pg_dump"), "-h", pg.host, "-p", str(pg.port), "-U", "postgres"] +
                         (list(args) or ["--no-owner", "--no-privileges"]) + [database], stdout=subprocess.PIPE, check=True).stdout
    return sorted(x for x in out.decode().splitlines() if not x.startswith(("--", "\\restrict", "\\unrestrict")))


@pytest.fixture
def source(databases):
    return databases.make(*ONE)


@pytest.fixture
def b(backup, source):
    return backup(database=source)


# ---- round trips ----

@pytest.mark.parametrize("form", ["1", "2"])
@pytest.mark.parametrize("how", ["plain", "jobs", "create", "two_pass", "no_transaction"])
def test_what_comes_back_is_what_was_there(backup, databases, pg, form, how):
    source = databases.make(*EVERYTHING)
    b = backup(database=source, BACKUP_FORMAT=form)
    b.backup()
    target = databases.make() if how != "create" else databases.make(suffix="x") + "_new"
    if how == "create":
        databases.made.append(target)
    args = {"plain": [], "jobs": ["--jobs", "3"], "create": ["--create"], "two_pass": [], "no_transaction": []}[how]
    more = {"two_pass": {"BACKUP_RESTORE_SPOOL_DIR": "/proc"},
            "no_transaction": {"BACKUP_RESTORE_SINGLE_TRANSACTION": "no"}}.get(how, {})
    r = b.run("-v", "restore", "--target-db", target, *args, expect=DONE, **more)
    assert text_of(pg, target) == text_of(pg, source), r
    if how == "two_pass":
        assert "by=digests" in r.log or form == "2"
    # ANALYZE was done.
    assert pg.sql("SELECT count(*) > 0 FROM pg_stats WHERE schemaname = 'public'", db=target) == [(True,)]
    assert pg.sql("SELECT tableowner FROM pg_tables WHERE tablename = 'moods'", db=target) == [("postgres",)]


def test_owners_and_rights_on_wish(backup, databases, pg):
    source = databases.make(*EVERYTHING)
    b = backup(database=source)
    b.backup()
    target = databases.make()
    b.run("restore", "--target-db", target, "--with-owner", "--with-privileges", expect=DONE)
    assert text_of(pg, target, "--create").count("ALTER TABLE public.moods OWNER TO svc;") == 1
    assert pg.sql("SELECT has_table_privilege('svc2', 'moods', 'SELECT')", db=target) == [(True,)]


@pytest.mark.parametrize("tables", [0, 300])
def test_no_tables_and_many(backup, databases, pg, tables):
    source = databases.make("DO $$ BEGIN FOR i IN 1..%d LOOP EXECUTE format('CREATE TABLE t%%s (a serial)', i); END LOOP; END $$"
                            % tables)
    b = backup(database=source)
    b.backup()
    target = databases.make()
    b.run("restore", "--target-db", target, expect=DONE)
    assert text_of(pg, target) == text_of(pg, source)
    assert databases.relations(target) == 2 * tables


def test_what_an_earlier_tool_made_comes_back(b, databases, pg, source):
    """Contract 2: format 1 by another implementation, no manifest, the name alone."""
    plain = subprocess.run([os.path.join(pg.bin, "pg_dump"), "-Fc", "-h", pg.host, "-p", str(pg.port), "-U", "postgres", source],
                           stdout=subprocess.PIPE, check=True).stdout
    b.plant("20240101_120000.backup.enc", seal_1(plain))
    b.plant("20240102_120000.backup.enc", seal_1(plain, ""))
    b.plant("20240103_120000.backup.enc", plain)
    target = databases.make()
    b.run("restore", "20240101_120000", "--target-db", target, expect=DONE)
    assert databases.relations(target) == 1
    # Weakness 5, and plain dumps under an encrypted name: behind an option alone.
    for name, option in (("20240102_120000", "BACKUP_ENCRYPTION_ACCEPT_EMPTY_MNEMONIC"),
                         ("20240103_120000", "BACKUP_ENCRYPTION_ACCEPT_UNENCRYPTED")):
        target = databases.make()
        b.run("restore", name, "--target-db", target, expect=INTEGRITY)
        assert databases.relations(target) == 0
        b.run("restore", name, "--target-db", target, expect=DONE, **{option: "yes"})
        assert databases.relations(target) == 1


def test_which_backup(b, databases):
    paths = [b.backup(), b.backup()]
    names = [os.path.basename(p) for p in paths]
    for args, name in (([], names[1]), (["latest"], names[1]), ([names[0]], names[0]), (["app/" + names[0]], names[0]),
                       ([names[0][:15]], names[0]), (["--at", "2099-01-01"], names[1]), (["--at", names[0][:15]], names[0])):
        r = b.run("restore", *args, "--target-db", databases.make(), expect=DONE)
        assert r.events("restore_done")[0].find("object=app/" + name) > 0, (args, r)
    for args in (["20000101_000000"], ["--at", "2000-01-01"], ["other/" + names[0]]):
        assert b.run("restore", *args, "--target-db", databases.make()).status == NOTHING, args
    for args in (["a", "b"], ["--at", "soon"], ["--jobs", "0"], ["--create"], ["--if-empty", "--clean"], ["latest", "--at", names[0]]):
        assert b.run("restore", *args).status == USAGE, args


def test_it_says_how_many_rows_came_back(b, databases):
    b.set(PG_DATABASE=databases.make("CREATE TABLE t ()"))
    b.backup()
    assert not b.run("restore", "--target-db", databases.make(), expect=DONE).events("restore_rows")
    b.set(PG_DATABASE=databases.make("CREATE TABLE t AS SELECT g FROM generate_series(1, 12345) g"))
    b.backup()
    r = b.run("restore", "--target-db", databases.make(), expect=DONE)
    assert re.search(r"restore_rows rows=12345 seconds=[0-9.]+ rows_per_second=[0-9.]+$", r.log, re.M), r


# ---- what is in the way ----

def test_a_target_that_is_not_empty_is_refused(b, databases, source, pg):
    b.backup()
    assert b.run("restore").status == REFUSED
    assert b.run("restore", "--jobs", "2").status == REFUSED
    # --clean replaces what is in the way, in one transaction.
    pg.sql("DELETE FROM t WHERE id > 10", "CREATE TABLE own (a int)", db=source)
    b.run("restore", "--clean", expect=DONE)
    assert pg.sql("SELECT count(*) FROM t", db=source) == [(1000,)]
    assert pg.sql("SELECT count(*) FROM own", db=source) == [(0,)]
    # --force adds to it, and a clash undoes everything.
    pg.sql("DELETE FROM t", db=source)
    assert b.run("restore", "--force").status == DATABASE
    assert pg.sql("SELECT count(*) FROM t", db=source) == [(0,)]
    # --jobs --force puts a new database in its place and keeps the old one.
    r = b.run("restore", "--jobs", "2", "--force", expect=DONE)
    assert pg.sql("SELECT count(*) FROM t", db=source) == [(1000,)]
    assert re.search(r"old_database=%s_before_\d+" % source, r.log)
    assert pg.sql("SELECT count(*) FROM pg_database WHERE datname LIKE '%s\\_before\\_%%'" % source) == [(1,)]


def test_nothing_is_left_of_a_restore_with_jobs_that_fails(b, databases, pg):
    b.backup()
    target = databases.make()
    script = 'case "$*" in *--jobs*) $real "$@"; exit 1;; esac; exec $real "$@"'
    assert b.run("restore", "--target-db", target, "--jobs", "2", PG_BIN_DIR=b.stub(pg_restore=script)).status == DATABASE
    assert databases.relations(target) == 0
    assert pg.sql("SELECT datname FROM pg_database WHERE datname LIKE '%s%%'" % target) == [(target,)]
    assert not os.listdir(b.spool)


def test_an_extension_that_is_missing_is_named_before_anything_is_done(backup, databases, pg, own_pg):
    source = databases.make("CREATE EXTENSION hstore", *ONE)
    b = backup(database=source)
    b.backup()
    own_pg.sql("CREATE DATABASE fresh")
    # A server without it: as if the package were not installed.
    shown = b.stub(pg_restore='if [ "$1" = --list ]; then $real "$@" | sed "s/ hstore/ hstore_of_the_future/"; exit; fi\nexec $real "$@"')
    r = b.run("restore", "--target-db", "fresh", PG_PORT=own_pg.port, PG_BIN_DIR=shown, expect=DATABASE)
    assert "does not have these extensions: hstore_of_the_future" in r.log
    assert own_pg.sql("SELECT count(*) FROM pg_class WHERE relname = 't'", db="fresh") == [(0,)]
    b.run("restore", "--target-db", "fresh", PG_PORT=own_pg.port, expect=DONE)


def test_too_many_locks_are_explained(b, databases):
    b.backup()
    script = 'case "$*" in *--list*) exec $real "$@";; esac; cat >/dev/null; echo "pg_restore: error: out of shared memory" >&2; exit 1'
    r = b.run("restore", "--target-db", databases.make(), PG_BIN_DIR=b.stub(pg_restore=script), expect=DATABASE)
    assert "max_locks_per_transaction" in r.log


# ---- is it empty? ----

CONTENTS = [
    ("nothing", (), True),
    ("a table", ("CREATE TABLE a (b int)",), False),
    ("a table in another schema", ("CREATE SCHEMA s", "CREATE TABLE s.a (b int)"), False),
    ("a view", ("CREATE VIEW a AS SELECT 1",), False),
    ("a materialised view", ("CREATE MATERIALIZED VIEW a AS SELECT 1",), False),
    ("a sequence", ("CREATE SEQUENCE a",), False),
    ("a foreign table", ("CREATE EXTENSION file_fdw", "CREATE SERVER f FOREIGN DATA WRAPPER file_fdw",
                         "CREATE FOREIGN TABLE a (b text) SERVER f OPTIONS (filename '/dev/null')"), False),
    ("a partitioned table", ("CREATE TABLE a (b int) PARTITION BY LIST (b)",), False),
    ("a large object", ("SELECT lo_create(0)",), False),
    ("a table that we have no right on", ("CREATE TABLE a (b int)", "REVOKE ALL ON a FROM PUBLIC", "ALTER TABLE a OWNER TO svc"), False),
    ("an extension's own tables", ("CREATE EXTENSION pg_stat_statements", "CREATE EXTENSION pg_buffercache"), True),
    ("schemas, types and functions alone", ("CREATE SCHEMA s", "CREATE TYPE s.x AS ENUM ('a')",
                                            "CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 1'"), True),
]


@pytest.mark.parametrize("what, statements, is_empty", CONTENTS, ids=[c[0].replace(" ", "_") for c in CONTENTS])
def test_what_is_empty(b, databases, what, statements, is_empty):
    """Weakness 26."""
    b.backup()
    target = databases.make(*statements)
    before = databases.relations(target)
    r = b.run("restore", "--if-empty", "--report", "--target-db", target, expect=DONE)
    assert r.out == ("restored\n" if is_empty else "not-empty\n"), r
    assert databases.relations(target) == before + (1 if is_empty else 0)


def test_the_role_without_rights_sees_tables_all_the_same(b, databases, pg):
    b.backup()
    target = databases.make("CREATE TABLE hidden (a int)", "REVOKE ALL ON hidden FROM PUBLIC")
    r = b.run("restore", "--if-empty", "--report", "--target-db", target, PG_USER="u_scram", PG_PASSWORD="u_scram_pw", expect=DONE)
    assert r.out == "not-empty\n"


def test_sample_tables_of_an_image_do_not_count(b, databases, pg):
    """Weakness 27: ignore_tables, with the sequences of their columns; dropped on wish alone."""
    b.backup()
    sample = ("CREATE TABLE example (id serial)", "CREATE SCHEMA demo", "CREATE TABLE demo.one (a int)", "CREATE TABLE demo.two (a int)")
    ignore = {"BACKUP_RESTORE_IGNORE_TABLES": "public.example, demo.*"}
    target = databases.make(*sample)
    assert b.run("restore", "--if-empty", "--report", "--target-db", target).out == "not-empty\n"
    assert b.run("restore", "--if-empty", "--report", "--target-db", target, expect=DONE, **ignore).out == "restored\n"
    assert pg.sql("SELECT to_regclass('example') IS NOT NULL, to_regclass('t') IS NOT NULL", db=target) == [(True, True)]
    # A name clash drops nothing, and fails as a whole.
    target = databases.make("CREATE TABLE t (sample int)")
    clash = {"BACKUP_RESTORE_IGNORE_TABLES": "public.t"}
    assert b.run("restore", "--if-empty", "--target-db", target, **clash).status == DATABASE
    assert pg.sql("SELECT column_name FROM information_schema.columns WHERE table_name = 't'", db=target) == [("sample",)]
    b.run("restore", "--if-empty", "--target-db", target, BACKUP_RESTORE_IGNORE_TABLES_DROP="yes", expect=DONE, **clash)
    assert pg.sql("SELECT count(*) FROM t", db=target) == [(1000,)]
    # Patterns are no regular expressions, and '_' is a letter.
    target = databases.make("CREATE TABLE exAmple (a int)")
    more = {"BACKUP_RESTORE_IGNORE_TABLES": "public.ex_mple,public.e%"}
    assert b.run("restore", "--if-empty", "--report", "--target-db", target, **more).out == "not-empty\n"


def test_no_backup_is_its_own_answer(b, databases):
    target = databases.make()
    r = b.run("restore", "--if-empty", "--report", "--target-db", target, expect=DONE)
    assert r.out == "no-backup\n" and r.events("no_backup")
    assert b.run("restore", "--if-empty", "--target-db", target, BACKUP_RESTORE_REQUIRE_BACKUP="yes").status == NOTHING
    assert b.run("restore", "--target-db", target).status == NOTHING


# ---- a backup that is not what it seems ----

def spoil(kind, b, path, pg, source):
    with open(path, "rb") as f:
        data = bytearray(f.read())
    newest = name_at(int(time.time()) + 60)
    if kind == "flipped":
        data[-50] ^= 1
        env.write(path, bytes(data))
    elif kind == "truncated":
        env.write(path, bytes(data[:-1000]))
        os.unlink(os.path.join(b.store, "_manifest", "app", os.path.basename(path) + ".json"))
    elif kind == "planted_plain":
        plain = subprocess.run([os.path.join(pg.bin, "pg_dump"), "-Fc", "-h", pg.host, "-p", str(pg.port), "-U", "postgres", source],
                               stdout=subprocess.PIPE, check=True).stdout
        b.plant(newest, plain)
    elif kind == "renamed":
        b.plant(newest, bytes(data))
    elif kind == "not_an_archive":
        b.plant(newest, seal_2(os.urandom(100000), created=time.time() + 60))
    elif kind == "cut_archive":
        b.plant(newest, seal_2(b.plain(path)[:-3], created=time.time() + 60))
    elif kind == "wrong_content":
        b.plant(newest, seal_2(b.plain(path), created=time.time() + 60, content=2))


KINDS = ["flipped", "truncated", "planted_plain", "renamed", "not_an_archive", "cut_archive", "wrong_content"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_or_planted_newest_is_refused_and_the_one_before_is_tried(b, databases, pg, source, kind):
    """Weaknesses 11, 24, 30; acceptance 17. By hand: refused. At the start: the older one, loudly, once."""
    b.set(BACKUP_COMPRESS="none")
    first = b.backup()
    spoil(kind, b, b.backup(), pg, source)
    target = databases.make()
    r = b.run("restore", "--target-db", target)
    assert r.status in (INTEGRITY, DATABASE) and databases.relations(target) == 0, r
    r = b.run("restore", "--if-empty", "--target-db", target, BACKUP_RESTORE_FALLBACK="0")
    assert r.status == INTEGRITY and databases.relations(target) == 0, r
    r = b.run("restore", "--if-empty", "--report", "--target-db", target)
    if kind in ("planted_plain", "renamed", "not_an_archive", "cut_archive", "wrong_content"):
        # A third one was put in front of two good ones.
        assert r.status == DONE and r.out == "restored\n", r
    else:
        assert r.status == DONE and "object=app/" + os.path.basename(first) in r.events("restore_done")[0], r
    assert r.events("restore_failed") and databases.relations(target) == 1


def test_no_fallback_when_the_key_is_wrong(b, databases):
    for i in range(2):
        b.backup()
    target = databases.make()
    r = b.run("restore", "--if-empty", "--target-db", target, MNEMONIC="other words", expect=INTEGRITY)
    assert key_id("other words").hex() in r.log and len(r.events("restore_failed")) == 1
    b.set(BACKUP_FORMAT="1")
    b.backup()
    r = b.run("restore", "--if-empty", "--target-db", target, MNEMONIC="other words")
    assert r.status == INTEGRITY and databases.relations(target) == 0


def test_no_fallback_when_the_target_is_to_blame(b, databases):
    for i in range(2):
        b.backup()
    target = databases.make()
    script = 'case "$*" in *--list*|*--file*) exec $real "$@";; esac; cat >/dev/null; echo "pg_restore: error: no" >&2; exit 1'
    r = b.run("restore", "--if-empty", "--target-db", target, PG_BIN_DIR=b.stub(pg_restore=script), expect=DATABASE)
    assert len(r.events("restore_failed")) == 1 and "verify" in r.log


def test_no_fallback_when_the_store_is_to_blame(b, databases):
    for i in range(2):
        b.backup()
    os.chmod(b.objects()[1], 0)
    r = b.run("restore", "--if-empty", "--target-db", databases.make())
    assert r.status == STORAGE and len(r.events("restore_failed")) == 1, r


def test_a_failing_restore_leaves_nothing_and_the_next_one_works(b, databases, pg):
    """Acceptance 9, weakness 24: half of the archive is in by then."""
    big = databases.make("CREATE TABLE a AS SELECT g, repeat('x', 1000) FROM generate_series(1, 5000) g",
                         "CREATE TABLE z AS SELECT g, repeat('x', 1000) FROM generate_series(1, 5000) g")
    b.set(PG_DATABASE=big, BACKUP_COMPRESS="none")
    path = b.backup()
    with open(path, "rb") as f:
        good = f.read()
    # The last segments are damaged: those before are genuine, and pg_restore has had them by the time it is noticed.
    bad = bytearray(good)
    bad[-10] ^= 1
    env.write(path, bytes(bad))
    target = databases.make()
    r = b.run("restore", "--if-empty", "--target-db", target, expect=INTEGRITY)
    assert r.events("restore_begin"), r
    env.wait_for(lambda: not pg.backends(target), "the killed session to go")
    assert databases.relations(target) == 0
    env.write(path, good)
    b.run("restore", "--if-empty", "--target-db", target, expect=DONE)
    assert pg.sql("SELECT count(*) FROM z", db=target) == [(5000,)]


# ---- interrupted, and at the same time ----

SLOW = 'case "$*" in *--list*) exec $real "$@";; esac; touch %s; (head -c 3000000; sleep 1000; cat) | exec $real "$@"'


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 128 + 15), (signal.SIGINT, 128 + 2), (signal.SIGKILL, -9)])
def test_row_47_a_restore_that_is_interrupted_half_way_changes_nothing(b, databases, pg, number, status):
    big = databases.make("CREATE TABLE a AS SELECT g, repeat('x', 1000) FROM generate_series(1, 6000) g")
    b.set(PG_DATABASE=big, BACKUP_COMPRESS="none")
    b.backup()
    target = databases.make()
    begun = os.path.join(b.dir, "begun")
    p = b.popen(("restore", "--if-empty", "--target-db", target), PG_BIN_DIR=b.stub(pg_restore=SLOW % begun))
    env.wait_for(lambda: os.path.exists(begun) and pg.sql("SELECT 1 FROM pg_stat_activity WHERE datname = '%s' AND state = 'active'"
                                                          " AND query LIKE 'COPY%%'" % target), "COPY to be under way")
    children = children_of(p.pid)
    start = time.monotonic()
    p.send_signal(number)
    _, log = p.communicate(timeout=60 * env.SLOW)
    assert p.returncode == status, log
    assert time.monotonic() - start < 12 + 10 * (env.SLOW - 1)
    for c in children:
        # The kernel has told the child itself; what a script has begun stays in its group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(c, signal.SIGKILL)
    env.wait_for(lambda: not pg.backends(target), "the session to go")
    assert databases.relations(target) == 0
    b.run("restore", "--if-empty", "--target-db", target, expect=DONE)
    assert pg.sql("SELECT count(*) FROM a", db=target) == [(6000,)]


@pytest.mark.parametrize("args", [["--create"], ["--jobs", "2"]], ids=["create", "jobs"])
def test_row_47_what_was_made_for_a_restore_goes_when_it_is_interrupted(b, databases, pg, args):
    b.backup()
    target = databases.make() if args[0] == "--jobs" else databases.make(suffix="x") + "_new"
    before = pg.sql("SELECT count(*) FROM pg_database")
    begun = os.path.join(b.dir, "begun")
    hang = 'case "$*" in *--list*) exec $real "$@";; esac; touch %s; sleep 1000' % begun
    p = b.popen(["restore", "--target-db", target] + args, PG_BIN_DIR=b.stub(pg_restore=hang))
    env.wait_for(lambda: os.path.exists(begun), "the restore", timeout=60 * env.SLOW)
    assert pg.sql("SELECT count(*) FROM pg_database")[0][0] == before[0][0] + 1
    start = time.monotonic()
    p.send_signal(signal.SIGTERM)
    _, log = p.communicate(timeout=60 * env.SLOW)
    assert p.returncode == 128 + 15, log
    assert time.monotonic() - start < 12 + 10 * (env.SLOW - 1)
    assert pg.sql("SELECT count(*) FROM pg_database") == before and "left_behind" not in log.decode()


def test_row_47_ten_at_once_restore_once(b, databases, pg):
    """Weakness 29, acceptance 8."""
    b.backup()
    target = databases.make()
    running = [b.popen(("restore", "--if-empty", "--report", "--target-db", target)) for _ in range(10)]
    outs = [p.communicate(timeout=300 * env.SLOW) for p in running]
    assert [p.returncode for p in running] == [DONE] * 10, outs
    words = sorted(out.decode().strip() for out, _ in outs)
    assert words == ["not-empty"] * 9 + ["restored"], outs
    assert pg.sql("SELECT count(*) FROM t", db=target) == [(1000,)]


def test_one_that_waits_too_long_says_so(b, databases, pg):
    b.backup()
    target = databases.make()
    begun = os.path.join(b.dir, "begun")
    p = b.popen(("restore", "--if-empty", "--target-db", target), PG_BIN_DIR=b.stub(pg_restore=SLOW % begun))
    env.wait_for(lambda: os.path.exists(begun), "the first one")
    r = b.run("restore", "--if-empty", "--target-db", target, BACKUP_RESTORE_WAIT="3s", expect=LOCKED)
    assert "lock_wait" in r.log
    assert b.run("restore", "--target-db", target).status == LOCKED
    p.terminate()
    p.communicate(timeout=60 * env.SLOW)


def test_a_server_that_starts_late_is_waited_for(b, own_pg):
    """15.2: refused, then starting up, then there."""
    b.backup()
    own_pg.sql("CREATE DATABASE late")
    own_pg.stop()
    p = b.popen(("restore", "--if-empty", "--report", "--target-db", "late"), PG_PORT=own_pg.port)
    time.sleep(1.5)  # not awaited: it must survive several refusals
    assert p.poll() is None
    own_pg.start()
    out, log = p.communicate(timeout=120 * env.SLOW)
    assert p.returncode == DONE and out == b"restored\n", log
    assert b.run("restore", "--if-empty", "--target-db", "late", PG_PORT=env.free_port(), BACKUP_RESTORE_CONNECT_WAIT="2s").status \
        == DATABASE


def test_nothing_is_restored_into_a_standby(b, own_pg):
    b.backup()
    own_pg.sql("CREATE DATABASE late")
    own_pg.stop()
    env.write(os.path.join(own_pg.data, "standby.signal"), "")
    own_pg.start()
    r = b.run("restore", "--if-empty", "--report", "--target-db", "late", PG_PORT=own_pg.port, expect=DONE)
    assert r.out == "standby\n", r
    assert b.run("restore", "--target-db", "late", PG_PORT=own_pg.port).status == REFUSED


# ---- through a store that changes its mind ----

@pytest.mark.parametrize("form", ["1", "2"])
def test_other_bytes_in_the_second_pass_never_reach_pg_restore(b, databases, bucket, form):
    """Acceptance 17: a server that sends another genuine backup, of the same length, the second time."""
    from harness import faultproxy as fp
    proxy = fp.FaultProxy(bucket)
    try:
        b.set(BACKUP_S3_ENDPOINT=proxy.endpoint, BACKUP_S3_BUCKET=bucket.bucket, BACKUP_S3_REGION="us-east-1",
              BACKUP_S3_ACCESS_KEY="test:tester", BACKUP_S3_SECRET_KEY="testing", BACKUP_FORMAT=form,
              BACKUP_RESTORE_SPOOL_DIR="/proc", BACKUP_RESTORE_SINGLE_TRANSACTION="no")
        seen = os.path.join(b.dir, "seen")
        r = b.run("backup", expect=DONE, BACKUP_RESTORE_SPOOL_DIR=b.spool)
        name = r.out.strip()
        key = name.split("/")[-1]
        when = time.mktime(time.strptime(key[:15], "%Y%m%d_%H%M%S")) - time.timezone
        plain = b"PGDMP" + os.urandom(1000)
        target = databases.make()
        state = {"gets": 0}

        def other(status, headers, body):
            # Passes are told by the range that begins at 0; the first looks at the format, the second judges.
            state["gets"] += 1
            if state["gets"] <= 2:
                return status, headers, body
            fake = (seal_1 if form == "1" else lambda p: seal_2(p, created=when))(plain)
            return status, headers, (fake + os.urandom(len(body)))[:len(body)]

        proxy.rule("get", fp.rewrite(other), where=lambda x: "_manifest" not in x.key)
        script = 'tee -a %s | $real "$@"' % seen
        r = b.run("restore", "--target-db", target, PG_BIN_DIR=b.stub(pg_restore=script), expect=INTEGRITY)
        assert "other bytes came the second time" in r.log, r
        assert not os.path.exists(seen) or os.path.getsize(seen) == 0
        assert databases.relations(target) == 0
    finally:
        proxy.close()


def test_an_object_that_is_replaced_while_it_is_read_is_read_again(b, databases):
    """14.8: a changed tag starts again once."""
    path = b.backup(BACKUP_FORMAT="1")
    target = databases.make()
    with open(path, "rb") as f:
        data = f.read()
    # The contents are asked for between the two passes.
    script = ('case "$*" in *--list*) if [ ! -e %s ]; then touch %s; cp %s %s.new; mv %s.new %s; fi; exec $real "$@";; esac; exec $real "$@"'
              % ((os.path.join(b.dir, "once"),) * 2 + (path,) * 4))
    r = b.run("restore", "--target-db", target, PG_BIN_DIR=b.stub(pg_restore=script), BACKUP_RESTORE_SPOOL_DIR="/proc")
    assert r.status == DONE and databases.relations(target) == 1, r
    assert len(r.events("restore_begin")) >= 1 and len(data) == os.path.getsize(path)


def test_a_session_through_psycopg_sees_the_restored_rows(b, databases, pg):
    """The end to end of it: what an application reads."""
    b.backup()
    target = databases.make()
    b.run("restore", "--target-db", target, expect=DONE)
    with psycopg.connect(pg.conninfo(target)) as conn:
        assert conn.execute("SELECT sum(id) FROM t").fetchone() == (500500,)
