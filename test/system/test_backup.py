"""backup: a real database, a directory store, and independent readers. Rows 43 to 46 of the attacks."""
import fcntl
import hashlib
import json
import os
import re
import struct
import subprocess
import termios
import threading
import time

import psycopg
import pytest
from harness import env
from harness.backup import (DATABASE, DONE, FOLLOW_UP, INTEGRITY, LOCKED, MNEMONIC, NOTHING, REFUSED, STORAGE, USAGE, children_of,
                            manifest_mac, name_at, open_1, open_2, seal_1, seal_2)

TABLE = ("CREATE TABLE t AS SELECT g AS id, md5(g::text) AS word FROM generate_series(1, 20000) g",
         "CREATE VIEW v AS SELECT count(*) FROM t", "CREATE SEQUENCE s")


def content(path):
    with open(path, "rb") as f:
        return f.read()


def pg_restore(pg, plain, *args):
    """The real tool, on bytes that our code has not touched since they were sealed."""
    p = subprocess.run([os.path.join(pg.bin, "pg_restore")] + list(args), input=plain, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE)
    assert p.returncode == 0, p.stderr
    return p.stdout.decode()


def sql_of(pg, plain):
    """The dump as text: schema as it comes, rows sorted, so that two dumps can be compared. What is random goes."""
    text = pg_restore(pg, plain, "--file=-")
    return sorted(x for x in text.splitlines() if not x.startswith(("--", "\\restrict", "\\unrestrict")))


@pytest.fixture
def b(backup, databases):
    return backup(database=databases.make(*TABLE))


@pytest.mark.parametrize("form", ["1", "2"])
def test_a_backup_is_what_pg_dump_writes(b, pg, form):
    b.set(BACKUP_FORMAT=form)
    path = b.backup()
    data = content(path)
    plain = open_1(data) if form == "1" else open_2(data)
    assert plain.startswith(b"PGDMP")
    direct = subprocess.run([os.path.join(pg.bin, "pg_dump"), "-Fc", "-h", pg.host, "-p", str(pg.port), "-U", "postgres",
                             b.settings["PG_DATABASE"]], stdout=subprocess.PIPE, check=True).stdout
    assert sql_of(pg, plain) == sql_of(pg, direct)
    assert re.fullmatch(r"app/\d{8}_\d{6}\.backup\.enc%s" % ("" if form == "1" else "2"), os.path.relpath(path, b.store))


def test_its_manifest_tells_about_it_and_holds_no_secret(b, pg):
    path = b.backup("--label", "before the upgrade")
    m = b.manifest(path)
    data = content(path)
    assert m["object"] == os.path.relpath(path, b.store)
    assert m["size"] == len(data) and m["sha256"] == hashlib.sha256(data).hexdigest()
    assert m["plaintext_size"] == len(open_2(data))
    assert m["format"] == 2 and m["encryption"] == "aes-256-gcm" and m["key_id"] == b.run("key-id").out.strip()
    assert m["database"] == b.settings["PG_DATABASE"] and m["relation_count"] == 3 and m["label"] == "before the upgrade"
    assert m["server_version"] // 10000 == int(m["pg_dump_version"].split(".")[0])
    assert re.fullmatch(r"[0-9A-F]+/[0-9A-F]+", m["start_lsn"]) and m["end_lsn"] >= m["start_lsn"]
    assert m["in_recovery"] is False and m["parts"] == 1 and m["suspect"] is False
    text = content(os.path.join(b.store, "_manifest", "app", os.path.basename(path) + ".json")).decode()
    assert MNEMONIC not in text and "word" not in text


def test_row_counts_are_told_on_wish(b):
    assert "row_counts" not in b.manifest(b.backup())
    m = b.manifest(b.backup(BACKUP_POSTGRES_ROW_COUNTS="yes"))
    assert m["row_counts"] == {"public.t": 20000}


def test_nothing_lies_under_the_prefix_but_backups(b):
    """A tool of before would take anything else there for a backup."""
    b.backup()
    assert len(os.listdir(b.prefix_dir())) == 1


