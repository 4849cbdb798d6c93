"""Replication clients and the console: PAUSE, RECONNECT, KILL, SUSPEND,
SHUTDOWN, RELOAD; and what SHOW FDS keeps to itself."""
import os
import signal
import threading

import pytest
from harness import env, wire
from harness.replication import physical
from harness.wire import Closed, PgError

pytestmark = pytest.mark.ours


@pytest.fixture
def site(pooler, pg, monkeypatch):
    monkeypatch.setenv("PGECDSA_FAULTS", os.environ.get("PGECDSA_FAULTS", "") + ",nobelt")

    def make(mode="transaction", **settings):
        return pooler(**{"databases": {"db": pg.entry(), "db2": pg.entry("db2")}, "users": {"u_trust": ""},
                         "pool_mode": mode, "server_tls_sslmode": "disable", **settings})
    return make


def replica(p, kind="database", **params):
    return p.login("u_trust", "db", replication=kind, **params)


def greeted(p):
    """A pool that has its greeting, so that a log-in ends before there is a server."""
    with p.login() as c:
        c.value("SELECT 1")
    return p


def until_error(c):
    """Stream messages may come before it."""
    while True:
        m = c.recv()
        if m.type == b"E":
            c.expect_closed()
            return PgError(wire.fields_of(m.body))


@pytest.fixture
def hung(fake):
    """A server whose log-ins stop until it is told to go on."""
    class Hung:
        may_go_on = threading.Event()

        def play(self, peer):
            if peer.read_startup() is None:
                return
            if peer.params.get("replication") and not self.may_go_on.is_set():
                assert self.may_go_on.wait(env.PATIENCE)
            peer.welcome()
            peer.serve()

    h = Hung()
    h.may_go_on = threading.Event()
    h.server = fake(h.play)
    return h


# --- PAUSE ------------------------------------------------------------------------

@pytest.mark.parametrize("command", ["PAUSE", "PAUSE db"])
def test_pause_waits_for_the_client_to_leave(site, command):
    """As for a session: there is no transaction at whose end its server could go."""
    p = greeted(site())
    with p.console() as admin:
        with replica(p) as c:
            assert c.query("IDENTIFY_SYSTEM").rows
            admin.send(wire.query(command))
            assert admin.silent(0.3)
            assert c.query("IDENTIFY_SYSTEM").rows
        assert admin.until_ready().tags == ["PAUSE"]
        # One that comes now waits.
        with replica(p) as c:
            c.send(wire.query("IDENTIFY_SYSTEM"))
            p.wait_pool(cl_waiting=1, sv_login=0, sv_active=0)
            assert c.silent(0.2)
            assert admin.query(command.replace("PAUSE", "RESUME")).tags == ["RESUME"]
            assert len(c.until_ready().rows) == 1


def test_pause_while_its_server_logs_in(site, hung):
    p = site(databases={"db": hung.server.entry()})
    with p.wire() as c:
        c.send(wire.startup("u_trust", "db", replication="yes"))
        env.wait_for(lambda: hung.server.count == 1, "the log-in")
        p.admin("PAUSE")
        p.wait_log("S-.*closing because: pause mode")
        p.wait_pool(cl_waiting=1, sv_login=0)
        hung.may_go_on.set()
        p.admin("RESUME")
        c.finish_login("u_trust")
        assert c.value("SELECT 1") == "SELECT 1"
    assert hung.server.count == 2


# --- RECONNECT and RELOAD --------------------------------------------------------------

@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_reconnect_closes_at_the_next_maintenance(site, pg, mode, streams):
    """Busy or not: it would never come to an end by itself."""
    p = site(mode)
    with replica(p, "yes") as c, p.login() as other:
        if streams:
            physical(c)
        else:
            c.query("IDENTIFY_SYSTEM")
        other.query("BEGIN")
        p.admin("RECONNECT")
        e = until_error(c)
        assert (e.severity, e.code, e.text) == ("FATAL", "08P01", "database configuration changed")
        assert other.query("COMMIT").tags == ["COMMIT"]
        env.wait_for(lambda: not pg.walsenders(), "the walsender to go")
        with replica(p, "yes") as again:
            assert again.query("IDENTIFY_SYSTEM").rows
    p.wait_log("[SC]-.*closing because: database configuration changed", 2)


