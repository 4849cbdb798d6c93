"""Drills: a backup is restored for real, looked at, and thrown away (backup specification, 17)."""
import json
import os
import signal
import time

import pytest
from harness import env
from harness.backup import DATABASE, DONE, INTEGRITY, NOTHING, REFUSED, USAGE, manifest_mac

TABLES = ("CREATE TABLE t (id int, at timestamptz DEFAULT now())", "INSERT INTO t SELECT g FROM generate_series(1, 1000) g",
          'CREATE TABLE "odd.name" (a int)', "CREATE VIEW v AS SELECT * FROM t")


@pytest.fixture
def source(databases):
    return databases.make(*TABLES)


@pytest.fixture
def b(backup, source):
    # A prefix of the test's own: others hold drills on the same server.
    return backup(database=source, BACKUP_VERIFY_DRILL_DATABASE_PREFIX="drill_%s_" % source, BACKUP_RESTORE="no",
                  BACKUP_POSTGRES_ROW_COUNTS="yes")


def scratch_databases(b):
    return [r[0] for r in b.pg.sql("SELECT datname FROM pg_database WHERE datname LIKE '%s%%'"
                                   % b.settings["BACKUP_VERIFY_DRILL_DATABASE_PREFIX"])]


def drill(b, *args, **more):
    r = b.run("verify", "--level", "drill", *args, **more)
    assert not scratch_databases(b), r
    return r


def test_a_drill_restores_and_leaves_nothing(b):
    path = b.backup()
    r = drill(b, expect=DONE)
    assert "result=ok" in r.events("drill")[0]
    assert b.manifest(path)["verified"][-1]["level"] == "drill" and b.manifest(path)["verified"][-1]["result"] == "ok"
    assert "proven" in b.run("list", expect=DONE).out


def test_queries_of_the_users_decide(b):
    path = b.backup()
    queries = os.path.join(b.dir, "queries.sql")
    env.write(queries, "SELECT count(*) = 1000 FROM t; -- one; two\nSELECT 'a;b' <> '';\n\n")
    b.set(BACKUP_VERIFY_DRILL_QUERIES=queries)
    drill(b, expect=DONE)
    for bad, says in (("SELECT count(*) = 1 FROM t", "did not give one true"), ("SELECT NULL::bool", "query 2"),
                      ("SELECT true FROM t", "query 2"), ("SELECT nothing", "query 2")):
        env.write(queries, "SELECT true;\n" + bad)
        r = drill(b, os.path.basename(path), expect=INTEGRITY)
        assert says in r.log, (bad, r)
    assert "failed" in b.run("list", expect=DONE).out
    # A slip of whoever wrote them is no verdict.
    env.write(queries, "SELECT true")
    drill(b, os.path.basename(path), expect=DONE)
    env.write(queries, "SELEKT true")
    r = drill(b, expect=DATABASE)
    assert "syntax error" in r.log and "proven" in b.run("list", expect=DONE).out


def test_what_is_missing_in_it_is_noticed(b, source):
    """By relations and rows as the manifest, which only our key can write, tells them."""
    path = b.backup(BACKUP_DUMP_ARGS="--exclude-table-data=t")
    r = drill(b, expect=INTEGRITY)
    assert "public.t has 0 rows of 1000" in r.log
    assert b.manifest(path)["verified"][-1]["result"] == "failed"
    # It is no good backup any more: the next best is chosen.
    assert "failed" in b.run("list", expect=DONE).out
    # Fewer relations than were counted: a dump that leaves them out behind our back.
    bin_dir = b.stub(pg_dump='exec $real --exclude-table=t --exclude-table=v "$@"')
    b.backup(PG_BIN_DIR=bin_dir, BACKUP_POSTGRES_ROW_COUNTS="no", BACKUP_RETENTION_SHRINK_GUARD="0")
    r = drill(b, expect=INTEGRITY)
    assert "1 relations were restored of 3" in r.log


def test_the_newest_row_has_an_age(b, pg, source):
    b.backup()
    more = {"BACKUP_VERIFY_DRILL_NEWEST_ROW": "SELECT max(at) FROM t", "BACKUP_VERIFY_DRILL_NEWEST_ROW_MAX_AGE": "1h"}
    drill(b, expect=DONE, **more)
    pg.sql("UPDATE t SET at = now() - interval '2 hours'", db=source)
    b.backup()
    r = drill(b, expect=INTEGRITY, **more)
    assert "older than the backup" in r.log
    assert b.run("verify", BACKUP_VERIFY_DRILL_NEWEST_ROW="SELECT now()").status == USAGE


def test_a_server_that_cannot_is_no_verdict_on_the_backup(b, pg):
    path = b.backup()
    pg.sql("DROP ROLE IF EXISTS b_no_createdb", "CREATE ROLE b_no_createdb LOGIN PASSWORD 'none'")
    try:
        r = drill(b, BACKUP_VERIFY_DRILL_HOST=pg.host, BACKUP_VERIFY_DRILL_PORT=pg.port, BACKUP_VERIFY_DRILL_USER="b_no_createdb",
                  BACKUP_VERIFY_DRILL_PASSWORD="none", expect=DATABASE)
        assert "permission denied" in r.log
        drill(b, BACKUP_VERIFY_DRILL_HOST=pg.host, BACKUP_VERIFY_DRILL_PORT=env.free_port(), expect=DATABASE)
    finally:
        pg.sql("DROP ROLE b_no_createdb")
    drill(b, PG_BIN_DIR=b.stub(pg_restore='case "$*" in *--list*|*/dev/null*) exec $real "$@";; esac; exit 1'), expect=DATABASE)
    assert "verified" not in b.manifest(path) and "good" in b.run("list", expect=DONE).out