@pytest.mark.parametrize("form", ["1", "2"])
def test_many_parts_make_one_object(b, form, databases):
    """Three parts of 5 MiB; the last byte of one is not the first of the next twice."""
    name = databases.make("CREATE TABLE big AS SELECT g, repeat(md5(g::text), 20) AS word FROM generate_series(1, 24000) g",
                          "CREATE TABLE empty (a int)")
    path = b.backup(PG_DATABASE=name, BACKUP_COMPRESS="none", BACKUP_S3_PART_SIZE="5M", BACKUP_FORMAT=form)
    m = b.manifest(path)
    data = content(path)
    assert m["parts"] == (len(data) - 1) // (5 << 20) + 1 >= 3
    assert hashlib.sha256(data).hexdigest() == m["sha256"]
    assert "TABLE DATA public big" in pg_restore(b.pg, (open_1 if form == "1" else open_2)(data), "--list")
    assert not b.uploads()


def test_without_encryption_the_name_says_so(b):
    """Weakness 4."""
    r = b.run("backup", BACKUP_ENCRYPTION="none", expect=DONE)
    assert "NOT encrypted" in r.log
    path = os.path.join(b.store, r.out.strip())
    assert path.endswith(".backup") and content(path).startswith(b"PGDMP")
    assert b.manifest(path)["encryption"] == "none"


def test_without_a_mnemonic_there_is_no_backup(b):
    """Weaknesses 4 and 5."""
    for mnemonic in (None, ""):
        r = b.run("backup", MNEMONIC=mnemonic, expect=USAGE)
        assert "BACKUP_ENCRYPTION=none" in r.log
    assert not b.everything()


def test_not_configured_is_told(b):
    for args, status in ((("backup",), USAGE), (("list",), USAGE), (("restore",), USAGE), (("restore", "--if-empty"), DONE),
                         (("daemon",), DONE)):
        r = b.run(*args, BACKUP_S3_ENDPOINT=None)
        assert r.status == status and "backup not configured" in r.log, r


def test_two_in_one_second_have_two_names(b):
    """Weakness 31: they do not overwrite one another. The names of this and the next seconds are taken."""
    now = int(time.time())
    for i in range(-1, 4):
        b.plant(name_at(now + i), b"somebody else's")
    path = b.backup()
    assert open_2(content(path)).startswith(b"PGDMP")
    assert [content(p) for p in b.objects()].count(b"somebody else's") == 5


def test_row_46_foreign_objects_are_never_touched(b):
    names = ["notes.txt", "a b.backup.enc", "20260101_000000.backup.enc.tmp", "20260230_000000.backup.enc", "übel",
             "sub/20260101_000000.backup.enc", "%41.backup", "20260101_000000.backup.enc3", "-rf", "x" * 200]
    for n in names:
        b.plant(n, b"foreign")
    b.plant("20200101_000000.backup.enc", b"foreign", prefix="app2")
    before = b.everything()
    for i in range(3):
        b.backup(BACKUP_RETENTION_COUNT="1", BACKUP_RETENTION_SHRINK_GUARD="0")
    assert len(b.objects()) == 1
    assert set(before) <= set(b.everything())
    assert all(content(p) == b"foreign" for p in before)
    b.run("prune", BACKUP_RETENTION_DAYS="0", BACKUP_RETENTION_MIN_KEEP="1", expect=DONE)
    assert set(before) <= set(b.everything())


# ---- secrets ----

WATCH = r"""
( env; tr '\0' ' ' </proc/$$/cmdline; echo; cat "$PGPASSFILE"; ls -l "$PGPASSFILE" -L
  tr '\0' '\n' </proc/$PPID/environ; tr '\0' ' ' </proc/$PPID/cmdline; echo; umask; pwd; ls /proc/self/fd ) >%s 2>&1
exec $real "$@"
"""


