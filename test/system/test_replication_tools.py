"""What people run against a replication connection: CREATE SUBSCRIPTION,
pg_recvlogical, pg_receivewal, pg_basebackup, a standby."""
import os
import shutil
import signal
import subprocess

import psycopg
import pytest
from harness import env
from harness.postgres import Postgres

pytestmark = pytest.mark.ours

MODES = ["session", "transaction", "statement"]


@pytest.fixture
def site(pooler, pg):
    def make(mode="transaction", **settings):
        return pooler(**{"databases": {"db": pg.entry(), "replication": pg.entry()}, "users": {"u_trust": "", "svc": "svc_pw"},
                         "pool_mode": mode, "server_tls_sslmode": "disable", **settings})
    return make


@pytest.fixture
def table(pg):
    pg.sql("DROP TABLE IF EXISTS tool", "CREATE TABLE tool (n int PRIMARY KEY, at timestamptz, day date)",
           "GRANT ALL ON tool TO PUBLIC", db="db")
    yield
    pg.sql("DROP TABLE tool", db="db")


@pytest.fixture
def where(scratch):
    path = env.make_dir(scratch, "tool-")
    yield path
    shutil.rmtree(path, ignore_errors=True)


def insert(pg, n):
    pg.sql("INSERT INTO tool VALUES (%d, '2024-12-31 23:59:59.5+09', '2024-02-01')" % n, db="db")


def tool(pg, p, name, *args, user="u_trust"):
    return [os.path.join(pg.bin, name), "-h", p.host, "-p", str(p.port), "-U", user, "-w", *args]


def read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except FileNotFoundError:
        return b""