def test_on_another_server(b, own_pg):
    b.backup()
    b.set(BACKUP_VERIFY_DRILL_HOST=own_pg.host, BACKUP_VERIFY_DRILL_PORT=own_pg.port)
    begun = os.path.join(b.dir, "begun")
    bin_dir = b.stub(pg_restore='case "$*" in *--list*|*/dev/null*) ;; *) echo "$PGHOST:$PGPORT $PGDATABASE" >%s;; esac;'
                                ' exec $real "$@"' % begun)
    drill(b, PG_BIN_DIR=bin_dir, expect=DONE)
    with open(begun) as f:
        assert f.read().startswith("%s:%d %s" % (own_pg.host, own_pg.port, b.settings["BACKUP_VERIFY_DRILL_DATABASE_PREFIX"]))
    left = own_pg.sql("SELECT count(*) FROM pg_database WHERE datname LIKE 'drill%'")
    assert left == [(0,)]


HANG = 'case "$*" in *--list*|*/dev/null*) exec $real "$@";; esac; touch %s; sleep 1000'


@pytest.mark.parametrize("how", ["command", "daemon"])
def test_a_drill_that_is_stopped_drops_its_database(b, how):
    b.backup()
    begun = os.path.join(b.dir, "begun")
    bin_dir = b.stub(pg_restore=HANG % begun)
    start = time.monotonic()
    if how == "command":
        p = b.popen(("verify", "--level", "drill"), PG_BIN_DIR=bin_dir)
        env.wait_for(lambda: os.path.exists(begun), "the restore")
        start = time.monotonic()
        p.send_signal(signal.SIGTERM)
        _, log = p.communicate(timeout=60 * env.SLOW)
        assert p.returncode == 128 + 15, log
    else:
        state = env.make_dir(b.dir, "state-")
        d = b.daemon(PG_BIN_DIR=bin_dir, BACKUP_VERIFY_DRILL_INTERVAL="60s", BACKUP_SCHEDULE_INITIAL_DELAY="1s",
                     BACKUP_STATE_DIR=state)
        # The first drill comes an interval after the start, unless the state file knows a last one.
        d.wait_event("backup_skipped", text="min_spacing")
        assert d.stop() == DONE
        path = os.path.join(state, [f for f in os.listdir(state) if f.endswith(".state")][0])
        with open(path, "a") as f:
            f.write("last_drill 1000000000\n")
        d = b.daemon(PG_BIN_DIR=bin_dir, BACKUP_VERIFY_DRILL_INTERVAL="60s", BACKUP_SCHEDULE_INITIAL_DELAY="1s",
                     BACKUP_STATE_DIR=state)
        env.wait_for(lambda: os.path.exists(begun), lambda: "the restore: " + d.log(), timeout=60 * env.SLOW)
        start = time.monotonic()
        assert d.stop() == 128 + 15
    assert time.monotonic() - start < 12 + 10 * (env.SLOW - 1)
    assert not scratch_databases(b)


def test_what_a_killed_drill_left_behind_goes_when_it_is_a_day_old(b, pg):
    prefix = b.settings["BACKUP_VERIFY_DRILL_DATABASE_PREFIX"]
    old, young, foreign, silent = prefix + "00000001", prefix + "00000002", prefix + "00000003x", prefix + "00000004"
    pg.sql(*['CREATE DATABASE "%s"' % n for n in (old, young, foreign, silent)])
    try:
        for name, age in ((old, 100000), (young, 1000), (foreign, 100000)):
            pg.sql("COMMENT ON DATABASE \"%s\" IS 'pg-ecdsa-backup drill of %d'" % (name, time.time() - age))
        d = b.daemon(BACKUP_VERIFY_DRILL_INTERVAL="1d", BACKUP_SCHEDULE_INITIAL_DELAY="1h")
        d.wait_event("drill", text="dropped_leftover")
        env.wait_for(lambda: old not in scratch_databases(b), "the old one to go")
        d.send(signal.SIGUSR2)
        d.wait_event("state")
        assert d.stop() == DONE
        # One that says nothing of itself may be anybody's.
        assert sorted(scratch_databases(b)) == [young, foreign, silent]
    finally:
        pg.sql(*['DROP DATABASE IF EXISTS "%s"' % n for n in (old, young, foreign, silent)])


@pytest.mark.parametrize("prefix", ["", "short", "pg_ecdsa_drill", "UPPER_CASE_", "a" * 41 + "_", "with space_"])
def test_names_that_could_be_anybodys_are_refused(b, prefix):
    r = b.run("verify", BACKUP_VERIFY_DRILL_DATABASE_PREFIX=prefix)
    # Set to nothing is not set.
    assert r.status == (USAGE if prefix else NOTHING), r


def test_without_room_there_is_no_drill(b):
    """The size that the manifest tells, and a third more."""
    path = b.backup()
    manifest = b.manifest(path)
    assert manifest["database_size"] > 0
    # Nothing on this machine is that large; the manifest is ours, so it is believed.
    manifest["database_size"] = 1 << 60
    manifest["mac"] = manifest_mac(manifest)
    rel = os.path.relpath(path, b.store)
    env.write(os.path.join(b.store, "_manifest", rel + ".json"), json.dumps(manifest))
    r = drill(b, expect=REFUSED)
    assert "bytes free" in r.log