def test_weakness_6_children_get_no_secrets_but_the_password(b, scratch):
    seen = os.path.join(b.dir, "seen")
    bin_dir = b.stub(pg_dump=WATCH % seen)
    b.backup(PG_BIN_DIR=bin_dir, PG_PASSWORD="pass:word\\x", BACKUP_S3_SECRET_KEY="hushhush", BACKUP_S3_ACCESS_KEY="ak",
             AWS_SECRET_ACCESS_KEY="amazonian", UNRELATED="stays out")
    with open(seen) as f:
        text = f.read()
    for secret in (MNEMONIC, "hushhush", "amazonian"):
        assert secret not in text, text
    assert "UNRELATED" not in text.split("PGPASSFILE")[0]
    assert "*:*:*:*:pass\\:word\\\\x" in text
    # The password is in that file alone: not in the environment, nor in an argument.
    assert "pass:word" not in text
    assert "-rw------- " in text and "\n0077\n/\n" in text
    assert "PGAPPNAME=pg-ecdsa-backup" in text and "LC_ALL=C\n" in text and "PGCONNECT_TIMEOUT=30" in text


def test_secrets_are_in_no_log_and_not_in_proc(b):
    """Acceptance 16: arguments, environment after the start, logs at every level, memory maps of a core."""
    secrets = [MNEMONIC, "hushhush", "pass:word"]
    bin_dir = b.stub(pg_dump="sleep 30; exec $real \"$@\"")
    p = b.popen(("-vvv", "backup"), PG_BIN_DIR=bin_dir, PG_PASSWORD="pass:word", BACKUP_S3_SECRET_KEY="hushhush")

    def look():
        with open("/proc/%d/environ" % p.pid, "rb") as f:
            environ = f.read()
        with open("/proc/%d/limits" % p.pid) as f:
            return environ, re.search(r"Max core file size\s+(\S+)\s+(\S+)", f.read()).groups()

    env.wait_for(lambda: look()[1] == ("0", "0") or "PGECDSA_ALLOW_CORE" in b.settings, "core files to be forbidden")
    # The secrets are read right after that.
    env.wait_for(lambda: MNEMONIC.encode() not in look()[0], "the environment to be wiped")
    environ = look()[0].decode()
    p.terminate()
    _, log = p.communicate(timeout=60 * env.SLOW)
    for secret in secrets:
        assert secret not in environ, environ
        assert secret not in log.decode()
    r = b.run("-vvv", "backup", PG_PASSWORD="pass:word", BACKUP_S3_SECRET_KEY="hushhush")
    assert not [s for s in secrets if s in r.log + r.out]
    r = b.run("-vvv", "backup", PG_PASSWORD="pass:word", PG_USER="u_scram", expect=DATABASE)
    assert not [s for s in secrets if s in r.log + r.out]


# ---- the database's side ----

def test_wrong_password_no_server_no_database(b):
    r = b.run("backup", PG_USER="u_scram", PG_PASSWORD="wrong", expect=DATABASE)
    assert "password authentication failed" in r.log
    assert b.run("backup", PG_PORT=str(env.free_port())).status == DATABASE
    r = b.run("backup", PG_DATABASE="nothing_here", expect=DATABASE)
    assert "does not exist" in r.log
    assert b.run("backup", PG_HOST="nothing.invalid").status == DATABASE
    assert not b.everything()


def test_a_password_file_of_the_operators(b, pg):
    """PGPASSFILE, and a password that needs escapes."""
    pg.sql("DROP ROLE IF EXISTS odd", "CREATE ROLE odd SUPERUSER LOGIN PASSWORD 'a:b\\c d'")
    try:
        b.set(PG_USER="odd")
        b.backup(PG_PASSWORD="a:b\\c d")
        env.write(os.path.join(b.dir, "pgpass"), "*:*:*:odd:a\\:b\\\\c d\n", 0o600)
        b.backup(PGPASSFILE=os.path.join(b.dir, "pgpass"))
        env.write(os.path.join(b.dir, "password"), "a:b\\c d\n", 0o600)
        b.backup(PG_PASSWORD_FILE=os.path.join(b.dir, "password"))
        assert b.run("backup", PG_PASSWORD="a:b\\c e").status == DATABASE
    finally:
        pg.sql("DROP ROLE odd")


