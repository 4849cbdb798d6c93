"""Several databases in one run, and roles and tablespaces with them (backup specification, 19)."""
import json
import os
import re
import urllib.parse

import pytest
from harness import env
from harness.backup import DATABASE, DONE, FOLLOW_UP, INTEGRITY, NOTHING, USAGE, is_name, open_2

ONE = ("CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 100) g",)


def stored(b, database):
    """The backups of one of several databases, oldest first."""
    folder = "app/" + urllib.parse.quote(database, safe="")
    return b.objects(folder)


def set_manifests(b):
    top = os.path.join(b.store, "_manifest", "app")
    found = []
    for name in sorted(os.listdir(top)):
        if name.endswith(".set.json"):
            with open(os.path.join(top, name)) as f:
                found.append(json.load(f))
    return found


@pytest.fixture
def two(databases):
    return [databases.make(*ONE), databases.make(*ONE, suffix="é/%x")]


@pytest.fixture
def b(backup, two):
    return backup(database=two[0], BACKUP_DATABASES=",".join(two), BACKUP_RESTORE="no")


def test_each_database_has_a_folder_and_one_manifest_names_the_run(b, two):
    b.run("backup", expect=DONE)
    assert not b.objects()  # nothing directly under the prefix
    runs = set_manifests(b)
    assert len(runs) == 1 and [d["database"] for d in runs[0]["databases"]] == two
    for name, told in zip(two, runs[0]["databases"]):
        paths = stored(b, name)
        assert len(paths) == 1 and is_name(os.path.basename(paths[0]))
        assert told["object"] == os.path.relpath(paths[0], b.store) and told["size"] == os.path.getsize(paths[0])
        manifest = b.manifest(paths[0])
        assert manifest["database"] == name and manifest["run_id"] == runs[0]["run_id"]
        with open(paths[0], "rb") as f:
            assert open_2(f.read()).startswith(b"PGDMP")


def test_with_one_database_the_flat_layout_stays(b, two):
    b.run("backup", expect=DONE, BACKUP_DATABASES=two[1])
    assert len(b.objects()) == 1 and b.manifest(b.objects()[0])["database"] == two[1]


def test_a_failure_of_one_does_not_stop_the_others(b, two):
    r = b.run("backup", expect=FOLLOW_UP, BACKUP_DATABASES="b_not_there,%s" % two[0])
    assert "b_not_there" in r.log and len(stored(b, two[0])) == 1
    told = {d["database"]: d for d in set_manifests(b)[0]["databases"]}
    assert told["b_not_there"]["object"] == "" and told["b_not_there"]["status"] == DATABASE
    assert told[two[0]]["status"] == DONE
    # All of them: that is no success with a failed follow-up any more.
    assert b.run("backup", BACKUP_DATABASES="b_not_there,b_nor_there").status == DATABASE


def test_all_but_some(b, two, databases, pg):
    every = [r[0] for r in pg.sql("SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate")]
    others = [name for name in every if name not in two]
    pg.sql('CREATE DATABASE "pg_ecdsa_drill_0badcafe"')
    databases.made.append("pg_ecdsa_drill_0badcafe")
    try:
        b.run("backup", expect=DONE, BACKUP_DATABASES="*", BACKUP_POSTGRES_EXCLUDE_DATABASES=", ".join(others))
    finally:
        pg.sql('DROP DATABASE "pg_ecdsa_drill_0badcafe"')
    assert sorted(d["database"] for d in set_manifests(b)[0]["databases"]) == sorted(two)
    assert b.run("backup", BACKUP_POSTGRES_EXCLUDE_DATABASES="x").status == USAGE


def test_commands_ask_which_one(b, two, databases, pg):
    b.run("backup", expect=DONE)
    for name in two:
        listed = json.loads(b.run("list", "--json", "--database", name, expect=DONE).out)
        assert len(listed) == 1 and listed[0]["key"].startswith("app/")
        assert b.run("verify", "--database", name, "--level", "archive", expect=DONE).out.startswith("ok")
        target = databases.make()
        b.run("restore", "--database", name, "--target-db", target, expect=DONE)
        assert databases.relations(target) == 1
    assert json.loads(b.run("list", "--json", expect=DONE).out) == []
    r = b.run("restore", "--target-db", databases.make())
    assert r.status == USAGE and "--database" in r.log
    assert b.run("list", "--database", two[0], BACKUP_DATABASES=two[0]).status == USAGE
    # One alone, of several.
    b.run("backup", "--database", two[1], expect=DONE)
    assert len(stored(b, two[0])) == 1 and len(stored(b, two[1])) == 2


def test_each_folder_is_pruned_by_itself(b, two):
    for _ in range(3):
        b.run("backup", expect=DONE, BACKUP_RETENTION_COUNT="2")
    assert [len(stored(b, name)) for name in two] == [2, 2]