def test_reconnect_while_its_server_logs_in(site, hung):
    p = site(databases={"db": hung.server.entry()})
    with p.wire() as c:
        c.send(wire.startup("u_trust", "db", replication="yes"))
        env.wait_for(lambda: hung.server.count == 1, "the log-in")
        p.admin("RECONNECT")
        p.wait_log("S-.*closing because: connect string changed")
        hung.may_go_on.set()
        c.finish_login("u_trust")
        assert c.value("SELECT 1") == "SELECT 1"


def test_reload_to_another_server(site, pg):
    p = site()
    with replica(p) as c:
        assert c.query("IDENTIFY_SYSTEM").dicts()[0]["dbname"] == "db"
        p.databases["db"] = pg.entry("db2")
        p.reload()
        assert until_error(c).text == "database configuration changed"
    with replica(p) as c:
        assert c.query("IDENTIFY_SYSTEM").dicts()[0]["dbname"] == "db2"


def test_smaller_pool_leaves_it_alone(site):
    p = site(default_pool_size=3)
    with replica(p) as a, replica(p) as b, p.login() as other:
        for c in (a, b):
            c.query("IDENTIFY_SYSTEM")
        other.query("SELECT 1")
        p.reload(default_pool_size=1)
        p.wait_log("S-.*closing because: too many servers in the pool")
        assert a.query("IDENTIFY_SYSTEM").rows and b.query("IDENTIFY_SYSTEM").rows
        p.wait_pool(sv_active=2, sv_idle=0)


def test_database_that_is_removed(site):
    p = site()
    with replica(p) as c:
        c.query("IDENTIFY_SYSTEM")
        del p.databases["db"]
        p.reload()
        assert until_error(c).text == "database removed"


# --- KILL ----------------------------------------------------------------------------------

@pytest.mark.parametrize("command", ["KILL db", "KILL"])
def test_kill(site, pg, command):
    p = site()
    with replica(p) as a, replica(p, "yes") as b:
        a.query("IDENTIFY_SYSTEM")
        physical(b)
        p.admin(command)
        for c in (a, b):
            assert until_end(c)
        env.wait_for(lambda: not pg.walsenders(), "the walsenders to go")


def until_end(c):
    try:
        while True:
            c.recv()
    except Closed:
        return True


def test_kill_while_its_server_logs_in(site, hung):
    p = site(databases={"db": hung.server.entry()})
    with p.wire() as c:
        c.send(wire.startup("u_trust", "db", replication="yes"))
        env.wait_for(lambda: hung.server.count == 1, "the log-in")
        p.admin("KILL db")
        assert until_end(c)
        p.wait_log("S-.*closing because: replication client disconnected")
        hung.may_go_on.set()


def test_kill_client(site, pg):
    p = greeted(site(default_pool_size=1))
    with replica(p) as a:
        a.query("IDENTIFY_SYSTEM")
        with replica(p) as b:
            p.wait_pool(cl_waiting=1)
            ids = {r["state"]: r["id"] for r in p.show("CLIENTS") if r["database"] == "db"}
            p.admin("KILL_CLIENT " + ids["waiting"])
            assert until_end(b)
            p.admin("KILL_CLIENT " + ids["active"])
            assert until_end(a)
    env.wait_for(lambda: not pg.walsenders(), "the walsender to go")


# --- SUSPEND ------------------------------------------------------------------------------------