@pytest.mark.parametrize("suffix", ["=x 'y' \"z", " dbname=postgres", "-é"])
def test_names_of_databases_are_names(b, databases, suffix):
    """Not connection strings, not options."""
    name = "b_%s_odd%s" % (databases.tag, suffix)
    quoted = '"%s"' % name.replace('"', '""')
    databases.pg.sql("CREATE DATABASE " + quoted)
    try:
        with psycopg.connect(host=b.pg.dir, port=b.pg.port, user="postgres", dbname=name, autocommit=True) as conn:
            conn.execute("CREATE TABLE only_here (a int)")
        path = b.backup(PG_DATABASE=name)
        assert "only_here" in pg_restore(b.pg, b.plain(path), "--list")
        assert b.manifest(path)["database"] == name
    finally:
        databases.pg.sql("DROP DATABASE %s WITH (FORCE)" % quoted)


def test_a_database_of_no_tables_is_a_backup_that_prunes_nothing(b, databases):
    """Guard 6.7, weakness 16: an empty database does not push real ones out."""
    for i in range(3):
        b.backup()
    empty = databases.make()
    r = b.run("backup", PG_DATABASE=empty, BACKUP_RETENTION_COUNT="1", expect=DONE)
    assert len(b.objects()) == 4, r
    assert "no relations" in r.log or "suspect" in r.log


def test_a_dump_that_shrinks_stops_pruning(b, databases):
    """The shrink guard, and what ends it."""
    for i in range(2):
        b.backup()
    small = databases.make("CREATE TABLE t (a int)")
    b.set(PG_DATABASE=small, BACKUP_RETENTION_COUNT="1")
    r = b.run("backup", expect=DONE)
    suspect = os.path.join(b.store, r.out.strip())
    assert b.manifest(suspect)["suspect"] is True and len(b.objects()) == 3
    assert b.run("restore", "--at", "2099-01-01", "--target-db", databases.make(), expect=DONE)
    # The good one before is still the latest.
    assert os.path.basename(b.objects()[1]) in b.run("verify", expect=DONE).out
    b.run("release", os.path.basename(suspect), expect=DONE)
    assert b.manifest(suspect).get("suspect") in (False, None)
    r = b.run("backup", expect=DONE)
    assert len(b.objects()) == 1, r


def test_three_that_agree_end_a_suspicion(b, databases):
    b.backup()
    b.set(PG_DATABASE=databases.make("CREATE TABLE t (a int)"))
    assert [b.manifest(b.backup())["suspect"] for _ in range(4)] == [True, True, True, False]


def test_arguments_and_compression(b, pg):
    plain = b.plain(b.backup(BACKUP_DUMP_ARGS="--exclude-table=t --no-comments", BACKUP_COMPRESS="none"))
    assert " TABLE public t " not in pg_restore(pg, plain, "--list")
    big = len(b.plain(b.backup(BACKUP_COMPRESS="none")))
    assert len(b.plain(b.backup(BACKUP_COMPRESS="gzip:9"))) < big / 1.5
    for value in ("zip", "gzip:10"):
        assert b.run("backup", BACKUP_COMPRESS=value).status == USAGE


def test_a_dump_does_not_queue_behind_ddl_for_ever(b, pg):
    """lock_wait_timeout: somebody holds the table."""
    with psycopg.connect(pg.conninfo(b.settings["PG_DATABASE"])) as conn:
        conn.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        r = b.run("backup", BACKUP_POSTGRES_LOCK_WAIT_TIMEOUT="1s", expect=DATABASE)
        assert "statement timeout" in r.log and "LOCK TABLE" in r.log
        conn.rollback()
    assert not b.everything()


def test_the_snapshot_is_the_one_the_manifest_speaks_of(b, pg):
    """Rows that come while the dump waits are not in it, and the counts agree with it."""
    gate = os.path.join(b.dir, "gate")
    bin_dir = b.stub(pg_dump="while [ ! -e %s ]; do sleep 0.05; done; exec $real \"$@\"" % gate)
    p = b.popen(("-v", "backup"), PG_BIN_DIR=bin_dir, BACKUP_POSTGRES_ROW_COUNTS="yes")
    env.wait_for(lambda: pg.sql("SELECT 1 FROM pg_stat_activity WHERE application_name = 'pg-ecdsa-backup' AND"
                                " state = 'idle in transaction'"), "the snapshot")
    pg.sql("INSERT INTO t VALUES (0, 'late')", db=b.settings["PG_DATABASE"])
    env.write(gate, "")
    out, log = p.communicate(timeout=120 * env.SLOW)
    assert p.returncode == DONE, log
    path = os.path.join(b.store, out.decode().strip())
    assert b.manifest(path)["row_counts"]["public.t"] == 20000
    assert "\tlate" not in pg_restore(pg, b.plain(path), "--file=-", "--table=t", "--data-only")