class Running:
    """A tool that runs until it is told to end."""

    def __init__(self, args, where):
        self.log = os.path.join(where, "tool.log")
        with open(self.log, "wb") as f:
            self.process = env.popen(args, cwd=where, stdout=f, stderr=subprocess.STDOUT)

    def stop(self):
        assert self.process.poll() is None, read(self.log)
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(env.PATIENCE) == 0, read(self.log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.mark.parametrize("mode", MODES)
def test_pg_recvlogical(site, pg, table, where, mode):
    p = site(mode)
    base = tool(pg, p, "pg_recvlogical", "-d", "db", "--slot", "tool_slot")
    env.run(base + ["--create-slot", "--plugin", "test_decoding"], cwd=where)
    out = os.path.join(where, "changes")
    with p.login() as other, Running(base + ["--start", "-f", out, "--fsync-interval=0", "--status-interval=1"],
                                     where) as r:
        for n in range(20):
            insert(pg, n)
            assert other.value("SELECT count(*) FROM tool") == str(n + 1)
        env.wait_for(lambda: read(out).count(b"INSERT") == 20, lambda: "the changes: %r" % read(r.log))
        env.wait_for(lambda: pg.sql("SELECT 1 FROM pg_stat_replication WHERE flush_lsn = sent_lsn"), "its status")
        r.stop()
    env.run(base + ["--drop-slot"], cwd=where)
    assert not pg.sql("SELECT * FROM pg_replication_slots")


@pytest.mark.parametrize("mode", MODES)
def test_pg_receivewal(site, pg, table, where, mode):
    p = site(mode)
    base = tool(pg, p, "pg_receivewal", "--slot", "wal_slot")
    env.run(base + ["--create-slot"], cwd=where)
    with Running(base + ["-D", where, "--status-interval=1", "--synchronous"], where) as r:
        env.wait_for(lambda: pg.sql("SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"),
                     lambda: "the stream: %r" % read(r.log))
        for n in range(1, 3):
            insert(pg, n)
            pg.sql("SELECT pg_switch_wal()", db="db")

        def whole():
            return [f for f in os.listdir(where) if len(f) == 24]

        env.wait_for(lambda: len(whole()) >= 2, lambda: "segments: %r" % read(r.log))
        for name in whole():
            assert read(os.path.join(where, name)) == read(os.path.join(pg.data, "pg_wal", name))
        r.stop()
    env.run(base + ["--drop-slot"], cwd=where)
    p.wait_log("login attempt: db=replication user=u_trust tls=no replication=yes")


@pytest.mark.parametrize("mode, how", [("session", "stream"), ("transaction", "stream"), ("statement", "stream"),
                                       ("transaction", "fetch"), ("transaction", "tar")])
def test_pg_basebackup(site, pg, table, where, mode, how):
    """Its two connections at once; and the backup is whole, by its own manifest."""
    p = site(mode, default_pool_size=2)
    insert(pg, 1)
    target = os.path.join(where, "backup")
    args = {"stream": ["-X", "stream"], "fetch": ["-X", "fetch"], "tar": ["-X", "stream", "-F", "tar", "-z"]}[how]
    with p.login() as other:
        other.value("SELECT 1")
        env.run(tool(pg, p, "pg_basebackup", "-D", target, "--checkpoint=fast", "--no-sync", *args), cwd=where)
        assert other.value("SELECT 1") == "1"
    attempts = p.logged("login attempt: db=replication user=u_trust tls=no replication=yes")
    assert len(attempts) == (1 if how == "fetch" else 2)
    if how != "tar":
        assert "successfully verified" in env.run([os.path.join(pg.bin, "pg_verifybackup"), target], cwd=where)
    else:
        assert {"base.tar.gz", "pg_wal.tar.gz", "backup_manifest"} <= set(os.listdir(target))
    p.wait_pool("replication", sv_active=0, sv_idle=0, cl_active=0)


@pytest.mark.parametrize("mode", MODES)
def test_subscription(site, pg, own_pg, table, mode):
    """The subscriber sees the publisher through the pooler: first copy, changes, another table, the end.

    The entry has a DateStyle of its own. The subscriber asks for ISO in options, and must get it, or a date would
    turn into another one."""
    p = site(mode, databases={"db": pg.entry(datestyle="SQL, DMY")}, default_pool_size=5)
    insert(pg, 1)
    pg.sql("DROP PUBLICATION IF EXISTS pub", "CREATE PUBLICATION pub FOR TABLE tool", db="db")
    own_pg.sql("CREATE TABLE tool (n int PRIMARY KEY, at timestamptz, day date)", db="db")

    def copied():
        return own_pg.sql("SELECT n, at AT TIME ZONE 'UTC', day FROM tool ORDER BY n", db="db")

    def published():
        return pg.sql("SELECT n, at AT TIME ZONE 'UTC', day FROM tool ORDER BY n", db="db")

    try:
        with psycopg.connect(own_pg.conninfo("db"), autocommit=True) as conn:
            conn.execute("CREATE SUBSCRIPTION sub CONNECTION %s PUBLICATION pub" % psycopg.sql.quote(
                p.conninfo("svc", password="svc_pw")))
        env.wait_for(lambda: copied() == published() != [], "the first copy")
        for n in range(2, 10):
            insert(pg, n)
        pg.sql("UPDATE tool SET day = '2024-03-04' WHERE n = 5", "DELETE FROM tool WHERE n = 6", db="db")
        env.wait_for(lambda: copied() == published(), "the changes")
        with p.login() as other:
            assert other.value("SELECT count(*) FROM tool") == "8"
            assert other.value("SHOW datestyle") == "SQL, DMY"
        assert [r["replication"] for r in p.show("SERVERS") if r["user"] == "svc"] == ["logical"]
        # It comes back by itself when it is cut off.
        p.admin("RECONNECT")
        p.wait_log("S-.*closing because: database configuration changed")
        insert(pg, 20)
        env.wait_for(lambda: copied() == published(), "the changes after RECONNECT", timeout=4 * env.PATIENCE)
        own_pg.sql("DROP SUBSCRIPTION sub", db="db")
        assert not pg.sql("SELECT * FROM pg_replication_slots")
        p.wait_pool(user="svc", cl_active=0, cl_waiting=0, sv_active=0)
    finally:
        own_pg.stop(signal.SIGQUIT)
        pg.sql("DROP PUBLICATION pub", db="db")


def test_standby(site, pg, table, where, certs):
    """A server that was made by pg_basebackup and follows by streaming, both through the pooler."""
    p = site("transaction", default_pool_size=3)
    standby = Postgres.__new__(Postgres)
    standby.dir, standby.bin, standby.certs = where, pg.bin, certs
    standby.data, standby.port, standby.host, standby.process = os.path.join(where, "data"), env.free_port(), pg.host, None
    insert(pg, 1)
    env.run(tool(pg, p, "pg_basebackup", "-D", standby.data, "--checkpoint=fast", "--no-sync", "-X", "stream", "-R"),
            cwd=where)
    with open(os.path.join(standby.data, "postgresql.auto.conf"), "a") as f:
        f.write("port = %d\nunix_socket_directories = '%s'\nprimary_slot_name = ''\n" % (standby.port, where))
    try:
        standby.start()
        assert standby.sql("SELECT pg_is_in_recovery()") == [(True,)]
        for n in range(2, 30):
            insert(pg, n)
        env.wait_for(lambda: standby.sql("SELECT count(*) FROM tool", db="db") == [(29,)], "the standby to follow")
        name, = pg.sql("SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'")
        assert name == ("walreceiver",)
        with p.login() as other:
            assert other.value("SELECT count(*) FROM tool") == "29"
    finally:
        if standby.process:
            standby.stop(signal.SIGQUIT)