def test_the_daemon_fills_each_empty_database_of_a_list(b, two, databases, pg):
    b.run("backup", expect=DONE)
    pg.sql("DROP TABLE t", db=two[1])
    d = b.daemon(BACKUP_RESTORE="yes", BACKUP_SCHEDULE_INITIAL_DELAY="1h")
    d.wait_event("ready")
    assert len(d.events("restore_done")) == 1 and databases.relations(two[1]) == 1
    assert d.stop() == DONE
    d = b.daemon(BACKUP_RESTORE="yes", BACKUP_DATABASES="*", BACKUP_SCHEDULE_INITIAL_DELAY="1h")
    d.wait_event("restore_check", text="nothing is restored by itself")
    assert d.stop() == DONE


def test_a_stop_between_two_databases_is_a_stop(b, two):
    """The first is kept, the second is not begun, and the status says that work was cut."""
    gate = os.path.join(b.dir, "gate")
    script = 'case "$PGDATABASE" in *x) touch %s; sleep 1000;; esac; exec $real "$@"' % gate
    d = b.daemon(PG_BIN_DIR=b.stub(pg_dump=script), BACKUP_SCHEDULE_INITIAL_DELAY="0")
    env.wait_for(lambda: os.path.exists(gate), "the second dump")
    assert d.stop() == 128 + 15
    assert len(stored(b, two[0])) == 1 and not stored(b, two[1]) and not b.uploads()


# ---- roles and tablespaces ----

@pytest.fixture
def role(pg):
    name = "b_globals_%d" % os.getpid()
    pg.sql("DROP ROLE IF EXISTS %s" % name, "CREATE ROLE %s LOGIN PASSWORD 'its own'" % name,
           "COMMENT ON ROLE %s IS 'a; b -- c'" % name)
    yield name
    pg.sql("DROP ROLE IF EXISTS %s" % name)


def globals_of(b):
    folder = os.path.join(b.store, "app", "_globals")
    return sorted(os.path.join(folder, f) for f in os.listdir(folder)) if os.path.isdir(folder) else []


def test_globals_are_sealed_and_come_back(b, pg, role):
    b.set(BACKUP_POSTGRES_GLOBALS="yes")
    b.run("backup", expect=DONE)
    paths = globals_of(b)
    assert len(paths) == 1 and re.fullmatch(r"\d{8}_\d{6}\.globals\.enc2", os.path.basename(paths[0]))
    with open(paths[0], "rb") as f:
        data = f.read()
    text = open_2(data, content=2).decode()
    assert "CREATE ROLE %s;" % role in text and "SCRAM-SHA-256$" in text
    assert set_manifests(b)[0]["globals"] == os.path.relpath(paths[0], b.store)
    secret = pg.secret(role)
    pg.sql("DROP ROLE %s" % role)
    r = b.run("restore", "--globals", expect=DONE)
    assert pg.secret(role) == secret
    assert pg.sql("SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = '%s'" % role) == [("a; b -- c",)]
    # Those that are there are told, and no hash is in the log.
    kept = int(re.search(r"roles_kept=(\d+)", r.events("globals_restored")[0]).group(1))
    assert kept >= 1 and secret not in r.log
    # By its time, and one that is not there.
    b.run("restore", "--globals", os.path.basename(paths[0])[:15], expect=DONE)
    assert b.run("restore", "--globals", "20000101_000000").status == NOTHING
    # Nobody's SQL is run that does not authenticate, nor a dump under that name.
    env.write(paths[0], data[:-1] + bytes([data[-1] ^ 1]))
    assert b.run("restore", "--globals").status == INTEGRITY
    with open(stored(b, set_manifests(b)[0]["databases"][0]["database"])[0], "rb") as f:
        env.write(paths[0], f.read())
    assert b.run("restore", "--globals").status == INTEGRITY


def test_globals_hold_hashes_and_are_not_stored_in_the_open(b, role):
    b.set(BACKUP_POSTGRES_GLOBALS="yes", BACKUP_ENCRYPTION="none", MNEMONIC=None)
    r = b.run("backup", expect=FOLLOW_UP)
    assert "password hashes" in r.log and not globals_of(b)
    r = b.run("backup", expect=DONE, BACKUP_POSTGRES_ROLE_PASSWORDS="no")
    with open(globals_of(b)[0]) as f:
        text = f.read()
    assert "CREATE ROLE %s;" % role in text and "SCRAM-SHA-256" not in text


@pytest.mark.parametrize("name, script", [("fails", "echo 'CREATE ROLE x;'; exit 1"), ("ends_early", "echo 'CREATE ROLE x;'"),
                                          ("killed", "kill -9 $$")])
def test_globals_that_are_not_whole_are_none(b, two, name, script):
    b.set(BACKUP_POSTGRES_GLOBALS="yes")
    r = b.run("backup", expect=FOLLOW_UP, PG_BIN_DIR=b.stub(pg_dumpall=script))
    assert r.events("globals_failed") and not globals_of(b)
    assert all(len(stored(b, n)) == 1 for n in two)