def test_from_a_standby_while_the_lock_is_on_the_primary(b, pg, own_pg, databases):
    """dump_from = standby: only where the data comes from changes."""
    own_pg.sql("CREATE TABLE there (a int)", db="db")
    r = b.run("backup", PG_DATABASE="db", BACKUP_POSTGRES_DUMP_FROM="standby", BACKUP_POSTGRES_STANDBY_HOST=own_pg.host,
              BACKUP_POSTGRES_STANDBY_PORT=own_pg.port, expect=DONE)
    assert "there" in pg_restore(pg, b.plain(os.path.join(b.store, r.out.strip())), "--list")


def test_the_server_dies_in_the_middle(b, own_pg):
    """Row 43: pg_dump has written plausible output by then."""
    own_pg.sql("CREATE TABLE big AS SELECT g, repeat(md5(g::text), 100) AS w FROM generate_series(1, 30000) g", db="db")
    b.set(PG_PORT=own_pg.port, PG_DATABASE="db", BACKUP_COMPRESS="none", BACKUP_S3_PART_SIZE="5M")
    slow = b.stub(pg_dump="$real \"$@\" | (head -c 20000000; touch %s; sleep 3; cat); exit ${PIPESTATUS[0]}"
                  % os.path.join(b.dir, "flowing"))
    p = b.popen(("backup",), PG_BIN_DIR=slow)
    env.wait_for(lambda: os.path.exists(os.path.join(b.dir, "flowing")), "the dump to flow")
    own_pg.stop(9)
    _, log = p.communicate(timeout=120 * env.SLOW)
    assert p.returncode == DATABASE, log
    assert not b.objects() and not b.uploads(), log


def test_row_43_the_database_is_dropped_meanwhile(b, databases, pg):
    name = databases.make(*TABLE)
    gate = os.path.join(b.dir, "gate")
    bin_dir = b.stub(pg_dump="while [ ! -e %s ]; do sleep 0.05; done; exec $real \"$@\"" % gate)
    p = b.popen(("backup",), PG_BIN_DIR=bin_dir, PG_DATABASE=name)
    env.wait_for(lambda: pg.sql("SELECT 1 FROM pg_stat_activity WHERE datname = '%s' AND state = 'idle in transaction'" % name),
                 "the snapshot")
    env.wait_for(lambda: children_of(p.pid), "the dump")
    pg.sql('DROP DATABASE "%s" WITH (FORCE)' % name)
    env.write(gate, "")
    _, log = p.communicate(timeout=120 * env.SLOW)
    assert p.returncode == DATABASE and b"does not exist" in log, log
    assert not b.everything()


def test_row_43_the_disk_of_the_store_is_full(b):
    """A file system of 256 KiB, where one can be made; else a directory that takes no new file."""
    b.backup()
    first = b.everything()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=777", "tmpfs", b.store], stderr=subprocess.DEVNULL
                             ).returncode == 0
    new = os.path.join(b.store, ".pg-ecdsa-backup", "new")
    try:
        if not mounted:
            os.chmod(new, 0o555)
        r = b.run("backup", BACKUP_COMPRESS="none", expect=STORAGE)
        assert "backup_failed" in r.log and ("No space left" in r.log if mounted else "denied" in r.log), r
        assert not b.objects() if mounted else b.everything() == first
    finally:
        if mounted:
            subprocess.run(["umount", b.store], check=True)
        else:
            os.chmod(new, 0o755)
    assert b.everything() == first


# ---- one at a time ----

