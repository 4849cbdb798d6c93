"""Online restart: another process takes the sockets over, and nobody notices."""
import os
import threading

import psycopg
import pytest
from harness import env, wire
from harness.load import Crowd
from harness.wire import Closed, PgError

pytestmark = pytest.mark.ours


@pytest.fixture
def pool(pooler, pg):
    def make(**settings):
        return pooler(**{"databases": {"db": pg.entry(), "other": pg.entry("db2")}, "users": {"u_trust": ""},
                         "pool_mode": "transaction", "server_tls_sslmode": "disable", **settings})
    return make


def running(pg, sql_part):
    """Pids of backends that work at such a query."""
    return pg.backends("db", where="state = 'active' AND query LIKE '%%%s%%' AND pid <> pg_backend_pid()" % sql_part)


# --- what goes on ---------------------------------------------------------------

def test_log_lines(pool):
    p = pool(pidfile="pid")
    with p.login() as c:
        c.value("SELECT 1")
        p.restart()
        for line in ("WARNING Online restart is deprecated, use so_reuseport instead",
                     "LOG takeover_init: launching connection",
                     r"LOG S-0x\w+: pgbouncer/pgbouncer@unix:%d login OK, sending SUSPEND" % p.port,
                     "LOG SUSPEND finished, sending SHOW FDS",
                     "LOG got pooler socket: 127.0.0.1:%d" % p.port,
                     "LOG got pooler socket: unix:%d" % p.port,
                     "LOG SHOW FDS finished",
                     "LOG disko over, going background",
                     "LOG kernel file descriptor limit: ",
                     "LOG took over 1 clients and 1 servers, 0 connections are dropped",
                     "LOG sending SHUTDOWN;",
                     r"LOG S-0x\w+: .* closing because: disko over \(age=\d+s\)",
                     "LOG waiting for old pidfile to go away",
                     "LOG old process killed, resuming work",
                     "LOG process up: PgBouncer"):
            p.wait_log(line)
        assert c.value("SELECT 2") == "2"


def test_an_open_transaction_keeps_its_server(pool):
    p = pool()
    with p.login() as c:
        c.query("BEGIN")
        pid = c.pid()
        for n in range(5):
            p.restart()
            assert c.pid() == pid
            assert c.query("SELECT %d" % n).status == "T"
        assert c.query("COMMIT").status == "I"
        assert c.value("SELECT 1") == "1"


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_a_running_query_goes_on(pool, pg, mode):
    p = pool(pool_mode=mode)
    with psycopg.connect(pg.conninfo("db"), autocommit=True) as lock, p.login() as c:
        lock.execute("SELECT pg_advisory_lock(4712)")
        c.send(wire.query("SELECT pg_advisory_xact_lock(4712)"))
        env.wait_for(lambda: running(pg, "advisory_xact_lock"), "the query to run")
        p.restart()
        assert c.silent(0.05)
        lock.execute("SELECT pg_advisory_unlock(4712)")
        r = c.until_ready()
        assert len(r.rows) == 1 and not r.errors and r.status == "I"
        assert c.value("SELECT 2") == "2"