def test_suspend_and_resume(site, pg):
    """A stream waits in the kernel meanwhile; one that has nothing to say needs no server now."""
    p = greeted(site(default_pool_size=1))
    with replica(p, "yes") as c, p.console() as admin:
        s = physical(c)
        with replica(p) as waiting:
            p.wait_pool(cl_waiting=1)
            assert admin.query("SUSPEND").tags == ["SUSPEND"]
            pg.sql("SELECT pg_logical_emit_message(false, 'x', 'said in between')", db="db")
            assert c.silent(0.2)
            assert admin.query("RESUME").tags == ["RESUME"]
            s.wait_for("said in between")
            c.close()
            assert waiting.query("IDENTIFY_SYSTEM").rows


def test_its_sockets_are_not_handed_over(site):
    """SHOW FDS has no column that says what they are: they would be taken for ordinary ones."""
    p = site()
    with replica(p) as c, p.login() as other, p.console() as admin:
        c.query("IDENTIFY_SYSTEM")
        other.value("SELECT 1")
        admin.query("SUSPEND")
        rows = [(r["task"], r["database"]) for r in admin.query("SHOW FDS").dicts() if r["database"] == "db"]
        assert sorted(rows) == [("client", "db"), ("server", "db")]
        admin.query("RESUME")
        assert c.query("IDENTIFY_SYSTEM").rows


# --- the end ------------------------------------------------------------------------------------------

def test_shutdown_wait_for_clients(site, pg):
    p = site()
    with replica(p, "yes") as c, p.login():
        s = physical(c)
        p.signal(signal.SIGTERM)
        p.wait_log("got SIGTERM")
        pg.sql("SELECT pg_logical_emit_message(false, 'x', 'still there')", db="db")
        s.wait_for("still there")
        assert p.process.poll() is None
    p.wait_exit()


def test_shutdown_wait_for_servers(site, pg):
    """One that waits is refused; one that streams is a session, and is waited for."""
    p = greeted(site(default_pool_size=1))
    with replica(p, "yes") as c, replica(p, "yes") as waiting:
        s = physical(c)
        p.wait_pool(cl_waiting=1)
        p.signal(signal.SIGINT)
        assert until_error(waiting).text == "server shutting down"
        pg.sql("SELECT pg_logical_emit_message(false, 'x', 'still there')", db="db")
        s.wait_for("still there")
        assert p.process.poll() is None
    p.wait_exit()


def test_shutdown_wait_for_servers_while_its_server_logs_in(site, hung):
    p = site(databases={"db": hung.server.entry()})
    with p.wire() as c:
        c.send(wire.startup("u_trust", "db", replication="yes"))
        env.wait_for(lambda: hung.server.count == 1, "the log-in")
        p.signal(signal.SIGINT)
        assert c.expect_error().text == "server shutting down"
        p.wait_exit()
        hung.may_go_on.set()


def test_shutdown_at_once(site, pg):
    p = site()
    with replica(p, "yes") as c:
        physical(c)
        p.signal(signal.SIGQUIT)
        p.wait_exit()
        assert until_end(c)
    env.wait_for(lambda: not pg.walsenders(), "the walsender to go")


# --- pools ---------------------------------------------------------------------------------------------

def test_pool_is_kept_while_it_streams(site):
    p = site(pool_idle_timeout=1)
    with replica(p, "yes") as c:
        physical(c)
        p.login(database="db2").close()
        with p.login(database="db2") as other:
            other.value("SELECT 1")
        env.wait_for(lambda: p.pool("db")["sv_active"] == 1, "its pool")
        p.admin("RECONNECT db2")
        p.wait_log("cleaning up idle pool for user u_trust on db db2")
        assert not p.logged("cleaning up idle pool for user u_trust on db db ")
        assert p.pool("db")["sv_active"] == 1
    p.wait_log("cleaning up idle pool for user u_trust on db db because")


def test_min_pool_size_beside_it(site, pg):
    p = site(min_pool_size=2, default_pool_size=4)
    with replica(p) as c:
        c.query("IDENTIFY_SYSTEM")
        p.wait_pool(sv_active=1, sv_idle=1)
        assert c.query("IDENTIFY_SYSTEM").rows
    p.wait_log("replication client was closed")