def test_one_at_a_time_and_the_other_says_so(b):
    gate = os.path.join(b.dir, "gate")
    bin_dir = b.stub(pg_dump="touch %s.begun; while [ ! -e %s ]; do sleep 0.05; done; exec $real \"$@\"" % (gate, gate))
    p = b.popen(("backup",), PG_BIN_DIR=bin_dir)
    env.wait_for(lambda: os.path.exists(gate + ".begun"), "the first dump")
    r = b.run("backup", expect=LOCKED)
    assert "lock_held_elsewhere" in r.log and r.out == ""
    waiting = b.popen(("backup", "--wait-lock", "60"))
    # Another prefix is another lock.
    b.backup(BACKUP_PREFIX="other")
    env.write(gate, "")
    assert p.communicate(timeout=120 * env.SLOW) and p.returncode == DONE
    assert waiting.communicate(timeout=120 * env.SLOW) and waiting.returncode == DONE
    assert len(b.objects()) == 2


def test_a_session_that_breaks_is_taken_again_before_the_end(b, pg):
    gate = os.path.join(b.dir, "gate")
    bin_dir = b.stub(pg_dump="touch %s.begun; while [ ! -e %s ]; do sleep 0.05; done; exec $real \"$@\"" % (gate, gate))
    p = b.popen(("backup",), PG_BIN_DIR=bin_dir)
    env.wait_for(lambda: os.path.exists(gate + ".begun"), "the dump")
    assert pg.sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1346847315")
    env.write(gate, "")
    _, log = p.communicate(timeout=120 * env.SLOW)
    assert p.returncode == DONE and b"lock_lost" in log, log
    assert len(b.objects()) == 1


def test_a_session_that_breaks_and_another_has_the_lock(b, pg):
    gate = os.path.join(b.dir, "gate")
    bin_dir = b.stub(pg_dump="touch %s.begun; while [ ! -e %s ]; do sleep 0.05; done; exec $real \"$@\"" % (gate, gate))
    p = b.popen(("backup",), PG_BIN_DIR=bin_dir)
    env.wait_for(lambda: os.path.exists(gate + ".begun"), "the dump")
    objid = pg.sql("SELECT pid, objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND classid = 1346847315")[0]
    with psycopg.connect(pg.conninfo(b.settings["PG_DATABASE"]), autocommit=True) as conn:
        pg.sql("SELECT pg_terminate_backend(%d)" % objid[0])
        number = objid[1] - (1 << 32) if objid[1] >= 1 << 31 else objid[1]
        env.wait_for(lambda: conn.execute("SELECT pg_try_advisory_lock(1346847315, %d)" % number).fetchone()[0], "the lock")
        env.write(gate, "")
        _, log = p.communicate(timeout=120 * env.SLOW)
    assert p.returncode == LOCKED, log
    assert not b.objects() and not b.uploads()


# ---- the other commands see it ----

def test_verify_levels(b):
    path = b.backup()
    for level in ("head", "auth", "archive"):
        assert b.run("verify", "--level", level, expect=DONE).out.startswith("ok")
    assert [v["level"] for v in b.manifest(path)["verified"]] == ["head", "auth", "archive"]
    data = bytearray(content(path))
    data[len(data) // 2] ^= 1
    env.write(path, bytes(data))
    assert b.run("verify", "--level", "head", expect=DONE)
    for level in ("auth", "archive"):
        assert b.run("verify", os.path.basename(path), "--level", level).status == INTEGRITY
    env.write(path, bytes(data[:-1]))
    assert b.run("verify", os.path.basename(path), "--level", "head").status == INTEGRITY
    assert b.run("verify", "19990101_000000").status == NOTHING


def test_verify_after_each_backup(b):
    for level in ("auth", "archive"):
        path = b.backup(BACKUP_VERIFY_AFTER_BACKUP=level)
        assert b.manifest(path)["verified"][-1]["level"] == level


@pytest.mark.parametrize("form", ["1", "2"])
def test_an_archive_that_is_cut_is_found_by_level_archive_alone(b, form):
    """Genuine, but no whole archive: --list would be content with it."""
    plain = b.plain(b.backup(BACKUP_COMPRESS="none"))
    for cut in (len(plain) // 2, len(plain) - 3):
        name = name_at(int(time.time()) - 10, "enc" if form == "1" else "enc2")
        path = b.plant(name, (seal_1 if form == "1" else seal_2)(plain[:cut], **({"created": time.time() - 10} if form == "2" else {})))
        assert b.run("verify", name, "--level", "auth", expect=DONE)
        assert b.run("verify", name, "--level", "archive").status == INTEGRITY
        os.unlink(path)


def test_list_shows_them_newest_first(b):
    paths = [b.backup(), b.backup()]
    out = b.run("list", expect=DONE).out
    names = re.findall(r"\d{8}_\d{6}\.backup\.enc2", out)
    assert names == [os.path.basename(p) for p in reversed(paths)]


def test_download_gives_the_stored_bytes(b):
    path = b.backup()
    b.run("download", "latest", "-o", os.path.join(b.dir, "copy"), expect=DONE)
    assert content(os.path.join(b.dir, "copy")) == content(path)


def test_decrypt_of_a_stored_backup(b):
    path = b.backup()
    b.run("decrypt", "latest", "-o", os.path.join(b.dir, "plain"), expect=DONE)
    assert content(os.path.join(b.dir, "plain")) == open_2(content(path))


def test_an_old_backup_renamed_to_look_new_is_noticed(b):
    """Weakness 8: the name is not authenticated, the header is."""
    path = b.backup()
    renamed = os.path.join(b.prefix_dir(), name_at(int(time.time()) + 3600))
    os.rename(path, renamed)
    out = os.path.join(b.dir, "plain")
    r = b.run("decrypt", os.path.basename(renamed), "-o", out, expect=INTEGRITY)
    assert "renamed" in r.log and not os.path.exists(out)
    for level in ("auth", "archive"):
        assert b.run("verify", os.path.basename(renamed), "--level", level).status == INTEGRITY
    b.run("decrypt", os.path.basename(renamed), "-o", out, "--force", expect=DONE)


def test_check_says_what_works(b):
    r = b.run("check", expect=DONE)
    for word in ("configuration", "encryption", "database", "pg_dump", "pg_restore", "leader lock", "spool directory", "multipart"):
        assert re.search(r"^ok\s+%s|^%s\s+ok" % (word, word), r.out, re.M), (word, r.out)
    r = b.run("check", PG_DATABASE="nothing_here", expect=DATABASE)
    assert re.search(r"^FAILED database", r.out, re.M)


def test_a_hundred_lists_at_once_do_not_disturb(b):
    """Readers need no lock."""
    b.backup()
    results = []
    threads = [threading.Thread(target=lambda: results.append(b.run("list").status)) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == [DONE] * 8


def test_a_follow_up_that_fails_is_8_and_the_backup_is_there(b):
    """The manifest cannot be written."""
    os.makedirs(os.path.join(b.store, "_manifest"))
    os.chmod(os.path.join(b.store, "_manifest"), 0o555)
    r = b.run("backup", expect=FOLLOW_UP)
    assert "follow_up_failed" in r.log and len(b.objects()) == 1
    assert open_2(content(b.objects()[0])).startswith(b"PGDMP")


def test_the_manifest_carries_the_published_mac(b):
    m = b.manifest(b.backup("--label", "ünïcode \"and\" /slashes\\"))
    assert m["mac"] == manifest_mac(m)


def test_format_1_is_refused_where_it_would_not_fit(b):
    """Weakness 3: by the size of the last dump, with the advice to use format 2."""
    path = b.backup(BACKUP_FORMAT="1")
    m = b.manifest(path)
    m["plaintext_size"] = 57 << 30
    m["mac"] = manifest_mac(m)
    env.write(os.path.join(b.store, "_manifest", "app", os.path.basename(path) + ".json"), json.dumps(m))
    r = b.run("backup", BACKUP_FORMAT="1", expect=REFUSED)
    assert "BACKUP_FORMAT=2" in r.log and len(b.objects()) == 1
    b.backup()


def test_exit_by_a_signal(b):
    bin_dir = b.stub(pg_dump="touch %s; sleep 1000" % os.path.join(b.dir, "begun"))
    p = b.popen(("backup",), PG_BIN_DIR=bin_dir)
    env.wait_for(lambda: os.path.exists(os.path.join(b.dir, "begun")), "the dump")
    begun = time.monotonic()
    p.terminate()
    _, log = p.communicate(timeout=60 * env.SLOW)
    assert p.returncode == 128 + 15, log
    assert time.monotonic() - begun < 12 * env.SLOW
    assert not b.objects() and not b.uploads()


# ---- what a person sees ----

def on_a_terminal(b, *args, **more):
    """Status, and what a terminal of 200 columns was sent."""
    main, side = os.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
    p = b.popen(args, stderr=side, **{"TERM": "xterm", **more})
    os.close(side)
    seen = b""
    while True:
        try:
            piece = os.read(main, 65536)
        except OSError:
            break  # the other end is closed
        if not piece:
            break
        seen += piece
    os.close(main)
    p.communicate(timeout=60 * env.SLOW)
    return p.returncode, seen.decode()


SLOWLY = 'printf PGDMP; for i in 1 2 3 4; do head -c 3000000 /dev/zero; sleep 1; done; exit 1'


def test_at_a_terminal_one_line_says_how_far_it_is(b):
    """18.1: bytes, rate, parts, time; written over again and again, and gone at the end."""
    slow = b.stub(pg_dump=SLOWLY)
    status, seen = on_a_terminal(b, "backup", PG_BIN_DIR=slow, BACKUP_S3_PART_SIZE="5M")
    assert status == DATABASE
    lines = re.findall(r"\r(backup: dump  [^\r\n]*)\x1b\[K", seen)
    assert len(lines) >= 3, seen
    assert re.search(r"dumped  [\d.]+ M?i?B stored  \d+ parts \+ \d+ under way  [\d.]+ [KM]iB/s  0:0\d$", lines[-1]), lines
    assert "backup_progress" not in seen
    # An event stands on a line of its own: the status is erased before it, and nothing is left of it at the end.
    assert re.search(r"\r\x1b\[K(\x1b\[31m)?\S+ error backup_failed", seen), seen
    assert not re.search(r"backup: \w+  [^\r\n]*\n", seen), seen
    # Whoever wants a log gets one.
    for more in ({"TERM": "dumb"}, {"BACKUP_LOG_FORMAT": "json"}, {"TERM": None}):
        assert "\r\x1b[K" not in on_a_terminal(b, "backup", PG_BIN_DIR=b.stub(pg_dump="exit 1"), **more)[1]
    assert on_a_terminal(b, "-q", "backup", PG_BIN_DIR=slow, BACKUP_S3_PART_SIZE="5M")[1].count("backup: dump") == 0


def test_row_45_a_backup_of_another_prefix_is_told_by_its_manifest(b, databases):
    """With the same mnemonic the file is genuine; what is said about it is not about this place."""
    theirs = b.backup(BACKUP_PREFIX="other")
    name = os.path.basename(theirs)
    for top in ("", "_manifest"):
        source, target = os.path.join(b.store, top, "other", name), os.path.join(b.store, top, "app", name)
        if top:
            source, target = source + ".json", target + ".json"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        env.own(os.path.dirname(target))
        env.write(target, content(source))
    assert "failed" in b.run("list", expect=DONE).out
    assert b.run("restore", "--target-db", databases.make()).status == NOTHING
    # A manifest of another key is not believed at all.
    b.run("verify", name, "--level", "auth", MNEMONIC="other words than those, and quite enough of them for a key", expect=INTEGRITY)


def test_row_44_an_upload_that_was_killed_before_it_had_a_name_goes(b):
    """Nothing would ever list it; found by kill -9 between the directory and the file in it."""
    b.backup()
    top = os.path.join(b.store, ".pg-ecdsa-backup", "uploads")
    os.makedirs(top, exist_ok=True)
    env.own(top)
    torn, young, foreign = os.path.join(top, "0" * 32), os.path.join(top, "1" * 32), os.path.join(top, "not-ours")
    for path in (torn, young, foreign):
        os.mkdir(path)
        env.own(path)
    for path in (torn, foreign):
        os.utime(path, (time.time() - 100,) * 2)
    b.run("cleanup", expect=DONE)
    assert sorted(b.uploads()) == [young, foreign]
